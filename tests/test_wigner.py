"""Wigner's rotation matrices and spherical harmonics to band limit 64."""

from fractions import Fraction

import numpy as np
import pytest

from concordet import _kernels
from concordet.correlation import spherical_harmonics, wigner_d
from concordet.errors import InputError
from reference import wigner as slow

BAND = 64
ANGLES = [1e-7, 0.3, 1.2, np.pi / 2, 2.9, np.pi - 1e-7]
SOME = (0, 1, 2, 9, 32, 62, 63)


def degree_of(matrices, degree):
    """The matrix (2l + 1, 2l + 1) of one l out of (l, m, m')."""
    middle = matrices.shape[-1] // 2
    inside = slice(middle - degree, middle + degree + 1)
    return matrices[..., degree, inside, inside]


def signs(degree):
    """(-1)^(l - m) for m = -l ... l."""
    return (-1.0) ** np.arange(2 * degree, -1, -1)


@pytest.fixture(scope="module")
def matrices():
    return wigner_d(ANGLES, BAND)


# Matrices d


@pytest.mark.parametrize("tangent", [Fraction(1, 1000), Fraction(1, 7), Fraction(1), Fraction(5, 3), Fraction(400)])
def test_d_is_the_factorial_sum(rng, tangent):
    """In whole numbers, so that nothing cancels: all of l <= 4, and places at random up to l = 63."""
    matrices = wigner_d(2 * np.arctan(float(tangent)), BAND)[0]
    places = [(degree, m, q) for degree in range(5) for m, q in np.ndindex(2 * degree + 1, 2 * degree + 1)]
    for degree in (9, 20, 40, 62, 63):
        low, middle, high = 0, degree, 2 * degree
        places += [(degree, *rng.integers(0, high + 1, 2).tolist()) for _ in range(15)]
        places += [(degree, m, q) for m in (low, middle, high) for q in (low, middle, middle + 1, high - 1, high)]
    for degree, row, column in places:
        m, q = row - degree, column - degree
        exact = slow.exact_d(degree, m, q, tangent)
        assert matrices[degree, m + 63, q + 63] == pytest.approx(exact, abs=1e-12), (degree, m, q)


@pytest.mark.parametrize("degree", [0, 1, 2, 17, 32, 63])
def test_d_is_the_exponential_of_j_y(matrices, degree):
    for matrix, angle in list(zip(matrices, ANGLES, strict=True))[:: 1 if degree < 40 else 2]:
        np.testing.assert_allclose(degree_of(matrix, degree), slow.d_matrix(degree, angle), atol=1e-11)


def test_degree_one_is_the_rotation_of_vectors():
    c, s, r = np.cos(0.7), np.sin(0.7), np.sqrt(0.5)
    expected = [[(1 + c) / 2, r * s, (1 - c) / 2], [-r * s, c, r * s], [(1 - c) / 2, -r * s, (1 + c) / 2]]
    np.testing.assert_allclose(degree_of(wigner_d(0.7, 2)[0], 1), expected, atol=1e-15)


def test_no_rotation_and_half_a_turn():
    none, half = wigner_d([0.0, np.pi], BAND)
    for degree in range(BAND):
        np.testing.assert_allclose(degree_of(none, degree), np.eye(2 * degree + 1), atol=1e-13)
        np.testing.assert_allclose(degree_of(half, degree), np.diag(signs(degree))[::-1], atol=1e-12)


def test_matrices_are_unitary(matrices):
    for degree in SOME:
        d = degree_of(matrices, degree)
        unit = np.broadcast_to(np.eye(2 * degree + 1), d.shape)
        np.testing.assert_allclose(d @ d.transpose(0, 2, 1), unit, atol=1e-11)


def test_rows_and_columns_have_unit_length(matrices):
    """sum over m of d^2 = 1 = sum over m' of d^2, for every l < 64 and |m'|, |m| <= l."""
    m = np.abs(np.arange(1 - BAND, BAND))
    expected = np.broadcast_to((m <= np.arange(BAND)[:, None]).astype(float), (len(ANGLES), BAND, 2 * BAND - 1))
    for axes in ("blmq,blmq->blm", "blmq,blmq->blq"):
        np.testing.assert_allclose(np.einsum(axes, matrices, matrices), expected, atol=1e-11)


def test_rotations_about_one_axis_add(rng):
    for first, second in [(0.2, 0.9), (1.4, 1.7)]:
        a, b, both = wigner_d([first, second, first + second], BAND)
        for degree in SOME:
            np.testing.assert_allclose(degree_of(a, degree) @ degree_of(b, degree), degree_of(both, degree), atol=1e-11)


