#include "harmonics.hpp"

#include <algorithm>
#include <cmath>

#include "check.hpp"
#include "harmonics_loops.hpp"
#include "threads.hpp"
#include "wigner.hpp"

namespace concordet {
namespace {

const HarmonicsLoops& loops() {
    static const HarmonicsLoops& chosen = CHOSEN_LOOPS(harmonics_loops);
    return chosen;
}

std::int64_t padded(std::int64_t columns) {
    return (columns + expansion_padding - 1) / expansion_padding * expansion_padding;
}

}  // namespace

HarmonicsTable::HarmonicsTable(View<const std::int32_t, 2> indices, int first, int last, int band, int threads)
    : first_(first), last_(last), band_(band), count_(indices.shape[0]) {
    require(indices.shape[1] == 3, "indices must have shape (J, 3)");
    require(1 <= first && first <= last, "shells: expected 1 <= first <= last, got ", first, " to ", last);
    require(band >= 1 && band <= 128, "band limit: expected 1 to 128, got ", band);
    for (int m = 0, place = 0; m < band; ++m)
        for (int l = m; l < band; ++l, ++place) (l % 2 ? odd_orders_ : even_orders_).push_back(place);
    even_columns_ = padded(2 * static_cast<std::int64_t>(even_orders_.size()));
    odd_columns_ = padded(2 * static_cast<std::int64_t>(odd_orders_.size()));
    const auto radius = [&](std::int64_t j) {
        double squared = 0;
        for (int axis = 0; axis < 3; ++axis) squared += std::pow(static_cast<double>(indices(j, axis)), 2);
        return std::sqrt(squared);
    };
    for (std::int64_t begin = 0, end; begin < count_; begin = end) {
        const int outer = static_cast<int>(std::ceil(radius(begin)));
        require(outer >= 1 && (layers_.empty() || outer > layers_.back().outer),
                "indices must be sorted by ceil |k|, without k = 0");
        for (end = begin; end < count_ && static_cast<int>(std::ceil(radius(end))) == outer;) ++end;
        Layer layer{outer, begin, end - begin, {}, {}, {}};
        std::vector<double> directions;
        for (std::int64_t j = begin; j < end; ++j) {
            layer.to_outer.push_back(static_cast<float>(1 - (outer - radius(j))));
            for (int axis = 0; axis < 3; ++axis) directions.push_back(indices(j, axis));
        }
        std::vector<std::complex<double>> values(static_cast<std::size_t>(layer.size) * orders());
        spherical_harmonics({directions.data(), {layer.size, 3}, {3, 1}}, band,
                            {values.data(), {layer.size, orders()}, {orders(), 1}}, threads);
        const auto fill = [&](std::vector<float>& table, const std::vector<int>& chosen, std::int64_t columns) {
            table.assign(static_cast<std::size_t>(layer.size * columns), 0.0f);
            for (std::int64_t j = 0; j < layer.size; ++j)
                for (std::size_t i = 0; i < chosen.size(); ++i) {
                    const auto y = values[static_cast<std::size_t>(j * orders() + chosen[i])];
                    float* at = table.data() + j * columns + 2 * static_cast<std::int64_t>(i);
                    at[0] = static_cast<float>(2 * y.real());
                    at[1] = static_cast<float>(-2 * y.imag());
                }
        };
        fill(layer.even, even_orders_, even_columns_);
        fill(layer.odd, odd_orders_, odd_columns_);
        layers_.push_back(std::move(layer));
    }
}

void HarmonicsTable::expand(View<const std::complex<float>, 2> coefficients, View<const std::complex<float>, 2> phases,
                            View<std::complex<float>, 4> harmonics, int threads) const {
    const std::int64_t particles = coefficients.shape[0], shifts = phases.shape[0];
    require(coefficients.shape[1] == count_ && phases.shape[1] == count_, "coefficients and phases must have ", count_,
            " columns");
    require(coefficients.strides[1] == 1 && phases.strides[1] == 1, "coefficients and phases must have contiguous rows");
    require(harmonics.shape == std::array<std::int64_t, 4>{particles, shifts, orders(), shells()},
            "harmonics must have shape (particles, shifts, orders, shells)");
    std::int64_t deepest = 0;
    for (const Layer& layer : layers_) deepest = std::max(deepest, layer.size);
    const std::int64_t groups = (shifts + expansion_rows - 1) / expansion_rows;
    const HarmonicsLoops& kernel = loops();    // may throw, which threads must not
    const int team = thread_count(threads);
#pragma omp parallel num_threads(team)
    {
        // [inner or outer shell][real for even l, imaginary for odd l]
        std::vector<float> left[2][2];
        for (auto& pair : left)
            for (auto& factor : pair) factor.resize(static_cast<std::size_t>(deepest * expansion_rows));
        std::vector<float> even(static_cast<std::size_t>(expansion_rows * even_columns_));
        std::vector<float> odd(static_cast<std::size_t>(expansion_rows * odd_columns_));
#pragma omp for collapse(2) schedule(static)
        for (std::int64_t particle = 0; particle < particles; ++particle)
            for (std::int64_t group = 0; group < groups; ++group) {
                const std::int64_t shift = group * expansion_rows;
                const int rows = static_cast<int>(std::min<std::int64_t>(expansion_rows, shifts - shift));
                const std::complex<float>* x = &coefficients(particle, 0);
                for (int row = 0; row < rows; ++row)
                    for (int order = 0; order < orders(); ++order)
                        for (int shell = 0; shell < shells(); ++shell)
                            harmonics(particle, shift + row, order, shell) = 0;
                for (const Layer& layer : layers_) {
                    for (auto& pair : left)
                        for (auto& factor : pair) std::fill(factor.begin(), factor.end(), 0.0f);
                    for (int row = 0; row < rows; ++row) {
                        const std::complex<float>* phase = &phases(shift + row, layer.begin);
                        for (std::int64_t j = 0; j < layer.size; ++j) {
                            const float a = x[layer.begin + j].real(), b = x[layer.begin + j].imag();
                            const float c = phase[j].real(), s = phase[j].imag();
                            const float real = a * c - b * s, imaginary = a * s + b * c;
                            const float outer = layer.to_outer[static_cast<std::size_t>(j)], inner = 1 - outer;
                            const auto at = static_cast<std::size_t>(j * expansion_rows + row);
                            left[0][0][at] = inner * real;
                            left[0][1][at] = inner * imaginary;
                            left[1][0][at] = outer * real;
                            left[1][1][at] = outer * imaginary;
                        }
                    }
                    for (int side = 0; side < 2; ++side) {
                        const int radius = layer.outer - 1 + side;
                        if (radius < first_ || radius > last_) continue;
                        std::fill(even.begin(), even.end(), 0.0f);
                        std::fill(odd.begin(), odd.end(), 0.0f);
                        kernel.multiply(left[side][0].data(), layer.even.data(), layer.size, even_columns_, even.data());
                        kernel.multiply(left[side][1].data(), layer.odd.data(), layer.size, odd_columns_, odd.data());
                        for (int row = 0; row < rows; ++row) {
                            const float* sums = even.data() + row * even_columns_;
                            for (std::size_t i = 0; i < even_orders_.size(); ++i)
                                harmonics(particle, shift + row, even_orders_[i], radius - first_) +=
                                    std::complex<float>(sums[2 * i], sums[2 * i + 1]);
                            sums = odd.data() + row * odd_columns_;
                            for (std::size_t i = 0; i < odd_orders_.size(); ++i)    // times i
                                harmonics(particle, shift + row, odd_orders_[i], radius - first_) +=
                                    std::complex<float>(-sums[2 * i + 1], sums[2 * i]);
                        }
                    }
                }
            }
    }
}

}  // namespace concordet
