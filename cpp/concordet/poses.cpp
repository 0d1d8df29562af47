#include "poses.hpp"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>

#include "band.hpp"
#include "check.hpp"
#include "poses_loops.hpp"
#include "threads.hpp"

namespace concordet {
namespace {

using Complex = std::complex<float>;
using Eigen::Matrix3d;
using Eigen::Vector3d;

const PoseLoops& loops() {
    static const PoseLoops& chosen = CHOSEN_LOOPS(pose_loops);
    return chosen;
}

/// Newton steps turn the phase of the highest coefficient by at most this part of a turn.
constexpr double largest_phase_step = 0.3;
/// Share of the mean curvature that is added to every direction.
constexpr double damping = 0.05;

void require_items(const PoseData& data, const PoseItems& items) {
    const std::int64_t count = items.particles.shape[0], coefficients = data.indices.shape[0];
    require(data.box > 0, "box must be positive, got ", data.box);
    require(data.p0.shape[1] >= coefficients && data.p1.shape[1] >= coefficients &&
                data.inverse_noise.shape[0] >= coefficients,
            "p0, p1 and inverse_noise must have at least ", coefficients, " coefficients, got ", data.p0.shape[1], ", ",
            data.p1.shape[1], " and ", data.inverse_noise.shape[0]);
    require(data.p0.strides[1] == 1 && data.p1.strides[1] == 1, "rows of p0 and p1 must be contiguous");
    require(items.weights.shape[0] == count && items.references.shape[0] == count &&
                items.rotations.shape[0] == count && items.shifts.shape[0] == count && items.shifts.shape[1] == 3 &&
                items.likelihoods.shape[0] == count && items.norms.shape[0] == count,
            "all arrays of items must have ", count, " of them");
    for (std::int64_t i = 0; i < count; ++i) {
        const auto within = [&](const View<const std::int64_t, 1>& index, std::int64_t size, const char* name) {
            require(index(i) >= 0 && index(i) < size, "item ", i, ": ", name, " ", index(i), " is not one of ", size);
        };
        within(items.particles, data.p0.shape[0], "particle");
        within(items.weights, data.p1.shape[0], "weight");
        within(items.references, static_cast<std::int64_t>(data.references.size()), "reference");
        for (int axis : {0, 1, 2}) require(std::isfinite(items.shifts(i, axis)), "shift ", i, " is not finite");
    }
    require_rotations({items.rotations.data, items.rotations.shape, items.rotations.strides});
}

Rotation turn(const Vector3d& vector) {
    const double angle = vector.norm();
    if (angle == 0) return Rotation::Identity();
    return Eigen::AngleAxisd(angle, vector / angle).toRotationMatrix();
}

int rounded_up(int count, int block) { return (count + block - 1) / block * block; }

/// sum_k Re(z_k e^{2 pi i k.t / n}) on a grid of shifts: one axis after another, only the shifts that are asked for.
class ShiftGrid {
public:
    ShiftGrid(const Band& band, int box, double largest);

