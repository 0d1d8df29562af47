#include "expectation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "band.hpp"
#include "check.hpp"
#include "expectation_loops.hpp"
#include "threads.hpp"

namespace concordet {
namespace {

using Complex = std::complex<float>;

/// Items that are laid out in memory before they are inserted, and what their particles may take: enough for the grid
/// to be read once for many.
constexpr std::size_t most_items = 256;
constexpr double most_bytes = 128e6;
/// Cells along the edge of a tile.
constexpr int tile = 16;
/// Cells kept at x < 0: where a cube whose centre is not below x = 0 may reach to.
constexpr int margin = 8;
/// Eight cells of the grid hold one coefficient of the particle.
constexpr float density = 8;

/// How far the points of a cube lie from its centre, in cells, at most.
constexpr double cube_reach = 2 * Band::cube_radius;
// Tiles with one between them are filled at the same time: cubes from both sides, and the next cell of a point.
static_assert(2 * (cube_reach + 1) + 1 < tile && cube_reach + 1 < margin);

void require_items(const Observations& data, const PosedItems& items) {
    const std::int64_t count = items.particles.shape[0], coefficients = data.indices.shape[0];
    require(data.box > 0, "box must be positive, got ", data.box);
    require(data.p0.shape[1] >= coefficients && data.p1.shape[1] >= coefficients,
            "p0 and p1 must have at least ", coefficients, " coefficients, got ", data.p0.shape[1], " and ",
            data.p1.shape[1]);
    require(data.p0.strides[1] == 1 && data.p1.strides[1] == 1, "rows of p0 and p1 must be contiguous");
    require(items.weights.shape[0] == count && items.rotations.shape[0] == count && items.shifts.shape[0] == count &&
                items.shifts.shape[1] == 3,
            "all arrays of items must have ", count, " of them");
    for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t particle = items.particles(i), weight = items.weights(i);
        require(particle >= 0 && particle < data.p0.shape[0], "item ", i, ": particle ", particle, " is not one of ",
                data.p0.shape[0]);
        require(weight >= 0 && weight < data.p1.shape[0], "item ", i, ": weight ", weight, " is not one of ",
                data.p1.shape[0]);
        for (int axis : {0, 1, 2}) require(std::isfinite(items.shifts(i, axis)), "shift ", i, " is not finite");
    }
    require_rotations(items.rotations);
}

/// t / n of an item.
void write_turns(const Observations& data, const PosedItems& items, std::int64_t item, float* turns) {
    for (int axis : {0, 1, 2}) turns[axis] = static_cast<float>(items.shifts(item, axis) / data.box);
}

/// Sets to zero what lies behind the points of a band.
void clear_tail(const Band& band, const Floats& values) {
    std::fill(values + band.order.size(), values + band.count + Band::guard, 0.0f);
}

/// A particle in the order of a band's points.
struct Ordered {
    Floats re, im;

    explicit Ordered(const Band& band) : re(band.count + Band::guard), im(band.count + Band::guard) {
        for (const Floats* values : {&re, &im}) clear_tail(band, *values);
    }
    void take(const Band& band, const Complex* p0) {
        for (std::size_t i = 0; i < band.order.size(); ++i) {
            const Complex value = p0[band.order[i]];
            re[i] = value.real();
            im[i] = value.imag();
        }
    }
};

/// Its weights in that order.
struct OrderedWeights {
    Floats values;

    explicit OrderedWeights(const Band& band) : values(band.count + Band::guard) { clear_tail(band, values); }
    void take(const Band& band, const float* p1) {
        for (std::size_t i = 0; i < band.order.size(); ++i) values[i] = p1[band.order[i]];
    }
};

/// The sums while they grow: (re, im, weight, 0) a cell, from x = -margin on.
class Work {
public:
    Work(const Band& band, int reach)
        : reach_(reach), rows_(2 * reach + 1), pitch_((margin + reach + 2 + 3) / 4 * 4),
          radius_(2.01 * band.radius + 3),
          cells_(4 * static_cast<std::size_t>(pitch_) * rows_ * rows_) {
        require(static_cast<double>(pitch_) * rows_ * rows_ < std::numeric_limits<int>::max(),
                "the sums are too large: ", rows_, " slices");
    }

    SumGrid grid() const {
        return {row(0, 0) + 4 * margin, pitch_, pitch_ * rows_};
    }

    /// Sets to zero what the band can reach. Call by all threads of a team.
    void clear() const {
#pragma omp for schedule(static)
        for (int z = -reach_; z <= reach_; ++z)
            for (int y = -reach_; y <= reach_; ++y)
                std::fill_n(row(z, y), 4 * (margin + reached(z, y) + 1), 0.0f);
    }

