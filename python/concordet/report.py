"""Pictures and pages: one self-contained HTML report of a run, and standalone pictures of volumes.

A report is a list of sections; each builder below turns arrays or numbers into one `Section`.  Pictures are
PNGs inside the page, so that it can be mailed; colours are those of Okabe and Ito, told apart by all eyes.
The only module that imports matplotlib.  [1] is Wang et al., DM-SIRT.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from concordet.errors import RunError

# Okabe and Ito's palette without its yellow, which white paper swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", ":", "-.")
_DASHES = {"-": "solid", "--": "dashed", ":": "dotted", "-.": "dashed"}
_STYLE = {
    "font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10, "xtick.labelsize": 9, "ytick.labelsize": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#666666", "axes.grid": True,
    "grid.color": "#e4e4e4", "grid.linewidth": 0.8, "axes.axisbelow": True, "lines.linewidth": 1.7,
    "xtick.color": "#444444", "ytick.color": "#444444", "axes.labelcolor": "#222222", "text.color": "#222222",
}
_PAGE_STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #fff; color: #1d1d1f; -webkit-text-size-adjust: 100%;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 74rem; margin: 0 auto; padding: 1.6rem 1.1rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; font-weight: 650; margin: 0 0 .9rem; }
h2 { font-size: 1.2rem; font-weight: 620; margin: 2.6rem 0 .8rem; padding-top: .7rem;
  border-top: 1px solid #ddd; }
nav { font-size: .92rem; margin: .2rem 0 1.2rem; }
nav a { color: #0062a3; margin-right: 1.1em; text-decoration: none; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; margin: 0 0 1rem; }
dt { color: #666; } dd { margin: 0; overflow-wrap: anywhere; }
.figures { display: grid; gap: 1.2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
figure { margin: 0; max-width: 36rem; } figure.wide { max-width: 40rem; }
img { display: block; width: 100%; height: auto; }
figcaption { font-size: .95rem; margin-top: .35rem; } figcaption b { font-weight: 620; }
p.caption { color: #555; font-size: .92rem; max-width: 62rem; margin: .8rem 0 0; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; font-size: .95rem; margin-bottom: .7rem; }
.legend i { display: inline-block; width: 2.1em; margin-right: .5em; vertical-align: middle;
  border-top: 3px solid; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .95rem; }
th, td { padding: .34rem 1.3rem .34rem 0; text-align: left; border-bottom: 1px solid #e6e6e6; }
td { white-space: nowrap; } th { font-weight: 600; border-bottom-color: #888; } .n { text-align: right; }
summary { cursor: pointer; color: #0062a3; }
pre { font-size: .82rem; line-height: 1.45; background: #f6f6f7; padding: .9rem; overflow-x: auto; }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; } }
"""


@dataclass(frozen=True)
class Section:
    """One part of a report: `html` is markup made by this module; heading and caption are plain text."""

    heading: str
    html: str
    caption: str = ""


def write_report(path: str | os.PathLike, *, title: str, summary: Sequence[tuple[str, str]],
                 sections: Sequence[Section]) -> None:
    """One HTML page that needs nothing beside it.

    summary   (name, value) lines under the title
    Written beside and renamed, so that the page is whole or absent; RunError where it cannot be written.
    """
    entries = "".join(f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>\n"
                      for name, value in summary)
    links = "".join(f'<a href="#s{i}">{escape(s.heading)}</a>\n' for i, s in enumerate(sections))
    body = "".join(
        f'<section id="s{i}">\n<h2>{escape(s.heading)}</h2>\n{s.html}\n'
        + (f'<p class="caption">{escape(s.caption)}</p>\n' if s.caption else "") + "</section>\n"
        for i, s in enumerate(sections))
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_PAGE_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n" + (f"<dl>\n{entries}</dl>\n" if entries else "")
        + (f"<nav>{links}</nav>\n" if len(sections) > 2 else "") + body + "</main>\n</body>\n</html>\n")
    _write_whole(path, page.encode())


