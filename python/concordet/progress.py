"""Progress of long work on one line of a terminal: how far, how fast, how long still."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """A line like `SIRT  [#####.....]  50/100  3.2/s  0:16 left`; nothing where the stream is no terminal.

    label   what is being done
    total   number of steps, at least 1
    quiet   print nothing at all; also for every rank but 0
    """

    WIDTH = 28
    SECONDS_BETWEEN = 0.1

    def __init__(self, label: str, total: int, *, quiet: bool = False, stream: TextIO | None = None):
        self.label, self.total = label, max(total, 1)
        self.stream = stream or sys.stderr
        self.shown = not quiet and self.stream.isatty()
        self.start = self.last = time.monotonic()

    def __enter__(self) -> Progress:
        self.update(0)
        return self

    def __exit__(self, *_: object) -> None:
        if self.shown:
            self.stream.write("\r\x1b[K")
            self.stream.flush()

    def update(self, done: int) -> None:
        """`done` steps are done."""
        now = time.monotonic()
        if not self.shown or (0 < done < self.total and now - self.last < self.SECONDS_BETWEEN):
            return
        self.last = now
        filled = self.WIDTH * done // self.total
        text = f"{self.label}  [{'#' * filled}{'.' * (self.WIDTH - filled)}]  {done}/{self.total}"
        elapsed = now - self.start
        if done and elapsed > 0:
            rate = done / elapsed
            rate_text = f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
            text += f"  {rate_text}  {clock((self.total - done) / rate)} left"
        self.stream.write(f"\r\x1b[K{text}")
        self.stream.flush()


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