    /// The shift of the largest sum less |t|^2 / (2 xi^2).
    Vector3d best(const PoseLoops& kernel, const float* re, const float* im, double inverse_variance);

private:
    const double spacing_;                  ///< half as wide as the band's finest wave, one voxel at least
    const int top_, lines_;                 ///< the largest whole |k| along an axis; 2 top + 1
    const int extent_;                      ///< shifts along an axis
    const int columns_, wide_;              ///< lines and extent, rounded up to whole blocks
    std::vector<std::size_t> places_;       ///< (kx, kz, ky) of each point, kx >= 0
    std::vector<char> mirrored_;            ///< the point lies at -k
    Floats phases_x_, phases_;              ///< (part, shift, kx), (part, shift, ky or kz)
    Floats coefficients_, along_x_, slice_, along_z_, turned_, sums_;
};

ShiftGrid::ShiftGrid(const Band& band, int box, double largest)
    : spacing_(std::max(1.0, box / (4 * band.radius))), top_(static_cast<int>(band.radius + 1e-6)),
      lines_(2 * top_ + 1), extent_(2 * static_cast<int>(std::min(largest, box / 2.0) / spacing_ + 1e-6) + 1),
      columns_(rounded_up(lines_, column_block)), wide_(rounded_up(extent_, column_block)), places_(band.order.size()),
      mirrored_(band.order.size()), phases_x_(2 * extent_ * (top_ + 1)), phases_(2 * extent_ * lines_),
      coefficients_(static_cast<std::size_t>(2 * (top_ + 1)) * lines_ * columns_),
      along_x_(static_cast<std::size_t>(2 * extent_) * lines_ * columns_), slice_(2 * lines_ * columns_),
      along_z_(2 * extent_ * columns_), turned_(2 * lines_ * wide_), sums_(2 * extent_ * wide_) {
    coefficients_.fill(0);
    turned_.fill(0);
    for (std::size_t i = 0; i < places_.size(); ++i) {
        mirrored_[i] = band.kx[i] < 0;
        const int sign = mirrored_[i] ? -1 : 1;
        const auto at = [&](const Floats& k) { return sign * static_cast<int>(k[i]); };
        const auto line = static_cast<std::size_t>(at(band.kx) * lines_ + at(band.kz) + top_);
        places_[i] = line * columns_ + at(band.ky) + top_;
    }
    const auto fill = [&](const Floats& phases, int first, int terms) {
        for (int shift = 0; shift < extent_; ++shift)
            for (int term = 0; term < terms; ++term) {
                const double angle =
                    2 * std::numbers::pi / box * spacing_ * (shift - extent_ / 2) * (first + term);
                phases[shift * terms + term] = static_cast<float>(std::cos(angle));
                phases[(extent_ + shift) * terms + term] = static_cast<float>(std::sin(angle));
            }
    };
    fill(phases_x_, 0, top_ + 1);
    fill(phases_, -top_, lines_);
}

/// Scores the poses of one particle at a time, in memory of its own.
class Scorer {
public:
    Scorer(const PoseData& data, const Band& band, const ShiftOptions& shifts)
        : data_(data), band_(band), shifts_(shifts), points_(band.points()),
          size_(static_cast<std::size_t>(band.count)) {
        if (shifts.search) grid_.emplace(band, data.box, shifts.largest);
        for (const Floats* values : {&re_, &im_, &weight_}) values->fill(0);
        for (std::size_t i = 0; i < band.order.size(); ++i) inverse_noise_[i] = data.inverse_noise(band.order[i]);
    }

    /// From here on poses are those of this particle.
    void take(std::int64_t particle, std::int64_t weight);

    struct Result {
        double likelihood, norm;
    };

    /// Of a rotation at the best shift, sought from `shift` in `steps` steps.
    Result score(std::int64_t reference, const Rotation& rotation, Vector3d& shift, int steps, bool search);

    /// Of the pose after the sweeps; `rotation` and `shift` follow.
    Result refine(std::int64_t reference, Rotation& rotation, Vector3d& shift, int sweeps, double step);

private:
    double prior(const Vector3d& shift) const { return shift.squaredNorm() * shifts_.inverse_variance / 2; }
    Vector3d step(const Vector3d& shift, const double* sums) const;
    Vector3d turns_of(const Vector3d& shift) const { return shift / data_.box; }

