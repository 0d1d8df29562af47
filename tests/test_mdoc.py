"""SerialEM's mdoc: every real one is read, or refused for the reason given here."""

import numpy as np
import pytest

from concordet import io
from concordet.errors import InputError

MOVIE = r"expected \[ZValue = n\] sections of a tilt series, got a movie's \[FrameSet\]"
REFUSED = {
    "cryocat__TS_019_": MOVIE,
    "mdocfile__frame_set_single": MOVIE,
    "mdocfile__montage_section_multiple": "expected one image per section, got a montage",
}
READ = {
    "cryocat__017.mdoc": (60, 1.971, 82.9),
    "czi_backend_meta__close-TS_run1.mdoc": (9, 3.3702, 84.7),
    "etspy__test_000.mdoc": (2, 7.88, -90.0),
    "etspy__test_002.mdoc": (2, 7.88, -90.0),
}


def test_every_real_mdoc_is_read_or_refused_for_a_stated_reason(data_root):
    paths = sorted((data_root / "data" / "metadata" / "mdoc").glob("*.mdoc"))
    assert {path.name for path in paths} >= READ.keys()
    for path in paths:
        reasons = [reason for start, reason in REFUSED.items() if path.name.startswith(start)]
        if reasons:
            with pytest.raises(InputError, match=reasons[0]) as refusal:
                io.read_mdoc(path)
            assert str(refusal.value).startswith(f"{path}: ") and "\n" not in str(refusal.value)
            continue
        views, spacing, axis = READ[path.name]
        mdoc = io.read_mdoc(path, views)
        assert mdoc.tilt_angles.shape == (views,)
        assert mdoc.tilt_axis_angle == axis
        assert all(section.pixel_spacing == spacing for section in mdoc.sections)


def test_fields_of_a_real_tilt_series(data_root):
    mdoc = io.read_mdoc(data_root / "data" / "metadata" / "mdoc" / "cryocat__017.mdoc")
    first = mdoc.sections[0]
    assert mdoc.image_file == "TS_017.mrc"
    assert (first.z_value, first.tilt_angle, first.sub_frame_path) == (0, -52.0064, "017_01.mrc")
    assert (first.exposure_dose, first.prior_dose, first.rotation_angle) == (2.23843, 134.379, 172.9)
    tlt = io.read_tilt_angles(data_root / "data" / "metadata" / "tlt" / "cryocat__017.tlt")
    np.testing.assert_allclose(mdoc.tilt_angles, tlt, atol=0.006)


@pytest.fixture
def mdoc_file(tmp_path):
    def write(content):
        path = tmp_path / "series.mdoc"
        path.write_text(content, encoding="latin-1")
        return path

    return write


def test_angles_come_in_stack_order_and_gaps_are_allowed(mdoc_file):
    path = mdoc_file(
        "PixelSpacing = 2.5\nImageFile = a b.st\n\n[T = Titan \xb5]\n\n"
        "[ZValue = 4]\r\nTiltAngle = 3.0\r\n\n[ZValue = 0]\nTiltAngle=-3\nPixelSpacing = 5\n"
        "[ZValue = 1]\nTiltAngle = 0\n"
    )
    mdoc = io.read_mdoc(path, 3)
    np.testing.assert_array_equal(mdoc.tilt_angles, [-3, 0, 3])
    assert [section.z_value for section in mdoc.sections] == [0, 1, 4]
    assert [section.pixel_spacing for section in mdoc.sections] == [5, 2.5, 2.5]
    assert mdoc.image_file == "a b.st" and mdoc.tilt_axis_angle is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[ZValue = 0]\nTiltAngle = nan\n", "line 2: expected TiltAngle to be a number, got 'nan'"),
        ("[ZValue = 0]\nTiltAngle = 200\n", "line 2: expected a tilt angle in -180 .. 180 degrees, got 200"),
        ("[ZValue = 0]\nExposureDose = much\n", "line 2: expected ExposureDose to be a number, got 'much'"),
        ("[ZValue = x]\n", "line 1: expected ZValue to be an integer >= 0, got 'x'"),
        ("[ZValue = 0]\n[ZValue = 0]\n", "line 2: expected each ZValue once, got 0 again"),
        ("Montage = 1\n[ZValue = 0]\n", "got a montage"),
        ("-60\n-57\n", r"expected an mdoc with \[ZValue = n\] sections, got none"),
        ("", r"expected an mdoc with \[ZValue = n\] sections, got none"),
    ],
)
def test_what_is_no_tilt_series_is_refused(mdoc_file, content, message):
    with pytest.raises(InputError, match=message):
        io.read_mdoc(mdoc_file(content))


def test_a_section_without_an_angle_has_none_until_angles_are_asked_for(mdoc_file):
    mdoc = io.read_mdoc(mdoc_file("[ZValue = 0]\nTiltAngle = 1\n[ZValue = 1]\n"))
    with pytest.raises(InputError, match=r"expected a TiltAngle in \[ZValue = 1\], got none"):
        _ = mdoc.tilt_angles


def test_a_count_unlike_the_stacks_is_refused(mdoc_file):
    with pytest.raises(InputError, match=r"expected 2 sections \(views in a.mrc\), got 1"):
        io.read_mdoc(mdoc_file("[ZValue = 0]\nTiltAngle = 1\n"), 2, stack="a.mrc")
