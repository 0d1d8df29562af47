"""AreTomo, RELION and Warp: their own tables are reproduced, every real file is read or refused for a reason."""

import csv

import numpy as np
import pytest

from concordet import io
from concordet.errors import InputError
from concordet.experiment import Experiment, SeriesFiles
from concordet.geometry import centre_offset, tilt_series

RELION_LABELS = ("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot", "rlnTomoXShiftAngst", "rlnTomoYShiftAngst")
NO_ALIGNMENT = "expected the tilt images of one aligned tilt series with .*, got "


def table(path):
    """Columns of a CSV file by name, as numbers where they are."""
    with path.open() as file:
        rows = list(csv.reader(file))
    columns = dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))

    def numbers(values):
        try:
            return np.array(values, float)
        except ValueError:
            return np.array(values)

    return {name: numbers(values) for name, values in columns.items()}


def maps_of(alignment, image_shape, pixel_size):
    """The view maps (view, 2, 4), from and to n // 2 for images, from the program's centre for the volume."""
    return tilt_series(alignment.tilts, image_shape, x_tilts=alignment.x_tilts,
                       transforms=alignment.transforms(image_shape, pixel_size)).maps


def projected(maps, views, points):
    """(u, v) of each point (x, y, z) in the view that stands beside it."""
    chosen = maps[views.astype(int)]
    return np.einsum("nij,nj->ni", chosen[:, :, :3], points) + chosen[:, :, 3]


@pytest.fixture
def oracle(data_root):
    return data_root / "data" / "geometry_oracle"


# ------------------------------------------------------------------------------------------------ oracle tables


@pytest.mark.parametrize("case", ["real_TS_01_even", "real_TS_01_odd", "synthetic_even", "synthetic_odd",
                                  "synthetic_oddimage_eventomo"])
