"""States of a long run, saved whole after every step, so that it goes on where it was stopped, to the same bits."""

from __future__ import annotations

import hashlib
import io
import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from concordet.errors import InputError, RunError
from concordet.io import atomic_output
from concordet.io.output import writing

FORMAT = 1
_NAME = re.compile(r"checkpoint_(\d+)\.npz")
_HEAD = "head"


@dataclass(frozen=True)
class Saved:
    """The state after `step` steps: arrays by name, and plain values that JSON knows."""

    step: int
    arrays: dict[str, np.ndarray]
    values: dict[str, Any]


def fingerprint(*parts: Any) -> str:
    """What tells one run from another: SHA-256 of settings (what JSON knows, and its text for the rest) and arrays."""
    digest = hashlib.sha256(f"concordet checkpoint {FORMAT}".encode())
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode())
    return digest.hexdigest()


class Checkpoints:
    """The newest states of one run in a folder of their own.

    folder        made with the first save
    fingerprint   of the run: settings and inputs
    keep          how many states stay
    """

    def __init__(self, folder: Path, fingerprint: str, *, keep: int = 2):
        self.folder, self.fingerprint, self.keep = Path(folder), fingerprint, keep
        self._mine: set[int] = set()

    def save(self, step: int, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> None:
        """Write a state, whole or not at all; then let go of older ones, and of those of runs before this one.

        RunError where it could not be written.
        """
        plain = {name: np.asarray(array) for name, array in arrays.items()}
        head = {"format": FORMAT, "fingerprint": self.fingerprint, "step": step, "values": dict(values),
                "checksum": _checksum(plain)}
        buffer = io.BytesIO()
        entries: dict[str, Any] = {**plain, _HEAD: np.frombuffer(json.dumps(head).encode(), np.uint8)}
        np.savez(buffer, **entries)
        with writing(self.folder):
            self.folder.mkdir(exist_ok=True)
        with atomic_output(self._path(step)) as place:
            place.write_bytes(buffer.getbuffer())
        self._mine.add(step)
        kept = sorted(self._mine)[-self.keep:]
        for other in self._steps():
            if other not in kept:
                self.drop(other)
        self._mine = set(kept)

    def newest(self, *, below: int | None = None) -> Saved | None:
        """The newest state whole and of this run, of fewer steps than `below`; None where there is none.

        A damaged file is named in a warning and passed over; InputError where the state is another run's.
        """
        for step in sorted(self._steps(), reverse=True):
            path = self._path(step)
            try:
                saved, owner = _read(path)
            except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
                warnings.warn(f"{path}: damaged, passed over ({type(error).__name__})", stacklevel=2)
                continue
            if owner != self.fingerprint:
                raise InputError(f"{path}: expected a checkpoint of this run, got one of other input or settings "
                                 "(without --resume it is replaced)")
            if below is None or step < below:
                self._mine = {other for other in self._steps() if other <= step}
                return saved
        return None

    def drop(self, step: int) -> None:
        """Remove a state."""
        with writing(self._path(step)):
            self._path(step).unlink(missing_ok=True)
        self._mine.discard(step)

    def _path(self, step: int) -> Path:
        return self.folder / f"checkpoint_{step:04d}.npz"

    def _steps(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        try:
            return [int(match[1]) for path in self.folder.iterdir() if (match := _NAME.fullmatch(path.name))]
        except OSError as error:
            raise RunError(f"{self.folder}: could not be read: {error.strerror}") from error


def _read(path: Path) -> tuple[Saved, str]:
    """A state and the fingerprint of its run; ValueError where it is not what was written."""
    # Opened here: numpy leaves a file open that turns out to be no archive.
    with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files if name != _HEAD}
        head = json.loads(file[_HEAD].tobytes().decode())
    if head["format"] != FORMAT or head["checksum"] != _checksum(arrays):
        raise ValueError("checksum")
    return Saved(int(head["step"]), arrays, head["values"]), head["fingerprint"]


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    return fingerprint(*(part for name in sorted(arrays) for part in (name, arrays[name])))
