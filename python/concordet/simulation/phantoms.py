"""Phantoms made of ellipsoids, projected analytically: any few of them, and a small cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from concordet.errors import InputError

# Footprints up to this many pixels along u and v are evaluated together; above it one by one.
_BATCH_BOX = 64
# Float64 values of one work array: 256 kB, so that the passes over it stay in the L2 cache.
_BLOCK = 32768


@dataclass(frozen=True)
class Ray:
    """The rays of one view: pixel (u, v) sees the points base_from_image ((u, v) - d) + z direction."""

    base_from_image: np.ndarray     # (2, 2), inverse of A
    direction: np.ndarray           # (3,), one slice up: z component 1

    @property
    def length(self) -> float:
        """Length of the ray inside one slice, voxels."""
        return float(np.linalg.norm(self.direction))

    @classmethod
    def of(cls, view_map: np.ndarray) -> Ray:
        """The rays of `view_map` (2, 4); InputError where they lie in the slices or are not finite."""
        view_map = np.asarray(view_map, dtype=np.float64)
        if view_map.shape != (2, 4):
            raise InputError(f"view map: expected shape (2, 4), got {view_map.shape}")
        if not np.isfinite(view_map).all():
            raise InputError("view map: expected finite numbers, got NaN or infinity")
        in_plane = view_map[:, :2]
        if abs(np.linalg.det(in_plane)) <= 1e-9 * max(np.abs(in_plane).max() ** 2, 1e-30):
            raise InputError("view map: expected rays that cross the slices, got a singular in-plane matrix")
        base_from_image = np.linalg.inv(in_plane)
        return cls(base_from_image, np.append(-base_from_image @ view_map[:, 2], 1.0))


@dataclass(frozen=True)
class Phantom:
    """Sum of uniform ellipsoids (r - centre)^T shape (r - centre) <= 1.

    centres     (n, 3), (x, y, z), voxels from the centre voxel
    shapes      (n, 3, 3), symmetric positive definite, 1 / voxel^2
    densities   (n,), any sign: a shell is an ellipsoid less a smaller one
    """

    centres: np.ndarray
    shapes: np.ndarray
    densities: np.ndarray

    def __post_init__(self):
        for name in ("centres", "shapes", "densities"):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=np.float64))
        n = self.densities.size
        expected = {"centres": (n, 3), "shapes": (n, 3, 3), "densities": (n,)}
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise InputError(f"phantom {name}: expected shape {shape}, got {getattr(self, name).shape}")
        if n and not (np.linalg.eigvalsh(self.shapes) > 0).all():
            raise InputError("phantom shapes: expected positive definite matrices, got one that is not")

    def __len__(self) -> int:
        return self.densities.size

    def density(self, shape: Sequence[int], supersampling: int = 2) -> np.ndarray:
        """The truth: mean density of each voxel.

        shape           (z, y, x), voxels
        supersampling   columns per voxel along x and along y; along z the mean is exact, so that the sum
                        over z is `project` of the straight view
        Returns (z, y, x) float32; ellipsoids are cut at the box.
        """
        nz, ny, nx = positive_shape(shape, 3, "volume")
        volume = np.zeros((nz, ny, nx), dtype=np.float32)
        ellipses = self._ellipses(np.eye(2, 4))
        along_z = self.shapes[:, 2, 2]
        slopes = -self.shapes[:, 2, :2] / along_z[:, None]
        z_reach = np.sqrt(np.linalg.inv(self.shapes)[:, 2, 2])
        z_low = np.maximum(np.floor(self.centres[:, 2] - z_reach + 0.5).astype(int) + nz // 2, 0)
        z_high = np.minimum(np.floor(self.centres[:, 2] + z_reach + 0.5).astype(int) + nz // 2 + 1, nz)
        for i in range(len(self)):
            depth = z_high[i] - z_low[i]
            if depth <= 0:
                continue
            z_edges = np.arange(z_low[i], z_high[i]) - nz // 2 - 0.5 - self.centres[i, 2]
            for rows, columns in ellipses.blocks(i, (ny, nx), values_per_pixel=depth * supersampling**2):
                inside = ellipses.inside(i, rows, columns, (ny, nx), supersampling)
                half_chord = np.sqrt(inside) / np.sqrt(along_z[i])
                dy = _sub_positions(rows, ny, supersampling) - self.centres[i, 1]
                dx = _sub_positions(columns, nx, supersampling) - self.centres[i, 0]
                middle = slopes[i, 1] * dy[:, None] + slopes[i, 0] * dx
                covered = np.clip((middle + half_chord)[None] - z_edges[:, None, None], 0, 1)
                covered -= np.clip((middle - half_chord)[None] - z_edges[:, None, None], 0, 1)
                mean = _bin(covered, supersampling)
                volume[z_low[i]:z_high[i], rows, columns] += (self.densities[i] * mean).astype(np.float32)
        return volume

    def project(self, view_map: np.ndarray, image_shape: Sequence[int], supersampling: int = 2) -> np.ndarray:
        """One view: line integrals, analytic, as the mean over each pixel.

        view_map        (2, 4), [A | c | d]
        image_shape     (v, u), pixels
        supersampling   rays per pixel along u and along v
        Returns (v, u) float32, density x voxel.

        The chord of an ellipsoid M along a ray D is 2 |D| sqrt((1 - w^T Q w) / (D^T M D)), w from the
        projected centre to the pixel, Q = A^-T E A^-1, E the in-plane part of M - M D (M D)^T / (D^T M D).
        """
        image_shape = positive_shape(image_shape, 2, "image")
        ellipses = self._ellipses(view_map)
        image = np.zeros(image_shape)
        boxes = ellipses.boxes(image_shape)                       # (n, 2 axes v u, 2 ends), unclipped
        sizes = boxes[:, :, 1] - boxes[:, :, 0]
        seen = ((boxes[:, :, 1] > 0) & (boxes[:, :, 0] < image_shape)).all(axis=1)
        small = seen & (sizes <= _BATCH_BOX).all(axis=1)
        self._project_small(np.flatnonzero(small), boxes, ellipses, image, supersampling)
        for i in np.flatnonzero(seen & ~small).tolist():
            for rows, columns in ellipses.blocks(i, image_shape, values_per_pixel=supersampling**2):
                inside = ellipses.inside(i, rows, columns, image_shape, supersampling)
                image[rows, columns] += ellipses.peaks[i] * _bin(np.sqrt(inside, out=inside), supersampling)
        return image.astype(np.float32)

    def _project_small(self, chosen, boxes, ellipses, image, supersampling):
        # Boxes are grouped by size, rounded up to 4 pixels: the numpy calls are per group, not per ellipsoid.
        canvas_shape = tuple(n + 2 * _BATCH_BOX for n in image.shape)
        classes = -(-(boxes[chosen, :, 1] - boxes[chosen, :, 0]) // 4)
        keys = classes[:, 0] * (_BATCH_BOX + 1) + classes[:, 1]
        order = np.argsort(keys, kind="stable")
        addresses, values = [], []
        for group in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1) if len(order) else []:
            height, width = 4 * classes[group[0]]
            for start in range(0, len(group), step := max(1, _BLOCK // (height * width))):
                members = chosen[group[start:start + step]]
                v = boxes[members, 0, 0][:, None] + np.arange(height)
                u = boxes[members, 1, 0][:, None] + np.arange(width)
                chord = ellipses.mean_chords(members, v, u, image.shape, supersampling)
                address = (v + _BATCH_BOX)[:, :, None] * canvas_shape[1] + (u + _BATCH_BOX)[:, None, :]
                addresses.append(address.ravel())
                values.append(chord.ravel())
        if addresses:
            canvas = np.bincount(np.concatenate(addresses), np.concatenate(values), np.prod(canvas_shape))
            image += canvas.reshape(canvas_shape)[_BATCH_BOX:-_BATCH_BOX, _BATCH_BOX:-_BATCH_BOX]

    def _ellipses(self, view_map) -> _Ellipses:
        ray, view_map = Ray.of(view_map), np.asarray(view_map, dtype=np.float64)
        shape_ray = self.shapes @ ray.direction
        along = shape_ray @ ray.direction
        flat = self.shapes - shape_ray[:, :, None] * shape_ray[:, None, :] / along[:, None, None]
        forms = ray.base_from_image.T @ flat[:, :2, :2] @ ray.base_from_image
        centres = self.centres @ view_map[:, :3].T + view_map[:, 3]
        peaks = 2 * self.densities * ray.length / np.sqrt(along)
        return _Ellipses(centres, forms, peaks)


@dataclass(frozen=True)
class _Ellipses:
    """Ellipsoids as one view sees them: (w - centre)^T form (w - centre) <= 1, w = (u, v)."""

    centres: np.ndarray     # (n, 2), (u, v)
    forms: np.ndarray       # (n, 2, 2)
    peaks: np.ndarray       # (n,), density times the longest chord

    def boxes(self, image_shape) -> np.ndarray:
        """Pixels touched, (n, 2, 2): axes (v, u), ends [first, last + 1); they may leave the image."""
        reach = np.sqrt(np.linalg.inv(self.forms)[:, [1, 0], [1, 0]])
        middle = self.centres[:, ::-1] + np.asarray(image_shape) // 2
        ends = np.stack([middle - reach + 0.5, middle + reach + 1.5], axis=-1)
        return np.floor(ends).astype(int)

    def blocks(self, i: int, image_shape, values_per_pixel: int) -> Iterator[tuple[slice, slice]]:
        """The box of ellipse i inside the image, cut into runs of rows of at most `_BLOCK` values."""
        one = _Ellipses(self.centres[i:i + 1], self.forms[i:i + 1], self.peaks[i:i + 1])
        (top, bottom), (left, right) = one.boxes(image_shape)[0]
        top, left = max(top, 0), max(left, 0)
        bottom, right = min(bottom, image_shape[0]), min(right, image_shape[1])
        if right <= left:
            return
        step = max(1, _BLOCK // ((right - left) * values_per_pixel))
        for row in range(top, bottom, step):
            yield slice(row, min(row + step, bottom)), slice(left, right)

    def inside(self, i: int, rows: slice, columns: slice, image_shape, supersampling: int) -> np.ndarray:
        """max(0, 1 - w^T form w) on the sub-pixels of a block, (v * supersampling, u * supersampling)."""
        (uu, uv), (_, vv) = self.forms[i]
        dv = _sub_positions(rows, image_shape[0], supersampling) - self.centres[i, 1]
        du = _sub_positions(columns, image_shape[1], supersampling) - self.centres[i, 0]
        # With the square completed in each row, a sub-pixel costs four passes and a square root.
        value = du[None, :] + (uv / uu) * dv[:, None]
        np.multiply(value, value, out=value)
        np.multiply(value, -uu, out=value)
        np.add(value, 1 - (vv - uv * uv / uu) * (dv * dv)[:, None], out=value)
        return np.maximum(value, 0, out=value)

    def mean_chords(self, members, v, u, image_shape, supersampling: int) -> np.ndarray:
        """Density times chord of ellipses `members` (m,), each on pixels v (m, h), u (m, w); (m, h, w)."""
        uu, uv, vv = (self.forms[members, a, b][:, None] for a, b in ((0, 0), (0, 1), (1, 1)))
        dv = v - image_shape[0] // 2 - self.centres[members, 1][:, None]
        du = u - image_shape[1] // 2 - self.centres[members, 0][:, None]
        total = np.zeros((len(members), v.shape[1], u.shape[1]))
        offsets = (np.arange(supersampling) + 0.5) / supersampling - 0.5
        for offset_v in offsets:
            skew = (uv / uu) * (dv + offset_v)
            room = 1 - (vv - uv * uv / uu) * (dv + offset_v) ** 2
            for offset_u in offsets:
                value = (du + offset_u)[:, None, :] + skew[:, :, None]
                np.multiply(value, value, out=value)
                np.multiply(value, -uu[:, :, None], out=value)
                np.add(value, room[:, :, None], out=value)
                np.maximum(value, 0, out=value)
                total += np.sqrt(value, out=value)
        total *= (self.peaks[members] / supersampling**2)[:, None, None]
        return total


def _sub_positions(pixels: slice, n: int, supersampling: int) -> np.ndarray:
    """Positions of the sub-pixels of `pixels`, from the centre pixel n//2."""
    fine = np.arange(pixels.start * supersampling, pixels.stop * supersampling)
    return (fine + 0.5) / supersampling - 0.5 - n // 2


