"""Projection of a volume along the views of tilt series, and its transpose.

In the base plane of view v (z = 0, image pixels under voxels) a projection is a sum of slices, each moved
by a constant shift (shear-warp): p_v = g_v S_v x with

    S_v(x, y) = sum_z volume_z(x - s_x z, y - s_y z),   s_v = A_v^-1 c_v,   g_v = sqrt(1 + |s_v|^2)

for the view map (u, v) = A_v (x, y) + c_v z + d_v; g_v is the ray's length per slice. Solvers use S_v and its
exact transpose (`shear_sum`, `shear_adjoint`) on images that were warped to the base plane once and divided
by g_v (`base_image`); `forward` returns line integrals on the detector.
"""

from __future__ import annotations

import numpy as np

from concordet import _kernels
from concordet.errors import InputError
from concordet.geometry import ViewGeometry

# Views whose projections are held at a time while a solver compares them with the data.
VIEWS_AT_A_TIME = 32


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
    memory = np.zeros(guard + ny * nz * pitch + guard, np.float32)
    rows = memory[guard : guard + ny * nz * pitch].reshape(ny, nz, pitch)
    return rows[:, :, :nx].transpose(1, 0, 2)


def as_volume(array: np.ndarray) -> np.ndarray:
    """A copy of `array` (z, y, x) in the layout of `zeros_volume`."""
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
    """

    def __init__(self, geometry: ViewGeometry, volume_shape: tuple[int, int, int], *, threads: int = 0):
        if len(volume_shape) != 3 or min(volume_shape) < 1:
            raise InputError(f"volume shape: expected (z, y, x) of at least one voxel each, got {volume_shape}")
        self.geometry = geometry
        self.volume_shape = tuple(int(n) for n in volume_shape)
        self.threads = threads
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

    def zeros_images(self, count: int) -> np.ndarray:
        """`count` base-plane images of zeros, float32 (view, y, x)."""
        return np.zeros((count, *self.base_shape), np.float32)

    def shear_sum(self, volume: np.ndarray, views: np.ndarray, images: np.ndarray) -> np.ndarray:
        """images[i] = S_v volume for v = views[i]; returns `images`.  volume from `zeros_volume`."""
        _kernels.shear_forward(volume, self.shears[views], images, self.frame, self.threads)
        return images

    def shear_adjoint(self, images: np.ndarray, views: np.ndarray, volume: np.ndarray) -> np.ndarray:
        """volume += sum_i S_v^T images[i], v = views[i]; returns `volume`.  The exact transpose of `shear_sum`."""
        _kernels.shear_adjoint(images, self.shears[views], volume, self.frame, self.threads)
        return volume

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
