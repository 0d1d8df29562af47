"""View maps against the formulas of the conventions, step by step and point by point."""

import numpy as np
import pytest

from concordet.errors import InputError
from concordet.geometry import (
    ViewGeometry,
    centre_offset,
    imod_volume_transform,
    joined,
    rotation_x,
    rotation_z,
    tilt_series,
)

TILTS = np.array([-60.0, -31.5, 0.0, 12.0, 58.0])
SHAPE = (630, 652)


def see(geometry, points):
    """(view, n, 2): where the views see the points (n, 3)."""
    points = np.atleast_2d(points)
    return points @ geometry.maps[:, :, :3].transpose(0, 2, 1) + geometry.maps[:, None, :, 3]


def some_points(rng, count=12):
    return rng.uniform(-200, 200, (count, 3))


def some_transforms(rng):
    views = len(TILTS)
    angle = np.deg2rad(rng.uniform(-95, 95, views))
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
    skewed = turned @ (np.eye(2) + rng.uniform(-0.05, 0.05, (views, 2, 2)))
    return np.concatenate([skewed, rng.uniform(-30, 30, (views, 2, 1))], axis=2)


def some_volume_transform(rng):
    return np.column_stack([rotation_z(80) @ rotation_x(7) + rng.uniform(-0.03, 0.03, (3, 3)), [12.0, -7.5, 3.0]])


def test_centre_offset_leads_from_imods_centre_to_ours():
    assert [float(centre_offset(n)) for n in (1, 2, 3, 96, 95)] == [0, 0.5, 0, 0.5, 0]


@pytest.mark.parametrize("azimuth", [0, 45, 90, -23.0])
def test_a_tilt_about_an_axis_at_any_azimuth(rng, azimuth):
    """x' = x cos a + y sin a, y' = -x sin a + y cos a; u = x' cos t + z sin t, v = y'."""
    points = some_points(rng)
    x, y, z = points.T
    a = np.deg2rad(azimuth)
    turned_x, turned_y = x * np.cos(a) + y * np.sin(a), -x * np.sin(a) + y * np.cos(a)
    for tilt, seen in zip(TILTS, see(tilt_series(TILTS, SHAPE, azimuth=azimuth), points), strict=True):
        t = np.deg2rad(tilt)
        np.testing.assert_allclose(seen[:, 0], turned_x * np.cos(t) + z * np.sin(t), atol=1e-9)
        np.testing.assert_allclose(seen[:, 1], turned_y, atol=1e-9)


def test_axes_are_handed():
    """At +90 degrees of azimuth y tilts; matter above the axis moves to larger u with positive tilt."""
    geometry = tilt_series([30], SHAPE)
    np.testing.assert_allclose(see(geometry, [0, 0, 10])[0, 0], [5, 0], atol=1e-12)
    turned = tilt_series([30], SHAPE, azimuth=90)
    np.testing.assert_allclose(see(turned, [0, 10, 0])[0, 0], [10 * np.cos(np.deg2rad(30)), 0], atol=1e-12)
    np.testing.assert_allclose(see(turned, [10, 0, 0])[0, 0], [0, -10], atol=1e-12)
    tipped = tilt_series([0], SHAPE, x_tilts=30)
    np.testing.assert_allclose(see(tipped, [0, 0, 10])[0, 0], [0, -5], atol=1e-12)


def test_shears_move_slices_under_one_ray(rng):
    """Points (x - s_x z, y - s_y z, z) are seen where (x, y, 0) is."""
    geometry = tilt_series(TILTS, SHAPE, azimuth=33, x_tilts=4, transforms=some_transforms(rng))
    for view, (sx, sy) in enumerate(geometry.shears):
        along_a_ray = [[3 - sx * z, -5 - sy * z, z] for z in (-40.0, 0.0, 7.0)]
        seen = see(geometry.select([view]), along_a_ray)[0]
        np.testing.assert_allclose(seen, np.tile(seen[1], (3, 1)), atol=1e-9)
    plain = tilt_series([60], SHAPE).shears[0]
    np.testing.assert_allclose(plain, [np.tan(np.deg2rad(60)), 0], atol=1e-12)


def test_the_whole_composition_step_by_step(rng):
    """Common frame to series, azimuth, x-tilt, tilt, then back through the .xf and to pixel n // 2: one at a time."""
    transforms, common = some_transforms(rng), some_volume_transform(rng)
    x_tilts, azimuth, offset = rng.uniform(-8, 8, len(TILTS)), 21.0, 3.3
    for shape in ((630, 652), (81, 95), (80, 95)):
        geometry = tilt_series(TILTS, shape, azimuth=azimuth, x_tilts=x_tilts, tilt_offset=offset,
                               transforms=transforms, to_common=common)
        for p in some_points(rng):
            in_series = np.linalg.solve(common[:, :3], p - common[:, 3])
            for view, tilt in enumerate(TILTS):
                a, b, t = np.deg2rad([azimuth, x_tilts[view], tilt + offset])
                x, y, z = in_series
                x, y = x * np.cos(a) + y * np.sin(a), -x * np.sin(a) + y * np.cos(a)
                y, z = y * np.cos(b) - z * np.sin(b), y * np.sin(b) + z * np.cos(b)
                aligned = np.array([x * np.cos(t) + z * np.sin(t), y])
                # out - c = A (in - c) + d about c = (n - 1) / 2, solved for the raw pixel.
                centre = (np.array(shape[::-1]) - 1) / 2
                raw = np.linalg.solve(transforms[view, :, :2], aligned - transforms[view, :, 2]) + centre
                found = see(geometry.select([view]), p)[0, 0] + np.array(shape[::-1]) // 2
                np.testing.assert_allclose(found, raw, atol=1e-9)


