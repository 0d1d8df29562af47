"""Figures of merit on cases whose answer is known."""

import numpy as np
import pytest

from concordet.errors import InputError
from concordet.evaluation import band_ncc, central_part, crossing, fsc, masked_fsc, pearson, soft_sphere


@pytest.fixture
def volume(rng):
    return rng.standard_normal((12, 20, 18)).astype(np.float32)


def test_pearson_of_equal_opposite_and_unrelated(volume, rng):
    assert pearson(volume, volume) == pytest.approx(1)
    assert pearson(volume, 3 - 2 * volume) == pytest.approx(-1)
    assert abs(pearson(volume, rng.standard_normal(volume.shape))) < 0.1
    assert pearson(volume, np.ones_like(volume)) == 0


def test_pearson_is_that_of_numpy(volume, rng):
    other = volume + rng.standard_normal(volume.shape)
    assert pearson(volume, other, 1.0) == pytest.approx(np.corrcoef(volume.ravel(), other.ravel())[0, 1])


def test_only_the_central_part_counts(volume):
    spoilt = volume.copy()
    spoilt[0] = spoilt[:, 0] = spoilt[:, :, -1] = 1e6
    assert pearson(volume, spoilt, 0.8) == pytest.approx(1)
    assert pearson(volume, spoilt, 1.0) < 0.5


@pytest.mark.parametrize(("n", "kept"), [(10, slice(1, 9)), (128, slice(12, 116)), (9, slice(0, 9))])
def test_central_part(n, kept):
    assert central_part((n,), 0.8) == (kept,)
    assert central_part((n,), 1.0) == (slice(0, n),)


@pytest.mark.parametrize("fraction", [0, -0.5, 1.1, np.nan])
def test_central_part_out_of_range(fraction):
    with pytest.raises(InputError, match="central part: expected"):
        central_part((10,), fraction)


