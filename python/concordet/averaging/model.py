"""What averaging works on and with: settings, statistics of particles, the model, posteriors, results."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from concordet import expectation, rigid
from concordet.errors import InputError
from concordet.fourier import HalfSpace

# Shells of each iteration, of a box whose Nyquist is not below; then as far as the averages of two halves agree.
BANDS = (6, 6, 6, 8, 8, 10, 10, 12, 12, 15)
SEARCH_SHELLS = 9
# Of the grid of shifts, in parts of the box: n / (2 SEARCH_SHELLS), a little less so that lattice points lie at 7 of
# 64 voxels, the default reach: 33 points instead of 27.
SHIFT_SPACING = 3.5 / 64
# Candidates further than this below the best at the search band, in nats, have no share.
FAR = 40.0
# Shares below this do not reach the sums: they cost as much as any.
SMALL = 1e-4
# Of the Wiener term sigma^2 / S, on the twice padded grid.
WIENER = 0.25
# A direction covered less than this, as a part of the mean, says that poses pile up in one orientation of the wedge:
# GroEL turned about the tilt axis falls to 0.00-0.05 where poses are as good otherwise; random orientations keep 0.76.
UNEVEN = 0.5
LEVELLED = 6
# Directions of Fourier space whose coverage is looked at.
DIRECTIONS = 60
LEAST_XI = 0.5  # voxels
LEAST_SHARE = 1e-6  # of a class
# Of the mean number of particles in a class: one with fewer is started again, while the band rises.
REVIVED = 0.25


_CHOICES = {"search": ("grid", "magnitude"), "weights": ("voronoi", "uniform"), "cells": ("so3", "euler"),
            "poses": ("search", "fixed", "local")}


@dataclass(frozen=True)
class Settings:
    """What an averaging run does; see `average`.

    classes          K
    iterations       at most
    soft             FAML: all candidates by their posterior; else FA: the one of highest likelihood
    search           "grid": exact correlation over a grid of shifts; "magnitude": of |p0| with |A|
    weights          shares v of candidates: "voronoi", "uniform"
    samples          random poses of the Voronoi cells;   cells  "so3" or "euler": how they are drawn
    alpha_trd        of a squared voxel in the cells' distance; None: 3 / r^2, r the radius of gyration of the mask
    folds            parts of the particles that do not see themselves in their reference; 1: all see all
    bands            shells of each iteration, the last one for all that follow; None: Nyquist
    follow           after the bands, as far as the two halves' FSC is above 0.143
    mask_radius      voxels; None: no mask.   mask_edge  voxels
    max_shift        voxels
    candidates       of each particle and class at most;   refined  of them, continuously
    level            multiply the data term by clip(E_mean / E(R), 0.4, 4), E the observed power of the reference, and
                     refine `LEVELLED` candidates: True, False, or None: of a class from when a direction of its Fourier
                     space is covered less than half as well as the mean on
    theta            of the similarity of classes, falling by 10 % an iteration
    symmetry         name of the group, "C1"
    fill_in          missing data from the old average [2, eq. 10], no Wiener term
    rotate           start from random rotations; else from none
    one_noise        one sigma^2 for all shells, starting as in [2, 2.4]
    poses            "search", "fixed" or "local": within angular_range degrees and max_shift voxels of the file's
    seed
    """

    classes: int = 1
    iterations: int = 20
    soft: bool = True
    search: str = "grid"
    weights: str = "voronoi"
    samples: int = 10000
    cells: str = "so3"
    alpha_trd: float | None = None
    folds: int = 5
    bands: tuple[int, ...] | None = BANDS
    follow: bool = True
    mask_radius: float | None = None
    mask_edge: float = 3.0
    max_shift: float = 7.0
    candidates: int = 50
    refined: int = 1
    level: bool | None = None
    theta: float = 0.0
    symmetry: str = "C1"
    fill_in: bool = False
    rotate: bool = True
    one_noise: bool = False
    poses: str = "search"
    angular_range: float = 15.0
    seed: int = 0

    @classmethod
    def paper(cls, **changes) -> Settings:
        """The algorithm as printed."""
        return cls(search="magnitude", cells="euler", alpha_trd=1.0, folds=1, bands=None, follow=False, refined=0,
                   fill_in=True, rotate=False, one_noise=True, **changes)


class Particles:
    """The statistics of particles that the iterations need, all in memory.

    half           list of coefficients
    p0             (N, J) complex64;   p1 (W, J) float32, weight_index (N,) its row
    power, counts  (N, shells): sum of |p0|^2 / p1 and number of coefficients where p1 > 0
    """

    def __init__(self, half: HalfSpace, p0: np.ndarray, p1: np.ndarray, weight_index: np.ndarray | None = None):
        self.half, self.p0, self.p1 = half, p0, np.atleast_2d(p1)
        self.weight_index = np.zeros(len(p0), np.int64) if weight_index is None else np.asarray(weight_index, np.int64)
        self.power, self.counts = expectation.shell_power(half, p0, self.p1, self.weight_index)

    def __len__(self) -> int:
        return len(self.p0)


@dataclass
class Model:
    """What an iteration starts from.

    volumes     (K, n, n, n) float32, averages of all particles
    references  (K, F, n, n, n) float32: of all but one fold each; the averages themselves where F is 1
    sigma2      (shells,), index |k|;   xi  voxels;   alpha  (K,)
    band        shells compared
    levelled    (K,) bool, whether the class's data term is levelled
    """

    volumes: np.ndarray
    references: np.ndarray
    sigma2: np.ndarray
    xi: float
    alpha: np.ndarray
    band: int
    levelled: np.ndarray


@dataclass
class Posterior:
    """Candidates of every particle and class, and what they explain.

    rotations (N, K, C, 3, 3), shifts (N, K, C, 3), ll and norms (N, K, C), shares v (N, K, C); meant (N, K, C) bool
    """

    rotations: np.ndarray
    shifts: np.ndarray
    ll: np.ndarray
    norms: np.ndarray
    shares: np.ndarray
    meant: np.ndarray

    @classmethod
    def empty(cls, count: int, classes: int, most: int) -> Posterior:
        shape = (count, classes, most)
        rotations = np.broadcast_to(np.eye(3), (*shape, 3, 3)).copy()
        return cls(rotations, np.zeros((*shape, 3)), np.full(shape, -np.inf), np.ones(shape), np.zeros(shape),
                   np.zeros(shape, bool))

    def logarithms(self, alpha: np.ndarray) -> np.ndarray:
        """(N, K, C) log alpha_k v ll, -inf where not meant."""
        with np.errstate(divide="ignore"):
            logs = np.log(alpha)[:, None] + np.log(self.shares) + self.ll
        return np.where(self.meant, logs, -np.inf)


@dataclass
class Progress:
    """One iteration, for the record: figures of what it did."""

    iteration: int
    band: int
    log_likelihood: float
    occupancies: list[float]
    xi: float
    rotation_change: float
    shift_change: float
    effective_poses: float
    resolution_shell: list[float | None]
    coverage: list[float]
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass
class Result:
    """Averages (K, n, n, n), half averages (K, 2, n, n, n), and the best pose, class and posterior of each particle."""

    model: Model
    halves: np.ndarray
    poses: rigid.Poses
    classes: np.ndarray
    posterior: np.ndarray
    entropy: np.ndarray
    log_likelihoods: np.ndarray
    history: list[Progress]


def soft(posterior: Posterior, alpha: np.ndarray) -> np.ndarray:
    """FAML: P(k, phi | i) (N, K, C), by log-sum-exp in double precision [2, eq. 14]."""
    logs = posterior.logarithms(alpha)
    highest = logs.max(axis=(1, 2), keepdims=True)
    shares = np.exp(logs - np.where(np.isfinite(highest), highest, 0))
    return shares / np.maximum(shares.sum(axis=(1, 2), keepdims=True), 1e-300)


def hard(posterior: Posterior, alpha: np.ndarray) -> np.ndarray:
    """FA: 1 for the candidate of highest likelihood, 0 for all others (N, K, C)."""
    flat = np.where(posterior.meant, posterior.ll, -np.inf).reshape(len(posterior.ll), -1)
    shares = np.zeros_like(flat)
    shares[np.arange(len(flat)), flat.argmax(axis=1)] = 1
    return shares.reshape(posterior.ll.shape) * posterior.meant


class Timer:
    """CPU seconds per step of an iteration."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str):
        began = time.process_time()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.process_time() - began


