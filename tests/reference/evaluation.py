"""Slow twins of the evaluation of averages and poses: real space, all pairs, all permutations."""

from itertools import combinations, permutations

import numpy as np


def sampled(volume, points):
    """Trilinear values of `volume` (z, y, x) at points (..., 3), x, y, z voxels from n // 2; 0 outside."""
    at = points + np.array(volume.shape[::-1]) // 2
    low = np.floor(at).astype(int)
    values = np.zeros(points.shape[:-1])
    for corner in np.ndindex(2, 2, 2):
        where = low + corner
        share = np.prod(1 - np.abs(at - where), axis=-1)
        inside = ((where >= 0) & (where < volume.shape[::-1])).all(axis=-1)
        x, y, z = np.moveaxis(np.where(inside[..., None], where, 0), -1, 0)
        values += np.where(inside, share * volume[z, y, x], 0)
    return values


def positions(box):
    """(z, y, x, 3): x, y, z of every voxel from n // 2."""
    line = np.arange(box) - box // 2
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    return np.stack([x, y, z], axis=-1).astype(float)


def moved(volume, rotation, shift=(0.0, 0.0, 0.0)):
    """shift(t) . rotate(R) . volume."""
    return sampled(volume, (positions(len(volume)) - shift) @ rotation)


def symmetry_score(volume, fold):
    """Mean Pearson correlation of all pairs of copies turned about z."""
    copies = []
    for i in range(fold):
        angle = 2 * np.pi * (i + 0.5) / fold
        c, s = np.cos(angle), np.sin(angle)
        copies.append(moved(volume, np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])).ravel())
    return np.mean([np.corrcoef(a, b)[0, 1] for a, b in combinations(copies, 2)])


def best_matching(gain):
    """The largest sum of gain[i, j], each i and j once."""
    gain = gain if len(gain) <= gain.shape[1] else gain.T
    rows = np.arange(len(gain))
    return max(gain[rows, list(columns)].sum() for columns in permutations(range(gain.shape[1]), len(gain)))


def coverage(rotations, measured, directions):
    """Part of the particles for which measured(R u) is true, direction by direction."""
    return np.array([np.mean([measured(rotation @ direction) for rotation in rotations]) for direction in directions])


def pair_powers(particles, seen):
    """Sums over pairs i < j, per coefficient: Re X_i conj X_j, and how many pairs; (n, J) each."""
    cross, pairs = np.zeros(particles.shape[1]), np.zeros(particles.shape[1])
    for i, j in combinations(range(len(particles)), 2):
        both = seen[i] & seen[j]
        cross += np.where(both, (particles[i] * np.conj(particles[j])).real, 0)
        pairs += both
    return cross, pairs
