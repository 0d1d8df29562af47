"""How good an average is: against the truth after alignment, by its symmetry, and what its particles hold of signal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from concordet import rigid
from concordet.correlation import Matcher, band_limit, shift_grid
from concordet.errors import InputError
from concordet.evaluation.orientations import measured_by
from concordet.evaluation.volumes import pearson
from concordet.fourier import HalfSpace, Reference, as_cube, highest_band, soft_sphere
from concordet.poses import Scored, refine, score
from concordet.wedge import Weight

Vector = Sequence[float] | np.ndarray  # (x, y, z)

# Radius of the sphere an average is judged in, in parts of its box; as the neutral evaluator has it.
MASK_RADIUS = 0.42
# Alignment: shells searched for a molecule of this radius in parts of the box, more for a smaller one, up to a limit;
# poses kept of the search and then refined.
_SEARCH_SHELLS, _SEARCH_RADIUS, _MOST_SHELLS = 9, 0.35, 18
_CANDIDATES, _REFINED = 30, 6
# A coefficient carried back is mixed from those around it. Asking that these were measured too, a quarter of a voxel
# away, leaves a bias of -5 to 5 %; without it 6 to 15 % of the signal are lost, with a whole voxel shells run empty.
_NEIGHBOURS = 0.25 * np.concatenate([np.eye(3), -np.eye(3)])
# Noise of a shell in parts of its power, less than which is no estimate: interpolation alone leaves more.
_LEAST_NOISE = 1e-3


@dataclass(frozen=True)
class Alignment:
    """A truth carried onto a map.

    rotation, shift   (3, 3) and (3,) voxels: map = shift(t) . rotate(R) . truth
    correlation       of the masked map with the truth so carried by linear interpolation, over the whole box: that of
                      the neutral evaluator; the smoothing suits averages, which are smoother than their truth
    sharp_correlation with `moved` instead
    moved             (n, n, n) float32, the truth carried in Fourier space, which keeps its high frequencies
    masked            (n, n, n) float32, the map inside its sphere
    """

    rotation: np.ndarray
    shift: np.ndarray
    correlation: float
    sharp_correlation: float
    moved: np.ndarray
    masked: np.ndarray


def align(volume: np.ndarray, truth: np.ndarray, *, mask_radius: float = MASK_RADIUS, max_shift: float | None = None,
          fixed: bool = False, threads: int = 0) -> Alignment:
    """Carry `truth` onto `volume` over all rotations and shifts, where their correlation is highest.

    volume, truth   (n, n, n)
    mask_radius     of the hard sphere that `volume` is cut to, in parts of n
    max_shift       voxels; None: a fifth of the box
    fixed           take them as they lie
    """
    if volume.shape != truth.shape:
        raise InputError(f"expected two volumes of one size, got {volume.shape} and {truth.shape} voxels (z, y, x)")
    volume, truth = as_cube(volume), as_cube(truth)
    box = volume.shape[0]
    masked = volume * soft_sphere(volume.shape, 2 * mask_radius * box, 0.0)
    for name, one in (("map", masked), ("truth", truth)):
        if not one.std() > 0:
            raise InputError(f"{name}: expected values that differ, got a constant")
    if fixed:
        correlation = pearson(masked, truth, 1.0)
        return Alignment(np.eye(3), np.zeros(3), correlation, correlation, truth, masked)
    half = HalfSpace(box)
    rotation, shift = _best_pose(masked, truth, half, box / 5 if max_shift is None else max_shift, threads)
    moved = half.inverse(Reference(truth, threads=threads).project(half.indices, rotation, threads)[0]
                         * np.exp((-2j * np.pi / box) * (half.indices @ shift)))
    moved += truth.mean(dtype=np.float64)  # k = 0, which the list leaves out
    smooth = pearson(masked, _moved_linearly(truth, rotation, shift), 1.0)
    return Alignment(rotation, shift, smooth, pearson(masked, moved, 1.0), moved, masked)


def _moved_linearly(volume: np.ndarray, rotation: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """shift(t) . rotate(R) . volume by trilinear interpolation, zero outside; (n, n, n) float32."""
    n = volume.shape[0]
    padded = np.pad(volume, 1)
    line = np.arange(n) - n // 2
    y, x = np.meshgrid(line, line, indexing="ij")
    result = np.empty_like(volume)
    for z in range(n):
        points = np.stack([x, y, np.full_like(x, line[z])], axis=-1) - shift
        at = np.clip(points @ rotation + n // 2 + 1, 0, n + 1 - 1e-6)     # rows times R: R^T of columns
        low = np.floor(at).astype(np.int64)
        part = (at - low).astype(np.float32)
        total = np.zeros((n, n), np.float32)
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod(np.where(corner, part, 1 - part), axis=-1)
            i, j, k = np.moveaxis(low + corner, -1, 0)
            total += weight * padded[k, j, i]
        result[z] = total
    return result


def _best_pose(volume: np.ndarray, truth: np.ndarray, half: HalfSpace, max_shift: float,
               threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and shift of `truth` of highest correlation with `volume`: search of low shells, refined to Nyquist."""
    box = half.box
    radius = min(_radius(truth), _SEARCH_RADIUS * box)
    last = min(int(np.clip(_SEARCH_SHELLS * _SEARCH_RADIUS * box / radius, _SEARCH_SHELLS, _MOST_SHELLS)), half.band)
    # The ball about the cube of shifts, then the cube: max_shift bounds each axis.
    shifts = shift_grid(np.sqrt(3) * max_shift, box / (2 * last))
    shifts = shifts[(np.abs(shifts) <= max_shift + 1e-6).all(axis=1)]
    matcher = Matcher(box, shells=(1, last), band_limit=band_limit(radius, last, box), shifts=shifts, threads=threads)
    volume, truth = volume / volume.std(), truth / truth.std()
    whole = half.transform(volume, threads=threads)[None]
    low = len(matcher.half)
    reference = Reference(truth, threads=threads)
    harmonics, squares = matcher.expand_reference(reference, np.ones(matcher.shell_count))
    everywhere = np.ones((1, len(half)), np.float32)
    found = matcher.search(matcher.expand(whole[:, :low]), matcher.expand_weights(everywhere[:, :low]),
                           harmonics[None], squares[None], score="correlation", count=_CANDIDATES)
    count = int(found.counts[0])
    inverse_noise = everywhere[0]

    def judge(judged: Callable[..., Scored], scale: float, rotations: np.ndarray, shifts: np.ndarray,
              **options: Any) -> tuple[Scored, np.ndarray, np.ndarray]:
        """Scored poses, best first; their correlations, and the scales that fit the truth to the volume."""
        scored = judged(Reference(scale * truth, threads=threads), half, whole, everywhere, inverse_noise,
                        np.zeros(len(rotations), np.int64), rotations, shifts, xi=np.inf, max_shift=max_shift,
                        threads=threads, **options)
        products = scored.likelihoods + scored.norms / 2
        correlations = products / np.sqrt(np.maximum(scored.norms, 1e-30))
        order = np.argsort(-correlations, kind="stable")
        return (Scored(scored.rotations[order], scored.shifts[order], scored.likelihoods[order], scored.norms[order]),
                correlations[order], scale * products[order] / scored.norms[order])

    # As they lie, too, should the search miss what is already there.
    rotations = np.concatenate([found.rotations[0, :count], np.eye(3)[None]])
    shifts = np.concatenate([found.shifts[0, :count], np.zeros((1, 3))])
    scored, _, scales = judge(score, 1.0, rotations, shifts, band=matcher.half.band)
    # At the scale that fits best the likelihood is highest where the correlation is.
    scale = float(max(scales[0], 1e-3))
    scored, _, scales = judge(refine, scale, scored.rotations[:_REFINED], scored.shifts[:_REFINED])
    scored, _, _ = judge(refine, float(max(scales[0], 1e-3)), scored.rotations[:1], scored.shifts[:1], step=0.02)
    return scored.rotations[0], scored.shifts[0]


