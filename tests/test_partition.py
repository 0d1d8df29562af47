"""Partitions of views into subsets, and the views that are kept out of a fit."""

import numpy as np
import pytest

from concordet.errors import InputError
from concordet.partition import (
    GROUPINGS,
    ViewPartition,
    adjacent,
    default_subset_count,
    held_out_views,
    round_robin,
)


def experiment(*sizes, shuffled=None):
    """(axes, tilts) of series with these numbers of views, -60 to 60 degrees each."""
    axes = np.repeat(np.arange(len(sizes)), sizes)
    tilts = np.concatenate([np.linspace(-60, 60, n) if n > 1 else np.zeros(1) for n in sizes])
    if shuffled is not None:
        order = shuffled.permutation(len(axes))
        axes, tilts = axes[order], tilts[order]
    return axes, tilts


def sizes_of(partition):
    return [len(views) for views in partition.subsets]


def assert_covers(partition, views):
    """Every view is in a subset, none twice in one, and nothing else is."""
    assert (partition.multiplicity(views) >= 1).all()
    for subset in partition.subsets:
        assert subset.dtype == np.int64 and len(np.unique(subset)) == len(subset) >= 1
        assert subset.min() >= 0 and subset.max() < views


def test_the_paper_experiment():
    """4 axes of 121 views in 32 subsets, overlap 2: the paper's largest subset has 18 views [Wang et al., 3.2]."""
    axes, tilts = experiment(121, 121, 121, 121)
    partition = adjacent(axes, tilts, 32, overlap=2)
    assert len(partition) == 32 and max(sizes_of(partition)) == 18
    without = adjacent(axes, tilts, 32, overlap=0)
    assert max(sizes_of(without)) == 16 and sum(sizes_of(without)) == 484
    assert sum(sizes_of(partition)) == 484 + 32 * 2
    assert_covers(partition, 484)
    assert np.isin(partition.multiplicity(484), (1, 2)).all()
    for i, subset in enumerate(partition.subsets):
        assert set(axes[subset]) == {i // 8}


def test_each_subset_takes_from_the_next_and_the_last_from_the_one_before():
    axes, tilts = np.zeros(12, int), np.arange(12.0)
    assert [s.tolist() for s in adjacent(axes, tilts, 3, overlap=2).subsets] == [
        [0, 1, 2, 3, 4, 5], [4, 5, 6, 7, 8, 9], [6, 7, 8, 9, 10, 11]]
    assert [s.tolist() for s in adjacent(axes, tilts, 3, overlap=0).subsets] == [
        [0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_neighbours_are_neighbours_in_angle_whatever_their_order(rng):
    axes, tilts = experiment(31, 17, 40, shuffled=rng)
    for subset in adjacent(axes, tilts, 9, overlap=0).subsets:
        assert len(set(axes[subset])) == 1
        same_axis = np.flatnonzero(axes == axes[subset[0]])
        low, high = tilts[subset].min(), tilts[subset].max()
        between = same_axis[(tilts[same_axis] >= low) & (tilts[same_axis] <= high)]
        assert sorted(between) == sorted(subset)


def test_subsets_are_spread_over_axes_in_proportion_to_views():
    axes, tilts = experiment(90, 30, 60)
    per_axis = np.bincount([axes[subset[0]] for subset in adjacent(axes, tilts, 18, overlap=0).subsets])
    assert per_axis.tolist() == [9, 3, 6]
    # However few its views, an axis has one subset; however many are asked for, none is empty.
    axes, tilts = experiment(100, 1, 2)
    assert sizes_of(adjacent(axes, tilts, 3, overlap=0)) == [100, 1, 2]
    assert sizes_of(adjacent(axes, tilts, 103, overlap=0)) == [1] * 103


def test_overlap_stays_on_the_axis():
    axes, tilts = experiment(10, 10)
    for subset in adjacent(axes, tilts, 4, overlap=3).subsets:
        assert len(set(axes[subset])) == 1
    # With one subset per axis there is no neighbour to take from.
    assert sizes_of(adjacent(axes, tilts, 2, overlap=3)) == [10, 10]


def test_an_overlap_larger_than_the_neighbour_takes_all_of_it():
    partition = adjacent(np.zeros(6, int), np.arange(6.0), 3, overlap=5)
    assert [s.tolist() for s in partition.subsets] == [[0, 1, 2, 3], [2, 3, 4, 5], [2, 3, 4, 5]]


def test_fewer_subsets_than_axes_join_neighbours_with_a_warning():
    axes, tilts = experiment(5, 6, 7, 8)
    with pytest.warns(UserWarning, match="3 subsets for 4 axes: neighbouring axes share a subset"):
        partition = adjacent(axes, tilts, 3, overlap=2)
    assert_covers(partition, 26)
    assert [sorted(set(axes[subset])) for subset in partition.subsets] == [[0, 1], [2], [3]]
    with pytest.warns(UserWarning):
        one = adjacent(axes, tilts, 1)
    assert sorted(one.subsets[0]) == list(range(26))


def test_axes_may_have_any_numbers():
    axes, tilts = experiment(8, 8)
    named = adjacent(np.array([7, 3])[axes], tilts, 4)
    assert_covers(named, 16)
    assert {frozenset(s) for s in map(tuple, named.subsets)} == {
        frozenset(s) for s in map(tuple, adjacent(axes, tilts, 4).subsets)}


def test_round_robin_deals_in_turn():
    axes, tilts = experiment(7, 5)
    partition = round_robin(axes, tilts, 3)
    assert [s.tolist() for s in partition.subsets] == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
    overlapped = round_robin(axes, tilts, 3, overlap=1)
    assert [s[-1] for s in overlapped.subsets] == [1, 2, 0]
    assert sizes_of(overlapped) == [5, 5, 5]


def test_round_robin_shows_every_axis_at_all_angles_to_all(rng):
    axes, tilts = experiment(40, 40, 40, shuffled=rng)
    for subset in round_robin(axes, tilts, 8).subsets:
        for axis in range(3):
            seen = np.sort(tilts[subset][axes[subset] == axis])
            assert len(seen) == 5 and np.diff(seen).max() < 26 and seen[0] < -34 and seen[-1] > 34


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_one_subset_is_everything_and_as_many_as_views_one_each(grouping):
    axes, tilts = experiment(6, 9)
    policy = GROUPINGS[grouping]
    if grouping == "adjacent":
        with pytest.warns(UserWarning):
            everything = policy(axes, tilts, 1, overlap=2)
    else:
        everything = policy(axes, tilts, 1, overlap=2)
    assert len(everything) == 1 and sorted(everything.subsets[0]) == list(range(15))
    singles = policy(axes, tilts, 15, overlap=0)
    assert sizes_of(singles) == [1] * 15 and (singles.multiplicity(15) == 1).all()
    assert_covers(policy(axes, tilts, 15, overlap=1), 15)


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_every_partition_covers_and_is_even(grouping, rng):
    for trial in range(150):
        sizes = rng.integers(1, 30, rng.integers(1, 6))
        axes, tilts = experiment(*sizes, shuffled=rng)
        count, overlap = int(rng.integers(len(sizes), len(axes) + 1)), int(rng.integers(0, 4))
        partition = GROUPINGS[grouping](axes, tilts, count, overlap)
        case = f"trial {trial}: sizes {sizes}, {count} subsets, overlap {overlap}"
        assert len(partition) == count, case
        assert_covers(partition, len(axes))
        plain = GROUPINGS[grouping](axes, tilts, count, 0)
        assert (plain.multiplicity(len(axes)) == 1).all(), case
        for own, bare in zip(partition.subsets, plain.subsets, strict=True):
            assert set(bare) <= set(own) and len(own) - len(bare) <= overlap, case
        if grouping == "round-robin":
            assert np.ptp(sizes_of(plain)) <= 1, case
        else:
            for axis in range(len(sizes)):
                own = [len(s) for s in plain.subsets if axes[s[0]] == axis]
                assert len(own) >= 1 and np.ptp(own) <= 1, case


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_counts_out_of_range_are_refused(grouping):
    axes, tilts = experiment(6, 6)
    for count in (0, -1, 13):
        with pytest.raises(InputError, match=rf"subsets: expected 1 to 12 \(the number of views\), got {count}"):
            GROUPINGS[grouping](axes, tilts, count)
    with pytest.raises(InputError, match="overlap: expected 0 or more views, got -1"):
        GROUPINGS[grouping](axes, tilts, 3, overlap=-1)


def test_default_number_of_subsets_has_about_15_views_each():
    assert [default_subset_count(n) for n in (1, 7, 15, 41, 61, 484)] == [1, 1, 1, 3, 4, 32]


def test_multiplicity_counts_subsets_of_each_view():
    partition = ViewPartition((np.array([0, 2]), np.array([2, 3])))
    assert partition.multiplicity(6).tolist() == [1, 0, 2, 1, 0, 0]


def test_held_out_views_are_one_in_ten_evenly():
    axes, tilts = experiment(41)
    held = held_out_views(axes, tilts, 0.1)
    assert np.flatnonzero(held).tolist() == [5, 15, 25, 35]
    assert not held_out_views(axes, tilts, 0).any()


def test_held_out_views_leave_the_ends_of_every_axis(rng):
    for _ in range(200):
        sizes = rng.integers(3, 70, rng.integers(1, 4))
        axes, tilts = experiment(*sizes, shuffled=rng)
        fraction = rng.uniform(0.01, 0.5)
        held = held_out_views(axes, tilts, fraction)
        for axis, size in enumerate(sizes):
            of_axis = np.flatnonzero(axes == axis)
            ranks = np.flatnonzero(held[of_axis[np.argsort(tilts[of_axis])]])
            assert len(ranks) == min(max(1, round(fraction * size)), size - 2)
            assert ranks[0] >= 1 and ranks[-1] <= size - 2
            gaps = np.diff([-1, *ranks, size])
            assert gaps.max() <= 2 * size / len(ranks) + 1        # half a run each side of a boundary, rounded


@pytest.mark.parametrize("size", range(3, 25))
def test_half_of_the_views_is_the_most_that_is_held_out(size):
    held = np.flatnonzero(held_out_views(*experiment(size), 0.5))
    assert len(held) == min(round(size / 2), size - 2)
    assert held[0] >= 1 and held[-1] <= size - 2


def test_hold_out_refusals():
    axes, tilts = experiment(10, 2)
    for fraction in (-0.1, 0.51, 1, np.nan):
        with pytest.raises(InputError, match="hold-out: expected a fraction of 0 to 0.5"):
            held_out_views(axes, tilts, fraction)
    with pytest.raises(InputError, match="expected at least 3 views of each axis, got 2 in stack 1"):
        held_out_views(axes, tilts, 0.1)
