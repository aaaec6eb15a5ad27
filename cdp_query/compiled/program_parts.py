"""A program while a segment is written into it: operations, leaves, filters and tests."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from cdp_query.bind import bound
from cdp_query.bind.bound_events import BoundFilter
from cdp_query.compiled.kernels.layout import ALL_OPEN, FILTER_FIELDS, LEAF_FIELDS, OPERATION_FIELDS
from cdp_query.compiled.value_tests import ValueTest
from cdp_store.arrays import I64, AnyArray


@dataclass(frozen=True, slots=True)
class Test:
    """A test of a property of events, or of an attribute; `key` is its number in the question.

    Without a key it is a test of the flags that Python makes of the leaf's own filter.
    """

    values: ValueTest
    key: int | None
    is_attribute: bool
    leaf: int


@dataclass(frozen=True, slots=True)
class Leaf:
    """Event names and a property to add up, or an attribute, as numbers of the question; `node` is a leaf's id.

    A leaf that gathers events takes unsealed ones as sorted pieces. `where` is a filter that kernels cannot test.
    """

    node: int
    names: tuple[int, ...] = ()
    property: int | None = None
    attribute: int | None = None
    is_gathered: bool = False
    where: BoundFilter | None = None


@dataclass(slots=True)
class Program:
    """Operations, leaves and filters as the kernel takes them, growing while a segment is written into it.

    `weigh` estimates the work of a part: the cheapest of a group comes first.
    """

    weigh: Callable[[bound.BoundNode], float]
    depth: int = 1
    kept_slots: dict[int, int] = field(default_factory=dict)  # by id of a part that occurs again
    operations: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    rows: list[list[int]] = field(default_factory=list)
    leaves: list[Leaf] = field(default_factory=list)
    filters: list[tuple[int, int]] = field(default_factory=list)
    filter_depth: int = 1
    tests: list[Test] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)  # ids, in the order of the counters
    kept: list[AnyArray] = field(default_factory=list)
    undecided: int = ALL_OPEN  # of the operations that follow
    steps: int = 0  # of the longest sequence; 1 if another leaf is about gathered events

    def node(self, own: int) -> int:
        """Row of the counters of a part."""
        if own not in self.nodes:
            self.nodes.append(own)
        return self.nodes.index(own)

    def do(self, operation: int, depth: int, argument: int = 0, node: int = -1) -> int:
        """Appends an operation; returns its place."""
        self.depth = max(self.depth, depth + 2)
        self.operations.append((operation, depth, argument, node, self.undecided))
        return len(self.operations) - 1

    def aim(self, place: int, argument: int) -> None:
        """Sets the argument of an operation that is there already."""
        operation, depth, _, node, undecided = self.operations[place]
        self.operations[place] = (operation, depth, argument, node, undecided)

    def arrays(self) -> tuple[I64, I64, I64]:
        """(operations, leaves, filters) as the kernel takes them."""
        return (
            _table(self.operations, OPERATION_FIELDS),
            _table(self.rows, LEAF_FIELDS),
            _table(self.filters, FILTER_FIELDS),
        )

    def portions(self, partitions: int) -> list[slice]:
        """The partitions that run together: each alone if Python makes flags of events, which take their memory."""
        at_once = 1 if any(leaf.where is not None for leaf in self.leaves) else max(partitions, 1)
        return [slice(first, first + at_once) for first in range(0, partitions, at_once)]


def _table(rows: Iterable[Iterable[int]], fields: int) -> I64:
    # Twice as fast as an array made of the rows themselves.
    table: I64 = np.frombuffer(array("q", chain.from_iterable(rows)), np.int64)
    return table.reshape(-1, fields)
