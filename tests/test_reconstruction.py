import numpy as np
import pytest

from concordet import geometry, partition, reconstruction, simulation
from concordet.errors import InputError
from concordet.projection import Projector, TiltData, as_volume
from reference import reconstruction as reference
from specimens import make_data


def test_sirt_is_its_slow_twin(small, rng):
    problem = reference.DenseProblem(small)
    start = rng.standard_normal(small.projector.volume_shape).astype(np.float32)
    views = np.array([0, 2, 3, 7], np.int64)
    fast = reconstruction.sirt(small, iterations=7, relaxation=1.3, views=views, initial=start)
    slow = reference.sirt(problem, views, start.ravel().astype(float), 7, 1.3)
    np.testing.assert_allclose(fast.ravel(), slow, atol=2e-5 * np.abs(slow).max())


@pytest.mark.parametrize("relaxation", [0.3, 1.0, 1.9])
def test_weighted_residual_never_rises(cell, relaxation):
    residuals = []
    reconstruction.sirt(cell[0], iterations=40, relaxation=relaxation,
                        on_iteration=lambda _, __, fit: residuals.append(fit.weighted_residual))
    assert len(residuals) == 40
    assert np.all(np.diff(residuals) <= 1e-6 * residuals[0])
    assert residuals[-1] < 0.5 * residuals[0]


def test_sirt_finds_a_volume_that_explains_noise_free_views():
    data, _ = make_data((6, 14, 15), (14, 15))
    volume = reconstruction.sirt(data, iterations=300, relaxation=1.9)
    assert data.ncc(volume, data.projector.all_views).min() > 0.99


def test_largest_eigenvalue_is_one(cell, rng):
    """C W^T R W 1 = 1, and power iteration finds nothing larger, on all views and on a subset."""
    data = cell[0]
    for views in (data.projector.all_views, np.arange(3, 9)):
        weights = data.column_weights(views)

        def step(volume, views=views, weights=weights):
            # C W^T R W x = C W^T R p - C W^T R (p - W x)
            with_x, without = np.zeros_like(as_volume(volume)), np.zeros_like(as_volume(volume))
            with_x, without = as_volume(with_x), as_volume(without)
            data.back_project_residual(as_volume(volume), views, with_x)
            data.back_project_residual(as_volume(np.zeros_like(volume)), views, without)
            return weights * (without - with_x)

        ones = step(np.ones(data.projector.volume_shape, np.float32))
        plenty = (weights > 0) & (weights < 0.99 / (data.SCARCE_RAYS * len(views)))
        np.testing.assert_allclose(ones[plenty], 1, atol=1e-4)
        assert plenty.mean() > 0.9 and ones.max() <= 1 + 1e-4
        x = rng.standard_normal(data.projector.volume_shape).astype(np.float32)
        for _ in range(30):
            x = step(x)
            eigenvalue = np.linalg.norm(x)
            x = np.ascontiguousarray(x / eigenvalue)
        assert eigenvalue <= 1.001


def test_positivity(cell):
    volume = reconstruction.sirt(cell[0], iterations=5, relaxation=1.0, positivity=True)
    assert volume.min() == 0
    assert reconstruction.sirt(cell[0], iterations=5, relaxation=1.0).min() < 0


def test_initial_continues_where_it_stopped(cell):
    data = cell[0]
    whole = reconstruction.sirt(data, iterations=8)
    half = reconstruction.sirt(data, iterations=4)
    continued = reconstruction.sirt(data, iterations=4, initial=np.ascontiguousarray(half))
    np.testing.assert_array_equal(continued, whole)


def test_tolerance_ends_the_iterations(cell):
    changes = []
    reconstruction.sirt(cell[0], iterations=100, tolerance=0.05,
                        on_iteration=lambda _, __, fit: changes.append(fit.relative_change))
    assert len(changes) < 100 and changes[-1] < 0.05 and min(changes[:-1]) >= 0.05


