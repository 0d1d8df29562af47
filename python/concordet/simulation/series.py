"""Tilt series of phantoms: the views, one at a time, with noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from concordet.errors import InputError
from concordet.simulation.maps import MapPhantom
from concordet.simulation.phantoms import Phantom, positive_shape


def tilt_angles(low: float, high: float, step: float) -> np.ndarray:
    """Angles low, low + step, ..., up to high (included where the steps meet it); degrees, float64."""
    if not np.isfinite([low, high, step]).all() or step <= 0 or high < low:
        raise InputError(f"tilt range: expected low <= high and a step > 0, got {low} to {high} by {step}")
    if max(-low, high) >= 90:
        raise InputError(f"tilt range: expected angles between -90 and 90 degrees, got {low} to {high}")
    return low + step * np.arange(int(np.floor((high - low) / step + 1e-6)) + 1)


def add_noise(images: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    """Images plus white Gaussian noise of variance var(images) / snr, over all of them together; float32."""
    sigma = _noise_sigma(np.var(images, dtype=np.float64), snr)
    noise = rng.standard_normal(np.shape(images), dtype=np.float32)
    return (images + np.float32(sigma) * noise).astype(np.float32)


def simulate_series(specimen: Phantom | MapPhantom, view_maps: np.ndarray, image_shape: Sequence[int], *,
                    snr: float = 0, seed: int | Sequence[int] = 0, supersampling: int = 2, memory: int = 1 << 30,
                    on_projected: Callable[[int], None] | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """The views of a tilt series, one at a time, with noise.

    view_maps     (view, 2, 4)
    image_shape   (v, u), pixels
    snr           variance of the signal over the whole series / variance of the noise; 0: no noise
    seed          each view's noise depends on (seed, view) alone; give every axis its own, such as (seed, axis)
    memory        bytes of clean views kept until the variance is known; the rest are projected twice, to one result
    on_projected  called with 1, 2, ..., the views projected for the variance; with SNR 0, which needs none, never
    Yields (view index, (v, u) float32), in order.
    """
    image_shape = positive_shape(image_shape, 2, "image")
    view_maps = np.asarray(view_maps, dtype=np.float64)
    if view_maps.ndim != 3 or view_maps.shape[1:] != (2, 4) or len(view_maps) == 0:
        raise InputError(f"view maps: expected shape (views, 2, 4), got {view_maps.shape}")
    if not (np.isfinite(snr) and snr >= 0):
        raise InputError(f"SNR: expected a number >= 0 (0: no noise), got {snr}")
    return _simulate(specimen, view_maps, image_shape, snr, seed, supersampling, memory, on_projected)


def _simulate(specimen, view_maps, image_shape, snr, seed, supersampling, memory, on_projected):
    if snr == 0:
        for view, view_map in enumerate(view_maps):
            yield view, specimen.project(view_map, image_shape, supersampling)
        return
    kept = {}
    may_keep = memory // (4 * image_shape[0] * image_shape[1])
    sums = squares = 0.0
    for view, view_map in enumerate(view_maps):
        image = specimen.project(view_map, image_shape, supersampling)
        sums += image.sum(dtype=np.float64)
        squares += np.square(image, dtype=np.float64).sum()
        if len(kept) < may_keep:
            kept[view] = image
        if on_projected:
            on_projected(view + 1)
    pixels = len(view_maps) * image_shape[0] * image_shape[1]
    sigma = np.float32(_noise_sigma(max(squares / pixels - (sums / pixels) ** 2, 0), snr))
    seeds = [seed] if isinstance(seed, (int, np.integer)) else list(seed)
    for view, view_map in enumerate(view_maps):
        image = kept.pop(view, None)
        if image is None:
            image = specimen.project(view_map, image_shape, supersampling)
        noise = np.random.default_rng([*seeds, view]).standard_normal(image_shape, dtype=np.float32)
        yield view, image + sigma * noise


def _noise_sigma(variance: float, snr: float) -> float:
    if not (np.isfinite(snr) and snr > 0):
        raise InputError(f"SNR: expected a number > 0, got {snr}")
    if variance == 0:
        raise InputError("SNR: expected views with a signal, got images of one grey level")
    return float(np.sqrt(variance / snr))
