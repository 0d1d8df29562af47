"""Projection of a volume along the views of tilt series, and its transpose.

In the base plane of view v (z = 0, image pixels under voxels) a projection is a sum of slices, each moved
by a constant shift (shear-warp): p_v = g_v S_v x with

    S_v(x, y) = sum_z volume_z(x - s_x z, y - s_y z),   s_v = A_v^-1 c_v,   g_v = sqrt(1 + |s_v|^2)

for the view map (u, v) = A_v (x, y) + c_v z + d_v; g_v is the ray's length per slice. Solvers use S_v and its
exact transpose (`shear_sum`, `shear_adjoint`) on images that were warped to the base plane once and divided
by g_v (`base_image`); `forward` returns line integrals on the detector.
"""

from __future__ import annotations

import time

import numpy as np

from concordet import _kernels
from concordet.errors import InputError
from concordet.geometry import ViewGeometry

# Views whose projections are held at a time while a solver compares them with the data.
VIEWS_AT_A_TIME = 32


def instruction_set() -> str:
    """The instruction set in use: the widest here, or CONCORDET_ISA; ValueError where that cannot run."""
    return _kernels.instruction_set()


def aligned_zeros(count: int) -> np.ndarray:
    """`count` zeros, float32, on a cache line: numpy's lie on 16 bytes, and every wide load then meets two lines."""
    memory = np.zeros(count + 16, np.float32)
    first = -memory.ctypes.data % 64 // 4
    return memory[first : first + count]


