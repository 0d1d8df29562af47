/// Poses of particles: their exact likelihood, the best shift, continuous refinement, cells of candidates.
///
/// For particle p, reference A and a pose (R, t), over the coefficients k of a half-space band,
///
///     ll(R, t) = sum_k 2/sigma_k^2 [ Re(p0_k e^{+2 pi i k.t / n} conj A(R^T k)) - p1_k |A(R^T k)|^2 / 2 ]
///                - |t|^2 / (2 xi^2),
///
/// A interpolated linearly on a transform padded twice. Every item is computed by one thread, its sums in one order:
/// results are equal bit for bit whatever the number of threads.
#pragma once

#include <complex>
#include <vector>

#include "array.hpp"

namespace concordet {

/// What poses are scored against.
///
/// references     transforms on a grid twice as fine, all of one shape (2 reach + 1, 2 reach + 1, reach + 1):
///                [z + reach, y + reach, x]; reach >= 2 |k| + 2 for every k in `indices`
/// indices        (coefficient, 3): (kx, ky, kz)
/// p0, p1         (particle, coefficient), (weight, coefficient); further columns are ignored
/// inverse_noise  (coefficient): 1 / sigma^2
struct PoseData {
    std::vector<View<const std::complex<float>, 3>> references;
    View<const std::int32_t, 2> indices;
    int box;
    View<const std::complex<float>, 2> p0;
    View<const float, 2> p1;
    View<const float, 1> inverse_noise;
};

/// Poses to score: (item) each. Items of one particle should follow each other.
///
/// rotations (item, 3, 3), reference to particle, and shifts (item, 3), (x, y, z) voxels: overwritten by the best found
/// likelihoods  ll there;   norms  sum 2/sigma^2 p1 |A(R^T k)|^2
struct PoseItems {
    View<const std::int64_t, 1> particles, weights, references;
    View<double, 3> rotations;
    View<double, 2> shifts;
    View<double, 1> likelihoods, norms;
};

/// How far and how the shift is sought.
struct ShiftOptions {
    double inverse_variance;    ///< 1 / xi^2, per squared voxel
    double largest;             ///< |t_x|, |t_y|, |t_z| stay at or below it, voxels
    int steps;                  ///< of Newton's method
    bool search;                ///< begin from the best of a grid of shifts, not from the shift given
};

/// The best shift of each item at its rotation.
void score_poses(const PoseData& data, const PoseItems& items, const ShiftOptions& shifts, int threads);

/// The best pose near each item: `sweeps` times, a parabola through turns by -step, 0, +step radians about each of the
/// three axes, the joint move with Newton steps of the shift, kept if it is better; the step halves.
void refine_poses(const PoseData& data, const PoseItems& items, const ShiftOptions& shifts, int sweeps, double step,
                  int threads);

/// projections(i, j) = A(R_i^T k_j), k (coefficient, 3), whole numbers or not.
void project_reference(View<const std::complex<float>, 3> reference, View<const float, 2> k,
                       View<const double, 3> rotations, View<std::complex<float>, 2> projections, int threads);

/// weights(p, c) = (hits + 1) / (samples + candidates), hits: samples of particle p nearest to candidate c by
/// tau^2 = 8 - 8 (q . q_c)^2 + alpha |t - t_c|^2; 0 for c >= counts(p).
///
/// samples      (sample, 7): unit quaternion, then a shift in [0, 1)^3 of the box around the particle's candidates
/// quaternions  (particle, candidate, 4), unit;   shifts (particle, candidate, 3), voxels
/// padding      voxels that the box of shifts is larger than the candidates' on every side
void voronoi_weights(View<const float, 2> samples, View<const double, 3> quaternions, View<const double, 3> shifts,
                     View<const std::int64_t, 1> counts, double alpha, double padding, View<double, 2> weights,
                     int threads);

}  // namespace concordet
