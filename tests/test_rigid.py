"""Rotations: other programs' words against our matrices on an object without symmetry; distances, grids, groups."""

import itertools

import numpy as np
import pytest

from concordet.errors import InputError
from concordet.rigid import (
    Poses,
    check_rotations,
    compose,
    from_av3,
    from_dynamo,
    from_quaternion,
    from_relion,
    from_rotation_vector,
    from_zyz,
    geodesic,
    mean_rotation,
    random_rotations,
    rotation_grid,
    symmetry_group,
    to_av3,
    to_dynamo,
    to_quaternion,
    to_relion,
    to_rotation_vector,
    to_zyz,
)

X, Y, Z = np.eye(3)
# No rotation but the identity, and no reflection, maps these points (x, y, z) onto themselves.
OBJECT = np.array([[0.0, 0, 0], [9, 0, 0], [0, 6, 0], [0, 0, 4], [5, 3, -2]])
CONVENTIONS = {"relion": (from_relion, to_relion), "dynamo": (from_dynamo, to_dynamo), "av3": (from_av3, to_av3),
               "zyz": (lambda *angles: from_zyz(*np.radians(angles)), lambda r: np.degrees(to_zyz(r)))}


def turned(points, axis, degrees):
    """Points (n, 3) turned about an axis through the origin, counterclockwise seen from its tip (Rodrigues)."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return points * c + np.cross(axis, points) * s + np.outer(points @ axis, axis) * (1 - c)


def random_angles(rng, count=200):
    return rng.uniform(-360, 360, (3, count))


# ---------------------------------------------------------------------------------------------------- conventions


def test_dynamo_turns_the_template_clockwise_about_z_new_x_new_z(rng):
    for tdrot, tilt, narot in random_angles(rng, 20).T:
        frame_and_object = np.vstack([np.eye(3), OBJECT])
        frame_and_object = turned(frame_and_object, Z, -tdrot)
        frame_and_object = turned(frame_and_object, frame_and_object[0], -tilt)
        frame_and_object = turned(frame_and_object, frame_and_object[2], -narot)
        np.testing.assert_allclose(OBJECT @ from_dynamo(tdrot, tilt, narot).T, frame_and_object[3:], atol=1e-12)


def test_av3_turns_the_reference_by_phi_about_z_theta_about_x_psi_about_z(rng):
    for phi, psi, theta in random_angles(rng, 20).T:
        expected = turned(turned(turned(OBJECT, Z, phi), X, theta), Z, psi)
        np.testing.assert_allclose(OBJECT @ from_av3(phi, psi, theta).T, expected, atol=1e-12)


def test_relion_turns_the_particle_back_by_psi_tilt_rot(rng):
    # Its matrix as its manual has it: coordinate axes turned by rot about z, tilt about new y, psi about new z.
    for rot, tilt, psi in random_angles(rng, 20).T:
        axes = turned(np.eye(3), Z, rot)
        axes = turned(axes, axes[1], tilt)
        axes = turned(axes, axes[2], psi)
        np.testing.assert_allclose(OBJECT @ from_relion(rot, tilt, psi).T, OBJECT @ axes.T, atol=1e-12)


def test_zyz_is_successive_turns_about_fixed_axes(rng):
    for a, b, g in random_angles(rng, 20).T:
        expected = turned(turned(turned(OBJECT, Z, g), Y, b), Z, a)
        np.testing.assert_allclose(OBJECT @ from_zyz(*np.radians([a, b, g])).T, expected, atol=1e-12)


def test_dynamo_and_av3_angles_of_one_rotation(rng):
    tdrot, tilt, narot = random_angles(rng)
    assert geodesic(from_dynamo(tdrot, tilt, narot), from_av3(-narot, -tdrot, -tilt)).max() < 1e-9


@pytest.mark.parametrize("name", CONVENTIONS)
def test_angles_come_back(name, rng):
    from_angles, to_angles = CONVENTIONS[name]
    rotations = random_rotations(500, rng)
    angles = to_angles(rotations)
    assert geodesic(from_angles(*angles.T), rotations).max() < 1e-9
    assert np.abs(angles).max() <= 180
    middle = angles[:, 2] if name == "av3" else angles[:, 1]
    assert middle.min() >= 0
    np.testing.assert_allclose(to_angles(from_angles(*angles.T)), angles, atol=1e-9)


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("middle", [0.0, 1e-12, 1e-7, 1e-3, 180 - 1e-7, 180.0])
def test_angles_come_back_where_the_outer_axes_meet(name, middle, rng):
    from_angles, to_angles = CONVENTIONS[name]
    outer, other, _ = random_angles(rng)
    middle = np.full(outer.shape, middle)
    rotations = from_angles(outer, other, middle) if name == "av3" else from_angles(outer, middle, other)
    assert geodesic(from_angles(*to_angles(rotations).T), rotations).max() < 1e-6


@pytest.mark.parametrize("name", CONVENTIONS)
def test_no_rotation_has_angles_zero(name):
    np.testing.assert_array_equal(CONVENTIONS[name][1](np.eye(3)), 0)


def test_quaternions_and_rotation_vectors_come_back(rng):
    rotations = np.concatenate([random_rotations(500, rng), symmetry_group("D4"), [np.diag([-1.0, -1, 1])]])
    quaternions = to_quaternion(rotations)
    np.testing.assert_allclose(np.linalg.norm(quaternions, axis=1), 1)
    assert (quaternions[:, 0] >= 0).all()
    assert geodesic(from_quaternion(3 * quaternions), rotations).max() < 1e-9
    vectors = to_rotation_vector(rotations)
    np.testing.assert_allclose(np.degrees(np.linalg.norm(vectors, axis=1)), geodesic(np.eye(3), rotations), atol=1e-9)
    assert geodesic(from_rotation_vector(vectors), rotations).max() < 1e-9
    np.testing.assert_allclose(to_rotation_vector(from_rotation_vector([1e-12, 2e-12, -1e-12])),
                               [1e-12, 2e-12, -1e-12], rtol=1e-6)
    np.testing.assert_allclose(OBJECT @ from_rotation_vector(np.radians([0, 0, 25])).T, turned(OBJECT, Z, 25))


def test_leading_axes_are_kept(rng):
    rotations = random_rotations(6, rng).reshape(2, 3, 3, 3)
    for from_angles, to_angles in CONVENTIONS.values():
        angles = to_angles(rotations)
        assert angles.shape == (2, 3, 3)
        assert from_angles(*np.moveaxis(angles, -1, 0)).shape == (2, 3, 3, 3)
    assert from_quaternion(to_quaternion(rotations)).shape == rotations.shape
    assert geodesic(rotations[:, None], rotations[0, 0]).shape == (2, 1, 3)


# ---------------------------------------------------------------------------------------------------- real tables


def test_every_real_dynamo_table_comes_back(data_root):
    for path in sorted((data_root / "data/metadata/tbl").glob("*.tbl")):
        angles = np.loadtxt(path, ndmin=2)[:, 6:9]
        rotations = from_dynamo(*angles.T)
        back = to_dynamo(rotations)
        assert geodesic(from_dynamo(*back.T), rotations).max() < 1e-9, path
        kept = angles[:, 1] % 360 < 180  # else the same rotation is said with a positive tilt
        kept &= angles[:, 1] % 180 != 0
        assert np.abs((back - angles + 180)[kept] % 360 - 180).max(initial=0) < 1e-9, path


def test_every_real_motive_list_comes_back(data_root):
    for path in sorted((data_root / "data/metadata/em_motl").glob("*.em")):
        content = path.read_bytes()
        rows, count = np.frombuffer(content, "<i4", 2, 4)
        numbers = np.frombuffer(content, {5: "<f4", 9: "<f8"}[content[3]], rows * count, 512)
        motl = numbers.reshape(count, rows)
        angles = motl[:, 16:19].astype(float)
        rotations = from_av3(*angles.T)
        back = to_av3(rotations)
        assert geodesic(from_av3(*back.T), rotations).max() < 1e-9, path
        kept = (angles[:, 2] % 360 < 180) & (angles[:, 2] % 180 != 0)
        assert kept.any()
        assert np.abs((back - angles + 180)[kept] % 360 - 180).max() < 1e-9, path


# ---------------------------------------------------------------------------------------------------- distances


@pytest.mark.parametrize("degrees", [0.0, 1e-9, 1e-6, 0.01, 45.0, 120.0, 180 - 1e-6, 180.0])
def test_geodesic_is_the_angle_turned(degrees, rng):
    axes = rng.standard_normal((50, 3))
    axes *= np.radians(degrees) / np.linalg.norm(axes, axis=1)[:, None]
    rotations = random_rotations(50, rng)
    np.testing.assert_allclose(geodesic(rotations, rotations @ from_rotation_vector(axes)), degrees, atol=1e-12 * 180)


def test_geodesic_is_a_metric_of_the_group(rng):
    a, b, c, d = (random_rotations(300, rng) for _ in range(4))
    np.testing.assert_allclose(geodesic(a, b), geodesic(b, a), atol=1e-9)
    np.testing.assert_allclose(geodesic(d @ a @ c, d @ b @ c), geodesic(a, b), atol=1e-6)
    assert (geodesic(a, c) <= geodesic(a, b) + geodesic(b, c) + 1e-9).all()


@pytest.mark.parametrize("name", ["C1", "C7", "D2", "D7"])
def test_geodesic_modulo_symmetry_is_the_least_of_all_copies(name, rng):
    group = symmetry_group(name)
    a, b = random_rotations(100, rng), random_rotations(100, rng)
    copies = geodesic(a[:, None], b[:, None] @ group)  # S acts on the reference, so it stands on the right
    np.testing.assert_allclose(geodesic(a, b, group), copies.min(axis=1), atol=1e-9)
    assert geodesic(a, a @ group[-1], group).max() < 1e-9


# ---------------------------------------------------------------------------------------------------- poses


def test_composed_poses_move_points_one_after_the_other(rng):
    first, second = (Poses(random_rotations(20, rng), rng.standard_normal((20, 3))) for _ in range(2))
    points = rng.standard_normal((20, 3))

    def moved(poses, points):
        return np.einsum("nij,nj->ni", poses.rotations, points) + poses.shifts

    both = compose(first, second)
    np.testing.assert_allclose(moved(both, points), moved(first, moved(second, points)))
    np.testing.assert_allclose(moved(both.inverse(), moved(both, points)), points)
    one_to_all = compose(first[3], second)
    np.testing.assert_allclose(moved(one_to_all, points), moved(first[[3] * 20], moved(second, points)))
    identity = compose(both, both.inverse())
    np.testing.assert_allclose(identity.rotations, Poses.identity(20).rotations, atol=1e-12)
    np.testing.assert_allclose(identity.shifts, 0, atol=1e-12)


def test_poses_are_chosen_by_index(rng):
    poses = Poses(random_rotations(5, rng), rng.standard_normal((5, 3)))
    assert [len(poses), len(poses[-1]), len(poses[1:3]), len(poses[poses.shifts[:, 0] > 9])] == [5, 1, 2, 0]
    np.testing.assert_array_equal(poses[-1].shifts[0], poses.shifts[4])
    np.testing.assert_array_equal(poses[[4, 0]].rotations, poses.rotations[[4, 0]])
    assert len(list(poses)) == 5
    with pytest.raises(IndexError):
        poses[5]


# ---------------------------------------------------------------------------------------------------- coverings


def test_random_rotations_are_uniform(rng):
    rotations = random_rotations(20000, rng)
    np.testing.assert_allclose(rotations.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose((rotations**2).mean(axis=0), 1 / 3, atol=0.02)
    angles = np.sort(np.radians(geodesic(np.eye(3), rotations)))
    expected = (angles - np.sin(angles)) / np.pi  # share of SO(3) within an angle
    assert np.abs(expected - np.arange(20000) / 20000).max() < 0.012  # Kolmogorov's 1 % level
    again = random_rotations(5, np.random.default_rng(1))
    np.testing.assert_array_equal(again, random_rotations(5, np.random.default_rng(1)))


@pytest.mark.parametrize("step", [90.0, 45.0, 30.0, 18.0, 12.0])
def test_every_rotation_is_within_a_step_of_the_grid(step, rng):
    grid = to_quaternion(rotation_grid(step))
    probes = to_quaternion(random_rotations(3000, rng))
    nearest = 2 * np.degrees(np.arccos(np.minimum(np.abs(probes @ grid.T).max(axis=1), 1)))
    assert 0.6 * step < nearest.max() <= step
    radius = np.radians(step)
    assert len(grid) < 4.2 * np.pi / (radius - np.sin(radius))  # thin: no more than 4.2-fold on average


def test_grid_holds_each_rotation_once_and_counts_as_documented():
    grid = rotation_grid(15.0)
    between = geodesic(grid[:, None], grid[None, :400])
    assert between[between > 1e-6].min() > 6
    assert len(grid) == pytest.approx(1.08e7 / 15**3, rel=0.05)


# ---------------------------------------------------------------------------------------------------- symmetry


@pytest.mark.parametrize(("name", "order"), [("C1", 1), ("c2", 2), ("C7", 7), ("D2", 4), ("D7", 14), ("d3", 6)])
def test_symmetry_groups_are_groups(name, order):
    group = symmetry_group(name)
    assert group.shape == (order, 3, 3)
    np.testing.assert_array_equal(group[0], np.eye(3))
    for a, b in itertools.product(group, group):
        assert np.sort(geodesic(a @ b, group))[0] < 1e-9
    between = geodesic(group[:, None], group) + 999 * np.eye(order)
    assert between.min() > 1


def test_symmetry_axes_are_n_fold_along_z_and_2_fold_along_x():
    group = symmetry_group("D7")
    assert geodesic(group, turned(np.eye(3), Z, 360 / 7).T).min() < 1e-9
    assert geodesic(group, turned(np.eye(3), X, 180).T).min() < 1e-9
    assert geodesic(group, turned(np.eye(3), Y, 180).T).min() > 1  # 7 is odd: no 2-fold along y


@pytest.mark.parametrize("name", ["", "C", "C0", "D1", "D0", "C-2", "C2.5", "T", "O", "I", "E7", "C7x", "C12345"])
def test_unknown_symmetry_is_refused(name):
    with pytest.raises(InputError, match=r"symmetry: expected C1, C2, \.\.\. or D2, D3, \.\.\., got"):
        symmetry_group(name)


# ---------------------------------------------------------------------------------------------------- mean


def test_mean_rotation_is_the_nearest_to_all(rng):
    truth = random_rotations(1, rng)[0]
    cloud = truth @ from_rotation_vector(0.1 * rng.standard_normal((2000, 3)))
    mean = mean_rotation(cloud)
    check_rotations(mean)
    assert geodesic(mean, truth) < 0.5

    def spread(rotation, weights):
        return (weights * ((cloud - rotation) ** 2).sum(axis=(1, 2))).sum()

    weights = rng.uniform(0, 1, 2000)
    best = mean_rotation(cloud, weights)
    for nudge in from_rotation_vector(0.001 * np.vstack([np.eye(3), -np.eye(3)])):
        assert spread(best, weights) < spread(best @ nudge, weights)
    assert geodesic(mean_rotation(cloud, np.arange(2000) == 7), cloud[7]) < 1e-6


def test_mean_of_opposed_rotations_is_a_rotation():
    check_rotations(mean_rotation(symmetry_group("D2")))
    check_rotations(mean_rotation(symmetry_group("C2")))


# ---------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(("rotations", "got"), [
    (np.zeros((3, 2)), r"expected matrices \(\.\.\., 3, 3\), got an array .*3, 2\)"),
    (np.zeros(3), "expected matrices"),
    (np.diag([1.0, 1, -1]), "R R.T = I and det R = 1 within 0.001, got an error of 2"),
    (np.eye(3) * 1.001, "R R.T = I"),
    (np.full((3, 3), np.nan), "expected finite numbers, got NaN"),
])
def test_what_is_no_rotation_is_refused(rotations, got):
    for function in (to_relion, to_quaternion, lambda r: geodesic(r, np.eye(3)), mean_rotation,
                     lambda r: Poses(np.asarray(r)[None], np.zeros((1, 3)))):
        with pytest.raises(InputError, match=got.replace("R.T", r"R\^T")):
            function(rotations)


def test_rounded_matrices_are_rotations(rng):
    check_rotations(np.round(random_rotations(100, rng), 4))
    assert len(check_rotations(np.empty((0, 3, 3)))) == 0


@pytest.mark.parametrize(("call", "got"), [
    (lambda: from_relion(0, np.nan, 0), "angles: expected finite"),
    (lambda: from_dynamo(0, np.inf, 0), "angles: expected finite"),
    (lambda: from_quaternion([0, 0, 0, 0]), "quaternions: expected"),
    (lambda: from_quaternion([1, 0, 0]), r"quaternions: expected an array \(\.\.\., 4\)"),
    (lambda: from_rotation_vector(np.zeros((2, 2))), r"rotation vectors: expected an array \(\.\.\., 3\)"),
    (lambda: Poses(np.eye(3)[None], np.zeros((2, 3))), "poses: expected rotations"),
    (lambda: Poses(np.eye(3)[None], np.full((1, 3), np.nan)), "shifts: expected finite"),
    (lambda: compose(Poses.identity(2), Poses.identity(3)), "expected as many to compose, or one, got 2 and 3"),
    (lambda: rotation_grid(0.5), "expected a step of 1 to 90 degrees, got 0.5"),
    (lambda: rotation_grid(np.nan), "expected a step"),
    (lambda: mean_rotation(np.eye(3)), "mean rotation: expected rotations"),
    (lambda: mean_rotation(np.eye(3)[None], np.zeros(1)), "expected weights >= 0, not all 0"),
    (lambda: mean_rotation(np.eye(3)[None], np.ones(2)), "mean rotation: expected rotations"),
])
def test_other_bad_input_is_refused(call, got):
    with pytest.raises(InputError, match=got):
        call()
