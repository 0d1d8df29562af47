import numpy as np
import pytest

from concordet import consensus, methods, partition, reconstruction
from concordet.errors import InputError
from reference import reconstruction as reference


def subsets_of(data, count, overlap=1, policy=partition.adjacent):
    return policy(data.projector.geometry.stacks, data.projector.geometry.tilts, count, overlap)


@pytest.mark.parametrize(("inner", "policy"), [(4, partition.adjacent), (1, partition.round_robin)])
def test_dm_sirt_is_algorithm_1(small, rng, inner, policy):
    problem = reference.DenseProblem(small)
    subsets = subsets_of(small, 3, policy=policy)
    start = rng.standard_normal(small.projector.volume_shape).astype(np.float32)
    steps = np.array([0.3, 0.9, 0.5])
    fast = consensus.dm_sirt(small, subsets, outer=4, inner=inner, relaxation=steps, rho=0.4, initial=start)
    slow = reference.dm_sirt(problem, subsets.subsets, start.ravel().astype(float), 4, inner, steps, 0.4)
    np.testing.assert_allclose(fast.ravel(), slow, atol=5e-5 * np.abs(slow).max())


def test_one_agent_at_rho_one_half_is_sirt(cell):
    """With N = 1 the state is the mean: z = w and w <- rho (2 v - w) + (1 - rho) w = v at rho = 1/2."""
    data = cell[0]
    alone = consensus.dm_sirt(data, subsets_of(data, 1, 0, partition.round_robin), outer=3, inner=4, relaxation=0.3)
    full = reconstruction.sirt(data, iterations=12, relaxation=0.3)
    np.testing.assert_allclose(alone, full, atol=1e-5 * np.abs(full).max())


def test_consensus_comes_close_to_full_sirt_where_direct_combination_does_not(cell):
    data, truth = cell
    subsets = subsets_of(data, 6)

    def correlation(volume):
        return np.corrcoef(volume.ravel(), truth.ravel())[0, 1]

    full = correlation(reconstruction.sirt(data, iterations=100))
    assert correlation(consensus.dm_sirt(data, subsets)) > full - 0.02
    assert correlation(reconstruction.direct_combine(data, subsets, iterations=100)) < full - 0.05


def test_agents_on_round_robin_subsets_with_one_step_each(cell):
    data, truth = cell
    volume = consensus.dm_sirt(data, subsets_of(data, 6, 0, partition.round_robin), outer=25, inner=1, relaxation=1.0)
    full = reconstruction.sirt(data, iterations=100)
    correlations = [np.corrcoef(v.ravel(), truth.ravel())[0, 1] for v in (volume, full)]
    assert correlations[0] > correlations[1] - 0.02


def test_changes_of_the_mean_die_out(cell):
    changes = []
    consensus.dm_sirt(cell[0], subsets_of(cell[0], 6), outer=12, inner=5,
                      on_iteration=lambda _, __, fit: changes.append(fit.relative_change))
    assert len(changes) == 12
    assert changes[-1] < 0.05 < changes[1]


def test_tolerance_and_callbacks_end_it(cell):
    turns, changes = [], []
    consensus.dm_sirt(cell[0], subsets_of(cell[0], 3), outer=50, inner=2, tolerance=0.1, on_agent=turns.append,
                      on_iteration=lambda _, __, fit: changes.append(fit.relative_change))
    assert len(changes) < 50 and changes[-1] < 0.1
    assert turns == list(range(1, 3 * len(changes) + 1))


def test_positivity(cell):
    assert consensus.dm_sirt(cell[0], subsets_of(cell[0], 3), outer=2, inner=3, positivity=True).min() == 0


@pytest.mark.parametrize("rho", [0, 1, -0.5, 1.5])
def test_rho_out_of_range_is_refused(cell, rho):
    with pytest.raises(InputError, match="0 < rho < 1"):
        consensus.dm_sirt(cell[0], subsets_of(cell[0], 2), rho=rho)


@pytest.mark.parametrize("relaxation", [1.01, 1.9, 0, -0.1])
def test_agents_steps_out_of_range_are_refused(cell, relaxation):
    with pytest.raises(InputError, match=r"alpha_i <= 1 / L_i = 1"):
        consensus.dm_sirt(cell[0], subsets_of(cell[0], 2), relaxation=relaxation)
    with pytest.raises(InputError, match=r"alpha_i <= 1 / L_i = 1"):
        methods.Options(method="dm-sirt", relaxation=relaxation)


def test_a_step_above_the_bound_does_oscillate(cell):
    """Why it is refused: the same iteration with alpha L = 1.9 moves on and on."""
    data = cell[0]
    subsets = subsets_of(data, 6)
    last = {}
    for relaxation in (0.9, 1.9):
        changes = []
        allowed, consensus.LARGEST_EIGENVALUE = consensus.LARGEST_EIGENVALUE, 0.5
        try:
            consensus.dm_sirt(data, subsets, outer=12, inner=1, relaxation=relaxation,
                              on_iteration=lambda _, __, fit, seen=changes: seen.append(fit.relative_change))
        finally:
            consensus.LARGEST_EIGENVALUE = allowed
        last[relaxation] = changes[-1]
    assert last[1.9] > 2 * last[0.9]
