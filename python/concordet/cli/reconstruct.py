"""concordet reconstruct: tilt series in, a volume, its record and its report out."""

from __future__ import annotations

import argparse
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from concordet import __version__, evaluation, methods, partition, report
from concordet.cli import common, series
from concordet.errors import InputError
from concordet.experiment import Experiment, warn_of_unknown_pixel_size
from concordet.geometry import AXES_LABEL
from concordet.io import read_volume, write_volume
from concordet.preprocessing import Preprocessing
from concordet.projection import Projector, TiltData, instruction_set
from concordet.record import RunRecord

# Python with numpy and matplotlib, before anything is read.
INTERPRETER_BYTES = 120_000_000
PAPER = {"method": "dm-sirt", "subsets": 32, "overlap": 2, "grouping": "adjacent", "inner": 10, "outer": 10,
         "relaxation": 0.3, "rho": 0.5}
_SIRT = {"iterations", "relaxation", "initial", "tolerance", "positivity"}
_SUBSETS = {"subsets", "overlap", "grouping"}
# Flags that each method obeys; given to another one they are named in a warning.
OBEYED = {
    "dm-sirt": _SIRT | _SUBSETS | {"inner", "outer", "rho"},
    "sirt": _SIRT,
    "os-sirt": _SIRT | _SUBSETS,
    "cgls": {"iterations", "initial", "tolerance"},
    "fbp": {"filter"},
    "direct-combine": (_SIRT | _SUBSETS) - {"tolerance"},
}
NOT_YET = {
    "defocus": "CTF correction", "phase_flip": "CTF correction", "ctf_multiply": "CTF correction",
    "dose": "exposure weighting", "halves": "half volumes", "checkpoint": "checkpoints",
    "checkpoint_interval": "checkpoints", "resume": "checkpoints", "prox_strength": "proximal agents",
    "prior": "priors",
}


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser("reconstruct", help="tilt series to volume",
                              description="Reconstruct one volume from tilt series of one, two, ... axes.")
    parser.set_defaults(run=run)
    parser.add_argument("stacks", nargs="+", type=Path, metavar="STACK", help="MRC stacks, one per axis")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="VOLUME.mrc")
    series.add_geometry(parser)

    group = parser.add_argument_group("volume, in voxels of the output")
    group.add_argument("--thickness", type=common.whole, required=True, metavar="NZ", help="slices")
    group.add_argument("--size", type=common.whole, nargs=2, metavar=("NX", "NY"), help="(default: the first stack's)")
    group.add_argument("--z-shift", type=common.finite, default=0.0, metavar="VOXELS",
                       help="moves content to larger z (IMOD's SHIFT sz, negated)")
    group.add_argument("--voxel-size", type=common.finite, metavar="A",
                       help="pixel size of the stacks in angstrom, before --bin (default: from their headers)")

    group = parser.add_argument_group("method")
    names = "; ".join(f"{name}: {text}" for name, text in methods.METHODS.items())
    group.add_argument("--method", metavar="METHOD", help=f"{names} (default: dm-sirt)")
    group.add_argument("--preset", choices=("paper",), help="dm-sirt as published: 32 subsets, overlap 2, adjacent, "
                                                            "inner 10, outer 10, relaxation 0.3, rho 0.5")
    group.add_argument("--engine", choices=("auto", "real", "fourier"), default="auto",
                       help="how volumes are projected (this version has the real-space engine)")
    group.add_argument("--iterations", type=common.whole,
                       help="(default: 100; 10 for cgls and os-sirt; dm-sirt: inner x outer)")
    group.add_argument("--relaxation", type=common.finite, nargs="+", metavar="LAMBDA",
                       help="0 to 2; agents: 0 to 1, one for all or one per subset (default: 0.3)")
    group.add_argument("--initial", type=Path, metavar="VOLUME", help="start from this volume (default: zero)")
    group.add_argument("--tolerance", type=common.finite,
                       help="end when the relative change falls below it (default: 0, off)")
    group.add_argument("--subsets", type=common.whole, metavar="N", help="(default: subsets of about 15 views)")
    group.add_argument("--overlap", type=common.whole, help="views shared with the next subset (default: 2, adjacent)")
    group.add_argument("--grouping", metavar="adjacent|round-robin", help="(default: adjacent)")
    group.add_argument("--inner", type=common.whole, metavar="K",
                       help="SIRT steps of an agent per outer iteration (default: 10)")
    group.add_argument("--outer", type=common.whole, help="consensus iterations (default: 10)")
    group.add_argument("--rho", type=common.finite, help="Mann relaxation, 0 to 1 (default: 0.5)")
    group.add_argument("--agent", choices=("sirt", "proximal"), default="sirt", help="what an agent does")
    group.add_argument("--prox-strength", type=common.finite, help=argparse.SUPPRESS)
    group.add_argument("--prior", help=argparse.SUPPRESS)
    group.add_argument("--positivity", action="store_true", help="no voxel below zero")
    group.add_argument("--filter", metavar="ramp|hamming|hann|cosine", help="window of fbp (default: hamming)")
    group.add_argument("--hold-out", type=common.finite, default=0.0, metavar="FRACTION",
                       help="stop and judge by this part of the views, kept out; then refit with all")
    group.add_argument("--judge-band", type=common.finite, nargs=2, default=(200.0, 40.0),
                       metavar=("LONGEST", "SHORTEST"),
                       help="angstrom: the band in which held-out views are judged too (default: 200 40)")
    series.add_preprocessing(parser)

    group = parser.add_argument_group("not in this version (refused)")
    group.add_argument("--defocus", metavar="FILE", help="CTF per view")
    group.add_argument("--phase-flip", action="store_true", default=None)
    group.add_argument("--ctf-multiply", action="store_true", default=None)
    group.add_argument("--dose", metavar="FILE", help="exposure per view")
    group.add_argument("--halves", metavar="even-odd", help="also two half volumes")
    group.add_argument("--checkpoint", metavar="DIR")
    group.add_argument("--checkpoint-interval", type=common.finite, metavar="SECONDS")
    group.add_argument("--resume", action="store_true", default=None)

    group = parser.add_argument_group("output")
    group.add_argument("--topology", choices=("auto", "grid", "rooted"), default="auto", help="of MPI runs")
    group.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    group.add_argument("--no-report", dest="report", action="store_false", help="no .html page")
    group.add_argument("--png", type=Path, metavar="FILE", help="also a picture of the central slices")
    common.add_common(parser)


