#include "threads.hpp"

#include <omp.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "check.hpp"

namespace concordet {

int thread_count(int threads) { return threads > 0 ? threads : std::max(1, omp_get_max_threads()); }

std::vector<std::string> available_instruction_sets() {
    std::vector<std::string> names{"baseline"};
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2) names.push_back("avx2");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
        names.push_back("avx512");
#endif
    return names;
}

static std::string chosen_instruction_set() {
    auto names = available_instruction_sets();
    const char* wish = std::getenv("CONCORDET_ISA");
    if (wish == nullptr || *wish == '\0') return names.back();
    std::string list;
    for (const auto& name : names) list += (list.empty() ? "" : ", ") + name;
    require(std::find(names.begin(), names.end(), wish) != names.end(),
            "CONCORDET_ISA: expected one of ", list, " (what this machine can run), got '", wish, "'");
    return wish;
}

const std::string& instruction_set() {
    static const std::string name = chosen_instruction_set();
    return name;
}

}  // namespace concordet
