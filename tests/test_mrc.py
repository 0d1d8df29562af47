"""MRC files: what is read is what was meant, all else is refused in one line, outputs are whole or absent."""

import gzip
import os
import resource
import struct

import mrcfile
import numpy as np
import pytest
from mrcfile.dtypes import HEADER_DTYPE

from concordet import io
from concordet.errors import InputError, RunError

MODES = {0: np.int8, 1: np.int16, 2: np.float32, 6: np.uint16, 12: np.float16}
IMOD_STAMP = 1146047817


def image_data(mode, shape=(3, 5, 4)):
    """Different values at every place, exact in every mode."""
    values = np.arange(np.prod(shape)).reshape(shape)
    return (values if mode == 6 else values - 20).astype(MODES[mode])


def mrc_bytes(data, data_mode, *, order="<", extended=b"", **fields):
    """An MRC file made by hand: `data` is written with byte order `order`, `fields` override the header."""
    header = np.zeros((), HEADER_DTYPE.newbyteorder(order))
    header["nz"], header["ny"], header["nx"] = data.shape
    header["mz"], header["my"], header["mx"] = data.shape
    header["mode"] = data_mode
    header["cella"] = tuple(10.0 * side for side in data.shape[::-1])
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["map"] = b"MAP "
    header["machst"] = (0x44, 0x44, 0, 0) if order == "<" else (0x11, 0x11, 0, 0)
    header["nsymbt"] = len(extended)
    imod_flags = fields.pop("imod_flags", None)
    for name, value in fields.items():
        header[name] = value
    content = bytearray(header.tobytes())
    if imod_flags is not None:
        content[152:160] = struct.pack(f"{order}ii", IMOD_STAMP, imod_flags)
    return bytes(content) + extended + data.astype(data.dtype.newbyteorder(order)).tobytes()


