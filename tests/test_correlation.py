"""Fast rotational matching: the correlation on SO(3), its peaks, and what a search finds."""

import numpy as np
import pytest

from concordet import _kernels
from concordet.correlation import Candidates, Matcher, band_limit, remove_shell_means, shift_grid
from concordet.errors import InputError
from concordet.fourier import HalfSpace, Reference
from concordet.rigid import geodesic, random_rotations
from reference import correlation as slow
from reference import fourier as blobs
from reference import harmonics
from reference.wigner import orders

# Half a step in each angle: the two turns about z add up where b is small, the one about y is across.
NEAREST = np.sqrt(1 + 1 / 4)


def wedge(half, limit=60.0):
    """Weights (J,) of a tilt series of +-limit degrees about y."""
    kx, _, kz = np.abs(half.indices.T)
    return (kz <= np.tan(np.radians(limit)) * kx).astype(np.float32)


class Scene:
    """A molecule, its reference, and particles of it."""

    def __init__(self, rng, box=32, **options):
        self.box, self.molecule = box, blobs.molecule(rng, radius=8)
        self.matcher = Matcher(box, **({"shells": (1, 9), "band_limit": 16, "angles": 32} | options))
        self.half = self.matcher.half
        self.reference = Reference(blobs.blob_volume(self.molecule, box), self.half.band)
        self.noise = np.full(self.matcher.shell_count, 4.0)
        self.q0, self.q1 = (q[None] for q in self.matcher.expand_reference(self.reference, self.noise))

    def particle(self, rotation, shift=(0.0, 0.0, 0.0)):
        """Coefficients (J,) of the molecule, rotated and shifted, without noise."""
        return blobs.blob_transform(blobs.moved(self.molecule, rotation, shift), self.half.indices, self.box)

    def search(self, p0, p1, **options):
        particles, weights = self.matcher.expand(np.atleast_2d(p0)), self.matcher.expand_weights(p1)
        return self.matcher.search(particles, weights, self.q0, self.q1, **options)


@pytest.fixture(scope="module")
def scene():
    return Scene(np.random.default_rng(5), shifts=shift_grid(3, 1.5))


def random_input(rng, matcher, particles, weights=1, references=1):
    """Harmonics of nothing in particular, as real volumes have them: particles, weights, references, squares."""
    shells, band, shifts = matcher.shell_count, matcher.band_limit, len(matcher.shifts)
    some = [harmonics.of_real_volume(rng, band, shells) for _ in range(particles * shifts + weights + 2 * references)]
    p = np.array(some[: particles * shifts], np.complex64).reshape(particles, shifts, -1, shells)
    rest = np.array(some[particles * shifts :])
    w, q0, q1 = rest[:weights], rest[weights : weights + references], rest[weights + references :]
    # Means large enough for c1^2 > 0 at every rotation.
    w[:, 0], q1[:, 0] = 12 * band, 12 * band
    return p, w, q0, q1


# The correlation


