/// Vectors of samples: conversions, sums and phases that the loops of poses and of expectation share.
#pragma once

#include "lanes.hpp"

namespace concordet {
namespace {

typedef float Quad __attribute__((vector_size(16)));
typedef int QuadIndex __attribute__((vector_size(16)));

INLINE Quad load_quad(const float* from) {
    Quad value;
    memcpy(&value, from, sizeof value);
    return value;
}

INLINE Vector as_floats(IndexVector bits) { return reinterpret_cast<Vector>(bits); }
INLINE IndexVector as_bits(Vector value) { return reinterpret_cast<IndexVector>(value); }
INLINE IndexVector truncated(Vector value) { return __builtin_convertvector(value, IndexVector); }
INLINE Vector as_numbers(IndexVector value) { return __builtin_convertvector(value, Vector); }

INLINE double total(Vector value) {
    Quad parts[LANES / 4];
    memcpy(parts, &value, sizeof value);
    for (int i = 1; i < LANES / 4; ++i) parts[0] += parts[i];
    return static_cast<double>(parts[0][0] + parts[0][2]) + static_cast<double>(parts[0][1] + parts[0][3]);
}

/// cos and sin of 2 pi turns, by minimax polynomials of the half angle: errors below 5e-7.
INLINE void unit_phase(Vector turns, Vector& cosine, Vector& sine) {
    const Vector magic = spread(12582912.0f);    // 3 2^22: adding it rounds to whole numbers
    const Vector r = turns - ((turns + magic) - magic);
    const Vector q = r * r;
    const Vector s = r * (((((0.07722012f * q - 0.59804517f) * q + 2.5500314f) * q - 5.167707f) * q) + 3.1415925f);
    const Vector c = ((((-0.024396714f * q + 0.23493756f) * q - 1.3352121f) * q + 4.0587091f) * q - 4.934802f) * q +
                     1.0f;
    cosine = 1.0f - 2.0f * s * s;
    sine = 2.0f * s * c;
}

}  // namespace
}  // namespace concordet
