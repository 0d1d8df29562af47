"""`concordet simulate subtomograms`: files as promised, a truth that is true, refusals in one line."""

import json
import sys

import numpy as np
import pytest

from concordet import wedge
from concordet.cli import main
from concordet.errors import InputError
from concordet.io import read_header, read_volume, write_volume
from concordet.io.particles import read_particles
from concordet.simulation import Molecule, TiltViews, WedgeView
from reference.simulation import gaussians

BOX, VOXEL = 20, 9.0
CENTRES = np.array([[2.5, 0.5, -1.0], [-2.0, 2.5, 1.0], [0.0, -2.0, 2.5], [-1.5, -1.0, -3.0]])


def run(*arguments, status=0):
    assert main([str(word) for word in arguments]) == status


def write_map(path, *, box=BOX, voxel_size=VOXEL, sigma=1.2, heights=(1.0, 0.7, 1.2, 0.5)):
    write_volume(path, gaussians(box, CENTRES, [sigma] * 4, heights), voxel_size=voxel_size)
    return path


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    return [write_map(folder / "a.mrc"), write_map(folder / "b.mrc", heights=(0.5, 1.5, 0.2, 1.0))]


@pytest.fixture(scope="module")
def simulated(maps, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wedge") / "set"
    run("simulate", "subtomograms", "-o", folder, *maps, "--count", 3, 2, "--box", BOX, "--snr", 1e8, "--max-shift", 2,
        "--tilt-range", -60, 60, "--seed", 3, "-q")
    return folder


@pytest.fixture(scope="module")
def tilted(maps, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tilts") / "set"
    run("simulate", "subtomograms", "-o", folder, maps[0], "--count", 3, "--box", BOX, "--snr", 0.1, "--max-shift", 2,
        "--mode", "tilt-series", "--step", 6, "--seed", 3, "-q")
    return folder


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_files_of_a_wedge_set(simulated):
    assert names(simulated) == {*(f"particles/p{i:05d}.mrc" for i in range(1, 6)), "particles.star", "truth.star",
                                "truth_001.mrc", "truth_002.mrc", "wedge.mrc", "simulation.json", "simulation.html"}
    header = read_header(simulated / "particles" / "p00004.mrc")
    assert header.volume_shape == (BOX, BOX, BOX)
    assert header.voxel_size == pytest.approx((VOXEL,) * 3)


def test_the_stars_tell_particles_and_truth_apart(simulated):
    particles, truth = (read_particles(simulated / f"{name}.star") for name in ("particles", "truth"))
    assert particles.ctf == truth.ctf == "binary"
    assert not particles.has_poses and particles.classes is None
    assert truth.has_poses and truth.classes.tolist() == [1, 1, 1, 2, 2]
    assert particles.paths == truth.paths
    assert (particles.voxel_size, particles.box) == pytest.approx((VOXEL, BOX))
    assert np.abs(truth.poses.shifts).max() <= 2 and np.ptp(truth.poses.shifts) > 1
    np.testing.assert_array_equal(particles.weight(0), wedge.TiltRange(-60, 60).volume(BOX))


def test_poses_of_the_truth_bring_particles_back(tmp_path, maps):
    """Without a wedge, and almost no noise."""
    folder = tmp_path / "set"
    run("simulate", "subtomograms", "-o", folder, *maps, "--count", 2, "--box", BOX, "--snr", 1e8, "--max-shift", 2,
        "--tilt-range", -90, 90, "-q", "--no-report")
    truth = read_particles(folder / "truth.star")
    inverse = truth.poses.inverse()
    for index, which in enumerate(truth.classes):
        back = Molecule(truth.volume(index), 9).posed(inverse.rotations[index], inverse.shifts[index])
        expected = read_volume(folder / f"truth_{which:03d}.mrc")[0]
        assert np.corrcoef(back.ravel(), expected.ravel())[0, 1] > 0.995


def test_the_record_tells_the_ratio_reached(simulated, tilted):
    record = json.loads((tilted / "simulation.json").read_text())
    (line,) = record["snr"]
    assert line["asked"] == 0.1 and line["reached"] == pytest.approx(0.1, rel=0.1)
    assert record["parameters"]["voxel_size"] == pytest.approx(VOXEL)
    assert len(record["inputs"]) == 1 and record["inputs"][0]["sha256"]
    lines = json.loads((simulated / "simulation.json").read_text())["snr"]
    assert [one["class"] for one in lines] == [1, 2]
    page = (simulated / "simulation.html").read_text()
    for words in ("Simulated subtomograms", "Truth", "particle 1, without noise", "Fourier weights", "Parameters"):
        assert words in page


def test_the_ratio_reached_is_said(maps, tmp_path, capsys):
    run("simulate", "subtomograms", "-o", tmp_path / "s", maps[0], "--count", 4, "--box", BOX, "--snr", 0.5,
        "--max-shift", 2, "--no-report")
    lines = capsys.readouterr().err.splitlines()
    assert "class 1 (a.mrc): SNR 0.5 asked, 0.5" in lines[0] or "class 1 (a.mrc): SNR 0.5 asked, 0.4" in lines[0]
    assert "4 particles of 1 class" in lines[-1]


def test_files_of_a_tilt_series_set(tilted, maps):
    assert {"truth_ctf_001.mrc", "weight.mrc"} <= names(tilted) and "wedge.mrc" not in names(tilted)
    particles = read_particles(tilted / "particles.star")
    assert particles.ctf == "premultiplied"
    assert (particles.voltage, particles.spherical_aberration, particles.amplitude_contrast) == (300, 2.7, 0.07)
    views = TiltViews(BOX, np.arange(-60, 61, 6), VOXEL)
    np.testing.assert_allclose(particles.weight(0), views.weight(60000.0), rtol=1e-5, atol=1e-6)
    truth = read_volume(tilted / "truth_001.mrc")[0]
    np.testing.assert_allclose(read_volume(tilted / "truth_ctf_001.mrc")[0], views.filtered(truth), atol=1e-5)


def test_raw_data_with_a_defocus_of_their_own(maps, tmp_path):
    folder = tmp_path / "set"
    run("simulate", "subtomograms", "-o", folder, maps[0], "--count", 3, "--box", BOX, "--snr", 0.1, "--max-shift", 2,
        "--mode", "tilt-series", "--step", 10, "--ctf", "raw", "--defocus", -4, "--defocus-spread", 0.5, "-q")
    particles = read_particles(folder / "particles.star")
    assert particles.ctf == "raw"
    assert len(set(particles.weight_paths)) == 3
    defoci = np.array(particles.columns["rlnDefocusU"], float)
    assert (np.abs(defoci - 40000) <= 5000).all() and len(set(defoci)) == 3
    views = TiltViews(BOX, np.arange(-60, 61, 10), VOXEL, premultiplied=False)
    np.testing.assert_allclose(particles.weight(1), views.weight(defoci[1]), atol=1e-4)
    assert particles.weight(1).min() < 0


def test_sets_repeat_with_their_seed_only(simulated, maps, tmp_path):
    for seed, threads in ((3, 1), (4, 2)):
        run("simulate", "subtomograms", "-o", tmp_path / str(seed), *maps, "--count", 3, 2, "--box", BOX, "--snr", 1e8,
            "--max-shift", 2, "--seed", seed, "--threads", threads, "-q", "--no-report")
    for index in (1, 5):
        name = f"particles/p{index:05d}.mrc"
        assert (tmp_path / "3" / name).read_bytes() == (simulated / name).read_bytes()
        assert (tmp_path / "4" / name).read_bytes() != (simulated / name).read_bytes()


def test_maps_of_another_size_are_resampled_and_boxes_padded(maps, tmp_path):
    run("simulate", "subtomograms", "-o", tmp_path / "s", maps[0], "--count", 1, "--box", 28, "--voxel-size", 7.5,
        "--max-shift", 3, "--snr", 1, "-q", "--no-report")
    truth, header = read_volume(tmp_path / "s" / "truth_001.mrc")
    assert truth.shape == (28, 28, 28) and header.voxel_size[0] == pytest.approx(7.5)
    expected = gaussians(28, CENTRES * VOXEL / 7.5, [1.2 * VOXEL / 7.5] * 4, (1.0, 0.7, 1.2, 0.5))
    np.testing.assert_allclose(truth, expected, atol=0.02)


def test_resolution_smooths_maps(maps, tmp_path):
    run("simulate", "subtomograms", "-o", tmp_path / "s", maps[0], "--count", 1, "--box", BOX, "--max-shift", 1,
        "--resolution", 36, "-q", "--no-report")
    sigma = np.hypot(1.2, 4 / (np.pi * np.sqrt(2)))
    expected = gaussians(BOX, CENTRES, [sigma] * 4, np.array((1.0, 0.7, 1.2, 0.5)) * (1.2 / sigma) ** 3)
    np.testing.assert_allclose(read_volume(tmp_path / "s" / "truth_001.mrc")[0], expected, atol=0.005)


def test_orientations_about_y(maps, tmp_path):
    run("simulate", "subtomograms", "-o", tmp_path / "s", maps[0], "--count", 4, "--box", BOX, "--max-shift", 2,
        "--orientations", "about-y", "-q", "--no-report")
    rotations = read_particles(tmp_path / "s" / "truth.star").poses.rotations
    np.testing.assert_allclose(rotations[:, :, 2], np.tile([0.0, 1, 0], (4, 1)), atol=1e-6)


def write_model(path, gemmi, positions):
    structure, model, chain = gemmi.Structure(), gemmi.Model(1), gemmi.Chain("A")
    for number, position in enumerate(positions, 1):
        residue, atom = gemmi.Residue(), gemmi.Atom()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(str(number))
        atom.name, atom.element, atom.pos = "C", gemmi.Element("C"), gemmi.Position(*map(float, position))
        residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    structure.make_mmcif_document().write_file(str(path))
    return path


def test_models_stand_on_their_centre_of_mass_and_principal_axis(tmp_path):
    gemmi = pytest.importorskip("gemmi")
    # A rod along (1, 1, 0), far from the origin; what it rings further out is cut off one side of its own box.
    along = np.linspace(-20, 20, 26)[:, None] * [1, 1, 0] / np.sqrt(2)
    model = write_model(tmp_path / "rod.cif", gemmi, along + [300, -200, 50])
    for flags, axis in (([], [0, 0, 1]), (["--keep-axes"], [np.sqrt(0.5), np.sqrt(0.5), 0])):
        folder = tmp_path / f"s{len(flags)}"
        run("simulate", "subtomograms", "-o", folder, model, "--count", 1, "--box", 24, "--max-shift", 1, "-q",
            "--no-report", *flags)
        truth, header = read_volume(folder / "truth_001.mrc")
        assert header.voxel_size[0] == pytest.approx(6)
        points = np.indices(truth.shape)[::-1].reshape(3, -1) - 12
        truth = truth * (np.linalg.norm(points, axis=0) < 4.9).reshape(truth.shape)
        np.testing.assert_allclose(points @ truth.ravel() / truth.sum(), 0, atol=0.02)
        moments, axes = np.linalg.eigh(points * truth.ravel() @ points.T)
        assert abs(axes[:, 2] @ axis) > 0.999


def test_flags_of_a_tilt_series_are_not_dropped_in_silence(maps, tmp_path, capsys):
    common = [maps[0], "--count", 1, "--box", BOX, "--max-shift", 2, "--no-report"]
    run("simulate", "subtomograms", "-o", tmp_path / "a", *common, "--defocus-spread", 0, "--ctf", "raw")
    said = capsys.readouterr().err
    assert "warning: --defocus-spread, --ctf: of --mode tilt-series only" in said and "RELION" not in said
    run("simulate", "subtomograms", "-o", tmp_path / "b", *common, "--mode", "tilt-series", "--step", 20)
    assert "warning" not in capsys.readouterr().err
    record = json.loads((tmp_path / "b" / "simulation.json").read_text())["parameters"]
    assert [record[name] for name in ("step", "defocus", "defocus_spread", "ctf")] == [20, -6, 0, "premultiplied"]


def test_odd_boxes_come_with_a_warning(maps, tmp_path, capsys):
    run("simulate", "subtomograms", "-o", tmp_path / "s", maps[0], "--count", 1, "--box", 21, "--max-shift", 2,
        "--no-report")
    assert "warning: --box 21: RELION needs an even number" in capsys.readouterr().err


def test_help_names_what_is_read_and_who_reads_what_is_written(capsys):
    run("simulate", "subtomograms", "--help")
    text = " ".join(capsys.readouterr().out.split())
    for words in (".cif .mmcif .pdb .ent", ".mrc .map .rec", ".gz", "as RELION 3.1 understands them (default: prem"):
        assert words in text


# Refusals


@pytest.fixture
def refused(tmp_path, capsys):
    def check(*arguments):
        before = sorted(tmp_path.rglob("*"))
        run("simulate", "subtomograms", "-o", tmp_path / "new", *arguments, status=2)
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1 and "Traceback" not in error, error
        assert sorted(tmp_path.rglob("*")) == before
        return error

    return check


@pytest.mark.parametrize(("flags", "words"), [
    (["--snr", 0], ["--snr", "more than 0", "got 0"]),
    (["--snr", -1], ["--snr", "more than 0", "got -1"]),
    (["--tilt-range", 60, -60], ["--tilt-range", "low < high", "got 60 -60"]),
    (["--tilt-range", -91, 60], ["--tilt-range", "from -90 to 90", "got -91"]),
    (["--count", 1, 2], ["--count", "for each of 1 maps", "got 2"]),
    (["--count", 0], ["--count", "at least 1", "got 0"]),
    (["--box", 7], ["--box", "8 voxels or more", "got 7"]),
    (["--max-shift", 9], ["--max-shift", "at most 7 voxels in a box of 20", "got 9"]),
    (["--max-shift", 6], ["a.mrc", "expected a molecule within 27 A", "of its power outside"]),
    (["--resolution", 17], ["--resolution", "18 A", "got 17"]),
    (["--voxel-size", 0], ["--voxel-size", "more than 0", "got 0"]),
    (["--mode", "tilt-series", "--step", 0], ["--step", "more than 0", "got 0"]),
    (["--mode", "tilt-series", "--step", 1e-9], ["--step", "at most", "got a step of 1e-09"]),
    (["--mode", "tilt-series", "--tilt-range", -90, 90], ["tilt range", "between -90 and 90", "got -90"]),
    (["--mode", "tilt-series", "--voltage", 0], ["voltage", "positive", "got 0"]),
    (["--mode", "tilt-series", "--amplitude-contrast", 2], ["amplitude contrast", "0 to 1", "got 2"]),
    (["--mode", "tilt-series", "--defocus", -60000], ["--defocus", "micrometres", "got -60000"]),
    (["--orientations", "sideways"], ["--orientations", "sideways"]),
    (["--box", 100000], ["GB of memory"]),
])
def test_flags_that_make_no_sense(refused, maps, flags, words):
    line = refused(maps[0], "--box", BOX, "--max-shift", 2, *flags)
    for word in words:
        assert word in line


@pytest.mark.parametrize(("name", "words"), [
    ("none.mrc", ["none.mrc", "no such file"]),
    ("none.cif", ["none.cif", "no such file"]),
    ("7xyz", ["7xyz", "an atomic model", "or a map", "no ending"]),
])
def test_molecules_that_are_not_there(refused, tmp_path, name, words):
    line = refused(tmp_path / name)
    for word in words:
        assert word in line


def test_a_map_of_zeros(refused, tmp_path):
    write_volume(tmp_path / "zero.mrc", np.zeros((BOX, BOX, BOX)), voxel_size=VOXEL)
    assert "expected a map of a molecule" in refused(tmp_path / "zero.mrc", "--box", BOX)


@pytest.mark.parametrize(("name", "volume", "words"), [
    ("image", np.arange(BOX**2, dtype=float).reshape(1, BOX, BOX), ["three axes", f"got {BOX} x {BOX} x 1"]),
    ("flat", np.full((BOX,) * 3, 2.0), ["a map of a molecule", "got 2 in every voxel"]),
])
def test_maps_that_are_no_molecules(refused, tmp_path, name, volume, words):
    write_volume(tmp_path / f"{name}.mrc", volume, voxel_size=VOXEL)
    line = refused(tmp_path / f"{name}.mrc", "--box", BOX, "--max-shift", 2)
    for word in [f"{name}.mrc", *words]:
        assert word in line


def test_a_model_without_gemmi(refused, tmp_path, monkeypatch):
    (tmp_path / "some.cif").write_text("data_x\n")
    monkeypatch.setitem(sys.modules, "gemmi", None)
    assert "pip install 'concordet[models]'" in refused(tmp_path / "some.cif")


def test_a_model_larger_than_the_box(refused, tmp_path):
    gemmi = pytest.importorskip("gemmi")
    model = write_model(tmp_path / "rod.cif", gemmi, np.linspace(-150, 150, 60)[:, None] * [1, 0, 0])
    assert "expected a molecule within" in refused(model, "--box", 32)


def test_a_folder_that_has_particles(refused, maps, tmp_path):
    (tmp_path / "new" / "particles").mkdir(parents=True)
    assert "expected a folder without particles" in refused(maps[0], "--box", BOX)


def test_a_set_that_would_replace_its_map(refused, tmp_path):
    (tmp_path / "new").mkdir()
    path = write_map(tmp_path / "new" / "truth_001.mrc")
    assert "none of the inputs" in refused(path, "--box", BOX)


def test_the_wedge_refuses_a_weight_of_nothing():
    with pytest.raises(InputError, match="expected a weight that leaves something"):
        WedgeView(8, wedge.WeightVolume(np.zeros((8, 8, 8))))