def _radius(volume: np.ndarray) -> float:
    """Voxels about the centre of mass of the power of a map that hold 95 % of it, its most common grey level off."""
    power = np.square(volume - np.median(volume), dtype=np.float64)
    axes = np.ix_(*[np.arange(n) for n in volume.shape])
    total = power.sum()
    squared = sum((axis - (power * axis).sum() / total) ** 2 for axis in axes)
    order = np.argsort(squared, axis=None)
    inside = np.searchsorted(np.cumsum(power.ravel()[order]), 0.95 * total)
    return max(2.0, float(np.sqrt(squared.ravel()[order[min(inside, power.size - 1)]])))


def symmetry_score(volume: np.ndarray, fold: int, *, axis: Vector = (0.0, 0.0, 1.0),
                   centre: Vector = (0.0, 0.0, 0.0), band: int | None = None, threads: int = 0) -> float:
    """Mean correlation, -1 to 1, of all pairs of the `fold` copies of a map turned about an axis.

    1: the map has the symmetry. Signal and noise share the map, so a noisy map of a symmetric molecule has less.

    volume   (n, n, n), masked
    axis     (x, y, z), any length
    centre   (x, y, z) voxels from n // 2, a point of the axis
    band     highest shell that counts; None: to Nyquist
    """
    score = _SymmetryScore(volume, fold, band, threads)
    return score(axis, centre)


