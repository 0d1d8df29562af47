"""Subsets of views: what each agent of a distributed reconstruction sees, and policies that decide it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from concordet.errors import InputError

# Views per subset where the user names no number of subsets (design figure: about 15).
VIEWS_PER_SUBSET = 15


@dataclass(frozen=True)
class ViewPartition:
    """Which views each agent sees; a view may belong to several subsets, and every view belongs to one at least.

    subsets       one int64 array of view indices per agent
    """

    subsets: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.subsets)

    def multiplicity(self, views: int) -> np.ndarray:
        """(views,) how many subsets hold each view."""
        return np.bincount(np.concatenate(self.subsets), minlength=views)


def default_subset_count(views: int) -> int:
    """Subsets of about `VIEWS_PER_SUBSET` views each; at least 1."""
    return max(1, round(views / VIEWS_PER_SUBSET))


def _check(subset_count: int, overlap: int, views: int) -> None:
    if not 1 <= subset_count <= views:
        raise InputError(f"subsets: expected 1 to {views} (the number of views), got {subset_count}")
    if overlap < 0:
        raise InputError(f"overlap: expected 0 or more views, got {overlap}")


def _spread(subset_count: int, sizes: np.ndarray) -> np.ndarray:
    """`subset_count` subsets over groups in proportion to their sizes, at least one each and never more than views."""
    counts = np.ones(len(sizes), int)
    for _ in range(subset_count - len(sizes)):
        # The next subset goes where subsets are largest.
        room = np.where(counts < sizes, sizes / counts, -1.0)
        counts[np.argmax(room)] += 1
    return counts


def adjacent(axes: np.ndarray, tilts: np.ndarray, subset_count: int, overlap: int = 2) -> ViewPartition:
    """Views of one axis at neighbouring angles together [Wang et al., section 3.2].

    axes, tilts   (views,) the axis of each view, its tilt in degrees
    subset_count  1 to the number of views, spread over axes in proportion to their views
    overlap       views that each subset takes from the next of its axis; the last takes from the one before

    Fewer subsets than axes join neighbouring axes, with a warning. InputError for counts out of range.
    """
    _check(subset_count, overlap, len(tilts))
    names = np.unique(axes)
    groups = [np.flatnonzero(axes == name) for name in names]
    if subset_count < len(groups):
        warnings.warn(f"{subset_count} subsets for {len(groups)} axes: neighbouring axes share a subset",
                      stacklevel=2)
        joined = np.array_split(np.arange(len(groups)), subset_count)
        groups = [np.concatenate([groups[axis] for axis in run]) for run in joined]
    subsets = []
    for group, count in zip(groups, _spread(subset_count, np.array([len(g) for g in groups])), strict=True):
        ordered = group[np.lexsort((tilts[group], axes[group]))]
        runs = np.array_split(ordered, count)
        for i, run in enumerate(runs):
            if i + 1 < count:
                run = np.concatenate([run, runs[i + 1][:overlap]])
            elif count > 1 and overlap:
                run = np.concatenate([runs[i - 1][-overlap:], run])
            subsets.append(run.astype(np.int64))
    return ViewPartition(tuple(subsets))


def round_robin(axes: np.ndarray, tilts: np.ndarray, subset_count: int, overlap: int = 0) -> ViewPartition:
    """Views dealt in turn, ordered by axis and angle: every subset sees every axis at all angles.

    overlap       views that each subset takes from the next one's start (the last takes from the first)
    """
    _check(subset_count, overlap, len(tilts))
    ordered = np.lexsort((tilts, axes)).astype(np.int64)
    hands = [ordered[i::subset_count] for i in range(subset_count)]
    if subset_count == 1:
        return ViewPartition((hands[0],))
    return ViewPartition(tuple(
        np.concatenate([hand, hands[(i + 1) % subset_count][:overlap]]) for i, hand in enumerate(hands)))


GROUPINGS = {"adjacent": adjacent, "round-robin": round_robin}


def held_out_views(axes: np.ndarray, tilts: np.ndarray, fraction: float) -> np.ndarray:
    """(views,) bool: about `fraction` of each axis' views, evenly over its angles, never its first or last.

    fraction  0 to 0.5; InputError outside, or where an axis has too few views to keep one out
    """
    if not 0 <= fraction <= 0.5:
        raise InputError(f"hold-out: expected a fraction of 0 to 0.5 of the views, got {fraction}")
    held = np.zeros(len(tilts), bool)
    if fraction == 0:
        return held
    for name in np.unique(axes):
        ordered = np.flatnonzero(axes == name)
        ordered = ordered[np.argsort(tilts[ordered], kind="stable")]
        if len(ordered) < 3:
            raise InputError(f"hold-out: expected at least 3 views of each axis, got {len(ordered)} in stack {name}")
        count = min(max(1, round(fraction * len(ordered))), len(ordered) - 2)
        # The centres of `count` equal runs of the views; runs of two or fewer have theirs at the first or last view.
        centres = ((np.arange(count) + 0.5) * len(ordered) / count).astype(int)
        held[ordered[np.clip(centres, 1, len(ordered) - 2)]] = True
    return held
