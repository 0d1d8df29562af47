"""What must be true of whole averaging runs: symmetries of the problem, odd cases, weights, folds, repeatability."""

from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest

from concordet import evaluation, rigid, wedge
from concordet.averaging import Averager, Model, Particles, Posterior, Settings, best_poses, hard, soft
from concordet.errors import InputError
from concordet.fourier import HalfSpace, soft_sphere
from reference import fourier as slow_fourier

BOX = 16
SHORT = {"max_shift": 1.8, "samples": 500, "bands": (6, 6, 7), "follow": False, "iterations": 5, "candidates": 12}
MASK = soft_sphere((BOX,) * 3, 11, 3)


def tilted(half, axes):
    """(len(axes), J) wedges of +-60 degrees."""
    return np.stack([wedge.TiltRange(-60, 60, axis=axis).at(half.indices, half.box) for axis in axes])


def molecules(count=12, box=BOX, kinds=1, noise=0.3, seed=0):
    """Particles of one or several molecules behind one of two wedges each, and what is known of them."""
    rng, half = np.random.default_rng(seed), HalfSpace(box)
    blobs = [slow_fourier.molecule(rng, radius=box / 5) for _ in range(kinds)]
    poses = rigid.Poses(rigid.random_rotations(count, rng), rng.uniform(-1, 1, (count, 3)))
    labels = np.arange(count) % kinds
    x = np.stack([slow_fourier.blob_transform(slow_fourier.moved(blobs[k], r, t), half.indices, box)
                  for k, r, t in zip(labels, poses.rotations, poses.shifts, strict=True)])
    x += noise * (rng.standard_normal((*x.shape, 2)) @ [1, 1j]) / np.sqrt(2)
    p1, which = tilted(half, ("y", 90.0)), np.arange(count) // kinds % 2
    truth = np.stack([slow_fourier.blob_volume(one, box) for one in blobs])
    return SimpleNamespace(half=half, poses=poses, labels=labels, truth=truth, x=x, p1=p1, which=which,
                           particles=Particles(half, (x * p1[which]).astype(np.complex64), p1, which))


def averaged(given, *, references=None, mask=None, initial=None, threads=0, on_iteration=None, **changes):
    averager = Averager(given.particles, Settings(**{**SHORT, **changes}), mask=mask, initial=initial, threads=threads)
    return averager.run(averager.start(references), on_iteration=on_iteration)


def at_poses(rotations, shifts=None, classes=1):
    """A posterior of one candidate per particle and class."""
    posterior = Posterior.empty(len(rotations), classes, 1)
    posterior.rotations[:] = rotations[:, None, None]
    posterior.shifts[:] = 0 if shifts is None else shifts[:, None, None]
    posterior.meant[:], posterior.shares[:], posterior.ll[:] = True, 1, 0
    return posterior


def correlation(half, a, b, low=0):
    """Of coefficients with |k| > low."""
    a, b = (half.transform(volume)[half.radii > low] for volume in (a, b))
    return (a * b.conj()).real.sum() / np.sqrt((np.abs(a) ** 2).sum() * (np.abs(b) ** 2).sum())


def bits(result):
    """All that an answer holds, but for times."""
    model = b"".join(np.asarray(getattr(result.model, one.name)).tobytes() for one in fields(Model))
    arrays = (result.halves, result.poses.rotations, result.poses.shifts, result.classes, result.posterior,
              result.entropy, result.log_likelihoods)
    return model + b"".join(array.tobytes() for array in arrays)


# The whole


@pytest.mark.parametrize("soft", [True, False])
def test_an_average_comes_out_of_noise_without_a_reference(soft):
    given = molecules(count=30, noise=1.0)
    result = averaged(given, soft=soft, mask=MASK, iterations=9, bands=(4, 4, 5, 5, 6, 6, 7), seed=1)
    assert evaluation.align(result.model.volumes[0], given.truth[0]).sharp_correlation > 0.9


