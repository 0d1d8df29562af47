"""concordet evaluate on maps, particles and classes: figures, pages, and one line for what it refuses."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from concordet import rigid
from concordet.cli import main
from concordet.io import read_volume, write_volume
from concordet.io.particles import ParticleSet, read_particles, write_particles
from concordet.rigid import Poses
from concordet.wedge import TiltRange
from reference import evaluation as twin

BOX, COUNT, VOXEL = 20, 8, 10.0
CENTRES = np.array([[4, 0, 0], [-2, 4, 1], [0, -3, 4], [1, 2, -5], [-4, -2, -2.0]])
WEIGHTS = (1.0, 0.8, 1.2, 0.9, 0.7)


def molecule(rotation=None, shift=(0, 0, 0), box=BOX):
    at = twin.positions(box)
    centres = CENTRES @ (np.eye(3) if rotation is None else rotation).T + shift
    return sum(w * np.exp(-((at - c) ** 2).sum(axis=-1) / 4.5) for c, w in zip(centres, WEIGHTS, strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A map in another frame than its truth; particles with a wedge, true poses, poses found, and classes."""
    rng = np.random.default_rng(7)
    home = tmp_path_factory.mktemp("evaluate")
    frame = Poses(rigid.random_rotations(1, rng), np.array([[1.5, -1.0, 0.5]]))
    truth = molecule()
    average = molecule(frame.rotations[0], frame.shifts[0])
    noise = 0.3 * truth.std() * rng.standard_normal((2, *truth.shape))
    write_volume(home / "truth.mrc", truth, voxel_size=VOXEL)
    write_volume(home / "map.mrc", average + noise.mean(axis=0), voxel_size=VOXEL)
    for name, one in zip("ab", noise, strict=True):
        write_volume(home / f"half_{name}.mrc", average + one, voxel_size=VOXEL)
    wedge = TiltRange(-60, 60)
    write_volume(home / "wedge.mrc", wedge.volume(BOX), voxel_size=VOXEL)
    seen = np.fft.ifftshift(wedge.volume(BOX))
    poses = Poses(rigid.random_rotations(COUNT, rng), rng.uniform(-1, 1, (COUNT, 3)))
    (home / "sub").mkdir()
    for i in range(COUNT):
        volume = molecule(poses.rotations[i], poses.shifts[i])
        volume = volume + volume.std() * rng.standard_normal(volume.shape)
        write_volume(home / "sub" / f"p{i}.mrc", np.fft.ifftn(np.fft.fftn(volume) * seen).real, voxel_size=VOXEL)
    true = ParticleSet(paths=tuple(home / "sub" / f"p{i}.mrc" for i in range(COUNT)), voxel_size=VOXEL, box=BOX,
                       poses=poses, weight_paths=(home / "wedge.mrc",) * COUNT, classes=np.array([1, 2] * 4))
    write_particles(home / "true.star", true)
    errors = Poses(rigid.from_rotation_vector(rng.normal(0, 0.03, (COUNT, 3))), rng.normal(0, 0.1, (COUNT, 3)))
    found = rigid.compose(rigid.compose(errors, poses), frame.inverse())
    order = rng.permutation(COUNT)
    write_particles(home / "found.star", replace(true, poses=found, classes=3 - true.classes).select(order))
    write_particles(home / "one_class.star", replace(true, poses=found, classes=None))
    write_particles(home / "no_poses.star", replace(true, has_poses=False, weight_paths=None))
    return home


def run(*arguments):
    assert main([str(word) for word in arguments]) == 0


@pytest.fixture
def figures(capsys):
    """Figures of one run, from stdout."""
    def of(*arguments):
        run("evaluate", *arguments)
        captured = capsys.readouterr()
        return json.loads(captured.out)
    return of


def test_an_average_is_compared_after_alignment(folder, figures):
    found = figures("average", folder / "map.mrc", "--truth", folder / "truth.mrc")
    assert found["correlation"] > 0.95
    assert 2 * VOXEL <= found["fsc_0.143_angstrom"] < found["fsc_0.5_angstrom"] < 60
    np.testing.assert_allclose(found["shift_voxels"], [1.5, -1.0, 0.5], atol=0.15)
    assert np.linalg.det(found["rotation"]) == pytest.approx(1)
    rotation = rigid.from_relion(*found["rotation_relion_degrees"])
    assert rigid.geodesic(rotation, np.array(found["rotation"])) < 0.01
    fixed = figures("average", folder / "map.mrc", "--truth", folder / "truth.mrc", "--fixed")
    assert fixed["correlation"] < 0.8 and fixed["shift_voxels"] == [0, 0, 0]