@pytest.fixture
def written(tmp_path):
    """Write bytes to a named file and return its path."""

    def write(content, name="stack.mrc"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def left_over(folder):
    return sorted(path.name for path in folder.iterdir())


# Reading


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_and_byte_order_gives_the_same_values(written, mode, order):
    data = image_data(mode)
    with io.open_stack(written(mrc_bytes(data, mode, order=order))) as stack:
        assert len(stack) == 3 and stack.image_shape == (5, 4)
        assert stack.voxel_size == (10, 10, 10)
        for index in range(3):
            view = stack.view(index)
            assert view.dtype == np.float32 and view.flags.c_contiguous and view.flags.writeable
            np.testing.assert_array_equal(view, data[index].astype(np.float32))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("stamp", [(0, 0, 0, 0), (0x41, 0x20, 0, 0)])
def test_old_files_without_map_and_machine_stamp_are_read(written, order, stamp):
    data = image_data(1)
    content = mrc_bytes(data, 1, order=order, map=b"\0\0\0\0", machst=stamp, origin=(5, 6, 7))
    volume, header = io.read_volume(written(content))
    np.testing.assert_array_equal(volume, data)
    assert header.origin == (0, 0, 0)


def test_wrong_machine_stamp_is_overruled_by_the_sizes(written):
    data = image_data(2)
    volume, _ = io.read_volume(written(mrc_bytes(data, 2, order=">", machst=(0x44, 0x44, 0, 0))))
    np.testing.assert_array_equal(volume, data)


@pytest.mark.parametrize("length", [80, 1024, 2049])
def test_extended_headers_are_skipped(written, length):
    data = image_data(2)
    volume, header = io.read_volume(written(mrc_bytes(data, 2, extended=b"\x7f" * length)))
    np.testing.assert_array_equal(volume, data)
    assert header.extended_bytes == length and header.data_offset == 1024 + length


@pytest.mark.parametrize(
    ("fields", "signed"),
    [
        ({}, True),
        ({"dmin": -5, "dmax": 100}, True),
        ({"dmin": 0, "dmax": 255}, False),
        ({"imod_flags": 1, "dmin": 0, "dmax": 255}, True),
        ({"imod_flags": 0}, False),
    ],
)
def test_bytes_are_signed_unless_imod_or_the_maximum_says_otherwise(written, fields, signed):
    data = np.full((1, 2, 2), 200, np.uint8)
    with io.open_stack(written(mrc_bytes(data, 0, **fields))) as stack:
        assert stack.view(0)[0, 0] == (200 - 256 if signed else 200)


def test_padding_after_the_data_is_ignored(written):
    data = image_data(2)
    volume, _ = io.read_volume(written(mrc_bytes(data, 2) + b"padding"))
    np.testing.assert_array_equal(volume, data)


def test_gzip_is_read_whatever_its_name(written, tmp_path):
    data = image_data(2)
    for name in ("stack.mrc.gz", "stack.mrc"):
        path = written(gzip.compress(mrc_bytes(data, 2, extended=b"x" * 100)), name)
        assert io.read_header(path).shape == data.shape
        volume, header = io.read_volume(path)
        np.testing.assert_array_equal(volume, data)
        assert header.path == path
    assert left_over(tmp_path) == ["stack.mrc", "stack.mrc.gz"]


@pytest.mark.parametrize("axes", [(1, 2, 3), (2, 1, 3), (3, 1, 2), (1, 3, 2), (2, 3, 1), (3, 2, 1)])
def test_volumes_come_as_z_y_x_whatever_the_axis_order(written, axes):
    sides = {1: 4, 2: 5, 3: 3}  # x, y, z
    truth = image_data(2, (3, 5, 4))
    slow_to_fast = axes[::-1]
    stored = truth.transpose([3 - axis for axis in slow_to_fast])
    assert stored.shape == tuple(sides[axis] for axis in slow_to_fast)
    mapc, mapr, maps = axes
    content = mrc_bytes(
        stored, 2, mapc=mapc, mapr=mapr, maps=maps, mx=4, my=5, mz=3, cella=(4 * 1.5, 5 * 2.5, 3 * 3.5)
    )
    path = written(content)
    volume, header = io.read_volume(path)
    np.testing.assert_array_equal(volume, truth)
    assert volume.flags.c_contiguous
    assert header.volume_shape == (3, 5, 4) and header.voxel_size == (1.5, 2.5, 3.5)
    if axes != (1, 2, 3):
        with pytest.raises(InputError, match=f"axes 1 2 3.*got {mapc} {mapr} {maps}"):
            io.open_stack(path)


def test_voxel_size_is_cell_over_sampling_and_zero_when_unknown(written):
    data = image_data(2)
    header = io.read_header(written(mrc_bytes(data, 2, mz=1, cella=(40, 50, 10))))
    assert header.voxel_size == (10, 10, 10) and header.pixel_size == 10
    assert io.read_header(written(mrc_bytes(data, 2, cella=(0, 0, 0)))).voxel_size == (0, 0, 0)
    assert io.read_header(written(mrc_bytes(data, 2, cella=(np.nan, -1, np.inf)))).pixel_size == 0
    assert io.read_header(written(mrc_bytes(data, 2, mx=0, my=0, mz=0))).voxel_size == (10, 10, 10)
    with pytest.raises(InputError, match="expected square pixels, got 10 x 5 angstrom"):
        _ = io.read_header(written(mrc_bytes(data, 2, cella=(40, 25, 30)))).pixel_size


def test_origin_has_the_sign_of_mrc2014(written):
    data = image_data(2)
    origin = (1, -2, 3)
    for fields, sign in [({}, 1), ({"imod_flags": 1}, -1), ({"imod_flags": 5}, 1)]:
        header = io.read_header(written(mrc_bytes(data, 2, origin=origin, **fields)))
        assert header.origin == tuple(sign * place for place in origin)
    standard = mrc_bytes(data, 2, origin=origin, imod_flags=1, nversion=20141)
    assert io.read_header(written(standard)).origin == origin


def test_only_the_view_asked_for_is_touched(tmp_path):
    """A file with holes of 1 TB: reading all of it would take an hour and all the memory."""
    side, sections = 1024, 256_000
    path = tmp_path / "huge.mrc"
    content = mrc_bytes(np.zeros((1, 1, 1), np.float32), 2, nx=side, ny=side, nz=sections)
    last = np.full((side, side), 7, np.float32)
    with open(path, "wb") as file:
        file.write(content[:1024])
        try:
            file.seek(1024 + (sections - 1) * last.nbytes)
            file.write(last.tobytes())
            file.flush()
        except OSError as error:
            pytest.skip(f"no sparse files here: {error}")
    with io.open_stack(path) as stack:
        assert len(stack) == sections
        np.testing.assert_array_equal(stack.view(sections - 1), last)
        assert not stack.view(0).any()


def test_reading_a_stack_view_by_view_does_not_fill_the_memory(tmp_path):
    """Resident memory after 64 MB of views grows by much less than the file (Linux)."""

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    if not os.path.exists("/proc/self/statm"):
        pytest.skip("no /proc here")
    data = np.zeros((64, 512, 512), np.float32)
    path = tmp_path / "stack.mrc"
    path.write_bytes(mrc_bytes(data, 2))
    with io.open_stack(path) as stack:
        stack.view(0)
        before = resident()
        for index in range(len(stack)):
            stack.view(index)
        assert resident() - before < data.nbytes / 4


def test_views_outside_the_stack_are_an_index_error(written):
    with io.open_stack(written(mrc_bytes(image_data(2), 2))) as stack:
        for index in (-1, 3):
            with pytest.raises(IndexError, match=f"0 .. 2, got {index}"):
                stack.view(index)


@pytest.mark.parametrize("mode", [2, 12])
@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_values_that_are_not_finite_are_refused_naming_the_view(written, mode, value, name):
    data = image_data(mode)
    data[1, 2, 3] = data[1, 4, 0] = value
    path = written(mrc_bytes(data, mode))
    message = rf"stack.mrc: view 1 \(counted from 0\).* got 2 .* first {name} at row 2, column 3"
    with io.open_stack(path) as stack:
        stack.view(0)
        with pytest.raises(InputError, match=message):
            stack.view(1)
        assert not np.isfinite(stack.view(1, check_finite=False)).all()
    with pytest.raises(InputError, match=r"section 1 \(counted from 0\)"):
        io.read_volume(path)


def test_the_real_series(data_root):
    path = data_root / "data" / "empiar10499_00254" / "00254.stack.mrc"
    with io.open_stack(path) as stack, mrcfile.mmap(path, "r", permissive=True) as peer:
        assert (len(stack), *stack.image_shape) == (41, 630, 652)
        assert stack.voxel_size == (10, 10, 10)
        for index in (0, 20, 40):
            np.testing.assert_array_equal(stack.view(index), peer.data[index])


def test_every_shared_image_and_volume_is_read_as_mrcfile_reads_it(data_root):
    paths = sorted((data_root / "data" / "geometry_oracle").rglob("*.mrc*"))
    paths += sorted((data_root / "data" / "geometry_oracle").rglob("*.rec*"))
    assert len(paths) > 50
    for path in paths[::7]:
        volume, header = io.read_volume(path)
        with mrcfile.open(path, permissive=True) as peer:
            np.testing.assert_array_equal(volume, peer.data.reshape(volume.shape))
        assert header.voxel_size == (1, 1, 1)


# Refusing

GOOD = mrc_bytes(image_data(2), 2)


def changed(**fields):
    return mrc_bytes(image_data(2), 2, **fields)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "at least 1024 bytes, got 0"),
        (GOOD[:1000], "at least 1024 bytes, got 1000"),
        (GOOD[:-1], "expected 1264 bytes .4 x 5 x 3, mode 2.*got 1263"),
        (GOOD[:1024], "expected 1264 bytes.*got 1024"),
        (changed(nx=0), "expected sizes nx ny nz >= 1, got 0 5 3"),
        (changed(ny=-5), "expected sizes nx ny nz >= 1, got 4 -5 3"),
        (changed(nx=2**31 - 1, ny=2**31 - 1, nz=2**31 - 1), "expected [0-9]{29} bytes"),
        (changed(nz=4), "expected 1344 bytes.*got 1264"),
        (changed(nsymbt=-4), "extended header of 0 bytes or more, got -4"),
        (changed(nsymbt=10**9), "expected 1000001264 bytes"),
        (changed(mode=3), "expected MRC mode 0 .*got 3 .complex int16"),
        (changed(mode=4), "got 4 .complex float32"),
        (changed(mode=101), "got 101 .4-bit"),
        (changed(mode=77), "got 77 .unknown"),
        (mrc_bytes(image_data(0), 0, imod_flags=17), "got 0 .4-bit values packed"),
        (changed(mapc=1, mapr=1, maps=3), "axis order to hold 1, 2 and 3, got 1 1 3"),
        (changed(mapr=-2), "axis order to hold 1, 2 and 3, got 1 -2 3"),
        (b"-60.0\n-57.0\n" * 200, "expected an MRC file, got other data"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\x42" * 2000, "expected an MRC file, got other data"),
        (bytes(2048), "expected sizes nx ny nz >= 1, got 0 0 0"),
        (gzip.compress(GOOD)[:-20], "damaged or truncated"),
        (gzip.compress(GOOD)[:-8] + bytes(8), "damaged or truncated"),
        (gzip.compress(GOOD)[:40] + b"\xff" * 40, "damaged or truncated"),
        (gzip.compress(GOOD[:-1]), "expected 1264 bytes.*got 1263"),
        (gzip.compress(b""), "at least 1024 bytes, got 0"),
    ],
)
@pytest.mark.parametrize("read", [io.open_stack, io.read_volume])
def test_what_is_no_whole_mrc_file_is_refused_in_one_line(written, read, content, message):
    path = written(content)
    with pytest.raises(InputError, match=message) as refusal:
        read(path)
    assert str(refusal.value).startswith(f"{path}: expected ") and "\n" not in str(refusal.value)


