"""IMOD's text files: every real one is read, or refused for the reason given here."""

import numpy as np
import pytest

from concordet import io
from concordet.errors import InputError

READERS = {
    ".tlt": io.read_tilt_angles,
    ".rawtlt": io.read_tilt_angles,
    ".xtilt": io.read_x_tilts,
    ".xf": io.read_transforms,
    ".tltxf": io.read_transforms,
}
FOLDERS = [f"metadata/{name}" for name in ("tlt", "rawtlt", "xf", "tltxf", "xtilt")] + ["dual_axis_BB"]

# A local alignment starts with the layout of its patches and goes on with angles and vectors per patch; a
# midas file puts a line of its own before every transform. Neither is one transform per view.
NOT_PER_VIEW = "line 1: expected 6 numbers, .*no local-alignment or midas file.*, got"
LOCAL = f"{NOT_PER_VIEW} 9"
REFUSED = {
    "imod_etomo__BBalocal.xf": LOCAL,
    "imod_etomo__BBalocal_patch-tracking.xf": LOCAL,
    "imod_etomo__BBblocal.xf": LOCAL,
    "imod_etomo__mediumscansb2_midas.xf": f"{NOT_PER_VIEW} 1",
}

COUNTS = {
    "cryocat__017.tlt": 60,
    "imod_com__1.5deg-minus1.rawtlt": 82,
    "pytom_match_pick__test_angles.rawtlt": 35,
    "czi_backend_meta__TS_run1.rawtlt": 4,
    "czi_backend_meta__invalid_TS_run1.rawtlt": 5,
    "susan_empiar10064__mixedCTEM_tomo2.xf": 58,
    "warpylib__00254.xf": 41,
    "cryoet_alignment__tilt_1.xtilt": 59,
    "BBa.tlt": 61,
    "BBb.tltxf": 61,
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_real_file_is_read_or_refused_for_a_stated_reason(data_root, folder):
    paths = [path for path in sorted((data_root / "data" / folder).iterdir()) if path.suffix in READERS]
    assert len(paths) >= 2
    for path in paths:
        read = READERS[path.suffix]
        if path.name in REFUSED:
            with pytest.raises(InputError, match=REFUSED[path.name]) as refusal:
                read(path)
            assert str(refusal.value).startswith(f"{path}: ") and "\n" not in str(refusal.value)
            continue
        values = read(path)
        assert values.dtype == np.float64 and np.isfinite(values).all()
        assert values.shape[1:] == ((2, 3) if read is io.read_transforms else ())
        assert len(values) == COUNTS.get(path.name, len(values))


def test_every_refused_file_and_every_count_is_of_a_file_that_exists(data_root):
    names = {path.name for folder in FOLDERS for path in (data_root / "data" / folder).iterdir()}
    assert names >= REFUSED.keys() | COUNTS.keys()


def test_the_invalid_angle_file_is_invalid_only_beside_its_series(data_root):
    """Its five numbers are good angles; the series it was made for, in the folder's valid twin, has four."""
    folder = data_root / "data" / "metadata" / "rawtlt"
    views = len(io.read_tilt_angles(folder / "czi_backend_meta__TS_run1.rawtlt"))
    with pytest.raises(InputError, match=r"expected 4 tilt angles \(one per view\), got 5"):
        io.read_tilt_angles(folder / "czi_backend_meta__invalid_TS_run1.rawtlt", views)


def test_the_real_alignment_has_the_values_of_the_file(data_root):
    folder = data_root / "data" / "empiar10499_00254"
    transforms = io.read_transforms(folder / "00254.xf", 41)
    assert transforms[0].tolist() == [[0.9971855, -0.0749783, -27.094], [0.0749783, 0.9971855, -2.191]]
    angles = io.read_tilt_angles(folder / "00254.tlt", 41)
    assert angles[0] == -60.01 and (np.diff(angles) > 0).all()


@pytest.fixture
def text_file(tmp_path):
    def write(content, name="series.tlt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    "content",
    [
        "-60\n0\n60.5\n",
        " -60 0\n  60.5",
        "-60\r\n\r\n0\r\n60.5\r\n \t\n",
        "-6.0E1\t+0.\n60.50",
        "\ufeff-60 0 60.5",
    ],
)
def test_angles_may_stand_one_or_many_to_a_line(text_file, content):
    for read in (io.read_tilt_angles, io.read_x_tilts):
        np.testing.assert_array_equal(read(text_file(content)), [-60, 0, 60.5])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("-60\n\nnan\n", "line 3: expected a tilt angle in degrees, got 'nan'"),
        ("-60\ninf\n", "line 2: expected a tilt angle in degrees, got 'inf'"),
        ("-60 zero\n", "line 1: .* got 'zero'"),
        ("1,5\n", "line 1: .* got '1,5'"),
        ("1_0\n", "line 1: .* got '1_0'"),
        ("# tilts\n-60\n", "line 1: .* got '#'"),
        ("0\n180.5\n", "line 2: expected a tilt angle in -180 .. 180 degrees, got 180.5"),
        ("\n \n", "expected tilt angles, got none"),
        ("", "expected tilt angles, got none"),
        (b"\x00\x01\x02", "expected a text file, got binary data"),
        (b"\xff\xfe\n", "line 1: expected a tilt angle"),
    ],
)
def test_what_is_not_an_angle_is_refused_naming_the_line(text_file, content, message):
    path = text_file(content)
    with pytest.raises(InputError, match=message) as refusal:
        io.read_tilt_angles(path)
    assert str(refusal.value).startswith(f"{path}: ") and "\n" not in str(refusal.value)


