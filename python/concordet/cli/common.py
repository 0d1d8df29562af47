"""What verbs share: the parser's manners, common flags, names of outputs."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

from concordet import projection
from concordet.errors import InputError
from concordet.io import atomic_output, check_output
from concordet.progress import Progress


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
    group.add_argument("--threads", type=positive_int, metavar="N",
                       help="threads (default: OMP_NUM_THREADS, else all cores this process may use)")
    group.add_argument("--seed", type=int, default=0, help="seed of everything random")
    group.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    group.add_argument("-v", "--verbose", action="count", default=0, help="print more")
    group.add_argument("--debug", action="store_true", help="show the traceback of a failure")


def positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text}")
    return value


def say(text: str, args: argparse.Namespace, *, level: int = 1) -> None:
    """A line on stderr. level 0: unless --quiet; 1: as 0, for ordinary news; 2: with --verbose."""
    if getattr(args, "quiet", False) or (level == 2 and not getattr(args, "verbose", 0)):
        return
    print(text, file=sys.stderr, flush=True)


def plain_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """The flags as given, for the record."""
    return {name: value for name, value in vars(args).items() if name not in ("run", "verb")}


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

    def __call__(self, label: str, done: int, total: int) -> None:
        if self.line is None or self.line.label != label or done <= 1:
            self.close()
            self.line = Progress(label, total, quiet=self.quiet)
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


def output_folder(path: Path) -> Path:
    """A folder for outputs, made if its parent is there."""
    path = Path(path)
    if path.is_dir():
        check_output(path / "output", endings=())
        return path
    check_output(path, endings=())
    if path.exists():
        raise InputError(f"{path}: expected a folder, got a file")
    path.mkdir()
    return path


def view_list(text: str, where: str) -> frozenset[int]:
    """Sections, 0-based, of a list such as 1-3,40, whose views count from 1 as in IMOD's EXCLUDELIST."""
    if text.lower() in ("", "none"):
        return frozenset()
    sections: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last:
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
        place.write_text(json.dumps(content, indent=1) + "\n")
