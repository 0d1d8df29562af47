"""Poses of particles: exact likelihood, refinement, and the share of each candidate in the integral over poses.

For particle i, reference A and pose (R, t), summed over the half-space list of `fourier.HalfSpace`,

    ll(R, t) = sum_k 2/sigma_k^2 [Re(p0_k e^{+2 pi i k.t/n} conj A(R^T k)) - p1_k |A(R^T k)|^2 / 2] - |t|^2 / (2 xi^2)

with A interpolated linearly on its transform padded twice. What enters is p0 = w X, p1 = w for a binary wedge;
p0 = w X, p1 = w^2 for raw data under a CTF w; p0 = X', p1 = sum of CTF^2 for premultiplied data X'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from concordet import _kernels
from concordet.errors import InputError
from concordet.fourier import HalfSpace, Reference
from concordet.rigid import Poses, to_quaternion

Array = np.ndarray
# Voxels that the box of sampled shifts is larger than that of the candidates' shifts, on every side.
SHIFT_PADDING = 1.0


@dataclass(frozen=True)
class Scored:
    """Poses and how well they explain their particles, one row per item.

    Attributes
    ----------
    rotations : (items, 3, 3) float64, reference to particle
    shifts : (items, 3) float64, (x, y, z) voxels
    likelihoods : (items,) float64, ll of the best shift found, prior included
    norms : (items,) float64, sum_k 2/sigma_k^2 p1 |A(R^T k)|^2
    """

    rotations: Array
    shifts: Array
    likelihoods: Array
    norms: Array

    def __len__(self) -> int:
        return len(self.likelihoods)

    @property
    def poses(self) -> Poses:
        return Poses(self.rotations, self.shifts)


class Candidates(Protocol):
    """What a search hands on: (particles, most, ...) arrays of which the first counts[i] of row i are meant."""

    @property
    def rotations(self) -> Array: ...
    @property
    def shifts(self) -> Array: ...
    @property
    def counts(self) -> Array: ...


def score(references: Reference | Sequence[Reference], half: HalfSpace, p0: Array, p1: Array,
          inverse_noise: Array, particles: Array, rotations: Array, shifts: Array | None = None, *,
          xi: float, max_shift: float, weights: Array | None = None, reference_index: Array | None = None,
          band: int | None = None, newton: int = 2, search_shifts: bool = False, threads: int = 0) -> Scored:
    """The likelihood of given rotations, each at its best shift.

    references       one, or several of one box and band
    half             the list of coefficients k
    p0, p1           (particles, J) complex64, (weights, J) float32; J >= the coefficients of `band`
    inverse_noise    (J,) float32, 1 / sigma^2
    particles        (items,) row of p0; items of one particle should follow each other
    rotations        (items, 3, 3), reference to particle
    shifts           (items, 3), (x, y, z) voxels: where Newton's method begins; zero unless given
    xi               standard deviation of each shift, voxels, > 0; np.inf: no prior
    max_shift        |t_x|, |t_y|, |t_z| stay at or below it, voxels
    weights          (items,) row of p1; row 0 where p1 has one, else that of the particle, unless given
    reference_index  (items,); the first reference unless given
    band             |k| <= band enter; all of `half` unless given
    newton           steps of the shift
    search_shifts    begin from the best shift of a grid within `max_shift` instead of `shifts`
    threads          0: all cores; the result is the same, bit for bit
    """
    problem = _Problem(references, half, p0, p1, inverse_noise, band)
    items = problem.items(particles, rotations, shifts, weights, reference_index)
    options = _shift_options(xi, max_shift, newton, search_shifts)
    if len(items[0]):
        _kernels.score_poses(*problem.arrays, *items, options, threads)
    return Scored(*items[3:])


def refine(references: Reference | Sequence[Reference], half: HalfSpace, p0: Array, p1: Array,
           inverse_noise: Array, particles: Array, rotations: Array, shifts: Array | None = None, *,
           xi: float, max_shift: float, weights: Array | None = None, reference_index: Array | None = None,
           band: int | None = None, newton: int = 2, search_shifts: bool = False, sweeps: int = 3, step: float = 0.08,
           coarse_band: int | None = None, threads: int = 0) -> Scored:
    """The best pose near each of those given, to a fraction of a degree; arguments as for `score`.

    sweeps       each: a parabola through the likelihoods of turns by -step, 0 and +step about x, y and z; the turn to
                 the three maxima together, with a Newton step of the shift, is kept if the likelihood rises; the step
                 halves
    step         radians, of the first sweep, 0 < step < 1: about the distance to the maximum. Over such steps noise
                 averages out, where a derivative would follow it.
    coarse_band  all sweeps but the last take |k| <= coarse_band alone; half of the band halves the time, and finds
                 the maximum from further away. A pose that was right already may leave by a fraction of a degree.
    """
    if sweeps < 0 or not 0 < step < 1:
        raise InputError(f"refinement: expected sweeps >= 0 and a step between 0 and 1 radian, got {sweeps} and {step}")
    if coarse_band is not None and sweeps > 1:
        rough = refine(references, half, p0, p1, inverse_noise, particles, rotations, shifts, xi=xi,
                       max_shift=max_shift, weights=weights, reference_index=reference_index, band=coarse_band,
                       newton=newton, search_shifts=search_shifts, sweeps=sweeps - 1, step=step, threads=threads)
        rotations, shifts, search_shifts = rough.rotations, rough.shifts, False
        sweeps, step = 1, step / 2 ** (sweeps - 1)
    problem = _Problem(references, half, p0, p1, inverse_noise, band)
    items = problem.items(particles, rotations, shifts, weights, reference_index)
    options = _shift_options(xi, max_shift, newton, search_shifts)
    if len(items[0]):
        _kernels.refine_poses(*problem.arrays, *items, options, sweeps, step, threads)
    return Scored(*items[3:])


def match(references: Reference | Sequence[Reference], half: HalfSpace, p0: Array, p1: Array,
          candidates: Candidates, inverse_noise: Array, *, xi: float, max_shift: float,
          weights: Array | None = None, reference_index: Array | None = None, search_band: int | None = None,
          band: int | None = None, kept: int = 4, refined: int = 1, newton: int = 2, search_shifts: bool = False,
          sweeps: int = 3, step: float = 0.08, coarse_band: int | None = None, threads: int = 0) -> Scored:
    """The best pose of every particle among its candidates, refined; one row per particle.

        1. score all candidates at the search band
        2. score the best `kept` of them at the full band
        3. refine the best `refined` of those at the full band; the best of all is the pose

    candidates       of the particles in rows 0, 1, ... of p0; each has one at least
    weights          (particles,) row of p1;   reference_index (particles,)
    search_band      |k| <= search_band enter in 1; step 1 is at `band`, and step 2 left out, unless given
    Everything else as for `score` and `refine`.
    """
    counts = np.asarray(candidates.counts)
    if kept < 1 or refined < 1:
        raise InputError(f"matching: expected to keep and refine one candidate at least, got {kept} and {refined}")
    if not (counts > 0).all():
        raise InputError(f"candidates: expected one at least of every particle, got none of {np.argmin(counts)}")
    own_weights, own_references = weights, reference_index

    def options(particles: Array) -> dict:
        return {"xi": xi, "max_shift": max_shift, "newton": newton, "threads": threads,
                "weights": None if own_weights is None else np.asarray(own_weights)[particles],
                "reference_index": None if own_references is None else np.asarray(own_references)[particles]}

    meant = np.arange(candidates.rotations.shape[1]) < counts[:, None]
    particles = np.repeat(np.arange(len(counts)), counts)
    scored = score(references, half, p0, p1, inverse_noise, particles, candidates.rotations[meant],
                   candidates.shifts[meant], band=search_band or band, search_shifts=search_shifts,
                   **options(particles))
    if search_band is not None:
        chosen = _best(particles, scored.likelihoods, kept)
        particles = particles[chosen]
        scored = score(references, half, p0, p1, inverse_noise, particles, scored.rotations[chosen],
                       scored.shifts[chosen], band=band, **options(particles))
    chosen = _best(particles, scored.likelihoods, refined)
    particles = particles[chosen]
    scored = refine(references, half, p0, p1, inverse_noise, particles, scored.rotations[chosen],
                    scored.shifts[chosen], band=band, sweeps=sweeps, step=step, coarse_band=coarse_band,
                    **options(particles))
    chosen = _best(particles, scored.likelihoods, 1)
    return Scored(scored.rotations[chosen], scored.shifts[chosen], scored.likelihoods[chosen], scored.norms[chosen])


def voronoi_weights(rotations: Array, shifts: Array, counts: Array | None = None, *, alpha_trd: float,
                    samples: int = 10000, seed: int = 0, rotations_from: str = "so3", threads: int = 0) -> Array:
    """The share of each candidate in the space of poses: how many random poses have it as their nearest.

        tau^2 = ||I - R1^T R2||_F^2 + alpha_trd |t1 - t2|^2,   weight = (hits + 1) / (samples + candidates)

    so that no candidate is deleted by an empty cell [Zhao et al., eq. 3-6].

    rotations       (particles, most, 3, 3);   shifts (particles, most, 3), voxels
    counts          (particles,): the candidates meant, first ones of each row; all unless given
    alpha_trd       per squared voxel, >= 0; 3 / r_g^2 makes tau the mean displacement of a particle of that radius
    seed            of one table of random poses, the same for all particles; shifts are uniform in the bounding box
                    of the particle's candidates, SHIFT_PADDING wider on every side
    rotations_from  "so3": uniform rotations; "euler": three uniform Euler angles, the paper's
    Returns (particles, most) float64, rows that sum to 1; 0 for candidates not meant.
    """
    rotations, shifts = np.asarray(rotations, np.float64), np.ascontiguousarray(shifts, np.float64)
    if rotations.ndim != 4 or rotations.shape[2:] != (3, 3) or shifts.shape != (*rotations.shape[:2], 3):
        raise InputError("candidates: expected rotations (particles, most, 3, 3) and shifts (particles, most, 3), got "
                         f"{rotations.shape} and {shifts.shape}")
    most = rotations.shape[1]
    counts = np.full(len(rotations), most) if counts is None else np.asarray(counts)
    if counts.shape != (len(rotations),) or ((counts < 0) | (counts > most)).any():
        raise InputError(f"candidates: expected counts ({len(rotations)},) of 0 to {most}, got {counts}")
    if samples < 1 or not (np.isfinite(alpha_trd) and alpha_trd >= 0):
        raise InputError(f"cells: expected samples >= 1 and alpha_trd >= 0, got {samples} and {alpha_trd}")
    meant = np.arange(most) < counts[:, None]
    if not np.isfinite(shifts[meant]).all():
        raise InputError("candidates: expected finite shifts, got NaN or infinity")
    quaternions = to_quaternion(np.where(meant[..., None, None], rotations, np.eye(3)))
    weights = np.empty(meant.shape)
    _kernels.voronoi_weights(random_poses(samples, seed, rotations_from), quaternions, shifts,
                             np.ascontiguousarray(counts, np.int64), float(alpha_trd), SHIFT_PADDING, weights, threads)
    return weights


def random_poses(samples: int, seed: int, rotations_from: str = "so3") -> Array:
    """(samples, 7) float32: a unit quaternion w, x, y, z, and a point of the unit cube."""
    rng = np.random.default_rng(seed)
    if rotations_from == "so3":
        quaternions = rng.standard_normal((samples, 4))
        quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    elif rotations_from == "euler":
        a, b, g = rng.uniform(size=(3, samples)) * np.array([[2 * np.pi], [np.pi], [2 * np.pi]])
        sums, differences = (a + g) / 2, (a - g) / 2
        quaternions = np.column_stack([np.cos(b / 2) * np.cos(sums), -np.sin(b / 2) * np.sin(differences),
                                       np.sin(b / 2) * np.cos(differences), np.cos(b / 2) * np.sin(sums)])
    else:
        raise InputError(f'random rotations: expected "so3" or "euler", got "{rotations_from}"')
    return np.hstack([quaternions, rng.uniform(size=(samples, 3))]).astype(np.float32)


class _Problem:
    """The arguments that `score` and `refine` share, checked and laid out for the kernel."""

    def __init__(self, references: Reference | Sequence[Reference], half: HalfSpace, p0: Array, p1: Array,
                 inverse_noise: Array, band: int | None):
        self.references = [references] if isinstance(references, Reference) else list(references)
        self.count = len(half) if band is None else half.count(band)
        top = half.band if band is None else band
        if not self.references:
            raise InputError("references: expected one at least, got none")
        for reference in self.references:
            if reference.box != half.box or reference.band < top:
                raise InputError(f"reference: expected a box of {half.box} voxels and a band of {top} at least, got "
                                 f"{reference.box} and {reference.band}")
        self.p0 = self._rows(p0, np.complex64, "p0")
        self.p1 = self._rows(p1, np.float32, "p1")
        inverse_noise = np.ascontiguousarray(inverse_noise, np.float32)
        if inverse_noise.ndim != 1 or len(inverse_noise) < self.count:
            raise InputError(f"inverse noise: expected at least {self.count} values, got shape {inverse_noise.shape}")
        indices = np.ascontiguousarray(half.indices[: self.count], np.int32)
        data = [reference.data for reference in self.references]
        self.arrays = (data, indices, half.box, self.p0, self.p1, inverse_noise)

    def _rows(self, array: Array, kind: type, name: str) -> Array:
        array = np.atleast_2d(np.asarray(array, kind))
        if array.ndim != 2 or array.shape[1] < self.count:
            raise InputError(f"{name}: expected rows of at least {self.count} coefficients, got shape {array.shape}")
        return array if array.strides[1] == array.itemsize else np.ascontiguousarray(array)

    def items(self, particles, rotations, shifts, weights, reference_index) -> tuple[Array, Array, Array, Array, Array,
                                                                                     Array, Array]:
        particles = np.array(particles, np.int64, ndmin=1)
        count = len(particles)
        if weights is None:
            weights = np.zeros(count) if len(self.p1) == 1 else particles
        if reference_index is None:
            reference_index = np.zeros(count)
        indices = []
        for name, index, size in [("particles", particles, len(self.p0)), ("weights", weights, len(self.p1)),
                                  ("references", reference_index, len(self.references))]:
            index = np.ascontiguousarray(index, np.int64)
            if index.shape != (count,) or (count and not 0 <= index.min() <= index.max() < size):
                raise InputError(f"{name}: expected {count} indices below {size}, got shape {index.shape}, values "
                                 f"{index.min(initial=0)} to {index.max(initial=0)}")
            indices.append(index)
        rotations = np.array(rotations, np.float64, order="C", ndmin=3)
        shifts = np.zeros((count, 3)) if shifts is None else np.array(shifts, np.float64, order="C", ndmin=2)
        if rotations.shape != (count, 3, 3) or shifts.shape != (count, 3):
            raise InputError(f"items: expected rotations ({count}, 3, 3) and shifts ({count}, 3), got "
                             f"{rotations.shape} and {shifts.shape}")
        gram = np.swapaxes(rotations, 1, 2) @ rotations
        if not (np.isfinite(shifts).all() and (np.abs(gram - np.eye(3)) <= 1e-3).all()):
            raise InputError("items: expected orthonormal rotations and finite shifts")
        return indices[0], indices[1], indices[2], rotations, shifts, np.empty(count), np.empty(count)


def _shift_options(xi: float, max_shift: float, newton: int, search_shifts: bool) -> _kernels.ShiftOptions:
    if not (xi > 0 and max_shift >= 0 and np.isfinite(max_shift) and newton >= 0):
        raise InputError(f"shifts: expected xi > 0, max_shift >= 0 and newton >= 0, got {xi}, {max_shift}, {newton}")
    return _kernels.ShiftOptions(float(xi) ** -2, float(max_shift), newton, search_shifts)


def _best(groups: Array, values: Array, count: int) -> Array:
    """Positions of the `count` largest values of each group, groups in order, best first."""
    order = np.lexsort((-values, groups))
    ordered = groups[order]
    first = np.searchsorted(ordered, ordered, side="left")
    return order[np.arange(len(order)) - first < count]
