"""Pictures and pages: one self-contained HTML report of a run, and standalone pictures of volumes.

A report is a list of sections; each builder turns arrays or numbers into one `Section`.  Pictures are PNGs inside the
page, so that it can be mailed.  The only modules that import matplotlib.
"""

from .curves import confusion, cumulative, fsc, history, ncc_against_tilt, ncc_bars
from .page import COLOURS, Section, parameters, table, write_report
from .planes import picture, slices
from .spheres import angular_distribution, fourier_coverage

__all__ = [
    "COLOURS", "Section", "angular_distribution", "confusion", "cumulative", "fourier_coverage", "fsc", "history",
    "ncc_against_tilt", "ncc_bars", "parameters", "picture", "slices", "table", "write_report",
]
