"""Averages, poses and classes judged on cases whose answer is known."""

import sys

import numpy as np
import pytest

from concordet import evaluation, rigid
from concordet.errors import InputError
from concordet.evaluation import averages, classes
from concordet.fourier import HalfSpace
from concordet.io import read_volume
from concordet.rigid import Poses
from concordet.wedge import TiltRange, WeightVolume
from reference import evaluation as twin

BOX = 32


def blobs(centres, weights, box=BOX, sigma=1.6):
    """Gaussians at (x, y, z) voxels from n // 2: a molecule that can be turned exactly."""
    at = twin.positions(box)
    return sum(weight * np.exp(-((at - centre) ** 2).sum(axis=-1) / (2 * sigma**2))
               for centre, weight in zip(np.asarray(centres, float), weights, strict=True)).astype(np.float32)


def turned(centres, pose):
    return centres @ pose.rotations[0].T + pose.shifts[0]


CENTRES = np.array([[6, 0, 0], [-3, 5, 1], [0, -4, 5], [1, 2, -7], [-5, -3, -3], [3, 6, 4], [7, -5, 2.0]])
WEIGHTS = np.array([1.0, 0.8, 1.2, 0.9, 0.7, 1.1, 0.6])


def ring(fold, radius=8.0):
    """`fold` copies of two blobs about z."""
    angles = 2 * np.pi * np.arange(fold) / fold
    one = np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full(fold, 3.0)], axis=1)
    other = np.stack([0.7 * radius * np.cos(angles + 0.5), 0.7 * radius * np.sin(angles + 0.5), np.full(fold, -4.0)],
                     axis=1)
    return np.concatenate([one, other]), np.repeat([1.0, 0.7], fold)


# Alignment


@pytest.mark.parametrize("box", [32, 33])
def test_a_turned_and_moved_copy_is_found(rng, box):
    truth = blobs(CENTRES, WEIGHTS, box)
    pose = Poses(rigid.random_rotations(1, rng), np.array([[2.3, -1.4, 0.8]]))
    found = evaluation.align(blobs(turned(CENTRES, pose), WEIGHTS, box), truth)
    assert found.correlation > 0.998
    assert rigid.geodesic(found.rotation, pose.rotations[0]) < 0.3
    np.testing.assert_allclose(found.shift, pose.shifts[0], atol=0.03)
    np.testing.assert_allclose(found.moved, blobs(turned(CENTRES, pose), WEIGHTS, box), atol=0.03)


def test_alignment_stands_noise_scale_and_offset(rng):
    truth = blobs(CENTRES, WEIGHTS)
    pose = Poses(rigid.random_rotations(1, rng), np.array([[-3.0, 2.0, 1.0]]))
    clean = blobs(turned(CENTRES, pose), WEIGHTS)
    noisy = -40 * (clean + 2 * clean.std() * rng.standard_normal(clean.shape))
    found = evaluation.align(-noisy + 7, truth)
    assert rigid.geodesic(found.rotation, pose.rotations[0]) < 3
    np.testing.assert_allclose(found.shift, pose.shifts[0], atol=0.25)
    # In the mask 0.31 of the noise is left: r = 1 / sqrt(1 + 4 * 0.31).
    assert found.correlation == pytest.approx(0.67, abs=0.05)


def test_the_correlation_is_that_of_the_masked_map_and_the_carried_truth(rng):
    truth = blobs(CENTRES, WEIGHTS)
    volume = truth + rng.standard_normal(truth.shape).astype(np.float32) * truth.std()
    found = evaluation.align(volume, truth)
    inside = np.linalg.norm(twin.positions(BOX), axis=-1) <= 0.42 * BOX
    np.testing.assert_array_equal(found.masked, volume * inside)
    assert found.sharp_correlation == pytest.approx(np.corrcoef(found.masked.ravel(), found.moved.ravel())[0, 1])
    linear = twin.moved(truth, found.rotation, found.shift)
    assert found.correlation == pytest.approx(np.corrcoef(found.masked.ravel(), linear.ravel())[0, 1])
    still = evaluation.align(volume, truth, fixed=True)
    assert still.correlation == pytest.approx(np.corrcoef(still.masked.ravel(), truth.ravel())[0, 1])
    assert found.correlation >= still.correlation - 1e-3


