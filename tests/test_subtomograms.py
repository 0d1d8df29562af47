"""Simulated particles are what the model says, agree with the neutral simulator, and lie where their truth says."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from concordet import rigid, wedge
from concordet.errors import InputError
from concordet.io import read_volume
from concordet.simulation import (
    Molecule,
    Optics,
    TiltViews,
    WedgeView,
    largest_radius,
    molecule_map,
    power_outside,
    random_poses,
    resampled,
    simulate_subtomograms,
    smoothed,
)
from concordet.simulation.mean_power import mean_slice_power
from reference import simulation as slow

CENTRES = np.array([[2.5, 0.5, -1.0], [-2.0, 2.5, 1.0], [0.0, -2.0, 2.5], [-1.5, -1.0, -3.0]])
SIGMAS, HEIGHTS = np.array([1.3, 1.5, 1.4, 1.6]), np.array([1.0, 0.7, 1.2, 0.5])
EVERYTHING = wedge.TiltRange(-90, 90)


def blobs(box, rotation=None, shift=(0, 0, 0)):
    """An object without symmetry, posed exactly."""
    rotation = np.eye(3) if rotation is None else rotation
    return slow.gaussians(box, CENTRES @ rotation.T + shift, SIGMAS, HEIGHTS)


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def spectrum(volume):
    return np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(volume), norm="ortho"))


def shell_power(volume):
    n = len(volume)
    line = np.square(np.arange(n) - n // 2)
    shells = np.rint(np.sqrt(line[:, None, None] + line[:, None] + line)).astype(int).ravel()
    return (np.bincount(shells, np.abs(spectrum(volume)).ravel() ** 2) / np.bincount(shells))[:n // 2]


@pytest.fixture(scope="module")
def molecule():
    return Molecule(blobs(24), largest_radius(24, 2))


# Turning and shifting


@pytest.mark.parametrize("box", [30, 31])
def test_a_pose_is_the_rotation_about_the_centre_voxel_then_the_shift(rng, box):
    for rotation, shift in zip(rigid.random_rotations(4, rng), rng.uniform(-2, 2, (4, 3)), strict=True):
        posed = Molecule(blobs(box), largest_radius(box, 2)).posed(rotation, shift)
        exact = blobs(box, rotation, shift)
        assert np.abs(posed - exact).max() < 0.01 * exact.max()
        assert correlation(posed, exact) > 0.9999


def test_no_pose_changes_nothing(molecule):
    np.testing.assert_allclose(molecule.posed(np.eye(3), np.zeros(3)), molecule.volume, atol=0.005)


def test_a_map_is_cut_to_its_ball():
    flat = Molecule(np.ones((16, 16, 16)), 5.0)
    assert flat.volume.sum() == pytest.approx(4 / 3 * np.pi * 5**3, rel=0.03)
    assert power_outside(np.ones((16, 16, 16)), 5.0) == pytest.approx(1 - flat.volume.mean())
    posed = flat.posed(rigid.from_zyz(1, 2, 3), np.array([2.0, -2, 1]))
    z, y, x = np.indices(posed.shape) - 8
    assert not posed[(x - 2) ** 2 + (y + 2) ** 2 + (z - 1) ** 2 > 25].any()


# Poses


def test_uniform_rotations_have_the_moments_of_so3():
    poses = random_poses(20000, "uniform", 3.0, np.random.default_rng(1))
    flat = poses.rotations.reshape(-1, 9)
    # Entries have mean 0, variance 1/3 and are uncorrelated.
    assert np.abs(flat.mean(axis=0)).max() < 5 * np.sqrt(1 / 3 / 20000)
    np.testing.assert_allclose(flat.T @ flat / 20000, np.eye(9) / 3, atol=5 * 0.3 / np.sqrt(20000))
    assert np.abs(poses.shifts).max() <= 3
    np.testing.assert_allclose(poses.shifts.std(axis=0), 3 / np.sqrt(3), rtol=0.02)


def test_rotations_about_y_lay_the_axis_along_y():
    rotations = random_poses(4000, "about-y", 0, np.random.default_rng(2)).rotations
    np.testing.assert_allclose(rotations[:, :, 2], np.tile([0.0, 1, 0], (4000, 1)), atol=1e-12)
    # The other axes turn about y uniformly.
    angles = np.arctan2(rotations[:, 0, 0], rotations[:, 2, 0])
    assert abs(np.exp(1j * angles).mean()) < 5 / np.sqrt(4000)


# Wedge


def test_a_particle_is_the_posed_map_under_the_wedge(molecule):
    views = WedgeView(24, wedge.TiltRange(-50, 40))
    for particle in simulate_subtomograms([molecule], [3], views, snr=None, max_shift=2, seed=4):
        expected = spectrum(blobs(24, particle.rotation, particle.shift)) * views.weight()
        assert correlation(np.abs(spectrum(particle.volume)), np.abs(expected)) > 0.999
        assert np.vdot(expected, spectrum(particle.volume)).real > 0.999 * np.linalg.norm(expected) * np.linalg.norm(
            spectrum(particle.volume))


def test_wedge_noise_is_white_of_variance_one_where_it_is_seen(rng):
    views = WedgeView(24, wedge.TiltRange(-60, 60))
    power = np.mean([np.abs(spectrum(views.noise(rng).volume)) ** 2 for _ in range(30)], axis=0)
    seen = views.weight() > 0
    inner = np.s_[1:, 1:, 1:]
    assert power[inner][~seen[inner]].max() < 1e-9
    assert power[seen].mean() * seen.mean() == pytest.approx(1, rel=0.02)
    near = seen & (np.indices(seen.shape) - 12).__pow__(2).sum(axis=0).__lt__(25)
    assert power[near].mean() == pytest.approx(power[seen].mean(), rel=0.06)


@pytest.mark.parametrize("orientations", ["uniform", "about-y"])
@pytest.mark.parametrize("views", [
    WedgeView(24, wedge.TiltRange(-60, 60)),
    TiltViews(24, np.arange(-60, 61, 6), 10.0),
    TiltViews(24, np.arange(-60, 61, 6), 10.0, premultiplied=False),
], ids=["wedge", "premultiplied", "raw"])
def test_the_ratio_asked_for_is_reached(molecule, views, orientations):
    made = list(simulate_subtomograms([molecule], [12], views, snr=0.02, max_shift=2, orientations=orientations))
    assert sum(p.signal for p in made) / sum(p.noise for p in made) == pytest.approx(0.02, rel=0.05)


def test_the_ratio_is_that_of_frank_and_al_ali(molecule):
    """rho / (1 - rho), rho the correlation of two noisy copies of one signal."""
    views = WedgeView(24, wedge.TiltRange(-60, 60))
    ratios, told = [], []
    for particle in simulate_subtomograms([molecule], [6], views, snr=0.5, max_shift=2, seed=3):
        signal = views.signal(molecule.posed(particle.rotation, particle.shift)).volume
        signal = signal * np.sqrt(particle.seen_signal / signal.var())
        again = signal + views.noise(np.random.default_rng([77, particle.index])).volume
        rho = correlation(particle.volume, again)
        ratios.append(rho / (1 - rho))
        told.append(particle.seen_signal / particle.seen_noise)
    assert np.mean(ratios) == pytest.approx(np.mean(told), rel=0.03)


# Tilt series


@pytest.mark.parametrize("box", [8, 9])
@pytest.mark.parametrize("premultiplied", [True, False])
def test_a_tilt_series_is_the_sum_of_its_slices(rng, box, premultiplied):
    tilts = [-52.0, -20, 0, 31, 45]
    views = TiltViews(box, tilts, 12.0, premultiplied=premultiplied)
    volume = rng.standard_normal((box, box, box)).astype(np.float32)
    expected, weight = slow.inverted_tilt_series(volume, tilts, lambda k: float(views.transfer(k)), premultiplied)
    np.testing.assert_allclose(views.signal(volume, 60000.0).volume, expected, atol=2e-5)
    np.testing.assert_allclose(views.weight(60000.0), weight, atol=1e-5)


def test_the_noise_of_premultiplied_data_is_their_weight(rng):
    """E|X'|^2 = sigma^2 D, the variance that p0 and p1 stand for."""
    views = TiltViews(16, np.arange(-60, 61, 5), 12.0)
    weight = views.weight(60000.0)
    power = np.mean([np.abs(spectrum(views.noise(rng, 60000.0).volume)) ** 2 for _ in range(300)], axis=0)
    assert power[weight == 0].max() < 1e-10
    assert power.sum() / weight.sum() == pytest.approx(1, rel=0.02)
    for low, high in [(0.01, 0.2), (0.2, 0.6), (0.6, 2), (2, 30)]:
        chosen = (weight > low) & (weight <= high)
        assert chosen.sum() > 20
        assert power[chosen].sum() / weight[chosen].sum() == pytest.approx(1, rel=0.05)


