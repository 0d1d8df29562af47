"""Slow twin of Fourier space: every coefficient a sum over all voxels, every sample a sum over eight neighbours.

Blobs stand for a molecule whose transform is known: rows x, y, z (voxels from n // 2), height, sigma (voxels).
"""

import itertools

import numpy as np


def ball(band):
    """All k = (kx, ky, kz) with 0 < |k| <= band, as a set of tuples."""
    line = range(-band, band + 1)
    return {k for k in itertools.product(line, line, line) if 0 < sum(i * i for i in k) <= band * band}


def transform(volume, k):
    """n^-3/2 sum_x volume(x) exp(-2 pi i k . (x - n // 2) / n) at k (J, 3), whole or not, with |k_i| <= 2 n."""
    n = len(volume)
    at = np.arange(n) - n // 2
    x, y, z = (np.exp(-2j * np.pi / n * np.outer(part, at)) for part in np.asarray(k, float).T)
    return np.einsum("jx,jy,jz,zyx->j", x, y, z, volume, optimize=True) / n**1.5


def corrected(volume):
    """The volume over sinc^2(x / 2n) along each axis."""
    n = len(volume)
    profile = np.sinc((np.arange(n) - n // 2) / (2 * n)) ** -2
    return volume * profile * profile[:, None] * profile[:, None, None]


def volume_of(spectrum, box):
    """n^{3/2} / (2n)^3 sum_k spectrum(k) exp(2 pi i k . (x - n // 2) / 2n): both halves, each frequency once."""
    reach = spectrum.shape[2] - 1
    whole = np.concatenate([spectrum[::-1, ::-1, :0:-1].conj(), spectrum], axis=2).astype(complex)
    line = np.arange(-reach, reach + 1)
    # Of the two that stand for Nyquist, half each; beyond, those within are repeated.
    once = np.where(abs(line) < box, 1.0, np.where(abs(line) == box, 0.5, 0.0))
    waves = np.exp(1j * np.pi / box * np.outer(line, np.arange(box) - box // 2)) * once[:, None]
    summed = np.einsum("kz,ly,mx,klm->zyx", waves, waves, waves, whole, optimize=True)
    return summed.real * box**1.5 / (2 * box) ** 3


def project(volume, k, rotation):
    """Coefficients (J,) of the volume after rotation: transform of the corrected volume at half steps, interpolated."""
    at = 2 * (np.asarray(k, float) @ rotation)
    low = np.floor(at)
    result = np.zeros(len(at), complex)
    for corner in itertools.product((0, 1), repeat=3):
        weight = np.prod(1 - np.abs(at - low - corner), axis=1)
        result += weight * transform(corrected(volume), (low + corner) / 2)
    return result


def molecule(rng, radius, count=20):
    """Blobs (count, 5) without symmetry, their centres evenly in a ball of `radius` voxels."""
    directions = rng.standard_normal((count, 3))
    lengths = radius * rng.uniform(size=(count, 1)) ** (1 / 3) / np.linalg.norm(directions, axis=1, keepdims=True)
    return np.column_stack([directions * lengths, rng.uniform(0.5, 1.5, count), rng.uniform(1.2, 1.6, count)])


def moved(blobs, rotation, shift=(0.0, 0.0, 0.0)):
    """Rotated about voxel n // 2, then shifted."""
    return np.column_stack([blobs[:, :3] @ np.asarray(rotation).T + shift, blobs[:, 3:]])


def blob_volume(blobs, box):
    """(z, y, x) float32."""
    z, y, x = np.mgrid[:box, :box, :box] - box // 2
    volume = np.zeros((box, box, box))
    for cx, cy, cz, height, sigma in blobs:
        volume += height * np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (2 * sigma**2))
    return volume.astype(np.float32)


def blob_transform(blobs, k, box):
    """The integral in place of the sum over voxels: coefficients (..., ) at k (..., 3)."""
    k = np.asarray(k, float)
    result = np.zeros(k.shape[:-1], complex)
    for *centre, height, sigma in blobs:
        size = height * (2 * np.pi * sigma**2) ** 1.5 * np.exp(-2 * (np.pi * sigma / box) ** 2 * (k * k).sum(axis=-1))
        result += size * np.exp(-2j * np.pi / box * (k @ np.array(centre)))
    return result / box**1.5
