/// Vectors of the width that one instruction set offers, for sources compiled once per set (InstructionSets.cmake).
/// Everything has internal linkage, so that the copies of several sets never meet.
#pragma once

#include <string.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define INLINE static inline __attribute__((always_inline))

#define LANE_INDICES_4(first) first, first + 1, first + 2, first + 3
#define LANE_INDICES_8(first) LANE_INDICES_4(first), LANE_INDICES_4(first + 4)
#define LANE_INDICES_16(first) LANE_INDICES_8(first), LANE_INDICES_8(first + 8)
#define LANE_INDICES JOIN(LANE_INDICES_, LANES)

namespace concordet {
namespace {

typedef float Vector __attribute__((vector_size(LANES * 4)));
typedef int IndexVector __attribute__((vector_size(LANES * 4)));

INLINE Vector load(const float* from) {
    Vector value;
    memcpy(&value, from, sizeof value);
    return value;
}

INLINE void store(float* to, Vector value) { memcpy(to, &value, sizeof value); }

/// Keep `value` in a register: opaque to the compiler, free of instructions.
INLINE void hold(Vector& value) {
#if defined(__x86_64__)
    __asm__ volatile("" : "+v"(value));
#elif defined(__aarch64__)
    __asm__ volatile("" : "+w"(value));
#endif
}

/// `load`, held in a register: gcc else folds it into every instruction that uses it, and reads it as many times.
INLINE Vector load_once(const float* from) {
    Vector value = load(from);
#if defined(__x86_64__)
    __asm__("" : "+v"(value));
#elif defined(__aarch64__)
    __asm__("" : "+w"(value));
#endif
    return value;
}

/// - 0 is folded into one broadcast from memory; + 0 is not, because of -0.
INLINE Vector spread(float value) { return value - Vector{}; }

/// Lane i + 1 <- lane i; lane 0 <- the last of `before`.
INLINE Vector moved_right(Vector before, Vector value) {
#if defined(__clang__)
    return __builtin_shufflevector(before, value, LANE_INDICES(LANES - 1));
#else
    return __builtin_shuffle(before, value, IndexVector{LANE_INDICES(LANES - 1)});    // gcc 11 has no other
#endif
}

/// `value` at `at`, and the values one place further: there, the first of them is `next`.
INLINE Vector one_further([[maybe_unused]] const float* at, [[maybe_unused]] Vector value,
                          [[maybe_unused]] Vector next) {
#if defined(__AVX512F__)
    // maskz: the plain form draws a false warning from gcc 12.
    return reinterpret_cast<Vector>(_mm512_maskz_alignr_epi32(0xffff, reinterpret_cast<__m512i>(next),
                                                              reinterpret_cast<__m512i>(value), 1));
#else
    return load(at + 1);    // narrow registers: most loads stay within a cache line
#endif
}

}  // namespace
}  // namespace concordet