def test_poses_are_judged_class_by_class_whatever_their_frame_and_order(folder, figures):
    both = ["average", folder / "map.mrc", "--truth", folder / "truth.mrc", "--true-poses", folder / "true.star"]
    one = figures(*both, "--poses", folder / "one_class.star")
    assert one["particles"] == COUNT and len(one["classes"]) == 1
    assert one["pose_error_degrees"]["median"] < 5 and one["pose_error_degrees"]["within_15"] == 1
    assert one["shift_error_voxels"]["mean"] < 0.5
    assert one["shift_error_angstrom"]["mean"] == pytest.approx(VOXEL * one["shift_error_voxels"]["mean"])
    two = figures(*both, "--poses", folder / "found.star")
    assert [(part["class"], part["particles"]) for part in two["classes"]] == [(2, 4), (1, 4)]
    assert two["particles_of_other_classes"] == 0 and two["pose_error_degrees"]["mean"] < 5
    # The frames of map and poses are one.
    assert rigid.geodesic(np.array(one["classes"][0]["frame_rotation"]), np.array(one["rotation"])) < 4


def test_the_two_fold_axes_of_a_dihedral_truth_need_not_lie_along_x(folder, tmp_path, figures):
    about = rigid.from_zyz(0.2, 0.0, 0.0)
    flip, quarter = np.diag([1.0, -1.0, -1.0]), rigid.symmetry_group("C4")
    volume = sum(molecule(about @ turn @ also) for turn in quarter for also in (np.eye(3), flip))
    write_volume(tmp_path / "d4.mrc", volume, voxel_size=VOXEL)
    found = figures("average", tmp_path / "d4.mrc", "--truth", tmp_path / "d4.mrc", "--fixed", "--poses",
                    folder / "one_class.star", "--true-poses", folder / "true.star", "--symmetry", "d4")
    assert found["symmetry"]["group"] == "D4" and found["symmetry"]["two_fold_correlation"] > 0.99
    assert found["symmetry"]["two_fold_azimuth_degrees"] == pytest.approx(np.degrees(0.2), abs=0.5)


def test_the_aligned_truth_is_written(folder, tmp_path, figures):
    found = figures("average", folder / "map.mrc", "--truth", folder / "truth.mrc", "--aligned-truth",
                    tmp_path / "t.mrc")
    carried, header = read_volume(tmp_path / "t.mrc")
    assert header.voxel_size[0] == pytest.approx(VOXEL)
    again = figures("average", folder / "map.mrc", "--truth", tmp_path / "t.mrc", "--fixed")
    assert again["sharp_correlation"] == pytest.approx(found["sharp_correlation"], abs=1e-4)
    assert np.corrcoef(carried.ravel(), read_volume(folder / "map.mrc")[0].ravel())[0, 1] > 0.9


def test_classes_are_matched_by_image_name(folder, figures):
    found = figures("classes", folder / "found.star", "--truth", folder / "true.star")
    assert found["f1"] == found["precision"] == found["recall"] == found["accuracy"] == 1
    assert [(one["true_class"], one["class"]) for one in found["classes"]] == [(1, 2), (2, 1)]
    assert found["confusion"] == [[0, 4], [4, 0]]


def test_particles_left_out_are_told_of(folder, tmp_path, capsys):
    chosen = read_particles(folder / "found.star").select(range(5))
    write_particles(tmp_path / "five.star", chosen)
    run("evaluate", "classes", tmp_path / "five.star", "--truth", folder / "true.star")
    captured = capsys.readouterr()
    assert json.loads(captured.out)["particles"] == 5
    assert "3 particles" in captured.err and "not judged" in captured.err


def test_names_as_long_as_it_takes_tell_particles_apart(folder, tmp_path, figures):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_volume(tmp_path / name / "p.mrc", molecule(), voxel_size=VOXEL)
    for star, classes in (("a", [1, 2]), ("b", [5, 4])):
        write_particles(tmp_path / f"{star}.star", ParticleSet(
            paths=(tmp_path / "one" / "p.mrc", tmp_path / "two" / "p.mrc"), voxel_size=VOXEL, box=BOX,
            poses=Poses.identity(2), classes=np.array(classes)))
    found = figures("classes", tmp_path / "a.star", "--truth", tmp_path / "b.star")
    assert [(one["true_class"], one["class"]) for one in found["classes"]] == [(4, 2), (5, 1)]


