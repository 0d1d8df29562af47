// Shear sums and their transpose. Everything is static or has a name that carries the instruction set:
// no templates of the standard library, no inline functions with linkage (cmake/check_symbols.py).
//
// Forward, for one image row of anchors and a block of columns: every slice is loaded once and feeds the
// accumulators of its two or four taps; the accumulators are moved to their tap's place and added to the image once
// per view. The views of a call follow each other on one block, so that its columns of the volume stay in the
// first-level cache.
// Adjoint, for one block of voxels of one slice: all views of the call are added in registers. The pixel to the right
// comes from the register beside, because loads, not arithmetic, are what it waits for. z runs inside the block: the
// images move little.

#include "projection_loops.hpp"

#include "lanes.hpp"

#if defined(__AVX512F__)
#define FORWARD_VECTORS 6      // x 4 sums = 24 accumulators of 32 registers
#define ADJOINT_ROWS 4
#define ADJOINT_VECTORS 6      // x 4 rows = 24 accumulators
#elif defined(__AVX2__)
#define FORWARD_VECTORS 3
#define ADJOINT_ROWS 4
#define ADJOINT_VECTORS 2
#else
#define FORWARD_VECTORS 3
#define ADJOINT_ROWS 4
#define ADJOINT_VECTORS 2
#endif

