"""The record of a run, kept as JSON beside its output: what was asked, from which files, at what cost."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from concordet import __version__
from concordet.io import atomic_output


class RunRecord:
    """Parameters, inputs, stages and figures of one run.

    content  the dictionary that becomes the file; verbs add to it
    """

    def __init__(self, verb: str, parameters: dict[str, Any]):
        self.content: dict[str, Any] = {
            "program": "concordet",
            "version": __version__,
            "verb": verb,
            "command": sys.argv,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "parameters": parameters,
            "inputs": [],
            "stages": {},
        }
        self._begin = time.perf_counter(), time.process_time()

    def add_input(self, path: Path) -> None:
        """Note an input file with its size and SHA-256."""
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
        self.content["inputs"].append(
            {"file": str(path), "bytes": Path(path).stat().st_size, "sha256": digest.hexdigest()})

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure wall and CPU seconds of the block; a name that comes again adds up."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            entry = self.content["stages"].setdefault(name, {"seconds": 0.0, "cpu_seconds": 0.0})
            entry["seconds"] += time.perf_counter() - wall
            entry["cpu_seconds"] += time.process_time() - cpu

    def performance(self) -> dict[str, Any]:
        """Seconds so far, and the peak of resident memory of this process."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        unit = 1 if sys.platform == "darwin" else 1024
        return {
            "seconds": time.perf_counter() - self._begin[0],
            "cpu_seconds": time.process_time() - self._begin[1],
            "peak_memory_bytes": [peak * unit],
        }

    def write(self, path: Path) -> None:
        """The record as JSON, whole or not at all."""
        with atomic_output(path) as beside:
            beside.write_text(as_json(self.content) + "\n")


def as_json(content: Any) -> str:
    """JSON of plain values, arrays and paths; NaN and infinity, which JSON does not have, become null."""
    return json.dumps(_plain(content), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return [_plain(item) for item in sorted(value)]
    if isinstance(value, (np.generic, np.ndarray)):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
