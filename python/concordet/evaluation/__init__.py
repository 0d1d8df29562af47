"""How good results are: volumes, averages, poses and classes against the truth, each other, or what they predict."""

from concordet.fourier import soft_sphere

from .averages import Alignment, SignalToNoise, align, signal_to_noise, symmetry_axis, symmetry_score
from .classes import ClassMatch, match_classes
from .orientations import (
    Coverage,
    PoseErrors,
    beam_directions,
    dihedral_azimuth,
    dihedral_group,
    fourier_coverage,
    half_sphere,
    pose_errors,
)
from .volumes import (
    MaskedFsc,
    band_ncc,
    central_part,
    crossing,
    fsc,
    masked_fsc,
    measurable_band,
    pearson,
)

__all__ = [
    "Alignment", "ClassMatch", "Coverage", "MaskedFsc", "PoseErrors", "SignalToNoise", "align", "band_ncc",
    "beam_directions", "central_part", "crossing", "dihedral_azimuth", "dihedral_group", "fourier_coverage", "fsc",
    "half_sphere", "masked_fsc", "match_classes", "measurable_band", "pearson", "pose_errors", "signal_to_noise",
    "soft_sphere", "symmetry_axis", "symmetry_score",
]
