"""Spherical-harmonic expansion: particles by the adjoint of sampling, references by quadrature."""

import numpy as np
import pytest

from concordet import _kernels
from concordet.correlation import Matcher, shift_grid
from concordet.errors import InputError
from concordet.fourier import HalfSpace, Reference
from reference import fourier as blobs
from reference import harmonics as slow
from reference.wigner import harmonic, orders

# box, shells, band limit: even and odd, one shell, up to the highest band, the least of everything, and a large shell
CASES = [(12, (1, 4), 6), (13, (2, 5), 5), (9, (1, 4), 3), (8, (3, 3), 4), (8, (1, 1), 1), (4, (1, 1), 2),
         (10, (2, 3), 12), (34, (13, 14), 3)]


def random_coefficients(rng, matcher, count=1):
    shape = (count, len(matcher.half))
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def size(values):
    return np.abs(values).max()


# Particles


@pytest.mark.parametrize(("box", "shells", "band"), CASES)
def test_expand_is_the_sum_over_all_of_fourier_space(rng, box, shells, band):
    matcher = Matcher(box, shells=shells, band_limit=band)
    coefficients = random_coefficients(rng, matcher, 3)
    found = matcher.expand(coefficients)
    assert found.shape == (3, 1, band * (band + 1) // 2, shells[1] - shells[0] + 1) and found.dtype == np.complex64
    for one, p in zip(found[:, 0], coefficients, strict=True):
        direct = slow.expand(matcher.half.indices, p, *shells, orders(band))
        np.testing.assert_allclose(one, direct, atol=3e-6 * max(1, size(direct)))


def test_orders_below_zero_follow_from_those_above(rng):
    """p_{l,-m} = (-1)^(l + m) conj p_lm, since p(-k) = conj p(k)."""
    matcher = Matcher(11, shells=(1, 4), band_limit=5)
    coefficients = random_coefficients(rng, matcher)
    pairs = [(degree, -m) for degree, m in orders(5)]
    direct = slow.expand(matcher.half.indices, coefficients[0], 1, 4, pairs)
    sign = np.array([(-1) ** (degree + m) for degree, m in pairs])
    np.testing.assert_allclose(sign[:, None] * np.conj(matcher.expand(coefficients)[0, 0]), direct, atol=1e-4)


@pytest.mark.parametrize(("box", "shells", "band"), CASES)
def test_expand_is_the_adjoint_of_evaluating(rng, box, shells, band):
    """<expand(p), a> over l, r and m of both signs = <p, f> over all k, f the function that a describes."""
    matcher = Matcher(box, shells=shells, band_limit=band)
    p = random_coefficients(rng, matcher)
    a = slow.of_real_volume(rng, band, matcher.shell_count)
    f = slow.evaluate(a, band, *shells, matcher.half.indices)
    np.testing.assert_allclose(slow.evaluate(a, band, *shells, -matcher.half.indices), np.conj(f), atol=1e-5)
    twice = np.array([1 if m == 0 else 2 for _, m in orders(band)])[:, None]
    there = (twice * (np.conj(a) * matcher.expand(p)[0, 0]).real).sum()
    back = 2 * (np.conj(f) * p[0]).real.sum()
    assert there == pytest.approx(back, abs=2e-6 * np.linalg.norm(p) * np.linalg.norm(f))


def test_every_coefficient_counts_once():
    """Hats add up to one: sum over r of p_00 sqrt(4 pi) is the number of coefficients between the shells."""
    matcher = Matcher(21, shells=(1, 10), band_limit=3)
    weights = matcher.expand_weights(np.ones(len(matcher.half)))[0]
    total = weights[0].real.sum() * np.sqrt(4 * np.pi)
    assert total == pytest.approx(len(blobs.ball(10)), rel=1e-5)
    # Every k has its mirror image: nothing odd.
    odd = np.array([degree % 2 == 1 for degree, _ in orders(3)])
    np.testing.assert_allclose(weights[odd], 0, atol=1e-6)


def test_white_noise_stays_white(rng):
    """E |p_lm(r)|^2 = s^2 sum h^2 |Y_lm|^2, which is s^2 sum h^2 / 4 pi in the mean over m, for every l and r."""
    box, band, shells, count = 13, 5, (1, 5), 400
    matcher = Matcher(box, shells=shells, band_limit=band)
    volumes = 2 * rng.standard_normal((count, box, box, box)).astype(np.float32)
    found = matcher.expand(np.stack([matcher.half.transform(volume) for volume in volumes]))[:, 0]
    power = (np.abs(found) ** 2).mean(axis=0)
    k = slow.both_halves(matcher.half.indices, np.zeros(len(matcher.half)))[0]
    squares = slow.hats(k, *shells) ** 2
    expected = np.array([4 * np.abs(harmonic(*pair, k)) ** 2 @ squares for pair in orders(band)])
    np.testing.assert_allclose(power, expected, rtol=6 * np.sqrt(2 / count))
    for degree in range(band):
        chosen = np.array([pair[0] == degree for pair in orders(band)])
        twice = np.array([1 if m == 0 else 2 for pair, m in orders(band) if pair == degree])
        mean = twice @ expected[chosen] / (2 * degree + 1)
        np.testing.assert_allclose(mean, squares.sum(axis=0) / np.pi, rtol=1e-9)


def test_coefficients_away_from_the_shells_do_not_enter(rng):
    matcher = Matcher(21, shells=(4, 6), band_limit=5)
    p = random_coefficients(rng, matcher)
    radii = matcher.half.radii
    assert radii.max() == 7
    changed = p.copy()
    changed[:, (radii <= 3) | (radii >= 7)] += 100
    assert matcher.expand(changed).tobytes() == matcher.expand(p).tobytes()
    only_between = np.where((radii > 4) & (radii < 5), p, 0)
    assert size(matcher.expand(only_between)[..., 2]) == 0
    assert size(matcher.expand(only_between)[..., 0]) > 0


def test_a_shell_does_not_depend_on_the_others(rng):
    """Nor on the band limit or the list's end."""
    wide, narrow = Matcher(21, shells=(1, 10), band_limit=7), Matcher(21, shells=(3, 5), band_limit=4)
    p = random_coefficients(rng, wide)
    found = narrow.expand(p[:, : len(narrow.half)])[0, 0]
    kept = [orders(7).index(pair) for pair in orders(4)]
    np.testing.assert_allclose(found, wide.expand(p)[0, 0][kept, 2:5], atol=2e-5)


@pytest.mark.parametrize("box", [12, 13])
def test_shifts_are_undone(rng, box):
    """expand takes a shift t back: a volume moved by t has there the harmonics of the one not moved."""
    shifts = np.array([[0.0, 0, 0], [2, 0, 0], [0, -3, 0], [1, 2, -2], [0.4, 0, -1.3]])
    matcher = Matcher(box, shells=(1, 4), band_limit=5, shifts=shifts)
    volume = rng.standard_normal((box, box, box)).astype(np.float32)
    still = matcher.expand(matcher.half.transform(volume)[None])[0, 0]
    for place, (x, y, z) in enumerate(shifts[:4].astype(int)):
        moved = np.roll(volume, (z, y, x), axis=(0, 1, 2))
        found = matcher.expand(matcher.half.transform(moved)[None])[0]
        np.testing.assert_allclose(found[place], still, atol=3e-5)
    p = random_coefficients(rng, matcher)
    phase = np.exp(2j * np.pi / box * (matcher.half.indices @ shifts[4]))
    np.testing.assert_allclose(matcher.expand(p)[0, 4], matcher.expand(p * phase)[0, 0], atol=3e-5)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("shifts", [1, 4, 7])
def test_any_number_of_particles_and_shifts_alone_or_together(rng, count, shifts):
    """Bit for bit, with any number of threads."""
    grid = shift_grid(2, 1)[:shifts]
    matcher = Matcher(12, shells=(1, 4), band_limit=6, shifts=grid, threads=1)
    p = random_coefficients(rng, matcher, count)
    found = matcher.expand(p)
    assert found.shape == (count, shifts, 21, 4)
    for one, together in zip(p, found, strict=True):
        assert matcher.expand(one[None]).tobytes() == together.tobytes()
    for threads in (2, 3, 8):
        other = Matcher(12, shells=(1, 4), band_limit=6, shifts=grid, threads=threads)
        assert other.expand(p).tobytes() == found.tobytes()


def test_no_particles_have_no_harmonics():
    matcher = Matcher(12, shells=(1, 4), band_limit=6, shifts=shift_grid(2, 1))
    nothing = np.zeros((0, len(matcher.half)), np.complex64)
    assert matcher.expand(nothing).shape == (0, 33, 21, 4)
    assert matcher.expand_weights(nothing.real).shape == (0, 21, 4)


def test_layout_and_precision_of_the_list_do_not_matter(rng):
    matcher = Matcher(12, shells=(1, 4), band_limit=6)
    p = random_coefficients(rng, matcher, 3)
    wide = np.repeat(p, 2, axis=1)
    for other in (p.astype(np.complex128), np.asfortranarray(p), wide[:, ::2], p[::-1][::-1]):
        assert matcher.expand(other).tobytes() == matcher.expand(p).tobytes()


def test_weights_are_expanded_without_shift(rng):
    matcher = Matcher(12, shells=(1, 4), band_limit=5, shifts=shift_grid(3, 1.5))
    p1 = rng.uniform(0, 1, (2, len(matcher.half))).astype(np.float32)
    found = matcher.expand_weights(p1)
    assert found.shape == (2, 15, 4)
    np.testing.assert_array_equal(found, matcher.expand(p1.astype(np.complex64))[:, 0])
    np.testing.assert_array_equal(matcher.expand_weights(p1[0]), found[:1])


# References


@pytest.mark.parametrize(("box", "shells", "band"), CASES)
def test_quadrature_returns_the_harmonics_of_what_they_make(rng, box, shells, band):
    matcher = Matcher(box, shells=shells, band_limit=band)
    a = slow.of_real_volume(rng, band, matcher.shell_count)
    points = matcher._quadrature[0]
    values = [slow.evaluate(a, band, *shells, sphere.reshape(-1, 3)).reshape(sphere.shape[:-1]) for sphere in points]
    np.testing.assert_allclose(matcher.expand_spheres(np.array(values)), a, atol=1e-6)


def test_quadrature_is_exact_to_band_64(rng):
    """One Y_lm at a time, of |m| up to 63, on the sphere."""
    matcher = Matcher(8, shells=(2, 2), band_limit=64)
    directions = matcher._quadrature[0][0] / 2
    around = np.arctan2(directions[..., 1], directions[..., 0])
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1, rtol=1e-14)
    at_zero = _harmonics_at(directions[:, 0])
    for degree, m in [(0, 0), (1, 1), (20, 7), (63, 0), (63, 1), (63, 40), (63, 63), (62, 62)]:
        place = orders(64).index((degree, m))
        found = matcher.expand_spheres((at_zero[:, place, None] * np.exp(1j * m * around))[None])[:, 0]
        np.testing.assert_allclose(found, np.eye(len(found))[place], atol=1e-6)


