#include "poses_loops.hpp"

#if defined(__AVX__)
#include <immintrin.h>
#endif

#include "sampling_lanes.hpp"

namespace concordet {
namespace {

static_assert(point_block % (4 * LANES) == 0);

#if defined(__AVX512F__)

/// Sixteen bytes at `at` + offset of four points, one after another.
INLINE __m512 four_pairs(const float* at, const int* offsets) {
    __m512 pairs = _mm512_castps128_ps512(_mm_loadu_ps(at + offsets[0]));
    pairs = _mm512_insertf32x4(pairs, _mm_loadu_ps(at + offsets[1]), 1);
    pairs = _mm512_insertf32x4(pairs, _mm_loadu_ps(at + offsets[2]), 2);
    return _mm512_insertf32x4(pairs, _mm_loadu_ps(at + offsets[3]), 3);
}

/// The cells at `offsets`, interpolated: the two values along x of a row lie together, so four loads make a cell.
INLINE void interpolate(const ReferenceGrid& grid, const int* offsets, Vector fx, Vector fy, Vector fz, Vector& re,
                        Vector& im) {
    const float* low = grid.centre;
    const float* high = low + grid.slice;
    __m512 value[4];
#pragma GCC unroll 4
    for (int part = 0; part < 4; ++part) {
        const __m512i spread_out = _mm512_add_epi32(_mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3),
                                                    _mm512_set1_epi32(4 * part));
        // maskz: the plain form draws a false warning from gcc 12.
        const __m512 y = _mm512_maskz_permutexvar_ps(0xffff, spread_out, fy);
        const __m512 z = _mm512_maskz_permutexvar_ps(0xffff, spread_out, fz);
        const int* four = offsets + 4 * part;
        const __m512 a = four_pairs(low, four), b = four_pairs(low + grid.row, four);
        const __m512 c = four_pairs(high, four), d = four_pairs(high + grid.row, four);
        const __m512 below = _mm512_fmadd_ps(y, _mm512_sub_ps(b, a), a);
        const __m512 above = _mm512_fmadd_ps(y, _mm512_sub_ps(d, c), c);
        value[part] = _mm512_fmadd_ps(z, _mm512_sub_ps(above, below), below);
    }
    // Of each point (re, im) at x and (re, im) at x + 1: gather the sixteen points of each.
    const __m512i first = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(2));
    const __m512 here_low = _mm512_permutex2var_ps(value[0], first, value[1]);
    const __m512 here_high = _mm512_permutex2var_ps(value[2], first, value[3]);
    const __m512 next_low = _mm512_permutex2var_ps(value[0], second, value[1]);
    const __m512 next_high = _mm512_permutex2var_ps(value[2], second, value[3]);
    const Vector re0 = _mm512_maskz_shuffle_f32x4(0xffff, here_low, here_high, 0x44);
    const Vector im0 = _mm512_maskz_shuffle_f32x4(0xffff, here_low, here_high, 0xee);
    const Vector re1 = _mm512_maskz_shuffle_f32x4(0xffff, next_low, next_high, 0x44);
    const Vector im1 = _mm512_maskz_shuffle_f32x4(0xffff, next_low, next_high, 0xee);
    re = re0 + fx * (re1 - re0);
    im = im0 + fx * (im1 - im0);
}

#elif defined(__AVX__)

/// Sixteen bytes at each of two addresses.
INLINE __m256 two_pairs(const float* first, const float* second) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(first)), _mm_loadu_ps(second), 1);
}

/// Of points 0 and 4 at `offsets`, interpolated along y and z: (re, im) at x and at x + 1.
INLINE Vector interpolate_two(const ReferenceGrid& grid, const int* offsets, Vector y, Vector z) {
    const float *first = grid.centre + offsets[0], *second = grid.centre + offsets[4];
    const std::int64_t row = grid.row, slice = grid.slice;
    const Vector a = two_pairs(first, second), b = two_pairs(first + row, second + row);
    const Vector c = two_pairs(first + slice, second + slice);
    const Vector d = two_pairs(first + slice + row, second + slice + row);
    const Vector below = a + y * (b - a), above = c + y * (d - c);
    return below + z * (above - below);
}

