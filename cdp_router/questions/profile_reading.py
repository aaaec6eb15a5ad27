"""One profile as a message: attributes, identifiers, latest events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cdp.v1 import query_pb2

from cdp_router.contract.values import to_timestamp, to_value
from cdp_router.questions.timelines import Page, read_page
from cdp_store.arrays import I64
from cdp_store.columns.column import EventColumn
from cdp_store.columns.dictionary import scope_of
from cdp_store.events.chunk import EventChunk
from cdp_store.ids import decode_identifier
from cdp_store.memory.view import PartitionView
from cdp_store.partition.partition import Partition
from cdp_store.values import TEXT_KINDS, Kind, Value, decode_value


def read_profile(partition: Partition, identifier: bytes, page: Page) -> query_pb2.GetProfileResponse | None:
    """The profile behind an encoded identifier with a page of its events, or None."""
    view, [row] = partition.locate([identifier])
    if row is None:
        return None
    kind, value = decode_identifier(identifier)
    created = view.times.created_ms_of(row)
    timeline, total = read_page(view, row, page)
    return query_pb2.GetProfileResponse(
        identifiers=[query_pb2.Identifier(kind=kind, value=value)],
        created=to_timestamp(created),
        attributes={name: to_value(value) for name, value in _attributes(view, row)},
        events=[event_message(view, each.time_ms, each.name, each.chunk, each.index) for each in timeline],
        event_count=total,
        partition=partition.partition,
    )


def _attributes(view: PartitionView, row: int) -> Iterator[tuple[str, Value]]:
    for name, attribute in sorted(view.schema.attributes.items()):
        reading = view.attributes.get(attribute)
        if reading is None:
            continue
        kind, raw = reading.raw(row)
        value = _value(view, attribute, kind, raw, is_attribute=True)
        if value is not None:
            yield name, value


def attribute_value(view: PartitionView, attribute: int, kind: Kind, raw: int) -> Value | None:
    """Python value of a stored attribute value."""
    return _value(view, attribute, kind, raw, is_attribute=True)


def event_message(
    view: PartitionView, time_ms: int, name: str, chunk: EventChunk, index: int
) -> query_pb2.ProfileEvent:
    """One event of a chunk as a message."""
    properties = {number: name for name, number in view.schema.properties.items()}
    values = dict[str, Any]()
    for (key, kind), column in chunk.columns.items():
        raw = _raw(column, index)
        value = None if raw is None else _value(view, key, kind, raw, is_attribute=False)
        if value is not None:
            values[properties[key]] = to_value(value)
    return query_pb2.ProfileEvent(name=name, time=to_timestamp(time_ms), properties=values)


def _raw(column: EventColumn, index: int) -> int | None:
    if column.present is not None and not column.present[index >> 3] >> (index & 7) & 1:
        return None
    one = EventColumn(
        column.kind, column.values[index : index + 1], None, column.base, column.scale, column.low, column.high
    )
    raws: I64 = one.raws()
    return int(raws[0])


def _value(view: PartitionView, key: int, kind: Kind, raw: int, *, is_attribute: bool) -> Value | None:
    text = None
    if kind in TEXT_KINDS:
        text = view.dictionary.get(scope_of(key, attribute=is_attribute, is_list=kind is Kind.LIST), raw)
    return decode_value(kind, raw, text)
