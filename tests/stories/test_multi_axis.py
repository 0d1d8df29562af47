"""The paper's comparison on neutral data: analytic ellipsoids along 2, 4, 8 and 16 axes, judged by their truth.

Data: acceptance/multi_axis.py of the shared material, run in place. Figures of the project's issue 2, point 4.
"""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from concordet import consensus, evaluation, geometry, partition, reconstruction
from concordet.io import open_stack, read_angles, read_volume
from concordet.projection import Projector, TiltData

SEEDS = (0, 1, 2)
# Other numbers of axes: by how much averaging 32 subsets falls behind. With 16 axes a subset holds half an axis and
# half of the next, so what it sees alone is less wrong: 0.050 to 0.055 were seen, against 0.08 to 0.13 with 2 to 8.
OTHER_AXES = {2: 0.08, 8: 0.08, 16: 0.04}


@dataclass
class Figures:
    """Of one reconstruction: Pearson with the truth in the central 80 %, mean NCC with the views."""

    correlation: float
    ncc: float


class Case:
    """One simulated specimen: its views, and the judgement of reconstructions of it."""

    def __init__(self, folder, axes):
        self.truth, _ = read_volume(folder / "truth.mrc")
        series, images = [], []
        for axis, azimuth in enumerate(axes):
            name = folder / f"axis_{int(azimuth):03d}"
            with open_stack(name.with_suffix(".mrc")) as stack:
                tilts = read_angles(name.with_suffix(".tlt"), len(stack))
                series.append(geometry.tilt_series(tilts, stack.image_shape, stack=axis, azimuth=azimuth))
                images += [stack.view(view) for view in range(len(stack))]
        self.geometry = geometry.joined(series)
        self.data = TiltData(Projector(self.geometry, self.truth.shape))
        for view, image in enumerate(images):
            self.data.set_view(view, image)

    def adjacent(self, subsets):
        return partition.adjacent(self.geometry.stacks, self.geometry.tilts, subsets, overlap=2)

    def judge(self, volume):
        return Figures(evaluation.pearson(volume, self.truth, 0.8),
                       float(self.data.ncc(volume, self.data.projector.all_views).mean()))

    def compare(self, subsets):
        """FULL-SIRT, DirectCombine-SIRT and DM-SIRT at equal work: 100 iterations, or 10 x 10."""
        split = self.adjacent(subsets)
        return {
            "full": self.judge(reconstruction.sirt(self.data, iterations=100, relaxation=0.3)),
            "fast": self.judge(reconstruction.sirt(self.data, iterations=20, relaxation=1.9)),
            "combined": self.judge(reconstruction.direct_combine(
                self.data, split, iterations=100, relaxation=0.3)),
            "consensus": self.judge(consensus.dm_sirt(
                self.data, split, outer=10, inner=10, relaxation=0.3, rho=0.5)),
        }


@pytest.fixture(scope="module")
def simulations(data_root, tmp_path_factory):
    """Functions of nothing that wait for a simulation and open it, by seed or number of axes; all run meanwhile."""
    program = data_root / "acceptance" / "multi_axis.py"
    if not program.is_file():
        pytest.skip(f"no simulator at {program}")
    root = tmp_path_factory.mktemp("multi_axis")
    running = {}

    def start(name, axes, *flags):
        folder = root / name
        process = subprocess.Popen([
            sys.executable, str(program), str(folder), "--axes", *map(str, axes), "--snr", "4", *map(str, flags)])
        running[name] = process, folder, axes

    for seed in SEEDS:
        start(f"seed {seed}", [0, 45, 90, 135], "--size", 128, "--nz", 32, "--step", 3, "--seed", seed)
    for count in OTHER_AXES:
        axes = [180 * i / count for i in range(count)]
        start(f"{count} axes", axes, "--size", 128, "--nz", 32, "--step", 3, "--seed", 0)

    def ready(name):
        process, folder, axes = running[name]
        assert process.wait(timeout=600) == 0
        return Case(folder, axes)

    yield ready
    for process, *_ in running.values():
        process.kill()
        process.wait()


@pytest.fixture(scope="module", params=SEEDS)
def four_axes(request, simulations):
    """The methods' figures for one seed of the issue's case."""
    return simulations(f"seed {request.param}").compare(subsets=32)


def test_consensus_is_within_reach_of_full_sirt(four_axes):
    full, dm = four_axes["full"], four_axes["consensus"]
    assert dm.correlation == pytest.approx(full.correlation, abs=0.02)
    assert dm.ncc == pytest.approx(full.ncc, abs=0.003)
    assert full.correlation > 0.89  # an independent run gave 0.909


def test_direct_combination_is_not(four_axes):
    assert four_axes["combined"].correlation <= four_axes["full"].correlation - 0.08
    assert four_axes["combined"].ncc < four_axes["consensus"].ncc


def test_a_larger_relaxation_saves_four_fifths_of_the_iterations(four_axes):
    full, fast = four_axes["full"], four_axes["fast"]
    assert fast.correlation >= full.correlation - 0.001
    assert fast.ncc >= full.ncc


@pytest.mark.parametrize("count", OTHER_AXES)
def test_any_number_of_axes_goes_the_same_way(simulations, count):
    case = simulations(f"{count} axes")
    assert len(np.unique(case.geometry.stacks)) == count
    figures = case.compare(subsets=32)
    full, dm, combined = figures["full"], figures["consensus"], figures["combined"]
    assert dm.correlation == pytest.approx(full.correlation, abs=0.02)
    assert dm.ncc == pytest.approx(full.ncc, abs=0.003)
    assert combined.correlation <= full.correlation - OTHER_AXES[count]
