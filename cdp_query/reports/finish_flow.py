"""A merged flow to the nodes its answer shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cdp_query.limits import FLOW_NODES_SHOWN_MAX
from cdp_query.reports.flow_part import FlowPart
from cdp_store.arrays import I64


@dataclass(frozen=True, slots=True)
class FlowNode:
    """Anchors whose path begins with these names; `ended` meet nothing more, `other` go on to nodes not shown."""

    path: tuple[str, ...]
    count: int
    ended: int
    other: int


@dataclass(frozen=True, slots=True)
class _Level:
    """The nodes of one length, i64[n] each: the first of their paths, their anchors, and those that end there."""

    starts: I64
    counts: I64
    ended: I64


def flow_nodes(part: FlowPart, shown_max: int = FLOW_NODES_SHOWN_MAX) -> tuple[list[FlowNode], int]:
    """(the most frequent nodes, each after its parent and larger ones first; the number of all nodes).

    The first node is that of all anchors. A node is never more frequent than its parent, so that the nodes shown form
    one tree.
    """
    levels = [_level(part, length) for length in range(part.paths.shape[1] + 1)] if len(part) else []
    lengths = np.repeat(np.arange(len(levels)), [level.starts.shape[0] for level in levels])
    starts, counts, ended = (
        np.concatenate([np.zeros(0, np.int64), *(getattr(level, name) for level in levels)])
        for name in ("starts", "counts", "ended")
    )
    shown = np.lexsort((starts, lengths, -counts))[:shown_max]
    paths = [tuple(part.paths[starts[node], : lengths[node]].tolist()) for node in shown]
    found = {path: (int(counts[node]), int(ended[node])) for path, node in zip(paths, shown, strict=True)}
    return _nodes(part, found), int(counts.shape[0])


def _level(part: FlowPart, length: int) -> _Level:
    """Paths are sorted, so that those that begin alike stand together, the one that ends there first."""
    paths, rows = part.paths, np.flatnonzero(part.paths[:, length - 1]) if length else np.arange(len(part))
    begins = paths[rows, :length]
    is_first = np.ones(rows.shape[0], np.bool_)
    is_first[1:] = (begins[1:] != begins[:-1]).any(axis=1)
    starts = rows[is_first]
    counts = np.add.reduceat(part.counts[rows], np.flatnonzero(is_first)) if rows.size else np.zeros(0, np.int64)
    has_next = paths[starts, length] > 0 if length < paths.shape[1] else np.ones(starts.shape[0], np.bool_)
    return _Level(starts, counts, np.where(has_next, 0, part.counts[starts]))


def _nodes(part: FlowPart, found: Mapping[tuple[int, ...], tuple[int, int]]) -> list[FlowNode]:
    continued = dict.fromkeys(found, 0)
    for path, (count, _) in found.items():
        if path:
            continued[path[:-1]] += count
    rank = {path: place for place, path in enumerate(found)}
    in_order = sorted(found, key=lambda path: [rank[path[:length]] for length in range(1, len(path) + 1)])
    return [
        FlowNode(
            tuple(part.names[number - 1] for number in path),
            count,
            ended,
            count - ended - continued[path] if len(path) < part.paths.shape[1] else 0,
        )
        for path in in_order
        for count, ended in (found[path],)
    ]