def slices(volumes: Mapping[str, np.ndarray], *, voxel_size: float, truth: str | None = None,
           plane: str = "ortho", thickness: int | None = None, matter_high: bool = True,
           notes: Mapping[str, str] | None = None, heading: str = "Slices") -> Section:
    """Central slices of several volumes, side by side.

    volumes       name: (z, y, x)
    voxel_size    angstrom; 0 where it is not known (no scale bar)
    truth         the name of the volume that comes first
    plane         "ortho" (xy with xz below and yz beside it), "xy", "xz" or "yz"
    thickness     voxels averaged across each slice; 1/12 of the smallest side, at most 7, unless given
    matter_high   matter has the high values; it is drawn dark, as electron micrographs show it
    notes         name: a few words shown beside the name
    """
    ordered = _truth_first(volumes, truth)
    depth = _slice_thickness(ordered, thickness)
    figures = []
    for name, volume in ordered.items():
        png = _render(lambda figure, volume=volume: _draw_slices(
            figure, (0, 0, 1, 1), volume, voxel_size, plane, depth, matter_high),
            _slices_size(volume, plane, 4.2), tight=False)
        figures.append(_figure(png, f"slices of {name}", name, (notes or {}).get(name, "")))
    across = f"{depth} voxel{'s' if depth > 1 else ''}"
    if voxel_size > 0:
        across += f" ({depth * voxel_size / 10:.3g} nm)"
    what = "xy, with xz below and yz beside it" if plane == "ortho" else plane
    return Section(heading, f'<div class="figures">\n{"".join(figures)}</div>',
                   f"Slices through the centre: {what}. Mean of {across} across each slice; grey levels from "
                   f"0.5 % to 99.5 % of what each picture shows. Matter is dark.")


def picture(path: str | os.PathLike, volumes: Mapping[str, np.ndarray], *, voxel_size: float,
            truth: str | None = None, plane: str = "ortho", thickness: int | None = None,
            matter_high: bool = True, columns: int | None = None, panel_width: float = 3.2) -> None:
    """A PNG of the same slices side by side, named above; arguments as in `slices`.

    columns       panels in a row; all of them up to five unless given
    panel_width   inches, at 150 dots per inch
    """
    ordered = _truth_first(volumes, truth)
    depth = _slice_thickness(ordered, thickness)
    columns = columns or min(len(ordered), 5)
    sizes = [_slices_size(volume, plane, panel_width) for volume in ordered.values()]
    rows = -(-len(sizes) // columns)
    gap, name_height = 0.12, 0.3
    row_heights = [max(h for _, h in sizes[r * columns:(r + 1) * columns]) + name_height for r in range(rows)]
    width = columns * panel_width + (columns - 1) * gap
    height = sum(row_heights) + (rows - 1) * gap

    def draw(figure):
        for i, (name, volume) in enumerate(ordered.items()):
            row, column = divmod(i, columns)
            left = column * (panel_width + gap)
            top = height - sum(row_heights[:row]) - row * gap
            bottom = top - name_height - sizes[i][1]
            box = (left / width, bottom / height, panel_width / width, sizes[i][1] / height)
            _draw_slices(figure, box, volume, voxel_size, plane, depth, matter_high)
            figure.text(left / width, (top - 0.22) / height, name, fontsize=11, weight="bold")

    _write_whole(path, _render(draw, (width, height), dots_per_inch=150, tight=False))


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
    limits = _padded_limits(values)
    any_held_out = any(view.get("held_out") for views in usable.values() for view in views)

    def draw(figure, stack):
        axes = figure.add_subplot()
        for method, (colour, line) in _styles(curves).items():
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

    figures = [_figure(_render(lambda figure, stack=stack: draw(figure, stack), (4.6, 3.1)),
                       f"NCC against tilt, {name}", name) for stack, name in names.items()]
    caption = "Normalised cross-correlation of each view with the reprojected volume, against its tilt."
    if any_held_out:
        caption += " Rings: views held out of the reconstruction; lines: views it was fitted to."
    return Section(heading, _legend(curves) + f'<div class="figures">\n{"".join(figures)}</div>', caption)


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
        for row, (name, (colour, _)) in enumerate(_styles(series).items()):
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
        axes.set_xlim(_padded_limits(shown, 0.15))
        axes.set_xlabel(label)

    png = _render(draw, (4.8, 1.0 + 0.46 * max(len(series), 1)))
    text = "; ".join(f"{name} {numbers.mean():.4f}" for name, numbers in series.items() if numbers.size)
    return Section(heading, _figure(png, f"{label}: {text}", wide=True), caption)


def history(curves: Mapping[str, Sequence[float]], *, xlabel: str = "iteration",
            ylabel: str = "relative change", logarithmic: bool = False, heading: str = "Convergence",
            caption: str = "") -> Section:
    """Figures against iterations, one line per name.

    curves        name: values for iterations 1, 2, ..., or (n, 2) pairs of iteration and value
    logarithmic   values on a logarithmic axis; those <= 0 are left out
    """
    def draw(figure):
        axes = figure.add_subplot()
        for name, (colour, line) in _styles(curves).items():
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

    png = _render(draw, (4.8, 3.2))
    return Section(heading, _legend(curves) + _figure(png, f"{ylabel} against {xlabel}", wide=True), caption)


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
        crossing = _crossing(*clean[name], 0.143)
        found.append(f"{name}: {1 / crossing:.3g} Å" if crossing else f"{name}: does not fall to 0.143")

    def draw(figure):
        axes = figure.add_subplot()
        for threshold in (0.143, 0.5):
            axes.axhline(threshold, color="#888888", linewidth=0.9)
            axes.annotate(f"{threshold:g}", (1, threshold), xycoords=("axes fraction", "data"),
                          xytext=(3, 0), textcoords="offset points", va="center", fontsize=8, color="#666666")
        for name, (colour, line) in _styles(curves).items():
            axes.plot(*clean[name], line, color=colour)
        axes.set_xlim(0, 0.5 / voxel_size)
        axes.set_ylim(min(-0.05, *(c.min() for _, c in clean.values() if c.size), 0), 1.03)
        ticks = [tick for tick in axes.get_xticks() if 0 <= tick <= 0.5 / voxel_size]
        axes.set_xticks(ticks, [f"{tick:.3g}\n{1 / tick:.3g} Å" if tick else "0" for tick in ticks])
        axes.set_xlabel("spatial frequency (1/Å), and resolution")
        axes.set_ylabel("FSC")

    png = _render(draw, (4.8, 3.4))
    return Section(heading, _legend(curves) + _figure(png, "Fourier shell correlation", wide=True),
                   "Resolution where the FSC falls below 0.143: " + "; ".join(found) + "." if found else "")


def table(heading: str, columns: Sequence[str], rows: Sequence[Sequence], *, caption: str = "") -> Section:
    """A table; columns carry their units in their names.  Numbers stand right, floats with four digits."""
    def cell(tag, value, right):
        return f"<{tag}{' class=n' if right else ''}>{escape(_text(value))}</{tag}>"

    rows = [list(row) for row in rows]
    right = [bool(rows) and all(_is_number(row[i]) or row[i] is None for row in rows if i < len(row))
             for i in range(len(columns))]
    head = "".join(cell("th", name, r) for name, r in zip(columns, right, strict=True))
    lines = ("".join(cell("td", value, r) for value, r in zip(row, right, strict=True)) for row in rows)
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return Section(heading, f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
                            f"<tbody>\n{body}</tbody>\n</table></div>", caption)


def parameters(values: Mapping, *, heading: str = "Parameters") -> Section:
    """All parameters as JSON, folded away; what JSON does not know is written as text."""
    text = json.dumps(values, indent=2, default=_plain, ensure_ascii=False)
    return Section(heading, f"<details><summary>as JSON</summary><pre>{escape(text)}</pre></details>")


def _draw_slices(figure, box, volume, voxel_size, plane, depth, matter_high):
    """Central slices of `volume` into `box` (left, bottom, width, height; fractions of the figure)."""
    planes, (width, height) = _layout(volume.shape, plane)
    images = {name: _central_slice(volume, name, depth) for name in planes}
    low, high = _grey_levels(np.concatenate([image.ravel() for image in images.values()]))
    for name, (left, bottom, w, h) in planes.items():
        axes = figure.add_axes((box[0] + box[2] * left / width, box[1] + box[3] * bottom / height,
                                box[2] * w / width, box[3] * h / height))
        image = images[name].T if name == "yz" and len(planes) > 1 else images[name]
        axes.imshow(image, cmap="gray_r" if matter_high else "gray", vmin=low, vmax=high, origin="lower",
                    aspect="auto", interpolation="antialiased")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=True, color="#bbbbbb", linewidth=0.6)
        if len(planes) > 1 and min(w, h) >= 0.06 * width:
            axes.text(0.015 * width / w, 1 - 0.015 * width / h, name, transform=axes.transAxes, va="top",
                      fontsize=9, color="white", path_effects=_outline())
    _, _, w, h = next(iter(planes.values()))
    if voxel_size > 0 and h >= 0.12 * width:
        _draw_scale_bar(figure.axes[-len(planes)], w, h, voxel_size)