    /// Adds both halves of space to sums at x >= 0. Call by all threads of a team.
    void add_to(View<Complex, 3> numerator, View<float, 3> denominator) const {
#pragma omp for schedule(static)
        for (int z = -reach_; z <= reach_; ++z)
            for (int y = -reach_; y <= reach_; ++y) {
                const int last = std::min(reached(z, y), reach_);
                Complex* num = &numerator(z + reach_, y + reach_, 0);
                float* den = &denominator(z + reach_, y + reach_, 0);
                const float* here = row(z, y) + 4 * margin;
                const float* opposite = row(-z, -y) + 4 * margin;
                for (int x = 0; x <= last; ++x) {
                    Complex sum(here[4 * x], here[4 * x + 1]);
                    float weight = here[4 * x + 2];
                    if (x <= margin) {
                        sum += Complex(opposite[-4 * x], -opposite[-4 * x + 1]);
                        weight += opposite[-4 * x + 2];
                    }
                    num[x] += density * sum;
                    den[x] += density * weight;
                }
            }
    }

private:
    /// The last x of a row that points may touch; -margin - 1 where they never touch it.
    int reached(int z, int y) const {
        const double squared = radius_ * radius_ - z * z - y * y;
        return squared < 0 ? -margin - 1 : std::min(static_cast<int>(std::sqrt(squared)), reach_ + 1);
    }
    float* row(int z, int y) const {
        return cells_ + 4 * static_cast<std::int64_t>(pitch_) *
                            (static_cast<std::int64_t>(z + reach_) * rows_ + y + reach_);
    }

    const int reach_, rows_, pitch_;
    const double radius_;
    const Floats cells_;
};

/// Which cubes of an item go to which brick of the grid.
///
/// Bricks are `tile` cells a side; those of one (z, y) form a tile, which one thread fills. A cube goes to the brick of
/// its centre, or of the opposite point where that lies at x < 0.
class Bricks {
public:
    explicit Bricks(int reach) : reach_(reach), along_(2 * reach / tile + 1), across_(reach / tile + 1) {}
    int tiles() const { return along_; }
    int across() const { return across_; }
    int count() const { return along_ * along_ * across_; }
    int first_of(int z, int y) const { return (z * along_ + y) * across_; }

    /// Cubes by brick, 2 cube + 1 for opposite ones; those of brick b from ends[b] to ends[b + 1] - 1.
    void sort(const Band& band, const float* matrix, std::vector<std::int32_t>& entries,
              std::vector<std::int32_t>& ends, std::vector<std::int32_t>& keys) const {
        const auto cubes = static_cast<int>(band.cubes.size());
        entries.resize(band.cubes.size());
        keys.resize(band.cubes.size());
        ends.assign(static_cast<std::size_t>(count()) + 2, 0);
        const auto place = [](float at, int bricks) {
            return std::min(static_cast<int>(std::max(at, 0.0f)) / tile, bricks - 1);
        };
        for (int i = 0; i < cubes; ++i) {
            const Band::Cube& cube = band.cubes[i];
            float x = matrix[0] * cube.x + matrix[1] * cube.y + matrix[2] * cube.z;
            float y = matrix[3] * cube.x + matrix[4] * cube.y + matrix[5] * cube.z;
            float z = matrix[6] * cube.x + matrix[7] * cube.y + matrix[8] * cube.z;
            const bool opposite = x < 0;
            if (opposite) x = -x, y = -y, z = -z;
            const auto middle = static_cast<float>(reach_);
            const int brick = first_of(place(z + middle, along_), place(y + middle, along_)) + place(x, across_);
            keys[i] = 2 * brick + opposite;
            ++ends[brick + 2];
        }
        for (std::size_t i = 1; i < ends.size(); ++i) ends[i] += ends[i - 1];
        for (int i = 0; i < cubes; ++i) entries[ends[keys[i] / 2 + 1]++] = 2 * i + keys[i] % 2;
    }

private:
    const int reach_, along_, across_;
};

/// Asks for what `insert` reads of a cube.
void fetch(const Band& band, const ParticleBand& particle, int cube) {
    const int first = band.cubes[cube].first, last = band.cubes[cube].last;
    for (const float* values : {particle.re, particle.im, particle.weight, static_cast<const float*>(band.kx),
                                static_cast<const float*>(band.ky), static_cast<const float*>(band.kz)})
        for (int i = first; i < last + 16; i += 16) __builtin_prefetch(values + i);
}

/// One item, ready to be inserted.
struct Prepared {
    std::int64_t item;
    std::size_t particle, weights;    ///< which of those laid out
    Insertion ahead, opposite;
    std::vector<std::int32_t> entries, ends;
};

}  // namespace

