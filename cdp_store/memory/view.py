"""An immutable reading of a partition at a sequence number: the only part the query side sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa

from cdp_store.arrays import I32, I64, U8, U16, AnyArray, Bools
from cdp_store.columns.dictionary import StringDictionary, scope_of
from cdp_store.events.chunk import EventChunk
from cdp_store.events.chunk_sealing import EventColumns, order_by_row_time, seal
from cdp_store.events.event_tables import EventsReading
from cdp_store.events.layout import Chunks, Layout
from cdp_store.events.retained import Summary
from cdp_store.ids import LOWER_CASE, SequenceNumber, encode_identifier
from cdp_store.kernels import changes, strings
from cdp_store.limits import MORSEL_ROWS, TIME_MAX_MS, TIME_MIN_MS
from cdp_store.memory.schema import SchemaReading
from cdp_store.profiles.attributes import (
    AttributeBlock,
    AttributeReading,
    Versions,
    block_at,
    current_versions,
    touched_rows,
)
from cdp_store.profiles.profile_times import ProfileTimesReading

CHANGE_VALUE: Final = 0  # property id under which a change chunk keeps the new value


@dataclass(frozen=True, slots=True)
class PartitionView:
    """Content of one partition at its capture; `identifiers` are (offsets, bytes) of the encoded ones by row.

    `summaries` count, by event name, the events that retention has dropped; `hidden` are rows that are left out;
    `tables` keeps what compiled kernels are told about the arrays.
    """

    sequence: SequenceNumber
    row_count: int
    identifiers: tuple[AnyArray, U8]
    buckets: U16
    times: ProfileTimesReading
    schema: SchemaReading
    attributes: Mapping[int, AttributeReading]
    events: EventsReading
    changes: EventsReading
    dictionary: StringDictionary
    summaries: Mapping[int, Summary]
    hidden: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    tables: dict[object, object] = field(init=False, repr=False, compare=False, default_factory=dict)

    def created_by(self, instant_ms: int) -> Bools:
        """Mask of the rows whose profiles existed at an instant: bool[row_count]."""
        created = self.times.created_by(instant_ms)
        created[self.hidden] = False
        return created

    def erased(self) -> Bools:
        """Mask of the rows of erased profiles: bool[row_count]; they exist at no instant."""
        return ~self.created_by(TIME_MAX_MS)

    def gather_identifiers(self, rows: I64) -> tuple[I64, U8]:
        """(offsets i64[n + 1], bytes) of the encoded canonical identifiers of rows."""
        return strings.gather(*self.identifiers, rows)

    def named_by(self, kind: str) -> Bools:
        """Mask of the rows that have a canonical identifier of this kind: bool[row_count]."""
        offsets, data = self.identifiers
        mask: Bools = data[offsets[:-1]] | LOWER_CASE == encode_identifier(kind, "")[0]
        return mask

    def event_chunks(self, name: int) -> tuple[EventChunk, ...]:
        """Chunks of an event name; those that share a bucket are in order of arrival."""
        return self.events.pieces(name)

    def attribute_at(self, attribute: int, instant_ms: int) -> AttributeReading | None:
        """An attribute at an instant: the current blocks, with older values for rows whose current value is newer."""
        current = self.attributes.get(attribute)
        if current is None or current.latest_ms <= instant_ms:
            return current
        kinds, raws = self._superseded_at(attribute, instant_ms)
        blocks = list[AttributeBlock | None]()
        for number, (block, morsel) in enumerate(zip(current.blocks, self.times.morsels, strict=False)):
            part = slice(number * MORSEL_ROWS, (number + 1) * MORSEL_ROWS)
            then = block and block_at(block, morsel.set_after(instant_ms), instant_ms, kinds[part], raws[part])
            blocks.append(then)
        return AttributeReading(tuple(blocks), instant_ms)

    def attribute_versions(self, attribute: int) -> Versions:
        """Every value an attribute ever had, removals included, by (row, time); those of one time as they arrived."""
        parts = [changes_of(chunk) for chunk in self.changes.pieces(attribute)]
        if attribute in self.attributes:
            parts.append(self._current(self.attributes[attribute]))
        versions = Versions.join(parts)
        return versions.take(order_by_row_time(versions.rows, versions.times)) if len(versions) else versions

    def any_has_attribute(self, rows: Bools, attribute: int) -> bool:
        """True if any of some rows, bool[row_count], has a value of an attribute, or ever had one."""
        if any(rows[chunk.full_rows()].any() for chunk in self.changes.pieces(attribute)):
            return True
        blocks = self.attributes[attribute].blocks if attribute in self.attributes else ()
        parts = ((rows[number * MORSEL_ROWS :], block) for number, block in enumerate(blocks) if block is not None)
        return any(part[touched_rows(block)].any() for part, block in parts)

    def attribute_chunks(self, attribute: int, layout: Layout) -> Chunks:
        """All those versions as chunks: the history's, then what is current, the last to arrive of its row and time."""
        current = self._current(self.attributes[attribute])
        given = np.flatnonzero(current.kinds)
        columns = EventColumns(
            current.rows,
            current.times,
            given.astype(np.uint32),
            np.full(given.shape[0], CHANGE_VALUE, np.uint16),
            current.kinds[given],
            current.raws[given],
        )
        return (*self.changes.chunks(attribute), *seal(columns, layout))

    def _current(self, reading: AttributeReading) -> Versions:
        return current_versions(reading, (morsel.first_set_ms() for morsel in self.times.morsels))

    def _superseded_at(self, attribute: int, instant_ms: int) -> tuple[U8, I64]:
        """Per row the last value at or before an instant that is not current any more: kinds u8[n], raws i64[n]."""
        chunks = [chunk for chunk in self.changes.pieces(attribute) if chunk.first_ms <= instant_ms]
        best_ms: I64 = np.full(self.row_count, TIME_MIN_MS - 1, np.int64)
        best_chunk: I32 = np.full(self.row_count, -1, np.int32)
        best_index: I64 = np.zeros(self.row_count, np.int64)
        for number, chunk in enumerate(chunks):
            changes.latest_change_by_row(
                chunk.run_rows,
                chunk.run_starts,
                chunk.run_offsets,
                chunk.times,
                chunk.base_ms,
                instant_ms,
                number,
                best_ms,
                best_chunk,
                best_index,
            )
        kinds: U8 = np.zeros(self.row_count, np.uint8)
        raws: I64 = np.zeros(self.row_count, np.int64)
        for number, chunk in enumerate(chunks):
            rows = np.flatnonzero(best_chunk == number)
            if rows.size:
                kinds[rows], raws[rows] = changed_to(chunk, best_index[rows])
        return kinds, raws

    def strings(self, key: int, *, attribute: bool, is_list: bool = False) -> pa.ChunkedArray:
        """Distinct strings of a property or attribute as one Arrow chunk of (large_)binary, in code order; no copy."""
        return self.dictionary.values(scope_of(key, attribute=attribute, is_list=is_list))

    def string_arena(self, key: int, *, attribute: bool, is_list: bool = False) -> tuple[AnyArray, U8]:
        """The memory of `strings`: (offsets u32 or i64 [n + 1], all bytes back to back), in code order."""
        return self.dictionary.filled(scope_of(key, attribute=attribute, is_list=is_list))

    def string_code(self, key: int, text: str, *, attribute: bool) -> int | None:
        """Dictionary code of one string, or None when it never occurred."""
        return self.dictionary.lookup(scope_of(key, attribute=attribute, is_list=False), text.encode())


def changed_to(chunk: EventChunk, at: I64) -> tuple[U8, I64]:
    """(kinds u8[n], raws i64[n]) of the attribute changes at some positions of a chunk."""
    kinds: U8 = np.zeros(at.shape[0], np.uint8)
    raws: I64 = np.zeros(at.shape[0], np.int64)
    for (_, kind), column in chunk.columns.items():
        taken = column.take(at)
        presence = taken.presence()
        given = slice(None) if presence is None else presence
        kinds[given] = kind
        raws[given] = taken.raws()[given]
    return kinds, raws


def changes_of(chunk: EventChunk) -> Versions:
    """The attribute changes of a chunk, in its order."""
    kinds, raws = changed_to(chunk, np.arange(len(chunk), dtype=np.int64))
    return Versions(chunk.full_rows(), chunk.full_times(), kinds, raws)
