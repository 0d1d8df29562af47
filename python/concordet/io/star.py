"""STAR files: a strict general reader and writer, and RELION 5's table of one tilt series."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from concordet.errors import InputError

from .alignment import SeriesAlignment, check_angles
from .imod import read_text
from .output import PathLike, atomic_output

_TOKEN = re.compile(r"""'(.*?)'(?=\s|$)|"(.*?)"(?=\s|$)|(\S+)""")
_BARE = re.compile(r"""(?!data_|loop_)[^\s_#'";]\S*""", re.IGNORECASE)  # needs no quotes anywhere in a line
_SECTION = re.compile(r"(\d+)@(.+)")
_ALIGNMENT = ("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot", "rlnTomoXShiftAngst", "rlnTomoYShiftAngst")
_DEFOCUS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")


@dataclass(frozen=True)
class Block:
    """One data_ block; labels without their underscore, values as text.

    Attributes
    ----------
    path, name : file, and what follows `data_` (may be empty)
    pairs : label -> value, of the entries outside the loop
    columns : label -> values, one per row of the loop; empty without a loop
    """

    path: Path
    name: str
    pairs: dict[str, str] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Rows of the loop; 0 without one."""
        return len(next(iter(self.columns.values()), ()))

    def __contains__(self, label: str) -> bool:
        return label in self.columns or label in self.pairs

    def texts(self, label: str) -> list[str]:
        """The values of a label, one per row (one for a pair); InputError when it is not there."""
        if label in self.columns:
            return self.columns[label]
        if label in self.pairs:
            return [self.pairs[label]]
        raise InputError(f"{self.path}: expected _{label} in data_{self.name}, got no such label")

    def floats(self, label: str) -> np.ndarray:
        """(rows,) float64; InputError when a value is not a finite number."""
        return self._numbers(label, float, "a finite number")

    def ints(self, label: str) -> np.ndarray:
        """(rows,) int64; InputError when a value is not a whole number."""
        return self._numbers(label, int, "a whole number")

    def _numbers(self, label: str, kind: type, expected: str) -> np.ndarray:
        texts = self.texts(label)
        if (numbers := _numbers(texts, kind)) is not None:
            return numbers
        row, text = next((row, text) for row, text in enumerate(texts, start=1) if _numbers([text], kind) is None)
        raise InputError(f"{self.path}: data_{self.name}: row {row}: expected {expected} for _{label}, got "
                         f"{text[:40]!r}")


def read_star(path: PathLike) -> dict[str, Block]:
    """Blocks of a STAR file by name, in the order of the file.

    Blocks of `_label value` pairs and at most one loop, one row per line, values bare or in single or double
    quotes, comments after `#`: what RELION, Warp, Dynamo and STOPGAP write. Not read: save frames, text over
    several lines, rows over several lines.

    Raises
    ------
    InputError : anything else (the line is named), a repeated block or label, or no block at all
    """
    path = Path(path)
    blocks: dict[str, Block] = {}
    block: Block | None = None
    labels: list[str] | None = None  # of the loop that the lines stand in, None outside
    rows: list[list[str]] = []

    def close() -> None:
        if block is not None and labels is not None:
            values = zip(*rows, strict=True) if rows else [()] * len(labels)
            block.columns.update(zip(labels, map(list, values), strict=True))

    for line, text in enumerate(read_text(path).splitlines(), start=1):
        if text.startswith(";"):
            raise _refusal(path, line, "no text over several lines", text)
        words, quoted = _words(text)
        if not words:
            continue
        first = words[0]
        is_header = len(words) == 1 and not quoted
        if is_header and first[:5].lower() == "data_":
            close()
            block, labels, rows = Block(path, first[5:]), None, []
            if block.name in blocks:
                raise _refusal(path, line, "each block once", first)
            blocks[block.name] = block
        elif block is None:
            raise _refusal(path, line, "a STAR file, data_ before anything else", text)
        elif is_header and first.lower() == "loop_":
            if labels is not None:
                raise _refusal(path, line, "at most one loop in a block", first)
            labels = []
        elif first.startswith("_") and not quoted:
            label = first[1:]
            if label in block.pairs or (labels and label in labels):
                raise _refusal(path, line, "each label once in a block", first)
            if labels is not None and not rows and len(words) == 1:
                labels.append(label)
            elif len(words) == 2 and (labels is None or rows):
                block.pairs[label] = words[1]
            else:
                raise _refusal(path, line, "a label alone heading a loop, else with one value", text)
        elif not labels:
            raise _refusal(path, line, "a label or a loop", text)
        elif len(words) != len(labels):
            raise _refusal(path, line, f"{len(labels)} values, one per label", f"{len(words)} values")
        else:
            rows.append(words)
    close()
    if not blocks:
        raise InputError(f"{path}: expected a STAR file with data_ blocks, got none")
    return blocks


def write_star(path: PathLike, blocks: Mapping[str, Mapping[str, str | Sequence[str]]]) -> None:
    """Write data_ blocks, whole or not at all.

    Parameters
    ----------
    path : file
    blocks : by name; each label -> its value outside a loop, or its values, one per row

    Raises
    ------
    InputError, RunError : as `atomic_output`
    ValueError : columns of different lengths, or a text that the form cannot hold
    """
    lines = []
    for name, entries in blocks.items():
        lines += ["", f"data_{name}", ""]
        lines += [f"_{label} {_quoted(value)}" for label, value in entries.items() if isinstance(value, str)]
        columns = {label: values for label, values in entries.items() if not isinstance(values, str)}
        if columns:
            lines += ["loop_", *(f"_{label} #{place}" for place, label in enumerate(columns, start=1))]
            lines += [" ".join(map(_quoted, row)) for row in zip(*columns.values(), strict=True)]
        lines.append("")
    with atomic_output(path) as beside:
        beside.write_text("\n".join(lines), encoding="utf-8")


@dataclass(frozen=True)
class RelionTiltSeries:
    """RELION 5's table of one tilt series, a row per tilt image; None where the file has no such column.

    (u, v) = n // 2 + shift / pixel + [Rz(z_rotation) Ry(tilt) Rx(x_tilt) p]_xy

    p from n // 2 of the tomogram: the centres of the C++ programs; the Python ones have n / 2.

    Attributes
    ----------
    path, name : file, name of the tilt series
    x_tilts, tilts, z_rotations : (n,) degrees
    shifts : (n, 2) angstrom along u, v
    image_names : names of the images; sections : (n,) 0-based where all of them are `number@stack`
    nominal_tilts : (n,) degrees of the stage; pre_exposures : (n,) electrons per square angstrom
    defoci : (n, 3) defocus U, V in angstrom, angle in degrees
    """

    path: Path
    name: str
    x_tilts: np.ndarray
    tilts: np.ndarray
    z_rotations: np.ndarray
    shifts: np.ndarray
    image_names: list[str] | None
    sections: np.ndarray | None
    nominal_tilts: np.ndarray | None
    pre_exposures: np.ndarray | None
    defoci: np.ndarray | None

    def alignment(self) -> SeriesAlignment:
        return SeriesAlignment(
            path=self.path, tilts=self.tilts, x_tilts=self.x_tilts, rotations=self.z_rotations,
            shifts=self.shifts, shift_unit="angstrom", centre="ours", sections=self.sections)


def read_relion_tilt_series(path: PathLike) -> RelionTiltSeries:
    """Read a RELION 5 tilt-series STAR file: one that tomograms.star names in rlnTomoTiltSeriesStarFile.

    Raises
    ------
    InputError : as `read_star`; several tilt series in the file, a list of them, RELION 4's projection
        matrices, a table without alignment or without rows, an angle past 360 degrees
    """
    path = Path(path)
    blocks = read_star(path)
    tables = [block for block in blocks.values() if "rlnTomoYTilt" in block.columns]
    if len(tables) != 1:
        raise InputError(f"{path}: expected the tilt images of one aligned tilt series with "
                         f"{' '.join('_' + label for label in _ALIGNMENT)}, got {_instead(blocks, tables)}")
    table = tables[0]
    missing = [label for label in _ALIGNMENT if label not in table.columns]
    if missing:
        raise InputError(f"{path}: expected the alignment of data_{table.name}, got no "
                         f"{' '.join('_' + label for label in missing)}")
    if not len(table):
        raise InputError(f"{path}: expected a row for each tilt image in data_{table.name}, got none")
    x_tilts, tilts, z_rotations, *shifts = (table.floats(label) for label in _ALIGNMENT)
    check_angles(path, x_tilts, tilts, z_rotations)
    names = table.columns.get("rlnMicrographName")
    sections = _sections(path, names) if names else None

    def optional(label: str) -> np.ndarray | None:
        return table.floats(label) if label in table.columns else None

    return RelionTiltSeries(
        path=path, name=table.name, x_tilts=x_tilts, tilts=tilts, z_rotations=z_rotations,
        shifts=np.column_stack(shifts), image_names=names, sections=sections,
        nominal_tilts=optional("rlnTomoNominalStageTiltAngle"),
        pre_exposures=optional("rlnMicrographPreExposure"),
        defoci=np.column_stack([table.floats(label) for label in _DEFOCUS])
        if all(label in table.columns for label in _DEFOCUS) else None)


def _refusal(path: Path, line: int, expected: str, got: str) -> InputError:
    return InputError(f"{path}: line {line}: expected {expected}, got {got[:60]!r}")


def _words(text: str) -> tuple[list[str], bool]:
    """Values of a line without its comment, and whether the first one is in quotes."""
    if "'" not in text and '"' not in text:
        words = text.split()
        if "#" in text:  # only where a word begins: file names may hold one
            comment = next((i for i, word in enumerate(words) if word.startswith("#")), len(words))
            words = words[:comment]
        return words, False
    words, first_quoted = [], False
    for match in _TOKEN.finditer(text):
        if match[3] is not None and match[3].startswith("#"):
            break
        if not words:
            first_quoted = match[3] is None
        words.append(next(group for group in match.groups() if group is not None))
    return words, first_quoted


def _quoted(value: str) -> str:
    """`value` as one word of a line."""
    if _BARE.fullmatch(value):
        return value
    for quote in "'\"":
        if not {quote, "\n", "\r"} & set(value):
            return quote + value + quote
    raise ValueError(f"a STAR file cannot hold {value!r}")


def _sections(path: Path, names: list[str]) -> np.ndarray | None:
    """Sections of images named number@stack, all of one stack; None for images in files of their own."""
    found = [_SECTION.fullmatch(name) for name in names]
    places = [(int(match[1]), match[2]) for match in found if match]
    if len(places) < len(names) or len({stack for _, stack in places}) > 1:
        return None
    if min(places)[0] < 1:
        raise InputError(f"{path}: expected _rlnMicrographName as number@stack from 1, got {min(places)[0]}")
    return np.array([section - 1 for section, _ in places], np.int64)


def _numbers(texts: list[str], kind: type) -> np.ndarray | None:
    """Finite float64 or int64 values of `texts`, None when one of them is none."""
    try:
        numbers = np.array([kind(text) for text in texts], np.int64 if kind is int else np.float64)
    except (ValueError, OverflowError):
        return None
    # float() and int() also take 1_000, which no program writes.
    return numbers if np.isfinite(numbers).all() and not any("_" in text for text in texts) else None


def _instead(blocks: dict[str, Block], tables: list[Block]) -> str:
    """What a STAR file is that is not one aligned tilt series."""
    if tables:
        return f"{len(tables)} tilt series ({tables[0].name}, {tables[1].name}, ...): give each its own file"
    if any("rlnTomoProjX" in block for block in blocks.values()):
        return "projection matrices (_rlnTomoProjX) as in RELION 4"
    for block in blocks.values():
        if "rlnTomoTiltSeriesStarFile" in block:
            files = block.texts("rlnTomoTiltSeriesStarFile")
            return f"a list of {len(files)} tilt series: give a file that it names ({' '.join(files[:1])})"
        if "rlnTomoNominalStageTiltAngle" in block:
            return "a tilt series that is not aligned yet"
    return f"blocks {' '.join('data_' + name for name in list(blocks)[:4])}"
