// Giga voxel-view updates per second and core (GUPS) of the real-space engine: one axis of views, forward and
// adjoint, the tilt axis along the grid and at 45 degrees.
//
// bench_projection [--size 1024] [--height SIZE] [--thickness 58] [--views 121] [--max-tilt 60] [--group 32]
//                  [--threads 1] [--repeats 3] [--json FILE]

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "bench.hpp"
#include "concordet/projection.hpp"
#include "concordet/projection_loops.hpp"
#include "concordet/threads.hpp"

namespace {

using concordet::View;

constexpr double degree = 3.14159265358979323846 / 180;

/// A volume laid out as zeros_volume in python/concordet/projection.py does it: [y][z][x], guarded rows.
struct Volume {
    std::int64_t nz, ny, nx, pitch;
    bench::Floats memory;

    Volume(std::int64_t z, std::int64_t y, std::int64_t x)
        : nz(z), ny(y), nx(x), pitch(row_pitch(x)), memory(y * z * pitch + 2 * concordet::row_guard) {}
    static std::int64_t row_pitch(std::int64_t x) {
        const std::int64_t rounded = (x + concordet::row_guard + 15) / 16 * 16;
        return rounded % 256 == 0 ? rounded + 16 : rounded;
    }
    template <class T>
    View<T, 3> view() const {
        return {memory.data() + concordet::row_guard, {nz, ny, nx}, {pitch, nz * pitch, 1}};
    }
    void fill() {
        const auto voxels = view<float>();
        for (std::int64_t z = 0; z < nz; ++z)
            for (std::int64_t y = 0; y < ny; ++y)
                for (std::int64_t x = 0; x < nx; ++x) voxels(z, y, x) = static_cast<float>((x * 7 + y * 5 + z * 3) % 11);
    }
};

struct Rate {
    double gups_per_core, seconds, cpu_seconds;    // of the fastest repeat
};

}  // namespace

int main(int argc, char** argv) {
    return bench::run([&] {
        const bench::Options options(argc, argv, {"--size", "--height", "--thickness", "--views", "--max-tilt",
                                                  "--group", "--threads", "--repeats", "--json"});
        const auto nx = static_cast<std::int64_t>(options.number("--size", 1024));
        const auto ny = static_cast<std::int64_t>(options.number("--height", static_cast<double>(nx)));
        const auto nz = static_cast<std::int64_t>(options.number("--thickness", 58));
        const auto views = static_cast<std::int64_t>(options.number("--views", 121));
        const auto group = static_cast<std::int64_t>(options.number("--group", 32));
        const double max_tilt = options.number("--max-tilt", 60);
        const int threads = static_cast<int>(options.number("--threads", 1));
        const int repeats = static_cast<int>(options.number("--repeats", 3));
        if (nx < 1 || ny < 1 || nz < 1 || views < 1 || group < 1 || threads < 1 || repeats < 1)
            throw std::invalid_argument("sizes, views, group, threads and repeats: expected at least 1");
        if (!(max_tilt >= 0 && max_tilt <= 80)) throw std::invalid_argument("--max-tilt: expected 0 to 80 degrees");

        bench::Json json;
        json.add("instruction_set", concordet::instruction_set());
        json.add("threads", threads);
        json.add("nx", static_cast<double>(nx));
        json.add("ny", static_cast<double>(ny));
        json.add("nz", static_cast<double>(nz));
        json.add("views", static_cast<double>(views));
        std::printf("%s, %d threads, %lld x %lld x %lld voxels, %lld views of +-%g degrees in groups of %lld\n",
                    concordet::instruction_set().c_str(), threads, static_cast<long long>(nx),
                    static_cast<long long>(ny), static_cast<long long>(nz), static_cast<long long>(views), max_tilt,
                    static_cast<long long>(group));
        std::printf("%8s %5s %9s %14s %9s %9s\n", "azimuth", "taps", "", "GUPS per core", "wall s", "cpu s");

        Volume volume(nz, ny, nx);
        volume.fill();
        const auto in = volume.view<const float>();
        const auto out = volume.view<float>();
        for (const double azimuth : {0.0, 45.0, 90.0}) {
            std::vector<double> shears;
            for (std::int64_t view = 0; view < views; ++view) {
                const double step = views > 1 ? 2 * max_tilt / static_cast<double>(views - 1) : 0;
                const double length = std::tan((step * static_cast<double>(view) - (views > 1 ? max_tilt : 0)) * degree);
                shears.push_back(length * std::cos(azimuth * degree));
                shears.push_back(length * std::sin(azimuth * degree));
            }
            const View<const double, 2> all{shears.data(), {views, 2}, {2, 1}};
            const auto frame = concordet::image_frame(all, {nz, ny, nx});
            const std::int64_t width = (frame.width + concordet::image_guard + 15) / 16 * 16;
            const bench::Floats memory(group * frame.height * width);

            const auto measure = [&](bool forward) {
                Rate best{0, 1e300, 1e300};
                for (int repeat = 0; repeat < repeats; ++repeat) {
                    const bench::Clock clock;
                    for (std::int64_t first = 0; first < views; first += group) {
                        const std::int64_t count = std::min(group, views - first);
                        const View<const double, 2> some{shears.data() + 2 * first, {count, 2}, {2, 1}};
                        const std::array<std::int64_t, 3> shape{count, frame.height, width};
                        const std::array<std::int64_t, 3> strides{frame.height * width, width, 1};
                        if (forward)
                            concordet::shear_forward(in, some, {memory.data(), shape, strides}, frame, threads);
                        else
                            concordet::shear_adjoint({memory.data(), shape, strides}, some, out, frame, threads);
                    }
                    // Per core by CPU seconds: they do not count the time that other programs had the core.
                    const double cpu_seconds = clock.cpu_seconds();
                    if (cpu_seconds < best.cpu_seconds) {
                        const auto updates = static_cast<double>(nx * ny * nz * views);
                        best = {updates / cpu_seconds * 1e-9, clock.seconds(), cpu_seconds};
                    }
                }
                const char* name = forward ? "forward" : "adjoint";
                const int taps = std::fmod(azimuth, 90.0) == 0.0 ? 2 : 4;
                std::printf("%8g %5d %9s %14.2f %9.3f %9.3f\n", azimuth, taps, name, best.gups_per_core, best.seconds,
                            best.cpu_seconds);
                std::ostringstream key;
                key << name << "_" << azimuth;
                json.open(key.str());
                json.add("gups_per_core", best.gups_per_core);
                json.add("taps", taps);
                json.add("seconds", best.seconds);
                json.add("cpu_seconds", best.cpu_seconds);
                json.close();
            };
            measure(true);
            measure(false);
        }
        json.write(options.text("--json", ""));
    });
}
