import importlib.util
import sys

import numpy as np
import pytest

from concordet.errors import InputError
from concordet.simulation import (
    MapPhantom,
    Phantom,
    add_noise,
    cell_phantom,
    model_phantom,
    simulate_series,
    tilt_angles,
)
from reference import simulation as slow


def view_map(azimuth, tilt):
    a, t = np.deg2rad([azimuth, tilt])
    return np.array([[np.cos(t) * np.cos(a), np.cos(t) * np.sin(a), np.sin(t), 0],
                     [-np.sin(a), np.cos(a), 0, 0]])


GENERAL = np.array([[0.8, 0.3, 0.7, 2.3], [-0.4, 1.1, -0.3, -1.6]])


def sphere(radius=6.0, centre=(0, 0, 0), density=1.5):
    return Phantom(np.array([centre]), np.array([np.eye(3) / radius**2]), np.array([density]))


def blob(rng, centre, semi_axes, density=1.0):
    q, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return np.asarray(centre, float), q @ np.diag(1 / np.square(semi_axes)) @ q.T, density


def handful(rng):
    ellipsoids = [blob(rng, rng.uniform(-6, 6, 3), rng.uniform(2, 7, 3), rng.uniform(-1, 2))
                  for _ in range(7)]
    return Phantom(*(np.array(column) for column in zip(*ellipsoids, strict=True)))


# Projection


@pytest.mark.parametrize("semi_axes", [(9, 5, 3), (75, 40, 30)])        # batched, and one by one
@pytest.mark.parametrize("map_", [view_map(30, 50), view_map(0, 0), GENERAL])
def test_projection_conserves_matter(rng, semi_axes, map_):
    phantom = Phantom(*(np.array([a]) for a in blob(rng, (3.2, -2.1, 1.4), semi_axes, 0.7)))
    size = 44 if semi_axes[0] < 40 else 300
    image = phantom.project(map_, (size, size))
    # A pixel's ray sweeps |det A|^-1 |D| voxels of volume for each voxel of its length.
    slope = np.linalg.solve(map_[:, :2], map_[:, 2])
    volume_per_pixel = 1 / abs(np.linalg.det(map_[:, :2])) / np.sqrt(1 + slope @ slope)
    volume = 4 / 3 * np.pi * np.prod(semi_axes)
    assert image.sum() * volume_per_pixel == pytest.approx(0.7 * volume, rel=2e-3)


@pytest.mark.parametrize("map_", [view_map(20, -65), view_map(90, 33), GENERAL])
def test_projection_is_the_line_integral_of_the_density(rng, map_):
    phantom = handful(rng)
    image = phantom.project(map_, (33, 40), supersampling=1)
    for u, v in [(20, 16), (14, 12), (27, 19), (24, 22), (18, 25), (3, 3)]:
        expected = slow.project_pixel(phantom, map_, u - 20, v - 16, reach=16, steps=20000)
        assert image[v, u] == pytest.approx(expected, abs=0.02)


def test_large_and_small_footprints_are_the_same_sum(rng, monkeypatch):
    phantom = handful(rng)
    batched = phantom.project(GENERAL, (30, 31))
    monkeypatch.setattr("concordet.simulation.phantoms._BATCH_BOX", 0)
    monkeypatch.setattr("concordet.simulation.phantoms._BLOCK", 500)
    np.testing.assert_allclose(phantom.project(GENERAL, (30, 31)), batched, atol=1e-5)


