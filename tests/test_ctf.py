"""Contrast transfer: wavelength, zeros, sign; modulation transfer of a pixel."""

import numpy as np
import pytest

from concordet.ctf import ctf, mtf, wavelength
from concordet.errors import InputError


@pytest.mark.parametrize(("voltage", "angstrom"), [(300, 0.0196875), (200, 0.0250793), (100, 0.0370144)])
def test_wavelength(voltage, angstrom):
    assert wavelength(voltage) == pytest.approx(angstrom, abs=1e-7)


@pytest.mark.parametrize("defocus", [60000.0, 18000.0, -5000.0])
@pytest.mark.parametrize("amplitude", [0.0, 0.07, 0.2])
@pytest.mark.parametrize("phase_shift", [0.0, 50.0])
def test_zeros_where_the_phase_is_a_multiple_of_pi(defocus, amplitude, phase_shift):
    """pi l z k^2 - pi/2 Cs l^3 k^4 + a = m pi, solved for k^2."""
    length, cs = wavelength(300), 2.7e7
    offset = np.arcsin(amplitude) + np.deg2rad(phase_shift)
    zeros = []
    for m in range(-12, 13):
        discriminant = (np.pi * length * defocus) ** 2 - 2 * np.pi * cs * length**3 * (m * np.pi - offset)
        if discriminant >= 0:
            for root in (-1, 1):
                square = (np.pi * length * defocus + root * np.sqrt(discriminant)) / (np.pi * cs * length**3)
                if 0 < square < 0.25**2:
                    zeros.append(np.sqrt(square))
    assert len(zeros) >= 2
    options = {"cs": 2.7, "voltage": 300, "amplitude_contrast": amplitude, "phase_shift": phase_shift}
    np.testing.assert_allclose(ctf(zeros, defocus, **options), 0, atol=1e-9)
    k = np.linspace(1e-6, 0.25, 200001)
    first = k[np.argmax(np.diff(np.sign(ctf(k, defocus, **options))) != 0)]
    assert first == pytest.approx(min(zeros), abs=2e-6)


def test_first_zero_of_the_paper():
    """-6 um, 300 kV: sqrt(1 / (l z)) = 0.0291 / A but for Cs and amplitude contrast."""
    k = np.linspace(0, 0.05, 50001)
    values = ctf(k, 60000, cs=2.7, voltage=300, amplitude_contrast=0.07)
    first = k[np.argmax(values < 0)]
    assert first == pytest.approx(np.sqrt((1 - np.arcsin(0.07) / np.pi) / (wavelength(300) * 60000)), abs=2e-5)
    assert (values[k < first] > 0).all()


@pytest.mark.parametrize("amplitude", [0.0, 0.07, 0.1, 1.0])
def test_at_the_zero_frequency_the_amplitude_contrast(amplitude):
    assert ctf(0, 60000, amplitude_contrast=amplitude) == pytest.approx(amplitude)
    assert ctf(0, 60000, amplitude_contrast=amplitude, phase_shift=90) == pytest.approx(np.sqrt(1 - amplitude**2))


@pytest.mark.parametrize("defocus", [20000.0, -20000.0])
def test_sign_and_size_from_wave_optics(defocus):
    """A wave advanced by the specimen, carried back by the underfocus, has matter dark: minus 2 epsilon ctf."""
    n, pixel, epsilon = 256, 2.0, 1e-4
    k = np.fft.fftfreq(n, pixel)
    for m in (4, 11, 30):
        matter = np.cos(2 * np.pi * m * np.arange(n) / n)
        wave = np.exp(1j * epsilon * matter)
        propagated = np.fft.ifft(np.fft.fft(wave) * np.exp(-1j * np.pi * wavelength(300) * k**2 * -defocus))
        contrast = 2 * (np.abs(propagated) ** 2 @ matter) / n
        expected = ctf(k[m], defocus, cs=0, voltage=300, amplitude_contrast=0)
        assert contrast == pytest.approx(-2 * epsilon * expected, abs=2e-3 * epsilon)


def test_spherical_aberration_works_against_underfocus():
    k = np.linspace(0, 0.3, 1000)
    np.testing.assert_array_equal(ctf(k, 0, cs=0, amplitude_contrast=0), 0)
    balance = 0.5 * 2.7e7 * wavelength(300) ** 2 * 0.2**2  # angstrom of underfocus that Cs cancels at 1/5 A
    assert ctf(0.2, balance, cs=2.7, amplitude_contrast=0) == pytest.approx(0, abs=1e-9)
    assert ctf(0.05, 10000, cs=0) > 0


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_shapes(shape):
    k = np.full(shape, 0.01)
    assert ctf(k, 20000).shape == mtf(k).shape == shape
    assert ctf(k, 20000).dtype == mtf(k).dtype == np.float64


def test_mtf_is_the_mean_over_a_pixel():
    assert mtf(0) == 1
    assert mtf(1) == pytest.approx(2 / np.pi)
    assert mtf(2) == pytest.approx(0, abs=1e-12)
    within = (np.arange(2000) + 0.5) / 2000 - 0.5
    for w in (0.1, 0.5, 0.9, 1.0):
        assert mtf(w) == pytest.approx(np.cos(2 * np.pi * (w / 2) * within).mean(), abs=1e-6)


@pytest.mark.parametrize(("options", "said"), [
    ({"voltage": 0}, "voltage: expected a positive number of kV, got 0"),
    ({"voltage": np.nan}, "got nan"),
    ({"amplitude_contrast": 1.2}, "amplitude contrast: expected a number from 0 to 1, got 1.2"),
    ({"amplitude_contrast": -0.07}, "got -0.07"),
    ({"defocus": np.nan}, "defocus: expected a number, got nan"),
    ({"cs": np.inf}, "spherical aberration: expected a number, got inf"),
    ({"phase_shift": np.nan}, "phase shift: expected a number, got nan"),
])
def test_refused(options, said):
    with pytest.raises(InputError, match=said):
        ctf(0.01, **{"defocus": 20000, **options})
