"""Attribute predicates over the dense columns, or over the history for an earlier instant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from cdp_query.bind.bound import BoundAttribute
from cdp_query.matching.decided import decisions
from cdp_query.matching.masks import Codes, column_mask
from cdp_query.scan.narrowed import asked_of
from cdp_query.stats import NodeStats
from cdp_store.arrays import I64, U8, AnyArray, Bools
from cdp_store.columns.column import EventColumn
from cdp_store.limits import MORSEL_BITS
from cdp_store.memory.view import PartitionView
from cdp_store.profiles.attributes import AttributeBlock
from cdp_store.values import Kind


@dataclass(frozen=True, slots=True)
class AttributeSpan:
    """Values of consecutive rows from `first_row`: kinds u8[n], values by kind at least n long."""

    first_row: int
    kinds: U8
    values: Mapping[Kind, AnyArray]


def spans(view: PartitionView, attribute: int | None, instant_ms: int) -> Iterator[AttributeSpan]:
    """The attribute at an instant, its values plain; rows in no span have no value."""
    for first, block in blocks(view, attribute, instant_ms):
        yield AttributeSpan(first, block.kinds(), {kind: _plain(column) for kind, column in block.columns.items()})


def blocks(view: PartitionView, attribute: int | None, instant_ms: int) -> Iterator[tuple[int, AttributeBlock]]:
    """(first row, block) of each morsel that has values of the attribute at an instant."""
    reading = None if attribute is None else view.attribute_at(attribute, instant_ms)
    for morsel, block in enumerate(() if reading is None else reading.blocks):
        if block is not None:
            yield morsel << MORSEL_BITS, block


def _plain(column: EventColumn) -> AnyArray:
    """The values that a column represents, without a copy if they are stored unchanged."""
    if column.kind is Kind.FLOAT:
        return column.floats() if column.is_decimal else column.values
    return column.integers() if column.base else column.values


def attribute_mask(view: PartitionView, node: BoundAttribute, instant_ms: int, stats: NodeStats) -> Bools:
    """Mask of the rows that satisfy the predicate: bool[row_count]."""
    mask: Bools = np.zeros(view.row_count, np.bool_)
    asked, found = asked_of(view), list(blocks(view, node.attribute, instant_ms))
    few = None if asked is None else partial(_codes_of, found, asked)
    codes = decisions(view, node.attribute, node.matcher, {}, stats, attribute=True, asked=few)
    for first, block in found:
        if asked is not None and not asked[first : first + block.rows].any():
            continue
        stats.chunks += 1
        stats.rows += block.rows
        for column in block.columns.values():
            _mark(node, column, codes, mask[first:], stats)
    return ~mask if node.matcher.negated else mask


def _codes_of(found: Sequence[tuple[int, AttributeBlock]], asked: Bools, kind: Kind) -> I64:
    """The codes that the wanted rows may have."""
    codes = [np.zeros(0, np.int64)]
    for first, block in found:
        column = block.columns.get(kind)
        if column is not None:
            held = asked[first : first + column.values.shape[0]]
            codes.append(column.values[held].astype(np.int64) + column.base)
    return np.concatenate(codes)


def _mark(node: BoundAttribute, column: EventColumn, codes: Codes, mask: Bools, stats: NodeStats) -> None:
    """Sets the mask for rows of the column that satisfy the positive condition."""
    presence = column.presence()
    if not node.matcher.decides(column.kind):
        stats.type_mismatch += column.values.shape[0] if presence is None else int(presence.sum())
        return
    stats.bytes += column.nbytes
    held = column_mask(column, node.matcher, codes)
    mask[: held.shape[0]] |= held if presence is None else held & presence