def test_alignment_refuses_what_it_cannot_align():
    truth = blobs(CENTRES, WEIGHTS)
    with pytest.raises(InputError, match="one size"):
        evaluation.align(truth, truth[:-1])
    with pytest.raises(InputError, match="map: expected values that differ"):
        evaluation.align(np.zeros_like(truth), truth)


@pytest.fixture
def neutral(data_root, monkeypatch):
    """The neutral evaluator, and its simulator."""
    pytest.importorskip("scipy", reason="the neutral evaluator needs scipy")
    monkeypatch.syspath_prepend(str(data_root / "acceptance"))
    before = set(sys.modules)
    yield pytest.importorskip("evalmap"), pytest.importorskip("subtomograms")
    for name in set(sys.modules) - before & {"evalmap", "subtomograms"}:
        del sys.modules[name]


# The neutral evaluator's transforms name no axes, which numpy will want one day.
@pytest.mark.filterwarnings("ignore:`axes` should not be `None`:DeprecationWarning")
@pytest.mark.parametrize(("name", "noise", "whole"), [
    ("ribosome70S_64_6A", 1.0, True), ("ribosome70S_64_6A", 3.0, False), ("ribosome70S_64_6A", 0.3, False),
    ("groel_64_6A", 1.0, False), ("groel_64_6A", 3.0, False), ("groel_32_12A", 2.0, True)])
def test_correlation_agrees_with_the_neutral_evaluator(data_root, neutral, rng, name, noise, whole):
    """On noisy averages in random poses, within 0.005: by its own search, or at the pose found here."""
    evalmap, simulator = neutral
    truth = read_volume(data_root / "acceptance" / "maps" / f"{name}.mrc")[0]
    rotation, shift = rigid.random_rotations(1, rng)[0], rng.uniform(-3, 3, 3)
    volume = simulator.transform(truth, rotation, shift) + noise * truth.std() * rng.standard_normal(truth.shape)
    found = evaluation.align(volume.astype(np.float32), truth)
    group = None if "70S" in name else evaluation.dihedral_group(7, evaluation.dihedral_azimuth(truth, 7)[0])
    assert rigid.geodesic(found.rotation, rotation, group) < 1.5
    if whole:
        theirs = evalmap.align(found.masked, truth, nrot=700)[0]
    else:
        carried = simulator.transform(truth, found.rotation, found.shift, order=1)
        theirs = np.corrcoef(carried.ravel(), found.masked.ravel())[0, 1]
    assert found.correlation == pytest.approx(theirs, abs=0.005)


# Symmetry


def test_a_map_has_its_own_symmetry_and_no_other():
    volume = blobs(*ring(5, radius=11), sigma=1.0)
    assert evaluation.symmetry_score(volume, 5) > 0.99
    for fold in (2, 3, 4, 6, 7):
        assert evaluation.symmetry_score(volume, fold) < 0.5
    six = blobs(*ring(6, radius=11), sigma=1.0)
    assert min(evaluation.symmetry_score(six, fold) for fold in (2, 3, 6)) > 0.99


def test_the_symmetry_score_is_the_mean_over_all_pairs(rng):
    volume = blobs(*ring(5)) + 0.3 * blobs(CENTRES, WEIGHTS)
    for fold in (3, 5):
        # The twin's interpolation smooths a little more.
        assert evaluation.symmetry_score(volume, fold) == pytest.approx(twin.symmetry_score(volume, fold), abs=0.03)


def test_noise_lowers_the_symmetry_score(rng):
    volume = blobs(*ring(5))
    noisy = volume + 0.1 * rng.standard_normal(volume.shape).astype(np.float32)
    assert evaluation.symmetry_score(noisy, 5) < 0.8
    assert evaluation.symmetry_score(noisy, 5, band=6) > evaluation.symmetry_score(noisy, 5)
    assert abs(evaluation.symmetry_score(rng.standard_normal(volume.shape), 5)) < 0.1


