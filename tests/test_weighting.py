"""The filter of weighted back-projection: views share the frequencies that they measure together."""

import numpy as np
import pytest

from concordet import _kernels
from concordet.geometry import joined, tilt_series
from reference import weighting as slow

FLAT = np.ones(3, np.float32)


def weigh(images, shears, thickness, *, maps=None, own=None, window=FLAT, threads=2):
    """The kernel on a copy of `images`; maps are the identity, and the images those of all views, by default."""
    filtered = np.ascontiguousarray(images, np.float32).copy()
    maps = np.broadcast_to(np.eye(2), (len(filtered), 2, 2)).copy() if maps is None else maps
    own = np.arange(len(filtered)) if own is None else np.asarray(own)
    _kernels.weigh_views(filtered, np.asarray(shears, float), own, maps, thickness, np.asarray(window, np.float32),
                         threads)
    return filtered


def packet(k, angle=0.0, size=256, spread=24.0):
    """A wave of frequency k (cycles per pixel) along `angle` (degrees) under a Gaussian: a narrow band."""
    y, x = np.mgrid[:size, :size] - size / 2
    along = x * np.cos(np.deg2rad(angle)) + y * np.sin(np.deg2rad(angle))
    return np.cos(2 * np.pi * k * along) * np.exp(-(x * x + y * y) / (2 * spread**2))


def gain(wave, shears, thickness, view=0, **options):
    """By what the filter multiplies `wave` in the image of `view`."""
    filtered = weigh(wave[None], shears, thickness, own=[view], **options)[0]
    return float((filtered * wave).sum() / (wave * wave).sum())


GEOMETRIES = {
    "one axis": tilt_series(np.arange(-60, 61, 12.0), (40, 44)),
    "45 degrees": tilt_series(np.arange(-60, 61, 12.0), (40, 44), azimuth=45),
    "two axes": joined([tilt_series(np.arange(-60, 61, 20.0), (40, 44)),
                        tilt_series(np.arange(-50, 51, 20.0), (40, 44), azimuth=90, stack=1)]),
    "magnified": tilt_series(np.arange(-48, 49, 12.0), (40, 44),
                             transforms=np.tile([[0.8, -0.35, 1], [0.3, 0.9, -2]], (9, 1, 1))),
}


# The kernel interpolates weights between 256 angles and 128 radii; a triangle's corner is cut by that.
@pytest.mark.parametrize("thickness", [1, 9, 40])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_weights_are_the_direct_sums_of_triangles(rng, geometry, thickness):
    geometry = GEOMETRIES[geometry]
    images = rng.standard_normal((len(geometry), 40, 44)).astype(np.float32)
    planes = np.ascontiguousarray(geometry.maps[:, :, :2])
    window = np.linspace(1, 0.2, 17)
    fast = weigh(images, geometry.shears, thickness, maps=planes, window=window)
    direct = slow.weigh(images, geometry.shears, planes, thickness, window)
    error = np.sqrt(((fast - direct) ** 2).sum(axis=(1, 2)) / (direct**2).sum(axis=(1, 2)))
    assert error.max() < 0.01


def test_one_axis_at_even_steps_gives_the_ramp():
    """Below the crossing, where nz ds |k| = 1, the weight is nz ds |k|; above it a view speaks for itself alone.

    The sum of triangles is 1 / (nz ds k) where that is whole, and at most 1/8 more between 1 and 2.
    """
    step, thickness, middle = 0.05, 100, 40
    shears = np.column_stack([step * (np.arange(81) - middle), np.zeros(81)])
    crossing = 1 / (step * thickness)
    for share in (6, 5, 4, 3, 2):
        assert gain(packet(crossing / share), shears, thickness, view=middle) == pytest.approx(1 / share, rel=0.04)
    for k in np.linspace(0.15, 0.95, 9) * crossing:
        assert gain(packet(k), shears, thickness, view=middle) == pytest.approx(k / crossing, rel=0.13)
    for k in (1.25 * crossing, 2 * crossing):
        assert gain(packet(k), shears, thickness, view=middle) == pytest.approx(1, abs=0.01)
    # Along the axis all views measure the same line, at every frequency; the packet is wider than the line.
    assert 1 / 81 <= gain(packet(0.2, angle=90), shears, thickness, view=middle) < 0.04


def test_a_view_at_the_end_of_the_series_has_neighbours_on_one_side():
    step, thickness = 0.05, 100
    shears = np.column_stack([step * np.arange(81), np.zeros(81)])
    crossing = 1 / (step * thickness)
    assert gain(packet(crossing / 4), shears, thickness, view=0) == pytest.approx(1 / 2.5, rel=0.04)


