// A small matrix product for tall factors. Static only: no templates of the standard library (cmake/check_symbols.py).

#include "harmonics_loops.hpp"

#include "lanes.hpp"

#if defined(__AVX512F__)
#define TILE_VECTORS 6      // x 4 rows = 24 accumulators of 32 registers
#else
#define TILE_VECTORS 2      // x 4 rows = 8 of 16
#endif

namespace concordet {
namespace {

template <int vectors>
INLINE void multiply_tile(const float* left, const float* right, std::int64_t depth, std::int64_t columns,
                          float* sums) {
    Vector sum[expansion_rows][vectors];
    for (int row = 0; row < expansion_rows; ++row)
        for (int i = 0; i < vectors; ++i) sum[row][i] = load(sums + row * columns + i * LANES);
    for (std::int64_t k = 0; k < depth; ++k) {
        Vector value[vectors];
        for (int i = 0; i < vectors; ++i) value[i] = load(right + k * columns + i * LANES);
        for (int row = 0; row < expansion_rows; ++row) {
            const Vector factor = spread(left[k * expansion_rows + row]);
            for (int i = 0; i < vectors; ++i) sum[row][i] += factor * value[i];
        }
    }
    for (int row = 0; row < expansion_rows; ++row)
        for (int i = 0; i < vectors; ++i) store(sums + row * columns + i * LANES, sum[row][i]);
}

void multiply(const float* left, const float* right, std::int64_t depth, std::int64_t columns, float* sums) {
    std::int64_t column = 0;
    for (; column + TILE_VECTORS * LANES <= columns; column += TILE_VECTORS * LANES)
        multiply_tile<TILE_VECTORS>(left, right + column, depth, columns, sums + column);
    for (; column + 2 * LANES <= columns; column += 2 * LANES)
        multiply_tile<2>(left, right + column, depth, columns, sums + column);
    for (; column < columns; column += LANES)
        multiply_tile<1>(left, right + column, depth, columns, sums + column);
}

const HarmonicsLoops loops{multiply};

}  // namespace

const HarmonicsLoops& JOIN(harmonics_loops_, CONCORDET_ISA)() { return loops; }

}  // namespace concordet
