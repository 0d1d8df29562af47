"""Maps of the sphere: which way particles lie, and which directions of Fourier space they measured."""

from __future__ import annotations

import numpy as np

from .page import Section, figure_html, rendered

# Width of the kernel that makes a density of directions, radians; narrower ones show single particles.
_KERNEL = np.radians(7.0)
# Directions beyond this many are counted in cells of about 5 degrees before they are smoothed.
_MOST_POINTS = 1500
# Below this many the particles themselves are drawn too.
_MOST_DOTS = 400
_STEP = 2.0


def angular_distribution(rotations: np.ndarray, *, heading: str = "Orientations") -> Section:
    """Two maps: where the beam comes from as the particles see it, and where their own z axis points.

    rotations   (n, 3, 3), reference -> particle, columns (x, y, z); z is the beam
    """
    rotations = np.asarray(rotations, dtype=float).reshape(-1, 3, 3)
    panels = [("The beam, seen by the molecule", rotations[:, 2, :], True),
              ("The molecule's z axis in the tomogram", rotations[:, :, 2], False)]
    figures = []
    for name, directions, axes_too in panels:
        png = rendered(lambda figure, d=directions, both=axes_too: _draw_density(figure, d, both), (5.4, 3.5))
        figures.append(figure_html(png, f"map of the sphere: {name}", name))
    return Section(heading, f'<div class="figures">\n{"".join(figures)}</div>',
                   f"{len(rotations)} particles, smoothed by {np.degrees(_KERNEL):.0f} degrees; 1 is the density of a "
                   "uniform distribution. Equal areas (Mollweide): z at the top, x in the middle, y at 90 degrees of "
                   "longitude. Left: the poles of the molecule as the beam meets them, both ends alike (rlnAngleRot, "
                   "rlnAngleTilt). Right: which way the molecule lies in the ice.")


