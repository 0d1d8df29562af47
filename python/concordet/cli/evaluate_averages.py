"""concordet evaluate average, classes, symmetry, snr, coverage: how good averages, poses and particles are."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from concordet import __version__, evaluation, report, rigid
from concordet.cli import common
from concordet.cli.evaluate_output import add_output, check_outputs, common_voxel_size, give, resolutions
from concordet.errors import InputError
from concordet.evaluation.averages import MASK_RADIUS
from concordet.io import MrcHeader, read_volume, write_volume
from concordet.io.particles import ParticleSet, Place, read_particles
from concordet.wedge import TiltRange, Weight, WeightVolume

# Rotations within this of the truth count as found.
FOUND_DEGREES = 15.0
# Correlation of a truth with itself turned, below which it has not the symmetry said; those that have it reach 0.999.
LEAST_SYMMETRY = 0.95
# Shells compared for it, as where the 2-fold axes are looked for.
SYMMETRY_BAND = 16
# A wedge may have a soft edge: part of its coefficients between nothing and all.
MOST_BETWEEN = 0.2


def add_average(kinds: Any) -> None:
    parser = kinds.add_parser(
        "average", help="an average, and its poses, against the truth",
        description="Correlation and FSC of a map with its truth, which is first carried onto it over all rotations "
                    "and shifts; errors of poses free of the frame they are in, modulo symmetry.")
    parser.set_defaults(run=run_average)
    parser.add_argument("map", type=Path, metavar="MAP")
    parser.add_argument("--truth", type=Path, required=True, metavar="TRUTH", help="a map of the same box")
    parser.add_argument("--fixed", action="store_true", help="compare the maps as they lie")
    parser.add_argument("--mask-radius", type=common.finite, default=MASK_RADIUS, metavar="PART",
                        help="hard sphere that MAP is cut to, in parts of the box")
    parser.add_argument("--max-shift", type=common.finite, metavar="A",
                        help="angstrom, furthest shift along each axis (default: a fifth of the box)")
    parser.add_argument("--voxel-size", type=common.finite, metavar="A", help="angstrom (default: from MAP's header)")
    parser.add_argument("--poses", type=Path, metavar="STAR", help="poses found, to be judged by --true-poses")
    parser.add_argument("--true-poses", type=Path, metavar="STAR",
                        help="true poses; particles are matched by the names of their images")
    parser.add_argument("--symmetry", default="C1", metavar="GROUP",
                        help="of the truth: Cn or Dn, n-fold axis along z; where the 2-fold axes of Dn lie is found in "
                             "TRUTH, which is checked to have the symmetry")
    parser.add_argument("--aligned-truth", type=Path, metavar="FILE.mrc", help="write the truth as carried onto MAP")
    add_output(parser)


def add_classes(kinds: Any) -> None:
    parser = kinds.add_parser(
        "classes", help="classes of particles against the truth",
        description="Confusion matrix, precision, recall and F1 under the best matching of class labels "
                    "(rlnClassNumber); particles are matched by the names of their images.")
    parser.set_defaults(run=run_classes)
    parser.add_argument("particles", type=Path, metavar="STAR")
    parser.add_argument("--truth", type=Path, required=True, metavar="STAR")
    add_output(parser)


def add_symmetry(kinds: Any) -> None:
    parser = kinds.add_parser(
        "symmetry", help="how well a map has an n-fold axis",
        description="Symmetry score: mean correlation of all pairs of the n copies of a map turned by multiples of "
                    "360/n degrees about an axis; 1 for perfect symmetry.")
    parser.set_defaults(run=run_symmetry)
    parser.add_argument("map", type=Path, metavar="MAP")
    parser.add_argument("--fold", type=common.positive_int, required=True, metavar="N")
    parser.add_argument("--axis", type=common.finite, nargs=3, default=(0.0, 0.0, 1.0), metavar=("X", "Y", "Z"),
                        help="direction of the axis, through the centre of the box (default: 0 0 1)")
    parser.add_argument("--axis-within", type=common.not_negative, default=0.0, metavar="DEG",
                        help="find the best axis within so many degrees, and up to 3 voxels off the centre "
                             "(default: 0, take --axis as it is)")
    _add_sphere(parser, "default: 0.84 of the box")
    parser.add_argument("--voxel-size", type=common.finite, metavar="A", help="angstrom (default: from the header)")
    add_output(parser)


def add_snr(kinds: Any) -> None:
    parser = kinds.add_parser(
        "snr", help="signal-to-noise ratio of aligned particles",
        description="SNR, the variance of the signal over that of the noise in the whole box before the missing wedge, "
                    "from the correlation rho of all pairs of aligned particles where both measured, rho / (1 - rho) "
                    "[Frank and Al-Ali 1975]. Needs poses in the STAR file, two particles or more of one molecule, "
                    "and weights of zeros and ones: data with a CTF (raw, premultiplied) are refused, for it changes "
                    "the signal. To be trusted up to SNR 1, where it is within 10 %; above, interpolation of fine "
                    "detail passes for noise, up to 18 % at SNR 3 and 35 % at SNR 8, and of SNR 100 as little as 14 is "
                    "seen.")
    parser.set_defaults(run=run_snr)
    parser.add_argument("particles", type=Path, metavar="PARTICLES.star")
    parser.add_argument("--class", dest="label", type=common.natural, metavar="N",
                        help="particles of this rlnClassNumber only (default: all)")
    _add_wedge(parser)
    _add_sphere(parser, "default: the whole box, as simulators define the SNR")
    add_output(parser)


def add_coverage(kinds: Any) -> None:
    parser = kinds.add_parser(
        "coverage", help="what part of Fourier space a set of poses covers",
        description="How many particles measured each direction of Fourier space in the frame of the average, the "
                    "direction measured least, and maps of both coverage and orientations (--report).")
    parser.set_defaults(run=run_coverage)
    parser.add_argument("particles", type=Path, metavar="PARTICLES.star")
    _add_wedge(parser)
    add_output(parser)


def _add_wedge(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("missing wedge (default: the particles' rlnCtfImage)")
    which = group.add_mutually_exclusive_group()
    which.add_argument("--tilt-range", type=common.finite, nargs=2, metavar=("LOW", "HIGH"),
                       help="degrees, beam along z")
    which.add_argument("--wedge", type=Path, metavar="FILE.mrc", help="one weight volume for all particles")
    group.add_argument("--tilt-axis", choices=("x", "y", "z"), default="y", help="of --tilt-range")


def _add_sphere(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--mask-diameter", type=common.finite, metavar="A",
                        help=f"angstrom, of a soft sphere about the centre ({default})")
    parser.add_argument("--resolution", type=common.finite, metavar="A",
                        help="angstrom: compare up to this resolution only (default: Nyquist)")


def run_average(args: argparse.Namespace) -> int:
    if (args.poses is None) != (args.true_poses is None):
        given, lacking = ("--poses", "--true-poses") if args.poses else ("--true-poses", "--poses")
        raise InputError(f"{given}: expected {lacking} beside it, got none")
    if not 0 < args.mask_radius <= 0.5:
        raise InputError(f"--mask-radius: expected above 0 and up to 0.5 of the box, got {args.mask_radius:g}")
    group = rigid.symmetry_group(args.symmetry)
    check_outputs(args, [args.map, args.truth, args.poses, args.true_poses], [args.aligned_truth])
    volume, header = read_cube(args.map)
    truth, other = read_cube(args.truth)
    if truth.shape != volume.shape:
        raise InputError(f"{args.truth}: expected a box of {len(volume)} voxels as in {args.map}, got {len(truth)}")
    voxel_size = common_voxel_size(args, [header, other])
    if args.max_shift is not None and not (args.max_shift >= 0 and voxel_size):
        raise InputError(f"--max-shift: expected 0 or more angstrom and a known voxel size, got {args.max_shift:g} and "
                         f"{voxel_size:g}")
    stars = [read_particles(path, check_files=False) for path in (args.poses, args.true_poses) if path]
    pairs = matched_particles(*stars) if stars else None
    for star in stars:
        if not star.has_poses:
            raise InputError(f"{star.path}: expected poses (rlnAngleRot ... rlnOriginXAngst), got none")
    aligned = evaluation.align(
        volume, truth, mask_radius=args.mask_radius, fixed=args.fixed, threads=common.threads(args),
        max_shift=None if args.max_shift is None else args.max_shift / voxel_size)
    frequencies, curve = evaluation.fsc(aligned.masked, aligned.moved)
    figures: dict[str, Any] = {
        "correlation": aligned.correlation,
        "sharp_correlation": aligned.sharp_correlation,
        **resolutions(frequencies, curve, voxel_size),
        "cycles_per_voxel": frequencies.tolist(),
        "fsc": curve.tolist(),
        "rotation": aligned.rotation.tolist(),
        "rotation_relion_degrees": rigid.to_relion(aligned.rotation).tolist(),
        "shift_voxels": aligned.shift.tolist(),
        "mask_radius": args.mask_radius,
        "aligned": not args.fixed,
    }
    judged: list[JudgedClass] = []
    if pairs or len(group) > 1:
        group, figures["symmetry"] = truth_symmetry(args, truth, group)
    if pairs:
        judged = judge_poses(pairs, group)
        figures |= pose_figures(judged, len(pairs[0]), voxel_size)

    def sections() -> list[report.Section]:
        pictures = [
            report.slices({"map": aligned.masked, "truth": aligned.moved}, voxel_size=voxel_size,
                          heading="Map and truth",
                          notes={"map": "in its mask", "truth": "" if args.fixed else "carried onto the map"}),
            report.fsc({"with the truth": (frequencies, curve)}, voxel_size=voxel_size or 1.0),
        ]
        if pairs:
            pictures += pose_pictures(judged, args.symmetry.strip().upper())
            pictures.append(report.angular_distribution(pairs[0].poses.rotations, heading="Orientations found"))
        return pictures

    if args.aligned_truth:
        write_volume(args.aligned_truth, aligned.moved, voxel_size=voxel_size,
                     labels=[f"Concordet {__version__}: {args.truth.name[:30]} carried onto {args.map.name[:30]}"])
    return give(args, figures, f"{args.map.name} against {args.truth.name}", sections)


class JudgedClass(NamedTuple):
    """Errors of the poses of one class found."""

    label: int
    errors: evaluation.PoseErrors


def truth_symmetry(args: argparse.Namespace, truth: np.ndarray, group: np.ndarray
                   ) -> tuple[np.ndarray, dict[str, Any]]:
    """Rotations of --symmetry as the truth has them, and how well it has them; a warning where it has not.

    group   of --symmetry, 2-fold axis along x
    """
    name = args.symmetry.strip().upper()
    fold, threads = int(name[1:]), common.threads(args)
    symmetry: dict[str, Any] = {"group": name}
    found = []
    if fold > 1:
        symmetry["n_fold_score"] = evaluation.symmetry_score(truth, fold, band=SYMMETRY_BAND, threads=threads)
        found.append((symmetry["n_fold_score"], f"the {fold}-fold axis, z"))
    if name[0] == "D":
        azimuth, correlation = evaluation.dihedral_azimuth(truth, fold, threads=threads)
        group = evaluation.dihedral_group(fold, azimuth)
        symmetry |= {"two_fold_azimuth_degrees": azimuth, "two_fold_correlation": correlation}
        found.append((correlation, "the best 2-fold axis across it"))
    if min((value for value, _ in found), default=1.0) < LEAST_SYMMETRY:
        figures = " and ".join(f"{value:.2f} about {axis}" for value, axis in found)
        warnings.warn(f"{args.truth}: expected symmetry {name} (--symmetry), got a correlation with itself turned of "
                      f"{figures}; at least {LEAST_SYMMETRY:g} would be it", stacklevel=2)
    return group, symmetry


def judge_poses(pairs: tuple[ParticleSet, ParticleSet], group: np.ndarray) -> list[JudgedClass]:
    """Errors of the poses of each class found, in the frame that it chose, modulo the rotations `group`."""
    found, true = pairs
    judged = [JudgedClass(label, evaluation.pose_errors(found.poses[chosen], true.poses[chosen], group))
              for label, chosen in _same_class(found, true).items()]
    if not judged:
        raise InputError(f"{found.path}: expected particles in classes that stand for those of {true.path}, got none")
    return judged


def pose_figures(judged: Sequence[JudgedClass], particles: int, voxel_size: float) -> dict[str, Any]:
    """Errors of all poses, and class by class."""
    def of(degrees: np.ndarray, voxels: np.ndarray) -> dict[str, Any]:
        shift = {"mean": float(voxels.mean()), "median": float(np.median(voxels))}
        return {
            "particles": len(degrees),
            "pose_error_degrees": {"mean": float(degrees.mean()), "median": float(np.median(degrees)),
                                   "within_15": float((degrees <= FOUND_DEGREES).mean())},
            "shift_error_voxels": shift,
            "shift_error_angstrom": {key: voxel_size * value for key, value in shift.items()} if voxel_size else None,
        }

    degrees = np.concatenate([one.errors.degrees for one in judged])
    return {**of(degrees, np.concatenate([one.errors.voxels for one in judged])),
            "particles_of_other_classes": particles - len(degrees),
            "classes": [{"class": label, **of(errors.degrees, errors.voxels),
                         "frame_rotation": errors.rotation.tolist(), "frame_shift_voxels": errors.offset.tolist()}
                        for label, errors in judged]}


def pose_pictures(judged: Sequence[JudgedClass], symmetry: str) -> list[report.Section]:
    """Distributions of the errors, and a table."""
    named = {f"class {label}" if len(judged) > 1 else "particles": errors for label, errors in judged}
    rows = [[name, len(errors.degrees), float(errors.degrees.mean()), float(np.median(errors.degrees)),
             errors.within(FOUND_DEGREES), float(np.median(errors.voxels))] for name, errors in named.items()]
    return [
        report.cumulative({name: errors.degrees for name, errors in named.items()}, xlabel="rotation error (degrees)",
                          marks=[FOUND_DEGREES], heading="Errors of rotations",
                          caption=f"After the best global alignment, modulo {symmetry}. The line marks "
                                  f"{FOUND_DEGREES:g} degrees."),
        report.cumulative({name: errors.voxels for name, errors in named.items()}, xlabel="shift error (voxels)",
                          heading="Errors of shifts"),
        report.table("Errors of poses", ["", "particles", "mean (degrees)", "median (degrees)",
                                         f"within {FOUND_DEGREES:g} degrees", "median shift (voxels)"], rows),
    ]


def _same_class(found: ParticleSet, true: ParticleSet) -> dict[int, np.ndarray]:
    """Particles of each class found that belong to the true class it stands for: poses of others have no truth here.

    All particles where one of the sets has no classes.
    """
    if found.classes is None or true.classes is None:
        return {1: np.arange(len(found))}
    match = evaluation.match_classes(found.classes, true.classes)
    groups = {}
    for label, column in zip(match.true_labels, match.matched, strict=True):
        if column >= 0:
            chosen = np.flatnonzero((true.classes == label) & (found.classes == match.labels[column]))
            if len(chosen):
                groups[int(match.labels[column])] = chosen
    return groups


def run_classes(args: argparse.Namespace) -> int:
    check_outputs(args, [args.particles, args.truth])
    stars = [read_particles(path, check_files=False) for path in (args.particles, args.truth)]
    for star in stars:
        if star.classes is None:
            raise InputError(f"{star.path}: expected classes (rlnClassNumber), got none")
    found, true = matched_particles(*stars)
    assert found.classes is not None and true.classes is not None
    match = evaluation.match_classes(found.classes, true.classes)
    columns = [int(match.labels[column]) if column >= 0 else None for column in match.matched]
    per_class = [{"true_class": int(label), "class": column, "precision": float(precision), "recall": float(recall),
                  "f1": float(f1), "particles": int(row.sum())}
                 for label, column, precision, recall, f1, row in zip(
                     match.true_labels, columns, match.precision, match.recall, match.f1, match.confusion, strict=True)]
    figures = {"f1": match.macro_f1, "precision": float(match.precision.mean()), "recall": float(match.recall.mean()),
               "accuracy": match.accuracy, "particles": len(found), "classes": per_class,
               "true_labels": match.true_labels.tolist(), "labels": match.labels.tolist(),
               "confusion": match.confusion.tolist()}
    order = [int(column) for column in match.matched if column >= 0]
    order += [column for column in range(len(match.labels)) if column not in order]

    def sections() -> list[report.Section]:
        return [
            report.confusion(match.confusion[:, order], [str(label) for label in match.true_labels],
                             [str(match.labels[column]) for column in order],
                             caption="Numbers of particles. Classes found stand in the order of the true classes "
                                     "that they were matched to."),
            report.table("Per class", ["true class", "class found", "particles", "precision", "recall", "F1"],
                         [[str(one["true_class"]), str(one["class"]), one["particles"], one["precision"], one["recall"],
                           one["f1"]] for one in per_class]),
        ]

    return give(args, figures, f"Classes of {args.particles.name}", sections)


def run_symmetry(args: argparse.Namespace) -> int:
    check_outputs(args, [args.map])
    if args.fold < 2:
        raise InputError(f"--fold: expected 2 or more, got {args.fold}")
    if args.axis_within > 90:
        raise InputError(f"--axis-within: expected 0 to 90 degrees, got {args.axis_within:g}")
    volume, header = read_cube(args.map)
    voxel_size = common_voxel_size(args, [header])
    diameter, band = _sphere(args, voxel_size, len(volume))
    masked = volume * evaluation.soft_sphere(volume.shape, diameter or 2 * MASK_RADIUS * len(volume))
    threads = common.threads(args)
    axis, centre = np.array(args.axis), np.zeros(3)
    if args.axis_within:
        axis, centre = evaluation.symmetry_axis(masked, args.fold, axis=args.axis, within=args.axis_within,
                                                threads=threads)
    folds = [fold for fold in (args.fold - 1, args.fold, args.fold + 1) if fold >= 2]
    scores = {fold: evaluation.symmetry_score(masked, fold, axis=axis, centre=centre, band=band, threads=threads)
              for fold in folds}
    given = np.array(args.axis) / np.linalg.norm(args.axis)
    figures = {
        "symmetry_score": scores[args.fold], "fold": args.fold,
        "axis": (np.asarray(axis) / np.linalg.norm(axis)).tolist(), "centre_voxels": centre.tolist(),
        "axis_moved_degrees": float(np.degrees(np.arccos(np.clip(given @ axis / np.linalg.norm(axis), -1, 1)))),
        "other_folds": {str(fold): value for fold, value in scores.items() if fold != args.fold},
    }

    def sections() -> list[report.Section]:
        return [
            report.slices({args.map.name: masked}, voxel_size=voxel_size, heading="Map in its mask"),
            report.ncc_bars({f"{fold}-fold": value for fold, value in scores.items()}, label="symmetry score",
                            heading="Symmetry score", caption="Mean correlation of all pairs of turned copies. "
                            "Neighbouring folds show what the shape alone gives."),
        ]

    return give(args, figures, f"Symmetry of {args.map.name}", sections)


def run_snr(args: argparse.Namespace) -> int:
    particles = _one_molecule(args, _read_posed(args, check_files=True))
    if len(particles) < 2:
        raise InputError(f"{args.particles}: expected two aligned particles or more, got {len(particles)}")
    diameter, band = _sphere(args, particles.voxel_size, particles.box)
    progress = common.ProgressLines(args)
    place_of = particles.weight_paths or (None,) * len(particles)
    kept: dict[Any, Weight] = {}

    def weights() -> Iterator[Weight]:
        for particle, place in enumerate(place_of):
            if place not in kept:
                kept.clear()                      # particles of one tomogram follow each other; one volume at a time
                kept[place] = _binary(_weight(args, particles, particle),
                                      args.wedge or (None if place is None else _file(place)))
            yield kept[place]

    found = evaluation.signal_to_noise(
        (particles.volume(particle) for particle in range(len(particles))), weights(), particles.poses, particles.box,
        mask_diameter=diameter, band=band, threads=common.threads(args),
        on_particle=lambda done: progress("reading particles", done, len(particles)))
    progress.close()
    figures = {
        "snr": found.snr, "snr_standard_error": found.standard_error, "correlation": found.correlation,
        "snr_within_band": found.snr_within_band, "particles": len(particles), "box": particles.box,
        "snr_per_shell": found.shells.tolist(),
    }

    def sections() -> list[report.Section]:
        return [report.history(
            {"particles": found.shells}, xlabel="shell (1 / box)", ylabel="SNR", logarithmic=True,
            heading="SNR per shell",
            caption=f"Signal over noise in each shell of Fourier space; shell k is at {particles.box} x "
                    f"{particles.voxel_size:g} / k A. Shells whose estimate is not above 0, or that "
                    "have next to no noise, are left out.")]

    return give(args, figures, f"Signal and noise of {args.particles.name}", sections)


def run_coverage(args: argparse.Namespace) -> int:
    particles = _read_posed(args, check_files=not (args.tilt_range or args.wedge))
    box = particles.box or 64
    places: dict[Any, int] = {}
    index = np.zeros(len(particles), int)
    if particles.weight_paths is not None and not (args.tilt_range or args.wedge):
        index = np.array([places.setdefault(place, len(places)) for place in particles.weight_paths])
    firsts = np.unique(index, return_index=True)[1]
    rotations = particles.poses.rotations
    coverage = evaluation.fourier_coverage(rotations, (_weight(args, particles, int(first)) for first in firsts), box,
                                           wedge_index=index)
    worst = coverage.worst
    figures = {
        "least_covered": float(coverage.seen.min()), "mean_coverage": float(coverage.seen.mean()),
        "most_covered": float(coverage.seen.max()), "sampling_compensation_factor": coverage.sampling_compensation,
        "worst_direction": worst.tolist(),
        "worst_azimuth_degrees": float(np.degrees(np.arctan2(worst[1], worst[0]))),
        "worst_angle_to_z_degrees": float(np.degrees(np.arccos(np.clip(worst[2], -1, 1)))),
        "not_covered": float((coverage.seen == 0).mean()), "particles": len(particles),
    }

    def sections() -> list[report.Section]:
        return [
            report.fourier_coverage(coverage.directions, coverage.seen, worst=worst),
            report.angular_distribution(particles.tomogram_poses().rotations),
        ]

    return give(args, figures, f"Coverage of {args.particles.name}", sections)


def read_cube(path: Path) -> tuple[np.ndarray, MrcHeader]:
    """A volume with three equal sides, not constant, and its header."""
    volume, header = read_volume(path)
    if len(set(volume.shape)) > 1 or len(volume) < 8:
        raise InputError(f"{path}: expected a cubic volume of 8 voxels a side or more, got {volume.shape} (z, y, x)")
    if volume.min() == volume.max():
        raise InputError(f"{path}: expected a map, got {volume.flat[0]:g} in every voxel")
    return volume, header


def matched_particles(found: ParticleSet, true: ParticleSet) -> tuple[ParticleSet, ParticleSet]:
    """The same particles of both sets, in the order of `found`, by the names of their images.

    The last part of the path decides, or as many as tell the particles of each set apart. InputError where a particle
    of `found` is not in `true`; a warning where some of `true` are not in `found`.
    """
    deepest = max(len(_file(place).parts) for star in (found, true) for place in star.paths)
    for depth in range(1, deepest + 1):
        names = [[_short_name(place, depth) for place in star.paths] for star in (found, true)]
        if all(len(set(one)) == len(one) for one in names):
            break
    else:
        star, one = next((star, one) for star, one in zip((found, true), names, strict=True)
                         if len(set(one)) < len(one))
        raise InputError(f"{star.path}: expected every particle once, got {next(n for n in one if one.count(n) > 1)} "
                         "twice")
    at = {name: index for index, name in enumerate(names[1])}
    missing = [name for name in names[0] if name not in at]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"{true.path}: expected the particles of {found.path}, got none named {missing[0]}{more}")
    if len(true) > len(found):
        warnings.warn(f"{found.path}: {len(true) - len(found)} particles of {true.path} are not in it and not judged",
                      stacklevel=2)
    return found, true.select([at[name] for name in names[0]])


def _file(place: Place) -> Path:
    return place if isinstance(place, Path) else place[1]


def _short_name(place: Place, depth: int) -> str:
    name = "/".join(_file(place).parts[-depth:])
    return name if isinstance(place, Path) else f"{place[0]}@{name}"


def _read_posed(args: argparse.Namespace, *, check_files: bool) -> ParticleSet:
    check_outputs(args, [args.particles, args.wedge])
    if args.tilt_range:
        low, high = args.tilt_range
        if not -90 <= low < high <= 90:
            raise InputError(f"--tilt-range: expected low < high, from -90 to 90 degrees, got {low:g} {high:g}")
    particles = read_particles(args.particles, check_files=check_files)
    if not particles.has_poses:
        raise InputError(f"{args.particles}: expected poses (rlnAngleRot ... rlnOriginXAngst), got none")
    if particles.weight_paths is None and not (args.tilt_range or args.wedge):
        raise InputError(f"{args.particles}: expected weights (rlnCtfImage), or --tilt-range or --wedge, got none")
    return particles


def _one_molecule(args: argparse.Namespace, particles: ParticleSet) -> ParticleSet:
    """Those of --class, each once, without a CTF; a warning where they are of several classes."""
    if particles.ctf != "binary":
        raise InputError(f"{args.particles}: expected binary weights (rlnCtfImage of zeros and ones), got those of "
                         f"{particles.ctf} data with a CTF, of which the SNR before the wedge cannot be told")
    if particles.classes is None:
        if args.label is not None:
            raise InputError(f"{args.particles}: expected classes (rlnClassNumber) for --class, got none")
    else:
        labels = np.unique(particles.classes).tolist()
        if args.label is not None:
            if args.label not in labels:
                raise InputError(f"--class: expected one of the classes of {args.particles}, "
                                 f"{' '.join(map(str, labels))}, got {args.label}")
            particles = particles.select(particles.classes == args.label)
        elif len(labels) > 1:
            warnings.warn(f"{args.particles}: particles of {len(labels)} classes are taken for one molecule; --class "
                          "takes one of them", stacklevel=2)
    seen = set()
    for place in particles.paths:
        key = place.resolve() if isinstance(place, Path) else (place[0], place[1].resolve())
        if key in seen:
            raise InputError(f"{args.particles}: expected every particle once, got {_short_name(place, 2)} twice")
        seen.add(key)
    return particles


def _binary(weight: Weight, path: Path | None) -> Weight:
    """The weight, unless it is a volume that is not of zeros and ones up to a scale and an edge."""
    if isinstance(weight, WeightVolume):
        values = weight.volume(weight.box)
        values = values / values.max()
        between = float(((values > 0.01) & (values < 0.99)).mean())
        if between > MOST_BETWEEN or values.min() < 0:
            raise InputError(f"{path}: expected binary weights, zeros and ones, got others in {between:.0%} of the "
                             "volume")
    return weight


def _weight(args: argparse.Namespace, particles: ParticleSet, particle: int) -> Weight:
    """The weight of one particle, as the flags or its file have it."""
    if args.tilt_range:
        return TiltRange(args.tilt_range[0], args.tilt_range[1], args.tilt_axis)
    box = particles.box or None
    if args.wedge:
        values, name = read_volume(args.wedge)[0], args.wedge
        return WeightVolume.from_file_data(values, kind=particles.ctf, box=box, name=str(name))
    given = particles.weight(particle)
    assert given is not None and particles.weight_paths is not None
    name = _file(particles.weight_paths[particle])
    return WeightVolume.from_file_data(given, kind=particles.ctf, box=box, name=str(name))


def _sphere(args: argparse.Namespace, voxel_size: float, box: int) -> tuple[float | None, int | None]:
    """--mask-diameter in voxels and --resolution as a shell."""
    for flag, value in (("--mask-diameter", args.mask_diameter), ("--resolution", args.resolution)):
        if value is not None and not (value > 0 and voxel_size > 0):
            raise InputError(f"{flag}: expected more than 0 angstrom and a known voxel size, got {value:g} and "
                             f"{voxel_size:g}")
    if args.resolution is not None and args.resolution > box * voxel_size / 2:
        raise InputError(f"--resolution: expected finer than half the box, {box * voxel_size / 2:g} A, got "
                         f"{args.resolution:g}")
    if args.resolution is not None and args.resolution < 2 * voxel_size * (1 - 1e-3):
        raise InputError(f"--resolution: expected at least 2 voxels, {2 * voxel_size:g} A, got {args.resolution:g}")
    diameter = args.mask_diameter / voxel_size if args.mask_diameter is not None else None
    return diameter, int(box * voxel_size / args.resolution) if args.resolution is not None else None