void accumulate(const Observations& data, const PosedItems& items, View<const double, 1> shares,
                View<Complex, 3> numerator, View<float, 3> denominator, int threads) {
    require_points(data.indices, "indices");
    const Band band(data.indices);
    require_reference({numerator.data, numerator.shape, numerator.strides}, band);
    require(denominator.shape == numerator.shape && denominator.strides[2] == 1,
            "numerator and denominator must have one shape and contiguous rows");
    require_items(data, items);
    require(shares.shape[0] == items.particles.shape[0], "all arrays of items must have ", items.particles.shape[0],
            " of them");
    std::vector<std::int64_t> chosen;
    for (std::int64_t i = 0; i < shares.shape[0]; ++i) {
        require(std::isfinite(shares(i)) && shares(i) >= 0, "share ", i, " must be finite and not negative, got ",
                shares(i));
        if (shares(i) > 0) chosen.push_back(i);
    }
    if (chosen.empty()) return;

    const int reach = static_cast<int>(numerator.shape[2]) - 1, team = thread_count(threads);
    const ExpectationLoops& kernel = CHOSEN_LOOPS(expectation_loops);
    const Work work(band, reach);
    const Bricks bricks(reach);
    const SumGrid grid = work.grid();
    std::vector<Ordered> particles;
    std::vector<OrderedWeights> weights;
    std::vector<Prepared> batch(std::min(most_items, chosen.size()));
#pragma omp parallel num_threads(team)
    work.clear();
    for (std::size_t next = 0; next < chosen.size();) {
        // 1. As many items as fit; items of one particle, or one row of weights, in a row share what is laid out.
        std::vector<std::int64_t> particle_rows, weight_rows;
        std::size_t size = 0;
        for (; next < chosen.size() && size < most_items; ++next, ++size) {
            const std::int64_t item = chosen[next], particle = items.particles(item), weight = items.weights(item);
            const bool new_particle = particle_rows.empty() || particle_rows.back() != particle;
            const bool new_weights = weight_rows.empty() || weight_rows.back() != weight;
            const double values = 2.0 * static_cast<double>(particle_rows.size() + new_particle) +
                                  static_cast<double>(weight_rows.size() + new_weights);
            if (size > 0 && values * band.count * sizeof(float) > most_bytes) break;
            if (new_particle) particle_rows.push_back(particle);
            if (new_weights) weight_rows.push_back(weight);
            Prepared& prepared = batch[size];
            prepared.item = item;
            prepared.particle = particle_rows.size() - 1;
            prepared.weights = weight_rows.size() - 1;
        }
        while (particles.size() < particle_rows.size()) particles.emplace_back(band);
        while (weights.size() < weight_rows.size()) weights.emplace_back(band);
        const auto particle_count = static_cast<int>(particle_rows.size());
        const auto weight_count = static_cast<int>(weight_rows.size());
        const auto item_count = static_cast<int>(size);
#pragma omp parallel num_threads(team)
        {
            // 2. Lay them out in the order of the points, and say which cubes go where.
#pragma omp for schedule(dynamic, 1) nowait
            for (int i = 0; i < particle_count; ++i) particles[i].take(band, &data.p0(particle_rows[i], 0));
#pragma omp for schedule(dynamic, 1) nowait
            for (int i = 0; i < weight_count; ++i) weights[i].take(band, &data.p1(weight_rows[i], 0));
            std::vector<std::int32_t> keys;
#pragma omp for schedule(dynamic, 1)
            for (int i = 0; i < item_count; ++i) {
                Prepared& prepared = batch[i];
                Insertion& ahead = prepared.ahead;
                write_matrix(rotation_of(items.rotations, prepared.item), ahead.matrix);
                write_turns(data, items, prepared.item, ahead.turns);
                ahead.sign = 1;
                ahead.share = static_cast<float>(shares(prepared.item));
                prepared.opposite = ahead;
                prepared.opposite.sign = -1;
                for (float& value : prepared.opposite.matrix) value = -value;
                bricks.sort(band, ahead.matrix, prepared.entries, prepared.ends, keys);
            }
            // 3. Every fourth tile at once, so that no two cubes meet; in each, brick by brick, all items.
            for (int colour = 0; colour < 4; ++colour) {
                const int first_z = colour / 2, first_y = colour % 2;
                const int lines = (bricks.tiles() - first_z + 1) / 2, columns = (bricks.tiles() - first_y + 1) / 2;
#pragma omp for schedule(dynamic, 1)
                for (int i = 0; i < lines * columns; ++i) {
                    const int brick = bricks.first_of(first_z + 2 * (i / columns), first_y + 2 * (i % columns));
                    for (int b = brick; b < brick + bricks.across(); ++b)
                        for (int j = 0; j < item_count; ++j) {
                            const Prepared& prepared = batch[j];
                            const Ordered& particle = particles[prepared.particle];
                            const ParticleBand values{particle.re, particle.im, weights[prepared.weights].values};
                            for (int e = prepared.ends[b]; e < prepared.ends[b + 1]; ++e) {
                                const Band::Cube& cube = band.cubes[prepared.entries[e] / 2];
                                if (e + 1 < prepared.ends[b + 1]) fetch(band, values, prepared.entries[e + 1] / 2);
                                kernel.insert(grid, band.points(), values, cube.first, cube.last,
                                              prepared.entries[e] % 2 ? prepared.opposite : prepared.ahead);
                            }
                        }
                }
            }
        }
    }
#pragma omp parallel num_threads(team)
    work.add_to(numerator, denominator);
}

