"""A tilt experiment as its files tell it: stacks, angles, alignments; one view at a time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from concordet import evaluation, geometry
from concordet.errors import InputError
from concordet.geometry import ViewGeometry
from concordet.io import (
    ANGLE_ENDINGS,
    SeriesAlignment,
    Stack,
    open_stack,
    read_alignment,
    read_angles,
    read_transforms,
    read_volume_transform,
    read_x_tilts,
)
from concordet.preprocessing import Preprocessing, counts_electrons
from concordet.projection import Projector, TiltData

# Pixel sizes of stacks of one specimen may differ by rounding in their headers.
PIXEL_SIZE_TOLERANCE = 1e-3
# Squares of larger values overflow float32; no image has them, damaged files do.
LARGEST_VALUE = 1e15
# Of the tilts of an alignment with the stack's own angles: below, the two are in different orders.
SAME_ORDER = 0.99


@dataclass(frozen=True)
class SeriesFiles:
    """What belongs to one tilt series.

    stack      MRC stack, one section per view
    angles     .tlt, .rawtlt or .mdoc; None: the sidecar of the same stem
    alignment  of raw images: .xf; AreTomo's .aln, RELION 5's .star or Warp's .xml, whose tilts replace `angles` and
               whose absent or unused views are excluded; None: images are aligned, the tilt axis vertical
    azimuth    degrees; x_tilt degrees or an .xtilt file; tilt_offset degrees
    transform  solve.xf form, series to common frame; None: the same frame
    exclude    sections left out, 0-based
    """

    stack: Path
    angles: Path | None = None
    alignment: Path | None = None
    azimuth: float = 0.0
    x_tilt: float | Path = 0.0
    tilt_offset: float = 0.0
    transform: Path | None = None
    exclude: frozenset[int] = frozenset()

    def __post_init__(self):
        for name in ("azimuth", "x_tilt", "tilt_offset"):
            value = getattr(self, name)
            if not isinstance(value, Path) and not math.isfinite(value):
                raise InputError(f"{self.stack}: expected a number of degrees for {name.replace('_', ' ')}, "
                                 f"got {value}")


class Experiment:
    """Open stacks of one specimen and where each of their views looks.

    series       one `SeriesFiles` per stack
    thickness    slices of the volume; size (x, y) voxels, None: the first stack's; both after `binning`
    center_imod  tilt axis and volume centre at (n - 1) / 2 (an .xf implies it); otherwise n // 2, or where the
                 program of the first stack's alignment has it
    flip_hand    mirror z; z_shift voxels that content moves to larger z
    pixel_size   angstrom before binning; None: the stacks' own

    Attributes
    ----------
    geometry      ViewGeometry of the views used; excluded: (stack, section) of the others
    volume_shape  (z, y, x); voxel_size angstrom, 0 where unknown
    axis_voxel    (x, y, z) index of the point that the tilt axes pass through; origin (x, y, z) angstrom of the
                  first voxel, counted from that point
    files         every file read

    A context manager: it holds the stacks open.
    """

    def __init__(
        self,
        series: Sequence[SeriesFiles],
        *,
        thickness: int,
        size: tuple[int, int] | None = None,
        binning: int = 1,
        center_imod: bool = False,
        flip_hand: bool = False,
        z_shift: float = 0.0,
        pixel_size: float | None = None,
    ):
        if thickness < 1:
            raise InputError(f"thickness: expected at least 1 voxel, got {thickness}")
        if size is not None and min(size) < 1:
            raise InputError(f"size: expected at least 1 voxel along x and y, got {size[0]} {size[1]}")
        if pixel_size is not None and not 0 < pixel_size < math.inf:
            raise InputError(f"voxel size: expected more than 0 angstrom, got {pixel_size}")
        if not math.isfinite(z_shift):
            raise InputError(f"z-shift: expected a number of voxels, got {z_shift}")
        self.binning = binning
        self.flip_hand = flip_hand
        self.files: list[Path] = []
        self.excluded: list[tuple[int, int]] = []
        self._centres: list[geometry.Centre] = []
        self._open = ExitStack()
        try:
            self.stacks = [self._open.enter_context(open_stack(one.stack)) for one in series]
            self._check_stacks(pixel_size)
            self.voxel_size = (pixel_size or self.stacks[0].header.pixel_size) * binning
            self._pixel_size = pixel_size or self.stacks[0].header.pixel_size
            parts = [self._series(i, one, center_imod) for i, one in enumerate(series)]
            whole = geometry.joined(parts).binned(binning)
            rows, columns = whole.image_shape
            self.volume_shape = (thickness, *(size[::-1] if size else (rows, columns)))
            if flip_hand:
                whole = whole.flipped()
            centre = "imod" if "imod" in self._centres else self._centres[0]
            offset = np.array(geometry.centre_offset(np.array(self.volume_shape[::-1]), centre), float)
            offset[2] -= z_shift
            self.geometry = whole.moved(tuple(-offset))
            self.axis_voxel = tuple(float(n // 2 - h) for n, h in zip(self.volume_shape[::-1], offset, strict=True))
        except BaseException:
            self._open.close()
            raise

    def __enter__(self) -> Experiment:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _check_stacks(self, pixel_size: float | None) -> None:
        first = self.stacks[0]
        for other in self.stacks[1:]:
            if other.image_shape != first.image_shape:
                raise InputError(f"{other.header.path}: expected images of {first.image_shape} pixels (v, u) as in "
                                 f"{first.header.path}, got {other.image_shape}")
            if pixel_size is not None:
                continue
            sizes = first.header.pixel_size, other.header.pixel_size
            if abs(sizes[0] - sizes[1]) > PIXEL_SIZE_TOLERANCE * max(sizes):
                raise InputError(f"{other.header.path}: expected a pixel size of {sizes[0]:g} A as in "
                                 f"{first.header.path}, got {sizes[1]:g} A (--voxel-size overrides both)")

    def _series(self, index: int, one: SeriesFiles, center_imod: bool) -> ViewGeometry:
        stack = self.stacks[index]
        count = len(stack)
        self.files.append(one.stack)
        transforms = None
        sections, alignment_x_tilts = np.arange(count), np.zeros(count)
        centre: geometry.Centre = "imod" if center_imod else "ours"
        if one.alignment and Path(one.alignment).suffix.lower() != ".xf":
            angles_file = Path(one.alignment)
            alignment = self._alignment(angles_file, one, stack, center_imod)
            sections, tilts, alignment_x_tilts = np.asarray(alignment.sections), alignment.tilts, alignment.x_tilts
            transforms = alignment.transforms(stack.image_shape, self._pixel_size)
            centre = alignment.centre
        else:
            angles_file = one.angles or sidecar(one.stack)
            tilts = read_angles(angles_file, count, stack=one.stack)
            self.files.append(angles_file)
            if one.alignment:
                transforms = read_transforms(one.alignment, count, stack=one.stack)
                self.files.append(one.alignment)
                centre = "imod"
        self._centres.append(centre)
        x_tilts: float | np.ndarray
        if isinstance(one.x_tilt, Path):
            x_tilts = read_x_tilts(one.x_tilt, count, stack=one.stack)[sections]
            self.files.append(one.x_tilt)
        else:
            x_tilts = one.x_tilt
        to_common = None
        if one.transform:
            to_common = geometry.imod_volume_transform(read_volume_transform(one.transform))
            self.files.append(one.transform)
        beyond = [section for section in one.exclude if not 0 <= section < count]
        if beyond:
            raise InputError(f"{one.stack}: expected views to exclude of 1 to {count}, got {min(beyond) + 1}")
        kept = np.array([section not in one.exclude for section in sections])
        if not kept.any():
            raise InputError(f"{one.stack}: expected at least one view to be left, got all {count} excluded")
        left_out = sorted(set(range(count)) - set(sections[kept].tolist()))
        self.excluded += [(index, section) for section in left_out]
        try:
            return geometry.tilt_series(
                tilts[kept], stack.image_shape, stack=index, azimuth=one.azimuth,
                x_tilts=(x_tilts + alignment_x_tilts)[kept], tilt_offset=one.tilt_offset,
                transforms=None if transforms is None else transforms[kept],
                to_common=to_common, imod_centred=center_imod, sections=sections[kept])
        except InputError as error:
            raise InputError(f"{one.stack} with {angles_file.name}: {error}, counted from 0") from None

    def _alignment(self, path: Path, one: SeriesFiles, stack: Stack, center_imod: bool) -> SeriesAlignment:
        """The alignment by another program of the views it uses; warns of what it has and is not used."""
        count = len(stack)
        alignment = read_alignment(path).matched(count, stack.image_shape, stack=one.stack)
        self.files.append(path)
        notes = list(alignment.notes)
        angles_file = one.angles
        if angles_file is None:
            try:
                angles_file = sidecar(one.stack)
                angles = read_angles(angles_file, count, stack=one.stack)
            except InputError:  # not needed, so what lies beside the stack need not fit
                angles_file = None
        else:
            angles = read_angles(angles_file, count, stack=one.stack)
            self.files.append(angles_file)
        if angles_file is not None and not _same_order(alignment.tilts, angles[alignment.sections]):
            notes.append(f"its tilts do not follow those of {angles_file}: is the stack in another order?")
        for note in notes:
            warnings.warn(f"{path}: {note}", stacklevel=2)
        return replace(alignment, centre="imod") if center_imod else alignment

    @property
    def origin(self) -> tuple[float, float, float]:
        """(x, y, z) of the volume's first voxel, angstrom from the tilt axis; zeros where the voxel size is unknown."""
        x, y, z = (-index * self.voxel_size for index in self.axis_voxel)
        return x, y, z

    @property
    def hand(self) -> str:
        """How the hand stands: a single-axis series cannot reveal it, so it is declared."""
        return "z flipped against the tilt angles as given" if self.flip_hand else "as the tilt angles declare it"

    def raw_view(self, view: int) -> np.ndarray:
        """View `view` of `geometry` as it is in its stack: (v, u) float32, finite."""
        stack: Stack = self.stacks[int(self.geometry.stacks[view])]
        return stack.view(int(self.geometry.sections[view]))

    def counts_electrons(self) -> bool:
        """Whether the view of least tilt looks like counted electrons (preprocessing.counts_electrons)."""
        return counts_electrons(self.raw_view(int(np.argmin(np.abs(self.geometry.tilts)))))

    def view(self, view: int, steps: Preprocessing) -> tuple[np.ndarray, np.ndarray | None]:
        """View `view` preprocessed: image (v, u) and the mask of its usable pixels, or None."""
        raw = self.raw_view(view)
        try:
            image, used = steps.apply(raw)
            if not np.abs(image).max() < LARGEST_VALUE:
                raise InputError(f"expected pixels within {LARGEST_VALUE:g}, got {np.abs(image).max():.4g} (damaged?)")
            return image, used
        except InputError as error:
            stack, section = int(self.geometry.stacks[view]), int(self.geometry.sections[view])
            raise InputError(f"{self.stacks[stack].header.path}: view {section} (counted from 0): {error}") from None


    def load(self, projector: Projector, steps: Preprocessing,
             on_progress: Callable[[str, int, int], None] | None = None) -> TiltData:
        """Every view of `projector`'s geometry, which is this experiment's: preprocessed, warped, one at a time.

        Warns of views and voxels that see nothing of each other; InputError where no view sees the volume.
        """
        def progress(done: int) -> None:
            if on_progress:
                on_progress("reading views", done, len(projector))

        progress(0)
        data = TiltData(projector)
        for view in range(len(projector)):
            data.set_view(view, *self.view(view, steps))
            progress(view + 1)
        seen = data.row_weights.any(axis=(1, 2))
        if not seen.any():
            raise InputError(f"{self.stacks[0].header.path}: no pixel of any view sees the volume; check --size, "
                             "--z-shift and the alignment's shifts")
        if not seen.all():
            warnings.warn(f"{np.count_nonzero(~seen)} of {seen.size} views see nothing of the volume; check --size, "
                          "--z-shift and the alignment's shifts", stacklevel=2)
        return data


    def band_nccs(self, projector: Projector, steps: Preprocessing, volume: np.ndarray, views: np.ndarray,
                  band: Sequence[float], on_progress: Callable[[str, int, int], None] | None = None) -> list[float]:
        """Correlation of each of `views` with its prediction on the detector in a band of resolution.

        band  (longest, shortest) angstrom, cut at Nyquist; beads and what lies outside the volume's field do not count
        Empty where nothing of the band is left.
        """
        part = evaluation.measurable_band(band, self.voxel_size)
        nccs: list[float] = []
        if part is None:
            return nccs
        for done, view in enumerate(views):
            if on_progress:
                on_progress("predicting views", done, len(views))
            image, used = self.view(view, steps)
            predicted = projector.forward(volume, np.array([view]))[0]
            seen = projector.detector_field(view)
            if used is not None:
                seen &= used
            nccs.append(evaluation.band_ncc(image, predicted, seen, self.voxel_size, *part))
        return nccs


