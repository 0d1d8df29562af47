"""What the kinds of `concordet evaluate` share: outputs, figures, provenance."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from concordet import evaluation, report
from concordet.cli import common
from concordet.errors import InputError
from concordet.io import MrcHeader, check_output
from concordet.record import RunRecord, as_json

# Of the voxel sizes of two maps of one thing; headers round.
VOXEL_SIZE_TOLERANCE = 0.01


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="the figures as JSON (default: stdout)")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="a page with pictures")
    common.add_common(parser)


def check_outputs(args: argparse.Namespace, inputs: Sequence[Path | None],
                  volumes: Sequence[Path | None] = ()) -> None:
    """Refuse outputs that cannot be written, share a name, or would replace an input.

    volumes   further outputs, MRC files
    """
    pages = [path for path in (args.output, args.report) if path]
    for path in pages:
        check_output(path, endings=())
    maps = [path for path in volumes if path]
    for path in maps:
        check_output(path)
    names = [path.resolve() for path in (*pages, *maps)]
    if len(set(names)) < len(names):
        raise InputError(f"{(*pages, *maps)[-1]}: expected a name of its own for each output, got one for two")
    common.refuse_inputs([*pages, *maps], inputs)


def resolutions(frequencies: np.ndarray, curve: np.ndarray, voxel_size: float) -> dict[str, float | None]:
    """Where an FSC falls below 0.143 and 0.5, interpolated, in angstrom; None where it does not or nothing is known."""
    found = {}
    for threshold in (0.143, 0.5):
        cut = evaluation.crossing(frequencies, curve, threshold)
        found[f"fsc_{threshold}_angstrom"] = voxel_size / cut if cut and voxel_size else None
    return found


def common_voxel_size(args: argparse.Namespace, headers: Sequence[MrcHeader]) -> float:
    """Angstrom: --voxel-size, or what the headers agree on; 0 where none knows."""
    if args.voxel_size is not None:
        if not args.voxel_size > 0:
            raise InputError(f"--voxel-size: expected more than 0 angstrom, got {args.voxel_size:g}")
        return args.voxel_size
    known = [header for header in headers if header.voxel_size[0] > 0]
    for header in known:
        first, other = known[0].voxel_size[0], header.voxel_size[0]
        if abs(other - first) > VOXEL_SIZE_TOLERANCE * first:
            raise InputError(f"{header.path}: expected voxels of {first:g} A as in {known[0].path}, got {other:g} A "
                             "(--voxel-size overrides both)")
    return known[0].voxel_size[0] if known else 0.0


def give(args: argparse.Namespace, figures: dict[str, Any], title: str,
         sections: Callable[[], list[report.Section]],
          files: Iterable[Path] | None = None) -> int:
    """Figures to the JSON file, with what they come from, or to stdout; and the page.

    sections   makes the parts of the page, called where one is asked for
    files      every file read (default: those that the flags name)
    """
    with ExitStack() as places:
        if args.report:
            summary = [(name.replace("_", " "), f"{value:.4g}") for name, value in _single_figures(figures)]
            page = places.enter_context(common.together(args.report.parent)) / args.report.name
            report.write_report(page, title=title, summary=summary, sections=sections())
        if args.output:
            common.write_json(args.output, {**_provenance(args, files), **figures})
    if not args.output:
        print(as_json(figures))
    return 0


def _single_figures(figures: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Those that are one number, of groups too."""
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from ((f"{name}_{inner}", number) for inner, number in _single_figures(value))
        elif isinstance(value, float):
            yield name, value


def _provenance(args: argparse.Namespace, files: Iterable[Path] | None) -> dict[str, Any]:
    """Program, command, parameters and inputs with their checksums, each file once."""
    record = RunRecord(f"evaluate {args.kind}", common.plain_arguments(args))
    for path in dict.fromkeys([*_named_files(args), *(files or ())]):
        record.add_input(path)
    return {name: record.content[name] for name in ("program", "version", "verb", "command", "python", "machine",
                                                    "parameters", "inputs")}


def _named_files(args: argparse.Namespace) -> Iterator[Path]:
    """The files that the flags name, outputs aside; --x-tilt takes angles too, and 'none' stands for no file."""
    for name, value in vars(args).items():
        if name in ("output", "report", "aligned_truth"):
            continue
        for one in value if isinstance(value, list) else [value]:
            if (isinstance(one, Path) or (name == "x_tilt" and one)) and Path(one).is_file():
                yield Path(one)
