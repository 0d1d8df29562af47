"""Checkpoints: the same bits back, the last two kept, damaged or foreign ones found out."""

import errno
import os

import numpy as np
import pytest

from concordet.checkpoint import Checkpoints, fingerprint
from concordet.errors import InputError, RunError

MARK = fingerprint({"classes": 2}, np.arange(3))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def kept(tmp_path):
    return Checkpoints(tmp_path / "states", MARK)


def fill(kept, *steps):
    for step in steps:
        kept.save(step, {"volume": np.full((2, 3), step, np.float32)}, {"xi": step / 3})


def test_a_state_comes_back_to_the_bit(kept, rng):
    arrays = {"volumes": rng.standard_normal((2, 4, 4, 4)).astype(np.float32), "alpha": rng.random(2),
              "spectrum": rng.standard_normal(5) + 1j * rng.standard_normal(5), "none": np.empty((0, 3)),
              "index": np.arange(4)}
    values = {"xi": 1 / 3, "history": [{"iteration": 0, "change": float("nan"), "shell": None}]}
    kept.save(7, arrays, values)
    saved = Checkpoints(kept.folder, MARK).newest()
    assert saved.step == 7 and saved.values["xi"] == 1 / 3
    assert np.isnan(saved.values["history"][0]["change"]) and saved.values["history"][0]["shell"] is None
    assert set(saved.arrays) == set(arrays)
    for name, array in arrays.items():
        assert saved.arrays[name].dtype == array.dtype and saved.arrays[name].shape == array.shape
        assert saved.arrays[name].tobytes() == array.tobytes()


def test_nothing_there(kept):
    assert kept.newest() is None


def test_the_last_two_are_kept(kept):
    fill(kept, 1, 2, 3, 12)
    assert names(kept.folder) == ["checkpoint_0003.npz", "checkpoint_0012.npz"]
    assert kept.newest().step == 12
    assert kept.newest(below=12).step == 3
    assert kept.newest(below=3) is None


def test_one_that_is_dropped(kept):
    fill(kept, 1, 2)
    kept.drop(2)
    kept.drop(2)
    assert kept.newest().step == 1


def test_a_run_that_goes_on_keeps_what_it_came_from(kept):
    fill(kept, 1, 2)
    again = Checkpoints(kept.folder, MARK)
    assert again.newest().step == 2
    fill(again, 3)
    assert names(kept.folder) == ["checkpoint_0002.npz", "checkpoint_0003.npz"]


def test_a_run_that_starts_afresh_replaces_those_of_another(kept):
    fill(kept, 8, 9)
    fresh = Checkpoints(kept.folder, fingerprint("another"))
    fill(fresh, 1)
    assert names(kept.folder) == ["checkpoint_0001.npz"]


def test_another_runs_are_refused(kept):
    fill(kept, 1)
    with pytest.raises(InputError, match="checkpoint_0001.npz: expected a checkpoint of this run, got one of other"):
        Checkpoints(kept.folder, fingerprint("another")).newest()


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty"])
def test_a_damaged_one_is_named_and_the_one_before_it_taken(kept, damage):
    fill(kept, 1, 2)
    path = kept.folder / "checkpoint_0002.npz"
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        place = data.find(np.float32(2).tobytes() * 2)
        assert place > 0
        data[place] ^= 1
    path.write_bytes({"cut": data[: len(data) // 2], "flipped": data, "foreign": b"hello", "empty": b""}[damage])
    with pytest.warns(UserWarning, match="checkpoint_0002.npz: damaged, passed over"):
        assert Checkpoints(kept.folder, MARK).newest().step == 1


def test_arrays_of_another_name_are_found_out(kept):
    """The checksum holds names, types and shapes, not the bytes alone."""
    marks = {fingerprint("a", np.zeros(4, np.float32)), fingerprint("b", np.zeros(4, np.float32)),
             fingerprint("a", np.zeros(2, np.float64)), fingerprint("a", np.zeros((2, 2), np.float32))}
    assert len(marks) == 4
    assert fingerprint({"x": 1, "y": 2}) == fingerprint({"y": 2, "x": 1}) != fingerprint({"x": 1, "y": 3})


def test_a_full_disk_leaves_the_last_one(kept, monkeypatch):
    fill(kept, 1)

    def replace(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(RunError, match="checkpoint_0002.npz: could not be written: No space left"):
        fill(kept, 2)
    assert names(kept.folder) == ["checkpoint_0001.npz"]
    assert kept.newest().step == 1


def test_other_files_in_the_folder_stay(kept):
    kept.folder.mkdir()
    (kept.folder / "notes.txt").write_text("mine")
    fill(kept, 1, 2, 3)
    assert (kept.folder / "notes.txt").exists()
