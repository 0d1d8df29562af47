#include "resampling.hpp"

#include <algorithm>
#include <cmath>

#include "check.hpp"
#include "threads.hpp"

namespace concordet {
namespace {

/// Keys' kernel at distances 1 + f, f, 1 - f, 2 - f.
std::array<float, 4> cubic_weights(float f) {
    const float g = 1 - f;
    return {-0.5f * f * g * g, 1 + f * f * (1.5f * f - 2.5f), 1 + g * g * (1.5f * g - 2.5f), -0.5f * g * f * f};
}

float sample(const View<const float, 2>& image, double u, double v) {
    const std::int64_t columns = image.shape[1], rows = image.shape[0], pitch = image.strides[0];
    const auto iu = static_cast<std::int64_t>(u), iv = static_cast<std::int64_t>(v);
    const auto wu = cubic_weights(static_cast<float>(u - static_cast<double>(iu)));
    const auto wv = cubic_weights(static_cast<float>(v - static_cast<double>(iv)));
    float sum = 0;
    if (iu >= 1 && iv >= 1 && iu + 2 < columns && iv + 2 < rows) {
        const float* corner = image.data + (iv - 1) * pitch + iu - 1;
        for (int j = 0; j < 4; ++j) {
            const float* row = corner + j * pitch;
            sum += wv[j] * (wu[0] * row[0] + wu[1] * row[1] + wu[2] * row[2] + wu[3] * row[3]);
        }
        return sum;
    }
    for (int j = 0; j < 4; ++j) {
        const float* row = image.data + std::clamp<std::int64_t>(iv - 1 + j, 0, rows - 1) * pitch;
        for (int i = 0; i < 4; ++i) sum += wv[j] * wu[i] * row[std::clamp<std::int64_t>(iu - 1 + i, 0, columns - 1)];
    }
    return sum;
}

}  // namespace

void warp_affine(View<const float, 2> image, const std::array<double, 6>& map, float scale, View<float, 2> output,
                 View<float, 2> inside, int threads) {
    require(image.strides[1] == 1, "image rows must be contiguous");
    require(image.shape[0] > 0 && image.shape[1] > 0, "the image is empty");
    const bool marked = inside.shape[0] > 0;
    require(!marked || inside.shape == output.shape, "inside must have the shape of output");
    const std::int64_t height = output.shape[0], width = output.shape[1];
    // Rounding of the map must not lose the image's border.
    const double slack = 1e-6;
    const double last_u = static_cast<double>(image.shape[1] - 1), last_v = static_cast<double>(image.shape[0] - 1);
    const int team = thread_count(threads);
#pragma omp parallel for schedule(static) num_threads(team)
    for (std::int64_t y = 0; y < height; ++y)
        for (std::int64_t x = 0; x < width; ++x) {
            const auto fx = static_cast<double>(x), fy = static_cast<double>(y);
            const double u = map[0] * fx + map[1] * fy + map[2], v = map[3] * fx + map[4] * fy + map[5];
            const bool within = u >= -slack && v >= -slack && u <= last_u + slack && v <= last_v + slack;
            output(y, x) = within ? scale * sample(image, std::clamp(u, 0.0, last_u), std::clamp(v, 0.0, last_v)) : 0;
            if (marked) inside(y, x) = within ? 1.0f : 0.0f;
        }
}

}  // namespace concordet
