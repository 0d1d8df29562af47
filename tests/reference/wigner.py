"""Slow twins of Wigner's matrices and spherical harmonics: factorial sums in whole numbers, and exp(-i b J_y)."""

from fractions import Fraction
from functools import cache
from math import comb, factorial

import numpy as np


def rotation_y(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def rotation_z(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def rotation(a, b, g):
    """Rz(a) Ry(b) Rz(g)."""
    return rotation_z(a) @ rotation_y(b) @ rotation_z(g)


def exact_d(degree, m, m_prime, tangent):
    """d^l_mm'(b) where tan(b / 2) = tangent, a Fraction: Wigner's sum without rounding, one root at its end."""
    total = Fraction(0)
    for s in range(max(0, m_prime - m), min(degree + m_prime, degree - m) + 1):
        below = factorial(degree + m_prime - s) * factorial(s) * factorial(m - m_prime + s) * factorial(degree - m - s)
        total += (-1) ** (m - m_prime + s) * tangent ** (m - m_prime + 2 * s) / below
    above = factorial(degree + m) * factorial(degree - m) * factorial(degree + m_prime) * factorial(degree - m_prime)
    squared = total**2 * above / (1 + tangent**2) ** (2 * degree)
    return float(np.sign(total)) * float(squared) ** 0.5


@cache
def _eigen(degree):
    """Of J_y, rows m from -l to l."""
    m = np.arange(-degree, degree)
    raising = np.diag(np.sqrt(degree * (degree + 1) - m * (m + 1.0)), -1)    # <m + 1| J_+ |m>
    return np.linalg.eigh((raising - raising.T) / 2j)


def d_matrix(degree, beta):
    """exp(-i beta J_y) (2l + 1, 2l + 1), rows m and columns m' from -l to l, by the eigenvectors of J_y."""
    values, vectors = _eigen(degree)
    return ((vectors * np.exp(-1j * beta * values)) @ vectors.conj().T).real


def legendre(degree, m, cosine):
    """P_l^m with the phase of Condon and Shortley, from P_l(x) = 2^-l sum_k (-1)^k C(l, k) C(2l - 2k, l) x^(l - 2k)."""
    total = np.zeros_like(cosine)
    for k in range((degree - m) // 2 + 1):
        power = degree - 2 * k
        factor = (-1) ** k * comb(degree, k) * comb(2 * degree - 2 * k, degree) / 2**degree
        total += factor * (factorial(power) // factorial(power - m)) * cosine ** (power - m)
    return (-1) ** m * (1 - cosine**2) ** (m / 2) * total


def harmonic(degree, m, directions):
    """Y_lm (n,) of directions (n, 3) for any |m| <= l; good to l = 12, where the sum of powers begins to cancel."""
    if m < 0:
        return (-1) ** m * np.conj(harmonic(degree, -m, directions))
    x, y, z = (np.asarray(directions, float) / np.linalg.norm(directions, axis=1, keepdims=True)).T
    size = ((2 * degree + 1) / (4 * np.pi) * factorial(degree - m) / factorial(degree + m)) ** 0.5
    return size * legendre(degree, m, z) * np.exp(1j * m * np.arctan2(y, x))


def orders(band):
    """Pairs (l, m) in the order of the lists of harmonics: l = m ... band - 1 within m."""
    return [(degree, m) for m in range(band) for degree in range(m, band)]
