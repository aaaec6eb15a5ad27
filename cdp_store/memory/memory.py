"""A partition in memory: the parts together, changed only by `apply`; no files, no clock, no threads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_store.arrays import I64, U8, U16, U32, AnyArray
from cdp_store.columns.arena import HashKey, StringArena, hash_strings
from cdp_store.columns.dictionary import StringDictionary, scope_of
from cdp_store.events.delta import ArrivedEvents
from cdp_store.events.event_tables import EventTables
from cdp_store.events.layout import LAYOUT, Chunks, Layout
from cdp_store.events.retained import Summary, nothing_before
from cdp_store.ids import LOWER_CASE, SequenceNumber
from cdp_store.limits import ATTRIBUTE_NAMES_MAX, BUCKET_MS, DAY_MS, EVENT_NAMES_MAX, PROPERTY_NAMES_MAX, TIME_MIN_MS
from cdp_store.log.controls import ALL_EVENTS, FORGOTTEN_MS, Retention
from cdp_store.memory.arrived_batch import code_strings, number_names, tell_apart
from cdp_store.memory.contents import events_of
from cdp_store.memory.nested import Arriving, Given, NestedNames, of_one_instant, with_unset_parts
from cdp_store.memory.schema import Schema, SchemaReading, Settled
from cdp_store.memory.view import CHANGE_VALUE, PartitionView, changes_of
from cdp_store.profiles.attributes import NEVER, AttributeColumn, AttributeReading, Versions
from cdp_store.profiles.buckets import BucketNumbers
from cdp_store.profiles.people import resolve, take_times
from cdp_store.profiles.profile_parts import MorselParts
from cdp_store.profiles.profile_times import NOT_CREATED, ProfileTimes
from cdp_store.records.records import RecordBatch, Strings
from cdp_store.values import Kind


@dataclass(frozen=True, slots=True)
class Parts:
    """Source of a restored memory, besides a view: the rows kept (ascending), and their content by new row."""

    rows: I64
    events: Mapping[int, Chunks]
    changes: Mapping[int, Chunks]
    dictionary: StringDictionary
    summaries: Mapping[int, Summary]
    retention_days: Mapping[str, int]
    names: SchemaReading  # those that remain, by the numbers they have in the other parts


NO_TIMES: Final[I64] = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class MemoryParts:
    """Parts to load a partition's memory from: row-ordered identifiers, strings by scope in code order, chunks by
    name, each name's in the order of `EventsReading.chunks`, and profiles by morsel.

    Strings come as (offsets from 0 u32 or i64 [n + 1], bytes); names in order of their numbers. Without morsels (None)
    `created` i64[rows] are the times of creation, and `changes` are all versions of the attributes, else only history.
    """

    sequence: SequenceNumber
    received_ms: int
    event_names: Sequence[str]
    property_names: Sequence[str]
    attribute_names: Sequence[str]
    identifiers: Iterable[tuple[AnyArray, U8]]
    created: I64
    strings: Iterable[tuple[int, AnyArray, U8]]
    events: Mapping[int, Chunks]
    changes: Mapping[int, Chunks]
    summaries: Mapping[int, Summary]
    retention_days: Mapping[str, int]
    morsels: Iterable[MorselParts] | None
    latest_changes_ms: Mapping[int, int]


class PartitionMemory:
    """Profiles, attributes with their history, and events of one partition."""

    def __init__(self, key: HashKey, layout: Layout = LAYOUT) -> None:
        self.schema = Schema(EVENT_NAMES_MAX, PROPERTY_NAMES_MAX, ATTRIBUTE_NAMES_MAX)
        self.events = EventTables(layout)
        self.changes = EventTables(layout)
        self._key = key
        self._identifiers = StringArena(key)
        self._buckets = BucketNumbers(key)
        self._dictionary = StringDictionary(key)
        self._times = ProfileTimes()
        self._attributes = dict[int, AttributeColumn]()
        self._attributes_read = (-1, dict[int, AttributeReading]())  # for so many rows, until one of them changes
        self._nested = NestedNames()
        self._erased = 0
        self._moved = 0  # of the erased rows, those whose profiles live elsewhere now
        self._dropped = 0
        self._forgotten = set[int]()  # numbers of event names without any events left: a purge frees them
        self.settled = Settled()
        self.in_transit = dict[bytes, int]()  # rows of profiles that are being moved, by identifier
        self.retention_days = dict[str, int]()
        self.summaries = dict[int, Summary]()
        self.sequence = SequenceNumber(0)
        self._captured: PartitionView | None = None

    @classmethod
    def restored(cls, view: PartitionView, parts: Parts, key: HashKey, layout: Layout) -> PartitionMemory:
        """A memory of some of a view's rows, which get numbers in order."""
        memory = cls(key, layout)
        memory.schema = Schema.restored(parts.names, EVENT_NAMES_MAX, PROPERTY_NAMES_MAX, ATTRIBUTE_NAMES_MAX)
        memory._identifiers = StringArena.of(key, *view.gather_identifiers(parts.rows))
        memory._find_in_transit()
        memory._dictionary = parts.dictionary
        memory.events = EventTables(layout, parts.events)
        memory._restore_changes(parts.changes, view.times.created_ms()[parts.rows])
        memory.summaries, memory.retention_days = dict(parts.summaries), dict(parts.retention_days)
        memory.sequence = view.sequence
        return memory

    def __len__(self) -> int:
        return len(self._identifiers)

    @property
    def has_leavings(self) -> bool:
        """True if there are erased profiles, or forgotten names, that no snapshot may mention."""
        return self._erased > 0 or bool(self._forgotten) or bool(self.settled)

    @property
    def forgotten_names(self) -> frozenset[str]:
        """Event names that must leave nothing: a purge frees them."""
        return frozenset(name for name in self.schema.events if self.schema.events.get(name) in self._forgotten)

    @property
    def erased_count(self) -> int:
        """Rows of erased profiles, which `purged` takes out."""
        return self._erased

    def is_worth_purging(self, erased_max: int) -> bool:
        """True if event names are forgotten, more than `erased_max` rows are erased, profiles that moved away left a
        fifth of all rows, or a fifth of the events was dropped since the last purge."""
        if self._forgotten or self.settled or self._erased - self._moved > erased_max:
            return True
        if self._moved * 5 > len(self):
            return True
        # Called after every commit, and counting visits all chunks.
        return self._dropped > 0 and self._dropped * 4 > self.events.counts()[0]

    def erase(self, identifiers: list[bytes], sequence: SequenceNumber) -> int:
        """Makes profiles exist at no instant and their identifiers lead nowhere; returns how many there were.

        Views captured before stay as they are. A purge (`purged`) removes what the profiles left in memory.
        """
        found = {row for row in self.find(identifiers) if row is not None}
        self._forget(found)
        self.sequence = sequence
        return len(found)

    def detach(self, identifiers: list[bytes], sequence: SequenceNumber) -> None:
        """Hides profiles from look-ups but keeps them; a record under such an identifier makes a new profile."""
        found = {each: row for each, row in zip(identifiers, self.find(identifiers), strict=True) if row is not None}
        if found:
            self._identifiers.retag(np.array(list(found.values()), np.int64))
        self.in_transit |= found
        self.sequence = sequence

    def release(self, identifiers: list[bytes], sequence: SequenceNumber) -> None:
        """Makes detached profiles exist at no instant, like erased ones."""
        rows = [row for each in identifiers if (row := self.in_transit.pop(each, None)) is not None]
        self._forget(rows)
        self._moved += len(rows)
        self.sequence = sequence

    def apply(self, batch: RecordBatch, sequence: SequenceNumber, given: Given = Given.BY_RECORD) -> None:
        """Applies a checked batch: afterwards every record of it is visible in a capture."""
        people = resolve(batch, self._identifiers, self._key)
        first_set_ms = take_times(batch, people, self._times)
        rows = people.record_rows()
        numbers = number_names(batch, self.schema)
        raws = code_strings(batch, numbers, self._dictionary)
        events, changed = tell_apart(batch, rows, numbers, raws)
        if len(events.rows):
            self.events.append(events)
        if len(changed):
            records = changed.records
            changes = Versions(rows[records], batch.record_times[records], changed.kinds, changed.raws)
            attributes, first_set_ms = changed.attributes, first_set_ms[people.of_record[records]]
            if given is not Given.COMPLETE and self._nested.learn(self.schema.attributes):
                group = records if given is Given.BY_RECORD else of_one_instant(changes.rows, changes.times)
                whole = with_unset_parts(
                    Arriving(attributes, changes, group, len(batch) + len(changes)), self._nested, self
                )
                if len(whole) > len(changes):
                    attributes, changes = whole.attributes, whole.versions
                    first_set_ms = self._times.first_set_ms(changes.rows)
            self._apply_changes(attributes, changes, first_set_ms)
        self.sequence = sequence

    def retain(self, retention: Retention, sequence: SequenceNumber) -> None:
        """Changes rules of retention and drops the events that it names; their summaries stay."""
        self.retention_days = {**self.retention_days, **retention.days}
        if FORGOTTEN_MS in retention.cutoffs.values():
            self.settled = Settled(len(self.schema.properties), len(self.schema.attributes))
        for name, cutoff_ms in retention.cutoffs.items():
            number = self.schema.events.get(name)
            if number is not None:
                dropped = self.events.drop_before(number, cutoff_ms)
                known = self.summaries.get(number, nothing_before(cutoff_ms))
                self._dropped += int(dropped.counts.sum())
                if cutoff_ms == FORGOTTEN_MS:
                    self.summaries = {other: kept for other, kept in self.summaries.items() if other != number}
                    self._forgotten.add(number)
                    self.schema.events.limit = EVENT_NAMES_MAX + len(self._forgotten)  # there is room at once
                else:
                    self.summaries = {**self.summaries, number: known.merge(dropped)}
        self.sequence = sequence

    def add_summary(self, name: str, summary: Summary) -> None:
        """Adds the summary of events that were dropped before the profile came to this partition."""
        number = self.schema.events.number(name)
        known = self.summaries.get(number, nothing_before(summary.cutoff_ms))
        self.summaries = {**self.summaries, number: known.merge(summary)}

    def pass_over(self, sequence: SequenceNumber) -> None:
        """Advances past `sequence`: its log entry changes nothing here."""
        self.sequence = sequence

    def overdue(self, now_ms: int) -> dict[str, int]:
        """By event name, the instant before which retention requires its events to be dropped, if there are any."""
        default = self.retention_days.get(ALL_EVENTS, 0)
        cutoffs = dict[str, int]()
        for name, number in self.schema.events.capture().items():
            days = self.retention_days.get(name, default)
            cutoff_ms = (now_ms - days * DAY_MS) // BUCKET_MS * BUCKET_MS
            first_ms = self.events.first_ms(number) if days else None
            if first_ms is not None and first_ms < cutoff_ms and cutoff_ms >= TIME_MIN_MS:
                cutoffs[name] = cutoff_ms
        return cutoffs

    def load(self, parts: MemoryParts) -> None:
        """Holds these parts; only for a memory that holds nothing yet. Attributes follow from their versions."""
        assert len(self) == 0, "parts are loaded into an empty memory"
        self.schema.events.load(parts.event_names)
        self.schema.properties.load(parts.property_names)
        self.schema.attributes.load(parts.attribute_names)
        for offsets, data in parts.identifiers:
            self._identifiers.fill(offsets, data)
        self._find_in_transit()
        for scope, offsets, data in parts.strings:
            self._dictionary.fill(scope, offsets, data)
        self.events.load(parts.events)
        if parts.morsels is None:
            self._restore_changes(parts.changes, parts.created)
        else:
            self.changes.load(parts.changes)
            self._load_morsels(parts.morsels, parts.latest_changes_ms)
        self.summaries, self.retention_days = dict(parts.summaries), dict(parts.retention_days)
        self.sequence = parts.sequence

    def capture(self) -> PartitionView:
        """A stable reading of everything; the same object, with what queries cached in it, until something changes."""
        known = self._captured
        if known is None or not self._is_shown_by(known):
            known = self._captured = self._capture()
        return known

    def _is_shown_by(self, view: PartitionView) -> bool:
        unchanged = view.sequence == self.sequence and view.row_count == len(self) and view.summaries is self.summaries
        return unchanged and self.events.is_read_by(view.events) and self.changes.is_read_by(view.changes)

    def _capture(self) -> PartitionView:
        return PartitionView(
            sequence=self.sequence,
            row_count=len(self),
            identifiers=self._identifiers.filled(),
            buckets=self._buckets.refresh(self._identifiers),
            times=self._times.capture(len(self)),
            schema=self.schema.capture(),
            attributes=self._capture_attributes(),
            events=self.events.capture(),
            changes=self.changes.capture(),
            dictionary=self._dictionary,
            summaries=self.summaries,
        )

    def _capture_attributes(self) -> Mapping[int, AttributeReading]:
        # Most commits bring events only, and each reading is Python work for each attribute and morsel.
        if self._attributes_read[0] != len(self):
            self._attributes_read = len(self), {a: each.capture(len(self)) for a, each in self._attributes.items()}
        return self._attributes_read[1]

    def find(self, identifiers: list[bytes]) -> list[int | None]:
        """Row of each encoded identifier, or None."""
        return [None if entry < 0 else int(entry) for entry in self.rows_of(Strings.of(identifiers))]

    def rows_of(self, identifiers: Strings) -> I64:
        """Row of each encoded identifier, or -1."""
        index: U32 = np.arange(len(identifiers), dtype=np.uint32)
        return self._identifiers.find(index, identifiers, hash_strings(self._key, identifiers))

    def current(self, attribute: str, rows: U32) -> Versions:
        """Values that rows have of an attribute, and since when."""
        number = self.schema.attributes.get(attribute)
        return self.current_versions(-1 if number is None else number, rows)

    def latest_ms(self, attribute: int) -> int:
        """Time of the newest change of an attribute, before all times if there is none."""
        column = self._attributes.get(attribute)
        return NEVER if column is None else column.latest_ms

    def current_versions(self, attribute: int, rows: U32) -> Versions:
        """Values that rows have of an attribute; the time is NEVER if it was never set."""
        column = self._attributes.get(attribute)
        return (column or AttributeColumn()).current(rows, self._times.first_set_ms(rows))

    def past_versions(self, attribute: int, rows: U32) -> Versions:
        """Values that rows, ascending, had of an attribute before."""
        wanted, parts = rows.astype(np.int64), list[Versions]()
        for chunk in self.changes.capture().pieces(attribute):
            where = events_of(chunk, wanted, len(self))
            if where.shape[0]:
                parts.append(changes_of(chunk).take(where))
        return Versions.join(parts)

    def list_value(self, attribute: str, code: int) -> bytes:
        """The bytes of a list that an attribute has."""
        number = self.schema.attributes.get(attribute)
        assert number is not None, "an attribute with values has a number"
        return self._dictionary.get(scope_of(number, attribute=True, is_list=True), code)

    def identifier(self, row: int) -> bytes:
        """Encoded canonical identifier of a row."""
        return self._identifiers.get(row)

    def memory_report(self) -> dict[str, int]:
        """Bytes by structure."""
        return {
            "identifiers": self._identifiers.nbytes + self._buckets.nbytes,
            "dictionary": self._dictionary.nbytes,
            "times": self._times.nbytes,
            "attributes": sum(column.nbytes for column in self._attributes.values()),
            "summaries": sum(summary.nbytes for summary in self.summaries.values()),
            "history": self.changes.counts()[1],
            "events": self.events.counts()[1],
        }

    def _forget(self, gone: Collection[int]) -> None:
        rows: I64 = np.array(sorted(gone), np.int64)
        if rows.size:
            self._identifiers.blank(rows)
            self._times.forget(rows.astype(np.uint32))
        self._erased += rows.shape[0]

    def _find_in_transit(self) -> None:
        offsets, data = self._identifiers.filled()
        tags = data[offsets[:-1]]
        for row in np.flatnonzero((tags & LOWER_CASE == 0) & (tags != 0)).tolist():
            found = self._identifiers.get(row)
            self.in_transit[bytes([found[0] | LOWER_CASE]) + found[1:]] = row

    def _load_morsels(self, morsels: Iterable[MorselParts], latest_ms: Mapping[int, int]) -> None:
        self._attributes = {attribute: AttributeColumn(latest) for attribute, latest in latest_ms.items()}
        for number, morsel in enumerate(morsels):
            self._times.load(number, morsel)
            for attribute, block in morsel.blocks.items():
                self._attributes[attribute].load(number, block)

    def _restore_changes(self, changes: Mapping[int, Chunks], created_ms: I64) -> None:
        """Applies every version of the attributes of rows that were created then: `view.attribute_chunks`, by row."""
        first_set: I64 = np.full(created_ms.shape[0], NOT_CREATED, np.int64)
        versions = {name: Versions.join([changes_of(chunk) for chunk in chunks]) for name, chunks in changes.items()}
        for each in versions.values():
            np.minimum.at(first_set, each.rows, each.times)
        self._times.update(np.arange(created_ms.shape[0], dtype=np.uint32), first_set, created_ms)
        for attribute, each in versions.items():
            self._apply_changes(np.full(len(each), attribute, np.uint16), each, first_set[each.rows])

    def _apply_changes(self, attributes: U16, changes: Versions, first_set_ms: I64) -> None:
        """Applies changes of all attributes; what they supersede, and what came too late, goes into the history."""
        self._attributes_read = (-1, {})
        past, names = list[Versions](), list[U16]()
        for attribute, where in _groups(attributes):
            column = self._attributes.setdefault(attribute, AttributeColumn())
            superseded = column.apply(changes.take(where), first_set_ms[where])
            past.append(superseded)
            names.append(np.full(len(superseded), attribute, np.uint16))
        history = Versions.join(past)
        given = history.kinds != Kind.UNSET
        if len(history):
            self.changes.append(
                ArrivedEvents(
                    history.rows,
                    np.concatenate(names),
                    history.times,
                    given.astype(np.uint32),
                    np.full(int(given.sum()), CHANGE_VALUE, np.uint16),
                    history.kinds[given],
                    history.raws[given],
                )
            )


def _groups(keys: U16) -> Iterator[tuple[int, np.ndarray[tuple[int], np.dtype[np.intp]]]]:
    for key in np.flatnonzero(np.bincount(keys)):
        yield int(key), np.flatnonzero(keys == key)
