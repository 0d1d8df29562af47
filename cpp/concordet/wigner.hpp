/// Wigner's rotation matrices and spherical harmonics, in double precision.
///
/// R = Rz(a) Ry(b) Rz(g) takes Y_lm' to sum_m D^l_mm' Y_lm, D^l_mm' = exp(-i m a) d^l_mm'(b) exp(-i m' g), with
/// d^l_mm'(b) = <l m| exp(-i b J_y) |l m'> and the phase of Condon and Shortley.
#pragma once

#include <complex>

#include "array.hpp"

namespace concordet {

/// values[l - first] = d^l_mm'(beta) for l = first ... band - 1, first = max(|m|, |m'|) < band.
///
/// Three terms in l (Kostelec and Rockmore, J. Fourier Anal. Appl. 14, 145, 2008, eq. 4.9, in our sign), which is
/// stable upwards; the first value is closed.
void wigner_d_sequence(int m, int m_prime, double beta, int band, double* values);

/// matrices(b, l, m + band - 1, m' + band - 1) = d^l_mm'(betas(b)), 0 where |m| or |m'| is above l.
void wigner_d(View<const double, 1> betas, View<double, 4> matrices, int threads);

/// values(i, order(l, m)) = Y_lm at direction i for 0 <= m <= l < band, order(l, m) running over l within m.
///
/// directions   (n, 3): x, y, z, of any length above 0
/// values       (n, band (band + 1) / 2)
void spherical_harmonics(View<const double, 2> directions, int band, View<std::complex<double>, 2> values, int threads);

}  // namespace concordet