    const PoseData& data_;
    const Band& band_;
    const ShiftOptions& shifts_;
    const BandPoints points_;
    const std::size_t size_;
    const PoseLoops& kernel_ = loops();
    Floats inverse_noise_{size_}, re_{size_}, im_{size_}, weight_{size_};
    Floats product_re_{size_}, product_im_{size_};    // samples of the reference, then particle times their conjugate
    Floats moved_re_{size_}, moved_im_{size_};
    std::optional<ShiftGrid> grid_;
};

void Scorer::take(std::int64_t particle, std::int64_t weight) {
    const Complex* p0 = &data_.p0(particle, 0);
    const float* p1 = &data_.p1(weight, 0);
    const std::int32_t* order = band_.order.data();
    const auto coefficients = static_cast<int>(band_.order.size());
    for (int i = 0; i < coefficients; ++i) {
        const Complex value = p0[order[i]];
        const float inverse = inverse_noise_[i];
        re_[i] = 2 * inverse * value.real();
        im_[i] = 2 * inverse * value.imag();
        weight_[i] = inverse * p1[order[i]];
    }
}

/// Newton's step of the damped model, at most `largest_phase_step` of the highest coefficient; uphill at a saddle too.
Vector3d Scorer::step(const Vector3d& shift, const double* sums) const {
    const double turn = 2 * std::numbers::pi / data_.box;
    const Vector3d gradient = turn * Vector3d(sums[1], sums[2], sums[3]) - shifts_.inverse_variance * shift;
    Matrix3d curvature;
    curvature << sums[4], sums[7], sums[8], sums[7], sums[5], sums[9], sums[8], sums[9], sums[6];
    curvature = -turn * turn * curvature + shifts_.inverse_variance * Matrix3d::Identity();
    const double mean = curvature.trace() / 3;
    Vector3d move;
    const Eigen::LLT<Matrix3d> factors(curvature + damping * std::max(mean, 0.0) * Matrix3d::Identity());
    if (mean > 0 && factors.info() == Eigen::Success) {
        move = factors.solve(gradient);
    } else {
        Eigen::SelfAdjointEigenSolver<Matrix3d> axes(curvature);
        const Vector3d sizes = axes.eigenvalues().cwiseAbs();
        const Vector3d damped = sizes.cwiseMax(damping * sizes.maxCoeff()).cwiseMax(1e-30);
        move = axes.eigenvectors() * (axes.eigenvectors().transpose() * gradient).cwiseQuotient(damped);
    }
    const double longest = largest_phase_step * data_.box / band_.radius, length = move.norm();
    if (!(length <= longest)) move *= std::isfinite(length) ? longest / length : 0;
    return (shift + move).cwiseMax(-shifts_.largest).cwiseMin(shifts_.largest);
}

Vector3d ShiftGrid::best(const PoseLoops& kernel, const float* re, const float* im, double inverse_variance) {
    const std::size_t plane = static_cast<std::size_t>(lines_) * columns_;    // (kz, ky) of one kx
    const std::size_t imaginary = (top_ + 1) * plane;
    for (std::size_t i = 0; i < places_.size(); ++i) {
        coefficients_[places_[i]] = re[i];
        coefficients_[imaginary + places_[i]] = mirrored_[i] ? -im[i] : im[i];
    }
    kernel.transform(coefficients_, top_ + 1, static_cast<int>(plane), phases_x_, extent_, along_x_);
    Vector3d best = Vector3d::Zero();
    double highest = -std::numeric_limits<double>::infinity();
    const auto at = [&](int i) { return spacing_ * (i - extent_ / 2); };
    for (int x = 0; x < extent_; ++x) {
        for (std::size_t i = 0; i < plane; ++i) {
            slice_[i] = along_x_[x * plane + i];
            slice_[plane + i] = along_x_[(extent_ + x) * plane + i];
        }
        kernel.transform(slice_, lines_, columns_, phases_, extent_, along_z_);
        // (part, tz, ky) to (part, ky, tz)
        for (int part : {0, 1})
            for (int z = 0; z < extent_; ++z)
                for (int ky = 0; ky < lines_; ++ky)
                    turned_[(part * lines_ + ky) * wide_ + z] = along_z_[(part * extent_ + z) * columns_ + ky];
        kernel.transform(turned_, lines_, wide_, phases_, extent_, sums_);
        for (int y = 0; y < extent_; ++y)
            for (int z = 0; z < extent_; ++z) {
                const Vector3d shift(at(x), at(y), at(z));
                const double value = sums_[y * wide_ + z] - shift.squaredNorm() * inverse_variance / 2;
                if (value > highest) highest = value, best = shift;
            }
    }
    return best;
}

Scorer::Result Scorer::score(std::int64_t reference, const Rotation& rotation, Vector3d& shift, int steps,
                             bool search) {
    float matrix[9];
    write_matrix(rotation, matrix);
    kernel_.project(grid_of(data_.references[reference], band_), points_, matrix, product_re_, product_im_);
    const double half_norm = kernel_.correlate({re_, im_, weight_}, band_.count, product_re_, product_im_);
    if (search) shift = grid_->best(kernel_, product_re_, product_im_, shifts_.inverse_variance);
    Vector3d at = shift.cwiseMax(-shifts_.largest).cwiseMin(shifts_.largest);
    double best = -std::numeric_limits<double>::infinity();
    for (int i = 0; i <= steps; ++i) {
        double sums[shift_sums];
        const Eigen::Vector3f turns = turns_of(at).cast<float>();
        kernel_.at_shift(points_, product_re_, product_im_, turns.data(), i < steps, sums);
        const double value = sums[0] - half_norm - prior(at);
        if (i > 0 && !(value > best)) break;
        best = value, shift = at;
        if (i < steps) at = step(at, sums);
    }
    return {best, 2 * half_norm};
}

Scorer::Result Scorer::refine(std::int64_t reference, Rotation& rotation, Vector3d& shift, int sweeps, double angle) {
    const ReferenceGrid grid = grid_of(data_.references[reference], band_);
    Result best = score(reference, rotation, shift, shifts_.steps, shifts_.search);
    for (int sweep = 0; sweep < sweeps; ++sweep) {
        const Eigen::Vector3f turns = turns_of(shift).cast<float>();
        kernel_.move(points_, {re_, im_, weight_}, turns.data(), moved_re_, moved_im_);
        float matrices[9 * most_rotations];
        for (int i = 0; i < 6; ++i) {
            Vector3d vector = Vector3d::Zero();
            vector[i / 2] = i % 2 ? -angle : angle;
            write_matrix(turn(vector) * rotation, matrices + 9 * i);
        }
        double values[most_rotations];
        kernel_.likelihoods(grid, points_, {moved_re_, moved_im_, weight_}, matrices, 6, values);
        const double here = best.likelihood + prior(shift);
        Vector3d vector;
        for (int axis : {0, 1, 2}) {
            const double ahead = values[2 * axis], behind = values[2 * axis + 1];
            const double bend = ahead + behind - 2 * here;
            vector[axis] = bend < 0 ? std::clamp(-0.5 * (ahead - behind) / bend, -1.5, 1.5) * angle
                                    : std::copysign(angle, ahead - behind);
        }
        const Rotation turned = turn(vector) * rotation;
        Vector3d moved = shift;
        const Result joint = score(reference, turned, moved, 1, false);
        if (joint.likelihood > best.likelihood) best = joint, rotation = turned, shift = moved;
        angle /= 2;
        const double length = vector.norm();
        if (length < angle / 2) angle = std::max(length, 0.002);
    }
    return best;
}

/// Calls `work(scorer, item, rotation, shift)` for every item and writes what it finds.
template <class Work>
void for_items(const PoseData& data, const PoseItems& items, const ShiftOptions& shifts, int threads, Work work) {
    require_points(data.indices, "indices");
    require(shifts.inverse_variance >= 0 && shifts.largest >= 0 && shifts.steps >= 0,
            "the prior's 1/xi^2, the largest shift and the number of steps must not be negative");
    const Band band(data.indices);
    require(band.radius > 0 && 2 * band.radius <= data.box,
            "coefficients must lie within Nyquist, and not all at k = 0");
    for (const auto& reference : data.references) require_reference(reference, band);
    require_items(data, items);
    const std::vector<std::int64_t> runs = particle_runs(items.particles, items.weights);
    const auto run_count = static_cast<int>(runs.size()) - 1;
    const int team = std::min(thread_count(threads), std::max(run_count, 1));
    instruction_set();    // may throw: not inside the team
#pragma omp parallel num_threads(team)
    {
        Scorer scorer(data, band, shifts);
#pragma omp for schedule(dynamic, 1)
        for (int run = 0; run < run_count; ++run) {
            scorer.take(items.particles(runs[run]), items.weights(runs[run]));
            for (std::int64_t i = runs[run]; i < runs[run + 1]; ++i) {
                Rotation rotation;
                Vector3d shift;
                for (int row : {0, 1, 2}) {
                    shift[row] = items.shifts(i, row);
                    for (int column : {0, 1, 2}) rotation(row, column) = items.rotations(i, row, column);
                }
                const Scorer::Result result = work(scorer, items.references(i), rotation, shift);
                for (int row : {0, 1, 2}) {
                    items.shifts(i, row) = shift[row];
                    for (int column : {0, 1, 2}) items.rotations(i, row, column) = rotation(row, column);
                }
                items.likelihoods(i) = result.likelihood;
                items.norms(i) = result.norm;
            }
        }
    }
}

}  // namespace

void score_poses(const PoseData& data, const PoseItems& items, const ShiftOptions& shifts, int threads) {
    for_items(data, items, shifts, threads,
              [&](Scorer& scorer, std::int64_t reference, Rotation& rotation, Vector3d& shift) {
                  return scorer.score(reference, rotation, shift, shifts.steps, shifts.search);
              });
}

void refine_poses(const PoseData& data, const PoseItems& items, const ShiftOptions& shifts, int sweeps, double step,
                  int threads) {
    require(sweeps >= 0 && step > 0 && step < 1, "expected sweeps >= 0 and a step between 0 and 1 radian, got ", sweeps,
            " and ", step);
    for_items(data, items, shifts, threads,
              [&](Scorer& scorer, std::int64_t reference, Rotation& rotation, Vector3d& shift) {
                  return scorer.refine(reference, rotation, shift, sweeps, step);
              });
}

void project_reference(View<const Complex, 3> reference, View<const float, 2> k, View<const double, 3> rotations,
                       View<Complex, 2> projections, int threads) {
    require_points(k, "k");
    const Band band(k);
    require_reference(reference, band);
    require_rotations(rotations);
    require(projections.shape[0] == rotations.shape[0] && projections.shape[1] == k.shape[0],
            "projections must be (", rotations.shape[0], ", ", k.shape[0], "), got (", projections.shape[0], ", ",
            projections.shape[1], ")");
    const auto count = static_cast<int>(rotations.shape[0]);
    const PoseLoops& kernel = loops();
#pragma omp parallel num_threads(thread_count(threads))
    {
        const Floats re(band.count), im(band.count);
#pragma omp for schedule(dynamic, 1)
        for (int i = 0; i < count; ++i) {
            float matrix[9];
            write_matrix(rotation_of(rotations, i), matrix);
            kernel.project(grid_of(reference, band), band.points(), matrix, re, im);
            for (std::size_t j = 0; j < band.order.size(); ++j) projections(i, band.order[j]) = {re[j], im[j]};
        }
    }
}

void voronoi_weights(View<const float, 2> samples, View<const double, 3> quaternions, View<const double, 3> shifts,
                     View<const std::int64_t, 1> counts, double alpha, double padding, View<double, 2> weights,
                     int threads) {
    const std::int64_t sample_count = samples.shape[0], particles = quaternions.shape[0], most = quaternions.shape[1];
    require(sample_count > 0 && samples.shape[1] == 7, "samples must be (sample, 7), got (", sample_count, ", ",
            samples.shape[1], ")");
    require(quaternions.shape[2] == 4 && shifts.shape[0] == particles && shifts.shape[1] == most &&
                shifts.shape[2] == 3 && counts.shape[0] == particles && weights.shape[0] == particles &&
                weights.shape[1] == most,
            "quaternions must be (particle, candidate, 4), shifts (particle, candidate, 3), counts (particle), weights "
            "(particle, candidate)");
    for (std::int64_t p = 0; p < particles; ++p)
        require(counts(p) >= 0 && counts(p) <= most, "counts must be 0 to ", most, ", got ", counts(p),
                " for particle ", p);
    // (component, sample), filled up to whole blocks.
    const std::int64_t padded = (sample_count + sample_block - 1) / sample_block * sample_block;
    const Floats table(7 * padded);
    for (int component = 0; component < 7; ++component)
        for (std::int64_t i = 0; i < padded; ++i)
            table[component * padded + i] = i < sample_count ? samples(i, component) : 0;
    const PoseLoops& kernel = loops();
#pragma omp parallel num_threads(thread_count(threads))
    {
        std::vector<float> candidates(static_cast<std::size_t>(8 * most));
        std::vector<std::int64_t> hits(static_cast<std::size_t>(most));
#pragma omp for schedule(dynamic, 1)
        for (std::int64_t p = 0; p < particles; ++p) {
            const std::int64_t count = counts(p);
            for (std::int64_t c = 0; c < most; ++c) weights(p, c) = 0;
            if (count == 0) continue;
            Vector3d low = Vector3d::Constant(std::numeric_limits<double>::max()), high = -low;
            const auto shift = [&](std::int64_t c) {
                return Vector3d(shifts(p, c, 0), shifts(p, c, 1), shifts(p, c, 2));
            };
            for (std::int64_t c = 0; c < count; ++c) low = low.cwiseMin(shift(c)), high = high.cwiseMax(shift(c));
            const Vector3d centre = (low + high) / 2, extent = (high - low).array() + 2 * padding;
            // About the centre t = extent (u - 1/2), so -|t - t_c|^2 is 2 t_c . extent u - t_c . extent - |t_c|^2 + ...
            for (std::int64_t c = 0; c < count; ++c) {
                float* candidate = &candidates[static_cast<std::size_t>(8 * c)];
                const Vector3d at = shift(c) - centre;
                for (int i = 0; i < 4; ++i)
                    candidate[i] = static_cast<float>(std::sqrt(8.0) * quaternions(p, c, i));
                for (int i = 0; i < 3; ++i) candidate[4 + i] = static_cast<float>(2 * alpha * at[i] * extent[i]);
                candidate[7] = static_cast<float>(-alpha * (at.dot(extent) + at.squaredNorm()));
            }
            std::fill(hits.begin(), hits.end(), 0);
            kernel.nearest(table, static_cast<int>(sample_count), padded, candidates.data(), static_cast<int>(count),
                           hits.data());
            for (std::int64_t c = 0; c < count; ++c)
                weights(p, c) = static_cast<double>(hits[c] + 1) / static_cast<double>(sample_count + count);
        }
    }
}

}  // namespace concordet
