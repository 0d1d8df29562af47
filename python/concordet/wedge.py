"""Which Fourier coefficients of a particle were measured, and how strongly: weights as functions of k.

A weight w has `w.at(k, box)`: its values at frequencies k = (kx, ky, kz) in units of 1 / box. Rotating it about the
zero frequency is asking at rotated points: the weight of a particle turned by R is w.at(k @ R, box), row k @ R = R^T k.

Convention: tilt axis y, beam z. A view tilted by t (u = x cos t + z sin t) measures the plane kz = tan(t) kx; the other
axes are rotations of this one. What the measured coefficients enter as is told by the kind of the data (`statistics`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from concordet.errors import InputError

Kind = Literal["binary", "raw", "premultiplied"]
# "x", "y", "z", or the azimuth in degrees of an axis in the xy plane as in geometry.tilt_series (0: y, 90: "x").
Axis = Literal["x", "y", "z"] | float

EDGE = 1e-6  # of 1 / box: a coefficient on the edge of the range is measured
SLAB = 0.5  # half-thickness in 1 / box of the slab that one view measures of an object that fills the box
# sum |w(k) - w(-k)| / sum |w| above which a volume is no weight. Full: an origin off by one voxel gives 0.09 at box 64.
# Half: only kx = 0 tells, a plane on which programs that insert views into half a grid may leave one side thinner.
LARGEST_ASYMMETRY, LARGEST_HALF_ASYMMETRY = 0.02, 0.5
SUPPORT = 1e-4  # of the largest |w|: less is not measured; amplitude contrast 0.07 alone leaves CTF^2 0.005
SMALLEST_BOX = 4
# Below this box the layout is told by symmetry alone, else the usual one: wedges there are too coarse to compare.
SMALLEST_TELLING_BOX = 15


class Weight(ABC):
    """A weight of Fourier space, w(k) = w(-k)."""

    @abstractmethod
    def at(self, k: np.ndarray, box: int) -> np.ndarray:
        """(...,) float32 values at k (..., 3) = (kx, ky, kz), any real numbers, in units of 1 / box."""

    def volume(self, box: int) -> np.ndarray:
        """The weight on the grid of a box: float32 (box, box, box) in z, y, x, zero frequency at box // 2."""
        line = np.arange(box) - box // 2
        ky, kx = np.meshgrid(line, line, indexing="ij")
        values = np.empty((box, box, box), np.float32)
        for i, kz in enumerate(line):
            values[i] = self.at(np.stack([kx, ky, np.full_like(kx, kz)], axis=-1), box)
        return values


@dataclass(frozen=True)
class TiltRange(Weight):
    """1 where some tilt between `low` and `high` degrees measures, else 0: kz between tan(low) kx and tan(high) kx.

    On kx = 0 only kz = 0 is measured, unless the range reaches 90 degrees. -90 <= low < high <= 90, else InputError.
    """

    low: float
    high: float
    axis: Axis = "y"

    def __post_init__(self):
        if not -90 <= self.low < self.high <= 90:
            raise InputError(
                f"tilt range: expected -90 <= low < high <= 90 degrees, got {self.low:g} to {self.high:g}"
            )
        _check_axis(self.axis)

    def at(self, k: np.ndarray, box: int) -> np.ndarray:
        across, beam = _tilt_plane(k, self.axis)
        ends = np.tan(np.deg2rad(self.low)) * across, np.tan(np.deg2rad(self.high)) * across
        seen = (beam >= np.minimum(*ends) - EDGE) & (beam <= np.maximum(*ends) + EDGE)
        if max(-self.low, self.high) == 90:
            seen |= np.abs(across) <= EDGE
        return seen.astype(np.float32)