def test_the_noise_of_raw_data_is_white(rng):
    views = TiltViews(16, np.arange(-60, 61, 5), 12.0, premultiplied=False)
    seen = views.weight(60000.0) != 0
    power = np.mean([np.abs(spectrum(views.noise(rng, 60000.0).volume)) ** 2 for _ in range(300)], axis=0)
    assert power[~seen].max() < 1e-10
    assert power[seen].mean() == pytest.approx(1, rel=0.02)
    assert np.abs(power[seen] - 1).max() < 6 / np.sqrt(300)


@pytest.mark.parametrize("premultiplied", [True, False])
def test_the_signal_of_a_tilt_series_is_the_weighted_map(molecule, premultiplied):
    # Not exactly: slices are taken for slabs of thickness 1, which dims what lies far from the centre.
    views = TiltViews(24, np.arange(-60, 61, 3), 8.0, premultiplied=premultiplied)
    expected = spectrum(molecule.volume) * views.weight(60000.0)
    found = spectrum(views.signal(molecule.volume, 60000.0).volume)
    norm = np.vdot(expected, expected).real
    assert np.vdot(expected, found).real / np.sqrt(norm * np.vdot(found, found).real) > 0.99
    assert np.vdot(expected, found).real / norm == pytest.approx(1, abs=0.05)