def _harmonics_at(directions):
    values = np.empty((len(directions), 64 * 65 // 2), complex)
    _kernels.spherical_harmonics(np.ascontiguousarray(directions), 64, values, 1)
    return values.real


@pytest.mark.parametrize("box", [24, 25])
def test_spheres_sample_the_transform_of_the_molecule(rng, box):
    molecule = blobs.molecule(rng, radius=3)
    matcher = Matcher(box, shells=(2, 8), band_limit=8)
    found = matcher.sample_spheres(Reference(blobs.blob_volume(molecule, box), 9))
    truth = blobs.blob_transform(molecule, matcher._quadrature[0], box)
    assert found.shape == truth.shape == (7, 16, 32)
    assert size(found - truth) < 0.015 * size(truth)
    assert np.linalg.norm(found - truth) < 0.01 * np.linalg.norm(truth)


def test_reference_and_its_square_over_the_noise(rng):
    box, band = 16, 6
    matcher = Matcher(box, shells=(2, 5), band_limit=band)
    reference = Reference(blobs.blob_volume(blobs.molecule(rng, radius=3), box))
    spheres = matcher.sample_spheres(reference).astype(complex)
    inverse_noise = np.array([1.0, 0.5, 4.0, 0.0])
    q0, q1 = matcher.expand_reference(reference, inverse_noise)
    ones0, ones1 = matcher.expand_reference(reference, np.ones(4))
    np.testing.assert_allclose(q0, ones0 * inverse_noise, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(q1, ones1 * inverse_noise, rtol=1e-6, atol=1e-7)
    # l = 0 of |A|^2 is its mean on the shell, sqrt(4 pi) times; |A|^2 is even.
    weights = np.polynomial.legendre.leggauss(spheres.shape[1])[1] / 2
    means = (np.abs(spheres) ** 2).mean(axis=-1) @ weights
    np.testing.assert_allclose(ones1[0], np.sqrt(4 * np.pi) * means, rtol=1e-5)
    odd = np.array([degree % 2 == 1 for degree, _ in orders(band)])
    assert size(ones1[odd]) < 1e-5 * size(ones1) and size(ones0[odd]) > 0.05 * size(ones0)


def test_reference_magnitudes_are_even_and_have_no_mean(rng):
    box, band = 16, 6
    matcher = Matcher(box, shells=(1, 5), band_limit=band)
    molecule = blobs.molecule(rng, radius=3)
    reference = Reference(blobs.blob_volume(molecule, box))
    q0, q1 = matcher.expand_reference(reference, np.ones(5), magnitude=True)
    assert size(q0[0]) < 1e-5 * size(q0)
    odd = np.array([degree % 2 == 1 for degree, _ in orders(band)])
    assert size(q0[odd]) < 1e-5 * size(q0)
    sizes = np.abs(matcher.sample_spheres(reference))
    weights = np.polynomial.legendre.leggauss(sizes.shape[1])[1] / 2
    variance = (sizes**2).mean(axis=-1) @ weights - (sizes.mean(axis=-1) @ weights) ** 2
    np.testing.assert_allclose(q1[0], np.sqrt(4 * np.pi) * variance, rtol=1e-3, atol=1e-4 * size(q1))


def test_particle_and_reference_harmonics_are_of_one_function(rng):
    """Where a function is smooth, the sum over coefficients near a shell is the integral over it: 4 pi r^2 a_lm(r)."""
    box, shells = 24, (5, 9)
    molecule = blobs.molecule(rng, radius=1)
    matcher = Matcher(box, shells=shells, band_limit=4)
    p = matcher.expand(blobs.blob_transform(molecule, matcher.half.indices, box)[None])[0, 0]
    q, _ = matcher.expand_reference(Reference(blobs.blob_volume(molecule, box)), np.ones(5))
    count = matcher.expand_weights(np.ones(len(matcher.half)))[0, 0].real * np.sqrt(4 * np.pi)
    error = p / count * 4 * np.pi - q
    assert size(error) < 0.05 * size(q)


# Refusals


@pytest.mark.parametrize(("call", "said"), [
    (lambda m, r: m.expand(np.zeros(len(m.half))), r"coefficients: expected shape \(m, \d+\), got \(\d+,\)"),
    (lambda m, r: m.expand(np.zeros((2, 5))), r"coefficients: expected shape \(m, \d+\), got \(2, 5\)"),
    (lambda m, r: m.expand_weights(np.zeros((2, 5))), r"coefficients: expected shape"),
    (lambda m, r: m.expand_reference(r, np.ones(3)), r"inverse noise: expected 4 values, one per shell, got \(3,\)"),
    (lambda m, r: m.expand_reference(r, 1.0), r"inverse noise: expected 4 values, one per shell, got \(\)"),
    (lambda m, r: m.sample_spheres(Reference(np.zeros((12, 12, 12)), 3)), "and a band of 4 shells, got 12 and 3"),
    (lambda m, r: m.sample_spheres(Reference(np.zeros((13, 13, 13)))), "expected a box of 12 voxels .* got 13 and 6"),
])
def test_refusals(call, said):
    with pytest.raises(InputError, match=said):
        call(Matcher(12, shells=(1, 4), band_limit=3), Reference(np.zeros((12, 12, 12))))


def test_the_kernel_refuses_what_does_not_fit():
    indices = HalfSpace(8, 3).indices
    for arguments, said in [
        ((indices[:, :2].copy(), 1, 3, 4, 1), r"indices must have shape \(J, 3\)"),
        ((indices, 0, 3, 4, 1), "shells: expected 1 <= first <= last, got 0 to 3"),
        ((indices, 3, 2, 4, 1), "got 3 to 2"),
        ((indices, 1, 3, 0, 1), "band limit: expected 1 to 128, got 0"),
        ((indices, 1, 3, 129, 1), "band limit: expected 1 to 128, got 129"),
        ((indices[::-1].copy(), 1, 3, 4, 1), "sorted by ceil"),
        ((np.zeros((1, 3), np.int32), 1, 3, 4, 1), "without k = 0"),
    ]:
        with pytest.raises(ValueError, match=said):
            _kernels.HarmonicsTable(*arguments)
    table, j = _kernels.HarmonicsTable(indices, 1, 3, 4, 1), len(indices)
    ones, out = np.ones((2, j), np.complex64), np.empty((2, 1, 10, 3), np.complex64)
    for coefficients, phases, harmonics, said in [
        (ones[:, 1:], ones[:1], out, "must have .* columns"),
        (np.asfortranarray(ones), ones[:1], out, "contiguous rows"),
        (ones, ones[:1, 1:], out, "must have .* columns"),
        (ones, ones, out, r"harmonics must have shape \(particles, shifts, orders, shells\)"),
        (ones, ones[:1], out[:, :, :9], r"harmonics must have shape"),
    ]:
        with pytest.raises(ValueError, match=said):
            table.expand(coefficients, phases, harmonics, 1)
