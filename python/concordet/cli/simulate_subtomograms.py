"""concordet simulate subtomograms: particles of known molecules in known poses, as RELION reads them."""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from concordet import __version__, geometry, report, simulation, wedge
from concordet.cli import common
from concordet.errors import InputError
from concordet.io import read_volume, write_volume
from concordet.io.particles import ParticleSet, write_particles
from concordet.record import RunRecord
from concordet.rigid import Poses

MAPS = (".mrc", ".map", ".rec")
MODELS = (".cif", ".mmcif", ".pdb", ".ent")
# Of a tilt series alone. Voltage, Cs and amplitude contrast are written into the STAR files in either mode.
TILT_SERIES = {"step": 3.0, "defocus": -6.0, "defocus_spread": 0.0, "ctf": "premultiplied"}
SMALLEST_BOX = 8
# Shares of a map's power outside the ball that shifts leave room for: worth a warning, and not to be cut off.
NOTED_OUTSIDE, MOST_OUTSIDE = 0.001, 0.02
# Of the report: particles shown.
SHOWN = 6
SNR_OF = {"wedge": "of the box before the wedge",
          "tilt-series": "of the tilt images, CTF and MTF in the signal"}


def add_parser(kinds: Any) -> None:
    parser = kinds.add_parser(
        "subtomograms", help="particles of molecules in random poses, with a wedge or a tilt series, and noise",
        description="Write particles.star, particles/*.mrc, and the truth: truth.star (poses, classes), truth_001.mrc "
                    "... (tilt-series mode: also truth_ctf_001.mrc ..., times CTF and MTF).")
    parser.set_defaults(run=run)
    parser.add_argument("maps", nargs="+", type=Path, metavar="MODEL|MAP",
                        help=f"molecules, a class each: atomic models ({' '.join(MODELS)}; needs gemmi) or maps "
                             f"({' '.join(MAPS)}); any of these with .gz too")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder without particles")
    parser.add_argument("--count", type=common.positive_int, nargs="+", default=[100], metavar="N",
                        help="particles, of all molecules alike or one number for each (default: 100)")
    parser.add_argument("--box", type=common.positive_int, default=64, metavar="N",
                        help="voxels along each side; RELION needs an even number")
    parser.add_argument("--voxel-size", type=common.finite, metavar="A",
                        help="angstrom (default: the first map's; 6 for models)")
    parser.add_argument("--resolution", type=common.finite, metavar="A",
                        help="r of the low-pass exp(-(k r)^2), angstrom (default: models 2.5 voxels, maps none)")
    parser.add_argument("--keep-axes", action="store_true",
                        help="models stand as in their file; otherwise z is the principal axis unlike the other two, "
                             "the symmetry axis of rings and barrels")
    parser.add_argument("--snr", type=common.finite, default=0.003,
                        help="variance of signal over noise (Frank & Al-Ali): of the box before the wedge; with a tilt "
                             "series of its images, CTF and MTF in the signal")
    parser.add_argument("--max-shift", type=common.not_negative, default=4.0, metavar="VOXELS",
                        help="shifts along x, y, z are uniform within +- this")
    parser.add_argument("--orientations", choices=["uniform", "about-y"], default="uniform",
                        help="uniform on SO(3), or z laid along the tilt axis y and turned about it")
    parser.add_argument("--mode", choices=["wedge", "tilt-series"], default="wedge",
                        help="a wedge and white noise, or a tilt series with CTF, MTF and noise, inverted in Fourier "
                             "space")
    parser.add_argument("--tilt-range", type=common.finite, nargs=2, default=(-60.0, 60.0), metavar=("LOW", "HIGH"),
                        help="degrees, about y (default: -60 60)")
    group = parser.add_argument_group("tilt series")
    group.add_argument("--step", type=common.finite, metavar="DEG",
                       help=f"degrees between tilts (default: {TILT_SERIES['step']:g})")
    group.add_argument("--defocus", type=common.finite, metavar="UM",
                       help=f"micrometres, negative: underfocus (default: {TILT_SERIES['defocus']:g})")
    group.add_argument("--defocus-spread", type=common.not_negative, metavar="UM",
                       help="particles are uniform within +- this of the defocus, each with its own weight (default: "
                            f"{TILT_SERIES['defocus_spread']:g})")
    group.add_argument("--cs", type=common.finite, default=2.7, metavar="MM", help="spherical aberration")
    group.add_argument("--voltage", type=common.finite, default=300.0, metavar="KV", help="kilovolt")
    group.add_argument("--amplitude-contrast", type=common.finite, default=0.07, help="0 to 1")
    group.add_argument("--ctf", choices=["premultiplied", "raw"],
                       help="premultiplied: particles sum CTF x image with weight sum CTF^2, as RELION 4 and later "
                            "have them; raw: images inverted with weight CTF, as RELION 3.1 understands them (default: "
                            f"{TILT_SERIES['ctf']})")
    parser.add_argument("--no-report", dest="report", action="store_false", help="no .html page")
    common.add_common(parser)


