"""Figures of merit on cases whose answer is known."""

import numpy as np
import pytest

from concordet.errors import InputError
from concordet.evaluation import band_ncc, central_part, crossing, fsc, pearson


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