def test_the_weight_is_that_of_the_list_of_tilts():
    tilts = tuple(np.arange(-60.0, 61, 3))
    views = TiltViews(16, tilts, 9.0, Optics(40000.0))
    expected = wedge.TiltList(tilts, weights=[lambda f: views.transfer(16 * f) ** 2] * len(tilts)).volume(16)
    np.testing.assert_allclose(views.weight(40000.0)[1:, 1:, 1:], expected[1:, 1:, 1:], rtol=1e-5, atol=1e-6)


def test_the_truth_times_the_transfer(molecule):
    views = TiltViews(24, np.arange(-60, 61, 3), 8.0)
    line = np.square(np.arange(24) - 12)
    expected = spectrum(molecule.volume) * views.transfer(np.sqrt(line[:, None, None] + line[:, None] + line))
    np.testing.assert_allclose(spectrum(views.filtered(molecule.volume)), expected, atol=1e-4)
    # Matter keeps its sign at -6 um in low shells, MTF at Nyquist is 2 / pi.
    assert views.transfer(np.array(0.0)) == pytest.approx(0.07)
    assert np.abs(views.transfer(np.linspace(0, 12, 500))).max() <= 1


def test_a_spread_of_defocus_gives_every_particle_its_own(molecule):
    views = TiltViews(24, np.arange(-60, 61, 10), 8.0, Optics(defocus_spread=5000.0))
    defoci = [p.defocus for p in simulate_subtomograms([molecule], [8], views, snr=1, max_shift=2)]
    assert len(set(defoci)) == 8
    assert 55000 <= min(defoci) < max(defoci) <= 65000


# The power of the signal, which sets the level of the noise


