"""How well classes were told apart, under the best matching of their labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from concordet.errors import InputError

# The assignment takes K^3 steps of Python.
MOST_CLASSES = 200


@dataclass(frozen=True)
class ClassMatch:
    """Classes found against classes true.

    true_labels, labels     (T,), (E,) as given, ascending
    confusion               (T, E) particles of each true class found in each class
    matched                 (T,) the column that stands for each true class, -1: none
    precision, recall, f1   (T,); 0 for a class that nothing stands for
    accuracy                part of all particles found in the class of their own
    """

    true_labels: np.ndarray
    labels: np.ndarray
    confusion: np.ndarray
    matched: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    accuracy: float

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the true classes."""
        return float(self.f1.mean())


def match_classes(found: np.ndarray, truth: np.ndarray) -> ClassMatch:
    """Precision, recall and F1 under the one-to-one matching of labels whose F1 sums to the most.

    found, truth   (n,) whole numbers, particle by particle
    """
    found, truth = np.asarray(found), np.asarray(truth)
    if found.shape != truth.shape or found.ndim != 1 or not found.size:
        raise InputError(f"classes: expected two lists of one length, got {found.shape} and {truth.shape}")
    labels, column = np.unique(found, return_inverse=True)
    true_labels, row = np.unique(truth, return_inverse=True)
    if max(len(labels), len(true_labels)) > MOST_CLASSES:
        raise InputError(f"classes: expected at most {MOST_CLASSES}, got {max(len(labels), len(true_labels))}")
    confusion = np.zeros((len(true_labels), len(labels)), np.int64)
    np.add.at(confusion, (row, column), 1)
    of_truth, of_found = confusion.sum(axis=1), confusion.sum(axis=0)
    matched = assignment(2 * confusion / (of_truth[:, None] + of_found))
    hits = np.where(matched >= 0, np.take_along_axis(confusion, np.maximum(matched, 0)[:, None], axis=1)[:, 0], 0)
    sizes = np.where(matched >= 0, of_found[matched], 1)
    precision, recall = hits / sizes, hits / of_truth
    f1 = np.divide(2 * precision * recall, precision + recall, out=np.zeros(len(hits)), where=hits > 0)
    return ClassMatch(true_labels, labels, confusion, matched, precision, recall, f1, float(hits.sum() / len(found)))


def assignment(gain: np.ndarray) -> np.ndarray:
    """(rows,) column of each row, each column once, of the largest sum of `gain`; -1 where columns are too few.

    The Hungarian method with potentials: rows join one by one along the cheapest augmenting path
    [Kuhn, Nav. Res. Logist. Q. 2, 83, 1955].
    """
    rows, columns = gain.shape
    if rows > columns:
        of_column = assignment(gain.T)
        chosen = np.full(rows, -1)
        chosen[of_column] = np.arange(columns)
        return chosen
    cost = gain.max() - gain
    row_potential, column_potential = np.zeros(rows), np.zeros(columns + 1)
    owner = np.full(columns + 1, -1)          # the last column is where each new row stands at first
    for row in range(rows):
        owner[columns] = row
        column = columns
        distance, before = np.full(columns, np.inf), np.full(columns, columns)
        done = np.zeros(columns + 1, bool)
        while owner[column] >= 0:
            done[column] = True
            free = np.flatnonzero(~done[:columns])
            here = owner[column]
            reach = cost[here, free] - row_potential[here] - column_potential[free]
            closer = reach < distance[free]
            distance[free[closer]], before[free[closer]] = reach[closer], column
            following = free[np.argmin(distance[free])]
            step = distance[following]
            row_potential[owner[done]] += step
            column_potential[done] -= step
            distance[free] -= step
            column = following
        while column != columns:
            owner[column] = owner[before[column]]
            column = before[column]
    chosen = np.full(rows, -1)
    taken = owner[:columns] >= 0
    chosen[owner[:columns][taken]] = np.flatnonzero(taken)
    return chosen
