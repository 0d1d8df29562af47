"""`concordet average`: files as promised, flags that do what they say, the same bits resumed, refusals in one line."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import concordet
from concordet import evaluation, rigid
from concordet.cli import main
from concordet.cli.average_halves import matching
from concordet.cli.average_output import piled_up
from concordet.io import read_header, read_star, read_volume, write_volume
from concordet.io.particles import read_particles, write_particles
from reference.simulation import gaussians

BOX, VOXEL, COUNT = 24, 10.0, 24
CENTRES = np.array([[3.5, 0.5, -1.0], [-2.0, 4.5, 1.0], [0.0, -2.0, 3.5], [-3.5, -1.0, -3.0], [1.0, 1.0, 1.0]])
OTHER = np.array([[0.5, 0.5, -5.0], [0.0, 1.5, -2.0], [0.0, -0.5, 1.5], [0.5, 2.0, 4.5], [3.0, 1.0, 3.0]])


def run(*arguments, status=0):
    assert main([str(word) for word in arguments]) == status


def write_map(path, centres=CENTRES, box=BOX):
    write_volume(path, gaussians(box, centres, [1.3] * 5, [1.0, 0.7, 1.2, 0.6, 0.9]), voxel_size=VOXEL)
    return path


def simulated(folder, *flags, seed=1):
    maps = [write_map(folder.parent / "a.mrc"), write_map(folder.parent / "b.mrc", OTHER)]
    run("simulate", "subtomograms", "-o", folder, *maps, "--count", COUNT // 2, "--box", BOX, "--snr", 0.3,
        "--max-shift", 1.5, "--seed", seed, "-q", "--no-report", *flags)
    return folder


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    """A folder with particles of two molecules."""
    return simulated(tmp_path_factory.mktemp("average") / "set")


@pytest.fixture(scope="module")
def averaged(particles, tmp_path_factory):
    folder = tmp_path_factory.mktemp("averaged") / "out"
    run("average", particles / "particles.star", "-o", folder, "--classes", 2, "--iterations", 4, "-q")
    return folder


def average(star, folder, *flags, **options):
    run("average", star, "-o", folder, "--iterations", 2, "-q", "--no-report", *flags, **options)
    return json.loads((folder / "average.json").read_text()) if not options.get("status") else None


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def correlation(folder, name, truth):
    return evaluation.align(read_volume(folder / name)[0], read_volume(truth)[0]).correlation


# What is written


def test_files(averaged):
    maps = {f"class_{k:03d}{half}.mrc" for k in (1, 2) for half in ("", "_half1", "_half2")}
    assert names(averaged) == {*maps, "particles.star", "fsc.star", "average.json", "average.html"}
    for name in maps:
        header = read_header(averaged / name)
        assert header.volume_shape == (BOX,) * 3 and header.voxel_size == pytest.approx((VOXEL,) * 3)


def test_particles_keep_their_images_and_gain_poses_classes_and_probabilities(averaged, particles):
    given, found = read_particles(particles / "particles.star"), read_particles(averaged / "particles.star")
    assert [path.resolve() for path in found.paths] == [path.resolve() for path in given.paths]
    assert [path.resolve() for path in found.weight_paths] == [path.resolve() for path in given.weight_paths]
    assert found.has_poses and set(found.classes) <= {1, 2} and found.version == "RELION 3.1"
    assert found.columns["rlnMicrographName"] == given.columns["rlnMicrographName"]
    chances = np.array(found.columns["rlnMaxValueProbDistribution"], float)
    assert (chances >= 0.5).all() and (chances <= 1).all()
    entropy = np.array(found.columns["concordetEntropy"], float)
    samples = np.array(found.columns["rlnNrOfSignificantSamples"], int)
    np.testing.assert_array_equal(samples, np.maximum(np.rint(np.exp(entropy)), 1))
    likelihoods = np.array(found.columns["rlnLogLikeliContribution"], float)
    record = json.loads((averaged / "average.json").read_text())
    assert likelihoods.sum() == pytest.approx(record["quality"]["iterations"][-1]["log_likelihood"], rel=1e-6)


def test_names_are_relative_to_the_output_wherever_it_lies(particles, tmp_path):
    """Beside the particles and within their folder; n@stack as well."""
    star = read_particles(particles / "particles.star")
    stack = tmp_path / "deep" / "stack.mrcs"
    stack.parent.mkdir()
    write_volume(stack, np.concatenate([star.volume(i) for i in range(4)]), voxel_size=VOXEL)
    write_particles(tmp_path / "deep" / "p.star", replace(
        star.select(range(4)), paths=tuple((i + 1, stack) for i in range(4))))
    average(tmp_path / "deep" / "p.star", tmp_path / "deep" / "out")
    names_of = read_star(tmp_path / "deep" / "out" / "particles.star")["particles"].texts("rlnImageName")
    assert names_of == [f"{i}@../stack.mrcs" for i in range(1, 5)]
    found = read_particles(tmp_path / "deep" / "out" / "particles.star")
    np.testing.assert_array_equal(found.volume(2), star.volume(2))


def test_the_fsc_is_that_of_the_half_maps(averaged):
    blocks = read_star(averaged / "fsc.star")
    assert list(blocks) == ["fsc_class_001", "fsc_class_002"]
    for k in (1, 2):
        halves = [read_volume(averaged / f"class_{k:03d}_half{h}.mrc")[0] for h in (1, 2)]
        frequencies, curve = evaluation.fsc(*halves)
        block = blocks[f"fsc_class_{k:03d}"]
        count = len(block)
        assert 6 <= count <= BOX // 2 + 1
        np.testing.assert_array_equal(block.ints("rlnSpectralIndex"), np.arange(count))
        np.testing.assert_allclose(block.floats("rlnFourierShellCorrelation"), curve[:count], atol=1e-5)
        np.testing.assert_allclose(block.floats("rlnAngstromResolution")[1:], VOXEL / frequencies[1:count], rtol=1e-5)


def test_the_record(averaged, particles):
    record = json.loads((averaged / "average.json").read_text())
    assert record["parameters"]["classes"] == 2 and record["settings"]["classes"] == 2
    assert record["inputs"][0]["file"] == str(particles / "particles.star") and record["inputs"][0]["sha256"]
    assert record["particles"]["count"] == COUNT and record["particles"]["scales"] is None
    assert {"read", "average", "judge"} <= set(record["stages"])
    iterations = record["quality"]["iterations"]
    assert [one["iteration"] for one in iterations] == [1, 2, 3, 4]
    for one in iterations:
        assert sum(line["occupancy"] for line in one["classes"]) == pytest.approx(COUNT)
        assert sum(one["cpu_seconds"].values()) > 0
    assert sum(one["particles"] for one in record["quality"]["classes"]) == COUNT
    assert record["performance"]["peak_memory_bytes"][0] > 0


def test_the_page(averaged):
    page = (averaged / "average.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    for heading in ("Averages", "Projections", "Fourier shell correlation of half maps", "Likelihood", "Occupancies",
                    "Resolution", "Changes of poses", "Time of each step", "Parameters"):
        assert f"{heading}</h2>" in page
    assert page.count("Orientations of class") >= 2 and page.count("Fourier coverage of class") >= 2


def test_what_is_said(particles, tmp_path, capsys):
    run("average", particles / "particles.star", "-o", tmp_path / "out", "--iterations", 2, "-v", "--no-report")
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("iteration ") for line in lines) == 2
    assert "nan" not in "".join(lines)
    assert any("class 1: 24 particles" in line for line in lines)
    assert "2 iterations" in lines[-1]


# What flags do


def test_repeats_with_any_number_of_threads_and_its_seed_only(particles, tmp_path):
    star = particles / "particles.star"
    for name, flags in (("a", ["--threads", 1]), ("b", ["--threads", 2]), ("c", ["--seed", 1])):
        average(star, tmp_path / name, *flags)
    same = [(tmp_path / name / "class_001.mrc").read_bytes()[1024:] for name in "abc"]
    assert same[0] == same[1] != same[2]
    assert (tmp_path / "a" / "particles.star").read_bytes() == (tmp_path / "b" / "particles.star").read_bytes()


def test_fixed_poses_are_an_average_alone(particles, tmp_path):
    """In the poses and classes of the file, which stay; it finds both molecules."""
    record = average(particles / "truth.star", tmp_path / "out", "--poses", "fixed", "--classes", 2)
    assert len(record["quality"]["iterations"]) == 2
    given, found = (read_particles(path) for path in (particles / "truth.star", tmp_path / "out" / "particles.star"))
    assert found.classes.tolist() == given.classes.tolist()
    np.testing.assert_allclose(found.poses.rotations, given.poses.rotations, atol=1e-6)
    np.testing.assert_allclose(found.poses.shifts, given.poses.shifts, atol=1e-6)
    for k in (1, 2):
        average_map, truth = (read_volume(path)[0] for path in (tmp_path / "out" / f"class_{k:03d}.mrc",
                                                                particles / f"truth_{k:03d}.mrc"))
        assert evaluation.pearson(average_map, truth, 1.0) > 0.95


def test_classes_alone_are_found_in_poses_of_the_file(particles, tmp_path):
    run("average", particles / "truth.star", "-o", tmp_path / "out", "--classify-only", "--classes", 2, "-q",
        "--iterations", 6, "--no-report")
    given, found = (read_particles(path) for path in (particles / "truth.star", tmp_path / "out" / "particles.star"))
    np.testing.assert_allclose(found.poses.rotations, given.poses.rotations, atol=1e-6)
    assert evaluation.match_classes(found.classes, given.classes).macro_f1 == 1


def test_local_poses_stay_within_reach_and_find_back(particles, tmp_path, rng):
    truth = read_particles(particles / "truth.star").select(np.arange(COUNT // 2))
    off = rigid.from_rotation_vector(np.radians(6) * rng.standard_normal((len(truth), 3)) / np.sqrt(3))
    poses = rigid.Poses(truth.poses.rotations @ off, truth.poses.shifts)
    write_particles(tmp_path / "near.star", replace(truth, poses=poses, classes=None))
    run("average", tmp_path / "near.star", "-o", tmp_path / "out", "--poses", "local", "--angular-range", 15, "-q",
        "--iterations", 6, "--no-report")
    found = read_particles(tmp_path / "out" / "particles.star")
    assert rigid.geodesic(found.poses.rotations, poses.rotations).max() < 30
    before = evaluation.pose_errors(poses, truth.poses, np.eye(3)[None]).degrees
    after = evaluation.pose_errors(found.poses, truth.poses, np.eye(3)[None]).degrees
    assert np.median(after) < np.median(before)


@pytest.mark.parametrize("scale", [1.0, 1000.0, 0.001])
def test_references_of_any_scale(particles, tmp_path, scale):
    for k in (1, 2):
        volume, _ = read_volume(particles / f"truth_{k:03d}.mrc")
        write_volume(tmp_path / f"r{k}.mrc", volume * scale, voxel_size=VOXEL)
    average(particles / "particles.star", tmp_path / "out", "--classes", 2, "--reference", tmp_path / "r1.mrc",
            tmp_path / "r2.mrc")
    truth, found = (read_particles(path) for path in (particles / "truth.star", tmp_path / "out" / "particles.star"))
    assert (found.classes == truth.classes).mean() > 0.9
    errors = rigid.geodesic(found.poses.rotations, truth.poses.rotations)
    assert np.median(errors) < 10  # in the frame of the references


def test_the_mask_and_the_resolution_bound_the_average(particles, tmp_path):
    average(particles / "particles.star", tmp_path / "sphere", "--mask-diameter", 120)
    outside = evaluation.soft_sphere((BOX,) * 3, 12, 3) == 0
    volume, _ = read_volume(tmp_path / "sphere" / "class_001.mrc")
    assert np.abs(volume[outside]).max() < 1e-6 * np.abs(volume).max()
    mask = np.zeros((BOX,) * 3, np.float32)
    mask[8:16, 8:16, 6:18] = 1
    write_volume(tmp_path / "mask.mrc", mask, voxel_size=VOXEL)
    average(particles / "particles.star", tmp_path / "own", "--mask", tmp_path / "mask.mrc")
    volume, _ = read_volume(tmp_path / "own" / "class_001.mrc")
    assert np.abs(volume[mask == 0]).max() < 1e-6 * np.abs(volume).max()
    record = average(particles / "particles.star", tmp_path / "coarse", "--resolution", 60)
    assert {one["shells"] for one in record["quality"]["iterations"]} == {4}
    assert record["quality"]["classes"][0]["fsc_0.5_angstrom"] is None or (
        record["quality"]["classes"][0]["fsc_0.5_angstrom"] >= 60)


def test_symmetry_is_imposed(particles, tmp_path):
    average(particles / "particles.star", tmp_path / "out", "--symmetry", "C2")
    volume, _ = read_volume(tmp_path / "out" / "class_001.mrc")
    inner = volume[1:, 1:, 1:]
    turned = inner[:, ::-1, ::-1]
    assert np.corrcoef(inner.ravel(), turned.ravel())[0, 1] > 0.99


def test_a_tilt_range_in_place_of_weights(particles, tmp_path):
    star = read_particles(particles / "particles.star")
    write_particles(tmp_path / "bare.star", replace(star, weight_paths=None))
    average(particles / "particles.star", tmp_path / "file")
    for name, flags in (("range", ["--tilt-range", -60, 60]), ("wedge", ["--wedge", particles / "wedge.mrc"])):
        average(tmp_path / "bare.star", tmp_path / name, *flags)
        np.testing.assert_allclose(*(read_volume(tmp_path / one / "class_001.mrc")[0] for one in ("file", name)),
                                   atol=1e-4)


@pytest.mark.parametrize("kind", ["premultiplied", "raw"])
def test_ctf_is_part_of_the_model(tmp_path, kind):
    folder = simulated(tmp_path / "set", "--mode", "tilt-series", "--ctf", kind, "--step", 6, "--defocus", -4)
    record = average(folder / "truth.star", tmp_path / "out", "--poses", "fixed", "--classes", 2)
    assert record["particles"]["kind"] == kind
    assert correlation(tmp_path / "out", "class_001.mrc", folder / "truth_001.mrc") > 0.7


def test_half_sets_meet_in_one_frame(particles, tmp_path):
    truth = read_particles(particles / "truth.star").select(np.arange(COUNT // 2))
    subset = [str(i % 2 + 1) for i in range(len(truth))]
    write_particles(tmp_path / "one.star", replace(truth, has_poses=False, classes=None, columns={
        "rlnRandomSubset": subset}))
    run("average", tmp_path / "one.star", "-o", tmp_path / "out", "--half-sets", "-q", "--iterations", 8,
        "--no-report", "--checkpoint", tmp_path / "states")
    assert evaluation.pearson(*(read_volume(tmp_path / "out" / f"class_001_half{h}.mrc")[0] for h in (1, 2)), 1.0) > 0.8
    found = read_particles(tmp_path / "out" / "particles.star")
    assert np.median(evaluation.pose_errors(found.poses, truth.poses, np.eye(3)[None]).degrees) < 10
    assert {path.name for path in (tmp_path / "states").iterdir()} == {"half1", "half2"}


def test_classes_of_halves_are_matched():
    a, b = (gaussians(BOX, centres, [1.3] * 5, [1.0] * 5).astype(np.float32) for centres in (CENTRES, OTHER))
    turned = gaussians(BOX, CENTRES @ rigid.from_relion(30, 40, 50).T, [1.3] * 5, [1.0] * 5).astype(np.float32)
    order, moves = matching(np.stack([a, b]), np.stack([b, turned]), 1)
    assert order.tolist() == [1, 0]
    assert rigid.geodesic(moves.rotations[1], rigid.from_relion(30, 40, 50).T) < 3


def test_particles_of_clearly_different_scales_are_brought_to_one(particles, tmp_path):
    star = read_particles(particles / "particles.star")
    paths = []
    for i in range(len(star)):
        paths.append(tmp_path / f"p{i}.mrc")
        write_volume(paths[-1], star.volume(i) * (10.0 if i % 2 else 1.0) + 3, voxel_size=VOXEL)
    write_particles(tmp_path / "mixed.star", replace(star, paths=tuple(paths)))
    record = average(tmp_path / "mixed.star", tmp_path / "out")
    scales = np.array(record["particles"]["scales"])
    assert np.median(scales[1::2]) / np.median(scales[::2]) == pytest.approx(10, rel=0.1)


# Warnings


def warned(capsys, *arguments):
    run("average", *arguments, "--iterations", 2, "--no-report")
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]


def test_poses_that_pile_up_and_averages_that_look_wedge_shaped(particles, tmp_path, capsys):
    star = read_particles(particles / "truth.star")
    poses = rigid.Poses(np.tile(np.eye(3), (len(star), 1, 1)), star.poses.shifts)
    write_particles(tmp_path / "piled.star", replace(star, poses=poses))
    lines = warned(capsys, tmp_path / "piled.star", "-o", tmp_path / "piled", "--poses", "fixed")
    assert any("class 1: poses pile up, 100%" in line for line in lines)
    assert any("class 1: looks wedge-shaped, 0%" in line for line in lines)
    lines = warned(capsys, particles / "truth.star", "-o", tmp_path / "even", "--poses", "fixed")
    assert not lines


def test_a_class_that_dies(particles, tmp_path, capsys):
    star = read_particles(particles / "truth.star")
    classes = np.ones(len(star), int)
    classes[0] = 2
    write_particles(tmp_path / "one.star", replace(star, classes=classes))
    lines = warned(capsys, tmp_path / "one.star", "-o", tmp_path / "out", "--poses", "fixed", "--classes", 2)
    assert any("class 2: died out, 1 of 24 particles" in line for line in lines)


def test_how_poses_pile_up(rng):
    assert piled_up(rigid.random_rotations(2000, rng)) < 0.12
    about_beam = rigid.from_zyz(rng.uniform(0, 6, 50), 0.1, 0.0)
    assert piled_up(np.concatenate([about_beam, rigid.random_rotations(50, rng)])) > 0.5


# Checkpoints


def test_a_run_resumed_is_the_run_uninterrupted(particles, tmp_path):
    star, states = particles / "particles.star", tmp_path / "states"
    flags = ["--classes", 2, "-q", "--no-report"]
    run("average", star, "-o", tmp_path / "whole", *flags, "--iterations", 6)
    run("average", star, "-o", tmp_path / "part", *flags, "--iterations", 3, "--checkpoint", states)
    run("average", star, "-o", tmp_path / "rest", *flags, "--iterations", 6, "--checkpoint", states, "--resume")
    run("average", star, "-o", tmp_path / "again", *flags, "--iterations", 6, "--checkpoint", states, "--resume")
    for folder in ("rest", "again"):
        for name in names(tmp_path / "whole") - {"average.json"}:
            whole, other = ((tmp_path / one / name).read_bytes() for one in ("whole", folder))
            # Labels of MRC files have the date.
            assert whole[1024:] == other[1024:] if name.endswith(".mrc") else whole == other, name
    whole, again = (json.loads((tmp_path / one / "average.json").read_text()) for one in ("whole", "again"))
    for a, b in zip(whole["quality"]["iterations"], again["quality"]["iterations"], strict=True):
        assert {**a, "cpu_seconds": 0} == {**b, "cpu_seconds": 0}


def test_resume_starts_afresh_where_there_is_nothing(particles, tmp_path):
    average(particles / "particles.star", tmp_path / "out", "--checkpoint", tmp_path / "states", "--resume")
    assert names(tmp_path / "states") == {"checkpoint_0001.npz"}


def start(*arguments):
    """The command line as a program of its own."""
    environment = {**os.environ, "PYTHONPATH": str(Path(concordet.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "concordet", *map(str, arguments)], stderr=subprocess.PIPE,
                            text=True, env=environment,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_interrupted_leaves_its_last_iteration(particles, tmp_path, number, status):
    states = tmp_path / "states"
    flags = ["average", particles / "particles.star", "-o", tmp_path / "out", "--no-report", "--classes", 2,
             "--checkpoint", states]
    # Many samples make iterations slow enough to be met in one.
    flags += ["--voronoi-samples", 300000]
    process = start(*flags, "--iterations", 1000)
    deadline = time.monotonic() + 60
    while not (states / "checkpoint_0002.npz").exists():
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    assert len(said.splitlines()) == 1 and f"--resume goes on from {states}" in said
    assert not (tmp_path / "out").exists()
    assert {path.suffix for path in states.iterdir()} == {".npz"}
    last = max(int(path.stem[-4:]) for path in states.iterdir())
    run(*flags, "--iterations", last + 1, "--resume", "-q")
    assert (tmp_path / "out" / "class_001.mrc").exists()


# Refusals


@pytest.fixture
def refused(particles, tmp_path, capsys):
    def check(*arguments, star=particles / "truth.star"):
        before = names(tmp_path)
        run("average", star, "-o", tmp_path / "new", *arguments, status=2)
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1 and "Traceback" not in error, error
        assert names(tmp_path) == before and not (tmp_path / "new").exists()
        return error

    return check


@pytest.mark.parametrize(("flags", "words"), [
    (["--classes", 0], ["--classes", "at least 1", "got 0"]),
    (["--classes", COUNT + 1], ["--classes", f"at most one per particle, {COUNT}", f"got {COUNT + 1}"]),
    (["--iterations", 0], ["--iterations", "at least 1", "got 0"]),
    (["--symmetry", "X3"], ["symmetry", "X3"]),
    (["--resolution", 19], ["--resolution", "20 (Nyquist) to 80", "got 19"]),
    (["--resolution", 100], ["--resolution", "20 (Nyquist) to 80", "got 100"]),
    (["--tilt-range", 60, -60], ["tilt range", "low < high", "got 60 to -60"]),
    (["--tilt-range", -60, 60, "--ctf", "raw"], ["--ctf raw", "weights from a file", "got --tilt-range"]),
    (["--mask-diameter", 0], ["--mask-diameter", "20 to 480 angstrom", "got 0"]),
    (["--max-shift", 121], ["--max-shift", "up to half the box, 120", "got 121"]),
    (["--max-shift", 0], ["--max-shift", "more than 0", "got 0"]),
    (["--alpha-trd", -1], ["--alpha-trd", "more than 0", "got -1"]),
    (["--theta", -1], ["--theta", "0 or more", "got -1"]),
    (["--poses", "local", "--angular-range", 0], ["--angular-range", "more than 0", "got 0"]),
    (["--start", "stochastic"], ["--start stochastic", "planned"]),
    (["--weights", "laplace"], ["--weights laplace", "planned"]),
    (["--resume"], ["--resume", "--checkpoint DIR", "got none"]),
    (["--half-sets", "--poses", "fixed"], ["--half-sets", "poses of the file"]),
    (["--classify-only", "--poses", "local"], ["--classify-only", "got local"]),
    (["--method", "em"], ["--method", "em"]),
])
def test_flags_that_make_no_sense(refused, flags, words):
    line = refused(*flags)
    for word in words:
        assert word in line


def test_maps_that_do_not_fit(refused, tmp_path, particles):
    small = write_map(tmp_path / "small.mrc", box=20)
    for flags in (["--mask", small], ["--reference", small]):
        line = refused(*flags)
        assert "small.mrc" in line and "the box of the particles, 24 voxels, got 20" in line
    good = write_map(tmp_path / "good.mrc")
    assert "--reference: expected one map per class, 2, got 1" in refused("--reference", good, "--classes", 2)
    write_volume(tmp_path / "two.mrc", 2 * read_volume(good)[0], voxel_size=VOXEL)
    assert "two.mrc: expected a mask of 0 to 1" in refused("--mask", tmp_path / "two.mrc")
    edge = np.zeros((BOX,) * 3, np.float32)
    edge[0, 0, 0] = 1
    write_volume(tmp_path / "edge.mrc", edge, voxel_size=VOXEL)
    assert "expected a map with something in the mask" in refused("--reference", tmp_path / "edge.mrc")


@pytest.mark.parametrize("flags", [["--poses", "fixed"], ["--poses", "local"], ["--classify-only"]])
def test_poses_that_are_not_there(refused, particles, flags):
    line = refused(*flags, star=particles / "particles.star")
    assert f"particles.star: expected poses (rlnAngleRot ... rlnOriginXAngst) for {' '.join(flags)}, got none" in line


def test_classes_that_are_not_there(refused, particles, tmp_path):
    star = read_particles(particles / "truth.star")
    write_particles(tmp_path / "bare.star", replace(star, classes=None))
    flags = ["--poses", "fixed", "--classes", 2]
    assert "bare.star: expected classes (rlnClassNumber)" in refused(*flags, star=tmp_path / "bare.star")
    write_particles(tmp_path / "many.star", replace(star, classes=star.classes + 1))
    assert "expected classes 1 to 2 (--classes), got 2 to 3" in refused(*flags, star=tmp_path / "many.star")


@pytest.mark.parametrize(("damage", "words"), [
    ("nan", "NaN"), ("zero", "got 0 in every voxel"), ("missing", "expected a file"), ("size", "24 voxels"),
])
def test_a_damaged_particle_is_named(refused, particles, tmp_path, damage, words):
    star = read_particles(particles / "particles.star")
    volume = star.volume(3)
    if damage == "zero":
        volume[:] = 0
    elif damage == "size":
        volume = volume[:20, :20, :20]
    if damage != "missing":
        write_volume(tmp_path / "bad.mrc", volume, voxel_size=VOXEL)
    if damage == "nan":  # which our own writer refuses
        data = bytearray((tmp_path / "bad.mrc").read_bytes())
        data[-4:] = np.float32(np.nan).tobytes()
        (tmp_path / "bad.mrc").write_bytes(data)
    write_particles(tmp_path / "bad.star", replace(
        star, paths=(*star.paths[:3], tmp_path / "bad.mrc", *star.paths[4:])))
    line = refused(star=tmp_path / "bad.star")
    assert "bad.mrc" in line and words in line


def test_a_star_without_particles_or_weights(refused, particles, tmp_path):
    (tmp_path / "empty.star").write_text("data_particles\n\nloop_\n_rlnImageName #1\n\n")
    assert "empty.star" in refused(star=tmp_path / "empty.star")
    assert "none.star" in refused(star=tmp_path / "none.star")
    star = read_particles(particles / "particles.star")
    write_particles(tmp_path / "bare.star", replace(star, weight_paths=None))
    assert "bare.star: expected weights (rlnCtfImage), or --tilt-range or --wedge" in refused(
        star=tmp_path / "bare.star")


def test_outputs_that_would_replace_inputs(particles, tmp_path, capsys):
    before = (particles / "particles.star").read_bytes()
    run("average", particles / "particles.star", "-o", particles, status=2)
    assert "expected an output that is none of the inputs" in capsys.readouterr().err
    assert (particles / "particles.star").read_bytes() == before
    (tmp_path / "file").write_text("")
    run("average", particles / "particles.star", "-o", tmp_path / "file", status=2)
    assert "expected a folder, got a file" in capsys.readouterr().err


def test_checkpoints_of_another_run(particles, tmp_path, capsys):
    states = tmp_path / "states"
    average(particles / "particles.star", tmp_path / "out", "--checkpoint", states)
    for flags in (["--seed", 1], ["--mask-diameter", 150], ["--classes", 2]):
        run("average", particles / "particles.star", "-o", tmp_path / "new", "--checkpoint", states, "--resume", *flags,
            status=2)
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1 and "checkpoint of this run, got one of other" in error
        assert not (tmp_path / "new").exists()