@pytest.mark.parametrize("soft", [True, False])
def test_two_molecules_become_two_classes(soft):
    given = molecules(count=24, kinds=2, noise=0.5)
    averager = Averager(given.particles, Settings(**{**SHORT, "iterations": 3}, classes=2, soft=soft))
    model = averager.start(given.truth + np.random.default_rng(0).normal(0, 0.3, given.truth.shape))
    model.sigma2[:] = 1.0
    result = averager.run(model)
    np.testing.assert_array_equal(result.classes, given.labels)
    assert result.posterior[np.arange(24), given.labels].min() > 0.99
    np.testing.assert_allclose(result.model.alpha, 0.5, atol=1e-3)
    for k in range(2):
        own, other = (correlation(given.half, result.model.volumes[k], given.truth[one], low=2) for one in (k, 1 - k))
        assert own > 0.9 and own > other + 0.1


def test_it_ends_when_poses_stand_still():
    given = molecules(count=16, noise=0.1)
    result = averaged(given, references=given.truth, iterations=40, bands=(6, 7))
    assert len(result.history) < 12
    last = result.history[-1]
    assert last.rotation_change < 0.3 and last.shift_change < 0.05
    assert np.isnan(result.history[0].rotation_change)


@pytest.mark.parametrize("soft", [True, False])
def test_the_paper_runs_as_printed(soft):
    """No rotation at the start, one sigma^2, all shells from the first iteration on."""
    given = molecules(count=10)
    settings = Settings.paper(soft=soft, iterations=3, max_shift=1.8, samples=300, candidates=8, classes=2)
    averager = Averager(given.particles, settings)
    model = averager.start()
    assert (model.sigma2 == model.sigma2[0]).all() and model.band == given.half.band
    result = averager.run(model)
    assert [progress.band for progress in result.history] == [given.half.band] * 3
    assert np.isfinite(result.model.volumes).all() and not result.model.levelled.any()
    assert (result.model.sigma2 == result.model.sigma2[0]).all()


# The start


def test_the_start_is_a_random_split():
    """Classes as even as can be, the noise the power of the particles, nothing known of shifts."""
    given = molecules(count=13)
    averager = Averager(given.particles, Settings(**SHORT, classes=3), mask=MASK)
    model = averager.start()
    power = [(np.abs(given.x[:, c]) ** 2 * given.p1[given.which][:, c]).sum() / given.p1[given.which][:, c].sum()
             for c in (given.half.shells == shell for shell in range(1, given.half.band + 1))]
    np.testing.assert_allclose(model.sigma2[1:], power, rtol=1e-5)
    assert model.xi == BOX and model.band == 6
    np.testing.assert_allclose(model.alpha, 1 / 3)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert abs(correlation(given.half, model.volumes[a], model.volumes[b], low=2)) < 0.9
    assert (model.volumes[:, MASK == 0] == 0).all() and np.isfinite(model.references).all()
    other = Averager(given.particles, Settings(**SHORT, classes=3, seed=1)).start()
    assert not np.allclose(other.volumes, model.volumes)


def test_references_given_are_the_start():
    given = molecules(kinds=2)
    model = Averager(given.particles, Settings(**SHORT, classes=2, folds=3), mask=MASK).start(given.truth)
    np.testing.assert_array_equal(model.volumes, given.truth * MASK)
    for fold in range(3):
        np.testing.assert_array_equal(model.references[:, fold], model.volumes)


# Symmetries of the problem


@pytest.mark.parametrize("soft", [True, False])
def test_particles_in_another_order_give_the_same(soft, rng):
    """With one fold and references given nothing depends on the place of a particle."""
    given, order = molecules(count=14, kinds=2), rng.permutation(14)
    other = SimpleNamespace(particles=Particles(given.half, given.particles.p0[order], given.p1, given.which[order]))
    runs = [averaged(one, references=given.truth, folds=1, classes=2, soft=soft) for one in (given, other)]
    first, second = runs
    scale = np.abs(first.model.volumes).max()
    np.testing.assert_allclose(second.model.volumes, first.model.volumes, atol=1e-3 * scale)
    np.testing.assert_allclose(second.posterior, first.posterior[order], atol=1e-3)
    assert rigid.geodesic(second.poses.rotations, first.poses.rotations[order]).max() < 0.1
    np.testing.assert_allclose(second.poses.shifts, first.poses.shifts[order], atol=0.01)
    np.testing.assert_allclose(second.log_likelihoods, first.log_likelihoods[order], rtol=1e-3, atol=0.5)
    np.testing.assert_allclose(second.model.sigma2[1:], first.model.sigma2[1:], rtol=1e-3)


