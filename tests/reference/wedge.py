"""Slow twins of the Fourier weights: angles and distances voxel by voxel, layouts and interpolation by index loops."""

import numpy as np


def signed(index, n):
    """Frequency at `index` of an FFT of length n; the Nyquist of even n is negative."""
    return index - n if index >= (n + 1) // 2 else index


def tilt_range(n, low, high):
    """(n, n, n) in z, y, x about n // 2: 1 where the angle of (kx, kz) or of its mate is in the range, axis y."""
    values = np.zeros((n, n, n), np.float32)
    for iz in range(n):
        for ix in range(n):
            kx, kz = ix - n // 2, iz - n // 2
            if kx < 0:
                kx, kz = -kx, -kz
            angle = np.degrees(np.arctan2(kz, kx))
            if (kx, kz) == (0, 0) or (kx > 0 and low - 1e-9 <= angle <= high + 1e-9):
                values[iz, :, ix] = 1
    return values


def tilt_list(n, tilts, weights=None):
    """(n, n, n): the number of planes within half a voxel, or the sum of their weights at |k| / n; axis y."""
    values = np.zeros((n, n, n))
    for (iz, iy, ix), _ in np.ndenumerate(values):
        k = np.array([ix, iy, iz]) - n // 2
        for view, tilt in enumerate(np.deg2rad(tilts)):
            normal = np.array([-np.sin(tilt), 0, np.cos(tilt)])
            if abs(normal @ k) <= 0.5 + 1e-6:
                values[iz, iy, ix] += 1 if weights is None else weights[view](np.linalg.norm(k) / n)
    return values


def layouts(volume):
    """The four forms that a file may have of `volume` (n, n, n) about n // 2, by name."""
    n = len(volume)
    c, h = n // 2, n // 2 + 1
    forms = {"full centred": volume.copy(), "full FFT order": np.empty((n, n, n), np.float32),
             "half FFT order": np.empty((n, n, h), np.float32), "half centred": np.empty((n, n, h), np.float32)}
    for iz in range(n):
        for iy in range(n):
            for ix in range(n):
                kx, ky, kz = signed(ix, n), signed(iy, n), signed(iz, n)
                forms["full FFT order"][iz, iy, ix] = volume[kz + c, ky + c, kx + c]
                if ix < h:  # here kx = n / 2 of even n is positive, stored about n // 2 as -n / 2
                    forms["half FFT order"][iz, iy, ix] = volume[kz + c, ky + c, kx + c]
                    forms["half centred"][kz + c, ky + c, ix] = volume[kz + c, ky + c, kx + c]
    return forms


def interpolate(volume, k):
    """Trilinear value of `volume` (n, n, n) about n // 2 at one point k = (kx, ky, kz); 0 outside its samples."""
    n, total = len(volume), 0.0
    position = np.array(k)[::-1] + n // 2
    for (iz, iy, ix), value in np.ndenumerate(volume):
        near = 1 - np.abs(position - [iz, iy, ix])
        if (near > 0).all():
            total += value * near.prod()
    return total
