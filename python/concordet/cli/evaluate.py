"""concordet evaluate: how good a volume is."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from concordet import evaluation, report
from concordet.cli import common, series
from concordet.errors import InputError
from concordet.io import read_volume
from concordet.projection import Projector, as_volume
from concordet.record import RunRecord, as_json


def add_parser(verbs: Any) -> None:
    top = verbs.add_parser("evaluate", help="how good a result is", description="Judge results.")
    kinds = top.add_subparsers(dest="kind", metavar="KIND", required=True)

    parser = kinds.add_parser("volume", help="a volume against the truth or against views",
                              description="Correlation and FSC with a truth, or NCC of every view with the volume "
                                          "reprojected.")
    parser.set_defaults(run=run_volume)
    parser.add_argument("volume", type=Path, metavar="VOLUME")
    against = parser.add_mutually_exclusive_group(required=True)
    against.add_argument("--truth", type=Path, metavar="TRUTH", help="a volume of the same size")
    against.add_argument("--against", type=Path, nargs="+", metavar="STACK", help="tilt series")
    parser.add_argument("--central", type=common.finite, default=0.8,
                        help="part of every axis that the correlation is taken over")
    parser.add_argument("--band", type=common.finite, nargs=2, metavar=("LONGEST", "SHORTEST"),
                        help="angstrom: correlate views in this band of resolution only")
    parser.add_argument("--views", metavar="VIEWS", help="only these views of every stack, such as 5,15, from 1")
    parser.add_argument("--z-shift", type=common.finite, default=0.0, metavar="VOXELS", help="as given to reconstruct")
    parser.add_argument("--voxel-size", type=common.finite, metavar="A",
                        help="pixel size of the stacks in angstrom, before --bin (default: from their headers)")
    series.add_geometry(parser)
    series.add_preprocessing(parser)
    _add_output(parser)

    parser = kinds.add_parser("fsc", help="Fourier shell correlation of two volumes",
                              description="Fourier shell correlation of two volumes of one size.")
    parser.set_defaults(run=run_fsc)
    parser.add_argument("volumes", type=Path, nargs=2, metavar="VOLUME")
    _add_output(parser)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="the figures as JSON (default: stdout)")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="a page with pictures")
    common.add_common(parser)


def run_volume(args: argparse.Namespace) -> int:
    _check_outputs(args, [args.volume, args.truth, *(args.against or ())])
    evaluation.central_part((1,), args.central)
    if args.band:
        common.check_band("--band", args.band)
    volume, header = read_volume(args.volume)
    if args.truth:
        return against_truth(args, volume, header.voxel_size[0])
    return against_views(args, volume)


def against_truth(args: argparse.Namespace, volume: np.ndarray, voxel_size: float) -> int:
    truth, _ = read_volume(args.truth)
    if truth.shape != volume.shape:
        raise InputError(f"{args.truth}: expected {volume.shape} voxels (z, y, x) as in {args.volume}, "
                         f"got {truth.shape}")
    frequencies, curve = evaluation.fsc(volume, truth)
    cut = evaluation.crossing(frequencies, curve, 0.5)
    figures = {
        "correlation": evaluation.pearson(volume, truth, args.central),
        "central_part": args.central,
        "fsc_0.5_cycles_per_voxel": cut,
        "fsc_0.5_angstrom": voxel_size / cut if cut and voxel_size else None,
    }
    sections = [report.slices({"volume": volume, "truth": truth}, voxel_size=voxel_size, truth="truth")]
    if voxel_size:
        sections.append(report.fsc({"with the truth": (frequencies, curve)}, voxel_size=voxel_size))
    return _give(args, figures, f"{args.volume.name} against {args.truth.name}", sections)


def against_views(args: argparse.Namespace, volume: np.ndarray) -> int:
    nz, ny, nx = volume.shape
    threads = common.threads(args)
    with series.open_experiment(args, args.against, thickness=nz, size=(nx, ny)) as experiment:
        steps = series.preprocessing(args, experiment)
        projector = Projector(experiment.geometry, volume.shape, threads=threads)
        chosen = projector.all_views
        if args.views:
            wanted = common.view_list(args.views, "--views")
            longest = max(map(len, experiment.stacks))
            if max(wanted, default=0) >= longest:
                raise InputError(f"--views: expected views of 1 to {longest}, got {max(wanted) + 1}")
            chosen = np.flatnonzero(np.isin(experiment.geometry.sections, list(wanted)))
        if not len(chosen):
            raise InputError(f"--views: expected some of the views, got none in '{args.views}'")
        if args.band and not experiment.voxel_size:
            raise InputError(f"{args.against[0]}: expected a pixel size for --band, got none; give --voxel-size")
        band = evaluation.measurable_band(args.band, experiment.voxel_size) if args.band else None
        if args.band and band is None:
            raise InputError(f"--band: expected longer than two voxels, {2 * experiment.voxel_size:g} A, "
                             f"got {args.band[0]:g} {args.band[1]:g}")
        progress = common.ProgressLines(args)
        if band:
            nccs = experiment.band_nccs(projector, steps, volume, chosen, band, progress)
        else:
            common.check_memory(projector.data_bytes + projector.volume_bytes)
            data = experiment.load(projector, steps, progress)
            nccs = data.ncc(as_volume(volume), chosen).tolist()
        progress.close()
        geometry = experiment.geometry
        views = [{"stack": int(geometry.stacks[view]), "view": int(geometry.sections[view]),
                  "tilt": float(geometry.tilts[view]), "ncc": ncc, "held_out": False}
                 for view, ncc in zip(chosen, nccs, strict=True)]
    seen = [view["ncc"] for view in views if np.isfinite(view["ncc"])]
    figures = {"ncc": float(np.mean(seen)) if seen else 0.0, "band_angstrom": band, "views": views}
    sections = [report.ncc_against_tilt({"volume": views}, stacks=[path.name for path in args.against])]
    return _give(args, figures, f"{args.volume.name} against its views", sections, experiment.files)


def run_fsc(args: argparse.Namespace) -> int:
    _check_outputs(args, args.volumes)
    (a, header), (b, _) = (read_volume(path) for path in args.volumes)
    if a.shape != b.shape:
        raise InputError(f"{args.volumes[1]}: expected {a.shape} voxels (z, y, x) as in {args.volumes[0]}, "
                         f"got {b.shape}")
    frequencies, curve = evaluation.fsc(a, b)
    voxel_size = header.voxel_size[0]
    figures: dict[str, Any] = {"cycles_per_voxel": frequencies.tolist(), "fsc": curve.tolist()}
    for threshold in (0.143, 0.5):
        cut = evaluation.crossing(frequencies, curve, threshold)
        figures[f"fsc_{threshold}_angstrom"] = voxel_size / cut if cut and voxel_size else None
    sections = [report.fsc({"A and B": (frequencies, curve)}, voxel_size=voxel_size or 1.0)]
    return _give(args, figures, f"{args.volumes[0].name} and {args.volumes[1].name}", sections)


def _check_outputs(args: argparse.Namespace, inputs: list[Path | None]) -> None:
    places = [path for path in (args.output, args.report) if path]
    for path in places:
        common.check_output(path, endings=())
    if args.output and args.report and args.output.resolve() == args.report.resolve():
        raise InputError(f"{args.report}: expected a report beside the figures, got one name for both")
    common.refuse_inputs(places, inputs)


def _give(args: argparse.Namespace, figures: dict[str, Any], title: str, sections: list,
          files: Iterable[Path] | None = None) -> int:
    """Figures to the JSON file, with what they come from, or to stdout; and the page.

    files   every file read (default: those that the flags name)
    """
    with ExitStack() as places:
        if args.report:
            summary = [(name.replace("_", " "), f"{value:.4g}") for name, value in figures.items()
                       if isinstance(value, float)]
            page = places.enter_context(common.together(args.report.parent)) / args.report.name
            report.write_report(page, title=title, summary=summary, sections=sections)
        if args.output:
            common.write_json(args.output, {**_provenance(args, files), **figures})
    if not args.output:
        print(as_json(figures))
    return 0


def _provenance(args: argparse.Namespace, files: Iterable[Path] | None) -> dict[str, Any]:
    """Program, command, parameters and inputs with their checksums, each file once."""
    record = RunRecord(f"evaluate {args.kind}", common.plain_arguments(args))
    for path in dict.fromkeys([*_named_files(args), *(files or ())]):
        record.add_input(path)
    return {name: record.content[name] for name in ("program", "version", "verb", "command", "python", "machine",
                                                    "parameters", "inputs")}


def _named_files(args: argparse.Namespace) -> Iterator[Path]:
    """The files that the flags name, outputs aside; --x-tilt takes angles too, and 'none' stands for no file."""
    for name, value in vars(args).items():
        if name in ("output", "report"):
            continue
        for one in value if isinstance(value, list) else [value]:
            if (isinstance(one, Path) or (name == "x_tilt" and one)) and Path(one).is_file():
                yield Path(one)
