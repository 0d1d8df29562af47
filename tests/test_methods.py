import numpy as np
import pytest

from concordet import methods, partition
from concordet.errors import InputError
from specimens import make_data


@pytest.fixture(scope="module")
def cell():
    return make_data((16, 40, 41), (40, 41), azimuths=(0.0, 90.0), tilts=np.arange(-60, 61, 6.0), noise=2.0)


@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_every_method_is_judged_by_views_it_never_saw(cell, method):
    data, truth = cell
    judged = []
    options = methods.Options(method=method, subsets=4, iterations=20, inner=4)
    outcome = methods.reconstruct(data, options, hold_out=0.1, judge=lambda volume, views: judged.append(views))
    assert len(outcome.held_out) == 4 and len(judged) == 1
    np.testing.assert_array_equal(judged[0], outcome.held_out)
    assert np.all(np.abs(outcome.held_out_ncc) <= 1)
    assert np.corrcoef(outcome.volume.ravel(), truth.ravel())[0, 1] > 0.3


def test_iterations_stop_where_held_out_views_are_predicted_best(cell):
    data, _ = cell
    options = methods.Options(method="sirt", iterations=200, relaxation=1.9)
    outcome = methods.reconstruct(data, options, hold_out=0.1)
    curve = outcome.judged.ncc_held_out
    assert outcome.iterations == int(np.argmax(curve)) + 1 < 200
    assert len(curve) == outcome.iterations + methods.PATIENCE
    assert outcome.held_out_ncc.mean() == pytest.approx(max(curve), abs=1e-6)
    assert len(outcome.trace.relative_change) == outcome.iterations


@pytest.mark.parametrize("method", ["fbp", "direct-combine"])
def test_held_out_views_do_not_enter_the_judged_volume(cell, method):
    """Spoiling them changes nothing, where they do not choose the iteration either."""
    data, _ = cell
    volumes = []
    options = methods.Options(method=method, iterations=3, subsets=4)
    views = data.projector.geometry
    held = partition.held_out_views(views.stacks, views.tilts, 0.1)
    for factor in (1.0, -5.0):
        data.images[held] *= factor
        methods.reconstruct(data, options, hold_out=0.1, judge=lambda volume, _: volumes.append(volume.copy()))
        data.images[held] /= factor
    np.testing.assert_array_equal(volumes[0], volumes[1])


def test_iterations_of_dm_sirt_are_inner_times_outer():
    assert methods.Options(method="dm-sirt", iterations=45, inner=10).steps == 5
    assert methods.Options(method="dm-sirt", outer=3).steps == 3
    assert methods.Options(method="dm-sirt").steps == 10


@pytest.mark.parametrize(("wrong", "said"), [
    ({"method": "art"}, "method: expected one of"),
    ({"grouping": "random"}, "grouping: expected one of"),
    ({"iterations": 0}, "iterations: expected at least 1"),
    ({"inner": 0}, "inner: expected at least 1"),
    ({"tolerance": -1}, "tolerance: expected 0 or more"),
    ({"method": "sirt", "relaxation": 2.0}, "0 < lambda < 2"),
    ({"method": "fbp", "filter": "round"}, "filter: expected one of"),
])
def test_bad_options_are_refused(wrong, said):
    with pytest.raises(InputError, match=said):
        methods.Options(**wrong)


@pytest.mark.parametrize("subsets", [0, 43, -1])
def test_more_subsets_than_views_are_refused(cell, subsets):
    with pytest.raises(InputError, match="subsets: expected 1 to 42"):
        methods.reconstruct(cell[0], methods.Options(subsets=subsets))
