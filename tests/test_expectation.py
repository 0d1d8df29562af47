"""Sums over particles: their definition, the transpose of projection, maps that come back, one answer anywhere."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from concordet import _kernels, expectation, poses, rigid
from concordet.errors import InputError
from concordet.expectation import Sums, shell_power, shell_sums
from concordet.fourier import HalfSpace, Reference, volume_of
from reference import expectation as slow
from reference import fourier as slow_fourier
from reference import poses as slow_poses

QUARTER = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])


def problem(box, items=9, seed=3, particles=4):
    """Noise at random poses; among them those whose coefficients lie on the points of the grid, on x = 0 too."""
    rng = np.random.default_rng(seed)
    half = HalfSpace(box)
    rotations = rigid.random_rotations(items, rng)
    special = np.stack([np.eye(3), np.diag([-1.0, -1, 1]), QUARTER, [[0, 0, 1], [1, 0, 0], [0, 1, 0]]])
    rotations[: len(special)] = special[:items]
    p0 = rng.standard_normal((particles, len(half), 2)) @ [1, 1j]
    return SimpleNamespace(
        half=half, p0=p0.astype(np.complex64), p1=rng.uniform(0, 1, (particles, len(half))).astype(np.float32),
        particles=np.sort(rng.integers(0, particles, items)), rotations=rotations,
        shifts=rng.uniform(-3, 3, (items, 3)), shares=rng.uniform(0.1, 1, items))


def added(given, *, chosen=slice(None), **options):
    sums = Sums(given.half.box, options.get("band") or given.half.band)
    sums.add(given.half, given.p0, given.p1, given.particles[chosen], given.rotations[chosen], given.shifts[chosen],
             given.shares[chosen], **options)
    return sums


def bits(sums):
    return sums.numerator.tobytes() + sums.denominator.tobytes()


def assert_close(found, expected, tolerance=1e-5):
    for name in ("numerator", "denominator"):
        a, b = getattr(found, name), getattr(expected, name)
        np.testing.assert_allclose(a, b, atol=tolerance * np.abs(b).max(), err_msg=name)


# Accumulation


@pytest.mark.parametrize("box", [4, 5, 8, 13])
def test_sums_are_the_shares_of_every_coefficient(box):
    given = problem(box)
    found, half = added(given), given.half
    items = zip(given.p0[given.particles], given.p1[given.particles], given.rotations, given.shifts, given.shares,
                strict=True)
    num, den = slow.accumulate(half.indices, box, found.reach, items)
    assert found.numerator.shape == num.shape == Reference(np.zeros((box,) * 3)).data.shape
    # At whole points a rounding of 1e-7 chooses other neighbours, with weights of that size.
    np.testing.assert_allclose(found.numerator, num, atol=1e-5 * np.abs(num).max())
    np.testing.assert_allclose(found.denominator, den, atol=1e-5 * den.max())


@pytest.mark.parametrize(("box", "band"), [(17, 5), (24, 11), (33, 16)])
def test_adding_is_the_transpose_of_projecting(box, band, rng):
    """<project(A), p0> == <A, accumulate(p0)>; sums over all of space count x > 0 twice, the finer grid 8 times."""
    given = problem(box, items=12)
    sums, count = added(given, band=band), given.half.count(band)
    a = (rng.standard_normal((*sums.numerator.shape, 2)) @ [1, 1j]).astype(np.complex64)
    a[:, :, 0] += a[::-1, ::-1, 0].conj()
    reference = Reference(np.zeros((box,) * 3), band)
    reference.data = a
    k = given.half.indices[:count]
    moved = given.p0[given.particles, :count] * np.exp(2j * np.pi / box * (given.shifts @ k.T))
    projections = reference.project(k, given.rotations).astype(complex)
    there = 2 * (given.shares[:, None] * moved * projections.conj()).real
    twice = np.where(np.arange(sums.reach + 1) == 0, 1, 2) / 8
    back = (twice * (sums.numerator.astype(complex) * a.conj()).real).sum()
    assert back == pytest.approx(there.sum(), abs=1e-5 * np.abs(there).sum())
    seen = 2 * (given.shares[:, None] * given.p1[given.particles, :count]).sum()
    assert (twice * sums.denominator).sum(dtype=float) == pytest.approx(seen, rel=1e-5)


@pytest.mark.parametrize("box", [12, 13])
def test_the_plane_of_both_halves_is_folded(box):
    sums = added(problem(box))
    num, den = sums.numerator[:, :, 0], sums.denominator[:, :, 0]
    np.testing.assert_array_equal(num, num[::-1, ::-1].conj())
    np.testing.assert_array_equal(den, den[::-1, ::-1])
    assert (sums.denominator >= 0).all()
    assert not sums.numerator[sums.denominator == 0].any()


def test_the_denominator_counts_observations(rng):
    """300 particles seen everywhere: 300 inside the band, within what linear shares spread."""
    half = HalfSpace(16)
    sums = Sums(16, half.band)
    sums.add(half, np.zeros((1, len(half))), np.ones(len(half)), np.zeros(300), rigid.random_rotations(300, rng),
             np.zeros((300, 3)), np.ones(300))
    z, y, x = np.mgrid[-sums.reach : sums.reach + 1, -sums.reach : sums.reach + 1, : sums.reach + 1]
    radius = np.sqrt(x**2 + y**2 + z**2) / 2
    assert sums.denominator[(radius > 2) & (radius < half.band - 1)].mean() == pytest.approx(300, rel=0.02)
    assert not sums.denominator[radius > half.band + 1].any()


def seen_through(kind, half, rng, count):
    """(p1, what p0 is times X) of particles under turned wedges: binary, CTF raw, CTF premultiplied."""
    kx, ky, kz = half.indices.T
    wedges = np.stack([np.abs(kz) <= 1.2 * np.abs(kx * np.cos(a) + ky * np.sin(a))
                       for a in rng.uniform(0, np.pi, count)]).astype(np.float32)
    defocus = rng.uniform(0.02, 0.05, (count, 1))
    ctf = wedges * np.cos(defocus * half.radii**2 + 0.3)
    if kind == "binary":
        return wedges, wedges
    if kind == "CTF":
        return ctf**2, ctf * ctf
    strength = 7 * ctf**2 + 3 * wedges * np.sin(defocus * half.radii) ** 2
    return strength, strength


@pytest.mark.parametrize("box", [24, 25])
@pytest.mark.parametrize("kind", ["binary", "CTF", "premultiplied"])
def test_noise_free_particles_give_the_map_back(box, kind, rng):
    blobs, half = slow_fourier.molecule(rng, radius=box / 7), HalfSpace(box)
    rotations, shifts = rigid.random_rotations(60, rng), rng.uniform(-2, 2, (60, 3))
    x = np.stack([slow_fourier.blob_transform(slow_fourier.moved(blobs, r, t), half.indices, box)
                  for r, t in zip(rotations, shifts, strict=True)])
    p1, gain = seen_through(kind, half, rng, 60)
    sums = Sums(box, half.band)
    sums.add(half, gain * x, p1, np.arange(60), rotations, shifts, np.full(60, 0.7))
    volume = volume_of(sums.numerator / (sums.denominator + 1e-3 * sums.denominator.max()), box)
    found, truth = half.transform(volume), slow_fourier.blob_transform(blobs, half.indices, box)
    cross = (found * truth.conj()).real
    assert cross.sum() / np.sqrt((np.abs(found) ** 2).sum() * (np.abs(truth) ** 2).sum()) > 0.99
    # Beyond, the molecule has less than interpolation leaves: 1 % of the largest coefficients.
    for shell in range(2, 3 * half.band // 4 + 1):
        chosen = half.shells == shell
        size = np.sqrt((np.abs(found[chosen]) ** 2).sum() * (np.abs(truth[chosen]) ** 2).sum())
        assert cross[chosen].sum() / size > 0.98
        assert np.sqrt((np.abs(found[chosen]) ** 2).sum() / (np.abs(truth[chosen]) ** 2).sum()) == pytest.approx(
            1, abs=0.08)


def test_threads_give_the_same_bits():
    """More items than are laid out at once."""
    given = problem(21, items=300)
    one = bits(added(given, threads=1))
    for threads in (2, 3, 7):
        assert bits(added(given, threads=threads)) == one


def test_the_order_of_items_changes_only_rounding(rng):
    given = problem(16, items=40)
    assert_close(added(given, chosen=rng.permutation(40)), added(given), 1e-6)


def test_sums_add_and_subtract():
    given = problem(16, items=12)
    whole, parts = added(given), [added(given, chosen=slice(first, None, 3)) for first in range(3)]
    assert_close(parts[0] + parts[1] + parts[2], whole, 1e-6)
    assert_close(whole - parts[1], parts[0] + parts[2], 1e-6)
    left = whole - whole
    assert not left.numerator.any() and not left.denominator.any()
    rest = (parts[0] + parts[1]) - whole
    assert (rest.denominator >= 0).all()
    # One call after another is the sum too.
    again = added(given, chosen=slice(0, None, 3))
    for first in (1, 2):
        chosen = slice(first, None, 3)
        again.add(given.half, given.p0, given.p1, given.particles[chosen], given.rotations[chosen],
                  given.shifts[chosen], given.shares[chosen])
    assert_close(again, whole, 1e-6)


def test_a_symmetry_is_all_of_its_poses():
    given, group = problem(13), rigid.symmetry_group("D3")
    expected = Sums(13, 6)
    for element in group:
        expected.add(given.half, given.p0, given.p1, given.particles, given.rotations @ element, given.shifts,
                     given.shares / len(group))
    assert_close(added(given, symmetry=group), expected, 1e-6)
    # The 2-fold about z maps the grid onto itself: (x, y, z) to (-x, -y, z), the conjugate of (x, y, -z).
    twofold = added(given, symmetry=rigid.symmetry_group("C2"))
    for values, other in ((twofold.numerator, twofold.numerator[::-1].conj()),
                          (twofold.denominator, twofold.denominator[::-1])):
        np.testing.assert_allclose(values, other, atol=1e-5 * np.abs(values).max())


def test_no_items_one_item_and_shares_of_nothing():
    given = problem(12)
    empty = Sums(12, 5)
    empty.add(given.half, given.p0, given.p1, [], np.zeros((0, 3, 3)), np.zeros((0, 3)), [])
    assert bits(empty) == bits(Sums(12, 5))
    one = added(given, chosen=slice(4, 5))
    assert one.denominator.any()
    given.shares[:] = np.where(np.arange(9) == 4, given.shares, 0)
    assert bits(added(given)) == bits(one)
    assert shell_sums(Reference(np.zeros((12,) * 3)), given.half, given.p0, given.p1, [], np.zeros((0, 3, 3)),
                      np.zeros((0, 3))).shape == (0, 6, 2)


@pytest.mark.parametrize("band", [1, 4])
def test_a_lower_band_is_that_of_a_shorter_list(band):
    given = problem(12)
    low = HalfSpace(12, band)
    found = added(given, band=band)
    given.half, given.p0, given.p1 = low, given.p0[:, : len(low)], given.p1[:, : len(low)]
    assert bits(added(given)) == bits(found)
    # In wider sums, the same values in the middle.
    wide = Sums(12, 5)
    wide.add(low, given.p0, given.p1, given.particles, given.rotations, given.shifts, given.shares)
    cut = wide.reach - found.reach
    np.testing.assert_allclose(wide.numerator[cut:-cut, cut:-cut, :-cut], found.numerator, atol=1e-5)


def test_one_row_of_weights_serves_all():
    given = problem(12)
    given.p1 = given.p1[0]
    one = added(given)
    given.p1 = np.tile(given.p1, (4, 1))
    assert bits(added(given)) == bits(one)
    assert bits(added(given, weight_index=np.zeros(9))) == bits(one)


# Residuals per shell


@pytest.fixture
def compared():
    given = problem(15)
    given.references = [Reference(np.random.default_rng(i).standard_normal((15,) * 3)) for i in (1, 2)]
    given.reference_index = np.arange(9) % 2
    return given


def terms(given, **options):
    return shell_sums(given.references, given.half, given.p0, given.p1, given.particles, given.rotations, given.shifts,
                      reference_index=given.reference_index, **options)


@pytest.mark.parametrize("band", [3, None])
def test_shells_hold_the_terms_of_their_coefficients(compared, band):
    half = compared.half
    found, count = terms(compared, band=band), half.count(band or half.band)
    assert found.shape == (9, (band or half.band) + 1, 2) and found.dtype == np.float64
    for i, particle in enumerate(compared.particles):
        a = slow_poses.project(compared.references[i % 2].data, half.indices[:count], compared.rotations[i])
        direct = slow.shell_sums(a, half.indices[:count], 15, half.shells[:count], compared.p0[particle],
                                 compared.p1[particle], compared.shifts[i])
        np.testing.assert_allclose(found[i], direct, atol=1e-5 * direct[:, 1].max())


def test_shells_add_up_to_the_likelihood_and_its_norm(compared):
    sums, noise = terms(compared), np.linspace(0.5, 2, 8)
    scored = poses.score(compared.references, compared.half, compared.p0, compared.p1, noise[compared.half.shells],
                         compared.particles, compared.rotations, compared.shifts, xi=np.inf, max_shift=9, newton=0,
                         reference_index=compared.reference_index)
    norms = sums[:, :, 1] @ noise
    np.testing.assert_allclose(norms, scored.norms, rtol=1e-5)
    np.testing.assert_allclose(sums[:, :, 0] @ noise - norms / 2, scored.likelihoods, atol=1e-5 * norms.max())


def test_power_and_terms_make_the_residual(compared):
    """power - 2 cross + square = sum p1 |p0 / p1 - e^{-2 pi i k.t / n} A(R^T k)|^2 where p1 > 0."""
    half, p1 = compared.half, compared.p1
    p1[p1 < 0.3] = 0
    compared.p0[p1 == 0] = 0
    power, counts = shell_power(half, compared.p0, p1)
    assert power.shape == counts.shape == (4, half.band + 1)
    np.testing.assert_array_equal(counts.sum(axis=1), 2 * (p1 > 0).sum(axis=1))
    sums = terms(compared)
    for i, particle in enumerate(compared.particles):
        a = slow_poses.project(compared.references[i % 2].data, half.indices, compared.rotations[i])
        model = a * np.exp(-2j * np.pi / 15 * (half.indices @ compared.shifts[i]))
        seen = p1[particle] > 0
        left = p1[particle, seen] * np.abs(compared.p0[particle, seen] / p1[particle, seen] - model[seen]) ** 2
        expected = 2 * np.bincount(half.shells[seen], left, half.band + 1)
        found = power[particle] - 2 * sums[i, :, 0] + sums[i, :, 1]
        np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())


def test_power_with_shared_weights(compared):
    half, p1 = compared.half, compared.p1[:1]
    shared = shell_power(half, compared.p0, p1)
    for other in (shell_power(half, compared.p0, np.tile(p1, (4, 1))),
                  shell_power(half, compared.p0, compared.p1, np.zeros(4))):
        np.testing.assert_array_equal(shared, other)


def test_threads_give_the_same_terms(compared):
    for threads in (2, 3):
        assert terms(compared, threads=threads).tobytes() == terms(compared, threads=1).tobytes()


# Machines, refusals


PROGRAM = "import sys, numpy, test_expectation as t; numpy.savez(sys.argv[1], *t.everything())"


def everything():
    """Sums, denominators and terms: 61 items of 21 voxels, cubes of coefficients full and cut."""
    given = problem(21, items=61)
    sums = added(given)
    given.references = [Reference(np.random.default_rng(1).standard_normal((21,) * 3))]
    given.reference_index = np.zeros(61)
    return sums.numerator, sums.denominator, terms(given), volume_of(sums.numerator, 21)


@pytest.mark.parametrize("name", ["baseline", "avx2", "avx512"])
def test_every_instruction_set_gives_the_same(tmp_path, name):
    if name not in _kernels.available_instruction_sets():
        pytest.skip(f"{name} is not to be had on this machine")
    subprocess.run([sys.executable, "-c", PROGRAM, tmp_path / "found.npz"], check=True, timeout=120,
                   env={**os.environ, "CONCORDET_ISA": name, "PYTHONPATH": os.pathsep.join(sys.path)})
    found = np.load(tmp_path / "found.npz")
    for values, here in zip(found.values(), everything(), strict=True):
        np.testing.assert_allclose(values, here, atol=1e-5 * np.abs(here).max())


def test_refusals():
    given = problem(12)
    half = given.half
    good = {"half": half, "p0": given.p0, "p1": given.p1, "particles": given.particles, "rotations": given.rotations,
            "shifts": given.shifts}
    turned = given.rotations[:8]
    for change, message in [
        ({"p0": given.p0[:, :9]}, "p0: expected rows of at least"),
        ({"p1": np.ones((2, 2, 2))}, "p1: expected rows of at least"),
        ({"p1": given.p1[:2]}, "weights: expected 9 indices below 2"),
        ({"particles": np.full(9, 4)}, "particles: expected 9 indices below 4"),
        ({"particles": np.full(9, -1)}, "particles: expected 9 indices"),
        ({"rotations": turned}, r"expected rotations \(9, 3, 3\)"),
        ({"rotations": 1.1 * given.rotations}, "expected orthonormal rotations"),
        ({"shifts": np.full((9, 3), np.nan)}, "finite shifts"),
        ({"weight_index": [0]}, "weights: expected 9 indices"),
    ]:
        with pytest.raises(InputError, match=message):
            Sums(12, 5).add(**{**good, **change}, shares=given.shares)
        with pytest.raises(InputError, match=message):
            shell_sums(Reference(np.zeros((12,) * 3)), **{**good, **change})
    for change, message in [
        ({"shares": given.shares[:3]}, "shares: expected 9 finite values"),
        ({"shares": -given.shares}, "shares: expected 9 finite values of 0 or more"),
        ({"shares": given.shares * np.nan}, "shares: expected 9 finite values"),
        ({"half": HalfSpace(13)}, "sums: expected particles of 12 voxels and at most 5 shells, got 13"),
        ({"band": 6}, "at most 5 shells, got 12 and 6"),
        ({"band": 0}, "band: expected 1 to 5"),
        ({"symmetry": np.eye(3)}, "symmetry: expected orthonormal rotations"),
        ({"symmetry": 2 * np.eye(3)[None]}, "symmetry: expected orthonormal rotations"),
    ]:
        with pytest.raises(InputError, match=message):
            Sums(12, 5).add(**{**good, "shares": given.shares, **change})
    for references, message in [
        ([], "references: expected one at least"),
        (Reference(np.zeros((12,) * 3), 4), "a band of 5 at least, got 12 and 4"),
        (Reference(np.zeros((13,) * 3)), "expected a box of 12 voxels"),
    ]:
        with pytest.raises(InputError, match=message):
            shell_sums(references, **good)
    with pytest.raises(InputError, match="references: expected 9 indices below 1"):
        shell_sums(Reference(np.zeros((12,) * 3)), **good, reference_index=np.ones(9))
    for make in (lambda: Sums(12, 6), lambda: Sums(12, 0), lambda: Sums(3, 1)):
        with pytest.raises(InputError, match="band: expected 1 to"):
            make()
    for combine in (Sums.__add__, Sums.__sub__):
        with pytest.raises(InputError, match="expected a box of 12 voxels and a band of 5, got 12 and 4"):
            combine(Sums(12, 5), Sums(12, 4))


def test_the_kernels_refuse_what_they_would_write_beyond():
    given, index = problem(12), np.zeros(1, np.int64)
    sums = Sums(12, 4)
    one = (index, index, np.eye(3)[None], np.zeros((1, 3)))
    data = (given.half.indices, 12, given.p0, given.p1)
    numerator, denominator = Sums(12, 5).numerator, Sums(12, 5).denominator
    for arguments, message in [
        ((*data, *one, np.ones(1), sums.numerator, sums.denominator), "the reference reaches to"),
        ((*data, *one, np.ones(1), numerator, sums.denominator), "one shape"),
        ((*data, *one, np.ones(2), numerator, denominator), "all arrays of items"),
        ((*data, *one, -np.ones(1), numerator, denominator), "share 0 must be finite and not negative"),
        ((*data, index + 4, *one[1:], np.ones(1), numerator, denominator), "particle 4 is not one of 4"),
        ((*data, index, index - 1, *one[2:], np.ones(1), numerator, denominator), "weight -1 is not one of 4"),
        ((*data, *one[:2], 2 * one[2], one[3], np.ones(1), numerator, denominator), "not orthonormal"),
        ((data[0], 12, given.p0[:, :7], given.p1, *one, np.ones(1), numerator, denominator), "must have at least"),
    ]:
        with pytest.raises(ValueError, match=message):
            _kernels.accumulate(*arguments, 1)
    reference, shells, out = Reference(np.zeros((12,) * 3)).data, given.half.shells, np.zeros((1, 6, 2))
    for arguments, message in [
        (([reference], *data, *one[:2], index + 1, *one[2:], shells, out), "reference 1 is not one of 1"),
        (([reference], *data, *one[:2], index, *one[2:], shells, out[:, :5].copy()), "shell 5 is not one of 5"),
        (([reference], *data, *one[:2], index, *one[2:], shells[:3].copy(), out), "shells must have at least"),
        (([reference], *data, *one[:2], index, *one[2:], shells, np.zeros((2, 6, 2))), "all arrays of items"),
    ]:
        with pytest.raises(ValueError, match=message):
            _kernels.shell_sums(*arguments, 1)
    assert not numerator.any() and expectation.PADDING == 2
