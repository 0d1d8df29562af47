"""Slow twin of the real-space projector, written from the view maps alone: rays, not shears."""

import numpy as np


def ray_sums(volume, maps, x, y):
    """Sum over slices of `volume` (z, y, x) along the ray of every base-plane point, float64 (view, y, x).

    maps  (view, 2, 4): (u, v) = A (x, y) + c z + d, voxels from voxel n // 2
    x, y  (columns,), (rows,): points of the plane z = 0, voxels from voxel n // 2

    The ray through (x, y, 0) is every point that the view maps to one (u, v). It meets slice z where
    A (x', y') = (u, v) - c z - d; there the slice is interpolated bilinearly, zero beyond its voxels.
    """
    nz, ny, nx = volume.shape
    padded = np.pad(np.asarray(volume, float), ((0, 0), (1, 1), (1, 1)))
    plane = np.stack(np.broadcast_arrays(x[None, :], y[:, None])).reshape(2, -1).astype(float)
    sums = np.zeros((len(maps), plane.shape[1]))
    for view, one in enumerate(np.asarray(maps, float)):
        seen = one[:, :2] @ plane + one[:, 3:]
        for index in range(nz):
            met = np.linalg.solve(one[:, :2], seen - one[:, 3:] - one[:, 2:3] * (index - nz // 2))
            sums[view] += bilinear(padded[index], met[0] + nx // 2 + 1, met[1] + ny // 2 + 1)
    return sums.reshape(len(maps), len(y), len(x))


def bilinear(image, x, y):
    """image (y, x) at the indices x, y (n,), zero outside."""
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right_part, low_part = x - left, y - top
    value = np.zeros(len(x))
    for row, row_weight in ((top, 1 - low_part), (top + 1, low_part)):
        for column, column_weight in ((left, 1 - right_part), (left + 1, right_part)):
            inside = (row >= 0) & (row < image.shape[0]) & (column >= 0) & (column < image.shape[1])
            value[inside] += (row_weight * column_weight)[inside] * image[row[inside], column[inside]]
    return value


def gaussian(shape, centres, sigma):
    """Sum of unit Gaussians sampled at the voxels of `shape` (z, y, x); centres (n, 3) as x, y, z from n // 2."""
    z, y, x = (np.arange(n, dtype=float) - n // 2 for n in shape)
    volume = np.zeros(shape)
    for cx, cy, cz in centres:
        square = ((z - cz) ** 2)[:, None, None] + ((y - cy) ** 2)[None, :, None] + ((x - cx) ** 2)[None, None, :]
        volume += np.exp(-square / (2 * sigma**2))
    return volume


def gaussian_line_integrals(maps, image_shape, centres, sigma):
    """Exact line integrals of the same Gaussians on the detector, (view, v, u): s sqrt(2 pi) exp(-d^2 / 2 s^2).

    d is the distance of the centre from the pixel's ray, in voxels: the ray is found by solving the view map.
    """
    v, u = np.meshgrid(*(np.arange(n) - n // 2 for n in image_shape), indexing="ij")
    pixels = np.stack([u.ravel(), v.ravel()]).astype(float)
    images = np.zeros((len(maps), pixels.shape[1]))
    for view, one in enumerate(maps):
        at_zero = np.linalg.solve(one[:, :2], pixels - one[:, 3:])
        point = np.vstack([at_zero, np.zeros(pixels.shape[1])])
        direction = np.append(-np.linalg.solve(one[:, :2], one[:, 2]), 1.0)
        direction /= np.linalg.norm(direction)
        for centre in centres:
            gap = np.asarray(centre, float)[:, None] - point
            square = (gap**2).sum(axis=0) - (direction @ gap) ** 2
            images[view] += sigma * np.sqrt(2 * np.pi) * np.exp(-square / (2 * sigma**2))
    return images.reshape(len(maps), *image_shape)