def run(args: argparse.Namespace) -> int:
    counts = args.count * len(args.maps) if len(args.count) == 1 else args.count
    radius = check(args, counts)
    voxel_size = args.voxel_size = chosen_voxel_size(args)
    # Of a molecule its spline, 8 boxes; of every particle at work the tables of a slice, 2 boxes of complex numbers.
    workers = common.threads(args) or omp_threads()
    # The mean power of the slices of a tilt series is found before them, on twice the box.
    boxes = max(10 * len(args.maps) + 16 * workers, 0 if args.mode == "wedge" else 10 * len(args.maps) + 56)
    common.check_memory(4.0 * args.box**3 * boxes)
    views = chosen_views(args, voxel_size)
    record = RunRecord("simulate subtomograms", common.plain_arguments(args))
    with record.stage("molecules"):
        molecules = [load(path, args, voxel_size, radius) for path in args.maps]
    for path in args.maps:
        record.add_input(path)
    progress = common.ProgressLines(args)
    made = Made()
    total = sum(counts)
    with common.together(args.output) as folder:
        (folder / "particles").mkdir()
        write_truth(folder, molecules, views, voxel_size)
        progress("simulating", 0, total)
        with record.stage("simulate"):
            for particle in simulation.simulate_subtomograms(
                    molecules, counts, views, snr=args.snr, max_shift=args.max_shift, orientations=args.orientations,
                    seed=args.seed, threads=min(workers, total)):
                made.add(particle, SHOWN)
                write_volume(folder / image_name(particle.index), particle.volume, voxel_size=voxel_size,
                             labels=[f"Concordet {__version__}: simulated subtomogram", geometry.AXES_LABEL])
                progress("simulating", particle.index + 1, total)
        progress.close()
        weights = write_weights(folder, views, made.defoci, voxel_size, args)
        write_sets(folder, args, views, made, weights, voxel_size)
        record.content["geometry"] = {"convention": f"{geometry.AXES_LABEL}; origins at n // 2", "hand": "true",
                                      "tilt_axis": "y", "noise_variance": 1}
        record.content["snr"] = made.snr(args)
        record.content["snr_definition"] = f"variance of signal / variance of noise, {SNR_OF[args.mode]}"
        record.content["performance"] = record.performance()
        if args.report:
            write_report(folder / "simulation.html", args, record, molecules, views, made, voxel_size)
        record.write(folder / "simulation.json")
    for line in record.content["snr"]:
        common.say(f"class {line['class']} ({Path(line['map']).name}): SNR {line['asked']:g} asked, "
                   f"{line['reached']:.4g} reached; {line['in_particles']:.4g} in the particles as written", args)
    common.say(f"{args.output}: {total} particles of {len(molecules)} "
               f"{'classes' if len(molecules) > 1 else 'class'}, particles.star, truth.star", args)
    return 0


