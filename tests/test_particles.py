"""Particle STAR files: RELION's own reconstruction agrees, every real file is read or refused for a reason."""

import json
import shutil
import subprocess
from dataclasses import replace

import mrcfile
import numpy as np
import pytest

from concordet.cli import main
from concordet.errors import InputError
from concordet.io import (
    ParticleSet,
    create_stack,
    is_particle_star,
    read_particles,
    read_star,
    read_volume,
    write_particles,
    write_star,
    write_volume,
)
from concordet.rigid import Poses, from_relion, geodesic, random_rotations, rotation_grid

BOX, VOXEL = 16, 3.5
OPTICS = {"rlnOpticsGroup": ["1"], "rlnOpticsGroupName": ["opticsGroup1"], "rlnVoltage": ["300.0"],
          "rlnSphericalAberration": ["2.7"], "rlnAmplitudeContrast": ["0.07"], "rlnImagePixelSize": [str(VOXEL)],
          "rlnImageSize": [str(BOX)], "rlnImageDimensionality": ["3"]}
COUNT = 3


@pytest.fixture
def folder(tmp_path, rng):
    """Three particles of BOX voxels, a full wedge of zeros and ones, a half CTF volume."""
    (tmp_path / "sub").mkdir()
    for number in range(COUNT):
        write_volume(tmp_path / f"sub/p{number}.mrc", rng.standard_normal((BOX,) * 3), voxel_size=VOXEL)
    write_volume(tmp_path / "wedge.mrc", rng.integers(0, 2, (BOX,) * 3).astype(np.float32), voxel_size=VOXEL)
    write_volume(tmp_path / "ctf.mrc", rng.uniform(-1, 1, (BOX, BOX, BOX // 2 + 1)), voxel_size=VOXEL)
    return tmp_path


def columns(**changes):
    """Labels of the particles of `folder`; None takes one out."""
    labels = {"rlnImageName": [f"sub/p{number}.mrc" for number in range(COUNT)], "rlnCtfImage": ["wedge.mrc"] * COUNT,
              "rlnOpticsGroup": ["1"] * COUNT,
              "rlnAngleRot": ["10", "20", "30"], "rlnAngleTilt": ["40", "50", "60"], "rlnAnglePsi": ["70", "80", "-90"],
              "rlnOriginXAngst": ["3.5", "0", "0"], "rlnOriginYAngst": ["0", "-7", "0"],
              "rlnOriginZAngst": ["0", "0", "1.75"]} | changes
    return {label: values for label, values in labels.items() if values is not None}


def star(folder, particles=None, optics=OPTICS, **more):
    path = folder / "particles.star"
    write_star(path, {**more, **({"optics": optics} if optics else {}), "particles": particles or columns()})
    return path


def refusal(path, **options):
    with pytest.raises(InputError) as error:
        read_particles(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---------------------------------------------------------------------------------------------------- reading


def test_set_says_what_the_file_says(folder):
    found = read_particles(star(folder, columns(rlnClassNumber=["1", "2", "2.0"], rlnTomoVisibleFrames=["[1,0]"] * 3)))
    assert (len(found), found.box, found.voxel_size, found.ctf, found.version) == (
        3, BOX, VOXEL, "binary", "RELION 3.1")
    assert (found.voltage, found.spherical_aberration, found.amplitude_contrast) == (300, 2.7, 0.07)
    assert found.has_poses
    np.testing.assert_array_equal(found.classes, [1, 2, 2])
    np.testing.assert_allclose(found.poses.rotations, from_relion([10, 20, 30], [40, 50, 60], [70, 80, -90]))
    np.testing.assert_allclose(found.poses.shifts, [[-1, 0, 0], [0, 2, 0], [0, 0, -0.5]])
    assert list(found.columns) == ["rlnOpticsGroup", "rlnTomoVisibleFrames"]
    for particle in range(3):
        np.testing.assert_array_equal(found.volume(particle), read_volume(folder / f"sub/p{particle}.mrc")[0])
        np.testing.assert_array_equal(found.weight(particle), read_volume(folder / "wedge.mrc")[0])


def test_set_without_poses_weights_classes(folder):
    bare = {"rlnImageName": [f"sub/p{number}.mrc" for number in range(COUNT)]}
    found = read_particles(star(folder, bare))
    assert not found.has_poses
    assert found.weight_paths is found.classes is found.weight(0) is None
    np.testing.assert_array_equal(found.poses.rotations, Poses.identity(3).rotations)
    np.testing.assert_array_equal(found.poses.shifts, 0)
    write_particles(folder / "again.star", found)
    assert list(read_star(folder / "again.star")["particles"].columns) == ["rlnImageName", "rlnOpticsGroup"]


@pytest.mark.parametrize("name", ["", "images", "***", "particles"])
def test_relion_3_0_has_one_table_with_shifts_in_voxels(folder, name):
    table = columns(rlnOriginXAngst=None, rlnOriginYAngst=None, rlnOriginZAngst=None, rlnOpticsGroup=None,
                    rlnOriginX=["1", "0", "0"], rlnOriginY=["0", "-2", "0"], rlnOriginZ=["0", "0", "0.5"],
                    rlnMagnification=["10000"] * 3, rlnDetectorPixelSize=[str(VOXEL)] * 3, rlnPixelSize=["9"] * 3,
                    rlnVoltage=["200"] * 3, rlnGroupNumber=["7"] * 3)
    write_star(folder / "old.star", {name: table})
    found = read_particles(folder / "old.star")
    assert (found.version, found.voxel_size, found.voltage, found.box) == ("RELION 3.0", VOXEL, 200, BOX)
    np.testing.assert_allclose(found.poses.shifts, read_particles(star(folder)).poses.shifts)

    write_particles(folder / "new.star", found)
    blocks = read_star(folder / "new.star")
    assert blocks["optics"].floats("rlnVoltage") == 200
    assert blocks["optics"].floats("rlnImagePixelSize") == VOXEL
    assert not {"rlnOriginX", "rlnMagnification", "rlnVoltage"} & set(blocks["particles"].columns)
    assert blocks["particles"].columns["rlnGroupNumber"] == ["7"] * 3
    again = read_particles(folder / "new.star")
    assert again.version == "RELION 3.1"
    np.testing.assert_allclose(again.poses.shifts, found.poses.shifts, atol=1e-6)


def test_relion_5_volumes_cut_out_turned(folder, rng):
    # RELION 5, particle_set.cpp: A = A_subtomogram A_particle, position = coordinate - A_subtomogram offset.
    own = random_rotations(3, rng)
    angles = np.degrees([[0.1, 0.2, 0.3], [1, 1.1, 1.2], [-2, -2.1, 2.2]])
    table = columns(**{f"rlnTomoSubtomogram{name}": [f"{value:.9f}" for value in row]
                       for name, row in zip(("Rot", "Tilt", "Psi"), angles, strict=True)})
    found = read_particles(star(folder, table, general={"rlnTomoSubTomosAre2DStacks": "0"}))
    assert found.version == "RELION 5"
    own = from_relion(*angles)
    seen = found.tomogram_poses()
    assert geodesic(seen.rotations, own @ found.poses.rotations).max() < 1e-6
    np.testing.assert_allclose(seen.shifts[1], own[1] @ [0, 2, 0], atol=1e-6)
    assert geodesic(found.poses.rotations, from_relion([10, 20, 30], [40, 50, 60], [70, 80, -90])).max() < 1e-6
    plain = read_particles(star(folder))
    assert plain.tomogram_poses() is plain.poses


def test_relion_4_pseudo_subtomograms(folder):
    optics = OPTICS | {"rlnCtfDataAreCtfPremultiplied": ["1"], "rlnTomoSubtomogramBinning": ["4"]}
    found = read_particles(star(folder, columns(rlnCtfImage=["ctf.mrc"] * 3, rlnTomoName=["TS_1"] * 3), optics))
    assert (found.version, found.ctf) == ("RELION 4", "premultiplied")
    assert found.weight(1).shape == (BOX, BOX, BOX // 2 + 1)


@pytest.mark.parametrize(("name", "ctf"), [("wedge.mrc", "binary"), ("ctf.mrc", "raw")])
def test_weights_tell_what_the_data_are(folder, name, ctf):
    assert read_particles(star(folder, columns(rlnCtfImage=[name] * 3))).ctf == ctf


def test_volumes_of_stacks(folder, rng):
    volumes = rng.standard_normal((3, BOX, BOX, BOX)).astype(np.float32)
    with create_stack(folder / "plain.mrcs", (3 * BOX, BOX, BOX), voxel_size=VOXEL) as stack:
        for section in volumes.reshape(-1, BOX, BOX):
            stack.write(section)
    with mrcfile.new(folder / "volumes.mrc") as file:
        file.set_data(volumes)  # 4-D: space group 401
    for name in ("plain.mrcs", "volumes.mrc"):
        found = read_particles(star(folder, columns(rlnImageName=[f"00000{n}@{name}" for n in (3, 1, 2)])))
        for particle, place in enumerate((2, 0, 1)):
            np.testing.assert_array_equal(found.volume(particle), volumes[place])
        write_particles(folder / "sub/again.star", found)
        assert read_star(folder / "sub/again.star")["particles"].texts("rlnImageName")[0] == f"3@../{name}"
        path = star(folder, columns(rlnImageName=[f"{n}@{name}" for n in (1, 2, 4)]))
        assert f"4@{folder / name}: expected volume 1 to 3 of a stack, got 4" == refusal(path)


def test_names_are_relative_to_the_star_file_or_else_to_the_current_folder(folder, monkeypatch):
    (folder / "job").mkdir()
    path = star(folder).rename(folder / "job/particles.star")
    assert f"{folder}/job/sub/p0.mrc: expected a file here, or of this name from the current folder, got none" == (
        refusal(path))
    monkeypatch.chdir(folder)
    found = read_particles("job/particles.star")
    monkeypatch.chdir(folder / "job")
    assert found.volume(0).shape == (BOX,) * 3
    (folder / "job/sub").mkdir()
    shutil.copy(folder / "sub/p2.mrc", folder / "job/sub/p0.mrc")
    monkeypatch.chdir(folder)
    np.testing.assert_array_equal(read_particles(path).volume(0), read_volume("sub/p2.mrc")[0])


def test_optics_groups_that_agree_are_kept(folder):
    optics = {label: values * 3 for label, values in OPTICS.items()} | {
        "rlnOpticsGroup": ["1", "2", "3"], "rlnVoltage": ["300", "200", "100"],
        "rlnImagePixelSize": [str(VOXEL), str(VOXEL), "99"]}  # no particle is in the third
    found = read_particles(star(folder, columns(rlnOpticsGroup=["2", "1", "2"]), optics))
    assert found.voltage is None
    write_particles(folder / "again.star", found)
    blocks = read_star(folder / "again.star")
    assert blocks["optics"].texts("rlnVoltage") == ["300", "200"]
    assert blocks["particles"].texts("rlnOpticsGroup") == ["2", "1", "2"]


# ---------------------------------------------------------------------------------------------------- writing


def test_what_was_read_is_written_again(folder, rng):
    kept = {"rlnTomoName": ["TS 1", "TS#2", ""], "rlnMaxValueProbDistribution": ["0.5", "1", "0.25"]}
    found = read_particles(star(folder, columns(**kept)))
    poses = Poses(random_rotations(3, rng), rng.uniform(-4, 4, (3, 3)))
    (folder / "out").mkdir()
    write_particles(folder / "out/run.star", replace(found, poses=poses, classes=np.array([3, 1, 2])))
    again = read_particles(folder / "out/run.star")
    assert geodesic(again.poses.rotations, poses.rotations).max() < 3e-6
    np.testing.assert_allclose(again.poses.shifts, poses.shifts, atol=1e-6)
    np.testing.assert_array_equal(again.classes, [3, 1, 2])
    assert {label: list(values) for label, values in again.columns.items()} == {"rlnOpticsGroup": ["1"] * 3, **kept}
    assert read_star(folder / "out/run.star")["particles"].texts("rlnImageName")[1] == "../sub/p1.mrc"
    np.testing.assert_array_equal(again.volume(2), found.volume(2))


def test_names_stay_right_through_a_linked_folder(folder):
    found = read_particles(star(folder))
    (folder / "deep/er").mkdir(parents=True)
    (folder / "link").symlink_to(folder / "deep/er")
    write_particles(folder / "link/a.star", found)
    np.testing.assert_array_equal(read_particles(folder / "deep/er/a.star").volume(0), found.volume(0))


def test_a_choice_of_particles(folder):
    found = read_particles(star(folder, columns(rlnClassNumber=["1", "2", "3"])))
    for chosen in ([2, 0], np.array([2, 0])):
        part = found.select(chosen)
        np.testing.assert_array_equal(part.classes, [3, 1])
        np.testing.assert_array_equal(part.volume(0), found.volume(2))
        np.testing.assert_array_equal(part.poses.shifts, found.poses.shifts[[2, 0]])
    assert len(found.select(found.classes > 1)) == 2
    with pytest.raises(InputError, match="expected one place, pose, weight, class for each"):
        replace(found, classes=np.array([1, 2]))


def blobs(poses, *, box=24):
    """Gaussian blobs at 7 points without symmetry, turned and moved by each of the poses: (n, box, box, box)."""
    points = np.array([[0, 0, 0], [6, 0, 0], [0, 5, 0], [0, 0, 4], [4, 3, -3], [-3, 4, 2], [-2, -4, -3]])
    heights = np.array([3, 2, 1.5, 1, 2, 1, 1.5])
    z, y, x = np.mgrid[:box, :box, :box] - box // 2
    volumes = []
    for pose in poses:
        at = points @ pose.rotations[0].T + pose.shifts[0]
        volumes.append(sum(height * np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 4.5)
                           for height, (a, b, c) in zip(heights, at, strict=True)))
    return np.array(volumes, np.float32)


@pytest.mark.skipif(shutil.which("relion_reconstruct") is None, reason="relion_reconstruct is not installed")
def test_relion_averages_with_our_poses_and_not_with_others(tmp_path, rng):
    # Turns within a cone and shifts to one side: no average over all directions can hide a wrong sign.
    rotations = rotation_grid(40.0)
    rotations = rotations[geodesic(rotations, from_relion(30, 70, -50)) < 75][:8]
    poses = Poses(rotations, rng.uniform(0.5, 3, (len(rotations), 3)))
    for number, volume in enumerate(blobs(poses)):
        write_volume(tmp_path / f"p{number}.mrc", volume, voxel_size=VOXEL)
    truth = blobs(Poses.identity(1))[0]
    z, y, x = np.mgrid[:24, :24, :24] - 12
    inside = x**2 + y**2 + z**2 < 10**2

    def averaged(poses):
        count = len(poses)
        write_particles(tmp_path / "a.star", ParticleSet(
            tuple(tmp_path / f"p{number}.mrc" for number in range(count)), VOXEL, 24, poses, voltage=300,
            spherical_aberration=2.7, amplitude_contrast=0.07, columns={"rlnMicrographName": ["a"] * count}))
        subprocess.run(["relion_reconstruct", "--i", "a.star", "--o", "a.mrc", "--3d_rot", "--pad", "2"],
                       cwd=tmp_path, check=True, capture_output=True)
        return np.corrcoef(read_volume(tmp_path / "a.mrc")[0][inside], truth[inside])[0, 1]

    assert averaged(poses) > 0.99
    assert averaged(Poses(poses.rotations.swapaxes(1, 2), poses.shifts)) < 0.9
    assert averaged(Poses(poses.rotations, -poses.shifts)) < 0.9


# ---------------------------------------------------------------------------------------------------- real files

READ = {"cryocat__add_obj_sub_id": (2, 1.2), "cryocat__bin1_1deg_500_2": (2, 1.971), "cryocat__relion_3.0": (3, 5.364),
        "cryocat__true_all_orig": (1, 1.2), "czi_backend_meta__relion_3_star": (6, 1.7005),
        "pytom__subtomo_format": (1037, 6.896), "czi_backend_meta__relion_4_star": (6, 1.0)}
REFUSED = {
    "chlamy_empiar11830__microtubule_head1500": "expected _rlnImageName in data_, got 1485 places without images",
    "cryocat__relion_3.1_optics2": "expected one voxel size, got 2.446 to 3.446 angstrom",
    "cryocat__relion_test2": "expected an optics group of data_optics (1) for each particle, got 0",
    "cryodrgn__relion31.6opticsgroups": "expected particles that are volumes, got 2-D images",
    "cryodrgn__sta_testing": "expected particles that are volumes, got 2-D images",
    "starfile__run_it025_sampling_3D": "expected one table of particles, got 0 in blocks data_sampling_general",
    "tomodrgn__10076_classE_32_sim": "expected particles that are volumes, got 2-D images",
    "cylindra_mt__optimisation_set": "got an optimisation set: give the file that it names, Picks/",
    "cylindra_mt__run_it025_data": "made by extracting 2-D stacks: run `concordet extract`",
    "tomodrgn__warptools_test_4-tomos_10-ptcls_box-32_angpix-12": "2-D stacks: run `concordet extract`"}


def test_every_real_file_is_read_or_refused_for_a_reason(data_root, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    metadata = data_root / "data/metadata"
    paths = sorted((metadata / "star_particles").glob("*.star"))
    paths += [metadata / f"star_relion_tomo/{name}.star" for name in (*READ, *REFUSED)]
    for path in paths:
        if not path.exists():
            continue
        if path.stem in REFUSED:
            assert REFUSED[path.stem] in refusal(path, check_files=False), path
        else:
            found = read_particles(path, check_files=False)
            assert (len(found), found.voxel_size) == READ[path.stem], path
            assert "expected a file here" in refusal(path)


def test_real_shifts_have_the_other_sign_and_voxels(data_root):
    metadata = data_root / "data/metadata"
    found = read_particles(metadata / "star_particles/czi_backend_meta__relion_3_star.star", check_files=False)
    np.testing.assert_allclose(found.poses.shifts[-1], [-2, -2, -2])  # rlnOriginX..., voxels
    found = read_particles(metadata / "star_relion_tomo/czi_backend_meta__relion_4_star.star", check_files=False)
    assert (found.version, found.ctf, found.box) == ("RELION 4", "premultiplied", 128)
    np.testing.assert_allclose(found.poses.shifts[-1], [-2, -2, -2])  # angstrom, 1 A voxels


# ---------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(("change", "expected"), [
    ({"rlnImageName": None}, "expected _rlnImageName in data_particles, got 3 places without images"),
    ({"rlnAnglePsi": None}, "expected _rlnAngleRot _rlnAngleTilt _rlnAnglePsi, got rlnAngleRot rlnAngleTilt alone"),
    ({"rlnOriginYAngst": None}, "expected _rlnOriginYAngst in data_particles, got no such label"),
    ({"rlnOriginZAngst": None}, "expected particles that are volumes, got 2-D images"),
    ({"rlnAngleRot": ["1", "x", "3"]}, "row 2: expected a finite number for _rlnAngleRot, got 'x'"),
    ({"rlnClassNumber": ["1", "2", "2.5"]}, "row 3: expected a whole number for _rlnClassNumber, got '2.5'"),
    ({"rlnOpticsGroup": ["1", "1", "2"]}, "expected an optics group of data_optics (1) for each particle, got 2"),
    ({"rlnImageName": ["sub/p0.mrc", "sub/gone.mrc", "sub/p1.mrc"]}, "sub/gone.mrc: expected a file here"),
    ({"rlnCtfImage": ["wedge.mrc", "none.mrc", "wedge.mrc"]}, "none.mrc: expected a file here"),
])
def test_bad_tables_are_refused(folder, change, expected):
    assert expected in refusal(star(folder, columns(**change)))


@pytest.mark.parametrize(("change", "expected"), [
    ({"rlnImagePixelSize": None}, "expected a voxel size (_rlnImagePixelSize in data_optics), got none"),
    ({"rlnImagePixelSize": ["0"]}, "expected a voxel size above 0, got 0"),
    ({"rlnImageSize": ["18"]}, "p0.mrc: expected 18 voxels along each axis as _rlnImageSize says, got 16"),
    ({"rlnImageDimensionality": ["2"]}, "expected particles that are volumes, got 2-D images"),
])
def test_bad_optics_are_refused(folder, change, expected):
    optics = {label: values for label, values in (OPTICS | change).items() if values is not None}
    assert expected in refusal(star(folder, optics=optics))


def test_optics_groups_that_disagree_are_refused(folder):
    two = {label: values * 2 for label, values in OPTICS.items()} | {"rlnOpticsGroup": ["1", "2"]}
    for label, values, expected in (
            ("rlnImagePixelSize", ["3.5", "4"], "expected one voxel size, got 3.5 to 4 angstrom"),
            ("rlnImageSize", ["16", "18"], "expected one box, got 16 and 18 voxels in data_optics"),
            ("rlnCtfDataAreCtfPremultiplied", ["0", "1"], "premultiplied by the CTF or none, got both")):
        path = star(folder, columns(rlnOpticsGroup=["1", "2", "1"]), two | {label: values})
        assert expected in refusal(path)


def test_an_empty_table_is_refused(folder):
    path = star(folder, {label: [] for label in columns()})
    assert f"{path}: expected a row for each particle in data_particles, got none" == refusal(path)
    path.write_text("")
    assert f"{path}: expected a STAR file with data_ blocks, got none" == refusal(path)
    assert "no such file" in refusal(folder / "gone.star")


@pytest.mark.parametrize(("shape", "expected"), [
    ((18, 18, 18), "as {0}/sub/p0.mrc has, got 18"),
    ((BOX, BOX, BOX + 1), f"expected a cubic volume, got {BOX + 1} x {BOX} x {BOX}"),
])
def test_volumes_of_another_shape_are_refused(folder, rng, shape, expected):
    write_volume(folder / "sub/p1.mrc", rng.standard_normal(shape), voxel_size=VOXEL)
    path = star(folder, optics={label: values for label, values in OPTICS.items() if label != "rlnImageSize"})
    message = refusal(path)
    assert message.startswith(f"{folder}/sub/p1.mrc: ")
    assert expected.format(folder) in message


@pytest.mark.parametrize("shape", [(18, 18, 18), (BOX, BOX, BOX // 2), (2 * BOX, BOX, BOX // 2 + 1)])
def test_weights_of_another_size_are_refused(folder, shape):
    write_volume(folder / "wedge.mrc", np.ones(shape), voxel_size=VOXEL)
    assert (f"{folder}/wedge.mrc: expected a weight volume of 16 x 16 x 16 voxels, or 9 x 16 x 16 (half), got "
            + " x ".join(map(str, shape[::-1]))) == refusal(star(folder))


@pytest.mark.parametrize(("value", "expected"), [(np.nan, "expected finite"), (0.0, "got 0 in every voxel")])
def test_particles_of_nan_or_nothing_are_refused_when_read(folder, value, expected):
    with mrcfile.open(folder / "sub/p1.mrc", "r+") as file:
        if np.isnan(value):
            file.data[3, 4, 5] = value
        else:
            file.data[:] = value
    found = read_particles(star(folder))
    found.volume(0)
    with pytest.raises(InputError, match=f"sub/p1.mrc: .*{expected}"):
        found.volume(1)


def test_particles_that_changed_since_are_refused_when_read(folder):
    found = read_particles(star(folder))
    write_volume(folder / "sub/p1.mrc", np.ones((9, 9, 9)), voxel_size=VOXEL)
    write_volume(folder / "wedge.mrc", np.ones((9, 9, 9)), voxel_size=VOXEL)
    (folder / "sub/p2.mrc").unlink()
    for read in (lambda: found.volume(1), lambda: found.volume(2), lambda: found.weight(0)):
        with pytest.raises(InputError, match="expected a"):
            read()


# ---------------------------------------------------------------------------------------------------- STAR, info


def test_star_files_hold_what_is_written(tmp_path):
    words = ["plain", "two words", "", "it's", 'say "x"', "#5", "_under", "data_x", "loop_", "a#b", "'", "[1,2]", ";"]
    blocks = {"one": {"key": "a value", "other": "2"}, "": {"first": words, "second": words[::-1]}}
    write_star(tmp_path / "a.star", blocks)
    found = read_star(tmp_path / "a.star")
    assert found["one"].pairs == blocks["one"]
    assert found[""].columns == blocks[""]
    for bad in ("both ' and \"", "two\nlines"):
        with pytest.raises(ValueError, match="a STAR file cannot hold"):
            write_star(tmp_path / "b.star", {"x": {"y": bad}})
    with pytest.raises(ValueError, match="zip"):
        write_star(tmp_path / "b.star", {"x": {"y": ["1"], "z": ["1", "2"]}})
    assert not (tmp_path / "b.star").exists()


def info(capsys, *arguments, status=0):
    assert main(["info", *map(str, arguments)]) == status
    return capsys.readouterr()


def test_info_of_particles(folder, capsys):
    path = star(folder, columns(rlnClassNumber=["1", "2", "2"]))
    found = json.loads(info(capsys, path, "--json").out)
    assert found == {"file": str(path), "kind": "particles (RELION 3.1)", "particles": 3, "box (voxels)": BOX,
                     "voxel size (A)": VOXEL, "poses": "shifts to 7 A along an axis", "classes": {"1": 1, "2": 2},
                     "weights": "1 volumes", "data and weights": "binary", "files missing": "0 of 4"}
    (folder / "wedge.mrc").unlink()
    text = info(capsys, path).out
    assert "not known without its files" in text
    assert "1 of 4" in text


def test_info_of_real_files(data_root, capsys):
    metadata = data_root / "data/metadata"
    assert "(RELION 4)" in info(capsys, metadata / "star_relion_tomo/czi_backend_meta__relion_4_star.star").out
    assert "tilt series" in info(capsys, metadata / "star_relion_tomo/cryocat__dc02t01_ctf.star").out
    refused = info(capsys, metadata / "star_particles/cryodrgn__sta_testing.star", status=2).err
    assert "expected particles that are volumes" in refused
    for path in (metadata / "star_relion_tomo").glob("*tomograms.star"):
        assert not is_particle_star(read_star(path))
