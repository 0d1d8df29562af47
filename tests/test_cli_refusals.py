"""Bad input ends in one line and status 2, a failed run in status 1, Ctrl-C in 130; nothing is left behind."""

import errno
import os
import resource
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import concordet
from concordet.cli import main
from concordet.io import create_stack, write_tilt_angles, write_transforms, write_volume

SIZE, VIEWS, THICKNESS = 24, 9, 6
IDENTITY = np.tile(np.eye(2, 3), (VIEWS, 1, 1))


def write_series(folder, name, *, views=VIEWS, pixel_size=10.0, size=SIZE):
    """A small tilt series of nothing in particular, with its .tlt; returns the stack's path."""
    stack = folder / f"{name}.mrc"
    images = np.random.default_rng(5).standard_normal((views, size, size)).astype(np.float32)
    with create_stack(stack, images.shape, voxel_size=pixel_size) as writer:
        for image in images:
            writer.write(image)
    write_tilt_angles(stack.with_suffix(".tlt"), np.linspace(-60, 60, views))
    return stack


@pytest.fixture
def stack(tmp_path):
    return write_series(tmp_path, "series")


def contents(folder):
    """Every file and folder below, hidden ones too, with its bytes."""
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.fixture
def refused(tmp_path, capsys):
    """Run the command line; it must end with `status`, one line on stderr, and leave the folder as it was."""

    def check(*arguments, status=2):
        before = contents(tmp_path)
        assert main([str(word) for word in arguments]) == status
        captured = capsys.readouterr()
        assert captured.out == ""
        assert len(captured.err.splitlines()) == 1, captured.err
        assert captured.err.startswith("concordet")
        assert "Traceback" not in captured.err and "unexpected" not in captured.err
        assert contents(tmp_path) == before
        return captured.err.strip()

    return check


@pytest.fixture
def reconstruct(refused, stack):
    """Refused runs of `reconstruct` on the small series, or on another file in its place."""

    def check(*flags, series=None, thickness=THICKNESS, status=2):
        # Flags given twice: the last one counts.
        return refused("reconstruct", series or stack, "-o", stack.with_name("volume.mrc"), "--thickness", thickness,
                       "--method", "sirt", "--iterations", 1, *flags, status=status)

    return check


def assert_names(line, *parts):
    for part in parts:
        assert str(part) in line, line


def patch_header(path, offset, form, *values):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(struct.pack(form, *values))


def patch_pixel(path, view, value, size=SIZE):
    patch_header(path, 1024 + 4 * (view * size * size + size + 3), "<f", value)


# The stack itself


def test_a_stack_that_is_not_there(reconstruct, tmp_path):
    assert_names(reconstruct(series=tmp_path / "none.mrc"), "none.mrc", "expected", "no such file")


def test_a_truncated_stack(reconstruct, stack):
    whole = stack.stat().st_size
    os.truncate(stack, whole - 1)
    assert_names(reconstruct(), stack, f"expected {whole} bytes", f"got {whole - 1}")


def test_a_zero_length_stack(reconstruct, stack):
    os.truncate(stack, 0)
    assert_names(reconstruct(), stack, "expected an MRC file", "got 0")


def test_noise_given_as_a_stack(reconstruct, stack):
    stack.write_bytes(np.random.default_rng(1).bytes(5000))
    assert_names(reconstruct(), stack, "expected an MRC file", "got")


def test_text_given_as_a_stack(reconstruct, stack):
    stack.write_text("\n".join(f"{angle:.2f}" for angle in np.linspace(-60, 60, 400)))
    assert_names(reconstruct(), stack, "expected", "got")


def test_a_folder_given_as_a_stack(reconstruct, tmp_path):
    assert_names(reconstruct(series=tmp_path), tmp_path, "expected an MRC file", "got a folder")


@pytest.mark.parametrize("sizes", [(0, 24, 9), (24, -24, 9), (24, 24, 0)])
def test_impossible_sizes_in_the_header(reconstruct, stack, sizes):
    patch_header(stack, 0, "<3i", *sizes)
    assert_names(reconstruct(), stack, "expected", "got")