/// The cells at `offsets`, interpolated: the two values along x of a row lie together, so four loads make a cell.
INLINE void interpolate(const ReferenceGrid& grid, const int* offsets, Vector fx, Vector fy, Vector fz, Vector& re,
                        Vector& im) {
    const Vector p0 = interpolate_two(grid, offsets, _mm256_permute_ps(fy, 0x00), _mm256_permute_ps(fz, 0x00));
    const Vector p1 = interpolate_two(grid, offsets + 1, _mm256_permute_ps(fy, 0x55), _mm256_permute_ps(fz, 0x55));
    const Vector p2 = interpolate_two(grid, offsets + 2, _mm256_permute_ps(fy, 0xaa), _mm256_permute_ps(fz, 0xaa));
    const Vector p3 = interpolate_two(grid, offsets + 3, _mm256_permute_ps(fy, 0xff), _mm256_permute_ps(fz, 0xff));
    // Of each point (re, im) at x and (re, im) at x + 1: gather the eight points of each.
    const __m256 here01 = _mm256_unpacklo_ps(p0, p1), here23 = _mm256_unpacklo_ps(p2, p3);
    const __m256 next01 = _mm256_unpackhi_ps(p0, p1), next23 = _mm256_unpackhi_ps(p2, p3);
    const Vector re0 = _mm256_shuffle_ps(here01, here23, 0x44), im0 = _mm256_shuffle_ps(here01, here23, 0xee);
    const Vector re1 = _mm256_shuffle_ps(next01, next23, 0x44), im1 = _mm256_shuffle_ps(next01, next23, 0xee);
    re = re0 + fx * (re1 - re0);
    im = im0 + fx * (im1 - im0);
}

#else

INLINE Quad shuffled(Quad a, Quad b, QuadIndex from) {
#if defined(__clang__)
    float both[8];
    memcpy(both, &a, sizeof a);
    memcpy(both + 4, &b, sizeof b);
    return Quad{both[from[0]], both[from[1]], both[from[2]], both[from[3]]};
#else
    return __builtin_shuffle(a, b, from);
#endif
}

/// The cells at `offsets`, interpolated: the two values along x of a row lie together, so four loads make a cell.
INLINE void interpolate(const ReferenceGrid& grid, const int* offsets, Vector fx, Vector fy, Vector fz, Vector& re,
                        Vector& im) {
    static_assert(LANES == 4);
    const float* low = grid.centre;
    const float* high = low + grid.slice;
    Quad point[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        const int offset = offsets[i];
        const Quad y = Quad{} + fy[i], z = Quad{} + fz[i];
        const Quad a = load_quad(low + offset), b = load_quad(low + grid.row + offset);
        const Quad c = load_quad(high + offset), d = load_quad(high + grid.row + offset);
        const Quad below = a + y * (b - a), above = c + y * (d - c);
        point[i] = below + z * (above - below);
    }
    // Of each point (re, im) at x and (re, im) at x + 1: transpose.
    const Quad here01 = shuffled(point[0], point[1], QuadIndex{0, 4, 1, 5});
    const Quad here23 = shuffled(point[2], point[3], QuadIndex{0, 4, 1, 5});
    const Quad next01 = shuffled(point[0], point[1], QuadIndex{2, 6, 3, 7});
    const Quad next23 = shuffled(point[2], point[3], QuadIndex{2, 6, 3, 7});
    const Quad re0 = shuffled(here01, here23, QuadIndex{0, 1, 4, 5});
    const Quad im0 = shuffled(here01, here23, QuadIndex{2, 3, 6, 7});
    const Quad re1 = shuffled(next01, next23, QuadIndex{0, 1, 4, 5});
    const Quad im1 = shuffled(next01, next23, QuadIndex{2, 3, 6, 7});
    re = re0 + fx * (re1 - re0);
    im = im0 + fx * (im1 - im0);
}

