"""Fourier space of cubic boxes: half of the coefficients as a list, and transforms fine enough to be rotated.

Coefficients are those of the orthonormal transform about voxel n//2,

    X(k) = n^-3/2 sum_x volume(x) exp(-2 pi i k . (x - n//2) / n),   k = (kx, ky, kz) whole numbers,

so that white noise of variance s^2 has E|X|^2 = s^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from concordet import _kernels
from concordet.errors import InputError

# Zero padding of a reference: trilinear interpolation is then good to about 1 % up to Nyquist.
PADDING = 2


def as_cube(volume: np.ndarray, box: int | None = None) -> np.ndarray:
    """`volume` (n, n, n) as C-ordered float32; InputError where it is no cube, not of side `box`, or not finite."""
    volume = np.ascontiguousarray(volume, dtype=np.float32)
    if volume.ndim != 3 or len(set(volume.shape)) != 1 or (box is not None and volume.shape[0] != box):
        expected = "a cube" if box is None else f"a cube of {box} voxels a side"
        raise InputError(f"volume: expected {expected}, got {' x '.join(map(str, volume.shape))} voxels (z, y, x)")
    if not np.isfinite(volume).all():
        raise InputError("volume: expected finite numbers, got NaN or infinity")
    return volume


def highest_band(box: int) -> int:
    """The largest band of a box: every |k| below Nyquist along all axes."""
    return (box - 1) // 2


def _check_band(box: int, band: int) -> None:
    if box < 4:
        raise InputError(f"box: expected 4 voxels a side or more, got {box}")
    if not 1 <= band <= highest_band(box):
        raise InputError(f"band: expected 1 to {highest_band(box)} shells for a box of {box} voxels, got {band}")


def soft_sphere(shape: tuple[int, ...], diameter: float, edge: float = 6.0,
                centre: Sequence[float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """A mask about voxel n // 2 (z, y, x) float32: 1 within `diameter`, then a cosine to 0 over `edge` voxels.

    diameter, edge   voxels; edge 0: a hard edge, the surface itself inside
    centre           (x, y, z) voxels from n // 2
    """
    if not diameter > 0 or edge < 0:
        raise InputError(f"mask: expected a diameter above 0 and an edge of 0 or more voxels, got {diameter:g} and "
                         f"{edge:g}")
    axes = [np.arange(n) - n // 2 - c for n, c in zip(shape, tuple(centre)[::-1], strict=True)]
    outside = np.sqrt(sum(x**2 for x in np.ix_(*axes))) - diameter / 2
    if edge == 0:
        return (outside <= 0).astype(np.float32)
    return (0.5 + 0.5 * np.cos(np.pi * np.clip(outside / edge, 0, 1))).astype(np.float32)


class HalfSpace:
    """One of each pair of coefficients +-k of a real box, sorted by |k|, so that a lower band is a prefix.

    box       voxels along each side
    band      coefficients with 0 < |k| <= band are kept; at most (box - 1) // 2
    indices   (J, 3) int32, (kx, ky, kz): kx > 0, or kx = 0 and (kz, ky) > (0, 0)
    radii     (J,) float32, |k|;   shells (J,) int32, the nearest whole |k|

    k = 0 and the Nyquist planes are left out, so a sum over all of Fourier space is twice the sum over the list.
    Within one step of |k| the order is that of the grid, so that neighbours in the list are neighbours in space.
    """

    def __init__(self, box: int, band: int | None = None):
        band = highest_band(box) if band is None else int(band)
        _check_band(box, band)
        self.box, self.band = int(box), band
        line = np.arange(-band, band + 1, dtype=np.int32)
        kz, ky, kx = np.meshgrid(line, line, line[band:], indexing="ij", sparse=True)
        squared = kx * kx + ky * ky + kz * kz
        kept = (squared <= band * band) & ((kx > 0) | (kz > 0) | ((kz == 0) & (ky > 0)))
        at = np.argwhere(kept)
        steps = np.ceil(np.sqrt(squared[kept])).astype(np.int64)
        order = np.argsort(steps, kind="stable")
        self.indices = np.ascontiguousarray((at[order] - [band, band, 0])[:, ::-1], dtype=np.int32)
        self.radii = np.sqrt(squared[kept][order]).astype(np.float32)
        self.shells = np.rint(self.radii).astype(np.int32)
        self._ends = np.cumsum(np.bincount(steps, minlength=band + 1))

    def __len__(self) -> int:
        return len(self.indices)

    def count(self, band: int) -> int:
        """Coefficients of the prefix with |k| <= band."""
        _check_band(self.box, band)
        return int(self._ends[min(band, self.band)])

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        kx, ky, kz = self.indices.T
        return kz + self.band, ky + self.band, kx

    def transform(self, volume: np.ndarray, threads: int = 0) -> np.ndarray:
        """Coefficients (J,) complex64 of a volume (box, box, box)."""
        spectrum = transform_cube(as_cube(volume, self.box), self.box, self.band, threads=threads)
        return spectrum[self._places]

    def inverse(self, coefficients: np.ndarray) -> np.ndarray:
        """The volume (box, box, box) float32 of coefficients (J,); everything left out is zero."""
        n = self.box
        kx, ky, kz = self.indices.T
        spectrum = np.zeros((n, n, n // 2 + 1), dtype=np.complex128)
        spectrum[kz % n, ky % n, kx] = coefficients
        plane = kx == 0
        spectrum[-kz[plane] % n, -ky[plane] % n, 0] = np.conj(np.asarray(coefficients)[plane])
        volume = np.fft.irfftn(spectrum, (n, n, n), axes=(0, 1, 2), norm="ortho")
        return np.roll(volume, n // 2, axis=(0, 1, 2)).astype(np.float32)

    def sample(self, weights: np.ndarray) -> np.ndarray:
        """Values (J,) float32 of weights (box, box, box), k = 0 at voxel box // 2."""
        kx, ky, kz = self.indices.T + self.box // 2
        return as_cube(weights, self.box)[kz, ky, kx]


