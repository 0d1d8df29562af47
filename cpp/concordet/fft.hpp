/// Fourier transforms of real images (pocketfft, in one object built for the baseline instruction set).
#pragma once

#include <complex>

namespace concordet {

/// The smallest length >= n with prime factors up to 5 and an even value, quick to transform.
int fast_length(int n);

/// spectrum (height, width / 2 + 1) = transform of image (height, width), both C-ordered, no factor.
void transform(const float* image, std::complex<float>* spectrum, int height, int width);

/// The inverse, times `factor`; overwrites `spectrum`.
void inverse_transform(std::complex<float>* spectrum, float* image, int height, int width, float factor);

}  // namespace concordet
