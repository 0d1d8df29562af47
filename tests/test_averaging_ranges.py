"""Averaging keeps to what was asked: ranges of poses, folds that stay apart, classes that remain comparable."""

import numpy as np
import pytest

from concordet import rigid
from concordet.averaging import Averager, Particles, Settings
from concordet.errors import InputError
from test_averaging import SHORT, at_poses, averaged, correlation, molecules


@pytest.mark.parametrize("angular_range", [3.0, 15.0])
def test_local_poses_stay_within_their_range(angular_range):
    given = molecules(noise=0.1)
    turns = rigid.from_rotation_vector(np.random.default_rng(1).normal(0, 0.5, (12, 3)))
    initial = rigid.Poses(turns @ given.poses.rotations, given.poses.shifts)
    result = averaged(given, poses="local", initial=initial, angular_range=angular_range, references=given.truth)
    assert rigid.geodesic(result.poses.rotations, initial.rotations).max() <= angular_range + 1e-3


def test_local_shifts_stay_within_their_range():
    """cli.md: within --max-shift of the file's poses, not of 0, and not as far as another particle's shift."""
    given = molecules(noise=0.1)
    shifts = given.poses.shifts + np.where(np.arange(12)[:, None] == 0, [5.0, 0, 0], [0.0, 0, 1.5])
    initial = rigid.Poses(given.poses.rotations, shifts)
    result = averaged(given, poses="local", initial=initial, max_shift=1.0, references=given.truth)
    assert np.abs(result.poses.shifts - initial.shifts).max() <= 1 + 1e-3


def test_similarity_does_not_show_a_fold_to_itself():
    given = molecules(count=15)
    posterior, shares = at_poses(given.poses.rotations, given.poses.shifts), np.ones((15, 1, 1))
    settings = Settings(**SHORT, folds=5, theta=5.0)
    averager = Averager(given.particles, settings)
    model, fold = averager.start(), averager.task.fold
    before = averager.maximise(posterior, shares, model, 0)[0].references[0]
    p0 = given.particles.p0.copy()
    p0[fold == 2] *= -3
    other = Averager(Particles(given.half, p0, given.p1, given.which), settings)
    after = other.maximise(posterior, shares, model, 0)[0].references[0]
    assert np.abs(after[2] - before[2]).max() < 1e-5 * np.abs(before).max()


@pytest.mark.parametrize(("symmetry", "folds"), [("C1", 1), ("C7", 1), ("C1", 5)])
def test_fill_in_keeps_nothing_where_all_is_seen(symmetry, folds):
    rng, given = np.random.default_rng(0), molecules(count=15)
    everywhere = Particles(given.half, given.x.astype(np.complex64), np.ones(len(given.half), np.float32))
    averager = Averager(everywhere, Settings(**SHORT, folds=folds, fill_in=True, symmetry=symmetry))
    model = averager.start(5 * rng.standard_normal((1, 16, 16, 16)))
    posterior = at_poses(given.poses.rotations, given.poses.shifts)
    found, _, _ = averager.maximise(posterior, np.ones((15, 1, 1)), model, 0)
    for volume in (*found.volumes, *found.references[0]):
        assert abs(correlation(given.half, volume, model.volumes[0])) < 0.1


@pytest.mark.parametrize("changes", [{"weights": "laplace"}, {"weights": "nonsense"}, {"search": "nonsense"},
                                     {"poses": "nonsense"}])
def test_settings_that_do_not_exist_are_refused(changes):
    given = molecules(count=3)
    with pytest.raises(InputError):
        averaged(given, iterations=1, initial=given.poses, **changes)


@pytest.mark.parametrize("seed", [3, 5])
def test_levelling_leaves_classes_comparable(seed):
    """From the true maps, level=None: the data term of a levelled class is scaled, that of the other class is not."""
    given = molecules(count=24, kinds=2, noise=0.5, seed=seed)
    averager = Averager(given.particles, Settings(**{**SHORT, "iterations": 5}, classes=2))
    model = averager.start(given.truth)
    model.sigma2[:] = 1.0
    np.testing.assert_array_equal(averager.run(model).classes, given.labels)


def test_levelling_takes_no_particle_from_a_class_like_it():
    given = molecules(noise=0.1)
    averager = Averager(given.particles, Settings(**SHORT, classes=2))
    model = averager.start(np.repeat(given.truth, 2, axis=0))
    model.sigma2[:] = 1.0
    model.levelled = np.array([True, False])
    posterior = averager.expect(model)
    best = np.where(posterior.meant, posterior.ll, -np.inf).max(axis=2)
    np.testing.assert_allclose(best[:, 0], best[:, 1], rtol=0.05)
