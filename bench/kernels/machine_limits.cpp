// What this machine allows: multiply-adds in registers for every instruction set, and bytes read from each level of
// memory, by one core and by all. machine_limits [--threads N] [--json FILE]

#include <omp.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "bench.hpp"
#include "concordet/threads.hpp"
#include "machine_loops.hpp"

namespace {

using concordet::MachineLoops;

const MachineLoops& loops_of(const std::string& instruction_set) {
#if defined(__x86_64__)
    if (instruction_set == "avx512") return concordet::machine_loops_avx512();
    if (instruction_set == "avx2") return concordet::machine_loops_avx2();
#endif
    (void)instruction_set;
    return concordet::machine_loops_baseline();
}

/// Giga multiply-adds per second and thread.
double multiply_add_rate(const MachineLoops& loops, int threads, int repeats) {
    constexpr std::int64_t rounds = 20'000'000;    // long enough for the scheduler to spread the threads
    double best = 0;
    for (int repeat = 0; repeat < repeats; ++repeat) {
        double slowest = 0;
        std::int64_t done = 0;
#pragma omp parallel num_threads(threads) reduction(max : slowest, done)
        {
            float result = 0;
#pragma omp barrier
            const bench::Clock clock;
            done = loops.multiply_add(rounds, &result);
            slowest = clock.seconds();
            bench::keep(result);
        }
        best = std::max(best, static_cast<double>(done) / slowest * 1e-9);
    }
    return best;
}

struct Level {
    std::string name;
    std::int64_t bytes;
    std::int64_t misalignment;    // floats
};

/// Giga bytes read per second by `threads` threads together, each from memory of its own.
double read_rate(const MachineLoops& loops, const Level& level, int threads, int repeats) {
    const std::int64_t count = level.bytes / 4 / 256 * 256;
    const std::int64_t passes = std::max<std::int64_t>(1, (std::int64_t{256} << 20) / level.bytes);
    double best = 0;
#pragma omp parallel num_threads(threads)
    {
        const bench::Floats memory(count + 64);
        const float* from = memory.data() + level.misalignment;
        bench::keep(loops.read(from, count, 1));
        for (int repeat = 0; repeat < repeats; ++repeat) {
#pragma omp barrier
            const bench::Clock clock;
            bench::keep(loops.read(from, count, passes));
#pragma omp barrier
#pragma omp single
            best = std::max(best, static_cast<double>(count * 4 * passes * threads) / clock.seconds() * 1e-9);
        }
    }
    return best;
}

/// Size of the data cache of a level, as the system tells it (sysconf counts all of a socket's L3 together).
std::int64_t cache_bytes(int level, std::int64_t otherwise) {
    for (int index = 0; index < 8; ++index) {
        const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
        std::ifstream levels(folder + "level"), types(folder + "type"), sizes(folder + "size");
        int found = 0;
        std::int64_t kib = 0;
        std::string type;
        if (levels >> found && types >> type && sizes >> kib && found == level && type != "Instruction")
            return kib << 10;
    }
    return otherwise;
}

}  // namespace

int main(int argc, char** argv) {
    return bench::run([&] {
        bench::Options options(argc, argv, {"--threads", "--repeats", "--json"});
        const int threads = concordet::thread_count(static_cast<int>(options.number("--threads", 0)));
        const int repeats = static_cast<int>(options.number("--repeats", 5));
        bench::Json json;

        const auto sets = concordet::available_instruction_sets();
        std::printf("multiply-adds in registers, single precision, 1e9 per second and core\n");
        json.open("multiply_add");
        for (const auto& set : sets) {
            const double one = multiply_add_rate(loops_of(set), 1, repeats);
            const double all = multiply_add_rate(loops_of(set), threads, repeats);
            std::printf("  %-10s one core %7.1f   %d cores %7.1f\n", set.c_str(), one, threads, all);
            json.open(set);
            json.add("one", one);
            json.add("all", all);
            json.close();
        }
        json.close();

        const std::int64_t l1 = cache_bytes(1, 32 << 10);
        const std::int64_t l2 = cache_bytes(2, 1 << 20);
        const std::int64_t l3 = cache_bytes(3, 32 << 20);
        // Odd by one float: what a shift by a whole number of voxels makes of almost every load.
        const std::vector<Level> levels{{"L1", l1 / 2, 0},
                                        {"L1 unaligned", l1 / 2, 1},
                                        {"L2", l2 / 2, 0},
                                        {"L3", std::max(2 * l2, l3 / 4 / threads), 0},
                                        {"DRAM", std::max<std::int64_t>(4 * l3, 256 << 20), 0}};
        const MachineLoops& widest = loops_of(sets.back());
        std::printf("reading, %s, 1e9 bytes per second\n", sets.back().c_str());
        json.open("read_bandwidth");
        for (const auto& level : levels) {
            const double one = read_rate(widest, level, 1, repeats), all = read_rate(widest, level, threads, repeats);
            std::printf("  %-12s %7lld KiB each  one core %7.1f   %d cores together %7.1f\n", level.name.c_str(),
                        static_cast<long long>(level.bytes >> 10), one, threads, all);
            json.open(level.name);
            json.add("kib", static_cast<double>(level.bytes >> 10));
            json.add("one", one);
            json.add("all", all);
            json.close();
        }
        json.close();
        json.add("threads", threads);
        json.write(options.text("--json", ""));
    });
}
