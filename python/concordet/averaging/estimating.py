"""The maximisation step: averages, references of the folds, noise, spread of shifts, occupancies."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from concordet import expectation
from concordet.averaging.model import LEAST_SHARE, LEAST_XI, REVIVED, SMALL, UNEVEN, Model, Posterior, Task
from concordet.averaging.solving import Solver
from concordet.evaluation import crossing, fsc
from concordet.fourier import Reference


class Estimating:
    """The M-step of one task. `coverage`: of each class in the last step, see `Solver.coverage`."""

    def __init__(self, task: Task):
        self.task = task
        self.coverage: list[float] = []

    def maximise(self, posterior: Posterior, shares: np.ndarray, model: Model, iteration: int
                 ) -> tuple[Model, np.ndarray, list[float | None]]:
        """The next model; half averages (K, 2, n, n, n), and the shell at which each pair falls below 0.143."""
        settings, half = self.task.settings, self.task.particles.half
        planned = self.task.band(iteration + 1)
        follow = settings.follow and settings.bands is not None and iteration + 1 >= len(settings.bands)
        band = min(max(planned, model.band) + (4 if follow else 0), half.band)
        theta = settings.theta * 0.9**iteration
        with self.task.timer("average"):
            volumes, references, halves = self.averages(posterior, shares, model.sigma2, band, model.volumes, theta)
        resolution = [self._resolution(pair, band) for pair in halves]
        if follow:
            reached = max((shell for shell in resolution if shell is not None), default=None)
            # Two shells beyond what is there: the average improves from one iteration to the next.
            planned = band if reached is None else int(np.clip(np.ceil(reached) + 2, planned, band))
        with self.task.timer("noise"):
            sigma2 = self._noise(posterior, shares, volumes, model.sigma2, min(planned, band))
        total = shares.sum()
        xi = np.sqrt((shares * (posterior.shifts**2).sum(axis=-1)).sum() / max(total, 1e-30) / 3)
        alpha = np.maximum(shares.sum(axis=(0, 2)) / max(total, 1e-30), LEAST_SHARE)
        xi = model.xi if settings.poses == "fixed" else float(max(xi, LEAST_XI))
        levelled = model.levelled
        if settings.level is None and settings.poses == "search" and not settings.fill_in:
            levelled = levelled | (np.array(self.coverage) < UNEVEN)
        return Model(volumes, references, sigma2, xi, alpha / alpha.sum(), planned, levelled), halves, resolution

    def revived(self, posterior: Posterior, shares: np.ndarray, iteration: int) -> tuple[Posterior, np.ndarray]:
        """A class with few particles starts again from a random half of the largest one's, in their poses.

        Without it one of two random starts takes all particles in the first iterations in a third of all runs.
        """
        settings = self.task.settings
        few = np.flatnonzero(shares.sum(axis=(0, 2)) < REVIVED * len(shares) / settings.classes)
        if not len(few) or settings.bands is None or iteration + 1 >= min(len(settings.bands), settings.iterations):
            return posterior, shares
        posterior = Posterior(*(getattr(posterior, one.name).copy() for one in fields(posterior)))
        shares = shares.copy()
        rng = np.random.default_rng([settings.seed, 2, iteration])
        for k in few:
            largest = int(shares.sum(axis=(0, 2)).argmax())
            moved = rng.permutation(np.flatnonzero(shares[:, largest].sum(axis=1) > 0.5))[::2]
            for one in fields(posterior):
                values = getattr(posterior, one.name)
                values[moved, k] = values[moved, largest]
            shares[moved, k] = shares[moved, largest]
            shares[moved, largest] = 0
        return posterior, shares

    def averages(self, posterior: Posterior, shares: np.ndarray, sigma2: np.ndarray, band: int,
                  old: np.ndarray | None, theta: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Averages (K, n, n, n), references (K, F, n, n, n), half averages (K, 2, n, n, n)."""
        classes, box = self.task.settings.classes, self.task.particles.half.box
        parts = self.task.fold if self.task.fold_count > 1 else np.arange(len(self.task.particles)) % 2
        count = int(parts.max()) + 1
        sums = [[self._sums(posterior, shares, k, parts == part, band) for part in range(count)]
                for k in range(classes)]
        totals = [sum(row[1:], row[0]) for row in sums]
        solved = Solver(self.task, sigma2, band)
        self.coverage = [solved.coverage(total) for total in totals]
        def common(fold: int | None = None) -> np.ndarray | None:
            """Sum of all classes' spectra, without a fold."""
            if not theta:
                return None
            whole = totals if fold is None else [total - row[fold] for row, total in zip(sums, totals, strict=True)]
            return np.sum([solved.spectrum(one) for one in whole], axis=0)

        shared = [common(f) for f in range(self.task.fold_count)] if self.task.fold_count > 1 else []
        together = common()
        volumes = np.empty((classes, box, box, box), np.float32)
        references = np.empty((classes, self.task.fold_count, box, box, box), np.float32)
        halves = np.empty((classes, 2, box, box, box), np.float32)
        for k, (row, total) in enumerate(zip(sums, totals, strict=True)):
            fill = None if old is None or not self.task.settings.fill_in else old[k]

            def observed(chosen, k=k, fill=fill):
                return None if fill is None else self._observed(posterior, shares, k, chosen, band)

            volumes[k] = solved.volume(total, together, theta, fill, observed(parts >= 0))
            if self.task.fold_count == 1:
                references[k, 0] = volumes[k]
            for f, one in enumerate(shared):
                references[k, f] = solved.volume(total - row[f], one, theta, fill, observed(parts != f))
            for h in range(2):
                mine = row[h::2]
                halves[k, h] = solved.volume(sum(mine[1:], mine[0])) if mine else 0
        return volumes, references, halves

    def _sums(self, posterior: Posterior, shares: np.ndarray, k: int, chosen: np.ndarray, band: int
              ) -> expectation.Sums:
        particles = self.task.particles
        sums = expectation.Sums(particles.half.box, band)
        row, column = np.nonzero((shares[:, k] > SMALL) & chosen[:, None])
        rotations, shifts = posterior.rotations[row, k, column], posterior.shifts[row, k, column]
        sums.add(particles.half, particles.p0, particles.p1, row, rotations, shifts, shares[row, k, column],
                 weight_index=particles.weight_index[row], symmetry=self.task.group, threads=self.task.threads)
        return sums

    def _observed(self, posterior: Posterior, shares: np.ndarray, k: int, chosen: np.ndarray, band: int
                  ) -> expectation.Sums:
        """sum P R^-1 1 of some particles: what the denominator would be if every coefficient had been observed."""
        half, sums = self.task.particles.half, expectation.Sums(self.task.particles.half.box, band)
        row, column = np.nonzero((shares[:, k] > SMALL) & chosen[:, None])
        count = half.count(band)
        zero = np.zeros((1, count), np.complex64)
        sums.add(half, zero, np.ones((1, count), np.float32), np.zeros(len(row), np.int64),
                 posterior.rotations[row, k, column], posterior.shifts[row, k, column], shares[row, k, column],
                 weight_index=np.zeros(len(row), np.int64), symmetry=self.task.group, threads=self.task.threads)
        return sums

    def _resolution(self, halves: np.ndarray, band: int) -> float | None:
        """Shell, up to `band`, where the FSC of two half averages falls below 0.143; None where it does not."""
        if not (halves[0].any() and halves[1].any()):
            return None
        shells, curve = fsc(halves[0], halves[1])
        cut = crossing(shells[:band + 1], curve[:band + 1], 0.143)
        return None if cut is None else cut * self.task.box

    def _noise(self, posterior: Posterior, shares: np.ndarray, volumes: np.ndarray, old: np.ndarray, band: int
               ) -> np.ndarray:
        """sigma^2 per shell over what was observed, up to `band`; beyond it as it was."""
        particles = self.task.particles
        left = np.zeros(len(old))
        seen = np.zeros(len(old))
        for k in range(self.task.settings.classes):
            row, column = np.nonzero(shares[:, k] > SMALL)
            if not len(row):
                continue
            terms = expectation.shell_sums(
                Reference(volumes[k], band, threads=self.task.threads), particles.half, particles.p0, particles.p1, row,
                posterior.rotations[row, k, column], posterior.shifts[row, k, column],
                weight_index=particles.weight_index[row], band=band, threads=self.task.threads)
            share = shares[row, k, column]
            top = terms.shape[1]
            left[:top] += share @ (particles.power[row, :top] - 2 * terms[:, :, 0] + terms[:, :, 1])
            seen[:top] += share @ particles.counts[row, :top]
        known = (seen > 0) & (np.arange(len(old)) <= band)
        if self.task.settings.one_noise:
            return np.full_like(old, max(left[known].sum() / seen[known].sum(), 1e-30))
        return np.where(known, np.maximum(left / np.maximum(seen, 1), 1e-30), old)
