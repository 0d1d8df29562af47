/// The loops of pose scoring, compiled once per instruction set: raw pointers and plain numbers only.
/// Callers (poses.cpp) own the checks, the threads and the meaning; see poses.hpp.
#pragma once

#include <cstdint>

namespace concordet {

/// The padded transform of a reference: complex value (x, y, z), x >= 0, at centre + z slice + y row + 2 x.
struct ReferenceGrid {
    const float* centre;
    int row, slice;    ///< floats
    int reach;         ///< |y|, |z| <= reach, x <= reach
    bool large;        ///< what the band reads of it does not fit the second-level cache
};

/// Coefficients of a band, one array per component; `count` is a multiple of `point_block`.
struct BandPoints {
    const float *kx, *ky, *kz;
    int count;
};

/// A particle as the score sees it: p = 2/sigma^2 p0 and w = p1/sigma^2, so that ll = sum Re(p conj A) - w |A|^2.
struct ParticleBand {
    const float *re, *im, *weight;
};

/// Points of one pass: their footprint in the reference stays in the second-level cache while all rotations read it,
/// and single precision carries the sums of one pass; double those across passes.
inline constexpr int point_block = 512;
/// Rotations that one call of `likelihoods` takes.
inline constexpr int most_rotations = 6;
/// Columns that `transform` takes at once at most.
inline constexpr int column_block = 16;
/// Samples that `nearest` reads at once at most.
inline constexpr int sample_block = 32;
/// Values of a pass over the shift: ll, its gradient (3) and Hessian xx, yy, zz, xy, xz, yz (6) over 2 pi / n.
inline constexpr int shift_sums = 10;

struct PoseLoops {
    /// Samples at `matrix` k: matrix (3, 3) is 2 R^T.
    void (*project)(const ReferenceGrid&, const BandPoints&, const float* matrix, float* re, float* im);
    /// sums[r] = ll of the particle against the samples at matrices[r] k.
    void (*likelihoods)(const ReferenceGrid&, const BandPoints&, const ParticleBand&, const float* matrices,
                        int rotations, double* sums);
    /// re, im <- p conj A in place of A; returns sum w |A|^2.
    double (*correlate)(const ParticleBand&, int count, float* re, float* im);
    /// Sums over Re(z e^{2 pi i k . turns}) of z = (re, im), and of its derivatives if `derivatives`.
    void (*at_shift)(const BandPoints&, const float* re, const float* im, const float* turns, bool derivatives,
                     double* sums);
    /// re, im <- p e^{2 pi i k . turns}.
    void (*move)(const BandPoints&, const ParticleBand&, const float* turns, float* re, float* im);
    /// to[t][j] = sum_k phases[t][k] from[k][j], complex: a multiple of `column_block` columns j, the real parts of
    /// each matrix before its imaginary parts.
    void (*transform)(const float* from, int terms, int columns, const float* phases, int shifts, float* to);
    /// hits[c] += samples (7, pitch) for which candidate c has the largest (s . c)^2 over the first four components
    /// plus s . c over the last three plus c[7]; candidates (candidate, 8). Reads whole blocks of `sample_block`.
    void (*nearest)(const float* samples, int count, std::int64_t pitch, const float* candidates, int candidate_count,
                    std::int64_t* hits);
};

const PoseLoops& pose_loops_baseline();
const PoseLoops& pose_loops_avx2();
const PoseLoops& pose_loops_avx512();

}  // namespace concordet