def test_relion_points(oracle, tmp_path, case):
    folder = oracle / "4_relion5"
    sizes = {name: values[list(table(folder / "summary.csv")["case"]).index(case)]
             for name, values in table(folder / "summary.csv").items() if name != "case"}
    if case.startswith("real"):
        path = folder / "cryocat__relion5_TS_01_tilt.star"
    else:
        path = tmp_path / "tilts.star"
        tilts = table(folder / f"{case}_tilts.csv")
        rows = zip(*(tilts[label] for label in RELION_LABELS), strict=True)
        path.write_text(star_text(rows))
    alignment = io.read_alignment(path)
    image_shape = int(sizes["im_ny"]), int(sizes["im_nx"])
    maps = maps_of(alignment, image_shape, sizes["pixel_angst"])
    points = table(folder / f"{case}_points.csv")
    # The C++ programs put centred angstrom at n / 2 in the tomogram and turn about n // 2.
    tomogram = np.array([sizes["tomo_x"], sizes["tomo_y"], sizes["tomo_z"]])
    centred = np.column_stack([points[f"{axis}_centered_angst"] for axis in "xyz"]) / sizes["pixel_angst"]
    found = projected(maps, points["tilt_index"], centred + tomogram / 2 - tomogram // 2)
    origin = np.array(image_shape[::-1]) // 2
    np.testing.assert_allclose(found + origin, np.column_stack([points["u_px_cpp"], points["v_px_cpp"]]), atol=0.01)


@pytest.mark.parametrize(("file", "case", "image_shape"), [
    ("synthetic.aln", "synthetic_even", (928, 960)), ("synthetic.aln", "synthetic_odd", (927, 959)),
    ("cryoet_alignment__test.aln", "cryoet_alignment_test", (2032, 2032)),
    ("czi_backend_meta__TS_run1.aln", "czi_TS_run1", (20, 10))])
def test_aretomo_points(oracle, file, case, image_shape):
    maps = maps_of(io.read_alignment(oracle / "6_aretomo" / file), image_shape, 1.0)
    points = table(oracle / "6_aretomo" / f"{case}_points.csv")
    found = projected(maps, points["tilt_index"], np.column_stack([points["x_px_from_centre"], points["y"],
                                                                   points["z"]]))
    np.testing.assert_allclose(found, np.column_stack([points["u_px_from_image_centre_r5"], points["v_r5"]]),
                               atol=0.001)


def test_aretomo_agrees_with_the_xf_that_it_writes(oracle):
    folder = oracle / "6_aretomo"
    # Odd sizes have IMOD's centre and n // 2 in one place.
    mine = io.read_alignment(folder / "synthetic.aln").transforms((927, 959), 1.0)
    np.testing.assert_allclose(mine, io.read_transforms(folder / "synthetic_alnfile.xf"), atol=1e-3)
    np.testing.assert_allclose(mine, io.read_transforms(folder / "synthetic_CSaveXF_OutImod1.xf"), atol=6e-3)


@pytest.mark.parametrize(("file", "case"), [
    ("00254.xml", "00254_xml"), ("00254_xf_import.xml", "00254_xf_import_xml"),
    ("00254_xf_import.xml", "00254_import_xf_tlt"), ("TS_1.xml", "TS_1_xml_nomovement")])
def test_warp_points(oracle, file, case):
    folder = oracle / "5_warp"
    settings = {name: values[0] for name, values in table(folder / f"{case}_settings.csv").items()}
    points = table(folder / f"{case}_points.csv")
    maps = maps_of(io.read_alignment(folder / file), (64, 64), 10.0)
    volume = np.array([settings[f"volume_{axis}"] for axis in "xyz"])
    image = np.array([settings["image_x"], settings["image_y(angst)"]])
    corner = np.column_stack([points[f"{axis}_angst_from_corner"] for axis in "xyz"])
    found = 10.0 * projected(maps, points["tilt_index"], (corner - volume / 2) / 10.0) + image / 2
    np.testing.assert_allclose(found, np.column_stack([points["u_angst_from_corner"], points["v_angst_from_corner"]]),
                               atol=0.01)


def test_warp_is_the_mirror_image_of_the_imod_files_it_was_imported_from(oracle):
    folder = oracle / "5_warp"
    shape = (629, 651)  # odd: IMOD's centre is Warp's, up to half a pixel for n / 2
    imod = tilt_series(io.read_tilt_angles(folder / "00254.tlt"), shape,
                       transforms=io.read_transforms(folder / "00254.xf")).flipped().maps
    warp = maps_of(io.read_alignment(folder / "00254_xf_import.xml"), shape, 10.0)
    warp[:, :, 3] -= 0.5
    np.testing.assert_allclose(warp, imod, atol=1e-3)


@pytest.mark.parametrize(("centre", "even", "odd"), [("ours", 0, 0), ("imod", 0.5, 0), ("half", 0, -0.5)])
def test_centres(centre, even, odd):
    np.testing.assert_array_equal(centre_offset(np.array([8, 9]), centre), [even, odd])


# ---------------------------------------------------------------------------------------------- every real file

RELION_READ = {  # tilt images, electrons per square angstrom before the first
    "cryocat__dc02t01_ctf.star": (47, 40.48),
    "pytom_match_pick__tomo200528_107.star": (35, 68.2),
    "relion5_meta__220728_TS_01.star": (41, 0.0),
    "relion5_meta__220728_TS_43.star": (41, 0.0),
    "relion5_meta__220728_TS_54.star": (41, 0.0),
}
RELION_REFUSED = {
    "cryocat__motl_warp2_b1_TM_nucleo_Trest_99percyto_2Dparticles_R5_tomograms.star": "14 tilt series",
    "cryocat__warp2_matching_tomograms.star": "projection matrices .* as in RELION 4",
    "cylindra_mt__13pf_MT.star": "a tilt series that is not aligned yet",
    "cylindra_mt__optimisation_set.star": "blocks data_optimisation_set",
    "cylindra_mt__run_it025_data.star": "blocks data_general data_optics data_particles",
    "cylindra_mt__run_it040_optimisation_set.star": "blocks data_",
    "cylindra_mt__run_it050_optimisation_set.star": "blocks data_",
    "czi_backend_meta__relion_4_star.star": "blocks data_optics data_particles",
    "tomodrgn__warptools_test_4-tomos_10-ptcls_box-32_angpix-12.star": "blocks data_general",
    "tomodrgn__warptools_test_4-tomos_10-ptcls_box-32_angpix-12_tomograms.star": "projection matrices",
}


def test_every_real_relion_file_is_read_or_refused_for_a_stated_reason(data_root):
    paths = sorted((data_root / "data" / "metadata" / "star_relion_tomo").glob("*.star"))
    assert {path.name for path in paths} >= RELION_READ.keys() | RELION_REFUSED.keys()
    for path in paths:
        if path.name in RELION_REFUSED:
            with pytest.raises(InputError, match=NO_ALIGNMENT + RELION_REFUSED[path.name]) as refusal:
                io.read_relion_tilt_series(path)
            assert str(refusal.value).startswith(f"{path}: ") and "\n" not in str(refusal.value)
            continue
        count, exposure = RELION_READ[path.name]
        series = io.read_relion_tilt_series(path)
        assert (len(series.tilts), series.pre_exposures[0]) == (count, exposure)
        assert series.shifts.shape == (count, 2) and series.defoci.shape == (count, 3)
        assert len(series.image_names) == count and series.sections is None
        # RELION keeps the sign of the stage's angle (up to the specimen's own tilt).
        assert np.ptp(series.tilts - series.nominal_tilts) < 0.05


def test_every_real_star_file_is_read(data_root):
    paths = sorted((data_root / "data" / "metadata").glob("star_*/*.star"))
    paths += sorted((data_root / "data" / "metadata" / "tomostar").glob("*.tomostar"))
    assert len(paths) >= 29
    for path in paths:
        assert io.read_star(path)
    block = io.read_star(data_root / "data/metadata/star_particles/cryocat__relion_3.1_optics2.star")["particles"]
    assert len(block) == 3 and block.ints("rlnOpticsGroup").dtype == np.int64
    assert np.isfinite(block.floats("rlnAngleRot")).all()


def test_every_real_aln_is_read(data_root, oracle):
    paths = sorted((data_root / "data" / "metadata" / "aln").glob("*.aln"))
    assert paths
    for path in paths:
        assert len(io.read_aln(path).tilt)
    shortened = io.read_aln(data_root / "data" / "metadata" / "aln" / "cryoet_alignment__test.aln")
    assert shortened.raw_size == (2032, 2032, 90) and len(shortened.dark_frames) == 4
    assert shortened.dark_frames[0] == io.DarkFrame(1, 0, -66.0)
    np.testing.assert_array_equal(shortened.sections, [0, 1, 2, 3])
    assert (shortened.section_base, shortened.is_base_certain, shortened.local_alignments) == (1, False, 6)
    notes = " ".join(shortened.alignment().notes)
    assert "local alignment is read but not used" in notes and "counted from 0 or from 1" in notes
    czi = io.read_aln(oracle / "6_aretomo" / "czi_backend_meta__TS_run1.aln")
    assert (czi.section_base, czi.is_base_certain, czi.alignment().notes) == (0, True, ())


def test_the_real_warp_series_is_read(data_root, oracle):
    series = io.read_warp_xml(data_root / "data" / "empiar10499_00254" / "00254.xml")
    assert len(series.angles) == 41 and series.used.all() and series.are_angles_inverted
    assert (series.doses[0], series.movies[0], series.motion_grids) == (117, "../2/TS_01_041_-60.0.tif", ())
    assert series.alignment().notes == ()
    moved = io.read_warp_xml(oracle / "5_warp" / "TS_1.xml")
    assert moved.motion_grids == ("GridMovementX", "GridMovementY", "GridAngleX", "GridAngleY", "GridAngleZ")
    assert "GridMovementX" in moved.alignment().notes[0] and "MagnificationCorrection" in moved.alignment().notes[1]


# --------------------------------------------------------------------------------------------------------- STAR


@pytest.fixture
def star_file(tmp_path):
    def write(content):
        path = tmp_path / "file.star"
        path.write_text(content)
        return path

    return write


def star_text(rows, labels=RELION_LABELS):
    head = "".join(f"_{label} #{i}\n" for i, label in enumerate(labels, start=1))
    return f"data_TS\n\nloop_\n{head}" + "".join(" ".join(map(str, row)) + "\n" for row in rows) + "\n"


def test_star_blocks_pairs_loops_quotes_and_comments(star_file):
    blocks = io.read_star(star_file(
        "# version 50001\n\ndata_\n_one 1.5 # why\n_text 'two words'\n_empty \"\"\n\n"
        "data_loop.star\nLOOP_\n_name #1\n_value #2\n\nfile#1.mrc 1\n# between\n'it''s' -2e1\n\"_#\" 3\n\n"
        "data_none\n\nloop_\n_rows #1\n"))
    assert list(blocks) == ["", "loop.star", "none"]
    assert blocks[""].pairs == {"one": "1.5", "text": "two words", "empty": ""} and len(blocks[""]) == 0
    assert blocks["loop.star"].texts("name") == ["file#1.mrc", "it''s", "_#"] and len(blocks["loop.star"]) == 3
    np.testing.assert_array_equal(blocks["loop.star"].floats("value"), [1, -20, 3])
    assert "rows" in blocks["none"] and blocks["none"].texts("rows") == []


@pytest.mark.parametrize(("content", "reason"), [
    ("", "expected a STAR file with data_ blocks, got none"),
    ("-60\n-57\n", "line 1: expected a STAR file, data_ before anything else, got '-60'"),
    ("data_a\nloop_\n_x\n_y\n1 2\n3\n", "line 6: expected 2 values, one per label, got '1 values'"),
    ("data_a\nloop_\n_x\n1\nloop_\n_y\n2\n", "line 5: expected at most one loop"),
    ("data_a\nloop_\n_x\n_x\n1 2\n", "line 4: expected each label once"),
    ("data_a\ndata_a\n", "line 2: expected each block once"),
    ("data_a\n_x\n", "line 2: expected a label alone heading a loop, else with one value"),
    ("data_a\n_x 1\n2\n", "line 3: expected a label or a loop"),
    ("data_a\n_x\n;text\n;\n", "expected a label alone"),
    ("data_a\nloop_\n_x\n;text\n;\n", "line 4: expected no text over several lines"),
])
def test_star_refusals_name_the_line(star_file, content, reason):
    path = star_file(content)
    with pytest.raises(InputError) as refusal:
        io.read_star(path)
    assert str(refusal.value).startswith(f"{path}: ") and reason in str(refusal.value)


def test_star_values_that_are_no_numbers_name_the_row(star_file):
    block = io.read_star(star_file("data_a\nloop_\n_x\n_n\n1 1\nnan 2.5\n1_0 9999999999999999999999\n"))["a"]
    with pytest.raises(InputError, match="data_a: row 2: expected a finite number for _x, got 'nan'"):
        block.floats("x")
    with pytest.raises(InputError, match="row 2: expected a whole number for _n, got '2.5'"):
        block.ints("n")
    with pytest.raises(InputError, match="expected _z in data_a, got no such label"):
        block.texts("z")


@pytest.mark.parametrize(("content", "reason"), [
    (star_text([(0, 1, 2)], RELION_LABELS[:3]), "got no _rlnTomoXShiftAngst _rlnTomoYShiftAngst"),
    (star_text([]), "expected a row for each tilt image in data_TS, got none"),
    (star_text([(0, "nan", 2, 0, 0)]), "row 1: expected a finite number for _rlnTomoYTilt"),
    (star_text([(0, 1e5, 2, 0, 0)]), "expected angles in -360 .. 360 degrees, got 100000"),
    ("data_\nloop_\n_rlnTomoName\n_rlnTomoTiltSeriesStarFile\na tilts/a.star\nb tilts/b.star\n",
     r"got a list of 2 tilt series: give a file that it names \(tilts/a.star\)"),
    (star_text([(0, 1, 2, 0, 0, "0@a.mrc")], (*RELION_LABELS, "rlnMicrographName")), "number@stack from 1, got 0"),
])
def test_relion_refusals(star_file, content, reason):
    with pytest.raises(InputError, match=reason):
        io.read_relion_tilt_series(star_file(content))


# -------------------------------------------------------------------------------------------- AreTomo's sections


def aln_text(sections, *, size=(16, 12, 5), darks=(), tilts=None, shift=(1.0, -2.0), extra="", local=""):
    tilts = [10.0 * section for section in sections] if tilts is None else tilts
    return ("# AreTomo Alignment / Priims bprmMn\n# RawSize = {} {} {}\n# NumPatches = 0\n".format(*size)
            + "".join("# DarkFrame = {} {} {}\n".format(*dark) for dark in darks) + extra
            + "# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT\n"
            + "".join(f"{sec} 3.0 1.0 {shift[0]} {shift[1]} 1 1 1 0 {tilt}\n"
                      for sec, tilt in zip(sections, tilts, strict=True)) + local)


@pytest.fixture
def aln_file(tmp_path):
    def write(*args, **options):
        path = tmp_path / "series.aln"
        path.write_text(aln_text(*args, **options))
        return path

    return write


@pytest.mark.parametrize(("sections", "darks", "base", "certain"), [
    ((0, 1, 2, 3, 4), (), 0, True),
    ((1, 2, 3, 4, 5), (), 1, True),
    ((2, 5, 1), ((0, 3, -40), (4, 4, 40)), 1, True),  # the last section is there
    ((1, 2, 3, 4), ((0, 0, -40),), 0, True),  # sorted by tilt, and the place of the dark frame fits
    ((2, 3, 4), ((0, 1, -40), (4, 5, 40)), 1, True),  # numbers of dark frames complete it
    ((2, 3, 4), ((0, 0, -40), (4, 0, 40)), 1, True),  # they say nothing, their places do
    ((1, 2, 3), ((0, 0, -40), (4, 4, 40)), 0, True),
    ((2, 3), (), 1, False),
])
def test_aretomo_counts_sections_from_0_or_from_1(aln_file, sections, darks, base, certain):
    found = io.read_aln(aln_file(sections, darks=darks))
    assert (found.section_base, found.is_base_certain) == (base, certain)
    np.testing.assert_array_equal(found.sections, np.array(sections) - base)
    assert len(found.dark_frames) == len(darks)


@pytest.mark.parametrize(("change", "reason"), [
    (("# AreTomo Alignment", "# Alignment"), "expected an AreTomo alignment"),
    (("BASE     TILT", "BASE"), "expected the columns SEC ROT GMAG"),
    (("1 1 1 0 10.0", "1 1 1 0"), "line 5: expected 10 numbers, got 9"),
    (("1 1 1 0 10.0", "1 1 1 0 nan"), "line 5: expected a number, got 'nan'"),
    (("1 1 1 0 10.0", "1 1 1 0 1e9"), "expected angles in -360 .. 360 degrees"),
    (("2 3.0", "1 3.0"), "expected each section once, got SEC 1 again"),
    (("2 3.0", "1.5 3.0"), "expected a whole number for SEC, got 1.5"),
    (("2 3.0", "9 3.0"), r"expected SEC to count 5 images \(RawSize\) from 0 or 1, got 1 to 9"),
    (("16 12 5", "16 12"), "line 2: expected 3 numbers, got 2"),
])
def test_aretomo_refusals(aln_file, change, reason):
    path = aln_file((1, 2, 3))
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(InputError, match=reason):
        io.read_aln(path)


# --------------------------------------------------------------------------------------------------------- Warp


def warp_text(angles=(-10, 0, 10), **lists):
    lists = {"Angles": angles, "UseTilt": [True] * len(angles), "AxisAngle": [3.0] * len(angles),
             "AxisOffsetX": [5.0] * len(angles), "AxisOffsetY": [0.0] * len(angles), **lists}
    body = "".join(f"<{name}>" + "\n".join(map(str, values)) + f"</{name}>\n" for name, values in lists.items())
    return f'<?xml version="1.0" encoding="utf-8"?>\n<TiltSeries AreAnglesInverted="True">\n{body}</TiltSeries>\n'


@pytest.mark.parametrize(("content", "reason"), [
    ("-60\n-57\n", "expected Warp's XML, got what is none"),
    ("<Movie />", "expected Warp's XML of a TiltSeries, got <Movie>"),
    ('<!DOCTYPE x [<!ENTITY y "z">]><TiltSeries>&y;</TiltSeries>', "got a document type declaration"),
    ("<TiltSeries />", "expected <Angles> in Warp's XML, got none"),
    (warp_text(()), "expected Angles, got none"),
    (warp_text(AxisAngle=[1, 2]), "expected 3 values of AxisAngle, one per angle, got 2"),
    (warp_text(AxisOffsetX=[1, 2, "inf"]), "expected numbers in AxisOffsetX, got 'inf'"),
    (warp_text(UseTilt=[1, 2, 3]), "expected True or False in UseTilt, got '1'"),
])
def test_warp_refusals(tmp_path, content, reason):
    path = tmp_path / "series.xml"
    path.write_text(content)
    with pytest.raises(InputError, match=reason):
        io.read_warp_xml(path)


# --------------------------------------------------------------------------------- matched to the views of a stack


@pytest.fixture
def series(tmp_path, rng):
    """An experiment of one stack, 16 x 12 pixels of 5 angstrom, and an alignment of the given name and text."""
    def open_with(name, text, *, count=5, header_pixel=5.0, angles=None, **options):
        stack, alignment = tmp_path / "series.mrc", tmp_path / name
        with io.create_stack(stack, (count, 12, 16), voxel_size=header_pixel) as writer:
            for _ in range(count):
                writer.write(rng.standard_normal((12, 16)).astype(np.float32))
        alignment.write_text(text)
        if angles is not None:
            io.write_tilt_angles(tmp_path / "series.tlt", np.array(angles))
        files = SeriesFiles(stack, alignment=alignment, exclude=options.pop("exclude", frozenset()))
        with Experiment([files], thickness=9, **options) as experiment:
            return experiment

    return open_with


def test_views_are_matched_by_section_and_dark_frames_excluded(series):
    experiment = series("a.aln", aln_text((4, 0, 2), darks=((0, 3, 30),)), exclude=frozenset({2}))
    np.testing.assert_array_equal(experiment.geometry.sections, [0, 4])
    np.testing.assert_array_equal(experiment.geometry.tilts, [0, 40])
    assert experiment.excluded == [(0, 1), (0, 2), (0, 3)]
    np.testing.assert_allclose(experiment.geometry.maps[:, :, 3], [[1, -2], [1, -2]], atol=1e-12)
    assert [path.name for path in experiment.files] == ["series.mrc", "a.aln"]


def test_views_that_warp_does_not_use_are_excluded(series):
    text = warp_text((-20, -10, 0, 10, 20), UseTilt=[True, True, False, True, False])
    experiment = series("a.xml", text)
    np.testing.assert_array_equal(experiment.geometry.sections, [0, 1, 3])
    np.testing.assert_array_equal(experiment.geometry.tilts, [20, 10, -10])
    assert experiment.excluded == [(0, 2), (0, 4)]
    # The centres of 16 x 12 pixels and 12 rows are n // 2 as here; that of 9 slices is at 4.5.
    np.testing.assert_allclose(experiment.axis_voxel, [8, 6, 4.5])
    expected = np.array([1.0, 0]) + 0.5 * experiment.geometry.maps[0, :, 2] * -1
    np.testing.assert_allclose(experiment.geometry.maps[0, :, 3], expected, atol=1e-12)
    with pytest.warns(UserWarning, match="the stack has 3 images of 5: taken to be those in use"):
        smaller = series("a.xml", text, count=3)
    np.testing.assert_array_equal(smaller.geometry.tilts, [20, 10, -10])
    np.testing.assert_array_equal(smaller.geometry.sections, [0, 1, 2])


def test_relion_views_are_matched_by_their_place_in_a_stack(series):
    rows = [(7, 10 * n, 3, 5, 0, f"00000{n}@TS.mrcs") for n in (5, 2, 3)]
    experiment = series("a.star", star_text(rows, (*RELION_LABELS, "rlnMicrographName")))
    np.testing.assert_array_equal(experiment.geometry.sections, [1, 2, 4])
    np.testing.assert_array_equal(experiment.geometry.tilts, [20, 30, 50])
    assert experiment.excluded == [(0, 0), (0, 3)]
    separate = series("a.star", star_text([(*row[:5], f"1@{row[1]}.mrc") for row in rows],
                                          (*RELION_LABELS, "rlnMicrographName")), count=3)
    np.testing.assert_array_equal(separate.geometry.tilts, [50, 20, 30])
    # RELION turns about n // 2, as here; `--center imod` says otherwise.
    assert separate.axis_voxel == (8, 6, 4)
    imod = series("a.star", star_text([row[:5] for row in rows]), count=3, center_imod=True)
    assert imod.axis_voxel == (7.5, 5.5, 4)
    np.testing.assert_allclose(imod.geometry.maps[:, :, :3], separate.geometry.maps[:, :, :3])


def test_shifts_in_angstrom_follow_the_pixel_size(series):
    text = star_text([(0, tilt, 0, 5, -10) for tilt in (-10, 0, 10)])
    np.testing.assert_allclose(series("a.star", text, count=3).geometry.maps[1, :, 3], [1, -2], atol=1e-12)
    other = series("a.star", text, count=3, header_pixel=0.0, pixel_size=2.5)
    np.testing.assert_allclose(other.geometry.maps[1, :, 3], [2, -4], atol=1e-12)


def test_what_is_read_but_not_used_is_said(series):
    with pytest.warns(UserWarning, match="a.aln: its local alignment is read but not used"):
        series("a.aln", aln_text(range(5), local="# Local Alignment\n 0 0 1.0 1.0 0.5 0.5 1.0\n"))
    with pytest.warns(UserWarning, match="BetaOffset of 2 degrees"):
        series("a.aln", aln_text(range(5), extra="# BetaOffset = 2.00\n"))
    with pytest.warns(UserWarning, match="its tilts do not follow those of .*series.tlt"):
        series("a.aln", aln_text(range(5)), angles=[0, 10, -10, 20, -20])
    series("a.aln", aln_text(range(5)), angles=[3, 13, 23, 33, 43])


@pytest.mark.parametrize(("name", "text", "reason"), [
    ("a.aln", aln_text((0, 1), size=(16, 16, 5)), "expected images of 16 x 16 pixels.*got .*series.mrc with 16 x 12"),
    ("a.aln", aln_text((0, 1), size=(16, 12, 9)), r"expected a stack of 9 images \(or of the 2 in use\), got .* 5"),
    ("a.star", star_text([(0, 1, 0, 0, 0)] * 4), "expected a stack of 4 images .*, got .*series.mrc with 5"),
    ("a.star", star_text([(0, 1, 0, 0, 0, "6@TS.mrc")], (*RELION_LABELS, "rlnMicrographName")),
     "expected sections 1 to 5 of the stack, got 6"),
    ("a.star", star_text([(0, 1, 0, 0, 0, "2@TS.mrc")] * 2, (*RELION_LABELS, "rlnMicrographName")),
     "expected each section once, got 2 again"),
    ("a.xml", warp_text((1, 2, 3, 4, 5), UseTilt=["False"] * 5), "expected at least one image in use, got none of 5"),
    ("a.txt", "", r"expected an alignment in a .xf .aln .star .xml file, got .txt"),
])
def test_alignments_that_do_not_fit_are_refused(series, name, text, reason):
    with pytest.raises(InputError, match=reason):
        series(name, text)


def test_shifts_in_angstrom_need_a_pixel_size(series):
    with pytest.raises(InputError, match="a.star: expected a pixel size for its shifts in angstrom"):
        series("a.star", star_text([(0, 1, 0, 5, 0)] * 5), header_pixel=0.0)


def test_the_real_series_agrees_by_warp_and_by_imod(data_root):
    """Warp's refinement of the IMOD alignment: the same views up to some pixels of shift, z mirrored."""
    folder = data_root / "data" / "empiar10499_00254"
    stack = folder / "00254.stack.mrc"
    with Experiment([SeriesFiles(stack, alignment=folder / "00254.xml")], thickness=100) as warp, \
            Experiment([SeriesFiles(stack, alignment=folder / "00254.xf")], thickness=100, flip_hand=True) as imod:
        assert len(warp.geometry) == 41 and not warp.excluded
        np.testing.assert_allclose(warp.geometry.maps[:, :, :3], imod.geometry.maps[:, :, :3], atol=1e-5)
        assert np.abs(warp.geometry.maps[:, :, 3] - imod.geometry.maps[:, :, 3]).max() < 7