@dataclass(frozen=True)
class TiltList(Weight):
    """Views at single tilts, each a slab |k . beam'| <= 1/2 about its plane, beam' the beam turned into the view.

    tilts    degrees, -90 to 90, at least one
    weights  None: 1 where any view measures, else 0, as the kind "binary" expects of a reconstruction that was
             weighted for the density of its views. One function per tilt, of the frequency |k| / box in cycles per
             voxel: the sum over views, as "premultiplied" data expect, for instance CTF^2.
    """

    tilts: Sequence[float]
    axis: Axis = "y"
    weights: Sequence[Callable[[np.ndarray], ArrayLike]] | None = None

    def __post_init__(self):
        tilts = np.atleast_1d(np.asarray(self.tilts, float))
        if tilts.ndim != 1 or not tilts.size:
            raise InputError("tilts: expected at least one angle, got none")
        if not (np.abs(tilts) <= 90).all():
            raise InputError(f"tilts: expected -90 to 90 degrees, got {tilts[~(np.abs(tilts) <= 90)][0]:g}")
        if self.weights is not None and len(self.weights) != len(tilts):
            raise InputError(f"weights of tilts: expected one per tilt, {len(tilts)}, got {len(self.weights)}")
        _check_axis(self.axis)

    def at(self, k: np.ndarray, box: int) -> np.ndarray:
        across, beam = _tilt_plane(k, self.axis)
        frequency = np.linalg.norm(np.asarray(k, float), axis=-1) / box
        total = np.zeros(across.shape)
        for i, tilt in enumerate(np.deg2rad(np.atleast_1d(np.asarray(self.tilts, float)))):
            slab = np.abs(beam * np.cos(tilt) - across * np.sin(tilt)) <= SLAB + EDGE
            total[slab] += 1 if self.weights is None else np.asarray(self.weights[i](frequency[slab]), float)
        return (np.minimum(total, 1) if self.weights is None else total).astype(np.float32)


