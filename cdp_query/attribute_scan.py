"""Attribute predicates over the dense columns, or over the history when an earlier instant is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from cdp_query.bound import BoundAttribute
from cdp_query.masks import decided_codes, values_mask
from cdp_query.stats import NodeStats
from cdp_store.arrays import U8, AnyArray, Bools
from cdp_store.attributes import AttributeReading
from cdp_store.limits import MORSEL_BITS
from cdp_store.values import Kind, float_bits
from cdp_store.view import AttributeValues, PartitionView


@dataclass(frozen=True, slots=True)
class AttributeSpan:
    """Values of consecutive rows from `first_row`: kinds u8[n], values by kind at least n long."""

    first_row: int
    kinds: U8
    values: Mapping[Kind, AnyArray]


def spans(view: PartitionView, attribute: int | None, instant_ms: int) -> Iterator[AttributeSpan]:
    """The attribute at an instant; rows in no span have no value."""
    reading = None if attribute is None else view.attribute_at(attribute, instant_ms)
    match reading:
        case AttributeValues(kinds, raws):
            yield AttributeSpan(
                0, kinds, {kind: float_bits(values) if kind is Kind.FLOAT else values for kind, values in raws.items()}
            )
        case AttributeReading(kinds=blocks, values=columns):
            for morsel, block_kinds in enumerate(blocks):
                first = morsel << MORSEL_BITS
                if block_kinds is None or first >= view.row_count:
                    continue
                present = {kind: column[morsel] for kind, column in columns.items() if morsel < len(column)}
                yield AttributeSpan(
                    first,
                    block_kinds[: view.row_count - first],
                    {kind: block for kind, block in present.items() if block is not None},
                )


def attribute_mask(view: PartitionView, node: BoundAttribute, instant_ms: int, stats: NodeStats) -> Bools:
    """Which rows satisfy the predicate: bool[row_count]."""
    mask: Bools = np.zeros(view.row_count, np.bool_)

    @cache
    def codes(kind: Kind) -> Bools:
        assert node.attribute is not None
        return decided_codes(view, node.attribute, kind, node.matcher, attribute=True)

    for span in spans(view, node.attribute, instant_ms):
        stats.chunks += 1
        stats.rows += span.kinds.shape[0]
        part = mask[span.first_row : span.first_row + span.kinds.shape[0]]
        for kind, values in span.values.items():
            held_kind = span.kinds[: values.shape[0]] == kind
            if not node.matcher.decides(kind):
                stats.type_mismatch += int(held_kind.sum())
                continue
            inside = values[: held_kind.shape[0]]
            stats.bytes += inside.nbytes + held_kind.nbytes
            part[: inside.shape[0]] |= held_kind & values_mask(kind, inside, node.matcher, codes)
    return ~mask if node.matcher.negated else mask
