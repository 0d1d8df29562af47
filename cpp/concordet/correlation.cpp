#include "correlation.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>

#include "aligned.hpp"
#include "check.hpp"
#include "correlation_loops.hpp"
#include "threads.hpp"
#include "wigner.hpp"

namespace concordet {
namespace {

using Complex = std::complex<float>;

const CorrelationLoops& loops() {
    static const CorrelationLoops& chosen = CHOSEN_LOOPS(correlation_loops);
    return chosen;
}

/// Room for one block of particles, one per lane.
struct Workspace {
    std::int64_t harmonics, rotations;
    Aligned<float> particles, references, contracted, rings, best, other;
    Aligned<std::int32_t> index;

    Workspace(int band, int shells, int angles, int lanes)
        : harmonics(static_cast<std::int64_t>(band) * (band + 1) * shells),
          rotations(static_cast<std::int64_t>(angles) * angles * angles / 2),
          particles(harmonics * lanes),
          references(harmonics * lanes),
          contracted(static_cast<std::int64_t>(band) * (band + 1) * (2 * band + 1) / 6 * 4 * lanes),
          rings(static_cast<std::int64_t>(betas_per_group) * angles * band * 2 * lanes),
          best(rotations * lanes),
          other(rotations * lanes),
          index(rotations * lanes) {}

    SynthesisWork work() const { return {contracted, rings}; }
};

struct Quaternion {
    double w, x, y, z;
};

/// Rz(a) Ry(b) Rz(g) of grid point `at` = (beta N + gamma) N + alpha.
Quaternion grid_rotation(std::int64_t at, int angles) {
    const double step = std::numbers::pi / angles;    // half of the angle's step
    const double alpha = (static_cast<double>(at % angles) + 0.5) * step;
    const double gamma = (static_cast<double>(at / angles % angles) + 0.5) * step;
    const double beta = (static_cast<double>(at / angles / angles) + 0.5) * step;
    return {std::cos(beta) * std::cos(alpha + gamma), -std::sin(beta) * std::sin(alpha - gamma),
            std::sin(beta) * std::cos(alpha - gamma), std::cos(beta) * std::sin(alpha + gamma)};
}

std::array<double, 9> matrix(const Quaternion& q) {
    const auto [w, x, y, z] = q;
    return {1 - 2 * (y * y + z * z), 2 * (x * y - w * z),     2 * (x * z + w * y),
            2 * (x * y + w * z),     1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y),     2 * (y * z + w * x),     1 - 2 * (x * x + y * y)};
}

void check_harmonics(std::int64_t orders, std::int64_t shells, int expected_orders, int expected_shells,
                     const char* name) {
    require(orders == expected_orders && shells == expected_shells, name, ": expected ", expected_orders, " orders x ",
            expected_shells, " shells, got ", orders, " x ", shells);
}

}  // namespace

RotationalSearch::RotationalSearch(int band, int shells, int angles) : band_(band), shells_(shells), angles_(angles) {
    require(band >= 1 && band <= 128, "band limit: expected 1 to 128, got ", band);
    require(shells >= 1, "shells: expected at least 1, got ", shells);
    require(angles >= 16 && angles % 16 == 0 && angles <= 1024, "angles: expected a multiple of 16 up to 1024, got ",
            angles);
    const auto quarter = static_cast<std::size_t>(angles / 4);
    for (int m = 0; m < band; ++m)
        for (std::size_t i = 0; i < quarter; ++i) {
            const double angle = m * (static_cast<double>(i) + 0.5) * 2 * std::numbers::pi / angles;
            cosines_.push_back(static_cast<float>(std::cos(angle)));
            sines_.push_back(static_cast<float>(std::sin(angle)));
        }
    std::vector<double> plus(static_cast<std::size_t>(band) * betas_per_group), minus = plus;
    for (int group = 0; group < betas() / betas_per_group; ++group)
        for (int m = 0; m < band; ++m)
            for (int m_prime = 0; m_prime < band; ++m_prime) {
                for (int b = 0; b < betas_per_group; ++b) {
                    const double beta = (group * betas_per_group + b + 0.5) * 2 * std::numbers::pi / angles;
                    wigner_d_sequence(m, m_prime, beta, band, plus.data() + b * band);
                    wigner_d_sequence(m, -m_prime, beta, band, minus.data() + b * band);
                }
                for (int l = 0; l < band - std::max(m, m_prime); ++l)
                    for (const auto* sequence : {&plus, &minus})
                        for (int b = 0; b < betas_per_group; ++b)
                            wigner_.push_back(static_cast<float>((m ? 2 : 1) * (*sequence)[b * band + l]));
            }
}

