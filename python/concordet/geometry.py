"""Where every view of a tilt experiment looks: per-view affine maps from volume to detector.

A view maps a point (x, y, z), in voxels from voxel n // 2 of the volume, to a detector position, in pixels from
pixel n // 2 of the image:

    (u, v) = A (x, y) + c z + d        stored as maps[view] = [A | c | d], (2, 4)

This one form holds single-axis and multi-axis series, x-axis tilt, tilt offset, per-view shift, rotation and
magnification, and inter-axis transforms. Maps are composed; data are never resampled to get there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from concordet.errors import InputError

# What a volume's header says of its axes, in one label of at most 80 characters.
AXES_LABEL = "u = x cos t + z sin t, v = y; z is the index of trimvol -rx volumes"

# |det A| below this: the view looks along the slab (tilt within 0.06 degrees of 90), or its alignment is singular.
SMALLEST_DETERMINANT = 1e-3


# The centre of n pixels or voxels: n // 2 here and in RELION, (n - 1) / 2 in IMOD, n / 2 in Warp.
Centre = Literal["ours", "imod", "half"]


def centre_offset(n: ArrayLike, centre: Centre = "imod") -> np.ndarray:
    """h(n) = n // 2 - centre(n): from a program's centre to ours; IMOD's: 0 for odd, 1/2 for even sizes."""
    n = np.asarray(n)
    return np.asarray(n // 2 - {"ours": n // 2, "imod": (n - 1) / 2, "half": n / 2}[centre])


def rotation_x(degrees: float) -> np.ndarray:
    """Active rotation about x, (3, 3) acting on columns (x, y, z): a positive angle takes y towards z."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def rotation_z(degrees: float) -> np.ndarray:
    """Active rotation about z, (3, 3) acting on columns (x, y, z): a positive angle takes x towards y."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def tilt_rows(tilt: float) -> np.ndarray:
    """(2, 3): u = x cos t + z sin t, v = y, for a tilt of `tilt` degrees about y."""
    t = np.deg2rad(tilt)
    return np.array([[np.cos(t), 0, np.sin(t)], [0, 1, 0]])


@dataclass(frozen=True)
class ViewGeometry:
    """Views of one or several tilt series of one specimen.

    maps         (view, 2, 4) float64, [A | c | d], voxels to pixels of the same size
    tilts        (view,) degrees, the series' own plus its tilt offset
    stacks       (view,) which series each view belongs to, 0, 1, ...
    sections     (view,) section of its stack, 0-based
    image_shape  (v, u) pixels
    """

    maps: np.ndarray
    tilts: np.ndarray
    stacks: np.ndarray
    sections: np.ndarray
    image_shape: tuple[int, int]

    def __post_init__(self):
        if self.maps.ndim != 3 or self.maps.shape[1:] != (2, 4):
            raise InputError(f"view maps: expected an array (view, 2, 4), got {self.maps.shape}")
        counts = {len(self.tilts), len(self.stacks), len(self.sections), len(self.maps)}
        if len(counts) != 1 or 0 in counts:
            raise InputError(f"views: expected one map, tilt, stack and section for each, got {sorted(counts)}")
        with np.errstate(invalid="ignore"):  # a map with nan in it is refused below
            determinants = np.linalg.det(self.maps[:, :, :2])
        for view, determinant in enumerate(determinants):
            if not abs(determinant) >= SMALLEST_DETERMINANT:
                raise InputError(
                    f"view {self.sections[view]} of stack {self.stacks[view]}: expected a map with |det A| >= "
                    f"{SMALLEST_DETERMINANT}, got {determinant:.3g} (tilt {self.tilts[view]:.2f} degrees)")

    def __len__(self) -> int:
        return len(self.maps)

    @property
    def shears(self) -> np.ndarray:
        """s_v = A_v^-1 c_v, (view, 2): in-plane shift per slice, in voxels."""
        return np.linalg.solve(self.maps[:, :, :2], self.maps[:, :, 2:3])[:, :, 0]

    def select(self, views: np.ndarray) -> ViewGeometry:
        """The same geometry with only `views` (indices or a boolean mask), in their order."""
        return replace(self, maps=self.maps[views], tilts=self.tilts[views], stacks=self.stacks[views],
                       sections=self.sections[views])

    def moved(self, shift: ArrayLike) -> ViewGeometry:
        """The maps for a volume whose content lies `shift` = (x, y, z) voxels further along each axis."""
        maps = self.maps.copy()
        maps[:, :, 3] -= maps[:, :, :3] @ np.asarray(shift, float)
        return replace(self, maps=maps)

    def centred_as_imod(self, volume_shape: tuple[int, int, int]) -> ViewGeometry:
        """For a volume (z, y, x) whose centre (n - 1) / 2, instead of voxel n // 2, is the origin of these maps."""
        return self.moved(-centre_offset(volume_shape[::-1]))

    def flipped(self) -> ViewGeometry:
        """The other hand: z to -z (the same as negating every tilt of a single-axis series)."""
        maps = self.maps.copy()
        maps[:, :, 2] = -maps[:, :, 2]
        return replace(self, maps=maps)

    def binned(self, factor: int) -> ViewGeometry:
        """For images averaged over `factor` x `factor` pixels and voxels as large.

        Binned pixel j lies at unbinned pixel b j + (b - 1) / 2, so the image's origin moves by
        b (n_b // 2) + (b - 1) / 2 - n // 2 pixels. The volume's origin is the same point before and after.
        """
        if factor < 1:
            raise InputError(f"binning: expected a whole number of at least 1, got {factor}")
        shape = np.array(self.image_shape)
        binned_shape = shape // factor
        if binned_shape.min() < 1:
            raise InputError(f"binning: expected at most {shape.min()} for images of {self.image_shape} pixels (v, u), "
                             f"got {factor}")
        origin = (factor * (binned_shape // 2) + (factor - 1) / 2 - shape // 2)[::-1]
        maps = self.maps.copy()
        maps[:, :, 3] = (maps[:, :, 3] - origin) / factor
        return replace(self, maps=maps, image_shape=(int(binned_shape[0]), int(binned_shape[1])))


def joined(series: list[ViewGeometry]) -> ViewGeometry:
    """Several series of one specimen as one set of views; images must have one shape."""
    shapes = {one.image_shape for one in series}
    if len(shapes) != 1:
        raise InputError(f"stacks: expected images of one size, got {sorted(shapes)} pixels (v, u)")
    return ViewGeometry(
        maps=np.concatenate([one.maps for one in series]),
        tilts=np.concatenate([one.tilts for one in series]),
        stacks=np.concatenate([one.stacks for one in series]),
        sections=np.concatenate([one.sections for one in series]),
        image_shape=series[0].image_shape)


def tilt_series(
    tilts: np.ndarray,
    image_shape: tuple[int, int],
    *,
    stack: int = 0,
    azimuth: float = 0.0,
    x_tilts: np.ndarray | float = 0.0,
    tilt_offset: float = 0.0,
    transforms: np.ndarray | None = None,
    to_common: np.ndarray | None = None,
    imod_centred: bool = False,
    sections: np.ndarray | None = None,
) -> ViewGeometry:
    """The geometry of one tilt series, aligned already or by IMOD's files.

    tilts         (view,) degrees about the tilt axis, stack order; u = x' cos t + z sin t, v = y'
    image_shape   (v, u) pixels of the images as they are in the stack (raw ones with `transforms`)
    azimuth       degrees: x' = x cos a + y sin a, y' = -x sin a + y cos a
    x_tilts       degrees about x, one or per view, in the sign of an .xtilt file (IMOD's XAXISTILT is its negative)
    tilt_offset   degrees added to every tilt (IMOD's OFFSET)
    transforms    (view, 2, 3) of an .xf file: raw to aligned, out - c = A_xf (in - c) + d_xf about c = (n - 1) / 2
    to_common     (3, 4) in (x, y, z): p -> T p + t_T from this series' frame to the common one
    imod_centred  the tilt axis passes through (n - 1) / 2 of the images instead of n // 2; implied by `transforms`
    sections      (view,) sections of the stack, 0-based; None: 0, 1, ...

    With P = M [[cos t, 0, sin t], [0, 1, 0]] Rx(x-tilt) Rz(-azimuth) T^-1 and M = A_xf^-1:
    A = P[:, :2], c = P[:, 2], d = -P t_T - M d_xf - h_image, h the way from IMOD's centre to ours. The volume's origin
    is the point that the axis passes through; `ViewGeometry.centred_as_imod` puts it where IMOD's volumes have it.
    InputError for arrays of other shapes, matrices that cannot be inverted and views along the slab.
    """
    tilts = np.asarray(tilts, float)
    count = len(tilts)
    imod_centred = imod_centred or transforms is not None
    h_image = centre_offset(image_shape[::-1]) if imod_centred else np.zeros(2)
    common = np.eye(3, 4) if to_common is None else np.asarray(to_common, float)
    if abs(np.linalg.det(common[:, :3])) < SMALLEST_DETERMINANT:
        raise InputError("volume transform: expected an invertible matrix, got one with determinant "
                         f"{np.linalg.det(common[:, :3]):.3g}")
    inverse_common = np.linalg.inv(common[:, :3])
    x_tilts = np.asarray(x_tilts, float)
    if x_tilts.shape not in ((), (count,)):
        raise InputError(f"x-axis tilts: expected one, or one for each of {count} views, got {x_tilts.shape}")
    x_tilts = np.broadcast_to(x_tilts, (count,))
    if transforms is not None:
        transforms = np.asarray(transforms, float)
        if transforms.shape != (count, 2, 3):
            raise InputError(f"transforms: expected an array ({count}, 2, 3), got {transforms.shape}")
        for singular in np.flatnonzero(np.linalg.det(transforms[:, :, :2]) == 0):
            raise InputError("transforms: expected an invertible matrix for view "
                             f"{singular if sections is None else sections[singular]}, got "
                             f"{transforms[singular, :, :2].tolist()}")
    maps = np.empty((count, 2, 4))
    for view in range(count):
        rows = tilt_rows(tilts[view] + tilt_offset) @ rotation_x(x_tilts[view]) @ rotation_z(-azimuth)
        shift = np.zeros(2)
        if transforms is not None:
            to_raw = np.linalg.inv(transforms[view, :, :2])
            rows = to_raw @ rows
            shift = to_raw @ transforms[view, :, 2]
        rows = rows @ inverse_common
        maps[view] = np.column_stack([rows, -rows @ common[:, 3] - shift - h_image])
    sections = np.arange(count) if sections is None else np.asarray(sections)
    return ViewGeometry(maps, tilts + tilt_offset, np.full(count, stack), sections,
                        (int(image_shape[0]), int(image_shape[1])))


def imod_volume_transform(matrix: np.ndarray) -> np.ndarray:
    """A solve.xf or warp.xf matrix (3, 4), in the (column, row, section) axes of IMOD's .rec files, in ours.

    A .rec has (x, thickness, y) with thickness = -z, so with Q: (x, y, z) -> (x, -z, y): T = Q^-1 M Q.
    """
    to_rec = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    return np.column_stack([to_rec.T @ matrix[:, :3] @ to_rec, to_rec.T @ matrix[:, 3]])