def test_the_axis_is_found_near_where_it_is_said_to_be():
    centres, weights = ring(5)
    tilt = rigid.from_zyz(0.4, np.radians(7), 0.0)
    pose = Poses(tilt[None], np.array([[1.2, -0.7, 0.0]]))
    volume = blobs(turned(centres, pose), weights)
    assert evaluation.symmetry_score(volume, 5) < 0.8
    axis, centre = evaluation.symmetry_axis(volume, 5, within=10)
    assert np.degrees(np.arccos(axis @ tilt[:, 2])) < 0.5
    off = centre - pose.shifts[0]
    np.testing.assert_allclose(off - off @ axis * axis, 0, atol=0.1)
    assert evaluation.symmetry_score(volume, 5, axis=axis, centre=centre) > 0.99


def test_the_symmetry_score_refuses_no_axis():
    volume = blobs(CENTRES, WEIGHTS)
    with pytest.raises(InputError, match="2-fold symmetry or more, got 1"):
        evaluation.symmetry_score(volume, 1)
    with pytest.raises(InputError, match="axis: expected a direction x y z, got 0 0 0"):
        evaluation.symmetry_score(volume, 3, axis=(0, 0, 0))


@pytest.mark.parametrize("azimuth", [-11.0, 0.0, 7.3])
def test_two_fold_axes_of_a_dihedral_map_are_found(azimuth):
    centres, weights = ring(5)
    about = rigid.from_zyz(np.radians(azimuth), 0.0, 0.0)
    flip = np.diag([1.0, -1.0, -1.0])
    centres = np.concatenate([centres, centres @ flip]) @ about.T
    found, correlation = evaluation.dihedral_azimuth(blobs(centres, np.tile(weights, 2)), 5)
    assert found == pytest.approx(azimuth, abs=0.3) and correlation > 0.99
    for rotation in evaluation.dihedral_group(5, azimuth):
        distances = np.linalg.norm((centres @ rotation.T)[:, None] - centres, axis=-1)
        np.testing.assert_allclose(distances.min(axis=1), 0, atol=1e-9)


# Signal and noise


def noisy_particles(rng, count, snr, box=24, tilts=(-60.0, 60.0)):
    """Noisy copies of a molecule in random poses behind a wedge; SNR over the whole box, before the wedge."""
    centres, wedge = 0.7 * CENTRES, TiltRange(*tilts)
    seen = np.fft.ifftshift(wedge.volume(box))
    poses = Poses(rigid.random_rotations(count, rng), rng.uniform(-2, 2, (count, 3)))
    volumes = []
    for i in range(count):
        signal = blobs(turned(centres, poses[i]), WEIGHTS, box)
        volume = signal + np.sqrt(signal.var() / snr) * rng.standard_normal(signal.shape)
        volumes.append(np.fft.ifftn(np.fft.fftn(volume) * seen).real.astype(np.float32))
    return volumes, wedge, poses


@pytest.mark.parametrize("snr", [0.05, 1.0])
def test_snr_is_recovered_within_a_tenth(rng, snr):
    volumes, wedge, poses = noisy_particles(rng, 40, snr)
    found = evaluation.signal_to_noise(volumes, [wedge] * 40, poses, 24)
    assert found.snr == pytest.approx(snr, rel=0.1)
    assert found.snr_within_band == pytest.approx(found.correlation / (1 - found.correlation))
    assert found.snr_within_band > found.snr                   # the band leaves out corners, which hold noise alone
    assert found.shells[0] > found.shells[-1]


def test_snr_does_not_depend_on_how_the_wedge_is_given_nor_on_scale(rng):
    volumes, wedge, poses = noisy_particles(rng, 12, 0.5)
    found = evaluation.signal_to_noise(volumes, [wedge] * 12, poses, 24).snr
    given = WeightVolume.from_file_data(wedge.volume(24))
    assert evaluation.signal_to_noise(volumes, [given] * 12, poses, 24).snr == pytest.approx(found, rel=0.06)
    scaled = [(i + 1) * volume - 3 * i for i, volume in enumerate(volumes)]
    assert evaluation.signal_to_noise(scaled, [wedge] * 12, poses, 24).snr == pytest.approx(found, rel=1e-3)


