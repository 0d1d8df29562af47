/// Loops that do one thing as fast as the machine allows, compiled once per instruction set.
#pragma once

#include <cstdint>

namespace concordet {

struct MachineLoops {
    /// `rounds` rounds of independent multiply-adds that stay in registers. Returns how many were done, counted
    /// per single-precision number; `result` keeps them from being left out.
    std::int64_t (*multiply_add)(std::int64_t rounds, float* result);
    /// Sum of `count` floats (a multiple of 256), each read `passes` times.
    float (*read)(const float* from, std::int64_t count, std::int64_t passes);
};

const MachineLoops& machine_loops_baseline();
const MachineLoops& machine_loops_avx2();
const MachineLoops& machine_loops_avx512();

}  // namespace concordet
