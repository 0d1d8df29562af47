"""IMOD's text files: tilt angles (.tlt .rawtlt), tilts about x (.xtilt), 2-D (.xf) and 3-D (solve.xf) maps.

Free-format numbers, no comments; blank lines are skipped. Values come as they stand in the file: signs and
centres are geometry's to convert.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from concordet.errors import InputError

from .output import PathLike, atomic_output, check_output, reason

_LARGEST_TEXT = 1 << 26
_SINGULAR = 1e-6  # |det| against the squared size of the matrix; real .xf files have about 0.5


def read_tilt_angles(path: PathLike, count: int | None = None, *, stack: PathLike = "") -> np.ndarray:
    """Tilt angles of a .tlt or .rawtlt file, one or many per line, in the order of the stack.

    Parameters
    ----------
    path : file
    count : views expected; None: any number >= 1
    stack : the file the views are in, for the message when the count differs

    Returns
    -------
    (n,) float64, degrees, -180 <= angle <= 180

    Raises
    ------
    InputError : not finite numbers in range (the line is named), none at all, or not `count`
    """
    return _read_angles(path, "tilt angle", count, stack)


def read_x_tilts(path: PathLike, count: int | None = None, *, stack: PathLike = "") -> np.ndarray:
    """Tilts about x of an .xtilt file, in the file's sign; otherwise as `read_tilt_angles`."""
    return _read_angles(path, "x-axis tilt", count, stack)


def read_transforms(path: PathLike, count: int | None = None, *, stack: PathLike = "") -> np.ndarray:
    """Transforms of an .xf (or .tltxf) file, one line `a11 a12 a21 a22 dx dy` per view of the stack.

    out - c = A (in - c) + d in pixels about the image centre, in: raw, out: aligned (geometry_oracle row 9).

    Returns
    -------
    (n, 2, 3) float64, [[a11, a12, dx], [a21, a22, dy]]

    Raises
    ------
    InputError : a line without exactly 6 finite numbers (so for local-alignment and midas files), a singular
        matrix (the view is named), none at all, or not `count`
    """
    rows: list[list[list[float]]] = []
    for line, words in _lines(path):
        if len(words) != 6:
            raise InputError(
                f"{path}: line {line}: expected 6 numbers, a11 a12 a21 a22 dx dy of one view "
                f"(no local-alignment or midas file), got {len(words)}"
            )
        a11, a12, a21, a22, dx, dy = (number(path, line, word, "a number") for word in words)
        if _is_singular(matrix := [[a11, a12], [a21, a22]]):
            raise InputError(
                f"{path}: line {line}: expected a matrix that can be inverted for view {len(rows)} "
                f"(counted from 0), got {matrix}"
            )
        rows.append([[a11, a12, dx], [a21, a22, dy]])
    check_count(path, "transforms", len(rows), count, stack)
    return np.array(rows, np.float64)


def read_volume_transform(path: PathLike) -> np.ndarray:
    """A 3-D transform (solve.xf form): 3 lines of 4 numbers, out = M in + d in voxels.

    Axis order (column, row, section) of IMOD's volumes, as the file has it.

    Returns
    -------
    (3, 4) float64, [M | d]

    Raises
    ------
    InputError : other than 3 lines of 4 finite numbers, or M is singular
    """
    rows = []
    for line, words in _lines(path):
        if len(words) != 4:
            raise InputError(f"{path}: line {line}: expected 4 numbers (3-D transform), got {len(words)}")
        rows.append([number(path, line, word, "a number") for word in words])
    if len(rows) != 3:
        raise InputError(f"{path}: expected 3 lines of 4 numbers (3-D transform), got {len(rows)}")
    transform = np.array(rows, np.float64)
    if _is_singular(transform[:, :3]):
        raise InputError(f"{path}: expected a matrix that can be inverted, got {transform[:, :3].tolist()}")
    return transform


def write_tilt_angles(path: PathLike, angles: np.ndarray) -> None:
    """Write (n,) angles in degrees, one per line to 1e-4; whole or not at all."""
    _write(path, (f"{angle:10.4f}" for angle in np.asarray(angles, np.float64)))


def write_transforms(path: PathLike, transforms: np.ndarray) -> None:
    """Write (n, 2, 3) transforms, one .xf line per view; whole or not at all."""
    rows = np.asarray(transforms, np.float64)
    if rows.ndim != 3 or rows.shape[1:] != (2, 3):
        raise ValueError(f"transforms must have shape (n, 2, 3), got {rows.shape}")
    _write(
        path,
        (
            f"{a11:13.8f}{a12:13.8f}{a21:13.8f}{a22:13.8f}{dx:13.4f}{dy:13.4f}"
            for (a11, a12, dx), (a21, a22, dy) in rows
        ),
    )


def read_text(path: PathLike) -> str:
    """Contents of a text file (UTF-8, failing that Latin-1); InputError when it is missing or not text."""
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"{path}: expected a text file, got a folder")
        if path.stat().st_size > _LARGEST_TEXT:
            raise InputError(f"{path}: expected a text file, got {path.stat().st_size} bytes")
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: expected a text file, got no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a text file, got {reason(error)}") from None
    if b"\0" in content:
        raise InputError(f"{path}: expected a text file, got binary data")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def check_count(path: PathLike, what: str, found: int, count: int | None, stack: PathLike) -> None:
    """Refuse a file with no entries, or, when `count` is given, with other than `count` of them."""
    if found == 0:
        raise InputError(f"{path}: expected {what}, got none")
    if count is not None and found != count:
        source = f"views in {stack}" if stack else "one per view"
        raise InputError(f"{path}: expected {count} {what} ({source}), got {found}")


def number(path: PathLike, line: int, word: str, expected: str) -> float:
    """A finite number, or InputError naming the line and what was `expected`."""
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    # float() also takes 1_000, which no program writes.
    if not math.isfinite(value) or "_" in word:
        raise InputError(f"{path}: line {line}: expected {expected}, got {word[:40]!r}")
    return value


def _read_angles(path: PathLike, what: str, count: int | None, stack: PathLike) -> np.ndarray:
    angles = []
    for line, words in _lines(path):
        for word in words:
            angle = number(path, line, word, f"a {what} in degrees")
            if abs(angle) > 180:
                raise InputError(f"{path}: line {line}: expected a {what} in -180 .. 180 degrees, got {word}")
            angles.append(angle)
    check_count(path, f"{what}s", len(angles), count, stack)
    return np.array(angles, np.float64)


def _lines(path: PathLike) -> Iterator[tuple[int, list[str]]]:
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        if words := text.split():
            yield line, words


def _is_singular(matrix) -> bool:
    matrix = np.asarray(matrix, np.float64)
    size = math.sqrt(np.square(matrix).sum())
    return size == 0 or abs(np.linalg.det(matrix / size)) <= _SINGULAR


def _write(path: PathLike, lines: Iterator[str]) -> None:
    check_output(path, endings=())
    with atomic_output(path) as beside:
        beside.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
