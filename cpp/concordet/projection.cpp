#include "projection.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "check.hpp"
#include "projection_loops.hpp"
#include "threads.hpp"

namespace concordet {
namespace {

const ProjectionLoops& loops() {
    static const ProjectionLoops& chosen = CHOSEN_LOOPS(projection_loops);
    return chosen;
}

/// Voxels that a slice may be moved by: offsets stay far inside an int.
constexpr double largest_shift = 1 << 24;

/// Whole and fractional part of a shift; a fraction below 1e-6 of a voxel is rounding noise of tan and counts as zero.
struct Shift {
    int whole;
    double fraction;
};

Shift split(double shift) {
    double whole = std::floor(shift);
    double fraction = shift - whole;
    if (fraction > 1 - 1e-6) whole += 1, fraction = 0;
    if (fraction < 1e-6) fraction = 0;
    return {static_cast<int>(whole), fraction};
}

Tap tap(double shear_x, double shear_y, int slice) {
    const Shift x = split(shear_x * slice), y = split(shear_y * slice);
    const double fx = x.fraction, fy = y.fraction;
    return {0, 0, x.whole, y.whole,
            {static_cast<float>((1 - fx) * (1 - fy)), static_cast<float>(fx * (1 - fy)),
             static_cast<float>((1 - fx) * fy), static_cast<float>(fx * fy)}};
}

struct TapTable {
    std::vector<Tap> taps;          // (view, z)
    std::vector<TapKind> kinds;     // (view)
};

/// `volume` and `pitch` give the strides that the offsets are made of.
TapTable tap_table(View<const double, 2> shears, const std::array<std::int64_t, 3>& shape,
                   const std::array<std::int64_t, 3>& strides, std::int64_t pitch) {
    TapTable table;
    const auto nz = static_cast<int>(shape[0]);
    for (std::int64_t view = 0; view < shears.shape[0]; ++view) {
        const double sx = shears(view, 0), sy = shears(view, 1);
        bool moves_x = false, moves_y = false;
        for (int z = 0; z < nz; ++z) {
            Tap one = tap(sx, sy, z - nz / 2);
            one.volume_offset = z * strides[0] - one.iy * strides[1] - one.ix;
            one.image_offset = one.iy * pitch + one.ix;
            moves_x = moves_x || one.weight[1] > 0 || one.weight[3] > 0;
            moves_y = moves_y || one.weight[2] > 0 || one.weight[3] > 0;
            table.taps.push_back(one);
        }
        table.kinds.push_back(moves_x && moves_y ? TapKind::both : moves_y ? TapKind::along_y : TapKind::along_x);
    }
    return table;
}

struct ViewRange {
    int begin, end;
};

/// Runs of at most `views_per_call` consecutive views of one kind.
std::vector<ViewRange> calls_of(const std::vector<TapKind>& kinds) {
    std::vector<ViewRange> calls;
    const auto views = static_cast<int>(kinds.size());
    for (int begin = 0; begin < views;) {
        int end = begin + 1;
        while (end < views && end - begin < views_per_call && kinds[end] == kinds[begin]) ++end;
        calls.push_back({begin, end});
        begin = end;
    }
    return calls;
}

template <class A, class B>
void require_frame(const View<A, 3>& volume, const View<B, 3>& images, const View<const double, 2>& shears,
                   const ImageFrame& frame) {
    require(images.shape[0] == shears.shape[0], "images must have one image per shear: ", shears.shape[0], ", got ",
            images.shape[0]);
    require(volume.strides[2] == 1 && images.strides[2] == 1, "rows of volume and images must be contiguous");
    require(volume.strides[0] >= volume.shape[2] + row_guard && volume.strides[1] >= volume.shape[2] + row_guard,
            "volume rows must lie ", row_guard, " voxels apart; allocate volumes with zeros_volume");
    require(images.shape[2] >= frame.width + image_guard && images.shape[1] >= frame.height,
            "images must have at least ", frame.height, " rows of ", frame.width + image_guard, " pixels, got ",
            images.shape[1], " x ", images.shape[2]);
    require(images.strides[1] == images.shape[2], "rows of images must follow each other without gaps");
    const ImageFrame needed = image_frame(shears, {volume.shape[0], volume.shape[1], volume.shape[2]});
    require(needed.origin_y <= frame.origin_y && needed.origin_x <= frame.origin_x &&
                needed.height - needed.origin_y <= frame.height - frame.origin_y &&
                needed.width - needed.origin_x <= frame.width - frame.origin_x,
            "the image frame is too small for these shears");
}

}  // namespace

ImageFrame image_frame(View<const double, 2> shears, std::array<std::int64_t, 3> volume_shape) {
    require(shears.shape[1] == 2, "shears must be (view, 2), got (view, ", shears.shape[1], ")");
    int low_x = 0, high_x = 0, low_y = 0, high_y = 0;
    const auto nz = static_cast<int>(volume_shape[0]);
    for (std::int64_t view = 0; view < shears.shape[0]; ++view)
        for (int axis : {0, 1})
            require(std::abs(shears(view, axis)) * nz <= largest_shift, "shears must move slices by at most ",
                    largest_shift, " voxels, got ", shears(view, axis), " per slice of ", nz);
    for (std::int64_t view = 0; view < shears.shape[0]; ++view)
        for (int z : {0, nz - 1}) {
            const Tap one = tap(shears(view, 0), shears(view, 1), z - nz / 2);
            low_x = std::min(low_x, one.ix), high_x = std::max(high_x, one.ix + 1);
            low_y = std::min(low_y, one.iy), high_y = std::max(high_y, one.iy + 1);
        }
    // Column 0 of the volume lies on a cache line of the image: a view along y moves by whole rows only.
    low_x = -(-low_x + 15) / 16 * 16;
    return {-low_y, -low_x, static_cast<int>(volume_shape[1]) + high_y - low_y,
            static_cast<int>(volume_shape[2]) + high_x - low_x};
}

void shear_forward(View<const float, 3> volume, View<const double, 2> shears, View<float, 3> images,
                   const ImageFrame& frame, int threads) {
    require_frame(volume, images, shears, frame);
    const std::int64_t pitch = images.strides[1];
    const TapTable table = tap_table(shears, volume.shape, volume.strides, pitch);
    const auto nz = static_cast<int>(volume.shape[0]);
    std::vector<ViewRange> calls;    // any kinds together: the forward loop switches per view
    for (int begin = 0; begin < shears.shape[0]; begin += views_per_call)
        calls.push_back({begin, static_cast<int>(std::min<std::int64_t>(begin + views_per_call, shears.shape[0]))});
    std::vector<float*> image(static_cast<std::size_t>(shears.shape[0]));
    for (std::size_t view = 0; view < image.size(); ++view) image[view] = &images(view, 0, 0);

    // A task is one strip of image rows of one call's views. What its last row adds to the row below goes
    // to a spill row of its own and is added afterwards, so that tasks share nothing and order stays fixed.
    const int strips = (frame.height + rows_per_task - 1) / rows_per_task;
    const auto call_count = static_cast<int>(calls.size());
    std::vector<float> spill(static_cast<std::size_t>(strips * shears.shape[0] * pitch));
    const int team = thread_count(threads);
    const auto& kernel = loops();
#pragma omp parallel num_threads(team)
    {
#pragma omp for schedule(dynamic, 1)
        for (int task = 0; task < call_count * strips; ++task) {
            // Calls of one strip follow each other: they read the same rows of the volume, still in the last cache.
            const auto [begin, end] = calls[task % call_count];
            const int strip = task / call_count;
            kernel.forward({&volume(0, 0, 0), volume.strides[1], static_cast<int>(volume.shape[2]),
                            static_cast<int>(volume.shape[1]), nz, &table.taps[static_cast<std::size_t>(begin) * nz],
                            &table.kinds[begin], end - begin, &image[begin], pitch, frame.origin_x, frame.origin_y,
                            strip * rows_per_task, std::min(frame.height, (strip + 1) * rows_per_task), frame.width,
                            &spill[(strip * shears.shape[0] + begin) * pitch]});
        }
#pragma omp for schedule(static)
        for (int view = 0; view < shears.shape[0]; ++view)
            for (int strip = 0; strip + 1 < strips; ++strip) {
                float* row = image[view] + static_cast<std::int64_t>(strip + 1) * rows_per_task * pitch;
                const float* below = &spill[(strip * shears.shape[0] + view) * pitch];
                for (std::int64_t x = 0; x < pitch; ++x) row[x] += below[x];
            }
    }
}

void shear_adjoint(View<const float, 3> images, View<const double, 2> shears, View<float, 3> volume,
                   const ImageFrame& frame, int threads) {
    require_frame(volume, images, shears, frame);
    const std::int64_t pitch = images.strides[1];
    const TapTable table = tap_table(shears, volume.shape, volume.strides, pitch);
    const auto nz = static_cast<int>(volume.shape[0]);
    const auto calls = calls_of(table.kinds);
    std::vector<const float*> image(static_cast<std::size_t>(shears.shape[0]));
    for (std::size_t view = 0; view < image.size(); ++view) image[view] = &images(view, 0, 0);

    const auto ny = static_cast<int>(volume.shape[1]);
    const int strips = (ny + rows_per_task - 1) / rows_per_task;
    const int team = thread_count(threads);
    const auto& kernel = loops();
#pragma omp parallel for schedule(dynamic, 1) num_threads(team)
    for (int strip = 0; strip < strips; ++strip)
        for (const auto [begin, end] : calls)
            kernel.adjoint({&volume(0, 0, 0), volume.strides[1], volume.strides[0], static_cast<int>(volume.shape[2]),
                            nz, &table.taps[static_cast<std::size_t>(begin) * nz], &table.kinds[begin], end - begin,
                            &image[begin], pitch, frame.origin_x, frame.origin_y, strip * rows_per_task,
                            std::min(ny, (strip + 1) * rows_per_task)});
}

void compare(View<const float, 3> data, View<const float, 3> weights, View<const std::int64_t, 1> views,
             View<float, 3> projections, View<double, 2> sums, int threads) {
    require(data.shape == weights.shape, "data and weights must have one shape");
    require(data.shape[1] == projections.shape[1] && data.shape[2] == projections.shape[2],
            "data and projections must have images of one shape");
    require(projections.shape[0] == views.shape[0], "expected ", views.shape[0], " projections, got ",
            projections.shape[0]);
    require(data.strides[2] == 1 && weights.strides[2] == 1 && projections.strides[2] == 1,
            "image rows must be contiguous");
    const bool summed = sums.shape[0] > 0;
    require(!summed || (sums.shape[0] == views.shape[0] && sums.shape[1] == 7), "sums must be (", views.shape[0],
            ", 7)");
    for (std::int64_t i = 0; i < views.shape[0]; ++i)
        require(views(i) >= 0 && views(i) < data.shape[0], "view ", views(i), " is not one of ", data.shape[0]);
    const int team = thread_count(threads);
    const auto& kernel = loops();
    const std::int64_t rows = data.shape[1], width = data.shape[2];
#pragma omp parallel for schedule(dynamic, 1) num_threads(team)
    for (std::int64_t i = 0; i < views.shape[0]; ++i) {
        RowSums all{};
        for (std::int64_t row = 0; row < rows; ++row) {
            RowSums one{};
            kernel.compare(&data(views(i), row, 0), &weights(views(i), row, 0), &projections(i, row, 0), width,
                           summed ? &one : nullptr);
            all.count += one.count, all.p += one.p, all.s += one.s, all.pp += one.pp, all.ss += one.ss;
            all.ps += one.ps, all.weighted_residual += one.weighted_residual;
        }
        if (!summed) continue;
        const double values[7] = {all.count, all.p, all.s, all.pp, all.ss, all.ps, all.weighted_residual};
        for (int k = 0; k < 7; ++k) sums(i, k) = values[k];
    }
}

std::array<double, 2> relax(View<float, 3> volume, View<const float, 3> update, View<const float, 3> column_weights,
                            float step, float floor, int threads) {
    require(volume.shape == update.shape && volume.shape == column_weights.shape,
            "volume, update and column weights must have one shape");
    require(volume.strides[2] == 1 && update.strides[2] == 1 && column_weights.strides[2] == 1,
            "volume rows must be contiguous");
    const std::int64_t nz = volume.shape[0], ny = volume.shape[1], nx = volume.shape[2];
    std::vector<double> sums(static_cast<std::size_t>(2 * ny));
    const int team = thread_count(threads);
    const auto& kernel = loops();
#pragma omp parallel for schedule(static) num_threads(team)
    for (std::int64_t y = 0; y < ny; ++y)
        for (std::int64_t z = 0; z < nz; ++z) {
            double row[2];
            kernel.relax(&volume(z, y, 0), &update(z, y, 0), &column_weights(z, y, 0), step, floor, nx, row);
            sums[2 * y] += row[0], sums[2 * y + 1] += row[1];
        }
    std::array<double, 2> total{};
    for (std::int64_t y = 0; y < ny; ++y) total[0] += sums[2 * y], total[1] += sums[2 * y + 1];
    return total;
}

}  // namespace concordet