def omp_threads() -> int:
    """OMP_NUM_THREADS, whose first number counts in a list; all cores where it is no number."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return max(1, int(first)) if first.isdecimal() else os.cpu_count() or 1


def check(args: argparse.Namespace, counts: Sequence[int]) -> float:
    """Refuse flags that make no sense; the largest radius in voxels that a molecule may have."""
    if len(counts) != len(args.maps):
        raise InputError(f"--count: expected one number, or one for each of {len(args.maps)} maps, got {len(counts)}")
    if not args.snr > 0:
        raise InputError(f"--snr: expected more than 0, got {args.snr:g}")
    if args.box < SMALLEST_BOX:
        raise InputError(f"--box: expected {SMALLEST_BOX} voxels or more, got {args.box}")
    low, high = args.tilt_range
    if not -90 <= low < high <= 90:
        raise InputError(f"--tilt-range: expected low < high, from -90 to 90 degrees, got {low:g} {high:g}")
    radius = simulation.largest_radius(args.box, args.max_shift)
    if radius < 2:
        raise InputError(f"--max-shift: expected at most {args.box / 2 - 3:g} voxels in a box of {args.box}, got "
                         f"{args.max_shift:g}")
    if args.box % 2:
        warnings.warn(f"--box {args.box}: RELION needs an even number of voxels", stacklevel=1)
    choose_tilt_series(args)
    if args.mode == "tilt-series":
        check_tilt_series(args)
    for path in args.maps:
        kind_of(path)
        if not path.is_file():
            raise InputError(f"{path}: expected an atomic model or a map, got no such file")
    common.check_folder(args.output)
    names = ["particles.star", "truth.star", "wedge.mrc", "weight.mrc"]
    names += [f"{stem}_{place:03d}.mrc" for stem in ("truth", "truth_ctf") for place in range(1, len(args.maps) + 1)]
    common.refuse_inputs([args.output / name for name in names], args.maps)
    for name in ("particles", "weights"):
        if (args.output / name).exists():
            raise InputError(f"{args.output / name}: expected a folder without particles for --output, got this one")
    return radius


def choose_tilt_series(args: argparse.Namespace) -> None:
    """Defaults of the flags that only a tilt series has; a warning where a wedge was given some."""
    given = [name for name in TILT_SERIES if getattr(args, name) is not None]
    if args.mode == "wedge" and given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        warnings.warn(f"{flags}: of --mode tilt-series only, not used with --mode wedge", stacklevel=1)
    for name, value in TILT_SERIES.items():
        if name not in given:
            setattr(args, name, value)


def check_tilt_series(args: argparse.Namespace) -> None:
    low, high = args.tilt_range
    if not 0 < args.step <= high - low:
        raise InputError(f"--step: expected more than 0 and at most {high - low:g} degrees, got {args.step:g}")
    if (high - low) / args.step > common.MOST_VIEWS:
        raise InputError(f"--step: expected at most {common.MOST_VIEWS} tilts, got a step of {args.step:g} degrees")
    if abs(args.defocus) + args.defocus_spread > 100:
        raise InputError(f"--defocus: expected micrometres, -100 to 100, got {args.defocus:g} +- "
                         f"{args.defocus_spread:g}")
    if args.defocus > 0:
        warnings.warn(f"--defocus {args.defocus:g}: overfocus; underfocus is negative here", stacklevel=1)


def kind_of(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(MAPS):
        return "map"
    if name.endswith(MODELS):
        return "model"
    raise InputError(f"{path}: expected an atomic model ({' '.join(MODELS)}) or a map ({' '.join(MAPS)}), got "
                     f"{path.suffix or 'no ending'}")


def chosen_voxel_size(args: argparse.Namespace) -> float:
    """--voxel-size; else that of the first map, else 6 angstrom."""
    voxel_size = args.voxel_size
    if voxel_size is None:
        first = next((path for path in args.maps if kind_of(path) == "map"), None)
        # Headers hold float32: 13.68 comes back as 13.68000030.
        voxel_size = (first and float(f"{read_volume(first)[1].voxel_size[0]:.6g}")) or 6.0
    if not voxel_size > 0:
        raise InputError(f"--voxel-size: expected more than 0 angstrom, got {voxel_size:g}")
    if args.resolution is not None and args.resolution < 2 * voxel_size:
        raise InputError(f"--resolution: expected {2 * voxel_size:g} A (two voxels) or more, got {args.resolution:g}")
    return voxel_size


def chosen_views(args: argparse.Namespace, voxel_size: float) -> simulation.WedgeView | simulation.TiltViews:
    if args.mode == "wedge":
        return simulation.WedgeView(args.box, wedge.TiltRange(*args.tilt_range))
    low, high = args.tilt_range
    optics = simulation.Optics(-1e4 * args.defocus, args.cs, args.voltage, args.amplitude_contrast,
                               1e4 * args.defocus_spread)
    return simulation.TiltViews(args.box, simulation.tilt_angles(low, high, args.step), voxel_size, optics,
                                premultiplied=args.ctf == "premultiplied")


def load(path: Path, args: argparse.Namespace, voxel_size: float, radius: float) -> simulation.Molecule:
    """One molecule on the voxels of the run, cut to the ball that its shifts leave room for."""
    if kind_of(path) == "model":
        volume = simulation.molecule_map(path, voxel_size, resolution=args.resolution, turn=not args.keep_axes)
        own_size = voxel_size
    else:
        volume, header = read_volume(path)
        if min(volume.shape) < 2:
            raise InputError(f"{path}: expected a map with three axes, got "
                             f"{' x '.join(map(str, volume.shape[::-1]))} voxels")
        if volume.min() == volume.max():
            raise InputError(f"{path}: expected a map of a molecule, got {volume.flat[0]:g} in every voxel")
        own_size = header.voxel_size[0] or voxel_size
        if not header.voxel_size[0]:
            warnings.warn(f"{path}: says no voxel size; {voxel_size:g} A is taken", stacklevel=1)
        if max(header.voxel_size) > min(header.voxel_size) * (1 + 1e-3):
            raise InputError(f"{path}: expected cubic voxels, got {' x '.join(f'{v:g}' for v in header.voxel_size)} A")
    outside = simulation.power_outside(volume, radius * voxel_size / own_size)
    room = f"within {radius * voxel_size:.4g} A of the centre (half of --box, less --max-shift and a voxel)"
    if outside > MOST_OUTSIDE:
        raise InputError(f"{path}: expected a molecule {room}, got {outside:.1%} of its power outside")
    if outside > NOTED_OUTSIDE:
        warnings.warn(f"{path}: {outside:.2%} of its power is cut off, not {room}", stacklevel=1)
    volume = simulation.resampled(volume, own_size, args.box, voxel_size)
    if args.resolution is not None and kind_of(path) == "map":
        volume = simulation.smoothed(volume, args.resolution / voxel_size)
    try:
        return simulation.Molecule(volume, radius)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


@dataclass
class Made:
    """What is kept of the particles: their truth, the sums of variances per class, the first few volumes."""

    rotations: list[np.ndarray] = field(default_factory=list)
    shifts: list[np.ndarray] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    defoci: list[float] = field(default_factory=list)
    powers: dict[int, np.ndarray] = field(default_factory=dict)
    shown: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, particle: simulation.Subtomogram, shown: int) -> None:
        self.rotations.append(particle.rotation)
        self.shifts.append(particle.shift)
        self.classes.append(particle.molecule + 1)
        self.defoci.append(particle.defocus)
        powers = self.powers.setdefault(particle.molecule, np.zeros(4))
        powers += [particle.signal, particle.noise, particle.seen_signal, particle.seen_noise]
        if len(self.shown) < shown:
            self.shown[f"particle {particle.index + 1}"] = particle.volume

    def snr(self, args: argparse.Namespace) -> list[dict[str, Any]]:
        """Per class: the ratio asked for, as it came out, and in the volumes as they were written."""
        return [{"class": place + 1, "map": args.maps[place], "asked": args.snr, "reached": signal / noise,
                 "in_particles": seen_signal / seen_noise}
                for place, (signal, noise, seen_signal, seen_noise) in sorted(self.powers.items())]


def image_name(index: int) -> str:
    return f"particles/p{index + 1:05d}.mrc"


def write_truth(folder: Path, molecules: Sequence[simulation.Molecule],
                views: simulation.WedgeView | simulation.TiltViews, voxel_size: float) -> None:
    for place, molecule in enumerate(molecules, 1):
        write_volume(folder / f"truth_{place:03d}.mrc", molecule.volume, voxel_size=voxel_size,
                     labels=[f"Concordet {__version__}: simulated truth", geometry.AXES_LABEL])
        if isinstance(views, simulation.TiltViews):
            write_volume(folder / f"truth_ctf_{place:03d}.mrc", views.filtered(molecule.volume), voxel_size=voxel_size,
                         labels=[f"Concordet {__version__}: simulated truth x CTF x MTF", geometry.AXES_LABEL])


def write_weights(folder: Path, views: simulation.Views, defoci: Sequence[float], voxel_size: float,
                  args: argparse.Namespace) -> tuple[Path, ...]:
    """The weight of each particle, full and centred; one file where all are alike."""
    labels = [f"Concordet {__version__}: Fourier weights, zero frequency at n // 2", f"data: {views.kind}"]
    if len(set(defoci)) == 1:
        one = folder / ("wedge.mrc" if args.mode == "wedge" else "weight.mrc")
        write_volume(one, views.weight(defoci[0]), voxel_size=voxel_size, labels=labels)
        return (one,) * len(defoci)
    paths = tuple(folder / "weights" / f"w{index:05d}.mrc" for index in range(1, len(defoci) + 1))
    paths[0].parent.mkdir()
    for path, defocus in zip(paths, defoci, strict=True):
        write_volume(path, views.weight(defocus), voxel_size=voxel_size, labels=labels)
    return paths


def write_sets(folder: Path, args: argparse.Namespace, views: simulation.Views, made: Made, weights: tuple[Path, ...],
               voxel_size: float) -> None:
    """particles.star without poses, truth.star with poses and classes."""
    count = len(made.classes)
    columns = {"rlnMicrographName": ["simulated"] * count}
    if args.mode == "tilt-series":
        for label in ("rlnDefocusU", "rlnDefocusV"):
            columns[label] = [f"{defocus:.2f}" for defocus in made.defoci]
    for name, has_truth in (("particles.star", False), ("truth.star", True)):
        write_particles(folder / name, ParticleSet(
            paths=tuple(folder / image_name(index) for index in range(count)), weight_paths=weights,
            voxel_size=voxel_size, box=args.box, has_poses=has_truth,
            poses=Poses(np.stack(made.rotations), np.stack(made.shifts)),
            classes=np.array(made.classes) if has_truth else None, ctf=views.kind, voltage=args.voltage,
            spherical_aberration=args.cs, amplitude_contrast=args.amplitude_contrast, columns=columns))


def write_report(path: Path, args: argparse.Namespace, record: RunRecord, molecules: Sequence[simulation.Molecule],
                 views: simulation.WedgeView | simulation.TiltViews, made: Made, voxel_size: float) -> None:
    truths = {f"truth {place}": molecule.volume for place, molecule in enumerate(molecules, 1)}
    if isinstance(views, simulation.TiltViews):
        truths |= {f"{name} x CTF x MTF": views.filtered(volume) for name, volume in truths.items()}
    clean = next(simulation.simulate_subtomograms(molecules, args.count * len(molecules) if len(args.count) == 1 else
                                                  args.count, views, snr=None, max_shift=args.max_shift,
                                                  orientations=args.orientations, seed=args.seed, indices=[0]))
    sections = [
        report.table("Signal and noise", ["class", "map", "particles", "SNR asked", "reached", "in the particles"],
                     [[line["class"], Path(line["map"]).name, made.classes.count(line["class"]), line["asked"],
                       line["reached"], line["in_particles"]] for line in record.content["snr"]],
                     caption="Variance of the signal over variance of the noise (Frank & Al-Ali), "
                             f"{SNR_OF[args.mode]}; and of the volumes as written."),
        report.slices(truths, voxel_size=voxel_size, heading="Truth"),
        report.slices({"particle 1, without noise": clean.volume, **made.shown}, voxel_size=voxel_size,
                      heading="Particles"),
        report.slices({"weight": views.weight(made.defoci[0])}, voxel_size=0, thickness=1, heading="Fourier weights"),
        report.parameters(record.content["parameters"]),
    ]
    performance = record.content["performance"]
    low, high = args.tilt_range
    tilts = f"{low:g} to {high:g} degrees about y"
    summary = [
        ("Particles", f"{len(made.classes)} of {args.box} x {args.box} x {args.box} voxels of {voxel_size:g} Å"),
        ("Molecules", ", ".join(path.name for path in args.maps)),
        ("Poses", f"{args.orientations}, shifts within ± {args.max_shift:g} voxels along x, y, z"),
        ("Measured", f"wedge of {tilts}" if args.mode == "wedge" else
         f"{tilts} every {args.step:g}, defocus {args.defocus:g} µm, {args.voltage:g} kV, Cs {args.cs:g} mm, amplitude "
         f"contrast {args.amplitude_contrast:g}; {args.ctf}"),
        ("Hand", "true"),
        ("Time", f"{performance['seconds']:.1f} s, {performance['cpu_seconds']:.1f} CPU-s"),
    ]
    report.write_report(path, title="Simulated subtomograms", summary=summary, sections=sections)