def options(args: argparse.Namespace) -> methods.Options:
    """The method's parameters: flags, over the preset, over the method's own defaults."""
    chosen: dict[str, Any] = dict(PAPER) if args.preset == "paper" else {}
    for name in ("method", "iterations", "subsets", "overlap", "grouping", "inner", "outer", "rho",
                 "tolerance", "filter"):
        value = getattr(args, name)
        if value is not None:
            chosen[name] = value
    if args.relaxation is not None:
        chosen["relaxation"] = tuple(args.relaxation) if len(args.relaxation) > 1 else args.relaxation[0]
    if args.preset and args.method not in (None, PAPER["method"]):
        raise InputError(f"--preset {args.preset}: expected method {PAPER['method']}, got {args.method}")
    if args.iterations and chosen.get("method", "dm-sirt") == "dm-sirt":
        inner = chosen.get("inner", methods.Options.inner)
        if args.outer is None:
            chosen.pop("outer", None)  # the preset's
            made = max(-(-args.iterations // max(inner, 1)), 1) * inner
        else:
            made = args.outer * inner
        if made != args.iterations:
            warnings.warn(f"--iterations {args.iterations}: dm-sirt makes {made}, outer iterations of {inner}",
                          stacklevel=2)
    if args.method == "wiener":
        raise InputError("--method: expected one of " + ", ".join(methods.METHODS)
                         + " (this version has no Fourier engine), got wiener")
    return methods.Options(positivity=args.positivity, **chosen)


def check_obeyed(args: argparse.Namespace, method: str) -> None:
    """Name the flags that the method does not know; refuse those that would promise what it does not keep."""
    for name, least in (("subsets", 1), ("overlap", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise InputError(f"--{name}: expected at least {least}, got {value}")
    if args.positivity and "positivity" not in OBEYED[method]:
        keep = ", ".join(name for name, flags in OBEYED.items() if "positivity" in flags)
        raise InputError(f"--positivity: expected a method that keeps it ({keep}), got {method}")
    for name in sorted(set().union(*OBEYED.values()) - OBEYED[method]):
        if getattr(args, name) not in (None, False):
            warnings.warn(f"--{name}: not used by {method}", stacklevel=2)


def refuse_what_is_missing(args: argparse.Namespace) -> None:
    for name, what in NOT_YET.items():
        if getattr(args, name) is not None:
            raise InputError(f"--{name.replace('_', '-')}: expected a run without it, got {getattr(args, name)}; "
                             f"not in this version: {what}")
    if args.engine == "fourier":
        raise InputError("--engine: expected auto or real (this version has no Fourier engine), got fourier")
    if args.agent == "proximal":
        raise InputError("--agent: expected sirt (this version has no proximal agents), got proximal")


def run(args: argparse.Namespace) -> int:
    refuse_what_is_missing(args)
    chosen = options(args)
    threads = common.threads(args)
    check_obeyed(args, chosen.method)
    common.check_band("--judge-band", args.judge_band)
    common.check_outputs(args.output, args.report)
    if args.png:
        common.check_output(args.png, endings=(".png",))
    record = RunRecord("reconstruct", {**common.plain_arguments(args), **vars(chosen)})
    progress = common.ProgressLines(args)
    with series.open_experiment(args, args.stacks, thickness=args.thickness, size=args.size) as experiment:
        common.refuse_inputs(outputs(args), [*experiment.files, args.initial])
        warn_of_unknown_pixel_size(experiment)
        subsets = subset_sizes(args, experiment, chosen)
        common.check_memory(3 * 4 * float(np.prod(experiment.volume_shape, dtype=float)))
        initial = start_volume(args.initial, experiment)
        steps = series.preprocessing(args, experiment)
        projector = Projector(experiment.geometry, experiment.volume_shape, threads=threads)
        need = memory_need(projector, chosen, len(subsets), args.hold_out > 0)
        common.check_memory(need)
        if args.dry_run:
            describe(args, experiment, chosen, steps, subsets, need)
            return 0
        with record.stage("read"):
            data = experiment.load(projector, steps, progress)
        progress.close()
        describe(args, experiment, chosen, steps, subsets, need)
        band: list[float] = []

        def judge(volume: np.ndarray, views: np.ndarray) -> None:
            if experiment.voxel_size > 0:
                band.extend(experiment.band_nccs(projector, steps, volume, views, args.judge_band, progress))

        with record.stage("reconstruct"):
            outcome = methods.reconstruct(data, chosen, hold_out=args.hold_out, initial=initial, judge=judge,
                                          on_progress=progress)
        progress("judging", 0, 1)
        with record.stage("judge"):
            ncc = data.ncc(outcome.volume, projector.all_views)
        progress.close()
        add_results(record, experiment, projector, outcome, ncc, band, args, steps)
        with record.stage("checksums"):
            for path in experiment.files + ([args.initial] if args.initial else []):
                record.add_input(path)
    with ExitStack() as places:
        folder = places.enter_context(common.together(args.output.parent))
        progress("writing", 0, 1)
        with record.stage("write"):
            write(folder / args.output.name, experiment, chosen, outcome)
        record.content["performance"].update(record.performance())
        if args.report:
            progress("report", 0, 1)
            write_report(folder, args, record, experiment, outcome)
        if args.png:
            pictures = places.enter_context(common.together(args.png.parent))
            report.picture(
                pictures / args.png.name, {chosen.method: outcome.volume}, voxel_size=experiment.voxel_size,
                plane="xy", matter_high=args.invert or not (steps.normalize or steps.log))
        record.write(common.beside(folder / args.output.name, ".json"))
        progress.close()
    quality = record.content["quality"]
    held = quality["ncc_held_out"]
    common.say(f"{args.output}: NCC with the views {quality['ncc_fitted']:.4f}"
               + (f", with held-out views {held:.4f}" if held is not None else "")
               + f"; {record.content['performance']['seconds']:.1f} s", args)
    return 0


def outputs(args: argparse.Namespace) -> list[Path | None]:
    """Every file that the run will write."""
    page = common.beside(args.output, ".html") if args.report else None
    return [args.output, common.beside(args.output, ".json"), page, args.png]


def subset_sizes(args: argparse.Namespace, experiment: Experiment, chosen: methods.Options) -> list[int]:
    """Views of each subset; refuses numbers of subsets or held-out views that the series do not allow."""
    geometry = experiment.geometry
    held = partition.held_out_views(geometry.stacks, geometry.tilts, args.hold_out)
    if not chosen.needs_partition:
        return []
    chosen.partition(geometry, np.flatnonzero(~held))
    return [len(views) for views in chosen.partition(geometry, np.arange(len(geometry))).subsets]


def memory_need(projector: Projector, chosen: methods.Options, subset_count: int, hold_out: bool) -> int:
    """Bytes of the views and of the volumes that the method holds at a time."""
    volumes = 5  # the volume, its update, column weights, and scratch
    if chosen.needs_partition:
        volumes += 3 + (subset_count if chosen.method == "dm-sirt" else 0)
    if hold_out:
        volumes += 2  # the best so far, and the one in work
    column_weights = min(subset_count * projector.volume_bytes, TiltData.COLUMN_CACHE_BYTES)
    return INTERPRETER_BYTES + projector.data_bytes + volumes * projector.volume_bytes + column_weights


def start_volume(path: Path | None, experiment: Experiment) -> np.ndarray | None:
    if path is None:
        return None
    volume, _ = read_volume(path)
    if volume.shape != experiment.volume_shape:
        raise InputError(f"{path}: expected a volume of {experiment.volume_shape} voxels (z, y, x), got {volume.shape}")
    return volume


def mean_of_finite(values: np.ndarray) -> float:
    """Mean over the views that see something of the volume."""
    return float(np.mean(values[np.isfinite(values)])) if np.isfinite(values).any() else 0.0


def add_results(record, experiment, projector, outcome, ncc, band, args, steps) -> None:
    """Quality, geometry and performance into the record."""
    geometry = experiment.geometry
    held = {int(view): float(value) for view, value in zip(outcome.held_out, outcome.held_out_ncc, strict=True)}
    content = record.content
    content["parameters"]["preprocessing"] = vars(steps)
    content["quality"] = {
        "ncc_fitted": mean_of_finite(ncc),
        "ncc_held_out": mean_of_finite(outcome.held_out_ncc) if held else None,
        "ncc_held_out_band": float(np.mean(band)) if band else None,
        "band_angstrom": evaluation.measurable_band(args.judge_band, experiment.voxel_size) if band else None,
        "views": [
            {"stack": int(geometry.stacks[view]), "view": int(geometry.sections[view]),
             "tilt": float(geometry.tilts[view]), "ncc": held.get(view, float(ncc[view])), "held_out": view in held}
            for view in range(len(geometry))],
    }
    content["iterations"] = outcome.iterations
    content["trace"] = vars(outcome.trace)
    content["trace_hold_out"] = vars(outcome.judged) if outcome.judged else None
    content["volume"] = {
        "shape_zyx": list(experiment.volume_shape), "voxel_size_angstrom": experiment.voxel_size,
        "origin_angstrom_xyz": list(experiment.origin), "specimen_origin_voxel_xyz": list(experiment.axis_voxel),
    }
    content["geometry"] = {
        "convention": f"{AXES_LABEL}; origins at n // 2",
        "hand": experiment.hand,
        "excluded_views": [{"stack": stack, "view": view} for stack, view in experiment.excluded],
    }
    content["performance"] = {
        "gups": projector.updates / projector.kernel_seconds / 1e9 if projector.kernel_seconds else 0.0,
        "voxel_view_updates": projector.updates, "threads": projector.thread_count,
        "instruction_set": instruction_set(), "engine": "real", "bytes_sent": [0],
    }


def write(path: Path, experiment: Experiment, chosen: methods.Options, outcome) -> None:
    labels = [f"Concordet {__version__}: {chosen.method}, {outcome.iterations} iterations, "
              f"{len(experiment.geometry)} views",
              AXES_LABEL, "origin: the tilt axis, at voxel "
              + " ".join(f"{index:g}" for index in experiment.axis_voxel),
              f"hand: {experiment.hand}"]
    write_volume(path, outcome.volume, voxel_size=experiment.voxel_size, origin=experiment.origin, labels=labels)


def describe(args, experiment: Experiment, chosen: methods.Options, steps: Preprocessing, subsets: list[int],
             need: int) -> None:
    """The plan, in a few lines on stderr; more with --dry-run or --verbose."""
    geometry = experiment.geometry
    nz, ny, nx = experiment.volume_shape
    level = 1 if args.dry_run else 2
    common.say(f"{len(geometry)} views of {len(experiment.stacks)} stack(s), {geometry.image_shape[1]} x "
               f"{geometry.image_shape[0]} pixels of {experiment.voxel_size:g} A -> {nx} x {ny} x {nz} voxels; "
               f"{chosen.method}", args)
    common.say(f"hand: {experiment.hand}", args, level=level)
    on = [name for name, value in vars(steps).items()
          if value and name != "counts" and (name != "binning" or value > 1)]
    if on or args.dry_run or args.verbose:
        common.say(f"preprocessing: {', '.join(on) or 'none'}", args)
    if subsets:
        common.say(f"{len(subsets)} subsets of {min(subsets)} to {max(subsets)} views", args, level=level)
    common.say(f"about {need / 1e9:.2f} GB of memory; {nx * ny * nz * len(geometry) / 1e9:.3f} G voxel-views per "
               "projection of all views", args, level=level)
    for index, stack in enumerate(experiment.stacks):
        views = ", ".join(str(view + 1) for of, view in experiment.excluded if of == index)
        if views:
            common.say(f"{stack.header.path}: left out, counted from 1: {views}", args)


def write_report(folder: Path, args, record: RunRecord, experiment: Experiment, outcome) -> None:
    content = record.content
    quality, performance = content["quality"], content["performance"]
    method = content["parameters"]["method"]
    steps = content["parameters"]["preprocessing"]
    summary = [
        ("Stacks", ", ".join(str(path) for path in args.stacks)),
        ("Volume", f"{args.output} ({' x '.join(map(str, experiment.volume_shape[::-1]))} voxels of "
                   f"{experiment.voxel_size:g} Å)"),
        ("Method", f"{method}: {methods.METHODS[method]}; {outcome.iterations} iterations"),
        ("Views", f"{len(experiment.geometry)}; {len(experiment.excluded)} excluded"),
        ("Origin", f"first voxel at ({', '.join(f'{x:g}' for x in experiment.origin)}) Å from the tilt axis"),
        ("Hand", experiment.hand),
        ("NCC with the views", f"{quality['ncc_fitted']:.4f}"),
    ]
    if quality["ncc_held_out"] is not None:
        summary.append(("NCC with held-out views", f"{quality['ncc_held_out']:.4f}"))
    if quality["ncc_held_out_band"] is not None:
        longest, shortest = quality["band_angstrom"]
        summary.append((f"the same, {longest:g} to {shortest:g} Å", f"{quality['ncc_held_out_band']:.4f}"))
    summary.append(("Time", f"{performance['seconds']:.1f} s, {performance['cpu_seconds']:.1f} CPU-s; "
                            f"{performance['gups']:.2f} giga voxel-view updates/s on {performance['threads']} threads"))
    dark = steps["normalize"] or steps["log"]
    sections = [
        report.slices({method: outcome.volume}, voxel_size=experiment.voxel_size,
                      matter_high=bool(steps["invert"]) or not dark),
        report.ncc_against_tilt({method: quality["views"]}, stacks=[path.name for path in args.stacks]),
    ]
    if len(outcome.trace.relative_change) > 1:
        sections.append(report.history({method: outcome.trace.relative_change}, logarithmic=True))
    if outcome.judged and len(outcome.judged.ncc_held_out) > 1:
        sections.append(report.history({method: outcome.judged.ncc_held_out}, ylabel="NCC with held-out views",
                                       heading="Stopping"))
    sections.append(report.table("Stages", ["stage", "seconds", "CPU seconds"], [
        [name, stage["seconds"], stage["cpu_seconds"]] for name, stage in content["stages"].items()]))
    sections.append(report.parameters(content["parameters"]))
    report.write_report(common.beside(folder / args.output.name, ".html"), title=args.output.name, summary=summary,
                        sections=sections)

