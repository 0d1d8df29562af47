"""How fast are projection and back-projection, beside what the machine allows and beside ASTRA?

    python bench/bench_projection.py [--size 1024] [--thickness 58] [--kernels DIR] [--skip-astra] [--json FILE]

Speeds are giga voxel-view updates per second of one core (GUPS): voxels x views / CPU seconds, best of several.
A 4-tap update (tilt axis at 45 degrees) counts 4 multiply-adds, a 2-tap one (0 and 90) counts 2.
--kernels DIR: the executables of bench/kernels; without it they are built in a temporary folder, which needs
cmake and the build requirements of pyproject.toml. ASTRA: `pip install astra-toolbox==2.5`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from concordet.geometry import tilt_series
from concordet.projection import Projector, TiltData, instruction_set, zeros_volume
from concordet.reconstruction import sirt

ROOT = Path(__file__).resolve().parents[1]
AZIMUTHS = (0, 45, 90)
TILTS = np.linspace(-60, 60, 121)
# What the issue holds the engine to, of the multiply-add peak at 45 degrees, and of ASTRA.
FORWARD_SHARE, ADJOINT_SHARE, ASTRA_RATIO = 0.40, 0.30, 25
# ASTRA's case: a slab of 512 x 64 x 128 (x, y, z), reconstructed slice by slice in the x-z plane.
ASTRA_SHAPE = (128, 64, 512)
ASTRA_SLICES = 4


def best_seconds(run: Callable[[], object], repeats: int) -> float:
    """Least CPU seconds of `repeats` runs, by one thread: they leave out the time that other programs had the core."""
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        run()
        seconds.append(time.process_time() - begin)
    return min(seconds)


def projector_of(shape: tuple[int, int, int], azimuth: float) -> Projector:
    return Projector(tilt_series(TILTS, (shape[1], shape[2]), azimuth=azimuth), shape, threads=1)


def speeds(shape: tuple[int, int, int], azimuth: float, repeats: int) -> dict[str, float]:
    """GUPS of `Projector.shear_sum` and `shear_adjoint` over all TILTS, in groups of views; shape (z, y, x) voxels."""
    projector = projector_of(shape, azimuth)
    volume = zeros_volume(shape)
    volume[...] = np.arange(shape[2], dtype=np.float32) % 11
    groups = list(projector.view_groups(projector.all_views))
    images = projector.zeros_images(max(map(len, groups)))

    def forward() -> None:
        for group in groups:
            projector.shear_sum(volume, group, images[: len(group)])

    def adjoint() -> None:
        for group in groups:
            projector.shear_adjoint(images[: len(group)], group, volume)

    updates = volume.size * len(projector) * 1e-9
    return {"forward": updates / best_seconds(forward, repeats), "adjoint": updates / best_seconds(adjoint, repeats)}


def built_kernels(folder: Path) -> Path:
    """The executables of bench/kernels, built in `folder`."""
    for command in (["cmake", "-S", ROOT, "-B", folder, "-DCONCORDET_BENCHMARKS=ON",
                     f"-DPython_EXECUTABLE={sys.executable}"], ["cmake", "--build", folder, "--parallel"]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"bench/kernels: cannot be built; give --kernels DIR\n{done.stderr.strip()}")
    return folder / "bench" / "kernels"


def kernel_figures(kernels: Path, arguments: list[str], repeats: int) -> dict[str, dict]:
    """What `machine_limits` and `bench_projection` of `kernels` print as JSON; their text goes to stdout."""
    figures = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, flags in (("machine_limits", []), ("bench_projection", [*arguments, "--repeats", str(repeats)])):
            output = Path(scratch) / f"{name}.json"
            if not (kernels / name).is_file():
                sys.exit(f"{kernels}: expected the executable {name}, built with -DCONCORDET_BENCHMARKS=ON")
            sys.stdout.flush()
            subprocess.run([kernels / name, *flags, "--json", output], check=True)
            figures[name] = json.loads(output.read_text())
    return figures


def astra_iteration(angles: np.ndarray, shape: tuple[int, int, int]) -> Callable[[int], float]:
    """CPU seconds of one iteration of ASTRA's SIRT, all y of (z, y, x), from ASTRA_SLICES slices run `n` times."""
    import astra

    nz, ny, nx = shape
    volumes = astra.create_vol_geom(nz, nx)
    projections = astra.create_proj_geom("parallel", 1.0, nx, angles)
    projector = astra.create_projector("linear", projections, volumes)
    data = np.random.default_rng(0).random((len(angles), nx), np.float32)
    algorithms = []
    for _ in range(ASTRA_SLICES):
        configuration = astra.astra_dict("SIRT")
        configuration["ProjectorId"] = projector
        configuration["ProjectionDataId"] = astra.data2d.create("-sino", projections, data)
        configuration["ReconstructionDataId"] = astra.data2d.create("-vol", volumes, 0)
        algorithms.append(astra.algorithm.create(configuration))
        astra.algorithm.run(algorithms[-1], 1)    # makes the row and column sums

    def seconds(iterations: int) -> float:
        begin = time.process_time()
        for algorithm in algorithms:
            astra.algorithm.run(algorithm, iterations)
        return (time.process_time() - begin) / iterations * ny / len(algorithms)

    return seconds


