"""From simulated particles to averages and classes: `simulate subtomograms`, `average`, `evaluate`, and RELION."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from concordet import evaluation
from concordet.cli import main
from concordet.io import read_volume, write_volume
from concordet.io.particles import read_particles

BOX, VOXEL = 32, 12.0


def run(*arguments):
    assert main([str(word) for word in arguments]) == 0


def molecule(seed):
    """Eight Gaussian blobs without symmetry, within a quarter of the box."""
    rng = np.random.default_rng(seed)
    axes = np.ix_(*[np.arange(BOX) - BOX // 2] * 3)
    volume = np.zeros((BOX,) * 3)
    for _ in range(8):
        centre = rng.standard_normal(3)
        centre *= BOX / 4 * rng.uniform(0.3, 1) / np.linalg.norm(centre)
        squared = sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True))
        volume += rng.uniform(0.5, 1.5) * np.exp(-squared / (2 * 1.6**2))
    return volume.astype(np.float32)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """simulated(seeds of molecules, count of each, SNR): the folder with particles.star."""
    root = tmp_path_factory.mktemp("simulated")

    def simulate(seeds, count, snr):
        maps = []
        for seed in seeds:
            maps.append(root / f"m{seed}.mrc")
            write_volume(maps[-1], molecule(seed), voxel_size=VOXEL)
        folder = root / f"{len(seeds)}_{count}_{snr}"
        if folder.exists():
            return folder
        run("simulate", "subtomograms", "-o", folder, *maps, "--count", count, "--box", BOX, "--snr", snr,
            "--max-shift", 2, "--seed", 1, "-q", "--no-report")
        return folder

    return simulate


@pytest.mark.parametrize("method", ["faml", "fa"])
def test_an_average_out_of_noise(simulated, tmp_path, method):
    folder = simulated([1], 60, 0.1)
    run("average", folder / "particles.star", "-o", tmp_path / "out", "--method", method, "-q", "--no-report")
    average, truth = (read_volume(path)[0] for path in (tmp_path / "out" / "class_001.mrc", folder / "truth_001.mrc"))
    assert evaluation.align(average, truth).correlation >= 0.98
    run("evaluate", "average", tmp_path / "out" / "class_001.mrc", "--truth", folder / "truth_001.mrc", "--poses",
        tmp_path / "out" / "particles.star", "--true-poses", folder / "truth.star", "-o", tmp_path / "figures.json",
        "-q")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["pose_error_degrees"]["within_15"] >= 0.95
    assert figures["shift_error_voxels"]["median"] < 0.5


def test_two_molecules_told_apart(simulated, tmp_path):
    folder = simulated([1, 2], 30, 0.1)
    run("average", folder / "particles.star", "-o", tmp_path / "out", "--classes", 2, "-q", "--no-report")
    found, true = (read_particles(path) for path in (tmp_path / "out" / "particles.star", folder / "truth.star"))
    match = evaluation.match_classes(found.classes, true.classes)
    assert match.macro_f1 >= 0.95
    for label, column in zip(match.true_labels, match.matched, strict=True):
        average, truth = (read_volume(path)[0] for path in (
            tmp_path / "out" / f"class_{match.labels[column]:03d}.mrc", folder / f"truth_{label:03d}.mrc"))
        assert evaluation.align(average, truth).correlation >= 0.97


def test_half_maps_tell_how_good_the_average_is(simulated, tmp_path):
    """Halves refined apart: their FSC at 0.143 is where the average and the truth meet at 0.5, within a shell."""
    folder = simulated([1], 60, 0.1)
    run("average", folder / "particles.star", "-o", tmp_path / "out", "--half-sets", "-q", "--no-report")
    halves = json.loads((tmp_path / "out" / "average.json").read_text())["quality"]["classes"][0]
    average, truth = (read_volume(path)[0] for path in (tmp_path / "out" / "class_001.mrc", folder / "truth_001.mrc"))
    aligned = evaluation.align(average, truth)
    met = evaluation.crossing(*evaluation.fsc(aligned.masked, aligned.moved), 0.5) * BOX
    assert BOX * VOXEL / halves["fsc_0.143_angstrom"] == pytest.approx(met, abs=1)


def test_relion_reconstructs_the_same_map(simulated, tmp_path):
    relion = shutil.which("relion_reconstruct")
    if relion is None:
        pytest.skip("relion_reconstruct is not installed")
    folder = simulated([1], 40, 1e6)
    out = tmp_path / "out"
    run("average", folder / "particles.star", "-o", out, "-q", "--no-report")
    done = subprocess.run([relion, "--i", "particles.star", "--o", "relion.mrc", "--3d_rot", "--ctf"], cwd=out,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and (out / "relion.mrc").exists(), done.stderr
    ours, theirs = (read_volume(out / name)[0] for name in ("class_001.mrc", "relion.mrc"))
    mask = evaluation.soft_sphere(ours.shape, 0.8 * BOX, 3)
    assert evaluation.pearson(ours * mask, theirs * mask, 1.0) >= 0.99
