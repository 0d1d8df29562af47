/// The loops of the real-space engine, compiled once per instruction set: raw pointers and plain numbers only.
/// Callers (projection.cpp) own the checks, the threads and the meaning; see projection.hpp.
#pragma once

#include <cstdint>

namespace concordet {

/// How slice z of one view is moved: by (ix + fx, iy + fy) voxels, as four weights on the whole-voxel move (ix, iy).
struct Tap {
    std::int64_t volume_offset;    ///< from voxel (0, y, x) to voxel (z, y - iy, x - ix)
    std::int64_t image_offset;     ///< from pixel (y, x) to pixel (y + iy, x + ix)
    int ix, iy;
    float weight[4];               ///< of pixel (0, 0), (0, +x), (+y, 0), (+y, +x)
};

/// Shift along one grid axis needs two taps, along both four.
enum class TapKind : int { along_x = 0, along_y = 1, both = 2 };

/// Views share one call so that the columns of the volume that they read stay in the second-level cache.
inline constexpr int views_per_call = 16;
/// Image rows of one forward task; also bounds the table of slice ranges.
inline constexpr int rows_per_task = 16;
/// Zeros that the loops may read beside each volume row: one block of the widest forward loop.
inline constexpr int row_guard = 96;
/// Pixels that the loops may touch beyond the last column of an image row.
inline constexpr int image_guard = 48;

struct ForwardStrip {
    const float* volume;           ///< voxel (0, 0, 0); rows have `row_guard` zeros on both sides
    std::int64_t row_stride;
    int nx, ny, nz;
    const Tap* taps;               ///< (view, z)
    const TapKind* kinds;          ///< (view)
    int views;
    float* const* images;          ///< (view): first pixel of the image; rows of the strip are overwritten
    std::int64_t pitch;
    int origin_x, origin_y;        ///< pixel under voxel (y, x) = (0, 0) at zero shift
    int row_begin, row_end, width;
    float* spill;                  ///< (view, pitch): what belongs to row `row_end`; overwritten
};

struct AdjointStrip {
    float* volume;                 ///< voxel (0, 0, 0); the slices' rows are added to
    std::int64_t row_stride, slice_stride;
    int nx, nz;
    const Tap* taps;
    const TapKind* kinds;          ///< all views of one call share kinds[0]
    int views;
    const float* const* images;
    std::int64_t pitch;
    int origin_x, origin_y;
    int row_begin, row_end;        ///< rows of the volume
};

/// One row of the comparison of data p with projections s where the row weight is positive.
struct RowSums {
    double count, p, s, pp, ss, ps, weighted_residual;
};

struct ProjectionLoops {
    void (*forward)(const ForwardStrip&);
    void (*adjoint)(const AdjointStrip&);
    /// projections <- weights (data - projections); returns nothing when `sums` is null.
    void (*compare)(const float* data, const float* weights, float* projections, std::int64_t width, RowSums* sums);
    /// volume += step * column_weights * update (clamped at `floor` from below), one row; sums of change^2 and volume^2.
    void (*relax)(float* volume, const float* update, const float* column_weights, float step, float floor,
                  std::int64_t width, double* change_volume);
};

const ProjectionLoops& projection_loops_baseline();
const ProjectionLoops& projection_loops_avx2();
const ProjectionLoops& projection_loops_avx512();

}  // namespace concordet
