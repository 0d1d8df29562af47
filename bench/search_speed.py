"""What does the search cost, in CPU milliseconds and in 64^3 FFTs, and beside RELION 3.1?

    python bench/search_speed.py [--boxes 32 64 128] [--threads 1 2] [--particles 32] [--skip-relion] [--json FILE]

Particles are blobs in noise (SNR 0.003) behind a wedge of +-60 degrees, made in Fourier space. The search: all
rotations at band limit 14 x 33 shifts, shells 1 to 9 at every box. CPU time is user + system of all threads, the least
of several runs, with the yardstick, one complex 64^3 FFT in single precision by one thread, timed between them.
pocketfft is the library of the kernels and of scipy; without scipy numpy's is taken, slower and named. RELION: see
relion_search.py.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import relion_search
from concordet import poses, rigid
from concordet.correlation import Matcher, shift_grid
from concordet.fourier import HalfSpace, Reference
from search_quality import (
    BAND_LIMIT,
    CANDIDATES,
    FULL_BAND,
    MAX_SHIFT,
    NEAR,
    SEARCH_SHELLS,
    SPACING,
    average,
    judge,
    read_particles,
    simulate,
)

SNR = 0.003
SWEEPS = 3
# What the issue asks for at 64^3 by one thread, in FFTs per particle.
LIMITS = {"search": 8, "score": 10, "refine": 50}
STAGES = ("expand", "search", "score", "refine")


@dataclass(frozen=True)
class Row:
    """CPU milliseconds per particle of each stage at one box and number of threads, `wall` alike.

    fft        of one FFT
    reference  of the transform and the harmonics of one reference, once per iteration
    kilobytes  of harmonics per particle
    """

    box: int
    threads: int
    particles: int
    fft: float
    reference: float
    kilobytes: float
    cpu: dict[str, float]
    wall: dict[str, float]

    def ffts(self, stage: str) -> float:
        return self.cpu[stage] / self.fft


def yardsticks() -> dict[str, Callable[[], object]]:
    """One complex64 FFT of 64^3 voxels by one thread, per library; the first is the one counted in."""
    rng = np.random.default_rng(0)
    data = (rng.standard_normal((64,) * 3) + 1j * rng.standard_normal((64,) * 3)).astype(np.complex64)
    found: dict[str, Callable[[], object]] = {}
    try:
        from scipy import fft
        found["pocketfft of scipy"] = lambda: fft.fftn(data, workers=1)
    except ModuleNotFoundError:
        pass
    found["numpy"] = lambda: np.fft.fftn(data)
    return found


def milliseconds(run: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall time of one run."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return 1e3 * (time.process_time() - cpu), 1e3 * (time.perf_counter() - wall)


def best_of(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, tuple[float, float]]:
    """Least CPU and wall milliseconds of each, run in turn `repeats` times after a first one that warms up."""
    times = [{name: milliseconds(run) for name, run in runs.items()} for _ in range(repeats + 1)][1:]
    return {name: (min(t[name][0] for t in times), min(t[name][1] for t in times)) for name in runs}


def blobs(box: int, rng: np.random.Generator) -> np.ndarray:
    """(n, n, n) float32: 40 Gaussians within a sphere of 0.3 n, sigma 0.035 n: nothing symmetric."""
    line = (np.arange(box) - box // 2) / box
    centres = rng.standard_normal((40, 3))
    centres *= 0.3 * rng.uniform(size=(40, 1)) ** (1 / 3) / np.linalg.norm(centres, axis=1, keepdims=True)
    x, y, z = (np.exp(-((line - centres[:, axis, None]) ** 2) / (2 * 0.035**2)) for axis in range(3))
    return np.einsum("cz,cy,cx->zyx", z, y, x).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """Particles of one box: coefficients, their shared wedge, the reference and its noise (variance 1)."""

    half: HalfSpace
    volume: np.ndarray
    reference: Reference
    p0: np.ndarray
    p1: np.ndarray


def make_case(box: int, particles: int) -> Case:
    """Rotated and shifted blobs in noise, everything a function of the box alone."""
    rng = np.random.default_rng(box)
    half = HalfSpace(box)
    volume = blobs(box, rng)
    volume *= np.sqrt(SNR / volume.var())
    reference = Reference(volume, threads=1)
    kx, kz = half.indices[:, 0], half.indices[:, 2]
    wedge = (np.abs(kz) <= np.tan(np.radians(60)) * np.abs(kx)).astype(np.float32)
    shifts = rng.uniform(-4, 4, (particles, 3)) * box / 64
    p0 = np.empty((particles, len(half)), np.complex64)
    for row, rotation, shift in zip(p0, rigid.random_rotations(particles, rng), shifts, strict=True):
        noise = (rng.standard_normal(len(half)) + 1j * rng.standard_normal(len(half))) / np.sqrt(2)
        phase = np.exp(-2j * np.pi / box * (half.indices @ shift))
        row[:] = wedge * (reference.project(half.indices, rotation)[0] * phase + noise)
    return Case(half, volume, reference, p0, wedge)


def measure(case: Case, threads: int, particles: int, repeats: int, fft: Callable[[], object]) -> Row:
    """All stages for the first `particles` of a case.

    expand   harmonics of every particle at every shift: once per data set
    search   all rotations and shifts, and the best CANDIDATES of them
    score    those, exactly, at the search band
    refine   SWEEPS sweeps of the best one at the full band
    """
    half, box = case.half, case.half.box
    scale = box / 64
    matcher = Matcher(box, shells=SEARCH_SHELLS, band_limit=BAND_LIMIT, threads=threads,
                      shifts=shift_grid(MAX_SHIFT * scale, SPACING * scale))
    low = len(matcher.half)
    p0, p1 = case.p0[:particles], case.p1
    low_p0 = np.ascontiguousarray(p0[:, :low])
    weights = matcher.expand_weights(p1[:low])
    ones = np.ones(matcher.shell_count)
    linear, squared = (values[None] for values in matcher.expand_reference(case.reference, ones))
    harmonics = matcher.expand(low_p0)
    options = {"xi": 2.5 * scale, "max_shift": MAX_SHIFT * scale, "threads": threads}
    inverse_noise = np.ones(len(half), np.float32)

    def search():
        return matcher.search(harmonics, weights, linear, squared, xi=options["xi"], count=CANDIDATES)

    candidates = search()
    rows = np.repeat(np.arange(particles), candidates.counts)
    meant = np.arange(CANDIDATES) < candidates.counts[:, None]
    scored = poses.score(case.reference, half, p0, p1, inverse_noise, rows, candidates.rotations[meant],
                         candidates.shifts[meant], band=SEARCH_SHELLS[1], **options)
    order = np.lexsort((-scored.likelihoods, rows))
    best = order[np.unique(rows[order], return_index=True)[1]]
    times = best_of({
        "fft": lambda: [fft() for _ in range(4)],
        "reference": lambda: matcher.expand_reference(Reference(case.volume, threads=threads), ones),
        "expand": lambda: matcher.expand(low_p0),
        "search": search,
        "score": lambda: poses.score(case.reference, half, p0, p1, inverse_noise, rows, candidates.rotations[meant],
                                     candidates.shifts[meant], band=SEARCH_SHELLS[1], **options),
        "refine": lambda: poses.refine(case.reference, half, p0, p1, inverse_noise, np.arange(particles),
                                       scored.rotations[best], scored.shifts[best], sweeps=SWEEPS, **options),
    }, repeats)
    # Scoring is stated for CANDIDATES, also where fewer maxima were found.
    share = {"score": CANDIDATES * particles / len(rows)}
    cpu, wall = ({stage: times[stage][kind] * share.get(stage, 1.0) / particles for stage in STAGES}
                 for kind in (0, 1))
    return Row(box, threads, particles, times["fft"][0] / 4, times["reference"][0],
               harmonics.nbytes / particles / 1e3, cpu, wall)


def table(rows: list[Row]) -> str:
    """Markdown: CPU milliseconds per particle and FFTs."""
    lines = ["| box | threads | particles | FFT ms | expand ms (FFTs) | search | 50 scored | refined | "
             "search, wall ms | a reference, ms |", "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        cells = [f"{row.cpu[stage]:.2f} ({row.ffts(stage):.1f})" for stage in STAGES]
        lines.append(f"| {row.box} | {row.threads} | {row.particles} | {row.fft:.2f} | {' | '.join(cells)} | "
                     f"{row.wall['search']:.2f} | {row.reference:.1f} |")
    return "\n".join(lines)


def beside_relion(search: float, whole: float, folder: Path, step: float, quick: bool) -> dict[str, float]:
    """RELION on the neutral ribosome particles, our hits on the same ones, and the ratios of CPU time per particle.

    search, whole   our CPU milliseconds per particle: the search alone; expansion, scoring and refinement too
    """
    snr, seed, count = 0.01, 1, 20
    costs = relion_search.measure(folder, snr, seed, relion_search.modes(count, quick))
    half = HalfSpace(relion_search.BOX, FULL_BAND)
    others = read_particles(simulate(folder, "ribosome", snr, seed + 100, 100), half)
    volume, noise = average(others)
    found = judge("grid", read_particles(simulate(folder, "ribosome", snr, seed, count), half),
                  Reference(volume, FULL_BAND), noise, float(np.sqrt((others.poses.shifts**2).mean())),
                  rigid.symmetry_group("C1"), np.random.default_rng(seed))
    seconds = relion_search.exhaustive_seconds(costs, step)
    print(f"\n{relion_search.version()}\n{relion_search.table(costs, step)}")
    print(f"Ours on the same particles: first within {NEAR:g} degrees {found.first:.0%}, refined {found.refined:.0%}, "
          f"{found.degrees:.1f} degrees, {found.voxels:.2f} voxels.")
    print(f"RELION's exhaustive search over ours: {1e3 * seconds / search:.0f}; over expansion, search, scoring and "
          f"refinement together: {1e3 * seconds / whole:.0f}")
    return {"relion_seconds": seconds, "over_search": 1e3 * seconds / search, "over_all": 1e3 * seconds / whole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--particles", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--skip-relion", action="store_true")
    parser.add_argument("--quick-relion", action="store_true", help="RELION without 7.5 degrees")
    parser.add_argument("--folder", type=Path, help="keep simulated particles here")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    libraries = yardsticks()
    timed = best_of(libraries, 4 * args.repeats)
    print("One complex 64^3 FFT: " + ", ".join(f"{name} {cpu:.2f} ms" for name, (cpu, _) in timed.items()) + "\n")
    fft = next(iter(libraries.values()))
    rows = []
    for box in args.boxes:
        case = make_case(box, 2 * args.particles if box == 64 else args.particles)
        rows += [measure(case, threads, args.particles, args.repeats, fft) for threads in args.threads]
        if box == 64:
            counts = {1, args.particles // 4, args.particles // 2, 2 * args.particles} - {0, args.particles}
            rows += [measure(case, 1, count, args.repeats, fft) for count in sorted(counts)]
    print(table(rows))
    print(f"\nHarmonics kept per particle: {rows[0].kilobytes:.0f} kB")
    record: dict = {"rows": [asdict(row) for row in rows]}
    standard = next((row for row in rows if (row.box, row.threads, row.particles) == (64, 1, args.particles)), None)
    if standard is not None:
        verdicts = [f"{stage} {standard.ffts(stage):.1f} FFTs (at most {limit})" for stage, limit in LIMITS.items()]
        kept = all(standard.ffts(stage) <= limit for stage, limit in LIMITS.items())
        print(f"\n64^3, one thread: {', '.join(verdicts)}: {'all hold' if kept else 'not all hold'}")
        reason = "asked to" if args.skip_relion else relion_search.available()
        if reason is None:
            with tempfile.TemporaryDirectory() as scratch:
                folder = (args.folder or Path(scratch)).resolve()
                folder.mkdir(parents=True, exist_ok=True)
                record["relion"] = beside_relion(standard.cpu["search"], sum(standard.cpu.values()), folder,
                                                 Matcher(64, band_limit=BAND_LIMIT).step, args.quick_relion)
        else:
            print(f"RELION skipped: {reason}", file=sys.stderr)
    if args.json:
        args.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
