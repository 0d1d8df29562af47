"""Slow twins of the iterative methods: dense matrices in double precision, the papers' formulae as they stand."""

import numpy as np

from concordet.projection import Projector, TiltData, as_volume


def dense_operator(projector: Projector) -> np.ndarray:
    """W as (views x pixels, voxels), column by column from unit volumes."""
    columns = []
    for voxel in range(int(np.prod(projector.volume_shape))):
        unit = np.zeros(projector.volume_shape, np.float32)
        unit.flat[voxel] = 1
        images = projector.shear_sum(as_volume(unit), projector.all_views, projector.zeros_images(len(projector)))
        columns.append(images.ravel().astype(np.float64))
    return np.column_stack(columns)


class DenseProblem:
    """W, p and R of a `TiltData`, used pixels only."""

    def __init__(self, data: TiltData):
        self.shape = data.projector.volume_shape
        used = data.row_weights.ravel() > 0
        self.matrix = dense_operator(data.projector)[used]
        self.data = data.images.ravel()[used].astype(np.float64)
        self.view = np.repeat(np.arange(len(data.images)), data.images[0].size)[used]
        self.row_weights = data.row_weights.ravel()[used].astype(np.float64)

    def part(self, views):
        rows = np.isin(self.view, views)
        return self.matrix[rows], self.data[rows], self.row_weights[rows]


def sirt(problem: DenseProblem, views, start: np.ndarray, iterations: int, relaxation: float) -> np.ndarray:
    """x <- x + lambda C W^T R (p - W x), `iterations` times from `start` (voxels,)."""
    matrix, data, row_weights = problem.part(views)
    sums = matrix.sum(axis=0)
    column_weights = (sums > 1e-3) / np.maximum(sums, 0.05 * len(views))
    x = start
    for _ in range(iterations):
        x = x + relaxation * column_weights * (matrix.T @ (row_weights * (data - matrix @ x)))
    return x


def dm_sirt(problem: DenseProblem, subsets, start, outer, inner, relaxation, rho) -> np.ndarray:
    """Wang et al., algorithm 1."""
    w = start
    states = [start for _ in subsets]
    for _ in range(outer):
        for i, views in enumerate(subsets):
            z = 2 * w - states[i]
            v = sirt(problem, views, z, inner, relaxation[i])
            states[i] = rho * (2 * v - z) + (1 - rho) * states[i]
        w = sum(states) / len(states)
    return w
