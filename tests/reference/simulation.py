"""Slow twin of concordet.simulation: the density at points, summed along a ray or over a voxel."""

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
