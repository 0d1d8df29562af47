"""Slices of volumes."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from matplotlib.patches import Rectangle

from .page import Section, figure_html, outline, rendered, write_whole


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
        png = rendered(lambda figure, volume=volume: _draw_slices(
            figure, (0, 0, 1, 1), volume, voxel_size, plane, depth, matter_high),
            _slices_size(volume, plane, 4.2), tight=False)
        figures.append(figure_html(png, f"slices of {name}", name, (notes or {}).get(name, "")))
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

    write_whole(path, rendered(draw, (width, height), dots_per_inch=150, tight=False))


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
                      fontsize=9, color="white", path_effects=outline())
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
              fontsize=9, color="white", path_effects=outline())


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
