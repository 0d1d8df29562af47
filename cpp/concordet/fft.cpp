#include "fft.hpp"

#include <algorithm>
#include <vector>

#include "check.hpp"
#include "threads.hpp"

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

using Complex = std::complex<float>;
constexpr auto complex_size = static_cast<std::ptrdiff_t>(sizeof(Complex));

/// `count` complex lines of `length` values, value i of line j at data[i * count + j], in place.
void transform_lines(Complex* data, int length, int count, bool forward) {
    const pocketfft::shape_t shape{static_cast<std::size_t>(length), static_cast<std::size_t>(count)};
    const pocketfft::stride_t strides{complex_size * count, complex_size};
    pocketfft::c2c(shape, strides, strides, {0}, forward, data, data, 1.0f);
}

/// What a cube, its spectrum and its profile must be like for `transform_cube` and its inverse.
template <class Real, class Value>
void require_cube(const View<Real, 3>& volume, const View<const float, 1>& profile, int length,
                  const View<Value, 3>& spectrum) {
    const std::int64_t n = volume.shape[0], reach = spectrum.shape[2] - 1, extent = 2 * reach + 1;
    require(volume.shape[1] == n && volume.shape[2] == n, "volume must be a cube");
    require(volume.strides[2] == 1 && spectrum.strides[2] == 1, "volume and spectrum must have contiguous rows");
    require(profile.shape[0] == n, "profile must have ", n, " values, got ", profile.shape[0]);
    require(n > 0 && n <= length, "length must be at least ", n, ", got ", length);
    require(reach >= 0 && reach < length, "reach must be below ", length, ", got ", reach);
    require(spectrum.shape[0] == extent && spectrum.shape[1] == extent, "spectrum must have shape (", extent, ", ",
            extent, ", ", reach + 1, ")");
}

int wrapped(int k, int length) { return (k % length + length) % length; }

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

void transform_cube(View<const float, 3> volume, View<const float, 1> profile, int length, float factor,
                    View<Complex, 3> spectrum, int threads) {
    const int n = static_cast<int>(volume.shape[0]), reach = static_cast<int>(spectrum.shape[2]) - 1;
    const int extent = 2 * reach + 1;
    require_cube(volume, profile, length, spectrum);
    const int half = length / 2 + 1, columns = std::min(reach + 1, half);
    const auto place = [&](int i) { return wrapped(i - n / 2, length); };
    const auto slice_size = static_cast<std::size_t>(extent) * columns;
    std::vector<Complex> slices(slice_size * n);    // (z, ky, kx)
    const int team = thread_count(threads);
#pragma omp parallel num_threads(team)
    {
        std::vector<float> rows(static_cast<std::size_t>(n) * length);
        std::vector<Complex> row_spectra(static_cast<std::size_t>(n) * half);
        std::vector<Complex> lines(static_cast<std::size_t>(length) * columns);
        const pocketfft::shape_t shape{static_cast<std::size_t>(n), static_cast<std::size_t>(length)};
        const pocketfft::stride_t real{static_cast<std::ptrdiff_t>(sizeof(float)) * length, sizeof(float)};
        const pocketfft::stride_t complex{complex_size * half, complex_size};
#pragma omp for schedule(static)
        for (int z = 0; z < n; ++z) {
            std::fill(rows.begin(), rows.end(), 0.0f);
            for (int y = 0; y < n; ++y) {
                const float weight = factor * profile(z) * profile(y);
                float* row = rows.data() + static_cast<std::size_t>(y) * length;
                for (int x = 0; x < n; ++x) row[place(x)] = weight * profile(x) * volume(z, y, x);
            }
            pocketfft::r2c(shape, real, complex, 1, true, rows.data(), row_spectra.data(), 1.0f);
            std::fill(lines.begin(), lines.end(), Complex{});
            for (int y = 0; y < n; ++y)
                std::copy_n(row_spectra.data() + static_cast<std::size_t>(y) * half, columns,
                            lines.data() + static_cast<std::size_t>(place(y)) * columns);
            transform_lines(lines.data(), length, columns, true);
            for (int ky = -reach; ky <= reach; ++ky)
                std::copy_n(lines.data() + static_cast<std::size_t>(wrapped(ky, length)) * columns, columns,
                            slices.data() + slice_size * z + static_cast<std::size_t>(ky + reach) * columns);
        }
#pragma omp for schedule(static)
        for (int ky = 0; ky < extent; ++ky) {
            std::fill(lines.begin(), lines.end(), Complex{});
            for (int z = 0; z < n; ++z)
                std::copy_n(slices.data() + slice_size * z + static_cast<std::size_t>(ky) * columns, columns,
                            lines.data() + static_cast<std::size_t>(place(z)) * columns);
            transform_lines(lines.data(), length, columns, true);
            for (int kz = -reach; kz <= reach; ++kz)
                std::copy_n(lines.data() + static_cast<std::size_t>(wrapped(kz, length)) * columns, columns,
                            &spectrum(kz + reach, ky, 0));
        }
    }
    // Beyond Nyquist along x a value is the conjugate of the one at -k.
    for (int kx = columns; kx <= reach; ++kx)
        for (int kz = -reach; kz <= reach; ++kz)
            for (int ky = -reach; ky <= reach; ++ky)
                spectrum(kz + reach, ky + reach, kx) = std::conj(spectrum(reach - kz, reach - ky, length - kx));
}