def test_symmetries(matrices):
    """d_mm' = (-1)^(m - m') d_m'm = d_-m',-m; d(-b) is the transpose; d(pi - b) is mirrored."""
    back = wigner_d([-angle for angle in ANGLES], BAND)
    supplement = wigner_d([np.pi - angle for angle in ANGLES], BAND)
    for degree in SOME:
        d, alternate = degree_of(matrices, degree), np.outer(signs(degree), signs(degree))
        np.testing.assert_allclose(d, alternate * d.transpose(0, 2, 1), atol=1e-12)
        np.testing.assert_allclose(d, d[:, ::-1, ::-1].transpose(0, 2, 1), atol=1e-12)
        np.testing.assert_allclose(degree_of(back, degree), d.transpose(0, 2, 1), atol=1e-12)
        np.testing.assert_allclose(degree_of(supplement, degree), signs(degree)[:, None] * d[:, :, ::-1], atol=1e-11)


def test_zero_outside_the_degree(matrices):
    m = np.abs(np.arange(1 - BAND, BAND))
    for degree in range(BAND):
        outside = (m[:, None] > degree) | (m > degree)
        assert not matrices[:, degree, outside].any()


def test_matrices_are_orthogonal_over_angles():
    """Integral of d^l_mm' d^k_mm' sin b db = 2 / (2l + 1) where l = k; Gauss-Legendre with 32 nodes is exact."""
    band = 32
    nodes, weights = np.polynomial.legendre.leggauss(band)
    values = wigner_d(np.arccos(nodes), band)
    for m, q in [(0, 0), (1, 0), (1, 1), (1, -1), (5, 2), (-7, 12), (30, 0), (30, -30), (29, 28), (31, 1), (31, -31)]:
        column = values[:, :, m + band - 1, q + band - 1]
        gram = (column.T * weights) @ column
        expected = np.diag(2 / (2 * np.arange(band) + 1.0))
        expected[: max(abs(m), abs(q))] = 0
        np.testing.assert_allclose(gram, expected, atol=1e-12)


@pytest.mark.parametrize("band", [1, 2, 3, 10])
def test_a_lower_band_has_the_same_values(matrices, band):
    found = wigner_d(ANGLES, band)
    assert found.shape == (len(ANGLES), band, 2 * band - 1, 2 * band - 1)
    inside = slice(BAND - band, BAND + band - 1)
    np.testing.assert_array_equal(found, matrices[:, :band, inside, inside])


# Spherical harmonics


def at_degree(values, degree, band):
    """All 2l + 1 harmonics (n, m = -l ... l) out of those with m >= 0."""
    known = {pair: place for place, pair in enumerate(slow.orders(band))}
    above = np.stack([values[:, known[degree, m]] for m in range(degree + 1)], axis=1)
    below = np.conj(above[:, :0:-1]) * (-1.0) ** np.arange(degree, 0, -1)
    return np.concatenate([below, above], axis=1)


def test_harmonics_are_the_textbook_formula(rng):
    directions = rng.standard_normal((40, 3))
    values = spherical_harmonics(directions, 12)
    for (degree, m), column in zip(slow.orders(12), values.T, strict=True):
        np.testing.assert_allclose(column, slow.harmonic(degree, m, directions), atol=1e-10)


def test_the_first_harmonics_by_hand(rng):
    v = rng.standard_normal((20, 3))
    x, y, z = (v / np.linalg.norm(v, axis=1, keepdims=True)).T
    values = dict(zip(slow.orders(3), spherical_harmonics(v, 3).T, strict=True))
    for (degree, m), expected in {(0, 0): np.sqrt(1 / (4 * np.pi)) + 0 * z, (1, 0): np.sqrt(3 / (4 * np.pi)) * z,
                             (1, 1): -np.sqrt(3 / (8 * np.pi)) * (x + 1j * y),
                             (2, 1): -np.sqrt(15 / (8 * np.pi)) * z * (x + 1j * y),
                             (2, 2): np.sqrt(15 / (32 * np.pi)) * (x + 1j * y) ** 2}.items():
        np.testing.assert_allclose(values[degree, m], expected, atol=1e-14)


def test_harmonics_are_a_column_of_the_rotation_matrices(matrices):
    """Y_lm(b, a) = sqrt((2l + 1) / 4 pi) exp(i m a) d^l_m0(b), to l = 63."""
    degree, m = np.array(slow.orders(BAND)).T
    for angle, matrix in zip(ANGLES, matrices, strict=True):
        direction = [np.sin(angle) * np.cos(0.8), np.sin(angle) * np.sin(0.8), np.cos(angle)]
        expected = np.sqrt((2 * degree + 1) / (4 * np.pi)) * np.exp(0.8j * m) * matrix[degree, m + 63, 63]
        np.testing.assert_allclose(spherical_harmonics([direction], BAND)[0], expected, atol=1e-11)


