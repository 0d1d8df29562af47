"""Cells of candidates in the space of poses: against their definition, and where symmetry gives the answer."""

import numpy as np
import pytest

from concordet import poses, rigid
from concordet.errors import InputError
from reference import poses as slow


@pytest.mark.parametrize("rotations_from", ["so3", "euler"])
@pytest.mark.parametrize("samples", [1000, 1013])
def test_weights_count_the_nearest_by_definition(rng, rotations_from, samples):
    rotations = rigid.random_rotations(60, rng).reshape(3, 20, 3, 3)
    shifts, counts = rng.normal(size=(3, 20, 3)) * 3, np.array([20, 7, 1])
    fast = poses.voronoi_weights(rotations, shifts, counts, alpha_trd=0.04, samples=samples, seed=4,
                                 rotations_from=rotations_from)
    table = poses.random_poses(samples, 4, rotations_from).astype(float)
    drawn = rigid.from_quaternion(table[:, :4]), table[:, 4:]
    for i, count in enumerate(counts):
        direct = slow.voronoi_weights(drawn, rotations[i, :count], shifts[i, :count], 0.04, poses.SHIFT_PADDING)
        np.testing.assert_allclose(fast[i, :count], direct, rtol=1e-12)
        assert (fast[i, count:] == 0).all()
    np.testing.assert_allclose(fast.sum(axis=1), 1, rtol=1e-12)


def test_two_candidates_share_evenly(rng):
    """Any two rotations at one shift, and one rotation at any two shifts, are mirror images of each other."""
    pairs, same = rigid.random_rotations(8, rng).reshape(4, 2, 3, 3), np.zeros((4, 2, 3))
    np.testing.assert_allclose(poses.voronoi_weights(pairs, same, alpha_trd=0.1), 0.5, atol=0.02)
    apart = rng.normal(size=(4, 2, 3))
    alike = np.repeat(pairs[:, :1], 2, axis=1)
    np.testing.assert_allclose(poses.voronoi_weights(alike, apart, alpha_trd=0.1), 0.5, atol=0.02)


@pytest.mark.parametrize("symmetry", ["C7", "D7"])
def test_cells_of_a_group_are_equal(rng, symmetry):
    group = rigid.symmetry_group(symmetry)
    rotations = (rigid.random_rotations(1, rng)[0] @ group)[None]
    weights = poses.voronoi_weights(rotations, np.zeros((1, len(group), 3)), alpha_trd=1, samples=40000)
    np.testing.assert_allclose(weights, 1 / len(group), atol=0.01)


def test_a_crowd_shares_the_cell_of_one(rng):
    """Nine candidates within a degree of each other and one far away: the far one's cell is about half of SO(3)."""
    near = rigid.from_rotation_vector(rng.normal(size=(9, 3)) * 0.01)
    far = rigid.from_rotation_vector(np.array([[0, 0, np.pi]]))
    weights = poses.voronoi_weights(np.concatenate([near, far])[None], np.zeros((1, 10, 3)), alpha_trd=1)
    assert weights[0, 9] == pytest.approx(0.5, abs=0.02)


def test_alpha_weighs_shifts_against_rotations(rng):
    """At 0 shifts do not count; far larger than 8 only they do, and even spacing makes even cells."""
    rotations, shifts = rigid.random_rotations(5, rng)[None], np.zeros((1, 5, 3))
    shifts[0, :, 0] = np.arange(5) * 2
    alone = poses.voronoi_weights(rotations, np.zeros_like(shifts), alpha_trd=0)
    np.testing.assert_array_equal(poses.voronoi_weights(rotations, shifts, alpha_trd=0), alone)
    np.testing.assert_allclose(poses.voronoi_weights(rotations, shifts, alpha_trd=1e4), 0.2, atol=0.015)


def test_no_candidate_is_deleted(rng):
    """A candidate in the shadow of its equals keeps (0 + 1) / (samples + candidates)."""
    rotations = np.repeat(rigid.random_rotations(1, rng), 4, axis=0)[None]
    weights = poses.voronoi_weights(rotations, np.zeros((1, 4, 3)), alpha_trd=1, samples=500)
    assert sorted(weights[0]) == pytest.approx([1 / 504, 1 / 504, 1 / 504, 501 / 504])


def test_euler_angles_crowd_at_the_poles(rng):
    """Uniform in tilt is not uniform on the sphere: twice as many as should within a third of a pole."""
    tilt = {kind: np.arccos(rigid.from_quaternion(poses.random_poses(20000, 1, kind)[:, :4])[:, 2, 2])
            for kind in ("so3", "euler")}
    share = {kind: np.mean(np.minimum(angle, np.pi - angle) < np.pi / 6) for kind, angle in tilt.items()}
    assert share["euler"] == pytest.approx(1 / 3, abs=0.015)
    assert share["so3"] == pytest.approx(1 - np.cos(np.pi / 6), abs=0.01)


def test_seed_and_threads(rng):
    rotations, shifts = rigid.random_rotations(60, rng).reshape(4, 15, 3, 3), rng.normal(size=(4, 15, 3))
    one = poses.voronoi_weights(rotations, shifts, alpha_trd=0.1, seed=3, threads=1)
    for threads in (2, 3):
        other = poses.voronoi_weights(rotations, shifts, alpha_trd=0.1, seed=3, threads=threads)
        assert other.tobytes() == one.tobytes()
    assert (poses.voronoi_weights(rotations, shifts, alpha_trd=0.1, seed=4) != one).any()


def test_refusals(rng):
    rotations, shifts = rigid.random_rotations(6, rng).reshape(2, 3, 3, 3), np.zeros((2, 3, 3))
    for change, message in [
        ({"rotations": rotations[0]}, r"expected rotations \(particles, most, 3, 3\)"),
        ({"shifts": shifts[:, :2]}, r"shifts \(particles, most, 3\)"),
        ({"shifts": shifts + np.nan}, "finite shifts"),
        ({"counts": [1, 4]}, r"expected counts \(2,\) of 0 to 3"),
        ({"counts": [1]}, r"expected counts \(2,\) of 0 to 3"),
        ({"alpha_trd": -1}, "alpha_trd >= 0"),
        ({"samples": 0}, "samples >= 1"),
        ({"rotations_from": "grid"}, 'expected "so3" or "euler", got "grid"'),
    ]:
        with pytest.raises(InputError, match=message):
            poses.voronoi_weights(**{"rotations": rotations, "shifts": shifts, "alpha_trd": 1, **change})
