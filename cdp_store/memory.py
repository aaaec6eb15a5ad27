"""A partition in memory: the parts together, changed only by `apply`; no files, no clock, no threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from cdp_store.arena import HashKey, StringArena, hash_strings
from cdp_store.arrays import I64, U16, U32
from cdp_store.arrivals import ArrivedChanges, code_strings, number_names, tell_apart
from cdp_store.attributes import AttributeColumn
from cdp_store.blocks import BlockColumn, by_morsel, join_blocks
from cdp_store.buckets import BucketNumbers
from cdp_store.controls import ALL_EVENTS, Retention
from cdp_store.dictionary import StringDictionary
from cdp_store.events.delta import ArrivedEvents
from cdp_store.events.layout import LAYOUT, Chunks, Layout
from cdp_store.events.retained import Summary, nothing_before
from cdp_store.events.tables import EventTables
from cdp_store.ids import SequenceNumber
from cdp_store.kernels import changes
from cdp_store.limits import ATTRIBUTE_NAMES_MAX, BUCKET_MS, DAY_MS, EVENT_NAMES_MAX, PROPERTY_NAMES_MAX, TIME_MIN_MS
from cdp_store.records import RecordBatch, Strings
from cdp_store.schema import Schema
from cdp_store.values import Kind
from cdp_store.view import CHANGE_VALUE, NOT_CREATED, PartitionView, changes_of


@dataclass(frozen=True, slots=True)
class Parts:
    """What a memory is restored from, besides a view: the rows taken (ascending), and what they hold by new row."""

    rows: I64
    events: Mapping[int, Chunks]
    changes: Mapping[int, Chunks]
    dictionary: StringDictionary
    summaries: Mapping[int, Summary]
    retention_days: Mapping[str, int]


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
        self._created = BlockColumn(np.int64, NOT_CREATED)
        self._attributes = dict[int, AttributeColumn]()
        self._erased = 0
        self._dropped = 0
        self.retention_days = dict[str, int]()
        self.summaries = dict[int, Summary]()
        self.sequence = SequenceNumber(0)

    @classmethod
    def restored(cls, view: PartitionView, parts: Parts, key: HashKey, layout: Layout) -> PartitionMemory:
        """A memory of some of a view's rows, which get numbers in order."""
        memory = cls(key, layout)
        memory.schema = Schema.restored(view.schema, EVENT_NAMES_MAX, PROPERTY_NAMES_MAX, ATTRIBUTE_NAMES_MAX)
        memory._identifiers = StringArena.of(key, *view.gather_identifiers(parts.rows))
        memory._dictionary = parts.dictionary
        memory.events = EventTables(layout, parts.events)
        memory.changes = EventTables(layout, parts.changes)
        created = join_blocks(view.created, view.row_count, NOT_CREATED, np.int64)[parts.rows]
        memory._lower_created(np.arange(parts.rows.shape[0], dtype=np.uint32), created)
        memory._attributes = {attribute: AttributeColumn() for attribute in view.attributes}
        for attribute, chunks in parts.changes.items():
            for chunk in chunks:
                memory._attributes[attribute].apply(*changes_of(chunk))
        memory.summaries, memory.retention_days = dict(parts.summaries), dict(parts.retention_days)
        memory.sequence = view.sequence
        return memory

    def __len__(self) -> int:
        return len(self._identifiers)

    @property
    def erased_count(self) -> int:
        """Rows of erased profiles, which `purged` takes out."""
        return self._erased

    def is_worth_purging(self, erased_max: int) -> bool:
        """Whether more rows than that are erased, or a fifth of the events was dropped since the last purge."""
        return self._erased > erased_max or self._dropped * 4 > self.events.counts()[0]

    def erase(self, identifiers: list[bytes], sequence: SequenceNumber) -> int:
        """Let profiles exist at no instant and their identifiers lead nowhere; returns how many there were.

        Views captured before go on as they were. What the profiles left behind goes when the memory is `purged`.
        """
        found = {row for row in self.find(identifiers) if row is not None}
        rows: I64 = np.array(sorted(found), np.int64)
        if rows.size:
            self._identifiers.blank(rows)
            for morsel, local, _ in by_morsel(rows.astype(np.uint32)):
                self._created.writable(morsel, int(local.max()) + 1)[local] = NOT_CREATED
        self._erased += len(found)
        self.sequence = sequence
        return len(found)

    def apply(self, batch: RecordBatch, sequence: SequenceNumber) -> None:
        """Take a checked batch: afterwards every record of it shows in a capture."""
        rows = self._resolve(batch)
        self._lower_created(rows, batch.record_times)
        numbers = number_names(batch, self.schema)
        raws = code_strings(batch, numbers, self._dictionary)
        events, changed = tell_apart(batch, rows, numbers, raws)
        if len(events.rows):
            self.events.append(events)
        if len(changed):
            self._apply_changes(batch, rows, changed)
        self.sequence = sequence

    def retain(self, retention: Retention, sequence: SequenceNumber) -> None:
        """Change rules of retention and drop the events that it names; summaries of them stay."""
        self.retention_days = {**self.retention_days, **retention.days}
        for name, cutoff_ms in retention.cutoffs.items():
            number = self.schema.events.get(name)
            if number is not None:
                dropped = self.events.drop_before(number, cutoff_ms)
                known = self.summaries.get(number, nothing_before(cutoff_ms))
                self.summaries = {**self.summaries, number: known.merge(dropped)}
                self._dropped += int(dropped.counts.sum())
        self.sequence = sequence

    def overdue(self, now_ms: int) -> dict[str, int]:
        """By name, the instant before which the rules of retention want events dropped of which there are some."""
        default = self.retention_days.get(ALL_EVENTS, 0)
        cutoffs = dict[str, int]()
        for name, number in self.schema.events.capture().items():
            days = self.retention_days.get(name, default)
            cutoff_ms = (now_ms - days * DAY_MS) // BUCKET_MS * BUCKET_MS
            first_ms = self.events.first_ms(number) if days else None
            if first_ms is not None and first_ms < cutoff_ms and cutoff_ms >= TIME_MIN_MS:
                cutoffs[name] = cutoff_ms
        return cutoffs

    def capture(self) -> PartitionView:
        """A stable reading of everything."""
        return PartitionView(
            sequence=self.sequence,
            row_count=len(self),
            identifiers=self._identifiers.filled(),
            buckets=self._buckets.refresh(self._identifiers),
            created=self._created.capture(),
            schema=self.schema.capture(),
            attributes={attribute: column.capture() for attribute, column in self._attributes.items()},
            events=self.events.capture(),
            changes=self.changes.capture(),
            dictionary=self._dictionary,
            summaries=self.summaries,
        )

    def find(self, identifiers: list[bytes]) -> list[int | None]:
        """Row of each encoded identifier, or None."""
        table = Strings.of(identifiers)
        index: U32 = np.arange(len(identifiers), dtype=np.uint32)
        entries = self._identifiers.find(index, table, hash_strings(self._key, table))
        return [None if entry < 0 else int(entry) for entry in entries]

    def identifier(self, row: int) -> bytes:
        """Encoded canonical identifier of a row."""
        return self._identifiers.get(row)

    def memory_report(self) -> dict[str, int]:
        """Bytes by structure."""
        return {
            "identifiers": self._identifiers.nbytes + self._buckets.nbytes,
            "dictionary": self._dictionary.nbytes,
            "created": self._created.nbytes,
            "attributes": sum(column.nbytes for column in self._attributes.values()),
            "summaries": sum(summary.nbytes for summary in self.summaries.values()),
            "history": self.changes.counts()[1],
            "events": self.events.counts()[1],
        }

    def _resolve(self, batch: RecordBatch) -> U32:
        index: U32 = np.arange(len(batch.identities), dtype=np.uint32)
        table = batch.identities
        rows = self._identifiers.insert(index, table, hash_strings(self._key, table))
        return rows.astype(np.uint32)[batch.record_identities]

    def _lower_created(self, rows: U32, times: I64) -> None:
        for morsel, local, where in by_morsel(rows):
            changes.lower_to(local, times[where], self._created.writable(morsel, int(local.max()) + 1))

    def _apply_changes(self, batch: RecordBatch, batch_rows: U32, changed: ArrivedChanges) -> None:
        attributes, kinds, values = changed.attributes, changed.kinds, changed.raws
        rows, times = batch_rows[changed.records], batch.record_times[changed.records]
        for attribute, where in _groups(attributes):
            column = self._attributes.setdefault(attribute, AttributeColumn())
            column.apply(rows[where], times[where], kinds[where], values[where])
        given = kinds != Kind.UNSET
        self.changes.append(
            ArrivedEvents(
                rows,
                attributes,
                times,
                given.astype(np.uint32),
                np.full(int(given.sum()), CHANGE_VALUE, np.uint16),
                kinds[given],
                values[given],
            )
        )


def _groups(keys: U16) -> Iterator[tuple[int, np.ndarray[tuple[int], np.dtype[np.intp]]]]:
    for key in np.flatnonzero(np.bincount(keys)):
        yield int(key), np.flatnonzero(keys == key)
