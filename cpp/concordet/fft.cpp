#include "fft.hpp"

#define POCKETFFT_NO_MULTITHREADING
#include <pocketfft.hpp>

namespace concordet {
namespace {

struct Layout {
    pocketfft::shape_t shape, axes{0, 1};
    pocketfft::stride_t real, complex;

    Layout(int height, int width)
        : shape{static_cast<std::size_t>(height), static_cast<std::size_t>(width)},
          real{static_cast<std::ptrdiff_t>(sizeof(float)) * width, sizeof(float)},
          complex{static_cast<std::ptrdiff_t>(sizeof(std::complex<float>)) * (width / 2 + 1),
                  sizeof(std::complex<float>)} {}
};

}  // namespace

int fast_length(int n) {
    for (int length = n + n % 2;; length += 2) {
        int rest = length;
        for (int prime : {2, 3, 5})
            while (rest % prime == 0) rest /= prime;
        if (rest == 1) return length;
    }
}

void transform(const float* image, std::complex<float>* spectrum, int height, int width) {
    const Layout layout(height, width);
    pocketfft::r2c(layout.shape, layout.real, layout.complex, layout.axes, true, image, spectrum, 1.0f);
}

void inverse_transform(std::complex<float>* spectrum, float* image, int height, int width, float factor) {
    const Layout layout(height, width);
    pocketfft::c2r(layout.shape, layout.complex, layout.real, layout.axes, false, spectrum, image, factor);
}

}  // namespace concordet
