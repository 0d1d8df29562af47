"""What the alignments of other programs have in common: where each raw image looks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from concordet.errors import InputError
from concordet.geometry import Centre, centre_offset

from .output import PathLike


@dataclass(frozen=True)
class SeriesAlignment:
    """Alignment of the raw images of one tilt series.

    (u, v) - centre = R(rotation) [Ry(tilt) Rx(x_tilt) p]_xy + shift

    R(a) = [[cos a, -sin a], [sin a, cos a]], Ry(t): x' = x cos t + z sin t, p from the program's centre of
    the volume. Rows are tilt images.

    Attributes
    ----------
    path : file
    tilts, x_tilts, rotations : (n,) degrees
    shifts : (n, 2) along u, v, in `shift_unit`
    centre : where the program has the centre of images and volumes, see `geometry.centre_offset`
    sections : (n,) section of the stack, 0-based; None: rows stand in the order of the stack
    used : (n,) bool, False for images that the program left out; None: all are used
    stack_size : (u, v, sections) of the stack that was aligned; None where the file does not say
    notes : what a user must be told: geometry that is read but not used, what had to be guessed
    """

    path: Path
    tilts: np.ndarray
    x_tilts: np.ndarray
    rotations: np.ndarray
    shifts: np.ndarray
    shift_unit: Literal["pixel", "angstrom"]
    centre: Centre
    sections: np.ndarray | None = None
    used: np.ndarray | None = None
    stack_size: tuple[int, int, int] | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.tilts)

    def matched(self, count: int, image_shape: tuple[int, int], *, stack: PathLike = "") -> SeriesAlignment:
        """The rows of images that are used, by rising `sections`, which are set.

        count, image_shape : sections and (v, u) of the stack, `stack` its file for messages.

        Rows are matched by section, or else by index. A stack with as many images as rows in use, but fewer
        than were aligned, is taken to hold just these, with a note.

        Raises
        ------
        InputError : images of another size than `stack_size`, a section outside the stack or twice, rows that
            cannot be matched, none that is used
        """
        source = f"{stack} with " if stack else ""
        if self.stack_size and self.stack_size[:2] != tuple(image_shape[::-1]):
            size = " x ".join(str(n) for n in self.stack_size[:2])
            raise InputError(f"{self.path}: expected images of {size} pixels, which its shifts are in, got "
                             f"{source}{image_shape[1]} x {image_shape[0]}")
        rows = np.arange(len(self)) if self.used is None else np.flatnonzero(self.used)
        aligned = self.stack_size[2] if self.stack_size else len(self) if self.sections is None else count
        notes = self.notes
        if count == aligned:
            sections = rows if self.sections is None else self.sections[rows]
        elif count == len(rows):
            # In the order of the file: programs that write a stack without the images they left out keep it.
            sections = np.arange(count)
            notes += (f"the stack has {count} images of {aligned}: taken to be those in use, in this file's "
                      "order",)
        else:
            raise InputError(f"{self.path}: expected a stack of {aligned} images (or of the {len(rows)} in "
                             f"use), got {source}{count}")
        if not len(rows):
            raise InputError(f"{self.path}: expected at least one image in use, got none of {len(self)}")
        outside = sections[(sections < 0) | (sections >= count)]
        if len(outside):
            raise InputError(f"{self.path}: expected sections 1 to {count} of the stack, got "
                             f"{outside[0] + 1}")
        values, counts = np.unique(sections, return_counts=True)
        if counts.max() > 1:
            twice = values[counts.argmax()] + 1
            raise InputError(f"{self.path}: expected each section once, got {twice} again")
        rows = rows[np.argsort(sections)]
        return replace(
            self, tilts=self.tilts[rows], x_tilts=self.x_tilts[rows], rotations=self.rotations[rows],
            shifts=self.shifts[rows], sections=np.sort(sections), used=None, notes=notes)

    def transforms(self, image_shape: tuple[int, int], pixel_size: float) -> np.ndarray:
        """The same as transforms of an IMOD .xf file, (n, 2, 3): out - c = A (in - c) + d, c = (n - 1) / 2.

        A = R(-rotation), d = -A (shift + centre - c). image_shape (v, u); pixel_size angstrom, of the images.
        InputError when shifts are in angstrom and the pixel size is not known.
        """
        shifts = self.shifts
        if self.shift_unit == "angstrom" and shifts.any():
            if not pixel_size > 0:
                raise InputError(f"{self.path}: expected a pixel size for its shifts in angstrom, got none "
                                 "in the stack's header; give --voxel-size")
            shifts = shifts / pixel_size
        size = np.array(image_shape[::-1])
        shifts = shifts + centre_offset(size) - centre_offset(size, self.centre)
        angles = np.deg2rad(self.rotations)
        cosines, sines = np.cos(angles), np.sin(angles)
        to_aligned = np.stack([np.stack([cosines, sines], -1), np.stack([-sines, cosines], -1)], -2)
        return np.concatenate([to_aligned, -to_aligned @ shifts[:, :, None]], -1)


def check_angles(path: PathLike, *angles: np.ndarray) -> None:
    """Refuse angles outside -360 .. 360 degrees, which no program writes."""
    for values in angles:
        worst = values[np.argmax(np.abs(values))]
        if abs(worst) > 360:
            raise InputError(f"{path}: expected angles in -360 .. 360 degrees, got {worst:g}")