def _bin(fine: np.ndarray, factor: int) -> np.ndarray:
    """Mean over blocks of factor x factor of the last two axes."""
    *outer, rows, columns = fine.shape
    return fine.reshape(*outer, rows // factor, factor, columns // factor, factor).mean(axis=(-3, -1))


def positive_shape(shape: Sequence[int], axes: int, what: str) -> tuple[int, ...]:
    shape = tuple(int(n) for n in shape)
    if len(shape) != axes or min(shape) < 1:
        raise InputError(f"{what} shape: expected {axes} positive sizes, got {shape}")
    return shape


class _Builder:
    """Collects ellipsoids, and the spheres that enclose what must not overlap."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.centres: list[np.ndarray] = []
        self.shapes: list[np.ndarray] = []
        self.densities: list[float] = []
        self.spheres = np.zeros((4, 1024))
        self.n_spheres = 0

    def add(self, centre, semi_axes, density, rotation=None):
        rotation = np.eye(3) if rotation is None else rotation
        self.centres.append(np.asarray(centre, dtype=np.float64))
        self.shapes.append(rotation @ np.diag(1 / np.asarray(semi_axes, dtype=np.float64) ** 2) @ rotation.T)
        self.densities.append(density)

    def shell(self, centre, semi_axes, membrane, membrane_density, filling, rotation=None):
        """A membrane of the given thickness around a filling."""
        self.add(centre, semi_axes, membrane_density, rotation)
        self.add(centre, np.asarray(semi_axes) - membrane, filling - membrane_density, rotation)

    def claim(self, spheres: np.ndarray) -> bool:
        """Take the room of `spheres` (n, 4: x, y, z, radius); False where something is there already."""
        x, y, z, radius = self.spheres[:, :self.n_spheres]
        for at_x, at_y, at_z, reach in spheres:
            if ((x - at_x) ** 2 + (y - at_y) ** 2 + (z - at_z) ** 2 < (radius + reach) ** 2).any():
                return False
        end = self.n_spheres + len(spheres)
        while end > self.spheres.shape[1]:
            self.spheres = np.concatenate([self.spheres, np.zeros_like(self.spheres)], axis=1)
        self.spheres[:, self.n_spheres:end] = spheres.T
        self.n_spheres = end
        return True

    def rotation(self) -> np.ndarray:
        """A random rotation matrix (3, 3), uniform."""
        q, r = np.linalg.qr(self.rng.standard_normal((3, 3)))
        return q * np.sign(np.diag(r))

    def phantom(self) -> Phantom:
        return Phantom(np.array(self.centres), np.array(self.shapes), np.array(self.densities))


def cell_phantom(size: int, thickness: int, seed: int = 0) -> Phantom:
    """A small cell: two membranes, organelles, vesicles, filaments, globules, and dense beads around it.

    size        voxels along x and y; >= 16
    thickness   voxels along z; >= 8
    Everything lies inside the box, in a cylinder of radius 0.48 size, so inside the views of every azimuth.
    Density is 0 outside matter, near 1 in membranes and globules, 3 in beads, never negative.  The parts keep
    about one size in voxels, so that a larger box holds more of them: about 150 at 128 x 128 x 32.
    """
    if size < 16 or thickness < 8:
        raise InputError(f"cell: expected size >= 16 and thickness >= 8 voxels, got {size} and {thickness}")
    rng = np.random.default_rng(seed)
    build = _Builder(rng)
    unit = float(np.clip(min(np.sqrt(thickness / 32), np.sqrt(size / 96)), 0.4, 2.0))
    half = (thickness - 1) / 2 - 0.5
    membrane, gap = min(1.6 * unit, 0.11 * half), min(2.2 * unit, 0.14 * half)

    turn = rng.uniform(0, np.pi)
    to_cell = np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    outer = np.array([0.44 * size, 0.37 * size, half])
    inner = outer - membrane - gap
    build.shell(np.zeros(3), outer, membrane, 0.9, 0.06, to_cell.T)
    build.shell(np.zeros(3), inner, membrane, 0.84, 0.06, to_cell.T)
    lumen = inner - membrane

    def inside(spheres):
        room = lumen - spheres[:, 3:] - 0.3 * unit
        return (room > 0).all() and ((((spheres[:, :3] @ to_cell.T) / room) ** 2).sum(axis=1) <= 1).all()

    def outside(spheres):
        reach = outer + spheres[:, 3:] + unit
        away = (((spheres[:, :3] @ to_cell.T) / reach) ** 2).sum(axis=1) >= 1
        in_slab = np.abs(spheres[:, 2]) + spheres[:, 3] <= half
        in_field = np.hypot(spheres[:, 0], spheres[:, 1]) + spheres[:, 3] <= 0.48 * size
        return (away & in_slab & in_field).all()

    def point_inside():
        direction = rng.standard_normal(3)
        return (direction / np.linalg.norm(direction) * rng.uniform() ** (1 / 3) * lumen) @ to_cell

    def point_outside():
        angle, radius = rng.uniform(0, 2 * np.pi), 0.48 * size * np.sqrt(rng.uniform())
        return np.array([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(-half, half)])

    def place(count, make, point, allowed):
        # Random sequential insertion; a crowded box gets fewer, after thirty refusals for each one asked for.
        tries = 30 * count
        while count > 0 and tries > 0:
            tries -= 1
            spheres, draw = make(point())
            if allowed(spheres) and build.claim(spheres):
                draw()
                count -= 1

    def organelle(p):
        radius = min(rng.uniform(0.55, 0.8) * lumen[2], 0.2 * size)

        def draw():
            build.shell(p, [radius] * 3, membrane, 0.9, 0.10)
            build.shell(p, [radius - membrane - 0.6 * gap] * 3, membrane, 0.8, 0.25)
        return np.array([[*p, radius]]), draw

    def vesicle(p):
        radius = min(rng.uniform(4.0, 6.5) * unit, 0.45 * half)
        axes = radius * np.array([1.0, *rng.uniform(0.85, 1.0, 2)])
        rotation = build.rotation()
        return np.array([[*p, radius]]), lambda: build.shell(p, axes, membrane, 1.0, 0.1, rotation)

    def filament(p):
        length, radius = rng.uniform(10, 22) * unit, rng.uniform(1.2, 1.6) * unit
        angle = rng.uniform(0, 2 * np.pi)
        axis = np.array([np.cos(angle), np.sin(angle), rng.uniform(-0.25, 0.25)])
        axis /= np.linalg.norm(axis)
        across = np.cross(axis, [0, 0, 1.0])
        across /= np.linalg.norm(across)
        rotation = np.stack([axis, across, np.cross(axis, across)], axis=1)
        stations = np.arange(-length + radius, length, 2 * radius)
        spheres = np.column_stack([p + stations[:, None] * axis, np.full(len(stations), radius)])
        return spheres, lambda: build.add(p, [length, radius, radius], 1.0, rotation)

    def globule(p):
        # Two unequal lobes, as a ribosome's subunits.
        radius, rotation = rng.uniform(3.0, 4.0) * unit, build.rotation()
        up = radius * rotation[:, 2]

        def draw():
            build.add(p - 0.3 * up, radius * np.array([0.95, 0.85, 0.65]), 1.0, rotation)
            build.add(p + 0.6 * up, radius * np.array([0.75, 0.5, 0.35]), 0.8, rotation)
        return np.array([[*p, radius]]), draw

    def protein(p):
        radius, rotation = rng.uniform(1.2, 2.0) * unit, build.rotation()
        axes, density = radius * np.array([1.0, *rng.uniform(0.7, 1.0, 2)]), rng.uniform(0.8, 1.2)
        return np.array([[*p, radius]]), lambda: build.add(p, axes, density, rotation)

    def bead(p):
        radius = rng.uniform(1.6, 2.0) * unit
        return np.array([[*p, radius]]), lambda: build.add(p, [radius] * 3, 3.0)

    count = 150 * (size / 128) ** 2 * (thickness / 32) / unit**3
    place(max(1, round(0.01 * count)), organelle, point_inside, inside)
    place(round(0.05 * count), vesicle, point_inside, inside)
    place(round(0.10 * count), filament, point_inside, inside)
    place(round(0.42 * count), globule, point_inside, inside)
    place(round(0.32 * count), protein, point_inside, inside)
    place(max(2, round(0.03 * count)), vesicle, point_outside, outside)
    place(max(3, round(0.03 * count)), bead, point_outside, outside)
    place(round(0.05 * count), protein, point_outside, outside)
    return build.phantom()
