"""Names a partition has seen (events, properties, attributes), with types, counts and times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_store.arrays import I64, U8, U64, AnyArray, Bools
from cdp_store.columns.arena import HashKey, hash_strings
from cdp_store.columns.column import EventColumn
from cdp_store.columns.dictionary import scope_of
from cdp_store.events.chunk import EventChunk
from cdp_store.memory.contents import current_of
from cdp_store.memory.view import PartitionView, changed_to
from cdp_store.records.records import Strings
from cdp_store.values import TEXT_KINDS, Kind

DISTINCT_TOLD_MAX: Final = 1000  # texts of one property whose hashes are reported, so that the router counts each once


@dataclass(frozen=True, slots=True)
class Seen:
    """Counts of a property or attribute: values of each type, distinct texts and lists, and the time range.

    The keyed hashes of the texts are present while they are few, else None.
    """

    name: str
    types: Counter[Kind]
    distinct: int
    hashes: U64 | None
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class SeenEvents:
    """Counts of the events of a name: their number, time range and properties."""

    name: str
    count: int
    first_ms: int
    last_ms: int
    properties: tuple[Seen, ...]


def seen_events(view: PartitionView, key: HashKey) -> Iterator[SeenEvents]:
    """All events that a view holds, by name."""
    for name, number in view.schema.events.items():
        chunks = view.event_chunks(number)
        if chunks:
            bounds = min(chunk.first_ms for chunk in chunks), max(chunk.last_ms for chunk in chunks)
            properties = tuple(_properties(view, key, chunks, bounds))
            yield SeenEvents(name, sum(map(len, chunks)), *bounds, properties)


def seen_attributes(view: PartitionView, key: HashKey) -> Iterator[Seen]:
    """All attributes of a view that have or had values."""
    rows = np.flatnonzero(~view.erased())
    for name, number in view.schema.attributes.items():
        if number not in view.attributes:
            continue
        current, types, texts = current_of(view, number, rows), Counter[Kind](), _Texts(view, number, attribute=True)
        times = [current.times]
        given = [(current.kinds, current.raws)]
        for chunk in view.changes.pieces(number):
            given.append(changed_to(chunk, np.arange(len(chunk))))
            times.append(np.array([chunk.first_ms, chunk.last_ms]))
        for kinds, raws in given:
            for kind, count in zip(*np.unique(kinds[kinds != Kind.UNSET], return_counts=True), strict=True):
                types[Kind(int(kind))] += int(count)
                if kind in TEXT_KINDS:
                    texts.add(Kind(int(kind)), raws[kinds == kind])
        instants = np.concatenate(times)
        if instants.size:
            yield Seen(name, types, *texts.told(key), int(instants.min()), int(instants.max()))


def _properties(
    view: PartitionView, key: HashKey, chunks: tuple[EventChunk, ...], bounds: tuple[int, int]
) -> Iterator[Seen]:
    names = {number: name for name, number in view.schema.properties.items()}
    for number in sorted({number for chunk in chunks for number, _ in chunk.columns}):
        types, texts = Counter[Kind](), _Texts(view, number, attribute=False)
        for chunk in chunks:
            for (owner, kind), column in chunk.columns.items():
                if owner == number:
                    types[kind] += _count(column)
                    if kind in TEXT_KINDS:
                        texts.add(kind, _given(column))
        yield Seen(names[number], types, *texts.told(key), *bounds)


class _Texts:
    """Distinct texts of a property or attribute."""

    def __init__(self, view: PartitionView, number: int, *, attribute: bool) -> None:
        self._view, self._number, self._attribute = view, number, attribute
        self._met = dict[Kind, Bools]()

    def add(self, kind: Kind, codes: I64) -> None:
        """Marks some as present, by their codes."""
        met = self._met.get(kind)
        if met is None:
            size = self._arena(kind)[0].shape[0] - 1
            met = self._met[kind] = np.zeros(size, np.bool_)
        met[codes] = True

    def told(self, key: HashKey) -> tuple[int, U64 | None]:
        """(how many are present, their hashes if they are few)."""
        found = {kind: np.flatnonzero(met) for kind, met in self._met.items()}
        count = sum(codes.shape[0] for codes in found.values())
        if count > DISTINCT_TOLD_MAX:
            return count, None
        hashes = [hash_strings(key, self._strings(kind, codes)) for kind, codes in found.items()]
        return count, np.concatenate([np.zeros(0, np.uint64), *hashes])

    def _strings(self, kind: Kind, codes: I64) -> Strings:
        offsets, data = self._arena(kind)
        return Strings.of(data[offsets[code] : offsets[code + 1]].tobytes() for code in codes.tolist())

    def _arena(self, kind: Kind) -> tuple[AnyArray, U8]:
        scope = scope_of(self._number, attribute=self._attribute, is_list=kind is Kind.LIST)
        return self._view.dictionary.filled(scope)


def _count(column: EventColumn) -> int:
    presence = column.presence()
    return int(column.values.shape[0]) if presence is None else int(presence.sum())


def _given(column: EventColumn) -> I64:
    presence = column.presence()
    codes = column.integers()
    return codes if presence is None else codes[presence]
