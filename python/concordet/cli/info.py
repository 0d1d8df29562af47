"""concordet info: what a file is, as Concordet understood it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from concordet.cli import common
from concordet.errors import InputError
from concordet.io import (
    ALIGNMENT_ENDINGS,
    IMAGE_ENDINGS,
    is_particle_star,
    open_stack,
    read_alignment,
    read_angles,
    read_header,
    read_mdoc,
    read_particles,
    read_star,
    read_transforms,
    read_volume_transform,
    read_x_tilts,
)
from concordet.preprocessing import counts_electrons


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser("info", help="what files are", description="Say what files are, as understood here.")
    parser.set_defaults(run=run)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="one JSON object per file")
    common.add_common(parser)


def describe_mrc(path: Path) -> dict[str, Any]:
    header = read_header(path)
    middle = None
    if header.axes == (1, 2, 3):
        with open_stack(path) as stack:
            middle = stack.view(len(stack) // 2, check_finite=False)
    return {
        "kind": "MRC " + ("volume" if header.space_group == 1 else "stack or volume"),
        "size (x, y, z)": [header.columns, header.rows, header.sections],
        "mode": f"{header.mode} ({header.dtype})",
        "voxel size (A)": [round(size, 5) for size in header.voxel_size],
        "origin (A)": list(header.origin),
        "extended header (bytes)": header.extended_bytes,
        "labels": list(header.labels),
        "axes (column, row, section)": " ".join("xyz"[axis - 1] for axis in header.axes),
        "middle section": _grey_values(middle),
    }


def _grey_values(section: np.ndarray | None) -> str:
    if section is None:
        return "not read: its axes are not x and y"
    if not np.isfinite(section).all():
        return f"{np.count_nonzero(~np.isfinite(section))} pixels are NaN or infinite"
    return (f"mean {section.mean():.5g}, deviation {section.std():.5g}, {section.min():.5g} to {section.max():.5g}"
            + (", counts electrons" if counts_electrons(section) else ""))


def describe_angles(path: Path) -> dict[str, Any]:
    angles = read_angles(path)
    return {"kind": "tilt angles", "views": len(angles), "range (degrees)": [float(angles.min()), float(angles.max())],
            "ascending": bool(np.all(np.diff(angles) > 0))}


def describe_mdoc(path: Path) -> dict[str, Any]:
    mdoc = read_mdoc(path)
    return {**describe_angles(path), "kind": "SerialEM mdoc", "pixel spacing (A)": mdoc.pixel_spacing,
            "tilt axis angle (degrees)": mdoc.tilt_axis_angle}


def describe_transforms(path: Path) -> dict[str, Any]:
    try:
        transforms = read_transforms(path)
    except InputError as error:
        try:
            return {"kind": "3-D transform (solve.xf form)", "matrix": read_volume_transform(path).tolist()}
        except InputError:
            raise error from None
    rotation = np.rad2deg(np.arctan2(transforms[:, 1, 0], transforms[:, 0, 0]))
    return {"kind": "IMOD alignment, raw to aligned", "views": len(transforms),
            "rotation (degrees)": [float(rotation.min()), float(rotation.max())],
            "magnification": float(np.sqrt(np.abs(np.linalg.det(transforms[:, :, :2]))).mean()),
            "largest shift (pixels)": float(np.abs(transforms[:, :, 2]).max())}


def describe_alignment(path: Path) -> dict[str, Any]:
    found = read_alignment(path)
    return {"kind": "alignment of a tilt series ({})".format(
                {".aln": "AreTomo", ".star": "RELION 5", ".xml": "Warp"}[path.suffix.lower()]), "views": len(found),
            "tilts (degrees)": [float(found.tilts.min()), float(found.tilts.max())],
            "rotation (degrees)": [float(found.rotations.min()), float(found.rotations.max())],
            f"largest shift ({found.shift_unit})": float(np.abs(found.shifts).max()),
            "views left out": int(np.count_nonzero(~found.used)) if found.used is not None else 0,
            "notes": list(found.notes)}


def describe_star(path: Path) -> dict[str, Any]:
    return describe_particles(path) if is_particle_star(read_star(path)) else describe_alignment(path)


def describe_particles(path: Path) -> dict[str, Any]:
    found = read_particles(path, check_files=False)
    files = {place if isinstance(place, Path) else place[1] for place in found.paths + (found.weight_paths or ())}
    missing = sum(not file.is_file() for file in files)
    ctf = found.ctf if found.ctf == "premultiplied" or not missing else "not known without its files"
    largest = np.abs(found.poses.shifts).max() * found.voxel_size
    classes = None if found.classes is None else np.unique(found.classes, return_counts=True)
    return {"kind": f"particles ({found.version})", "particles": len(found),
            "box (voxels)": found.box or "not known without its files", "voxel size (A)": round(found.voxel_size, 5),
            "poses": f"shifts to {largest:.5g} A along an axis" if found.has_poses else "none",
            "classes": "none" if classes is None else {int(k): int(count) for k, count in zip(*classes, strict=True)},
            "weights": "none" if found.weight_paths is None else f"{len(set(found.weight_paths))} volumes",
            "data and weights": "no weights" if found.weight_paths is None else ctf,
            "files missing": f"{missing} of {len(files)}"}


def describe_x_tilts(path: Path) -> dict[str, Any]:
    angles = read_x_tilts(path)
    return {"kind": "x-axis tilts", "views": len(angles), "range (degrees)": [float(angles.min()), float(angles.max())]}


READERS = {
    **dict.fromkeys(IMAGE_ENDINGS, describe_mrc),
    ".tlt": describe_angles, ".rawtlt": describe_angles, ".mdoc": describe_mdoc,
    **dict.fromkeys(ALIGNMENT_ENDINGS, describe_alignment), ".star": describe_star,
    ".xf": describe_transforms, ".tltxf": describe_transforms, ".xtilt": describe_x_tilts,
}


def run(args: argparse.Namespace) -> int:
    for path in args.files:
        ending = Path(path.name.lower().removesuffix(".gz")).suffix
        if ending not in READERS:
            raise InputError(f"{path}: expected a file ending in {' '.join(READERS)}, got '{ending or path.name}'")
        found = READERS[ending](path)
        if args.json:
            print(json.dumps({"file": str(path), **found}))
            continue
        print(path)
        for name, value in found.items():
            print(f"  {name:<24} {value}")
    return 0
