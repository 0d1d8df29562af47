"""MRC images and volumes: headers checked before use, stacks read and written one section at a time.

Format: MRC2014 (Cheng et al., J. Struct. Biol. 192, 2015) and IMOD's older dialect (its mrc_format page).
"""

from __future__ import annotations

import contextlib
import gzip
import math
import mmap
import os
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from concordet.errors import InputError, RunError

from .output import PathLike, atomic_output, check_output, reason, writing

HEADER_BYTES = 1024
_MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_REFUSED_MODES = {3: "complex int16", 4: "complex float32", 7: "int32", 16: "RGB", 101: "4-bit"}
_IMOD_STAMP = 1146047817
_IMOD_SIGNED_BYTES, _IMOD_STANDARD_ORIGIN, _IMOD_PACKED_4_BIT = 1, 4, 16
_LARGEST_PLAUSIBLE_SIDE = 1 << 20  # decides the byte order only: a swapped small number is larger than this
_GZIP_MAGIC = b"\x1f\x8b\x08"
_CHUNK = 1 << 24
_LABEL_LENGTH, _LABEL_COUNT = 80, 10


@dataclass(frozen=True)
class MrcHeader:
    """What an MRC file says about itself, as understood here.

    Attributes
    ----------
    path : Path
    sections, rows, columns : int, >= 1, as stored: slowest, middle and fastest axis
    mode : int, MRC mode 0, 1, 2, 6 or 12
    dtype : numpy dtype with byte order; mode 0 is int8 or uint8 (IMOD's flag, else the header's statistics)
    data_offset, extended_bytes : int, bytes before the first pixel; those of them in the extended header
    voxel_size : (x, y, z) angstrom, cell / sampling; 0 where the file does not say
    origin : (x, y, z) angstrom, place of the first voxel (MRC2014 sign; IMOD's older sign is turned round)
    start : (column, row, section) index of the first stored sample in the cell, nxstart nystart nzstart
    axes : (mapc, mapr, maps), which of x = 1, y = 2, z = 3 runs along columns, rows, sections
    sampling : (mx, my, mz)
    space_group : int, 0 image stack (IMOD writes 0 for volumes too), 1 volume, 401 stack of volumes
    labels : tuple of str, at most 10
    imod_flags : int, 0 when the file does not carry IMOD's stamp
    """

    path: Path
    sections: int
    rows: int
    columns: int
    mode: int
    dtype: np.dtype
    data_offset: int
    extended_bytes: int
    voxel_size: tuple[float, float, float]
    origin: tuple[float, float, float]
    start: tuple[int, int, int]
    axes: tuple[int, int, int]
    sampling: tuple[int, int, int]
    space_group: int
    labels: tuple[str, ...]
    imod_flags: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(section, row, column), as stored."""
        return self.sections, self.rows, self.columns

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """(z, y, x), after `axes`."""
        z, y, x = (self.shape[axis] for axis in self._volume_axes)
        return z, y, x

    @property
    def data_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def volumes(self) -> int:
        """Number of volumes in the file: sections / mz for space group 401 and above, else 1."""
        depth = self.sampling[2]
        if self.space_group >= 401 and depth > 0 and self.sections % depth == 0:
            return self.sections // depth
        return 1

    @property
    def pixel_size(self) -> float:
        """Side of a square pixel, angstrom, 0 when the file does not say; InputError when x and y differ."""
        x, y, _ = self.voxel_size
        if abs(x - y) > 1e-3 * max(x, y):
            raise InputError(f"{self.path}: expected square pixels, got {x:.5g} x {y:.5g} angstrom")
        return x

    @property
    def _volume_axes(self) -> tuple[int, int, int]:
        stored = self.axes[::-1]
        return stored.index(3), stored.index(2), stored.index(1)


def read_header(path: PathLike) -> MrcHeader:
    """Header of an MRC file, checked; no data is read.

    The length of a compressed file is checked when it is opened, because only unpacking tells it.

    Raises
    ------
    InputError : not a readable MRC file of mode 0, 1, 2, 6 or 12, or shorter than its header says
    """
    path = Path(path)
    with _opened(path) as file:
        if not _is_gzip(path, file):
            return _checked_header(path, file)
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                start = unpacked.read(HEADER_BYTES)
        except (OSError, EOFError, zlib.error) as error:
            raise _bad_gzip(path, error) from None
        return _parse(path, start)


class Stack:
    """Images of an MRC file, mapped read-only; a view is copied out of the file when it is asked for.

    Sections are in file order, rows v upwards, columns u. Nothing but the sections asked for is touched, so a
    stack may be larger than memory. Close it, or use it in a `with` statement.
    """

    def __init__(self, header: MrcHeader, file: BinaryIO, section_word: str = "view"):
        self.header = header
        self._section_word = section_word
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return self.header.sections

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def image_shape(self) -> tuple[int, int]:
        """(v, u), pixels."""
        return self.header.rows, self.header.columns

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """(x, y, z) angstrom, 0 when the file does not say."""
        return self.header.voxel_size

    def close(self) -> None:
        self._map.close()

    def view(self, index: int, *, check_finite: bool = True) -> np.ndarray:
        """One section as a new float32 array (v, u), C order.

        Parameters
        ----------
        index : int, 0 <= index < len(stack)
        check_finite : refuse NaN and infinity (InputError naming the view)

        Raises
        ------
        IndexError : no such section
        InputError : a pixel is NaN or infinite
        """
        if not 0 <= index < len(self):
            raise IndexError(f"view must be in 0 .. {len(self) - 1}, got {index}")
        header = self.header
        pixels = header.rows * header.columns
        length = pixels * header.dtype.itemsize
        begin = header.data_offset + index * length
        stored = np.frombuffer(self._map, header.dtype, pixels, begin)
        image = stored.reshape(self.image_shape).astype(np.float32)
        del stored
        self._forget(begin, length)
        if check_finite and header.dtype.kind == "f":
            _check_finite(image, f"{header.path}: {self._section_word} {index} (counted from 0)")
        return image

    def _forget(self, begin: int, length: int) -> None:
        # Pages once read stay in the resident set: without this the whole stack counts as peak memory.
        if hasattr(mmap, "MADV_DONTNEED"):
            page = begin - begin % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, page, begin - page + length)


def open_stack(path: PathLike) -> Stack:
    """Open an image stack for reading view by view.

    A gzip file is unpacked to an unlinked file in the temporary folder ($TMPDIR) first.

    Raises
    ------
    InputError : as `read_header`; axis order other than x, y, section; damaged gzip
    """
    stack = _open(Path(path))
    if stack.header.axes != (1, 2, 3):
        stack.close()
        got = " ".join(map(str, stack.header.axes))
        raise InputError(f"{path}: expected columns along x and rows along y (axes 1 2 3), got {got}")
    return stack


def read_volume(path: PathLike) -> tuple[np.ndarray, MrcHeader]:
    """A volume as float32 (z, y, x), C order, with its header; other axis orders are transposed.

    Raises
    ------
    InputError : as `read_header`; NaN or infinity; a stack of several volumes; damaged gzip
    """
    with _open(Path(path), "section") as stack:
        header = stack.header
        if header.volumes > 1:
            raise InputError(f"{path}: expected one volume, got a stack of {header.volumes}")
        volume = np.empty(header.shape, np.float32)
        for section in range(header.sections):
            volume[section] = stack.view(section)
    return np.ascontiguousarray(volume.transpose(header._volume_axes)), header


class StackWriter:
    """Sections of an MRC file being written, in order; made by `create_stack`."""

    def __init__(self, path: Path, file: BinaryIO, header: np.ndarray, dtype: np.dtype):
        self._path, self._file, self._header, self._dtype = path, file, header, dtype
        self.sections = int(header["nz"])
        self.image_shape = (int(header["ny"]), int(header["nx"]))
        self.written = 0
        self._least, self._largest, self._mean, self._squares = math.inf, -math.inf, 0.0, 0.0

    def write(self, section: np.ndarray) -> None:
        """Write the next section.

        Parameters
        ----------
        section : (row, column), finite; integer modes round to nearest

        Raises
        ------
        ValueError : wrong shape, or more sections than announced
        InputError : values that the mode cannot hold
        RunError : NaN or infinity; the disk refused
        """
        section = np.asarray(section)
        if section.shape != self.image_shape:
            raise ValueError(f"section must have shape {self.image_shape}, got {section.shape}")
        if self.written == self.sections:
            raise ValueError(f"expected {self.sections} sections, got more")
        if section.dtype.kind == "f" and not np.isfinite(section).all():
            raise RunError(f"{self._path}: expected finite values, got others in section {self.written}")
        stored = self._converted(section)
        self._count(stored)
        with writing(self._path):
            self._file.write(stored.data)
        self.written += 1

    def _converted(self, section: np.ndarray) -> np.ndarray:
        is_integer = self._dtype.kind in "iu"
        limits = np.iinfo(self._dtype) if is_integer else np.finfo(self._dtype)
        section = np.rint(section) if is_integer else section
        least, largest = section.min(), section.max()
        if least < limits.min or largest > limits.max:
            got = f"{least:.6g} to {largest:.6g}"
            raise InputError(f"{self._path}: expected values that fit {self._dtype.name}, got {got}")
        return np.ascontiguousarray(section, self._dtype)

    def _count(self, stored: np.ndarray) -> None:
        # Chan's pairwise update: one pass, and no cancellation when the mean is large against the deviation.
        mean = float(stored.mean(dtype=np.float64))
        deviation = np.subtract(stored, mean, dtype=np.float64)
        squares = float(np.vdot(deviation, deviation))
        before, now = self.written * stored.size, stored.size
        step = mean - self._mean
        self._squares += squares + step * step * before * now / (before + now)
        self._mean += step * now / (before + now)
        self._least = min(self._least, float(stored.min()))
        self._largest = max(self._largest, float(stored.max()))

    def _finish(self) -> None:
        if self.written != self.sections:
            raise ValueError(f"expected {self.sections} sections, got {self.written}")
        self._header["dmin"], self._header["dmax"] = self._least, self._largest
        self._header["dmean"] = self._mean
        self._header["rms"] = math.sqrt(self._squares / (self.written * math.prod(self.image_shape)))
        with writing(self._path):
            self._file.seek(0)
            self._file.write(self._header.tobytes())
            self._file.flush()


@contextlib.contextmanager
def create_stack(
    path: PathLike,
    shape: tuple[int, int, int],
    *,
    voxel_size: float | tuple[float, float, float],
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    labels: Iterable[str] = (),
    mode: int = 2,
    is_volume: bool = False,
) -> Iterator[StackWriter]:
    """Write an MRC file one section at a time; the file appears, whole, when the `with` block ends well.

    Parameters
    ----------
    path : file to write; a name ending in .gz is compressed
    shape : (section, row, column), each >= 1
    voxel_size : angstrom, >= 0, one number or (x, y, z)
    origin : (x, y, z) angstrom, place of the first voxel
    labels : at most 10, cut at 80 characters each
    mode : 0 (int8), 1 (int16), 2 (float32), 6 (uint16) or 12 (float16)
    is_volume : space group 1 and mz = sections; else an image stack (space group 0, mz = 1)

    Raises
    ------
    InputError : the place cannot be written to (see `check_output`)
    RunError : the disk refused; nothing is left behind
    """
    path = Path(path)
    check_output(path)
    header = _new_header(shape, voxel_size, origin, labels, mode, is_volume)
    with atomic_output(path) as beside:
        # A gzip stream cannot go back to the header for the statistics, so it is packed from a plain file.
        packed = path.name.lower().endswith(".gz")
        plain = beside.with_name(f"{beside.name}.plain") if packed else beside
        try:
            with open(plain, "wb") as file:
                file.write(header.tobytes())
                writer = StackWriter(path, file, header, np.dtype(f"<{_MODES[mode]}"))
                yield writer
                writer._finish()
            if packed:
                # No time and no hidden name in the gzip header: equal volumes give equal files.
                with open(plain, "rb") as raw, open(beside, "wb") as out:
                    with gzip.GzipFile("", "wb", 4, out, mtime=0) as zipped:
                        shutil.copyfileobj(raw, zipped, _CHUNK)
        finally:
            if packed:
                plain.unlink(missing_ok=True)


def write_volume(
    path: PathLike,
    volume: np.ndarray,
    *,
    voxel_size: float | tuple[float, float, float],
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    labels: Iterable[str] = (),
    mode: int = 2,
) -> None:
    """Write a volume (z, y, x), whole or not at all; parameters and errors as `create_stack`."""
    volume = np.asarray(volume)
    if volume.ndim != 3:
        raise ValueError(f"volume must have 3 axes, got {volume.ndim}")
    with create_stack(
        path, volume.shape, voxel_size=voxel_size, origin=origin, labels=labels, mode=mode, is_volume=True
    ) as writer:
        for section in volume:
            writer.write(section)


def _new_header(shape, voxel_size, origin, labels, mode: int, is_volume: bool) -> np.ndarray:
    if mode not in _MODES:
        raise ValueError(f"mode must be one of {', '.join(map(str, _MODES))}, got {mode}")
    if len(shape) != 3 or not all(1 <= side < 1 << 31 for side in shape):
        raise ValueError(f"shape must be three sides >= 1, got {shape}")
    spacing = np.broadcast_to(np.asarray(voxel_size, np.float64), (3,))
    if not (np.isfinite(spacing).all() and (spacing >= 0).all()):
        raise ValueError(f"voxel_size must be finite and >= 0, got {voxel_size}")
    labels = list(labels) or ["Written by Concordet"]
    if len(labels) > _LABEL_COUNT:
        raise ValueError(f"labels must be at most {_LABEL_COUNT}, got {len(labels)}")

    header = np.zeros((), HEADER_DTYPE.newbyteorder("<"))
    sections, rows, columns = shape
    sampling = (columns, rows, sections if is_volume else 1)
    header["nx"], header["ny"], header["nz"] = columns, rows, sections
    header["mx"], header["my"], header["mz"] = sampling
    header["mode"] = mode
    header["cella"] = tuple(spacing * sampling)
    header["cellb"] = (90, 90, 90)
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["ispg"] = 1 if is_volume else 0
    header["nversion"] = 20141
    header["origin"] = tuple(origin)
    header["map"] = b"MAP "
    header["machst"] = (0x44, 0x44, 0, 0)
    header["nlabl"] = len(labels)
    for index, label in enumerate(labels):
        text = " ".join(label.split()).encode("ascii", "replace")[:_LABEL_LENGTH]
        header["label"][index] = text.ljust(_LABEL_LENGTH)
    return header


def _open(path: Path, section_word: str = "view") -> Stack:
    with _opened(path) as file:
        if not _is_gzip(path, file):
            return Stack(_checked_header(path, file), file, section_word)
        with tempfile.TemporaryFile() as plain:
            _unpack(path, file, plain)
            return Stack(_checked_header(path, plain), plain, section_word)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        # Opening a named pipe would wait for a writer for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            got = "a folder" if path.is_dir() else "something else"
            raise InputError(f"{path}: expected an MRC file, got {got}")
        file = open(path, "rb")
    except (OSError, ValueError) as error:
        got = "no such file" if isinstance(error, FileNotFoundError) else reason(error)
        raise InputError(f"{path}: expected an MRC file, got {got}") from None
    with file:
        try:
            yield file
        except OSError as error:
            raise RunError(f"{path}: could not be read: {reason(error)}") from error


def _is_gzip(path: Path, file: BinaryIO) -> bool:
    magic = file.read(len(_GZIP_MAGIC))
    file.seek(0)
    if magic == _GZIP_MAGIC:
        return True
    if path.name.lower().endswith(".gz") and magic:
        raise InputError(f"{path}: expected a gzip file, got other data")
    return False


def _bad_gzip(path: Path, error: BaseException) -> InputError:
    return InputError(f"{path}: expected whole gzip data, got damaged or truncated data: {reason(error)}")


def _unpack(path: Path, file: BinaryIO, plain: BinaryIO) -> None:
    unpacked = gzip.GzipFile(fileobj=file)
    wanted = None
    while True:
        try:
            chunk = unpacked.read(_CHUNK)
        except (OSError, EOFError, zlib.error) as error:
            raise _bad_gzip(path, error) from None
        if not chunk:
            break
        if wanted is None:
            header = _parse(path, chunk[:HEADER_BYTES])
            wanted = header.data_offset + header.data_bytes
        # Past the data the stream is read on for its checksum only.
        plain.write(chunk[: max(0, wanted - plain.tell())])
    plain.flush()


def _checked_header(path: Path, file: BinaryIO) -> MrcHeader:
    file.seek(0)
    header = _parse(path, file.read(HEADER_BYTES))
    found = os.fstat(file.fileno()).st_size
    expected = header.data_offset + header.data_bytes
    if found < expected:
        size = f"{header.columns} x {header.rows} x {header.sections}, mode {header.mode}"
        raise InputError(f"{path}: expected {expected} bytes ({size}), got {found} (truncated?)")
    return header


def _parse(path: Path, start: bytes) -> MrcHeader:
    if len(start) < HEADER_BYTES:
        raise InputError(f"{path}: expected an MRC file of at least {HEADER_BYTES} bytes, got {len(start)}")
    record = _in_its_byte_order(path, start)
    order = record.dtype["mode"].byteorder
    sides = _three(record, "nx", "ny", "nz")
    if min(sides) < 1:
        raise InputError(f"{path}: expected sizes nx ny nz >= 1, got {' '.join(map(str, sides))}")
    mode = int(record["mode"])
    stamp, flags = np.frombuffer(start, f"{order}i4", 2, 152).tolist()
    flags = flags if stamp == _IMOD_STAMP else 0
    if mode not in _MODES or (mode == 0 and flags & _IMOD_PACKED_4_BIT):
        kind = "4-bit values packed in bytes" if mode in _MODES else _REFUSED_MODES.get(mode, "unknown")
        accepted = "0 (bytes), 1 (int16), 2 (float32), 6 (uint16) or 12 (float16)"
        raise InputError(f"{path}: expected MRC mode {accepted}, got {mode} ({kind})")
    extended = int(record["nsymbt"])
    if extended < 0:
        raise InputError(f"{path}: expected an extended header of 0 bytes or more, got {extended}")
    axes = _three(record, "mapc", "mapr", "maps")
    if axes == (0, 0, 0):
        axes = (1, 2, 3)
    if sorted(axes) != [1, 2, 3]:
        raise InputError(f"{path}: expected axis order to hold 1, 2 and 3, got {' '.join(map(str, axes))}")

    dtype = np.dtype(f"{order}{_MODES[mode]}")
    if mode == 0 and not _bytes_are_signed(record, stamp == _IMOD_STAMP, flags):
        dtype = np.dtype("u1")
    sampling = _three(record, "mx", "my", "mz")
    label_count = min(max(int(record["nlabl"]), 0), _LABEL_COUNT)
    labels = [bytes(label).split(b"\0")[0].decode("latin-1") for label in record["label"][:label_count]]
    return MrcHeader(
        path=path,
        sections=sides[2],
        rows=sides[1],
        columns=sides[0],
        mode=mode,
        dtype=dtype,
        data_offset=HEADER_BYTES + extended,
        extended_bytes=extended,
        voxel_size=_voxel_size(record, sampling, sides, axes),
        origin=_origin(record, stamp == _IMOD_STAMP, flags),
        start=_three(record, "nxstart", "nystart", "nzstart"),
        axes=axes,
        sampling=sampling,
        space_group=int(record["ispg"]),
        labels=tuple(label.strip() for label in labels if label.strip()),
        imod_flags=flags,
    )


def _in_its_byte_order(path: Path, start: bytes) -> np.void:
    # Stamps seen for little endian: 44 44, 44 41 (IMOD, CCP4), for big endian: 11 11. Old IMOD files hold a
    # float there, and some programs stamp wrongly, so the stamp only says which order is tried first.
    candidates = [np.frombuffer(start, HEADER_DTYPE.newbyteorder(order))[0] for order in "<>"]
    if start[212] == 0x11:
        candidates.reverse()
    for record in candidates:
        if _is_plausible(record):
            return record
    if start[208:211] == b"MAP" and start[212] in (0x44, 0x11):
        return candidates[0]
    for record in candidates:
        if _is_known_mode(record):
            return record
    mode = int(candidates[0]["mode"])
    raise InputError(f"{path}: expected an MRC file, got other data (no MAP stamp, mode {mode})")


def _is_plausible(record: np.void) -> bool:
    sides = _three(record, "nx", "ny", "nz")
    return all(1 <= side <= _LARGEST_PLAUSIBLE_SIDE for side in sides) and _is_known_mode(record)


def _is_known_mode(record: np.void) -> bool:
    return int(record["mode"]) in _MODES or int(record["mode"]) in _REFUSED_MODES


def _three(record: np.void, first: str, second: str, third: str) -> tuple[int, int, int]:
    return int(record[first]), int(record[second]), int(record[third])


def _bytes_are_signed(record: np.void, is_imod: bool, flags: int) -> bool:
    if is_imod:
        return bool(flags & _IMOD_SIGNED_BYTES)
    # MRC2014 says signed; a maximum past 127 shows an older file (IMOD decides alike).
    return not (float(record["dmin"]) >= 0 and float(record["dmax"]) >= 128)


def _voxel_size(record, sampling, sides, axes) -> tuple[float, float, float]:
    sizes = []
    for axis, name in enumerate("xyz"):
        intervals = sampling[axis] if sampling[axis] > 0 else sides[axes.index(axis + 1)]
        size = float(record["cella"][name]) / intervals
        sizes.append(size if math.isfinite(size) and size > 0 else 0.0)
    return sizes[0], sizes[1], sizes[2]


def _origin(record: np.void, is_imod: bool, flags: int) -> tuple[float, float, float]:
    if bytes(record["map"])[:3] != b"MAP":
        return 0.0, 0.0, 0.0  # the words mean something else before the MAP stamp came
    # IMOD: the older, opposite sign unless flagged, or the file says that it follows MRC2014.
    inverted = is_imod and not flags & _IMOD_STANDARD_ORIGIN and int(record["nversion"]) <= 0
    x, y, z = (float(record["origin"][name]) for name in "xyz")
    if not math.isfinite(x + y + z):
        return 0.0, 0.0, 0.0
    return (0.0 - x, 0.0 - y, 0.0 - z) if inverted else (x, y, z)


def _check_finite(image: np.ndarray, what: str) -> None:
    finite = np.isfinite(image)
    if finite.all():
        return
    count = finite.size - np.count_nonzero(finite)
    row, column = np.unravel_index(np.argmin(finite), finite.shape)
    kind = "NaN" if np.isnan(image[row, column]) else "infinity"
    got = f"{count} NaN or infinite, the first {kind} at row {row}, column {column}"
    raise InputError(f"{what}: expected finite values, got {got}")
