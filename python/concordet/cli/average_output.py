"""What `concordet average` writes: maps, STAR files, record, page, and warnings of what looks wrong."""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from concordet import __version__, evaluation, geometry, rigid
from concordet.averaging import Result, Settings
from concordet.cli import common
from concordet.cli.average_input import Loaded
from concordet.cli.evaluate_averages import _file
from concordet.cli.evaluate_output import resolutions
from concordet.errors import InputError
from concordet.io import write_volume
from concordet.io.particles import ParticleSet, write_particles
from concordet.io.star import read_star, write_star
from concordet.record import RunRecord

# A direction of Fourier space that less than this part of the average number of particles measured: a wedge shows.
WEDGE_SHAPED = 0.25
# More than this part of the particles with their beam within so many degrees of one axis: poses pile up. Of uniform
# ones 6 % do.
PILED_UP, PILE_DEGREES = 0.5, 20.0
# Fewer particles than this lie unevenly by chance.
LEAST_TO_JUDGE = 10
# Of a class: fewer particles or a smaller part of all is a dead one.
DEAD_PARTICLES, DEAD_PART = 2.0, 0.01


@dataclass(frozen=True)
class ClassFigures:
    """What is told of one class.

    label           1, 2, ...
    particles       whose best class it is;   occupancy   sum of their posteriors, all particles
    frequencies, curve   FSC of its half maps, cycles per voxel, up to the shells compared
    coverage        of Fourier space, None without particles
    piled_up        part of its particles with the beam within PILE_DEGREES of one axis
    """

    label: int
    particles: np.ndarray
    occupancy: float
    frequencies: np.ndarray
    curve: np.ndarray
    coverage: evaluation.Coverage | None
    piled_up: float


def check_outputs(args: argparse.Namespace, star: ParticleSet) -> None:
    """Refuse a folder that cannot be written to, and outputs that would replace an input."""
    common.check_folder(args.output)
    if args.checkpoint is not None:
        common.check_folder(args.checkpoint)
        if args.checkpoint.resolve() == args.output.resolve():
            raise InputError(f"{args.checkpoint}: expected a folder of its own for checkpoints, got that of the output")
    inputs = [args.particles, args.mask, args.wedge, *(args.reference or ()),
              *{_file(place) for place in (*star.paths, *(star.weight_paths or ()))}]
    common.refuse_inputs([args.output / name for name in output_names(args)], inputs)


def output_names(args: argparse.Namespace) -> list[str]:
    names = ["particles.star", "fsc.star", "average.json", *(["average.html"] if args.report else [])]
    return names + [f"class_{k:03d}{half}.mrc" for k in range(1, args.classes + 1)
                    for half in ("", "_half1", "_half2")]


def write_all(args: argparse.Namespace, record: RunRecord, loaded: Loaded, settings: Settings, result: Result,
              page: Callable[..., None]) -> None:
    """Everything in the folder, whole or not at all. page(path, args, record, loaded, result, classes) writes HTML."""
    star = loaded.star
    with record.stage("judge"):
        classes = [figures_of(k, loaded, settings, result) for k in range(settings.classes)]
    warn_of(classes, len(star))
    for path in dict.fromkeys([args.particles, *(args.reference or ()), *filter(None, (args.mask, args.wedge))]):
        record.add_input(path)
    record.content["particles"] = {
        "count": len(star), "box": star.box, "voxel_size": star.voxel_size, "kind": star.ctf, "weights":
        len(loaded.weights), "sha256_of_coefficients": loaded.digest,
        "scales": None if loaded.scales is None else loaded.scales.tolist()}
    record.content["geometry"] = {"convention": f"{geometry.AXES_LABEL}; origins at n // 2", "hand": "that of the "
                                  "particles"}
    record.content["settings"] = asdict(settings)
    record.content["quality"] = quality(star, result, classes)
    with common.together(args.output) as folder, record.stage("write"):
        write_maps(folder, star, result)
        write_poses(folder, star, result)
        write_fsc(folder / "fsc.star", star, classes)
        record.content["performance"] = record.performance()
        if args.report:
            page(folder / "average.html", args, record, loaded, result, classes)
        record.write(folder / "average.json")
    for one in classes:
        reached = resolutions(one.frequencies, one.curve, star.voxel_size)["fsc_0.143_angstrom"]
        if reached is None:
            reached = star.box * star.voxel_size / result.model.band
        common.say(f"class {one.label}: {len(one.particles)} particles, half maps agree to {reached:.1f} A (FSC 0.143)",
                   args)
    common.say(f"{args.output}: {len(result.history)} iterations, "
               f"{record.content['performance']['cpu_seconds']:.1f} CPU-s", args)


def figures_of(k: int, loaded: Loaded, settings: Settings, result: Result) -> ClassFigures:
    chosen = np.flatnonzero(result.classes == k)
    # Beyond the shells compared there is only what the mask spreads over, which agrees.
    frequencies, curve = (values[:result.model.band + 1] for values in evaluation.fsc(*result.halves[k]))
    coverage, piled = None, 0.0
    if len(chosen):
        group = rigid.symmetry_group(settings.symmetry)
        rotations = (result.poses.rotations[chosen][:, None] @ group).reshape(-1, 3, 3)
        index = np.repeat(loaded.data.weight_index[chosen], len(group))
        coverage = evaluation.fourier_coverage(rotations, loaded.weights, loaded.star.box, wedge_index=index)
        piled = piled_up(result.poses.rotations[chosen])
    return ClassFigures(k + 1, chosen, float(result.posterior[:, k].sum()), frequencies, curve, coverage, piled)


