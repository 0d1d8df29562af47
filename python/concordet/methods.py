"""One reconstruction from start to judgement: a method by name, hold-out stopping, refit with all views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from concordet import consensus, partition, reconstruction
from concordet.context import Context
from concordet.errors import InputError
from concordet.geometry import ViewGeometry
from concordet.partition import ViewPartition
from concordet.projection import TiltData, as_volume
from concordet.reconstruction import Fit

METHODS = {
    "dm-sirt": "DM-SIRT: agents on subsets of views reach one volume (MACE)",
    "sirt": "FULL-SIRT: all views at once",
    "os-sirt": "ordered-subsets SIRT",
    "cgls": "conjugate gradients, least squares",
    "fbp": "filtered (weighted) back-projection",
    "direct-combine": "DirectCombine-SIRT: subsets alone, averaged (negative control)",
}
# Iterations after the best held-out NCC without a better one that end a run.
PATIENCE = 4

# (what is being done, steps done, steps in all)
OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Options:
    """Parameters of a method; what a method does not know it ignores.

    iterations   of sirt, os-sirt, cgls, direct-combine; dm-sirt makes iterations / inner outer ones unless `outer`
    relaxation   lambda of SIRT; alpha of the agents, one for all or one per subset
    subsets      N; None: subsets of about 15 views
    overlap      views shared with the next subset; None: 2 for adjacent grouping, 0 for round-robin
    """

    method: str = "dm-sirt"
    iterations: int | None = None
    relaxation: float | tuple[float, ...] = 0.3
    subsets: int | None = None
    overlap: int | None = None
    grouping: str = "adjacent"
    inner: int = 10
    outer: int | None = None
    rho: float = 0.5
    positivity: bool = False
    tolerance: float = 0.0
    filter: str = "hamming"

    def __post_init__(self):
        if self.method not in METHODS:
            raise InputError(f"method: expected one of {', '.join(METHODS)}, got {self.method}")
        if self.grouping not in partition.GROUPINGS:
            raise InputError(f"grouping: expected one of {', '.join(partition.GROUPINGS)}, got {self.grouping}")
        if not self.tolerance >= 0:
            raise InputError(f"tolerance: expected 0 or more, got {self.tolerance}")
        for name in ("iterations", "inner", "outer"):
            value = getattr(self, name)
            if value is not None:
                reconstruction.check_iterations(value, name)
        if self.method == "dm-sirt":
            consensus.check_agents(np.atleast_1d(self.relaxation), self.rho)
        elif isinstance(self.relaxation, tuple):
            raise InputError(f"relaxation: expected one number for {self.method}, got {len(self.relaxation)}")
        elif self.method != "fbp":
            reconstruction.check_relaxation(self.relaxation)
        reconstruction.window(self.filter)

    @property
    def steps(self) -> int:
        """Iterations that the method is asked for, in its own counting."""
        if self.method == "dm-sirt":
            return self.outer or (-(-self.iterations // self.inner) if self.iterations else 10)
        if self.iterations:
            return self.iterations
        return {"cgls": 10, "os-sirt": 10}.get(self.method, 100)

    @property
    def stops_early(self) -> bool:
        """Whether the iterations can be watched and ended by held-out views."""
        return self.method in ("dm-sirt", "sirt", "os-sirt", "cgls")

    @property
    def needs_partition(self) -> bool:
        return self.method in ("dm-sirt", "os-sirt", "direct-combine")

    def partition(self, geometry: ViewGeometry, views: np.ndarray) -> ViewPartition:
        """The subsets of `views` that the method works on, as indices of all views of `geometry`."""
        count = self.subsets
        if count is None:
            count = partition.default_subset_count(len(views))
        overlap = self.overlap
        if overlap is None:
            overlap = 2 if self.grouping == "adjacent" else 0
        if isinstance(self.relaxation, tuple) and len(self.relaxation) != count:
            raise InputError(f"relaxation: expected one number, or one for each of {count} subsets, "
                             f"got {len(self.relaxation)}")
        local = partition.GROUPINGS[self.grouping](geometry.stacks[views], geometry.tilts[views], count, overlap)
        return ViewPartition(tuple(np.ascontiguousarray(views[subset]) for subset in local.subsets))


@dataclass
class Trace:
    """What the iterations of one run went through; one entry each."""

    weighted_residual: list[float] = field(default_factory=list)
    relative_change: list[float] = field(default_factory=list)
    ncc_held_out: list[float] = field(default_factory=list)


@dataclass
class Outcome:
    """A volume and how it came about.

    volume         (z, y, x)
    iterations     made for this volume (0 for fbp)
    trace          of the run that made the volume
    held_out       views kept out for judgement, empty without hold-out
    held_out_ncc   NCC of each of them, predicted by a volume that never saw them
    judged         trace of that run, None without hold-out
    """

    volume: np.ndarray
    iterations: int
    trace: Trace
    held_out: np.ndarray
    held_out_ncc: np.ndarray
    judged: Trace | None = None


def solve(
    data: TiltData,
    options: Options,
    views: np.ndarray,
    *,
    steps: int | None = None,
    initial: np.ndarray | None = None,
    watch: Callable[[np.ndarray], float] | None = None,
    on_progress: OnProgress | None = None,
    context: Context | None = None,
) -> tuple[np.ndarray, Trace, int]:
    """Run one method on `views`: (volume, trace, iterations made).

    steps  iterations in the method's own counting, `options.steps` by default
    watch  judges the volume after every iteration; the run ends PATIENCE iterations after its best value, and
           the volume and count returned are those of the best
    """
    steps = steps or options.steps
    trace = Trace()
    best: tuple[int, np.ndarray] | None = None
    method = options.method
    total = steps

    def progress(done: int) -> None:
        if on_progress:
            on_progress(METHODS[method].split(":")[0], done, total)

    def on_iteration(iteration: int, volume: np.ndarray, fit: Fit) -> bool:
        nonlocal best
        trace.weighted_residual.append(fit.weighted_residual)
        trace.relative_change.append(fit.relative_change)
        if method != "dm-sirt":
            progress(iteration + 1)
        if watch is None:
            return False
        trace.ncc_held_out.append(watch(volume))
        if best is None or trace.ncc_held_out[-1] > trace.ncc_held_out[best[0] - 1]:
            best = iteration + 1, as_volume(volume)
        return iteration + 1 - best[0] >= PATIENCE

    relaxation: Any = options.relaxation
    common: dict[str, Any] = {"initial": initial, "on_iteration": on_iteration, "tolerance": options.tolerance}
    if method == "fbp":
        total = len(views)
        progress(0)
        volume = reconstruction.fbp(data, views=views, filter=options.filter, on_views=progress, context=context)
    elif method == "sirt":
        progress(0)
        volume = reconstruction.sirt(
            data, views=views, iterations=steps, relaxation=relaxation, positivity=options.positivity,
            context=context, **common)
    elif method == "cgls":
        progress(0)
        volume = reconstruction.cgls(data, views=views, iterations=steps, context=context, **common)
    else:
        subsets = options.partition(data.projector.geometry, views)
        if method == "os-sirt":
            progress(0)
            volume = reconstruction.os_sirt(
                data, subsets, iterations=steps, relaxation=relaxation, positivity=options.positivity,
                context=context, **common)
        elif method == "direct-combine":
            total = len(subsets)
            progress(0)
            volume = reconstruction.direct_combine(
                data, subsets, iterations=steps, relaxation=relaxation, positivity=options.positivity,
                initial=initial, on_subset=progress, context=context)
        else:
            total = steps * len(subsets)
            progress(0)
            volume = consensus.dm_sirt(
                data, subsets, outer=steps, inner=options.inner, relaxation=relaxation, rho=options.rho,
                positivity=options.positivity, on_agent=progress, context=context, **common)
    if best is not None:
        return best[1], trace, best[0]
    made = len(trace.relative_change) if options.stops_early else 0 if method == "fbp" else steps
    return volume, trace, made


def reconstruct(
    data: TiltData,
    options: Options,
    *,
    hold_out: float = 0.0,
    initial: np.ndarray | None = None,
    judge: Callable[[np.ndarray, np.ndarray], None] | None = None,
    on_progress: OnProgress | None = None,
    context: Context | None = None,
) -> Outcome:
    """Reconstruct; with `hold_out`, stop and judge by views kept out, then refit with all for as many iterations.

    hold_out  fraction of each axis' views, 0 to 0.5
    judge     called with (the volume that never saw the held-out views, those views) before the refit
    """
    projector = data.projector
    geometry = projector.geometry
    views = projector.all_views
    held = partition.held_out_views(geometry.stacks, geometry.tilts, hold_out)
    kept_out, fitted = views[held], views[~held]
    run: dict[str, Any] = {"initial": initial, "on_progress": on_progress, "context": context}
    if options.needs_partition and (options.subsets or 1) > len(fitted):
        options.partition(geometry, fitted)  # refuses before any work
    if not len(kept_out):
        volume, trace, made = solve(data, options, views, **run)
        return Outcome(volume, made, trace, kept_out, np.zeros(0))

    def watch(volume: np.ndarray) -> float:
        ncc = data.ncc(volume, kept_out)
        return float(ncc[np.isfinite(ncc)].mean()) if np.isfinite(ncc).any() else 0.0

    volume, judged, best = solve(data, options, fitted, watch=watch if options.stops_early else None, **run)
    held_out_ncc = data.ncc(volume, kept_out)
    if judge:
        judge(volume, kept_out)
    del volume
    data.forget_column_weights()
    volume, trace, made = solve(data, options, views, steps=best or None, **run)
    return Outcome(volume, made, trace, kept_out, held_out_ncc, judged)
