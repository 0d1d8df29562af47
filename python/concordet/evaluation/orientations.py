"""How good poses are: errors against the truth, and the part of Fourier space that a set of them covers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from concordet import rigid
from concordet.errors import InputError
from concordet.fourier import HalfSpace, Reference, highest_band
from concordet.wedge import SUPPORT, Weight, WeightVolume

# Poses within this of the common rotation are taken to be right, and define it; as the neutral evaluator has it.
INLIER_DEGREES = 25.0
_ANCHORS = 400
# Radii, in parts of Nyquist, at which a direction of Fourier space is looked at.
_RADII = (0.25, 0.5, 0.75)
_BATCH = 1 << 20


@dataclass(frozen=True)
class PoseErrors:
    """Errors of poses after the best global alignment.

    degrees    (n,) angle between each rotation and the truth, modulo symmetry
    voxels     (n,) length of the error of each shift
    rotation   (3, 3) and offset (3,), voxels: the estimates' reference is the truth's rotated, then moved by these
    """

    degrees: np.ndarray
    voxels: np.ndarray
    rotation: np.ndarray
    offset: np.ndarray

    def within(self, degrees: float) -> float:
        """Part of the particles whose rotation is off by no more than this."""
        return float((self.degrees <= degrees).mean())


def pose_errors(estimate: rigid.Poses, truth: rigid.Poses, symmetry: np.ndarray | None = None) -> PoseErrors:
    """Errors of poses against true ones of the same particles, free of the frame that the estimates chose.

    With R S the truth up to its symmetry, R^T R_true S = G for all particles if the estimates are exact. G is the mean
    of those within 25 degrees of the one that has most such neighbours; then each particle takes the nearest S.

    symmetry   (order, 3, 3) rotations of the truth's reference onto itself
    """
    if len(estimate) != len(truth) or not len(truth):
        raise InputError(f"pose errors: expected as many estimates as truths, at least 1, got {len(estimate)} and "
                         f"{len(truth)}")
    group = np.eye(3)[None] if symmetry is None else np.asarray(symmetry, np.float64)
    turns = np.swapaxes(estimate.rotations, 1, 2) @ truth.rotations
    copies = turns[:, None] @ group                              # (n, order, 3, 3)
    count, order = copies.shape[:2]
    enough = 1 + 2 * np.cos(np.radians(INLIER_DEGREES))          # the trace of such a rotation
    anchors = turns[np.linspace(0, count - 1, min(count, _ANCHORS)).astype(int)].reshape(-1, 9)
    rows = copies.reshape(count * order, 9).T
    votes = [int(((anchor @ rows).reshape(count, order).max(axis=1) >= enough).sum()) for anchor in anchors]
    rotation = anchors[int(np.argmax(votes))].reshape(3, 3)
    nearest = np.full(count, -1)
    for _ in range(50):
        traces = np.einsum("nsij,ij->ns", copies, rotation)
        chosen = traces.argmax(axis=1)
        inside = traces.max(axis=1) >= enough
        key = np.where(inside, chosen, -1)
        if not inside.any() or (key == nearest).all():
            break
        nearest = key
        rotation = rigid.mean_rotation(copies[np.flatnonzero(inside), chosen[inside]])
    degrees = np.atleast_1d(rigid.geodesic(turns, rotation, group))
    # t_true - t = R offset: each particle tells the offset in the reference's frame.
    offsets = np.einsum("nji,nj->ni", estimate.rotations, truth.shifts - estimate.shifts)
    right = degrees <= INLIER_DEGREES
    offset = np.median(offsets[right] if right.any() else offsets, axis=0)
    return PoseErrors(degrees, np.linalg.norm(offsets - offset, axis=1), rotation, offset)


def dihedral_azimuth(volume: np.ndarray, fold: int, *, threads: int = 0) -> tuple[float, float]:
    """Where the 2-fold axes of a map of symmetry Dn, its n-fold axis along z, lie: (azimuth, correlation).

    azimuth       degrees from x towards y of the 2-fold axis nearest x, within 90 / fold
    correlation   of the map with itself turned about that axis
    """
    box = volume.shape[0]
    half = HalfSpace(box, min(16, highest_band(box)))
    reference = Reference(volume, half.band, threads=threads)
    still = half.transform(volume, threads=threads)
    flip = np.diag([1.0, -1.0, -1.0])

    def correlation(azimuths):
        about = rigid.from_zyz(np.radians(azimuths), 0.0, 0.0)
        turned = reference.project(half.indices, about @ flip @ np.swapaxes(about, 1, 2), threads)
        norms = np.sqrt((np.abs(turned) ** 2).sum(axis=1) * (np.abs(still) ** 2).sum())
        return (turned @ np.conj(still)).real / np.maximum(norms, 1e-30)

    reach = 90.0 / fold
    azimuths = np.linspace(-reach, reach, 33)
    best, step = 0.0, 2 * reach / 32
    for _ in range(4):
        values = correlation(azimuths)
        best = float(azimuths[np.argmax(values)])
        azimuths = best + step * np.linspace(-1, 1, 9)
        step /= 4
    best = (best + reach) % (2 * reach) - reach
    return best, float(correlation(np.array([best]))[0])


def dihedral_group(fold: int, azimuth: float) -> np.ndarray:
    """(2 fold, 3, 3) rotations of Dn whose 2-fold axis lies `azimuth` degrees from x towards y."""
    about = rigid.from_zyz(np.radians(azimuth), 0.0, 0.0)
    return about @ rigid.symmetry_group(f"D{fold}") @ about.T


def beam_directions(rotations: np.ndarray) -> np.ndarray:
    """(n, 3) unit vectors: where the beam, z, comes from in each particle's reference."""
    return np.asarray(rotations)[:, 2, :]