def test_aligned_images_are_centred_on_n_half_unless_said_otherwise():
    for shape, offset in (((80, 96), -0.5), ((81, 95), 0.0)):
        assert not see(tilt_series(TILTS, shape), [0, 0, 0]).any()
        np.testing.assert_array_equal(see(tilt_series(TILTS, shape, imod_centred=True), [0, 0, 0]), offset)
        identity = np.tile(np.eye(2, 3), (len(TILTS), 1, 1))
        np.testing.assert_array_equal(see(tilt_series(TILTS, shape, transforms=identity), [0, 0, 0]), offset)


def test_a_series_in_the_common_frame_sees_the_moved_points(rng):
    """What T moves to the common frame is seen where it was seen before."""
    common, points = some_volume_transform(rng), some_points(rng)
    alone = tilt_series(TILTS, SHAPE, azimuth=5)
    together = tilt_series(TILTS, SHAPE, azimuth=5, to_common=common)
    np.testing.assert_allclose(see(together, points @ common[:, :3].T + common[:, 3]), see(alone, points), atol=1e-9)


def test_a_volume_rotation_is_an_azimuth(rng):
    """A series at azimuth a is the series at 0, its specimen turned by Rz(a)."""
    common = np.column_stack([rotation_z(67), np.zeros(3)])
    np.testing.assert_allclose(tilt_series(TILTS, SHAPE, to_common=common).maps,
                               tilt_series(TILTS, SHAPE, azimuth=67).maps, atol=1e-12)


def test_solve_xf_axes_are_column_row_section(rng):
    """IMOD's .rec has (x, -z, y): the same map of the same points in both orders of axes."""
    matrix, points = some_volume_transform(rng), some_points(rng)
    ours = imod_volume_transform(matrix)
    x, y, z = points.T
    moved = np.column_stack([x, -z, y]) @ matrix[:, :3].T + matrix[:, 3]
    np.testing.assert_allclose(points @ ours[:, :3].T + ours[:, 3],
                               np.column_stack([moved[:, 0], moved[:, 2], -moved[:, 1]]), atol=1e-9)
    np.testing.assert_array_equal(imod_volume_transform(np.eye(3, 4)), np.eye(3, 4))


def test_flipping_is_negating_the_tilts(rng):
    x_tilts = rng.uniform(-5, 5, len(TILTS))
    for options in ({}, {"azimuth": 45}, {"transforms": some_transforms(rng)}):
        geometry = tilt_series(TILTS, SHAPE, **options)
        np.testing.assert_allclose(geometry.flipped().maps, tilt_series(-TILTS, SHAPE, **options).maps, atol=1e-12)
        np.testing.assert_array_equal(geometry.flipped().flipped().maps, geometry.maps)
    # Every geometry's other hand sees mirrored points where the first saw the points.
    geometry, points = tilt_series(TILTS, SHAPE, x_tilts=x_tilts, azimuth=13), some_points(rng)
    np.testing.assert_allclose(see(geometry.flipped(), points * [1, 1, -1]), see(geometry, points), atol=1e-9)


def test_moved_content_is_seen_where_it_was(rng):
    geometry, points, shift = tilt_series(TILTS, SHAPE, azimuth=31), some_points(rng), (5.0, -3.5, 12.0)
    np.testing.assert_allclose(see(geometry.moved(shift), points + shift), see(geometry, points), atol=1e-9)


def test_a_volume_centred_as_imods():
    """The axis passes through (n - 1) / 2 of the volume: index n // 2 minus h(n)."""
    geometry = tilt_series(TILTS, SHAPE).centred_as_imod((64, 81, 96))
    axis = np.array([-0.5, 0.0, -0.5])
    np.testing.assert_allclose(see(geometry, axis), 0, atol=1e-12)
    odd = tilt_series(TILTS, SHAPE).centred_as_imod((63, 81, 95))
    np.testing.assert_array_equal(odd.maps, tilt_series(TILTS, SHAPE).maps)


@pytest.mark.parametrize(("size", "factor", "offset"), [(652, 2, 0.5), (630, 2, -0.5), (652, 4, -0.5), (651, 3, 0),
                                                        (630, 4, -1.5), (95, 1, 0)])
