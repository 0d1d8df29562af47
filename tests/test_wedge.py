"""Weights of Fourier space: which views measure what, volumes from files in every layout, p0 and p1 of every kind."""

import sys

import numpy as np
import pytest

from concordet.ctf import ctf
from concordet.errors import InputError
from concordet.geometry import rotation_x, rotation_z, tilt_series
from concordet.io.mrc import read_volume, write_volume
from concordet.wedge import Kind, TiltList, TiltRange, Weight, WeightVolume, half_fft_order, statistics
from reference import wedge as slow

VOXEL = 6.0
KINDS: tuple[Kind, ...] = ("binary", "raw", "premultiplied")


def transfer(frequency, defocus=30000.0):
    return ctf(frequency / VOXEL, defocus)


def contrast(frequency):
    return transfer(frequency) ** 2


def inner(volume):
    """Without the Nyquist planes of even boxes, where w(-k) is not stored."""
    first = 1 - len(volume) % 2
    return volume[first:, first:, first:]


class Turned(Weight):
    """The weight of a particle turned by R."""

    def __init__(self, weight, rotation):
        self.weight, self.rotation = weight, rotation

    def at(self, k, box):
        return self.weight.at(k @ self.rotation, box)


@pytest.mark.parametrize("n", [8, 9, 16])
@pytest.mark.parametrize(("low", "high"), [(-60, 60), (-40, 40), (-45, 45), (-52, 65), (10, 70), (-70, -5)])
def test_a_range_is_an_angle(n, low, high):
    np.testing.assert_array_equal(TiltRange(low, high).volume(n), slow.tilt_range(n, low, high))


