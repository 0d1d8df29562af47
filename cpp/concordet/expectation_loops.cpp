#include "expectation_loops.hpp"

#include "sampling_lanes.hpp"

namespace concordet {
namespace {

static_assert(insertion_block % LANES == 0);

/// Two neighbouring cells along x.
typedef float Cells __attribute__((vector_size(32)));

INLINE void add(float* cells, Cells value, float weight) {
    Cells sum;
    memcpy(&sum, cells, sizeof sum);
    sum += value * weight;
    memcpy(cells, &sum, sizeof sum);
}

/// The whole number at or below each value, so that the rest is 0 to 1 to the last bit.
INLINE IndexVector floor_of(Vector value) {
    const IndexVector near = truncated(value);
    return near + (value < as_numbers(near));    // true is -1
}

/// Points of a cube, ready to be added: values, cells, and the shares of the cells around.
struct Spread {
    alignas(64) float re[insertion_block], im[insertion_block], weight[insertion_block];
    alignas(64) float fx[insertion_block];
    alignas(64) float rows[4][insertion_block];    ///< shares of the rows (y, z), (y + 1, z), (y, z + 1), both + 1
    alignas(64) int offsets[insertion_block];
};

void insert(const SumGrid& grid, const BandPoints& points, const ParticleBand& particle, int first, int last,
            const Insertion& pose) {
    Spread to;
    const float* m = pose.matrix;
    const int count = last - first;
    for (int i = 0; i < count; i += LANES) {
        const int at = first + i;
        const Vector kx = load(points.kx + at), ky = load(points.ky + at), kz = load(points.kz + at);
        const Vector x = spread(m[0]) * kx + spread(m[1]) * ky + spread(m[2]) * kz;
        const Vector y = spread(m[3]) * kx + spread(m[4]) * ky + spread(m[5]) * kz;
        const Vector z = spread(m[6]) * kx + spread(m[7]) * ky + spread(m[8]) * kz;
        const IndexVector ix = floor_of(x), iy = floor_of(y), iz = floor_of(z);
        const IndexVector offset = iz * grid.slice + iy * grid.row + ix;
        memcpy(to.offsets + i, &offset, sizeof offset);
        // Products, so that no share is below zero.
        const Vector fy = y - as_numbers(iy), fz = z - as_numbers(iz), gy = 1.0f - fy, gz = 1.0f - fz;
        store(to.fx + i, x - as_numbers(ix));
        store(to.rows[0] + i, gy * gz);
        store(to.rows[1] + i, fy * gz);
        store(to.rows[2] + i, gy * fz);
        store(to.rows[3] + i, fy * fz);
        Vector c, s;
        unit_phase(kx * spread(pose.turns[0]) + ky * spread(pose.turns[1]) + kz * spread(pose.turns[2]), c, s);
        const Vector a = load(particle.re + at), b = load(particle.im + at), share = spread(pose.share);
        store(to.re + i, share * (a * c - b * s));
        store(to.im + i, share * spread(pose.sign) * (a * s + b * c));
        store(to.weight + i, share * load(particle.weight + at));
    }
    const std::int64_t row = 4 * static_cast<std::int64_t>(grid.row), slice = 4 * static_cast<std::int64_t>(grid.slice);
    float* const centre = grid.centre;
    const Cells here{1, 1, 1, 1, 0, 0, 0, 0}, onward{-1, -1, -1, -1, 1, 1, 1, 1};
    for (int i = 0; i < count; ++i) {
        const Cells point{to.re[i], to.im[i], to.weight[i], 0, to.re[i], to.im[i], to.weight[i], 0};
        const Cells value = point * (here + onward * to.fx[i]);
        float* cells = centre + 4 * static_cast<std::int64_t>(to.offsets[i]);
        add(cells, value, to.rows[0][i]);
        add(cells + row, value, to.rows[1][i]);
        add(cells + slice, value, to.rows[2][i]);
        add(cells + slice + row, value, to.rows[3][i]);
    }
}

void bin(const ParticleBand& particle, const float* re, const float* im, const std::int32_t* shells, int count,
         int shell_count, double* tables) {
    typedef double Pair __attribute__((vector_size(16)));
    for (int i = 0; i < count; i += LANES) {
        alignas(64) float cross[LANES], square[LANES];
        const Vector a = load(re + i), b = load(im + i);
        store(cross, load(particle.re + i) * a + load(particle.im + i) * b);
        store(square, load(particle.weight + i) * (a * a + b * b));
#pragma GCC unroll 16
        for (int lane = 0; lane < LANES; ++lane) {
            double* at = tables + 2 * (lane % bin_copies * shell_count + shells[i + lane]);
            Pair sum;
            memcpy(&sum, at, sizeof sum);
            sum += Pair{cross[lane], square[lane]};
            memcpy(at, &sum, sizeof sum);
        }
    }
}

const ExpectationLoops loops{insert, bin};

}  // namespace

const ExpectationLoops& JOIN(expectation_loops_, CONCORDET_ISA)() { return loops; }

}  // namespace concordet
