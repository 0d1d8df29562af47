"""What is done to a view before it is reconstructed; every step can be switched off, and none is hidden.

Order: beads found -> outliers clipped -> averaged into larger pixels -> logarithm or normalised -> inverted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from concordet.errors import InputError

# An image whose mean is this many standard deviations above zero counts electrons; projections of density do not.
TRANSMISSION_RATIO = 3.0
# Outlier limit for counted electrons where the user names none: X-rays and hot pixels lie beyond, gold at 10 A/pixel
# about there, protein far below.
TRANSMISSION_CLIP = 8.0
# Beads are dark: what is brighter than this many robust deviations is cut in the search for them, or an X-ray would
# make a false bead of its surroundings.
BRIGHTEST_SIGMAS = 3.0
# Outliers among 25 neighbouring pixels that one X-ray or hot spot may leave.
LARGEST_HIT = 9
# A bead's disc must differ from its ring by this many robust deviations of that difference over the view.
BEAD_SIGMAS = 7.0


@dataclass(frozen=True)
class Preprocessing:
    """What to do to every view of a run.

    binning         average this many pixels along both axes
    clip            replace pixels beyond this many robust standard deviations by their neighbours' median; 0: off
    normalize       bring views to one scale: (I - m) / m for counted electrons, (I - m) / s for others, m the median
    counts          whether the views of this run count electrons; None: judged for each view alone
    log             -log(I / m): absorption, linear in thickness (instead of (m - I) / m, which is its first term)
    invert          change the sign last, so that dark matter in the images becomes bright in the volume
    bead_diameter   pixels of the unbinned image; 0: no search. Beads and a margin of half a radius are not used
    """

    binning: int = 1
    clip: float = 0.0
    normalize: bool = False
    counts: bool | None = None
    log: bool = False
    invert: bool = False
    bead_diameter: float = 0.0

    def __post_init__(self):
        if self.binning < 1:
            raise InputError(f"bin: expected a whole number of at least 1, got {self.binning}")
        if not 0 <= self.clip < np.inf:
            raise InputError(f"clip: expected a limit of 0 (off) or more standard deviations, got {self.clip}")
        if not 0 <= self.bead_diameter < np.inf:
            raise InputError(f"beads: expected a diameter of 0 (no search) or more, got {self.bead_diameter}")

    def apply(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """The view (v, u) as float32, and which of its pixels may be used (None: all)."""
        image = np.asarray(image, np.float32)
        used = None
        if self.bead_diameter:
            used = ~bead_mask(image, self.bead_diameter)
        if self.clip:
            image = clip_outliers(image, self.clip, used)
        image = bin_image(image, self.binning)
        if used is not None:
            used = bin_image(used.astype(np.float32), self.binning) > 0.999
        if self.log:
            image = log_transmission(image)
        elif self.normalize:
            image = normalized(image, used, self.counts)
        if self.invert:
            image = -image
        if used is not None:
            image = np.where(used, image, np.median(image[used]) if used.any() else 0)
        return np.ascontiguousarray(image, np.float32), used


def robust_scale(values: np.ndarray) -> tuple[float, float]:
    """(median, standard deviation from the median absolute deviation) of any array."""
    median = float(np.median(values))
    return median, 1.4826 * float(np.median(np.abs(values - median)))


def counts_electrons(image: np.ndarray) -> bool:
    """Whether a view looks like counted electrons: a mean far from zero, a small spread about it.

    Few electrons per pixel spread as far as their mean; so where nothing is negative, means of 8 x 8 pixels decide.
    """
    median, scale = robust_scale(image)
    if scale > 0 and median > TRANSMISSION_RATIO * scale:
        return True
    if min(image.shape) < 64 or np.quantile(image, 0.001) < 0:
        return False
    median, scale = robust_scale(bin_image(image, 8))
    return scale > 0 and median > TRANSMISSION_RATIO * scale


def bin_image(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean of `factor` x `factor` pixels; rows and columns that do not fill a pixel are left out at the far end."""
    if factor == 1:
        return image
    rows, columns = image.shape[0] // factor, image.shape[1] // factor
    cut = image[: rows * factor, : columns * factor]
    return cut.reshape(rows, factor, columns, factor).mean(axis=(1, 3), dtype=np.float32)