def transform_cube(volume: np.ndarray, length: int, reach: int, *, profile: np.ndarray | None = None,
                   threads: int = 0) -> np.ndarray:
    """Low frequencies of a cube, zero-padded to `length` a side, with the factor n^-3/2.

    volume   (n, n, n) float32, n <= length
    profile  (n,): the volume is multiplied by it along every axis
    Returns (2 reach + 1, 2 reach + 1, reach + 1) complex64: [kz + reach, ky + reach, kx], steps of 1 / length.
    """
    n = volume.shape[0]
    spectrum = np.empty((2 * reach + 1, 2 * reach + 1, reach + 1), dtype=np.complex64)
    profile = np.ones(n, np.float32) if profile is None else np.ascontiguousarray(profile, np.float32)
    _kernels.transform_cube(volume, profile, length, float(n) ** -1.5, spectrum, threads)
    return spectrum


def volume_of(spectrum: np.ndarray, box: int, threads: int = 0, *, profile: np.ndarray | None = None) -> np.ndarray:
    """The volume (box, box, box) float32 whose transform, padded as that of `Reference`, is `spectrum`.

    spectrum  (2 reach + 1, 2 reach + 1, reach + 1) complex64, as `Reference.data`; frequencies beyond it are zero; its
              values beyond Nyquist of the padded box are not used, of the two at Nyquist half each
    profile   (box,): the volume is multiplied by it along every axis; unless given, 1 / sinc^2(x / 2n): what linear
              interpolation between the points of the spectrum had multiplied it by
    """
    spectrum = np.asarray(spectrum, dtype=np.complex64)
    extent = len(spectrum)
    if spectrum.shape != (extent, extent, extent // 2 + 1) or not extent % 2 or extent > 4 * box - 1:
        raise InputError("spectrum: expected (2 reach + 1, 2 reach + 1, reach + 1) points, reach below "
                         f"{PADDING * box}, got {spectrum.shape}")
    profile = _flattening(box) if profile is None else np.asarray(profile, np.float32)
    if profile.shape != (box,):
        raise InputError(f"profile: expected {box} values, got {profile.shape}")
    volume = np.empty((box, box, box), dtype=np.float32)
    length = PADDING * box
    _kernels.inverse_transform_cube(np.ascontiguousarray(spectrum), np.ascontiguousarray(profile), length,
                                    float(box) ** 1.5 / float(length) ** 3, volume, threads)
    return volume


def _flattening(box: int) -> np.ndarray:
    """1 / sinc^2(x / 2n) (box,) float32, x from voxel n // 2."""
    return (np.sinc((np.arange(box) - box // 2) / (PADDING * box)) ** -2.0).astype(np.float32)


class Reference:
    """The transform of a volume on a grid twice as fine, cropped to a band: what is sampled along rotated lattices.

    box, band
    reach     2 band + 2
    data      (2 reach + 1, 2 reach + 1, reach + 1) complex64: [z + reach, y + reach, x], frequency (x, y, z) / 2

    The volume is divided by sinc^2(x / 2n) along each axis, which trilinear interpolation multiplies by
    [Jackson et al., IEEE Trans. Med. Imaging 10, 473, 1991].
    """

    def __init__(self, volume: np.ndarray, band: int | None = None, *, threads: int = 0):
        volume = as_cube(volume)
        self.box = volume.shape[0]
        self.band = highest_band(self.box) if band is None else int(band)
        _check_band(self.box, self.band)
        self.reach = PADDING * self.band + 2
        self.data = transform_cube(volume, PADDING * self.box, self.reach, profile=_flattening(self.box),
                                   threads=threads)

    def project(self, k: np.ndarray, rotations: np.ndarray, threads: int = 0) -> np.ndarray:
        """Coefficients (m, J) complex64 of the rotated volume, A(R^T k).

        k            (J, 3), (kx, ky, kz), |k| <= band
        rotations    (m, 3, 3) or (3, 3), reference -> particle
        """
        k = np.ascontiguousarray(k, dtype=np.float32)
        rotations = np.ascontiguousarray(rotations, dtype=np.float64).reshape(-1, 3, 3)
        projections = np.empty((len(rotations), len(k)), dtype=np.complex64)
        if projections.size:
            _kernels.project_reference(self.data, k, rotations, projections, threads)
        return projections
