"""The record of a run: what it was, from which files, at what cost, as JSON that any program reads."""

import hashlib
import json
import time
from pathlib import Path

import numpy as np
import pytest

from concordet import __version__
from concordet.errors import InputError
from concordet.record import RunRecord, as_json


def test_inputs_are_noted_with_their_checksum(tmp_path):
    path = tmp_path / "a.tlt"
    path.write_bytes(b"0\n1\n")
    record = RunRecord("reconstruct", {})
    record.add_input(path)
    assert record.content["inputs"] == [
        {"file": str(path), "bytes": 4, "sha256": hashlib.sha256(b"0\n1\n").hexdigest()}]


def test_stages_add_up_and_survive_a_failure():
    record = RunRecord("x", {})
    for _ in range(2):
        with record.stage("wait"):
            time.sleep(0.1)
    with pytest.raises(KeyError), record.stage("fail"):
        raise KeyError
    assert 0.2 <= record.content["stages"]["wait"]["seconds"] < 2
    # Not 0: threads of libraries may still be winding down from the test before.
    assert record.content["stages"]["wait"]["cpu_seconds"] < 0.1
    assert "fail" in record.content["stages"]


def test_performance_of_this_process():
    figures = RunRecord("x", {}).performance()
    assert figures["seconds"] >= 0 and figures["cpu_seconds"] >= 0
    assert 1e6 < figures["peak_memory_bytes"][0] < 1e12


def test_what_is_written_is_read_back(tmp_path):
    record = RunRecord("reconstruct", {
        "output": Path("v.mrc"), "views": frozenset({3, 1}), "size": (4, 5), "shift": np.float32(0.5),
        "count": np.int64(7), "angles": np.array([1.0, 2.0]), "none": None, "on": True})
    record.write(tmp_path / "v.json")
    content = json.loads((tmp_path / "v.json").read_text())
    assert content["verb"] == "reconstruct" and content["version"] == __version__
    assert content["parameters"] == {
        "output": "v.mrc", "views": [1, 3], "size": [4, 5], "shift": 0.5, "count": 7, "angles": [1, 2], "none": None,
        "on": True}
    assert [path.name for path in tmp_path.iterdir()] == ["v.json"]


def test_json_has_no_nan():
    """Python would write NaN, which no other JSON reader takes."""
    values = {"a": float("nan"), "b": [np.float64("inf"), 1.5], "c": np.array([np.nan, 2])}
    assert json.loads(as_json(values), parse_constant=pytest.fail) == {"a": None, "b": [None, 1.5], "c": [None, 2]}


def test_no_folder_no_record(tmp_path):
    with pytest.raises(InputError, match="could not be written"):
        RunRecord("x", {}).write(tmp_path / "none" / "v.json")