def test_classes_that_are_the_same_share_alike():
    given = molecules()
    result = averaged(given, references=np.repeat(given.truth, 3, axis=0), classes=3, iterations=2)
    np.testing.assert_allclose(result.posterior, 1 / 3, rtol=1e-12)
    np.testing.assert_allclose(result.model.alpha, 1 / 3, rtol=1e-12)
    for k in (1, 2):
        np.testing.assert_array_equal(result.model.volumes[k], result.model.volumes[0])
    # Three of a third each are one, but for a denominator of a third.
    one = averaged(given, references=given.truth, iterations=2)
    assert correlation(given.half, result.model.volumes[0], one.model.volumes[0]) > 0.98


@pytest.mark.parametrize("symmetry", ["C2", "C4", "D2"])
def test_symmetric_groups_give_symmetric_averages(symmetry):
    """On an odd box these rotations about voxel n // 2 carry the grid onto itself."""
    given = molecules(box=15)
    result = averaged(given, symmetry=symmetry, poses="fixed", initial=given.poses, iterations=1)
    volume = result.model.volumes[0]
    copies = {"C2": [volume[:, ::-1, ::-1]], "C4": [np.rot90(volume, axes=(1, 2))],
              "D2": [volume[:, ::-1, ::-1], volume[::-1, ::-1], volume[::-1, :, ::-1]]}
    for copy in copies[symmetry]:
        np.testing.assert_allclose(copy, volume, atol=1e-4 * np.abs(volume).max())
    assert np.abs(volume[::-1] - volume).max() > 0.03 * np.abs(volume).max()


# Odd cases


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize(("count", "classes"), [(1, 1), (1, 2), (3, 5)])
def test_few_particles_and_many_classes_are_defined(count, classes, soft, paper):
    given = molecules(count=count)
    changes = {"classes": classes, "soft": soft, "iterations": 2, "max_shift": 1.8, "samples": 200, "candidates": 6}
    averager = Averager(given.particles, Settings.paper(**changes) if paper else Settings(**changes))
    result = averager.run(averager.start())
    for one in fields(Model):
        assert np.isfinite(getattr(result.model, one.name)).all(), one.name
    assert np.isfinite(result.halves).all() and np.isfinite(result.log_likelihoods).all()
    np.testing.assert_allclose(result.posterior.sum(axis=1), 1)
    assert (result.model.alpha > 0).all() and result.model.alpha.sum() == pytest.approx(1)
    assert (result.model.sigma2 > 0).all() and result.model.xi > 0


@pytest.mark.parametrize("soft", [True, False])
def test_a_dead_class_divides_nothing_by_zero(soft):
    """A reference of nothing beside the truth: it takes no particle, and stays where it can be taken from."""
    given = molecules(noise=0.1)
    references = np.stack([given.truth[0], 0 * given.truth[0]])
    averager = Averager(given.particles, Settings(**SHORT, classes=2, soft=soft))
    model = averager.start(references)
    posterior = averager.expect(model)
    assign = globals()["soft" if soft else "hard"]
    model, halves, _ = averager.maximise(posterior, assign(posterior, model.alpha), model, 0)
    assert model.alpha[0] > 0.99 and 0 < model.alpha[1] < 0.01
    assert np.isfinite(model.volumes).all() and np.isfinite(halves).all()
    assert np.abs(model.volumes[1]).max() < 0.01 * np.abs(model.volumes[0]).max()
    again = averager.expect(model)
    assert np.isfinite(averager.log_likelihoods(again, model)).all()