def sirt_iteration(azimuth: float, shape: tuple[int, int, int]) -> Callable[[int], float]:
    """CPU seconds of one iteration of `sirt`, weights made before, by one thread."""
    data = TiltData(projector_of(shape, azimuth))
    data.images[...] = np.random.default_rng(0).random(data.images.shape, np.float32)
    column_weights = data.column_weights(data.projector.all_views)

    def seconds(iterations: int) -> float:
        begin = time.process_time()
        sirt(data, iterations=iterations, column_weights=column_weights)
        return (time.process_time() - begin) / iterations

    return seconds


def compare_with_astra(repeats: int) -> dict[str, float]:
    """GUPS (forward and back counted each) of a SIRT iteration: ASTRA's and ours, in turn, best of `repeats`."""
    contestants = {"astra": astra_iteration(np.deg2rad(TILTS), ASTRA_SHAPE)}
    contestants |= {f"azimuth {azimuth}": sirt_iteration(azimuth, ASTRA_SHAPE) for azimuth in AZIMUTHS}
    seconds = dict.fromkeys(contestants, np.inf)
    for _ in range(repeats):
        for name, iteration in contestants.items():
            seconds[name] = min(seconds[name], iteration(2 if name == "astra" else 5))
    updates = 2 * np.prod(ASTRA_SHAPE) * len(TILTS) * 1e-9
    return {name: float(updates / one) for name, one in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="voxels along x and y (default: 1024)")
    parser.add_argument("--thickness", type=int, default=58, help="voxels along z (default: 58)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kernels", type=Path, help="folder of the executables of bench/kernels (default: build them)")
    parser.add_argument("--skip-kernels", action="store_true", help="only what Python sees")
    parser.add_argument("--skip-astra", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    figures: dict[str, object] = {"instruction_set": instruction_set(), "load_average": os.getloadavg()[0]}
    print(f"load average at the start {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")

    peak = None
    if not args.skip_kernels:
        with tempfile.TemporaryDirectory() as folder:
            kernels = args.kernels or built_kernels(Path(folder))
            shape_flags = ["--size", str(args.size), "--thickness", str(args.thickness)]
            figures |= kernel_figures(kernels, shape_flags, args.repeats)
        peak = figures["machine_limits"]["multiply_add"][instruction_set()]["one"]

    print(f"\nfrom Python, {instruction_set()}, one thread, {len(TILTS)} views of +-60 degrees")
    print("    size  azimuth   forward  of peak   adjoint  of peak")
    sizes = {}
    for size in (args.size // 4, args.size // 2, args.size):
        for azimuth in AZIMUTHS if size == args.size else (45,):
            # Smaller sizes are run as much more often as they are smaller.
            repeats = args.repeats * (args.size // size)
            speed = speeds((args.thickness, size, size), azimuth, repeats)
            sizes[f"{size}, {azimuth}"] = speed
            taps = 4 if azimuth % 90 else 2
            shares = {way: taps * gups / peak for way, gups in speed.items()} if peak else {}
            texts = [f"{speed[way]:10.2f}" + (f"{shares[way]:9.0%}" if peak else "        -") for way in speed]
            print(f"{size:>8}{azimuth:>9}{''.join(texts)}")
    figures["python"] = sizes
    if peak:
        at_45 = {way: 4 * gups / peak for way, gups in sizes[f"{args.size}, 45"].items()}
        for way, required in (("forward", FORWARD_SHARE), ("adjoint", ADJOINT_SHARE)):
            print(f"{way} at 45 degrees: {at_45[way]:.0%} of the multiply-add peak, {required:.0%} required: "
                  f"{'holds' if at_45[way] >= required else 'FAILS'}")
    cost = {size: 1 / sizes[f"{size}, 45"]["forward"] + 1 / sizes[f"{size}, 45"]["adjoint"]
            for size in (args.size // 4, args.size // 2, args.size)}
    print("time per voxel-view at 45 degrees, forward and back, ns: "
          + "  ".join(f"{size}: {ns:.3f}" for size, ns in cost.items()))

    if not args.skip_astra:
        try:
            speed = compare_with_astra(args.repeats)
        except ImportError:
            sys.exit("astra-toolbox is not installed: --skip-astra, or pip install astra-toolbox==2.5")
        figures["sirt"] = speed
        nz, ny, nx = ASTRA_SHAPE
        print(f"\na SIRT iteration of {nx} x {ny} x {nz} voxels (x, y, z), {len(TILTS)} views, one thread, GUPS")
        for name, gups in speed.items():
            print(f"{name:>12}{gups:8.2f}{gups / speed['astra']:8.1f} x ASTRA")
        least = min(gups for name, gups in speed.items() if name != "astra") / speed["astra"]
        print(f"at least {least:.0f} times ASTRA, {ASTRA_RATIO} required: "
              f"{'holds' if least >= ASTRA_RATIO else 'FAILS'}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
