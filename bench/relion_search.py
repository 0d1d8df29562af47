"""What does RELION 3.1 pay to search the same particles exhaustively, and does it find them?

    python bench/relion_search.py [--snr 0.01] [--seed 1] [--particles 20] [--step 11.25] [--quick]

One expectation step against the reference of search_quality.py: 33 shifts (7 voxels, every 3.5), shells up to 9 of 64,
no perturbation, wedges as rlnCtfImage, one thread. CPU seconds are user + system of the process; per particle they are
the slope between two sizes of the set, which leaves the maximisation out, and per rotation the slope between 15 and 7.5
degrees, which leaves reading, noise spectra and accuracies out too. --quick does without 7.5 degrees (minutes).
RELION is looked for on the path (`apt install relion`); without it, or without the neutral simulator, nothing is run.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from concordet import rigid
from concordet.fourier import HalfSpace
from concordet.io import read_star, write_volume
from search_quality import FULL_BAND, NEAR, SIMULATOR, average, read_particles, simulate

PROGRAM = "relion_refine"
VOXEL, BOX = 6.0, 64
SEARCH_BAND = 9
# HEALPix order 2: 192 directions x 24 turns, 15 degrees apart; each order halves the step.
COARSE_STEP, COARSE_ROTATIONS = 15.0, 192 * 24
SHIFTS = 33


@dataclass(frozen=True)
class Mode:
    """A way to sample: HEALPix order before `oversampling` doublings of every step, step of shifts in voxels."""

    name: str
    order: int
    oversampling: int
    shift_step: float
    few: int
    many: int


@dataclass(frozen=True)
class Cost:
    """CPU seconds per particle, share of particles found within NEAR degrees, median errors (degrees, voxels)."""

    mode: Mode
    seconds: float
    found: float
    degrees: float
    voxels: float


def modes(particles: int, quick: bool = False) -> list[Mode]:
    """What is run on a set of `particles`; the exhaustive ones first, from coarse to fine."""
    few = max(particles // 5, 1)
    exhaustive = [Mode("exhaustive, 15 degrees", 2, 0, 3.5, few, particles)]
    if not quick:
        exhaustive.append(Mode("exhaustive, 7.5 degrees", 3, 0, 3.5, max(particles // 10, 1), max(particles // 3, 2)))
    return [*exhaustive, Mode("adaptive, 30 to 15 degrees", 1, 1, 7.0, few, particles),
            Mode("adaptive, 15 to 7.5 degrees", 2, 1, 3.5, few, particles)]


def available() -> str | None:
    """Why nothing can be run; None where it can."""
    if shutil.which(PROGRAM) is None:
        return f"no {PROGRAM} on the path (Debian package relion)"
    return None if SIMULATOR.is_file() else f"no simulator at {SIMULATOR} (set CONCORDET_DATA)"


def version() -> str:
    """What the program says of itself, on one line."""
    text = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    return " ".join(text.split())


def cpu_seconds(place: Path, reference: Path, mode: Mode, count: int, output: Path) -> float:
    """User and system seconds of one expectation (and maximisation) of the first `count` particles."""
    lines = (place / "particles.star").read_text().splitlines(keepends=True)
    rows = [line for line in lines if line.startswith("sub/")]
    star = output.with_suffix(".star")
    star.write_text("".join(line for line in lines if not line.startswith("sub/")).rstrip("\n") + "\n" + "".join(
        rows[:count]) + "\n")
    limit = f"{BOX * VOXEL / SEARCH_BAND:.2f}"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([
        PROGRAM, "--i", star, "--o", output, "--ref", reference, "--iter", "1", "--K", "1", "--sym", "C1", "--ctf",
        "--norm", "--healpix_order", str(mode.order), "--oversampling", str(mode.oversampling), "--offset_range", "7",
        "--offset_step", str(mode.shift_step), "--perturb", "0", "--strict_highres_exp", limit, "--ini_high", limit,
        "--particle_diameter", str((BOX - 2) * VOXEL), "--zero_mask", "--offset", "14", "--pad", "2", "--j", "1",
        "--dont_check_norm", "--random_seed", "1"],
        cwd=place, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def errors(place: Path, output: Path, truth: rigid.Poses) -> tuple[np.ndarray, np.ndarray]:
    """Degrees and voxels between the poses that RELION wrote and the truth."""
    table = read_star(Path(f"{output}_it001_data.star"))["particles"]
    rows = [int(Path(name).stem[1:]) - 1 for name in table.texts("rlnImageName")]
    angles = (table.floats(f"rlnAngle{name}") for name in ("Rot", "Tilt", "Psi"))
    shifts = -np.stack([table.floats(f"rlnOrigin{axis}Angst") for axis in "XYZ"], axis=1) / VOXEL
    degrees = rigid.geodesic(truth.rotations[rows], rigid.from_relion(*angles))
    return degrees, np.linalg.norm(shifts - truth.shifts[rows], axis=1)


def measure(folder: Path, snr: float, seed: int, chosen: list[Mode]) -> list[Cost]:
    """Costs and hits of each mode on the ribosome; the reference is the average of 100 other particles."""
    half = HalfSpace(BOX, FULL_BAND)
    reference = folder / "reference.mrc"
    volume, _ = average(read_particles(simulate(folder, "ribosome", snr, seed + 100, 100), half))
    write_volume(reference, volume, voxel_size=VOXEL)
    place = simulate(folder, "ribosome", snr, seed, max(mode.many for mode in chosen))
    truth = read_particles(place, half).poses
    costs = []
    for mode in chosen:
        output = folder / f"order{mode.order}_{mode.oversampling}"
        few = cpu_seconds(place, reference, mode, mode.few, output)
        many = cpu_seconds(place, reference, mode, mode.many, output)
        degrees, voxels = errors(place, output, truth)
        costs.append(Cost(mode, (many - few) / (mode.many - mode.few), float((degrees < NEAR).mean()),
                          float(np.median(degrees)), float(np.median(voxels))))
    return costs


def rotations_at(step: float) -> float:
    """Rotations of an even grid `step` degrees apart: as dense as HEALPix."""
    return COARSE_ROTATIONS * (COARSE_STEP / step) ** 3


def exhaustive_seconds(costs: list[Cost], step: float) -> float:
    """CPU seconds per particle of all rotations `step` degrees apart x 33 shifts.

    The slope between two orders; with one order its whole cost per rotation, reading and the rest included.
    """
    exhaustive = [cost for cost in costs if cost.mode.oversampling == 0]
    counts = [rotations_at(COARSE_STEP * 2.0 ** (2 - cost.mode.order)) for cost in exhaustive]
    if len(exhaustive) > 1:
        per_rotation = (exhaustive[-1].seconds - exhaustive[0].seconds) / (counts[-1] - counts[0])
    else:
        per_rotation = exhaustive[0].seconds / counts[0]
    return per_rotation * rotations_at(step)


def table(costs: list[Cost], step: float) -> str:
    """Markdown."""
    lines = ["| RELION, 33 shifts, shells <= 9 | CPU s per particle | within 15 degrees | median degrees | voxels |",
             "| --- | --- | --- | --- | --- |"]
    lines += [f"| {cost.mode.name} | {cost.seconds:.3g} | {cost.found:.0%} of {cost.mode.many} | {cost.degrees:.1f} | "
              f"{cost.voxels:.2f} |" for cost in costs]
    lines.append(f"\nAll rotations {step:g} degrees apart ({rotations_at(step):.0f}) x {SHIFTS} shifts: "
                 f"{exhaustive_seconds(costs, step):.3g} CPU s per particle.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--snr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--particles", type=int, default=20)
    parser.add_argument("--step", type=float, default=11.25, help="degrees between rotations of our search")
    parser.add_argument("--quick", action="store_true", help="without 7.5 degrees")
    parser.add_argument("--folder", type=Path, help="keep simulated particles here")
    args = parser.parse_args()
    if reason := available():
        sys.exit(f"skipped: {reason}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = (args.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        print(version())
        print(table(measure(folder, args.snr, args.seed, modes(args.particles, args.quick)), args.step))


if __name__ == "__main__":
    main()
