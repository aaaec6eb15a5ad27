"""Tables that leaves and tests read in one partition, by the names of a question: found once, kept with the view.

A name that the partition has never seen is left out before anything is kept, so that no question can fill a view with
names of its own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

from cdp_query.compiled.descriptors import (
    ChunkTable,
    ColumnTable,
    SinceTable,
    address_of,
    attribute_table,
    change_table,
    chunk_table,
    property_table,
    since_table,
)
from cdp_query.compiled.kernels.layout import BOUND_FIELDS, BOUND_INSTANT
from cdp_query.compiled.value_tests import UNKNOWN, Tested
from cdp_store.limits import TIME_MIN_MS
from cdp_store.memory.view import CHANGE_VALUE, PartitionView

BOUND_ROW: Final = struct.Struct(f"={BOUND_FIELDS}q")
_ATTRIBUTE: Final = "attribute by name"
_PAST: Final = "past of an attribute"


class EventKey(NamedTuple):
    """Events by their names, gathered in order of time or not, with a property that is read of them."""

    names: tuple[str, ...]
    property: str | None
    is_gathered: bool


@dataclass(frozen=True, slots=True)
class EventSource:
    """The chunks of such events in one partition, and the columns of the property if it knows that.

    `row` is that of a predicate which reads them, `tested` what a test of the property reads.
    """

    chunks: ChunkTable
    columns: ColumnTable | None
    row: bytes
    tested: Tested


@dataclass(frozen=True, slots=True)
class AttributeSource:
    """An attribute in one partition: its number, the time of its newest change, and the columns of current values."""

    number: int
    latest_ms: int
    columns: ColumnTable
    tested: Tested


def event_source(view: PartitionView, key: EventKey) -> EventSource:
    """The source of some events in a partition."""
    found = view.tables.get(key)
    return found if isinstance(found, EventSource) else _event_source(view, key)


def _event_source(view: PartitionView, key: EventKey) -> EventSource:
    events, properties = view.schema.events, view.schema.properties
    names = tuple(name for name in key.names if name in events)
    known = EventKey(names, key.property if key.property in properties else None, key.is_gathered)
    found = view.tables.get(known)
    if not isinstance(found, EventSource):
        made = _made(view, known, tuple(events[name] for name in names))
        # Two questions may make it at once: one stays, and both use it.
        found = cast(EventSource, view.tables.setdefault(known, made))
    return found


def _made(view: PartitionView, key: EventKey, names: tuple[int, ...]) -> EventSource:
    chunks = chunk_table(view, names, is_gathered=key.is_gathered)
    if key.property is None:
        return EventSource(chunks, None, BOUND_ROW.pack(*chunks.fields, -1, 0, 0, 0, chunks.events, 0, 0, 0), UNKNOWN)
    prop = view.schema.properties[key.property]
    columns = property_table(view, chunks, prop)
    row = BOUND_ROW.pack(*chunks.fields, prop, *columns.addresses, 0, chunks.events, 0, 0, 0)
    return EventSource(chunks, columns, row, Tested.of(prop, columns, attribute=False))


def attribute_source(view: PartitionView, name: str) -> AttributeSource | None:
    """The source of an attribute in a partition; None if the partition does not know it."""
    key = (_ATTRIBUTE, name)
    found = view.tables.get(key)
    if not isinstance(found, AttributeSource):
        number = view.schema.attributes.get(name)
        if number is None:
            return None
        current, columns = view.attributes.get(number), attribute_table(view, number)
        latest_ms = TIME_MIN_MS if current is None else current.latest_ms
        made = AttributeSource(number, latest_ms, columns, Tested.of(number, columns, attribute=True))
        found = cast(AttributeSource, view.tables.setdefault(key, made))
    return found


@dataclass(frozen=True, slots=True)
class PastSource:
    """The values that an attribute had before, since when its current ones hold, and what a test reads of both.

    `row` is that of a predicate which reads them, apart from the instant: what comes before this, and after it.
    """

    chunks: ChunkTable
    columns: ColumnTable
    since: SinceTable
    row: tuple[bytes, bytes]
    tested: Tested


def past_source(view: PartitionView, source: AttributeSource) -> PastSource:
    """The source of an attribute of which some values are newer than the instant."""
    key = (_PAST, source.number)
    found = view.tables.get(key)
    if not isinstance(found, PastSource):
        chunks, since = change_table(view, source.number), since_table(view, source.number)
        columns = property_table(view, chunks, CHANGE_VALUE)
        whole = (*chunks.fields, CHANGE_VALUE, *columns.addresses, 0, chunks.events, 0, 0, address_of(since.rows))
        row, at = BOUND_ROW.pack(*whole), 8 * BOUND_INSTANT
        made = PastSource(chunks, columns, since, (row[:at], row[at + 8 :]), source.tested.with_older(columns))
        found = cast(PastSource, view.tables.setdefault(key, made))
    return found
