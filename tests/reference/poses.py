"""Slow twins of the pose kernels: every sum written out, in double precision."""

import numpy as np


def sample(data, at):
    """data (2 reach + 1, 2 reach + 1, reach + 1), [z + reach, y + reach, x], linearly interpolated at (J, 3) x, y, z.

    Values at x < 0 are conjugates of those at the opposite point.
    """
    reach = data.shape[2] - 1
    values = np.zeros(len(at), complex)
    for i, point in enumerate(at):
        mirrored = point[0] < 0
        x, y, z = -point if mirrored else point
        for corner in np.ndindex(2, 2, 2):
            place = np.floor([x, y, z]).astype(int) + corner
            weight = np.prod(1 - np.abs(place - [x, y, z]))
            values[i] += weight * data[place[2] + reach, place[1] + reach, place[0]]
        if mirrored:
            values[i] = values[i].conj()
    return values


def project(data, indices, rotation):
    """A(R^T k) on the transform padded twice."""
    return sample(data, 2 * indices @ rotation)


def likelihood(projection, indices, box, p0, p1, inverse_noise, shift, xi):
    phase = np.exp(2j * np.pi * indices @ shift / box)
    terms = (p0 * phase * projection.conj()).real - p1 * np.abs(projection) ** 2 / 2
    return float((2 * inverse_noise * terms).sum() - shift @ shift / (2 * xi**2))


def derivatives(function, at, step):
    """Gradient (3,) and Hessian (3, 3) by central differences."""
    steps = step * np.eye(3)
    gradient = np.array([function(at + s) - function(at - s) for s in steps]) / (2 * step)
    hessian = np.array([[function(at + a + b) - function(at + a - b) - function(at - a + b) + function(at - a - b)
                         for a in steps] for b in steps]) / (4 * step**2)
    return gradient, hessian


def voronoi_weights(samples, rotations, shifts, alpha, padding):
    """Weights of one particle's candidates; samples (rotations (M, 3, 3), points of the unit cube (M, 3))."""
    turns, points = samples
    low, high = shifts.min(axis=0) - padding, shifts.max(axis=0) + padding
    moves = low + (high - low) * points
    apart = np.eye(3) - np.swapaxes(rotations, 1, 2)[None] @ turns[:, None]
    squared = (apart**2).sum(axis=(2, 3)) + alpha * ((moves[:, None] - shifts) ** 2).sum(axis=2)
    hits = np.bincount(squared.argmin(axis=1), minlength=len(shifts))
    return (hits + 1) / (len(turns) + len(shifts))
