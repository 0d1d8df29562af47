"""How good a volume is: against the truth, against another volume, against a view it should predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from concordet.errors import InputError


def central_part(shape: tuple[int, ...], fraction: float) -> tuple[slice, ...]:
    """Slices of the central `fraction`, 0 to 1, of every axis."""
    if not 0 < fraction <= 1:
        raise InputError(f"central part: expected a fraction above 0 and up to 1, got {fraction}")
    margins = [int(n * (1 - fraction) / 2 + 1e-9) for n in shape]
    return tuple(slice(m, n - m) for m, n in zip(margins, shape, strict=True))


def pearson(a: np.ndarray, b: np.ndarray, central: float = 0.8) -> float:
    """Correlation coefficient, -1 to 1, over the central part of two arrays of one shape; 0 where one is constant."""
    if a.shape != b.shape:
        raise InputError(f"expected two volumes of one size, got {a.shape} and {b.shape} voxels (z, y, x)")
    part = central_part(a.shape, central)
    x, y = a[part].astype(np.float64), b[part].astype(np.float64)
    x -= x.mean()
    y -= y.mean()
    norm = np.sqrt((x * x).sum() * (y * y).sum())
    return float((x * y).sum() / norm) if norm > 0 else 0.0


def _frequencies(shape: tuple[int, ...]) -> np.ndarray:
    """|k| in cycles per sample on the grid of rfftn."""
    axes = [np.fft.fftfreq(n) for n in shape[:-1]] + [np.fft.rfftfreq(shape[-1])]
    return np.sqrt(sum(k**2 for k in np.ix_(*axes)))


def fsc(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fourier shell correlation of two volumes: (frequencies in cycles per voxel, correlations).

    Shells are one step of the longest axis wide, from 0 to 0.5 [Harauz and van Heel, Optik 73, 146, 1986].
    """
    if a.shape != b.shape:
        raise InputError(f"expected two volumes of one size, got {a.shape} and {b.shape} voxels (z, y, x)")
    longest = max(a.shape)
    shells = np.rint(_frequencies(a.shape) * longest).astype(np.int64)
    shell_count = longest // 2 + 1
    inside = shells < shell_count
    shells = shells[inside]
    x, y = np.fft.rfftn(a)[inside], np.fft.rfftn(b)[inside]

    def total(values):
        return np.bincount(shells, values, shell_count)

    norm = np.sqrt(total(np.abs(x) ** 2) * total(np.abs(y) ** 2))
    curve = np.divide(total((x * np.conj(y)).real), norm, out=np.zeros(shell_count), where=norm > 0)
    return np.arange(shell_count) / longest, curve


def crossing(frequencies: np.ndarray, curve: np.ndarray, threshold: float) -> float | None:
    """Frequency where a curve first falls below `threshold`, interpolated; None where it never does."""
    below = np.flatnonzero(curve[1:] < threshold)
    if not len(below):
        return None
    i = int(below[0]) + 1
    rise = curve[i - 1] - curve[i]
    part = (curve[i - 1] - threshold) / rise if rise > 0 else 0.0
    return float(frequencies[i - 1] + np.clip(part, 0, 1) * (frequencies[i] - frequencies[i - 1]))


@dataclass(frozen=True)
class MaskedFsc:
    """Fourier shell correlations of two half maps without and with a mask.

    frequencies   (K,) cycles per voxel
    unmasked, masked
    randomised    of the masked maps with random phases beyond `cut`: what the mask alone correlates
    corrected     masked, free of what the mask correlates
    cut           cycles per voxel, where `unmasked` falls below 0.8
    """

    frequencies: np.ndarray
    unmasked: np.ndarray
    masked: np.ndarray
    randomised: np.ndarray
    corrected: np.ndarray
    cut: float


def masked_fsc(a: np.ndarray, b: np.ndarray, mask: np.ndarray, *, seed: int = 0) -> MaskedFsc:
    """Fourier shell correlation under a mask, corrected by random phases [Chen et al., Ultramicroscopy 135, 24, 2013].

    corrected = (masked - randomised) / (1 - randomised) from two shells above the cut, masked below.

    mask   0 to 1, of the size of a and b
    seed   of the phases
    """
    if mask.shape != a.shape:
        raise InputError(f"mask: expected {a.shape} voxels (z, y, x) as the volumes have, got {mask.shape}")
    if not np.isfinite(mask).all() or not mask.any():
        raise InputError("mask: expected finite values that are not all 0, got others")
    frequencies, unmasked = fsc(a, b)
    _, masked = fsc(a * mask, b * mask)
    cut = crossing(frequencies, unmasked, 0.8)
    if cut is None:
        cut = float(frequencies[-1])
    rng = np.random.default_rng(seed)
    _, randomised = fsc(*(_random_phases(volume, cut, rng) * mask for volume in (a, b)))
    beyond = frequencies > cut + 2 / max(a.shape)
    corrected = np.where(beyond, (masked - randomised) / np.maximum(1 - randomised, 1e-6), masked)
    return MaskedFsc(frequencies, unmasked, masked, randomised, corrected, cut)


def _random_phases(volume: np.ndarray, cut: float, rng: np.random.Generator) -> np.ndarray:
    """The amplitudes of a volume, with the phases of white noise beyond `cut` cycles per voxel."""
    spectrum = np.fft.rfftn(volume)
    noise = np.fft.rfftn(rng.standard_normal(volume.shape))
    beyond = _frequencies(volume.shape) > cut
    spectrum[beyond] = np.abs(spectrum[beyond]) * noise[beyond] / np.maximum(np.abs(noise[beyond]), 1e-30)
    return np.fft.irfftn(spectrum, volume.shape, axes=(0, 1, 2))


def measurable_band(band: Sequence[float], voxel_size: float) -> tuple[float, float] | None:
    """The part of a band (longest, shortest), angstrom, up to Nyquist, 2 voxels; None where nothing is left."""
    longest, shortest = band
    shortest = max(shortest, 2 * voxel_size)
    return (longest, shortest) if shortest < longest else None


def band_ncc(
    image: np.ndarray,
    projection: np.ndarray,
    used: np.ndarray,
    pixel_size: float,
    longest: float = 200.0,
    shortest: float = 40.0,
) -> float:
    """Correlation, -1 to 1, of a view and its prediction in a band of resolution, over the pixels used.

    image, projection  (v, u), one scale not needed
    used               (v, u) bool; the others (beads, no data) take the mean of the used before filtering
    pixel_size         angstrom
    longest, shortest  angstrom: the band 1 / longest to 1 / shortest per angstrom, edges soft by a tenth
    """
    if not 0 < shortest < longest:
        raise InputError(f"band: expected longest > shortest > 0 angstrom, got {longest} and {shortest}")
    if used.sum() < 2:
        return 0.0
    rows, columns = np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    inside = used[box]
    k = _frequencies(inside.shape) / pixel_size
    with np.errstate(over="ignore"):
        gain = 1 / (1 + np.exp(-(k - 1 / longest) / (0.025 / longest)))
        gain *= 1 / (1 + np.exp((k - 1 / shortest) / (0.025 / shortest)))
    filtered = []
    for values in (image[box], projection[box]):
        filled = np.where(inside, values, values[inside].mean(dtype=np.float64))
        filled -= filled.mean()
        filtered.append(np.fft.irfft2(np.fft.rfft2(filled) * gain, filled.shape)[inside])
    a, b = (values - values.mean() for values in filtered)
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / norm) if norm > 0 else 0.0
