#include "weighting.hpp"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>
#include <numeric>
#include <vector>

#include "check.hpp"
#include "fft.hpp"
#include "threads.hpp"

namespace concordet {
namespace {

constexpr double largest_radius = 0.70711;    // the corner of the band
constexpr std::int64_t largest_table = 1 << 27;    // weights, 512 MiB

/// Weights of some of the views on a polar grid of lateral frequencies, (own view, angle, radius); bilinear between.
///
/// The weight changes over 1 / (nz |s|) in frequency and angle: 128 radii and 256 angles of the half plane
/// per 64 slices keep it within 0.6 % root mean square.
struct WeightTable {
    int radii, angles;
    std::vector<float> values;

    float* of(std::int64_t own) { return &values[static_cast<std::size_t>(own) * angles * radii]; }
    float at(const float* weights, double kx, double ky) const;
};

WeightTable weight_table(View<const double, 2> shears, View<const std::int64_t, 1> own, int thickness, int team) {
    const std::int64_t views = shears.shape[0], count = own.shape[0];
    int fineness = std::min((thickness + 63) / 64, 8);
    while (fineness > 1 && count * fineness * fineness * (128 * 256) > largest_table) --fineness;
    WeightTable table{128 * fineness, 256 * fineness, {}};
    const int radii = table.radii, angles = table.angles;
    table.values.resize(static_cast<std::size_t>(count * angles * radii));
#pragma omp parallel for schedule(dynamic, 4) num_threads(team)
    for (int angle = 0; angle < angles; ++angle) {
        const double phi = std::numbers::pi * angle / angles;
        std::vector<std::pair<double, std::int64_t>> slopes;    // kz per lateral frequency, sorted
        for (std::int64_t view = 0; view < views; ++view)
            slopes.emplace_back(shears(view, 0) * std::cos(phi) + shears(view, 1) * std::sin(phi), view);
        std::sort(slopes.begin(), slopes.end());
        std::vector<std::int64_t> place(static_cast<std::size_t>(views));
        std::vector<double> sums(static_cast<std::size_t>(views + 1));
        for (std::int64_t i = 0; i < views; ++i) {
            place[slopes[i].second] = i;
            sums[i + 1] = sums[i] + slopes[i].first;
        }
        for (std::int64_t image = 0; image < count; ++image) {
            const std::int64_t i = place[own(image)];
            const double slope = slopes[i].first;
            float* weights = table.of(image) + static_cast<std::ptrdiff_t>(angle) * radii;
            std::int64_t low = 0, high = views;    // the views within one width, [low, high): fewer as k grows
            for (int radius = 0; radius < radii; ++radius) {
                const double per_slope = thickness * largest_radius * radius / (radii - 1);
                while ((slope - slopes[low].first) * per_slope > 1) ++low;
                while ((slopes[high - 1].first - slope) * per_slope > 1) --high;
                const auto below = static_cast<double>(i - low), above = static_cast<double>(high - i);
                const double distance = slope * below - (sums[i] - sums[low]) + (sums[high] - sums[i]) - slope * above;
                weights[radius] = static_cast<float>(1 / (below + above - per_slope * distance));
            }
        }
    }
    return table;
}

/// Bilinear in angle and radius; the weight is the same at k and -k.
float WeightTable::at(const float* weights, double kx, double ky) const {
    const double radius = std::min(std::hypot(kx, ky) / largest_radius, 1.0) * (radii - 1);
    double angle = std::atan2(ky, kx);
    if (angle < 0) angle += std::numbers::pi;
    angle *= angles / std::numbers::pi;
    const int r = std::min(static_cast<int>(radius), radii - 2), a = static_cast<int>(angle) % angles;
    const auto fr = static_cast<float>(radius - r), fa = static_cast<float>(angle - std::floor(angle));
    const float* here = weights + a * radii + r;
    const float* next = weights + (a + 1) % angles * radii + r;
    return (1 - fa) * ((1 - fr) * here[0] + fr * here[1]) + fa * ((1 - fr) * next[0] + fr * next[1]);
}

}  // namespace

void weigh_views(View<float, 3> images, View<const double, 2> all_shears, View<const std::int64_t, 1> own,
                 View<const double, 3> maps, int thickness, View<const float, 1> window, int threads) {
    require(images.strides[2] == 1, "image rows must be contiguous");
    require(all_shears.shape[0] >= 1 && all_shears.shape[1] == 2, "all_shears must be (view, 2), got (",
            all_shears.shape[0], ", ", all_shears.shape[1], ")");
    require(own.shape[0] == images.shape[0], "own must have one view per image: ", images.shape[0], ", got ",
            own.shape[0]);
    for (std::int64_t image = 0; image < own.shape[0]; ++image)
        require(own(image) >= 0 && own(image) < all_shears.shape[0], "own: view ", own(image), " is not one of ",
                all_shears.shape[0]);
    require(maps.shape[0] == images.shape[0] && maps.shape[1] == 2 && maps.shape[2] == 2,
            "maps must be (image, 2, 2) for ", images.shape[0], " images, got (", maps.shape[0], ", ", maps.shape[1],
            ", ", maps.shape[2], ")");
    require(window.shape[0] >= 2, "the window needs at least two values, got ", window.shape[0]);
    require(thickness >= 1, "thickness must be at least 1, got ", thickness);
    const int team = thread_count(threads);
    auto table = weight_table(all_shears, own, thickness, team);
    const auto height = static_cast<int>(images.shape[1]), width = static_cast<int>(images.shape[2]);
    // A fifth of the extent as padding: the filter's tails fall with the square of the distance.
    const int rows = fast_length(height + height / 5 + 8), columns = fast_length(width + width / 5 + 8);
    const double steps = 2.0 * static_cast<double>(window.shape[0] - 1);
#pragma omp parallel num_threads(team)
    {
        std::vector<float> plane(static_cast<std::size_t>(rows) * columns);
        std::vector<std::complex<float>> spectrum(static_cast<std::size_t>(rows) * (columns / 2 + 1));
#pragma omp for schedule(dynamic, 1)
        for (std::int64_t image = 0; image < images.shape[0]; ++image) {
            std::fill(plane.begin(), plane.end(), 0.0f);
            for (int y = 0; y < height; ++y)
                std::copy_n(&images(image, y, 0), width, &plane[static_cast<std::size_t>(y) * columns]);
            transform(plane.data(), spectrum.data(), rows, columns);
            Eigen::Matrix2d map;
            map << maps(image, 0, 0), maps(image, 0, 1), maps(image, 1, 0), maps(image, 1, 1);
            const Eigen::Matrix2d to_detector = map.inverse().transpose();    // of frequencies
            const float* weights = table.of(image);
            for (int row = 0; row < rows; ++row)
                for (int column = 0; column <= columns / 2; ++column) {
                    const double ky = static_cast<double>(row <= rows / 2 ? row : row - rows) / rows;
                    const double kx = static_cast<double>(column) / columns;
                    const double frequency = (to_detector * Eigen::Vector2d(kx, ky)).norm() * steps;
                    float gain = 0;
                    if (frequency <= static_cast<double>(window.shape[0] - 1)) {
                        const auto low = std::min(static_cast<std::int64_t>(frequency), window.shape[0] - 2);
                        const auto part = static_cast<float>(frequency - static_cast<double>(low));
                        gain = ((1 - part) * window(low) + part * window(low + 1)) * table.at(weights, kx, ky);
                    }
                    spectrum[static_cast<std::size_t>(row) * (columns / 2 + 1) + column] *= gain;
                }
            inverse_transform(spectrum.data(), plane.data(), rows, columns,
                              1.0f / (static_cast<float>(rows) * static_cast<float>(columns)));
            for (int y = 0; y < height; ++y)
                std::copy_n(&plane[static_cast<std::size_t>(y) * columns], width, &images(image, y, 0));
        }
    }
}

}  // namespace concordet