def zeros_volume(shape: tuple[int, int, int]) -> np.ndarray:
    """A volume (z, y, x) of zeros, float32, laid out for the kernels.

    In memory it is [y][z][x], so that the slices under one image row lie together, and its rows stand apart by
    zeros that the loops may read. It is an ordinary strided array for everything else.
    """
    nz, ny, nx = shape
    guard = _kernels.row_guard
    pitch = -(-(nx + guard) // 16) * 16
    if pitch % 256 == 0:  # rows 1 KiB apart fall on few cache sets
        pitch += 16
    memory = aligned_zeros(guard + ny * nz * pitch + guard)
    rows = memory[guard : guard + ny * nz * pitch].reshape(ny, nz, pitch)
    return rows[:, :, :nx].transpose(1, 0, 2)


def as_volume(array: np.ndarray) -> np.ndarray:
    """A float32 copy of `array` (z, y, x) in the layout of `zeros_volume`."""
    volume = zeros_volume(array.shape)
    volume[...] = array
    return volume


class Projector:
    """The projection operator of some views onto and from one volume.

    geometry      ViewGeometry: where every view looks; image shape (v, u) in pixels
    volume_shape  (z, y, x) voxels, all >= 1
    threads       0: all cores that this process may use

    Images of the base plane are (view, y, x) arrays of `base_shape` rows and columns; the volume's voxel (y, x)
    lies under pixel (y + frame.origin_y, x + frame.origin_x), and the frame is padded by the largest shear.

    updates, kernel_seconds   voxel-view updates made so far by shear sums and adjoints, and the time they took
    """

    def __init__(self, geometry: ViewGeometry, volume_shape: tuple[int, int, int], *, threads: int = 0):
        if len(volume_shape) != 3 or min(volume_shape) < 1:
            raise InputError(f"volume shape: expected (z, y, x) of at least one voxel each, got {volume_shape}")
        self.geometry = geometry
        nz, ny, nx = (int(n) for n in volume_shape)
        self.volume_shape = (nz, ny, nx)
        self.threads = threads
        self.updates, self.kernel_seconds = 0, 0.0
        self.shears = np.ascontiguousarray(geometry.shears)
        self.slice_lengths = np.sqrt(1 + (self.shears**2).sum(axis=1))
        self.frame = _kernels.image_frame(self.shears, self.volume_shape)
        width = -(-(self.frame.width + _kernels.image_guard) // 16) * 16
        self.base_shape = (self.frame.height, width)

    def __len__(self) -> int:
        return len(self.geometry)

    @property
    def all_views(self) -> np.ndarray:
        return np.arange(len(self), dtype=np.int64)

    @property
    def thread_count(self) -> int:
        return _kernels.thread_count(self.threads)

    @property
    def data_bytes(self) -> int:
        """Memory of `TiltData`: images and row weights of all views, and the projections compared at a time."""
        return (2 * len(self) + VIEWS_AT_A_TIME) * int(np.prod(self.base_shape)) * 4

    @property
    def volume_bytes(self) -> int:
        nz, ny, nx = self.volume_shape
        return nz * ny * (nx + _kernels.row_guard) * 4

    def zeros_images(self, count: int) -> np.ndarray:
        """`count` base-plane images of zeros, float32 (view, y, x)."""
        return aligned_zeros(count * self.base_shape[0] * self.base_shape[1]).reshape(count, *self.base_shape)

    def shear_sum(self, volume: np.ndarray, views: np.ndarray, images: np.ndarray) -> np.ndarray:
        """images[i] = S_v volume for v = views[i]; returns `images`.  volume from `zeros_volume`."""
        self._timed(_kernels.shear_forward, volume, views, images)
        return images

    def shear_adjoint(self, images: np.ndarray, views: np.ndarray, volume: np.ndarray) -> np.ndarray:
        """volume += sum_i S_v^T images[i], v = views[i]; returns `volume`.  The exact transpose of `shear_sum`."""
        self._timed(_kernels.shear_adjoint, images, views, volume)
        return volume

    def _timed(self, kernel, source: np.ndarray, views: np.ndarray, target: np.ndarray) -> None:
        begin = time.perf_counter()
        kernel(source, self.shears[views], target, self.frame, self.threads)
        self.kernel_seconds += time.perf_counter() - begin
        self.updates += len(views) * int(np.prod(self.volume_shape, dtype=np.int64))

    def weigh(self, images: np.ndarray, own: np.ndarray, views: np.ndarray, window: np.ndarray) -> None:
        """Weigh base-plane images of the views `own` for back-projection together with all of `views`, in place.

        window  float32 values at detector frequencies 0 ... 0.5 cycles per pixel, evenly spaced
        See cpp/concordet/weighting.hpp.
        """
        position = {view: i for i, view in enumerate(views)}
        _kernels.weigh_views(
            images, self.shears[views], np.array([position[view] for view in own], np.int64),
            np.ascontiguousarray(self.geometry.maps[own, :, :2]), self.volume_shape[0], window, self.threads)

    def view_groups(self, views: np.ndarray):
        """`views` in runs of at most VIEWS_AT_A_TIME, in order."""
        for first in range(0, len(views), VIEWS_AT_A_TIME):
            yield views[first : first + VIEWS_AT_A_TIME]

    def base_to_detector(self, view: int) -> np.ndarray:
        """(2, 3): detector pixel index (u, v) of base-plane pixel index (x, y, 1)."""
        plane = self.geometry.maps[view, :, :2]
        nv, nu = self.geometry.image_shape
        _, ny, nx = self.volume_shape
        origin = np.array([self.frame.origin_x + nx // 2, self.frame.origin_y + ny // 2])
        centre = np.array([nu // 2, nv // 2])
        return np.column_stack([plane, self.geometry.maps[view, :, 3] + centre - plane @ origin])

    def base_image(self, image: np.ndarray, view: int, output: np.ndarray, inside: np.ndarray) -> None:
        """Warp a detector image (v, u) of line integrals to the base plane and divide it by g_v, once.

        output, inside (y, x), overwritten: the image, and 1 where it lies on the detector, else 0.
        """
        if image.shape != self.geometry.image_shape:
            raise InputError(f"view {view}: expected an image of {self.geometry.image_shape} pixels (v, u), "
                             f"got {image.shape}")
        pixel_map = self.base_to_detector(view)
        scale = 1 / self.slice_lengths[view]
        _kernels.warp_affine(image, pixel_map.ravel(), scale, output, inside, self.threads)

    def detector_field(self, view: int, shortest: float = 0.5) -> np.ndarray:
        """(v, u) bool: pixels whose ray passes at least this part of the slab inside the volume."""
        whole = self.slice_lengths[view] * self.volume_shape[0]
        ones = np.broadcast_to(np.float32(1), self.volume_shape)
        return self.forward(ones, np.array([view]))[0] >= shortest * whole

    def forward(self, volume: np.ndarray, views: np.ndarray | None = None) -> np.ndarray:
        """Line integrals of `volume` (z, y, x) on the detector: (view, v, u), float32, in density x voxels."""
        views = self.all_views if views is None else np.asarray(views, np.int64)
        if volume.shape != self.volume_shape:
            raise InputError(f"expected a volume of {self.volume_shape} voxels (z, y, x), got {volume.shape}")
        volume = as_volume(volume)
        images = np.empty((len(views), *self.geometry.image_shape), np.float32)
        unmarked = np.empty((0, 0), np.float32)
        done = 0
        for group in self.view_groups(views):
            sums = self.shear_sum(volume, group, self.zeros_images(len(group)))
            for plane, view in zip(sums, group, strict=True):
                pixel_map = np.vstack([self.base_to_detector(view), [0, 0, 1]])
                back = np.linalg.inv(pixel_map)[:2]
                field = plane[:, : self.frame.width]
                _kernels.warp_affine(field, back.ravel(), self.slice_lengths[view], images[done], unmarked,
                                     self.threads)
                done += 1
        return images


class TiltData:
    """The measured views of one specimen, warped to their base planes, and their weights.

    projector    the operator W
    images       (view, y, x) float32: base-plane images, line integrals per slice length (p / g_v)
    row_weights  (view, y, x) float32: R, the inverse row sums of W on the pixels used, 0 on all others

    A pixel is used where its ray passes at least `MINIMUM_PATH` of the slab's slices inside the volume, it lies on the
    detector, and no mask covers it.
    """

    # Rays that only clip the volume's edge would put into it what lies outside.
    MINIMUM_PATH = 0.5
    SCARCE_RAYS = 0.05
    # Column weights of subsets are kept while they fit into this; else recomputed, for 1 / (2 inner) of the work.
    COLUMN_CACHE_BYTES = 2 << 30

    def __init__(self, projector: Projector):
        self.projector = projector
        self.images = projector.zeros_images(len(projector))
        self.row_weights = projector.zeros_images(len(projector))
        self._column_cache: dict[bytes, np.ndarray] = {}
        ones = zeros_volume(projector.volume_shape)
        ones[...] = 1
        shortest = self.MINIMUM_PATH * projector.volume_shape[0]
        for group in projector.view_groups(projector.all_views):
            sums = self.row_weights[group[0] : group[-1] + 1]
            projector.shear_sum(ones, group, sums)
            used = sums >= shortest
            np.divide(1, sums, out=sums, where=used)
            sums *= used

    def set_view(self, view: int, image: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Take in the detector image (v, u), line integrals; `mask` (v, u) is 1 where it may be used, else 0."""
        projector = self.projector
        inside = np.empty(projector.base_shape, np.float32)
        if mask is not None:
            # Cubic interpolation reaches two pixels and its weights change sign: a pixel is used where the warped
            # mask is one, and what little may still leak in is the mean, not what the mask hides.
            mask = np.ascontiguousarray(mask, np.float32)
            warped = np.empty_like(inside)
            projector.base_image(mask, view, warped, inside)
            self.row_weights[view] *= np.abs(warped * projector.slice_lengths[view] - 1) < 1e-3
            used = mask > 0
            image = np.where(used, image, image[used].mean() if used.any() else 0).astype(np.float32)
        projector.base_image(image, view, self.images[view], inside)
        self.row_weights[view] *= inside
        self.images[view] *= self.row_weights[view] > 0

    def start(self, initial: np.ndarray | None) -> np.ndarray:
        """A working volume that holds `initial`, or zeros."""
        shape = self.projector.volume_shape
        if initial is None:
            return zeros_volume(shape)
        if initial.shape != shape:
            raise InputError(f"initial volume: expected {shape} voxels (z, y, x), got {initial.shape}")
        return as_volume(initial)

    def column_weights(self, views: np.ndarray, context=None) -> np.ndarray:
        """C: inverse column sums of W over the used pixels of `views`; 0 for voxels that no ray meets.

        Voxels that few rays meet (under beads, at the field's edge) would follow the noise of those: their sums count
        as SCARCE_RAYS of the views at least. C W^T R W keeps its largest eigenvalue of at most 1.
        """
        projector = self.projector
        columns = zeros_volume(projector.volume_shape)
        for group in projector.view_groups(context.share(views) if context else views):
            projector.shear_adjoint((self.row_weights[group] > 0).astype(np.float32), group, columns)
        if context:
            context.sum(columns)
        met = columns > 1e-3
        np.maximum(columns, self.SCARCE_RAYS * len(views), out=columns)
        np.divide(met, columns, out=columns)
        return columns

    def cached_column_weights(self, views: np.ndarray, context=None) -> np.ndarray:
        """`column_weights`, remembered per subset while the memory allowed for it lasts."""
        key = views.tobytes()
        if key not in self._column_cache:
            weights = self.column_weights(views, context)
            held = sum(volume.nbytes for volume in self._column_cache.values())
            if held + weights.nbytes > self.COLUMN_CACHE_BYTES:
                return weights
            self._column_cache[key] = weights
        return self._column_cache[key]

    def forget_column_weights(self) -> None:
        """Free what `cached_column_weights` keeps."""
        self._column_cache.clear()

    def _compared(self, volume: np.ndarray, views: np.ndarray):
        """(group, images R (p - W x), sums (view, 7)) for `views`, a group at a time."""
        projector = self.projector
        projections = projector.zeros_images(min(len(views), VIEWS_AT_A_TIME))
        for group in projector.view_groups(views):
            residual = projector.shear_sum(volume, group, projections[: len(group)])
            sums = np.empty((len(group), 7))
            _kernels.compare(self.images, self.row_weights, group, residual, sums, projector.threads)
            yield group, residual, sums

    def back_project_residual(self, volume: np.ndarray, views: np.ndarray, update: np.ndarray) -> float:
        """update += W^T R (p - W x) over `views`; returns |R^1/2 (p - W x)|^2."""
        weighted_residual = 0.0
        for group, residual, sums in self._compared(volume, views):
            self.projector.shear_adjoint(residual, group, update)
            weighted_residual += float(sums[:, 6].sum())
        return weighted_residual

    def relax(self, volume, update, column_weights, relaxation: float, positivity: bool) -> list[float]:
        """volume += relaxation C update, clamped at 0 with `positivity`; returns [|change|^2, |volume|^2]."""
        floor = 0.0 if positivity else -np.inf
        return _kernels.relax(volume, update, column_weights, relaxation, floor, self.projector.threads)

    def ncc(self, volume: np.ndarray, views: np.ndarray) -> np.ndarray:
        """(len(views),) normalised cross-correlation of W x with the data over each view's used pixels, -1 to 1.

        NaN for a view that has none; 0 where the data or the projection is constant.
        """
        values = []
        for _, _, sums in self._compared(volume, views):
            count, p, s, pp, ss, ps = sums[:, :6].T
            covariance = ps * count - p * s
            variances = np.maximum(pp * count - p * p, 0) * np.maximum(ss * count - s * s, 0)
            ncc = np.divide(covariance, np.sqrt(variances), out=np.zeros_like(covariance), where=variances > 0)
            values.append(np.where(count > 0, ncc, np.nan))
        return np.concatenate(values)