def test_a_class_that_dies_starts_again():
    """Half of the largest one's particles become its own while the band rises, so that both end alive."""
    given, seen = molecules(count=24), []
    references = np.stack([given.truth[0], 0 * given.truth[0]])
    averaged(given, references=references, classes=2, iterations=2, bands=(6, 6, 6, 6),
             on_iteration=lambda progress, model, *_: seen.append((progress.occupancies, model)))
    (before, _), (after, model) = seen
    assert before[1] < 1 < after[1]
    assert correlation(given.half, *model.volumes) > 0.5


@pytest.mark.parametrize("what", ["unseen", "empty", "all empty"])
def test_particles_without_anything_do_no_harm(what):
    given = molecules()
    p0, p1 = given.particles.p0.copy(), given.p1[given.which].copy()
    p0[slice(None) if what == "all empty" else 3] = 0
    if what == "unseen":
        p1[3] = 0
    given.particles = Particles(given.half, p0, p1, np.arange(len(p0)))
    result = averaged(given, classes=2)
    assert np.isfinite(result.model.volumes).all() and np.isfinite(result.log_likelihoods).all()
    np.testing.assert_allclose(result.posterior.sum(axis=1), 1)


def test_nothing_to_average_is_refused():
    given = molecules(count=2)
    nobody = Particles(given.half, given.particles.p0[:0], given.p1)
    for make, message in [
        (lambda: Averager(nobody, Settings()), "expected particles and a class at least, got 0"),
        (lambda: Averager(given.particles, Settings(classes=0)), "got 2 and 0"),
        (lambda: Averager(given.particles, Settings(poses="fixed")), "--poses fixed: expected poses"),
        (lambda: Averager(given.particles, Settings(poses="local")), "--poses local: expected poses"),
    ]:
        with pytest.raises(InputError, match=message):
            make()


# Weights of Fourier space


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", ["binary", "raw", "premultiplied"])
def test_noise_free_data_at_their_poses_give_the_map_back(kind, masked, rng):
    """Through a CTF with its sign too: where it is zero for one particle, others see."""
    given = molecules(count=40, noise=1e-3, box=20)
    half, mask = given.half, soft_sphere((20,) * 3, 14, 3) if masked else None
    ctf = np.cos(np.linspace(0.02, 0.06, 40)[:, None] * half.radii**2 + 0.3) * given.p1[given.which]
    weights = {"binary": given.p1[given.which], "raw": ctf, "premultiplied": 4 * ctf**2}[kind]
    data = given.x * (weights if kind != "binary" else 1)
    p0, p1 = wedge.statistics(data, weights, kind)
    given.particles = Particles(half, p0, p1, np.arange(40))
    result = averaged(given, poses="fixed", initial=given.poses, iterations=3, bands=None, mask=mask)
    truth = given.truth[0] if mask is None else given.truth[0] * mask
    assert correlation(half, result.model.volumes[0], truth) > 0.995
    found, expected = half.transform(result.model.volumes[0]), half.transform(truth)
    assert np.sqrt((np.abs(found) ** 2).sum() / (np.abs(expected) ** 2).sum()) == pytest.approx(1, abs=0.05)
    for reference in result.model.references[0]:
        assert correlation(half, reference, truth) > 0.98
    assert result.model.sigma2[1:].max() < 0.01 * Averager(given.particles, Settings()).start().sigma2[1:].max()


def test_shells_that_no_one_sees_stay_as_they_were():
    given = molecules()
    hidden = given.half.shells == 5
    given.p1[:, hidden] = 0
    given.particles = Particles(given.half, np.where(hidden, 0, given.particles.p0), given.p1, given.which)
    result = averaged(given)
    assert np.isfinite(result.model.volumes).all()
    assert result.model.sigma2[5] == Averager(given.particles, Settings(**SHORT)).start().sigma2[5]


