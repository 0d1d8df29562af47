"""The command line does what its help says: volumes where they should be, records that tell how they came about."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from concordet import __version__
from concordet.cli import main
from concordet.io import create_stack, open_stack, read_angles, read_volume, write_tilt_angles, write_volume

TILTS = np.arange(-72.0, 73.0, 6.0)
PIXEL = 10.0


def run(*arguments, status=0):
    assert main([str(word) for word in arguments]) == status


def view_rows(tilt, x_tilt=0.0, azimuth=0.0):
    """(2, 3): u = x' cos t + z' sin t, v = y', after the azimuth's turn about z and the tilt about x."""
    t, a, b = np.deg2rad([tilt, x_tilt, azimuth])
    turn = np.array([[np.cos(b), np.sin(b), 0], [-np.sin(b), np.cos(b), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    return np.array([[np.cos(t), 0, np.sin(t)], [0, 1, 0]]) @ about_x @ turn


def write_dot(path, point, *, shape=(48, 48), tilts=TILTS, sigma=1.5, pixel=PIXEL, offset=0.0, **angles):
    """A series of one Gaussian at `point` (x, y, z), voxels from the axis, which is at pixel n // 2 + offset."""
    v, u = (np.arange(n) - n // 2 for n in shape)
    with create_stack(path, (len(tilts), *shape), voxel_size=pixel) as stack:
        for tilt in tilts:
            at_u, at_v = view_rows(tilt, **angles) @ point + offset
            stack.write(sigma * np.sqrt(2 * np.pi) * np.exp(
                -((u - at_u) ** 2 + (v[:, None] - at_v) ** 2) / (2 * sigma**2)))
    write_tilt_angles(Path(str(path).removesuffix(".gz")).with_suffix(".tlt"), tilts)
    return path


def dot_index(volume):
    """(x, y, z) index of the bright dot: along each axis the top of a Gaussian through the three highest voxels."""
    peak = np.unravel_index(np.argmax(volume), volume.shape)
    place = []
    for axis in (2, 1, 0):
        low, top, high = (np.log(volume[tuple(np.add(peak, step * np.eye(3, dtype=int)[axis]))]) for step in (-1, 0, 1))
        place.append(peak[axis] + (high - low) / (2 * (2 * top - low - high)))
    return np.array(place)


def dot_place(path):
    """(x, y, z) angstrom of the dot, counted from where the tilt axis passes: origin + index * voxel size."""
    volume, header = read_volume(path)
    return np.array(header.origin) + dot_index(volume) * np.array(header.voxel_size)


def reconstruct(*stacks, to, thickness, flags=()):
    run("reconstruct", *stacks, "-o", to, "--thickness", thickness, "--method", "sirt", "--iterations", 20,
        "--relaxation", 1.9, "--no-report", "-q", *flags)
    return to


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Two axes of a small cell, as `simulate tilt-series` writes them."""
    folder = tmp_path_factory.mktemp("simulated") / "cell"
    run("simulate", "tilt-series", "-o", folder, "--axes", 0, 90, "--tilt-range", -60, 60, "--step", 10, "--size", 32,
        "--thickness", 12, "--snr", 4, "--voxel-size", 12, "--seed", 3, "-q")
    return folder


@pytest.fixture(scope="module")
def both(simulated):
    return [simulated / "axis_000.mrc", simulated / "axis_090.mrc", "--azimuth", 0, 90, "--thickness", 12]


@pytest.fixture(scope="module")
def plain_run(simulated, both, tmp_path_factory):
    """A run with hold-out, its report and its picture: (volume, record)."""
    output = tmp_path_factory.mktemp("plain") / "cell.mrc"
    run("reconstruct", *both, "-o", output, "--subsets", 4, "--inner", 2, "--outer", 3, "--hold-out", 0.1,
        "--flip-hand", "--png", output.with_suffix(".png"), "-q")
    return output, json.loads(output.with_suffix(".json").read_text())


# What verbs there are


@pytest.mark.parametrize("verb", [
    [], ["demo"], ["reconstruct"], ["simulate"], ["simulate", "tilt-series"], ["evaluate"], ["evaluate", "volume"],
    ["evaluate", "fsc"], ["info"]])
def test_help_of_every_verb(verb, capsys):
    run(*verb, "--help")
    shown = capsys.readouterr()
    assert shown.out.startswith("usage: concordet") and shown.err == ""


def test_version(capsys):
    run("--version")
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize("flag", [
    "--angles", "--alignment", "--azimuth", "--transform", "--x-tilt", "--tilt-offset", "--flip-hand", "--z-shift",
    "--voxel-size", "--center", "--thickness", "--size", "--bin", "--method", "--engine", "--iterations",
    "--relaxation",
    "--initial", "--tolerance", "--subsets", "--overlap", "--grouping", "--inner", "--outer", "--rho", "--agent",
    "--positivity", "--filter", "--hold-out", "--exclude", "--invert", "--log", "--clip", "--normalize",
    "--no-normalize", "--defocus", "--phase-flip", "--ctf-multiply", "--dose", "--halves", "--checkpoint",
    "--checkpoint-interval", "--resume", "--topology", "--dry-run", "--preset", "--threads", "--seed", "--quiet",
    "--verbose", "--no-report"])
def test_reconstruct_help_names_every_flag_of_the_contract(flag, capsys):
    run("reconstruct", "--help")
    assert re.search(rf"(?m)(^|[\s,\[]){re.escape(flag)}\b", capsys.readouterr().out)


@pytest.mark.parametrize("flags", [
    ["--angles", "axis_000.tlt", "axis_090.tlt"], ["--tilt-offset", "1", "2"], ["--tilt-offset", "1"],
    ["--x-tilt", "3", "-2"], ["--x-tilt", "3"], ["--flip-hand"], ["--z-shift", "-1.5"], ["--center", "imod"],
    ["--voxel-size", "7.5"], ["--size", "30", "28"], ["--bin", "2"],
    ["--method", "dm-sirt"], ["--method", "sirt"], ["--method", "os-sirt"], ["--method", "cgls"], ["--method", "fbp"],
    ["--method", "direct-combine"], ["--engine", "auto"], ["--engine", "real"],
    ["--iterations", "2"], ["--relaxation", "0.5"], ["--tolerance", "0.1"], ["--subsets", "3"], ["--overlap", "1"],
    ["--grouping", "adjacent"], ["--grouping", "round-robin"], ["--inner", "1"], ["--outer", "1"], ["--rho", "0.6"],
    ["--agent", "sirt"], ["--positivity"], ["--method", "fbp", "--filter", "ramp"], ["--hold-out", "0.1"],
    ["--exclude", "1-2,5", "none"], ["--exclude", "7"], ["--invert"], ["--clip", "5"], ["--normalize"],
    ["--no-normalize"], ["--log"],
    ["--beads", "30"], ["--topology", "auto"], ["--topology", "grid"], ["--topology", "rooted"],
    ["--threads", "1"], ["--seed", "4"], ["-v"]])
def test_every_flag_is_taken(simulated, both, tmp_path, flags, capsys, monkeypatch):
    monkeypatch.chdir(simulated)
    run("reconstruct", *both, "-o", tmp_path / "v.mrc", "--outer", 1, "--inner", 1, *flags, "--no-report")
    assert {path.name for path in tmp_path.iterdir()} == {"v.mrc", "v.json"}
    volume, _ = read_volume(tmp_path / "v.mrc")
    assert np.isfinite(volume).all() and volume.std() > 0
    assert "Traceback" not in capsys.readouterr().err


# What is written


def test_the_volume_says_where_it_is(plain_run):
    output, _ = plain_run
    volume, header = read_volume(output)
    assert volume.shape == (12, 32, 32)
    assert header.voxel_size == pytest.approx((12, 12, 12))
    assert header.origin == pytest.approx((-16 * 12, -16 * 12, -6 * 12))
    text = "\n".join(header.labels)
    assert f"Concordet {__version__}" in text and "dm-sirt" in text
    assert "hand: z flipped" in text
    assert "origin: the tilt axis, at voxel 16 16 6" in text
    assert mrcfile.validate(output)


def test_the_record_tells_the_whole_run(plain_run, simulated):
    output, record = plain_run
    assert record["version"] == __version__ and record["verb"] == "reconstruct"
    parameters = record["parameters"]
    assert parameters["method"] == "dm-sirt"
    assert (parameters["subsets"], parameters["inner"], parameters["outer"]) == (4, 2, 3)
    assert (parameters["relaxation"], parameters["rho"], parameters["seed"]) == (0.3, 0.5, 0)
    assert "flipped" in record["geometry"]["hand"]
    assert "u = x cos t + z sin t" in record["geometry"]["convention"]
    assert record["volume"]["shape_zyx"] == [12, 32, 32]
    names = {"axis_000.mrc", "axis_000.tlt", "axis_090.mrc", "axis_090.tlt"}
    assert {Path(entry["file"]).name for entry in record["inputs"]} == names
    for entry in record["inputs"]:
        assert entry["sha256"] == hashlib.sha256(Path(entry["file"]).read_bytes()).hexdigest()
    for stage in ("read", "reconstruct", "judge", "write"):
        assert record["stages"][stage]["seconds"] >= 0 and record["stages"][stage]["cpu_seconds"] >= 0
    performance = record["performance"]
    assert performance["gups"] > 0 and performance["seconds"] > 0 and performance["cpu_seconds"] > 0
    assert performance["bytes_sent"] == [0]
    assert len(performance["peak_memory_bytes"]) == 1 and performance["peak_memory_bytes"][0] > 1e6


def test_the_record_has_the_quality_of_every_view(plain_run):
    _, record = plain_run
    quality = record["quality"]
    views = quality["views"]
    assert [(view["stack"], view["view"]) for view in views] == [(s, v) for s in (0, 1) for v in range(13)]
    assert [view["tilt"] for view in views] == pytest.approx(list(np.arange(-60, 61, 10)) * 2)
    held = [view for view in views if view["held_out"]]
    assert len(held) == 2
    assert quality["ncc_held_out"] == pytest.approx(np.mean([view["ncc"] for view in held]))
    assert 0.3 < quality["ncc_held_out"] < quality["ncc_fitted"] < 1


def test_the_report_needs_nothing_beside_it(plain_run):
    output, _ = plain_run
    page = output.with_suffix(".html").read_text()
    assert "data:image/png;base64," in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in output.parent.iterdir()} == {"cell.mrc", "cell.json", "cell.html", "cell.png"}


def test_without_hold_out_nothing_is_claimed_of_it(both, tmp_path):
    run("reconstruct", *both, "-o", tmp_path / "v.mrc", "--method", "fbp", "--no-report", "-q")
    quality = json.loads((tmp_path / "v.json").read_text())["quality"]
    assert quality["ncc_held_out"] is None
    assert not any(view["held_out"] for view in quality["views"])


def test_quiet_prints_nothing(both, tmp_path, capsys):
    run("reconstruct", *both, "-o", tmp_path / "v.mrc", "--method", "fbp", "--rho", 0.5, "-q")
    assert capsys.readouterr() == ("", "")


def test_news_goes_to_stderr(both, tmp_path, capsys):
    run("reconstruct", *both, "-o", tmp_path / "v.mrc", "--method", "fbp", "--no-report")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "26 views of 2 stack(s), 32 x 32 pixels of 12 A -> 32 x 32 x 12 voxels; fbp" in shown.err
    assert "NCC with the views" in shown.err


def test_dry_run_prints_the_plan_and_writes_nothing(both, tmp_path, capsys):
    run("reconstruct", *both, "-o", tmp_path / "v.mrc", "--dry-run", "--subsets", 4)
    shown = capsys.readouterr().err
    assert "26 views of 2 stack(s)" in shown and "4 subsets" in shown and "GB of memory" in shown
    assert list(tmp_path.iterdir()) == []


def test_flags_that_a_method_does_not_know_are_named(both, tmp_path, capsys):
    run("reconstruct", *both, "-o", tmp_path / "v.mrc", "--method", "fbp", "--rho", 0.4, "--tolerance", 0.1,
        "--no-report")
    shown = capsys.readouterr().err
    assert "warning: --rho: not used by fbp" in shown and "warning: --tolerance: not used by fbp" in shown


def test_an_unknown_pixel_size_is_said_and_not_invented(tmp_path, capsys):
    stack = write_dot(tmp_path / "dot.mrc", (0, 0, 0), shape=(24, 24), pixel=0.0)
    run("reconstruct", stack, "-o", tmp_path / "v.mrc", "--thickness", 8, "--method", "fbp")
    assert "the pixel size is not in the header" in capsys.readouterr().err
    assert read_volume(tmp_path / "v.mrc")[1].voxel_size == (0, 0, 0)
    run("reconstruct", stack, "-o", tmp_path / "v.mrc", "--thickness", 8, "--method", "fbp", "--voxel-size", 5)
    assert "pixel size" not in capsys.readouterr().err
    assert read_volume(tmp_path / "v.mrc")[1].voxel_size == pytest.approx((5, 5, 5))


def test_compressed_input_and_output(both, simulated, tmp_path):
    for name in ("axis_000", "axis_090"):
        packed = gzip.compress((simulated / f"{name}.mrc").read_bytes())
        (tmp_path / f"{name}.mrc.gz").write_bytes(packed)
        (tmp_path / f"{name}.tlt").write_bytes((simulated / f"{name}.tlt").read_bytes())
    run("reconstruct", tmp_path / "axis_000.mrc.gz", tmp_path / "axis_090.mrc.gz", *both[2:], "-o",
        tmp_path / "packed.mrc.gz", "--method", "fbp", "-q")
    run("reconstruct", *both, "-o", tmp_path / "plain.mrc", "--method", "fbp", "-q", "--no-report")
    assert (tmp_path / "packed.mrc.gz").read_bytes().startswith(b"\x1f\x8b")
    assert (tmp_path / "packed.json").exists() and (tmp_path / "packed.html").exists()
    np.testing.assert_array_equal(read_volume(tmp_path / "packed.mrc.gz")[0], read_volume(tmp_path / "plain.mrc")[0])


def test_the_same_run_gives_the_same_volume(both, tmp_path):
    for name, threads in (("a", 1), ("b", 2)):
        run("reconstruct", *both, "-o", tmp_path / f"{name}.mrc", "--outer", 2, "--inner", 2, "--threads", threads,
            "--no-report", "-q")
    assert (tmp_path / "a.mrc").read_bytes() == (tmp_path / "b.mrc").read_bytes()


# What the flags of a method do


def test_preset_paper(tmp_path):
    folder = tmp_path / "cell"
    run("simulate", "tilt-series", "-o", folder, "--step", 10, "--size", 24, "--thickness", 8, "-q")
    stacks = [folder / f"axis_{azimuth:03d}.mrc" for azimuth in (0, 45, 90, 135)]
    run("reconstruct", *stacks, "--azimuth", 0, 45, 90, 135, "--thickness", 8, "--preset", "paper", "-o",
        tmp_path / "v.mrc", "--no-report", "-q")
    record = json.loads((tmp_path / "v.json").read_text())
    wanted = {"method": "dm-sirt", "subsets": 32, "overlap": 2, "grouping": "adjacent", "inner": 10, "outer": 10,
              "relaxation": 0.3, "rho": 0.5}
    assert {name: record["parameters"][name] for name in wanted} == wanted
    assert record["iterations"] == 10


def test_initial_continues_where_another_run_ended(both, tmp_path):
    flags = ["--method", "sirt", "--no-report", "-q"]
    run("reconstruct", *both, "-o", tmp_path / "six.mrc", "--iterations", 6, *flags)
    run("reconstruct", *both, "-o", tmp_path / "two.mrc", "--iterations", 2, *flags)
    run("reconstruct", *both, "-o", tmp_path / "more.mrc", "--iterations", 4, "--initial", tmp_path / "two.mrc", *flags)
    np.testing.assert_array_equal(read_volume(tmp_path / "more.mrc")[0], read_volume(tmp_path / "six.mrc")[0])
    inputs = json.loads((tmp_path / "more.json").read_text())["inputs"]
    assert "two.mrc" in {Path(entry["file"]).name for entry in inputs}


def test_tolerance_ends_the_run(both, tmp_path):
    for method in ("sirt", "dm-sirt", "os-sirt", "cgls"):
        run("reconstruct", *both, "-o", tmp_path / "v.mrc", "--method", method, "--iterations", 200, "--tolerance", 0.1,
            "--no-report", "-q")
        record = json.loads((tmp_path / "v.json").read_text())
        changes = record["trace"]["relative_change"]
        assert changes[-1] < 0.1 <= min(changes[:-1])
        assert record["iterations"] == len(changes)


@pytest.mark.parametrize("method", ["sirt", "dm-sirt", "os-sirt", "direct-combine"])
def test_positivity(both, tmp_path, method):
    flags = ["--method", method, "--iterations", 10, "--no-report", "-q"]
    run("reconstruct", *both, "-o", tmp_path / "free.mrc", *flags)
    run("reconstruct", *both, "-o", tmp_path / "v.mrc", "--positivity", *flags)
    assert read_volume(tmp_path / "free.mrc")[0].min() < 0
    assert read_volume(tmp_path / "v.mrc")[0].min() >= 0


def test_excluding_views_is_leaving_them_out(simulated, tmp_path):
    stack = simulated / "axis_000.mrc"
    gone = [1, 2, 7]  # sections; --exclude counts from 1
    kept = [view for view in range(13) if view not in gone]
    with open_stack(stack) as whole, create_stack(tmp_path / "fewer.mrc", (10, 32, 32), voxel_size=12) as fewer:
        for view in kept:
            fewer.write(whole.view(view))
    write_tilt_angles(tmp_path / "fewer.tlt", read_angles(stack.with_suffix(".tlt"))[kept])
    reconstruct(stack, to=tmp_path / "a.mrc", thickness=12, flags=["--exclude", "2-3,8"])
    reconstruct(tmp_path / "fewer.mrc", to=tmp_path / "b.mrc", thickness=12)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mrc")[0], read_volume(tmp_path / "b.mrc")[0])
    record = json.loads((tmp_path / "a.json").read_text())
    assert [entry["view"] for entry in record["geometry"]["excluded_views"]] == gone
    assert [view["view"] for view in record["quality"]["views"]] == kept


def test_views_left_out_are_told(both, tmp_path, capsys):
    run("reconstruct", *both, "-o", tmp_path / "v.mrc", "--method", "fbp", "--no-report", "--exclude", "none", "2-3,8")
    assert f"{both[1]}: left out, counted from 1: 2, 3, 8" in capsys.readouterr().err


def test_invert_changes_the_sign(both, tmp_path):
    flags = ["--method", "fbp", "--no-report", "-q"]
    run("reconstruct", *both, "-o", tmp_path / "a.mrc", *flags)
    run("reconstruct", *both, "-o", tmp_path / "b.mrc", "--invert", *flags)
    np.testing.assert_allclose(read_volume(tmp_path / "a.mrc")[0], -read_volume(tmp_path / "b.mrc")[0], atol=1e-6)


# Where things end up. A dot is found where it was put, within a tenth of a voxel


POINT = np.array([8.0, -6.0, 2.0])


@pytest.fixture(scope="module")
def dot(tmp_path_factory):
    """A series of one dot at POINT and its reconstruction."""
    folder = tmp_path_factory.mktemp("dot")
    stack = write_dot(folder / "dot.mrc", POINT)
    return stack, reconstruct(stack, to=folder / "volume.mrc", thickness=17)


def test_a_dot_is_where_it_was_put(dot):
    np.testing.assert_allclose(dot_place(dot[1]), PIXEL * POINT, atol=0.1 * PIXEL)


@pytest.mark.parametrize("shape", [(65, 66), (66, 65), (67, 68), (64, 63)])
@pytest.mark.parametrize("factor", [2, 3])
def test_binning_keeps_the_place(tmp_path, shape, factor):
    point = np.array([11.0, -9.0, 3.0])
    stack = write_dot(tmp_path / "dot.mrc", point, shape=shape, sigma=3.0)
    fine = reconstruct(stack, to=tmp_path / "fine.mrc", thickness=24)
    coarse = reconstruct(stack, to=tmp_path / "coarse.mrc", thickness=24 // factor, flags=["--bin", factor])
    _, header = read_volume(coarse)
    assert header.voxel_size == pytest.approx((factor * PIXEL,) * 3)
    assert header.shape == (24 // factor, shape[0] // factor, shape[1] // factor)
    np.testing.assert_allclose(dot_place(fine), PIXEL * point, atol=0.1 * PIXEL)
    np.testing.assert_allclose(dot_place(coarse), dot_place(fine), atol=0.15 * PIXEL)


@pytest.mark.parametrize("shift", [3, -2.5])
def test_z_shift_moves_content_to_larger_z(dot, tmp_path, shift):
    stack, unshifted = dot
    shifted = reconstruct(stack, to=tmp_path / "v.mrc", thickness=17, flags=["--z-shift", shift])
    moved = dot_index(read_volume(shifted)[0]) - dot_index(read_volume(unshifted)[0])
    np.testing.assert_allclose(moved, [0, 0, shift], atol=0.1)
    # The origin in the header follows, so the place in angstrom stays.
    np.testing.assert_allclose(dot_place(shifted), dot_place(unshifted), atol=0.1 * PIXEL)


def test_flip_hand_mirrors_about_the_origin_voxel(dot, tmp_path):
    stack, unflipped = dot
    flipped = reconstruct(stack, to=tmp_path / "v.mrc", thickness=17, flags=["--flip-hand"])
    np.testing.assert_allclose(read_volume(flipped)[0][::-1], read_volume(unflipped)[0], atol=1e-5)
    even = reconstruct(stack, to=tmp_path / "even.mrc", thickness=16, flags=["--flip-hand"])
    np.testing.assert_allclose(dot_place(even), PIXEL * POINT * [1, 1, -1], atol=0.1 * PIXEL)


def test_size_cuts_about_the_origin(dot, tmp_path):
    cut = reconstruct(dot[0], to=tmp_path / "v.mrc", thickness=17, flags=["--size", 41, 30])
    assert read_volume(cut)[0].shape == (17, 30, 41)
    np.testing.assert_allclose(dot_place(cut), PIXEL * POINT, atol=0.1 * PIXEL)


def test_center_imod_puts_axis_and_centre_half_a_pixel_lower(tmp_path):
    # Aligned IMOD stacks have their axis at (n - 1) / 2: half a pixel below n // 2 in even images.
    stack = write_dot(tmp_path / "dot.mrc", POINT, offset=-0.5)
    volume = reconstruct(stack, to=tmp_path / "v.mrc", thickness=16, flags=["--center", "imod"])
    _, header = read_volume(volume)
    assert header.origin == pytest.approx((-23.5 * PIXEL, -23.5 * PIXEL, -7.5 * PIXEL))
    np.testing.assert_allclose(dot_place(volume), PIXEL * POINT, atol=0.1 * PIXEL)


@pytest.mark.parametrize("as_file", [False, True])
def test_x_tilt(tmp_path, as_file):
    stack = write_dot(tmp_path / "dot.mrc", POINT, x_tilt=12.0)
    value = 12.0
    if as_file:
        value = tmp_path / "dot.xtilt"
        write_tilt_angles(value, np.full(len(TILTS), 12.0))
    volume = reconstruct(stack, to=tmp_path / "v.mrc", thickness=17, flags=["--x-tilt", value])
    np.testing.assert_allclose(dot_place(volume), PIXEL * POINT, atol=0.1 * PIXEL)


def test_tilt_offset_is_added_to_every_angle(tmp_path):
    stack = write_dot(tmp_path / "dot.mrc", POINT)
    write_tilt_angles(stack.with_suffix(".tlt"), TILTS - 7)
    volume = reconstruct(stack, to=tmp_path / "v.mrc", thickness=17, flags=["--tilt-offset", 7])
    np.testing.assert_allclose(dot_place(volume), PIXEL * POINT, atol=0.1 * PIXEL)


@pytest.mark.parametrize("azimuths", [(30,), (0, 90), (20, 65, 110, 155)])
def test_azimuths_of_any_number_of_axes(tmp_path, azimuths):
    stacks = [write_dot(tmp_path / f"axis_{azimuth}.mrc", POINT, azimuth=azimuth) for azimuth in azimuths]
    volume = reconstruct(*stacks, to=tmp_path / "v.mrc", thickness=17, flags=["--azimuth", *azimuths])
    np.testing.assert_allclose(dot_place(volume), PIXEL * POINT, atol=0.1 * PIXEL)


def test_a_transform_to_the_common_frame(tmp_path):
    # solve.xf form, axes (column, row, section) of a .rec: (x, -z, y); here a plain shift of the second series.
    shift = np.array([4.0, 3.0, -1.0])
    first = write_dot(tmp_path / "a.mrc", POINT)
    second = write_dot(tmp_path / "b.mrc", POINT - shift, azimuth=90)
    (tmp_path / "solve.xf").write_text("1 0 0 4\n0 1 0 1\n0 0 1 3\n")
    volume = reconstruct(first, second, to=tmp_path / "v.mrc", thickness=17,
                         flags=["--azimuth", 0, 90, "--transform", "none", tmp_path / "solve.xf"])
    np.testing.assert_allclose(dot_place(volume), PIXEL * POINT, atol=0.1 * PIXEL)


# Other verbs


def test_simulate_writes_stacks_angles_and_truth(simulated):
    names = {"axis_000.mrc", "axis_000.tlt", "axis_090.mrc", "axis_090.tlt", "truth.mrc", "simulation.json",
             "simulation.html"}
    assert {path.name for path in simulated.iterdir()} == names
    with open_stack(simulated / "axis_090.mrc") as stack:
        assert len(stack) == 13 and stack.image_shape == (32, 32)
        assert stack.voxel_size[:2] == pytest.approx((12, 12))
    np.testing.assert_allclose(read_angles(simulated / "axis_090.tlt"), np.arange(-60, 61, 10))
    truth, header = read_volume(simulated / "truth.mrc")
    assert truth.shape == (12, 32, 32)
    assert header.origin == pytest.approx((-16 * 12, -16 * 12, -6 * 12))


def test_simulations_repeat_with_their_seed_only(simulated, tmp_path):
    flags = ["--axes", 0, "--step", 10, "--size", 32, "--thickness", 12, "--snr", 4, "--voxel-size", 12, "-q"]
    for seed in (3, 4):
        run("simulate", "tilt-series", "-o", tmp_path / str(seed), "--seed", seed, *flags)
    first = (simulated / "axis_000.mrc").read_bytes()
    assert (tmp_path / "3" / "axis_000.mrc").read_bytes() == first
    assert (tmp_path / "4" / "axis_000.mrc").read_bytes() != first


def test_a_map_as_phantom(tmp_path):
    z, y, x = np.indices((12, 32, 32)) - np.array([6, 16, 16])[:, None, None, None]
    blob = np.exp(-((x - 5) ** 2 + (y + 4) ** 2 + (z - 1) ** 2) / 8)
    write_volume(tmp_path / "blob.mrc", blob, voxel_size=PIXEL)
    run("simulate", "tilt-series", "-o", tmp_path / "s", "--phantom", tmp_path / "blob.mrc", "--axes", 0, "--step", 5,
        "--tilt-range", -75, 75, "--size", 32, "--thickness", 12, "--voxel-size", PIXEL, "--snr", 0, "-q")
    np.testing.assert_allclose(read_volume(tmp_path / "s" / "truth.mrc")[0], blob, atol=1e-6)
    volume = reconstruct(tmp_path / "s" / "axis_000.mrc", to=tmp_path / "v.mrc", thickness=12)
    np.testing.assert_allclose(dot_place(volume), PIXEL * np.array([5, -4, 1]), atol=0.1 * PIXEL)


def test_evaluate_against_the_truth(plain_run, simulated, tmp_path, capsys):
    truth = simulated / "truth.mrc"
    run("evaluate", "volume", truth, "--truth", truth)
    figures = json.loads(capsys.readouterr().out)
    assert figures["correlation"] == pytest.approx(1)
    assert figures["fsc_0.5_angstrom"] is None
    # The run has the other hand; two axes tell it, the truth does too.
    run("evaluate", "volume", plain_run[0], "--truth", truth, "-o", tmp_path / "f.json", "--report",
        tmp_path / "f.html")
    assert capsys.readouterr().out == ""
    worse = json.loads((tmp_path / "f.json").read_text())["correlation"]
    assert worse < 0.9 and "data:image/png" in (tmp_path / "f.html").read_text()


def test_evaluate_against_views(both, tmp_path, capsys):
    run("reconstruct", *both, "-o", tmp_path / "v.mrc", "--method", "sirt", "--iterations", 30, "--no-report", "-q")
    fitted = json.loads((tmp_path / "v.json").read_text())["quality"]["ncc_fitted"]
    stacks = [both[0], both[1], "--azimuth", 0, 90]
    run("evaluate", "volume", tmp_path / "v.mrc", "--against", *stacks)
    figures = json.loads(capsys.readouterr().out)
    assert len(figures["views"]) == 26
    # The run compares on the base plane, this on the detector.
    assert figures["ncc"] == pytest.approx(fitted, abs=0.03)
    run("evaluate", "volume", tmp_path / "v.mrc", "--against", *stacks, "--views", "2,5-6", "--band", 200, 40)
    figures = json.loads(capsys.readouterr().out)
    assert [view["view"] for view in figures["views"]] == [1, 4, 5] * 2


def test_evaluate_fsc(simulated, capsys):
    truth = simulated / "truth.mrc"
    run("evaluate", "fsc", truth, truth)
    figures = json.loads(capsys.readouterr().out)
    assert len(figures["cycles_per_voxel"]) == len(figures["fsc"])
    np.testing.assert_allclose(figures["fsc"], 1, atol=1e-6)


def test_info_says_what_files_are(simulated, plain_run, tmp_path, capsys):
    (tmp_path / "a.xf").write_text("0 1 -1 0 2 -3\n0 1 -1 0 4 5\n")
    (tmp_path / "solve.xf").write_text("1 0 0 4\n0 1 0 1\n0 0 1 3\n")
    run("info", simulated / "axis_000.mrc", simulated / "axis_000.tlt", plain_run[0], tmp_path / "a.xf",
        tmp_path / "solve.xf", "--json")
    stack, angles, volume, alignment, transform = map(json.loads, capsys.readouterr().out.splitlines())
    assert stack["size (x, y, z)"] == [32, 32, 13] and stack["voxel size (A)"][0] == 12
    assert angles["views"] == 13 and angles["range (degrees)"] == [-60, 60]
    assert any("Concordet" in label for label in volume["labels"])
    assert alignment["views"] == 2 and alignment["rotation (degrees)"] == [-90, -90]
    assert transform["matrix"][0] == [1, 0, 0, 4]
    run("info", simulated / "axis_000.mrc")
    assert "32, 32, 13" in capsys.readouterr().out


def test_info_of_odd_files(tmp_path, capsys):
    """A volume with other axes, and a stack with a NaN in its middle view: described, not refused."""
    with mrcfile.new(tmp_path / "turned.mrc", np.zeros((4, 6, 8), np.float32)) as file:
        file.header.mapc, file.header.mapr, file.header.maps = 3, 2, 1
    broken = np.zeros((3, 6, 8), np.float32)
    broken[1, 2, 3] = np.nan
    with mrcfile.new(tmp_path / "broken.mrc") as file, np.errstate(invalid="ignore"):
        file.set_data(np.zeros_like(broken))
        file.data[...] = broken
    run("info", tmp_path / "turned.mrc", tmp_path / "broken.mrc")
    shown = capsys.readouterr().out
    assert "z y x" in shown and "1 pixels are NaN" in shown
