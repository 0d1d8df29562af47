"""The expectation step: candidates by the search, their exact likelihoods, and their shares of the integral."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from concordet import poses, rigid
from concordet.averaging.model import FAR, LEVELLED, SEARCH_SHELLS, SHIFT_SPACING, Model, Posterior, Task
from concordet.correlation import Candidates, Matcher, remove_shell_means, shift_grid
from concordet.fourier import Reference, highest_band


class Matching:
    """The E-step of one task. Harmonics of the particles are made at the first search and kept."""

    def __init__(self, task: Task):
        self.task = task
        half = task.particles.half
        # The search reads one shell beyond its last.
        last = half.band if half.band == highest_band(half.box) else half.band - 1
        self.matcher = Matcher(half.box, shells=(1, min(SEARCH_SHELLS, last)), band_limit=14,
                               shifts=self._shifts(), threads=task.threads)
        self._harmonics: tuple[np.ndarray, np.ndarray] | None = None

    def _shifts(self) -> np.ndarray:
        if self.task.settings.search != "grid":
            return np.zeros((1, 3))
        return shift_grid(self.task.settings.max_shift, SHIFT_SPACING * self.task.box)

    def expect(self, model: Model) -> Posterior:
        """Candidates and their likelihoods for every particle and class."""
        count, settings = len(self.task.particles), self.task.settings
        most = {"fixed": 1, "local": 33}.get(settings.poses, settings.candidates)
        posterior = Posterior.empty(count, settings.classes, most)
        inverse = (1 / model.sigma2[self.task.particles.half.shells]).astype(np.float32)
        for k in range(settings.classes):
            with self.task.timer("references"):
                reach = max(model.band, self.matcher.shells[1])
                references = [Reference(volume, reach, threads=self.task.threads) for volume in model.references[k]]
            candidates = self._candidates(model, references)
            self._judge(posterior, k, candidates, model, references, inverse)
        return posterior

    def _candidates(self, model: Model, references: list[Reference]) -> Candidates:
        settings, count = self.task.settings, len(self.task.particles)
        if settings.poses == "fixed":
            given = self.task.given
            return Candidates(given.rotations[:, None], given.shifts[:, None], np.zeros((count, 1)),
                              np.ones(count, np.int64))
        if settings.poses == "local":
            return self._around()
        first, last = self.matcher.shells
        inverse = 1 / model.sigma2[first:last + 1] * (np.arange(first, last + 1) <= model.band)
        magnitude = settings.search == "magnitude"
        if self._harmonics is None:
            with self.task.timer("harmonics"):
                self._harmonics = self._expand(magnitude)
        particles, weights = self._harmonics
        with self.task.timer("search"):
            linear, squares = zip(*(self.matcher.expand_reference(reference, inverse, magnitude=magnitude)
                                    for reference in references), strict=True)
            found = self.matcher.search(
                particles, weights, np.stack(linear), np.stack(squares), weight_index=self.task.particles.weight_index,
                reference_index=self.task.fold, xi=model.xi, count=settings.candidates,
                score="correlation" if magnitude else "likelihood")
        return found if magnitude else found.within()

    def _around(self) -> Candidates:
        """The poses of the file turned by up to the angular range: 33 rotations, half of the range apart."""
        reach = self.task.settings.angular_range
        turns = np.radians(shift_grid(reach, reach / 2)) if reach > 0 else np.zeros((1, 3))
        rotations = rigid.from_rotation_vector(turns) @ self.task.given.rotations[:, None]
        shifts = np.repeat(self.task.given.shifts[:, None], len(turns), axis=1)
        return Candidates(rotations, shifts, np.zeros(rotations.shape[:2]), np.full(len(rotations), len(turns)))

    def _expand(self, magnitude: bool) -> tuple[np.ndarray, np.ndarray]:
        low = len(self.matcher.half)
        p0, p1 = self.task.particles.p0[:, :low], self.task.particles.p1[:, :low]
        if magnitude:
            p0 = remove_shell_means(self.matcher.half, np.abs(p0), p1[self.task.particles.weight_index])
        return self.matcher.expand(p0), self.matcher.expand_weights(p1)

    def _judge(self, posterior: Posterior, k: int, candidates: Candidates, model: Model, references: list[Reference],
               inverse: np.ndarray) -> None:
        """Class k of the posterior: candidates scored at the search band, those that matter at the full band."""
        settings, particles = self.task.settings, self.task.particles
        fixed, most = settings.poses == "fixed", candidates.rotations.shape[1]
        posterior.meant[:, k, :most] = np.arange(most) < candidates.counts[:, None]
        posterior.rotations[:, k, :most], posterior.shifts[:, k, :most] = candidates.rotations, candidates.shifts
        meant = posterior.meant[:, k]
        low = min(SEARCH_SHELLS, model.band)

        def judge(judged: Callable[..., poses.Scored], chosen: np.ndarray, **options) -> None:
            row, column = np.nonzero(chosen)

            def at(row: np.ndarray, column: np.ndarray, newton: int) -> poses.Scored:
                return judged(references, particles.half, particles.p0, particles.p1, inverse, row,
                              posterior.rotations[row, k, column], posterior.shifts[row, k, column], xi=model.xi,
                              max_shift=max(settings.max_shift, np.abs(posterior.shifts).max()),
                              weights=particles.weight_index[row], reference_index=self.task.fold[row],
                              threads=self.task.threads, newton=newton, **options)

            def keep(row: np.ndarray, column: np.ndarray, scored: poses.Scored, kept: np.ndarray) -> None:
                row, column = row[kept], column[kept]
                posterior.rotations[row, k, column] = scored.rotations[kept]
                posterior.shifts[row, k, column] = scored.shifts[kept]
                posterior.ll[row, k, column] = scored.likelihoods[kept]
                posterior.norms[row, k, column] = scored.norms[kept]

            scored = at(row, column, 0 if fixed else 2)
            kept = self._within(row, scored)
            keep(row, column, scored, kept)
            if judged is poses.score and not kept.all():    # as they lie, where Newton's steps leave the range
                row, column = row[~kept], column[~kept]
                keep(row, column, at(row, column, 0), np.ones(len(row), bool))

        with self.task.timer("score"):
            judge(poses.score, meant, band=low, search_shifts=settings.search == "magnitude" and not fixed)
            if model.band > low:
                ll = np.where(meant, posterior.ll[:, k], -np.inf)
                near = ll >= ll.max(axis=1, keepdims=True) - FAR
                posterior.ll[:, k][~near] = -np.inf
                judge(poses.score, near, band=model.band)
        refined = max(settings.refined, LEVELLED) if model.levelled[k] else settings.refined
        if refined and not fixed:
            with self.task.timer("refine"):
                ll = np.where(meant, posterior.ll[:, k], -np.inf)
                rank = np.argsort(np.argsort(-ll, axis=1, kind="stable"), axis=1)
                judge(poses.refine, (rank < refined) & np.isfinite(ll), band=model.band)
        if model.levelled[k]:
            self._level(posterior, k, model, references, inverse)
        with self.task.timer("weights"):
            posterior.shares[:, k] = self._shares(posterior, k)

    def _within(self, row: np.ndarray, scored: poses.Scored) -> np.ndarray:
        """Which of the poses found for particles `row` count: all but those that left the range of "local"."""
        settings = self.task.settings
        if settings.poses != "local":
            return np.ones(len(row), bool)
        given = self.task.given
        turned = rigid.geodesic(scored.rotations, given.rotations[row])
        moved = np.linalg.norm(scored.shifts - given.shifts[row], axis=1)
        return (turned <= settings.angular_range + 1e-6) & (moved <= settings.max_shift + 1e-6)

    def _level(self, posterior: Posterior, k: int, model: Model, references: list[Reference],
               inverse: np.ndarray) -> None:
        """Where a reference overlaps the wedge more, every pose explains more noise: level the data term by it."""
        half, particles = self.task.particles.half, self.task.particles
        count = half.count(model.band)
        shells = half.shells[:count]
        sizes = np.bincount(shells)
        seen = np.stack([np.bincount(shells, row[:count]) / np.maximum(sizes, 1) for row in particles.p1])
        powers = np.stack([np.bincount(shells, 2 * inverse[:count] * np.abs(
            reference.project(half.indices[:count], np.eye(3), self.task.threads)[0]) ** 2)
                           for reference in references])
        mean = (powers[self.task.fold] * seen[particles.weight_index]).sum(axis=1)
        gain = np.clip(mean[:, None] / np.maximum(posterior.norms[:, k], 1e-30), 0.4, 4.0)
        prior = (posterior.shifts[:, k] ** 2).sum(axis=-1) / (2 * model.xi**2)
        levelled = np.where(posterior.meant[:, k], (posterior.ll[:, k] + prior) * gain - prior, -np.inf)
        # The highest likelihood stays what it was: classes remain comparable.
        highest = np.where(posterior.meant[:, k], posterior.ll[:, k], -np.inf).max(axis=1)
        top = levelled.max(axis=1)
        shift = np.where(np.isfinite(top), highest, 0) - np.where(np.isfinite(top), top, 0)
        posterior.ll[:, k] = levelled + shift[:, None]

    def _shares(self, posterior: Posterior, k: int) -> np.ndarray:
        """v of class k's candidates (N, C)."""
        settings, meant = self.task.settings, posterior.meant[:, k]
        counts = meant.sum(axis=1)
        if settings.weights == "uniform" or meant.shape[1] == 1:
            return meant / np.maximum(counts, 1)[:, None]
        radius = self._gyration()
        return poses.voronoi_weights(
            posterior.rotations[:, k], posterior.shifts[:, k], counts, samples=settings.samples, seed=settings.seed,
            alpha_trd=3 / radius**2 if settings.alpha_trd is None else settings.alpha_trd,
            rotations_from=settings.cells, threads=self.task.threads)

    def _gyration(self) -> float:
        """Radius of gyration of the mask, voxels; of a sphere of 0.4 of the box without one."""
        box = self.task.particles.half.box
        if self.task.mask is None:
            return 0.4 * box * np.sqrt(0.6)
        squared = sum(axis**2 for axis in np.ix_(*[np.arange(box) - box // 2] * 3))
        return float(np.sqrt((self.task.mask * squared).sum() / self.task.mask.sum()))
