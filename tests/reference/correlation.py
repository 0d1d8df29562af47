"""Slow twin of rotational matching: sums over l, m, m' of either sign; rotating and multiplying; peaks by all pairs."""

import numpy as np

from reference.harmonics import signed
from reference.wigner import d_matrix, rotation_y, rotation_z


def grid_angles(angles):
    """a and g (N,), b (N / 2,) of the grid of rotations, radians."""
    circle = (np.arange(angles) + 0.5) * 2 * np.pi / angles
    return circle, circle[: angles // 2]


def grid(angles):
    """All rotations (N / 2, N, N, 3, 3) over (b, g, a)."""
    circle, betas = grid_angles(angles)
    about_z, about_y = np.array([rotation_z(a) for a in circle]), np.array([rotation_y(b) for b in betas])
    return np.einsum("axy,byz,gzw->bgaxw", about_z, about_y, about_z)


def correlate(particle, reference, band, alpha, beta, gamma):
    """sum over l, m, m' of exp(i (m a + m' g)) d^l_mm'(b) sum_r p_lm(r) conj q_lm'(r) for one rotation.

    particle, reference   (orders, shells), m >= 0
    """
    p, q = signed(particle, band), signed(reference, band)
    total = 0
    for degree in range(band):
        m = np.arange(-degree, degree + 1)
        s = np.array([p[degree, i] for i in m]) @ np.array([q[degree, i] for i in m]).conj().T
        if not s.any():
            continue
        total += np.exp(1j * m * alpha) @ (d_matrix(degree, beta) * s) @ np.exp(1j * m * gamma)
    return total.real


def multiplied(k, p0, p1, reference, rotation, shift, box):
    """c0 = sum p0 exp(2 pi i k.t / n) conj A(R^T k) and c1^2 = sum p1 |A(R^T k)|^2, over the list and its mirror image.

    reference   function of k (J, 3)
    """
    values = reference(k @ rotation)
    phase = np.exp(2j * np.pi / box * (k @ np.asarray(shift)))
    return 2 * (p0 * phase * np.conj(values)).real.sum(), 2 * (p1 * np.abs(values) ** 2).sum()


def angle(a, b):
    """Degrees between rotations (..., 3, 3)."""
    cosine = ((np.asarray(a) * np.asarray(b)).sum(axis=(-2, -1)) - 1) / 2
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def local_maxima(scores):
    """Where no neighbour (26) on the grid (b, g, a) is higher; g and a are periodic, b is not."""
    padded = np.pad(scores, ((0, 0), (1, 1), (1, 1)), mode="wrap")
    padded = np.pad(padded, ((1, 1), (0, 0), (0, 0)), constant_values=-np.inf)
    b, g, a = scores.shape
    around = [padded[i : i + b, j : j + g, k : k + a] for i in range(3) for j in range(3) for k in range(3)]
    return scores >= np.max(around, axis=0)


def candidates(scores, rotations, separation, count):
    """Local maxima of scores (b, g, a), best first, none within `separation` degrees of a better one: places."""
    places = np.argwhere(local_maxima(scores))
    places = places[np.argsort(-scores[tuple(places.T)], kind="stable")]
    kept = []
    for place in map(tuple, places):
        if len(kept) == count:
            break
        if all(angle(rotations[place], rotations[other]) >= separation for other in kept):
            kept.append(place)
    return kept