def test_the_header_alone_is_refused_for_the_same_reasons(written):
    for content in (b"", GOOD[:-1], changed(mode=4), b"text" * 500, gzip.compress(GOOD)[:30]):
        with pytest.raises(InputError):
            io.read_header(written(content))


def test_what_is_not_a_file_is_refused(tmp_path, written):
    for path, got in [(tmp_path / "none.mrc", "no such file"), (tmp_path, "a folder")]:
        with pytest.raises(InputError, match=f"expected an MRC file, got {got}"):
            io.open_stack(path)
    pipe = tmp_path / "pipe.mrc"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="got something else"):
        io.read_header(pipe)
    with pytest.raises(InputError, match="expected a gzip file, got other data"):
        io.read_header(written(GOOD, "plain.mrc.gz"))


def test_a_stack_of_volumes_is_not_a_volume(written):
    path = written(mrc_bytes(image_data(2, (6, 5, 4)), 2, ispg=401, mz=3))
    assert io.read_header(path).volumes == 2
    with pytest.raises(InputError, match="expected one volume, got a stack of 2"):
        io.read_volume(path)


# Writing


@pytest.mark.parametrize("name", ["volume.mrc", "volume.rec.gz"])
@pytest.mark.parametrize("mode", MODES)
def test_a_written_volume_comes_back_and_is_valid_mrc2014(tmp_path, mode, name, capsys):
    path = tmp_path / name
    data = image_data(mode).astype(np.float32)
    given = {"voxel_size": (1.5, 1.5, 3), "origin": (-10, 20, 0), "labels": ["a", "b" * 90], "mode": mode}
    io.write_volume(path, data, **given)
    volume, header = io.read_volume(path)
    np.testing.assert_array_equal(volume, data)
    assert header.voxel_size == (1.5, 1.5, 3) and header.origin == (-10, 20, 0)
    assert header.labels == ("a", "b" * 80) and header.space_group == 1 and header.mode == mode
    assert mrcfile.validate(path), capsys.readouterr().out
    assert left_over(tmp_path) == [name]