def test_symmetry_scores(tmp_path, figures):
    volume = sum(molecule(turn) for turn in rigid.symmetry_group("C4"))
    write_volume(tmp_path / "c4.mrc", volume, voxel_size=VOXEL)
    found = figures("symmetry", tmp_path / "c4.mrc", "--fold", 4)
    assert found["symmetry_score"] > 0.99 and set(found["other_folds"]) == {"3", "5"}
    assert max(found["other_folds"].values()) < 0.95 and found["axis"] == [0, 0, 1]
    tilt = rigid.from_zyz(0.0, np.radians(6), 0.0)
    write_volume(tmp_path / "tilted.mrc", sum(molecule(tilt @ turn) for turn in rigid.symmetry_group("C4")),
                 voxel_size=VOXEL)
    there = figures("symmetry", tmp_path / "tilted.mrc", "--fold", 4, "--axis-within", 8, "--mask-diameter", 170)
    assert there["axis_moved_degrees"] == pytest.approx(6, abs=1) and there["symmetry_score"] > 0.98


def test_snr_of_particles(folder, figures):
    found = figures("snr", folder / "true.star", "-q")
    assert found["snr"] == pytest.approx(1, rel=0.2) and found["particles"] == COUNT
    ranged = figures("snr", folder / "true.star", "--tilt-range", -60, 60, "-q")
    assert ranged["snr"] == pytest.approx(found["snr"], rel=0.1)
    masked = figures("snr", folder / "true.star", "--wedge", folder / "wedge.mrc", "--mask-diameter", 140,
                     "--resolution", 25, "-q")
    assert masked["snr"] > 1.3 * found["snr"] and len(masked["snr_per_shell"]) == 8


def test_snr_of_particles_of_one_class(folder, capsys):
    run("evaluate", "snr", folder / "true.star")
    pooled = capsys.readouterr()
    assert "warning" in pooled.err and "2 classes" in pooled.err and "--class" in pooled.err
    run("evaluate", "snr", folder / "true.star", "--class", 2)
    one = capsys.readouterr()
    assert "warning" not in one.err and json.loads(one.out)["particles"] == COUNT / 2
    run("evaluate", "snr", folder / "one_class.star")
    assert "warning" not in capsys.readouterr().err


def test_symmetry_of_the_truth_is_checked(folder, tmp_path, capsys):
    quarter, flip = rigid.symmetry_group("C4"), np.diag([1.0, -1.0, -1.0])
    write_volume(tmp_path / "c4.mrc", sum(molecule(turn) for turn in quarter), voxel_size=VOXEL)
    write_volume(tmp_path / "d4.mrc", sum(molecule(turn @ also) for turn in quarter for also in (np.eye(3), flip)),
                 voxel_size=VOXEL)

    def symmetry(truth, group):
        run("evaluate", "average", folder / "map.mrc", "--truth", truth, "--fixed", "--symmetry", group)
        captured = capsys.readouterr()
        return json.loads(captured.out)["symmetry"], captured.err

    found, said = symmetry(tmp_path / "d4.mrc", "D4")
    assert min(found["n_fold_score"], found["two_fold_correlation"]) > 0.99 and said == ""
    found, said = symmetry(tmp_path / "c4.mrc", "D4")
    assert found["n_fold_score"] > 0.99 and found["two_fold_correlation"] < 0.95
    assert said.count("warning") == 1 and "c4.mrc" in said and f"{found['two_fold_correlation']:.2f}" in said
    assert symmetry(tmp_path / "c4.mrc", "C4")[1] == ""
    found, said = symmetry(tmp_path / "c4.mrc", "C3")
    assert found["n_fold_score"] < 0.95 and f"{found['n_fold_score']:.2f} about the 3-fold" in said


def test_coverage_of_poses(folder, figures):
    found = figures("coverage", folder / "true.star")
    assert found["mean_coverage"] == pytest.approx(2 / 3, abs=0.03)
    assert found["least_covered"] <= found["mean_coverage"] <= found["most_covered"]
    assert np.linalg.norm(found["worst_direction"]) == pytest.approx(1)
    ranged = figures("coverage", folder / "true.star", "--tilt-range", -60, 60)
    assert ranged["mean_coverage"] == pytest.approx(2 / 3, abs=0.01)
    narrow = figures("coverage", folder / "true.star", "--tilt-range", -30, 30, "--tilt-axis", "x")
    assert narrow["mean_coverage"] == pytest.approx(1 / 3, abs=0.01)