@pytest.mark.parametrize("n", [24, 33])
@pytest.mark.parametrize(("low", "high"), [(-60, 60), (-40, 40), (-52, 65)])
def test_ranges_are_the_neutral_simulators(data_root, monkeypatch, n, low, high):
    pytest.importorskip("scipy", reason="the neutral simulator needs scipy")
    monkeypatch.setattr(sys, "path", [str(data_root / "acceptance"), *sys.path])
    neutral = pytest.importorskip("subtomograms")
    volume = TiltRange(low, high).volume(n)
    np.testing.assert_array_equal(volume, np.fft.fftshift(neutral.wedge(n, low, high, half=False)))
    half, theirs = half_fft_order(volume), neutral.wedge(n, low, high)
    inside = slice(0, (n + 1) // 2)  # numpy calls the last column of an even box +n/2, the full volume -n/2
    np.testing.assert_array_equal(half[:, :, inside], theirs[:, :, inside])


def test_the_whole_range_misses_nothing():
    assert TiltRange(-90, 90).volume(9).all()
    assert TiltRange(-60, 60).volume(9).mean() == pytest.approx(2 / 3, abs=0.1)


@pytest.mark.parametrize("azimuth", [0.0, 30.0, 90.0, -45.0])
@pytest.mark.parametrize("tilt", [-50.0, 0.0, 35.0])
def test_a_view_measures_the_frequencies_of_its_image(rng, azimuth, tilt):
    """Central slices: image frequency q is k = q A, the rows of the view's map in geometry."""
    rows = tilt_series(np.array([tilt]), (8, 8), azimuth=azimuth).maps[0, :, :3]
    on_plane = rng.uniform(-20, 20, (200, 2)) @ rows
    away = np.cross(*rows)
    view, about = TiltList([tilt], azimuth), TiltRange(tilt - 1, tilt + 1, azimuth)
    assert view.at(on_plane, 64).all() and about.at(on_plane, 64).all()
    assert view.at(on_plane + 0.49 * away, 64).all()
    assert not view.at(on_plane + 0.51 * away, 64).any()


def test_axes_are_rotations_of_the_one_along_y(rng):
    k = rng.uniform(-20, 20, (500, 3))
    for make in (lambda axis: TiltRange(-35, 62, axis), lambda axis: TiltList([-35, 10, 62], axis)):
        along_y = make("y")
        for axis, rotation in (("x", rotation_z(90)), (90, rotation_z(90)), (-20, rotation_z(-20)),
                               ("z", rotation_x(90))):
            np.testing.assert_array_equal(make(axis).at(k @ rotation.T, 64), along_y.at(k, 64))
        np.testing.assert_array_equal(make(0.0).at(k, 64), along_y.at(k, 64))


def test_axis_z_is_that_of_an_unrotated_imod_volume(rng):
    """trimvol -rx makes (x, y, z) of (x, row, section) = (x, -z, y)."""
    x, y, z = rng.uniform(-20, 20, (3, 300))
    raw = np.stack([x, -z, y], axis=1)
    upright = TiltRange(-20, 60).at(np.stack([x, y, z], axis=1), 64)
    np.testing.assert_array_equal(TiltRange(-20, 60, "z").at(raw, 64), upright)


@pytest.mark.parametrize("n", [10, 11])
def test_a_list_is_slabs_about_central_planes(n):
    tilts = [-60.0, -35.0, 0.0, 20.0, 45.0]
    np.testing.assert_array_equal(TiltList(tilts).volume(n), slow.tilt_list(n, tilts) > 0)
    weights = [contrast, lambda f: 0.5 * contrast(f), np.ones_like, lambda f: 3, lambda f: f]
    np.testing.assert_allclose(TiltList(tilts, weights=weights).volume(n), slow.tilt_list(n, tilts, weights),
                               rtol=1e-6)


def test_a_fine_list_is_the_range():
    """Steps so fine that slabs overlap at Nyquist: no gaps, and half a voxel more at the edges."""
    k = np.random.default_rng(1).uniform(-15, 15, (4000, 3))
    views, wedge = TiltList(np.arange(-60, 60.5, 1)), TiltRange(-60, 60)
    assert (views.at(k, 32) >= wedge.at(k, 32)).all()
    assert (views.at(k, 32) > wedge.at(k, 32)).mean() < 0.07


WEIGHTS = [
    TiltRange(-52, 65), TiltRange(-40, 40, 30), TiltList([-60, -30, 5, 40]),
    TiltList([-60, 0, 60], "x", [contrast] * 3), WeightVolume(TiltRange(-52, 65).volume(12)),
]


@pytest.mark.parametrize("weight", WEIGHTS, ids=lambda w: type(w).__name__)
def test_friedel_mates_weigh_the_same(rng, weight):
    k = np.concatenate([rng.uniform(-8, 8, (500, 3)), rng.integers(-6, 7, (500, 3))])
    np.testing.assert_allclose(weight.at(-k, 12), weight.at(k, 12), atol=1e-6)
    assert weight.at(k, 12).dtype == np.float32
    assert weight.at(k.reshape(10, 100, 3), 12).shape == (10, 100)


@pytest.mark.parametrize("n", [14, 15])
def test_turned_with_its_particle(rng, n):
    """Filtering a turned volume by the turned weight is turning the filtered one (quarter turns are exact)."""
    weight = WeightVolume(TiltRange(-30, 55).volume(n))
    k = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3, indexing="ij"), axis=-1)  # indexed [x, y, z]
    values = weight.at(k, n)
    for rotation, axes in ((rotation_z(90), (0, 1)), (rotation_x(90), (1, 2)), (rotation_z(-90), (1, 0))):
        np.testing.assert_allclose(weight.at(k @ np.rint(rotation), n), np.rot90(values, axes=axes), atol=1e-6)


