import base64
import json
import re
import struct
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from concordet import report
from concordet.errors import RunError
from concordet.report import page as page_module
from concordet.report import planes as planes_module
from concordet.report import spheres as spheres_module

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Reads a page, checking that every element is closed in order; keeps its text, images and links."""

    def __init__(self, path):
        super().__init__()
        self.open, self.text, self.images, self.references = [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.references += [attributes[n] for n in ("src", "href", "srcset", "data") if n in attributes]
        if tag == "img":
            assert attributes["alt"]
            self.images.append(png_size(base64.b64decode(attributes["src"].partition("base64,")[2])))
        assert tag not in ("script", "link", "iframe", "object")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def png_size(content):
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", content[16:24])


def page_of(tmp_path, *sections):
    report.write_report(tmp_path / "page.html", title="T", summary=[], sections=sections)
    return Page(tmp_path / "page.html")


def views(stacks=2, n=9, ncc=0.9, held_out=4):
    return [{"stack": stack, "view": i, "tilt": 6.0 * i - 24, "ncc": ncc - 0.01 * abs(i - 4),
             "held_out": i == held_out} for stack in range(stacks) for i in range(n)]


@pytest.fixture
def volumes(rng):
    truth = np.zeros((12, 40, 44), dtype=np.float32)
    truth[4:8, 10:20, 12:30] = 1
    return {"sirt": truth + rng.normal(0, 0.3, truth.shape), "truth": truth}


def test_a_page_holds_everything_and_needs_nothing(tmp_path, volumes):
    frequency = np.linspace(0, 0.5, 20)
    sections = [
        report.slices(volumes, voxel_size=10, truth="truth", notes={"sirt": "r = 0.9"}),
        report.ncc_against_tilt({"SIRT": views(), "DM-SIRT": views(ncc=0.91)}, stacks=["axis 0", "axis 90"]),
        report.ncc_bars({"SIRT": 0.9, "DM-SIRT": [0.91, 0.92]}),
        report.history({"SIRT": 1 / np.arange(1, 40)}, logarithmic=True),
        report.fsc({"halves": (frequency, np.exp(-10 * frequency))}, voxel_size=10),
        report.table("Figures", ["method", "wall time (s)"], [["sirt", 1.5]]),
        report.parameters({"iterations": 100}),
    ]
    path = tmp_path / "page.html"
    report.write_report(path, title="A cell & <more>", summary=[("input", "a<b.mrc")], sections=sections)
    page = Page(path)
    assert all(r.startswith(("data:image/png;base64,", "#")) for r in page.references)
    assert not re.search(r"https?:|url\(|@import", path.read_text(encoding="utf-8"))
    text = "".join(page.text)
    for expected in [s.heading for s in sections] + [s.caption for s in sections] + [
            "A cell & <more>", "a<b.mrc", "r = 0.9", "axis 90", "DM-SIRT", "held out", '"iterations": 100']:
        assert expected in text
    assert len(page.images) == 2 + 2 + 1 + 1 + 1
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_the_same_input_makes_the_same_page(tmp_path, volumes):
    pages = []
    for name in ("a.html", "b.html"):
        report.write_report(tmp_path / name, title="T", summary=[],
                            sections=[report.slices(volumes, voxel_size=10), report.ncc_bars({"a": 0.5})])
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]


def test_a_page_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    with pytest.raises(RunError, match="page.html: could not be written"):
        report.write_report(tmp_path / "absent" / "page.html", title="T", summary=[], sections=[])
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="could not be written"):
        report.write_report(tmp_path / "file" / "page.html", title="T", summary=[], sections=[])
    (tmp_path / "file").unlink()
    (tmp_path / "page.html").mkdir()
    with pytest.raises(RunError, match="could not be written"):
        report.write_report(tmp_path / "page.html", title="T", summary=[], sections=[])
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


# Slices


@pytest.mark.parametrize("plane", ["ortho", "xy", "xz", "yz"])
@pytest.mark.parametrize("shape", [(12, 40, 44), (1, 16, 16), (9, 1, 30), (3, 200, 4), (40, 5, 6), (1, 1, 1)])
@pytest.mark.parametrize("voxel_size", [13.7, 0])
def test_slices_of_any_shape(tmp_path, rng, shape, plane, voxel_size):
    volume = rng.standard_normal(shape)
    page = page_of(tmp_path, report.slices({"v": volume}, voxel_size=voxel_size, plane=plane))
    (width, height), = page.images
    assert width > 300 and height > 30


def test_slices_of_constant_and_broken_volumes(tmp_path):
    volume = np.zeros((6, 20, 20), dtype=np.float32)
    hole = volume.copy()
    hole[3, 10, 10] = np.nan
    dot = volume.copy()
    dot[3, 10, 10] = 1
    broken = np.full_like(volume, np.inf)
    page = page_of(tmp_path, report.slices({"zero": volume, "hole": hole, "dot": dot, "broken": broken,
                                            "whole numbers": volume.astype(np.int16)}, voxel_size=10))
    assert len(page.images) == 5


def test_the_truth_comes_first_and_slices_say_what_they_average(volumes):
    section = report.slices(volumes, voxel_size=10, truth="truth", thickness=3)
    assert section.html.index("<b>truth</b>") < section.html.index("<b>sirt</b>")
    assert "3 voxels (3 nm)" in section.caption


def test_a_slice_is_the_mean_of_the_middle_about_the_centre_voxel(rng):
    volume = rng.standard_normal((9, 10, 12)).astype(np.float32)
    np.testing.assert_allclose(planes_module._central_slice(volume, "xy", 1), volume[4])
    np.testing.assert_allclose(planes_module._central_slice(volume, "xz", 1), volume[:, 5])
    np.testing.assert_allclose(planes_module._central_slice(volume, "yz", 1), volume[:, :, 6])
    np.testing.assert_allclose(planes_module._central_slice(volume, "xy", 3), volume[3:6].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(planes_module._central_slice(volume, "xy", 99), volume.mean(axis=0), atol=1e-5)


def test_orthogonal_slices_share_their_axes(rng):
    # xy and xz share x, xy and yz share y; rows up.
    planes, (width, height) = planes_module._layout((4, 20, 30), "ortho")
    assert planes["xy"][0] == planes["xz"][0] and planes["xy"][2] == planes["xz"][2] == 30
    assert planes["xy"][1] == planes["yz"][1] and planes["xy"][3] == planes["yz"][3] == 20
    assert planes["yz"][2] == planes["xz"][3] == 4
    assert width == planes["yz"][0] + 4 and height == planes["xy"][1] + 20


def test_matter_is_dark_and_rows_go_up(tmp_path):
    import matplotlib.image

    volume = np.zeros((1, 20, 20))
    volume[0, 12:18, 2:8] = 1
    for matter_high, inside in [(True, 0.0), (False, 1.0)]:
        path = tmp_path / "slice.png"
        report.picture(path, {"": volume}, voxel_size=0, matter_high=matter_high)
        pixels = matplotlib.image.imread(path)[..., 0]
        rows, columns = pixels.shape
        panel = pixels[rows - columns:]                # the square panel, below its name
        assert panel[columns // 4, columns // 4] == pytest.approx(inside, abs=0.02)
        assert panel[3 * columns // 4, columns // 4] == pytest.approx(1 - inside, abs=0.02)


def test_a_picture_stands_alone(tmp_path, volumes):
    report.picture(tmp_path / "p.png", volumes, voxel_size=10, truth="truth")
    width, height = png_size((tmp_path / "p.png").read_bytes())
    assert width > 2 * 400 and height < width
    report.picture(tmp_path / "p.png", volumes, voxel_size=10, columns=1)
    width, height = png_size((tmp_path / "p.png").read_bytes())
    assert height > width
    assert [p.name for p in tmp_path.iterdir()] == ["p.png"]


@pytest.mark.parametrize("length, expected", [(1, 1), (0.99, 0.5), (37, 20), (50, 50), (4999, 2000)])
def test_scale_bars_have_round_lengths(length, expected):
    assert planes_module._round_length(length) == pytest.approx(expected)


# Curves


def test_ncc_of_one_view_and_of_none(tmp_path):
    one = [{"stack": "a.mrc", "view": 0, "tilt": 0.0, "ncc": 0.5, "held_out": False}]
    missing = [{"stack": "a.mrc", "view": 0, "tilt": 0.0, "ncc": None, "held_out": True},
               {"stack": "a.mrc", "view": 1, "tilt": 3.0, "ncc": float("nan"), "held_out": False}]
    assert len(page_of(tmp_path, report.ncc_against_tilt({"m": one})).images) == 1
    assert len(page_of(tmp_path, report.ncc_against_tilt({"m": missing})).images) == 1
    assert len(page_of(tmp_path, report.ncc_against_tilt({"m": []})).images) == 0
    assert "held out" not in report.ncc_against_tilt({"m": one}).caption


def test_one_panel_for_each_stack(tmp_path):
    page = page_of(tmp_path, report.ncc_against_tilt({"a": views(stacks=5), "b": views(stacks=3)}))
    assert len(page.images) == 5
    assert "stack 5" in "".join(page.text)


def test_sixteen_methods_are_told_apart():
    styles = page_module.styles(range(16))
    assert len(set(styles.values())) == 16


def test_curves_without_spread(tmp_path):
    page = page_of(tmp_path, report.ncc_bars({"a": 0.9, "b": 0.9}), report.ncc_bars({"a": np.nan, "b": []}),
                   report.ncc_bars({}), report.history({"a": [0.0]}), report.history({"a": []}),
                   report.history({"a": [0.0, -1.0]}, logarithmic=True),
                   report.history({"a": [3.0]}, logarithmic=True),
                   report.history({"a": [(5, 1.0), (10, np.nan), (20, 0.5)]}),
                   report.fsc({"a": ([0.0], [1.0])}, voxel_size=1), report.fsc({}, voxel_size=1))
    assert len(page.images) == 10


def test_resolution_is_where_the_fsc_falls_below_the_threshold():
    frequency = np.linspace(0, 0.5, 11)
    correlation = np.linspace(1, 0, 11)                      # 0.143 at a frequency of 0.4285 per voxel
    curves = {"halves": (frequency, correlation), "flat": (frequency, np.ones(11))}
    section = report.fsc(curves, voxel_size=10)
    assert "halves: 23.3 Å (40 Å)" in section.caption
    assert "flat: not reached (not reached)" in section.caption


# Particles


def test_maps_of_the_sphere(tmp_path, rng):
    rotations = np.linalg.qr(rng.standard_normal((30, 3, 3)))[0]
    directions = rng.standard_normal((200, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    coverage = report.fourier_coverage(directions, np.abs(directions[:, 2]), worst=[1.0, 0.0, 0.0])
    page = page_of(tmp_path, report.angular_distribution(rotations), coverage,
                   report.angular_distribution(np.repeat(rotations, 70, axis=0)),
                   report.angular_distribution(rotations[:1]), report.fourier_coverage(directions, np.zeros(200)))
    assert len(page.images) == 2 + 1 + 2 + 2 + 1
    assert "30 particles" in "".join(page.text) and "1.00 0.00 0.00 (x y z)" in coverage.caption


def sphere_map(monkeypatch, build):
    """Values of the maps that build() draws: longitudes and latitudes in radians, and the values."""
    drawn = []
    draw = spheres_module._draw_sphere
    monkeypatch.setattr(spheres_module, "_draw_sphere",
                        lambda figure, *rest: drawn.append(rest[:3]) or draw(figure, *rest))
    build()
    return drawn


def test_a_density_of_directions_is_that_of_its_particles(monkeypatch, rng):
    """All beams along x: a spot at longitude 0 and one at 180; the mean over the sphere is that of a uniform one."""
    turn = np.array([[0, 1, 0], [0, 0, 1], [1.0, 0, 0]])                  # its third row, R^T z, is x
    drawn = sphere_map(monkeypatch, lambda: report.angular_distribution(np.tile(turn, (5, 1, 1))))
    (longitude, latitude, beams), (_, _, axes) = drawn
    area = np.cos(latitude) * (longitude < np.pi - 1e-6)                   # the last meridian is the first
    for density in (beams, axes):
        assert (density * area).sum() / area.sum() == pytest.approx(1, rel=0.02)
    top = np.abs(np.degrees(longitude[beams > 0.9 * beams.max()]))
    assert np.minimum(top, 180 - top).max() < 5 and np.abs(np.degrees(latitude[beams > 0.9 * beams.max()])).max() < 5
    at = np.unravel_index(np.argmax(axes), axes.shape)
    assert np.degrees(longitude[at]) == pytest.approx(90, abs=3)           # R z is y


def test_coverage_is_drawn_where_it_is_and_the_same_at_opposite_ends(monkeypatch, rng):
    directions = rng.standard_normal((4000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    seen = np.where(np.abs(directions @ [0.6, 0.0, 0.8]) > 0.9, 1.0, 0.2)
    (longitude, latitude, values), = sphere_map(monkeypatch, lambda: report.fourier_coverage(directions, seen))
    points = np.stack([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)])
    nearness = np.abs(np.tensordot([0.6, 0.0, 0.8], points, 1))
    np.testing.assert_allclose(values[nearness > 0.95], 1, atol=0.02)
    np.testing.assert_allclose(values[nearness < 0.85], 0.2, atol=0.02)


def test_many_directions_are_counted_in_cells(rng):
    directions = rng.standard_normal((5000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    places, weights = spheres_module._gathered(directions)
    assert len(places) < 2700 and weights.sum() == 5000
    np.testing.assert_allclose(weights @ places / 5000, directions.mean(axis=0), atol=2e-3)


def test_distributions_and_confusion(tmp_path, rng):
    errors = {"a": [1.0, 2.0, 150.0], "b": [np.nan], "c": []}
    page = page_of(tmp_path, report.cumulative(errors, xlabel="error (degrees)", marks=[15]),
                   report.cumulative({}, xlabel="x"), report.cumulative({"zero": [0.0, 0.0]}, xlabel="x"),
                   report.confusion([[9, 1], [0, 0]], ["1", "2"], ["2", "1"]),
                   report.confusion(rng.integers(0, 9, (20, 25)), [str(i) for i in range(20)], ["x"] * 25))
    assert len(page.images) == 5


# Text


def test_tables_align_numbers_and_escape_text():
    section = report.table("T", ["method", "time (s)", "n"], [["<sirt>", 1.23456, 3], ["fbp", None, 12]])
    assert "<td>&lt;sirt&gt;</td>" in section.html
    assert "<td class=n>1.235</td>" in section.html
    assert "<td class=n>–</td>" in section.html
    assert "<td class=n>12</td>" in section.html
    assert "<tbody>\n</tbody>" in report.table("T", ["a"], []).html


def test_parameters_are_json(tmp_path):
    values = {"relaxation": np.float32(0.5), "angles": np.arange(3), "path": tmp_path, "none": None,
              "text": "a<b>"}
    page = page_of(tmp_path, report.parameters(values))
    text = next(part for part in page.text if part.startswith("{"))
    assert json.loads(text) == {"relaxation": 0.5, "angles": [0, 1, 2], "path": str(tmp_path), "none": None,
                                "text": "a<b>"}


def test_colours_of_a_user_are_left_alone(volumes, tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    page_of(tmp_path, report.slices(volumes, voxel_size=10))
    assert dict(matplotlib.rcParams) == before


def test_only_the_report_draws():
    home = Path(report.__file__).parent
    for source in home.parent.rglob("*.py"):
        draws = re.search(r"^\s*(import|from) matplotlib", source.read_text(encoding="utf-8"), re.M)
        assert not draws or source.parent == home, source