void RotationalSearch::correlate(View<const Complex, 2> particle, View<const Complex, 2> reference,
                                 View<float, 3> values) const {
    check_harmonics(particle.shape[0], particle.shape[1], orders(), shells_, "particle");
    check_harmonics(reference.shape[0], reference.shape[1], orders(), shells_, "reference");
    require(values.shape == std::array<std::int64_t, 3>{betas(), angles_, angles_}, "values must have shape (", betas(),
            ", ", angles_, ", ", angles_, ")");
    const int lanes = loops().lanes;
    const Workspace space(band_, shells_, angles_, lanes);
    std::vector<const float*> sources(static_cast<std::size_t>(lanes), nullptr);
    const auto gather = [&](const View<const Complex, 2>& from, float* to) {
        require(from.strides[1] == 1 && from.strides[0] == shells_, "harmonics must be contiguous");
        sources[0] = reinterpret_cast<const float*>(from.data);
        loops().interleave(sources.data(), space.harmonics, to);
    };
    gather(particle, space.particles);
    gather(reference, space.references);
    const SynthesisTables tables{band_, shells_, angles_, betas() / betas_per_group, wigner_.data(), cosines_.data(),
                                 sines_.data()};
    loops().correlate(tables, space.work(), space.particles, space.references, 0, 0, space.best,
                      nullptr);
    std::int64_t at = 0;
    for (std::int64_t beta = 0; beta < values.shape[0]; ++beta)
        for (std::int64_t gamma = 0; gamma < angles_; ++gamma)
            for (std::int64_t alpha = 0; alpha < angles_; ++alpha)
                values(beta, gamma, alpha) = space.best[lanes * at++];
}