namespace concordet {
namespace {

struct SliceRange {
    int begin, end;
};

/// Slices whose row y - iy lies inside the volume. iy is monotone in z, so they are consecutive.
INLINE SliceRange slices_of_row(const Tap* taps, int nz, int y, int ny) {
    int begin = 0, end = nz;
    while (begin < end && (y - taps[begin].iy < 0 || y - taps[begin].iy >= ny)) ++begin;
    while (begin < end && (y - taps[end - 1].iy < 0 || y - taps[end - 1].iy >= ny)) --end;
    return {begin, end};
}

/// Slices that the columns x ... x + width - 1, moved by -ix, meet.
INLINE SliceRange slices_of_block(const Tap* taps, int nz, int x, int width, int nx) {
    int begin = 0, end = nz;
    while (begin < end && (x - taps[begin].ix >= nx || x - taps[begin].ix + width <= 0)) ++begin;
    while (begin < end && (x - taps[end - 1].ix >= nx || x - taps[end - 1].ix + width <= 0)) --end;
    return {begin, end};
}

template <TapKind KIND, int VECTORS>
INLINE void forward_block(const float* volume, const Tap* taps, SliceRange slices, float* row, float* below) {
    constexpr bool along_x = KIND != TapKind::along_y, along_y = KIND != TapKind::along_x;
    Vector here[VECTORS], right[VECTORS], under[VECTORS], diagonal[VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < VECTORS; ++i) here[i] = right[i] = under[i] = diagonal[i] = Vector{};
    for (int z = slices.begin; z < slices.end; ++z) {
        const float* slice = volume + taps[z].volume_offset;
        const Vector w0 = spread(taps[z].weight[0]), w1 = spread(taps[z].weight[1]);
        const Vector w2 = spread(taps[z].weight[2]), w3 = spread(taps[z].weight[3]);
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; ++i) {
            const Vector value = load_once(slice + i * LANES);
            here[i] += w0 * value;
            if constexpr (along_x) right[i] += w1 * value;
            if constexpr (along_y) under[i] += w2 * value;
            if constexpr (along_x && along_y) diagonal[i] += w3 * value;
        }
    }
    // One load and one store per image vector: a store one pixel on would hold up the load after it.
    Vector right_before{}, diagonal_before{};
#pragma GCC unroll 8
    for (int i = 0; i < VECTORS; ++i) {
        if constexpr (along_x) here[i] += moved_right(right_before, right[i]);
        if constexpr (along_x && along_y) under[i] += moved_right(diagonal_before, diagonal[i]);
        right_before = right[i], diagonal_before = diagonal[i];
        store(row + i * LANES, load(row + i * LANES) + here[i]);
        if constexpr (along_y) store(below + i * LANES, load(below + i * LANES) + under[i]);
    }
    if constexpr (along_x) row[VECTORS * LANES] += right_before[LANES - 1];
    if constexpr (along_x && along_y) below[VECTORS * LANES] += diagonal_before[LANES - 1];
}

template <int VECTORS>
INLINE void forward_columns(const ForwardStrip& strip, int column, const SliceRange (*row_slices)[rows_per_task]) {
    const int x = column - strip.origin_x;
    SliceRange block[views_per_call];
    for (int view = 0; view < strip.views; ++view)
        block[view] = slices_of_block(strip.taps + static_cast<std::int64_t>(view) * strip.nz, strip.nz, x,
                                      VECTORS * LANES, strip.nx);
    for (int row = strip.row_begin; row < strip.row_end; ++row)
        for (int view = 0; view < strip.views; ++view) {
            SliceRange slices = row_slices[view][row - strip.row_begin];
            if (slices.begin < block[view].begin) slices.begin = block[view].begin;
            if (slices.end > block[view].end) slices.end = block[view].end;
            if (slices.begin >= slices.end) continue;
            const Tap* taps = strip.taps + static_cast<std::int64_t>(view) * strip.nz;
            float* image = strip.images[view] + row * strip.pitch + column;
            float* below = row + 1 < strip.row_end ? image + strip.pitch : strip.spill + view * strip.pitch + column;
            const float* volume = strip.volume + (row - strip.origin_y) * strip.row_stride + x;
            switch (strip.kinds[view]) {
                case TapKind::along_x: forward_block<TapKind::along_x, VECTORS>(volume, taps, slices, image, below); break;
                case TapKind::along_y: forward_block<TapKind::along_y, VECTORS>(volume, taps, slices, image, below); break;
                case TapKind::both: forward_block<TapKind::both, VECTORS>(volume, taps, slices, image, below); break;
            }
        }
}

void forward(const ForwardStrip& strip) {
    SliceRange row_slices[views_per_call][rows_per_task];
    for (int view = 0; view < strip.views; ++view) {
        const Tap* taps = strip.taps + static_cast<std::int64_t>(view) * strip.nz;
        for (int row = strip.row_begin; row < strip.row_end; ++row) {
            row_slices[view][row - strip.row_begin] = slices_of_row(taps, strip.nz, row - strip.origin_y, strip.ny);
            memset(strip.images[view] + row * strip.pitch, 0, static_cast<size_t>(strip.pitch) * sizeof(float));
        }
        memset(strip.spill + view * strip.pitch, 0, static_cast<size_t>(strip.pitch) * sizeof(float));
    }
    constexpr int wide = FORWARD_VECTORS * LANES;
    int column = 0;
    for (; column + wide <= strip.width; column += wide) forward_columns<FORWARD_VECTORS>(strip, column, row_slices);
    for (; column + 2 * LANES <= strip.width; column += 2 * LANES) forward_columns<2>(strip, column, row_slices);
    for (; column < strip.width; column += LANES) forward_columns<1>(strip, column, row_slices);
}

/// volume[j][i] += sum over views of the image interpolated under the moved voxel, ROWS x VECTORS at once.
template <TapKind KIND, int ROWS, int VECTORS>
INLINE void adjoint_block(const AdjointStrip& strip, const float* const* images, int z, float* volume, int lanes) {
    constexpr bool along_x = KIND != TapKind::along_y, along_y = KIND != TapKind::along_x;
    // The next slice's rows lie pages away, where no hardware prefetcher follows (measured: 5 %).
    const float* next_slice = volume + strip.slice_stride;
#pragma GCC unroll 8
    for (int j = 0; j < ROWS; ++j)
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; ++i) __builtin_prefetch(next_slice + j * strip.row_stride + i * LANES, 1);
    Vector sum[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int j = 0; j < ROWS; ++j)
#pragma GCC unroll 8
        for (int i = 0; i < VECTORS; ++i) sum[j][i] = Vector{};
    const Tap* tap = strip.taps + z;
    for (int view = 0; view < strip.views; ++view, tap += strip.nz) {
        const float* image = images[view] + tap->image_offset;
        const Vector w0 = spread(tap->weight[0]), w1 = spread(tap->weight[1]);
        const Vector w2 = spread(tap->weight[2]), w3 = spread(tap->weight[3]);
#pragma GCC unroll 8
        for (int j = 0; j < ROWS + (along_y ? 1 : 0); ++j) {
            const float* at = image + j * strip.pitch;
            Vector next = load_once(at);
#pragma GCC unroll 8
            for (int i = 0; i < VECTORS; ++i) {
                const Vector here = next;
                if constexpr (along_x)
                    next = i + 1 < VECTORS ? load_once(at + (i + 1) * LANES) : spread(at[VECTORS * LANES]);
                else if (i + 1 < VECTORS)
                    next = load_once(at + (i + 1) * LANES);
                if (j < ROWS) sum[j][i] += w0 * here;
                if constexpr (along_y)
                    if (j > 0) sum[j - 1][i] += w2 * here;
                if constexpr (along_x) {
                    const Vector right = one_further(at + i * LANES, here, next);
                    if (j < ROWS) sum[j][i] += w1 * right;
                    if constexpr (along_y)
                        if (j > 0) sum[j - 1][i] += w3 * right;
                }
            }
        }
    }
#pragma GCC unroll 8
    for (int j = 0; j < ROWS; ++j) {
        float* at = volume + j * strip.row_stride;
        if (lanes >= VECTORS * LANES) {
#pragma GCC unroll 8
            for (int i = 0; i < VECTORS; ++i) store(at + i * LANES, load(at + i * LANES) + sum[j][i]);
        } else {
            // The last columns: what lies beyond the volume is the guard of the next row and stays zero.
            float values[VECTORS * LANES];
#pragma GCC unroll 8
            for (int i = 0; i < VECTORS; ++i) store(values + i * LANES, sum[j][i]);
            for (int i = 0; i < lanes; ++i) at[i] += values[i];
        }
    }
}