def test_header_statistics_are_those_of_the_data(tmp_path, rng):
    path = tmp_path / "stack.mrc"
    data = (1000 + rng.standard_normal((7, 30, 20))).astype(np.float32)
    data[3] += 5
    with io.create_stack(path, data.shape, voxel_size=2) as writer:
        for section in data:
            writer.write(section)
    with mrcfile.open(path) as peer:
        assert peer.is_image_stack() and peer.header.mz == 1
        assert peer.voxel_size.tolist() == (2, 2, 2)
        assert peer.header.dmin == data.min() and peer.header.dmax == data.max()
        assert peer.header.dmean == pytest.approx(data.mean(dtype=np.float64), rel=1e-6)
        assert peer.header.rms == pytest.approx(data.std(dtype=np.float64), rel=1e-5)
        np.testing.assert_array_equal(peer.data, data)
    assert mrcfile.validate(path)


def test_equal_volumes_give_equal_files(tmp_path):
    for ending in ("mrc", "mrc.gz"):
        paths = [tmp_path / f"{name}.{ending}" for name in "ab"]
        for path in paths:
            io.write_volume(path, image_data(2), voxel_size=1)
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_any_layout_and_type_of_input_is_written(tmp_path):
    path = tmp_path / "volume.map"
    data = image_data(2, (4, 5, 6)).astype(np.float64)[::-1, :, ::2]
    io.write_volume(path, data, voxel_size=0)
    volume, header = io.read_volume(path)
    np.testing.assert_array_equal(volume, data)
    assert header.voxel_size == (0, 0, 0)


def test_integer_modes_round_and_refuse_what_they_cannot_hold(tmp_path):
    path = tmp_path / "volume.mrc"
    io.write_volume(path, np.array([[[-1.6, 2.4]]]), voxel_size=1, mode=1)
    assert io.read_volume(path)[0].tolist() == [[[-2, 2]]]
    for mode, value in [(0, 128), (1, 40000), (6, -1), (12, 1e6)]:
        with pytest.raises(InputError, match="expected values that fit .* got"):
            io.write_volume(tmp_path / "other.mrc", np.full((1, 1, 1), value), voxel_size=1, mode=mode)
    assert left_over(tmp_path) == ["volume.mrc"]


