"""From projections to one volume: weighted back-projection, SIRT and its relatives.

Every iterative method is a short loop over the same operator: W is `Projector.shear_sum`, R and C are the inverse
row and column sums of W. Methods take a `Context` and an `on_iteration` callback, so they know neither processes nor
files nor progress bars.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from concordet.context import Context, Serial
from concordet.errors import InputError
from concordet.partition import ViewPartition
from concordet.projection import TiltData, zeros_volume

# A callback sees (iteration, volume, state of the fit) and may end the loop by returning True.
OnIteration = Callable[[int, np.ndarray, "Fit"], bool | None]


# CGLS ends where |gradient|^2 has fallen by this factor, and computes its gradient anew every so many iterations:
# the recurrence in single precision drifts from it.
SMALLEST_SLOPE, GRADIENT_RENEWAL = 1e-9, 10


@dataclass(frozen=True)
class Fit:
    """What one iteration found, of the volume it started from.

    weighted_residual  |R^1/2 (p - W x)|^2 over the fitted views: never rises in SIRT with 0 < lambda < 2
    relative_change    |x_new - x| / |x_new|
    """

    weighted_residual: float
    relative_change: float


def collect(fits: list[Fit]) -> OnIteration:
    """A callback that keeps the fit of every iteration in `fits`."""

    def keep(iteration: int, volume: np.ndarray, fit: Fit) -> None:
        fits.append(fit)

    return keep


def back_project_residual(
    data: TiltData, volume: np.ndarray, views: np.ndarray, update: np.ndarray, context: Context
) -> float:
    """update <- W^T R (p - W x) over `views`, shared among the ranks; returns |R^1/2 (p - W x)|^2."""
    update[...] = 0
    weighted_residual = np.array([data.back_project_residual(volume, context.share(views), update)])
    context.sum(update)
    context.sum(weighted_residual)
    return float(weighted_residual[0])


def check_relaxation(relaxation: float) -> None:
    if not 0 < relaxation < 2:
        raise InputError(f"relaxation: expected 0 < lambda < 2 (SIRT diverges outside), got {relaxation}")


def check_iterations(iterations: int, name: str = "iterations") -> None:
    if iterations < 1:
        raise InputError(f"{name}: expected at least 1, got {iterations}")


def window(name: str, samples: int = 129) -> np.ndarray:
    """(samples,) float32: the low-pass of weighted back-projection at 0 ... 0.5 cycles per pixel.

    name  ramp (none), hamming, hann, cosine
    """
    f = np.linspace(0, 1, samples)
    windows = {
        "ramp": np.ones_like(f),
        "hamming": 0.54 + 0.46 * np.cos(np.pi * f),
        "hann": 0.5 + 0.5 * np.cos(np.pi * f),
        "cosine": np.cos(np.pi * f / 2),
    }
    if name not in windows:
        raise InputError(f"filter: expected one of {', '.join(windows)}, got {name}")
    return windows[name].astype(np.float32)


def fbp(
    data: TiltData,
    *,
    views: np.ndarray | None = None,
    filter: str = "hamming",
    on_views: Callable[[int], None] | None = None,
    context: Context | None = None,
) -> np.ndarray:
    """Filtered (weighted) back-projection of views of any directions: x = 1/nz sum_v S_v^T (weight_v p_v).

    The weight shares frequencies among the views that measure them (see cpp/concordet/weighting.hpp).
    filter    ramp, hamming, hann or cosine: the window on detector frequencies
    on_views  called with the number of views done
    Returns (z, y, x) in density units.
    """
    context = context or Serial()
    projector = data.projector
    views = projector.all_views if views is None else views
    low_pass = window(filter)
    volume = zeros_volume(projector.volume_shape)
    done = 0
    for group in projector.view_groups(context.share(views)):
        images = data.images[group]  # a copy, 0 where no pixel is used
        projector.weigh(images, group, views, low_pass)
        projector.shear_adjoint(images, group, volume)
        done += len(group)
        if on_views:
            on_views(done)
    volume /= projector.volume_shape[0]
    return context.sum(volume)


def sirt(
    data: TiltData,
    *,
    iterations: int,
    relaxation: float = 0.3,
    views: np.ndarray | None = None,
    initial: np.ndarray | None = None,
    positivity: bool = False,
    tolerance: float = 0.0,
    column_weights: np.ndarray | None = None,
    volume: np.ndarray | None = None,
    on_iteration: OnIteration | None = None,
    context: Context | None = None,
) -> np.ndarray:
    """Simultaneous iterative reconstruction [Wang et al., eq. 7]: x <- x + lambda C W^T R (p - W x).

    iterations      at least 1
    relaxation      0 < lambda < 2; 1.9 needs about a fifth of the iterations of 0.3
    views           the views to fit, all by default
    initial         (z, y, x), zero by default
    positivity      clamp the volume at zero after every step
    tolerance       end when |change| / |x| falls below it; 0: never
    column_weights  C of these views, where the caller has it already
    volume          where to work, from `zeros_volume`; holds the start instead of `initial`
    Returns (z, y, x) in density units. InputError for parameters out of range.
    """
    check_relaxation(relaxation)
    check_iterations(iterations)
    context = context or Serial()
    views = data.projector.all_views if views is None else views
    if volume is None:
        volume = data.start(initial)
    if column_weights is None:
        column_weights = data.column_weights(views, context)
    update = zeros_volume(data.projector.volume_shape)
    for iteration in range(iterations):
        weighted_residual = back_project_residual(data, volume, views, update, context)
        change, norm = data.relax(volume, update, column_weights, relaxation, positivity)
        fit = Fit(weighted_residual, np.sqrt(change / norm) if norm > 0 else 0.0)
        if on_iteration and on_iteration(iteration, volume, fit):
            break
        if fit.relative_change < tolerance:
            break
    return volume


def os_sirt(
    data: TiltData,
    partition: ViewPartition,
    *,
    iterations: int,
    relaxation: float = 0.3,
    initial: np.ndarray | None = None,
    positivity: bool = False,
    tolerance: float = 0.0,
    on_iteration: OnIteration | None = None,
    context: Context | None = None,
) -> np.ndarray:
    """Ordered-subsets SIRT: one SIRT step on each subset in turn; `iterations` passes over all subsets.

    Parameters as in `sirt`; the ranks share the views of each subset.
    """
    check_relaxation(relaxation)
    check_iterations(iterations)
    context = context or Serial()
    volume = data.start(initial)
    for iteration in range(iterations):
        before = volume.copy()
        fits: list[Fit] = []
        for views in partition.subsets:
            sirt(data, iterations=1, relaxation=relaxation, views=views, positivity=positivity, volume=volume,
                 column_weights=data.cached_column_weights(views, context), on_iteration=collect(fits),
                 context=context)
        before -= volume
        norm = np.linalg.norm(volume)
        fit = Fit(sum(one.weighted_residual for one in fits), float(np.linalg.norm(before) / norm) if norm > 0 else 0.0)
        if (on_iteration and on_iteration(iteration, volume, fit)) or fit.relative_change < tolerance:
            break
    return volume


def cgls(
    data: TiltData,
    *,
    iterations: int,
    views: np.ndarray | None = None,
    initial: np.ndarray | None = None,
    tolerance: float = 0.0,
    on_iteration: OnIteration | None = None,
    context: Context | None = None,
) -> np.ndarray:
    """Conjugate gradients on the least-squares problem of SIRT: minimise |R^1/2 (p - W x)|^2, preconditioned by C.

    Semi-convergent: about ten iterations do what SIRT does in a hundred, and many more fit the noise.
    Parameters as in `sirt`. Source: Hestenes and Stiefel, J. Res. NBS 49, 409, 1952, in the form for normal equations.
    """
    check_iterations(iterations)
    context = context or Serial()
    views = data.projector.all_views if views is None else views
    shape = data.projector.volume_shape
    column_weights = data.column_weights(views, context)
    volume, direction, gradient, along = data.start(initial), *(zeros_volume(shape) for _ in range(3))
    right_side = zeros_volume(shape)  # W^T R p
    back_project_residual(data, direction, views, right_side, context)
    residual = back_project_residual(data, volume, views, gradient, context)
    direction[...] = column_weights * gradient
    first_slope = slope = np.vdot(gradient, direction)
    for iteration in range(iterations):
        if not slope > SMALLEST_SLOPE * first_slope:
            break  # converged to what single precision can tell
        # W^T R W direction = W^T R p - W^T R (p - W direction)
        back_project_residual(data, direction, views, along, context)
        np.subtract(right_side, along, out=along)
        curvature = np.vdot(direction, along)
        if not curvature > 0:
            break
        step = slope / curvature
        volume += step * direction
        if (iteration + 1) % GRADIENT_RENEWAL:
            gradient -= step * along
            residual -= step * slope  # |R^1/2 (p - W x)|^2 falls by slope^2 / (direction . along)
        else:
            residual = back_project_residual(data, volume, views, gradient, context)
        norm = np.linalg.norm(volume)
        fit = Fit(residual, float(step * np.linalg.norm(direction) / norm) if norm > 0 else 0.0)
        if (on_iteration and on_iteration(iteration, volume, fit)) or fit.relative_change < tolerance:
            break
        before, slope = slope, np.vdot(gradient, column_weights * gradient)
        direction *= slope / before
        direction += column_weights * gradient
    return volume


def direct_combine(
    data: TiltData,
    partition: ViewPartition,
    *,
    iterations: int,
    relaxation: float = 0.3,
    initial: np.ndarray | None = None,
    positivity: bool = False,
    on_subset: Callable[[int], None] | None = None,
    context: Context | None = None,
) -> np.ndarray:
    """DirectCombine-SIRT [Wang et al.]: subsets reconstructed alone, then averaged; the negative control.

    on_subset  called with the number of subsets done
    """
    context = context or Serial()
    mean = zeros_volume(data.projector.volume_shape)
    for done, views in enumerate(context.share(partition.subsets), start=1):
        mean += sirt(data, iterations=iterations, relaxation=relaxation, views=views, initial=initial,
                     positivity=positivity)
        if on_subset:
            on_subset(done)
    mean /= len(partition)
    return context.sum(mean)