def half_sphere(count: int) -> np.ndarray:
    """(count, 3) unit vectors spread evenly over z >= 0: a golden spiral of equal areas."""
    z = 1 - (np.arange(count) + 0.5) / count
    azimuth = np.pi * (1 + np.sqrt(5)) * np.arange(count)
    return np.stack([np.sqrt(1 - z * z) * np.cos(azimuth), np.sqrt(1 - z * z) * np.sin(azimuth), z], axis=1)


@dataclass(frozen=True)
class Coverage:
    """How much of each direction of Fourier space, in the frame of the reference, a set of particles measured.

    directions   (m, 3) unit vectors over half a sphere; the other half is the same
    seen         (m,) part of the particles that measured each direction, 0 to 1
    """

    directions: np.ndarray
    seen: np.ndarray

    @property
    def worst(self) -> np.ndarray:
        """(3,) unit vector, the direction that fewest measured; of several, the one in their middle."""
        least = self.directions[self.seen <= self.seen.min() + 1e-9]
        # Directions are axes: their middle, the first eigenvector of the mean of u u^T, need not itself be seen least.
        middle = np.linalg.eigh(least.T @ least)[1][:, -1]
        worst = least[np.argmax(np.abs(least @ middle))]
        return worst if worst[2] > 0 else -worst

    @property
    def sampling_compensation(self) -> float:
        """Harmonic over arithmetic mean of the coverage, 0 to 1: 1 where all directions are covered alike, 0 where one
        is not covered [SCF of Baldwin and Lyumkis, Prog. Biophys. Mol. Biol. 150, 160, 2020]."""
        if not self.seen.min() > 0:
            return 0.0
        return float(1 / ((1 / self.seen).mean() * self.seen.mean()))


def measured_by(wedge: Weight, box: int) -> Callable[[np.ndarray], np.ndarray]:
    """Whether frequencies (..., 3) were measured: the weight there is more than wedge.SUPPORT of its largest.

    A weight volume is made zeros and ones first: its edge is then half-way between the voxels, not a voxel too far out.
    """
    if isinstance(wedge, WeightVolume):
        values = np.abs(wedge.volume(wedge.box))
        inside = WeightVolume(values > SUPPORT * values.max())
        return lambda k: inside.at(k, box) > 0.5
    radii = np.arange(1, box // 2)[:, None, None]
    largest = float(np.abs(wedge.at(radii * half_sphere(500), box)).max())
    return lambda k: np.abs(wedge.at(k, box)) > SUPPORT * largest


def fourier_coverage(rotations: np.ndarray, wedges: Iterable[Weight], box: int, *,
                     wedge_index: np.ndarray | None = None, directions: np.ndarray | None = None) -> Coverage:
    """Which directions of Fourier space particles of these rotations measured.

    A particle measures direction u if its weight at R u is more than nothing, on average over three radii.

    Parameters
    ----------
    rotations : (n, 3, 3), reference -> particle
    wedges : in the frame of the particles; each is used once, then may go
    box : voxels a side
    wedge_index : (n,) which of `wedges` each particle has; None: the first
    directions : (m, 3) unit vectors; None: 3000 over half a sphere
    """
    rotations = rigid.check_rotations(rotations)
    index = np.zeros(len(rotations), int) if wedge_index is None else np.asarray(wedge_index)
    if rotations.ndim != 3 or not len(rotations) or index.shape != (len(rotations),):
        raise InputError(f"coverage: expected rotations (n, 3, 3), n >= 1, and an index for each, got "
                         f"{rotations.shape} and {index.shape}")
    directions = half_sphere(3000) if directions is None else np.asarray(directions, np.float64)
    radii = np.maximum(np.array(_RADII) * box / 2, 1.0)
    points = (radii[:, None, None] * directions).reshape(-1, 3)
    total = np.zeros(len(points))
    per_batch = max(1, _BATCH // len(points))
    for which, wedge in enumerate(wedges):
        mine = rotations[index == which]
        if not len(mine):
            continue
        measures = measured_by(wedge, box)
        for first in range(0, len(mine), per_batch):
            turned = (points @ np.swapaxes(mine[first:first + per_batch], 1, 2)).reshape(-1, 3)
            total += measures(turned).reshape(-1, len(points)).sum(axis=0)
    return Coverage(directions, total.reshape(len(radii), -1).mean(axis=0) / len(rotations))
