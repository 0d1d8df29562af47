/// Expectation and maximisation: particles summed into averages at their poses, and what an average leaves of them.
///
/// Particle p at a pose (R, t), over the coefficients k of a half-space band: p0_k e^{+2 pi i k.t / n} and p1_k belong
/// at R^T k of the average, and of an average A they are explained by A(R^T k). Averages live on the grid of a
/// reference's transform padded twice, between whose points both kernels go linearly.
#pragma once

#include <complex>
#include <vector>

#include "array.hpp"

namespace concordet {

/// Particles in Fourier space.
///
/// indices  (coefficient, 3): (kx, ky, kz), whole numbers, one of each pair +-k
/// p0, p1   (particle, coefficient), (weight, coefficient); further columns are ignored
struct Observations {
    View<const std::int32_t, 2> indices;
    int box;
    View<const std::complex<float>, 2> p0;
    View<const float, 2> p1;
};

/// Poses of particles: (item) each. Items of one particle should follow each other.
///
/// particles, weights  rows of p0 and p1
/// rotations (item, 3, 3), reference to particle;   shifts (item, 3), (x, y, z) voxels
struct PosedItems {
    View<const std::int64_t, 1> particles, weights;
    View<const double, 3> rotations;
    View<const double, 2> shifts;
};

/// numerator += sum share p0 e^{+2 pi i k.t / n}, denominator += sum share p1, each coefficient and the conjugate at -k
/// divided among the 8 points around 2 R^T k: 8 times the transpose of sampling. As the grid is 8 times as dense as the
/// particle's, the denominator is the number of observations of a coefficient.
///
/// shares                  (item), >= 0
/// numerator, denominator  (2 reach + 1, 2 reach + 1, reach + 1): [z + reach, y + reach, x]; on x = 0 of both halves
///
/// Equal bit for bit whatever the number of threads: every cell receives its terms in one order.
void accumulate(const Observations& data, const PosedItems& items, View<const double, 1> shares,
                View<std::complex<float>, 3> numerator, View<float, 3> denominator, int threads);

/// sums(item, s, 0) = sum over |k| of shell s, k and -k, of Re(p0 e^{+2 pi i k.t / n} conj A(R^T k)); (item, s, 1) of
/// p1 |A(R^T k)|^2.
///
/// references       as in PoseData;   reference_index (item)
/// shells           (coefficient), 0 to the number of shells in `sums` less one
void shell_sums(const std::vector<View<const std::complex<float>, 3>>& references, const Observations& data,
                const PosedItems& items, View<const std::int64_t, 1> reference_index,
                View<const std::int32_t, 1> shells, View<double, 3> sums, int threads);

}  // namespace concordet