def test_fsc_with_a_mask(folder, figures):
    halves = folder / "half_a.mrc", folder / "half_b.mrc"
    plain = figures("fsc", *halves)
    assert "masked" not in plain and plain["fsc_0.143_angstrom"] < plain["fsc_0.5_angstrom"]
    found = figures("fsc", *halves, "--mask-diameter", 120)
    assert found["fsc"] == plain["fsc"]
    assert np.mean(found["masked"]["fsc"]) > np.mean(found["fsc"])
    assert {"fsc", "fsc_0.143_angstrom", "fsc_0.5_angstrom"} == set(found["corrected"]) == set(found["randomised"])
    given = figures("fsc", *halves, "--mask", folder / "wedge.mrc")
    assert given["masked"]["fsc"] != found["masked"]["fsc"]


PAGES = {
    "average": (["map.mrc", "--truth", "truth.mrc", "--poses", "found.star", "--true-poses", "true.star"],
                ["Map and truth", "Errors of rotations", "Orientations found"], 7),
    "fsc": (["half_a.mrc", "half_b.mrc", "--mask-diameter", "120"], ["Half maps", "Mask"], 6),
    "classes": (["found.star", "--truth", "true.star"], ["Classes", "Per class"], 1),
    "symmetry": (["map.mrc", "--fold", "3"], ["Symmetry score"], 2),
    "snr": (["true.star", "-q"], ["SNR per shell"], 1),
    "coverage": (["true.star"], ["Fourier coverage", "Orientations"], 3),
}


@pytest.mark.parametrize("kind", PAGES)
def test_pages_have_their_pictures(folder, tmp_path, kind, capsys):
    words, headings, pictures = PAGES[kind]
    words = [folder / word if re.search(r"\.(mrc|star)$", word) else word for word in words]
    run("evaluate", kind, *words, "-o", tmp_path / "f.json", "--report", tmp_path / "f.html")
    assert capsys.readouterr().out == ""
    page = (tmp_path / "f.html").read_text()
    for heading in headings:
        assert f"<h2>{heading}</h2>" in page
    assert page.count("data:image/png;base64,") == pictures
    kept = json.loads((tmp_path / "f.json").read_text())
    assert kept["verb"] == f"evaluate {kind}" and all(len(one["sha256"]) == 64 for one in kept["inputs"])


# Refusals


@pytest.fixture
def refused(tmp_path, capsys):
    """Status 2, one line on stderr, nothing written; returns the line."""
    def check(*arguments):
        before = sorted(tmp_path.rglob("*"))
        assert main(["evaluate", *(str(word) for word in arguments)]) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and len(captured.err.splitlines()) == 1, captured.err
        assert "Traceback" not in captured.err and "unexpected" not in captured.err
        assert sorted(tmp_path.rglob("*")) == before
        return captured.err
    return check


def says(line, *words):
    for word in words:
        assert str(word) in line, line


def test_maps_that_cannot_be_compared(folder, tmp_path, refused):
    for name, volume in {"flat": np.ones((BOX,) * 3), "small": np.arange(16.0**3).reshape((16,) * 3),
                         "slab": np.arange(BOX**2 * 10.0).reshape(10, BOX, BOX)}.items():
        write_volume(tmp_path / f"{name}.mrc", volume, voxel_size=VOXEL)
    write_volume(tmp_path / "other.mrc", molecule(), voxel_size=4.0)
    bad = molecule().astype(np.float32)
    write_volume(tmp_path / "nan.mrc", bad, voxel_size=VOXEL)
    content = bytearray((tmp_path / "nan.mrc").read_bytes())
    content[-4:] = np.float32(np.nan).tobytes()
    (tmp_path / "nan.mrc").write_bytes(content)
    average, truth = folder / "map.mrc", folder / "truth.mrc"
    says(refused("average", average, "--truth", tmp_path / "small.mrc"), "small.mrc", f"a box of {BOX}", "got 16")
    says(refused("average", tmp_path / "slab.mrc", "--truth", truth), "slab.mrc", "cubic", f"(10, {BOX}, {BOX})")
    says(refused("average", tmp_path / "flat.mrc", "--truth", truth), "flat.mrc", "got 1 in every voxel")
    says(refused("average", tmp_path / "nan.mrc", "--truth", truth), "nan.mrc", "NaN")
    says(refused("average", average, "--truth", tmp_path / "other.mrc"), "other.mrc", "10 A", "got 4 A", "--voxel-size")
    says(refused("average", average, "--truth", folder / "none.mrc"), "none.mrc")
    says(refused("fsc", average, tmp_path / "other.mrc"), "other.mrc", "got 4 A")
    says(refused("symmetry", tmp_path / "slab.mrc", "--fold", 3), "slab.mrc", "cubic")
    for pair in ((average, tmp_path / "flat.mrc"), (tmp_path / "flat.mrc", average)):
        says(refused("fsc", *pair), "flat.mrc", "expected", "got 1 in every voxel")


