"""Warp's .xml of a tilt series: angles, shifts, dose."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from concordet.errors import InputError

from .alignment import SeriesAlignment, check_angles
from .imod import check_count, read_text
from .output import PathLike

# Grids that move matter or images; zero everywhere when they do nothing.
_MOTION_GRIDS = ("GridMovementX", "GridMovementY", "GridVolumeWarpX", "GridVolumeWarpY", "GridVolumeWarpZ",
                 "GridAngleX", "GridAngleY", "GridAngleZ")


@dataclass(frozen=True)
class WarpTiltSeries:
    """A tilt series as Warp has it, rows in Warp's order.

    (u, v) = n / 2 + offset / pixel + [Rz(axis_angle) Ry(-(angle + level_angle_y)) Rx(level_angle_x) p]_xy

    p from n / 2 of the volume (warpylib 1.1.2, to 0.002 angstrom). Its z is mirrored against IMOD's and
    RELION's for the same angles.

    Attributes
    ----------
    path : file
    angles, axis_angles : (n,) degrees
    offsets : (n, 2) angstrom along u, v
    used : (n,) bool, UseTilt
    doses : (n,) electrons per square angstrom before and with each image, None where the file does not say
    movies : names, None where the file does not say
    level_angle_x, level_angle_y : degrees
    are_angles_inverted : bool; enters Warp's defocus gradient only, no position
    magnification : four numbers of MagnificationCorrection; Warp applies it to no position
    motion_grids : names of the grids of movement, warp and angles that are not zero everywhere
    """

    path: Path
    angles: np.ndarray
    axis_angles: np.ndarray
    offsets: np.ndarray
    used: np.ndarray
    doses: np.ndarray | None
    movies: tuple[str, ...] | None
    level_angle_x: float
    level_angle_y: float
    are_angles_inverted: bool
    magnification: tuple[float, ...]
    motion_grids: tuple[str, ...]

    def alignment(self) -> SeriesAlignment:
        notes = []
        if self.motion_grids:
            notes.append(f"its {', '.join(self.motion_grids)} are read but not used")
        if self.magnification != (1, 0, 0, 1):
            notes.append("its MagnificationCorrection is read but not used")
        tilts = -(self.angles + self.level_angle_y)
        return SeriesAlignment(
            path=self.path, tilts=tilts, x_tilts=np.full_like(tilts, self.level_angle_x),
            rotations=self.axis_angles, shifts=self.offsets, shift_unit="angstrom", centre="half",
            used=self.used, notes=tuple(notes))


def read_warp_xml(path: PathLike) -> WarpTiltSeries:
    """Read the .xml that Warp, WarpTools or M keep of a tilt series.

    Raises
    ------
    InputError : not XML, not a tilt series (a movie's .xml), lists of unequal length, not finite numbers, an
        angle past 360 degrees
    """
    path = Path(path)
    text = read_text(path)
    # Warp writes no document type, and entities can make a small file fill the memory.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(f"{path}: expected Warp's XML, got a document type declaration")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: expected Warp's XML, got what is none ({error})") from None
    if root.tag != "TiltSeries":
        raise InputError(f"{path}: expected Warp's XML of a TiltSeries, got <{root.tag}>")
    angles = _list(path, root, "Angles", None)
    count = len(angles)
    check_count(path, "Angles", count, None, "")
    axis_angles = _list(path, root, "AxisAngle", count)
    check_angles(path, angles, axis_angles)
    offsets = np.column_stack([_list(path, root, name, count) for name in ("AxisOffsetX", "AxisOffsetY")])
    used = np.ones(count, bool)
    if root.find("UseTilt") is not None:
        used = np.array([_truth(path, "UseTilt", word) for word in _words(path, root, "UseTilt", count)])
    movies = (root.findtext("MoviePath") or "").strip()
    return WarpTiltSeries(
        path=path, angles=angles, axis_angles=axis_angles, offsets=offsets, used=used,
        doses=_list(path, root, "Dose", count) if root.find("Dose") is not None else None,
        movies=tuple(movies.splitlines()) if movies else None,
        level_angle_x=_attribute(path, root, "LevelAngleX"),
        level_angle_y=_attribute(path, root, "LevelAngleY"),
        are_angles_inverted=_truth(path, "AreAnglesInverted", root.get("AreAnglesInverted", "False")),
        magnification=tuple(_number(path, "MagnificationCorrection", word)
                            for word in root.get("MagnificationCorrection", "1, 0, 0, 1").split(",")),
        motion_grids=tuple(name for name in _MOTION_GRIDS if _is_active(path, root, name)))


def _words(path: Path, root: ElementTree.Element, name: str, count: int | None) -> list[str]:
    words = root.findtext(name)
    if words is None:
        raise InputError(f"{path}: expected <{name}> in Warp's XML, got none")
    found = words.split()
    if count is not None and len(found) != count:
        raise InputError(f"{path}: expected {count} values of {name}, one per angle, got {len(found)}")
    return found


def _list(path: Path, root: ElementTree.Element, name: str, count: int | None) -> np.ndarray:
    return np.array([_number(path, name, word) for word in _words(path, root, name, count)], np.float64)


def _attribute(path: Path, root: ElementTree.Element, name: str) -> float:
    return _number(path, name, root.get(name, "0"))


def _number(path: Path, name: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value) or "_" in word:  # float() also takes 1_000, which no program writes
        raise InputError(f"{path}: expected numbers in {name}, got {word[:40]!r}")
    return value


def _truth(path: Path, name: str, word: str) -> bool:
    if word not in ("True", "False"):
        raise InputError(f"{path}: expected True or False in {name}, got {word[:40]!r}")
    return word == "True"


def _is_active(path: Path, root: ElementTree.Element, name: str) -> bool:
    grid = root.find(name)
    return grid is not None and any(_number(path, name, node.get("Value", "0")) for node in grid)
