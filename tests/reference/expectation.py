"""Slow twins of expectation and maximisation: every share of every coefficient by itself, in double precision."""

import itertools

import numpy as np


def accumulate(indices, box, reach, items):
    """Numerator and denominator of items (p0, p1, rotation, shift, share) on the grid of a reference, [z, y, x >= 0].

    Each coefficient and its mate at -k are shared linearly by the 8 points around 2 R^T k, of all of Fourier space.
    """
    side = 2 * reach + 1
    num, den = np.zeros((side, side, side), complex), np.zeros((side, side, side))
    for p0, p1, rotation, shift, share in items:
        value = share * p0 * np.exp(2j * np.pi / box * (indices @ shift))
        for sign, values in ((1, value), (-1, value.conj())):
            at = 2 * sign * (indices @ rotation)
            low = np.floor(at).astype(int)
            for corner in itertools.product((0, 1), repeat=3):
                part = np.prod(1 - np.abs(at - low - corner), axis=1)
                x, y, z = (low + corner + reach).T
                np.add.at(num, (z, y, x), 8 * part * values)
                np.add.at(den, (z, y, x), 8 * part * share * p1)
    return num[:, :, reach:], den[:, :, reach:]


def shell_sums(projection, indices, box, shells, p0, p1, shift):
    """(shells, 2): Re(p0 e^{2 pi i k.t / n} conj A) and p1 |A|^2 summed over +-k of each shell."""
    sums = np.zeros((shells.max() + 1, 2))
    phase = np.exp(2j * np.pi / box * (indices @ shift))
    for j, shell in enumerate(shells):
        sums[shell] += 2 * (p0[j] * phase[j] * projection[j].conj()).real, 2 * p1[j] * abs(projection[j]) ** 2
    return sums
