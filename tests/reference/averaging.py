"""Slow twins of averaging: every share, residual and density by itself, in double precision or better.

Items are (p0, p1, rotation, shift, share), one per candidate of a particle, as in `reference.expectation`.
"""

from decimal import Decimal

import numpy as np

from reference import expectation, fourier


def posterior(ll, shares, alpha, meant):
    """P(k, phi | i) (K, C) of one particle: alpha_k v e^ll over the sum of all, in numbers that do not overflow."""
    terms = [[Decimal(float(a)) * Decimal(float(v)) * Decimal(float(x)).exp() if there else Decimal(0)
              for x, v, there in zip(*row, strict=True)] for a, *row in zip(alpha, ll, shares, meant, strict=True)]
    total = sum(sum(row) for row in terms)
    return np.array([[float(term / total) for term in row] for row in terms])


def log_density(x, gain, indices, box, components, sigma2, xi):
    """log p of a particle's observed coefficients x (J,) = gain A e^{-2 pi i k.t / n} + noise of E|.|^2 = sigma2 (J,).

    components   of the mixture: (weight, A(R^T k) (J,), t); t has the density of a normal of deviation xi on each axis
    """
    density = Decimal(0)
    for weight, projection, shift in components:
        left = x - gain * projection * np.exp(-2j * np.pi / box * (indices @ shift))
        exponent = -(np.abs(left) ** 2 / sigma2 + np.log(np.pi * sigma2)).sum()
        exponent -= shift @ shift / (2 * xi**2) + 3 / 2 * np.log(2 * np.pi * xi**2)
        density += Decimal(float(weight)) * Decimal(float(exponent)).exp()
    return float(density.ln())


def grid(band):
    """|k| (2 reach + 1, 2 reach + 1, reach + 1) of the points of padded sums, in steps of the particles' box."""
    reach = 2 * band + 2
    z, y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1, : reach + 1]
    return np.sqrt(x**2 + y**2 + z**2) / 2


def within(values, band):
    """Zero beyond the band."""
    return np.where(grid(band) <= band, values, 0)


def back(spectrum, box, mask):
    """The volume of a spectrum on the grid, less what linear interpolation between its points adds, under the mask."""
    volume = fourier.corrected(fourier.volume_of(spectrum, box))
    return volume if mask is None else volume * mask


def sums(indices, box, band, items):
    """num, den of the coefficients within the band."""
    inside = np.linalg.norm(indices, axis=1) <= band
    cut = [(p0[inside], p1[inside], *pose) for p0, p1, *pose in items]
    return expectation.accumulate(indices[inside], box, 2 * band + 2, cut)


def averages(classes, indices, box, band, terms, mask=None, theta=0.0):
    """A_k = (num_k + theta sum_l A_l) / (den_k + term_k + theta K), A_l those of theta = 0.

    classes   items of each class
    terms     (K, band + 1) 0.25 f sigma^2 / S of each shell
    """
    every = [sums(indices, box, band, items) for items in classes]
    shells = np.minimum(np.rint(grid(band)).astype(int), band)
    damped = [(within(num, band), den + term[shells]) for (num, den), term in zip(every, terms, strict=True)]
    common = sum(num / den for num, den in damped)
    return [back((num + theta * common) / (den + theta * len(classes)), box, mask) for num, den in damped]


def filled_in(items, old, indices, box, band, mask=None):
    """A = c num / den + (1 - c) A_old, c = sum P R^-1 p1 / sum P R^-1 1 [2, eq. 10]; A_old on the padded grid."""
    num, den = sums(indices, box, band, items)
    everywhere = [(p0, np.ones_like(p1), *pose) for p0, p1, *pose in items]
    seen = np.divide(den, whole := sums(indices, box, band, everywhere)[1], out=np.zeros_like(den), where=whole > 1e-9)
    reach = 2 * band + 2
    z, y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1, : reach + 1]
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3) / 2
    before = fourier.transform(fourier.corrected(np.asarray(old, float)), points).reshape(num.shape)
    ratio = num / np.maximum(den, 1e-3 * den.mean())
    return back(within(seen * ratio + (1 - seen) * before, band), box, mask)


def noise(classes, volumes, indices, box, shells):
    """sigma^2 (shells,): sum P p1 |p0 / p1 - e^{-2 pi i k.t / n} A(R^T k)|^2 / sum P, each shell, where p1 > 0."""
    left, seen = np.zeros((2, shells.max() + 1))
    for items, volume in zip(classes, volumes, strict=True):
        for p0, p1, rotation, shift, share in items:
            a = fourier.project(volume, indices, rotation) * np.exp(-2j * np.pi / box * (indices @ shift))
            for j in np.flatnonzero(p1 > 0):
                left[shells[j]] += share * p1[j] * abs(p0[j] / p1[j] - a[j]) ** 2
                seen[shells[j]] += share
    return left / np.maximum(seen, 1)


def spread(classes):
    """xi: root of sum P |t|^2 / 3 / sum P."""
    items = [item for items in classes for item in items]
    return np.sqrt(sum(share * shift @ shift for *_, shift, share in items) / 3 / sum(share for *_, share in items))
