"""Fast rotational matching: particles against references for all rotations and a grid of shifts.

For a particle of statistics p0, p1 and a reference A [2, eq. 1]

    c0(R, t) = sum_k p0 exp(2 pi i k.t / n) conj(A(R^T k)) / sigma^2,    c1^2(R) = sum_k p1 |A(R^T k)|^2 / sigma^2

and the likelihood is c0 - c1^2 / 2 - |t|^2 / (2 xi^2) but for a constant [2, eq. 15].  Both sums are rotational
correlations: with harmonics p_lm(r) of the particle on shells |k| = r and q_lm'(r) of the reference,

    C(a, b, g) = sum_lmm' exp(i (m a + m' g)) d^l_mm'(b) sum_r p_lm(r) conj q_lm'(r),   R = Rz(a) Ry(b) Rz(g)

[Kovacs and Wriggers, Acta Cryst. D58, 1282, 2002].  A shift multiplies p0 by a phase, which changes neither with the
reference nor from one iteration to the next: harmonics of shifted particles are made once (`Matcher.expand`).

[2] is Zhao, Zeng et al., An integration of fast alignment and maximum-likelihood methods for electron subtomogram
averaging and classification.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from concordet import _kernels
from concordet.errors import InputError
from concordet.fourier import HalfSpace, Reference, highest_band

# Samples of a reference on a sphere per band limit: Gauss-Legendre nodes in cos(theta), even steps in phi.
_POLAR, _AROUND = 2, 4


@dataclass(frozen=True)
class Candidates:
    """The best local maxima of each particle, best first; rows from `counts` on are not filled.

    rotations (m, count, 3, 3) float64, shifts (m, count, 3) voxels, scores (m, count), counts (m,)
    """

    rotations: np.ndarray
    shifts: np.ndarray
    scores: np.ndarray
    counts: np.ndarray

    def within(self, nats: float = 25.0) -> Candidates:
        """Those with best - score <= max(nats, (best - mean) / 2), mean over the candidates of the particle."""
        there = np.arange(self.scores.shape[1]) < self.counts[:, None]
        total = np.where(there, self.scores, 0).sum(axis=1)
        mean = total / np.maximum(self.counts, 1)
        best = np.where(self.counts > 0, self.scores[:, 0], 0)
        room = np.maximum(nats, (best - mean) / 2)
        kept = there & (best[:, None] - self.scores <= room[:, None])
        return Candidates(self.rotations, self.shifts, self.scores, kept.sum(axis=1))


def shift_grid(max_shift: float, spacing: float) -> np.ndarray:
    """Points (T, 3) of a cubic lattice in voxels, within |t| <= max_shift, t = 0 first."""
    if not (np.isfinite([max_shift, spacing]).all() and max_shift >= 0 and spacing > 0):
        raise InputError(f"shifts: expected a largest shift >= 0 and a spacing > 0, got {max_shift} and {spacing}")
    steps = np.arange(-int(max_shift / spacing + 1e-6), int(max_shift / spacing + 1e-6) + 1)
    points = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    length = (points**2).sum(axis=1)
    points, length = (values[length * spacing**2 <= max_shift**2 * (1 + 1e-6)] for values in (points, length))
    return points[np.argsort(length, kind="stable")] * float(spacing)


def band_limit(radius: float, shell: float, box: int) -> int:
    """Band limit, l < value, that a molecule of `radius` voxels needs on shells up to `shell`: 2 pi k rho / n + 4."""
    return max(4, int(np.ceil(2 * np.pi * shell * radius / box)) + 4)


def wigner_d(betas: np.ndarray, band: int, threads: int = 0) -> np.ndarray:
    """d^l_mm'(beta) for l < band: (betas, l, m + band - 1, m' + band - 1) float64, 0 where |m| or |m'| is above l."""
    betas = np.ascontiguousarray(np.atleast_1d(betas), dtype=np.float64)
    if band < 1:
        raise InputError(f"band limit: expected at least 1, got {band}")
    matrices = np.empty((len(betas), band, 2 * band - 1, 2 * band - 1))
    _kernels.wigner_d(betas, matrices, threads)
    return matrices


