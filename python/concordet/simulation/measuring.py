"""Ways of measuring a molecule in ice: through a missing wedge, or in a tilt series with CTF and MTF.

Linear, so that a particle is the sum of what is made of its molecule and of what is made of white noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from concordet import ctf, wedge
from concordet.errors import InputError
from concordet.simulation.mean_power import Orientations, mean_slice_power

# Multiplications of a matrix product of float32; OpenBLAS starts threads at 2^18.
_ONE_THREAD = 200_000


@dataclass(frozen=True)
class Measured:
    """What a way of measuring makes of a molecule, or of white noise.

    volume   (n, n, n) float32
    power    what the SNR compares: of the box, or of the images; in one unit for molecule and noise
    """

    volume: np.ndarray
    power: float


class Views(Protocol):
    """A way of measuring; `defocus` in angstrom is what differs between particles, 0 where there is none."""

    box: int
    kind: wedge.Kind

    @property
    def noise_power(self) -> float:
        """Of white noise of variance 1, expected."""

    def defocus(self, rng: np.random.Generator | None = None) -> float:
        """Of a random particle; without `rng` the nominal one."""

    def signal(self, volume: np.ndarray, defocus: float) -> Measured:
        """Of a posed molecule (n, n, n)."""

    def signal_power(self, volume: np.ndarray, orientations: Orientations) -> float:
        """Of a molecule (n, n, n), expected over its poses."""

    def noise(self, rng: np.random.Generator, defocus: float) -> Measured:
        """Of white noise of variance 1."""

    def weight(self, defocus: float) -> np.ndarray:
        """(n, n, n) float32, zero frequency at n // 2: how strongly each coefficient was measured."""


class WedgeView:
    """The coefficients of molecule and noise that a wedge leaves.

    SNR   variance of the map over variance of the noise, over the whole box, before the wedge
    Noise is scaled to variance 1 in the voxels, after the wedge: one factor for all particles. Nothing is subtracted.
    """

    kind: wedge.Kind = "binary"
    noise_power = 1.0

    def __init__(self, box: int, weight: wedge.Weight):
        self.box = box
        self._weight = weight.volume(box)
        self._half = wedge.half_fft_order(self._weight)
        seen = float(np.mean(np.square(self._weight, dtype=np.float64)))
        if not seen > 0:
            raise InputError("wedge: expected a weight that leaves something, got only zeros")
        self._scale = np.float32(seen**-0.5)

    def defocus(self, rng: np.random.Generator | None = None) -> float:
        return 0.0

    def signal(self, volume: np.ndarray, defocus: float = 0) -> Measured:
        seen = np.fft.irfftn(np.fft.rfftn(volume) * self._half, volume.shape, axes=(0, 1, 2))
        return Measured((self._scale * seen).astype(np.float32), float(np.var(volume, dtype=np.float64)))

    def signal_power(self, volume: np.ndarray, orientations: Orientations) -> float:
        return float(np.var(volume, dtype=np.float64))

    def noise(self, rng: np.random.Generator, defocus: float = 0) -> Measured:
        return self.signal(rng.standard_normal((self.box,) * 3, dtype=np.float32))

    def weight(self, defocus: float = 0) -> np.ndarray:
        return self._weight


@dataclass(frozen=True)
class Optics:
    """Of a microscope: defocus in angstrom (underfocus positive), Cs in mm, voltage in kV."""

    defocus: float = 60000.0
    cs: float = 2.7
    voltage: float = 300.0
    amplitude_contrast: float = 0.07
    defocus_spread: float = 0.0     # angstrom: that of particles is uniform within +- this