def test_callback_ends_the_iterations(cell):
    seen = []
    reconstruction.sirt(cell[0], iterations=100, on_iteration=lambda i, *_: seen.append(i) or i == 2)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("relaxation", [0, 2, -1, 2.5, float("nan")])
def test_relaxation_out_of_range_is_refused(cell, relaxation):
    with pytest.raises(InputError, match="0 < lambda < 2"):
        reconstruction.sirt(cell[0], iterations=1, relaxation=relaxation)


def test_bad_iterations_and_start_are_refused(cell):
    with pytest.raises(InputError, match="at least 1"):
        reconstruction.sirt(cell[0], iterations=0)
    with pytest.raises(InputError, match="initial volume"):
        reconstruction.sirt(cell[0], iterations=1, initial=np.zeros((2, 3, 4), np.float32))
    with pytest.raises(InputError, match="filter"):
        reconstruction.fbp(cell[0], filter="boxcar")


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_threads_do_not_change_a_bit(threads):
    one, _ = make_data((7, 21, 33), (21, 33), azimuths=(0.0, 30.0), noise=0.2, threads=1)
    some, _ = make_data((7, 21, 33), (21, 33), azimuths=(0.0, 30.0), noise=0.2, threads=threads)
    np.testing.assert_array_equal(reconstruction.fbp(one), reconstruction.fbp(some))
    np.testing.assert_array_equal(reconstruction.sirt(one, iterations=3), reconstruction.sirt(some, iterations=3))
    views = one.projector.all_views
    volume = reconstruction.sirt(one, iterations=1)
    np.testing.assert_array_equal(one.ncc(volume, views), some.ncc(volume, views))


def test_ncc_is_the_correlation_over_the_used_pixels(cell):
    data, _ = cell
    views = data.projector.all_views
    volume = reconstruction.sirt(data, iterations=3)
    sums = data.projector.shear_sum(volume, views, data.projector.zeros_images(len(views)))
    expected = [np.corrcoef(p[r > 0], s[r > 0])[0, 1]
                for p, s, r in zip(data.images, sums, data.row_weights, strict=True)]
    np.testing.assert_allclose(data.ncc(volume, views), expected, atol=1e-4)


def test_fbp_recovers_amplitude_and_place():
    """Many views of a full range: the density of a ball comes back, where it is."""
    tilts = np.arange(-75, 76, 0.75)
    series = [geometry.tilt_series(tilts, (96, 96), stack=i, azimuth=a) for i, a in enumerate((0.0, 90.0))]
    views = geometry.joined(series)
    ball = simulation.Phantom(np.array([[3.0, -5.0, 1.0]]), np.eye(3)[None] / 25.0, np.array([2.0]))
    data = TiltData(Projector(views, (20, 96, 96)))
    for view, view_map in enumerate(views.maps):
        data.set_view(view, ball.project(view_map, (96, 96)))
    volume = reconstruction.fbp(data, filter="ramp")
    z, y, x = np.indices(volume.shape)
    inside = (x - 48 - 3) ** 2 + (y - 48 + 5) ** 2 + (z - 10 - 1) ** 2 <= 9
    assert volume[inside].mean() == pytest.approx(2.0, rel=0.1)
    weight = np.clip(volume, 0.5, None) - 0.5
    centre = [float((axis * weight).sum() / weight.sum()) for axis in (x, y, z)]
    np.testing.assert_allclose(centre, [51, 43, 11], atol=0.1)


@pytest.mark.parametrize("method", ["cgls", "os_sirt"])
def test_relatives_reach_what_sirt_reaches(cell, method):
    data, truth = cell
    views = data.projector.all_views
    sirt = data.ncc(reconstruction.sirt(data, iterations=60), views).mean()
    if method == "cgls":
        volume = reconstruction.cgls(data, iterations=10)
    else:
        subsets = partition.round_robin(data.projector.geometry.stacks, data.projector.geometry.tilts, 6)
        volume = reconstruction.os_sirt(data, subsets, iterations=10)
    assert data.ncc(volume, views).mean() > sirt - 0.005
    assert np.corrcoef(volume.ravel(), truth.ravel())[0, 1] > 0.7


