"""A tilt experiment from its files: which angles belong to a stack, which options to which series."""

from pathlib import Path

import numpy as np
import pytest

from concordet.cli.common import per_stack, view_list
from concordet.errors import InputError
from concordet.experiment import Experiment, SeriesFiles, sidecar
from concordet.io import create_stack, write_tilt_angles, write_transforms
from concordet.preprocessing import Preprocessing

TILTS = np.array([-40.0, -20, 0, 20, 40])


def write_stack(path, *, shape=(16, 20), pixel=10.0, level=0.0, tilts=TILTS):
    with create_stack(path, (len(tilts), *shape), voxel_size=pixel) as stack:
        for view in range(len(tilts)):
            stack.write(np.full(shape, level + view, np.float32))
    if tilts is not None:
        write_tilt_angles(path.with_suffix(".tlt"), tilts)
    return path


@pytest.fixture
def two(tmp_path):
    return [write_stack(tmp_path / "a.mrc"), write_stack(tmp_path / "b.mrc", level=10)]


# Sidecars


@pytest.mark.parametrize(("stack", "angles"), [
    ("ts.mrc", "ts.tlt"), ("ts.mrc", "ts.rawtlt"), ("ts.mrc", "ts.mdoc"), ("ts.mrc", "ts.mrc.mdoc"),
    ("ts.st", "ts.tlt"), ("ts.mrc.gz", "ts.tlt"), ("ts.mrc.gz", "ts.mrc.mdoc"), ("TS_01.stack.mrc", "TS_01.tlt"),
    ("TS_01.stack.mrc", "TS_01.stack.tlt")])
def test_angles_are_found_beside_the_stack(tmp_path, stack, angles):
    (tmp_path / angles).write_text("0\n")
    (tmp_path / "other.tlt").write_text("0\n")
    assert sidecar(tmp_path / stack) == tmp_path / angles


def test_refined_angles_come_before_raw_ones(tmp_path):
    for ending in (".mdoc", ".rawtlt", ".tlt"):
        (tmp_path / f"ts{ending}").write_text("0\n")
        assert sidecar(tmp_path / "ts.mrc") == tmp_path / f"ts{ending}"


def test_the_whole_stem_comes_before_a_shorter_one(tmp_path):
    for name in ("ts.tlt", "ts.raw.rawtlt"):
        (tmp_path / name).write_text("0\n")
    assert sidecar(tmp_path / "ts.raw.mrc") == tmp_path / "ts.raw.rawtlt"


def test_no_angles_is_refused_with_where_they_were_looked_for(tmp_path):
    (tmp_path / "ts.tlt").mkdir()
    with pytest.raises(InputError, match=r"ts\.mrc: expected tilt angles in one of ts\.tlt, .*got none"):
        sidecar(tmp_path / "ts.mrc")


# One value per stack


def test_one_value_per_stack_or_one_for_all():
    assert per_stack(None, 3, "--azimuth", default=0.0) == [0.0, 0.0, 0.0]
    assert per_stack([5.0], 3, "--azimuth", default=0.0) == [5.0] * 3
    assert per_stack([1, 2, 3], 3, "--azimuth", default=0.0) == [1, 2, 3]
    for wrong in ([1, 2], [1, 2, 3, 4]):
        with pytest.raises(InputError, match=r"--azimuth: expected 3 \(one per stack\)"):
            per_stack(wrong, 3, "--azimuth", default=0.0)
    with pytest.raises(InputError, match=r"--angles: expected 2 \(one per stack\), got 1"):
        per_stack([Path("a.tlt")], 2, "--angles")


def test_lists_of_views_count_from_one():
    assert view_list("1-3,40", "--exclude") == {0, 1, 2, 39}
    assert view_list(" 2 , 4 - 5 ", "--exclude") == {1, 3, 4}
    assert view_list("none", "--exclude") == view_list("", "--exclude") == frozenset()
    for wrong in ("0", "3-1", "a", "1;2", "-1", "1-", "1,,2"):
        with pytest.raises(InputError, match="counted from 1"):
            view_list(wrong, "--exclude")


def test_options_go_to_their_own_stack(two):
    series = [SeriesFiles(two[0], azimuth=0, exclude=frozenset({1})), SeriesFiles(two[1], azimuth=90, tilt_offset=3)]
    with Experiment(series, thickness=8) as experiment:
        geometry = experiment.geometry
        assert geometry.stacks.tolist() == [0] * 4 + [1] * 5
        assert geometry.sections.tolist() == [0, 2, 3, 4] + [0, 1, 2, 3, 4]
        np.testing.assert_allclose(geometry.tilts, [-40, 0, 20, 40, -37, -17, 3, 23, 43])
        assert experiment.excluded == [(0, 1)]
        # View 0 of azimuth 90 looks along -x: v = y' = -x sin 90.
        np.testing.assert_allclose(geometry.maps[6, 1, :3], [-1, 0, 0], atol=1e-12)
        # Every view comes from its own section.
        assert experiment.raw_view(1)[0, 0] == 2 and experiment.raw_view(4)[0, 0] == 10
    assert {path.name for path in experiment.files} == {"a.mrc", "a.tlt", "b.mrc", "b.tlt"}


