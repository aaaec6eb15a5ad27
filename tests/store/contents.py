"""What a view holds as plain values, what raw records should make it hold, and the rules its arrays keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cdp_store.arrays import I64
from cdp_store.events.chunk import EventChunk
from cdp_store.events.event_tables import prepare_seal
from cdp_store.ids import decode_identifier
from cdp_store.memory.memory import PartitionMemory
from cdp_store.memory.validate_chunk import check_chunk
from cdp_store.memory.view import PartitionView
from cdp_store.profiles.attributes import AttributeReading
from cdp_store.profiles.profile_times import NOT_CREATED
from cdp_store.values import Kind, decode_value
from tests.raw_records import Change, Event, Record, User

Typed = tuple[str, str]  # type and repr, so that 1, 1.0 and true, 0.0 and -0.0 stay apart


@dataclass(slots=True)
class Contents:
    """A partition's data: creation time by user, attribute values by name and user, events by name and user."""

    created: dict[User, int] = field(default_factory=dict)
    attributes: dict[str, dict[User, Typed]] = field(default_factory=dict)
    events: dict[str, dict[User, list[tuple[int, dict[str, Typed]]]]] = field(default_factory=dict)


def typed(value: Any) -> Typed:
    """A value with its type."""
    return type(value).__name__, repr(value)


def expected_contents(records: Sequence[Record], instant_ms: int | None = None) -> Contents:
    """What the records amount to, attributes as of an instant (None: now), events in order of time, then arrival."""
    contents = Contents()
    for record in records:
        contents.created[record.user] = min(record.ts, contents.created.get(record.user, record.ts))
    for record in sorted(records, key=lambda record: record.ts):
        if isinstance(record, Event):
            of_user = contents.events.setdefault(record.name, {}).setdefault(record.user, [])
            of_user.append((record.ts, _given(record.properties)))
        elif instant_ms is None or record.ts <= instant_ms:
            _change(contents, record)
    contents.attributes = {name: values for name, values in contents.attributes.items() if values}
    return contents


def _change(contents: Contents, change: Change) -> None:
    for name, value in change.attributes.items():
        values = contents.attributes.setdefault(name, {})
        values.pop(change.user, None)
        if value is not None:
            values[change.user] = typed(value)


def _given(values: Mapping[str, Any]) -> dict[str, Typed]:
    return {name: typed(value) for name, value in values.items() if value is not None}


def read_contents(view: PartitionView, instant_ms: int | None = None) -> Contents:
    """Everything a view holds; checks the rules of its arrays on the way."""
    users = users_of(view)
    contents = Contents(created=_created(view, users))
    for name, attribute in view.schema.attributes.items():
        reading = view.attribute_at(attribute, 1 << 60 if instant_ms is None else instant_ms)
        of_rows = _attribute_values(view, attribute, reading)
        values = {user: typed(value) for row, value in of_rows if (user := users[row]) is not None}
        if values:
            contents.attributes[name] = values
    properties = {number: name for name, number in view.schema.properties.items()}
    for name, number in view.schema.events.items():
        check_chunks(view.event_chunks(number))
        for chunk in view.event_chunks(number):
            _read_events(view, chunk, properties, users, contents.events.setdefault(name, {}))
    for attribute in view.schema.attributes.values():
        check_chunks(view.changes.chunks(attribute))
    contents.events = {name: events for name, events in contents.events.items() if events}
    for events in contents.events.values():
        for of_user in events.values():
            of_user.sort(key=lambda event: event[0])  # stable: the chunks of a bucket stand in order of arrival
    return contents


def users_of(view: PartitionView) -> list[User | None]:
    """The user of each row, None for erased ones."""
    offsets, data = view.gather_identifiers(np.arange(view.row_count))
    erased = view.erased()
    return [
        None if erased[row] else User(*decode_identifier(data[offsets[row] : offsets[row + 1]].tobytes()))
        for row in range(view.row_count)
    ]


def _created(view: PartitionView, users: Sequence[User | None]) -> dict[User, int]:
    created = view.times.created_ms().tolist()
    assert [view.times.created_ms_of(row) for row in range(view.row_count)] == created
    living = {user: ms for user, ms in zip(users, created, strict=True) if user is not None}
    assert NOT_CREATED not in living.values(), "a row without a record"
    return living


def _attribute_values(
    view: PartitionView, attribute: int, reading: AttributeReading | None
) -> Iterable[tuple[int, Any]]:
    for row in range(view.row_count if reading is not None else 0):
        assert reading is not None
        kind, raw = reading.raw(row)
        if kind is not Kind.UNSET:
            yield row, decode_value(kind, raw, _text(view, attribute, kind, raw, attribute=True))


def _text(view: PartitionView, key: int, kind: Kind, raw: int, *, attribute: bool) -> bytes | None:
    if kind not in (Kind.STRING, Kind.LIST):
        return None
    text = view.strings(key, attribute=attribute, is_list=kind is Kind.LIST)[raw].as_py()
    assert isinstance(text, bytes)
    return text


def _read_events(
    view: PartitionView,
    chunk: EventChunk,
    properties: Mapping[int, str],
    users: Sequence[User | None],
    found: dict[User, list[tuple[int, dict[str, Typed]]]],
) -> None:
    values: list[dict[str, Typed]] = [{} for _ in range(len(chunk))]
    for (key, kind), column in chunk.columns.items():
        raws, presence = column.raws(), column.presence()
        for event in range(len(chunk)):
            if presence is None or presence[event]:
                raw = int(raws[event])
                value = decode_value(kind, raw, _text(view, key, kind, raw, attribute=False))
                assert properties[key] not in values[event], "two kinds of one property in one event"
                values[event][properties[key]] = typed(value)
    for row, ts, properties_of_event in zip(chunk.full_rows(), chunk.full_times(), values, strict=True):
        if (user := users[row]) is not None:
            found.setdefault(user, []).append((int(ts), properties_of_event))


def check_same(found: Contents, expected: Contents) -> None:
    """Assert equality part by part, for a readable difference."""
    assert found.created == expected.created
    assert found.attributes == expected.attributes
    assert found.events == expected.events


def check_chunks(chunks: Sequence[EventChunk]) -> None:
    """Every chunk keeps the rules of chunks, and knows where the events of each row stand."""
    for chunk in chunks:
        check_chunk("chunk", chunk)
        rows = chunk.full_rows()
        for row in np.unique(rows):
            events = chunk.events_of_row(int(row))
            assert (rows[events] == row).all()
            assert events.stop - events.start == int((rows == row).sum())


def raws_of(values: Iterable[Any]) -> I64:
    """Numbers in the 64-bit form of values.py."""
    return np.array([np.float64(v).view(np.int64) if isinstance(v, float) else v for v in values], np.int64)


def seal_all(memory: PartitionMemory) -> None:
    """Seal every delta, without compaction."""
    for tables in (memory.events, memory.changes):
        tables.install_seal(prepare_seal(tables.capture()))