def test_cgls_far_past_convergence_stays_there():
    """Two views are explained exactly; two hundred iterations later they still are."""
    data, _ = make_data((9, 48, 48), (48, 48), tilts=np.array([-20.0, 20.0]))
    volume = reconstruction.cgls(data, iterations=200)
    assert data.ncc(volume, data.projector.all_views).min() > 0.999
    assert np.abs(volume).max() < 20
    one, _ = make_data((1, 1, 1), (1, 1), tilts=np.array([0.0]))
    assert np.isfinite(reconstruction.cgls(one, iterations=5)).all()


def test_cgls_minimises_the_weighted_residual(small):
    """Its residual is the least of all volumes in the Krylov space: never above SIRT's after as many steps."""
    residuals = {"cgls": [], "sirt": []}
    reconstruction.cgls(small, iterations=6, on_iteration=lambda _, __, fit: residuals["cgls"].append(
        fit.weighted_residual))
    reconstruction.sirt(small, iterations=7, relaxation=1.0, on_iteration=lambda _, __, fit: residuals["sirt"].append(
        fit.weighted_residual))
    # SIRT reports the residual before a step, CGLS after it.
    assert np.all(np.array(residuals["cgls"]) <= np.array(residuals["sirt"][1:]) * (1 + 1e-4))
    volume = reconstruction.cgls(small, iterations=6)
    found = small.back_project_residual(volume, small.projector.all_views, as_volume(np.zeros(volume.shape)))
    assert found == pytest.approx(residuals["cgls"][-1], rel=1e-2, abs=1e-3 * float(residuals["cgls"][0]))


def test_direct_combine_is_the_mean_of_lone_reconstructions(cell):
    data = cell[0]
    subsets = partition.adjacent(data.projector.geometry.stacks, data.projector.geometry.tilts, 4, 1)
    combined = reconstruction.direct_combine(data, subsets, iterations=5)
    alone = [reconstruction.sirt(data, iterations=5, views=views) for views in subsets.subsets]
    np.testing.assert_allclose(combined, np.mean(alone, axis=0), atol=1e-5)


def test_pixels_under_a_mask_do_not_count():
    data, _ = make_data((6, 20, 20), (20, 20))
    spoiled = TiltData(data.projector)
    clean = TiltData(data.projector)
    rng = np.random.default_rng(3)
    mask = np.ones((20, 20), np.float32)
    mask[6:9, 11:15] = 0
    for view in range(len(data.projector)):
        image = rng.standard_normal((20, 20)).astype(np.float32)
        clean.set_view(view, image, mask)
        spoiled.set_view(view, np.where(mask > 0, image, 1e3).astype(np.float32), mask)
    np.testing.assert_array_equal(reconstruction.sirt(clean, iterations=4), reconstruction.sirt(spoiled, iterations=4))


class TwoRanks:
    """A context of two ranks run one after the other: what each would add is summed by hand."""

    size = 2

    def __init__(self, rank, parts):
        self.rank, self.parts = rank, parts

    def share(self, items):
        return items[self.rank :: 2]

    def sum(self, array):
        self.parts.append(array.copy())
        return array


def test_ranks_share_views_and_sum_updates(cell):
    """The back-projected residuals of two ranks add up to the serial one's: nothing is counted twice or left out."""
    data, _ = cell
    volume = reconstruction.sirt(data, iterations=2)
    views = data.projector.all_views
    serial, share = np.zeros_like(volume), as_volume(np.zeros(volume.shape))
    whole = reconstruction.back_project_residual(data, volume, views, share, reconstruction.Serial())
    serial[...] = share
    parts = []
    for rank in (0, 1):
        reconstruction.back_project_residual(data, volume, views, share, TwoRanks(rank, parts))
    np.testing.assert_allclose(parts[0] + parts[2], serial, atol=1e-5 * np.abs(serial).max())
    assert parts[1] + parts[3] == pytest.approx(whole, rel=1e-9)
