"""Parts of a flow, one from each partition: the number of anchors that meet each path of event names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cdp_query.errors import QueryInvalid
from cdp_query.limits import FLOW_PATHS_MAX
from cdp_store.arrays import I64, U16


@dataclass(frozen=True, slots=True, eq=False)
class FlowPart:
    """Distinct paths, sorted: row i of `paths`, u16[n, depth], names each event (1 + its place in `names`, 0 = none).

    counts i64[n] are the anchors that meet exactly this path; `growing` of all anchors may still meet more.
    """

    names: tuple[str, ...]
    paths: U16
    counts: I64
    growing: int

    @staticmethod
    def of(names: tuple[str, ...], paths: U16, counts: I64, growing: int) -> FlowPart:
        """The part of paths that may repeat, over names in any order."""
        used = np.flatnonzero(np.bincount(paths.reshape(-1), minlength=len(names) + 1)[1:])
        kept = sorted((names[place], int(place)) for place in used)
        numbers = np.zeros(len(names) + 1, np.uint16)
        numbers[[place + 1 for _, place in kept]] = np.arange(1, len(kept) + 1)
        paths, counts = distinct_paths(numbers[paths], counts)
        if paths.shape[0] > FLOW_PATHS_MAX:
            raise QueryInvalid(
                f"the flow has {paths.shape[0]:,} different paths and at most {FLOW_PATHS_MAX:,} are counted;"
                ' take a smaller depth, or name the events that matter, as in only: ["View", "Buy"]'
            )
        return FlowPart(tuple(name for name, _ in kept), paths, counts, growing)

    def merge(self, other: FlowPart) -> FlowPart:
        """The anchors of both."""
        if not len(self) or not len(other):
            longer = self if len(self) else other
            return FlowPart(longer.names, longer.paths, longer.counts, self.growing + other.growing)
        shifted = np.where(other.paths > 0, other.paths + np.uint16(len(self.names)), np.uint16(0)).astype(np.uint16)
        names = dict.fromkeys((*self.names, *other.names))
        places = {name: number for number, name in enumerate(names, 1)}
        numbers = np.array([0, *(places[name] for name in (*self.names, *other.names))], np.uint16)
        paths = numbers[np.concatenate([self.paths, shifted])]
        counts = np.concatenate([self.counts, other.counts])
        return FlowPart.of(tuple(names), paths, counts, self.growing + other.growing)

    def __len__(self) -> int:
        return int(self.counts.shape[0])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, FlowPart)
            and (self.names, self.growing) == (other.names, other.growing)
            and np.array_equal(self.paths, other.paths)
            and np.array_equal(self.counts, other.counts)
        )

    def __hash__(self) -> int:
        return hash((self.names, self.paths.tobytes(), self.counts.tobytes(), self.growing))


def distinct_paths(paths: U16, counts: I64) -> tuple[U16, I64]:
    """(different rows of a u16[n, depth] in ascending order, the sum of their counts i64)."""
    order: I64 = np.lexsort(paths.T[::-1]).astype(np.int64)
    paths = paths[order]
    is_first = np.ones(order.shape[0], np.bool_)
    is_first[1:] = (paths[1:] != paths[:-1]).any(axis=1)
    starts = np.flatnonzero(is_first)
    sums: I64 = np.add.reduceat(counts[order], starts) if starts.size else counts
    return paths[starts], sums