def _draw_scale_bar(axes, columns, rows, voxel_size):
    nanometres = _round_length(columns * voxel_size / 10 / 4)
    length = nanometres * 10 / voxel_size
    left, bottom, thick = 0.04 * columns, 0.04 * columns, max(0.012 * columns, 0.3)
    axes.add_patch(Rectangle((left - 0.5, bottom - 0.5), length, thick, facecolor="white",
                             edgecolor="#222222", linewidth=0.9))
    axes.text(left - 0.5 + length / 2, bottom + 1.4 * thick, f"{nanometres:g} nm", ha="center", va="bottom",
              fontsize=9, color="white", path_effects=_outline())


def _outline():
    return [patheffects.withStroke(linewidth=2, foreground="#222222")]


def _layout(shape, plane):
    """Rectangles (left, bottom, width, height) of the planes shown, in voxels, and the whole size."""
    nz, ny, nx = shape
    sizes = {"xy": (nx, ny), "xz": (nx, nz), "yz": (ny, nz)}
    if plane != "ortho" or nz == 1:
        name = "xy" if plane == "ortho" else plane
        return {name: (0, 0, *sizes[name])}, sizes[name]
    gap = 0.015 * nx
    return ({"xy": (0, nz + gap, nx, ny), "xz": (0, 0, nx, nz), "yz": (nx + gap, nz + gap, nz, ny)},
            (nx + gap + nz, ny + gap + nz))