#endif

/// Where the points of a block lie in the reference.
struct Places {
    alignas(64) int offsets[point_block];
    alignas(64) float fx[point_block], fy[point_block], fz[point_block];
    alignas(64) int mirrored[point_block];    ///< the sign bit: the value is the conjugate of the one at -k
};

/// Places of the block at `matrix` k. A loop of its own: its results wait when the loads of the next loop are issued.
INLINE void locate(const ReferenceGrid& grid, const BandPoints& points, int block, const float* matrix,
                   Places& places) {
    const Vector reach = spread(static_cast<float>(grid.reach));
    for (int i = 0; i < point_block; i += LANES) {
        const Vector kx = load(points.kx + block + i), ky = load(points.ky + block + i);
        const Vector kz = load(points.kz + block + i);
        Vector x = spread(matrix[0]) * kx + spread(matrix[1]) * ky + spread(matrix[2]) * kz;
        Vector y = spread(matrix[3]) * kx + spread(matrix[4]) * ky + spread(matrix[5]) * kz;
        Vector z = spread(matrix[6]) * kx + spread(matrix[7]) * ky + spread(matrix[8]) * kz;
        const IndexVector mirrored = as_bits(x) & static_cast<int>(0x80000000u);    // only x >= 0 is stored
        x = as_floats(as_bits(x) ^ mirrored);
        y = as_floats(as_bits(y) ^ mirrored);
        z = as_floats(as_bits(z) ^ mirrored);
        const IndexVector ix = truncated(x);
        const IndexVector iy = truncated(y + reach) - grid.reach, iz = truncated(z + reach) - grid.reach;
        const IndexVector offset = iz * grid.slice + iy * grid.row + 2 * ix;
        memcpy(places.offsets + i, &offset, sizeof offset);
        memcpy(places.mirrored + i, &mirrored, sizeof mirrored);
        store(places.fx + i, x - as_numbers(ix));
        store(places.fy + i, y - as_numbers(iy));
        store(places.fz + i, z - as_numbers(iz));
    }
}

INLINE void sample(const ReferenceGrid& grid, const Places& places, int i, Vector& re, Vector& im) {
    IndexVector mirrored;
    memcpy(&mirrored, places.mirrored + i, sizeof mirrored);
    interpolate(grid, places.offsets + i, load(places.fx + i), load(places.fy + i), load(places.fz + i), re, im);
    im = as_floats(as_bits(im) ^ mirrored);
}

/// Two of the four rows of each cell, on the diagonal: those of the neighbours are the other two (all four are slower).
INLINE void prefetch(const ReferenceGrid& grid, const int* offsets) {
    const float* diagonal = grid.centre + grid.slice + grid.row;
#pragma GCC unroll 16
    for (int i = 0; i < LANES; ++i) {
        __builtin_prefetch(grid.centre + offsets[i], 0, 2);
        __builtin_prefetch(diagonal + offsets[i], 0, 2);
    }
}

/// Calls `use(rotation, i, re, im)` for the samples of every vector of points: block by block, every rotation on each,
/// and `done(rotation)` after each. While one block is sampled, the next one is on its way to the second-level cache.
template <bool PREFETCH, class Use, class Done>
INLINE void for_samples(const ReferenceGrid& grid, const BandPoints& points, const float* matrices, int rotations,
                        Use use, Done done) {
    Places places[2];
    int now = 0;
    if (points.count > 0) locate(grid, points, 0, matrices, places[0]);
    for (int block = 0; block < points.count; block += point_block)
        for (int rotation = 0; rotation < rotations; ++rotation, now = 1 - now) {
            const bool last = rotation + 1 == rotations;
            const int next_block = last ? block + point_block : block;
            const bool more = next_block < points.count;
            if (more) locate(grid, points, next_block, matrices + (last ? 0 : 9 * (rotation + 1)), places[1 - now]);
            for (int i = 0; i < point_block; i += LANES) {
                if (PREFETCH && last && more) prefetch(grid, places[1 - now].offsets + i);
                Vector re, im;
                sample(grid, places[now], i, re, im);
                use(block + i, re, im);
            }
            done(rotation);
        }
}

