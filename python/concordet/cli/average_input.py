"""What `concordet average` reads: particles as statistics of one band of Fourier space, masks, references."""

from __future__ import annotations

import argparse
import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from concordet import evaluation, wedge
from concordet.averaging import SEARCH_SHELLS, Particles, Settings
from concordet.cli import common
from concordet.cli.evaluate_averages import _file, _weight, read_cube
from concordet.errors import InputError
from concordet.fourier import HalfSpace, highest_band
from concordet.io.particles import ParticleSet, read_particles

# Of the default mask, in parts of the box, and its soft edge in voxels; as bench/search_quality.py has it.
MASK_DIAMETER, MASK_EDGE = 0.84, 3.0
SMALLEST_BAND, SMALLEST_BOX = 3, 8
# Of the noise variances of particles, the 95th percentile over the 5th: beyond it their scales differ.
SCALES_DIFFER = 4.0
# Bytes of the harmonics of one particle: 33 shifts, 9 shells, 120 of l, m >= 0.
_HARMONICS = 33 * 9 * 120 * 8


@dataclass(frozen=True)
class Loaded:
    """Particles as the averaging takes them.

    star      the set as read, its kind of data and weights as the flags have it
    data      their statistics, up to the shells that a search looks at or `limit`, whichever is more
    limit     shells that averages may have
    weights   of the rows of data.p1
    scales    (n,) what each particle was divided by; None: they are of one scale
    digest    SHA-256 of all p0 and p1
    """

    star: ParticleSet
    data: Particles
    limit: int
    weights: list[wedge.Weight]
    scales: np.ndarray | None
    digest: str

    def select(self, chosen: np.ndarray) -> Loaded:
        """Only the particles of these indices."""
        data = Particles(self.data.half, self.data.p0[chosen], self.data.p1, self.data.weight_index[chosen])
        return replace(self, star=self.star.select(chosen), data=data,
                       scales=None if self.scales is None else self.scales[chosen])


def read_set(args: argparse.Namespace) -> ParticleSet:
    """The STAR file, and what the flags say otherwise; refuses what cannot be averaged."""
    if args.tilt_range:
        wedge.TiltRange(args.tilt_range[0], args.tilt_range[1], args.tilt_axis)
    star = read_particles(args.particles)
    if star.box < SMALLEST_BOX:
        raise InputError(f"{args.particles}: expected particles of {SMALLEST_BOX} voxels a side or more, got "
                         f"{star.box}")
    given = args.tilt_range or args.wedge
    if star.weight_paths is None and not given:
        raise InputError(f"{args.particles}: expected weights (rlnCtfImage), or --tilt-range or --wedge, got none")
    if args.ctf:
        if args.tilt_range and args.ctf != "binary":
            raise InputError(f"--ctf {args.ctf}: expected weights from a file, got --tilt-range")
        return replace(star, ctf=args.ctf)
    # A range has no CTF in it: what the file says of its own weights does not hold.
    return replace(star, ctf="binary") if args.tilt_range else star


def chosen_band(args: argparse.Namespace, star: ParticleSet) -> int:
    """Shells that the run can use: Nyquist, or --resolution."""
    top = highest_band(star.box)
    if args.resolution is None:
        return top
    extent = star.box * star.voxel_size
    if not 2 * star.voxel_size <= args.resolution <= extent / SMALLEST_BAND:
        raise InputError(f"--resolution: expected {2 * star.voxel_size:g} (Nyquist) to {extent / SMALLEST_BAND:g} "
                         f"angstrom, got {args.resolution:g}")
    return min(int(extent / args.resolution + 1e-6), top)


def limited(settings: Settings, limit: int, top: int) -> Settings:
    """The same settings with no shell beyond `limit`, `top` being all that there are."""
    if limit == top:
        return settings
    # The averaging follows the FSC up to what is loaded: never less than the search needs.
    follow = settings.follow and limit > SEARCH_SHELLS
    return replace(settings, bands=tuple(min(band, limit) for band in settings.bands or (limit,)), follow=follow)


