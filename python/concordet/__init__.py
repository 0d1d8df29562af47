"""Concordet: multi-axis cryo-electron tomography, from tilt series to volumes (and, later, class averages)."""

__version__ = "0.1.0"
