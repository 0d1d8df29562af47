"""What the steps of expectation-maximisation sum: particles into averages, and what averages leave of particles.

Particle i at the pose (R, t) with the share v, its statistics p0 and p1 as in `poses`:

    num = sum v R^-1 [p0 e^{+2 pi i k.t/n}],   den = sum v R^-1 [p1],   average A = num / den where den > 0
    |p0 / p1 - e^{-2 pi i k.t/n} A(R^T k)|^2 p1 = |p0|^2 / p1 - 2 Re(p0 e^{+2 pi i k.t/n} conj A(R^T k))
                                                  + p1 |A(R^T k)|^2

`Sums` holds the first line on the grid of `fourier.Reference`, by the transpose of its interpolation; `shell_power` and
`shell_sums` give the terms of the second, summed over shells of |k|.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np

from concordet import _kernels
from concordet.errors import InputError
from concordet.fourier import PADDING, HalfSpace, Reference, highest_band

Array = np.ndarray


class Sums:
    """Numerator and denominator of an average, on a grid twice as fine as the particles'.

    box, band
    reach        2 band + 2
    numerator    (2 reach + 1, 2 reach + 1, reach + 1) complex64: [z + reach, y + reach, x], frequency (x, y, z) / 2
    denominator  float32, likewise: how often a coefficient there was observed, sum v p1 over the particles' lattice

    Both hold all of Fourier space folded onto x >= 0, so that on x = 0 the numerator at -k is the conjugate of that at
    k. They may be read, replaced and summed over processes at any time. Sums add and subtract: a total less one part
    is what the other parts hold, to within rounding.
    """

    def __init__(self, box: int, band: int):
        if box < 4 or not 1 <= band <= highest_band(box):
            raise InputError(f"band: expected 1 to {highest_band(box)} shells for a box of {box} voxels, got {band}")
        self.box, self.band = int(box), int(band)
        self.reach = PADDING * self.band + 2
        shape = (2 * self.reach + 1, 2 * self.reach + 1, self.reach + 1)
        self.numerator = np.zeros(shape, np.complex64)
        self.denominator = np.zeros(shape, np.float32)

    def add(self, half: HalfSpace, p0: Array, p1: Array, particles: Array, rotations: Array, shifts: Array,
            shares: Array, *, weight_index: Array | None = None, symmetry: Array | None = None,
            band: int | None = None, threads: int = 0) -> None:
        """Adds particles at their poses. One call for many: each passes over the whole grid (128^3: 0.06 s).

        half          of the same box
        p0, p1        (particles, J) complex64, (weights, J) float32; J >= the coefficients of `band`
        particles     (items,) row of p0; items of one particle should follow each other
        rotations     (items, 3, 3), reference to particle;   shifts (items, 3), (x, y, z) voxels
        shares        (items,), >= 0; those of 0 cost nothing
        weight_index  (items,) row of p1; row 0 where p1 has one, else that of the particle, unless given
        symmetry      (order, 3, 3): a pose enters as all of R S, S of the group, each with its part of the share
        band          |k| <= band enter; as many shells as `half` and the sums have, unless given
        threads       0: all cores; the result is the same, bit for bit
        """
        top = min(half.band, self.band) if band is None else int(band)
        if half.box != self.box or not top <= min(half.band, self.band):
            raise InputError(f"sums: expected particles of {self.box} voxels and at most "
                             f"{min(half.band, self.band)} shells, got {half.box} and {top}")
        data = _observations(half, p0, p1, half.count(top))
        items = _items(data[2], data[3], particles, rotations, shifts, weight_index)
        shares = np.ascontiguousarray(shares, np.float64)
        if shares.shape != items[0].shape or not (np.isfinite(shares) & (shares >= 0)).all():
            raise InputError(f"shares: expected {len(items[0])} finite values of 0 or more, got shape {shares.shape}, "
                             f"least {shares.min(initial=0)}")
        if symmetry is not None:
            items, shares = _symmetric(items, shares, np.asarray(symmetry, np.float64))
        _kernels.accumulate(*data, *items, shares, self.numerator, self.denominator, threads)

    def __add__(self, other: Sums) -> Sums:
        self._expect_like(other)
        return self._holding(self.numerator + other.numerator, self.denominator + other.denominator)

    def __sub__(self, other: Sums) -> Sums:
        self._expect_like(other)
        # Rounding must not leave less than nothing.
        return self._holding(self.numerator - other.numerator, np.maximum(self.denominator - other.denominator, 0))

    def _expect_like(self, other: Sums) -> None:
        if (other.box, other.band) != (self.box, self.band):
            raise InputError(f"sums: expected a box of {self.box} voxels and a band of {self.band}, got {other.box} "
                             f"and {other.band}")

    def _holding(self, numerator: Array, denominator: Array) -> Sums:
        result = copy(self)
        result.numerator, result.denominator = numerator, denominator
        return result


def shell_sums(references: Reference | Sequence[Reference], half: HalfSpace, p0: Array, p1: Array, particles: Array,
               rotations: Array, shifts: Array, *, weight_index: Array | None = None,
               reference_index: Array | None = None, band: int | None = None, threads: int = 0) -> Array:
    """What explains a particle, per shell: Re(p0 e^{+2 pi i k.t/n} conj A(R^T k)) and p1 |A(R^T k)|^2.

    references       one, or several of one box and band
    reference_index  (items,); the first reference unless given
    band             shells up to `band`; all of `half` unless given
    Everything else as for `Sums.add`.
    Returns (items, band + 1, 2) float64: sums over the coefficients of shell rint|k|, both of +-k.
    """
    references = [references] if isinstance(references, Reference) else list(references)
    top = half.band if band is None else int(band)
    count = half.count(top)
    if not references:
        raise InputError("references: expected one at least, got none")
    for reference in references:
        if reference.box != half.box or reference.band < top:
            raise InputError(f"reference: expected a box of {half.box} voxels and a band of {top} at least, got "
                             f"{reference.box} and {reference.band}")
    data = _observations(half, p0, p1, count)
    items = _items(data[2], data[3], particles, rotations, shifts, weight_index)
    chosen = _index("references", np.zeros(len(items[0])) if reference_index is None else reference_index,
                    len(items[0]), len(references))
    sums = np.zeros((len(items[0]), top + 1, 2))
    _kernels.shell_sums([reference.data for reference in references], *data, *items[:2], chosen, *items[2:],
                        np.ascontiguousarray(half.shells[:count]), sums, threads)
    return sums


def shell_power(half: HalfSpace, p0: Array, p1: Array, weight_index: Array | None = None) -> tuple[Array, Array]:
    """Power of particles per shell, where they were observed: sum of |p0|^2 / p1 over p1 > 0, and the count of those.

    p0, p1        (particles, J) complex64, (weights, J) float32, all of `half`
    weight_index  (particles,) row of p1; row 0 where p1 has one, else that of the particle, unless given
    Returns two (particles, half.band + 1) float64: sums over the coefficients of shell rint|k|, both of +-k.
    """
    _, _, p0, p1 = _observations(half, p0, p1, len(half))
    rows = _weight_rows(np.arange(len(p0)), len(p1), weight_index)
    power, counts = np.zeros((2, len(p0), half.band + 1))
    for i, row in enumerate(rows):
        weights = p1[row, :len(half)]
        seen = weights > 0
        values = np.abs(p0[i, :len(half)][seen]) ** 2 / weights[seen]
        power[i] = 2 * np.bincount(half.shells[seen], values, half.band + 1)
        counts[i] = 2 * np.bincount(half.shells[seen], minlength=half.band + 1)
    return power, counts


def _orthonormal(rotations: Array) -> bool:
    return bool((np.abs(np.swapaxes(rotations, 1, 2) @ rotations - np.eye(3)) <= 1e-3).all())


def _symmetric(items: tuple[Array, Array, Array, Array], shares: Array, group: Array
               ) -> tuple[tuple[Array, Array, Array, Array], Array]:
    """Every item as often as the group has elements."""
    if group.ndim != 3 or group.shape[1:] != (3, 3) or not len(group) or not _orthonormal(group):
        raise InputError(f"symmetry: expected orthonormal rotations (order, 3, 3), got shape {group.shape}")
    particles, weights, rotations, shifts = items
    order = len(group)
    turned = np.ascontiguousarray((rotations[:, None] @ group).reshape(-1, 3, 3))
    repeated = (np.repeat(particles, order), np.repeat(weights, order), turned, np.repeat(shifts, order, axis=0))
    return repeated, np.repeat(shares / order, order)


def _observations(half: HalfSpace, p0: Array, p1: Array, count: int) -> tuple[Array, int, Array, Array]:
    """The first `count` coefficients of particles as the kernels take them."""
    rows = []
    for name, array, kind in (("p0", p0, np.complex64), ("p1", p1, np.float32)):
        array = np.atleast_2d(np.asarray(array, kind))
        if array.ndim != 2 or array.shape[1] < count:
            raise InputError(f"{name}: expected rows of at least {count} coefficients, got shape {array.shape}")
        rows.append(array if array.strides[1] == array.itemsize else np.ascontiguousarray(array))
    return np.ascontiguousarray(half.indices[:count], np.int32), half.box, rows[0], rows[1]


def _index(name: str, index: Array, count: int, size: int) -> Array:
    index = np.ascontiguousarray(index, np.int64)
    if index.shape != (count,) or (count and not 0 <= index.min() <= index.max() < size):
        raise InputError(f"{name}: expected {count} indices below {size}, got shape {index.shape}, values "
                         f"{index.min(initial=0)} to {index.max(initial=0)}")
    return index


def _weight_rows(particles: Array, size: int, weight_index: Array | None) -> Array:
    if weight_index is None:
        weight_index = np.zeros(len(particles)) if size == 1 else particles
    return _index("weights", weight_index, len(particles), size)


def _items(p0: Array, p1: Array, particles: Array, rotations: Array, shifts: Array, weight_index: Array | None
           ) -> tuple[Array, Array, Array, Array]:
    particles = np.array(particles, np.int64, ndmin=1)
    count = len(particles)
    particles = _index("particles", particles, count, len(p0))
    rotations = np.ascontiguousarray(np.array(rotations, np.float64, ndmin=3))
    shifts = np.ascontiguousarray(np.array(shifts, np.float64, ndmin=2))
    if count == 0:
        rotations, shifts = rotations.reshape(-1, 3, 3), shifts.reshape(-1, 3)
    if rotations.shape != (count, 3, 3) or shifts.shape != (count, 3):
        raise InputError(f"items: expected rotations ({count}, 3, 3) and shifts ({count}, 3), got "
                         f"{rotations.shape} and {shifts.shape}")
    if not (np.isfinite(shifts).all() and _orthonormal(rotations)):
        raise InputError("items: expected orthonormal rotations and finite shifts")
    return particles, _weight_rows(particles, len(p1), weight_index), rotations, shifts
