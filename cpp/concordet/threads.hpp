/// Threads and instruction sets: what this process may use, and which copy of the loops runs.
#pragma once

#include <string>
#include <vector>

namespace concordet {

/// Threads a kernel should start for a request of `threads`; 0 means OMP_NUM_THREADS, else the cores of this process.
int thread_count(int threads);

/// Instruction sets compiled in that this machine can run, narrowest first.
std::vector<std::string> available_instruction_sets();

/// The one in use: the widest, or CONCORDET_ISA from the environment (std::invalid_argument if unknown or
/// not available here). Read once, at the first call.
const std::string& instruction_set();

}  // namespace concordet

/// The table of loops NAME_<set>() for the instruction set in use; declared for every set by its header.
#if defined(__x86_64__)
#define CHOSEN_LOOPS(name)                                        \
    (::concordet::instruction_set() == "avx512" ? name##_avx512() \
     : ::concordet::instruction_set() == "avx2" ? name##_avx2()   \
                                                : name##_baseline())
#else
#define CHOSEN_LOOPS(name) (::concordet::instruction_set(), name##_baseline())
#endif
