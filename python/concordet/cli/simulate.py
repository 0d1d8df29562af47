"""concordet simulate: tilt series of a phantom, with their truth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from concordet import __version__, geometry, simulation
from concordet.cli import common
from concordet.errors import InputError
from concordet.io import create_stack, read_volume, write_tilt_angles, write_volume
from concordet.record import RunRecord


def add_parser(verbs: Any) -> None:
    top = verbs.add_parser("simulate", help="tilt series with their truth",
                           description="Simulate data whose truth is known.")
    kinds = top.add_subparsers(dest="kind", metavar="KIND", required=True)
    parser = kinds.add_parser("tilt-series", help="projections of a phantom along one or more axes",
                              description="Write axis_000.mrc, axis_000.tlt ... for every azimuth, and truth.mrc.")
    parser.set_defaults(run=run)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--phantom", default="cell", metavar="cell|MODEL.cif|MAP.mrc",
                        help="an analytic cell of the size asked for, an atomic model (needs gemmi), or a map")
    parser.add_argument("--axes", type=common.finite, nargs="+", default=[0.0, 45.0, 90.0, 135.0], metavar="DEG",
                        help="azimuths of the tilt axes (default: 0 45 90 135)")
    parser.add_argument("--tilt-range", type=common.finite, nargs=2, default=(-60.0, 60.0), metavar=("LOW", "HIGH"),
                        help="degrees (default: -60 60)")
    parser.add_argument("--step", type=common.finite, default=1.0, metavar="DEG", help="degrees between views")
    parser.add_argument("--size", type=common.positive_int, default=256, help="pixels and voxels along x and y")
    parser.add_argument("--thickness", type=common.positive_int, default=58, help="voxels along z")
    parser.add_argument("--voxel-size", type=common.finite, default=10.0, metavar="A", help="angstrom")
    parser.add_argument("--snr", type=common.finite, default=4.0,
                        help="variance of the signal over the variance of the noise; 0: no noise")
    common.add_common(parser)


def phantom(args: argparse.Namespace):
    """What is projected, as the flags name it."""
    if args.phantom == "cell":
        return simulation.cell_phantom(args.size, args.thickness, args.seed)
    path = Path(args.phantom)
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".mrc", ".map", ".rec")):
        volume, header = read_volume(path)
        if args.voxel_size and header.voxel_size[0] and abs(header.voxel_size[0] / args.voxel_size - 1) > 1e-3:
            raise InputError(f"{path}: expected voxels of {args.voxel_size:g} A (--voxel-size), got "
                             f"{header.voxel_size[0]:g} A")
        return simulation.MapPhantom(volume)
    if name.endswith((".cif", ".pdb", ".ent", ".mmcif")):
        return simulation.model_phantom(path, args.voxel_size)
    raise InputError(f"--phantom: expected cell, a .cif or .pdb model, or an .mrc map, got {args.phantom}")


def run(args: argparse.Namespace) -> int:
    if not args.voxel_size > 0:
        raise InputError(f"--voxel-size: expected more than 0 angstrom, got {args.voxel_size}")
    if args.snr < 0:
        raise InputError(f"--snr: expected 0 (no noise) or more, got {args.snr:g}")
    names = [f"axis_{round(azimuth):03d}" for azimuth in args.axes]
    if len(set(names)) != len(names):
        raise InputError(f"--axes: expected azimuths that differ by a degree or more, got {args.axes}")
    low, high = args.tilt_range
    if args.step > 0 and (high - low) / args.step > common.MOST_VIEWS:
        raise InputError(f"--step: expected at most {common.MOST_VIEWS} views of an axis, got a step of {args.step:g} "
                         "degrees")
    tilts = simulation.tilt_angles(low, high, args.step)
    voxels = float(args.size) ** 2
    common.check_memory(4 * voxels * max(2 * args.thickness, 8))
    common.check_folder(args.output)
    specimen = phantom(args)
    if args.phantom != "cell":
        common.refuse_inputs([args.output / f"{name}.mrc" for name in ("truth", *names)], [Path(args.phantom)])
    record = RunRecord("simulate tilt-series", common.plain_arguments(args))
    progress = common.ProgressLines(args)
    shape = (args.size, args.size)
    with common.together(args.output) as folder:
        with record.stage("truth"):
            write_volume(folder / "truth.mrc", specimen.density((args.thickness, *shape)), voxel_size=args.voxel_size,
                         labels=[f"Concordet {__version__}: simulated truth", geometry.AXES_LABEL, "hand: true"],
                         origin=tuple(-(n // 2) * args.voxel_size for n in (args.size, args.size, args.thickness)))
        with record.stage("project"):
            for axis, (azimuth, name) in enumerate(zip(args.axes, names, strict=True)):
                maps = geometry.tilt_series(tilts, shape, azimuth=azimuth).maps
                views = simulation.simulate_series(specimen, maps, shape, snr=args.snr, seed=(args.seed, axis))
                with create_stack(folder / f"{name}.mrc", (len(tilts), *shape), voxel_size=args.voxel_size) as stack:
                    for view, image in views:
                        stack.write(image)
                        progress("projecting", axis * len(tilts) + view + 1, len(args.axes) * len(tilts))
                write_tilt_angles(folder / f"{name}.tlt", np.asarray(tilts))
        progress.close()
        record.content["performance"] = record.performance()
        record.write(folder / "simulation.json")
    common.say(f"{args.output}: {len(args.axes)} axes of {len(tilts)} views, truth.mrc", args)
    return 0
