"""Simulated data with their truth: phantoms, tilt series of any affine views of them, subtomograms, and noise.

A phantom has two methods, `density` (the truth, on voxels) and `project` (one view).  `Phantom` is a sum of
ellipsoids, projected analytically; `MapPhantom` is a volume of voxels.  Neither shares code with the
projection engine, so a reconstruction of simulated data is not judged by its own discretisation.

Points are (x, y, z) in voxels from the centre voxel n//2; a view maps a point to (u, v) = A (x, y) + c z + d,
in pixels from the centre pixel, given as the 2 x 4 matrix [A | c | d].
"""

from .maps import MapPhantom, model_phantom, molecule_map, resampled, smoothed
from .measuring import Optics, TiltViews, Views, WedgeView
from .molecules import Molecule, largest_radius, power_outside
from .phantoms import Phantom, cell_phantom
from .series import add_noise, simulate_series, tilt_angles
from .subtomograms import Subtomogram, random_poses, simulate_subtomograms

__all__ = [
    "MapPhantom",
    "Molecule",
    "Optics",
    "Phantom",
    "Subtomogram",
    "TiltViews",
    "Views",
    "WedgeView",
    "add_noise",
    "cell_phantom",
    "largest_radius",
    "model_phantom",
    "molecule_map",
    "power_outside",
    "random_poses",
    "resampled",
    "simulate_series",
    "simulate_subtomograms",
    "smoothed",
    "tilt_angles",
]