def piled_up(rotations: np.ndarray) -> float:
    """The largest part of the beam directions, both ends alike, within PILE_DEGREES of one of them."""
    beams = evaluation.beam_directions(rotations)
    centres = beams[:: max(1, len(beams) // 1000)]
    return float((np.abs(centres @ beams.T) >= np.cos(np.radians(PILE_DEGREES))).mean(axis=1).max())


def warn_of(classes: Sequence[ClassFigures], count: int) -> None:
    for one in classes:
        name = f"class {one.label}"
        if one.occupancy < max(DEAD_PARTICLES, DEAD_PART * count) and count >= DEAD_PARTICLES:
            warnings.warn(f"{name}: died out, {one.occupancy:.2g} of {count} particles are left in it", stacklevel=1)
            continue
        if one.coverage is not None:
            least = float(one.coverage.seen.min() / max(one.coverage.seen.mean(), 1e-30))
            if least < WEDGE_SHAPED:
                warnings.warn(f"{name}: looks wedge-shaped, {one.coverage.seen.min():.0%} of its particles measured "
                              "the direction of Fourier space seen least, "
                              f"{one.coverage.seen.mean():.0%} on average", stacklevel=1)
        if len(one.particles) >= LEAST_TO_JUDGE and one.piled_up > PILED_UP:
            warnings.warn(f"{name}: poses pile up, {one.piled_up:.0%} of its particles are seen within "
                          f"{PILE_DEGREES:g} degrees of one direction; see --level", stacklevel=1)


def quality(star: ParticleSet, result: Result, classes: Sequence[ClassFigures]) -> dict[str, Any]:
    extent = star.box * star.voxel_size
    iterations = []
    for one in result.history:
        per_class = zip(one.occupancies, one.resolution_shell, strict=True)
        iterations.append({
            "iteration": one.iteration + 1, "shells": one.band, "shells_angstrom": extent / one.band,
            "log_likelihood": one.log_likelihood, "xi_voxels": one.xi, "rotation_change_degrees": one.rotation_change,
            "shift_change_voxels": one.shift_change, "effective_poses": one.effective_poses,
            "cpu_seconds": one.seconds,
            "classes": [{"class": label, "occupancy": occupancy,
                         "fsc_0.143_angstrom": extent / shell if shell else None}
                        for label, (occupancy, shell) in enumerate(per_class, 1)]})
    return {
        "iterations": iterations,
        "classes": [{
            "class": one.label, "particles": len(one.particles), "occupancy": one.occupancy,
            **resolutions(one.frequencies, one.curve, star.voxel_size),
            "least_covered": None if one.coverage is None else float(one.coverage.seen.min()),
            "mean_coverage": None if one.coverage is None else float(one.coverage.seen.mean()),
            "within_20_degrees_of_one_beam": one.piled_up,
        } for one in classes],
        "sigma2": result.model.sigma2.tolist(), "xi_voxels": result.model.xi,
        "mean_posterior": float(result.posterior.max(axis=1).mean()), "mean_entropy": float(result.entropy.mean()),
    }


def write_maps(folder: Path, star: ParticleSet, result: Result) -> None:
    for k in range(len(result.model.volumes)):
        for name, volume in (("", result.model.volumes[k]), ("_half1", result.halves[k, 0]),
                             ("_half2", result.halves[k, 1])):
            write_volume(folder / f"class_{k + 1:03d}{name}.mrc", volume, voxel_size=star.voxel_size,
                         labels=[f"Concordet {__version__}: average, class {k + 1}{name.replace('_', ', ')}",
                                 geometry.AXES_LABEL])


def write_poses(folder: Path, star: ParticleSet, result: Result) -> None:
    """particles.star; image names are relative to the folder that `folder` lies in."""
    rows = np.arange(len(star))
    columns = {
        **star.columns,
        "rlnMaxValueProbDistribution": [f"{value:.6f}" for value in result.posterior[rows, result.classes]],
        "rlnLogLikeliContribution": [f"{value:.6f}" for value in result.log_likelihoods],
        # As many poses alike would have this entropy; the entropy itself RELION has no label for, and passes over.
        "rlnNrOfSignificantSamples": [str(max(1, round(float(np.exp(value))))) for value in result.entropy],
        "concordetEntropy": [f"{max(value, 0.0):.6f}" for value in result.entropy],
    }
    path = folder / "particles.star"
    write_particles(path, replace(star, poses=result.poses, has_poses=True, classes=result.classes + 1,
                                  columns=columns))
    blocks: dict[str, Any] = {name: block.columns or block.pairs for name, block in read_star(path).items()}
    for label in ("rlnImageName", "rlnCtfImage"):
        if label in blocks["particles"]:
            blocks["particles"][label] = [re.sub(r"^(\d+@)?\.\./", r"\1", name)
                                          for name in blocks["particles"][label]]
    write_star(path, blocks)


def write_fsc(path: Path, star: ParticleSet, classes: Sequence[ClassFigures]) -> None:
    """data_fsc of the only class, or data_fsc_class_001 ..."""
    extent = star.box * star.voxel_size
    blocks: dict[str, Any] = {}
    for one in classes:
        blocks["fsc" if len(classes) == 1 else f"fsc_class_{one.label:03d}"] = {
            "rlnSpectralIndex": [str(shell) for shell in range(len(one.curve))],
            "rlnResolution": [f"{frequency / star.voxel_size:.8f}" for frequency in one.frequencies],
            "rlnAngstromResolution": [f"{extent / shell if shell else 999.0:.6f}" for shell in range(len(one.curve))],
            "rlnFourierShellCorrelation": [f"{value:.6f}" for value in one.curve],
        }
    write_star(path, blocks)
