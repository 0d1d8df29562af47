/// The loops of expectation and maximisation, compiled once per instruction set: raw pointers and plain numbers only.
/// Callers (expectation.cpp) own the checks, the threads and the meaning; see expectation.hpp.
#pragma once

#include <cstdint>

#include "poses_loops.hpp"

namespace concordet {

/// Sums on a grid: (re, im, weight, 0) of cell (x, y, z) at centre + 4 (z slice + y row + x).
struct SumGrid {
    float* centre;
    int row, slice;    ///< cells
};

/// A pose: matrix (3, 3) is +-2 R^T, `sign` its sign: with -1 the conjugates are inserted. turns is t / n.
struct Insertion {
    float matrix[9], turns[3];
    float sign, share;
};

/// Points that `insert` takes at once at most; it reads whole vectors, beyond the last of them.
inline constexpr int insertion_block = 64;
/// Tables that `bin` fills, so that neighbours of one shell do not wait for each other.
inline constexpr int bin_copies = 8;

struct ExpectationLoops {
    /// Adds points `first` to `last` - 1 of a particle, re, im and weight in the order of the points, to the grid.
    void (*insert)(const SumGrid&, const BandPoints&, const ParticleBand&, int first, int last, const Insertion&);
    /// tables[copy][shell] += (Re(p conj a), w |a|^2) over `count` points; tables (bin_copies, shells, 2).
    void (*bin)(const ParticleBand&, const float* re, const float* im, const std::int32_t* shells, int count,
                int shell_count, double* tables);
};

const ExpectationLoops& expectation_loops_baseline();
const ExpectationLoops& expectation_loops_avx2();
const ExpectationLoops& expectation_loops_avx512();

}  // namespace concordet