@pytest.mark.parametrize("orientations", ["uniform", "about-y"])
@pytest.mark.parametrize("box", [12, 13])
def test_the_mean_power_of_slices_is_that_over_all_orientations(box, orientations):
    """The sum over voxels at points of a sphere, or of a circle about z."""
    molecule = Molecule(blobs(box), box / 2 - 1).volume
    z, y, x = np.nonzero(molecule)
    at = np.stack([x, y, z]) - box // 2
    mean = mean_slice_power(molecule, orientations)
    for foot, ky in [(0.0, 0), (0.7, 0), (1.3, 1), (2.25, 2), (3.6, 1)]:
        count = 4000
        if orientations == "uniform":
            heights = 1 - 2 * (np.arange(count) + 0.5) / count
            turn, radius = np.arange(count) * np.pi * (1 + np.sqrt(5)), np.hypot(foot, ky)
            across, along = radius * np.sqrt(1 - heights**2), radius * heights
        else:
            turn, across, along = np.arange(count) * 2 * np.pi / count, foot, np.full(count, ky)
        k = np.stack([across * np.cos(turn), across * np.sin(turn), along], axis=1)
        values = np.exp(-2j * np.pi / box * k @ at) @ molecule[z, y, x] * box**-1.5
        assert mean(np.array([foot]), np.array([ky]))[0, 0] == pytest.approx((np.abs(values) ** 2).mean(), rel=5e-3)


@pytest.mark.parametrize(("orientations", "count", "tolerance"), [("uniform", 300, 0.02), ("about-y", 100, 0.015)])
def test_the_expected_power_is_the_mean_of_many_poses(molecule, orientations, count, tolerance):
    views = TiltViews(24, np.arange(-50, 66, 8), 12.0)
    poses = random_poses(count, orientations, 0.0, np.random.default_rng(4))
    powers = [views.signal(molecule.posed(rotation, np.zeros(3)), 60000.0).power for rotation in poses.rotations]
    assert np.std(powers) / np.mean(powers) / np.sqrt(count) < tolerance / 2
    assert views.signal_power(molecule.volume, orientations) == pytest.approx(np.mean(powers), rel=tolerance)


# Sets


@pytest.mark.parametrize("views", [WedgeView(24, EVERYTHING), TiltViews(24, np.arange(-60, 61, 10), 8.0)],
                         ids=["wedge", "tilts"])
def test_any_part_of_a_set_can_be_made_alone(molecule, views):
    options = {"snr": 0.1, "max_shift": 2, "seed": 5}
    whole = list(simulate_subtomograms([molecule, molecule], [3, 2], views, **options))
    assert [p.index for p in whole] == list(range(5))
    assert [p.molecule for p in whole] == [0, 0, 0, 1, 1]
    part = list(simulate_subtomograms([molecule, molecule], [3, 2], views, indices=[4, 1], threads=3, **options))
    for particle, index in zip(part, (4, 1), strict=True):
        np.testing.assert_array_equal(particle.volume, whole[index].volume)
        np.testing.assert_array_equal(particle.rotation, whole[index].rotation)
    assert not np.allclose(whole[0].rotation, whole[1].rotation)
    other = next(simulate_subtomograms([molecule], [1], views, **{**options, "seed": 6}))
    assert not np.allclose(other.rotation, whole[0].rotation)


def test_the_pose_brings_a_particle_back_to_the_truth(molecule):
    views = WedgeView(24, EVERYTHING)
    for particle in simulate_subtomograms([molecule], [5], views, snr=1e9, max_shift=2, seed=7):
        inverse = rigid.Poses(particle.rotation[None], particle.shift[None]).inverse()
        back = Molecule(particle.volume, 11).posed(inverse.rotations[0], inverse.shifts[0])
        assert correlation(back, molecule.volume) > 0.995


# Maps