def spherical_harmonics(directions: np.ndarray, band: int, threads: int = 0) -> np.ndarray:
    """Y_lm (n, band (band + 1) / 2) complex128 of directions (n, 3), x, y, z: l = m ... band - 1 within m >= 0."""
    directions = np.ascontiguousarray(directions, dtype=np.float64)
    values = np.empty((len(directions), band * (band + 1) // 2), dtype=np.complex128)
    _kernels.spherical_harmonics(directions, band, values, threads)
    return values


def remove_shell_means(half: HalfSpace, magnitudes: np.ndarray, p1: np.ndarray) -> np.ndarray:
    """Magnitudes (m, J) less their mean on each shell, over what is observed (p1 > 0), and zero elsewhere."""
    seen = np.broadcast_to(np.atleast_2d(p1) > 0, magnitudes.shape)
    result = np.zeros(magnitudes.shape, dtype=np.float32)
    for values, mask, out in zip(magnitudes, seen, result, strict=True):
        count = np.bincount(half.shells[mask], minlength=half.band + 1)
        mean = np.bincount(half.shells[mask], values[mask], half.band + 1) / np.maximum(count, 1)
        out[mask] = values[mask] - mean[half.shells[mask]]
    return result


class Matcher:
    """What the search needs to know of box, shells, band limit, angles and shifts, tabulated once.

    box           voxels along each side of particles and references
    shells        (first, last) radii |k| compared, 1 to (box - 1) // 2
    band_limit    l < band_limit; see `band_limit`
    shifts        (T, 3) voxels; see `shift_grid`; one zero shift unless given
    angles        N: rotations R = Rz(a) Ry(b) Rz(g), a, g = (i + 1/2) 360/N, b = (i + 1/2) 360/N below 180 degrees;
                  a multiple of 16, by default the first one that is at least 2 band_limit
    threads       0: all
    half          HalfSpace of the coefficients that enter; p0 and p1 are lists of these
    """

    def __init__(self, box: int, *, shells: tuple[int, int] = (1, 9), band_limit: int = 14,
                 shifts: np.ndarray | None = None, angles: int | None = None, threads: int = 0):
        first, last = shells
        if box < 4:
            raise InputError(f"box: expected 4 voxels a side or more, got {box}")
        if not 1 <= first <= last <= highest_band(box):
            raise InputError(f"shells: expected 1 <= first <= last <= {highest_band(box)} for a box of {box} voxels, "
                             f"got {first} to {last}")
        if not 1 <= band_limit <= 64:
            raise InputError(f"band limit: expected 1 to 64, got {band_limit}")
        angles = -(-2 * band_limit // 16) * 16 if angles is None else int(angles)
        if angles % 16 or not 16 <= angles <= 256:
            raise InputError(f"angles: expected a multiple of 16 up to 256, got {angles}")
        self.box, self.shells, self.band_limit, self.angles = int(box), (first, last), int(band_limit), angles
        self.threads = threads
        self.shifts = np.atleast_2d(np.zeros((1, 3)) if shifts is None else np.asarray(shifts, dtype=np.float64))
        if self.shifts.shape[1:] != (3,) or not len(self.shifts) or not np.isfinite(self.shifts).all():
            raise InputError(f"shifts: expected shape (T, 3), finite, got {self.shifts.shape}")
        self.half = HalfSpace(box, min(last + 1, highest_band(box)))
        self._search = _kernels.RotationalSearch(self.band_limit, self.shell_count, angles)

    @property
    def shell_count(self) -> int:
        return self.shells[1] - self.shells[0] + 1

    @property
    def orders(self) -> int:
        """Pairs (l, m), m >= 0: l = m ... band_limit - 1 within m."""
        return self.band_limit * (self.band_limit + 1) // 2

    @property
    def step(self) -> float:
        """Of the grid of rotations, degrees."""
        return 360.0 / self.angles

    @cached_property
    def _table(self) -> _kernels.HarmonicsTable:
        return _kernels.HarmonicsTable(self.half.indices, *self.shells, self.band_limit, self.threads)

    @cached_property
    def _phases(self) -> np.ndarray:
        turns = self.shifts @ self.half.indices.T.astype(np.float64) / self.box
        return np.exp(2j * np.pi * turns).astype(np.complex64)

    def _expand(self, coefficients: np.ndarray, phases: np.ndarray) -> np.ndarray:
        if coefficients.ndim != 2 or coefficients.shape[1] != len(self.half):
            raise InputError(f"coefficients: expected shape (m, {len(self.half)}), got {coefficients.shape}")
        harmonics = np.empty((len(coefficients), len(phases), self.orders, self.shell_count), dtype=np.complex64)
        if len(coefficients):
            self._table.expand(np.ascontiguousarray(coefficients, np.complex64), phases, harmonics, self.threads)
        return harmonics

    def expand(self, p0: np.ndarray) -> np.ndarray:
        """Harmonics of particles at every shift: (m, T, orders, shells) complex64 of p0 (m, J)."""
        return self._expand(p0, self._phases)

    def expand_weights(self, p1: np.ndarray) -> np.ndarray:
        """Harmonics of weights: (m, orders, shells) complex64 of p1 (m, J)."""
        return self._expand(np.atleast_2d(p1), np.ones((1, len(self.half)), np.complex64))[:, 0]

    @cached_property
    def _quadrature(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (shell, polar, around, 3) of the spheres, and conj Y (polar, orders) with weights, at phi = 0."""
        cosines, weights = np.polynomial.legendre.leggauss(_POLAR * self.band_limit)
        around = _AROUND * self.band_limit
        phi = 2 * np.pi * np.arange(around) / around
        sines = np.sqrt(1 - cosines**2)
        directions = np.stack([sines[:, None] * np.cos(phi), sines[:, None] * np.sin(phi),
                               np.repeat(cosines[:, None], around, axis=1)], axis=-1)
        radii = np.arange(self.shells[0], self.shells[1] + 1, dtype=np.float64)
        at_zero = np.stack([sines, np.zeros_like(sines), cosines], axis=-1)
        harmonics = spherical_harmonics(at_zero, self.band_limit).real * weights[:, None] * (2 * np.pi / around)
        order_m = np.repeat(np.arange(self.band_limit), np.arange(self.band_limit, 0, -1))
        return radii[:, None, None, None] * directions, harmonics, order_m

    def sample_spheres(self, reference: Reference) -> np.ndarray:
        """The reference on the shells: (shells, polar, around) complex64, Gauss-Legendre x even steps."""
        if reference.box != self.box or reference.band < self.shells[1]:
            raise InputError(f"reference: expected a box of {self.box} voxels and a band of {self.shells[1]} shells, "
                             f"got {reference.box} and {reference.band}")
        points = self._quadrature[0]
        return reference.project(points.reshape(-1, 3), np.eye(3))[0].reshape(points.shape[:-1])

    def expand_spheres(self, values: np.ndarray) -> np.ndarray:
        """Harmonics (orders, shells) complex64 of values (shells, polar, around) by quadrature."""
        _, harmonics, order_m = self._quadrature
        rings = np.fft.fft(np.asarray(values, dtype=np.complex128), axis=-1)
        result = np.empty((self.orders, self.shell_count), dtype=np.complex64)
        for m in range(self.band_limit):
            chosen = order_m == m
            result[chosen] = np.einsum("po,sp->os", harmonics[:, chosen], rings[:, :, m])
        return result

    def expand_reference(self, reference: Reference, inverse_noise: np.ndarray, *,
                         magnitude: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Harmonics (orders, shells) complex64 of A / sigma^2 and of |A|^2 / sigma^2.

        inverse_noise   (shells,): 1 / sigma^2 of each shell compared
        magnitude       |A| less its mean on each shell instead of A, for particles treated likewise
        """
        inverse_noise = np.asarray(inverse_noise, dtype=np.float64)
        if inverse_noise.shape != (self.shell_count,):
            raise InputError(f"inverse noise: expected {self.shell_count} values, one per shell, got "
                             f"{inverse_noise.shape}")
        values = self.sample_spheres(reference).astype(np.complex128)
        if magnitude:
            weights = np.polynomial.legendre.leggauss(_POLAR * self.band_limit)[1]
            sizes = np.abs(values)
            values = sizes - (sizes.mean(axis=-1) @ weights / 2)[:, None, None]
        scaled = inverse_noise[:, None, None]
        return self.expand_spheres(values * scaled), self.expand_spheres(np.abs(values) ** 2 * scaled)

    def correlate(self, harmonics: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """C(a, b, g) as (b, g, a), (N / 2, N, N) float32, of one particle and one reference (orders, shells)."""
        values = np.empty((self.angles // 2, self.angles, self.angles), dtype=np.float32)
        self._search.correlate(np.ascontiguousarray(harmonics), np.ascontiguousarray(reference), values)
        return values

    def search(self, particles: np.ndarray, weights: np.ndarray, references: np.ndarray, squares: np.ndarray, *,
               weight_index: np.ndarray | None = None, reference_index: np.ndarray | None = None,
               xi: float = np.inf, score: str = "likelihood", count: int = 50,
               separation: float | None = None) -> Candidates:
        """The best rotations of every particle, each at its best shift.

        particles            (m, T, orders, shells), from `expand`
        weights              (w, orders, shells), from `expand_weights`; weight_index (m,): all the first unless given
        references, squares  (r, orders, shells), from `expand_reference`; reference_index (m,); all the first
        xi                   spread of the shifts, voxels: exp(-|t|^2 / (2 xi^2)), in the likelihood alone
        score                "likelihood": c0 - c1^2 / 2 - |t|^2 / (2 xi^2); "correlation": c0 / c1 [2, eq. 1]
        count                candidates kept at most
        separation           degrees between candidates of a particle; 1.5 steps of the grid, at least 12, unless given
        """
        if score not in ("likelihood", "correlation"):
            raise InputError(f"score: expected likelihood or correlation, got {score}")
        if separation is not None and not 0 <= separation <= 180:
            raise InputError(f"separation: expected 0 to 180 degrees, got {separation}")
        if not xi > 0:
            raise InputError(f"xi: expected more than 0 voxels, got {xi}")
        if count < 1:
            raise InputError(f"count: expected at least 1 candidate, got {count}")
        m = len(particles)
        separation = max(12.0, 1.5 * self.step) if separation is None else separation
        penalties = (self.shifts**2).sum(axis=1) / (2 * xi**2) * (score == "likelihood")
        rotations = np.empty((m, count, 3, 3), dtype=np.float32)
        rotations[:] = np.eye(3)
        which = np.zeros((m, count), dtype=np.int64)
        scores = np.full((m, count), -np.inf, dtype=np.float32)
        counts = np.zeros(m, dtype=np.int64)
        if not m:
            return Candidates(rotations.astype(np.float64), self.shifts[which], scores, counts)
        self._search.search(
            np.ascontiguousarray(particles), np.ascontiguousarray(weights), _index(weight_index, m),
            np.ascontiguousarray(references), np.ascontiguousarray(squares), _index(reference_index, m),
            penalties.astype(np.float32), score == "correlation", np.deg2rad(separation), rotations, which, scores,
            counts, self.threads)
        return Candidates(rotations.astype(np.float64), self.shifts[which], scores, counts)


def _index(index: np.ndarray | None, count: int) -> np.ndarray:
    return np.zeros(count, np.int64) if index is None else np.ascontiguousarray(index, dtype=np.int64)
