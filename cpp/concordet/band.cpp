#include "band.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "check.hpp"

namespace concordet {
namespace {

/// Of |R^T R - I|: a rotation that is none would be sampled outside the reference.
constexpr double tolerance = 1e-3;

/// A reference of which the band reads more bytes than a last-level cache keeps: blocks to come are prefetched
/// (128^3: a third of the time; at 64^3 it would cost a tenth).
constexpr double large_reference = 16e6;

int rounded_up(std::int64_t count) {
    return static_cast<int>((count + point_block - 1) / point_block * point_block);
}

}  // namespace

Band::Band(View<const std::int32_t, 2> k)
    : order(static_cast<std::size_t>(k.shape[0])), count(rounded_up(k.shape[0])), kx(count + guard),
      ky(count + guard), kz(count + guard), radius(0) {
    fill(k);
}

Band::Band(View<const float, 2> k)
    : order(static_cast<std::size_t>(k.shape[0])), count(rounded_up(k.shape[0])), kx(count + guard),
      ky(count + guard), kz(count + guard), radius(0) {
    fill(k);
}

template <class Number>
void Band::fill(View<const Number, 2> k) {
    const std::int64_t coefficients = k.shape[0];
    for (std::int64_t j = 0; j < coefficients; ++j) {
        double squared = 0;
        for (int axis : {0, 1, 2}) squared += static_cast<double>(k(j, axis)) * static_cast<double>(k(j, axis));
        require(std::isfinite(squared), "k: expected finite numbers, got NaN or infinity");
        radius = std::max(radius, std::sqrt(squared));
    }
    require(radius < 4096, "k: expected |k| below 4096, got ", radius);
    const int reach = static_cast<int>(std::ceil(radius)), wide = (2 * reach) / (2 * side) + 1;
    std::vector<std::int32_t> cells(order.size());
    for (std::int64_t j = 0; j < coefficients; ++j) {
        std::int64_t large = 0, small = 0, parity = 0;
        for (int axis : {2, 1, 0}) {
            const int at = static_cast<int>(static_cast<float>(k(j, axis)) + static_cast<float>(reach));
            large = large * wide + at / (2 * side);
            small = small * 2 + at / side % 2;
            parity = parity * 2 + at % 2;
        }
        cells[j] = static_cast<std::int32_t>((large * 8 + small) * 8 + parity);
    }
    std::vector<std::int32_t> ends(static_cast<std::size_t>(wide) * wide * wide * 64 + 1);
    for (std::int64_t j = 0; j < coefficients; ++j) ++ends[cells[j] + 1];
    for (std::size_t i = 1; i < ends.size(); ++i) ends[i] += ends[i - 1];
    for (std::int64_t j = 0; j < coefficients; ++j) order[ends[cells[j]]++] = static_cast<std::int32_t>(j);
    for (int i = 0; i < count + guard; ++i) {
        const bool inside = i < coefficients;
        kx[i] = inside ? static_cast<float>(k(order[i], 0)) : 0;
        ky[i] = inside ? static_cast<float>(k(order[i], 1)) : 0;
        kz[i] = inside ? static_cast<float>(k(order[i], 2)) : 0;
    }
    for (int first = 0; first < coefficients;) {
        const int cell = cells[order[first]], last = ends[cell | 7];
        const auto centre = [&](const Floats& line) {
            const float low = std::floor((line[first] + static_cast<float>(reach)) / side) * side;
            return low + 0.5f * (side - 1) - static_cast<float>(reach);
        };
        cubes.push_back({first, last, centre(kx), centre(ky), centre(kz)});
        first = last;
    }
}

ReferenceGrid grid_of(const View<const std::complex<float>, 3>& reference, const Band& band) {
    const auto reach = static_cast<int>(reference.shape[2]) - 1;
    const auto row = static_cast<int>(2 * reference.strides[1]), slice = static_cast<int>(2 * reference.strides[0]);
    const auto* first = reinterpret_cast<const float*>(reference.data);
    const double bytes = 16 * std::numbers::pi / 3 * std::pow(2 * band.radius, 3);
    return {first + static_cast<std::int64_t>(reach) * (static_cast<std::int64_t>(row) + slice), row, slice, reach,
            bytes > large_reference};
}

void require_reference(const View<const std::complex<float>, 3>& reference, const Band& band) {
    const std::int64_t extent = reference.shape[0], reach = (extent - 1) / 2;
    require(extent % 2 == 1 && reference.shape[1] == extent && reference.shape[2] == reach + 1 &&
                reference.strides[2] == 1 && reference.strides[1] >= reference.shape[2] &&
                reference.strides[0] >= extent * reference.strides[1],
            "a reference must be (2 reach + 1, 2 reach + 1, reach + 1) with contiguous rows, got (", extent, ", ",
            reference.shape[1], ", ", reference.shape[2], ")");
    // One step is left for what the rotation matrices may be off by.
    require(static_cast<double>(reach) >= 2 * band.radius * (1 + tolerance) + 1, "the reference reaches to |k| = ",
            (reach - 2) / 2, ", the coefficients to ", band.radius);
    require(2 * reach * reference.strides[0] < std::numeric_limits<int>::max() / 2, "the reference is too large: ",
            extent, " slices");
}

void require_rotations(const View<const double, 3>& rotations) {
    require(rotations.shape[1] == 3 && rotations.shape[2] == 3, "rotations must be (item, 3, 3)");
    for (std::int64_t i = 0; i < rotations.shape[0]; ++i) {
        const Rotation rotation = rotation_of(rotations, i);
        // Written so that NaN is refused.
        require((rotation.transpose() * rotation - Rotation::Identity()).cwiseAbs().maxCoeff() <= tolerance,
                "rotation ", i, " is not orthonormal");
    }
}

template <class Number>
void require_points(const View<const Number, 2>& k, const char* name) {
    require(k.shape[0] > 0 && k.shape[1] == 3, name, " must be (coefficient, 3), got (", k.shape[0], ", ", k.shape[1],
            ")");
    require(k.shape[0] < std::numeric_limits<int>::max() - point_block, "too many coefficients: ", k.shape[0]);
}

template void require_points(const View<const std::int32_t, 2>&, const char*);
template void require_points(const View<const float, 2>&, const char*);

Rotation rotation_of(const View<const double, 3>& rotations, std::int64_t item) {
    Rotation rotation;
    for (int row : {0, 1, 2})
        for (int column : {0, 1, 2}) rotation(row, column) = rotations(item, row, column);
    return rotation;
}

void write_matrix(const Rotation& rotation, float* matrix) {
    for (int row : {0, 1, 2})
        for (int column : {0, 1, 2}) matrix[3 * row + column] = static_cast<float>(2 * rotation(column, row));
}

std::vector<std::int64_t> particle_runs(const View<const std::int64_t, 1>& particles,
                                        const View<const std::int64_t, 1>& weights) {
    constexpr std::int64_t longest = 64;
    const std::int64_t count = particles.shape[0];
    std::vector<std::int64_t> runs{0};
    for (std::int64_t i = 1; i < count; ++i)
        if (particles(i) != particles(i - 1) || weights(i) != weights(i - 1) || i - runs.back() == longest)
            runs.push_back(i);
    if (count > 0) runs.push_back(count);
    return runs;
}

}  // namespace concordet
