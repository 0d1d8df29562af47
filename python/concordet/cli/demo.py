"""concordet demo: simulated input, every method, volumes, averages and classes, one report."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from concordet import __version__, evaluation, geometry, methods, report, simulation, wedge
from concordet.averaging import Averager, Particles, Result, Settings
from concordet.cli import common
from concordet.cli.simulate import add_volume, origin, view_labels
from concordet.fourier import HalfSpace
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
# The particles: two molecules of eight blobs, through a wedge.
BOX, PARTICLE_VOXEL_SIZE, PARTICLES = 32, 12.0, 30
PARTICLE_SNR, MAX_SHIFT, TILT_RANGE = 0.1, 2.0, (-60.0, 60.0)
BLOB_SIGMA = 1.6  # voxels


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser("demo", help="a first look: simulate, reconstruct by every method, average, report",
                              description="Simulate a small cell in four tilt axes with noise, reconstruct it by every "
                                          "method of the paper, compare with the truth; average and classify noisy "
                                          "particles of two small molecules.")
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
        common.say(f"averaging {2 * PARTICLES} particles of two molecules, {BOX} x {BOX} x {BOX} voxels, SNR "
                   f"{PARTICLE_SNR:g}", args)
        with record.stage("averaging"):
            averages = average(args.seed, threads, progress)
        progress.close()
        record.content["quality"]["averaging"] = averages.figures()
        for k, correlation in enumerate(averages.correlations, 1):
            common.say(f"{f'class {k}':<20} correlation with the truth {correlation:.3f}", args)
            save(folder / f"class_{k:03d}.mrc", averages.result.model.volumes[k - 1], f"class {k}", PARTICLE_VOXEL_SIZE)
            save(folder / f"class_{k:03d}_truth.mrc", averages.truths[k - 1], f"truth of class {k}",
                 PARTICLE_VOXEL_SIZE)
        common.say(f"{'classes':<20} F1 {averages.match.macro_f1:.3f}", args)
        record.content["performance"] = record.performance()
        if args.report:
            pictures = {"truth": truth, **volumes}
            made = record.content["performance"]
            report.write_report(
                folder / "report.html", title="Concordet demo: a cell reconstructed, two molecules averaged",
                summary=[("Specimen", f"a simulated cell, {SIZE} x {SIZE} x {THICKNESS} voxels of {VOXEL_SIZE:g} Å"),
                         ("Views", f"{len(AZIMUTHS)} axes, ±60° every {STEP:g}°: {len(views)} views, SNR {SNR:g}"),
                         ("Particles", f"{2 * PARTICLES} of two simulated molecules, {BOX} x {BOX} x {BOX} voxels of "
                                       f"{PARTICLE_VOXEL_SIZE:g} Å, tilts within ±60°, SNR {PARTICLE_SNR:g}"),
                         ("Time", f"{made['seconds']:.1f} s")],
                sections=[
                    report.slices(pictures, voxel_size=VOXEL_SIZE, truth="truth"),
                    report.ncc_bars({row[0]: row[1] for row in rows}, caption="Pearson, central 80 % of every axis."),
                    report.ncc_against_tilt(curves, stacks=[f"axis at {azimuth:g}°" for azimuth in AZIMUTHS]),
                    report.table("Figures", ["method", "correlation with the truth", "NCC with the views", "iterations",
                                             "time (s)"], rows),
                    report.history(residuals, logarithmic=True),
                    *averages.sections(),
                    report.parameters({name: vars(options) for name, options in ROWS.items()}),
                ])
            report.picture(folder / "slices.png", pictures, voxel_size=VOXEL_SIZE, truth="truth", plane="ortho")
        record.write(folder / "demo.json")
    common.say(f"look at {args.output / 'report.html' if args.report else args.output}", args)
    return 0


@dataclass(frozen=True)
class Averages:
    """Averages of the particles, and how they compare with the truth.

    particle       the first one;   truths   (K) of each class, carried onto its average
    correlations   (K) with these
    """

    result: Result
    match: evaluation.ClassMatch
    particle: np.ndarray
    truths: list[np.ndarray]
    correlations: list[float]

    def figures(self) -> dict[str, Any]:
        return {"correlations": self.correlations, "f1": self.match.macro_f1, "iterations": len(self.result.history)}

    def sections(self) -> list[report.Section]:
        volumes = {"a particle": self.particle}
        for k, (average, truth) in enumerate(zip(self.result.model.volumes, self.truths, strict=True), 1):
            volumes |= {f"class {k}": average, f"truth of class {k}": truth}
        names = [str(label) for label in self.match.true_labels]
        return [
            report.slices(volumes, voxel_size=PARTICLE_VOXEL_SIZE, heading="Averages",
                          notes={f"class {k}": f"correlation {value:.3f}" for k, value in
                                 enumerate(self.correlations, 1)}),
            report.confusion(self.match.confusion, names, [str(label) for label in self.match.labels],
                             heading="Classes of particles"),
            report.angular_distribution(self.result.poses.rotations, heading="Orientations of the particles"),
        ]


def average(seed: int, threads: int, progress: common.ProgressLines) -> Averages:
    """Particles of two molecules, mixed; averaged and told apart without a reference."""
    half, view = HalfSpace(BOX), simulation.WedgeView(BOX, wedge.TiltRange(*TILT_RANGE))
    molecules = [simulation.Molecule(blobs(np.random.default_rng([seed, which])),
                                     simulation.largest_radius(BOX, MAX_SHIFT)) for which in range(2)]
    particles = list(simulation.simulate_subtomograms(molecules, [PARTICLES] * 2, view, snr=PARTICLE_SNR,
                                                      max_shift=MAX_SHIFT, seed=seed, threads=max(threads, 1)))
    weight = wedge.TiltRange(*TILT_RANGE).at(half.indices, BOX)
    data = Particles(half, np.stack([wedge.statistics(half.transform(one.volume, threads), weight, "binary")[0]
                                     for one in particles]), weight)
    settings = Settings(classes=2, max_shift=2 * MAX_SHIFT, seed=seed)
    averager = Averager(data, settings, mask=evaluation.soft_sphere((BOX,) * 3, 0.84 * BOX, 3.0), threads=threads)
    result = averager.run(averager.start(), on_iteration=lambda state, *_: progress(
        "averaging", state.iteration + 1, settings.iterations))
    match = evaluation.match_classes(result.classes + 1, np.array([one.molecule + 1 for one in particles]))
    truth_of = {int(match.labels[column]): int(label) for label, column in
                zip(match.true_labels, match.matched, strict=True) if column >= 0}
    truths, correlations = [], []
    for k, volume in enumerate(result.model.volumes, 1):
        truth, correlation = molecules[truth_of.get(k, k) - 1].volume, 0.0
        if volume.std() > 0:  # else the class is empty
            aligned = evaluation.align(volume, truth, threads=threads)
            truth, correlation = aligned.moved, aligned.correlation
        truths.append(truth)
        correlations.append(correlation)
    return Averages(result, match, particles[0].volume, truths, correlations)


def blobs(rng: np.random.Generator, count: int = 8) -> np.ndarray:
    """A molecule without symmetry: Gaussian blobs at random places within a quarter of the box."""
    axes = np.ix_(*[np.arange(BOX) - BOX // 2] * 3)
    volume = np.zeros((BOX,) * 3, np.float32)
    for _ in range(count):
        centre = rng.standard_normal(3)
        centre *= BOX / 4 * rng.uniform(0.3, 1) / np.linalg.norm(centre)
        squared = sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True))
        volume += rng.uniform(0.5, 1.5) * np.exp(-squared / (2 * BLOB_SIGMA**2))
    return volume


def save(path: Path, volume: np.ndarray, what: str, voxel_size: float = VOXEL_SIZE) -> None:
    """A volume of the demo: the specimen's origin is the centre voxel."""
    labels = [f"Concordet {__version__} demo: {what}", geometry.AXES_LABEL, "hand: true"]
    write_volume(path, volume, voxel_size=voxel_size, labels=labels,
                 origin=origin(volume.shape, voxel_size))


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
