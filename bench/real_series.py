"""Which method predicts views of a real cryo series that it never saw? Prints a table, draws the README's picture.

    python bench/real_series.py [--bin 2] [--output DIR] [--picture FILE.png]

Data: EMPIAR-10499, series 00254, 41 views, in the shared material ($CONCORDET_DATA, else ../shared).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from concordet import report
from concordet.io import read_volume

ROOT = Path(os.environ.get("CONCORDET_DATA") or Path(__file__).resolve().parents[2] / "shared")
SERIES = ROOT / "data" / "empiar10499_00254"
# The slab that holds the cell: 120 slices of 20 A, its middle 7 slices above the tilt axis.
SLICES, SHIFT, VOXEL = 120, -7, 20
METHODS = {
    "fbp": ["--method", "fbp"],
    "fbp, ramp": ["--method", "fbp", "--filter", "ramp"],
    "sirt": ["--method", "sirt", "--relaxation", "1", "--iterations", "60"],
    "dm-sirt": ["--method", "dm-sirt", "--subsets", "4", "--inner", "10", "--outer", "10"],
}


def run(name: str, flags: list[str], binning: int, folder: Path) -> tuple[Path, dict]:
    """One reconstruction through the command line: its volume and its record."""
    scale = 2 / binning
    output = folder / f"{name.replace(', ', '_')}.mrc"
    subprocess.run([
        sys.executable, "-m", "concordet", "reconstruct", SERIES / "00254.stack.mrc",
        "--angles", SERIES / "00254.tlt", "--alignment", SERIES / "00254.xf", "--flip-hand", "--beads", "100",
        "--bin", str(binning), "--thickness", str(round(SLICES * scale)), "--z-shift", str(SHIFT * scale),
        "--hold-out", "0.1", "-o", output, *flags], check=True)
    return output, json.loads(output.with_suffix(".json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=int, default=2)
    parser.add_argument("--output", type=Path, help="keep volumes and reports here")
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    if not SERIES.is_dir():
        sys.exit(f"skipped: no series at {SERIES} (set CONCORDET_DATA)")
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.output or Path(scratch)
        folder.mkdir(exist_ok=True)
        volumes = {}
        print("method       iterations  NCC held out  200-40 A  seconds   CPU s    GB")
        for name, flags in METHODS.items():
            output, record = run(name, flags, args.bin, folder)
            quality, performance = record["quality"], record["performance"]
            print(f"{name:<12}{record['iterations']:>11}{quality['ncc_held_out']:>14.4f}"
                  f"{quality['ncc_held_out_band']:>10.4f}{performance['seconds']:>9.1f}"
                  f"{performance['cpu_seconds']:>8.1f}{performance['peak_memory_bytes'][0] / 1e9:>6.2f}", flush=True)
            if "ramp" not in name:
                volumes[name] = read_volume(output)[0]
        if args.picture:
            report.picture(args.picture, volumes, voxel_size=VOXEL * args.bin / 2, matter_high=False, thickness=5,
                           panel_width=4.2)


if __name__ == "__main__":
    main()
