"""How close does DM-SIRT come to FULL-SIRT, and how far off is averaging, for 2, 4, 8, 16 axes?

    python bench/bench_methods.py [--axes 2 4 8 16] [--seeds 0 1 2] [--size 128] [--thickness 32] [--step 3]

Views come from the neutral simulator of the shared material ($CONCORDET_DATA, else ../shared); figures are
Pearson correlation with the truth in the central 80 % of every axis, and mean NCC with the views.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from concordet import evaluation
from concordet.io import read_volume

ROOT = Path(os.environ.get("CONCORDET_DATA") or Path(__file__).resolve().parents[2] / "shared")
SIMULATOR = ROOT / "acceptance" / "multi_axis.py"
METHODS = {
    "FBP": ["--method", "fbp"],
    "FULL-SIRT 100, lambda 0.3": ["--method", "sirt", "--iterations", "100", "--relaxation", "0.3"],
    "FULL-SIRT 20, lambda 1.9": ["--method", "sirt", "--iterations", "20", "--relaxation", "1.9"],
    "DirectCombine 32": ["--method", "direct-combine", "--iterations", "100", "--subsets", "32"],
    "DM-SIRT 32, 10 x 10": ["--preset", "paper"],
    "DM-SIRT 32 dealt, 1 x 25": ["--method", "dm-sirt", "--subsets", "32", "--grouping", "round-robin", "--inner", "1",
                                 "--outer", "25", "--relaxation", "1"],
}


def simulate(folder: Path, axes: int, seed: int, args: argparse.Namespace) -> tuple[list[Path], list[str]]:
    """Stacks and azimuths of one simulated experiment in `folder`."""
    azimuths = [180 * axis / axes for axis in range(axes)]
    subprocess.run([sys.executable, SIMULATOR, folder, "--size", str(args.size), "--nz", str(args.thickness), "--step",
                    str(args.step), "--snr", "4", "--seed", str(seed), "--axes", *map(str, azimuths)], check=True)
    return [folder / f"axis_{int(azimuth):03d}.mrc" for azimuth in azimuths], [str(azimuth) for azimuth in azimuths]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--axes", type=int, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--thickness", type=int, default=32)
    parser.add_argument("--step", type=float, default=3)
    args = parser.parse_args()
    if not SIMULATOR.is_file():
        sys.exit(f"skipped: no simulator at {SIMULATOR} (set CONCORDET_DATA)")
    print(f"{'axes':>4}{'seed':>5}  {'method':<28}{'correlation':>12}{'NCC':>8}{'CPU s':>8}")
    for axes in args.axes:
        for seed in args.seeds:
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                stacks, azimuths = simulate(folder / "views", axes, seed, args)
                truth, _ = read_volume(folder / "views" / "truth.mrc")
                output = folder / "volume.mrc"
                for name, flags in METHODS.items():
                    subprocess.run([sys.executable, "-m", "concordet", "reconstruct", *stacks, "--azimuth", *azimuths,
                                    "--thickness", str(args.thickness), "-o", output, "-q", "--no-report", *flags],
                                   check=True)
                    record = json.loads(output.with_suffix(".json").read_text())
                    correlation = evaluation.pearson(read_volume(output)[0], truth)
                    print(f"{axes:>4}{seed:>5}  {name:<28}{correlation:>12.4f}{record['quality']['ncc_fitted']:>8.4f}"
                          f"{record['performance']['cpu_seconds']:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
