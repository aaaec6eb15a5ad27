"""The numbers of an aggregate: the events of a chunk that have one, their rows, and the values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cdp_query.bind.bound_counts import BoundAggregate
from cdp_query.scan.scan import Scanned, scan
from cdp_query.stats import NodeStats
from cdp_store.arrays import F64, I64, U32, AnyArray
from cdp_store.columns.column import EventColumn
from cdp_store.memory.view import PartitionView
from cdp_store.values import Kind

_NUMERIC = (Kind.INT, Kind.FLOAT)


@dataclass(frozen=True, slots=True)
class Terms:
    """The numeric values of one property and kind in a scanned chunk.

    `scanned.mask` includes presence; rows, integers and floats are of the chosen events, in their order.
    """

    scanned: Scanned
    column: EventColumn

    def __len__(self) -> int:
        return self.scanned.count()

    def rows(self) -> U32:
        """Row of each value."""
        return self.scanned.rows()

    def stored(self) -> AnyArray:
        """The values as the column stores them."""
        chosen = self.scanned.events()
        return self.column.values if chosen is None else self.column.values[chosen]

    def integers(self) -> I64:
        """The values of an INT column."""
        return self.stored().astype(np.int64) + self.column.base

    def floats(self) -> F64:
        """The values of a FLOAT column as the float64 that arrived."""
        if self.column.is_decimal:
            return self.integers() / (10.0**self.column.scale)
        return self.stored().astype(np.float64)


def terms(view: PartitionView, node: BoundAggregate, stats: NodeStats) -> Iterator[Terms]:
    """Everything that an aggregate is computed from, chunk by chunk."""
    for scanned in scan(view, node.events, node.interval, stats):
        for kind, column in scanned.chunk.variants(node.property):
            present = scanned.where(column.presence())
            if kind not in _NUMERIC:
                stats.type_mismatch += present.count()
                continue
            stats.bytes += column.nbytes
            if present.count():
                yield Terms(present, column)