class WeightVolume(Weight):
    """A given weight volume: trilinear between its values, 0 outside, the same beyond Friedel symmetry.

    values  (n, n, n) in z, y, x, zero frequency at n // 2. Friedel mates are averaged, which changes a symmetric
            volume on the Nyquist planes of even n only: the mates there are those of the periodic grid.
    """

    def __init__(self, values: ArrayLike):
        values = np.asarray(values, np.float32)
        if values.ndim != 3 or len(set(values.shape)) != 1:
            raise InputError(f"weight volume: expected a cube, got {_sides(values.shape)}")
        self.box = len(values)
        if self.box % 2 == 0:
            values = np.pad(values, (0, 1), mode="wrap")
        self._values = (values + values[::-1, ::-1, ::-1]) / 2

    @classmethod
    def from_file_data(
        cls, data: ArrayLike, *, kind: Kind = "binary", box: int | None = None, name: str = "weight volume"
    ) -> WeightVolume:
        """The weight that a file holds, whatever its layout (rlnCtfImage and the like).

        Parameters
        ----------
        data : (n, n, n) in z, y, x or half of it, (n, n, n // 2 + 1) with kx >= 0; zero frequency in the middle,
            n // 2, or first (FFT order): found out from the values. A range of exactly +-45 degrees about z can be
            read both ways; then as where nothing tells, full is taken as centred and half as FFT order
        kind : what the weight is: 0 to 1, the CTF with its sign, or the sum of CTF^2
        box : n that the particles have, None for any
        name : the file, for messages

        Raises
        ------
        InputError : another size, NaN, negative values unless kind is "raw", all zero, no symmetry w(k) = w(-k)
        """
        _check_kind(kind)
        data = np.asarray(data)
        n = data.shape[0] if data.ndim == 3 else 0
        full, half = (n, n, n), (n, n, n // 2 + 1)
        if data.shape not in (full, half) or n < SMALLEST_BOX or box not in (None, n):
            wanted = "n x n x n or n x n x (n/2 + 1)"
            if box is not None:
                wanted = f"{box} x {box} x {box} or {box} x {box} x {box // 2 + 1}"
            raise InputError(f"{name}: expected a weight volume of {wanted}, got {_sides(data.shape)} (z, y, x)")
        data = data.astype(np.float32)
        if not np.isfinite(data).all():
            raise InputError(f"{name}: expected numbers, got {np.count_nonzero(~np.isfinite(data))} NaN or infinite")
        if kind != "raw" and data.min() < 0:
            raise InputError(f"{name}: expected weights >= 0 of {kind} data, got {data.min():g}")
        if not data.any():
            raise InputError(f"{name}: expected weights, got only zeros")
        # The usual layout first: it is taken where both fit equally.
        layouts, limit = [data, np.fft.fftshift(data)], LARGEST_ASYMMETRY
        asymmetries = [_asymmetry(layout) for layout in layouts]
        if data.shape == half:
            layouts, limit = [_full(np.fft.fftshift(data, axes=(0, 1))), _full(data)], LARGEST_HALF_ASYMMETRY
            asymmetries = [_asymmetry(layout[:, :, n // 2]) for layout in layouts]
        misfits = asymmetries
        if n >= SMALLEST_TELLING_BOX:
            misfits = [asymmetries[i] + _misfit(layout) for i, layout in enumerate(layouts)]
        best = int(misfits[1] < misfits[0])
        if asymmetries[best] > limit:
            raise InputError(
                f"{name}: expected w(k) = w(-k) about voxel n // 2 or voxel 0, "
                f"got a difference of {asymmetries[best]:.0%} of the weight"
            )
        return cls(layouts[best])

    def at(self, k: np.ndarray, box: int) -> np.ndarray:
        if box != self.box:
            raise InputError(f"weight volume: expected the box of the particles, {box}, got {self.box}")
        position = np.asarray(k, float) + self.box // 2
        last = len(self._values) - 1
        inside = ((position >= 0) & (position <= last)).all(axis=-1)
        x, y, z = np.moveaxis(position[inside], -1, 0)
        corner = [np.minimum(p.astype(np.int64), last - 1) for p in (z, y, x)]
        fraction = [p - i for p, i in zip((z, y, x), corner, strict=True)]
        total = np.zeros(len(x))
        for dz in (0, 1):
            for dy in (0, 1):
                for dx in (0, 1):
                    share = np.ones(len(x))
                    for step, f in zip((dz, dy, dx), fraction, strict=True):
                        share *= f if step else 1 - f
                    total += share * self._values[corner[0] + dz, corner[1] + dy, corner[2] + dx]
        values = np.zeros(inside.shape, np.float32)
        values[inside] = total
        return values

    def squared(self) -> WeightVolume:
        """CTF^2 of a CTF, value by value."""
        return WeightVolume(np.square(self.volume(self.box)))

    def root(self) -> WeightVolume:
        """|CTF| of CTF^2, value by value; the sign is lost."""
        return WeightVolume(np.sqrt(np.maximum(self.volume(self.box), 0)))


def statistics(coefficients: ArrayLike, weight: ArrayLike, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """p0, p1 of data X (..., J) complex with weight w (..., J) real, for Re p0 conj(A) - p1 |A|^2 / 2.

    binary         X = w A + noise under w      p0 = w X    p1 = w
    raw            X = w A + noise, w = CTF     p0 = w X    p1 = w^2
    premultiplied  X = sum CTF F, w = sum CTF^2 p0 = X      p1 = w      p0 = 0 where w = 0

    Returns
    -------
    complex64, float32
    """
    _check_kind(kind)
    coefficients, weight = np.asarray(coefficients, np.complex64), np.asarray(weight, np.float32)
    if kind == "premultiplied":
        return np.where(weight > 0, coefficients, np.complex64(0)), weight
    return weight * coefficients, np.square(weight) if kind == "raw" else weight


def half_fft_order(volume: np.ndarray) -> np.ndarray:
    """RELION's form of a weight (n, n, n) centred on n // 2: (n, n, n // 2 + 1), kx >= 0, zero frequency first."""
    return np.ascontiguousarray(np.fft.ifftshift(volume)[:, :, : len(volume) // 2 + 1])


def _check_axis(axis: Axis) -> None:
    if isinstance(axis, str) and axis not in ("x", "y", "z"):
        raise InputError(f'tilt axis: expected "x", "y", "z" or an azimuth in degrees, got "{axis}"')
    if not isinstance(axis, str) and not np.isfinite(axis):
        raise InputError(f"tilt axis: expected an azimuth in degrees, got {axis:g}")


def _check_kind(kind: str) -> None:
    if kind not in get_args(Kind):
        raise InputError(f"weights: expected {', '.join(get_args(Kind))}, got {kind}")


def _tilt_plane(k: np.ndarray, axis: Axis) -> tuple[np.ndarray, np.ndarray]:
    """(across, beam): the two components of k across the tilt axis; kx, kz for "y".

    "z" is the convention turned about x by 90 degrees, as in a raw IMOD .rec: beam against y.
    """
    kx, ky, kz = np.moveaxis(np.asarray(k, float), -1, 0)
    if axis == "y":
        return kx, kz
    if axis == "x":
        return ky, kz
    if axis == "z":
        return kx, -ky
    azimuth = np.deg2rad(float(axis))
    return kx * np.cos(azimuth) + ky * np.sin(azimuth), kz


def _sides(shape: Sequence[int]) -> str:
    return " x ".join(str(side) for side in shape) or "one number"


def _full(half: np.ndarray) -> np.ndarray:
    """Centred (n, n, n) of (n, n, n // 2 + 1) with ky, kz centred and kx = 0, 1, ...: w(-k) = w(k)."""
    n = len(half)
    order = np.fft.ifftshift(half, axes=(0, 1))
    mates = np.roll(order[::-1, ::-1], 1, axis=(0, 1))[:, :, (n - 1) // 2 : 0 : -1]
    return np.fft.fftshift(np.concatenate([order, mates], axis=2))


def _asymmetry(values: np.ndarray) -> float:
    """sum |w(k) - w(-k)| / sum |w| about the middle of a cube or square, without the Nyquist planes of even n."""
    inner = values[(slice(1 - len(values) % 2, None),) * values.ndim]
    total = np.abs(inner).sum(dtype=float)
    return float(np.abs(inner - np.flip(inner)).sum(dtype=float) / total) if total else 0.0


def _misfit(volume: np.ndarray) -> float:
    """How ill voxel n // 2 does as the zero frequency, for comparison only: a sum of shares.

    Views measure slabs through the zero frequency: something beside it (1); where 2 k is measured k is (1), and mostly
    the reverse (0.1). No view measures the axis of the beam, z (0.005) or y (0.02 for one of them). Weights without a
    wedge, a CTF for instance, depend on |k| alone (0.05).
    """
    n = len(volume)
    middle, reach = n // 2, (n - 1) // 4
    line = np.arange(-reach, reach + 1)
    size = np.abs(volume)
    near = size[np.ix_(line + middle, line + middle, line + middle)]
    far = size[np.ix_(2 * line + middle, 2 * line + middle, 2 * line + middle)]
    lowest, highest = float(size.min()), float(size.max())
    least = lowest + SUPPORT * (highest - lowest)
    seen_near, seen_far = near > least, far > least
    along_y, along_z = ((axis > least).mean() for axis in (size[middle, :, middle], size[:, middle, middle]))
    beside = np.count_nonzero(seen_near[(slice(reach - 1, reach + 2),) * 3]) > seen_near[reach, reach, reach]
    shares = not beside, (seen_far & ~seen_near).mean(), 0.1 * (seen_near & ~seen_far).mean()
    return float(sum(shares) + 0.005 * along_z + 0.02 * min(along_y, along_z) + 0.05 * _anisotropy(size))


def _anisotropy(size: np.ndarray) -> float:
    """0 where values within the largest sphere depend on |k| alone, 1 for a constant and from 0.5 % of the variance."""
    squares = (np.arange(len(size)) - len(size) // 2) ** 2
    shell = squares[:, None, None] + squares[:, None] + squares
    inside = shell <= ((len(size) - 1) // 2) ** 2
    shell, values = shell[inside], size[inside].astype(float)
    means = np.bincount(shell, values) / np.maximum(np.bincount(shell), 1)
    variance = values.var()
    return min(1.0, 200 * float(np.square(values - means[shell]).mean() / variance)) if variance > 0 else 1.0
