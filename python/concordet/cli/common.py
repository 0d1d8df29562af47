"""What verbs share: the parser's manners, common flags, names of outputs."""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from concordet import projection
from concordet.errors import ConcordetError, InputError
from concordet.io import atomic_output, check_output
from concordet.io.output import writing
from concordet.progress import Progress
from concordet.record import as_json

# Far above any machine; more would only make OpenMP give up.
MOST_THREADS = 1024
# Views of one stack that a list may name: guards against 1-999999999.
MOST_VIEWS = 100_000


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that refuses in one line, with the words of the field in its help."""

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("formatter_class", Formatter)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())} (see {self.prog} --help)\n")


class Formatter(argparse.HelpFormatter):
    """Help with defaults, except where the text names one or the default says nothing."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        silent = action.default is None or action.default is argparse.SUPPRESS or isinstance(action.default, bool)
        if text and not silent and action.option_strings and "%(default)" not in text and "default" not in text:
            text += " (default: %(default)s)"
        return text


def add_common(parser: argparse.ArgumentParser) -> None:
    """Flags of every verb."""
    group = parser.add_argument_group("running")
    group.add_argument("--threads", type=thread_count, metavar="N",
                       help="threads (default: OMP_NUM_THREADS, else all cores this process may use)")
    group.add_argument("--seed", type=natural, default=0, metavar="N", help="seed of everything random")
    group.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    group.add_argument("-v", "--verbose", action="count", default=0, help="print more")
    group.add_argument("--debug", action="store_true", help="show the traceback of a failure")


def whole(text: str, least: int | None = None, most: int | None = None) -> int:
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or (least is not None and value < least) or (most is not None and value > most):
        bounds = "" if least is None else f" of at least {least}" if most is None else f" of {least} to {most}"
        raise argparse.ArgumentTypeError(f"expected a whole number{bounds}, got {text}")
    return value


def natural(text: str) -> int:
    return whole(text, 0)


def positive_int(text: str) -> int:
    return whole(text, 1)


def thread_count(text: str) -> int:
    return whole(text, 1, MOST_THREADS)


def finite(text: str) -> float:
    """A number as flags take it: no NaN, no infinity."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a number, got {text}")
    return value


def not_negative(text: str) -> float:
    value = finite(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a number of 0 or more, got {text}")
    return value


class HeldWarnings:
    """Warnings, each said once. Held back while the input may still be refused, which takes one line alone."""

    def __init__(self, args: argparse.Namespace):
        self.quiet = getattr(args, "quiet", False)
        self.said: set[str] = set()
        self.held: list[str] | None = []

    def __call__(self, message: object, *_: Any, **__: Any) -> None:
        text = f"warning: {' '.join(str(message).split())}"
        if self.quiet or text in self.said:
            return
        self.said.add(text)
        if self.held is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self.held.append(text)

    def release(self) -> None:
        """The input is taken: say what was held, and from now on everything at once."""
        for text in self.held or ():
            print(text, file=sys.stderr, flush=True)
        self.held = None


def memory_bytes() -> int | None:
    """Memory of this machine or of the container that the process runs in; None where it cannot be told."""
    try:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None
    try:
        container = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return machine
    return min(machine, int(container)) if container.isdecimal() else machine


def check_memory(need: float) -> None:
    """Refuse what the machine cannot hold, before the system ends the process without a word."""
    there = memory_bytes()
    if there and need > there:
        raise InputError(f"this run: expected at most {there / 1e9:.1f} GB of memory, the machine's, got about "
                         f"{need / 1e9:.4g} GB; see --bin, --size and --thickness")


def say(text: str, args: argparse.Namespace, *, level: int = 1) -> None:
    """A line on stderr, when nothing is left to refuse. level 1: unless --quiet; 2: with --verbose."""
    if args.quiet or (level == 2 and not args.verbose):
        return
    args.warnings.release()
    print(text, file=sys.stderr, flush=True)


def plain_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """The flags as given, for the record."""
    return {name: value for name, value in vars(args).items() if name not in ("run", "verb", "warnings")}


def threads(args: argparse.Namespace) -> int:
    """Threads for the kernels; 0 leaves the choice to OpenMP. Refuses a bad CONCORDET_ISA before any work."""
    try:
        projection.instruction_set()
    except ValueError as error:
        raise InputError(str(error)) from None
    if args.threads:
        return args.threads
    if not os.environ.get("OMP_NUM_THREADS") and hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return 0


class ProgressLines:
    """One progress line after another: calls of (label, done, total) as methods make them."""

    def __init__(self, args: argparse.Namespace):
        self.quiet = args.quiet
        self.line: Progress | None = None
        self.done = 0

    def __call__(self, label: str, done: int, total: int) -> None:
        if self.line is None or (label, total) != (self.line.label, self.line.total) or done < self.done:
            self.close()
            self.line = Progress(label, total, quiet=self.quiet)
        self.done = done
        self.line.update(done)

    def close(self) -> None:
        if self.line:
            self.line.__exit__()
        self.line = None


def beside(output: Path, ending: str) -> Path:
    """OUT's stem with another ending: volume.mrc.gz -> volume.json."""
    name = output.name.removesuffix(".gz")
    return output.with_name(Path(name).stem + ending)