# Volume and origin


def test_the_volume_is_as_large_as_the_images_unless_told(two):
    with Experiment([SeriesFiles(two[0])], thickness=9) as experiment:
        assert experiment.volume_shape == (9, 16, 20) and experiment.voxel_size == 10
        assert experiment.axis_voxel == (10, 8, 4)
        assert experiment.origin == (-100, -80, -40)
    with Experiment([SeriesFiles(two[0])], thickness=9, size=(6, 7), binning=2) as experiment:
        assert experiment.volume_shape == (9, 7, 6) and experiment.voxel_size == 20
    with Experiment([SeriesFiles(two[0])], thickness=9, binning=3) as experiment:
        assert experiment.volume_shape == (9, 5, 6) and experiment.voxel_size == 30


def test_z_shift_moves_the_axis_with_the_content(two):
    with Experiment([SeriesFiles(two[0])], thickness=9, z_shift=2.5) as experiment:
        assert experiment.axis_voxel == (10, 8, 6.5)


def test_an_xf_puts_the_centre_where_imod_has_it(two):
    alignment = two[0].with_suffix(".xf")
    write_transforms(alignment, np.tile(np.eye(2, 3), (5, 1, 1)))
    with Experiment([SeriesFiles(two[0], alignment=alignment)], thickness=8) as experiment:
        assert experiment.axis_voxel == (9.5, 7.5, 3.5)
        assert alignment in experiment.files
    with Experiment([SeriesFiles(two[0])], thickness=8, center_imod=True) as experiment:
        assert experiment.axis_voxel == (9.5, 7.5, 3.5)


def test_the_hand_is_declared_and_flips_z(two):
    with Experiment([SeriesFiles(two[0])], thickness=9) as plain:
        with Experiment([SeriesFiles(two[0])], thickness=9, flip_hand=True) as flipped:
            np.testing.assert_allclose(flipped.geometry.maps[:, :, 2], -plain.geometry.maps[:, :, 2])
            assert "flipped" in flipped.hand and "flipped" not in plain.hand


# Refusals


def test_a_given_pixel_size_settles_a_difference(tmp_path):
    stacks = [SeriesFiles(write_stack(tmp_path / f"{pixel}.mrc", pixel=pixel)) for pixel in (10.0, 11.0)]
    with pytest.raises(InputError, match=r"11\.0\.mrc: expected a pixel size of 10 A.*got 11 A"):
        Experiment(stacks, thickness=8)
    with Experiment(stacks, thickness=8, pixel_size=10.5) as experiment:
        assert experiment.voxel_size == 10.5


@pytest.mark.parametrize("wrong", [
    {"thickness": 0}, {"thickness": 8, "size": (0, 4)}, {"thickness": 8, "pixel_size": 0.0},
    {"thickness": 8, "pixel_size": np.inf}, {"thickness": 8, "z_shift": np.nan}, {"thickness": 8, "binning": 17}])
def test_impossible_volumes_are_refused(two, wrong):
    with pytest.raises(InputError):
        Experiment([SeriesFiles(two[0])], **wrong)


@pytest.mark.parametrize("wrong", [{"azimuth": np.nan}, {"tilt_offset": np.inf}, {"x_tilt": np.nan}])
def test_angles_that_are_no_numbers_are_refused(two, wrong):
    with pytest.raises(InputError, match="expected a number of degrees"):
        SeriesFiles(two[0], **wrong)


def test_a_step_that_refuses_a_view_names_file_and_view(two):
    with Experiment([SeriesFiles(two[0])], thickness=8) as experiment:
        with pytest.raises(InputError, match=r"a\.mrc: view 0 \(counted from 0\): log: expected counts"):
            experiment.view(0, Preprocessing(log=True))
        assert experiment.view(1, Preprocessing(log=True))[0].shape == (16, 20)


def test_excluding_what_is_not_there_or_all_there_is(two):
    with pytest.raises(InputError, match=r"exclude of 1 to 5, got 7"):
        Experiment([SeriesFiles(two[0], exclude=frozenset({6, 9}))], thickness=8)
    with pytest.raises(InputError, match="at least one view"):
        Experiment([SeriesFiles(two[0], exclude=frozenset(range(5)))], thickness=8)


def test_the_whole_series_counts_electrons_or_not(tmp_path, rng):
    for name, level, counts in (("counts", 100.0, True), ("density", 0.0, False)):
        path = tmp_path / f"{name}.mrc"
        with create_stack(path, (5, 32, 32), voxel_size=10) as stack:
            for _ in TILTS:
                stack.write(rng.normal(level, 5, (32, 32)))
        write_tilt_angles(path.with_suffix(".tlt"), TILTS)
        with Experiment([SeriesFiles(path)], thickness=8) as experiment:
            assert experiment.counts_electrons() is counts
