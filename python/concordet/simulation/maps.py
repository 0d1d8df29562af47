"""Maps as phantoms: volumes of voxels, and the density of atomic models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from concordet.errors import InputError
from concordet.simulation.phantoms import Ray, positive_shape

# Electrons per cubic angstrom of protein without its hydrogens: a molecule's interior gets a density near 1.
_PROTEIN_ELECTRONS = 0.4


@dataclass(frozen=True)
class MapPhantom:
    """A volume of voxels (z, y, x), linear between them, zero outside."""

    volume: np.ndarray

    def __post_init__(self):
        volume = np.ascontiguousarray(self.volume, dtype=np.float32)
        if volume.ndim != 3 or volume.size == 0:
            raise InputError(f"map phantom: expected a volume with 3 axes, got shape {volume.shape}")
        if not np.isfinite(volume).all():
            raise InputError("map phantom: expected finite voxels, got NaN or infinity")
        object.__setattr__(self, "volume", volume)

    def density(self, shape: Sequence[int], supersampling: int = 2) -> np.ndarray:
        """The volume, cut or padded with zeros to `shape` (z, y, x) about the centre voxel; float32."""
        shape = positive_shape(shape, 3, "volume")
        result = np.zeros(shape, dtype=np.float32)
        source, target = [], []
        for have, want in zip(self.volume.shape, shape, strict=True):
            shift = want // 2 - have // 2
            low, high = max(0, shift), min(want, have + shift)
            target.append(slice(low, high))
            source.append(slice(low - shift, high - shift))
        result[tuple(target)] = self.volume[tuple(source)]
        return result

    def project(self, view_map: np.ndarray, image_shape: Sequence[int], supersampling: int = 2) -> np.ndarray:
        """One view: the ray of each pixel centre, sampled trilinearly at steps of at most about one voxel.

        Arguments and result as in `Phantom.project`; `supersampling` is not used.
        """
        nv, nu = positive_shape(image_shape, 2, "image")
        ray = Ray.of(view_map)
        view_map = np.asarray(view_map, dtype=np.float64)
        nz, ny, nx = self.volume.shape
        pixels = np.stack(np.meshgrid(np.arange(nu) - nu // 2, np.arange(nv) - nv // 2), axis=-1)
        base = (pixels - view_map[:, 3]) @ ray.base_from_image.T                # (v, u, 2), (x, y) at z = 0
        # One voxel of zeros around each slice: what lies further out is clipped onto it.
        padded = np.zeros((ny + 2, nx + 2), dtype=np.float32)
        per_slice = int(np.ceil(np.linalg.norm(ray.direction[:2]))) or 1
        image = np.zeros((nv, nu))
        for step in range(-per_slice + 1, nz * per_slice):
            below, fraction = divmod(step, per_slice)
            padded[1:-1, 1:-1] = 0
            if below >= 0:
                padded[1:-1, 1:-1] = (1 - fraction / per_slice) * self.volume[below]
            if fraction and below + 1 < nz:
                padded[1:-1, 1:-1] += (fraction / per_slice) * self.volume[below + 1]
            z = step / per_slice - nz // 2
            x = np.clip(base[..., 0] + z * ray.direction[0] + nx // 2 + 1, 0, nx + 1)
            y = np.clip(base[..., 1] + z * ray.direction[1] + ny // 2 + 1, 0, ny + 1)
            column, row = np.minimum(x.astype(np.int64), nx), np.minimum(y.astype(np.int64), ny)
            x -= column
            y -= row
            corner = row * (nx + 2) + column
            flat = padded.ravel()
            low = flat[corner] + x * (flat[corner + 1] - flat[corner])
            high = flat[corner + nx + 2] + x * (flat[corner + nx + 3] - flat[corner + nx + 2])
            image += low + y * (high - low)
        return (image * (ray.length / per_slice)).astype(np.float32)


def model_phantom(path: str | Path, voxel_size: float, *, resolution: float | None = None) -> MapPhantom:
    """An atomic model as a map: atomic numbers, smoothed, with the model's centre at the centre voxel.

    path          .cif, .mmcif, .pdb or .ent (also .gz), read by gemmi (extra `models`)
    voxel_size    angstrom
    resolution    r of the low-pass exp(-(k r)^2), k in 1/angstrom; 2.5 voxels unless given
    Density 1 is 0.4 electrons per cubic angstrom, about the inside of a protein.
    """
    resolution = _checked_resolution(voxel_size, resolution)
    positions, electrons = _read_atoms(Path(path))
    positions -= (positions.min(axis=0) + positions.max(axis=0)) / 2
    return MapPhantom(_density(positions, electrons, voxel_size, resolution))


def molecule_map(path: str | Path, voxel_size: float, *, resolution: float | None = None, turn: bool = True
                 ) -> np.ndarray:
    """An atomic model as a map (z, y, x) float32 about its centre of mass, turned to its principal axes.

    turn    z is the principal axis whose moment is least like the other two, which is the symmetry axis of a ring or
            barrel; x and y follow by growing extent. Without it the axes are those of the file.
    Other arguments, and the density, as for `model_phantom`; the box is as large as the molecule asks for.
    """
    resolution = _checked_resolution(voxel_size, resolution)
    positions, electrons = _read_atoms(Path(path))
    positions -= electrons @ positions / electrons.sum()
    if turn:
        positions @= _principal_axes(positions, electrons).T
    return _density(positions, electrons, voxel_size, resolution)


def resampled(volume: np.ndarray, voxel_size: float, box: int, new_voxel_size: float) -> np.ndarray:
    """A map (z, y, x) on a cube of `box` voxels of another size, centre voxel on centre voxel; float32.

    Band-limited (trigonometric) along each axis, any ratio of sizes in angstrom, cut at the coarser Nyquist frequency;
    zero where the map ends. With one size, to 0.1 %, voxels are copied.
    """
    if not (np.isfinite([voxel_size, new_voxel_size]).all() and min(voxel_size, new_voxel_size) > 0):
        raise InputError(f"map: expected voxel sizes above 0 angstrom, got {voxel_size:g} and {new_voxel_size:g}")
    ratio = new_voxel_size / voxel_size
    if abs(ratio - 1) < 1e-3:
        return MapPhantom(volume).density((box,) * 3)
    for axis in range(3):
        n = volume.shape[axis]
        k = np.arange(-((n - 1) // 2), (n - 1) // 2 + 1)
        k = k[np.abs(k) * ratio < n / 2]
        at, old = ratio * (np.arange(box) - box // 2), np.arange(n) - n // 2
        phases = np.exp(2j * np.pi / n * np.outer(at, k)) @ np.exp(-2j * np.pi / n * np.outer(k, old))
        inside = (at >= old[0] - 0.5) & (at <= old[-1] + 0.5)
        volume = np.moveaxis(np.tensordot(phases.real * inside[:, None] / n, volume, axes=(1, axis)), 0, axis)
    return volume.astype(np.float32)


def smoothed(volume: np.ndarray, resolution: float) -> np.ndarray:
    """A map (z, y, x) low-passed by exp(-(k r)^2), r in voxels; float32."""
    spectrum = np.fft.rfftn(volume)
    for axis, n in enumerate(volume.shape):
        k = np.fft.rfftfreq(n) if axis == 2 else np.fft.fftfreq(n)
        spectrum = spectrum * np.expand_dims(np.exp(-np.square(k * resolution)), tuple({0, 1, 2} - {axis}))
    return np.fft.irfftn(spectrum, volume.shape, axes=(0, 1, 2)).astype(np.float32)


def _checked_resolution(voxel_size: float, resolution: float | None) -> float:
    if not (np.isfinite(voxel_size) and voxel_size > 0):
        raise InputError(f"voxel size: expected a positive number of angstrom, got {voxel_size}")
    resolution = 2.5 * voxel_size if resolution is None else float(resolution)
    if not (np.isfinite(resolution) and resolution >= 0):
        raise InputError(f"resolution: expected a number of angstrom >= 0, got {resolution}")
    return resolution


def _principal_axes(positions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(3, 3), rows: new x, y, z; right-handed, and pointing to where the mass reaches further."""
    moments, axes = np.linalg.eigh(np.einsum("n,ni,nj->ij", weights, positions, positions))
    unique = 2 if moments[2] - moments[1] >= moments[1] - moments[0] else 0
    axes = axes.T[[*(axis for axis in range(3) if axis != unique), unique]]
    axes *= np.where(weights @ (positions @ axes.T) ** 3 < 0, -1, 1)[:, None]
    axes[1] *= np.linalg.det(axes)
    return axes


