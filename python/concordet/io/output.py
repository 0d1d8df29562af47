"""Outputs that appear whole or not at all: the place checked first, written beside, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from concordet.errors import InputError, RunError

PathLike = str | os.PathLike[str]

IMAGE_ENDINGS = (".mrc", ".mrcs", ".rec", ".st", ".ali", ".map")

_WRONG_PLACE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS)


def check_output(path: PathLike, endings: tuple[str, ...] = IMAGE_ENDINGS) -> None:
    """Refuse a place that an output could not be written to, before the long work.

    Parameters
    ----------
    path : file to be written
    endings : accepted endings, lower case; each may carry .gz besides; empty: any

    Raises
    ------
    InputError : unknown ending; folder missing or not writable; a folder or device in the way
    """
    path = Path(path)
    name = path.name.lower()
    if endings and not name.removesuffix(".gz").endswith(endings):
        accepted = " ".join(endings)
        raise InputError(f"{path}: expected a name ending in {accepted} (or these + .gz), got {path.name!r}")
    try:
        if not path.parent.is_dir():
            got = "a file" if path.parent.exists() else "none"
            raise InputError(f"{path}: expected an existing folder {path.parent}, got {got}")
        if path.exists() and not path.is_file():
            got = "a folder" if path.is_dir() else "a device"
            raise InputError(f"{path}: expected a file name, got {got}")
    except OSError as error:
        raise _refusal(path, error) from None
    # The superuser may write anywhere, but a folder that nobody may write to was locked on purpose.
    if not os.access(path.parent, os.W_OK | os.X_OK) or not path.parent.stat().st_mode & 0o222:
        raise InputError(f"{path}: expected a folder that can be written to, got {path.parent}, which cannot")


@contextlib.contextmanager
def atomic_output(path: PathLike) -> Iterator[Path]:
    """A hidden name beside `path` to write to; renamed to `path` at the end, removed if anything goes wrong.

    Raises
    ------
    InputError : the folder does not exist or may not be written to
    RunError : any other OSError inside the block, such as a full disk
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield beside
        with writing(path):
            os.replace(beside, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _refusal(path, error) from error
        raise


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into one line about `path`: InputError or RunError, as `atomic_output`."""
    try:
        yield
    except OSError as error:
        raise _refusal(path, error) from error


def reason(error: BaseException) -> str:
    """The system's words for an error, without number or path."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _refusal(path: Path, error: OSError) -> Exception:
    kind = InputError if error.errno in _WRONG_PLACE else RunError
    return kind(f"{path}: could not be written: {reason(error)}")
