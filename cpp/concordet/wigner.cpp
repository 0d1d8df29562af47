#include "wigner.hpp"

#include <cmath>
#include <cstdlib>
#include <numbers>
#include <vector>

#include "check.hpp"
#include "threads.hpp"

namespace concordet {
namespace {

/// log n!, without lgamma, whose sign goes through a variable that threads share.
double log_factorial(int n) {
    double sum = 0;
    for (int i = 2; i <= n; ++i) sum += std::log(static_cast<double>(i));
    return sum;
}

/// d^l_mm'(beta) where l = max(|m|, |m'|): sqrt((2l)! / ((l + k)! (l - k)!)) c^(l + k) s^(l - k), one of four signs.
double first_value(int m, int m_prime, double beta) {
    const int l = std::max(std::abs(m), std::abs(m_prime));
    const double c = std::cos(beta / 2), s = std::sin(beta / 2);
    int cosines, sines;
    bool negative;
    if (std::abs(m) == l) {
        cosines = m > 0 ? l + m_prime : l - m_prime;
        sines = 2 * l - cosines;
        negative = m > 0 && sines % 2 != 0;
    } else {
        cosines = m_prime > 0 ? l + m : l - m;
        sines = 2 * l - cosines;
        negative = m_prime < 0 && sines % 2 != 0;
    }
    const double size = std::exp(0.5 * (log_factorial(2 * l) - log_factorial(cosines) - log_factorial(sines)));
    const double value = size * std::pow(c, cosines) * std::pow(s, sines);
    return negative ? -value : value;
}

}  // namespace

void wigner_d_sequence(int m, int m_prime, double beta, int band, double* values) {
    const int first = std::max(std::abs(m), std::abs(m_prime));
    const double x = std::cos(beta), mm = static_cast<double>(m) * m_prime;
    const auto root = [&](double l) { return std::sqrt((l * l - m * m) * (l * l - m_prime * m_prime)); };
    values[0] = first_value(m, m_prime, beta);
    for (int l = first; l + 1 < band; ++l) {
        const double next = l + 1;
        const double shift = l == 0 ? 0 : mm / (l * next);
        double value = next * (2 * l + 1) * (x - shift) * values[l - first];
        if (l > first) value -= next / l * root(l) * values[l - first - 1];
        values[l + 1 - first] = value / root(next);
    }
}

void wigner_d(View<const double, 1> betas, View<double, 4> matrices, int threads) {
    const int band = static_cast<int>(matrices.shape[1]), orders = 2 * band - 1;
    require(band >= 1, "the band must be at least 1");
    require(matrices.shape[0] == betas.shape[0] && matrices.shape[2] == orders && matrices.shape[3] == orders,
            "matrices must have shape (betas, band, 2 band - 1, 2 band - 1)");
    const int team = thread_count(threads);
#pragma omp parallel num_threads(team)
    {
        std::vector<double> sequence(static_cast<std::size_t>(band));
#pragma omp for collapse(2) schedule(static)
        for (std::int64_t b = 0; b < betas.shape[0]; ++b)
            for (int m = 1 - band; m < band; ++m)
                for (int m_prime = 1 - band; m_prime < band; ++m_prime) {
                    const int first = std::max(std::abs(m), std::abs(m_prime));
                    wigner_d_sequence(m, m_prime, betas(b), band, sequence.data());
                    for (int l = 0; l < band; ++l)
                        matrices(b, l, m + band - 1, m_prime + band - 1) = l < first ? 0 : sequence[l - first];
                }
    }
}

void spherical_harmonics(View<const double, 2> directions, int band, View<std::complex<double>, 2> values,
                         int threads) {
    require(directions.shape[1] == 3, "directions must have shape (n, 3)");
    require(band >= 1 && values.shape[0] == directions.shape[0] && values.shape[1] == band * (band + 1) / 2,
            "values must have shape (n, band (band + 1) / 2)");
    const int team = thread_count(threads);
#pragma omp parallel num_threads(team)
    {
        std::vector<double> legendre(static_cast<std::size_t>(band));
#pragma omp for schedule(static)
        for (std::int64_t i = 0; i < directions.shape[0]; ++i) {
            const double x = directions(i, 0), y = directions(i, 1), z = directions(i, 2);
            const double across = std::hypot(x, y), length = std::hypot(across, z);
            const double c = z / length, s = across / length;
            const std::complex<double> turn = across > 0 ? std::complex<double>(x / across, y / across) : 1.0;
            std::complex<double> phase = 1;
            double start = std::sqrt(0.25 / std::numbers::pi);    // P_mm, normalised with Y
            std::int64_t at = 0;
            for (int m = 0; m < band; ++m) {
                legendre[0] = start;
                if (m + 1 < band) legendre[1] = std::sqrt(2.0 * m + 3) * c * start;
                for (int l = m + 2; l < band; ++l) {
                    const double ll = static_cast<double>(l) * l, mm = static_cast<double>(m) * m, k = l - 1.0;
                    legendre[l - m] = std::sqrt((4 * ll - 1) / (ll - mm)) *
                                      (c * legendre[l - m - 1] -
                                       std::sqrt((k * k - mm) / (4 * k * k - 1)) * legendre[l - m - 2]);
                }
                for (int l = m; l < band; ++l) values(i, at++) = legendre[l - m] * phase;
                start *= -s * std::sqrt((2.0 * m + 3) / (2.0 * m + 2));
                phase *= turn;
            }
        }
    }
}

}  // namespace concordet
