"""Figures of merit: against tilt, iteration and frequency, of particles and classes. [1] is Wang et al., DM-SIRT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .page import Section, figure_html, legend, padded_limits, rendered, styles


def ncc_against_tilt(curves: Mapping[str, Sequence[Mapping]], *, stacks: Sequence[str] | None = None,
                     heading: str = "Reprojection against the views") -> Section:
    """NCC of views and reprojections against tilt: a panel per stack, a line per method ([1], fig. 6).

    curves   method: views, each {"stack", "view", "tilt" (degrees), "ncc", "held_out"}; views without an NCC
             (None or NaN) are left out
    stacks   names of the panels, by position in order of appearance; the stacks' own unless given
    """
    present = list(dict.fromkeys(view["stack"] for views in curves.values() for view in views))
    names = {stack: stacks[i] if stacks is not None and i < len(stacks) else
             f"stack {stack + 1}" if isinstance(stack, int) else Path(str(stack)).name
             for i, stack in enumerate(present)}
    usable = {method: [v for v in views if v["ncc"] is not None and np.isfinite(v["ncc"])]
              for method, views in curves.items()}
    values = [view["ncc"] for views in usable.values() for view in views]
    limits = padded_limits(values)
    any_held_out = any(view.get("held_out") for views in usable.values() for view in views)

    def draw(figure, stack):
        axes = figure.add_subplot()
        for method, (colour, line) in styles(curves).items():
            views = sorted((v for v in usable[method] if v["stack"] == stack), key=lambda v: v["tilt"])
            fitted = [v for v in views if not v.get("held_out")]
            held_out = [v for v in views if v.get("held_out")]
            axes.plot([v["tilt"] for v in fitted], [v["ncc"] for v in fitted], line, color=colour,
                      marker="." if len(fitted) < 3 else None)
            axes.plot([v["tilt"] for v in held_out], [v["ncc"] for v in held_out], "o", color=colour,
                      markerfacecolor="white", markersize=5.5, markeredgewidth=1.5)
        axes.set_ylim(limits)
        axes.set_xlabel("tilt (degrees)")
        axes.set_ylabel("NCC")

    figures = [figure_html(rendered(lambda figure, stack=stack: draw(figure, stack), (4.6, 3.1)),
                       f"NCC against tilt, {name}", name) for stack, name in names.items()]
    caption = "Normalised cross-correlation of each view with the reprojected volume, against its tilt."
    if any_held_out:
        caption += " Rings: views held out of the reconstruction; lines: views it was fitted to."
    return Section(heading, legend(curves) + f'<div class="figures">\n{"".join(figures)}</div>', caption)


def ncc_bars(values: Mapping[str, float | Sequence[float]], *, label: str = "correlation with the truth",
             heading: str = "Correlation with the truth", caption: str = "") -> Section:
    """One figure of merit per method ([1], fig. 5): a point; for several runs a tick each, and their mean.

    values   method: number, or one number per run
    """
    series = {name: np.atleast_1d(np.asarray(value, dtype=float)) for name, value in values.items()}
    series = {name: numbers[np.isfinite(numbers)] for name, numbers in series.items()}
    shown = np.concatenate([*series.values(), np.zeros(0)])

    def draw(figure):
        axes = figure.add_subplot()
        for row, (name, (colour, _)) in enumerate(styles(series).items()):
            numbers = series[name]
            if not numbers.size:
                continue
            if numbers.size > 1:
                axes.plot(numbers, np.full(numbers.size, row), "|", color=colour, markersize=15,
                          markeredgewidth=1.2)
            axes.plot(numbers.mean(), row, "o", color=colour, markersize=7)
            axes.annotate(f"{numbers.mean():.3f}", (numbers.mean(), row), xytext=(0, 9),
                          textcoords="offset points", ha="center", fontsize=9)
        axes.set_yticks(range(len(series)), list(series))
        axes.set_ylim(len(series) - 0.4, -0.7)
        axes.set_xlim(padded_limits(shown, 0.15))
        axes.set_xlabel(label)

    png = rendered(draw, (4.8, 1.0 + 0.46 * max(len(series), 1)))
    text = "; ".join(f"{name} {numbers.mean():.4f}" for name, numbers in series.items() if numbers.size)
    return Section(heading, figure_html(png, f"{label}: {text}", wide=True), caption)


def history(curves: Mapping[str, Sequence[float] | np.ndarray], *, xlabel: str = "iteration",
            ylabel: str = "relative change", logarithmic: bool = False, heading: str = "Convergence",
            caption: str = "") -> Section:
    """Figures against iterations, one line per name.

    curves        name: values for iterations 1, 2, ..., or (n, 2) pairs of iteration and value
    logarithmic   values on a logarithmic axis; those <= 0 are left out
    """
    def draw(figure):
        axes = figure.add_subplot()
        for name, (colour, line) in styles(curves).items():
            points = np.asarray(list(curves[name]), dtype=float)
            if points.ndim != 2:
                points = np.column_stack([np.arange(1, points.size + 1), points])
            points = points[np.isfinite(points).all(axis=1) & ((points[:, 1] > 0) | (not logarithmic))]
            axes.plot(*points.T, line, color=colour, marker="." if len(points) < 30 else None)
        if logarithmic and axes.dataLim.ymax > 0:
            axes.set_yscale("log")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)

    png = rendered(draw, (4.8, 3.2))
    return Section(heading, legend(curves) + figure_html(png, f"{ylabel} against {xlabel}", wide=True), caption)


def fsc(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], *, voxel_size: float,
        heading: str = "Fourier shell correlation") -> Section:
    """Fourier shell correlations, with the usual thresholds.

    curves       name: (frequencies in cycles per voxel, correlations)
    voxel_size   angstrom
    """
    found = []
    clean = {}
    for name, (frequency, correlation) in curves.items():
        frequency, correlation = np.asarray(frequency, dtype=float), np.asarray(correlation, dtype=float)
        known = np.isfinite(frequency) & np.isfinite(correlation)
        clean[name] = frequency[known] / voxel_size, correlation[known]
        crossings = [_crossing(*clean[name], threshold) for threshold in (0.143, 0.5)]
        texts = [f"{1 / at:.3g} Å" if at else "not reached" for at in crossings]
        found.append(f"{name}: {texts[0]} ({texts[1]})")

    def draw(figure):
        axes = figure.add_subplot()
        for threshold in (0.143, 0.5):
            axes.axhline(threshold, color="#888888", linewidth=0.9)
            axes.annotate(f"{threshold:g}", (1, threshold), xycoords=("axes fraction", "data"),
                          xytext=(3, 0), textcoords="offset points", va="center", fontsize=8, color="#666666")
        for name, (colour, line) in styles(curves).items():
            axes.plot(*clean[name], line, color=colour)
        axes.set_xlim(0, 0.5 / voxel_size)
        axes.set_ylim(min(-0.05, *(c.min() for _, c in clean.values() if c.size), 0), 1.03)
        ticks = [tick for tick in axes.get_xticks() if 0 <= tick <= 0.5 / voxel_size]
        axes.set_xticks(ticks, [f"{tick:.3g}\n{1 / tick:.3g} Å" if tick else "0" for tick in ticks])
        axes.set_xlabel("spatial frequency (1/Å), and resolution")
        axes.set_ylabel("FSC")

    png = rendered(draw, (4.8, 3.4))
    return Section(heading, legend(curves) + figure_html(png, "Fourier shell correlation", wide=True),
                   "Resolution where the FSC falls below 0.143 (0.5): " + "; ".join(found) + "." if found else "")


def cumulative(values: Mapping[str, Sequence[float] | np.ndarray], *, xlabel: str, marks: Sequence[float] = (),
               heading: str = "Errors", caption: str = "") -> Section:
    """The part of the particles whose value is no larger than x, one line per name.

    marks   values of x with a line of their own
    """
    ordered = {name: np.sort(np.asarray(list(given), dtype=float)) for name, given in values.items()}
    ordered = {name: numbers[np.isfinite(numbers)] for name, numbers in ordered.items()}
    everything = np.concatenate([*ordered.values(), np.zeros(0)])
    # The worst few outliers would press all others against the axis.
    right = max([*marks, np.quantile(everything, 0.98) if everything.size else 1.0]) * 1.15 or 1.0

    def draw(figure):
        axes = figure.add_subplot()
        for mark in marks:
            axes.axvline(mark, color="#888888", linewidth=0.9)
        for name, (colour, line) in styles(ordered).items():
            numbers = ordered[name]
            part = np.arange(1, numbers.size + 1) / max(numbers.size, 1)
            axes.step(np.concatenate([[0], numbers, [right]]), np.concatenate([[0, *part], part[-1:] if part.size else
                      [0]]), line, color=colour, where="post")
        axes.set_xlim(0, right)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel(xlabel)
        axes.set_ylabel("part of the particles")

    png = rendered(draw, (4.8, 3.2))
    text = "; ".join(f"{name}: median {np.median(numbers):.3g}" for name, numbers in ordered.items() if numbers.size)
    return Section(heading, (legend(ordered) if len(ordered) > 1 else "")
                   + figure_html(png, f"part of the particles within {xlabel}; {text}", wide=True), caption)


def confusion(counts: np.ndarray, rows: Sequence[str], columns: Sequence[str], *,
              heading: str = "Classes", caption: str = "") -> Section:
    """A heat map of a confusion matrix: counts in the cells, colour by the part of the row.

    counts          (T, E) particles of each true class (row) found in each class (column)
    rows, columns   their names, in the order drawn
    """
    counts = np.asarray(counts)
    parts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def draw(figure):
        axes = figure.add_subplot()
        axes.grid(False)
        mesh = axes.imshow(parts, cmap="Blues", vmin=0, vmax=1, aspect="equal" if max(counts.shape) <= 12 else "auto")
        if counts.size <= 400:
            size = 10 if max(counts.shape) <= 8 else 7
            for (row, column), count in np.ndenumerate(counts):
                axes.text(column, row, f"{count}", ha="center", va="center", fontsize=size,
                          color="white" if parts[row, column] > 0.6 else "#222222" if count else "#bbbbbb")
        axes.set_xticks(range(len(columns)), columns, rotation=0 if len(columns) <= 8 else 90)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xticks(np.arange(-0.5, len(columns)), minor=True)
        axes.set_yticks(np.arange(-0.5, len(rows)), minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("class found")
        axes.set_ylabel("true class")
        bar = figure.colorbar(mesh, ax=axes, fraction=0.046, pad=0.04)
        bar.set_label("part of the true class", fontsize=9)
        bar.outline.set_visible(False)

    side = 0.55 * max(len(columns), 2)
    height = 0.55 * max(len(rows), 2)
    png = rendered(draw, (min(2.6 + side, 9.0), min(1.6 + height, 8.0)))
    return Section(heading, figure_html(png, "confusion matrix of true classes and classes found", wide=True), caption)


def _crossing(frequency, correlation, threshold):
    """Frequency at which the correlation first falls below the threshold; None if it does not."""
    below = np.flatnonzero(correlation < threshold)
    below = below[below > 0]
    if not below.size:
        return None
    i = below[0]
    share = (correlation[i - 1] - threshold) / max(correlation[i - 1] - correlation[i], 1e-12)
    return frequency[i - 1] + min(max(share, 0), 1) * (frequency[i] - frequency[i - 1])
