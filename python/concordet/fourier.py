"""Fourier space of cubic boxes: half of the coefficients as a list, and transforms fine enough to be rotated.

Coefficients are those of the orthonormal transform about voxel n//2,

    X(k) = n^-3/2 sum_x volume(x) exp(-2 pi i k . (x - n//2) / n),   k = (kx, ky, kz) whole numbers,

so that white noise of variance s^2 has E|X|^2 = s^2.
"""

from __future__ import annotations

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
        length = PADDING * self.box
        at = np.arange(self.box) - self.box // 2
        self.data = transform_cube(volume, length, self.reach, profile=np.sinc(at / length) ** -2.0, threads=threads)

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
