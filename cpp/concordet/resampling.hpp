/// Resampling of images by affine maps.
#pragma once

#include <array>

#include "array.hpp"

namespace concordet {

/// output(y, x) = scale * image(v, u) with (u, v) = map (x, y, 1), in pixel indices; 0 outside the image.
///
/// image    (v, u), rows contiguous
/// map      {u_x, u_y, u_1, v_x, v_y, v_1}
/// inside   (y, x): 1 where (u, v) lies within [0, n - 1], else 0; skipped when its first extent is 0
///
/// Cubic convolution, a = -1/2 (Keys, IEEE Trans. ASSP 29, 1153, 1981); edge pixels are repeated.
void warp_affine(View<const float, 2> image, const std::array<double, 6>& map, float scale, View<float, 2> output,
                 View<float, 2> inside, int threads);

}  // namespace concordet