def test_flags_that_make_no_sense(folder, tmp_path, refused):
    average = ["average", folder / "map.mrc", "--truth", folder / "truth.mrc"]
    poses = ["--poses", folder / "found.star", "--true-poses", folder / "true.star"]
    says(refused(*average, "--poses", folder / "found.star"), "--poses", "--true-poses")
    says(refused(*average, "--true-poses", folder / "found.star"), "--true-poses", "expected --poses")
    says(refused(*average, *poses, "--symmetry", "E8"), "symmetry", "E8")
    says(refused(*average, "--mask-radius", 0.7), "--mask-radius", "up to 0.5", "got 0.7")
    says(refused(*average, "--max-shift", -3), "--max-shift", "-3")
    says(refused(*average, "--voxel-size", 0), "--voxel-size", "got 0")
    says(refused(*average, "--aligned-truth", folder / "map.mrc"), "map.mrc", "none of the inputs")
    says(refused(*average, "-o", tmp_path / "x.mrc", "--aligned-truth", tmp_path / "x.mrc"), "x.mrc", "of its own")
    says(refused("symmetry", folder / "map.mrc", "--fold", 1), "--fold", "2 or more", "got 1")
    says(refused("symmetry", folder / "map.mrc", "--fold", 3, "--axis", 0, 0, 0), "axis", "got 0 0 0")
    says(refused("symmetry", folder / "map.mrc", "--fold", 3, "--axis-within", 120), "--axis-within", "got 120")
    says(refused("symmetry", folder / "map.mrc", "--fold", 3, "--mask-diameter", 0), "--mask-diameter", "got 0")
    says(refused("symmetry", folder / "map.mrc", "--fold", 3, "--resolution", 500), "--resolution", "got 500")
    says(refused("symmetry", folder / "map.mrc", "--fold", 3, "--resolution", 15), "--resolution", "at least 2 voxels",
         "20 A", "got 15")
    says(refused("snr", folder / "one_class.star", "--resolution", 15), "--resolution", "at least 2 voxels", "got 15")
    says(refused("fsc", folder / "map.mrc", folder / "truth.mrc", "--mask-diameter", -1), "--mask-diameter", "got -1")
    says(refused("fsc", folder / "map.mrc", folder / "truth.mrc", "--mask-diameter", 347), "--mask-diameter",
         "at most the diagonal", "346.4 A", "got 347")


def test_masks_that_do_not_fit(folder, tmp_path, refused):
    write_volume(tmp_path / "small.mrc", np.arange(16.0**3).reshape((16,) * 3), voxel_size=VOXEL)
    write_volume(tmp_path / "high.mrc", 7 * molecule(), voxel_size=VOXEL)
    halves = ["fsc", folder / "half_a.mrc", folder / "half_b.mrc", "--mask"]
    says(refused(*halves, tmp_path / "small.mrc"), "small.mrc", "(20, 20, 20)", "(16, 16, 16)")
    says(refused(*halves, tmp_path / "high.mrc"), "high.mrc", "0 to 1")