def test_a_count_unlike_the_stacks_is_refused(text_file):
    path = text_file("1\n2\n")
    assert len(io.read_tilt_angles(path, 2)) == 2
    with pytest.raises(InputError, match=r"expected 3 tilt angles \(views in a.mrc\), got 2"):
        io.read_tilt_angles(path, 3, stack="a.mrc")
    with pytest.raises(InputError, match=r"expected 1 x-axis tilts \(one per view\), got 2"):
        io.read_x_tilts(path, 1)


def test_a_transform_file_with_a_row_missing_is_refused(text_file):
    path = text_file("1 0 0 1 0 0\n" * 40, "series.xf")
    with pytest.raises(InputError, match=r"expected 41 transforms \(views in a.mrc\), got 40"):
        io.read_transforms(path, 41, stack="a.mrc")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 0 0 1 0\n", "line 1: expected 6 numbers, .* got 5"),
        ("1 0 0 1 0 0\n1 0 0 1 0 0 0\n", "line 2: expected 6 numbers, .* got 7"),
        ("1 0 0 1 nan 0\n", "line 1: expected a number, got 'nan'"),
        ("1 0 0 1 x 0\n", "line 1: expected a number, got 'x'"),
        ("1 0 0 1 0 0\n\n1 2 2 4 0 0\n", r"line 3: .* inverted for view 1 \(counted from 0\)"),
        ("0 0 0 0 0 0\n", "line 1: expected a matrix that can be inverted for view 0"),
        ("", "expected transforms, got none"),
    ],
)
def test_what_is_no_transform_per_view_is_refused(text_file, content, message):
    with pytest.raises(InputError, match=message):
        io.read_transforms(text_file(content, "series.xf"))


@pytest.mark.parametrize("matrix", ["1e-4 0 0 1e-4", "500 0 0 500", "-1 0 0 1", "0 1 -1 0", "1 0.9 0 0.05"])
def test_small_large_mirrored_and_sheared_matrices_are_not_singular(text_file, matrix):
    transform = io.read_transforms(text_file(f"{matrix} 0 0\n", "series.xf"))
    np.testing.assert_array_equal(transform[0, :, :2].ravel(), [float(word) for word in matrix.split()])


def test_volume_transforms_of_imod_are_read(data_root):
    paths = sorted((data_root / "data" / "geometry_oracle" / "3_imod_solve").glob("*.xf"))
    assert paths
    for path in paths:
        transform = io.read_volume_transform(path)
        assert transform.shape == (3, 4) and abs(np.linalg.det(transform[:, :3])) > 0.1


def test_volume_transforms_keep_the_order_of_the_file(text_file):
    transform = io.read_volume_transform(text_file("1 2 3 4\n0 1 5 6\n0 0 1 7\n\n", "solve.xf"))
    assert transform.tolist() == [[1, 2, 3, 4], [0, 1, 5, 6], [0, 0, 1, 7]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 0 0 0\n0 1 0 0\n", "expected 3 lines of 4 numbers .*, got 2"),
        ("1 0 0 0\n0 1 0 0\n0 0 1 0\n" * 2, "expected 3 lines of 4 numbers .*, got 6"),
        ("1 0 0 1 0 0\n", r"line 1: expected 4 numbers \(3-D transform\), got 6"),
        ("1 0 0 0\n0 1 0 0\n0 0 inf 0\n", "line 3: expected a number, got 'inf'"),
        ("1 0 0 0\n2 0 0 0\n0 0 1 0\n", "expected a matrix that can be inverted"),
        ("", "expected 3 lines of 4 numbers .*, got 0"),
    ],
)
def test_what_is_no_volume_transform_is_refused(text_file, content, message):
    with pytest.raises(InputError, match=message):
        io.read_volume_transform(text_file(content, "solve.xf"))


def test_what_is_written_is_read_back(tmp_path, rng):
    angles = np.linspace(-60, 60, 41)
    io.write_tilt_angles(tmp_path / "a.tlt", angles)
    np.testing.assert_allclose(io.read_tilt_angles(tmp_path / "a.tlt"), angles, atol=5e-5)
    transforms = np.tile([[1.0, 0, 0], [0, 1, 0]], (41, 1, 1)) + 0.1 * rng.standard_normal((41, 2, 3))
    transforms[:, :, 2] *= 1e4
    io.write_transforms(tmp_path / "a.xf", transforms)
    np.testing.assert_allclose(io.read_transforms(tmp_path / "a.xf"), transforms, atol=5e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tlt", "a.xf"]
    with pytest.raises(ValueError, match=r"shape \(n, 2, 3\)"):
        io.write_transforms(tmp_path / "b.xf", np.zeros((3, 6)))


def test_files_that_cannot_be_read_or_written_are_refused(tmp_path):
    with pytest.raises(InputError, match="expected a text file, got no such file"):
        io.read_tilt_angles(tmp_path / "none.tlt")
    with pytest.raises(InputError, match="expected a text file, got a folder"):
        io.read_transforms(tmp_path)
    with pytest.raises(InputError, match="expected an existing folder"):
        io.write_tilt_angles(tmp_path / "none" / "a.tlt", np.zeros(3))


def test_the_ending_says_how_angles_are_read(text_file):
    np.testing.assert_array_equal(io.read_angles(text_file("1 2", "a.TLT"), 2), [1, 2])
    np.testing.assert_array_equal(io.read_angles(text_file("1 2", "a.rawtlt")), [1, 2])
    mdoc = text_file("[ZValue = 0]\nTiltAngle = 3\n", "a.mrc.mdoc")
    np.testing.assert_array_equal(io.read_angles(mdoc), [3])
    for name, got in [("a.txt", ".txt"), ("a", "no ending")]:
        with pytest.raises(InputError, match=f"expected tilt angles in a .tlt .rawtlt .mdoc file, got {got}"):
            io.read_angles(text_file("1 2", name))
