"""A real cryo series from raw images to a volume: which method predicts the views that it never saw?

Data: EMPIAR-10499, series 00254, of the shared material; binned by 4 to 40 A, so that 80 A is the finest detail.
"""

import json

import numpy as np
import pytest

from concordet import evaluation
from concordet.cli import main
from concordet.io import read_volume

METHODS = {
    "fbp": ["--method", "fbp"],
    "sirt": ["--method", "sirt", "--relaxation", "1", "--iterations", "40"],
    "dm-sirt": ["--method", "dm-sirt", "--subsets", "4", "--inner", "10", "--outer", "6"],
}
SLICES, SHIFT = 60, -3  # of 40 A: 2400 A hold the cell


@pytest.fixture(scope="module")
def runs(data_root, tmp_path_factory):
    """The record of each method's run, and the folder of their volumes."""
    series = data_root / "data" / "empiar10499_00254"
    if not series.is_dir():
        pytest.skip(f"no series at {series}")
    folder = tmp_path_factory.mktemp("real")
    records = {}
    for name, flags in METHODS.items():
        output = folder / f"{name}.mrc"
        assert main([
            "reconstruct", str(series / "00254.stack.mrc"), "--alignment", str(series / "00254.xf"), "--flip-hand",
            "--beads", "100", "--bin", "4", "--thickness", str(SLICES), "--z-shift", str(SHIFT), "--hold-out", "0.1",
            "--judge-band", "200", "80", "-q", "-o", str(output), *flags]) == 0
        records[name] = json.loads(output.with_suffix(".json").read_text())
    return folder, records


def test_iterative_methods_predict_unseen_views_better(runs):
    band = {name: record["quality"]["ncc_held_out_band"] for name, record in runs[1].items()}
    whole = {name: record["quality"]["ncc_held_out"] for name, record in runs[1].items()}
    for method in ("sirt", "dm-sirt"):
        assert band[method] > band["fbp"] + 0.01
        assert whole[method] > whole["fbp"]


def test_one_view_in_ten_was_held_out(runs):
    for record in runs[1].values():
        held = [view for view in record["quality"]["views"] if view["held_out"]]
        assert len(record["quality"]["views"]) == 41 and len(held) == 4


def test_raw_images_are_prepared_as_the_record_says(runs):
    steps = runs[1]["sirt"]["parameters"]["preprocessing"]
    assert steps["normalize"] and steps["clip"] > 0 and steps["counts"]
    assert steps["bead_diameter"] == pytest.approx(10)  # pixels of 10 A


def test_volumes_state_size_place_and_hand(runs):
    folder, records = runs
    for name in METHODS:
        volume, header = read_volume(folder / f"{name}.mrc")
        assert volume.shape == (SLICES, 157, 163) and np.isfinite(volume).all()
        assert header.voxel_size == pytest.approx((40, 40, 40))
        assert any("hand: z flipped" in label for label in header.labels)
        assert "flipped" in records[name]["geometry"]["hand"]
        assert (folder / f"{name}.html").stat().st_size > 50_000


def test_methods_see_one_cell(runs):
    """Down to 250 A the volumes agree, and more so those of the two iterative methods."""
    fbp, sirt, dm = (read_volume(runs[0] / f"{name}.mrc")[0] for name in METHODS)
    frequencies, iterative = evaluation.fsc(sirt, dm)
    _, direct = evaluation.fsc(sirt, fbp)
    coarse = (frequencies > 0.02) & (frequencies < 40 / 250)
    assert iterative[coarse].min() > 0.85
    assert iterative[coarse].mean() > direct[coarse].mean() > 0.6