def test_stars_that_do_not_match(folder, tmp_path, refused):
    true = read_particles(folder / "true.star")
    write_particles(tmp_path / "few.star", true.select([0, 2]))
    write_particles(tmp_path / "twice.star", true.select([0, 1, 1]))
    (tmp_path / "empty.star").write_text("data_particles\n\nloop_\n_rlnImageName #1\n_rlnImagePixelSize #2\n\n")
    says(refused("classes", folder / "found.star", "--truth", tmp_path / "few.star"), "few.star", "none named p",
         "and 5 more")
    says(refused("classes", tmp_path / "twice.star", "--truth", folder / "true.star"), "twice.star", "p1.mrc twice")
    says(refused("classes", folder / "one_class.star", "--truth", folder / "true.star"), "one_class.star",
         "rlnClassNumber")
    says(refused("classes", tmp_path / "empty.star", "--truth", folder / "true.star"), "empty.star")
    says(refused("classes", tmp_path / "none.star", "--truth", folder / "true.star"), "none.star")
    says(refused("average", folder / "map.mrc", "--truth", folder / "truth.mrc", "--poses", folder / "no_poses.star",
                 "--true-poses", folder / "true.star"), "no_poses.star", "rlnAngleRot")


def test_particles_that_cannot_be_judged(folder, tmp_path, refused):
    true = read_particles(folder / "true.star")
    volumes = {"zero": np.zeros((BOX,) * 3), "small": np.arange(16.0**3).reshape((16,) * 3)}
    for name, volume in volumes.items():
        write_volume(tmp_path / f"{name}.mrc", volume, voxel_size=VOXEL)
    (tmp_path / "nan.mrc").write_bytes((folder / "sub" / "p0.mrc").read_bytes()[:-4] + np.float32(np.nan).tobytes())

    def with_particle(name, **changed):
        paths = (*true.paths[:3], tmp_path / f"{name}.mrc", *true.paths[4:])
        write_particles(tmp_path / f"{name}.star", replace(true, paths=paths, **changed))
        return tmp_path / f"{name}.star"

    for name, word in (("zero", "every voxel"), ("nan", "NaN"), ("small", "got 16"), ("gone", "got none")):
        says(refused("snr", with_particle(name), "-q"), f"{name}.mrc", word)
    write_particles(tmp_path / "one.star", true.select([0]))
    says(refused("snr", tmp_path / "one.star"), "one.star", "two aligned particles", "got 1")
    says(refused("snr", folder / "no_poses.star"), "no_poses.star", "poses")
    write_particles(tmp_path / "bare.star", replace(true, weight_paths=None))
    for kind in ("snr", "coverage"):
        says(refused(kind, tmp_path / "bare.star"), "bare.star", "rlnCtfImage", "--tilt-range")
        says(refused(kind, folder / "true.star", "--tilt-range", 60, -60), "--tilt-range", "low < high", "60 -60")
        says(refused(kind, folder / "true.star", "--wedge", tmp_path / "small.mrc"), "small.mrc", "16")
        says(refused(kind, folder / "true.star", "--tilt-range", -60, 60, "--wedge", folder / "wedge.mrc"), "--wedge")


@pytest.mark.parametrize("kind", ["raw", "premultiplied"])
def test_snr_of_data_with_a_ctf_is_refused(folder, tmp_path, refused, kind):
    line = np.arange(BOX) - BOX // 2
    radius = np.sqrt(np.square(line[:, None, None]) + np.square(line[:, None]) + np.square(line))
    ctf = np.cos(radius) * TiltRange(-60, 60).volume(BOX)
    write_volume(tmp_path / "ctf.mrc", ctf if kind == "raw" else ctf**2, voxel_size=VOXEL)
    true = replace(read_particles(folder / "true.star"), weight_paths=(tmp_path / "ctf.mrc",) * COUNT, ctf=kind)
    write_particles(tmp_path / "ctf.star", true)
    for flags in ([], ["--tilt-range", -60, 60]):
        says(refused("snr", tmp_path / "ctf.star", *flags), "ctf.star", "expected binary weights", kind)
    # The same weights by hand, of particles that say nothing of a CTF.
    write_particles(tmp_path / "bare.star", replace(true, weight_paths=None, ctf="binary"))
    says(refused("snr", tmp_path / "bare.star", "-q", "--wedge", tmp_path / "ctf.mrc"), "ctf.mrc", "weights")


def test_snr_of_particles_that_are_not_of_one_molecule_or_come_twice(folder, tmp_path, refused):
    true = read_particles(folder / "true.star")
    write_particles(tmp_path / "twice.star", true.select([0, 1, 2, 1]))
    says(refused("snr", tmp_path / "twice.star", "-q"), "twice.star", "every particle once", "sub/p1.mrc twice")
    says(refused("snr", folder / "true.star", "--class", 3), "--class", "1 2", "got 3")
    says(refused("snr", folder / "one_class.star", "--class", 1), "one_class.star", "rlnClassNumber")
