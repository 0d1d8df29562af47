/// The filter of weighted back-projection for views of any directions.
#pragma once

#include "array.hpp"

namespace concordet {

/// Weigh every base-plane image for back-projection, in place.
///
/// The transform of S_v is the slice kz = s_v . k of the volume's transform; in a slab of nz slices it speaks
/// for a width of 1 / nz in kz. Where slices crowd they share their weight:
///
///     weight_v(k) = 1 / sum_v' max(0, 1 - nz |(s_v - s_v') . k|)
///
/// which is the ramp for one axis at even steps, and the exact filter of Harauz and van Heel (Optik 73, 146, 1986)
/// with a triangle for the slab's sinc, so that weights lie in (0, 1].
///
/// images     (view, y, x), mean-free outside the field or zero there
/// all_shears (all views, 2): the views that share the weight; own: index of each image's view among them
/// maps       (view, 2, 2): A_v of (u, v) = A_v (x, y) + ...: the window acts on detector frequencies
/// window     values at detector frequencies 0 ... 0.5 cycles per pixel, evenly spaced; beyond 0.5 zero
void weigh_views(View<float, 3> images, View<const double, 2> all_shears, View<const std::int64_t, 1> own,
                 View<const double, 3> maps, int thickness, View<const float, 1> window, int threads);

}  // namespace concordet
