"""Rotations and rigid poses of particles: conventions, distances, grids of SO(3), symmetry groups.

    particle = shift(t) . rotate(R) . reference

R acts on column vectors (x, y, z), reference to particle, about voxel n // 2; t in voxels. Angles of other programs
are in degrees, a, b, g of R = Rz(a) Ry(b) Rz(g) in radians. All functions are vectorised over leading axes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from concordet.errors import InputError

Array = np.ndarray
_TOLERANCE = 1e-3  # of |R R^T - I|: files hold four decimals
_LOCKED = 1e-9  # sine of half the middle angle, below which the outer two turn about one axis


def from_zyz(a: Array | float, b: Array | float, g: Array | float) -> Array:
    """(..., 3, 3) R = Rz(a) Ry(b) Rz(g); a, b, g in radians, broadcast."""
    a, b, g = np.broadcast_arrays(*(_finite(angle, "angles") for angle in (a, b, g)))
    ca, cb, cg, sa, sb, sg = np.cos(a), np.cos(b), np.cos(g), np.sin(a), np.sin(b), np.sin(g)
    return _matrices((ca * cb * cg - sa * sg, -ca * cb * sg - sa * cg, ca * sb),
                     (sa * cb * cg + ca * sg, -sa * cb * sg + ca * cg, sa * sb),
                     (-sb * cg, sb * sg, cb))


def to_zyz(rotations: Array) -> Array:
    """(..., 3) a, b, g in radians of R = Rz(a) Ry(b) Rz(g); 0 <= b <= pi, |a|, |g| <= pi, g = 0 where b is 0 or pi."""
    return _outer_and_middle(rotations, "y")


def from_relion(rot: Array | float, tilt: Array | float, psi: Array | float) -> Array:
    """(..., 3, 3) R from rlnAngleRot, Tilt, Psi in degrees: R = Rz(-psi) Ry(-tilt) Rz(-rot)."""
    return np.swapaxes(from_zyz(*np.radians(np.broadcast_arrays(rot, tilt, psi))), -1, -2)


def to_relion(rotations: Array) -> Array:
    """(..., 3) rlnAngleRot, Tilt, Psi in degrees; 0 <= tilt <= 180, psi = 0 where tilt is 0 or 180."""
    return np.degrees(to_zyz(_inverse(rotations)))


def from_dynamo(tdrot: Array | float, tilt: Array | float, narot: Array | float) -> Array:
    """(..., 3, 3) R from columns 7-9 of a Dynamo table in degrees: R = Rz(-tdrot) Rx(-tilt) Rz(-narot)."""
    tdrot, tilt, narot = np.broadcast_arrays(tdrot, tilt, narot)
    return _from_zxz(-tdrot, -tilt, -narot)


def to_dynamo(rotations: Array) -> Array:
    """(..., 3) tdrot, tilt, narot in degrees; 0 <= tilt <= 180, tdrot = 0 where tilt is 0 or 180."""
    return np.degrees(_outer_and_middle(_inverse(rotations), "x"))[..., ::-1]


def from_av3(phi: Array | float, psi: Array | float, theta: Array | float) -> Array:
    """(..., 3, 3) R from rows 17-19 of an AV3 motive list in degrees: R = Rz(psi) Rx(theta) Rz(phi)."""
    return _from_zxz(psi, theta, phi)


def to_av3(rotations: Array) -> Array:
    """(..., 3) phi, psi, theta in degrees; 0 <= theta <= 180, phi = 0 where theta is 0 or 180."""
    return np.degrees(_outer_and_middle(rotations, "x"))[..., [2, 0, 1]]


def from_quaternion(quaternions: Array) -> Array:
    """(..., 3, 3) from (..., 4) w, x, y, z of any length but 0."""
    quaternions = _finite(quaternions, "quaternions", 4)
    lengths = np.linalg.norm(quaternions, axis=-1, keepdims=True)
    if not (lengths > 0).all():
        raise InputError("quaternions: expected w, x, y, z of a length above 0, got 0 0 0 0")
    w, x, y, z = np.moveaxis(quaternions / lengths, -1, 0)
    return _matrices((1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
                     (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
                     (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)))


def to_quaternion(rotations: Array) -> Array:
    """(..., 4) w, x, y, z of unit length, w >= 0."""
    rotations = check_rotations(rotations)
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = np.moveaxis(rotations, (-2, -1), (0, 1))
    # Row i is 4 q_i q: the one of the largest q_i loses no digits.
    rows = _matrices((1 + xx + yy + zz, zy - yz, xz - zx, yx - xy),
                     (zy - yz, 1 + xx - yy - zz, xy + yx, xz + zx),
                     (xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy),
                     (yx - xy, xz + zx, yz + zy, 1 - xx - yy + zz))
    largest = np.argmax(np.diagonal(rows, axis1=-2, axis2=-1), axis=-1)
    quaternions = np.take_along_axis(rows, largest[..., None, None], axis=-2)[..., 0, :]
    quaternions = quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)
    return np.where(quaternions[..., :1] < 0, -quaternions, quaternions)


def from_rotation_vector(vectors: Array) -> Array:
    """(..., 3, 3) from (..., 3) x, y, z: the axis, as long as the angle in radians."""
    vectors = _finite(vectors, "rotation vectors", 3)
    half = np.linalg.norm(vectors, axis=-1, keepdims=True) / 2
    return from_quaternion(np.concatenate([np.cos(half), vectors * np.sinc(half / np.pi) / 2], axis=-1))


def to_rotation_vector(rotations: Array) -> Array:
    """(..., 3) x, y, z: the axis, as long as the angle in radians, at most pi."""
    quaternions = to_quaternion(rotations)
    sine = np.linalg.norm(quaternions[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quaternions[..., :1])
    return quaternions[..., 1:] * np.where(sine > 0, angle / np.where(sine > 0, sine, 1), 2)


@dataclass(frozen=True, eq=False)
class Poses:
    """Rotations and shifts that carry the reference to each particle.

    Attributes
    ----------
    rotations : (n, 3, 3) float64
    shifts : (n, 3) float64, (x, y, z) voxels, applied after the rotation
    """

    rotations: Array
    shifts: Array

    def __post_init__(self) -> None:
        rotations, shifts = check_rotations(self.rotations), _finite(self.shifts, "shifts", 3)
        if rotations.ndim != 3 or shifts.shape != (len(rotations), 3):
            raise InputError(f"poses: expected rotations (n, 3, 3) and shifts (n, 3), got {rotations.shape} and "
                             f"{shifts.shape}")
        object.__setattr__(self, "rotations", rotations)
        object.__setattr__(self, "shifts", shifts)

    @classmethod
    def identity(cls, count: int) -> Poses:
        """No rotation, no shift."""
        return cls(np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3)))

    def __len__(self) -> int:
        return len(self.rotations)

    def __getitem__(self, index: int | slice | Sequence[int] | Array) -> Poses:
        """The poses chosen; one of length 1 by an integer."""
        if isinstance(index, (int, np.integer)):
            index = [range(len(self))[index]]
        return Poses(self.rotations[index], self.shifts[index])

    def inverse(self) -> Poses:
        """Particle to reference: R^T, -R^T t."""
        return Poses(_inverse(self.rotations), -np.einsum("nji,nj->ni", self.rotations, self.shifts))


def compose(first: Poses, second: Poses) -> Poses:
    """`second` applied before `first`, pairwise or one to all: R1 R2, R1 t2 + t1."""
    if len(first) != len(second) and 1 not in (len(first), len(second)):
        raise InputError(f"poses: expected as many to compose, or one, got {len(first)} and {len(second)}")
    rotations = first.rotations @ second.rotations
    return Poses(rotations, (first.rotations @ second.shifts[..., None])[..., 0] + first.shifts)


def geodesic(a: Array, b: Array, symmetry: Array | None = None) -> Array:
    """Angle of the rotation between `a` and `b`, degrees.

    Parameters
    ----------
    a, b : (..., 3, 3), leading axes broadcast
    symmetry : (order, 3, 3) rotations S of the reference onto itself: the least angle between a and b S
    """
    between = _inverse(a) @ check_rotations(b)
    if symmetry is not None:
        symmetry = check_rotations(symmetry)
        between = between @ symmetry[np.argmax(np.einsum("...ij,sji->...s", between, symmetry), axis=-1)]
    # Sine and cosine together: arccos alone loses half the digits near 0 and pi.
    sine = np.linalg.norm(_axial(between), axis=-1)
    return np.degrees(np.arctan2(sine, np.trace(between, axis1=-2, axis2=-1) - 1))


def random_rotations(count: int, rng: np.random.Generator) -> Array:
    """(count, 3, 3), uniform on SO(3): unit quaternions of four normal numbers."""
    return from_quaternion(rng.standard_normal((count, 4)))


def rotation_grid(step: float) -> Array:
    """(count, 3, 3) rotations such that every rotation lies within `step` degrees of one of them.

    Directions of a spiral on the sphere, a ring of turns about each, neighbouring rings staggered: measured radius
    0.88-0.99 `step` from 5 to 90 degrees; count about 1.0e7 / step^3, 2.4-2.9 times what the volume alone asks for.

    step : degrees, 1 <= step <= 90
    """
    if not 1 <= step <= 90:
        raise InputError(f"rotation grid: expected a step of 1 to 90 degrees, got {step:g}")
    spacing = 1.13 * np.radians(step)  # largest for which no radius measured passes the step
    turns = int(np.ceil(2 * np.pi / (1.15 * spacing)))  # turns 1.15 spacings apart, directions as much closer
    directions = int(np.ceil(4 * np.pi / (spacing**2 / 1.15)))
    place = np.arange(directions)[:, None]
    a = np.pi * (np.sqrt(5) - 1) * (place + 0.5)
    b = np.arccos(1 - (2 * place + 1) / directions)
    g = 2 * np.pi * (np.arange(turns) + place % 2 / 2) / turns
    return from_zyz(a, b, g).reshape(-1, 3, 3)


def symmetry_group(name: str) -> Array:
    """(order, 3, 3) rotations of C1, C2, ... (about z) or D2, D3, ... (a 2-fold along x besides), identity first.

    Raises
    ------
    InputError : any other name
    """
    match = re.fullmatch(r"([CD])([1-9]\d{0,3})", name.strip().upper())
    if match is None or (match[1] == "D" and match[2] == "1"):
        raise InputError(f"symmetry: expected C1, C2, ... or D2, D3, ..., got {name!r}")
    fold = int(match[2])
    cyclic = from_zyz(2 * np.pi * np.arange(fold) / fold, 0.0, 0.0)
    return cyclic if match[1] == "C" else np.concatenate([cyclic, cyclic @ np.diag([1.0, -1.0, -1.0])])


def mean_rotation(rotations: Array, weights: Array | None = None) -> Array:
    """(3, 3), the rotation of least weighted sum of squared Frobenius distances to (n, 3, 3) `rotations`.

    weights : (n,), >= 0, not all 0; None: equal
    """
    rotations = check_rotations(rotations)
    weights = np.ones(len(rotations)) if weights is None else _finite(weights, "weights")
    if rotations.ndim != 3 or weights.shape != rotations.shape[:1]:
        raise InputError(f"mean rotation: expected rotations (n, 3, 3) and n weights, got {rotations.shape} and "
                         f"{weights.shape}")
    if not ((weights >= 0).all() and weights.sum() > 0):
        raise InputError("mean rotation: expected weights >= 0, not all 0, got others")
    left, _, right = np.linalg.svd(np.einsum("n,nij->ij", weights, rotations))
    return left * [1, 1, np.linalg.det(left @ right)] @ right


def check_rotations(rotations: Array) -> Array:
    """(..., 3, 3) float64; InputError for another shape, or |R R^T - I| or |det R - 1| > 1e-3."""
    rotations = _finite(rotations, "rotations")
    if rotations.ndim < 2 or rotations.shape[-2:] != (3, 3):
        raise InputError(f"rotations: expected matrices (..., 3, 3), got an array {rotations.shape}")
    first, second, third = np.moveaxis(rotations, -2, 0)
    excess = np.abs(rotations @ np.swapaxes(rotations, -1, -2) - np.eye(3))
    volumes = np.einsum("...i,...i->...", np.cross(first, second), third)
    if excess.size and (excess.max() > _TOLERANCE or np.abs(volumes - 1).max() > _TOLERANCE):
        raise InputError(f"rotations: expected R R^T = I and det R = 1 within {_TOLERANCE:g}, got an error of "
                         f"{max(excess.max(), np.abs(volumes - 1).max()):.3g}")
    return rotations


def _finite(values: Array | float, name: str, length: int | None = None) -> Array:
    values = np.asarray(values, np.float64)
    if length is not None and values.shape[-1:] != (length,):
        raise InputError(f"{name}: expected an array (..., {length}), got {values.shape}")
    if not np.isfinite(values).all():
        raise InputError(f"{name}: expected finite numbers, got NaN or infinity")
    return values


def _matrices(*rows: tuple[Array, ...]) -> Array:
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _inverse(rotations: Array) -> Array:
    return np.swapaxes(check_rotations(rotations), -1, -2)


def _axial(matrices: Array) -> Array:
    """(..., 3): 2 sin(angle) times the axis."""
    return np.stack([matrices[..., 2, 1] - matrices[..., 1, 2], matrices[..., 0, 2] - matrices[..., 2, 0],
                     matrices[..., 1, 0] - matrices[..., 0, 1]], axis=-1)


def _wrapped(angles: Array) -> Array:
    """Radians in (-pi, pi]."""
    return np.pi - np.mod(np.pi - angles, 2 * np.pi)


def _from_zxz(a: Array | float, b: Array | float, g: Array | float) -> Array:
    """Rz(a) Rx(b) Rz(g), degrees; Rx(b) = Rz(-90) Ry(b) Rz(90)."""
    a, b, g = np.broadcast_arrays(a, b, g)
    return from_zyz(np.radians(a - 90.0), np.radians(b), np.radians(g + 90.0))


def _outer_and_middle(rotations: Array, middle: str) -> Array:
    """(..., 3) a, b, g in radians of Rz(a) Ry(b) Rz(g), or of Rz(a) Rx(b) Rz(g) with `middle` "x"; 0 <= b <= pi."""
    # Half sums and differences of a and g are angles of the quaternion: exact at b = 0 and pi, where a and g are not.
    w, x, y, z = np.moveaxis(to_quaternion(rotations), -1, 0)
    half_sum, half_difference = np.arctan2(z, w), np.arctan2(-x, y) if middle == "y" else np.arctan2(y, x)
    cosine, sine = np.hypot(w, z), np.hypot(x, y)
    half_difference = np.where(sine < _LOCKED, half_sum, half_difference)
    half_sum = np.where(cosine < _LOCKED, half_difference, half_sum)
    return np.stack([_wrapped(half_sum + half_difference), 2 * np.arctan2(sine, cosine),
                     _wrapped(half_sum - half_difference)], axis=-1)
