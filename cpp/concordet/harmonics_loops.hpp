/// The loops of the spherical-harmonic expansion, compiled once per instruction set; see harmonics.hpp.
#pragma once

#include <cstdint>

namespace concordet {

/// Rows of the left-hand factor that are multiplied together.
inline constexpr int expansion_rows = 4;
/// The right-hand factor's rows are padded to this many values with zeros.
inline constexpr int expansion_padding = 16;

struct HarmonicsLoops {
    /// sums[row][column] += sum_k left[k][row] right[k][column] for `expansion_rows` rows.
    ///
    /// left (depth, expansion_rows); right (depth, columns), sums (expansion_rows, columns), columns a multiple
    /// of `expansion_padding`
    void (*multiply)(const float* left, const float* right, std::int64_t depth, std::int64_t columns, float* sums);
};

const HarmonicsLoops& harmonics_loops_baseline();
const HarmonicsLoops& harmonics_loops_avx2();
const HarmonicsLoops& harmonics_loops_avx512();

}  // namespace concordet