def test_poses_that_pile_up_are_levelled():
    """Coverage 1: all directions alike. Under one wedge all particles in one orientation leave a gap."""
    given = molecules(count=30, noise=0.1)
    given.particles = Particles(given.half, given.x.astype(np.complex64) * given.p1[0], given.p1[:1])
    averager, shares = Averager(given.particles, Settings(**SHORT)), np.ones((30, 1, 1))
    model = averager.start()
    even, _, _ = averager.maximise(at_poses(given.poses.rotations), shares, model, 0)
    assert averager.coverage[0] > 0.6 and not even.levelled.any()
    near = rigid.from_rotation_vector(np.random.default_rng(0).normal(0, 0.1, (30, 3)))
    piled, _, _ = averager.maximise(at_poses(near), shares, model, 0)
    assert averager.coverage[0] < 0.1 and piled.levelled.all()
    kept, _, _ = averager.maximise(at_poses(given.poses.rotations), shares, piled, 1)
    assert kept.levelled.all()
    never = Averager(given.particles, Settings(**SHORT, level=False))
    assert not never.maximise(at_poses(near), shares, model, 0)[0].levelled.any()


# Folds, halves, classes


def test_a_fold_does_not_see_itself():
    """Another particle in fold f changes every reference but that of f."""
    given = molecules(count=15)
    posterior, shares = at_poses(given.poses.rotations, given.poses.shifts), np.ones((15, 1, 1))
    settings = Settings(**SHORT, folds=5)
    averager = Averager(given.particles, settings)
    model, fold = averager.start(), averager.task.fold
    assert np.bincount(fold).tolist() == [3] * 5
    before = averager.maximise(posterior, shares, model, 0)[0].references[0]
    p0 = given.particles.p0.copy()
    p0[fold == 2] *= -3
    other = Averager(Particles(given.half, p0, given.p1, given.which), settings)
    after = other.maximise(posterior, shares, model, 0)[0].references[0]
    change = np.abs(after - before).max(axis=(1, 2, 3)) / np.abs(before).max()
    assert change[2] < 1e-5 and (np.delete(change, 2) > 0.1).all()


def test_a_particle_is_compared_with_the_reference_of_its_fold():
    given = molecules(noise=0.1)
    averager = Averager(given.particles, Settings(**SHORT, folds=3))
    model = averager.start(given.truth)
    plain = averager.expect(model)
    model.references[0, 1] *= -1
    other = averager.expect(model)
    mine = averager.task.fold == 1
    np.testing.assert_array_equal(other.ll[~mine], plain.ll[~mine])
    assert (other.ll[mine].max(axis=(1, 2)) < plain.ll[mine].max(axis=(1, 2)) - 10).all()


@pytest.mark.parametrize("folds", [1, 5])
def test_halves_share_no_particle(folds):
    given = molecules(count=20)
    posterior, shares = at_poses(given.poses.rotations, given.poses.shifts), np.ones((20, 1, 1))
    averager = Averager(given.particles, Settings(**SHORT, folds=folds))
    model = averager.start()
    _, halves, _ = averager.maximise(posterior, shares, model, 0)
    for i in range(0, 20, 3):
        p0 = given.particles.p0.copy()
        p0[i] *= -3
        other = Averager(Particles(given.half, p0, given.p1, given.which), averager.settings)
        changed = np.abs(other.maximise(posterior, shares, model, 0)[1] - halves).max(axis=(0, 2, 3, 4)) > 1e-4
        assert changed.sum() == 1


def test_similarity_pulls_classes_together_and_fades():
    given = molecules(count=24, kinds=2, noise=0.1)
    posterior = at_poses(given.poses.rotations, given.poses.shifts, classes=2)
    shares = np.zeros((24, 2, 1))
    shares[np.arange(24), given.labels] = 1

    def apart(theta, iteration):
        averager = Averager(given.particles, Settings(**SHORT, classes=2, theta=theta))
        model = averager.start(given.truth)
        a, b = averager.maximise(posterior, shares, model, iteration)[0].volumes
        return np.linalg.norm(a - b)

    free = apart(0, 0)
    pulled = [apart(theta, 0) for theta in (1, 5, 50)]
    assert free > pulled[0] > pulled[1] > pulled[2] and pulled[2] < 0.35 * free
    fading = [apart(50, iteration) for iteration in (0, 10, 30, 90)]
    assert (np.diff(fading) > 0).all() and fading[-1] > 0.98 * free


