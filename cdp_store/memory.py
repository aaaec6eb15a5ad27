"""A partition in memory: the parts together, changed only by `apply`; no files, no clock, no threads."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cdp_store.arena import HashKey, StringArena, hash_strings
from cdp_store.arrays import I64, U16, U32, Bools
from cdp_store.attributes import AttributeColumn
from cdp_store.blocks import BlockColumn, by_morsel
from cdp_store.buckets import BucketNumbers
from cdp_store.dictionary import StringDictionary, scope_of
from cdp_store.events.delta import ArrivedEvents
from cdp_store.events.layout import LAYOUT, Layout
from cdp_store.events.tables import EventTables
from cdp_store.ids import SequenceNumber
from cdp_store.kernels import changes
from cdp_store.limits import ATTRIBUTE_NAMES_MAX, EVENT_NAMES_MAX, PROPERTY_NAMES_MAX
from cdp_store.records import RecordBatch, Strings
from cdp_store.schema import NameTable, Schema
from cdp_store.values import Kind, is_text
from cdp_store.view import CHANGE_VALUE, NOT_CREATED, PartitionView


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
        self.sequence = SequenceNumber(0)

    def __len__(self) -> int:
        return len(self._identifiers)

    def apply(self, batch: RecordBatch, sequence: SequenceNumber) -> None:
        """Take a checked batch: afterwards every record of it shows in a capture."""
        rows = self._resolve(batch)
        self._lower_created(rows, batch.record_times)
        counts = batch.property_counts()
        is_attributes = batch.is_attributes()
        of_attributes: Bools = np.repeat(is_attributes, counts)
        raws = self._encode_strings(batch, of_attributes)
        if not is_attributes.all():
            self._apply_events(batch, rows, counts, ~is_attributes, ~of_attributes, raws)
        if of_attributes.any():
            owners = np.repeat(np.arange(len(batch)), counts)[of_attributes]
            self._apply_changes(batch, rows[owners], batch.record_times[owners], of_attributes, raws)
        self.sequence = sequence

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

    def gather_identifiers(self, rows: I64) -> tuple[I64, np.ndarray[tuple[int], np.dtype[np.uint8]]]:
        """(offsets, bytes) of the encoded identifiers of rows."""
        return self._identifiers.gather(rows)

    def memory_report(self) -> dict[str, int]:
        """Bytes by structure."""
        return {
            "identifiers": self._identifiers.nbytes + self._buckets.nbytes,
            "dictionary": self._dictionary.nbytes,
            "created": self._created.nbytes,
            "attributes": sum(column.nbytes for column in self._attributes.values()),
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

    def _encode_strings(self, batch: RecordBatch, of_attributes: Bools) -> I64:
        """The triples' raw values with string numbers replaced by dictionary codes."""
        textual = np.flatnonzero(is_text(batch.triple_kinds))
        if textual.size == 0:
            return batch.triple_raws
        raws = batch.triple_raws.copy()
        keys, owned = batch.triple_keys[textual], of_attributes[textual]
        is_list = batch.triple_kinds[textual] == Kind.LIST
        scopes: U32 = np.empty(textual.size, np.uint32)
        for attribute, names in ((False, self.schema.properties), (True, self.schema.attributes)):
            used = owned == attribute
            if used.any():
                scopes[used] = scope_of(0, attribute=attribute, is_list=False) + (
                    _numbers(names, batch.keys, keys[used]).astype(np.uint32) << np.uint32(2)
                )
        scopes += is_list
        raws[textual] = self._dictionary.encode(scopes, raws[textual].astype(np.uint32), batch.strings)
        return raws

    def _apply_events(
        self, batch: RecordBatch, rows: U32, counts: I64, chosen: Bools, triples: Bools, raws: I64
    ) -> None:
        self.events.append(
            ArrivedEvents(
                rows[chosen],
                _numbers(self.schema.events, batch.names, batch.record_names[chosen]),
                batch.record_times[chosen],
                counts[chosen].astype(np.uint32),
                _numbers(self.schema.properties, batch.keys, batch.triple_keys[triples]),
                batch.triple_kinds[triples],
                raws[triples],
            )
        )

    def _apply_changes(self, batch: RecordBatch, rows: U32, times: I64, triples: Bools, raws: I64) -> None:
        attributes = _numbers(self.schema.attributes, batch.keys, batch.triple_keys[triples])
        kinds, values = batch.triple_kinds[triples], raws[triples]
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


def _numbers(table: NameTable, names: tuple[str, ...], used: U16) -> U16:
    """Partition ids of the batch-local name numbers `used`; names that are not used are not registered."""
    local: U16 = np.zeros(len(names), np.uint16)
    for index in np.flatnonzero(np.bincount(used, minlength=len(names))):
        local[index] = table.number(names[index])
    return local[used]


def _groups(keys: U16) -> Iterator[tuple[int, np.ndarray[tuple[int], np.dtype[np.intp]]]]:
    for key in np.flatnonzero(np.bincount(keys)):
        yield int(key), np.flatnonzero(keys == key)
