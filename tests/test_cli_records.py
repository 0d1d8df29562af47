"""What runs leave about themselves: the records and reports of simulate, demo and evaluate, and the series' labels."""

import hashlib
import json

import mrcfile
import numpy as np
import pytest

from concordet import __version__, methods
from concordet.cli import demo, main
from concordet.io import open_stack, read_volume, write_volume

SERIES = ["--axes", 0, 45, "--tilt-range", -60, 60, "--step", 30, "--size", 32, "--thickness", 12, "--voxel-size", 12]


def run(*arguments):
    assert main([str(word) for word in arguments]) == 0


def checksums(record):
    return {entry["file"]: entry["sha256"] for entry in record["inputs"]}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def told_of(record, truth_file):
    """The record's shape, voxel size and origin are those of the truth's header."""
    truth, header = read_volume(truth_file)
    told = record["volume"]
    assert tuple(told["shape_zyx"]) == truth.shape
    assert told["voxel_size_angstrom"] == pytest.approx(header.voxel_size[0])
    assert told["origin_angstrom_xyz"] == pytest.approx(header.origin)
    assert "u = x cos t + z sin t, v = y" in record["geometry"]["convention"]
    assert record["geometry"]["hand"] == "true"


def assert_labels_name_the_series(path, azimuth):
    with open_stack(path) as stack:
        first, *others = stack.header.labels
    assert first == f"Concordet {__version__}: simulated views, tilt axis at azimuth {azimuth} degrees"
    assert any(label.startswith("u = x cos t + z sin t, v = y") for label in others)
    assert mrcfile.validate(path)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated") / "cell"
    run("simulate", "tilt-series", "-o", folder, *SERIES, "-q")
    return folder


# Simulate


def test_a_simulation_says_where_its_voxels_lie(simulated):
    record = json.loads((simulated / "simulation.json").read_text())
    told_of(record, simulated / "truth.mrc")
    assert record["inputs"] == []
    assert record["parameters"]["axes"] == [0, 45]


def test_a_simulation_has_a_page_with_truth_views_and_parameters(simulated):
    page = (simulated / "simulation.html").read_text()
    for heading in ("Truth", "Views", "Parameters"):
        assert f"{heading}</h2>" in page
    # The truth; both ends and the middle of the first axis, one end of the second.
    assert page.count("data:image/png;base64,") == 1 + 3 + 1
    for name in ("azimuth 0°, tilt -60°", "azimuth 0°, tilt 0°", "azimuth 0°, tilt 60°", "azimuth 45°, tilt 60°"):
        assert f"<b>{name}</b>" in page
    assert "first voxel at (-192, -192, -72)" in page


def test_a_simulation_without_a_page(tmp_path):
    run("simulate", "tilt-series", "-o", tmp_path, *SERIES, "--snr", 0, "--no-report", "-q")
    assert (tmp_path / "simulation.json").is_file()
    assert not list(tmp_path.glob("*.html"))


def test_labels_of_simulated_series(simulated):
    for azimuth in (0, 45):
        assert_labels_name_the_series(simulated / f"axis_{azimuth:03d}.mrc", azimuth)


def test_a_map_that_is_projected_is_named_with_its_checksum(tmp_path, rng):
    write_volume(tmp_path / "map.mrc", rng.uniform(0, 1, (12, 32, 32)), voxel_size=12)
    run("simulate", "tilt-series", "-o", tmp_path / "s", *SERIES, "--phantom", tmp_path / "map.mrc", "--no-report",
        "-q")
    record = json.loads((tmp_path / "s" / "simulation.json").read_text())
    assert checksums(record) == {str(tmp_path / "map.mrc"): sha256(tmp_path / "map.mrc")}


