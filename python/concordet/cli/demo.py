"""concordet demo: simulated input, every method, volumes and one report."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from concordet import __version__, evaluation, geometry, methods, report, simulation
from concordet.cli import common
from concordet.cli.simulate import add_volume, origin, view_labels
from concordet.io import create_stack, write_tilt_angles, write_volume
from concordet.projection import Projector, TiltData
from concordet.record import RunRecord

SIZE, THICKNESS, VOXEL_SIZE = 128, 32, 20.0
AZIMUTHS = (0.0, 45.0, 90.0, 135.0)
STEP, SNR = 3.0, 4.0
ROWS = {
    "FBP": methods.Options(method="fbp"),
    "FULL-SIRT": methods.Options(method="sirt", iterations=100),
    "DirectCombine-SIRT": methods.Options(method="direct-combine", iterations=100, subsets=32),
    "DM-SIRT": methods.Options(method="dm-sirt", subsets=32, inner=10, outer=10),
}


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser("demo", help="a first look: simulate, reconstruct by every method, report",
                              description="Simulate a small cell in four tilt axes with noise, reconstruct it by every "
                                          "method of the paper, compare with the truth.")
    parser.set_defaults(run=run)
    parser.add_argument("-o", "--output", type=Path, default=Path("concordet-demo"), metavar="DIR",
                        help="folder for volumes and the report")
    parser.add_argument("--no-report", dest="report", action="store_false", help="no .html page and no picture")
    common.add_common(parser)


def run(args: argparse.Namespace) -> int:
    threads = common.threads(args)
    common.check_folder(args.output)
    record = RunRecord("demo", common.plain_arguments(args))
    add_volume(record, (THICKNESS, SIZE, SIZE), VOXEL_SIZE)
    progress = common.ProgressLines(args)
    common.say(f"simulating a cell of {SIZE} x {SIZE} x {THICKNESS} voxels in {len(AZIMUTHS)} tilt axes, SNR {SNR:g}",
               args)
    with common.together(args.output) as folder:
        with record.stage("simulate"):
            truth, data = simulate(args.seed, threads, folder)
        views = data.projector.all_views
        volumes, curves, residuals = {}, {}, {}
        rows: list[list[Any]] = []
        for name, options in ROWS.items():
            begin = time.perf_counter()
            with record.stage(name):
                outcome = methods.reconstruct(data, options, on_progress=progress)
            progress.close()
            seconds = time.perf_counter() - begin
            ncc = data.ncc(outcome.volume, views)
            correlation = evaluation.pearson(outcome.volume, truth)
            volumes[name] = outcome.volume
            curves[name] = [
                {"stack": int(stack), "view": int(section), "tilt": float(tilt), "ncc": float(value), "held_out": False}
                for stack, section, tilt, value in zip(data.projector.geometry.stacks, data.projector.geometry.sections,
                                                       data.projector.geometry.tilts, ncc, strict=True)]
            if len(outcome.trace.relative_change) > 1:
                residuals[name] = outcome.trace.relative_change
            rows.append([name, correlation, float(ncc.mean()), outcome.iterations, round(seconds, 2)])
            common.say(f"{name:<20} correlation with the truth {correlation:.3f}   "
                       f"NCC with the views {ncc.mean():.4f}   {seconds:.1f} s", args)
            save(folder / f"{name.lower()}.mrc", outcome.volume, name)
        record.content["quality"] = {row[0]: {"correlation": row[1], "ncc": row[2]} for row in rows}
        record.content["performance"] = record.performance()
        if args.report:
            pictures = {"truth": truth, **volumes}
            report.write_report(
                folder / "report.html", title="Concordet demo: one cell, four tilt axes, four reconstructions",
                summary=[("Specimen", f"a simulated cell, {SIZE} x {SIZE} x {THICKNESS} voxels of {VOXEL_SIZE:g} Å"),
                         ("Views", f"{len(AZIMUTHS)} axes, ±60° every {STEP:g}°: {len(views)} views, SNR {SNR:g}"),
                         ("Time", f"{record.content['performance']['seconds']:.1f} s")],
                sections=[
                    report.slices(pictures, voxel_size=VOXEL_SIZE, truth="truth"),
                    report.ncc_bars({row[0]: row[1] for row in rows}, caption="Pearson, central 80 % of every axis."),
                    report.ncc_against_tilt(curves, stacks=[f"axis at {azimuth:g}°" for azimuth in AZIMUTHS]),
                    report.table("Figures", ["method", "correlation with the truth", "NCC with the views", "iterations",
                                             "time (s)"], rows),
                    report.history(residuals, logarithmic=True),
                    report.parameters({name: vars(options) for name, options in ROWS.items()}),
                ])
            report.picture(folder / "slices.png", pictures, voxel_size=VOXEL_SIZE, truth="truth", plane="ortho")
        record.write(folder / "demo.json")
    common.say(f"look at {args.output / 'report.html' if args.report else args.output}", args)
    return 0


def save(path: Path, volume: np.ndarray, what: str) -> None:
    """A volume of the demo: the specimen's origin is the centre voxel."""
    labels = [f"Concordet {__version__} demo: {what}", geometry.AXES_LABEL, "hand: true"]
    write_volume(path, volume, voxel_size=VOXEL_SIZE, labels=labels,
                 origin=origin(volume.shape, VOXEL_SIZE))


def simulate(seed: int, threads: int, folder: Path) -> tuple[np.ndarray, TiltData]:
    """The cell, its views on disk and in memory, and its truth."""
    cell = simulation.cell_phantom(SIZE, THICKNESS, seed)
    truth = cell.density((THICKNESS, SIZE, SIZE))
    save(folder / "truth.mrc", truth, "simulated truth")
    tilts = simulation.tilt_angles(-60, 60, STEP)
    series = [geometry.tilt_series(tilts, (SIZE, SIZE), stack=axis, azimuth=azimuth)
              for axis, azimuth in enumerate(AZIMUTHS)]
    data = TiltData(Projector(geometry.joined(series), truth.shape, threads=threads))
    for axis, one in enumerate(series):
        path = folder / f"axis_{AZIMUTHS[axis]:03.0f}.mrc"
        with create_stack(path, (len(tilts), SIZE, SIZE), voxel_size=VOXEL_SIZE,
                          labels=view_labels(AZIMUTHS[axis])) as stack:
            for view, image in simulation.simulate_series(cell, one.maps, (SIZE, SIZE), snr=SNR, seed=(seed, axis)):
                stack.write(image)
                data.set_view(axis * len(tilts) + view, image)
        write_tilt_angles(path.with_suffix(".tlt"), tilts)
    return truth, data