void shell_sums(const std::vector<View<const Complex, 3>>& references, const Observations& data,
                const PosedItems& items, View<const std::int64_t, 1> reference_index,
                View<const std::int32_t, 1> shells, View<double, 3> sums, int threads) {
    require_points(data.indices, "indices");
    const Band band(data.indices);
    for (const auto& reference : references) require_reference(reference, band);
    require_items(data, items);
    const std::int64_t count = items.particles.shape[0], coefficients = data.indices.shape[0];
    const auto shell_count = static_cast<int>(sums.shape[1]);
    require(reference_index.shape[0] == count && sums.shape[0] == count && sums.shape[2] == 2,
            "all arrays of items must have ", count, " of them, and two sums a shell");
    require(shells.shape[0] >= coefficients, "shells must have at least ", coefficients, " values, got ",
            shells.shape[0]);
    for (std::int64_t i = 0; i < count; ++i)
        require(reference_index(i) >= 0 && reference_index(i) < static_cast<std::int64_t>(references.size()), "item ",
                i, ": reference ", reference_index(i), " is not one of ", references.size());
    std::vector<std::int32_t> shell_of(static_cast<std::size_t>(band.count), 0);
    for (std::int64_t i = 0; i < coefficients; ++i) {
        const std::int32_t shell = shells(band.order[i]);
        require(shell >= 0 && shell < shell_count, "shell ", shell, " is not one of ", shell_count);
        shell_of[i] = shell;
    }
    const std::vector<std::int64_t> runs = particle_runs(items.particles, items.weights);
    const auto run_count = static_cast<int>(runs.size()) - 1;
    const PoseLoops& sampling = CHOSEN_LOOPS(pose_loops);
    const ExpectationLoops& kernel = CHOSEN_LOOPS(expectation_loops);
    const int team = std::min(thread_count(threads), std::max(run_count, 1));
#pragma omp parallel num_threads(team)
    {
        Ordered particle(band), moved(band), projection(band);
        OrderedWeights weights(band);
        const Aligned<double> tables(2 * bin_copies * shell_count);
#pragma omp for schedule(dynamic, 1)
        for (int run = 0; run < run_count; ++run) {
            particle.take(band, &data.p0(items.particles(runs[run]), 0));
            weights.take(band, &data.p1(items.weights(runs[run]), 0));
            for (std::int64_t i = runs[run]; i < runs[run + 1]; ++i) {
                float matrix[9], turns[3];
                write_matrix(rotation_of(items.rotations, i), matrix);
                write_turns(data, items, i, turns);
                sampling.project(grid_of(references[reference_index(i)], band), band.points(), matrix, projection.re,
                                 projection.im);
                sampling.move(band.points(), {particle.re, particle.im, weights.values}, turns, moved.re, moved.im);
                tables.fill(0);
                kernel.bin({moved.re, moved.im, weights.values}, projection.re, projection.im, shell_of.data(),
                           band.count, shell_count, tables);
                for (int shell = 0; shell < shell_count; ++shell)
                    for (int part : {0, 1}) {
                        double sum = 0;
                        for (int copy = 0; copy < bin_copies; ++copy)
                            sum += tables[2 * (copy * shell_count + shell) + part];
                        sums(i, shell, part) = 2 * sum;    // k and -k
                    }
            }
        }
    }
}

}  // namespace concordet
