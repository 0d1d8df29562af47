"""What does FULL-SIRT of the paper's whole case cost, from files to file, and does the cost grow with the work alone?

    python bench/bench_sirt.py [--size 1024] [--thickness 58] [--iterations 100] [--folder DIR] [--scaling]

Simulates four axes of 121 views, then reconstructs them through the command line; wall and CPU seconds and peak memory
of that process as the kernel counted them (rusage of the child), and as the run itself recorded them.
--scaling: also a quarter and a half of the size, with a quarter of the iterations.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

AXES = (0, 45, 90, 135)
STEP = 1
VIEWS = len(AXES) * 121
PAPER = "641 minutes on 48 cores"


def run(arguments: list[str]) -> dict[str, float]:
    """`concordet ARGUMENTS` in a process of its own: wall and CPU seconds, peak bytes of resident memory."""
    sys.stdout.flush()
    begin = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "concordet", *arguments])
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"concordet {arguments[0]}: status {child.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return {"seconds": time.perf_counter() - begin, "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "peak_memory_bytes": usage.ru_maxrss * unit}


def case(size: int, thickness: int, iterations: int, threads: int, folder: Path) -> dict:
    """Simulate, unless `folder` holds the files already, and reconstruct; the figures of the reconstruction."""
    folder.mkdir(parents=True, exist_ok=True)
    stacks = [folder / f"axis_{axis:03}.mrc" for axis in AXES]
    if not all(stack.is_file() for stack in stacks):
        run(["simulate", "tilt-series", "-o", str(folder), "--phantom", "cell", "--axes", *map(str, AXES),
             "--tilt-range", "-60", "60", "--step", str(STEP), "--size", str(size), "--thickness", str(thickness),
             "--snr", "4", "--threads", str(threads)])
    output = folder / "sirt.mrc"
    figures = run(["reconstruct", *map(str, stacks), "--azimuth", *map(str, AXES), "--thickness", str(thickness),
                   "--method", "sirt", "--iterations", str(iterations), "--relaxation", "0.3", "--no-report",
                   "--threads", str(threads), "-o", str(output)])
    record = json.loads(output.with_suffix(".json").read_text())
    figures["record"] = record["performance"]
    figures["stages"] = record["stages"]
    figures["voxel_views"] = size * size * thickness * VIEWS * iterations
    return figures


def show(size: int, thickness: int, iterations: int, figures: dict) -> None:
    record = figures["record"]
    updates = 2 * figures["voxel_views"]
    print(f"{size} x {size} x {thickness}, {VIEWS} views, {iterations} iterations: wall {figures['seconds']:.1f} s, "
          f"CPU {figures['cpu_seconds']:.1f} s ({figures['cpu_seconds'] / 60:.1f} min), "
          f"peak {figures['peak_memory_bytes'] / 1e9:.2f} GB")
    print(f"    CPU ns per voxel-view (forward and back) {figures['cpu_seconds'] / figures['voxel_views'] * 1e9:.3f}, "
          f"{updates / figures['cpu_seconds'] * 1e-9:.2f} GUPS per core of the whole run")
    print(f"    its record: wall {record['seconds']:.1f} s, CPU {record['cpu_seconds']:.1f} s, "
          f"peak {record['peak_memory_bytes'][0] / 1e9:.2f} GB")
    for name, stage in figures["stages"].items():
        print(f"    {name:<16}{stage['seconds']:10.1f} s {stage['cpu_seconds']:10.1f} CPU s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="pixels and voxels along x and y (default: 1024)")
    parser.add_argument("--thickness", type=int, default=58, help="voxels along z (default: 58)")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: all cores")
    parser.add_argument("--scaling", action="store_true", help="three sizes")
    parser.add_argument("--folder", type=Path, help="keep the files here, and use those that are there")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    print(f"{args.threads} threads; load average at the start {os.getloadavg()[0]:.2f}; the paper: {PAPER}")
    few = max(1, args.iterations // 4)
    cases = [(args.size // 4, few), (args.size // 2, few)] if args.scaling else []
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        for size, iterations in [*cases, (args.size, args.iterations)]:
            folder = (args.folder or Path(scratch)) / f"{size}_{args.thickness}"
            results[size] = case(size, args.thickness, iterations, args.threads, folder)
            show(size, args.thickness, iterations, results[size])
    if args.scaling:
        # Reading, warping and writing are paid once, so the iterations' stage alone is compared.
        cost = {size: figures["stages"]["reconstruct"]["cpu_seconds"] / figures["voxel_views"] * 1e9
                for size, figures in results.items()}
        print("reconstruct stage, CPU ns per voxel-view: " + "  ".join(f"{s}: {ns:.3f}" for s, ns in cost.items()))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
