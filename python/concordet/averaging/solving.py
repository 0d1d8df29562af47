"""Sums to averages: the Wiener solution or the printed fill-in, on the twice padded grid."""

from __future__ import annotations

import numpy as np

from concordet import expectation
from concordet.averaging.model import DIRECTIONS, WIENER, Task
from concordet.evaluation import half_sphere
from concordet.fourier import HalfSpace, Reference, volume_of


class Solver:
    """num, den -> volumes: Wiener or fill-in, on the twice padded grid [design: 2, eq. 10]."""

    def __init__(self, task: Task, sigma2: np.ndarray, band: int):
        self.task, self.sigma2, self.band = task, sigma2, band
        self.half = HalfSpace(task.box, band)
        reach = 2 * band + 2
        line = np.arange(-reach, reach + 1)
        radius = np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + np.arange(reach + 1) ** 2) / 2
        self.inside = radius <= band
        self.shell = np.minimum(np.rint(radius).astype(np.int32), band)
        self.sizes = np.bincount(self.shell[self.inside], minlength=band + 1)

    def coverage(self, sums: expectation.Sums) -> float:
        """The direction of Fourier space that was observed least, as a part of the mean: 1 all alike, 0 a gap."""
        reach = sums.reach
        line = np.arange(-reach, reach + 1)
        z, y, x = np.meshgrid(line, line, np.arange(reach + 1), indexing="ij")
        chosen = self.inside & (self.shell >= 3)
        points = np.stack([x[chosen], y[chosen], z[chosen]], axis=1).astype(np.float32)
        nearest = np.abs(points @ half_sphere(DIRECTIONS).T.astype(np.float32)).argmax(axis=1)
        shells = np.bincount(self.shell[chosen], sums.denominator[chosen]) / np.maximum(
            np.bincount(self.shell[chosen]), 1)
        relative = sums.denominator[chosen] / np.maximum(shells[self.shell[chosen]], 1e-30)
        return float((np.bincount(nearest, relative, DIRECTIONS) / np.bincount(nearest, minlength=DIRECTIONS)).min())

    def back(self, spectrum: np.ndarray) -> np.ndarray:
        task = self.task
        return task.masked(volume_of(spectrum.astype(np.complex64), task.box, task.threads))

    def wiener(self, sums: expectation.Sums) -> np.ndarray:
        """(band + 1,) what is added to the denominator: 0.25 f sigma^2 / S."""
        den = sums.denominator[self.inside]
        shell = self.shell[self.inside]

        def mean(values: np.ndarray) -> np.ndarray:
            return np.bincount(shell, values, self.band + 1) / self.sizes

        # Coverage may be uneven (slices of a tilt series, zeros of a CTF): the damped division keeps the gaps from
        # ruling what is estimated from it, P = gain S + noise.
        coverage = np.maximum(mean(den), 1e-30)
        damped = np.zeros(self.inside.shape)
        damped[self.inside] = 1 / (den + coverage[shell])
        power = np.abs(self.half.transform(self.back(sums.numerator * damped), threads=self.task.threads)) ** 2
        power = np.bincount(self.half.shells, power, self.band + 1) / np.maximum(
            np.bincount(self.half.shells, minlength=self.band + 1), 1)
        share, sigma2 = self.task.mask_share, self.sigma2[:self.band + 1]
        noise = share * sigma2 * mean(den * damped[self.inside] ** 2)
        gain = np.maximum(mean((den * damped[self.inside]) ** 2), 1e-30)
        signal = np.maximum((power - noise) / gain, 0.02 * share * sigma2 / coverage)
        term = WIENER * share * sigma2 / np.maximum(signal, 1e-30)
        term[0] = term[1]
        return term

    def spectrum(self, sums: expectation.Sums) -> np.ndarray:
        return np.where(self.inside, sums.numerator, 0) / (sums.denominator + self.wiener(sums)[self.shell])

    def volume(self, sums: expectation.Sums, common: np.ndarray | None = None, theta: float = 0.0,
               old: np.ndarray | None = None, observed: expectation.Sums | None = None) -> np.ndarray:
        """A (n, n, n); common: sum of all classes' spectra; old: the last average, observed: full denominator."""
        numerator, denominator = np.where(self.inside, sums.numerator, 0), sums.denominator
        if old is not None and observed is not None:
            # [2, eq. 10] A = c num / den + (1 - c) A_old, c the observed part of each coefficient.
            before = Reference(old, self.band, threads=self.task.threads).data
            part = np.clip(denominator / np.maximum(observed.denominator, 1e-12), 0, 1)
            bare = numerator / np.maximum(denominator, 1e-3 * max(float(denominator.mean()), 1e-30))
            return self.back(np.where(self.inside, part * bare + (1 - part) * before, 0))
        denominator = denominator + self.wiener(sums)[self.shell]
        if theta and common is not None:
            numerator = numerator + theta * np.where(self.inside, common, 0)
            denominator = denominator + theta * self.task.settings.classes
        return self.back(numerator / denominator)