def check_outputs(output: Path, report: bool) -> None:
    """Refuse a place that the volume, its record or its report cannot be written to."""
    check_output(output)
    for ending in (".json", ".html") if report else (".json",):
        check_output(beside(output, ending), endings=())


def refuse_inputs(outputs: Iterable[Path | None], inputs: Iterable[Path | None]) -> None:
    """Refuse outputs that would replace what is read."""
    there = [path for path in inputs if path is not None and Path(path).exists()]
    for output in outputs:
        if output is not None and Path(output).exists():
            for path in there:
                if os.path.samefile(output, path):
                    raise InputError(f"{output}: expected an output that is none of the inputs, got {path}")


def check_band(flag: str, band: Iterable[float]) -> None:
    longest, shortest = band
    if not 0 < shortest < longest:
        raise InputError(f"{flag}: expected longest > shortest > 0 angstrom, got {longest:g} {shortest:g}")


def check_folder(path: Path) -> None:
    """Refuse a folder for outputs that is not writable, or not there and cannot be made."""
    if path.is_dir():
        check_output(path / "output", endings=())
        return
    check_output(path, endings=())
    if path.exists():
        raise InputError(f"{path}: expected a folder, got a file")


@contextmanager
def together(folder: Path) -> Iterator[Path]:
    """A hidden folder to write to; its files move to `folder`, made if need be, when the block ends well.

    Otherwise nothing is left behind. Messages name the files as they would have been called.
    """
    made = not folder.is_dir()
    hidden = None
    try:
        with writing(folder):
            folder.mkdir(exist_ok=True)
            hidden = Path(tempfile.mkdtemp(prefix=".concordet-", suffix=".partial", dir=folder))
        yield hidden
        for path in sorted(hidden.iterdir()):
            with writing(folder / path.name):
                os.replace(path, folder / path.name)
        made = False
    except ConcordetError as error:
        raise type(error)(str(error).replace(str(hidden), str(folder))) from error
    finally:
        if hidden:
            shutil.rmtree(hidden, ignore_errors=True)
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def view_list(text: str, where: str) -> frozenset[int]:
    """Sections, 0-based, of a list such as 1-3,40, whose views count from 1 as in IMOD's EXCLUDELIST."""
    if text.lower() in ("", "none"):
        return frozenset()
    sections: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= MOST_VIEWS:
            raise InputError(f"{where}: expected views such as 1-3,40, counted from 1, got '{text}'")
        sections.update(range(first - 1, last))
    return frozenset(sections)


def per_stack(values: list | None, count: int, flag: str, default: Any = None) -> list:
    """One value per stack: as given, or one for all, or the default."""
    if values is None:
        return [default] * count
    if len(values) == 1 and default is not None:
        return values * count
    if len(values) != count:
        raise InputError(f"{flag}: expected {count} (one per stack), got {len(values)}")
    return values


def write_json(path: Path, content: Any) -> None:
    """JSON, whole or not at all."""
    with atomic_output(path) as place:
        place.write_text(as_json(content) + "\n")
