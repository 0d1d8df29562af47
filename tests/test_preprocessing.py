"""What is done to a view: every step does one thing, and leaves alone what it should."""

import numpy as np
import pytest

from concordet.errors import InputError
from concordet.preprocessing import (
    Preprocessing,
    bead_mask,
    bin_image,
    clip_outliers,
    counts_electrons,
    log_transmission,
    normalized,
    robust_scale,
)


def counted(rng, shape=(120, 128), level=100.0):
    """A view of counted electrons: shot noise about a level."""
    return rng.poisson(level, shape).astype(np.float32)


def with_beads(image, places, diameter, transmission=0.3):
    """The image with dark discs."""
    v, u = np.indices(image.shape)
    image = image.copy()
    for at_v, at_u in places:
        image[np.hypot(v - at_v, u - at_u) <= diameter / 2] *= transmission
    return image


def test_nothing_asked_for_is_nothing_done(rng):
    image = counted(rng)
    result, used = Preprocessing().apply(image)
    np.testing.assert_array_equal(result, image)
    assert used is None and result.dtype == np.float32


# Gold beads

PLACES = [(30, 40), (80, 20), (64, 100)]


@pytest.mark.parametrize("diameter", [6, 10, 16])
def test_beads_are_found_and_covered(rng, diameter):
    image = with_beads(counted(rng), PLACES, diameter)
    mask = bead_mask(image, diameter)
    v, u = np.indices(image.shape)
    distance = np.min([np.hypot(v - at_v, u - at_u) for at_v, at_u in PLACES], axis=0)
    assert mask[distance <= diameter / 2].all()
    assert not mask[distance > 1.5 * diameter].any()


def test_a_bead_at_the_edge_is_found(rng):
    image = with_beads(counted(rng), [(1, 60)], 10)
    mask = bead_mask(image, 10)
    assert mask[:5, 57:64].all() and mask.mean() < 0.03


def test_views_without_beads_lose_nothing(rng):
    assert not bead_mask(counted(rng), 10).any()
    assert not bead_mask(np.ones((40, 50), np.float32), 10).any()


def test_bright_discs_and_x_rays_are_no_beads_nor_what_surrounds_them(rng):
    assert not bead_mask(200 - with_beads(counted(rng), PLACES, 10), 10).any()
    struck = counted(rng)
    struck[60, 60] = 20_000
    assert not bead_mask(struck, 10).any()


def test_pixels_of_beads_are_not_used_and_take_the_median(rng):
    image = with_beads(counted(rng), PLACES, 10)
    result, used = Preprocessing(bead_diameter=10, normalize=True).apply(image)
    assert not used[30, 40] and used[100, 60]
    assert len(np.unique(result[~used])) == 1
    assert abs(result[~used][0]) < 0.02 < 0.5 < abs(normalized(image)[30, 40])


def test_a_binned_pixel_is_used_where_all_of_it_is(rng):
    image = with_beads(counted(rng), PLACES, 10)
    whole = ~bead_mask(image, 10)
    result, used = Preprocessing(bead_diameter=10, binning=2).apply(image)
    assert result.shape == used.shape == (60, 64)
    np.testing.assert_array_equal(used, whole.reshape(60, 2, 64, 2).all(axis=(1, 3)))


# X-rays


def test_x_rays_are_removed_and_other_pixels_untouched(rng):
    image = counted(rng)
    spoilt = image.copy()
    hits = [(10, 10), (10, 11), (0, 0), (119, 127), (50, 3)]
    for v, u in hits:
        spoilt[v, u] = 5000
    clean = clip_outliers(spoilt, 8)
    is_hit = np.zeros(image.shape, bool)
    is_hit[tuple(np.transpose(hits))] = True
    np.testing.assert_array_equal(clean[~is_hit], image[~is_hit])
    assert np.all(np.abs(clean[is_hit] - 100) < 30)
    assert spoilt[10, 10] == 5000  # the caller's image is left alone


def test_clean_views_are_not_clipped(rng):
    image = counted(rng)
    np.testing.assert_array_equal(clip_outliers(image, 8), image)
    flat = np.full((9, 9), 7, np.float32)
    flat[4, 4] = 8
    np.testing.assert_array_equal(clip_outliers(flat, 8), flat)  # no spread, so no limit


# Scales


def test_robust_scale_ignores_a_tail(rng):
    values = rng.normal(5, 2, 20_000)
    values[:200] = 1e6
    median, deviation = robust_scale(values)
    assert median == pytest.approx(5, abs=0.1) and deviation == pytest.approx(2, abs=0.1)


def test_counted_electrons_are_told_from_projected_density(rng):
    assert counts_electrons(counted(rng))
    assert not counts_electrons(rng.normal(0, 1, (50, 50)))
    assert not counts_electrons(np.zeros((50, 50)))


