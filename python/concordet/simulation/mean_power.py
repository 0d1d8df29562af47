"""Power of the central slices of a molecule, averaged over its orientations without turning it.

A power spectrum is the transform of the autocorrelation C, so that its mean over a sphere, or over a circle about the
map's z axis, is a sum over lags d in voxels, at radius r in units of 1 / box:

    uniform   mean |F|^2 (r)     = sum C(d)     sin(x) / x     x = 2 pi r |d| / n
    about-y   mean |F|^2 (r, ky) = sum C(d, ky) J_0(x)         of F along z, which lies along y; d across it

Images of one molecule differ by 5 to 14 % in variance: 32 poses would tell their mean to 1 to 2.5 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np

Orientations = Literal["uniform", "about-y"]
# mean |F|^2 (p, m) at feet (p,) across the tilt axis and whole numbers ky >= 0 (m,) along it, in units of 1 / box
SlicePower = Callable[[np.ndarray, np.ndarray], np.ndarray]

# Radii per 1 / box: between them, linearly, the mean is up to 0.3 % off.
_RADII = 32
# Radii at once: work arrays of 16 MB at 128 voxels.
_BLOCK = 128
_BESSEL_STEP = 0.02


def mean_slice_power(volume: np.ndarray, orientations: Orientations) -> SlicePower:
    """Of a map (n, n, n), zero near its edges; |F|^2 in the unit of the orthonormal transform."""
    n = len(volume)
    volume = np.asarray(volume, np.float64)
    if orientations == "uniform":
        lags, sums = _by_length([_autocorrelation(volume)])
        radii = np.arange(np.ceil(np.sqrt(3) / 2 * n * _RADII) + 2) / _RADII
        mean = _transformed(sums, lags, radii, lambda x: np.sinc(x / np.pi), n)[0]
        return lambda feet, ky: np.interp(np.hypot(feet[:, None], ky), radii, mean)
    lags, sums = _by_length(_autocorrelation(section) for section in np.fft.rfft(volume, axis=0))
    radii = np.arange(np.ceil(n / np.sqrt(2) * _RADII) + 2) / _RADII
    means = _transformed(sums, lags, radii, _bessel(2 * np.pi / n * lags[-1] * radii[-1]), n)
    return lambda feet, ky: np.stack([np.interp(np.abs(feet), radii, means[k]) for k in ky], axis=1)


def _autocorrelation(values: np.ndarray) -> np.ndarray:
    """Of an array of equal sides n, not wrapped around: sides 2 n, FFT order; of a complex one the real part."""
    axes, shape = tuple(range(values.ndim)), tuple(2 * n for n in values.shape)
    if np.iscomplexobj(values):
        return np.fft.ifftn(np.abs(np.fft.fftn(values, shape, axes)) ** 2, axes=axes).real
    spectrum = np.fft.rfftn(values, shape, axes)
    return np.fft.irfftn(np.square(np.abs(spectrum)), shape, axes)


def _by_length(autocorrelations: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of lags (m,), growing, and of each autocorrelation the sums (count, m) over lags of that length."""
    squares = inside = np.zeros(1, np.int64)
    sums: list[np.ndarray] = []
    for one in autocorrelations:
        if not sums:
            lag = np.fft.fftfreq(one.shape[0], 1 / one.shape[0]).astype(np.int64)
            for _ in one.shape:
                squares = np.add.outer(squares, lag**2).ravel()
            # Lags of a ball end at its diameter, no more than the box.
            inside = np.flatnonzero(squares <= (one.shape[0] // 2) ** 2)
            squares = squares[inside]
        sums.append(np.bincount(squares, one.ravel()[inside]))
    there = np.flatnonzero(np.bincount(squares))
    return np.sqrt(there), np.stack(sums)[:, there]


def _transformed(sums: np.ndarray, lags: np.ndarray, radii: np.ndarray, kernel: Callable[[np.ndarray], np.ndarray],
                 box: int) -> np.ndarray:
    """sum_d C(d) kernel(2 pi r |d| / n) / n^3 of each autocorrelation, (count, len(radii)), none below 0."""
    blocks = np.array_split(radii, len(radii) // _BLOCK + 1)
    means = [sums @ kernel(2 * np.pi / box * np.outer(lags, block)) for block in blocks]
    return np.maximum(np.concatenate(means, axis=1), 0) / box**3


def _bessel(largest: float) -> Callable[[np.ndarray], np.ndarray]:
    """J_0 from 0 to `largest` by a table: the mean of cos(x sin t), exact once there are more angles t than x."""
    x = np.arange(0, largest + 2 * _BESSEL_STEP, _BESSEL_STEP)
    count = int(largest / 4) + 16                          # of a quarter turn; the others repeat it
    table = sum(np.cos(x * sine) for sine in np.sin((np.arange(count) + 0.5) * np.pi / 2 / count)) / count
    return lambda values: np.interp(values, x, table)