@pytest.mark.parametrize(("band", "shells", "angles"), [(1, 1, 16), (2, 3, 16), (3, 1, 32), (4, 2, 16), (7, 2, 48)])
def test_correlate_is_the_sum_over_harmonics(rng, band, shells, angles):
    """In all quarters of the circle, at the first and the last b; band limits odd and even, one shell or more."""
    matcher = Matcher(12, shells=(1, shells), band_limit=band, angles=angles)
    p, q = (harmonics.of_real_volume(rng, band, shells) for _ in range(2))
    found = matcher.correlate(p, q)
    assert found.shape == (angles // 2, angles, angles) and found.dtype == np.float32
    circle, betas = slow.grid_angles(angles)
    size = float(np.linalg.norm(p) * np.linalg.norm(q))
    places = [(b, g, a) for b in {0, 3, angles // 4, angles // 2 - 1} for g in (0, angles // 4, angles - 1)
              for a in (1, angles // 2 - 1, angles // 2, angles - 2)]
    places += list(zip(*(rng.integers(n, size=20) for n in found.shape), strict=True))
    for b, g, a in places:
        direct = slow.correlate(p, q, band, circle[a], betas[b], circle[g])
        assert found[b, g, a] == pytest.approx(direct, abs=1e-5 * size)


def test_correlate_on_the_whole_of_a_small_grid(rng):
    matcher = Matcher(12, shells=(1, 2), band_limit=3, angles=16)
    p, q = (harmonics.of_real_volume(rng, 3, 2) for _ in range(2))
    circle, betas = slow.grid_angles(16)
    direct = np.array([[[slow.correlate(p, q, 3, a, b, g) for a in circle] for g in circle[::5]] for b in betas])
    np.testing.assert_allclose(matcher.correlate(p, q)[:, ::5], direct, atol=1e-4)


def test_correlate_at_band_limit_64(rng):
    """For seven degrees in one, lest the twin diagonalise all 64."""
    matcher = Matcher(12, shells=(2, 3), band_limit=64, angles=16)
    p, q = (harmonics.of_real_volume(rng, 64, 2, falling=0.02) for _ in range(2))
    p[[degree not in (0, 1, 14, 30, 47, 62, 63) for degree, _ in orders(64)]] = 0
    found = matcher.correlate(p, q)
    circle, betas = slow.grid_angles(16)
    size = float(np.linalg.norm(p) * np.linalg.norm(q))
    for b, g, a in [(0, 3, 11), (5, 8, 5)]:
        direct = slow.correlate(p, q, 64, circle[a], betas[b], circle[g])
        assert found[b, g, a] == pytest.approx(direct, abs=1e-5 * size)


@pytest.mark.parametrize(("box", "shells", "band"), [(12, (1, 4), 6), (13, (2, 5), 5), (9, (1, 4), 3), (8, (1, 1), 2)])
def test_correlate_is_rotating_and_multiplying(rng, box, shells, band):
    """Exactly so for a reference that is made of harmonics on shells, with hats in between."""
    matcher = Matcher(box, shells=shells, band_limit=band, angles=16)
    a = harmonics.of_real_volume(rng, band, matcher.shell_count)
    p0 = rng.standard_normal((1, len(matcher.half), 2)) @ [1, 1j]
    found = matcher.correlate(matcher.expand(p0)[0, 0], a)
    rotations, k = slow.grid(16), matcher.half.indices
    for place in zip(*(rng.integers(n, size=8) for n in found.shape), strict=True):
        direct, power = slow.multiplied(k, p0[0], np.ones(len(k)),
                                        lambda at: harmonics.evaluate(a, band, *shells, at), rotations[place],
                                        (0, 0, 0), box)
        assert found[place] == pytest.approx(direct, abs=1e-6 * np.linalg.norm(p0) * np.sqrt(power) + 1e-6)


@pytest.mark.parametrize("box", [32, 33])
def test_a_molecule_converges_with_the_band_limit(rng, box):
    """To a few per cent: what is left is the interpolation between shells and in the reference."""
    shift, molecule = np.array([1.0, -2.0, 0.5]), blobs.molecule(rng, radius=5)
    reference = Reference(blobs.blob_volume(molecule, box), 9)
    rotations, turn = slow.grid(16), random_rotations(1, rng)[0]
    places = list(zip(*(rng.integers(n, size=40) for n in (8, 16, 16)), strict=True))
    errors = []
    for band in (2, 4, 10):
        matcher = Matcher(box, shells=(1, 8), band_limit=band, angles=16, shifts=shift)
        k, inside = matcher.half.indices, matcher.half.radii < 8
        p0 = inside * blobs.blob_transform(blobs.moved(molecule, turn, shift), k, box)
        p1 = inside * wedge(matcher.half)
        p0 = p0 * p1
        q0, q1 = matcher.expand_reference(reference, np.ones(8))
        found0 = matcher.correlate(matcher.expand(p0[None])[0, 0], q0)
        found1 = matcher.correlate(matcher.expand_weights(p1)[0], q1)
        direct = np.array([slow.multiplied(k, p0, p1, lambda at: blobs.blob_transform(molecule, at, box), rotations[i],
                                           shift, box) for i in places])
        found = np.array([[found0[i], found1[i]] for i in places])
        errors.append(np.std(found - direct, axis=0) / np.linalg.norm(direct, axis=0) * np.sqrt(len(places)))
    assert errors[0][0] > 5 * errors[2][0] and errors[1][0] > errors[2][0]
    assert errors[2][0] < 0.03 and errors[2][1] < 0.03


def test_rotating_both_changes_nothing_and_one_turns_the_map(rng):
    """A quarter turn about z maps the lattice and the grid onto themselves: of the particle a moves, of the other g."""
    molecule, box = blobs.molecule(rng, radius=4), 24
    matcher = Matcher(box, shells=(1, 8), band_limit=8, angles=16)
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])

    def both(particle, reference):
        p0 = blobs.blob_transform(particle, matcher.half.indices, box)
        q0, _ = matcher.expand_reference(Reference(blobs.blob_volume(reference, box), 9), np.ones(8))
        return matcher.correlate(matcher.expand(p0[None])[0, 0], q0)

    turned, still = blobs.moved(molecule, quarter), both(molecule, molecule)
    scale = np.abs(still).max()
    np.testing.assert_allclose(both(turned, molecule), np.roll(still, 4, axis=2), atol=1e-5 * scale)
    # R' quarter = R: g of R is g of R' and a quarter more.
    np.testing.assert_allclose(both(molecule, turned), np.roll(still, -4, axis=1), atol=1e-4 * scale)


# What a search finds


def test_grid_angles_and_the_rotations_of_candidates(rng):
    """R = Rz(a) Ry(b) Rz(g) with a, g = (i + 1/2) step: the best candidate is the highest point of the map."""
    matcher = Matcher(12, shells=(1, 2), band_limit=5, angles=32)
    p, w, q0, q1 = random_input(rng, matcher, 4)
    found = matcher.search(p, w, q0, np.zeros_like(q1))
    rotations = slow.grid(32)
    for i in range(4):
        scores = matcher.correlate(p[i, 0], q0[0])
        place = np.unravel_index(scores.argmax(), scores.shape)
        np.testing.assert_allclose(found.rotations[i, 0], rotations[place], atol=1e-6)
        assert found.scores[i, 0] == scores[place]


@pytest.mark.parametrize(("score", "xi"), [("likelihood", np.inf), ("likelihood", 1.5), ("correlation", 1.5)])
@pytest.mark.parametrize(("band", "angles", "separation"), [(4, 16, None), (6, 32, 25.0), (8, 48, None)])
def test_candidates_are_the_peaks_of_the_scores(rng, score, xi, band, angles, separation):
    matcher = Matcher(12, shells=(2, 4), band_limit=band, angles=angles, shifts=shift_grid(2, 1.4))
    p, w, q0, q1 = random_input(rng, matcher, 2)
    found = matcher.search(p, w, q0, q1, xi=xi, score=score, separation=separation, count=20)
    rotations, apart = slow.grid(angles), separation or max(12, 1.5 * 360 / angles)
    power = matcher.correlate(w[0], q1[0])
    assert power.min() > 0.1 * power.max()
    penalties = (matcher.shifts**2).sum(axis=1) / (2 * xi**2) if score == "likelihood" else np.zeros(len(p[0]))
    for i in range(2):
        maps = np.array([matcher.correlate(one, q0[0]) for one in p[i]]) - penalties[:, None, None, None]
        best = maps.max(axis=0)
        scores = best - power / 2 if score == "likelihood" else best / np.sqrt(power)
        places = slow.candidates(scores, rotations, apart - 1e-3, 20)
        assert found.counts[i] == len(places)
        rows = slice(0, len(places))
        np.testing.assert_allclose(found.scores[i, rows], [scores[at] for at in places], rtol=2e-6, atol=1e-5)
        np.testing.assert_allclose(found.rotations[i, rows], [rotations[at] for at in places], atol=1e-6)
        chosen = maps.argmax(axis=0)
        np.testing.assert_array_equal(found.shifts[i, rows], [matcher.shifts[chosen[at]] for at in places])


def test_candidates_are_apart_and_in_order(rng):
    matcher = Matcher(12, shells=(1, 4), band_limit=12, angles=32)
    p, w, q0, q1 = random_input(rng, matcher, 18)
    for separation, count in ((None, 50), (40.0, 50), (90.0, 500), (1.0, 3)):
        found = matcher.search(p, w, q0, q1, separation=separation, count=count)
        assert found.scores.shape == (18, count)
        least = separation if separation is not None else 16.875
        for rotations, shifts, scores, number in zip(found.rotations, found.shifts, found.scores, found.counts,
                                                     strict=True):
            apart = geodesic(rotations[:number, None], rotations[None, :number])
            assert (apart + 360 * np.eye(number)).min() > least - 1e-3
            assert (np.diff(scores[:number]) <= 0).all() and np.isfinite(scores[:number]).all()
            # What is not filled.
            assert 1 <= number <= count and (scores[number:] == -np.inf).all()
            assert (rotations[number:] == np.eye(3)).all() and not shifts[number:].any()
        np.testing.assert_allclose(found.rotations @ found.rotations.swapaxes(-1, -2), np.broadcast_to(
            np.eye(3), found.rotations.shape), atol=1e-6)
    assert (found.counts == 3).all()


def test_candidates_are_12_degrees_apart_unless_the_grid_is_coarser(rng):
    for angles, least in ((16, 33.75), (32, 16.875), (64, 12.0)):
        matcher = Matcher(12, shells=(2, 2), band_limit=24, angles=angles)
        p, w, q0, q1 = random_input(rng, matcher, 1)
        closest = []
        for separation in (None, least - 3):
            found = matcher.search(p, w, q0, q1, separation=separation, count=200)
            rotations = found.rotations[0, : found.counts[0]]
            closest.append((geodesic(rotations[:, None], rotations) + 360 * np.eye(len(rotations))).min())
        assert closest[0] >= least - 1e-3 > closest[1]


@pytest.mark.parametrize(("box", "limit"), [(32, 90), (32, 60), (33, 60)])
def test_a_rotation_and_shift_of_the_grid_come_back(rng, box, limit):
    scene = Scene(rng, box, shifts=shift_grid(3, 1.5))
    rotations, p1 = slow.grid(32), wedge(scene.half, limit)
    # Near the poles of b the grid is much finer than what tells its points apart.
    truth = [(rotations[tuple(rng.integers((4, 0, 0), (12, 32, 32)))], shift) for shift in scene.matcher.shifts[::4]]
    p0 = [p1 * scene.particle(*pose) for pose in truth]
    for score in ("likelihood", "correlation"):
        found = scene.search(p0, p1, score=score)
        np.testing.assert_allclose(found.rotations[:, 0], [pose[0] for pose in truth], atol=1e-6)
        np.testing.assert_array_equal(found.shifts[:, 0], [pose[1] for pose in truth])


@pytest.mark.parametrize("angles", [16, 32])
def test_every_rotation_lies_near_one_of_the_grid(rng, angles):
    grid = slow.grid(angles).reshape(-1, 3, 3)
    cosines = np.einsum("mij,nij->mn", random_rotations(300, rng), grid).max(axis=1)
    assert np.degrees(np.arccos((cosines.min() - 1) / 2)) <= NEAREST * 360 / angles


def test_any_rotation_and_shift_come_back_to_the_next_of_the_grid(rng, scene):
    p1, rotations = wedge(scene.half), random_rotations(24, rng)
    shifts = rng.uniform(-1.5, 1.5, (24, 3))
    found = scene.search([p1 * scene.particle(*pose) for pose in zip(rotations, shifts, strict=True)], p1)
    assert geodesic(found.rotations[:, 0], rotations).max() <= NEAREST * scene.matcher.step
    # Half a step of the lattice along each axis, and as much again for the rotation's own error.
    assert np.abs(found.shifts[:, 0] - shifts).max() <= 1.5


def test_rotating_the_particle_rotates_the_answer(rng, scene):
    """By any rotation, as far as the grid goes; observed everywhere, or a wedge would not turn with it."""
    first, turn = random_rotations(1, rng)[0], random_rotations(16, rng)
    everywhere = np.ones(len(scene.half))
    before = scene.search(scene.particle(first), everywhere).rotations[0, 0]
    after = scene.search([scene.particle(g @ first) for g in turn], everywhere).rotations[:, 0]
    assert geodesic(after, turn @ before).max() <= 2 * NEAREST * scene.matcher.step


@pytest.mark.parametrize("box", [32, 33])
def test_binary_weights_ctf_and_premultiplied_data_give_one_pose(rng, box):
    """X = w A without noise: p0 = w X and p1 = w^2 whatever w is; premultiplied X' = D A: p0 = X', p1 = D."""
    scene = Scene(rng, box, shifts=shift_grid(1.5, 1.5))
    rotation, shift = slow.grid(32)[5, 20, 11], np.array([0.0, -1.5, 0])
    x = scene.particle(rotation, shift)
    ctf = (wedge(scene.half) * np.cos(0.5 + 0.05 * scene.half.radii**2)).astype(np.float32)
    squares = rng.uniform(0.2, 3, 6)[:, None] * np.cos(rng.uniform(0.03, 0.06, (6, 1)) * scene.half.radii**2) ** 2
    summed = wedge(scene.half) * squares.sum(axis=0)
    assert (ctf < -0.5).any() and (ctf > 0.5).any()
    for p0, p1 in ((wedge(scene.half) * x, wedge(scene.half)), (ctf * (ctf * x), ctf**2), (summed * x, summed)):
        found = scene.search(p0, p1)
        np.testing.assert_allclose(found.rotations[0, 0], rotation, atol=1e-6)
        np.testing.assert_array_equal(found.shifts[0, 0], shift)
        # At the truth c0 = c1^2, so the likelihood is c1^2 / 2; hats between shells make c0 small and c1^2 large.
        power = 2 * 4 * (p1 * np.abs(x) ** 2)[scene.half.radii < 9].sum()
        assert found.scores[0, 0] == pytest.approx(power / 2, rel=0.25)


def test_small_shifts_are_preferred_by_xi(rng):
    shifts = np.array([[0.0, 0, 0], [1, 0, 0], [0, -2, 1]])
    matcher = Matcher(12, shells=(1, 3), band_limit=4, angles=16, shifts=shifts)
    p, w, q0, q1 = random_input(rng, matcher, 1)
    tied = np.repeat(p[:, 2:], 3, axis=1)
    free = matcher.search(tied, w, q0, q1)
    assert not free.shifts.any()    # the first of equals
    for xi in (0.5, 3.0):
        found = matcher.search(tied, w, q0, q1, xi=xi)
        assert not found.shifts.any()
        np.testing.assert_array_equal(found.scores, free.scores)
        for place, shift in enumerate(shifts):
            alone = Matcher(12, shells=(1, 3), band_limit=4, angles=16, shifts=shift)
            scores = alone.search(tied[:, place : place + 1], w, q0, q1, xi=xi).scores
            np.testing.assert_allclose(scores, free.scores - (shift**2).sum() / (2 * xi**2), rtol=1e-5)
    assert matcher.search(p, w, q0, q1, xi=0.1).shifts[0, 0].tolist() == [0, 0, 0]


def test_the_correlation_score_has_no_scale(rng, scene):
    """That of the reference cancels, that of the particle is its own; penalties do not enter."""
    p1 = wedge(scene.half)
    p0 = p1 * scene.particle(random_rotations(1, rng)[0], (1.0, 0, -1.5))
    found = scene.search(p0, p1, score="correlation")
    particles, weights = scene.matcher.expand(p0[None]), scene.matcher.expand_weights(p1)
    scaled = scene.matcher.search(4 * particles, weights, 0.5 * scene.q0, 0.25 * scene.q1, score="correlation", xi=0.5)
    np.testing.assert_array_equal(scaled.rotations, found.rotations)
    np.testing.assert_array_equal(scaled.shifts, found.shifts)
    np.testing.assert_allclose(scaled.scores, 4 * found.scores, rtol=1e-6)


def test_negative_power_does_not_reach_the_correlation_score(rng):
    """A truncated series may fall below zero; it is kept at a thousandth of its highest."""
    matcher = Matcher(12, shells=(1, 2), band_limit=5, angles=16)
    p, w, q0, q1 = random_input(rng, matcher, 3)
    w[:, 0] = 0
    power = matcher.correlate(w[0], q1[0])
    assert power.min() < 0 < power.max()
    found = matcher.search(p, w, q0, q1, score="correlation")
    kept = np.sqrt(np.maximum(power, 1e-3 * power.max()))
    highest = [(matcher.correlate(one, q0[0]) / kept).max() for one in p[:, 0]]
    np.testing.assert_allclose(found.scores[:, 0], highest, rtol=1e-5)


# Lanes, threads, layouts


def test_a_particle_alone_is_what_it_is_among_others(rng):
    """Bit for bit, with weights and references of its own: nothing is summed across lanes."""
    matcher = Matcher(12, shells=(1, 3), band_limit=6, angles=16, shifts=shift_grid(1, 1), threads=1)
    p, w, q0, q1 = random_input(rng, matcher, 21, weights=3, references=2)
    whose, which = rng.integers(3, size=21), rng.integers(2, size=21)
    together = matcher.search(p, w, q0, q1, weight_index=whose, reference_index=which, xi=2.0)
    for i in range(21):
        v, r = whose[i], which[i]
        alone = matcher.search(p[i : i + 1], w[v : v + 1], q0[r : r + 1], q1[r : r + 1], xi=2.0)
        for name in ("rotations", "shifts", "scores", "counts"):
            assert getattr(alone, name)[0].tobytes() == getattr(together, name)[i].tobytes(), (name, i)
    others = matcher.search(p, w, q0, q1, xi=2.0)
    assert (others.scores != together.scores).any(axis=1).sum() >= 10


@pytest.mark.parametrize("count", [1, 17, 40])
def test_threads_give_the_same_bits(count):
    found = []
    for threads in (1, 2, 3):
        matcher = Matcher(12, shells=(1, 3), band_limit=6, angles=16, shifts=shift_grid(1, 1), threads=threads)
        p, w, q0, q1 = random_input(np.random.default_rng(7), matcher, count)
        found.append(matcher.search(p, w, q0, q1, xi=2.0))
    for name in ("rotations", "shifts", "scores", "counts"):
        assert len({getattr(one, name).tobytes() for one in found}) == 1


def test_no_particles_have_no_candidates(rng):
    matcher = Matcher(12, shells=(1, 3), band_limit=4, angles=16, shifts=shift_grid(1, 1))
    _, w, q0, q1 = random_input(rng, matcher, 1)
    p = matcher.expand(np.zeros((0, len(matcher.half)), np.complex64))
    found = matcher.search(p, w, q0, q1, count=5)
    assert found.rotations.shape == (0, 5, 3, 3) and found.counts.shape == (0,)
    assert found.within().counts.shape == (0,)


def test_layouts_do_not_matter(rng):
    matcher = Matcher(12, shells=(1, 3), band_limit=6, angles=16, shifts=shift_grid(1, 1))
    p, w, q0, q1 = random_input(rng, matcher, 3, weights=2, references=2)
    index = np.array([1, 9, 0, 9, 1, 9])[::2]
    plain = matcher.search(p, w, q0, q1, weight_index=index, reference_index=index)
    wide = np.repeat(p, 2, axis=1)[:, ::2]
    turned = [np.asfortranarray(part) for part in (w, q0, q1)]
    other = matcher.search(wide, *turned, weight_index=list(index), reference_index=index.astype(np.int32))
    assert other.scores.tobytes() == plain.scores.tobytes()


@pytest.mark.parametrize("score", ["likelihood", "correlation"])
def test_a_damaged_particle_has_no_candidates_and_spoils_no_other(rng, score):
    matcher = Matcher(12, shells=(1, 3), band_limit=4, angles=16)
    p, w, q0, q1 = random_input(rng, matcher, 5)
    whole = matcher.search(p, w, q0, q1, score=score)
    broken = p.copy()
    broken[2] = np.nan
    found = matcher.search(broken, w, q0, q1, score=score)
    for i in (0, 1, 3, 4):
        assert found.scores[i].tobytes() == whole.scores[i].tobytes()
    assert found.counts[2] == 0 and (found.scores[2] == -np.inf).all()
    kept = found.within()
    assert kept.counts[2] == 0 and kept.counts[[0, 1, 3, 4]].all()


def test_nothing_to_see_scores_zero(rng):
    """A particle of zeros ties everywhere: candidates are apart, scores finite."""
    matcher = Matcher(12, shells=(1, 3), band_limit=4, angles=16)
    p, w, q0, q1 = random_input(rng, matcher, 1)
    for weights in (w, 0 * w):
        for score in ("likelihood", "correlation"):
            found = matcher.search(0 * p, weights, q0, q1, score=score)
            scores = found.scores[0, : found.counts[0]]
            assert found.counts[0] > 1 and np.isfinite(scores).all()
            assert score == "likelihood" or not scores.any()


# Magnitudes


def test_magnitudes_do_not_see_shifts(rng):
    matcher = Matcher(13, shells=(1, 5), band_limit=6, angles=16)
    volume = rng.standard_normal((13, 13, 13)).astype(np.float32)
    reference = Reference(blobs.blob_volume(blobs.molecule(rng, radius=2), 13))
    q0, _ = matcher.expand_reference(reference, np.ones(5), magnitude=True)
    maps = []
    for shift in ((0, 0, 0), (3, -2, 1), (0, 6, 0)):
        sizes = np.abs(matcher.half.transform(np.roll(volume, shift, axis=(0, 1, 2))))
        sizes = remove_shell_means(matcher.half, sizes[None], np.ones(len(matcher.half)))
        maps.append(matcher.correlate(matcher.expand(sizes)[0, 0], q0))
    scale = np.abs(maps[0]).max()
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-5 * scale)
    np.testing.assert_allclose(maps[2], maps[0], atol=1e-5 * scale)


def test_magnitudes_find_the_rotation_without_noise(rng):
    scene = Scene(rng, shifts=np.zeros((1, 3)))
    rotations = random_rotations(12, rng)
    p1 = wedge(scene.half, 75)
    seen = np.array([p1 * scene.particle(r, rng.uniform(-3, 3, 3)) for r in rotations])
    sizes = remove_shell_means(scene.half, np.abs(seen), p1)
    q0, q1 = scene.matcher.expand_reference(scene.reference, scene.noise, magnitude=True)
    found = scene.matcher.search(scene.matcher.expand(sizes), scene.matcher.expand_weights(p1), q0[None], q1[None],
                                 score="correlation")
    close = geodesic(found.rotations[:, 0], rotations) <= NEAREST * scene.matcher.step
    best = [geodesic(r[:c], truth).min() for r, c, truth in zip(found.rotations, found.counts, rotations, strict=True)]
    assert close.mean() > 0.5 and np.max(best) <= NEAREST * scene.matcher.step


def test_shell_means_are_removed_where_observed(rng):
    half = HalfSpace(11)
    sizes = rng.uniform(1, 5, (3, len(half))).astype(np.float32)
    p1 = rng.uniform(0.1, 1, (3, len(half))) * (rng.uniform(size=(3, len(half))) < 0.7)
    p1[1, half.shells == 2] = 0
    found = remove_shell_means(half, sizes, p1)
    for i in range(3):
        for shell in range(1, 6):
            seen = (half.shells == shell) & (p1[i] > 0)
            if seen.any():
                np.testing.assert_allclose(found[i, seen], sizes[i, seen] - sizes[i, seen].mean(), atol=1e-6)
        assert not found[i, p1[i] == 0].any()
    common = remove_shell_means(half, sizes, p1[0])
    np.testing.assert_array_equal(common[0], found[0])
    np.testing.assert_array_equal(remove_shell_means(half, sizes[1:2], p1[0])[0], common[1])


# Choices


def test_shift_grids():
    grid = shift_grid(7, 3.5)
    assert grid.shape == (33, 3) and not grid[0].any()
    for largest, spacing in ((7, 3.5), (0.3, 0.1), (5, 2), (1, 3), (0, 1), (2.5, 0.7)):
        grid = shift_grid(largest, spacing)
        steps = np.arange(-40, 41) * spacing
        points = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
        expected = points[np.linalg.norm(points, axis=1) <= largest + 1e-9]
        assert sorted(grid.round(6).tolist()) == sorted((expected + 0.0).round(6).tolist())
        lengths = np.linalg.norm(grid, axis=1)
        assert not grid[0].any() and (np.diff(lengths) > -1e-9).all()


def test_band_limits():
    """2 pi k rho / n + 4, rounded up: the degrees that a sphere of that radius has on the shell."""
    assert [band_limit(20, 9, 64), band_limit(0, 9, 64), band_limit(12, 9, 64)] == [22, 4, 15]
    assert all(isinstance(band_limit(r, 9, 64), int) for r in (0, 3.3))


def test_candidates_within():
    scores = np.array([[100.0, 90, 74.9, -np.inf], [100, 90, -50, -400], [5, -np.inf, -np.inf, -np.inf]])
    counts = np.array([3, 4, 1])
    candidates = Candidates(np.zeros((3, 4, 3, 3)), np.zeros((3, 4, 3)), scores, counts)
    # Rooms: 25; (100 - (-65)) / 2 = 82.5; 25.
    kept = candidates.within()
    assert kept.counts.tolist() == [2, 2, 1]
    assert candidates.within(26).counts.tolist() == [3, 2, 1]
    assert candidates.within(150).counts.tolist() == [3, 3, 1]
    assert kept.scores is scores and candidates.counts is counts


def test_sizes_and_steps():
    matcher = Matcher(32, shells=(2, 9), band_limit=14)
    assert (matcher.angles, matcher.step, matcher.shell_count, matcher.orders) == (32, 11.25, 8, 105)
    assert matcher.half.band == 10 and matcher.shifts.tolist() == [[0, 0, 0]]
    assert Matcher(20, shells=(1, 9)).half.band == 9
    assert [Matcher(32, band_limit=b).angles for b in (1, 8, 9, 16, 17, 64)] == [16, 16, 32, 32, 48, 128]


# Refusals


@pytest.mark.parametrize(("options", "said"), [
    ({"shells": (0, 4)}, "shells: expected 1 <= first <= last <= 5 for a box of 12 voxels, got 0 to 4"),
    ({"shells": (4, 3)}, "shells: .* got 4 to 3"),
    ({"shells": (1, 6)}, "shells: .* got 1 to 6"),
    ({}, "shells: expected 1 <= first <= last <= 5 for a box of 12 voxels, got 1 to 9"),
    ({"shells": (1, 4), "band_limit": 0}, "band limit: expected 1 to 64, got 0"),
    ({"shells": (1, 4), "band_limit": 65}, "band limit: expected 1 to 64, got 65"),
    ({"shells": (1, 4), "angles": 24}, "angles: expected a multiple of 16 up to 256, got 24"),
    ({"shells": (1, 4), "angles": 0}, "angles: expected a multiple of 16 up to 256, got 0"),
    ({"shells": (1, 4), "angles": 272}, "angles: expected a multiple of 16 up to 256, got 272"),
    ({"shells": (1, 4), "shifts": np.zeros((2, 2))}, r"shifts: expected shape \(T, 3\), finite, got \(2, 2\)"),
    ({"shells": (1, 4), "shifts": np.zeros((0, 3))}, r"shifts: expected shape \(T, 3\), finite, got \(0, 3\)"),
    ({"shells": (1, 4), "shifts": [[0, 0, np.nan]]}, r"shifts: expected shape \(T, 3\), finite"),
])
def test_a_matcher_refuses(options, said):
    with pytest.raises(InputError, match=said):
        Matcher(12, **options)


@pytest.mark.parametrize(("options", "said"), [
    ({"score": "fsc"}, "score: expected likelihood or correlation, got fsc"),
    ({"xi": 0}, "xi: expected more than 0 voxels, got 0"),
    ({"xi": -1.0}, "xi: expected more than 0 voxels, got -1.0"),
    ({"xi": np.nan}, "xi: expected more than 0 voxels, got nan"),
    ({"count": 0}, "count: expected at least 1 candidate, got 0"),
])
def test_a_search_refuses(rng, options, said):
    matcher = Matcher(12, shells=(1, 2), band_limit=2)
    with pytest.raises(InputError, match=said):
        matcher.search(*random_input(rng, matcher, 1), **options)


@pytest.mark.parametrize(("largest", "spacing"), [(-1, 1), (1, 0), (1, -2), (np.nan, 1), (np.inf, 1), (1, np.nan)])
def test_shift_grids_refused(largest, spacing):
    with pytest.raises(InputError, match="shifts: expected a largest shift >= 0 and a spacing > 0"):
        shift_grid(largest, spacing)


def test_the_kernel_refuses_what_does_not_fit(rng):
    for arguments, said in [((0, 1, 16), "band limit"), ((129, 1, 16), "band limit"), ((4, 0, 16), "shells"),
                            ((4, 1, 24), "angles"), ((4, 1, 0), "angles"), ((4, 1, 1040), "angles")]:
        with pytest.raises(ValueError, match=f"{said}: expected"):
            _kernels.RotationalSearch(*arguments)
    matcher = Matcher(12, shells=(1, 2), band_limit=3, angles=16, shifts=shift_grid(1, 1))
    p, w, q0, q1 = random_input(rng, matcher, 2)
    for parts, options, said in [
        ((p[:, :3], w, q0, q1), {}, "one penalty per shift"),
        ((p[:, :, :5], w, q0, q1), {}, "particles: expected 6 orders x 2 shells, got 5 x 2"),
        ((p, w[:, :, :1], q0, q1), {}, "weights: expected 6 orders x 2 shells, got 6 x 1"),
        ((p, w, q0[:, :5], q1), {}, "references: expected 6 orders x 2 shells, got 5 x 2"),
        ((p, w, q0, q1[:, :5]), {}, "squares must have the shape of references"),
        ((p[0], w, q0, q1), {}, "particles must have 4 axes, got 3"),
        ((p, w, q0, q1), {"weight_index": [0, 1]}, "weight index 1 of particle 1 is out of range"),
        ((p, w, q0, q1), {"reference_index": [-1, 0]}, "reference index -1 of particle 0 is out of range"),
        ((p, w, q0, q1), {"reference_index": [0]}, "one weight index and one reference index per particle"),
    ]:
        with pytest.raises(ValueError, match=said):
            matcher.search(*parts, **options)
    with pytest.raises(ValueError, match="particle: expected 6 orders x 2 shells, got 6 x 1"):
        matcher.correlate(p[0, 0, :, :1], q0[0])