def test_a_mask_leaves_noise_out(rng):
    volumes, wedge, poses = noisy_particles(rng, 20, 0.3)
    whole = evaluation.signal_to_noise(volumes, [wedge] * 20, poses, 24).snr
    masked = evaluation.signal_to_noise(volumes, [wedge] * 20, poses, 24, mask_diameter=18).snr
    assert masked > 1.5 * whole


def test_noise_alone_has_no_signal(rng):
    volumes = [rng.standard_normal((24,) * 3) for _ in range(10)]
    found = evaluation.signal_to_noise(volumes, [TiltRange(-60, 60)] * 10, Poses(rigid.random_rotations(10, rng),
                                                                                 np.zeros((10, 3))), 24)
    assert abs(found.snr) < 4 * found.standard_error < 0.02


def test_shells_with_next_to_no_noise_have_no_ratio(rng):
    axes = np.ix_(*[np.fft.fftfreq(24, 1 / 24)] * 2, np.fft.rfftfreq(24, 1 / 24))
    outer = sum(k**2 for k in axes) > 4.5**2
    noise = np.fft.irfftn(np.fft.rfftn(rng.standard_normal((3, 24, 24, 24)), axes=(1, 2, 3)) * outer, axes=(1, 2, 3))
    volumes = blobs(CENTRES, WEIGHTS, 24) + 0.05 * noise
    shells = evaluation.signal_to_noise(volumes, [TiltRange(-90, 90)] * 3, Poses.identity(3), 24).shells
    np.testing.assert_array_equal(np.isnan(shells), np.arange(1, 12) <= 4)


def test_sums_over_all_pairs_are_those_of_the_squares(rng):
    half = HalfSpace(8)
    seen = rng.random((6, len(half))) < 0.7
    particles = np.where(seen, rng.standard_normal((6, len(half))) + 1j * rng.standard_normal((6, len(half))) + 1, 0)
    cross, pairs = twin.pair_powers(particles, seen)
    power = (np.abs(particles) ** 2).sum(axis=0)
    found = averages._ratio(half, particles.sum(axis=0), power, seen.sum(axis=0), 1.0)
    total = [np.bincount(half.shells, values)[1:] for values in (cross, pairs, power, seen.sum(axis=0))]
    signal, whole = total[0] / total[1], total[2] / total[3]
    np.testing.assert_allclose(found.shells, signal / (whole - signal))


def test_snr_refuses_what_it_cannot_compare(rng):
    volumes, wedge, poses = noisy_particles(rng, 3, 1.0)
    with pytest.raises(InputError, match="two or more aligned particles, got 1"):
        evaluation.signal_to_noise(volumes[:1], [wedge], poses[0], 24)
    with pytest.raises(InputError, match="particle 2: expected values that differ"):
        evaluation.signal_to_noise([volumes[0], np.ones((24,) * 3), volumes[2]], [wedge] * 3, poses, 24)
    with pytest.raises(InputError, match="noise of their own"):
        evaluation.signal_to_noise([volumes[0]] * 3, [wedge] * 3, Poses.identity(3), 24)


# Poses


def wrong_by(poses, degrees, voxels, rng):
    """Poses off by normal errors: about each axis, in degrees, and along it, in voxels."""
    count = len(poses)
    errors = Poses(rigid.from_rotation_vector(np.radians(rng.normal(0, degrees, (count, 3)))),
                   rng.normal(0, voxels, (count, 3)))
    return rigid.compose(errors, poses), errors


def test_pose_errors_do_not_depend_on_the_frame(rng):
    truth = Poses(rigid.random_rotations(60, rng), rng.uniform(-3, 3, (60, 3)))
    estimate, errors = wrong_by(truth, 2.0, 0.4, rng)
    plain = evaluation.pose_errors(estimate, truth)
    exact = rigid.geodesic(errors.rotations, np.eye(3))
    assert np.abs(plain.degrees - exact).max() < 1.5       # the mean of the errors is taken for the frame's
    assert plain.degrees.mean() == pytest.approx(exact.mean(), rel=0.1)
    frame = Poses(rigid.random_rotations(1, rng), np.array([[2.0, -1.0, 0.5]]))
    # The reference of the estimates is the truth's turned and moved: R G = R_true.
    framed = evaluation.pose_errors(rigid.compose(estimate, frame.inverse()), truth)
    np.testing.assert_allclose(framed.degrees, plain.degrees, atol=1e-6)
    np.testing.assert_allclose(framed.voxels, plain.voxels, atol=0.1)
    assert rigid.geodesic(framed.rotation, frame.rotations[0]) < 1
    np.testing.assert_allclose(framed.offset, frame.shifts[0], atol=0.3)