def test_binning_moves_the_origin(size, factor, offset):
    """b (n_b // 2) + (b - 1) / 2 - n // 2: +1/2 for 652 pixels by 2, -1/2 for 630."""
    geometry = tilt_series([0], (size, 652)).binned(factor)
    assert geometry.image_shape == (size // factor, 652 // factor)
    np.testing.assert_allclose(see(geometry, [0, 0, 0])[0, 0, 1] * factor, -offset, atol=1e-12)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_binned_pixels_lie_amid_those_they_average(rng, factor):
    """A point at unbinned pixel p is at binned pixel (p - (b - 1) / 2) / b, by indices."""
    for shape in ((630, 652), (81, 95), (82, 94)):
        geometry = tilt_series(TILTS, shape, azimuth=20, transforms=some_transforms(rng))
        binned, points = geometry.binned(factor), some_points(rng)
        before = see(geometry, points) + np.array(shape[::-1]) // 2
        after = see(binned, points / factor) + np.array(binned.image_shape[::-1]) // 2
        np.testing.assert_allclose(after, (before - (factor - 1) / 2) / factor, atol=1e-9)


def test_binning_twice_is_binning_once_by_the_product(rng):
    geometry = tilt_series(TILTS, (640, 656), transforms=some_transforms(rng))
    np.testing.assert_allclose(geometry.binned(2).binned(2).maps, geometry.binned(4).maps, atol=1e-9)


def test_binning_refusals():
    geometry = tilt_series(TILTS, (10, 12))
    with pytest.raises(InputError, match="binning: expected a whole number of at least 1, got 0"):
        geometry.binned(0)
    with pytest.raises(InputError, match="binning: expected at most 10 for images of"):
        geometry.binned(11)


def test_select_keeps_what_belongs_to_a_view():
    geometry = joined([tilt_series(TILTS, SHAPE), tilt_series(TILTS + 1, SHAPE, azimuth=90, stack=1)])
    chosen = geometry.select([7, 0])
    assert chosen.stacks.tolist() == [1, 0] and chosen.sections.tolist() == [2, 0]
    assert chosen.tilts.tolist() == [1.0, -60.0] and len(chosen) == 2
    np.testing.assert_array_equal(chosen.maps, geometry.maps[[7, 0]])
    kept = geometry.select(geometry.stacks == 1)
    assert len(kept) == 5 and kept.image_shape == SHAPE and set(kept.stacks) == {1}


def test_joined_series_keep_their_order_and_share_an_image_shape():
    first, second = tilt_series(TILTS, SHAPE), tilt_series(TILTS[:3], SHAPE, azimuth=90, stack=1)
    both = joined([first, second])
    assert len(both) == 8 and both.stacks.tolist() == [0] * 5 + [1] * 3
    assert both.sections.tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    np.testing.assert_array_equal(both.maps[5:], second.maps)
    with pytest.raises(InputError, match="stacks: expected images of one size"):
        joined([first, tilt_series(TILTS, (630, 650), stack=1)])


def test_views_along_the_slab_are_refused_by_name():
    with pytest.raises(InputError, match=r"view 1 of stack 2: expected a map with \|det A\| >= 0.001, .*tilt 90.00"):
        tilt_series([0, 90], SHAPE, stack=2)
    with pytest.raises(InputError, match="view 0 of stack 0"):
        tilt_series([np.nan], SHAPE)
    assert len(tilt_series([89.9], SHAPE)) == 1


def test_singular_volume_transforms_are_refused():
    flat = np.zeros((3, 4))
    flat[0, 0] = flat[1, 1] = 1
    with pytest.raises(InputError, match="volume transform: expected an invertible matrix"):
        tilt_series(TILTS, SHAPE, to_common=flat)


def test_transforms_and_x_tilts_of_other_views_are_refused(rng):
    transforms = some_transforms(rng)
    for wrong in (transforms[:4], transforms[0], np.concatenate([transforms, transforms[:1]])):
        with pytest.raises(InputError, match=r"transforms: expected an array \(5, 2, 3\), got"):
            tilt_series(TILTS, SHAPE, transforms=wrong)
    transforms[3, :, :2] = [[1, 2], [2, 4]]
    with pytest.raises(InputError, match="transforms: expected an invertible matrix for view 3"):
        tilt_series(TILTS, SHAPE, transforms=transforms)
    with pytest.raises(InputError, match=r"x-axis tilts: expected one, or one for each of 5 views, got \(3,\)"):
        tilt_series(TILTS, SHAPE, x_tilts=[1, 2, 3])


def test_counts_and_shapes_that_differ_are_refused():
    good = tilt_series(TILTS, SHAPE)
    with pytest.raises(InputError, match=r"view maps: expected an array \(view, 2, 4\), got \(5, 2, 3\)"):
        ViewGeometry(good.maps[:, :, :3], good.tilts, good.stacks, good.sections, SHAPE)
    with pytest.raises(InputError, match="expected one map, tilt, stack and section for each"):
        ViewGeometry(good.maps, good.tilts[:4], good.stacks, good.sections, SHAPE)
    with pytest.raises(InputError, match="expected one map, tilt, stack and section for each"):
        good.select(np.zeros(5, bool))