def test_sizes_far_beyond_the_file(reconstruct, stack):
    patch_header(stack, 0, "<3i", 2**31 - 1, 2**31 - 1, 2**31 - 1)
    assert_names(reconstruct(), stack, "expected", "bytes", f"got {stack.stat().st_size}")


def test_a_mode_that_holds_no_images(reconstruct, stack):
    patch_header(stack, 12, "<i", 4)
    assert_names(reconstruct(), stack, "expected MRC mode", "got 4")


def test_a_damaged_gzip(reconstruct, stack):
    packed = stack.with_name("series.mrc.gz")
    packed.write_bytes(b"\x1f\x8b\x08" + bytes(50))
    assert_names(reconstruct(series=packed), packed, "expected whole gzip data", "got")


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_the_view_with_a_pixel_that_is_no_number_is_named(reconstruct, stack, value, name):
    patch_pixel(stack, 6, value)
    assert_names(reconstruct(), stack, "view 6", "expected finite values", name, "row 1, column 3")


def test_a_pixel_far_beyond_any_image(reconstruct, stack):
    patch_pixel(stack, 4, 1e30)
    assert_names(reconstruct(), stack, "view 4", "expected pixels within 1e+15", "got 1e+30")


def test_a_broken_view_that_is_left_out_does_no_harm(stack, capsys):
    patch_pixel(stack, 6, np.nan)
    assert main(["reconstruct", str(stack), "-o", str(stack.with_name("v.mrc")), "--thickness", "6", "--method",
                 "fbp", "--exclude", "7", "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_pixels_that_are_not_square(reconstruct, stack):
    patch_header(stack, 40, "<f", 7.0 * SIZE)
    assert_names(reconstruct(), stack, "expected square pixels", "got 7 x 10")


def test_stacks_of_different_pixel_size(refused, stack, tmp_path):
    other = write_series(tmp_path, "other", pixel_size=9.9)
    line = refused("reconstruct", stack, other, "-o", tmp_path / "v.mrc", "--thickness", 6, "--azimuth", 0, 90)
    assert_names(line, other, "expected a pixel size of 10 A", stack, "got 9.9 A")


def test_stacks_of_different_image_size(refused, stack, tmp_path):
    other = write_series(tmp_path, "other", size=SIZE + 1)
    line = refused("reconstruct", stack, other, "-o", tmp_path / "v.mrc", "--thickness", 6, "--azimuth", 0, 90)
    assert_names(line, other, "expected images of (24, 24)", "got (25, 25)")


# Angles and alignment


@pytest.mark.parametrize("count", [VIEWS - 1, VIEWS + 1])
def test_as_many_angles_as_views(reconstruct, stack, count):
    angles = stack.with_suffix(".tlt")
    write_tilt_angles(angles, np.linspace(-60, 60, count))
    assert_names(reconstruct(), angles, f"expected {VIEWS}", stack, f"got {count}")


@pytest.mark.parametrize("word", ["nan", "inf", "twelve", "200"])
def test_an_angle_that_is_none(reconstruct, stack, word):
    angles = stack.with_suffix(".tlt")
    angles.write_text("\n".join(["0"] * 4 + [word] + ["1"] * 4))
    assert_names(reconstruct(), angles, "line 5", "expected a tilt angle", word)


def test_a_stack_without_angles(reconstruct, stack):
    stack.with_suffix(".tlt").unlink()
    assert_names(reconstruct(), stack, "expected tilt angles in one of series.tlt", "--angles", "got none")


def test_angles_of_an_unknown_format(reconstruct, stack):
    table = stack.with_suffix(".txt")
    stack.with_suffix(".tlt").rename(table)
    assert_names(reconstruct("--angles", table), table, "expected tilt angles in a .tlt", "got .txt")


def test_one_file_of_angles_for_every_stack(refused, stack, tmp_path):
    other = write_series(tmp_path, "other")
    line = refused("reconstruct", stack, other, "-o", tmp_path / "v.mrc", "--thickness", 6, "--angles",
                   stack.with_suffix(".tlt"))
    assert_names(line, "--angles", "expected 2 (one per stack)", "got 1")


def test_an_xf_with_a_row_missing(reconstruct, stack):
    alignment = stack.with_suffix(".xf")
    write_transforms(alignment, IDENTITY[:-1])
    assert_names(reconstruct("--alignment", alignment), alignment, f"expected {VIEWS}", f"got {VIEWS - 1}")


def test_an_xf_with_a_number_missing(reconstruct, stack):
    alignment = stack.with_suffix(".xf")
    alignment.write_text("1 0 0 1 0 0\n" * 4 + "1 0 0 1 0\n" + "1 0 0 1 0 0\n" * 4)
    assert_names(reconstruct("--alignment", alignment), alignment, "line 5", "expected 6 numbers", "got 5")


def test_a_singular_xf(reconstruct, stack):
    alignment = stack.with_suffix(".xf")
    singular = IDENTITY.copy()
    singular[3] = [[1, 2, 0], [2, 4, 0]]
    write_transforms(alignment, singular)
    assert_names(reconstruct("--alignment", alignment), alignment, "view 3", "expected a matrix that can be inverted")


def test_a_view_along_the_slab(reconstruct, stack):
    angles = np.linspace(-60, 60, VIEWS)
    angles[5] = 90
    write_tilt_angles(stack.with_suffix(".tlt"), angles)
    assert_names(reconstruct(), stack, "series.tlt", "view 5", "expected a map with |det A|", "tilt 90.00 degrees")


def test_an_alignment_of_an_unknown_format(reconstruct, stack):
    alignment = stack.with_name("series.txt")
    write_transforms(alignment, IDENTITY)
    assert_names(reconstruct("--alignment", alignment), alignment, "expected", ".xf", "got .txt")


@pytest.mark.parametrize("name", ["series.aln", "series.star", "series.xml"])
def test_an_alignment_that_is_not_what_its_name_says(reconstruct, stack, name):
    alignment = stack.with_name(name)
    write_transforms(alignment, IDENTITY)
    assert_names(reconstruct("--alignment", alignment), alignment, "expected", "got")


def test_a_singular_transform_to_the_common_frame(reconstruct, stack):
    transform = stack.with_name("solve.xf")
    transform.write_text("1 0 0 0\n0 1 0 0\n1 1 0 0\n")
    assert_names(reconstruct("--transform", transform), transform, "expected a matrix that can be inverted")


# Numbers out of range: the message has the bound


@pytest.mark.parametrize(("flags", "parts"), [
    (["--thickness", "0"], ["thickness", "at least 1", "got 0"]),
    (["--thickness", "-3"], ["thickness", "at least 1", "got -3"]),
    (["--thickness", "9999999999"], ["expected at most", "GB of memory", "--thickness"]),
    (["--size", "0", "24"], ["size", "at least 1", "got 0 24"]),
    (["--voxel-size", "0"], ["voxel size", "more than 0 angstrom", "got 0"]),
    (["--bin", "0"], ["--bin", "at least 1", "got 0"]),
    (["--bin", "99"], ["binning", "99", "(24, 24)"]),
    (["--subsets", "0"], ["subsets", "at least 1", "got 0"]),
    (["--method", "dm-sirt", "--subsets", "0"], ["subsets", "at least 1", "got 0"]),
    (["--method", "dm-sirt", "--subsets", "10"], ["subsets", "1 to 9", "got 10"]),
    (["--method", "dm-sirt", "--subsets", "9", "--hold-out", "0.2"], ["subsets", "1 to 7", "got 9"]),
    (["--method", "direct-combine", "--subsets", "10"], ["subsets", "1 to 9", "got 10"]),
    (["--method", "os-sirt", "--subsets", "10"], ["subsets", "1 to 9", "got 10"]),
    (["--method", "dm-sirt", "--overlap", "-1"], ["overlap", "at least 0", "got -1"]),
    (["--relaxation", "0"], ["relaxation", "0 < lambda < 2", "got 0"]),
    (["--relaxation", "2"], ["relaxation", "0 < lambda < 2", "got 2"]),
    (["--method", "dm-sirt", "--relaxation", "1.01"], ["relaxation", "0 < alpha_i <= 1 / L_i = 1", "got 1.01"]),
    (["--method", "dm-sirt", "--rho", "0"], ["rho", "0 < rho < 1", "got 0"]),
    (["--method", "dm-sirt", "--rho", "1"], ["rho", "0 < rho < 1", "got 1"]),
    (["--iterations", "0"], ["iterations", "at least 1", "got 0"]),
    (["--iterations", "2.5"], ["iterations", "a whole number", "got 2.5"]),
    (["--method", "dm-sirt", "--inner", "0"], ["inner", "at least 1", "got 0"]),
    (["--method", "dm-sirt", "--outer", "-1"], ["outer", "at least 1", "got -1"]),
    (["--tolerance", "-1"], ["tolerance", "0 or more", "got -1"]),
    (["--hold-out", "0.6"], ["hold-out", "0 to 0.5", "got 0.6"]),
    (["--hold-out", "-0.1"], ["hold-out", "0 to 0.5", "got -0.1"]),
    (["--hold-out", "0.1", "--judge-band", "40", "200"], ["--judge-band", "longest > shortest > 0", "got 40 200"]),
    (["--exclude", "3,10"], ["exclude", "1 to 9", "got 10"]),
    (["--exclude", "0"], ["exclude", "counted from 1", "'0'"]),
    (["--exclude", "5-3"], ["exclude", "'5-3'"]),
    (["--exclude", "1-999999999"], ["exclude", "'1-999999999'"]),
    (["--exclude", "1-9"], ["at least one view", "got all 9"]),
    (["--clip", "-1"], ["--clip", "0 or more", "got -1"]),
    (["--beads", "-1"], ["--beads", "0 or more", "got -1"]),
    (["--beads", "100000"], ["--beads", "at most half an image, 120 A", "got 100000 A"]),
    (["--threads", "0"], ["--threads", "1 to", "got 0"]),
    (["--seed", "-1"], ["--seed", "at least 0", "got -1"]),
])
def test_a_number_out_of_range(reconstruct, flags, parts):
    assert_names(reconstruct(*flags), *parts)


@pytest.mark.parametrize("flag", [
    "--azimuth", "--tilt-offset", "--z-shift", "--voxel-size", "--relaxation", "--rho", "--tolerance", "--hold-out",
    "--clip", "--beads"])
@pytest.mark.parametrize("word", ["nan", "inf", "a"])
def test_a_word_or_nan_for_a_number(reconstruct, flag, word):
    assert_names(reconstruct(flag, word), flag, "expected a number", f"got {word}")


def test_nan_for_the_x_axis_tilt(reconstruct, stack):
    assert_names(reconstruct("--x-tilt", "nan"), stack, "x tilt", "got nan")


def test_a_volume_shifted_out_of_every_view(reconstruct, tmp_path):
    stack = write_series(tmp_path, "even", views=8)  # a view at 0 degrees sees it at any z
    assert_names(reconstruct("--z-shift", "1e6", series=stack), stack,
                 "no pixel of any view sees the volume", "--z-shift")


def test_too_few_views_to_keep_one_out(refused, tmp_path):
    stack = write_series(tmp_path, "two", views=2)
    line = refused("reconstruct", stack, "-o", tmp_path / "v.mrc", "--thickness", 4, "--hold-out", 0.1)
    assert_names(line, "hold-out", "at least 3 views", "got 2")


def test_logarithm_of_views_that_count_nothing(reconstruct, stack):
    with create_stack(stack, (VIEWS, SIZE, SIZE), voxel_size=10) as writer:
        for view in range(VIEWS):
            writer.write(np.full((SIZE, SIZE), 5.0 - view, np.float32))
    assert_names(reconstruct("--log"), stack, "view 5", "log: expected counts with a median above 0", "got 0")


# Words


@pytest.mark.parametrize(("flags", "parts"), [
    (["--method", "art"], ["method", "dm-sirt", "got art"]),
    (["--method", "wiener"], ["method", "Fourier engine", "got wiener"]),
    (["--grouping", "random"], ["grouping", "adjacent, round-robin", "got random"]),
    (["--method", "fbp", "--filter", "box"], ["filter", "ramp, hamming", "got box"]),
    (["--engine", "fourier"], ["--engine", "real", "got fourier"]),
    (["--engine", "magic"], ["--engine", "magic", "real"]),
    (["--agent", "proximal"], ["--agent", "sirt", "got proximal"]),
    (["--preset", "papers"], ["--preset", "papers", "paper"]),
    (["--nonsense"], ["unrecognized arguments: --nonsense"]),
    (["--iteration", "3"], ["unrecognized arguments: --iteration"]),
    (["--method", "fbp", "--positivity"], ["--positivity", "sirt", "got fbp"]),
    (["--method", "cgls", "--positivity"], ["--positivity", "sirt", "got cgls"]),
])
def test_an_unknown_word(reconstruct, flags, parts):
    assert_names(reconstruct(*flags), *parts)


@pytest.mark.parametrize("flags", [
    ["--defocus", "x.txt"], ["--phase-flip"], ["--ctf-multiply"], ["--dose", "x.txt"], ["--halves", "even-odd"],
    ["--checkpoint", "x"], ["--checkpoint-interval", "60"], ["--resume"], ["--prior", "tv"],
    ["--prox-strength", "1"]])
def test_what_this_version_does_not_do_is_refused_by_name(reconstruct, flags):
    assert_names(reconstruct(*flags), flags[0], "not in this version")


@pytest.mark.parametrize("arguments", [
    [], ["reconstrukt"], ["reconstruct"], ["simulate"], ["simulate", "volume"], ["evaluate", "map", "x.mrc"],
    ["info"], ["--nonsense"]])
def test_an_incomplete_or_unknown_command(refused, arguments):
    refused(*arguments)


def test_thickness_is_asked_for(refused, stack):
    assert_names(refused("reconstruct", stack, "-o", stack.with_name("v.mrc")), "--thickness")


# The start volume


@pytest.mark.parametrize("shape", [(THICKNESS + 1, SIZE, SIZE), (THICKNESS, SIZE, SIZE - 1)])
def test_a_start_volume_of_another_size(reconstruct, stack, shape):
    start = stack.with_name("start.mrc")
    write_volume(start, np.zeros(shape), voxel_size=10)
    assert_names(reconstruct("--initial", start), start, f"expected a volume of {(THICKNESS, SIZE, SIZE)}",
                 f"got {shape}")


def test_a_start_volume_with_nan(reconstruct, stack):
    start = stack.with_name("start.mrc")
    write_volume(start, np.zeros((THICKNESS, SIZE, SIZE)), voxel_size=10)
    patch_pixel(start, 2, np.nan)
    assert_names(reconstruct("--initial", start), start, "section 2", "NaN")


# Where the output goes


def test_an_output_folder_that_does_not_exist(reconstruct, tmp_path):
    line = reconstruct("-o", tmp_path / "nowhere" / "v.mrc")
    assert_names(line, tmp_path / "nowhere" / "v.mrc", "expected an existing folder", "got none")


def test_an_output_folder_that_is_read_only(reconstruct, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    try:
        line = reconstruct("-o", locked / "v.mrc")
    finally:
        locked.chmod(0o755)
    assert_names(line, locked, "expected a folder that can be written to")


def test_an_output_of_an_unknown_format(reconstruct, tmp_path):
    assert_names(reconstruct("-o", tmp_path / "v.tif"), "v.tif", "expected a name ending in .mrc", "got 'v.tif'")


def test_an_output_that_is_a_folder(reconstruct, tmp_path):
    (tmp_path / "folder.mrc").mkdir()
    assert_names(reconstruct("-o", tmp_path / "folder.mrc"), "folder.mrc", "expected a file name", "got a folder")


def test_a_picture_of_an_unknown_format(reconstruct, tmp_path):
    assert_names(reconstruct("--png", tmp_path / "slices.gif"), "slices.gif", "expected a name ending in .png")


def test_an_output_that_would_replace_an_input(reconstruct, stack):
    assert_names(reconstruct("-o", stack), stack, "expected an output that is none of the inputs")


def test_an_earlier_volume_survives_a_refusal(reconstruct, stack):
    stack.with_name("volume.mrc").write_bytes(b"precious")
    patch_pixel(stack, 0, np.nan)
    reconstruct()  # the fixture compares every file


# Other verbs


@pytest.mark.parametrize(("flags", "parts"), [
    (["--snr", "-1"], ["--snr", "0 (no noise) or more", "got -1"]),
    (["--step", "0"], ["step > 0", "by 0"]),
    (["--step", "1e-9"], ["--step", "at most", "got a step of 1e-09"]),
    (["--tilt-range", "60", "-60"], ["low <= high", "60.0 to -60.0"]),
    (["--tilt-range", "-90", "60"], ["between -90 and 90", "got -90"]),
    (["--size", "8"], ["size >= 16", "got 8"]),
    (["--size", "0"], ["--size", "at least 1", "got 0"]),
    (["--size", "99999999"], ["GB of memory"]),
    (["--voxel-size", "0"], ["--voxel-size", "more than 0", "got 0"]),
    (["--axes", "nan"], ["--axes", "expected a number", "got nan"]),
    (["--axes", "0", "0.2"], ["--axes", "a degree or more", "[0.0, 0.2]"]),
    (["--phantom", "cube"], ["--phantom", "cell", "got cube"]),
    (["--phantom", "none.mrc"], ["none.mrc", "no such file"]),
])
def test_simulations_that_make_no_sense(refused, tmp_path, flags, parts):
    line = refused("simulate", "tilt-series", "-o", tmp_path / "new", "--size", 24, "--thickness", 8, "--step", 30,
                   *flags)
    assert_names(line, "expected", *parts)


def test_a_simulation_without_signal_leaves_nothing(refused, tmp_path):
    write_volume(tmp_path / "flat.mrc", np.zeros((8, 24, 24)), voxel_size=10)
    line = refused("simulate", "tilt-series", "-o", tmp_path / "new", "--phantom", tmp_path / "flat.mrc", "--size",
                   24, "--thickness", 8, "--step", 30)
    assert_names(line, "SNR", "expected views with a signal")


def test_a_simulation_that_would_replace_its_phantom(refused, tmp_path):
    write_volume(tmp_path / "truth.mrc", np.ones((8, 24, 24)), voxel_size=10)
    line = refused("simulate", "tilt-series", "-o", tmp_path, "--phantom", tmp_path / "truth.mrc", "--size", 24)
    assert_names(line, "truth.mrc", "expected an output that is none of the inputs")


@pytest.mark.parametrize("kind", ["simulate", "demo"])
def test_a_folder_of_results_that_cannot_be_made(refused, tmp_path, kind):
    verb = ["simulate", "tilt-series"] if kind == "simulate" else ["demo"]
    (tmp_path / "file").write_text("")
    assert_names(refused(*verb, "-o", tmp_path / "file"), "file", "expected a folder", "got a file")
    assert_names(refused(*verb, "-o", tmp_path / "no" / "no"), "expected an existing folder", "got none")


def test_comparing_what_cannot_be_compared(refused, stack, tmp_path):
    for name, shape in (("a", (6, 24, 24)), ("b", (6, 24, 25))):
        write_volume(tmp_path / f"{name}.mrc", np.zeros(shape), voxel_size=10)
    a, b = tmp_path / "a.mrc", tmp_path / "b.mrc"
    assert_names(refused("evaluate", "volume", a, "--truth", b), b, "expected (6, 24, 24)", "got (6, 24, 25)")
    assert_names(refused("evaluate", "fsc", a, b), b, "expected (6, 24, 24)", "got (6, 24, 25)")
    assert_names(refused("evaluate", "volume", a, "--truth", a, "--central", 2), "central", "up to 1", "got 2")
    assert_names(refused("evaluate", "volume", a, "--against", stack, "--band", 10, 20), "--band", "got 10 20")
    assert_names(refused("evaluate", "volume", a, "--against", stack, "--views", "10"), "1 to 9", "got 10")
    assert_names(refused("evaluate", "volume", a), "--truth", "--against")
    assert_names(refused("evaluate", "volume", a, "--truth", a, "-o", a), a, "none of the inputs")


def test_info_of_an_unknown_format(refused, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    assert_names(refused("info", tmp_path / "notes.txt"), "notes.txt", "expected a file ending in", "got '.txt'")
    assert_names(refused("info", tmp_path / "none.tlt"), "none.tlt", "no such file")


# Tracebacks


def test_a_traceback_is_shown_with_debug_only(stack, capsys):
    arguments = ["reconstruct", str(stack), "-o", str(stack.with_name("v.mrc")), "--thickness", "0"]
    assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert main([*arguments, "--debug"]) == 2
    captured = capsys.readouterr().err
    assert "Traceback" in captured and captured.splitlines()[-1].startswith("concordet: thickness")


def test_an_error_nobody_thought_of_is_one_line_and_status_1(stack, capsys, monkeypatch):
    monkeypatch.setattr("concordet.methods.reconstruct", lambda *_, **__: 1 / 0)
    before = contents(stack.parent)
    assert main(["reconstruct", str(stack), "-o", str(stack.with_name("v.mrc")), "--thickness", "4"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "unexpected ZeroDivisionError" in last and "--debug" in last
    assert contents(stack.parent) == before


# A full disk


@pytest.mark.parametrize("failing", ["volume.mrc", "volume.html", "volume.json", "volume.png"])
def test_a_full_disk_is_a_failed_run_that_leaves_nothing(reconstruct, stack, monkeypatch, failing):
    real = os.replace

    def replace(source, target):
        if Path(target).name == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    line = reconstruct("-q", "--png", stack.with_name("volume.png"), status=1)
    assert_names(line, stack.with_name(failing), "could not be written", "No space left")
    assert ".partial" not in line


def start(*arguments, largest_file=None):
    """The command line as a program of its own."""

    def prepare():
        # A background job of a shell ignores SIGINT, and so would its children.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if largest_file:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    environment = {**os.environ, "PYTHONPATH": str(Path(concordet.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "concordet", *map(str, arguments)], stderr=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True, env=environment, preexec_fn=prepare)


def test_a_file_larger_than_allowed(stack, tmp_path):
    before = contents(tmp_path)
    process = start("reconstruct", stack, "-o", tmp_path / "v.mrc", "--thickness", THICKNESS, "--method", "fbp", "-q",
                    largest_file=8192)  # the volume takes 14848 bytes
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert len(err.splitlines()) == 1
    assert_names(err, tmp_path / "v.mrc", "could not be written", "File too large")
    assert contents(tmp_path) == before


# As a program


def test_the_program_refuses_in_one_line(tmp_path):
    process = start("reconstruct", tmp_path / "none.mrc", "-o", tmp_path / "v.mrc", "--thickness", 8)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, len(err.splitlines())) == (2, "", 1)
    assert_names(err, "none.mrc", "no such file")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("verb", ["reconstruct", "simulate"])
def test_ctrl_c_leaves_nothing_half_written(stack, tmp_path, verb):
    output = tmp_path / "output"
    output.mkdir()
    before = contents(tmp_path)
    if verb == "reconstruct":
        process = start("reconstruct", stack, "-o", output / "v.mrc", "--thickness", THICKNESS, "--method", "sirt",
                        "--iterations", 10_000_000)
        assert "9 views" in process.stderr.readline()  # the plan: every view is read
    else:
        process = start("simulate", "tilt-series", "-o", output, "--size", 256, "--step", 0.01)
        deadline = time.monotonic() + 60
        while not any(output.rglob("axis*")) and not any(output.rglob(".axis*")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert len(err.splitlines()) == 1
    assert "interrupted" in err
    assert contents(tmp_path) == before
