/// Coefficients of a half-space band as rotated lattices want them, and the checks of what is rotated.
#pragma once

#include <Eigen/Dense>
#include <complex>
#include <vector>

#include "aligned.hpp"
#include "array.hpp"
#include "poses_loops.hpp"

namespace concordet {

using Floats = Aligned<float>;
using Rotation = Eigen::Matrix<double, 3, 3, Eigen::RowMajor>;

/// The coefficients of a band in cubes, so that those sampled together lie together in any rotated reference.
/// Cubes of 8 coefficients a side, each of 8 cubes of 4: their 16 grid steps of footprint fit a first-level cache. In a
/// cube of 4, neighbours in the list are two apart: on a grid twice as fine they share no cell, and sums of one need
/// not wait for those of the other (a seventh of the time of insertion).
struct Band {
    /// A cube of `side` coefficients a side: points first to last - 1, all within `cube_radius` of the centre.
    struct Cube {
        int first, last;
        float x, y, z;
    };
    static constexpr int side = 4;
    static constexpr double cube_radius = 2.6;    ///< half a diagonal, 1.5 sqrt(3)

    std::vector<std::int32_t> order;    ///< coefficient of each point
    int count;                          ///< of points: filled up with k = 0 to whole blocks
    static constexpr int guard = 16;    ///< zeros behind them, for loops that begin at any point
    Floats kx, ky, kz;
    double radius;                      ///< the largest |k|
    std::vector<Cube> cubes;            ///< those that hold points, in the order of the points

    /// k (coefficient, 3), whole numbers or not, |k| < 4096.
    explicit Band(View<const std::int32_t, 2> k);
    explicit Band(View<const float, 2> k);
    BandPoints points() const { return {kx, ky, kz, count}; }

private:
    template <class Number>
    void fill(View<const Number, 2> k);
};

/// A padded transform (2 reach + 1, 2 reach + 1, reach + 1) as the loops see it.
ReferenceGrid grid_of(const View<const std::complex<float>, 3>& reference, const Band& band);

/// Refuses what is no such transform, or does not reach to the band's coefficients in any rotation.
void require_reference(const View<const std::complex<float>, 3>& reference, const Band& band);

/// Refuses (item, 3, 3) that are not orthonormal.
void require_rotations(const View<const double, 3>& rotations);

/// Refuses a list of coefficients (coefficient, 3) that is empty or too long.
template <class Number>
void require_points(const View<const Number, 2>& k, const char* name);

/// Rotation `item` of (item, 3, 3).
Rotation rotation_of(const View<const double, 3>& rotations, std::int64_t item);

/// 2 R^T in single precision, row by row.
void write_matrix(const Rotation& rotation, float* matrix);

/// Items of one particle and weight that follow each other share its preparation: where such runs begin, and the end of
/// the last; {0} without items. A run is no longer than 64, so that few particles still occupy all threads.
std::vector<std::int64_t> particle_runs(const View<const std::int64_t, 1>& particles,
                                        const View<const std::int64_t, 1>& weights);

}  // namespace concordet