@pytest.mark.parametrize("angle", [0, 30, 90, 135])
def test_the_ramp_runs_along_the_shear(angle):
    """Turned with its axis the filter is the same."""
    direction = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
    shears = 0.05 * (np.arange(81) - 40)[:, None] * direction
    assert gain(packet(0.1, angle), shears, 100, view=40) == pytest.approx(0.5, rel=0.04)


@pytest.mark.parametrize("views", [1, 2, 7])
def test_identical_views_share_evenly(rng, views):
    """One view alone is returned as it was; N views of one direction each have 1 / N of it."""
    blob = packet(0.1, 20, 96, 6.0).astype(np.float32)
    images = np.stack([blob * (1 + i) for i in range(views)])
    shears = np.tile([0.7, -0.4], (views, 1))
    np.testing.assert_allclose(weigh(images, shears, 50), images / views, atol=2e-5 * views)


def test_far_apart_views_keep_everything_but_the_common_frequencies():
    shears = [[-2.0, 0.0], [2.0, 0.0]]
    wave = packet(0.2)
    assert gain(wave, shears, 64) == pytest.approx(1, abs=1e-3)
    assert gain(packet(0.2, angle=90, spread=40), shears, 64) < 0.8


def test_views_given_alone_share_with_all_the_others(rng):
    geometry = GEOMETRIES["two axes"]
    images = rng.standard_normal((len(geometry), 40, 44)).astype(np.float32)
    planes = np.ascontiguousarray(geometry.maps[:, :, :2])
    everything = weigh(images, geometry.shears, 20, maps=planes)
    some = [5, 2]
    part = weigh(images[some], geometry.shears, 20, maps=planes[some], own=some)
    np.testing.assert_array_equal(part, everything[some])


def test_the_window_acts_on_detector_frequencies():
    """A detector magnified twice sees half the frequency, one reduced to a half twice of it: beyond 0.5 zero."""
    window = np.linspace(1, 0, 65)
    for scale, expected in ((1.0, 1 - 0.3 / 0.5), (2.0, 1 - 0.15 / 0.5), (0.5, 0.0)):
        found = gain(packet(0.3), [[0.2, 0.1]], 10, maps=scale * np.eye(2)[None], window=window)
        assert found == pytest.approx(expected, abs=2e-3)


def test_threads_give_the_same_bits(rng):
    geometry = GEOMETRIES["45 degrees"]
    images = rng.standard_normal((len(geometry), 40, 44)).astype(np.float32)
    one = weigh(images, geometry.shears, 30, threads=1)
    for threads in (2, 3, 8):
        assert weigh(images, geometry.shears, 30, threads=threads).tobytes() == one.tobytes()


def test_refusals():
    images, shears, planes = np.zeros((2, 8, 9), np.float32), np.zeros((2, 2)), np.tile(np.eye(2), (2, 1, 1))
    own = np.arange(2)
    for arguments, message in [
        ((images[:, :, ::2], shears, own, planes, 5, FLAT), "contiguous"),
        ((images, shears, own[:1], planes, 5, FLAT), "own must have one view per image: 2, got 1"),
        ((images, shears, own, planes[:1], 5, FLAT), r"maps must be \(image, 2, 2\) for 2 images"),
        ((images, shears, own, planes, 5, FLAT[:1]), "the window needs at least two values, got 1"),
        ((images, shears, own, planes, 0, FLAT), "thickness must be at least 1, got 0"),
        ((images[0], shears, own, planes, 5, FLAT), "images must have 3 axes, got 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            _kernels.weigh_views(*arguments, 1)


@pytest.mark.parametrize(("own", "shears", "maps", "said"), [
    ([0, 2], np.zeros((2, 2)), np.zeros((2, 2, 2)), "own: view 2 is not one of 2"),
    ([0, -1], np.zeros((2, 2)), np.zeros((2, 2, 2)), "own: view -1"),
    ([0], np.zeros((2, 2)), np.zeros((2, 2, 2)), "own must have one view per image: 2, got 1"),
    ([0, 1], np.zeros((2, 1)), np.zeros((2, 2, 2)), r"all_shears must be \(view, 2\), got \(2, 1\)"),
    ([0, 1], np.zeros((2, 2)), np.zeros((2, 1, 1)), r"maps must be \(image, 2, 2\)"),
])
def test_arguments_that_do_not_fit_are_refused(own, shears, maps, said):
    with pytest.raises(ValueError, match=said):
        _kernels.weigh_views(np.zeros((2, 8, 8), np.float32), shears, np.array(own), maps, 4, FLAT, 1)
