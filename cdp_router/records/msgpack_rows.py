"""msgpack rows to a batch without a Python object per value, except for invalid rows or rows of unusual shape.

A kernel reads the usual rows and notes the places of the others. Those few are decoded and checked one by one, which
finds their faults, and put back in their places.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from cdp_router.errors import RequestInvalid, RequestTooLarge
from cdp_router.identity.batch_links import NO_LINKS
from cdp_router.limits import ROWS_RECORDS_MAX
from cdp_router.records.blocked_texts import which_blocked
from cdp_router.records.blocklist import Blocked
from cdp_store.arrays import I64, U8, U32, AnyArray, Bools
from cdp_store.identity.identity_changes import Links
from cdp_store.kernels import msgpack_rows
from cdp_store.kernels.interning import COUNT, Table
from cdp_store.kernels.msgpack_tokens import BROKEN, PADDING
from cdp_store.limits import FUTURE_SKEW_MS
from cdp_store.records.records import ATTRIBUTES, RecordBatch, Strings, subset

FIELD: Final = "batch.msgpack_rows"
# No sender can choose names that collide in the tables of a batch.
_KEY: Final = (np.uint64(secrets.randbits(64)), np.uint64(secrets.randbits(64)))


@dataclass(frozen=True, slots=True)
class FoundRows:
    """The rows of a msgpack array: row i is packed[starts[i]:starts[i + 1]]; and whether its texts are UTF-8.

    `promised` is the length in the head of the array. Rows after the last found one cannot be read: the bytes end, or
    stop being msgpack, at starts[-1].
    """

    packed: bytes
    starts: I64
    is_text: Bools
    promised: int

    def __len__(self) -> int:
        return int(self.is_text.shape[0])

    def row(self, position: int) -> bytes:
        """The bytes of one row."""
        return self.packed[self.starts[position] : self.starts[position + 1]]


@dataclass(frozen=True, slots=True)
class ReadRows:
    """The batch of the usual rows, their positions, those of the other rows, and identifiers given together."""

    batch: RecordBatch
    positions: np.ndarray[tuple[int], np.dtype[np.intp]]
    unusual: I64
    links: Links


def find_rows(packed: bytes) -> FoundRows:
    """Places of the rows; RequestInvalid if the bytes are not an array of rows, or have too many."""
    scratch = _padded(packed)
    promised, at = msgpack_rows.read_array_head(scratch, len(packed))
    if promised == BROKEN:
        raise RequestInvalid(FIELD, "must be a msgpack array of records")
    if promised > ROWS_RECORDS_MAX:
        raise RequestTooLarge(FIELD, f"has {promised} records; the limit is {ROWS_RECORDS_MAX}")
    starts: I64 = np.empty(promised + 1, np.int64)
    is_text: Bools = np.empty(promised, np.bool_)
    count = msgpack_rows.find_rows(scratch, at, len(packed), starts, is_text)
    if promised and not count:
        raise RequestInvalid(FIELD, f"is not msgpack: the first record, at byte {at}, cannot be read")
    if count == promised and starts[count] != len(packed):
        raise RequestInvalid(FIELD, f"{len(packed) - starts[count]} bytes follow the array of records")
    return FoundRows(packed, starts[: count + 1], is_text[:count], int(promised))


def read_msgpack_rows(found: FoundRows, batch_id: bytes, now_ms: int, blocked: Blocked) -> ReadRows | None:
    """The usual rows of those found; None if all of them together have more names than a batch can number."""
    end = int(found.starts[-1])
    scratch = _padded(found.packed)
    parsed = msgpack_rows.parse_rows(scratch, found.starts, found.is_text, end, now_ms + FUTURE_SKEW_MS, *_KEY)
    status, count, filled, odd = parsed[:4]
    if status != 0:
        return None
    owners, seconds, numbers, times, ends, message_ends, messages, positions, unusual = parsed[4:13]
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
    return _without_nobody(ReadRows(batch, positions[:count], unusual[:odd], NO_LINKS), seconds[:count], blocked)


def _without_nobody(read: ReadRows, seconds: U32, blocked: Blocked) -> ReadRows:
    """The same with the links that its records state; rows with an identifier of nobody become unusual."""
    batch, positions, unusual = read.batch, read.positions, read.unusual
    of_nobody = which_blocked(batch.identities, blocked, skipped=1)
    if of_nobody.any():
        has_second = seconds != msgpack_rows.NO_SECOND
        bad = of_nobody[batch.record_identities]
        bad[has_second] |= of_nobody[seconds[has_second]]
        kept = np.flatnonzero(~bad)
        unusual = np.sort(np.concatenate((unusual, positions[bad])))
        # Removing records renumbers identities, which identify the second ones.
        links = _links(batch, seconds, kept)
        return ReadRows(batch.take(kept), positions[kept], unusual, links)
    links = _links(batch, seconds, np.arange(len(batch)))
    if len(links):
        # An identity that is only a second one has no record here.
        owners, kept_identities = subset(batch.record_identities, batch.identities)
        batch = replace(batch, record_identities=owners, identities=kept_identities)
    return ReadRows(batch, positions, unusual, links)


def _links(batch: RecordBatch, seconds: U32, kept: I64) -> Links:
    """Anonymous ids that some of the records give alongside a user id."""
    records = kept[seconds[kept] != msgpack_rows.NO_SECOND]
    lower, upper = seconds[records], batch.record_identities[records]
    ids = batch.message_ids.take(records.astype(np.uint32))
    return Links(batch.identities.take(lower), batch.identities.take(upper), batch.record_times[records], ids)


def _padded(packed: bytes) -> U8:
    scratch: U8 = np.zeros(len(packed) + PADDING, np.uint8)
    scratch[: len(packed)] = np.frombuffer(packed, np.uint8)
    return scratch


def _strings(table: Table) -> Strings:
    state, _, _, offsets, data = table
    count = int(state[COUNT])
    return Strings(offsets[: count + 1], data[: int(offsets[count])])


def _used(numbers: AnyArray, table: Table) -> tuple[U32, tuple[str, ...]]:
    """Numbers and names, without names of rows that were not used in the end; the mark of attributes stays."""
    given = numbers != ATTRIBUTES
    index: U32 = numbers.astype(np.uint32)
    index[given], kept = subset(index[given], _strings(table))
    return index, tuple(kept[number].decode() for number in range(len(kept)))
