"""Flags of methods on the command line, and how a run ends when it is told to."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import concordet
from concordet.cli import common, main
from concordet.io import create_stack, read_volume, write_tilt_angles

TILTS = np.arange(-60.0, 61.0, 10.0)


@pytest.fixture
def stack(tmp_path, rng):
    path = tmp_path / "views.mrc"
    with create_stack(path, (len(TILTS), 24, 24), voxel_size=10) as writer:
        for _ in TILTS:
            writer.write(rng.standard_normal((24, 24)).astype(np.float32))
    write_tilt_angles(path.with_suffix(".tlt"), TILTS)
    return path


def reconstruct(stack, *flags, status=0):
    """The record of a run on `stack` with more flags."""
    output = stack.with_name("volume.mrc")
    arguments = ["reconstruct", stack, "-o", output, "--thickness", 8, "--no-report", *flags]
    assert main([str(word) for word in arguments]) == status
    return json.loads(output.with_suffix(".json").read_text()) if status == 0 else None


@pytest.mark.parametrize(("flags", "outer", "said"), [
    (["--preset", "paper", "--subsets", "3", "--iterations", "20"], 2, None),
    (["--subsets", "3", "--inner", "10", "--iterations", "15"], 2, "dm-sirt makes 20"),
    (["--subsets", "3", "--inner", "5", "--outer", "2", "--iterations", "7"], 2, "dm-sirt makes 10"),
    (["--subsets", "3", "--inner", "5", "--outer", "2", "--iterations", "10"], 2, None),
])
def test_iterations_of_dm_sirt_are_inner_times_outer(stack, capsys, flags, outer, said):
    assert reconstruct(stack, *flags)["iterations"] == outer
    heard = capsys.readouterr().err
    assert (said in heard) if said else ("warning" not in heard)


def test_alpha_may_be_given_for_every_subset(stack):
    alike = reconstruct(stack, "--subsets", 3, "--relaxation", 0.3, 0.3, 0.3, "--outer", 2)
    volume, _ = read_volume(stack.with_name("volume.mrc"))
    assert alike["parameters"]["relaxation"] == [0.3, 0.3, 0.3]
    reconstruct(stack, "--subsets", 3, "--relaxation", 0.3, "--outer", 2)
    np.testing.assert_array_equal(volume, read_volume(stack.with_name("volume.mrc"))[0])
    reconstruct(stack, "--subsets", 3, "--relaxation", 0.3, 0.6, 0.9, "--outer", 2)
    assert not np.array_equal(volume, read_volume(stack.with_name("volume.mrc"))[0])


@pytest.mark.parametrize(("flags", "said"), [
    (["--subsets", "3", "--relaxation", "0.3", "0.4"], "one for each of 3 subsets, got 2"),
    (["--subsets", "3", "--relaxation", "0.3", "0.4", "1.2"], "alpha_i <= 1 / L_i = 1"),
    (["--method", "sirt", "--relaxation", "0.3", "0.4"], "expected one number for sirt, got 2"),
    (["--method", "sirt", "--preset", "paper"], "--preset paper: expected method dm-sirt, got sirt"),
])
def test_flags_that_contradict_are_refused(stack, capsys, flags, said):
    reconstruct(stack, *flags, status=2)
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1


def test_the_start_is_never_overwritten(stack, capsys):
    reconstruct(stack, "--method", "sirt", "--iterations", 1)
    before = stack.with_name("volume.mrc").read_bytes()
    reconstruct(stack, "--method", "sirt", "--iterations", 1, "--initial", stack.with_name("volume.mrc"), status=2)
    assert "none of the inputs" in capsys.readouterr().err
    assert stack.with_name("volume.mrc").read_bytes() == before


@pytest.mark.parametrize(("pixel", "band"), [(10, [200, 40]), (30, [200, 60]), (150, None)])
def test_the_band_ends_at_nyquist(stack, pixel, band):
    quality = reconstruct(stack, "--method", "fbp", "--hold-out", 0.1, "--voxel-size", pixel)["quality"]
    assert quality["band_angstrom"] == band
    assert (quality["ncc_held_out_band"] is None) == (band is None)


def test_evaluation_finds_the_ncc_of_the_record(stack, tmp_path, capsys):
    record = reconstruct(stack, "--method", "sirt", "--iterations", 5)
    assert main(["evaluate", "volume", str(tmp_path / "volume.mrc"), "--against", str(stack), "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["ncc"] == pytest.approx(record["quality"]["ncc_fitted"], abs=1e-6)


def test_what_was_done_to_the_views_unasked_is_said(tmp_path, rng, capsys):
    path = tmp_path / "counts.mrc"
    with create_stack(path, (len(TILTS), 24, 24), voxel_size=10) as writer:
        for _ in TILTS:
            writer.write(rng.poisson(100, (24, 24)).astype(np.float32))
    write_tilt_angles(path.with_suffix(".tlt"), TILTS)
    reconstruct(path, "--method", "fbp")
    assert "preprocessing: clip, normalize" in capsys.readouterr().err


def test_every_progress_line_begins_at_its_own_start(monkeypatch, capsys):
    made = []

    class Line:
        def __init__(self, label, total, quiet):
            self.label, self.total = label, total
            made.append((label, total))

        def update(self, done):
            assert 0 <= done <= self.total

        def __exit__(self):
            pass

    monkeypatch.setattr(common, "Progress", Line)
    lines = common.ProgressLines(type("Arguments", (), {"quiet": False}))
    for label, done, total in [("fbp", 0, 110), ("fbp", 32, 110), ("fbp", 110, 110), ("fbp", 0, 122), ("fbp", 122, 122),
                               ("sirt", 0, 5), ("sirt", 5, 5), ("sirt", 0, 5)]:
        lines(label, done, total)
    assert made == [("fbp", 110), ("fbp", 122), ("sirt", 5), ("sirt", 5)]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_run_told_to_end_leaves_nothing(tmp_path, name):
    environment = {**os.environ, "PYTHONPATH": str(Path(concordet.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-m", "concordet", "simulate", "tilt-series", "-o", tmp_path / "out", "--size", "256"],
        stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 30
    while not (tmp_path / "out").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + getattr(signal, name)
    assert "terminated" in err and "Traceback" not in err
    assert not (tmp_path / "out").exists()
