"""concordet simulate: tilt series of a phantom, or subtomograms, with their truth, a record and a report."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from concordet import __version__, geometry, report, simulation
from concordet.cli import common, simulate_subtomograms
from concordet.errors import InputError
from concordet.io import create_stack, read_volume, write_tilt_angles, write_volume
from concordet.record import RunRecord


def add_parser(verbs: Any) -> None:
    top = verbs.add_parser("simulate", help="tilt series or subtomograms with their truth",
                           description="Simulate data whose truth is known.")
    kinds = top.add_subparsers(dest="kind", metavar="KIND", required=True)
    parser = kinds.add_parser("tilt-series", help="projections of a phantom along one or more axes",
                              description="Write axis_000.mrc, axis_000.tlt ... for every azimuth, and truth.mrc.")
    parser.set_defaults(run=run)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--phantom", default="cell", metavar="cell|MODEL.cif|MAP.mrc",
                        help="an analytic cell of the size asked for, an atomic model (.cif .mmcif .pdb .ent; needs "
                             "gemmi), or a map (.mrc .map .rec); any of these with .gz too")
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
    parser.add_argument("--no-report", dest="report", action="store_false", help="no .html page")
    common.add_common(parser)
    simulate_subtomograms.add_parser(kinds)


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
    raise InputError("--phantom: expected cell, a model (.cif .mmcif .pdb .ent) or a map (.mrc .map .rec), got "
                     f"{args.phantom}")


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
    common.check_memory(4 * voxels * max(2 * args.thickness, 16))
    common.check_folder(args.output)
    specimen = phantom(args)
    if args.phantom != "cell":
        common.refuse_inputs([args.output / f"{name}.mrc" for name in ("truth", *names)], [Path(args.phantom)])
    record = RunRecord("simulate tilt-series", common.plain_arguments(args))
    if args.phantom != "cell":
        record.add_input(Path(args.phantom))
    progress = common.ProgressLines(args)
    shape = (args.size, args.size)
    add_volume(record, (args.thickness, *shape), args.voxel_size)
    sections: list[report.Section] = []
    pictures: dict[str, np.ndarray] = {}
    with common.together(args.output) as folder:
        progress("making the truth", 0, 1)
        with record.stage("truth"):
            truth = specimen.density((args.thickness, *shape))
            write_volume(folder / "truth.mrc", truth, voxel_size=args.voxel_size,
                         labels=[f"Concordet {__version__}: simulated truth", geometry.AXES_LABEL, "hand: true"],
                         origin=origin(truth.shape, args.voxel_size))
        if args.report:
            sections.append(report.slices({"truth": truth}, voxel_size=args.voxel_size, heading="Truth"))
        del truth
        # With noise every view is passed twice: projected for the variance of its series, then written.
        passes = 2 if args.snr else 1
        total = passes * len(args.axes) * len(tilts)
        progress("projecting and writing", 0, total)
        with record.stage("project"):
            for axis, (azimuth, name) in enumerate(zip(args.axes, names, strict=True)):
                done = passes * axis * len(tilts)

                def passed(count: int, before: int = done) -> None:
                    progress("projecting and writing", before + count, total)

                maps = geometry.tilt_series(tilts, shape, azimuth=azimuth).maps
                views = simulation.simulate_series(specimen, maps, shape, snr=args.snr, seed=(args.seed, axis),
                                                   on_projected=passed)
                with create_stack(folder / f"{name}.mrc", (len(tilts), *shape), voxel_size=args.voxel_size,
                                  labels=view_labels(azimuth)) as stack:
                    for view, image in views:
                        stack.write(image)
                        passed((passes - 1) * len(tilts) + view + 1)
                        if args.report and view in pictured(axis, len(tilts)):
                            pictures[f"azimuth {azimuth:g}°, tilt {tilts[view]:g}°"] = image[None]
                write_tilt_angles(folder / f"{name}.tlt", np.asarray(tilts))
        progress.close()
        record.content["performance"] = record.performance()
        if args.report:
            sections.append(view_pictures(pictures, args.voxel_size))
            write_report(folder / "simulation.html", args, record, sections, tilts)
        record.write(folder / "simulation.json")
    common.say(f"{args.output}: {len(args.axes)} axes of {len(tilts)} views, truth.mrc", args)
    return 0


def origin(shape: Sequence[int], voxel_size: float) -> tuple[float, float, float]:
    """(x, y, z) of the first voxel, angstrom, for a volume (z, y, x) whose centre voxel is the specimen's origin."""
    z, y, x = (-(n // 2) * voxel_size for n in shape)
    return x, y, z


def add_volume(record: RunRecord, shape: Sequence[int], voxel_size: float) -> None:
    """Into the record: where the voxels (z, y, x) of the truth lie, and how views look at them."""
    record.content["geometry"] = {"convention": f"{geometry.AXES_LABEL}; origins at n // 2", "hand": "true"}
    record.content["volume"] = {"shape_zyx": list(shape), "voxel_size_angstrom": voxel_size,
                                "origin_angstrom_xyz": list(origin(shape, voxel_size))}


def view_labels(azimuth: float) -> list[str]:
    """What the header of a simulated series says."""
    return [f"Concordet {__version__}: simulated views, tilt axis at azimuth {azimuth:g} degrees",
            "u = x cos t + z sin t, v = y; x and y turned by the azimuth, hand: true"]


def pictured(axis: int, views: int) -> set[int]:
    """Views that the report shows: of the first axis the ends and the middle, of the next three one end."""
    return {0, views // 2, views - 1} if axis == 0 else {views - 1} if axis < 4 else set()


def view_pictures(images: Mapping[str, np.ndarray], pixel_size: float) -> report.Section:
    """Some views side by side; images (1, v, u), by name."""
    section = report.slices(images, voxel_size=pixel_size, plane="xy", heading="Views")
    return replace(section, caption="Some of the views, u to the right, v upwards; grey levels from 0.5 % to 99.5 % of "
                                    "each. Matter is dark here; in the files it has the high values.")


def write_report(path: Path, args: argparse.Namespace, record: RunRecord, sections: Sequence[report.Section],
                 tilts: np.ndarray) -> None:
    azimuths = ", ".join(f"{azimuth:g}" for azimuth in args.axes)
    performance = record.content["performance"]
    summary = [
        ("Specimen", args.phantom),
        ("Truth", f"truth.mrc ({args.size} x {args.size} x {args.thickness} voxels of {args.voxel_size:g} Å)"),
        ("Origin", "first voxel at ({:g}, {:g}, {:g}) Å from the tilt axes".format(
            *record.content["volume"]["origin_angstrom_xyz"])),
        ("Hand", "true"),
        ("Tilt axes", f"at azimuth {azimuths} degrees"),
        ("Views", f"{len(tilts)} per axis, {tilts[0]:g} to {tilts[-1]:g} degrees every {args.step:g}"),
        ("SNR", f"{args.snr:g}" if args.snr else "no noise"),
        ("Time", f"{performance['seconds']:.1f} s, {performance['cpu_seconds']:.1f} CPU-s"),
    ]
    report.write_report(path, title="Simulated tilt series", summary=summary,
                        sections=[*sections, report.parameters(record.content["parameters"])])