def _slices_size(volume, plane, width):
    """Inches of a panel of the given width; very long ones are drawn shorter than they are."""
    _, (w, h) = _layout(np.shape(volume), plane)
    return width, width * min(max(h / w, 0.1), 3)


def _central_slice(volume, plane, depth):
    """Mean of `depth` central slices: xy as (y, x), xz as (z, x), yz as (z, y)."""
    axis = ("xy", "xz", "yz").index(plane)
    n = volume.shape[axis]
    depth = min(depth, n)
    first = min(max(n // 2 - depth // 2, 0), n - depth)
    chosen = (slice(None),) * axis + (slice(first, first + depth),)
    return np.asarray(volume[chosen], dtype=np.float32).mean(axis=axis)


def _slice_thickness(volumes, thickness):
    smallest = min((min(np.shape(volume)) for volume in volumes.values()), default=1)
    return max(1, min(7, smallest // 12) if thickness is None else int(thickness))


def _truth_first(volumes, truth):
    volumes = {name: np.asanyarray(volume) for name, volume in volumes.items()}
    for name, volume in volumes.items():
        if volume.ndim != 3 or volume.size == 0:
            raise ValueError(f"{name}: expected a volume with 3 axes, got shape {volume.shape}")
    return {truth: volumes[truth], **volumes} if truth in volumes else volumes


def _grey_levels(values):
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, [0.5, 99.5]) if values.size else (0.0, 1.0)
    # A few bright dots in an empty field lie above the percentile; then the whole range.
    if not high > low and values.size:
        low, high = values.min(), values.max()
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _round_length(length):
    """The largest of 1, 2, 5 x 10^k that is not above `length`."""
    power = 10.0 ** np.floor(np.log10(length))
    return max(step * power for step in (1, 2, 5) if step * power <= length * (1 + 1e-9))


def _styles(names):
    """Colour and line of each name, by position: the lines change where the colours repeat."""
    return {name: (COLOURS[i % len(COLOURS)], _LINES[i // len(COLOURS) % len(_LINES)])
            for i, name in enumerate(names)}


def _padded_limits(values, margin=0.06):
    if not len(values):
        return 0.0, 1.0
    low, high = float(np.min(values)), float(np.max(values))
    room = margin * (high - low) or 0.05 * max(abs(high), 0.1)
    return low - room, high + room


def _crossing(frequency, correlation, threshold):
    """Frequency at which the correlation first falls below the threshold; None if it does not."""
    below = np.flatnonzero(correlation < threshold)
    below = below[below > 0]
    if not below.size:
        return None
    i = below[0]
    share = (correlation[i - 1] - threshold) / max(correlation[i - 1] - correlation[i], 1e-12)
    return frequency[i - 1] + min(max(share, 0), 1) * (frequency[i] - frequency[i - 1])


def _render(draw, size, dots_per_inch=160, tight=True):
    """PNG bytes of what draw(figure) draws on `size` inches."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=size, facecolor="white", layout=None)
        FigureCanvasAgg(figure)
        draw(figure)
        if tight:
            figure.set_layout_engine("tight")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return buffer.getvalue()


def _figure(png, description, name="", note="", wide=False):
    text = f"<b>{escape(name)}</b>" if name else ""
    text += f" {escape(note)}" if note else ""
    return (f'<figure{" class=wide" if wide else ""}><img alt="{escape(description, quote=True)}" '
            f'src="data:image/png;base64,{base64.b64encode(png).decode()}">'
            + (f"<figcaption>{text}</figcaption>" if text else "") + "</figure>\n")


def _legend(names):
    entries = "".join(f'<span><i style="border-top-style:{_DASHES[line]};border-top-color:{colour}"></i>'
                      f"{escape(name)}</span>\n" for name, (colour, line) in _styles(names).items())
    return f'<div class="legend">\n{entries}</div>\n'


def _is_number(value):
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _text(value):
    if value is None or (_is_number(value) and np.isnan(value)):
        return "\N{EN DASH}"
    if isinstance(value, (float, np.floating)):
        return f"{float(value):#.4g}".rstrip(".")
    return str(value)


def _plain(value):
    """What JSON does not know: arrays and numpy numbers by value, the rest as text."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)


def _write_whole(path, content: bytes):
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    except OSError as error:
        raise RunError(f"{path}: could not be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
