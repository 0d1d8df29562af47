"""Contrast transfer of the microscope and modulation transfer of the detector.

    ctf(k) = sin(pi lambda z k^2 - pi/2 Cs lambda^3 k^4 + phase shift + arcsin(amplitude contrast))

with underfocus z > 0. This is RELION's sign (its ctf.h), made for images and volumes in which matter has high values
("white"): low frequencies are passed with a positive sign, from the amplitude contrast at k = 0. An image as the
detector records it, matter dark, has the negative of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from concordet.errors import InputError

# CODATA 2018
PLANCK = 6.62607015e-34  # J s
ELECTRON_MASS = 9.1093837015e-31  # kg
ELEMENTARY_CHARGE = 1.602176634e-19  # C
LIGHT_SPEED = 299792458.0  # m/s


def wavelength(voltage: float) -> float:
    """Wavelength in angstrom of electrons accelerated by `voltage` kV > 0: h / sqrt(2 m e V (1 + e V / 2 m c^2))."""
    if not 0 < voltage < np.inf:
        raise InputError(f"voltage: expected a positive number of kV, got {voltage:g}")
    energy = ELEMENTARY_CHARGE * voltage * 1e3
    relativistic = 1 + energy / (2 * ELECTRON_MASS * LIGHT_SPEED**2)
    return 1e10 * PLANCK / float(np.sqrt(2 * ELECTRON_MASS * energy * relativistic))


def ctf(
    k: ArrayLike,
    defocus: float,
    cs: float = 2.7,
    voltage: float = 300.0,
    amplitude_contrast: float = 0.07,
    phase_shift: float = 0.0,
) -> np.ndarray:
    """Contrast transfer at spatial frequencies `k`, -1 to 1, float64 of k's shape; matter has high values.

    Parameters
    ----------
    k : 1/angstrom, the length of the frequency; any shape
    defocus : angstrom, underfocus positive (60000 for what is also written as -6 um)
    cs : mm, spherical aberration
    voltage : kV, > 0
    amplitude_contrast : 0 to 1, the share of amplitude contrast; the value at k = 0 without a phase plate
    phase_shift : degrees, of a phase plate

    Raises
    ------
    InputError : voltage or amplitude contrast outside its domain, or a value that is not finite
    """
    if not 0 <= amplitude_contrast <= 1:
        raise InputError(f"amplitude contrast: expected a number from 0 to 1, got {amplitude_contrast:g}")
    for name, value in (("defocus", defocus), ("spherical aberration", cs), ("phase shift", phase_shift)):
        if not np.isfinite(value):
            raise InputError(f"{name}: expected a number, got {value:g}")
    length = wavelength(voltage)
    square = np.square(np.asarray(k, float))
    phase = np.pi * length * square * (defocus - 0.5 * cs * 1e7 * length**2 * square)
    return np.sin(phase + np.deg2rad(phase_shift) + np.arcsin(amplitude_contrast))


def mtf(w: ArrayLike) -> np.ndarray:
    """Modulation transfer sin(pi w / 2) / (pi w / 2) of square detector pixels; w = frequency / Nyquist, >= 0."""
    return np.sinc(np.asarray(w, float) / 2)
