"""Simulated subtomograms: a molecule in a random pose, measured through a wedge or in a tilt series, and noise.

    particle = measured(shift(t) . rotate(R) . map) + noise

Everything random about particle i comes from (seed, i): any part of a set can be made alone, by any number of threads.

SNR is that of Frank & Al-Ali (Nature 256, 376, 1975), rho / (1 - rho) with rho the correlation of two noisy copies of
one signal: variance of the signal over variance of the noise. It is measured from signal and noise apart, which is
what the correlation of pairs comes to on average; a pair of 64^3 voxels would tell SNR 0.003 to +- 0.002 only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import get_args

import numpy as np

from concordet import rigid
from concordet.errors import InputError
from concordet.simulation.mean_power import Orientations
from concordet.simulation.measuring import Measured, Views
from concordet.simulation.molecules import Molecule, largest_radius


@dataclass(frozen=True)
class Subtomogram:
    """One particle and its truth.

    index        0, 1, ... in the whole set;   molecule   0, 1, ... in the list of molecules
    volume       (n, n, n) float32; noise of variance 1, see `WedgeView` and `TiltViews`
    rotation     (3, 3), map to particle;   shift   (3,), (x, y, z) voxels;   defocus   angstrom
    signal, noise            power of the two, as the SNR compares them
    seen_signal, seen_noise  variance of the two parts of `volume`
    """

    index: int
    molecule: int
    volume: np.ndarray
    rotation: np.ndarray
    shift: np.ndarray
    defocus: float
    signal: float
    noise: float
    seen_signal: float
    seen_noise: float


def random_poses(count: int, orientations: Orientations, max_shift: float, rng: np.random.Generator) -> rigid.Poses:
    """Random poses; each coordinate of the shift uniform within +- max_shift voxels.

    uniform   rotations uniform on SO(3)
    about-y   the map's z axis laid along y, the tilt axis, after a turn about itself; then turned about y
    """
    _check_orientations(orientations)
    if orientations == "uniform":
        rotations = rigid.random_rotations(count, rng)
    else:
        about_y, about_z = rng.uniform(0, 2 * np.pi, (2, count))
        z_to_y = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
        rotations = rigid.from_zyz(0.0, about_y, 0.0) @ z_to_y @ rigid.from_zyz(about_z, 0.0, 0.0)
    return rigid.Poses(rotations, rng.uniform(-max_shift, max_shift, (count, 3)))


def _check_orientations(orientations: str) -> None:
    if orientations not in get_args(Orientations):
        raise InputError(f"orientations: expected {' or '.join(get_args(Orientations))}, got {orientations}")


def simulate_subtomograms(molecules: Sequence[Molecule], counts: Sequence[int], views: Views, *, snr: float | None,
                          max_shift: float = 4.0, orientations: Orientations = "uniform", seed: int = 0,
                          indices: Iterable[int] | None = None, threads: int = 1) -> Iterator[Subtomogram]:
    """Particles of a set, molecule after molecule.

    counts      particles of each molecule, >= 1
    snr         as `views` defines it, > 0; None: no noise, and densities as in the map
    max_shift   voxels; molecules must have been cut to `largest_radius(box, max_shift)` or less
    indices     the particles to make, of 0 ... sum(counts) - 1; None: all
    threads     particles made at once; the result does not depend on it
    """
    if len(counts) != len(molecules) or not counts:
        raise InputError(f"counts: expected one per map, {len(molecules)}, got {len(counts)}")
    if min(counts) < 1:
        raise InputError(f"counts: expected 1 or more particles of each map, got {min(counts)}")
    if snr is not None and not (np.isfinite(snr) and snr > 0):
        raise InputError(f"SNR: expected a number > 0, got {snr:g}")
    if not (np.isfinite(max_shift) and max_shift >= 0):
        raise InputError(f"shift: expected 0 or more voxels, got {max_shift:g}")
    for molecule in molecules:
        if molecule.box != views.box:
            raise InputError(f"map: expected the box of the particles, {views.box} voxels, got {molecule.box}")
        if molecule.radius > (largest := largest_radius(views.box, max_shift)) + 1e-6:
            raise InputError(f"map: expected a radius of at most {largest:g} voxels, for shifts of {max_shift:g} in a "
                             f"box of {views.box}, got {molecule.radius:g}")
    owners = np.repeat(np.arange(len(molecules)), counts)
    _check_orientations(orientations)
    sigmas = [0.0 if snr is None else _noise_level(molecule, views, snr, orientations) for molecule in molecules]

    def make(index: int) -> Subtomogram:
        owner = int(owners[index])
        rng = np.random.default_rng([seed, index])
        pose = random_poses(1, orientations, max_shift, rng)
        defocus = views.defocus(rng)
        signal = views.signal(molecules[owner].posed(pose.rotations[0], pose.shifts[0]), defocus)
        sigma = sigmas[owner]
        noise = views.noise(rng, defocus) if sigma else Measured(np.zeros_like(signal.volume), 0.0)
        seen = signal.volume / np.float32(sigma or 1)
        return Subtomogram(
            index, owner, seen + noise.volume, pose.rotations[0], pose.shifts[0], defocus,
            signal=signal.power, noise=sigma**2 * noise.power,
            seen_signal=float(np.var(seen, dtype=np.float64)), seen_noise=float(np.var(noise.volume, dtype=np.float64)))

    return _in_order(make, range(len(owners)) if indices is None else list(indices), threads)


def _in_order(make: Callable[[int], Subtomogram], items: Sequence[int], threads: int) -> Iterator[Subtomogram]:
    """make(item) of every item; with several threads as many are made ahead."""
    if threads <= 1:
        yield from map(make, items)
        return
    waiting: deque[Future[Subtomogram]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _noise_level(molecule: Molecule, views: Views, snr: float, orientations: Orientations) -> float:
    """Standard deviation of the noise, in the unit of the map, for the SNR."""
    signal = views.signal_power(molecule.volume, orientations)
    if not signal > 0:
        raise InputError("SNR: expected a map with a signal, got one of a single grey level")
    return float(np.sqrt(signal / views.noise_power / snr))
