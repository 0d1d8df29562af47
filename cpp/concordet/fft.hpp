/// Fourier transforms (pocketfft, in one object built for the baseline instruction set).
#pragma once

#include <complex>

#include "array.hpp"

namespace concordet {

/// The smallest length >= n with prime factors up to 5 and an even value, quick to transform.
int fast_length(int n);

/// spectrum (height, width / 2 + 1) = transform of image (height, width), both C-ordered, no factor.
void transform(const float* image, std::complex<float>* spectrum, int height, int width);

/// The inverse, times `factor`; overwrites `spectrum`.
void inverse_transform(std::complex<float>* spectrum, float* image, int height, int width, float factor);

/// The low frequencies of a cube, zero-padded to `length` voxels a side:
///
///     spectrum(kz + reach, ky + reach, kx) = factor sum_x profile(x) profile(y) profile(z) volume(x)
///                                            exp(-2 pi i k . (x - n // 2) / length)
///
/// volume    (n, n, n), n <= length, x contiguous
/// profile   (n): a separable weight, such as a gridding correction
/// spectrum  (2 reach + 1, 2 reach + 1, reach + 1), x contiguous; reach < length
///
/// Only lines that hold voxels are transformed, and only lines that are asked for go on to the next axis.
void transform_cube(View<const float, 3> volume, View<const float, 1> profile, int length, float factor,
                    View<std::complex<float>, 3> spectrum, int threads);

/// The way back, cropped to a cube:
///
///     volume(x) = factor profile(x) profile(y) profile(z) sum_k spectrum(k) exp(+2 pi i k . (x - n // 2) / length)
///
/// over all k of both halves of space, each frequency once: half of the values at +-length / 2, none of those beyond.
/// Arguments as above; on kx = 0 the spectrum's Hermitian part counts.
void inverse_transform_cube(View<const std::complex<float>, 3> spectrum, View<const float, 1> profile, int length,
                            float factor, View<float, 3> volume, int threads);

}  // namespace concordet