@dataclass
class Task:
    """One set of particles and all that stays the same while it is averaged.

    mask         (n, n, n) float32, 0 to 1, or None;   mask_share  mean of its square
    initial      poses in the particles' file
    fold         (N,) the part of each particle: it sees the average of the other parts
    group        (order, 3, 3) symmetry of the averages
    """

    particles: Particles
    settings: Settings
    mask: np.ndarray | None
    initial: rigid.Poses | None
    threads: int
    timer: Timer = field(default_factory=Timer)

    def __post_init__(self):
        settings, count = self.settings, len(self.particles)
        if count < 1 or settings.classes < 1:
            raise InputError(f"averaging: expected particles and a class at least, got {count} and {settings.classes}")
        for name, known in _CHOICES.items():
            if (value := getattr(settings, name)) not in known:
                raise InputError(f"{name}: expected {' or '.join(known)}, got {value}")
        if settings.poses != "search":
            len(self.given)
        self.group = rigid.symmetry_group(settings.symmetry)
        self.fold_count = max(1, min(settings.folds, count))
        self.fold = np.arange(count) % self.fold_count
        np.random.default_rng([settings.seed, 0]).shuffle(self.fold)
        self.mask_share = 1.0 if self.mask is None else float(np.mean(np.square(self.mask, dtype=np.float64)))

    @property
    def given(self) -> rigid.Poses:
        """The poses of the file, which "fixed" and "local" need."""
        if self.initial is None:
            raise InputError(f"--poses {self.settings.poses}: expected poses in the particles' file, got none")
        return self.initial

    @property
    def box(self) -> int:
        return self.particles.half.box

    def band(self, iteration: int) -> int:
        """Shells compared in an iteration, before any FSC has spoken."""
        bands, top = self.settings.bands, self.particles.half.band
        return top if bands is None else min(bands[min(iteration, len(bands) - 1)], top)

    def masked(self, volume: np.ndarray) -> np.ndarray:
        return volume if self.mask is None else volume * self.mask


def best_poses(posterior: Posterior, shares: np.ndarray) -> rigid.Poses:
    """The pose of the largest share of every particle."""
    flat = shares.reshape(len(shares), -1).argmax(axis=1)
    k, c = np.divmod(flat, shares.shape[2])
    rows = np.arange(len(shares))
    return rigid.Poses(posterior.rotations[rows, k, c], posterior.shifts[rows, k, c])
