/// Spherical-harmonic expansion of Fourier coefficients by the adjoint of sampling.
///
/// p_lm(r) = sum_k h(|k| - r) p(k) conj Y_lm(k / |k|) over all k, h(x) = max(0, 1 - |x|): every coefficient counts
/// once, and white noise stays white. The pair +-k gives conj(Y) 2 Re p for even l and conj(Y) 2i Im p for odd l, so the
/// expansion is two real matrix products. m < 0 follows from p_{l,-m} = (-1)^(l + m) conj p_lm.
#pragma once

#include <complex>
#include <vector>

#include "array.hpp"

namespace concordet {

/// The harmonics of a half-space list, ready to be multiplied.
class HarmonicsTable {
public:
    /// indices (J, 3) as (kx, ky, kz), one of each pair, sorted by ceil |k|; shells r = first ... last >= first >= 1.
    HarmonicsTable(View<const std::int32_t, 2> indices, int first, int last, int band, int threads);

    /// Expand coefficients (m, J), each times the phases (T, J): harmonics (m, T, order, shell) complex,
    /// order(l, m) running over l = m ... band - 1 within m = 0 ... band - 1.
    void expand(View<const std::complex<float>, 2> coefficients, View<const std::complex<float>, 2> phases,
                View<std::complex<float>, 4> harmonics, int threads) const;

    std::int64_t coefficients() const { return count_; }
    int orders() const { return band_ * (band_ + 1) / 2; }
    int shells() const { return last_ - first_ + 1; }

private:
    struct Layer {                        ///< coefficients with ceil |k| = outer
        int outer;
        std::int64_t begin, size;
        std::vector<float> to_outer;      ///< h(|k| - outer); to outer - 1 goes the rest
        std::vector<float> even, odd;     ///< (size, columns): Re and -Im of Y_lm side by side, even and odd l
    };
    int first_, last_, band_;
    std::int64_t count_;
    std::int64_t even_columns_, odd_columns_;
    std::vector<int> even_orders_, odd_orders_;    ///< place of every even (odd) pair (l, m) among all of them
    std::vector<Layer> layers_;
};

}  // namespace concordet