# Poses


def test_fixed_poses_stay():
    given = molecules()
    result = averaged(given, poses="fixed", initial=given.poses)
    np.testing.assert_array_equal(result.poses.rotations, given.poses.rotations)
    np.testing.assert_array_equal(result.poses.shifts, given.poses.shifts)
    assert correlation(given.half, result.model.volumes[0], given.truth[0]) > 0.9


def test_local_poses_come_nearer():
    """Off by 8 degrees at the start, fewer at the end."""
    given = molecules(count=24, noise=0.1)
    turns = np.random.default_rng(1).standard_normal((24, 3))
    turns *= np.radians(8) / np.linalg.norm(turns, axis=1, keepdims=True)
    initial = rigid.Poses(rigid.from_rotation_vector(turns) @ given.poses.rotations, given.poses.shifts)
    result = averaged(given, poses="local", initial=initial, angular_range=12.0, references=given.truth)
    assert np.median(rigid.geodesic(result.poses.rotations, given.poses.rotations)) < 2.5


def test_the_best_pose_is_that_of_the_largest_share():
    given = molecules(kinds=2)
    averager = Averager(given.particles, Settings(**SHORT, classes=2))
    model = averager.start(given.truth)
    posterior = averager.expect(model)
    shares = soft(posterior, model.alpha)
    best = best_poses(posterior, shares)
    for i in range(len(given.labels)):
        k, c = np.unravel_index(shares[i].argmax(), shares[i].shape)
        np.testing.assert_array_equal(best.rotations[i], posterior.rotations[i, k, c])
        np.testing.assert_array_equal(best.shifts[i], posterior.shifts[i, k, c])
    assert (hard(posterior, model.alpha).sum(axis=(1, 2)) == 1).all()


# One answer


@pytest.mark.parametrize("changes", [{}, {"classes": 2, "soft": False}, {"search": "magnitude", "folds": 1}])
def test_the_same_again_and_with_more_threads(changes):
    """Bit for bit; another seed is another start."""
    given = molecules()
    options = {**changes, "mask": MASK, "iterations": 3}
    first = bits(averaged(given, threads=1, **options))
    assert bits(averaged(given, threads=1, **options)) == first
    assert bits(averaged(given, threads=2, **options)) == first
    assert bits(averaged(given, threads=2, seed=1, **options)) != first


@pytest.mark.parametrize("changes", [{"theta": 2.0}, {"soft": False, "follow": True}, {"poses": "local"},
                                     {"fill_in": True, "search": "magnitude", "one_noise": True}])
def test_going_on_from_any_iteration_gives_the_same_bits(changes):
    """Classes die and start again on the way; what an iteration leaves is all that the next one needs."""
    given, left = molecules(count=10, kinds=2), []

    def keep(progress, model, posterior, shares):
        copied = {one.name: np.copy(getattr(model, one.name)) for one in fields(Model)}
        copied.update(xi=float(model.xi), band=int(model.band))
        left.append((progress, Model(**copied), best_poses(posterior, shares)))

    options = {**changes, "classes": 2, "initial": given.poses, "iterations": 4, "bands": (5, 6, 6, 7)}
    whole = averaged(given, on_iteration=keep, **options)
    initial = options.pop("initial")
    for first, (progress, model, previous) in enumerate(left[:-1], 1):
        # A fresh one, as in a new process.
        averager = Averager(given.particles, Settings(**{**SHORT, **options}), initial=initial)
        again = averager.run(model, first=first, previous=previous)
        assert bits(again) == bits(whole)
        for mine, theirs in zip(again.history, whole.history[first:], strict=True):
            assert replace(mine, seconds={}) == replace(theirs, seconds={})
        assert progress.iteration == first - 1