@pytest.mark.parametrize("snr, steps", [(4, 20), (0, 10)])
def test_progress_runs_once_from_the_start_to_the_end(tmp_path, monkeypatch, snr, steps):
    calls = []
    monkeypatch.setattr("concordet.cli.common.ProgressLines.__call__", lambda self, *call: calls.append(call))
    run("simulate", "tilt-series", "-o", tmp_path, *SERIES, "--snr", snr, "--no-report", "-q")
    assert calls[0] == ("making the truth", 0, 1)
    assert calls[1:] == [("projecting and writing", done, steps) for done in range(steps + 1)]


# Demo


@pytest.fixture
def short_demo(monkeypatch):
    """The demo with its cheapest method alone, on few voxels."""
    monkeypatch.setattr(demo, "SIZE", 32)
    monkeypatch.setattr(demo, "THICKNESS", 8)
    monkeypatch.setattr(demo, "STEP", 20.0)
    monkeypatch.setattr(demo, "ROWS", {"FBP": methods.Options(method="fbp")})


def test_the_demo_without_a_page_says_where_its_voxels_lie(tmp_path, short_demo, capsys):
    run("demo", "-o", tmp_path, "--no-report")
    names = {path.name for path in tmp_path.iterdir()}
    assert {"demo.json", "truth.mrc", "fbp.mrc"} <= names
    assert not names & {"report.html", "slices.png"}
    assert f"look at {tmp_path}\n" in capsys.readouterr().err
    told_of(json.loads((tmp_path / "demo.json").read_text()), tmp_path / "truth.mrc")
    for azimuth in (0, 45, 90, 135):
        assert_labels_name_the_series(tmp_path / f"axis_{azimuth:03d}.mrc", azimuth)


def test_the_demo_writes_page_and_picture(tmp_path, short_demo):
    run("demo", "-o", tmp_path, "-q")
    assert {"demo.json", "report.html", "slices.png"} <= {path.name for path in tmp_path.iterdir()}


# Evaluate


def test_figures_against_the_truth_name_what_they_come_from(simulated, tmp_path, capsys):
    truth = simulated / "truth.mrc"
    write_volume(tmp_path / "v.mrc", read_volume(truth)[0][:, ::-1], voxel_size=12)
    run("evaluate", "volume", tmp_path / "v.mrc", "--truth", truth)
    printed = json.loads(capsys.readouterr().out)
    run("evaluate", "volume", tmp_path / "v.mrc", "--truth", truth, "-o", tmp_path / "f.json")
    kept = json.loads((tmp_path / "f.json").read_text())
    assert printed.keys() == {"correlation", "central_part", "fsc_0.5_cycles_per_voxel", "fsc_0.5_angstrom"}
    assert {name: kept[name] for name in printed} == printed
    assert (kept["program"], kept["version"], kept["verb"]) == ("concordet", __version__, "evaluate volume")
    assert kept["command"] and kept["parameters"]["truth"] == str(truth)
    assert checksums(kept) == {str(path): sha256(path) for path in (tmp_path / "v.mrc", truth)}


def test_figures_against_views_name_volume_stacks_and_angles(simulated, tmp_path):
    stack, angles, output = simulated / "axis_045.mrc", simulated / "axis_045.tlt", tmp_path / "f.json"
    run("evaluate", "volume", simulated / "truth.mrc", "--against", stack, "--angles", angles, "--azimuth", 45, "-q",
        "--x-tilt", 0, "--transform", "none", "-o", output)
    kept = json.loads(output.read_text())
    assert kept["ncc"] > 0.5 and len(kept["views"]) == 5
    assert checksums(kept) == {str(path): sha256(path) for path in (simulated / "truth.mrc", stack, angles)}


def test_fsc_of_a_volume_with_itself_counts_one_input(simulated, tmp_path):
    truth = simulated / "truth.mrc"
    run("evaluate", "fsc", truth, truth, "-o", tmp_path / "f.json")
    kept = json.loads((tmp_path / "f.json").read_text())
    np.testing.assert_allclose(kept["fsc"], 1, atol=1e-6)
    assert kept["verb"] == "evaluate fsc"
    assert checksums(kept) == {str(truth): sha256(truth)}