def symmetry_axis(volume: np.ndarray, fold: int, *, axis: Vector = (0.0, 0.0, 1.0), within: float = 10.0,
                  max_offset: float = 3.0, band: int | None = None, threads: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The axis near a given one that gives the best symmetry score: unit vector, and its point nearest n // 2.

    within       degrees from `axis`
    max_offset   voxels between the axis and voxel n // 2
    band         highest shell that counts; None: a quarter of the box
    Both (3,), in the order (x, y, z).
    """
    box = volume.shape[0]
    band = band or max(4, min(box // 4, highest_band(box)))
    score = _SymmetryScore(volume, fold, band, threads)
    frame = _frame(axis)

    def placed(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tip_x, tip_y, x, y = values
        local = rigid.from_rotation_vector(np.radians([tip_x, tip_y, 0.0]))
        return frame @ local[:, 2], frame @ local @ [x, y, 0.0]

    def judged(values: np.ndarray) -> float:
        outside = np.hypot(*values[:2]) > within + 1e-9 or np.hypot(*values[2:]) > max_offset + 1e-9
        return -np.inf if outside else score(*placed(values))

    # The grid of directions is as fine as the band resolves at the rim of a molecule of half the box.
    step = np.degrees(2.0 / band)
    line = np.arange(-within, within + 1e-9, step) if within > step else np.zeros(1)
    start = max((np.array([a, b, 0.0, 0.0]) for a in line for b in line), key=judged)
    best = _climb(judged, start, np.array([step, step, 1.0, 1.0]))
    return placed(best)


class _SymmetryScore:
    """Symmetry scores of one map."""

    def __init__(self, volume: np.ndarray, fold: int, band: int | None, threads: int):
        if fold < 2:
            raise InputError(f"symmetry score: expected an axis of 2-fold symmetry or more, got {fold}")
        self.fold, self.threads = fold, threads
        box = volume.shape[0]
        self.half = HalfSpace(box, min(band or highest_band(box), highest_band(box)))
        self.reference = Reference(volume, self.half.band, threads=threads)

    def __call__(self, axis: Vector, centre: Vector) -> float:
        direction, middle = _direction(axis), np.asarray(centre, np.float64)
        # Half a step on: every copy is interpolated, none lies on the grid by luck.
        angles = 2 * np.pi * (np.arange(self.fold) + 0.5) / self.fold
        rotations = rigid.from_rotation_vector(angles[:, None] * direction)
        copies = self.reference.project(self.half.indices, rotations, self.threads)
        shifts = middle - rotations @ middle
        copies *= np.exp((-2j * np.pi / self.half.box) * (shifts @ self.half.indices.T)).astype(np.complex64)
        norms = np.linalg.norm(copies, axis=1)
        if not (norms > 0).all():
            return 0.0
        copies /= norms[:, None]
        total = np.linalg.norm(copies.sum(axis=0, dtype=np.complex128)) ** 2
        return float((total - self.fold) / (self.fold * (self.fold - 1)))


def _direction(axis: Vector) -> np.ndarray:
    """Unit vector (3,)."""
    vector = np.asarray(axis, np.float64)
    length = np.linalg.norm(vector)
    if vector.shape != (3,) or not (np.isfinite(length) and length > 0):
        raise InputError(f"axis: expected a direction x y z, got {' '.join(f'{value:g}' for value in vector.ravel())}")
    return vector / length


def _frame(axis: Vector) -> np.ndarray:
    """A rotation that carries z to `axis`."""
    x, y, z = _direction(axis)
    return rigid.from_zyz(np.arctan2(y, x), np.arctan2(np.hypot(x, y), z), 0.0)


def _climb(judge: Callable[[np.ndarray], float], start: np.ndarray, steps: np.ndarray, halvings: int = 6) -> np.ndarray:
    """Parameters of a local maximum: steps along each in turn, halved where none helps."""
    best, value = np.array(start, np.float64), judge(start)
    steps = np.array(steps, np.float64)
    while halvings:
        before = value
        for i in range(len(best)):
            for sign in (1, -1):
                moved = best.copy()
                moved[i] += sign * steps[i]
                found = judge(moved)
                while found > value:
                    best, value = moved.copy(), found
                    moved[i] += sign * steps[i]
                    found = judge(moved)
        if value == before:
            steps /= 2
            halvings -= 1
    return best


@dataclass(frozen=True)
class SignalToNoise:
    """Signal and noise of aligned particles, from the correlation of all pairs.

    correlation      of two particles where both measured, up to the band
    snr              variance of the signal over that of the noise in the whole box (or mask), before the wedge
    standard_error   of `snr`, from the number of coefficients compared
    shells           (K,) signal to noise per shell |k| = 1 ... K; NaN where there is next to no noise
    """

    correlation: float
    snr: float
    standard_error: float
    shells: np.ndarray

    @property
    def snr_within_band(self) -> float:
        """rho / (1 - rho) of the coefficients compared [Frank and Al-Ali, Nature 256, 376, 1975]."""
        return self.correlation / (1 - self.correlation) if self.correlation < 1 else np.inf


def signal_to_noise(volumes: Iterable[np.ndarray], wedges: Iterable[Weight], poses: rigid.Poses, box: int, *,
                    mask_diameter: float | None = None, band: int | None = None,
                    on_particle: Callable[[int], None] | None = None, threads: int = 0) -> SignalToNoise:
    """Signal-to-noise ratio from aligned particles, two or more, each read once.

    Carried back to the reference, X_i = S + N_i where measured. Over all pairs i < j
        sum Re X_i conj X_j = (|sum X_i|^2 - sum |X_i|^2) / 2
    gives the power of the signal per shell, sum |X_i|^2 that of signal and noise. The ratio is that of both summed over
    all of Fourier space, corners included, so that the wedge takes nothing from the one or the other.

    Parameters
    ----------
    volumes : (box, box, box) each, in the order of `poses`; scaled to one variance
    wedges : their weights, see `measured_by`
    mask_diameter : voxels, of a soft sphere about the reference's centre; None: the whole box
    band : highest shell with signal; None: Nyquist
    on_particle : called with the number done
    """
    if len(poses) < 2:
        raise InputError(f"signal to noise: expected two or more aligned particles, got {len(poses)}")
    half = HalfSpace(box, min(band or highest_band(box), highest_band(box)))
    corners, places = _corners(box, half.band)
    background = soft_sphere((box,) * 3, box - 1.0, 0.0) == 0
    signal, power, seen = np.zeros(len(half), np.complex128), np.zeros(len(half)), np.zeros(len(half))
    corner_power = corner_count = 0.0
    last = None
    for number, (volume, wedge, rotation, shift) in enumerate(
            zip(volumes, wedges, poses.rotations, poses.shifts, strict=True), 1):
        volume = as_cube(volume, box) - volume[background].mean(dtype=np.float64)
        if mask_diameter is not None:
            volume = volume * soft_sphere(volume.shape, mask_diameter, centre=shift)
        spread = float(np.sqrt(np.mean(np.square(volume, dtype=np.float64))))
        if not spread > 0:
            raise InputError(f"particle {number}: expected values that differ, got a constant")
        volume = (volume / spread).astype(np.float32)
        at = half.indices @ rotation.T                         # rows R k: where the particle has k of the reference
        if wedge is not last:
            last, measures = wedge, measured_by(wedge, box)
        measured = np.logical_and.reduce([measures(at + step) for step in _NEIGHBOURS])
        back = Reference(volume, half.band, threads=threads).project(half.indices, rotation.T, threads)[0]
        back = np.where(measured, back * np.exp((2j * np.pi / box) * (at @ shift)), 0)
        signal += back
        power += np.abs(back) ** 2
        seen += measured
        # Beyond the band nothing is compared; noise is, in the particle's own frame.
        outer = measures(corners)
        corner_power += float((np.abs(np.fft.rfftn(volume, norm="ortho")[places][outer]) ** 2).sum())
        corner_count += int(outer.sum())
        if on_particle:
            on_particle(number)
    return _ratio(half, signal, power, seen, corner_power / max(corner_count, 1))


def _corners(box: int, band: int) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Frequencies (m, 3) beyond the band on the grid of rfftn, and where they are in it."""
    whole = np.fft.fftfreq(box, 1 / box)
    kz, ky, kx = np.meshgrid(whole, whole, np.fft.rfftfreq(box, 1 / box), indexing="ij", sparse=True)
    beyond = np.nonzero(kx**2 + ky**2 + kz**2 > band**2)
    return np.stack([kx[0, 0, beyond[2]], ky[0, beyond[1], 0], kz[beyond[0], 0, 0]], axis=1), beyond


def _ratio(half: HalfSpace, signal: np.ndarray, power: np.ndarray, seen: np.ndarray, corner: float) -> SignalToNoise:
    """Powers summed over particles, (J,) each, as a signal-to-noise ratio; `corner`: mean power beyond the band."""
    def total(values):
        return np.bincount(half.shells, values, half.band + 1)[1:]

    pairs = total(seen * (seen - 1) / 2)
    if not pairs.all():
        raise InputError("signal to noise: expected particles that overlap in every shell of Fourier space, got shell "
                         f"{int(np.argmin(pairs)) + 1} measured by one or none")
    cross = total((np.abs(signal) ** 2 - power) / 2)
    both = total(power * (seen - 1) / 2)                      # sum over pairs of (|X_i|^2 + |X_j|^2) / 2
    per_signal, per_power = cross / pairs, total(power) / total(seen)
    sizes = 2 * total(np.ones(len(half)))
    rest = half.box**3 - 1 - sizes.sum()
    noise = sizes @ (per_power - per_signal) + rest * corner
    if not noise > 0 or cross.sum() > (1 - 1e-6) * both.sum():
        raise InputError("signal to noise: expected particles with noise of their own, got none (one volume twice?)")
    error = np.sqrt((sizes**2 * per_power**2 / (2 * pairs)).sum()) / noise
    per_noise = per_power - per_signal
    told = per_noise > _LEAST_NOISE * per_power
    shells = np.divide(per_signal, per_noise, out=np.full(len(told), np.nan), where=told)
    return SignalToNoise(float(cross.sum() / both.sum()), float(sizes @ per_signal / noise), float(error), shells)