INLINE Vector turns_of(const BandPoints& points, int i, const float* turns) {
    return load(points.kx + i) * spread(turns[0]) + load(points.ky + i) * spread(turns[1]) +
           load(points.kz + i) * spread(turns[2]);
}

template <bool PREFETCH>
INLINE void project_samples(const ReferenceGrid& grid, const BandPoints& points, const float* matrix, float* re,
                            float* im) {
    const auto use = [=](int i, Vector a, Vector b) __attribute__((always_inline)) {
        store(re + i, a);
        store(im + i, b);
    };
    for_samples<PREFETCH>(grid, points, matrix, 1, use, [](int) {});
}

void project(const ReferenceGrid& grid, const BandPoints& points, const float* matrix, float* re, float* im) {
    if (grid.large)
        project_samples<true>(grid, points, matrix, re, im);
    else
        project_samples<false>(grid, points, matrix, re, im);
}

template <bool PREFETCH>
INLINE void sum_samples(const ReferenceGrid& grid, const BandPoints& points, const ParticleBand& particle,
                        const float* matrices, int rotations, double* sums) {
    for (int rotation = 0; rotation < rotations; ++rotation) sums[rotation] = 0;
    Vector sum{};
    const auto use = [&](int i, Vector a, Vector b) __attribute__((always_inline)) {
        sum += load(particle.re + i) * a + load(particle.im + i) * b - load(particle.weight + i) * (a * a + b * b);
    };
    const auto done = [&](int rotation) __attribute__((always_inline)) {
        sums[rotation] += total(sum);
        sum = Vector{};
    };
    for_samples<PREFETCH>(grid, points, matrices, rotations, use, done);
}

void likelihoods(const ReferenceGrid& grid, const BandPoints& points, const ParticleBand& particle,
                 const float* matrices, int rotations, double* sums) {
    if (grid.large)
        sum_samples<true>(grid, points, particle, matrices, rotations, sums);
    else
        sum_samples<false>(grid, points, particle, matrices, rotations, sums);
}

double correlate(const ParticleBand& particle, int count, float* re, float* im) {
    double norm = 0;
    for (int block = 0; block < count; block += point_block) {
        Vector sum{};
        for (int i = block; i < block + point_block; i += LANES) {
            const Vector a = load(re + i), b = load(im + i), p = load(particle.re + i), q = load(particle.im + i);
            sum += load(particle.weight + i) * (a * a + b * b);
            store(re + i, p * a + q * b);
            store(im + i, q * a - p * b);
        }
        norm += total(sum);
    }
    return norm;
}

template <bool DERIVATIVES>
INLINE void sum_shifted(const BandPoints& points, const float* re, const float* im, const float* turns, double* sums) {
    for (int i = 0; i < shift_sums; ++i) sums[i] = 0;
    for (int block = 0; block < points.count; block += point_block) {
        Vector value{}, gx{}, gy{}, gz{}, xx{}, yy{}, zz{}, xy{}, xz{}, yz{};
        for (int i = block; i < block + point_block; i += LANES) {
            const Vector kx = load(points.kx + i), ky = load(points.ky + i), kz = load(points.kz + i);
            Vector c, s;
            unit_phase(kx * spread(turns[0]) + ky * spread(turns[1]) + kz * spread(turns[2]), c, s);
            const Vector a = load(re + i), b = load(im + i);
            const Vector real = a * c - b * s;
            value += real;
            if constexpr (DERIVATIVES) {
                const Vector imaginary = a * s + b * c;
                gx -= imaginary * kx, gy -= imaginary * ky, gz -= imaginary * kz;
                const Vector x = real * kx, y = real * ky, z = real * kz;
                xx -= x * kx, yy -= y * ky, zz -= z * kz, xy -= x * ky, xz -= x * kz, yz -= y * kz;
            }
        }
        sums[0] += total(value);
        if constexpr (DERIVATIVES) {
            const Vector parts[shift_sums - 1] = {gx, gy, gz, xx, yy, zz, xy, xz, yz};
            for (int i = 1; i < shift_sums; ++i) sums[i] += total(parts[i - 1]);
        }
    }
}

