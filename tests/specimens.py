"""Small specimens whose views and truth tests share."""

import numpy as np

from concordet import geometry, simulation
from concordet.projection import Projector, TiltData

COARSE_TILTS = np.arange(-60, 61, 15.0)


def make_data(shape, image_shape, azimuths=(0.0,), tilts=COARSE_TILTS, noise=0.0, seed=1, threads=0):
    """A cell-like phantom's views of every azimuth, as TiltData, and its truth."""
    series = [geometry.tilt_series(tilts, image_shape, stack=i, azimuth=a) for i, a in enumerate(azimuths)]
    views = geometry.joined(series)
    rng = np.random.default_rng(seed)
    count = 12
    half = np.array(shape[::-1]) / 2
    phantom = simulation.Phantom(
        centres=rng.uniform(-0.45, 0.45, (count, 3)) * 2 * half * 0.6,
        shapes=np.array([np.diag(1 / rng.uniform(1.5, 3.0, 3) ** 2) for _ in range(count)]),
        densities=rng.uniform(0.5, 1.5, count))
    data = TiltData(Projector(views, shape, threads=threads))
    for view, view_map in enumerate(views.maps):
        image = phantom.project(view_map, image_shape)
        data.set_view(view, image + np.float32(noise) * rng.standard_normal(image_shape, dtype=np.float32))
    return data, phantom.density(shape)
