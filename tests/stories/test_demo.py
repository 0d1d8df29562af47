"""The first thing that a newcomer runs: `concordet demo`, as a program of its own."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import concordet
from concordet import evaluation
from concordet.io import read_volume

NAMES = ("FBP", "FULL-SIRT", "DirectCombine-SIRT", "DM-SIRT")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """(folder with the results, seconds, what was said)."""
    root = tmp_path_factory.mktemp("demo")
    environment = {**os.environ, "PYTHONPATH": str(Path(concordet.__file__).parents[1])}
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "concordet", "demo"], cwd=root, env=environment, text=True,
                          capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return root / "concordet-demo", time.monotonic() - begin, done.stderr


def test_it_takes_less_than_two_minutes_and_says_where_to_look(demo):
    folder, seconds, said = demo
    assert seconds < 120
    assert "report.html" in said
    for name in NAMES:
        assert re.search(rf"{name} +correlation with the truth 0\.\d+", said)


def test_it_leaves_volumes_series_and_truth(demo):
    folder, _, _ = demo
    names = {path.name for path in folder.iterdir()}
    assert {"report.html", "demo.json", "truth.mrc", *(f"{name.lower()}.mrc" for name in NAMES),
            *(f"axis_{azimuth:03d}.{ending}" for azimuth in (0, 45, 90, 135) for ending in ("mrc", "tlt"))} <= names
    assert not any(name.startswith(".") for name in names)
    truth, header = read_volume(folder / "truth.mrc")
    for name in NAMES:
        volume, own = read_volume(folder / f"{name.lower()}.mrc")
        assert volume.shape == truth.shape
        assert own.voxel_size == header.voxel_size and own.origin == header.origin


def test_figures_are_those_of_the_paper(demo):
    """DM-SIRT close to FULL-SIRT, direct combination far behind; the figures told are those of the files."""
    folder, _, _ = demo
    quality = json.loads((folder / "demo.json").read_text())["quality"]
    truth, _ = read_volume(folder / "truth.mrc")
    for name in NAMES:
        volume, _ = read_volume(folder / f"{name.lower()}.mrc")
        assert quality[name]["correlation"] == pytest.approx(evaluation.pearson(volume, truth, 0.8), abs=1e-4)
    full, combined, dm = (quality[name] for name in NAMES[1:])
    assert dm["correlation"] == pytest.approx(full["correlation"], abs=0.02)
    assert dm["ncc"] == pytest.approx(full["ncc"], abs=0.005)
    assert combined["correlation"] < dm["correlation"] - 0.05


def test_the_report_is_one_page_with_both_figures_and_the_table(demo):
    page = (demo[0] / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    for heading in ("Slices", "Correlation with the truth", "Reprojection against the views", "Figures"):
        assert f"{heading}</h2>" in page
    assert page.count("data:image/png;base64,") >= 5 + 1 + 4  # volumes with the truth; figure 5; figure 6 per axis
    table = page[page.index("<table"):page.index("</table>")]
    for name in NAMES:
        assert name in table


def test_two_molecules_are_averaged_and_told_apart(demo):
    folder, _, said = demo
    record = json.loads((folder / "demo.json").read_text())
    figures = record["quality"]["averaging"]
    assert figures["f1"] >= 0.95
    assert len(figures["correlations"]) == 2 and min(figures["correlations"]) >= 0.95
    assert record["stages"]["averaging"]["cpu_seconds"] < 20
    assert "class 1" in said and "F1" in said
    for k in (1, 2):
        average, truth = (read_volume(folder / f"class_{k:03d}{end}.mrc")[0] for end in ("", "_truth"))
        assert evaluation.pearson(average, truth, 1.0) >= 0.9
    page = (folder / "report.html").read_text()
    for heading in ("Averages", "Classes of particles", "Orientations of the particles"):
        assert f"{heading}</h2>" in page