void at_shift(const BandPoints& points, const float* re, const float* im, const float* turns, bool derivatives,
           double* sums) {
    if (derivatives)
        sum_shifted<true>(points, re, im, turns, sums);
    else
        sum_shifted<false>(points, re, im, turns, sums);
}

void move(const BandPoints& points, const ParticleBand& particle, const float* turns, float* re, float* im) {
    for (int i = 0; i < points.count; i += LANES) {
        Vector c, s;
        unit_phase(turns_of(points, i, turns), c, s);
        const Vector a = load(particle.re + i), b = load(particle.im + i);
        store(re + i, a * c - b * s);
        store(im + i, a * s + b * c);
    }
}

void transform(const float* from, int terms, int columns, const float* phases, int shifts, float* to) {
    const float* from_im = from + static_cast<std::int64_t>(terms) * columns;
    float* to_im = to + static_cast<std::int64_t>(shifts) * columns;
    const float* phases_im = phases + shifts * terms;
    for (int column = 0; column < columns; column += LANES)
        for (int shift = 0; shift < shifts; ++shift) {
            Vector re{}, im{};
            for (int term = 0; term < terms; ++term) {
                const std::int64_t at = static_cast<std::int64_t>(term) * columns + column;
                const Vector a = load(from + at), b = load(from_im + at);
                const Vector c = spread(phases[shift * terms + term]), s = spread(phases_im[shift * terms + term]);
                re += a * c - b * s;
                im += a * s + b * c;
            }
            const std::int64_t at = static_cast<std::int64_t>(shift) * columns + column;
            store(to + at, re);
            store(to_im + at, im);
        }
}

void nearest(const float* samples, int count, std::int64_t pitch, const float* candidates, int candidate_count,
             std::int64_t* hits) {
    constexpr int vectors = 2;    // samples that share the loads of a candidate
    for (int first = 0; first < count; first += vectors * LANES) {
        Vector at[vectors][7], best[vectors];
        IndexVector index[vectors];
        for (int v = 0; v < vectors; ++v) {
            for (int i = 0; i < 7; ++i) at[v][i] = load(samples + i * pitch + first + v * LANES);
            best[v] = spread(-3e38f);
            index[v] = IndexVector{};
        }
        for (int candidate = 0; candidate < candidate_count; ++candidate) {
            const float* c = candidates + 8 * static_cast<std::int64_t>(candidate);
#pragma GCC unroll 2
            for (int v = 0; v < vectors; ++v) {
                const Vector* s = at[v];
                const Vector dot =
                    s[0] * spread(c[0]) + s[1] * spread(c[1]) + s[2] * spread(c[2]) + s[3] * spread(c[3]);
                const Vector value = dot * dot + s[4] * spread(c[4]) + s[5] * spread(c[5]) + s[6] * spread(c[6]) +
                                     spread(c[7]);
                const auto better = value > best[v];
                best[v] = better ? value : best[v];
                index[v] = better ? IndexVector{} + candidate : index[v];
            }
        }
        for (int v = 0; v < vectors; ++v)
            for (int lane = 0; lane < LANES && first + v * LANES + lane < count; ++lane) ++hits[index[v][lane]];
    }
}

const PoseLoops loops{project, likelihoods, correlate, at_shift, move, transform, nearest};

}  // namespace

const PoseLoops& JOIN(pose_loops_, CONCORDET_ISA)() { return loops; }

}  // namespace concordet