def fourier_coverage(directions: np.ndarray, seen: np.ndarray, *, worst: np.ndarray | None = None,
                     heading: str = "Fourier coverage") -> Section:
    """A map of the part of the particles that measured each direction of Fourier space.

    directions   (m, 3) unit vectors in the frame of the reference; opposite ones are the same
    seen         (m,), 0 to 1
    worst        (3,) the direction seen least, marked; None: that of the least `seen`
    """
    directions, seen = np.asarray(directions, dtype=float), np.asarray(seen, dtype=float)
    worst = directions[np.argmin(seen)] if worst is None else np.asarray(worst, dtype=float)

    def draw(figure):
        longitude, latitude, grid = _grid()
        # As wide as the directions are apart.
        width = np.sqrt(2 * np.pi / len(directions)) / 2
        values = np.empty(longitude.shape)
        places, each = directions.T.astype(np.float32), seen.astype(np.float32)
        for row in range(len(grid) // 2 + 1):
            nearness = np.abs(grid[row].astype(np.float32) @ places)
            kernel = np.exp((nearness - nearness.max(axis=1, keepdims=True)) / np.float32(width**2))
            values[row] = kernel @ each / kernel.sum(axis=1)
            # Opposite directions: the other latitude, half a turn on; the first column is the last again.
            half = len(values[row]) // 2
            values[-1 - row] = np.concatenate([values[row][half:-1], values[row][:half + 1]])
        axes, mesh = _draw_sphere(figure, longitude, latitude, values, "viridis", (0.0, 1.0))
        for end in (worst, -worst):
            x, y = np.arctan2(end[1], end[0]), np.arcsin(np.clip(end[2], -1, 1))
            axes.plot(x, y, "X", markersize=9, markerfacecolor="#D55E00", markeredgecolor="white", markeredgewidth=1.2)
        _colour_bar(figure, axes, mesh, "part of the particles", [0, 0.25, 0.5, 0.75, 1])

    png = rendered(draw, (6.2, 4.0))
    text = (f"seen least: {worst[0]:.2f} {worst[1]:.2f} {worst[2]:.2f} (x y z) by {100 * seen.min():.3g} % of the "
            f"particles; mean {100 * seen.mean():.3g} %, most {100 * seen.max():.3g} %")
    return Section(heading, figure_html(png, f"map of Fourier coverage; {text}", wide=True),
                   f"Part of the particles that measured each direction of Fourier space, in the frame of the average. "
                   f"Cross, both ends: {text}. Equal areas (Mollweide): z at the top, x in the middle, y at 90 degrees "
                   "of longitude.")


def _draw_density(figure, directions, both_ends):
    longitude, latitude, grid = _grid()
    places, weights = _gathered(directions)
    kernel = np.zeros(grid.shape[:2])
    places, each = places.T.astype(np.float32), weights.astype(np.float32)
    for row, points in enumerate(grid.astype(np.float32)):
        nearness = np.abs(points @ places) if both_ends else points @ places
        kernel[row] = np.exp((nearness - 1) / np.float32(_KERNEL**2)) @ each
    uniform = weights.sum() * _KERNEL**2 / 2 * (2 if both_ends else 1)
    density = kernel / max(uniform, 1e-12)
    top = max(2.0, float(density.max()))
    axes, mesh = _draw_sphere(figure, longitude, latitude, density, "viridis", (0.0, top))
    if 0 < len(directions) <= _MOST_DOTS:
        ends = np.concatenate([directions, -directions]) if both_ends else directions
        axes.plot(np.arctan2(ends[:, 1], ends[:, 0]), np.arcsin(np.clip(ends[:, 2], -1, 1)), "o", markersize=2.6,
                  markerfacecolor="white", markeredgecolor="#222222", markeredgewidth=0.5)
    _colour_bar(figure, axes, mesh, "times uniform", None)


def _gathered(directions):
    """Directions and how often each comes; many are counted in equal cells."""
    if len(directions) <= _MOST_POINTS:
        return directions, np.ones(len(directions))
    columns, rows = 72, 36
    column = ((np.arctan2(directions[:, 1], directions[:, 0]) / (2 * np.pi) + 0.5) * columns).astype(int) % columns
    row = np.clip(((directions[:, 2] + 1) / 2 * rows).astype(int), 0, rows - 1)
    counts = np.bincount(row * columns + column, minlength=rows * columns)
    sums = np.stack([np.bincount(row * columns + column, directions[:, i], rows * columns) for i in range(3)], axis=1)
    full = counts > 0
    centres = sums[full] / counts[full, None]
    return centres / np.linalg.norm(centres, axis=1, keepdims=True), counts[full].astype(float)


def _grid():
    """Longitudes and latitudes (radians) of a map, and their directions (rows, columns, 3)."""
    longitude, latitude = np.meshgrid(np.radians(np.arange(-180, 180 + _STEP / 2, _STEP)),
                                      np.radians(np.arange(-90, 90 + _STEP / 2, _STEP)))
    grid = np.stack([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)],
                    axis=-1)
    return longitude, latitude, grid


def _draw_sphere(figure, longitude, latitude, values, colours, limits):
    axes = figure.add_subplot(projection="mollweide")
    axes.grid(False)
    mesh = axes.pcolormesh(longitude, latitude, values, shading="gouraud", cmap=colours, vmin=limits[0], vmax=limits[1],
                           rasterized=True)
    line = np.linspace(-np.pi, np.pi, 181)
    for degrees in (-60, -30, 0, 30, 60):
        axes.plot(line, np.full(line.size, np.radians(degrees)), color="white", linewidth=0.5, alpha=0.45)
    for degrees in (-120, -60, 0, 60, 120):
        axes.plot(np.full(line.size, np.radians(degrees)), line / 2, color="white", linewidth=0.5, alpha=0.45)
    axes.set_xticks([])
    axes.set_yticks(np.radians([-60, -30, 0, 30, 60]), ["−60°", "−30°", "0°", "30°", "60°"])
    axes.tick_params(length=0, labelsize=8, colors="#555555")
    for name, place, shift in (("z", (0, np.pi / 2), (0, 9)), ("−z", (0, -np.pi / 2), (0, -9))):
        axes.annotate(name, place, xytext=shift, textcoords="offset points", ha="center", va="center", fontsize=9)
    for name, place in (("x", 0), ("y", 90), ("−y", -90)):
        axes.annotate(name, (np.radians(place), 0), ha="center", va="center", fontsize=9, color="white", weight="bold")
    axes.spines[:].set(color="#777777", linewidth=0.8)
    return axes, mesh


def _colour_bar(figure, axes, mesh, label, ticks):
    bar = figure.colorbar(mesh, ax=axes, orientation="horizontal", fraction=0.055, pad=0.1, aspect=32, ticks=ticks)
    bar.set_label(label, fontsize=9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, labelsize=8)
