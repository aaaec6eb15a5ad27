"""msgpack rows to a batch without a Python object per value, except for rows that are wrong or of an unusual shape.

A kernel reads the usual rows and notes the places of the others: those few are decoded and checked one by one, which
says what is wrong with them, and put back in their places.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from cdp_store.arrays import U8, U32, AnyArray
from cdp_store.identity.changes import Links
from cdp_store.kernels import msgpack_rows
from cdp_store.kernels.interning import COUNT, Table
from cdp_store.kernels.msgpack_tokens import PADDING
from cdp_store.limits import FUTURE_SKEW_MS
from cdp_store.records import ATTRIBUTES, RecordBatch, Strings, subset

# Nobody outside of this process can aim names at one slot of a batch's tables.
_KEY: Final = (np.uint64(secrets.randbits(64)), np.uint64(secrets.randbits(64)))


@dataclass(frozen=True, slots=True)
class UnusualRow:
    """A row that was not read: its position in the batch, its bytes."""

    position: int
    packed: bytes


@dataclass(frozen=True, slots=True)
class ReadRows:
    """The batch of the usual rows, the position each had, the rows that are not in it, and ids given together."""

    batch: RecordBatch
    positions: np.ndarray[tuple[int], np.dtype[np.intp]]
    unusual: list[UnusualRow]
    links: Links


def read_msgpack_rows(packed: bytes, batch_id: bytes, now_ms: int) -> ReadRows | None:
    """The usual rows of a msgpack array; None where only all of the bytes together tell what is wrong with them."""
    scratch: U8 = np.zeros(len(packed) + PADDING, np.uint8)
    scratch[: len(packed)] = np.frombuffer(packed, np.uint8)
    parsed = msgpack_rows.parse_rows(scratch, len(packed), now_ms + FUTURE_SKEW_MS, *_KEY)
    status, count, filled, odd = parsed[:4]
    if status != 0:
        return None
    owners, seconds, numbers, times, ends, message_ends, messages, positions, places = parsed[4:13]
    (triple_keys, kinds, raws), identities, names, keys, strings = parsed[13:]
    record_names, used_names = _used(numbers[:count], names)
    used_keys, key_names = _used(triple_keys[:filled], keys)
    batch = RecordBatch(
        batch_id,
        now_ms,
        _strings(identities),
        owners[:count],
        record_names.astype(np.uint16),
        times[:count],
        ends[: count + 1],
        Strings(message_ends[: count + 1], messages[: int(message_ends[count])]),
        used_keys.astype(np.uint16),
        kinds[:filled],
        raws[:filled],
        _strings(strings),
        used_names,
        key_names,
    )
    unusual = [
        UnusualRow(int(position), packed[start:stop]) for position, start, stop in places[: 3 * odd].reshape(-1, 3)
    ]
    links = _links(batch, seconds[:count])
    if len(links):
        # Who is only a second identity has no record here.
        owners, kept = subset(batch.record_identities, batch.identities)
        batch = replace(batch, record_identities=owners, identities=kept)
    return ReadRows(batch, positions[:count], unusual, links)


def _links(batch: RecordBatch, seconds: U32) -> Links:
    """Which anonymous ids the records give beside a user id."""
    records = np.flatnonzero(seconds != msgpack_rows.NO_SECOND)
    lower, upper = seconds[records], batch.record_identities[records]
    ids = batch.message_ids.take(records.astype(np.uint32))
    return Links(batch.identities.take(lower), batch.identities.take(upper), batch.record_times[records], ids)


def _strings(table: Table) -> Strings:
    state, _, _, offsets, data = table
    count = int(state[COUNT])
    return Strings(offsets[: count + 1], data[: int(offsets[count])])


def _used(numbers: AnyArray, table: Table) -> tuple[U32, tuple[str, ...]]:
    """Numbers and names, without names of rows that were not read in the end; the mark of attributes stays."""
    given = numbers != ATTRIBUTES
    index: U32 = numbers.astype(np.uint32)
    index[given], kept = subset(index[given], _strings(table))
    return index, tuple(kept[number].decode() for number in range(len(kept)))
