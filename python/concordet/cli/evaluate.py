"""concordet evaluate: how good a volume is; averages and particles are judged in evaluate_averages."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from concordet import evaluation, report
from concordet.cli import common, evaluate_averages, series
from concordet.cli.evaluate_output import add_output, check_outputs, common_voxel_size, give, resolutions
from concordet.errors import InputError
from concordet.io import read_volume
from concordet.projection import Projector, as_volume


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
    add_output(parser)

    parser = kinds.add_parser("fsc", help="Fourier shell correlation of two volumes",
                              description="Fourier shell correlation of two volumes of one size; with a mask also "
                                          "under it, and corrected for what the mask alone correlates, by random "
                                          "phases [Chen et al. 2013].")
    parser.set_defaults(run=run_fsc)
    parser.add_argument("volumes", type=Path, nargs=2, metavar="VOLUME")
    masks = parser.add_mutually_exclusive_group()
    masks.add_argument("--mask", type=Path, metavar="FILE.mrc", help="0 to 1, soft, of the same size")
    masks.add_argument("--mask-diameter", type=common.finite, metavar="A",
                       help="angstrom, of a sphere about the centre with a soft edge outside it")
    parser.add_argument("--mask-edge", type=common.not_negative, default=6.0, metavar="VOXELS",
                        help="width of the edge of --mask-diameter")
    parser.add_argument("--voxel-size", type=common.finite, metavar="A", help="angstrom (default: from the headers)")
    add_output(parser)

    evaluate_averages.add_average(kinds)
    evaluate_averages.add_classes(kinds)
    evaluate_averages.add_symmetry(kinds)
    evaluate_averages.add_snr(kinds)
    evaluate_averages.add_coverage(kinds)


def run_volume(args: argparse.Namespace) -> int:
    check_outputs(args, [args.volume, args.truth, *(args.against or ())])
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
    figures = {
        "correlation": evaluation.pearson(volume, truth, args.central),
        "central_part": args.central,
        "fsc_0.5_cycles_per_voxel": evaluation.crossing(frequencies, curve, 0.5),
        "fsc_0.5_angstrom": resolutions(frequencies, curve, voxel_size)["fsc_0.5_angstrom"],
    }

    def sections() -> list[report.Section]:
        pictures = [report.slices({"volume": volume, "truth": truth}, voxel_size=voxel_size, truth="truth")]
        if voxel_size:
            pictures.append(report.fsc({"with the truth": (frequencies, curve)}, voxel_size=voxel_size))
        return pictures

    return give(args, figures, f"{args.volume.name} against {args.truth.name}", sections)


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

    def sections() -> list[report.Section]:
        return [report.ncc_against_tilt({"volume": views}, stacks=[path.name for path in args.against])]

    return give(args, figures, f"{args.volume.name} against its views", sections, experiment.files)


def run_fsc(args: argparse.Namespace) -> int:
    check_outputs(args, [*args.volumes, args.mask])
    (a, header), (b, other) = (read_volume(path) for path in args.volumes)
    if a.shape != b.shape:
        raise InputError(f"{args.volumes[1]}: expected {a.shape} voxels (z, y, x) as in {args.volumes[0]}, "
                         f"got {b.shape}")
    for path, volume in zip(args.volumes, (a, b), strict=True):
        if volume.min() == volume.max():
            raise InputError(f"{path}: expected a volume of different values, got {volume.flat[0]:g} in every voxel")
    voxel_size = common_voxel_size(args, [header, other])
    mask = _fsc_mask(args, a.shape, voxel_size)
    frequencies, curve = evaluation.fsc(a, b)
    figures: dict[str, Any] = {**resolutions(frequencies, curve, voxel_size),
                               "cycles_per_voxel": frequencies.tolist(), "fsc": curve.tolist()}
    curves = {"no mask": (frequencies, curve)}
    if mask is not None:
        masked = evaluation.masked_fsc(a, b, mask, seed=args.seed)
        for name, values in (("masked", masked.masked), ("randomised", masked.randomised),
                             ("corrected", masked.corrected)):
            figures[name] = {**resolutions(frequencies, values, voxel_size), "fsc": values.tolist()}
        figures["phases_random_from_cycles_per_voxel"] = masked.cut
        curves |= {"masked": (frequencies, masked.masked), "masked, phases random": (frequencies, masked.randomised),
                   "corrected": (frequencies, masked.corrected)}

    def sections() -> list[report.Section]:
        names = ("A", "B") if args.volumes[0].name == args.volumes[1].name else [path.name for path in args.volumes]
        mean = (a + b) / 2
        pictures = [report.fsc(curves, voxel_size=voxel_size or 1.0),
                    report.slices({names[0]: a, names[1]: b, "their mean": mean}, voxel_size=voxel_size,
                                  heading="Half maps")]
        if mask is not None:
            pictures.append(report.slices({"mask": mask, "their mean in the mask": mean * mask},
                                          voxel_size=voxel_size, heading="Mask"))
        return pictures

    return give(args, figures, f"{args.volumes[0].name} and {args.volumes[1].name}", sections)


def _fsc_mask(args: argparse.Namespace, shape: tuple[int, ...], voxel_size: float) -> np.ndarray | None:
    """--mask or --mask-diameter as an array; None: neither."""
    if args.mask:
        mask, _ = read_volume(args.mask)
        if mask.shape != shape:
            raise InputError(f"{args.mask}: expected {shape} voxels (z, y, x) as in {args.volumes[0]}, "
                             f"got {mask.shape}")
        if mask.min() < -1e-3 or mask.max() > 1 + 1e-3 or not mask.any():
            raise InputError(f"{args.mask}: expected a mask of 0 to 1, got {mask.min():g} to {mask.max():g}")
        return mask
    if args.mask_diameter is None:
        return None
    if not (args.mask_diameter > 0 and voxel_size > 0):
        raise InputError(f"--mask-diameter: expected more than 0 angstrom and a known voxel size, got "
                         f"{args.mask_diameter:g} and {voxel_size:g}")
    diagonal = voxel_size * float(np.linalg.norm(shape))
    if args.mask_diameter > diagonal:
        raise InputError(f"--mask-diameter: expected at most the diagonal of the volumes, {diagonal:.4g} A, got "
                         f"{args.mask_diameter:g}")
    return evaluation.soft_sphere(shape, args.mask_diameter / voxel_size, args.mask_edge)
