"""Slow twin of the expansion on shells: every coefficient and its mirror image, every (l, m) of either sign."""

import numpy as np

from reference.wigner import harmonic, orders


def hats(k, first, last):
    """h(|k| - r) (J, shells), h(x) = max(0, 1 - |x|)."""
    radii = np.linalg.norm(k, axis=1)
    return np.maximum(0, 1 - np.abs(radii[:, None] - np.arange(first, last + 1)))


def both_halves(k, coefficients):
    """The list and its mirror image: k (2J, 3), coefficients (2J,)."""
    return np.concatenate([k, -k]), np.concatenate([coefficients, np.conj(coefficients)])


def expand(k, coefficients, first, last, pairs):
    """sum over k of h(|k| - r) p(k) conj Y_lm(k / |k|): (pairs, shells) for the pairs (l, m) given."""
    k, coefficients = both_halves(k, coefficients)
    weighted = hats(k, first, last) * coefficients[:, None]
    return np.array([np.conj(harmonic(degree, m, k)) @ weighted for degree, m in pairs])


def signed(harmonics, band):
    """{(l, m): (shells,)} for m of either sign, from a list over m >= 0: a_{l,-m} = (-1)^(l + m) conj a_lm."""
    result = {}
    for (degree, m), values in zip(orders(band), harmonics, strict=True):
        result[degree, m] = np.asarray(values, complex)
        if m:
            result[degree, -m] = (-1) ** (degree + m) * np.conj(result[degree, m])
    return result


def evaluate(harmonics, band, first, last, k):
    """f(k) = sum_r h(|k| - r) sum_lm a_lm(r) Y_lm(k / |k|): the function (J,) that the list (orders, shells) means."""
    weights = hats(k, first, last)
    return sum(harmonic(degree, m, k) * (weights @ values) for (degree, m), values in signed(harmonics, band).items())


def of_real_volume(rng, band, shells, falling=0.3):
    """Random harmonics (orders, shells) complex64 as a real volume has them, smaller for higher l."""
    values = np.empty((len(orders(band)), shells), complex)
    for row, (degree, m) in zip(values, orders(band), strict=True):
        row[:] = (rng.standard_normal(shells) + 1j * rng.standard_normal(shells)) / (1 + falling * degree)
        if m == 0:
            row[:] = row.real * (1 if degree % 2 == 0 else 1j)
    return values.astype(np.complex64)