@pytest.mark.parametrize("name", ["out.mrc", "out.mrc.gz"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError("bug"), InputError("refused")])
def test_nothing_is_left_behind_and_the_old_file_stays_when_writing_is_broken_off(tmp_path, name, failure):
    path = tmp_path / name
    path.write_bytes(b"old")
    with pytest.raises(type(failure) if isinstance(failure, Exception) else failure):
        with io.create_stack(path, (2, 5, 4), voxel_size=1) as writer:
            writer.write(np.zeros((5, 4)))
            raise failure
    assert left_over(tmp_path) == [name] and path.read_bytes() == b"old"


def test_a_stack_with_a_section_missing_or_too_many_is_not_written(tmp_path):
    path = tmp_path / "out.mrc"
    with pytest.raises(ValueError, match="expected 2 sections, got 1"):
        with io.create_stack(path, (2, 5, 4), voxel_size=1) as writer:
            writer.write(np.zeros((5, 4)))
    with pytest.raises(ValueError, match="expected 1 sections, got more"):
        with io.create_stack(path, (1, 5, 4), voxel_size=1) as writer:
            writer.write(np.zeros((5, 4)))
            writer.write(np.zeros((5, 4)))
    assert left_over(tmp_path) == []


def test_values_that_are_not_finite_are_never_written(tmp_path):
    data = image_data(2)
    data[2, 0, 0] = np.nan
    with pytest.raises(RunError, match="expected finite values, .* section 2"):
        io.write_volume(tmp_path / "out.mrc", data, voxel_size=1)
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("name", ["out.mrc", "out.mrc.gz"])
@pytest.mark.parametrize("limit", [512, 50_000, 200_000])
def test_a_disk_that_refuses_is_a_failed_run_and_leaves_nothing(tmp_path, rng, name, limit):
    """A limit on file size stands in for a full disk: the system refuses the write in the same way."""
    data = rng.standard_normal((4, 128, 128)).astype(np.float32)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(RunError, match=rf"{name}: could not be written: \w+"):
            io.write_volume(tmp_path / name, data, voxel_size=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert left_over(tmp_path) == []


def test_the_place_of_an_output_is_checked_beforehand(tmp_path, monkeypatch):
    for name in ("a.mrc", "a.MRC", "a.st", "a.rec.gz", "a.ali", "a.map", "a.mrcs"):
        io.check_output(tmp_path / name)
    (tmp_path / "folder.mrc").mkdir()
    (tmp_path / "file").write_text("")
    for place, message in [
        ("a.tif", "expected a name ending in .mrc .mrcs .rec .st .ali .map .or these . .gz., got 'a.tif'"),
        ("a", "expected a name ending in"),
        ("none/a.mrc", "expected an existing folder .*none, got none"),
        ("file/a.mrc", "expected an existing folder .*file, got a file"),
        ("folder.mrc", "expected a file name, got a folder"),
    ]:
        with pytest.raises(InputError, match=message):
            io.check_output(tmp_path / place)
        with pytest.raises(InputError, match=message):
            io.write_volume(tmp_path / place, image_data(2), voxel_size=1)
    with pytest.raises(InputError, match="expected a file name, got a device"):
        io.check_output(os.devnull, endings=())
    # An administrator may write to any folder, so the system's answer is put in its mouth.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="expected a folder that can be written to, got .*, which cannot"):
        io.check_output(tmp_path / "a.mrc")


def test_a_place_lost_since_the_check_is_still_one_line(tmp_path):
    with pytest.raises(InputError, match="gone.txt: could not be written: No such file"):
        with io.atomic_output(tmp_path / "none" / "gone.txt") as beside:
            beside.write_text("x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": 4}, "mode must be one of 0, 1, 2, 6, 12, got 4"),
        ({"voxel_size": -1}, "voxel_size must be finite and >= 0, got -1"),
        ({"labels": ["x"] * 11}, "labels must be at most 10, got 11"),
    ],
)
def test_wrong_use_is_a_value_error(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        io.write_volume(tmp_path / "out.mrc", image_data(2), **{"voxel_size": 1, **arguments})
    with pytest.raises(ValueError, match="volume must have 3 axes, got 2"):
        io.write_volume(tmp_path / "out.mrc", np.zeros((2, 2)), voxel_size=1)
    assert left_over(tmp_path) == []
