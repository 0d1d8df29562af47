// Everything is static or has a name that carries the instruction set (cmake/check_symbols.py).

#include "machine_loops.hpp"

#include "concordet/lanes.hpp"

namespace concordet {
namespace {

// Latency x pipes is 8 to 10 on today's cores, and 12 fit beside two operands in 16 registers.
constexpr int accumulators = 12;

std::int64_t multiply_add(std::int64_t rounds, float* result) {
    Vector sum[accumulators];
    const Vector factor = Vector{} + 0.999f, term = Vector{} + 1e-3f;
#pragma GCC unroll 12
    for (int i = 0; i < accumulators; ++i) sum[i] = Vector{} + static_cast<float>(i);
    for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
        for (int i = 0; i < accumulators; ++i) {
            sum[i] = sum[i] * factor + term;
            hold(sum[i]);
        }
    }
    Vector all{};
#pragma GCC unroll 12
    for (int i = 0; i < accumulators; ++i) all += sum[i];
    for (int lane = 0; lane < LANES; ++lane) *result += all[lane];
    return rounds * accumulators * LANES;
}

float read(const float* from, std::int64_t count, std::int64_t passes) {
    constexpr int streams = 8;    // independent sums, so that additions never hold up a load
    Vector sum[streams];
#pragma GCC unroll 8
    for (int i = 0; i < streams; ++i) sum[i] = Vector{};
    for (std::int64_t pass = 0; pass < passes; ++pass)
        for (std::int64_t at = 0; at < count; at += streams * LANES) {
#pragma GCC unroll 8
            for (int i = 0; i < streams; ++i) {
                Vector value;
                memcpy(&value, from + at + i * LANES, sizeof value);
                sum[i] += value;
            }
        }
    float total = 0;
    for (int i = 0; i < streams; ++i)
        for (int lane = 0; lane < LANES; ++lane) total += sum[i][lane];
    return total;
}

const MachineLoops loops{multiply_add, read};

}  // namespace

const MachineLoops& JOIN(machine_loops_, CONCORDET_ISA)() { return loops; }

}  // namespace concordet