def _density(positions: np.ndarray, electrons: np.ndarray, voxel_size: float, resolution: float) -> np.ndarray:
    """Density (z, y, x) float32 of atoms at (n, 3), angstrom from the centre voxel, in a box that holds them.

    The atoms are spread trilinearly over voxels of half the size, and the sinc^2 of that is divided out again.
    """
    # exp(-(k r)^2) is a Gaussian of sigma r / (pi sqrt 2); 4 sigma of margin, and an even box.
    margin = 4 * resolution / (np.pi * np.sqrt(2)) + 2 * voxel_size
    shape = tuple(2 * int(np.ceil((np.abs(positions[:, axis]).max() + margin) / voxel_size)) for axis in (2, 1, 0))
    fine = _deposit(2 * positions / voxel_size, electrons, tuple(2 * n for n in shape))
    spectrum = np.fft.rfftn(fine)
    for axis, n in enumerate(shape):
        k = np.fft.fftfreq(n) if axis < 2 else np.arange(n // 2 + 1) / n
        transfer = np.exp(-((k * resolution / voxel_size) ** 2)) / np.sinc(k / 2) ** 2 * (np.abs(k) < 0.5)
        kept = np.rint(k * n).astype(np.int64) % (2 * n)
        spectrum = spectrum.take(kept, axis) * np.expand_dims(transfer, tuple({0, 1, 2} - {axis}))
    density = np.fft.irfftn(spectrum, shape, axes=(0, 1, 2)) / (_PROTEIN_ELECTRONS * voxel_size**3)
    return density.astype(np.float32)


def _read_atoms(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n, 3), angstrom, and electrons (n,) of the first model's atoms."""
    try:
        import gemmi
    except ImportError as error:
        raise InputError(f"{path}: reading it needs gemmi: pip install 'concordet[models]'") from error
    if not path.is_file():
        raise InputError(f"{path}: expected an atomic model, got no such file")
    try:
        structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError, OSError, IndexError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: expected an atomic model (mmCIF or PDB), got {reason}") from error
    atoms = [site.atom for site in structure[0].all()] if len(structure) else []
    if not atoms:
        raise InputError(f"{path}: expected an atomic model, got no atoms")
    return (np.array([atom.pos.tolist() for atom in atoms]),
            np.array([atom.element.atomic_number * atom.occ for atom in atoms], dtype=np.float64))


def _deposit(positions: np.ndarray, weights: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Weights (n,) spread trilinearly on (z, y, x); positions (n, 3), (x, y, z) from the centre voxel."""
    at = positions[:, ::-1] + np.array(shape) // 2
    low = np.floor(at).astype(np.int64)
    fraction = at - low
    volume = np.zeros(int(np.prod(shape)))
    for corner in np.ndindex(2, 2, 2):
        share = np.prod(np.where(corner, fraction, 1 - fraction), axis=1)
        address = np.ravel_multi_index(tuple((low + corner).T), shape)
        volume += np.bincount(address, weights * share, volume.size)
    return volume.reshape(shape)
