"""Readers and writers: files in, arrays in the package's own units out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from concordet.errors import InputError

from .alignment import SeriesAlignment
from .aretomo import AreTomoAlignment, DarkFrame, read_aln
from .imod import (
    read_tilt_angles,
    read_transforms,
    read_volume_transform,
    read_x_tilts,
    write_tilt_angles,
    write_transforms,
)
from .mdoc import Mdoc, MdocSection, read_mdoc
from .mrc import (
    MrcHeader,
    Stack,
    StackWriter,
    create_stack,
    open_stack,
    read_header,
    read_volume,
    write_volume,
)
from .output import IMAGE_ENDINGS, PathLike, atomic_output, check_output
from .particles import ParticleSet, Place, is_particle_star, read_particles, write_particles
from .star import Block, RelionTiltSeries, read_relion_tilt_series, read_star, write_star
from .warp import WarpTiltSeries, read_warp_xml

ANGLE_ENDINGS = (".tlt", ".rawtlt", ".mdoc")
# Alignments that bring their own tilt angles; an .xf does not.
_ALIGNMENT_READERS: dict[str, Callable[[PathLike], AreTomoAlignment | RelionTiltSeries | WarpTiltSeries]] = {
    ".aln": read_aln, ".star": read_relion_tilt_series, ".xml": read_warp_xml}
ALIGNMENT_ENDINGS = (".xf", *_ALIGNMENT_READERS)


def read_angles(path: PathLike, count: int | None = None, *, stack: PathLike = "") -> np.ndarray:
    """Tilt angles in stack order from a .tlt, .rawtlt or .mdoc file.

    Parameters
    ----------
    path : file; its ending says what it is
    count : views expected; None: any number >= 1
    stack : the file the views are in, for the message when the count differs

    Returns
    -------
    (n,) float64, degrees

    Raises
    ------
    InputError : another ending; otherwise as `read_tilt_angles` and `read_mdoc`
    """
    ending = Path(path).suffix.lower()
    if ending not in ANGLE_ENDINGS:
        got = ending or "no ending"
        raise InputError(f"{path}: expected tilt angles in a {' '.join(ANGLE_ENDINGS)} file, got {got}")
    if ending == ".mdoc":
        return read_mdoc(path, count, stack=stack).tilt_angles
    return read_tilt_angles(path, count, stack=stack)


def read_alignment(path: PathLike) -> SeriesAlignment:
    """Alignment of a tilt series by another program: AreTomo's .aln, RELION 5's .star or Warp's .xml.

    Raises
    ------
    InputError : another ending; otherwise as `read_aln`, `read_relion_tilt_series` and `read_warp_xml`
    """
    ending = Path(path).suffix.lower()
    if ending not in _ALIGNMENT_READERS:
        raise InputError(f"{path}: expected an alignment in a {' '.join(ALIGNMENT_ENDINGS)} file, got "
                         f"{ending or 'no ending'}")
    return _ALIGNMENT_READERS[ending](path).alignment()


__all__ = [
    "ALIGNMENT_ENDINGS",
    "ANGLE_ENDINGS",
    "AreTomoAlignment",
    "Block",
    "DarkFrame",
    "IMAGE_ENDINGS",
    "Mdoc",
    "MdocSection",
    "MrcHeader",
    "ParticleSet",
    "Place",
    "RelionTiltSeries",
    "SeriesAlignment",
    "Stack",
    "StackWriter",
    "WarpTiltSeries",
    "atomic_output",
    "check_output",
    "create_stack",
    "is_particle_star",
    "open_stack",
    "read_alignment",
    "read_aln",
    "read_angles",
    "read_header",
    "read_mdoc",
    "read_particles",
    "read_relion_tilt_series",
    "read_star",
    "read_tilt_angles",
    "read_transforms",
    "read_volume",
    "read_volume_transform",
    "read_warp_xml",
    "read_x_tilts",
    "write_particles",
    "write_star",
    "write_tilt_angles",
    "write_transforms",
    "write_volume",
]