template <TapKind KIND, int ROWS, int VECTORS>
INLINE void adjoint_column(const AdjointStrip& strip, int y, int x) {
    const float* images[views_per_call];
    for (int view = 0; view < strip.views; ++view)
        images[view] = strip.images[view] + (y + strip.origin_y) * strip.pitch + x + strip.origin_x;
    float* volume = strip.volume + y * strip.row_stride + x;
    for (int z = 0; z < strip.nz; ++z)
        adjoint_block<KIND, ROWS, VECTORS>(strip, images, z, volume + z * strip.slice_stride, strip.nx - x);
}

template <TapKind KIND, int ROWS>
INLINE void adjoint_rows(const AdjointStrip& strip, int y) {
    constexpr int wide = ADJOINT_VECTORS * LANES;
    int x = 0;
    for (; x + wide <= strip.nx; x += wide) adjoint_column<KIND, ROWS, ADJOINT_VECTORS>(strip, y, x);
    if constexpr (ADJOINT_VECTORS > 2)
        for (; x + 2 * LANES <= strip.nx; x += 2 * LANES) adjoint_column<KIND, ROWS, 2>(strip, y, x);
    for (; x < strip.nx; x += LANES) adjoint_column<KIND, ROWS, 1>(strip, y, x);
}

template <TapKind KIND>
void adjoint_of_kind(const AdjointStrip& strip) {
    int y = strip.row_begin;
    for (; y + ADJOINT_ROWS <= strip.row_end; y += ADJOINT_ROWS) adjoint_rows<KIND, ADJOINT_ROWS>(strip, y);
    for (; y < strip.row_end; ++y) adjoint_rows<KIND, 1>(strip, y);
}

void adjoint(const AdjointStrip& strip) {
    switch (strip.kinds[0]) {
        case TapKind::along_x: adjoint_of_kind<TapKind::along_x>(strip); break;
        case TapKind::along_y: adjoint_of_kind<TapKind::along_y>(strip); break;
        case TapKind::both: adjoint_of_kind<TapKind::both>(strip); break;
    }
}

INLINE double total(Vector value) {
    double sum = 0;
    for (int lane = 0; lane < LANES; ++lane) sum += static_cast<double>(value[lane]);
    return sum;
}

// Rows are short (a few thousand pixels), so single precision within a row and double across rows is enough.
void compare(const float* data, const float* weights, float* projections, std::int64_t width, RowSums* sums) {
    Vector count{}, p{}, s{}, pp{}, ss{}, ps{}, residual{};
    std::int64_t x = 0;
    if (sums == nullptr) {
        for (; x + LANES <= width; x += LANES)
            store(projections + x, load(weights + x) * (load(data + x) - load(projections + x)));
        for (; x < width; ++x) projections[x] = weights[x] * (data[x] - projections[x]);
        return;
    }
    double tail[7] = {};
    for (; x + LANES <= width; x += LANES) {
        const Vector w = load(weights + x);
        const Vector inside = w > 0.0f ? spread(1.0f) : Vector{};
        const Vector a = inside * load(data + x), b = inside * load(projections + x);
        const Vector difference = w * (a - b);
        store(projections + x, difference);
        count += inside;
        p += a;
        s += b;
        pp += a * a;
        ss += b * b;
        ps += a * b;
        residual += difference * (a - b);
    }
    for (; x < width; ++x) {
        const float a = weights[x] > 0 ? data[x] : 0, b = weights[x] > 0 ? projections[x] : 0;
        const float difference = weights[x] * (a - b);
        projections[x] = difference;
        const float terms[7] = {weights[x] > 0 ? 1.0f : 0.0f, a, b, a * a, b * b, a * b, difference * (a - b)};
        for (int i = 0; i < 7; ++i) tail[i] += static_cast<double>(terms[i]);
    }
    sums->count = total(count) + tail[0];
    sums->p = total(p) + tail[1];
    sums->s = total(s) + tail[2];
    sums->pp = total(pp) + tail[3];
    sums->ss = total(ss) + tail[4];
    sums->ps = total(ps) + tail[5];
    sums->weighted_residual = total(residual) + tail[6];
}

void relax(float* volume, const float* update, const float* column_weights, float step, float floor,
           std::int64_t width, double* change_volume) {
    Vector change{}, norm{};
    const Vector steps = spread(step), floors = spread(floor);
    std::int64_t x = 0;
    for (; x + LANES <= width; x += LANES) {
        const Vector before = load(volume + x);
        Vector after = before + steps * load(column_weights + x) * load(update + x);
        after = after < floors ? floors : after;
        store(volume + x, after);
        change += (after - before) * (after - before);
        norm += after * after;
    }
    change_volume[0] = total(change);
    change_volume[1] = total(norm);
    for (; x < width; ++x) {
        const float before = volume[x];
        float after = before + step * column_weights[x] * update[x];
        after = after < floor ? floor : after;
        volume[x] = after;
        change_volume[0] += static_cast<double>((after - before) * (after - before));
        change_volume[1] += static_cast<double>(after * after);
    }
}

const ProjectionLoops loops{forward, adjoint, compare, relax};

}  // namespace

const ProjectionLoops& JOIN(projection_loops_, CONCORDET_ISA)() { return loops; }

}  // namespace concordet