def test_another_voxel_size_shows_the_same_object():
    fine = blobs(33)
    x = (np.arange(24) - 12) * 1.25
    expected = sum(h * np.exp(-sum((g - c) ** 2 for g, c in zip(
        (x, x[:, None], x[:, None, None]), centre, strict=True)) / (2 * s**2))
        for centre, s, h in zip(CENTRES, SIGMAS, HEIGHTS, strict=True))
    np.testing.assert_allclose(resampled(fine, 8.0, 24, 10.0), expected, atol=0.01)
    np.testing.assert_allclose(resampled(fine[2:30, 3:, :31], 8.0, 24, 10.0),
                               resampled(np.pad(fine[2:30, 3:, :31], 9), 8.0, 24, 10.0), atol=0.02)


def test_a_finer_map_keeps_its_values_and_a_larger_box_is_padded():
    fine = resampled(blobs(24), 10.0, 47, 5.0)
    np.testing.assert_allclose(fine[1::2, 1::2, 1::2][:23, :23, :23], blobs(24)[1:, 1:, 1:], atol=2e-3)
    padded = resampled(blobs(24), 10.0, 32, 10.0)
    np.testing.assert_allclose(padded, blobs(32), atol=1e-3)


def test_smoothing_is_a_gaussian():
    point = np.zeros((24, 24, 24))
    point[12, 12, 12] = 1
    sigma = 8 / (np.pi * np.sqrt(2))
    np.testing.assert_allclose(smoothed(point, 8.0), slow.gaussians(24, [[0, 0, 0]], [sigma],
                                                                  [(2 * np.pi * sigma**2) ** -1.5]), atol=1e-5)


# The neutral simulator and its maps


def neutral_script(data_root):
    if not importlib.util.find_spec("scipy"):
        pytest.skip("the neutral simulator needs scipy")
    script = data_root / "acceptance" / "subtomograms.py"
    if not script.is_file():
        pytest.skip(f"no neutral simulator at {script}")
    return script


