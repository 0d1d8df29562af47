/// The real-space projection engine: shear sums of a volume and their exact transpose.
///
/// In the base plane of a view (the plane z = 0, image pixels under voxels) a parallel projection is a sum of
/// slices, each moved by a constant in-plane shift:
///
///     S_v(x, y) = sum_z volume(z, y - s_y z, x - s_x z),      z counted from slice nz // 2
///
/// with linear interpolation along the axes that the shift has. Nothing gathers: every tap is a constant offset.
///
/// volume  (z, y, x), voxels, x contiguous; every row has `row_guard` zeros on both sides (see `allocation`
///         in python/concordet/projection.py); rows and slices may have any stride
/// shears  (view, 2): (s_x, s_y), voxels per slice
/// images  (view, y, x), rows of `pitch` floats; voxel (y, x) at zero shift lies on pixel (y + origin_y, x + origin_x)
///
/// Sums keep one order whatever the number of threads: results are equal bit for bit.
#pragma once

#include "array.hpp"

namespace concordet {

/// Where images lie about the volume: the smallest frame that holds every tap of every view.
struct ImageFrame {
    int origin_y, origin_x, height, width;
};

ImageFrame image_frame(View<const double, 2> shears, std::array<std::int64_t, 3> volume_shape);

/// images[v] = S_v volume, overwritten (the guard columns too).
void shear_forward(View<const float, 3> volume, View<const double, 2> shears, View<float, 3> images,
                   const ImageFrame& frame, int threads);

/// volume += sum_v S_v^T images[v].
void shear_adjoint(View<const float, 3> images, View<const double, 2> shears, View<float, 3> volume,
                   const ImageFrame& frame, int threads);

/// projections[i] <- weights[v] (data[v] - projections[i]), v = views[i]: the residual that the adjoint takes back.
///
/// sums  (i, 7): over pixels of positive weight: count, p, s, p^2, s^2, p s, weight (p - s)^2; p data, s projection.
///       Skipped when its first extent is 0.
void compare(View<const float, 3> data, View<const float, 3> weights, View<const std::int64_t, 1> views,
             View<float, 3> projections, View<double, 2> sums, int threads);

/// volume <- max(floor, volume + step column_weights update). Returns {|change|^2, |volume|^2}.
std::array<double, 2> relax(View<float, 3> volume, View<const float, 3> update, View<const float, 3> column_weights,
                            float step, float floor, int threads);

}  // namespace concordet