def load(args: argparse.Namespace, star: ParticleSet, limit: int, *, on_particle: Callable[[int], Any]) -> Loaded:
    """Read one particle after another, keeping the coefficients that a run up to shell `limit` can use.

    The mean of a particle is no coefficient of the list, so nothing is subtracted; particles are taken at the scale
    they have, unless those of a set differ clearly: then each is divided by the noise that it has of its own.
    """
    # The search's harmonics reach one shell beyond the last that it compares.
    half = HalfSpace(star.box, max(limit, min(SEARCH_SHELLS + 1, highest_band(star.box))))
    check_memory(args, len(star), half)
    threads = common.threads(args)
    from_star = not (args.tilt_range or args.wedge)
    p0 = np.empty((len(star), len(half)), np.complex64)
    index = np.zeros(len(star), np.int64)
    rows: dict[Any, int] = {}
    weights: list[wedge.Weight] = []
    values: list[np.ndarray] = []
    p1: list[np.ndarray] = []
    for particle in range(len(star)):
        place = star.weight_paths[particle] if from_star and star.weight_paths else None
        if place not in rows:
            rows[place] = len(weights)
            weights.append(_weight(args, star, particle))
            values.append(weights[-1].at(half.indices, star.box))
            p1.append(wedge.statistics(np.zeros(len(half)), values[-1], star.ctf)[1])
            if not p1[-1].max() > 0:
                raise InputError(f"{args.wedge or (_file(place) if place else args.particles)}: expected weights above "
                                 f"0 somewhere up to shell {half.band}, got none")
        index[particle] = rows[place]
        coefficients = half.transform(star.volume(particle), threads)
        p0[particle] = wedge.statistics(coefficients, values[rows[place]], star.ctf)[0]
        on_particle(particle + 1)
    data = Particles(half, p0, np.stack(p1), index)
    scales = scales_of(data)
    if scales is not None:
        warnings.warn(f"{args.particles}: particles differ in scale, {scales.min():.3g} to {scales.max():.3g} of their "
                      "median; each is divided by its own", stacklevel=1)
        data = Particles(half, (p0 / scales[:, None]).astype(np.complex64), data.p1, index)
    digest = hashlib.sha256()
    for array in (data.p0, data.p1, data.weight_index):
        digest.update(array.tobytes())
    return Loaded(star, data, limit, weights, scales, digest.hexdigest())


def scales_of(data: Particles) -> np.ndarray | None:
    """(n,) standard deviation of each particle's observed coefficients over their median; None: of one scale."""
    level = data.power.sum(axis=1) / np.maximum(data.counts.sum(axis=1), 1)
    low, high = np.percentile(level, [5, 95])
    if len(level) < 2 or high <= SCALES_DIFFER * low or not low > 0:
        return None
    return np.sqrt(level / np.median(level))


def check_memory(args: argparse.Namespace, count: int, half: HalfSpace) -> None:
    grid = (4 * half.band + 5) ** 2 * (2 * half.band + 3)
    maps = args.classes * (2 * (args.folds or 5) + 5) * (12.0 * grid + 8.0 * half.box**3)
    need = count * (8.0 * len(half) + _HARMONICS) + maps
    there = common.memory_bytes()
    if there and need > there:
        raise InputError(f"this run: expected at most {there / 1e9:.1f} GB of memory, the machine's, got about "
                         f"{need / 1e9:.4g} GB; see --resolution, --classes and --folds")


def read_mask(args: argparse.Namespace, star: ParticleSet) -> np.ndarray | None:
    """(n, n, n) 0 to 1: --mask, or the soft sphere of --mask-diameter; None: no mask."""
    if args.mask is not None:
        mask = read_cube_of(args.mask, star.box)
        if mask.min() < -1e-3 or mask.max() > 1 + 1e-3:
            raise InputError(f"{args.mask}: expected a mask of 0 to 1, got {mask.min():g} to {mask.max():g}")
        return np.clip(mask, 0, 1).astype(np.float32)
    if args.mask_diameter is None:
        if args.variant == "paper":
            return None
        diameter = MASK_DIAMETER * star.box
    else:
        diameter = args.mask_diameter / star.voxel_size
        if not 2 <= diameter <= 2 * star.box:
            raise InputError(f"--mask-diameter: expected {2 * star.voxel_size:g} to {2 * star.box * star.voxel_size:g} "
                             f"angstrom, got {args.mask_diameter:g}")
    return evaluation.soft_sphere((star.box,) * 3, diameter, MASK_EDGE)


def read_references(args: argparse.Namespace, star: ParticleSet) -> np.ndarray | None:
    """(K, n, n, n), one for each class; None where none is given."""
    if args.reference is None:
        return None
    if len(args.reference) != args.classes:
        raise InputError(f"--reference: expected one map per class, {args.classes}, got {len(args.reference)}")
    return np.stack([read_cube_of(path, star.box) for path in args.reference])


def read_cube_of(path: Path, box: int) -> np.ndarray:
    volume, _ = read_cube(path)
    if len(volume) != box:
        raise InputError(f"{path}: expected the box of the particles, {box} voxels, got {len(volume)}")
    return volume
