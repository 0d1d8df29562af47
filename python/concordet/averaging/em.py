"""Expectation-maximisation: the start, the loop, the likelihood."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from concordet import expectation, rigid
from concordet.averaging.estimating import Estimating
from concordet.averaging.matching import Matching
from concordet.averaging.model import (
    Model,
    Particles,
    Posterior,
    Progress,
    Result,
    Settings,
    Task,
    Timer,
    best_poses,
    hard,
    soft,
)
from concordet.fourier import Reference


class Averager:
    """Expectation-maximisation of one set of particles.

    particles   all of one box
    mask        (n, n, n) float32, 0 to 1, or None
    initial     poses in the particles' file: where "fixed" stays and "local" begins
    threads     0: all
    """

    def __init__(self, particles: Particles, settings: Settings, *, mask: np.ndarray | None = None,
                 initial: rigid.Poses | None = None, threads: int = 0):
        self.task = Task(particles, settings, mask, initial, threads)
        self.matching, self.estimating = Matching(self.task), Estimating(self.task)

    @property
    def particles(self) -> Particles:
        return self.task.particles

    @property
    def settings(self) -> Settings:
        return self.task.settings

    @property
    def threads(self) -> int:
        return self.task.threads

    @property
    def coverage(self) -> list[float]:
        """Of each class in the last M-step, see `Solver.coverage`."""
        return self.estimating.coverage

    @property
    def timer(self) -> Timer:
        return self.task.timer

    @timer.setter
    def timer(self, timer: Timer) -> None:
        self.task.timer = timer

    def expect(self, model: Model) -> Posterior:
        """The E-step: candidates and their likelihoods for every particle and class."""
        return self.matching.expect(model)

    def maximise(self, posterior: Posterior, shares: np.ndarray, model: Model, iteration: int
                 ) -> tuple[Model, np.ndarray, list[float | None]]:
        """The M-step: the next model, half averages (K, 2, n, n, n), and the shell where each pair's FSC is 0.143."""
        return self.estimating.maximise(posterior, shares, model, iteration)

    def start(self, references: np.ndarray | None = None) -> Model:
        """The model of iteration 0: averages of a random split at random rotations, or the references given."""
        settings, count = self.task.settings, len(self.task.particles)
        sigma2 = self._start_noise()
        alpha = np.full(settings.classes, 1 / settings.classes)
        band = self.task.band(0)
        if references is not None:
            volumes = np.stack([self.task.masked(volume) for volume in references]).astype(np.float32)
            return self._model(volumes, np.repeat(volumes[:, None], self.task.fold_count, axis=1), sigma2, alpha, band)
        rng = np.random.default_rng([settings.seed, 1])
        labels = np.arange(count) % settings.classes
        rng.shuffle(labels)
        if settings.poses != "search":
            start = self.task.given
        elif settings.rotate:
            start = rigid.Poses(rigid.random_rotations(count, rng), np.zeros((count, 3)))
        else:
            start = rigid.Poses.identity(count)
        one = Posterior.empty(count, settings.classes, 1)
        one.rotations[:] = start.rotations[:, None, None]
        one.shifts[:] = start.shifts[:, None, None]
        shares = np.zeros((count, settings.classes, 1))
        shares[np.arange(count), labels] = 1
        volumes, references, _ = self.estimating.averages(one, shares, sigma2, band, None)
        model = self._model(volumes, references, sigma2, alpha, band)
        if settings.one_noise:
            model.sigma2 = self._paper_noise(volumes, start, rng)
        return model

    def _model(self, volumes, references, sigma2, alpha, band) -> Model:
        levelled = np.full(len(volumes), bool(self.task.settings.level))
        return Model(volumes, references, sigma2, float(self.task.particles.half.box), alpha, band, levelled)

    def _start_noise(self) -> np.ndarray:
        """Power per shell of the particles, as if there were no signal."""
        power, counts = self.task.particles.power.sum(axis=0), self.task.particles.counts.sum(axis=0)
        if self.task.settings.one_noise:
            power, counts = np.full_like(power, power.sum()), np.full_like(power, counts.sum())
        return np.maximum(power / np.maximum(counts, 1), 1e-30)

    def _paper_noise(self, volumes: np.ndarray, start: rigid.Poses, rng: np.random.Generator) -> np.ndarray:
        """[2, 2.4]: a random particle against a random average, where it was observed; one value for all shells."""
        task, particles = self.task, self.task.particles
        i, k = int(rng.integers(len(particles))), int(rng.integers(len(volumes)))
        one = np.array([i])
        terms = expectation.shell_sums(
            Reference(volumes[k], particles.half.band, threads=task.threads), particles.half, particles.p0,
            particles.p1, one, start.rotations[one], start.shifts[one], weight_index=particles.weight_index[one],
            threads=task.threads)[0]
        left = particles.power[i].sum() - 2 * terms[:, 0].sum() + terms[:, 1].sum()
        return np.full(particles.power.shape[1], max(left / max(particles.counts[i].sum(), 1), 1e-30))

    def log_likelihoods(self, posterior: Posterior, model: Model) -> np.ndarray:
        """(N,) log P(X_i), normalisers of sigma and xi included, over the shells compared [2, eq. 8]."""
        logs = posterior.logarithms(model.alpha)
        highest = logs.max(axis=(1, 2))
        with np.errstate(divide="ignore"):
            mixed = highest + np.log(np.exp(logs - highest[:, None, None]).sum(axis=(1, 2)))
        shells = slice(1, model.band + 1)
        sigma2 = model.sigma2[shells]
        # counts hold both of +-k: half as many complex Gaussians, exp(-|x|^2 / sigma^2) / (pi sigma^2).
        noise = (self.task.particles.counts[:, shells] / 2) @ np.log(np.pi * sigma2)
        data = self.task.particles.power[:, shells] @ (0.5 / sigma2)
        return mixed - noise - data - 1.5 * np.log(2 * np.pi * model.xi**2)

    def run(self, model: Model, *, first: int = 0, previous: rigid.Poses | None = None,
            on_iteration: Callable[[Progress, Model, Posterior, np.ndarray], None] | None = None) -> Result:
        """Iterate from `model`, which iteration `first` begins with, until poses stand still."""
        settings = self.task.settings
        assign = soft if settings.soft else hard
        history: list[Progress] = []
        for iteration in range(first, max(settings.iterations, first + 1)):
            self.task.timer = Timer()
            posterior = self.expect(model)
            shares = assign(posterior, model.alpha)
            likelihoods = self.log_likelihoods(posterior, model)
            band, alpha = model.band, model.alpha
            model, halves, resolution = self.maximise(*self.estimating.revived(posterior, shares, iteration), model,
                                                       iteration)
            best = best_poses(posterior, shares)
            turned, moved = (np.nan, np.nan) if previous is None else (
                float(np.median(rigid.geodesic(best.rotations, previous.rotations, self.task.group))),
                float(np.median(np.linalg.norm(best.shifts - previous.shifts, axis=1))))
            previous = best
            progress = Progress(iteration, band, float(likelihoods.sum()), shares.sum(axis=(0, 2)).tolist(), model.xi,
                                turned, moved, float((1 / (shares**2).sum(axis=(1, 2))).mean()), resolution,
                                self.coverage, dict(self.task.timer.seconds))
            history.append(progress)
            if on_iteration:
                on_iteration(progress, model, posterior, shares)
            settled = settings.bands is None or iteration >= len(settings.bands)
            regrouped = np.abs(model.alpha - alpha).sum() * len(shares)
            if settled and turned < 0.3 and moved < 0.05 and regrouped < 1:
                break
        per_class = shares.sum(axis=2)
        entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=(1, 2))
        return Result(model, halves, best, per_class.argmax(axis=1), per_class, entropy, likelihoods, history)