def test_views_of_different_dose_get_one_scale(rng):
    absorbed = 1 - 0.2 * (np.indices((120, 128))[1] > 70)
    views = [normalized((dose * absorbed).astype(np.float32), counts=True) for dose in (50, 400)]
    np.testing.assert_allclose(views[0], views[1], atol=1e-6)
    assert np.median(views[0]) == 0 and views[0].min() == pytest.approx(-0.2)


def test_density_gets_median_zero_and_deviation_one(rng):
    view = normalized(rng.normal(3, 40, (200, 200)).astype(np.float32))
    assert np.median(view) == pytest.approx(0, abs=1e-6)
    assert view.std() == pytest.approx(1, abs=0.02)


def test_all_views_of_a_run_are_scaled_alike(rng):
    """A steep view with few counts falls below the limit of what looks like counts: the run decides, not the view."""
    steep = rng.normal(2.5, 1, (200, 200)).astype(np.float32)
    assert not counts_electrons(steep)
    alone, _ = Preprocessing(normalize=True).apply(steep)
    in_run, _ = Preprocessing(normalize=True, counts=True).apply(steep)
    assert alone.std() == pytest.approx(1, abs=0.02)
    assert in_run.std() == pytest.approx(1 / 2.5, abs=0.01)


def test_a_blank_view_stays_finite():
    for counts in (None, True, False):
        result, _ = Preprocessing(normalize=True, counts=counts, clip=8).apply(np.zeros((20, 20)))
        assert np.isfinite(result).all()


def test_logarithm_is_linear_in_thickness():
    thickness = np.repeat(np.arange(5.0), 100).reshape(20, 25)
    image = log_transmission(1000 * np.exp(-0.3 * thickness))
    np.testing.assert_allclose(image - image.max(), -0.3 * thickness, atol=1e-6)


def test_logarithm_of_pixels_without_counts_is_finite():
    image = np.full((10, 10), 100.0)
    image[3, 3] = 0
    assert log_transmission(image)[3, 3] == pytest.approx(np.log(0.01))
    with pytest.raises(InputError, match="log: expected counts with a median above 0"):
        log_transmission(np.zeros((10, 10)))


# Binning and sign


@pytest.mark.parametrize("shape", [(12, 12), (13, 14), (14, 13)])
@pytest.mark.parametrize("factor", [1, 2, 3, 5])
def test_binning_is_the_mean_of_whole_pixels(rng, shape, factor):
    image = rng.standard_normal(shape).astype(np.float32)
    binned = bin_image(image, factor)
    assert binned.shape == (shape[0] // factor, shape[1] // factor)
    for j, i in np.ndindex(binned.shape):
        block = image[j * factor:(j + 1) * factor, i * factor:(i + 1) * factor]
        assert binned[j, i] == pytest.approx(block.mean(), abs=1e-5)


def test_invert_comes_last(rng):
    image = counted(rng)
    steps = {"clip": 8, "normalize": True, "binning": 2}
    np.testing.assert_array_equal(Preprocessing(invert=True, **steps).apply(image)[0],
                                  -Preprocessing(**steps).apply(image)[0])


@pytest.mark.parametrize("wrong", [
    {"binning": 0}, {"clip": -1}, {"clip": np.nan}, {"bead_diameter": -2}, {"bead_diameter": np.inf}])
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match="expected"):
        Preprocessing(**wrong)


def test_few_electrons_per_pixel_are_counts_too(rng):
    """Poisson counts of 2 per pixel spread as far as their mean; projections of a phantom with noise do not count."""
    assert counts_electrons(rng.poisson(2.0, (128, 128)).astype(np.float32))
    assert not counts_electrons(rng.normal(1.0, 1.0, (128, 128)).astype(np.float32))
    blob = np.zeros((128, 128), np.float32)
    blob[40:80, 30:90] = 5
    assert not counts_electrons(blob)


def test_clipping_leaves_what_is_larger_than_a_hit(rng):
    """Dense dots of a specimen lie far outside the noise, but are no X-rays."""
    image = rng.normal(100, 1, (60, 60)).astype(np.float32)
    v, u = np.indices(image.shape)
    image += 90 * np.exp(-((u - 20) ** 2 + (v - 30) ** 2) / (2 * 2.5**2)).astype(np.float32)
    spoiled = image.copy()
    spoiled[50, 50] = spoiled[50, 51] = 1e4
    clipped = clip_outliers(spoiled, 8)
    assert clipped[50, 50] < 110 and clipped[50, 51] < 110
    centre = np.hypot(u - 20, v - 30) < 4
    np.testing.assert_array_equal(clipped[centre], image[centre])
