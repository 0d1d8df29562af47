/// Fast rotational matching: the correlation of particles with references for all rotations at once.
///
/// c(R) = sum over k of p(k) conj A(R^T k) = sum_lmm' exp(i (m a + m' g)) d^l_mm'(b) sum_r p_lm(r) conj q_lm'(r),
/// R = Rz(a) Ry(b) Rz(g), p by the adjoint of sampling (harmonics.hpp), q the harmonics of A on shells. On the grid
/// a, g = (i + 1/2) 2 pi / N, b = (i + 1/2) 2 pi / N below pi.
#pragma once

#include <complex>
#include <vector>

#include "array.hpp"

namespace concordet {

/// How the correlation c0 over shifts and the reference's observed power c1^2 make a score.
enum class SearchScore { likelihood, correlation };    ///< c0 - c1^2 / 2, or c0 / c1

/// What particles (m) are compared with, and how. Harmonics are (..., order, shell), order(l, m) running over
/// l = m ... band - 1 within m >= 0; those with m < 0 follow from a_{l,-m} = (-1)^(l + m) conj a_lm.
struct SearchInput {
    View<const std::complex<float>, 4> particles;     ///< (m, shift, order, shell)
    View<const std::complex<float>, 3> weights;       ///< (w, order, shell): p1
    View<const std::int64_t, 1> weight_index;         ///< (m)
    View<const std::complex<float>, 3> references;    ///< (r, order, shell): A over the noise variance
    View<const std::complex<float>, 3> squares;       ///< (r, order, shell): |A|^2 over the noise variance
    View<const std::int64_t, 1> reference_index;      ///< (m)
    View<const float, 1> penalties;                   ///< (shift): subtracted from c0
    SearchScore score;
    double separation;                                ///< candidates differ by this rotation at least, radians
};

/// The best local maxima of each particle, best first.
struct SearchOutput {
    View<float, 4> rotations;          ///< (m, count, 3, 3)
    View<std::int64_t, 2> shifts;      ///< (m, count): index of the best shift
    View<float, 2> scores;             ///< (m, count)
    View<std::int64_t, 1> counts;      ///< (m): candidates found; what lies behind them is not written
};

class RotationalSearch {
public:
    /// l < band; angles: N, a multiple of 16.
    RotationalSearch(int band, int shells, int angles);

    void search(const SearchInput& input, const SearchOutput& output, int threads) const;

    /// values (N / 2, N, N) = c over (b, g, a), of particle and reference (order, shell).
    void correlate(View<const std::complex<float>, 2> particle, View<const std::complex<float>, 2> reference,
                   View<float, 3> values) const;

    int orders() const { return band_ * (band_ + 1) / 2; }
    int betas() const { return angles_ / 2; }

private:
    int band_, shells_, angles_;
    std::vector<float> wigner_, cosines_, sines_;
};

}  // namespace concordet
