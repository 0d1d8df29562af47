"""Readers and writers: files in, arrays in the package's own units out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from concordet.errors import InputError

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

ANGLE_ENDINGS = (".tlt", ".rawtlt", ".mdoc")


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


__all__ = [
    "ANGLE_ENDINGS",
    "IMAGE_ENDINGS",
    "Mdoc",
    "MdocSection",
    "MrcHeader",
    "Stack",
    "StackWriter",
    "atomic_output",
    "check_output",
    "create_stack",
    "open_stack",
    "read_angles",
    "read_header",
    "read_mdoc",
    "read_tilt_angles",
    "read_transforms",
    "read_volume",
    "read_volume_transform",
    "read_x_tilts",
    "write_tilt_angles",
    "write_transforms",
    "write_volume",
]