def clip_outliers(image: np.ndarray, sigmas: float, used: np.ndarray | None = None) -> np.ndarray:
    """Isolated pixels beyond `sigmas` robust deviations take the median of their 5 x 5 neighbourhood."""
    median, scale = robust_scale(image)
    outliers = np.abs(image - median) > sigmas * scale
    if scale == 0 or not outliers.any():
        return image
    # An X-ray hits a few pixels; where more of the 25 around one lie outside, it is the specimen.
    padded = np.pad(outliers, 2)
    rows, columns = image.shape
    crowd = np.zeros(image.shape, np.uint8)
    for dv in range(5):
        for du in range(5):
            crowd += padded[dv : dv + rows, du : du + columns]
    outliers &= crowd <= LARGEST_HIT
    result = image.copy()
    for v, u in zip(*np.nonzero(outliers), strict=True):
        near = (slice(max(v - 2, 0), v + 3), slice(max(u - 2, 0), u + 3))
        good = image[near][~outliers[near]]
        result[v, u] = np.median(good) if good.size else median
    return result


def normalized(image: np.ndarray, used: np.ndarray | None = None, counts: bool | None = None) -> np.ndarray:
    """(I - m) / m where views count electrons, so that doses agree; (I - m) / s elsewhere; m median, s deviation.

    counts  one answer for all views of a series, or they would get different scales; None: as this view looks
    """
    median, scale = robust_scale(image if used is None or not used.any() else image[used])
    if counts is None:
        counts = scale > 0 and median > TRANSMISSION_RATIO * scale
    if counts and median > 0:
        return (image - median) / median
    return (image - median) / (scale if scale > 0 else 1)


def log_transmission(image: np.ndarray) -> np.ndarray:
    """log(I / median), counts below a hundredth of the median taken as that: the absorption, with the images' sign."""
    median = float(np.median(image))
    if median <= 0:
        raise InputError(f"log: expected counts with a median above 0, got {median:.4g}")
    return np.log(np.maximum(image, 0.01 * median) / median)


def _disc(shape: tuple[int, int], inner: float, outer: float) -> np.ndarray:
    """Spectrum of the mean over pixels at a distance of inner <= r < outer."""
    v = np.fft.fftfreq(shape[0], 1 / shape[0])[:, None]
    u = np.fft.fftfreq(shape[1], 1 / shape[1])[None, :]
    radius = np.hypot(u, v)
    kernel = ((radius >= inner) & (radius < outer)).astype(float)
    return np.fft.rfft2(kernel / max(kernel.sum(), 1))


def bead_mask(image: np.ndarray, diameter: float) -> np.ndarray:
    """(v, u) bool: gold beads, dark discs of about `diameter` pixels, with a margin of half their radius."""
    radius = diameter / 2
    pad = int(np.ceil(2 * diameter))
    median, scale = robust_scale(image)
    image = np.minimum(image.astype(float), median + BRIGHTEST_SIGMAS * scale) if scale > 0 else image.astype(float)
    padded = np.pad(image, pad, mode="reflect" if min(image.shape) > pad else "edge")
    spectrum = np.fft.rfft2(padded)
    contrast = _disc(padded.shape, 0, max(0.7 * radius, 1.0)) - _disc(padded.shape, 1.6 * radius, 2.6 * radius)
    response = np.fft.irfft2(spectrum * contrast, padded.shape)
    median, scale = robust_scale(response)
    found = response < median - BEAD_SIGMAS * scale
    if scale == 0 or not found.any():
        return np.zeros(image.shape, bool)
    # Dilated by the bead's radius and its margin: the response is high at its centre only.
    grown = np.fft.irfft2(np.fft.rfft2(found.astype(float)) * _disc(padded.shape, 0, 1.2 * radius), padded.shape)
    return (grown > 1e-6)[pad:-pad, pad:-pad]