class TiltViews:
    """A tilt series about y, one image n x n per tilt, put together by Fourier inversion.

    1. image   the central slice of the molecule's transform, by direct sum, times a = CTF x MTF, plus white noise of
               variance s^2; MTF sin(pi w / 2) / (pi w / 2), w = |k| / Nyquist
    2. slab    coefficient k takes, from every image whose plane passes within 1/2 of it, the value F at its foot on
               that plane: again a direct sum over pixels, no interpolation, so that noise keeps its variance
    3. sum     over those images, m of them, tilt by tilt
               premultiplied   X = sum a F              weight sum a^2
               raw             X = sum F / sqrt(m)      weight a sqrt(m)

    The noise in X then has variance s^2 sum a^2 (premultiplied) or s^2 (raw); s is scaled to 1, nothing is subtracted.
    a is taken at |k|: the foot is nearer to 0 by so little that the CTF's phase changes by less than 0.01 rad at -6 um
    in 64 voxels of 6 A. Nyquist planes are left out.

    SNR   variance of the images' signal, CTF and MTF in it, over variance of their noise; over all tilts together
    """

    def __init__(self, box: int, tilts: Sequence[float] | np.ndarray, voxel_size: float, optics: Optics | None = None,
                 *, premultiplied: bool = True):
        self.box, self.voxel_size, self.optics = box, float(voxel_size), optics or Optics()
        self.kind: wedge.Kind = "premultiplied" if premultiplied else "raw"
        self._tilts = np.deg2rad(np.asarray(tilts, dtype=np.float64))
        self.transfer(np.zeros(1))      # refuses impossible optics

    def defocus(self, rng: np.random.Generator | None = None) -> float:
        spread = self.optics.defocus_spread if rng else 0.0
        return self.optics.defocus + (rng.uniform(-spread, spread) if rng and spread else 0.0)

    def transfer(self, k: np.ndarray, defocus: float | None = None) -> np.ndarray:
        """a = CTF x MTF at frequencies of length `k` in units of 1 / box; of the nominal defocus unless given."""
        defocus = self.optics.defocus if defocus is None else defocus
        length = k / (self.box * self.voxel_size)
        return ctf.mtf(2 * k / self.box) * ctf.ctf(length, defocus, self.optics.cs, self.optics.voltage,
                                                   self.optics.amplitude_contrast)

    def filtered(self, volume: np.ndarray) -> np.ndarray:
        """A map (n, n, n) as its contrast would be: times CTF x MTF; float32."""
        k = self._frequencies
        length = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + np.arange(self.box // 2 + 1) ** 2)
        return np.fft.irfftn(np.fft.rfftn(volume) * self.transfer(length), volume.shape,
                             axes=(0, 1, 2)).astype(np.float32)

    def signal(self, volume: np.ndarray, defocus: float) -> Measured:
        n = self.box
        z, x = np.nonzero(volume.any(axis=1))                               # columns that hold something
        columns = _side_by_side(np.fft.rfft(np.fft.ifftshift(volume, axes=1), axis=1)[z, :, x] * n**-1.5)

        def slice_at(feet: np.ndarray, tilt: float) -> np.ndarray:
            return _there_and_back(self._phases(np.sin(tilt) * feet)[:, z] * self._phases(np.cos(tilt) * feet)[:, x],
                                   columns)

        return self._inverted(slice_at, defocus, of_noise=False)

    def signal_power(self, volume: np.ndarray, orientations: Orientations) -> float:
        mean = mean_slice_power(volume, orientations)
        ky = np.arange(self.box // 2 + 1)

        def amplitude_at(feet: np.ndarray, tilt: float) -> np.ndarray:
            values = np.sqrt(mean(feet, ky)).astype(np.float32)
            return np.concatenate([values, values[1:]])

        return self._inverted(amplitude_at, self.optics.defocus, of_noise=False).power

    def noise(self, rng: np.random.Generator, defocus: float) -> Measured:
        n = self.box

        def noise_at(feet: np.ndarray, tilt: float) -> np.ndarray:
            image = rng.standard_normal((n, n), dtype=np.float32)       # (u, v)
            return _there_and_back(self._phases(feet), _side_by_side(np.fft.rfft(image, axis=1) / n))

        return self._inverted(noise_at, defocus, of_noise=True)

    def _phases(self, k: np.ndarray) -> np.ndarray:
        """exp(-2 pi i k x / n), (p, n) for (p,) frequencies; x from the centre voxel."""
        x = np.arange(self.box) - self.box // 2
        return np.exp(-2j * np.pi / self.box * k[:, None] * x).astype(np.complex64)

    def _inverted(self, image_at: Callable[[np.ndarray, float], np.ndarray], defocus: float, of_noise: bool
                  ) -> Measured:
        """Steps 2 and 3; `image_at(feet, tilt)` is F without its CTF and MTF.

        Asked for feet 0, u, it gives (0, u, -u; ky >= 0) complex64.
        """
        n = self.box
        total = np.zeros((n * n, n // 2 + 1), dtype=np.complex64)           # (kz kx, ky), in FFT order
        power = np.zeros(total.shape, dtype=np.float32)
        for tilt, (seen, feet) in zip(self._tilts, self._slabs, strict=True):
            values = image_at(feet, float(tilt))
            total[seen] += values
            power[seen] += values.real**2 + values.imag**2
        squares = np.square(self._frequencies)
        length = np.sqrt((squares[:, None] + squares).reshape(-1, 1) + squares[:n // 2 + 1])
        transfer = self.transfer(length, defocus).astype(np.float32)
        if not of_noise:
            total *= transfer
            power *= transfer**2
        total *= transfer if self.kind == "premultiplied" else self._count[:, None] ** -0.5
        power[0, 0] = 0                                                     # a mean is no signal
        spectrum = (total * (self._pairs > 0)).reshape(n, n, -1)
        volume = np.fft.fftshift(np.fft.irfftn(spectrum, (n, n, n), axes=(0, 1, 2), norm="ortho"))      # (z, x, y)
        return Measured(np.ascontiguousarray(volume.transpose(0, 2, 1), dtype=np.float32),
                        float(power.sum(axis=0, dtype=np.float64) @ self._pairs))

    @property
    def noise_power(self) -> float:
        return float(sum(len(seen) * self._pairs.sum() - 1 for seen, _ in self._slabs))

    @property
    def _pairs(self) -> np.ndarray:
        """(ky,) coefficients that each ky >= 0 stands for: +-ky, none of a Nyquist plane."""
        ky = np.arange(self.box // 2 + 1)
        return np.where(ky == 0, 1.0, np.where(2 * ky < self.box, 2.0, 0.0))

    @property
    def _frequencies(self) -> np.ndarray:
        """(n,) whole numbers in FFT order."""
        return np.fft.ifftshift(np.arange(self.box) - self.box // 2)

    @cached_property
    def _slabs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each image: places (2 p + 1,) of the (kz, kx) that it sees, in FFT order, and feet on its plane (p + 1,).

        First (0, 0), then one of each pair +-k, whose feet 0, u are given; then the others in the same order, at -u.
        """
        kz, kx = (axis.ravel() for axis in np.meshgrid(self._frequencies, self._frequencies, indexing="ij"))
        inner = 2 * np.maximum(np.abs(kz), np.abs(kx)) < self.box
        slabs = []
        for tilt in self._tilts:
            away = kz * np.cos(tilt) - kx * np.sin(tilt)
            feet = kx * np.cos(tilt) + kz * np.sin(tilt)
            half = np.flatnonzero(inner & (np.abs(away) <= wedge.SLAB + wedge.EDGE) & (feet > wedge.EDGE))
            mates = np.ravel_multi_index(tuple(-axis[half] % self.box for axis in (kz, kx)), (self.box, self.box))
            slabs.append((np.concatenate([[0], half, mates]), np.concatenate([[0.0], feet[half]])))
        return slabs

    @cached_property
    def _count(self) -> np.ndarray:
        """(n n,) float32 images that see (kz, kx), in FFT order; 1 where none does."""
        seen = np.concatenate([places for places, _ in self._slabs])
        return np.maximum(np.bincount(seen, minlength=self.box**2), 1).astype(np.float32)

    def weight(self, defocus: float) -> np.ndarray:
        n = self.box
        line = np.arange(n) - n // 2
        length = np.sqrt(np.square(line[:, None, None]) + np.square(line[:, None]) + np.square(line))
        transfer = self.transfer(length, defocus)
        seen = np.zeros(n * n)
        for places, _ in self._slabs:
            seen[places] += 1
        images = np.fft.fftshift(seen.reshape(n, n))[:, None, :] * (2 * np.abs(line[:, None]) < n)
        weight = images * transfer**2 if self.kind == "premultiplied" else np.sqrt(images) * transfer
        return weight.astype(np.float32)


def _side_by_side(values: np.ndarray) -> np.ndarray:
    """(k, 2 m) float32: real and imaginary part of (k, m)."""
    return np.concatenate([values.real, values.imag], axis=1).astype(np.float32)


def _there_and_back(phases: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Sums phases @ values, then conj(phases[1:]) @ values, (2 p + 1, m) complex64, at the cost of the first.

    phases (p + 1, k) complex64; columns (k, 2 m), `_side_by_side` values
    """
    cc, cs = np.split(_product(np.ascontiguousarray(phases.real), columns), 2, axis=1)
    sc, ss = np.split(_product(np.ascontiguousarray(phases.imag), columns), 2, axis=1)
    return np.concatenate([cc - ss + 1j * (cs + sc), (cc + ss + 1j * (cs - sc))[1:]])


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b in pieces too small for BLAS to share among threads.

    Particles are what threads share: BLAS threads besides made a particle 7 times as slow on a busy machine, and their
    number would show in the last digits.
    """
    step = max(8, _ONE_THREAD // (a.shape[0] * b.shape[1]))
    total = np.zeros((a.shape[0], b.shape[1]), dtype=np.result_type(a, b))
    for start in range(0, a.shape[1], step):
        total += a[:, start:start + step] @ b[start:start + step]
    return total