def _same_order(tilts: np.ndarray, others: np.ndarray) -> bool:
    """Whether two lists of tilts rise and fall together, up to sign (Warp's) and offset."""
    if len(tilts) < 3 or not (np.ptp(tilts) and np.ptp(others)):
        return True
    return abs(np.corrcoef(tilts, others)[0, 1]) >= SAME_ORDER


def sidecar(stack: Path) -> Path:
    """The file of tilt angles beside a stack: same stem, or the stem up to an earlier dot; first that exists."""
    stack = Path(stack)
    name = stack.name.removesuffix(".gz")
    stems = [Path(name).stem]
    while Path(stems[-1]).suffix:  # TS_01.stack.mrc may have its angles in TS_01.tlt
        stems.append(Path(stems[-1]).stem)
    candidates = [stack.with_name(stem + ending) for stem in stems for ending in ANGLE_ENDINGS]
    candidates.append(stack.with_name(name + ".mdoc"))
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise InputError(f"{stack}: expected tilt angles in one of {', '.join(c.name for c in candidates)} beside it, "
                     "or --angles FILE, got none")


def warn_of_unknown_pixel_size(experiment: Experiment) -> None:
    """Warn where neither the first stack's header nor the user gives a pixel size, so that outputs have none."""
    if experiment.voxel_size == 0:
        warnings.warn(f"{experiment.stacks[0].header.path}: the pixel size is not in the header; "
                      "give --voxel-size to have it in the outputs", stacklevel=2)