void RotationalSearch::search(const SearchInput& input, const SearchOutput& output, int threads) const {
    const std::int64_t particles = input.particles.shape[0], shifts = input.particles.shape[1];
    const std::int64_t most = output.scores.shape[1];
    check_harmonics(input.particles.shape[2], input.particles.shape[3], orders(), shells_, "particles");
    check_harmonics(input.weights.shape[1], input.weights.shape[2], orders(), shells_, "weights");
    check_harmonics(input.references.shape[1], input.references.shape[2], orders(), shells_, "references");
    require(input.squares.shape == input.references.shape, "squares must have the shape of references");
    require(input.particles.strides[3] == 1 && input.particles.strides[2] == shells_ &&
                input.weights.strides[2] == 1 && input.weights.strides[1] == shells_ &&
                input.references.strides[2] == 1 && input.references.strides[1] == shells_ &&
                input.squares.strides[2] == 1 && input.squares.strides[1] == shells_,
            "harmonics must be contiguous");
    require(input.penalties.shape[0] == shifts && shifts >= 1, "expected one penalty per shift, and a shift at least");
    require(input.weight_index.shape[0] == particles && input.reference_index.shape[0] == particles,
            "expected one weight index and one reference index per particle");
    for (std::int64_t i = 0; i < particles; ++i) {
        require(input.weight_index(i) >= 0 && input.weight_index(i) < input.weights.shape[0], "weight index ",
                input.weight_index(i), " of particle ", i, " is out of range");
        require(input.reference_index(i) >= 0 && input.reference_index(i) < input.references.shape[0],
                "reference index ", input.reference_index(i), " of particle ", i, " is out of range");
    }
    require(most >= 1 && output.scores.shape[0] == particles && output.shifts.shape == output.scores.shape &&
                output.counts.shape[0] == particles &&
                output.rotations.shape == std::array<std::int64_t, 4>{particles, most, 3, 3},
            "outputs must have shapes (particles, count, 3, 3), (particles, count), (particles, count), (particles)");
    const int lanes = loops().lanes;
    const std::int64_t blocks = (particles + lanes - 1) / lanes;
    const SynthesisTables tables{band_, shells_, angles_, betas() / betas_per_group, wigner_.data(), cosines_.data(),
                                 sines_.data()};
    const double same = std::cos(input.separation / 2);
    constexpr float nothing = -std::numeric_limits<float>::infinity();
    const int team = static_cast<int>(std::min<std::int64_t>(thread_count(threads), std::max<std::int64_t>(blocks, 1)));
#pragma omp parallel num_threads(team)
    {
        const Workspace space(band_, shells_, angles_, lanes);
        float *const best = space.best, *const other = space.other;
        std::vector<const float*> sources(static_cast<std::size_t>(lanes));
        std::vector<std::pair<float, std::int64_t>> heap;
        std::vector<Quaternion> kept;
#pragma omp for schedule(dynamic)
        for (std::int64_t block = 0; block < blocks; ++block) {
            const std::int64_t first = block * lanes, count = std::min<std::int64_t>(lanes, particles - first);
            const auto gather = [&](float* to, auto&& of_particle) {
                std::fill(sources.begin(), sources.end(), nullptr);
                for (std::int64_t lane = 0; lane < count; ++lane)
                    sources[static_cast<std::size_t>(lane)] =
                        reinterpret_cast<const float*>(of_particle(first + lane));
                loops().interleave(sources.data(), space.harmonics, to);
            };
            gather(space.references, [&](auto i) { return &input.references(input.reference_index(i), 0, 0); });
            space.best.fill(nothing);
            space.index.fill(0);
            for (std::int64_t shift = 0; shift < shifts; ++shift) {
                gather(space.particles, [&](auto i) { return &input.particles(i, shift, 0, 0); });
                loops().correlate(tables, space.work(), space.particles, space.references,
                                  input.penalties(shift), static_cast<int>(shift), best, space.index);
            }
            gather(space.references, [&](auto i) { return &input.squares(input.reference_index(i), 0, 0); });
            gather(space.particles, [&](auto i) { return &input.weights(input.weight_index(i), 0, 0); });
            loops().correlate(tables, space.work(), space.particles, space.references, 0, 0, other, nullptr);
            if (input.score == SearchScore::likelihood) {
                for (std::int64_t i = 0; i < space.rotations * lanes; ++i) best[i] -= 0.5f * other[i];
            } else {
                for (std::int64_t lane = 0; lane < count; ++lane) {
                    float highest = std::numeric_limits<float>::min();
                    for (std::int64_t i = 0; i < space.rotations; ++i) highest = std::max(highest, other[i * lanes + lane]);
                    // The truncated series may fall to zero or below where little is observed.
                    for (std::int64_t i = 0; i < space.rotations; ++i)
                        best[i * lanes + lane] /= std::sqrt(std::max(other[i * lanes + lane], 1e-3f * highest));
                }
            }
            loops().peaks(angles_, betas(), best, nothing, other);
            for (std::int64_t lane = 0; lane < count; ++lane) {
                heap.clear();
                for (std::int64_t i = 0; i < space.rotations; ++i)
                    if (other[i * lanes + lane] > nothing) heap.emplace_back(other[i * lanes + lane], -i);
                std::make_heap(heap.begin(), heap.end());
                kept.clear();
                while (!heap.empty() && static_cast<std::int64_t>(kept.size()) < most) {
                    std::pop_heap(heap.begin(), heap.end());
                    const auto [score, negative] = heap.back();
                    heap.pop_back();
                    const Quaternion q = grid_rotation(-negative, angles_);
                    const bool near = std::any_of(kept.begin(), kept.end(), [&](const Quaternion& o) {
                        return std::abs(q.w * o.w + q.x * o.x + q.y * o.y + q.z * o.z) > same;
                    });
                    if (near) continue;
                    const auto rank = static_cast<std::int64_t>(kept.size());
                    const auto rotation = matrix(q);
                    for (int i = 0; i < 9; ++i)
                        output.rotations(first + lane, rank, i / 3, i % 3) = static_cast<float>(rotation[i]);
                    output.shifts(first + lane, rank) = space.index[-negative * lanes + lane];
                    output.scores(first + lane, rank) = score;
                    kept.push_back(q);
                }
                output.counts(first + lane) = static_cast<std::int64_t>(kept.size());
            }
        }
    }
}

}  // namespace concordet
