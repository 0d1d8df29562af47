"""Sets of subtomograms: RELION's particle STAR files (3.0, 3.1, 4, 5) read, 3.1's written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from concordet.errors import InputError
from concordet.rigid import Poses, compose, from_relion, to_relion

from .mrc import open_stack, read_header, read_volume
from .output import PathLike
from .star import Block, read_star, write_star

# binary: a wedge of zeros and ones. raw: the CTF of data as recorded. premultiplied: CTF^2 of data times CTF.
Ctf = Literal["binary", "raw", "premultiplied"]
# A volume: its file, or (n, file) for the n-th of a stack of volumes, counted from 1.
Place = Path | tuple[int, Path]

_IN_STACK = re.compile(r"(\d+)@(.+)")
_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_ORIGINS = ("rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst")
_VOXEL_ORIGINS = ("rlnOriginX", "rlnOriginY", "rlnOriginZ")
_SUBTOMOGRAM_ANGLES = ("rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi")
_SCOPE = {"voltage": "rlnVoltage", "spherical_aberration": "rlnSphericalAberration",
          "amplitude_contrast": "rlnAmplitudeContrast"}
# Of 3.0's one table; 3.1 has them in data_optics, or in other units.
_ONLY_3_0 = (*_SCOPE.values(), *_VOXEL_ORIGINS, "rlnMagnification", "rlnDetectorPixelSize", "rlnImagePixelSize")


@dataclass(frozen=True, eq=False)
class ParticleSet:
    """Subtomograms of one box and voxel size, their Fourier weights and poses; volumes are read when asked for.

    Attributes
    ----------
    paths : n places of volumes
    voxel_size : angstrom
    box : voxels along each axis; 0 where it is not known, see `read_particles`
    poses : n, in the frame of each volume, shifts in voxels; zero where the file has none
    has_poses : whether the file had any; written only then
    weight_paths : n places of weight volumes; None: none
    classes : (n,) int64; None: none
    ctf : what volumes and weights are
    voltage (kV), spherical_aberration (mm), amplitude_contrast : None where unknown or not one value
    columns, optics, general : further labels as read, written again; `columns` has n values each
    version : "RELION 3.0", ...; path : the file read
    """

    paths: tuple[Place, ...]
    voxel_size: float
    box: int
    poses: Poses
    has_poses: bool = True
    weight_paths: tuple[Place, ...] | None = None
    classes: np.ndarray | None = None
    ctf: Ctf = "binary"
    voltage: float | None = None
    spherical_aberration: float | None = None
    amplitude_contrast: float | None = None
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    optics: Mapping[str, Sequence[str]] = field(default_factory=dict)
    general: Mapping[str, str] = field(default_factory=dict)
    version: str = "RELION 3.1"
    path: Path | None = None

    def __post_init__(self) -> None:
        counts = {len(self.paths), len(self.poses), *map(len, self.columns.values())}
        counts |= {len(given) for given in (self.weight_paths, self.classes) if given is not None}
        if len(counts) > 1 or 0 in counts:
            raise InputError(f"particles: expected one place, pose, weight, class for each, got {sorted(counts)}")

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, particles: Sequence[int] | np.ndarray) -> ParticleSet:
        """The same set with only `particles` (indices or a boolean mask), in their order."""
        chosen = np.arange(len(self))[np.asarray(particles)]
        weights, classes = self.weight_paths, self.classes
        return replace(
            self, paths=tuple(self.paths[i] for i in chosen), poses=self.poses[chosen],
            weight_paths=weights and tuple(weights[i] for i in chosen),
            classes=None if classes is None else np.asarray(classes)[chosen],
            columns={label: [values[i] for i in chosen] for label, values in self.columns.items()})

    def volume(self, particle: int) -> np.ndarray:
        """(n, n, n) float32, (z, y, x).

        Raises
        ------
        InputError : not there, not readable, NaN or infinity, one grey value everywhere, not the box of the set
        """
        place = self.paths[particle]
        volume = _read(place)
        if volume.shape != (self.box,) * 3:
            raise InputError(f"{_name(place)}: expected a particle of {self.box} voxels along each axis, got "
                             f"{_size(volume.shape)}")
        if volume.min() == volume.max():
            raise InputError(f"{_name(place)}: expected a particle, got {volume.flat[0]:g} in every voxel")
        return volume

    def weight(self, particle: int) -> np.ndarray | None:
        """(n, n, n) or (n, n, n // 2 + 1) float32 as in the file, or None.

        Raises
        ------
        InputError : not there, not readable, NaN or infinity, another size
        """
        if self.weight_paths is None:
            return None
        place = self.weight_paths[particle]
        weight = _read(place)
        _check_weight(place, weight.shape, self.box)
        return weight

    def tomogram_poses(self) -> Poses:
        """Poses as seen in the tomogram, where volumes were cut out turned (RELION 4 and 5: rlnTomoSubtomogramRot...).

        RELION's getMatrix3x3 and getPosition: the volume's own rotation after the particle's.
        """
        if not all(label in self.columns for label in _SUBTOMOGRAM_ANGLES):
            return self.poses
        angles = (np.array(self.columns[label], np.float64) for label in _SUBTOMOGRAM_ANGLES)
        return compose(Poses(from_relion(*angles), np.zeros((len(self), 3))), self.poses)


def read_particles(path: PathLike, *, check_files: bool = True) -> ParticleSet:
    """Read a RELION particle STAR file whose images are volumes: 3.0, 3.1, 4 (pseudo-subtomograms), 5 (3-D).

    Image names are relative to the folder of the file; where nothing is there, to the current folder. Without
    rlnCtfDataAreCtfPremultiplied, weights are `binary` when the first has only zeros and ones, else `raw`.

    Parameters
    ----------
    path : file
    check_files : look at the header of every volume and weight; False: they may be missing, then the box may be
        0 and `ctf` "binary" unproven

    Raises
    ------
    InputError : as `read_star`; no table of particles, or an empty one; 2-D images or stacks; several voxel sizes
        or boxes; no voxel size; a volume missing, not cubic or of another box; a weight of another size
    """
    path = Path(path)
    blocks = read_star(path)
    table = _table(path, blocks)
    optics = _used_optics(path, blocks.get("optics"), table)
    _refuse_2d(path, blocks, table, optics)
    voxel_size = _voxel_size(path, table, optics)
    paths = tuple(_place(path, name) for name in table.texts("rlnImageName"))
    weights = tuple(_place(path, name) for name in table.columns["rlnCtfImage"]) if "rlnCtfImage" in table else None
    poses = _poses(path, table, voxel_size)
    voltage, spherical_aberration, contrast = (_one_value(optics or table, label) for label in _SCOPE.values())
    general = blocks["general"].pairs if "general" in blocks else {}
    known_labels = ("rlnImageName", "rlnCtfImage", "rlnClassNumber", *_ANGLES, *_ORIGINS, *_VOXEL_ORIGINS)
    found = ParticleSet(
        paths=paths, voxel_size=voxel_size, box=_box(path, paths, optics, check_files),
        poses=poses or Poses.identity(len(paths)), has_poses=poses is not None, weight_paths=weights,
        classes=_whole(table, "rlnClassNumber") if "rlnClassNumber" in table else None,
        columns={label: values for label, values in table.columns.items() if label not in known_labels},
        voltage=voltage, spherical_aberration=spherical_aberration, amplitude_contrast=contrast,
        optics=optics.columns if optics else {}, general=general, version=_version(blocks, table), path=path)
    if check_files:
        for place in dict.fromkeys(weights or ()):
            _check_weight(place, _shape(place, found.box), found.box)
    return replace(found, ctf=_ctf(path, found, optics, check_files))


def write_particles(path: PathLike, particles: ParticleSet) -> None:
    """Write a set as RELION 3.1 does: data_optics, data_particles; image names relative to the folder of `path`.

    What was read beside poses, classes and names is written again as it stood.

    Raises
    ------
    InputError, RunError : as `atomic_output`
    """
    folder = Path(path).parent
    optics = {label: list(values) for label, values in particles.optics.items()}
    groups = optics.setdefault("rlnOpticsGroup", ["1"])
    optics.setdefault("rlnOpticsGroupName", [f"opticsGroup{group}" for group in groups])
    for name, label in _SCOPE.items():
        value = getattr(particles, name)
        if label not in optics and value is not None:
            optics[label] = [f"{value:.6f}"] * len(groups)
    optics |= {"rlnImagePixelSize": [f"{particles.voxel_size:.6f}"] * len(groups),
               "rlnImageSize": [str(particles.box)] * len(groups),
               "rlnImageDimensionality": ["3"] * len(groups),
               "rlnCtfDataAreCtfPremultiplied": ["1" if particles.ctf == "premultiplied" else "0"] * len(groups)}
    columns = {"rlnImageName": [_name(place, folder) for place in particles.paths]}
    if particles.weight_paths is not None:
        columns["rlnCtfImage"] = [_name(place, folder) for place in particles.weight_paths]
    columns |= {label: list(values) for label, values in particles.columns.items() if label not in _ONLY_3_0}
    if "rlnOpticsGroup" not in particles.optics or "rlnOpticsGroup" not in columns:
        columns["rlnOpticsGroup"] = [groups[0]] * len(particles)
    if particles.has_poses:
        numbers = np.hstack([to_relion(particles.poses.rotations), -particles.poses.shifts * particles.voxel_size])
        numbers = np.round(numbers, 6) + 0.0  # without -0
        columns |= {label: [f"{number:.6f}" for number in numbers[:, place]]
                    for place, label in enumerate((*_ANGLES, *_ORIGINS))}
    if particles.classes is not None:
        columns["rlnClassNumber"] = [str(int(number)) for number in particles.classes]
    blocks: dict[str, Mapping[str, str | Sequence[str]]] = {"optics": optics, "particles": columns}
    if particles.general:
        blocks = {"general": particles.general, **blocks}
    write_star(path, blocks)


def is_particle_star(blocks: Mapping[str, Block]) -> bool:
    """Whether a STAR file has particles or picks: data_particles, or a table of images, angles or places."""
    return "particles" in blocks or any(
        {"rlnImageName", "rlnAnglePsi", "rlnCoordinateX"} & set(block.columns) for block in blocks.values())


def _table(path: Path, blocks: Mapping[str, Block]) -> Block:
    for block in blocks.values():
        if "rlnTomoParticlesFile" in block:
            raise InputError(f"{path}: expected particles, got an optimisation set: give the file that it names, "
                             f"{block.texts('rlnTomoParticlesFile')[0]}")
    tables = [blocks["particles"]] if "particles" in blocks else [
        block for block in blocks.values() if is_particle_star({block.name: block})]
    if len(tables) != 1:
        raise InputError(f"{path}: expected one table of particles, got {len(tables)} in blocks "
                         f"{' '.join('data_' + name for name in list(blocks)[:4])}")
    table = tables[0]
    if "rlnImageName" not in table.columns:
        raise InputError(f"{path}: expected _rlnImageName in data_{table.name}, got {len(table)} places without images")
    if not len(table):
        raise InputError(f"{path}: expected a row for each particle in data_{table.name}, got none")
    return table


def _used_optics(path: Path, optics: Block | None, table: Block) -> Block | None:
    """The rows of data_optics that the particles name; None without such a block."""
    if optics is None or not len(optics):
        return None
    if "rlnOpticsGroup" not in optics.columns or "rlnOpticsGroup" not in table.columns:
        if len(optics) > 1:
            raise InputError(f"{path}: expected _rlnOpticsGroup in data_optics and data_{table.name}, got none")
        return optics
    groups, used = _whole(optics, "rlnOpticsGroup"), np.unique(_whole(table, "rlnOpticsGroup"))
    if missing := set(used.tolist()) - set(groups.tolist()):
        raise InputError(f"{path}: expected an optics group of data_optics ({' '.join(map(str, groups))}) for each "
                         f"particle, got {min(missing)}")
    rows = np.flatnonzero(np.isin(groups, used))
    return replace(optics, columns={label: [values[row] for row in rows] for label, values in optics.columns.items()})


def _refuse_2d(path: Path, blocks: Mapping[str, Block], table: Block, optics: Block | None) -> None:
    stacks = "general" in blocks and blocks["general"].pairs.get("rlnTomoSubTomosAre2DStacks") == "1"
    images = optics is not None and "rlnImageDimensionality" in optics and "2" in optics.texts("rlnImageDimensionality")
    if stacks or (images and "rlnTomoName" in table):
        raise InputError(f"{path}: expected 3-D volumes, got a set of RELION 5 made by extracting 2-D stacks: run "
                         "`concordet extract`")
    for label in ("rlnCoordinateX", "rlnOriginX", "rlnOriginXAngst"):
        images |= label in table and label.replace("X", "Z") not in table
    if images:
        raise InputError(f"{path}: expected particles that are volumes, got 2-D images")


def _voxel_size(path: Path, table: Block, optics: Block | None) -> float:
    if optics is not None and "rlnImagePixelSize" in optics:
        sizes = optics.floats("rlnImagePixelSize")
    elif "rlnMagnification" in table and "rlnDetectorPixelSize" in table:  # 3.0's own, micrometres on the detector
        with np.errstate(divide="ignore"):
            sizes = 1e4 * table.floats("rlnDetectorPixelSize") / table.floats("rlnMagnification")
    else:
        label = next((label for label in ("rlnPixelSize", "rlnImagePixelSize") if label in table), None)
        if label is None:
            raise InputError(f"{path}: expected a voxel size (_rlnImagePixelSize in data_optics), got none")
        sizes = table.floats(label)
    least, largest = float(sizes.min()), float(sizes.max())
    if not 0 < least <= largest < np.inf:
        raise InputError(f"{path}: expected a voxel size above 0, got {least:g}")
    if largest > least * (1 + 1e-3):
        raise InputError(f"{path}: expected one voxel size, got {least:g} to {largest:g} angstrom")
    return float(sizes[0])


def _poses(path: Path, table: Block, voxel_size: float) -> Poses | None:
    """None where the file has neither angles nor origins."""
    angles = [label for label in _ANGLES if label in table]
    origins, unit = _ORIGINS, voxel_size
    if _ORIGINS[0] not in table and _VOXEL_ORIGINS[0] in table:
        origins, unit = _VOXEL_ORIGINS, 1.0
    if not angles and origins[0] not in table:
        return None
    if angles and len(angles) < 3:
        raise InputError(f"{path}: expected {' '.join('_' + label for label in _ANGLES)}, got {' '.join(angles)} alone")
    rotations = from_relion(*map(table.floats, angles)) if angles else Poses.identity(len(table)).rotations
    shifts = np.zeros((len(table), 3))
    if origins[0] in table:
        shifts = -np.column_stack([table.floats(label) for label in origins]) / unit
    return Poses(rotations, shifts + 0.0)


def _one_value(block: Block, label: str) -> float | None:
    values = set(block.texts(label)) if label in block else set()
    return float(block.floats(label)[0]) if len(values) == 1 and values != {"NaN"} else None


def _whole(block: Block, label: str) -> np.ndarray:
    """(rows,) int64; other programs write whole numbers as 1.0."""
    values = block.floats(label)
    return values.astype(np.int64) if (values == np.rint(values)).all() else block.ints(label)


def _version(blocks: Mapping[str, Block], table: Block) -> str:
    if "general" in blocks or "rlnCenteredCoordinateXAngst" in table:
        return "RELION 5"
    if "optics" not in blocks:
        return "RELION 3.0"
    return "RELION 4" if "rlnTomoName" in table else "RELION 3.1"


def _box(path: Path, paths: Sequence[Place], optics: Block | None, check_files: bool) -> int:
    """Voxels along each axis: of the files when they are there, else what data_optics says, else 0."""
    said = 0
    if optics is not None and "rlnImageSize" in optics:
        sizes = {size for size in optics.texts("rlnImageSize") if size.isdigit()}  # NaN is written for unknown
        if len(sizes) > 1:
            raise InputError(f"{path}: expected one box, got {' and '.join(sorted(sizes))} voxels in data_optics")
        said = int(sizes.pop()) if sizes else 0
    box = said
    for place in dict.fromkeys(paths):
        if not check_files and (box or not _file(place).is_file()):
            return box
        shape = _shape(place, box)
        if len(set(shape)) > 1:
            raise InputError(f"{_name(place)}: expected a cubic volume, got {_size(shape)}")
        if box and shape[0] != box:
            other = "_rlnImageSize says" if box == said else f"{_name(paths[0])} has"
            raise InputError(f"{_name(place)}: expected {box} voxels along each axis as {other}, got {shape[0]}")
        box = shape[0]
    return box


def _ctf(path: Path, particles: ParticleSet, optics: Block | None, check_files: bool) -> Ctf:
    if optics is not None and "rlnCtfDataAreCtfPremultiplied" in optics:
        flags = set(_whole(optics, "rlnCtfDataAreCtfPremultiplied").tolist())
        if len(flags) > 1:
            raise InputError(f"{path}: expected all particles premultiplied by the CTF or none, got both")
        if flags == {1}:
            return "premultiplied"
    if particles.weight_paths is None or not (check_files or _file(particles.weight_paths[0]).is_file()):
        return "binary"
    weight = _read(particles.weight_paths[0])
    return "binary" if np.minimum(np.abs(weight), np.abs(weight - 1)).max() < 1e-3 else "raw"


def _place(star: Path, name: str) -> Place:
    """The volume that a STAR file names: in its folder, else in the current one."""
    match = _IN_STACK.fullmatch(name)
    file = Path(match[2] if match else name)
    if not (found := star.parent / file).exists() and file.exists():
        found = Path(os.path.abspath(file))
    return (int(match[1]), found) if match else found


def _file(place: Place) -> Path:
    return place if isinstance(place, Path) else place[1]


def _name(place: Place, folder: Path | None = None) -> str:
    """As STAR files name it, n@file; relative to `folder`, if any."""
    file = _file(place)
    if folder is not None:
        # Real folders: `..` after a link leads elsewhere. The file itself may be a link and keeps its name.
        file = Path(os.path.relpath(Path(os.path.realpath(file.parent)) / file.name, os.path.realpath(folder)))
    return str(file) if isinstance(place, Path) else f"{place[0]}@{file}"


def _check_there(place: Place) -> None:
    file = _file(place)
    if not file.is_file():
        raise InputError(f"{file}: expected a file here, or of this name from the current folder, got none")


def _shape(place: Place, box: int) -> tuple[int, ...]:
    """(z, y, x) by the header; of one volume of a stack."""
    _check_there(place)
    header = read_header(_file(place))
    if isinstance(place, Path):
        return header.volume_shape
    depth = header.sections // header.volumes if header.volumes > 1 else header.rows
    if not 1 <= place[0] <= header.sections // depth:
        raise InputError(f"{_name(place)}: expected volume 1 to {header.sections // depth} of a stack, got {place[0]}")
    return depth, header.rows, header.columns


def _read(place: Place) -> np.ndarray:
    _check_there(place)
    if isinstance(place, Path):
        return read_volume(place)[0]
    depth, rows, columns = _shape(place, 0)
    volume = np.empty((depth, rows, columns), np.float32)
    with open_stack(place[1]) as stack:
        for section in range(depth):
            volume[section] = stack.view((place[0] - 1) * depth + section)
    return volume


def _check_weight(place: Place, shape: tuple[int, ...], box: int) -> None:
    if shape not in ((box, box, box), (box, box, box // 2 + 1)):
        raise InputError(f"{_name(place)}: expected a weight volume of {_size((box, box, box))} voxels, or "
                         f"{_size((box, box, box // 2 + 1))} (half), got {_size(shape)}")


def _size(shape: Sequence[int]) -> str:
    """x x y x z of an array (z, y, x)."""
    return " x ".join(map(str, shape[::-1]))
