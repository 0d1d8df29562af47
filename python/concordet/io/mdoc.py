"""SerialEM's .mdoc of a tilt series: one [ZValue = n] section per image of the stack it belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from concordet.errors import InputError

from .imod import check_count, number, read_text
from .output import PathLike

_HEADING = re.compile(r"\[\s*(\w+)\s*=\s*(.*?)\s*\]$")
_ENTRY = re.compile(r"(\w+)\s*=\s*(.*)$")
_TITLE_AXIS = re.compile(r"Tilt axis angle\s*=\s*([^\s,]+)")
_FIELDS = {
    "TiltAngle": "tilt_angle",
    "PixelSpacing": "pixel_spacing",
    "ExposureDose": "exposure_dose",
    "PriorRecordDose": "prior_dose",
    "RotationAngle": "rotation_angle",
}
Entries = dict[str, tuple[str, int]]  # key -> (text, line)


@dataclass(frozen=True)
class MdocSection:
    """One image; None where the file does not say.

    Attributes
    ----------
    z_value : int, >= 0, section of the image file
    tilt_angle : degrees
    sub_frame_path : path of the movie, as written on the microscope's computer
    pixel_spacing : angstrom (the file's own where the section has none)
    exposure_dose, prior_dose : electrons per square angstrom, of this image and before it
    rotation_angle : degrees, SerialEM's RotationAngle (nominal tilt axis + 90)
    """

    z_value: int
    tilt_angle: float | None = None
    sub_frame_path: str | None = None
    pixel_spacing: float | None = None
    exposure_dose: float | None = None
    prior_dose: float | None = None
    rotation_angle: float | None = None


@dataclass(frozen=True)
class Mdoc:
    """A tilt series' mdoc.

    Attributes
    ----------
    path : Path
    sections : MdocSection by rising z_value, which is stack order, not always the order of acquisition
    image_file : name of the stack, None where the file does not say
    pixel_spacing : angstrom, of the whole file, or None
    tilt_axis_angle : degrees, "Tilt axis angle" of the title, or None
    """

    path: Path
    sections: tuple[MdocSection, ...]
    image_file: str | None
    pixel_spacing: float | None
    tilt_axis_angle: float | None

    @property
    def tilt_angles(self) -> np.ndarray:
        """(n,) float64 degrees in stack order; InputError when a section has none."""
        for section in self.sections:
            if section.tilt_angle is None:
                place = f"[ZValue = {section.z_value}]"
                raise InputError(f"{self.path}: expected a TiltAngle in {place}, got none")
        return np.array([section.tilt_angle for section in self.sections], np.float64)


def read_mdoc(path: PathLike, count: int | None = None, *, stack: PathLike = "") -> Mdoc:
    """Read the mdoc of a tilt series.

    Parameters
    ----------
    path : file
    count : views expected; None: any number >= 1
    stack : the file the views are in, for the message when the count differs

    Raises
    ------
    InputError : a montage, a single movie's file ([FrameSet] only), no or repeated sections, not a number, an
        angle past 180 degrees, or not `count` sections
    """
    path = Path(path)
    whole: dict[str, str] = {}
    found: dict[int, MdocSection] = {}
    headings: set[str] = set()
    tilt_axis = None
    for name, value, line, entries in _blocks(path):
        headings.add(name)
        if name == "":
            whole = {key: text for key, (text, _) in entries.items()}
            spacing = _value(path, entries, "PixelSpacing")
        elif name == "T" and (match := _TITLE_AXIS.search(value)):
            tilt_axis = number(path, line, match[1], "a tilt axis angle in degrees")
        elif name == "ZValue":
            section = _section(path, line, value, entries, spacing)
            if section.z_value in found:
                raise InputError(f"{path}: line {line}: expected each ZValue once, got {value} again")
            found[section.z_value] = section
        if "PieceCoordinates" in entries or whole.get("Montage", "0") != "0":
            raise InputError(f"{path}: expected one image per section, got a montage (PieceCoordinates)")
    if not found and "FrameSet" in headings:
        raise InputError(f"{path}: expected [ZValue = n] sections of a tilt series, got a movie's [FrameSet]")
    if not found:
        raise InputError(f"{path}: expected an mdoc with [ZValue = n] sections, got none")
    check_count(path, "sections", len(found), count, stack)
    sections = tuple(found[z_value] for z_value in sorted(found))
    return Mdoc(path, sections, whole.get("ImageFile"), spacing, tilt_axis)


def _blocks(path: Path) -> list[tuple[str, str, int, Entries]]:
    """(heading, its value, line, entries); the first block is the file's own, with the heading ''."""
    blocks: list[tuple[str, str, int, Entries]] = [("", "", 0, {})]
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        if match := _HEADING.match(text.strip()):
            blocks.append((match[1], match[2], line, {}))
        elif match := _ENTRY.match(text.strip()):
            blocks[-1][3][match[1]] = (match[2].strip(), line)
    return blocks


def _section(path: Path, line: int, value: str, entries: Entries, spacing: float | None) -> MdocSection:
    if not value.isdecimal():
        raise InputError(f"{path}: line {line}: expected ZValue to be an integer >= 0, got {value!r}")
    fields = {field: _value(path, entries, key) for key, field in _FIELDS.items()}
    if abs(fields["tilt_angle"] or 0) > 180:
        text, line = entries["TiltAngle"]
        raise InputError(f"{path}: line {line}: expected a tilt angle in -180 .. 180 degrees, got {text}")
    if fields["pixel_spacing"] is None:
        fields["pixel_spacing"] = spacing
    movie = entries["SubFramePath"][0] if "SubFramePath" in entries else None
    return MdocSection(int(value), sub_frame_path=movie, **fields)


def _value(path: Path, entries: Entries, key: str) -> float | None:
    if key not in entries:
        return None
    text, line = entries[key]
    return number(path, line, text, f"{key} to be a number")
