"""What do an average without a reference and RELION 3.1 cost on the same particles, to the same quality?

    python bench/relion_averaging.py [--experiment a] [--seed 1] [--iterations 10] [--folder DIR] [--quick]

100 particles of GroEL at SNR 0.003 (see seed_averaging.py), no symmetry, one thread each. Both compare particles with
references to 36 A in the E-step: shell 10.67 of 64, 11 in ours. RELION starts from the average of the particles at
random rotations, samples 30 degrees and 3.5 voxels, doubled adaptively (15 degrees, 1.75 voxels), and regularises as
its 3-D classification does (T = 4). CPU seconds are user + system; after which iteration of RELION is read from /proc
(Linux). r: correlation with the truth after the best alignment, of the maps of every iteration; ours ends with one
average in the poses found, to Nyquist, as RELION's maps reach beyond its likelihood.
RELION takes about ten minutes; what it found is kept in --folder and taken from there again. --quick: 20 particles,
three iterations. Without RELION on the path (`apt install relion`) or the neutral simulator nothing is run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from concordet import evaluation, rigid
from concordet.averaging import Averager, best_poses
from concordet.io import read_star, read_volume
from concordet.io.star import write_star
from relion_search import available, version
from seed_averaging import EXPERIMENTS, MAPS, Case, mask_of, neutral, read_case, settings_of, simulate

LIMIT = 36.0  # angstrom
START = 60.0  # angstrom, of RELION's first reference
CLOSE = 0.01  # of the better r
ASKED, AIM = 8, 50


@dataclass(frozen=True)
class Course:
    """CPU seconds spent and r after each iteration; the last map's r of the neutral evaluator."""

    seconds: list[float]
    r: list[float]
    neutral: float
    near: float

    def until(self, r: float) -> float | None:
        """CPU seconds until r was reached."""
        return next((spent for spent, reached in zip(self.seconds, self.r, strict=True) if reached >= r), None)


def random_start(star: Path, count: int, seed: int, output: Path) -> None:
    """The first `count` particles at random rotations."""
    blocks = {name: dict(block.columns or block.pairs) for name, block in read_star(star).items()}
    particles = {label: values[:count] for label, values in blocks["particles"].items()}
    rotations = rigid.random_rotations(count, np.random.default_rng(seed))
    for label, angles in zip(("Rot", "Tilt", "Psi"), rigid.to_relion(rotations).T, strict=True):
        particles[f"rlnAngle{label}"] = [f"{angle:.4f}" for angle in angles]
    write_star(output, {**blocks, "particles": particles})


