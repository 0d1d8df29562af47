"""Slow twin of the back-projection filter: every weight summed at its own frequency, no table, no sorting."""

import numpy as np


def weights(shears, thickness, kx, ky):
    """weight_v = 1 / sum_v' max(0, 1 - nz |(s_v - s_v') . k|), (view, frequency); k in cycles per voxel."""
    slopes = shears[:, :1] * kx + shears[:, 1:] * ky
    apart = np.abs(slopes[:, None] - slopes[None, :])
    return 1 / np.maximum(0, 1 - thickness * apart).sum(axis=1)


def fast_length(n):
    """The smallest even length >= n with prime factors up to 5."""
    length = n + n % 2
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 2


def weigh(images, shears, maps, thickness, window):
    """images (view, y, x) filtered by weight and window, padded by a fifth of their extent and 8 pixels.

    maps    (view, 2, 2): A_v; a base-plane frequency k is A_v^-T k on the detector
    window  at detector frequencies 0 ... 0.5, evenly spaced; zero beyond
    """
    rows, columns = (fast_length(n + n // 5 + 8) for n in images.shape[1:])
    ky, kx = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None, :]
    ky = np.where(ky == -0.5, 0.5, ky)    # the Nyquist row stands for both; the kernel takes this one
    kx, ky = (k.ravel() for k in np.broadcast_arrays(kx, ky))
    gains = weights(shears, thickness, kx, ky)
    filtered = np.empty(images.shape)
    for view, image in enumerate(images):
        detector = np.hypot(*(np.linalg.inv(maps[view]).T @ np.stack([kx, ky])))
        low_pass = np.interp(detector, np.linspace(0, 0.5, len(window)), window, right=0.0)
        spectrum = np.fft.rfft2(image, (rows, columns))
        spectrum *= (gains[view] * low_pass).reshape(spectrum.shape)
        filtered[view] = np.fft.irfft2(spectrum, (rows, columns))[: image.shape[0], : image.shape[1]]
    return filtered