void inverse_transform_cube(View<const Complex, 3> spectrum, View<const float, 1> profile, int length, float factor,
                            View<float, 3> volume, int threads) {
    require_cube(volume, profile, length, spectrum);
    const int n = static_cast<int>(volume.shape[0]), reach = static_cast<int>(spectrum.shape[2]) - 1;
    const int half = length / 2 + 1, top = std::min(reach, length / 2), columns = top + 1, extent = 2 * top + 1;
    const auto place = [&](int i) { return wrapped(i - n / 2, length); };
    const auto share = [&](int k) { return 2 * std::abs(k) == length ? 0.5f : 1.0f; };
    const auto slice_size = static_cast<std::size_t>(extent) * columns;
    std::vector<Complex> slices(slice_size * n);    // (z, ky, kx)
    const int team = thread_count(threads);
#pragma omp parallel num_threads(team)
    {
        std::vector<Complex> lines(static_cast<std::size_t>(length) * columns);
        std::vector<Complex> row_spectra(static_cast<std::size_t>(n) * half);
        std::vector<float> rows(static_cast<std::size_t>(n) * length);
        const auto line = [&](int i) { return lines.data() + static_cast<std::size_t>(i) * columns; };
        // `values` of frequency k; both ends of the spectrum meet at length / 2.
        const auto put = [&](int k, const Complex* values) {
            Complex* to = line(wrapped(k, length));
            for (int kx = 0; kx < columns; ++kx) to[kx] += share(k) * values[kx];
        };
        const pocketfft::shape_t shape{static_cast<std::size_t>(n), static_cast<std::size_t>(length)};
        const pocketfft::stride_t real{static_cast<std::ptrdiff_t>(sizeof(float)) * length, sizeof(float)};
        const pocketfft::stride_t complex{complex_size * half, complex_size};
#pragma omp for schedule(static)
        for (int ky = -top; ky <= top; ++ky) {
            std::fill(lines.begin(), lines.end(), Complex{});
            for (int kz = -top; kz <= top; ++kz) put(kz, &spectrum(kz + reach, ky + reach, 0));
            transform_lines(lines.data(), length, columns, false);
            for (int z = 0; z < n; ++z)
                std::copy_n(line(place(z)), columns,
                            slices.data() + slice_size * z + static_cast<std::size_t>(ky + top) * columns);
        }
        std::fill(row_spectra.begin(), row_spectra.end(), Complex{});
#pragma omp for schedule(static)
        for (int z = 0; z < n; ++z) {
            std::fill(lines.begin(), lines.end(), Complex{});
            for (int ky = -top; ky <= top; ++ky)
                put(ky, slices.data() + slice_size * z + static_cast<std::size_t>(ky + top) * columns);
            transform_lines(lines.data(), length, columns, false);
            for (int y = 0; y < n; ++y)
                std::copy_n(line(place(y)), columns, row_spectra.data() + static_cast<std::size_t>(y) * half);
            pocketfft::c2r(shape, complex, real, 1, false, row_spectra.data(), rows.data(), 1.0f);
            for (int y = 0; y < n; ++y) {
                const float weight = factor * profile(z) * profile(y);
                const float* row = rows.data() + static_cast<std::size_t>(y) * length;
                for (int x = 0; x < n; ++x) volume(z, y, x) = weight * profile(x) * row[place(x)];
            }
        }
    }
}

}  // namespace concordet
