"""Flags that say what tilt series there are and where their views look; shared by reconstruct and evaluate."""

from __future__ import annotations

import argparse
from pathlib import Path

from concordet.cli.common import finite, not_negative, per_stack, positive_int, view_list
from concordet.errors import InputError
from concordet.experiment import Experiment, SeriesFiles
from concordet.preprocessing import TRANSMISSION_CLIP, Preprocessing


def add_geometry(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("tilt series, one value per stack")
    group.add_argument("--angles", nargs="+", type=Path, metavar="FILE",
                       help="tilt angles: .tlt, .rawtlt or .mdoc (default: the sidecar of the stack's stem)")
    group.add_argument("--alignment", nargs="+", type=Path, metavar="FILE",
                       help="of raw images: IMOD's .xf, AreTomo's .aln, RELION 5's tilt-series .star, Warp's .xml, "
                            "the last three with tilts of their own (default: images are aligned, tilt axis "
                            "vertical, centred on n // 2)")
    group.add_argument("--azimuth", nargs="+", type=finite, metavar="DEG",
                       help="x' = x cos a + y sin a, y' = -x sin a + y cos a, tilt about y' (default: 0)")
    group.add_argument("--transform", nargs="+", type=Path, metavar="FILE",
                       help="3-D affine to the common frame, IMOD's solve.xf form ('none' for the first)")
    group.add_argument("--x-tilt", nargs="+", metavar="DEG|FILE",
                       help="x-axis tilt in the sign of .xtilt files: one angle, or a file with one per view")
    group.add_argument("--tilt-offset", nargs="+", type=finite, metavar="DEG",
                       help="added to every tilt angle, as IMOD's OFFSET (default: 0)")
    group.add_argument("--exclude", nargs="+", metavar="VIEWS",
                       help="views left out, such as 1-3,40, counted from 1 as in IMOD ('none' for none)")
    group.add_argument("--center", choices=("ours", "imod"), default="ours",
                       help="tilt axis and volume centre: n // 2, or (n - 1) / 2 as in IMOD's aligned stacks (an .xf "
                            "implies it)")
    group.add_argument("--flip-hand", action="store_true", help="mirror z: the other hand of a single-axis series")


def add_preprocessing(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("preprocessing, in this order")
    group.add_argument("--beads", type=not_negative, metavar="ANGSTROM", default=0.0,
                       help="diameter of gold beads to find and leave out of the fit (0: no search)")
    group.add_argument("--clip", type=not_negative, metavar="SIGMAS",
                       help="replace pixels beyond this many robust standard deviations, such as X-rays (0: off; "
                            f"default: {TRANSMISSION_CLIP:g} where views count electrons, else off)")
    group.add_argument("--bin", type=positive_int, metavar="B", default=1, help="average B x B pixels")
    group.add_argument("--log", action="store_true", help="logarithm of counts: absorption, linear in thickness")
    group.add_argument("--normalize", action=argparse.BooleanOptionalAction, default=None,
                       help="(I - median) / median of every view (default: on where views count electrons, else off)")
    group.add_argument("--invert", action="store_true", help="change the sign: dark matter becomes bright")


def open_experiment(args: argparse.Namespace, stacks: list[Path], *, thickness: int,
                    size: tuple[int, int] | None) -> Experiment:
    """The experiment that the flags describe."""
    count = len(stacks)
    x_tilts = per_stack(args.x_tilt, count, "--x-tilt", default="0")
    excluded = per_stack(args.exclude, count, "--exclude", default="none")
    transforms = [None if path is None or str(path) == "none" else path
                  for path in per_stack(args.transform, count, "--transform")]
    series = [
        SeriesFiles(
            stack=stack, angles=angles, alignment=alignment, azimuth=azimuth, x_tilt=_angle_or_file(x_tilt),
            tilt_offset=offset, transform=transform, exclude=view_list(views, "--exclude"))
        for stack, angles, alignment, azimuth, x_tilt, offset, transform, views in zip(
            stacks, per_stack(args.angles, count, "--angles"), per_stack(args.alignment, count, "--alignment"),
            per_stack(args.azimuth, count, "--azimuth", default=0.0), x_tilts,
            per_stack(args.tilt_offset, count, "--tilt-offset", default=0.0), transforms, excluded, strict=True)
    ]
    return Experiment(
        series, thickness=thickness, size=size, binning=args.bin, center_imod=args.center == "imod",
        flip_hand=args.flip_hand, z_shift=args.z_shift, pixel_size=args.voxel_size)


def preprocessing(args: argparse.Namespace, experiment: Experiment) -> Preprocessing:
    """The steps that the flags ask for, defaults decided by what the views look like."""
    counts = experiment.counts_electrons()
    pixel = experiment.voxel_size / experiment.binning
    if args.beads and not pixel:
        raise InputError(f"{experiment.stacks[0].header.path}: expected a pixel size for --beads, got none in the "
                         "header; give --voxel-size")
    if args.beads and args.beads / pixel > min(experiment.stacks[0].image_shape) / 2:
        raise InputError(f"--beads: expected a diameter of at most half an image, "
                         f"{min(experiment.stacks[0].image_shape) / 2 * pixel:g} A, got {args.beads:g} A")
    return Preprocessing(
        binning=args.bin,
        clip=args.clip if args.clip is not None else TRANSMISSION_CLIP if counts else 0.0,
        counts=counts,
        normalize=args.normalize if args.normalize is not None else counts and not args.log,
        log=args.log,
        invert=args.invert,
        bead_diameter=args.beads / pixel if args.beads else 0.0)


def _angle_or_file(text: str) -> float | Path:
    try:
        return float(text)
    except ValueError:
        return Path(text)