def test_pose_errors_are_taken_modulo_symmetry(rng):
    group = rigid.symmetry_group("D7")
    truth = Poses(rigid.random_rotations(50, rng), np.zeros((50, 3)))
    estimate, errors = wrong_by(truth, 1.5, 0.0, rng)
    copies = Poses(group[rng.integers(0, len(group), 50)], np.zeros((50, 3)))
    frame = Poses(rigid.random_rotations(1, rng), np.array([[1.0, 0.0, -2.0]]))
    estimate = rigid.compose(rigid.compose(estimate, copies), frame)
    folded = evaluation.pose_errors(estimate, truth, group)
    assert np.abs(folded.degrees - rigid.geodesic(errors.rotations, np.eye(3))).max() < 1.5
    assert folded.voxels.max() < 0.3
    assert np.median(evaluation.pose_errors(estimate, truth).degrees) > 15


def test_a_third_of_wrong_poses_does_not_move_the_frame(rng):
    truth = Poses(rigid.random_rotations(60, rng), np.zeros((60, 3)))
    estimate, _ = wrong_by(truth, 1.0, 0.1, rng)
    rotations = estimate.rotations.copy()
    rotations[::3] = rigid.random_rotations(20, rng)
    found = evaluation.pose_errors(Poses(rotations, estimate.shifts), truth)
    right = np.arange(60) % 3 != 0
    assert found.degrees[right].max() < 5 and np.median(found.degrees[~right]) > 60
    assert found.within(15) == pytest.approx(2 / 3, abs=0.05)


def test_pose_errors_agree_with_the_neutral_evaluator(neutral, rng):
    evalmap, _ = neutral
    truth = Poses(rigid.random_rotations(40, rng), np.zeros((40, 3)))
    estimate, _ = wrong_by(truth, 4.0, 0.0, rng)
    estimate = rigid.compose(estimate, Poses(rigid.random_rotations(1, rng), np.zeros((1, 3))))
    theirs = evalmap.ang_errors(estimate.rotations, truth.rotations)
    np.testing.assert_allclose(evaluation.pose_errors(estimate, truth).degrees, theirs, atol=0.5)


def test_random_poses_are_far_from_any_truth(rng):
    truth, estimate = (Poses(rigid.random_rotations(200, rng), np.zeros((200, 3))) for _ in range(2))
    found = evaluation.pose_errors(estimate, truth)
    assert found.within(15) < 0.05 and found.degrees.mean() == pytest.approx(126, abs=8)


def test_pose_errors_refuse_unequal_sets(rng):
    with pytest.raises(InputError, match="as many estimates as truths"):
        evaluation.pose_errors(Poses.identity(2), Poses.identity(3))


# Fourier coverage


def test_one_particle_covers_its_wedge_and_the_worst_direction_is_in_the_gap(rng):
    rotation = rigid.random_rotations(1, rng)
    coverage = evaluation.fourier_coverage(rotation, [TiltRange(-60, 60)], 32)
    assert set(np.unique(coverage.seen)) == {0.0, 1.0}
    assert coverage.seen.mean() == pytest.approx(120 / 180, abs=0.01)
    # In the middle of what is missing: the beam, within the gap's 60 degrees.
    assert np.degrees(np.arccos(abs(coverage.worst @ evaluation.beam_directions(rotation)[0]))) < 5
    assert coverage.sampling_compensation == 0


def test_coverage_is_the_part_of_particles_that_see_each_direction(rng):
    rotations, directions = rigid.random_rotations(17, rng), evaluation.half_sphere(60)
    found = evaluation.fourier_coverage(rotations, [TiltRange(-50, 40)], 32, directions=directions)

    def measured(u):
        return np.tan(np.radians(-50)) <= u[2] / u[0] <= np.tan(np.radians(40))

    np.testing.assert_allclose(found.seen, twin.coverage(rotations, measured, directions))


