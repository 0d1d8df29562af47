"""How good are averages and classes out of noise without a reference, and what do they cost?

    python bench/seed_averaging.py [--quick] [--parts quality halves speed linearity] [--experiments a d ctf b c]
        [--seeds 1 2 3] [--folder DIR] [--json FILE]

quality    the experiments of [2] with the neutral simulator of the shared material (run in place; it needs scipy), FAML
           and FA, `standard` and `paper`; ctf: (a) as a tilt series of our own simulator. Beside them the oracle: the
           average in the true poses and classes. r: correlation with the truth after the best rigid alignment; of the
           first seed also as the neutral evaluator has it. Poses of GroEL are judged modulo D7. No symmetry is imposed
halves     half sets averaged apart: half map against half map, and the whole against the truth
speed      [2, table 1]: 20 particles of GroEL at 32^3, 64^3, 128^3
linearity  100, 300, 1000 particles

CPU seconds are those of one thread of ours; `OPENBLAS_NUM_THREADS=1` keeps numpy to one too. --quick takes one seed,
boxes of 32 and 64, and a fifth of the particles of `linearity`. Without the shared material nothing is run.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from concordet import evaluation, rigid, wedge
from concordet.averaging import Averager, Particles, Result, Settings
from concordet.cli.average_input import MASK_DIAMETER, MASK_EDGE
from concordet.fourier import HalfSpace, soft_sphere
from concordet.io import read_volume, write_volume
from concordet.io.particles import read_particles
from concordet.simulation import TiltViews, resampled
from search_quality import NEAR, SIMULATOR

MAPS = SIMULATOR.parent / "maps"
EVALUATOR = SIMULATOR.parent / "evalmap.py"
GROEL, RIBOSOME = "groel_64_6A.mrc", "ribosome70S_64_6A.mrc"
METHODS, VARIANTS = ("FAML", "FA"), ("standard", "paper")
# CPU seconds per iteration of 20 particles, by box: what the issue asks for, and [2, table 1] on 12 processes.
LIMITS = {32: 1.5, 64: 5.0, 128: 30.0}
PAPER = {"FAML": {32: 56, 64: 150, 128: 449}, "FA": {32: 7, 64: 27, 128: 143}}
FULL_ITERATIONS = 5
MAX_SHIFT = 7 / 64  # of the box, as `concordet average` has it
# evalmap.py's r of RELION 3.1.3 on seed 1 of (a): random start, likelihood to 36 A, 10 iterations.
RELION = 0.933


@dataclass(frozen=True)
class Experiment:
    """A set of particles, and what is asked of FAML, standard.

    mean, least   parts of the oracle's r: mean of the seeds, every seed
    near          part of the particles within NEAR degrees of the truth
    """

    title: str
    maps: tuple[str, ...]
    counts: tuple[int, ...]
    snr: float
    tilt: int = 60
    orientations: str = "uniform"
    ctf: bool = False
    mean: float = 0.0
    least: float = 0.0
    near: float = 0.0
    relion: float = 0.0


EXPERIMENTS = {
    "a": Experiment("(a) 100 GroEL, SNR 0.003", (GROEL,), (100,), 0.003, mean=0.97, near=0.95, relion=RELION),
    "d": Experiment("(a) at SNR 0.001", (GROEL,), (100,), 0.001, mean=0.88),
    "ctf": Experiment("(a) with CTF and MTF", (GROEL,), (100,), 0.003, ctf=True, mean=0.97),
    "b": Experiment("(b) 50 GroEL about y, SNR 0.01, +-40", (GROEL,), (50,), 0.01, tilt=40, orientations="about-y",
                    mean=0.93, least=0.86),
    "c": Experiment("(c) 100 GroEL + 100 70S, SNR 0.01", (GROEL, RIBOSOME), (100, 100), 0.01, mean=0.97),
}
RAW_TRUTH = 0.77  # what is asked of r with the truth that no CTF has filtered
F1 = 0.99


@dataclass(frozen=True)
class Case:
    """A simulated set with its truth.

    truths    of each class; of a tilt series filtered by CTF and MTF, in `raw` not
    views     of a tilt series: what filters an average, which is free of CTF and MTF, as the truth was
    """

    place: Path
    voxel_size: float
    particles: Particles
    poses: rigid.Poses
    classes: np.ndarray
    truths: list[np.ndarray]
    raw: list[np.ndarray]
    views: TiltViews | None

    @property
    def box(self) -> int:
        return self.particles.half.box

    def seen(self, volume: np.ndarray) -> np.ndarray:
        """An average as it compares with `truths`."""
        return volume if self.views is None else self.views.filtered(volume)

    def select(self, chosen: np.ndarray) -> Particles:
        data = self.particles
        return Particles(data.half, data.p0[chosen], data.p1, data.weight_index[chosen])


@dataclass
class Outcome:
    """One run, judged.

    r, raw        per true class: correlation with the truth, and with that which no CTF has filtered
    near, f1      part of the particles within NEAR degrees; mean F1 of the classes
    seconds       CPU, from the particles' coefficients to the average;   steps  of these
    neutral       r of the neutral evaluator, where it was asked
    """

    experiment: str
    seed: int
    method: str
    variant: str
    r: list[float]
    raw: list[float]
    near: float
    f1: float
    iterations: int
    seconds: float
    steps: dict[str, float] = field(default_factory=dict)
    neutral: list[float] = field(default_factory=list)


def simulate(folder: Path, name: str, maps: Sequence[Path], counts: Sequence[int], snr: float, seed: int, *,
             tilt: int = 60, orientations: str = "uniform", max_shift: float = 4.0, ctf: bool = False) -> Path:
    """The STAR file of a set with poses and classes, made unless it is there."""
    place = folder / name
    star = place / ("truth.star" if ctf else "particles_truth.star")
    if star.is_file():
        return star
    common = ["--snr", str(snr), "--orientations", orientations, "--max-shift", str(max_shift), "--seed", str(seed),
              "--count", *map(str, counts)]
    if ctf:
        # `concordet`, run by this Python.
        command = ["-m", "concordet", "simulate", "subtomograms", "-o", place, *maps, "--mode", "tilt-series",
                   "--tilt-range", str(-tilt), str(tilt), "--no-report", *common]
    else:
        command = [SIMULATOR, place, *(part for path in maps for part in ("--map", path)), "--tilts", str(-tilt),
                   str(tilt), *common]
    subprocess.run([sys.executable, "-W", "ignore", *command], check=True, stdout=subprocess.DEVNULL)
    return star


def read_case(star: Path, band: int | None = None, ctf: bool = False) -> Case:
    """Particles up to `band`, None: to Nyquist."""
    found = read_particles(star)
    half = HalfSpace(found.box, band)
    rows: dict[object, int] = {}
    p1: list[np.ndarray] = []
    p0 = np.empty((len(found), len(half)), np.complex64)
    index = np.zeros(len(found), np.int64)
    for i in range(len(found)):
        place = found.weight_paths[i]
        if place not in rows:
            weight = wedge.WeightVolume.from_file_data(found.weight(i), kind=found.ctf, box=found.box, name=str(place))
            rows[place] = len(p1)
            p1.append(weight.at(half.indices, found.box))
        index[i] = rows[place]
        p0[i] = wedge.statistics(half.transform(found.volume(i), threads=1), p1[index[i]], found.ctf)[0]
    p1 = [wedge.statistics(np.zeros(len(half)), weight, found.ctf)[1] for weight in p1]
    classes = np.ones(len(found), np.int64) if found.classes is None else found.classes
    name = "truth_{:03d}.mrc" if ctf else "truth_{}.mrc"
    raw = [read_volume(star.parent / name.format(k))[0] for k in range(1, classes.max() + 1)]
    filtered = [read_volume(star.parent / f"truth_ctf_{k:03d}.mrc")[0] for k in range(1, classes.max() + 1)
                ] if ctf else raw
    return Case(star.parent, found.voxel_size, Particles(half, p0, np.stack(p1), index), found.poses, classes - 1,
                filtered, raw, TiltViews(found.box, [0.0], found.voxel_size) if ctf else None)


def case_of(folder: Path, name: str, seed: int) -> Case:
    one = EXPERIMENTS[name]
    star = simulate(folder, f"{name}{seed}", [MAPS / path for path in one.maps], one.counts, one.snr, seed,
                    tilt=one.tilt, orientations=one.orientations, ctf=one.ctf)
    return read_case(star, ctf=one.ctf)


def settings_of(method: str, variant: str, box: int, **changes) -> Settings:
    make = Settings.paper if variant == "paper" else Settings
    return make(**{"soft": method == "FAML", "max_shift": MAX_SHIFT * box, **changes})


def mask_of(variant: str, box: int) -> np.ndarray | None:
    return None if variant == "paper" else soft_sphere((box,) * 3, MASK_DIAMETER * box, MASK_EDGE)


def averaged(particles: Particles, variant: str, settings: Settings, initial: rigid.Poses | None = None
             ) -> tuple[Result, float]:
    """A run from its random start by one thread, and its CPU seconds."""
    began = time.process_time()
    averager = Averager(particles, settings, mask=mask_of(variant, particles.half.box), initial=initial, threads=1)
    result = averager.run(averager.start())
    return result, time.process_time() - began


def oracle(case: Case) -> list[np.ndarray]:
    """Averages in the true poses and classes, to Nyquist: the M-step alone, twice, as its noise comes of the first."""
    settings = settings_of("FAML", "standard", case.box, poses="fixed", bands=None, folds=1, iterations=2)
    maps = []
    for k in range(len(case.truths)):
        chosen = np.flatnonzero(case.classes == k)
        maps.append(averaged(case.select(chosen), "standard", settings, case.poses[chosen])[0].model.volumes[0])
    return maps


def correlations(maps: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> list[float]:
    return [evaluation.align(one, truth, threads=1).correlation if one.std() > 0 else 0.0
            for one, truth in zip(maps, truths, strict=True)]


@functools.cache
def symmetry(name: str) -> np.ndarray:
    """Rotations of a truth map onto itself; the 2-fold of D7 is turned about z to where GroEL has its own."""
    if name != GROEL:
        return rigid.symmetry_group("C1")
    return evaluation.dihedral_group(7, evaluation.dihedral_azimuth(read_volume(MAPS / name)[0], 7)[0])


def neutral(volume: np.ndarray, truth: np.ndarray, voxel_size: float) -> float:
    """r as the neutral evaluator, run in place, has it."""
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / "map.mrc", Path(scratch) / "truth.mrc"]
        for path, one in zip(paths, (volume, truth), strict=True):
            write_volume(path, one, voxel_size=voxel_size)
        text = subprocess.run([sys.executable, "-W", "ignore", EVALUATOR, *paths, "--apix", str(voxel_size)],
                              check=True, capture_output=True, text=True).stdout
    return float(re.search(r"corr=(\S+)", text).group(1))


def judge(name: str, seed: int, case: Case, method: str, variant: str, result: Result, seconds: float,
          beside: bool) -> Outcome:
    """Maps and poses of a run against the truth, each true class against what stands for it."""
    matched = evaluation.match_classes(result.classes, case.classes)
    # The label that stands for each true class; one that nothing stands for is compared with an empty map.
    owners = [int(matched.labels[column]) if column >= 0 else None for column in matched.matched]
    maps = [np.zeros_like(case.truths[0]) if k is None else result.model.volumes[k] for k in owners]
    near = 0
    for true, k in enumerate(owners):
        mine = np.flatnonzero((case.classes == true) & (result.classes == (-1 if k is None else k)))
        if len(mine):
            errors = evaluation.pose_errors(result.poses[mine], case.poses[mine],
                                            symmetry(EXPERIMENTS[name].maps[true]))
            near += errors.within(NEAR) * len(mine)
    steps: dict[str, float] = {}
    for one in result.history:
        for step, value in one.seconds.items():
            steps[step] = steps.get(step, 0.0) + value
    filtered = [case.seen(one) for one in maps]
    return Outcome(name, seed, method, variant, correlations(filtered, case.truths),
                   correlations(maps, case.raw) if EXPERIMENTS[name].ctf else [], near / len(case.classes),
                   matched.macro_f1, len(result.history), seconds, steps,
                   [neutral(one, truth, case.voxel_size) for one, truth in zip(filtered, case.truths, strict=True)
                    if one.std() > 0] if beside else [])


def numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values) or "-"


def quality(folder: Path, names: Sequence[str], seeds: Sequence[int], variants: Sequence[str]) -> list[Outcome]:
    """All runs; a line each as it comes."""
    print("| experiment | seed | method | variant | r | neutral r | r with the raw truth | within 15 degrees | F1 | "
          "iterations | CPU s |\n" + "| --- " * 11 + "|", flush=True)
    outcomes = []
    for name in names:
        for seed in seeds:
            case = case_of(folder, name, seed)
            maps = oracle(case)
            beside = seed == seeds[0]
            filtered = [case.seen(one) for one in maps]
            found = [Outcome(name, seed, "oracle", "", correlations(filtered, case.truths),
                             correlations(maps, case.raw) if EXPERIMENTS[name].ctf else [], 1.0, 1.0, 1, 0.0, {},
                             [neutral(one, truth, case.voxel_size)
                              for one, truth in zip(filtered, case.truths, strict=True)] if beside else [])]
            print(line(found[0]), flush=True)
            for variant in variants:
                for method in METHODS:
                    settings = settings_of(method, variant, case.box, classes=len(case.truths))
                    result, seconds = averaged(case.particles, variant, settings)
                    found.append(judge(name, seed, case, method, variant, result, seconds,
                                       beside and (method, variant) == ("FAML", "standard")))
                    print(line(found[-1]), flush=True)
            outcomes += found
    return outcomes


def line(one: Outcome) -> str:
    return (f"| {one.experiment} | {one.seed} | {one.method} | {one.variant or '-'} | {numbers(one.r)} | "
            f"{numbers(one.neutral)} | {numbers(one.raw)} | {one.near:.0%} | {one.f1:.3f} | {one.iterations} | "
            f"{one.seconds:.1f} |")


def summary(outcomes: Sequence[Outcome]) -> str:
    """Markdown: means of the seeds, lowest to highest in brackets, and whether FAML, standard, holds."""
    lines = ["| experiment | oracle | " + " | ".join(f"{method} {variant}" for variant in VARIANTS
                                                     for method in METHODS) + " |", "| --- " * 6 + "|"]
    verdicts = []
    for name in dict.fromkeys(one.experiment for one in outcomes):
        cells = []
        runs = {key: [one for one in outcomes if (one.experiment, one.method, one.variant) == (name, *key)]
                for key in [("oracle", ""), *((method, variant) for variant in VARIANTS for method in METHODS)]}
        for (_, variant), found in runs.items():
            values = np.array([one.r for one in found])
            if not len(values):
                cells.append("-")
                continue
            text = " and ".join(f"{mean:.3f} ({low:.3f}-{high:.3f})" for mean, low, high in zip(
                values.mean(axis=0), values.min(axis=0), values.max(axis=0), strict=True))
            if variant:
                text += f", {np.mean([one.near for one in found]):.0%} near"
                if values.shape[1] > 1:
                    text += f", F1 {min(one.f1 for one in found):.2f}-{max(one.f1 for one in found):.2f}"
                if found[0].raw:
                    text += f", raw truth {np.mean([one.raw for one in found]):.3f}"
            cells.append(text)
        lines.append(f"| {EXPERIMENTS[name].title} | {' | '.join(cells)} |")
        for method in METHODS:
            verdicts.append(f"{EXPERIMENTS[name].title}, {method}: "
                            f"{verdict(EXPERIMENTS[name], runs['oracle', ''], runs[method, 'standard'])}")
    return "\n".join([*lines, "", *verdicts])


def verdict(asked: Experiment, oracles: Sequence[Outcome], found: Sequence[Outcome]) -> str:
    best, values = np.array([one.r for one in oracles]), np.array([one.r for one in found])
    share = values.mean(axis=0) / best.mean(axis=0)
    least = (values / best).min()
    near, f1 = float(np.mean([one.near for one in found])), min(one.f1 for one in found)
    checks = [(f"mean r {' and '.join(f'{one:.3f}' for one in share)} of the oracle's", share.min() >= asked.mean,
               f"{asked.mean:g}")]
    if asked.least:
        checks.append((f"worst seed {least:.3f}", least >= asked.least, f"{asked.least:g}"))
    if asked.near:
        checks.append((f"{near:.1%} within {NEAR:g} degrees", near >= asked.near, f"{asked.near:.0%}"))
    if asked.relion and found[0].neutral:
        checks.append((f"neutral r {found[0].neutral[0]:.3f}", found[0].neutral[0] >= asked.relion,
                       f"RELION's {asked.relion:g}"))
    if len(asked.maps) > 1:
        checks.append((f"F1 {f1:.3f}", f1 >= F1, f"{F1:g}"))
    if found[0].raw:
        raw = float(np.mean([one.raw for one in found]))
        checks.append((f"r with the raw truth {raw:.3f}", raw >= RAW_TRUTH, f"{RAW_TRUTH:g}"))
    return "; ".join(f"{what} (at least {limit}: {'holds' if held else 'DOES NOT HOLD'})"
                     for what, held, limit in checks)


def step_shares(outcomes: Sequence[Outcome]) -> str:
    """Markdown: part of the CPU time of each step, standard, all seeds together [2, figure 10]."""
    chosen = [one for one in outcomes if one.steps]
    names = sorted({step for one in chosen for step in one.steps})
    lines = ["| experiment | method | variant | " + " | ".join(names) + " |", "| --- " * (3 + len(names)) + "|"]
    for key in dict.fromkeys((one.experiment, one.method, one.variant) for one in chosen):
        runs = [one.steps for one in chosen if (one.experiment, one.method, one.variant) == key]
        total = sum(sum(steps.values()) for steps in runs)
        shares = [sum(steps.get(name, 0.0) for steps in runs) / total for name in names]
        lines.append(f"| {' | '.join(key)} | " + " | ".join(f"{share:.0%}" for share in shares) + " |")
    return "\n".join(lines)


def halves(folder: Path, name: str, seed: int) -> str:
    """`concordet average --half-sets`: shells where halves fall below 0.143, and whole and truth below 0.5."""
    case = case_of(folder, name, seed)
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "average"
        star = case.place / "particles.star"
        subprocess.run([sys.executable, "-W", "ignore", "-m", "concordet", "average", star, "-o", output,
                        "--half-sets", "--no-report"], check=True, stdout=subprocess.DEVNULL)
        whole, first, second = (read_volume(output / f"class_001{part}.mrc")[0] for part in ("", "_half1", "_half2"))
    aligned = evaluation.align(whole, case.truths[0], threads=1)
    # The whole under its own soft mask, and the truth under the same.
    mask = mask_of("standard", case.box)
    between = evaluation.crossing(*evaluation.fsc(first, second), 0.143)
    with_truth = evaluation.crossing(*evaluation.fsc(whole, aligned.moved * mask), 0.5)
    shells = [np.nan if cut is None else cut * case.box for cut in (between, with_truth)]
    extent = case.box * case.voxel_size
    apart = abs(shells[0] - shells[1])
    return (f"{EXPERIMENTS[name].title}, seed {seed}: FSC 0.143 of the halves at shell {shells[0]:.2f} "
            f"({extent / shells[0]:.1f} A), 0.5 with the truth at shell {shells[1]:.2f} ({extent / shells[1]:.1f} A), "
            f"{apart:.2f} shells apart (at most 1: {'holds' if apart <= 1 else 'DOES NOT HOLD'}); r "
            f"{aligned.correlation:.3f}")


def sized_map(folder: Path, box: int) -> Path:
    """GroEL at 32, 64 or 128 voxels; the last one the 64^3 map on voxels of half the size."""
    if box != 128:
        return MAPS / {32: "groel_32_12A.mrc", 64: GROEL}[box]
    path = folder / "groel_128_3A.mrc"
    if not path.is_file():
        write_volume(path, resampled(read_volume(MAPS / GROEL)[0], 6.0, 128, 3.0), voxel_size=3.0)
    return path


@dataclass(frozen=True)
class Cost:
    """CPU seconds of one run of 20 particles; `full`: compared to Nyquist from the first iteration on."""

    box: int
    method: str
    variant: str
    full: bool
    iterations: int
    seconds: float

    @property
    def each(self) -> float:
        return self.seconds / self.iterations


def speed(folder: Path, boxes: Sequence[int], count: int = 20) -> list[Cost]:
    print("| box | method | variant | band | iterations | CPU s per iteration | CPU s to convergence | [2], s per "
          "iteration on 12 processes | limit |\n" + "| --- " * 9 + "|", flush=True)
    costs = []
    for box in boxes:
        star = simulate(folder, f"speed{box}", [sized_map(folder, box)], [count], 0.003, 1, max_shift=4 * box / 64)
        particles = read_case(star).particles
        for variant, full in (("standard", True), ("standard", False), ("paper", True)):
            for method in METHODS:
                # To Nyquist from the start poses would not settle: what an iteration costs is all that is asked of it.
                band = ({"bands": (particles.half.band,), "follow": False, "iterations": FULL_ITERATIONS}
                        if full and variant == "standard" else {})
                result, seconds = averaged(particles, variant, settings_of(method, variant, box, **band))
                one = Cost(box, method, variant, full, len(result.history), seconds)
                costs.append(one)
                total = "-" if "iterations" in band else f"{one.seconds:.1f}"
                print(f"| {box} | {method} | {variant} | {'full' if full else 'rising'} | {one.iterations} | "
                      f"{one.each:.2f} | {total} | {PAPER[method][box]} | {LIMITS[box]:g} |", flush=True)
    return costs


def linearity(folder: Path, counts: Sequence[int], iterations: int = 5) -> list[tuple[int, float]]:
    """(particles, CPU seconds per iteration) at 64^3, 15 shells, first counts of one set."""
    star = simulate(folder, f"many{max(counts)}", [MAPS / GROEL], [max(counts)], 0.003, 1)
    case = read_case(star, 15)
    print("| particles | CPU s per iteration | ms per particle | of those the steps that see particles |\n"
          + "| --- " * 4 + "|", flush=True)
    rows = []
    for count in counts:
        settings = settings_of("FAML", "standard", case.box, bands=(15,), follow=False, iterations=iterations)
        result, seconds = averaged(case.select(np.arange(count)), "standard", settings)
        rows.append((count, seconds / len(result.history)))
        seen = sum(sum(value for step, value in one.seconds.items() if step not in ("references", "average"))
                   for one in result.history) / len(result.history)
        print(f"| {count} | {rows[-1][1]:.2f} | {1e3 * rows[-1][1] / count:.2f} | {1e3 * seen / count:.2f} |",
              flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ["quality", "halves", "speed", "linearity"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--experiments", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--boxes", type=int, nargs="+", choices=list(LIMITS), default=list(LIMITS))
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--quick", action="store_true", help="one seed, boxes of 32 and 64, a fifth of --counts")
    parser.add_argument("--folder", type=Path, help="keep simulated particles here")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if not SIMULATOR.is_file():
        sys.exit(f"skipped: no simulator at {SIMULATOR} (set CONCORDET_DATA)")
    if args.quick:
        args.seeds, args.counts = args.seeds[:1], [max(count // 5, 1) for count in args.counts]
        args.boxes = [box for box in args.boxes if box <= 64]
    record: dict = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = (args.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if "quality" in args.parts:
            outcomes = quality(folder, args.experiments, args.seeds, args.variants)
            print(f"\n{summary(outcomes)}\n\n{step_shares(outcomes)}\n", flush=True)
            record["quality"] = [vars(one) for one in outcomes]
        if "halves" in args.parts:
            record["halves"] = [halves(folder, "a", seed) for seed in args.seeds]
            print("\n".join(record["halves"]) + "\n", flush=True)
        if "speed" in args.parts:
            costs = speed(folder, args.boxes)
            record["speed"] = [vars(one) | {"each": one.each} for one in costs]
            kept = all(one.each <= LIMITS[one.box] for one in costs if one.variant == "standard")
            print(f"\nThe limits {'hold' if kept else 'DO NOT ALL HOLD'} for `standard`.\n", flush=True)
        if "linearity" in args.parts:
            record["linearity"] = linearity(folder, args.counts)
    if args.json:
        args.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