def standardised(volume):
    n = len(volume)
    line = np.square(np.arange(n) - n // 2)
    edge = line[:, None, None] + line[:, None] + line > (n / 2 - 1) ** 2
    return (volume - volume[edge].mean()) / volume[edge].std()


def fitted_ratio(particle, signal):
    """Variance of the part along `signal` over variance of the rest."""
    signal, particle = signal - signal.mean(), particle - particle.mean()
    share = np.vdot(signal, particle) / np.vdot(signal, signal)
    return share**2 * np.vdot(signal, signal) / np.square(particle - share * signal).sum()


@pytest.mark.parametrize(("orientations", "low", "high"), [("uniform", -60, 60), ("about-y", -40, 40)])
def test_particles_are_like_those_of_the_neutral_simulator(data_root, tmp_path, orientations, low, high):
    script = neutral_script(data_root)
    path, count, snr = data_root / "acceptance" / "maps" / "groel_32_12A.mrc", 20, 0.05
    options = f"--map {path} --count {count} --snr {snr} --tilts {low} {high} --orientations {orientations} --seed 5"
    # Apart, because it leaves files open and calls numpy's FFT in an old way: warnings are errors here.
    subprocess.run([sys.executable, "-W", "ignore", script, tmp_path, *options.split()], check=True)
    molecule = Molecule(read_volume(path)[0], largest_radius(32, 4))
    views = WedgeView(32, wedge.TiltRange(low, high))
    ours = list(simulate_subtomograms([molecule], [count], views, snr=snr, seed=2, orientations=orientations))
    np.testing.assert_array_equal(read_volume(tmp_path / "wedge.mrc")[0], views.weight())
    np.testing.assert_allclose(read_volume(tmp_path / "truth_1.mrc")[0], molecule.volume, atol=1e-5)
    truth = np.loadtxt(tmp_path / "truth.txt")
    poses = rigid.Poses(rigid.from_zyz(*np.deg2rad(truth[:, 2:5]).T), truth[:, 5:])
    theirs = [read_volume(tmp_path / "sub" / f"p{i:05d}.mrc")[0] for i in range(1, count + 1)]
    # Ratio of signal to noise behind the wedge, from the poses told: sqrt(2 / 20 particles) of their own spread.
    ratios = [fitted_ratio(volume, views.signal(molecule.posed(rotation, shift)).volume)
              for volume, rotation, shift in zip(theirs, poses.rotations, poses.shifts, strict=True)]
    own = [fitted_ratio(p.volume, views.signal(molecule.posed(p.rotation, p.shift)).volume) for p in ours]
    assert np.mean(own) == pytest.approx(np.mean(ratios), rel=0.05)
    assert np.mean(own) == pytest.approx(np.mean([p.seen_signal / p.seen_noise for p in ours]), rel=0.05)
    power = np.mean([shell_power(standardised(p.volume)) for p in ours], axis=0)[1:]
    expected = np.mean([shell_power(volume) for volume in theirs], axis=0)[1:]
    shells = np.arange(1, 16)
    # Shell r has about 4 pi r^2 independent real numbers of each particle, two thirds of them seen, in both sets.
    allowed = 0.02 + 5 * np.sqrt(2 / (count * 4 * np.pi * shells**2 / 1.5) * 2)
    assert (np.abs(power / expected - 1) < allowed).all()
    assert power.sum() == pytest.approx(expected.sum(), rel=0.05)
    # Rotations: the map's axis along y in the one, and nowhere in the other.
    axes, own_axes = poses.rotations[:, :, 2], np.array([p.rotation[:, 2] for p in ours])
    if orientations == "about-y":
        np.testing.assert_allclose(axes, own_axes, atol=1e-5)
    else:
        assert np.abs(axes.mean(axis=0)).max() < 4 / np.sqrt(3 * count)
        assert np.abs(own_axes.mean(axis=0)).max() < 4 / np.sqrt(3 * count)


@pytest.mark.parametrize(("model", "name", "least"), [
    ("1kp8A_x14_GroEL", "groel_64_6A", 0.996), ("3j9i_20S_proteasome", "proteasome20S_40_13.68A", 0.997)])
def test_densities_of_models_are_those_of_the_frozen_maps(data_root, model, name, least):
    """Up to half turns about the principal axes, which nothing decides."""
    pytest.importorskip("gemmi")
    frozen, header = read_volume(data_root / "acceptance" / "maps" / f"{name}.mrc")
    volume = molecule_map(data_root / "data" / "models" / f"{model}.cif.gz", header.voxel_size[0])
    box = len(frozen)
    made = Molecule(resampled(volume, 1.0, box, 1.0), box / 2 - 1)
    turns = [np.diag(signs) for signs in ([1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1])]
    assert max(correlation(made.posed(turn, np.zeros(3)), frozen) for turn in turns) > least


# Refusals


def make(molecules=1, counts=(1,), views=None, **options):
    options = {"snr": 1.0, "max_shift": 2.0, **options}
    return simulate_subtomograms([Molecule(blobs(24), 9)] * molecules, counts, views or WedgeView(24, EVERYTHING),
                                 **options)


@pytest.mark.parametrize("call", [
    lambda: make(counts=[1, 2]),
    lambda: make(molecules=0, counts=[]),
    lambda: make(counts=[0]),
    lambda: make(snr=0.0),
    lambda: make(snr=-1.0),
    lambda: make(snr=np.nan),
    lambda: make(max_shift=-1.0),
    lambda: make(max_shift=2.5),
    lambda: make(views=WedgeView(22, EVERYTHING)),
    lambda: random_poses(3, "sideways", 1.0, np.random.default_rng()),
    lambda: Molecule(np.ones((4, 4, 5)), 2),
    lambda: Molecule(np.zeros((8, 8, 8)), 2),
    lambda: Molecule(np.ones((8, 8, 8)), 0),
    lambda: TiltViews(16, [0.0], 5.0, Optics(voltage=0)),
    lambda: TiltViews(16, [0.0], 5.0, Optics(amplitude_contrast=2)),
    lambda: resampled(np.ones((4, 4, 4)), 0.0, 8, 3.0),
])
def test_impossible_input_is_refused(call):
    with pytest.raises(InputError, match="expected .* got "):
        call()
