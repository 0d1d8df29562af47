"""Who takes part in a run. Methods are written against `Context`; `Serial` is the whole run in one process."""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np

Items = TypeVar("Items")


class Context(Protocol):
    """What a method may ask of the processes that share a run. Every call is made by every rank, in one order."""

    rank: int
    size: int

    def share(self, items: Items) -> Items:
        """The part of a sequence that this rank works on; over all ranks every one comes once."""
        ...

    def sum(self, array: np.ndarray) -> np.ndarray:
        """`array` summed over the ranks, in place; the order of the sum is fixed."""
        ...


class Serial:
    """The whole run in one process; what every parallel run is compared with."""

    rank = 0
    size = 1

    def share(self, items: Items) -> Items:
        """All of `items`, as they are."""
        return items

    def sum(self, array: np.ndarray) -> np.ndarray:
        """`array` itself: there is nothing to add."""
        return array
