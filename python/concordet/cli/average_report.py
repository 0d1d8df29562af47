"""The page of `concordet average`: every class in pictures, and how the iterations went."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from concordet import report
from concordet.averaging import Progress, Result
from concordet.cli.average_input import Loaded
from concordet.cli.average_output import ClassFigures
from concordet.record import RunRecord


def write_report(path: Path, args: argparse.Namespace, record: RunRecord, loaded: Loaded, result: Result,
                 classes: Sequence[ClassFigures]) -> None:
    star = loaded.star
    performance = record.content["performance"]
    report.write_report(
        path, title=f"Averages of {args.particles.name}",
        summary=[
            ("Particles", f"{len(star)} of {star.box} x {star.box} x {star.box} voxels of {star.voxel_size:g} Å"),
            ("Classes", ", ".join(f"{one.label}: {len(one.particles)}" for one in classes)),
            ("Method", f"{args.method.upper()}, {args.variant}, {len(result.history)} iterations"),
            ("Data", f"{star.ctf}; hand: that of the particles"),
            ("Time", f"{performance['seconds']:.1f} s, {performance['cpu_seconds']:.1f} CPU-s"),
        ],
        sections=[*pictures(star.voxel_size, result, classes), *curves(star.box * star.voxel_size, result),
                  *directions(result, classes), shares_of_time(result.history),
                  report.parameters(record.content["settings"])])


def pictures(voxel_size: float, result: Result, classes: Sequence[ClassFigures]) -> list[report.Section]:
    maps = {f"class {one.label}": result.model.volumes[one.label - 1] for one in classes}
    notes = {f"class {one.label}": f"{len(one.particles)} particles" for one in classes}
    curves = {f"class {one.label}": (one.frequencies, one.curve) for one in classes}
    return [
        report.slices(maps, voxel_size=voxel_size, notes=notes, heading="Averages"),
        report.slices(maps, voxel_size=voxel_size, thickness=len(result.model.volumes[0]), heading="Projections"),
        report.fsc(curves, voxel_size=voxel_size, heading="Fourier shell correlation of half maps"),
    ]


def curves(extent: float, result: Result) -> list[report.Section]:
    """What changed from one iteration to the next. extent: of the box, angstrom."""
    history, names = result.history, [f"class {k + 1}" for k in range(len(result.model.volumes))]

    def per_class(values: Sequence[Sequence[float | None]]) -> dict[str, np.ndarray]:
        return dict(zip(names, np.array(values, dtype=float).T, strict=True))

    shells = [[extent / shell if shell else None for shell in one.resolution_shell] for one in history]
    return [
        report.history({"log-likelihood": [one.log_likelihood for one in history]}, ylabel="log-likelihood",
                       heading="Likelihood", caption="Of all particles, over the shells compared: it falls where the "
                                                     "next iteration compares more of them."),
        report.history(per_class([one.occupancies for one in history]), ylabel="particles", heading="Occupancies"),
        report.history({"shells compared": [extent / one.band for one in history], **per_class(shells)},
                       ylabel="resolution (Å)", heading="Resolution",
                       caption="Where the half maps of each class fall below 0.143, and what was compared."),
        report.history({"rotations (degrees)": [one.rotation_change for one in history],
                        "shifts (voxels)": [one.shift_change for one in history]}, ylabel="median change",
                       logarithmic=True, heading="Changes of poses"),
        report.history({"poses": [one.effective_poses for one in history]}, ylabel="effective poses per particle",
                       heading="How sure the poses are", caption="1: one pose has it all."),
    ]


def directions(result: Result, classes: Sequence[ClassFigures]) -> list[report.Section]:
    found = []
    for one in classes:
        if one.coverage is not None:
            found += [
                report.angular_distribution(result.poses.rotations[one.particles],
                                            heading=f"Orientations of class {one.label}"),
                report.fourier_coverage(one.coverage.directions, one.coverage.seen, worst=one.coverage.worst,
                                        heading=f"Fourier coverage of class {one.label}"),
            ]
    return found


def shares_of_time(history: Sequence[Progress]) -> report.Section:
    """CPU seconds of each step of the iterations."""
    steps = {step: sum(one.seconds.get(step, 0.0) for one in history) for one in history for step in one.seconds}
    total = sum(steps.values()) or 1.0
    rows = [[step, seconds, 100 * seconds / total, seconds / len(history)]
            for step, seconds in sorted(steps.items(), key=lambda item: -item[1])]
    return report.table("Time of each step", ["step", "CPU-s", "% of all", "CPU-s per iteration"], rows)