def test_cropping_the_image_changes_nothing(rng):
    phantom = handful(rng)
    whole = phantom.project(GENERAL, (64, 64))
    for shape in [(9, 9), (5, 64), (1, 1)]:
        v, u = (32 - n // 2 for n in shape)
        part = phantom.project(GENERAL, shape)
        np.testing.assert_allclose(part, whole[v:v + shape[0], u:u + shape[1]], atol=1e-5)


def test_a_sphere_looks_alike_from_everywhere():
    ball = sphere(radius=7.3)
    straight = ball.project(view_map(0, 0), (32, 32))
    for azimuth, tilt in [(0, 60), (37, -48), (90, 80), (135, 20)]:
        np.testing.assert_allclose(ball.project(view_map(azimuth, tilt), (32, 32)), straight, atol=1e-5)


def test_a_sphere_stands_where_the_view_map_says():
    image = sphere(radius=2.0, centre=(5.0, -3.0, 4.0)).project(GENERAL, (61, 60)).astype(float)
    v, u = np.indices(image.shape)
    u_v = GENERAL @ [5.0, -3.0, 4.0, 1.0]
    assert (u * image).sum() / image.sum() - 30 == pytest.approx(u_v[0], abs=0.01)
    assert (v * image).sum() / image.sum() - 30 == pytest.approx(u_v[1], abs=0.01)


def test_projection_agrees_with_the_neutral_phantom(data_root, tmp_path, monkeypatch):
    script = data_root / "acceptance" / "multi_axis.py"
    if not script.is_file():
        pytest.skip(f"no neutral phantom at {script}")
    specification = importlib.util.spec_from_file_location("multi_axis", script)
    neutral = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(neutral)
    n, nz, seed, objects = 48, 20, 3, 24
    options = f"--size {n} --nz {nz} --step 40 --axes 0 90 45 --seed {seed} --objects {objects} --snr 0"
    monkeypatch.setattr(sys, "argv", ["multi_axis.py", str(tmp_path), *options.split()])
    neutral.main()
    ellipsoids = neutral.ellipsoids(0.55 * n / 2, nz / 2, objects, np.random.default_rng(seed))
    phantom = Phantom(*(np.array([e[k] for e in ellipsoids]) for k in range(3)))
    tilts = tilt_angles(-60, 60, 40)
    for azimuth in (0, 90, 45):
        clean = np.load(tmp_path / f"clean_{azimuth:03d}.npy")
        assert len(clean) == len(tilts)
        for image, tilt in zip(clean, tilts, strict=True):
            np.testing.assert_allclose(phantom.project(view_map(azimuth, tilt), (n, n)), image, atol=1e-4)


# The truth


def test_truth_summed_over_z_is_the_straight_view(rng):
    phantom = handful(rng)
    truth = phantom.density((33, 30, 41))
    np.testing.assert_allclose(truth.sum(axis=0), phantom.project(view_map(0, 0), (30, 41)), atol=1e-4)


def test_truth_is_the_mean_density_of_each_voxel(rng):
    phantom = handful(rng)
    truth = phantom.density((24, 25, 26), supersampling=20)
    for z, y, x in [(12, 12, 13), (15, 9, 16), (8, 14, 10), (12, 18, 17), (13, 5, 9)]:
        expected = slow.voxel_mean(phantom, x - 13, y - 12, z - 12, fine=40)
        assert truth[z, y, x] == pytest.approx(expected, abs=0.01)


def test_truth_is_cut_at_the_box():
    ball = sphere(radius=9)
    whole = ball.density((30, 30, 30))
    np.testing.assert_allclose(ball.density((7, 10, 9)), whole[12:19, 10:20, 11:20], atol=1e-6)
    assert whole.sum() == pytest.approx(1.5 * 4 / 3 * np.pi * 9**3, rel=2e-3)


def test_no_ellipsoid_gives_nothing():
    empty = Phantom(np.zeros((0, 3)), np.zeros((0, 3, 3)), np.zeros(0))
    assert not empty.density((3, 4, 5)).any()
    assert not empty.project(GENERAL, (4, 5)).any()


# The cell


@pytest.mark.parametrize("size, thickness", [(16, 8), (48, 20), (65, 33)])
def test_the_cell_lies_inside_the_box(size, thickness):
    cell = cell_phantom(size, thickness, seed=4)
    wide = cell.density((thickness + 10, size + 10, size + 10))
    truth = cell.density((thickness, size, size))
    assert wide.sum(dtype=float) == pytest.approx(truth.sum(dtype=float), rel=1e-6)
    assert truth.min() > -1e-5
    assert truth.max() < 4
    view = cell.project(view_map(45, 60), (size, size))
    assert view.sum() == pytest.approx(cell.project(view_map(45, 60), (2 * size, 2 * size)).sum(), rel=1e-5)


def test_the_cell_is_rich_and_its_seed_decides_it():
    cell = cell_phantom(128, 32, seed=1)
    assert 120 <= len(cell) <= 300
    again, other = cell_phantom(128, 32, seed=1), cell_phantom(128, 32, seed=2)
    np.testing.assert_array_equal(cell.centres, again.centres)
    np.testing.assert_array_equal(cell.shapes, again.shapes)
    assert cell.centres.shape != other.centres.shape or not np.allclose(cell.centres, other.centres)
    assert len(cell_phantom(256, 32, seed=1)) > 2.5 * len(cell)


# Maps


def test_a_map_projects_as_the_ellipsoids_it_came_from():
    smooth = sum(sphere(radius, (2, -3, 1), 1.0).density((25, 40, 40), 4) for radius in np.linspace(2, 9, 15))
    shapes = [np.eye(3) / radius**2 for radius in np.linspace(2, 9, 15)]
    balls = Phantom(np.tile([2.0, -3, 1], (15, 1)), shapes, np.ones(15))
    for map_ in (view_map(0, 0), view_map(40, 60), view_map(10, -75), GENERAL):
        image = MapPhantom(smooth).project(map_, (44, 46))
        analytic = balls.project(map_, (44, 46))
        assert np.abs(image - analytic).max() < 0.03 * analytic.max()
        assert image.sum() == pytest.approx(analytic.sum(), rel=5e-3)


def test_a_straight_view_of_a_map_is_its_sum(rng):
    volume = rng.standard_normal((5, 8, 9)).astype(np.float32)
    image = MapPhantom(volume).project(view_map(0, 0), (6, 11))
    np.testing.assert_allclose(image[:, 1:10], volume.sum(axis=0)[1:7], atol=1e-5)
    assert not image[:, [0, 10]].any()


def test_a_map_is_its_own_truth_about_the_centre_voxel():
    volume = np.zeros((5, 6, 7), dtype=np.float32)
    volume[2, 3, 3] = 1
    for shape in [(5, 6, 7), (8, 9, 10), (3, 2, 1)]:
        truth = MapPhantom(volume).density(shape)
        assert truth.shape == shape
        assert truth[tuple(n // 2 for n in shape)] == truth.sum() == 1


def test_a_model_keeps_its_electrons(tmp_path):
    gemmi = pytest.importorskip("gemmi")
    structure, model, chain, residue = gemmi.Structure(), gemmi.Model(1), gemmi.Chain("A"), gemmi.Residue()
    residue.name, residue.seqid = "ALA", gemmi.SeqId("1")
    for element, position in [("C", (0, 0, 0)), ("O", (30, 0, 0)), ("N", (0, 20, 10))]:
        atom = gemmi.Atom()
        atom.name, atom.element, atom.pos = element, gemmi.Element(element), gemmi.Position(*position)
        residue.add_atom(atom)
    chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    structure.make_mmcif_document().write_file(str(tmp_path / "three.cif"))
    phantom = model_phantom(tmp_path / "three.cif", voxel_size=5.0)
    assert phantom.volume.sum() * 5.0**3 * 0.4 == pytest.approx(6 + 8 + 7, rel=1e-4)
    oxygen = tuple(n // 2 + shift for n, shift in zip(phantom.volume.shape, (-1, -2, 3), strict=True))
    assert phantom.volume[oxygen] == phantom.volume.max()
    (tmp_path / "empty.cif").write_text("data_nothing\n")
    with pytest.raises(InputError, match=r"empty\.cif: expected an atomic model"):
        model_phantom(tmp_path / "empty.cif", voxel_size=5.0)
    with pytest.raises(InputError, match="no such file"):
        model_phantom(tmp_path / "absent.cif", voxel_size=5.0)


def test_without_gemmi_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gemmi", None)
    with pytest.raises(InputError, match=r"needs gemmi: pip install 'concordet\[models\]'"):
        model_phantom("some.cif", voxel_size=5.0)


# Series


def series(specimen, snr, **options):
    maps = np.stack([view_map(0, t) for t in tilt_angles(-60, 60, 12)])
    views = list(simulate_series(specimen, maps, (48, 48), snr=snr, **options))
    assert [view for view, _ in views] == list(range(11))
    return np.stack([image for _, image in views])


@pytest.mark.parametrize("snr", [4, 0.1])
def test_the_series_has_the_signal_to_noise_ratio_asked_for(snr):
    cell = cell_phantom(48, 16)
    clean, noisy = series(cell, 0), series(cell, snr, seed=3)
    noise = (noisy - clean).astype(float)
    assert clean.var(dtype=float) / noise.var() == pytest.approx(snr, rel=0.03)
    assert abs(noise.mean()) < 5 * noise.std() / np.sqrt(noise.size)
    views = noise.reshape(len(noise), -1)
    assert np.abs(np.corrcoef(views) - np.eye(len(views))).max() < 0.1
    assert noise.dtype == float and noisy.dtype == clean.dtype == np.float32


def test_a_series_is_the_same_for_any_memory_and_differs_between_seeds():
    cell = cell_phantom(48, 16)
    first = series(cell, 2, seed=5)
    np.testing.assert_array_equal(series(cell, 2, seed=5, memory=0), first)
    np.testing.assert_array_equal(series(cell, 2, seed=5, memory=4 * 4 * 48 * 48), first)
    assert not np.array_equal(series(cell, 2, seed=6), first)
    assert not np.array_equal(series(cell, 2, seed=(5, 1)), series(cell, 2, seed=(5, 2)))


@pytest.mark.parametrize("snr, memory, counts", [(2, 1 << 30, range(1, 12)), (2, 0, range(1, 12)), (0, 1 << 30, ())])
def test_the_pass_for_the_variance_is_counted(snr, memory, counts):
    calls = []
    series(cell_phantom(48, 16), snr, memory=memory, on_projected=calls.append)
    assert calls == list(counts)


def test_noise_added_to_a_stack(rng):
    images = rng.uniform(0, 1, (4, 60, 60)).astype(np.float32)
    noisy = add_noise(images, 0.5, np.random.default_rng(1))
    assert noisy.dtype == np.float32
    assert images.var() / (noisy - images).var() == pytest.approx(0.5, rel=0.05)


def test_tilt_angles_include_both_ends():
    np.testing.assert_allclose(tilt_angles(-60, 60, 3), np.arange(-60, 61, 3))
    assert len(tilt_angles(-60, 60, 1)) == 121
    assert len(tilt_angles(-0.3, 0.3, 0.1)) == 7
    assert tilt_angles(10, 20, 4).tolist() == [10, 14, 18]
    assert tilt_angles(5, 5, 1).tolist() == [5]


# Refusals


@pytest.mark.parametrize("low, high, step", [(60, -60, 1), (-60, 60, 0), (-60, 60, -1), (np.nan, 60, 1),
                                             (-90, 60, 1), (-60, 90, 3)])
def test_impossible_tilt_ranges_are_refused(low, high, step):
    with pytest.raises(InputError, match="tilt range: expected"):
        tilt_angles(low, high, step)


@pytest.mark.parametrize("specimen", [sphere(), MapPhantom(np.ones((3, 3, 3)))])
def test_rays_that_never_cross_the_slices_are_refused(specimen):
    for map_ in (view_map(0, 90), np.zeros((2, 4)), np.full((2, 4), np.nan), np.eye(3)):
        with pytest.raises(InputError, match="view map: expected"):
            specimen.project(map_, (8, 8))


@pytest.mark.parametrize("call", [
    lambda: cell_phantom(8, 32),
    lambda: cell_phantom(64, 4),
    lambda: sphere().density((8, 8)),
    lambda: sphere().project(GENERAL, (0, 8)),
    lambda: Phantom(np.zeros((2, 3)), np.zeros((1, 3, 3)), np.zeros(1)),
    lambda: Phantom(np.zeros((1, 3)), np.zeros((1, 3, 3)), np.zeros(1)),
    lambda: MapPhantom(np.zeros((4, 4))),
    lambda: MapPhantom(np.full((2, 2, 2), np.nan)),
    lambda: model_phantom("some.cif", voxel_size=0),
    lambda: add_noise(np.ones((2, 3, 3)), 1, np.random.default_rng()),
    lambda: add_noise(np.eye(3), 0, np.random.default_rng()),
    lambda: simulate_series(sphere(), np.zeros((2, 4)), (8, 8)),
    lambda: simulate_series(sphere(), GENERAL[None], (8, 8), snr=-1),
    lambda: list(simulate_series(sphere(centre=(99, 99, 0)), GENERAL[None], (8, 8), snr=1)),
])
def test_impossible_input_is_refused(call):
    with pytest.raises(InputError, match="expected .* got "):
        call()
