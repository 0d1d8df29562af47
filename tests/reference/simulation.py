"""Slow twin of concordet.simulation: density at points and their sums; Fourier sums of posed maps, one by one."""

import numpy as np


def density_at(phantom, points):
    """Density at points (n, 3), (x, y, z): the definition, ellipsoid by ellipsoid."""
    total = np.zeros(len(points))
    for centre, shape, density in zip(phantom.centres, phantom.shapes, phantom.densities, strict=True):
        away = points - centre
        total += density * (np.einsum("ni,ij,nj->n", away, shape, away) <= 1)
    return total


def project_pixel(phantom, view_map, u, v, reach, steps):
    """Line integral through (u, v), pixels from the centre pixel, over |z| <= reach."""
    edges = np.linspace(-reach, reach, steps + 1)
    z = (edges[1:] + edges[:-1]) / 2
    # (u, v) = A (x, y) + c z + d, solved for (x, y) at each z.
    right = np.array([u, v])[:, None] - view_map[:, 2:3] * z - view_map[:, 3:4]
    x, y = np.linalg.solve(view_map[:, :2], right)
    points = np.column_stack([x, y, z])
    step = np.linalg.norm(points[1] - points[0])
    return density_at(phantom, points).sum() * step


def voxel_mean(phantom, x, y, z, fine):
    """Mean density of the voxel centred on (x, y, z), from fine^3 points."""
    offsets = (np.arange(fine) + 0.5) / fine - 0.5
    points = np.stack(np.meshgrid(x + offsets, y + offsets, z + offsets), axis=-1).reshape(-1, 3)
    return density_at(phantom, points).mean()


def coefficient(volume, k):
    """n^-3/2 sum volume exp(-2 pi i k x / n) at any k (x, y, z); x from voxel n // 2."""
    n = len(volume)
    x = np.arange(n) - n // 2
    phase_x, phase_y, phase_z = (np.exp(-2j * np.pi * q * x / n) for q in k)
    return n**-1.5 * np.einsum("zyx,z,y,x->", volume, phase_z, phase_y, phase_x)


def inverted_tilt_series(volume, tilts, transfer, premultiplied):
    """Volume and weight of a noise-free tilt series about y, coefficient by coefficient; transfer(|k|) is CTF x MTF."""
    n = len(volume)
    line = np.arange(n) - n // 2
    spectrum, weight = np.zeros((n, n, n), complex), np.zeros((n, n, n))
    for iz, iy, ix in np.ndindex(n, n, n):
        k = line[[ix, iy, iz]]
        if (2 * np.abs(k) == n).any():
            continue
        a = transfer(np.linalg.norm(k))
        images = []
        for tilt in np.deg2rad(tilts):
            across, beam = np.array([np.cos(tilt), 0, np.sin(tilt)]), np.array([-np.sin(tilt), 0, np.cos(tilt)])
            if abs(k @ beam) <= 0.5 + 1e-6:
                foot = (k @ across) * across + k * [0, 1, 0]
                images.append(a * coefficient(volume, foot))
        m = len(images)
        if premultiplied:
            spectrum[iz, iy, ix], weight[iz, iy, ix] = a * sum(images), m * a**2
        elif m:
            spectrum[iz, iy, ix], weight[iz, iy, ix] = sum(images) / np.sqrt(m), np.sqrt(m) * a
    volume = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(spectrum), norm="ortho"))
    return volume.real, weight


def gaussians(box, centres, sigmas, heights):
    """(n, n, n): blobs at (x, y, z) voxels from voxel n // 2."""
    x = np.arange(box) - box // 2
    volume = np.zeros((box, box, box))
    for centre, sigma, height in zip(centres, sigmas, heights, strict=True):
        along_x, along_y, along_z = (np.exp(-((x - c) ** 2) / (2 * sigma**2)) for c in centre)
        volume += height * np.einsum("z,y,x->zyx", along_z, along_y, along_x)
    return volume