def test_coverage_of_many_particles_is_even():
    rotations = rigid.rotation_grid(15)
    coverage = evaluation.fourier_coverage(rotations, [TiltRange(-60, 60)], 32)
    np.testing.assert_allclose(coverage.seen, 2 / 3, atol=0.02)
    assert coverage.sampling_compensation == pytest.approx(1, abs=1e-3)


def test_particles_may_have_wedges_of_their_own(rng):
    rotations = rigid.random_rotations(10, rng)
    index = np.arange(10) % 2
    wedges = [TiltRange(-60, 60), TiltRange(-30, 30)]
    both = evaluation.fourier_coverage(rotations, iter(wedges), 32, wedge_index=index)
    parts = [evaluation.fourier_coverage(rotations[index == i], [wedges[i]], 32).seen for i in (0, 1)]
    np.testing.assert_allclose(both.seen, np.mean(parts, axis=0))


def test_a_weight_volume_covers_what_its_tilt_range_does(rng):
    rotations = rigid.random_rotations(20, rng)
    wedge = TiltRange(-60, 60)
    exact = evaluation.fourier_coverage(rotations, [wedge], 48).seen
    given = evaluation.fourier_coverage(rotations, [WeightVolume.from_file_data(wedge.volume(48))], 48).seen
    assert np.abs(given - exact).mean() < 0.02 and given.mean() == pytest.approx(exact.mean(), abs=0.01)


def test_half_spheres_are_even():
    points = evaluation.half_sphere(2000)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1)
    np.testing.assert_allclose(points.T @ points / len(points), np.eye(3) / 3, atol=2e-3)


# Classes


def test_f1_is_one_under_any_names_of_the_classes(rng):
    truth = rng.integers(1, 6, 80)
    match = evaluation.match_classes(np.array([0, 12, 7, 3, 9, 1])[truth], truth)
    assert match.macro_f1 == match.accuracy == 1
    np.testing.assert_array_equal(match.labels[match.matched], [12, 7, 3, 9, 1])


def test_precision_and_recall_of_two_classes():
    truth = np.repeat([1, 2], [10, 20])
    found = np.concatenate([np.repeat([2, 1], [8, 2]), np.repeat([1, 2], [15, 5])])
    match = evaluation.match_classes(found, truth)
    np.testing.assert_array_equal(match.confusion, [[2, 8], [15, 5]])
    np.testing.assert_array_equal(match.matched, [1, 0])
    np.testing.assert_allclose(match.precision, [8 / 13, 15 / 17])
    np.testing.assert_allclose(match.recall, [8 / 10, 15 / 20])
    np.testing.assert_allclose(match.f1, [16 / 23, 30 / 37])
    assert match.accuracy == pytest.approx(23 / 30)


def test_more_or_fewer_classes_than_true_ones():
    truth = np.repeat([1, 2, 3], 10)
    lumped = evaluation.match_classes(np.repeat([1, 1, 2], 10), truth)
    assert sorted(lumped.matched.tolist()) == [-1, 0, 1]
    np.testing.assert_allclose(sorted(lumped.f1), [0, 2 / 3, 1])
    split = evaluation.match_classes(np.arange(30) // 5, truth)
    np.testing.assert_allclose(split.f1, 2 / 3)
    np.testing.assert_allclose(split.precision, 1)


def test_the_assignment_is_the_best_of_all(rng):
    for shape in [(1, 1), (2, 5), (5, 2), (4, 4), (6, 6), (3, 6)]:
        for _ in range(10):
            gain = rng.integers(0, 4, shape) + rng.random(shape) * rng.integers(0, 2)
            columns = classes.assignment(gain)
            rows = np.flatnonzero(columns >= 0)
            assert len(set(columns[rows])) == len(rows) == min(shape)
            assert gain[rows, columns[rows]].sum() == pytest.approx(twin.best_matching(gain))


def test_classes_refuse_lists_that_do_not_match():
    with pytest.raises(InputError, match="two lists of one length"):
        evaluation.match_classes(np.arange(3), np.arange(4))
    with pytest.raises(InputError, match="at most 200"):
        evaluation.match_classes(np.arange(300), np.arange(300))