def cpu_of(process: int) -> float:
    """User and system seconds that a process has spent."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_relion(case: Case, count: int, iterations: int, seed: int, output: Path) -> list[float]:
    """CPU seconds after each iteration, the making of the first reference included; maps lie in `output`."""
    kept = output / "seconds.json"
    if kept.is_file():
        return json.loads(kept.read_text())
    output.mkdir(parents=True, exist_ok=True)
    star, start = output / "random.star", output / "start.mrc"
    random_start(case.place / "particles.star", count, seed, star)
    before = os.times()
    quiet = {"cwd": case.place, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["relion_reconstruct", "--i", star, "--o", start, "--3d_rot", "--ctf", "--maxres", str(START),
                    "--pad", "2"], check=True, **quiet)
    after = os.times()
    first = after.children_user + after.children_system - before.children_user - before.children_system
    diameter = 0.84 * case.box * case.voxel_size
    process = subprocess.Popen([
        "relion_refine", "--i", star, "--o", output / "run", "--ref", start, "--iter", str(iterations), "--K", "1",
        "--sym", "C1", "--ctf", "--norm", "--scale", "--healpix_order", "1", "--oversampling", "1", "--offset_range",
        "7", "--offset_step", "3.5", "--strict_highres_exp", str(LIMIT), "--ini_high", str(START), "--tau2_fudge", "4",
        "--particle_diameter", f"{diameter:.0f}", "--zero_mask", "--flatten_solvent", "--pad", "2", "--j", "1",
        "--dont_check_norm", "--random_seed", str(seed)], **quiet)
    seconds: list[float] = []
    spent = 0.0
    while len(seconds) < iterations:
        running = process.poll() is None
        if running:
            spent = cpu_of(process.pid)
        while (output / f"run_it{len(seconds) + 1:03d}_model.star").is_file():
            seconds.append(first + spent)
            print(f"RELION, iteration {len(seconds)}: {seconds[-1]:.0f} CPU s", flush=True)
        if not running:
            break
        time.sleep(0.2)
    if process.wait() != 0 or len(seconds) < iterations:
        raise SystemExit(f"relion_refine ended with {process.returncode} after {len(seconds)} iterations")
    kept.write_text(json.dumps(seconds) + "\n")
    return seconds


def relion_poses(path: Path, voxel_size: float) -> rigid.Poses:
    """Poses in the order of the particles."""
    table = read_star(path)["particles"]
    order = np.argsort(table.texts("rlnImageName"))
    angles = (table.floats(f"rlnAngle{name}")[order] for name in ("Rot", "Tilt", "Psi"))
    shifts = -np.stack([table.floats(f"rlnOrigin{axis}Angst")[order] for axis in "XYZ"], axis=1) / voxel_size
    return rigid.Poses(rigid.from_relion(*angles), shifts)


def judged(case: Case, maps: list[np.ndarray], seconds: list[float], poses: rigid.Poses) -> Course:
    truth = case.truths[0]
    group = evaluation.dihedral_group(7, evaluation.dihedral_azimuth(truth, 7)[0])
    r = [evaluation.align(one, truth, threads=1).correlation for one in maps]
    near = evaluation.pose_errors(poses, case.poses[np.arange(len(poses))], group).within(15.0)
    return Course(seconds, r, neutral(maps[-1], truth, case.voxel_size), near)


def relion(case: Case, count: int, iterations: int, seed: int, output: Path) -> Course:
    seconds = run_relion(case, count, iterations, seed, output)
    maps = [read_volume(output / f"run_it{k:03d}_class001.mrc")[0] for k in range(1, len(seconds) + 1)]
    return judged(case, maps, seconds, relion_poses(output / f"run_it{len(seconds):03d}_data.star", case.voxel_size))


def ours(case: Case, count: int, method: str, iterations: int) -> Course:
    """The standard schedule with no shell beyond LIMIT; then one average to Nyquist."""
    particles = case.select(np.arange(count))
    limit = int(case.box * case.voxel_size / LIMIT + 0.5)
    plain = settings_of(method, "standard", case.box)
    settings = settings_of(method, "standard", case.box, bands=tuple(min(band, limit) for band in plain.bands),
                           follow=False, iterations=iterations)
    mask = mask_of("standard", case.box)
    maps, seconds = [], []
    began = time.process_time()
    averager = Averager(particles, settings, mask=mask, threads=1)
    last = {}

    def keep(progress, model, posterior, shares):
        maps.append(model.volumes[0])
        seconds.append(time.process_time() - began)
        last.update(model=model, posterior=posterior, shares=shares)

    averager.run(averager.start(), on_iteration=keep)
    poses = best_poses(last["posterior"], last["shares"])
    whole = settings_of(method, "standard", case.box, bands=None, poses="fixed", folds=1, iterations=2)
    final = Averager(particles, whole, mask=mask, initial=poses, threads=1)
    maps.append(final.run(final.start()).model.volumes[0])
    seconds.append(time.process_time() - began)
    return judged(case, maps, seconds, poses)


def table(courses: dict[str, Course]) -> str:
    """Markdown, and the ratios of CPU time."""
    better = max(course.r[-1] for course in courses.values())
    lines = ["| program | iterations | CPU s in all | r | neutral r | within 15 degrees | CPU s to within "
             f"{CLOSE:g} of the better r |", "| --- " * 7 + "|"]
    for name, one in courses.items():
        reached = one.until(better - CLOSE)
        lines.append(f"| {name} | {len(one.seconds)} | {one.seconds[-1]:.1f} | {one.r[-1]:.3f} | {one.neutral:.3f} | "
                     f"{one.near:.0%} | {'never' if reached is None else f'{reached:.1f}'} |")
    for name, one in courses.items():
        lines.append(f"\n{name}: r of each iteration " + " ".join(f"{r:.3f}" for r in one.r))
    theirs = courses["RELION"]
    for name, one in courses.items():
        if name == "RELION":
            continue
        mine, other = one.until(better - CLOSE), theirs.until(better - CLOSE)
        if mine is None:
            lines.append(f"\n{name} never comes within {CLOSE:g} of the better r.")
            continue
        least = theirs.seconds[-1] if other is None else other
        lines.append(f"\n{name}: {least / mine:.0f} times less CPU time than RELION"
                     + (", which never comes as close" if other is None else "")
                     + f" (at least {ASKED}, aim {AIM}: {'holds' if least / mine >= ASKED else 'DOES NOT HOLD'}).")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiment", choices=[name for name, one in EXPERIMENTS.items()
                                                 if len(one.maps) == 1 and not one.ctf], default="a")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=10, help="of RELION")
    parser.add_argument("--our-iterations", type=int, default=20, help="at most")
    parser.add_argument("--quick", action="store_true", help="20 particles, three iterations of RELION")
    parser.add_argument("--folder", type=Path, help="keep particles, and what RELION found, here")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if reason := available():
        sys.exit(f"skipped: {reason}")
    if shutil.which("relion_reconstruct") is None:
        sys.exit("skipped: no relion_reconstruct on the path (Debian package relion)")
    one = EXPERIMENTS[args.experiment]
    count = min(20, one.counts[0]) if args.quick else one.counts[0]
    iterations = 3 if args.quick else args.iterations
    with tempfile.TemporaryDirectory() as scratch:
        folder = (args.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        star = simulate(folder, f"{args.experiment}{args.seed}", [MAPS / path for path in one.maps], one.counts,
                        one.snr, args.seed, tilt=one.tilt, orientations=one.orientations)
        case = read_case(star)
        courses = {f"ours, {method}": ours(case, count, method, args.our_iterations) for method in ("FAML", "FA")}
        output = folder / f"relion_{args.experiment}{args.seed}_{count}_{iterations}"
        courses["RELION"] = relion(case, count, iterations, args.seed, output)
        print(f"{version()}\n{table(courses)}")
    if args.json:
        args.json.write_text(json.dumps({name: vars(course) for name, course in courses.items()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
