"""AreTomo's .aln: alignment of the raw images of one tilt series."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from concordet.errors import InputError

from .alignment import SeriesAlignment, check_angles
from .imod import check_count, number, read_text
from .output import PathLike

_ENTRY = re.compile(r"#\s*(\w+)\s*=\s*(.*)$")
_COLUMNS = ("SEC", "ROT", "GMAG", "TX", "TY", "SMEAN", "SFIT", "SCALE", "BASE", "TILT")


class DarkFrame(NamedTuple):
    """An image that AreTomo left out: place by tilt from 0, section as the file numbers it, degrees."""

    frame: int
    section: int
    tilt: float


@dataclass(frozen=True)
class AreTomoAlignment:
    """An .aln file: raw position = centre + R(rot) (x cos tilt + z sin tilt, y) + (tx, ty).

    Agrees to 5e-6 pixels with RELION 5's reading of these files and with the .xf that AreTomo 3 writes.

    Attributes
    ----------
    path : file
    sections : (n,) section of the raw stack, 0-based; rows in the file's order, by tilt
    section_base : 0 or 1, the number that the file has for section 0
    is_base_certain : False when the file fits both
    rot, tilt : (n,) degrees; tilt holds `alpha_offset` already
    tx, ty : (n,) pixels of the raw images
    gmag, smean, sfit, scale, base : (n,) as in the file; AreTomo writes constants
    raw_size : (u, v, sections) of the raw stack, None where the file does not say
    dark_frames : images left out
    alpha_offset, beta_offset : degrees
    local_alignments : rows of the local alignment, not read further
    """

    path: Path
    sections: np.ndarray
    section_base: int
    is_base_certain: bool
    rot: np.ndarray
    gmag: np.ndarray
    tx: np.ndarray
    ty: np.ndarray
    smean: np.ndarray
    sfit: np.ndarray
    scale: np.ndarray
    base: np.ndarray
    tilt: np.ndarray
    raw_size: tuple[int, int, int] | None
    dark_frames: tuple[DarkFrame, ...]
    alpha_offset: float
    beta_offset: float
    local_alignments: int

    def alignment(self) -> SeriesAlignment:
        notes = []
        if self.local_alignments:
            notes.append("its local alignment is read but not used")
        if self.beta_offset:
            notes.append(f"its BetaOffset of {self.beta_offset:g} degrees is read but not used")
        if np.any(self.gmag != 1):
            notes.append("its magnifications (GMAG) are read but not used")
        if not self.is_base_certain:
            notes.append(f"its sections may be counted from 0 or from 1: taken from {self.section_base}")
        # The centre to half a pixel is not decided for odd sizes; n // 2 is how RELION 5 reads these files.
        return SeriesAlignment(
            path=self.path, tilts=self.tilt, x_tilts=np.zeros_like(self.tilt), rotations=self.rot,
            shifts=np.column_stack([self.tx, self.ty]), shift_unit="pixel", centre="ours",
            sections=self.sections, stack_size=self.raw_size, notes=tuple(notes))


def read_aln(path: PathLike) -> AreTomoAlignment:
    """Read an .aln file of AreTomo 1, 2 or 3.

    Raises
    ------
    InputError : not an .aln file, a row without 10 finite numbers, a section that is not a whole number,
        twice, or outside the stack of RawSize, an angle past 360 degrees, no rows
    """
    path = Path(path)
    values: list[list[float]] = []
    entries: dict[str, tuple[int, str]] = {}
    darks: list[DarkFrame] = []
    local = 0
    in_table = in_local = False
    lines = read_text(path).splitlines()
    if not any(line.startswith("#") and "AreTomo" in line for line in lines[:5]):
        raise InputError(f"{path}: expected an AreTomo alignment, '# AreTomo Alignment' on top, got none")
    for line, text in enumerate(lines, start=1):
        words = text.split()
        if not words:
            continue
        if text.startswith("#"):
            in_local = in_local or "Local Alignment" in text
            if tuple(words[1:]) == _COLUMNS:
                in_table = True
            elif match := _ENTRY.match(text):
                if match[1] == "DarkFrame":
                    frame, section, tilt = _numbers(path, line, match[2].split(), 3)
                    darks.append(DarkFrame(int(frame), int(section), tilt))
                else:
                    entries[match[1]] = (line, match[2])
        elif in_local:
            local += 1
        elif not in_table:
            raise InputError(f"{path}: line {line}: expected the columns {' '.join(_COLUMNS)} first, got "
                             f"{text[:40]!r}")
        else:
            values.append(_numbers(path, line, words, len(_COLUMNS)))
            if values[-1][0] != int(values[-1][0]):
                raise InputError(f"{path}: line {line}: expected a whole number for SEC, got {words[0]}")
    check_count(path, "aligned images", len(values), None, "")
    sec, rot, gmag, tx, ty, smean, sfit, scale, base, tilt = np.array(values, np.float64).T
    check_angles(path, rot, tilt)
    raw_size = None
    if "RawSize" in entries:
        line, text = entries["RawSize"]
        sizes = [int(size) for size in _numbers(path, line, text.split(), 3)]
        if min(sizes) < 1:
            raise InputError(f"{path}: line {line}: expected a RawSize of at least 1 x 1 x 1, got {text}")
        raw_size = (sizes[0], sizes[1], sizes[2])
    count = raw_size[2] if raw_size else None
    sections, section_base, is_certain = _zero_based(path, sec.astype(np.int64), darks, count)

    def offset(name: str) -> float:
        return _numbers(path, entries[name][0], entries[name][1].split(), 1)[0] if name in entries else 0.0

    return AreTomoAlignment(
        path=path, sections=sections, section_base=section_base, is_base_certain=is_certain, rot=rot,
        gmag=gmag, tx=tx, ty=ty, smean=smean, sfit=sfit, scale=scale, base=base, tilt=tilt, raw_size=raw_size,
        dark_frames=tuple(darks), alpha_offset=offset("AlphaOffset"), beta_offset=offset("BetaOffset"),
        local_alignments=local)


def _zero_based(path: Path, sec: np.ndarray, darks: Sequence[DarkFrame],
                count: int | None) -> tuple[np.ndarray, int, bool]:
    """Sections counted from 0, the file's base, and whether the file decides it.

    AreTomo 1 and 2 count sections from 0, AreTomo 3 from 1 (its manual: from 0). A section 0, or a last one
    equal to the size of the stack, decides; then the dark frames' places, when the stack is sorted by tilt.
    """
    values, counts = np.unique(sec, return_counts=True)
    if np.any(counts > 1):
        raise InputError(f"{path}: expected each section once, got SEC {values[counts > 1][0]} again")
    listed = values
    numbers = [dark.section for dark in darks]
    # Some versions write 0, or the place by tilt, for the section of every dark frame: no evidence.
    are_apart = len({*numbers, *values}) == len(numbers) + len(values)
    if are_apart and any(dark.frame != dark.section for dark in darks):
        listed = np.union1d(values, numbers)
    certain = True
    if listed[0] <= 0:
        base = 0
    elif count is not None and listed[-1] >= count:
        base = 1
    else:
        dark_places = {dark.frame for dark in darks}
        places = [place for place in range(count or 0) if place not in dark_places]
        offsets = set(values - places) if len(places) == len(values) else set()
        certain = offsets in ({0}, {1})
        base = int(offsets.pop()) if certain else 1
    sections = sec - base
    if sections.min() < 0 or (count is not None and sections.max() >= count):
        images = "any number of" if count is None else count
        raise InputError(f"{path}: expected SEC to count {images} images (RawSize) from 0 or 1, got "
                         f"{values[0]} to {values[-1]}")
    return sections, base, certain


def _numbers(path: Path, line: int, words: list[str], count: int) -> list[float]:
    if len(words) != count:
        raise InputError(f"{path}: line {line}: expected {count} numbers, got {len(words)}")
    return [number(path, line, word, "a number") for word in words]