@pytest.mark.parametrize("shape", [(12, 20, 18), (9, 17, 21), (16, 16, 16)])
def test_fsc_of_equal_volumes_is_one_up_to_nyquist(rng, shape):
    volume = rng.standard_normal(shape)
    frequencies, curve = fsc(volume, volume)
    np.testing.assert_allclose(curve, 1, atol=1e-12)
    assert frequencies[0] == 0 and frequencies[-1] == pytest.approx(max(shape) // 2 / max(shape))
    np.testing.assert_allclose(fsc(volume, -volume)[1], -1, atol=1e-12)


def test_fsc_of_unrelated_noise_is_nothing(rng):
    _, curve = fsc(rng.standard_normal((32,) * 3), rng.standard_normal((32,) * 3))
    assert np.abs(curve[4:]).max() < 0.2


def test_fsc_does_not_see_scale_but_sees_where_noise_begins(rng):
    """Signal that ends at 0.2 cycles per voxel, and noise of its own in each half beyond."""
    n = 32
    k = np.sqrt(sum(f**2 for f in np.ix_(np.fft.fftfreq(n), np.fft.fftfreq(n), np.fft.rfftfreq(n))))
    signal, a, b = (np.fft.rfftn(rng.standard_normal((n,) * 3)) for _ in range(3))
    first = np.fft.irfftn(np.where(k < 0.2, signal, a), (n,) * 3, axes=(0, 1, 2))
    second = np.fft.irfftn(np.where(k < 0.2, 5 * signal, b), (n,) * 3, axes=(0, 1, 2))
    frequencies, curve = fsc(first, second)
    assert curve[frequencies < 0.18].min() > 0.99
    assert np.abs(curve[frequencies > 0.24]).max() < 0.3
    assert crossing(frequencies, curve, 0.5) == pytest.approx(0.2, abs=1 / n)


def test_crossing_is_interpolated():
    frequencies = np.array([0, 0.1, 0.2, 0.3])
    assert crossing(frequencies, np.array([1, 1, 0.4, 0.6]), 0.5) == pytest.approx(0.1 + 0.1 * 5 / 6)
    assert crossing(frequencies, np.array([1, 0.9, 0.8, 0.7]), 0.5) is None
    assert crossing(frequencies, np.array([0.2, 0.1, 0.1, 0.1]), 0.5) == 0


def test_unequal_shapes_are_refused(volume):
    for judge in (pearson, fsc):
        with pytest.raises(InputError, match="two volumes of one size"):
            judge(volume, volume[1:])


def halves_in_a_sphere(rng, n=40, snr=0.3):
    """Half maps: a molecule up to 0.25 cycles per voxel in a sphere of 18 voxels, and noise everywhere."""
    k = np.sqrt(sum(f**2 for f in np.ix_(np.fft.fftfreq(n), np.fft.fftfreq(n), np.fft.rfftfreq(n))))
    signal = np.fft.irfftn(np.fft.rfftn(rng.standard_normal((n,) * 3)) * (k < 0.25), (n,) * 3, axes=(0, 1, 2))
    signal *= soft_sphere((n,) * 3, 18, 3)
    noise = np.sqrt(signal[n // 2 - 6:n // 2 + 6].var() / snr)
    return [signal + noise * rng.standard_normal((n,) * 3) for _ in range(2)]


def test_a_mask_shows_more_and_random_phases_show_what_the_mask_adds(rng):
    halves = halves_in_a_sphere(rng)
    found = masked_fsc(*halves, soft_sphere((40,) * 3, 20, 4), seed=3)
    np.testing.assert_array_equal(found.unmasked, fsc(*halves)[1])
    middle = (found.frequencies > 0.1) & (found.frequencies < 0.2)
    assert found.masked[middle].mean() > found.unmasked[middle].mean() + 0.2
    beyond = found.frequencies > 0.3
    assert abs(found.corrected[beyond].mean()) < 0.1
    # Its sphere smears what ends at 0.25 by 1 / 18.
    assert 0.25 < crossing(found.frequencies, found.corrected, 0.143) < 0.25 + 2 / 18
    # The same seed, the same phases.
    np.testing.assert_array_equal(found.corrected, masked_fsc(*halves, soft_sphere((40,) * 3, 20, 4), seed=3).corrected)


def test_a_tight_mask_correlates_noise_and_the_correction_takes_it_away(rng):
    """Noise alone under a hard, off-centre mask and an offset: the mask's own correlation, at low frequencies."""
    halves = [5 + rng.standard_normal((40,) * 3) for _ in range(2)]
    mask = soft_sphere((40,) * 3, 12, 0, centre=(5, 0, 0))
    found = masked_fsc(*halves, mask)
    low = (found.frequencies > 3 / 40) & (found.frequencies < 0.2)
    assert found.masked[low].mean() > 0.1
    assert abs(found.corrected[low].mean()) < abs(found.masked[low].mean()) + 0.05


def test_a_mask_of_everything_changes_nothing(rng):
    halves = [rng.standard_normal((16,) * 3) for _ in range(2)]
    found = masked_fsc(*halves, np.ones((16,) * 3))
    np.testing.assert_allclose(found.masked, found.unmasked)


def test_masks_that_do_not_fit_are_refused(volume):
    with pytest.raises(InputError, match="mask: expected .* got"):
        masked_fsc(volume, volume, np.ones((3, 3, 3)))
    for bad in (np.zeros(volume.shape), np.full(volume.shape, np.nan)):
        with pytest.raises(InputError, match="not all 0"):
            masked_fsc(volume, volume, bad)


def test_soft_spheres():
    mask = soft_sphere((20, 21, 22), 10, 4)
    assert mask[10, 10, 11] == 1 and mask[10, 10, 16] == 1
    assert mask[10, 10, 18] == pytest.approx(0.5) and mask[10, 10, 20] == pytest.approx(0, abs=1e-6)
    hard = soft_sphere((20, 20, 20), 10, 0, centre=(2, 0, -1))
    assert hard[9, 10, 17] == 1 and hard[9, 10, 18] == 0 and hard[9, 10, 7] == 1
    with pytest.raises(InputError, match="diameter above 0"):
        soft_sphere((20, 20, 20), 0)


def waves(wavelength, shape=(128, 128), pixel=10.0):
    return np.sin(2 * np.pi * pixel * np.arange(shape[1]) / wavelength) * np.ones((shape[0], 1))


def test_band_ncc_sees_its_band_alone():
    """Agreement at 64 A, in the band of 200 to 40 A; disagreement at 640 and 26 A, outside."""
    inside = waves(64)
    image = inside + 5 * waves(640) + 5 * waves(25.6)
    projection = 7 * inside - 4 * waves(640) - 4 * waves(25.6)
    everywhere = np.ones(image.shape, bool)
    assert band_ncc(image, projection, everywhere, 10.0) > 0.99
    assert np.corrcoef(image.ravel(), projection.ravel())[0, 1] < -0.5
    assert band_ncc(image, projection, everywhere, 10.0, 1000, 300) < -0.99
    # The pixel size decides where the band is: at 2 A per pixel the waves of 64 A are waves of 12.8.
    assert abs(band_ncc(image, projection, everywhere, 2.0, 20, 10) - 1) < 0.01


def test_band_ncc_leaves_masked_pixels_out(rng):
    image = waves(64)
    projection = image.copy()
    used = np.ones(image.shape, bool)
    used[40:60, 40:60] = False
    projection[~used] = 1e4
    assert band_ncc(image, projection, used, 10.0) == pytest.approx(1, abs=1e-6)


def test_band_ncc_of_nothing_is_zero():
    image = waves(64)
    assert band_ncc(image, image, np.zeros(image.shape, bool), 10.0) == 0
    assert band_ncc(image, np.ones_like(image), np.ones(image.shape, bool), 10.0) == pytest.approx(0, abs=1e-6)
    with pytest.raises(InputError, match="longest > shortest > 0"):
        band_ncc(image, image, np.ones(image.shape, bool), 10.0, 40, 200)