def test_harmonics_are_orthonormal_to_band_64():
    """Exactly so under Gauss-Legendre in cos(theta); around, exp(i m phi) are orthogonal over even steps."""
    cosines, weights = np.polynomial.legendre.leggauss(BAND)
    sines = np.sqrt(1 - cosines**2)
    values = spherical_harmonics(np.stack([sines, 0 * sines, cosines], axis=1), BAND)
    order = np.array(slow.orders(BAND))[:, 1]
    for m in range(BAND):
        part = values[:, order == m]
        assert not part.imag.any()
        gram = 2 * np.pi * (part.real.T * weights) @ part.real
        np.testing.assert_allclose(gram, np.eye(BAND - m), atol=1e-12)
    turned = spherical_harmonics(np.stack([sines * np.cos(2.1), sines * np.sin(2.1), cosines], axis=1), BAND)
    np.testing.assert_allclose(turned, values * np.exp(2.1j * order), atol=1e-12)


def test_addition_theorem(rng):
    """sum_m Y_lm(u) conj Y_lm(v) = (2l + 1) / 4 pi P_l(u.v), to l = 63."""
    u, v = rng.standard_normal((2, 6, 3))
    cosines = (u * v).sum(axis=1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
    left, right = spherical_harmonics(u, BAND), spherical_harmonics(v, BAND)
    for degree in range(BAND):
        total = (at_degree(left, degree, BAND) * np.conj(at_degree(right, degree, BAND))).sum(axis=1)
        expected = (2 * degree + 1) / (4 * np.pi) * np.polynomial.legendre.legval(cosines, np.eye(degree + 1)[degree])
        np.testing.assert_allclose(total, expected, atol=1e-11)


def test_rotating_takes_harmonics_to_sums_with_d(rng):
    """Y_lm'(R^T v) = sum_m exp(-i m a) d^l_mm'(b) exp(-i m' g) Y_lm(v), R = Rz(a) Ry(b) Rz(g): column vectors."""
    a, b, g = 0.4, 1.1, -2.3
    directions = rng.standard_normal((8, 3))
    before = spherical_harmonics(directions, BAND)
    after = spherical_harmonics(directions @ slow.rotation(a, b, g), BAND)
    matrices = wigner_d(b, BAND)[0]
    for degree in SOME:
        m = np.arange(-degree, degree + 1)
        rotation = np.exp(-1j * a * m)[:, None] * degree_of(matrices, degree) * np.exp(-1j * g * m)
        expected = at_degree(before, degree, BAND) @ rotation
        np.testing.assert_allclose(at_degree(after, degree, BAND), expected, atol=1e-11)


def test_poles_lengths_and_near_misses():
    poles = spherical_harmonics([[0, 0, 1.0], [0, 0, -1.0], [0, 0, 1e-20], [1e-30, 0, 1]], BAND)
    degree, m = np.array(slow.orders(BAND)).T
    along = np.where(m == 0, np.sqrt((2 * degree + 1) / (4 * np.pi)), 0)
    np.testing.assert_allclose(poles, [along, along * (-1.0) ** degree, along, along], atol=1e-13)
    v = np.array([[0.3, -0.2, 0.9]])
    np.testing.assert_allclose(spherical_harmonics(1e6 * v, BAND), spherical_harmonics(v, BAND), atol=1e-12)
    mirrored = (-1.0) ** degree * spherical_harmonics(v, BAND)
    np.testing.assert_allclose(spherical_harmonics(-v, BAND), mirrored, atol=1e-12)


def test_threads_give_the_same_bits(rng):
    directions = rng.standard_normal((31, 3))
    for threads in (2, 3, 8):
        assert wigner_d(ANGLES, 20, threads).tobytes() == wigner_d(ANGLES, 20, 1).tobytes()
        many, one = (spherical_harmonics(directions, 20, count) for count in (threads, 1))
        assert many.tobytes() == one.tobytes()


def test_refusals():
    with pytest.raises(InputError, match="band limit: expected at least 1, got 0"):
        wigner_d(0.1, 0)
    with pytest.raises(ValueError, match=r"matrices must have shape \(betas, band, 2 band - 1, 2 band - 1\)"):
        _kernels.wigner_d(np.zeros(2), np.zeros((2, 3, 5, 4)), 1)
    with pytest.raises(ValueError, match=r"directions must have shape \(n, 3\)"):
        spherical_harmonics(np.zeros((4, 2)), 3)
    with pytest.raises(ValueError, match=r"values must have shape"):
        _kernels.spherical_harmonics(np.ones((2, 3)), 3, np.zeros((2, 5), complex), 1)