@pytest.mark.parametrize("n", [8, 9])
def test_a_volume_is_trilinear_and_zero_outside(rng, n):
    noise = rng.uniform(0, 1, (n, n, n))
    weight = WeightVolume(noise)
    volume = inner((noise + noise[::-1, ::-1, ::-1]) / 2) if n % 2 else weight.volume(n)
    points = np.concatenate([rng.uniform(-3, 3, (60, 3)), rng.integers(-3, 4, (20, 3))])
    expected = [slow.interpolate(volume, point) for point in points]
    np.testing.assert_allclose(weight.at(points, n), expected, atol=1e-6)
    assert weight.at(np.zeros(3), n) == pytest.approx(volume[n // 2, n // 2, n // 2])
    reach = n // 2
    assert not weight.at(np.array([[reach + 0.01, 0, 0], [0, -reach - 0.01, 0], [0, 0, 40.0]]), n).any()
    assert weight.at(np.array([[reach, 0, 0], [0, -reach, 0]]), n).all()


def test_the_value_at_the_zero_frequency_is_kept():
    volume = TiltRange(-60, 60).volume(32)
    volume[16, 16, 16] = 0.25
    for data in slow.layouts(volume).values():
        weight = WeightVolume.from_file_data(data)
        assert weight.at(np.zeros((1, 3)), 32)[0] == np.float32(0.25)
        assert Turned(weight, rotation_x(37)).at(np.zeros((1, 3)), 32)[0] == np.float32(0.25)


TURN = rotation_z(20) @ rotation_x(70) @ rotation_z(-50)
FILES = {
    "range": ("binary", TiltRange(-60, 60)),
    "narrow": ("binary", TiltRange(-40, 40)),
    "45 degrees": ("binary", TiltRange(-45, 45)),
    "lopsided": ("binary", TiltRange(-52, 65, "x")),
    "turned": ("binary", Turned(TiltRange(-60, 60), TURN)),
    "along z": ("binary", TiltRange(-60, 60, "z")),
    "coarse views": ("binary", TiltList(np.arange(-60, 61, 20), 85)),
    "one view": ("binary", TiltList([20])),
    "one view at 0": ("binary", TiltList([0])),
    "pseudo-subtomogram": ("premultiplied", TiltList(np.arange(-60, 61, 3), weights=[contrast] * 41)),
    "turned pseudo-subtomogram": ("premultiplied", Turned(
        TiltList(np.arange(-60, 61, 3), weights=[contrast] * 41), TURN)),
}


@pytest.mark.parametrize("n", [16, 25, 32])
@pytest.mark.parametrize("name", FILES)
def test_every_layout_is_found_out(name, n):
    kind, weight = FILES[name]
    volume = weight.volume(n)
    for layout, data in slow.layouts(volume).items():
        found = WeightVolume.from_file_data(data, kind=kind, box=n).volume(n)
        np.testing.assert_allclose(inner(found), inner(volume), atol=1e-6 * volume.max(), err_msg=layout)


@pytest.mark.parametrize("n", [32, 33])
def test_layouts_of_weights_without_a_zero(n):
    """A CTF with its sign, its square, an envelope, a wedge with a floor: positive or negative everywhere."""
    z, y, x = np.mgrid[:n, :n, :n] - n // 2
    frequency = np.sqrt(x * x + y * y + z * z) / n
    wave = transfer(frequency)
    weights = {"raw": [wave, wave * TiltRange(-60, 60).volume(n)],
               "premultiplied": [wave**2 + 0.01, np.exp(-9 * frequency**2), (frequency < 0.5) * 1.0],
               "binary": [np.maximum(TiltRange(-60, 60).volume(n), 0.01)]}
    for kind, volumes in weights.items():
        for volume in volumes:
            for layout, data in slow.layouts(volume.astype(np.float32)).items():
                found = WeightVolume.from_file_data(data, kind=kind).volume(n)
                np.testing.assert_allclose(inner(found), inner(volume), atol=1e-5, err_msg=f"{kind} {layout}")


@pytest.mark.parametrize("n", [8, 9, 32])
def test_a_constant_may_be_read_either_way(n):
    for data in slow.layouts(np.full((n, n, n), 0.5, np.float32)).values():
        np.testing.assert_array_equal(WeightVolume.from_file_data(data).volume(n), 0.5)


@pytest.mark.parametrize("n", [8, 10])
def test_small_boxes_have_the_usual_layout(n):
    volume = TiltRange(-60, 60).volume(n)
    forms = slow.layouts(volume)
    for layout in ("full centred", "half FFT order"):
        found = WeightVolume.from_file_data(forms[layout]).volume(n)
        np.testing.assert_array_equal(inner(found), inner(volume))


@pytest.mark.parametrize("n", [20, 21])
def test_written_and_read(tmp_path, n):
    volume = TiltRange(-50, 64).volume(n)
    np.testing.assert_array_equal(half_fft_order(volume), slow.layouts(volume)["half FFT order"])
    for data in (volume, half_fft_order(volume)):
        write_volume(tmp_path / "weight.mrc", data, voxel_size=VOXEL)
        found = WeightVolume.from_file_data(read_volume(tmp_path / "weight.mrc")[0], box=n)
        np.testing.assert_array_equal(inner(found.volume(n)), inner(volume))


def test_ctf_and_its_square():
    n = 16
    z, y, x = np.mgrid[:n, :n, :n] - n // 2
    wave = WeightVolume(transfer(np.sqrt(x * x + y * y + z * z) / n))
    assert wave.volume(n).min() < -0.5
    np.testing.assert_allclose(wave.squared().volume(n), wave.volume(n) ** 2, atol=1e-6)
    np.testing.assert_allclose(wave.squared().root().volume(n), np.abs(wave.volume(n)), atol=1e-6)


def draw(rng, kind, map_coefficients, sigma, count):
    """`count` noisy measurements (count, J) of a map, made as data of this kind come about, and their weight."""
    size = map_coefficients.size

    def noise():
        return sigma * (rng.standard_normal((count, size)) + 1j * rng.standard_normal((count, size))) / np.sqrt(2)

    if kind == "binary":
        weight = (rng.uniform(size=size) < 0.6).astype(float)
        return weight * (map_coefficients + noise()), weight
    views = rng.uniform(-1, 1, (5, size)) * (rng.uniform(size=(5, size)) < 0.5)
    if kind == "raw":
        return views[0] * map_coefficients + noise(), views[0]
    return sum(view * (view * map_coefficients + noise()) for view in views), (views**2).sum(axis=0)


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_are_sufficient(rng, kind):
    """E p0 = p1 A and E |p0 - p1 A|^2 = sigma^2 p1: p0 / p1 is the best estimate of A, p1 / sigma^2 its precision."""
    size, count, sigma = 40, 4000, 0.7
    truth = rng.standard_normal(size) + 1j * rng.standard_normal(size)
    data, weight = draw(rng, kind, truth, sigma, count)
    p0, p1 = statistics(data, weight, kind)
    assert (p0.dtype, p1.dtype, p0.shape, p1.shape) == (np.complex64, np.float32, (count, size), (size,))
    assert (p1 >= 0).all() and (p1 == 0).any() == (weight == 0).any()
    deviation = p0 - p1 * truth
    np.testing.assert_allclose(np.abs(deviation.mean(axis=0)), 0, atol=4.5 * sigma * np.sqrt(p1.max() / count))
    np.testing.assert_allclose((np.abs(deviation) ** 2).mean(axis=0), sigma**2 * p1, rtol=0.1)
    assert not p0[:, p1 == 0].any()


def test_premultiplied_data_count_only_where_they_have_weight():
    p0, p1 = statistics([3 + 1j, 2j], [0.5, 0], "premultiplied")
    np.testing.assert_array_equal(p0, [3 + 1j, 0])
    np.testing.assert_array_equal(p1, np.float32([0.5, 0]))


@pytest.mark.parametrize(("make", "said"), [
    (lambda: TiltRange(60, -60), "tilt range: expected -90 <= low < high <= 90 degrees, got 60 to -60"),
    (lambda: TiltRange(20, 20), "got 20 to 20"),
    (lambda: TiltRange(-91, 60), "got -91 to 60"),
    (lambda: TiltRange(-60, 90.5), "got -60 to 90.5"),
    (lambda: TiltRange(np.nan, 60), "got nan to 60"),
    (lambda: TiltRange(-60, 60, "w"), 'tilt axis: expected "x", "y", "z" or an azimuth in degrees, got "w"'),
    (lambda: TiltRange(-60, 60, np.inf), "tilt axis: expected an azimuth in degrees, got inf"),
    (lambda: TiltList([]), "tilts: expected at least one angle, got none"),
    (lambda: TiltList([0, 95]), "tilts: expected -90 to 90 degrees, got 95"),
    (lambda: TiltList([0, np.nan]), "tilts: expected -90 to 90 degrees, got nan"),
    (lambda: TiltList([0, 3], weights=[contrast]), "weights of tilts: expected one per tilt, 2, got 1"),
    (lambda: WeightVolume(np.ones((4, 4, 5))), "weight volume: expected a cube, got 4 x 4 x 5"),
    (lambda: WeightVolume(np.ones((8, 8, 8))).at(np.zeros((1, 3)), 10), "box of the particles, 10, got 8"),
    (lambda: statistics([1], [1], "ctf"), "expected binary, raw, premultiplied, got ctf"),
])
def test_refused(make, said):
    with pytest.raises(InputError) as refusal:
        make()
    assert said in str(refusal.value) and "\n" not in str(refusal.value)


def changed(index, value):
    data = TiltRange(-60, 60).volume(32)
    data[index] = value
    return data


HALF = half_fft_order(TiltRange(-60, 60).volume(32))


@pytest.mark.parametrize(("data", "options", "said"), [
    (np.ones((32, 32, 30)), {}, "expected a weight volume of n x n x n or n x n x (n/2 + 1), got 32 x 32 x 30"),
    (np.ones((32, 32)), {}, "got 32 x 32 (z, y, x)"),
    (np.ones((2, 2, 2)), {}, "got 2 x 2 x 2"),
    (np.ones((32, 32, 32)), {"box": 64}, "expected a weight volume of 64 x 64 x 64 or 64 x 64 x 33, got 32 x 32 x 32"),
    (np.ones((17, 32, 32)), {"box": 32}, "got 17 x 32 x 32"),
    (changed((3, 4, 5), np.nan), {}, "expected numbers, got 1 NaN or infinite"),
    (changed((3, 4, 5), np.inf), {"kind": "raw"}, "got 1 NaN or infinite"),
    (changed((3, 4, 5), -0.5), {}, "expected weights >= 0 of binary data, got -0.5"),
    (changed((3, 4, 5), -0.5), {"kind": "premultiplied"}, "expected weights >= 0 of premultiplied data, got -0.5"),
    (np.zeros((32, 32, 32)), {}, "expected weights, got only zeros"),
    (np.random.default_rng(3).uniform(size=(32, 32, 32)), {}, "expected w(k) = w(-k) about voxel n // 2 or voxel 0"),
    (np.random.default_rng(3).uniform(size=(33, 33, 17)), {}, "expected w(k) = w(-k)"),
    (np.roll(TiltRange(-60, 60).volume(32), 1, axis=2), {}, "expected w(k) = w(-k)"),
    (np.roll(TiltRange(-60, 60).volume(33), 2, axis=0), {}, "expected w(k) = w(-k)"),
    (np.roll(HALF, 3, axis=0), {}, "expected w(k) = w(-k)"),
    (np.ones((32, 32, 32)), {"kind": "wedge"}, "expected binary, raw, premultiplied, got wedge"),
])
def test_weight_files_refused(data, options, said):
    with pytest.raises(InputError) as refusal:
        WeightVolume.from_file_data(data, name="sub_ctf.mrc", **options)
    message = str(refusal.value)
    assert said in message and "\n" not in message
    assert message.startswith("sub_ctf.mrc: ") or "wedge" in message
