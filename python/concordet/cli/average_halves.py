"""--half-sets: averages of two halves of the particles, refined apart, put into one frame."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from concordet import evaluation, rigid
from concordet.averaging import Averager, Model, Posterior, Progress, Result, Settings
from concordet.cli.average_input import Loaded
from concordet.errors import InputError, RunError

# Classes whose matching is the best of all permutations; beyond it the best pairs are taken one after another.
_PERMUTED = 6


def joined(loaded: Loaded, mask: np.ndarray | None, settings: Settings, halves: Sequence[np.ndarray],
           found: Sequence[Result], threads: int) -> Result:
    """One result of two: the second half's classes and poses are brought to those of the first.

    halves   particles of each

    Each half map has seen its own half only, the second but for the one pose that carries it onto the first. They and
    the averages of all are of the best pose of every particle.
    """
    first, second = found
    matched, moves = matching(first.model.volumes, second.model.volumes, threads)
    count, classes = len(loaded.data), settings.classes
    rotations, shifts, labels = np.empty((count, 3, 3)), np.empty((count, 3)), np.empty(count, np.int64)
    posterior, entropy, likelihoods = np.empty((count, classes)), np.empty(count), np.empty(count)
    for result, chosen in zip(found, halves, strict=True):
        poses, own, chances = result.poses, result.classes, result.posterior
        if result is second:
            poses = rigid.compose(poses, moves[own].inverse())
            own, chances = matched[own], np.empty_like(chances)
            chances[:, matched] = second.posterior
        rotations[chosen], shifts[chosen], labels[chosen] = poses.rotations, poses.shifts, own
        posterior[chosen], entropy[chosen], likelihoods[chosen] = chances, result.entropy, result.log_likelihoods
    poses = rigid.Poses(rotations, shifts)
    once = replace(settings, poses="fixed", bands=(loaded.limit,), follow=False, folds=1)
    averager = Averager(loaded.data, once, mask=mask, initial=poses, threads=threads)
    start = replace(first.model, sigma2=(first.model.sigma2 + second.model.sigma2) / 2, band=loaded.limit)
    model = average(averager, poses, labels, np.arange(count), start)
    maps = np.stack([average(averager, poses, labels, chosen, start).volumes for chosen in halves], axis=1)
    return Result(model, maps, poses, labels, posterior, entropy, likelihoods, merged(first.history, second.history))


def average(averager: Averager, poses: rigid.Poses, labels: np.ndarray, chosen: np.ndarray, model: Model) -> Model:
    """Averages of the chosen particles in their poses and classes."""
    one = Posterior.empty(len(labels), averager.settings.classes, 1)
    one.rotations[:], one.shifts[:] = poses.rotations[:, None, None], poses.shifts[:, None, None]
    shares = np.zeros((len(labels), averager.settings.classes, 1))
    shares[chosen, labels[chosen]] = 1
    return averager.maximise(one, shares, model, 0)[0]


def matching(first: np.ndarray, second: np.ndarray, threads: int) -> tuple[np.ndarray, rigid.Poses]:
    """(K,) class of the first half for each class of the second, and the poses that carry these onto those."""
    count = len(first)
    try:
        table = [[evaluation.align(a, b, threads=threads) for b in second] for a in first]
    except InputError as error:
        raise RunError(f"--half-sets: a class is empty in one half ({error})") from None
    values = np.array([[one.correlation for one in row] for row in table])
    if count <= _PERMUTED:
        order = list(max(itertools.permutations(range(count)),
                         key=lambda places: sum(values[a, b] for b, a in enumerate(places))))
    else:
        order, left = [0] * count, values.copy()
        for _ in range(count):
            a, b = np.unravel_index(np.argmax(left), left.shape)
            order[b] = int(a)
            left[a], left[:, b] = -np.inf, -np.inf
    chosen = [table[a][b] for b, a in enumerate(order)]
    return np.array(order), rigid.Poses(np.stack([one.rotation for one in chosen]),
                                        np.stack([one.shift for one in chosen]))


def merged(first: Sequence[Progress], second: Sequence[Progress]) -> list[Progress]:
    """The iterations of both halves as one history: the longer one; likelihoods and occupancies added."""
    history = []
    for number in range(max(len(first), len(second))):
        a, b = (one[min(number, len(one) - 1)] for one in (first, second))
        seconds = {step: sum(one[number].seconds.get(step, 0.0) for one in (first, second) if number < len(one))
                   for step in (a.seconds | b.seconds)}
        history.append(replace(
            a, iteration=number, band=min(a.band, b.band), log_likelihood=a.log_likelihood + b.log_likelihood,
            occupancies=[x + y for x, y in zip(a.occupancies, b.occupancies, strict=True)],
            rotation_change=max(a.rotation_change, b.rotation_change),
            shift_change=max(a.shift_change, b.shift_change),
            effective_poses=(a.effective_poses + b.effective_poses) / 2, seconds=seconds))
    return history
