"""Counting members by the value of an attribute."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime

import numpy as np

from cdp_query.attribute_scan import AttributeSpan, spans
from cdp_query.value_keys import NONE_KEY, ValueKey
from cdp_store.arrays import I64, AnyArray, Bools
from cdp_store.ids import AttributeId
from cdp_store.values import Kind, float_bits, to_datetime, unpack_list
from cdp_store.view import PartitionView


def breakdown(view: PartitionView, members: Bools, attribute: AttributeId | None, instant_ms: int) -> Counter[ValueKey]:
    """Members by value at an instant. A member with a list counts once per different item; without value, "(none)"."""
    counts = Counter[ValueKey]()
    placed = 0
    for span in spans(view, attribute, instant_ms):
        assert attribute is not None
        inside = members[span.first_row : span.first_row + span.kinds.shape[0]]
        placed += _count_span(view, span, inside, attribute, counts)
    unplaced = int(np.count_nonzero(members)) - placed
    if unplaced:
        counts[NONE_KEY] += unplaced
    return counts


def _count_span(
    view: PartitionView, span: AttributeSpan, inside: Bools, attribute: AttributeId, counts: Counter[ValueKey]
) -> int:
    placed = 0
    for kind, values in span.values.items():
        length = min(values.shape[0], inside.shape[0])
        chosen = values[:length][inside[:length] & (span.kinds[:length] == kind)]
        placed += chosen.shape[0]
        _count_values(view, kind, chosen, attribute, counts)
    return placed


def _count_values(
    view: PartitionView, kind: Kind, chosen: AnyArray, attribute: AttributeId, counts: Counter[ValueKey]
) -> None:
    distinct, sizes = np.unique(chosen, return_counts=True)
    is_list = kind is Kind.LIST
    texts = (
        view.strings(attribute, attribute=True, is_list=is_list).take(distinct)
        if kind in (Kind.STRING, Kind.LIST)
        else None
    )
    for position, size in enumerate(sizes.tolist()):
        if texts is None:
            counts[_key(kind, distinct[position])] += size
        elif is_list:
            for item in {_item_key(item) for item in unpack_list(texts[position].as_py())} or {NONE_KEY}:
                counts[item] += size
        else:
            counts[int(kind), texts[position].as_py().decode()] += size


def keys_of(view: PartitionView, key: int, kind: Kind, raws: I64, *, attribute: bool) -> list[set[ValueKey]]:
    """Per value of one kind, in 64-bit form, its keys: one, or one for each different item of a list."""
    match kind:
        case Kind.UNSET:
            return [{NONE_KEY} for _ in raws]
        case Kind.STRING:
            texts = view.strings(key, attribute=attribute).take(raws)
            return [{(int(kind), text.as_py().decode())} for text in texts]
        case Kind.LIST:
            packed = view.strings(key, attribute=attribute, is_list=True).take(raws)
            return [{_item_key(item) for item in unpack_list(text.as_py())} or {NONE_KEY} for text in packed]
        case Kind.FLOAT:
            return [{_key(kind, value)} for value in float_bits(raws)]
    return [{_key(kind, value)} for value in raws]


def _key(kind: Kind, value: object) -> ValueKey:
    number = np.asarray(value)
    match kind:
        case Kind.BOOL:
            return int(kind), bool(number)
        case Kind.FLOAT:
            return int(kind), float(number)
        case Kind.TIME:
            return int(kind), to_datetime(int(number)).isoformat()
    return int(kind), int(number)


def _item_key(item: object) -> ValueKey:
    match item:
        case bool():
            return int(Kind.BOOL), item
        case int():
            return int(Kind.INT), item
        case float():
            return int(Kind.FLOAT), item
        case str():
            return int(Kind.STRING), item
        case datetime():
            return int(Kind.TIME), item.isoformat()
    return int(Kind.STRING), json.dumps(item, ensure_ascii=False, default=str)
