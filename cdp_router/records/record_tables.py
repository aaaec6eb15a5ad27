"""Records as readable Arrow tables, with their receipts."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from cdp_router.contract.arrow_streams import INSTANT, VALUE
from cdp_store.arrays import I64, U8, U64, Bools
from cdp_store.columns.arena import hash_strings
from cdp_store.identity.origins import match_last
from cdp_store.memory.digest import combine
from cdp_store.records.records import ATTRIBUTES, RecordBatch, Strings
from cdp_store.snapshot.arrow_tables import strings_of
from cdp_store.snapshot.cold.cold_tables import encoded_text
from cdp_store.values import Kind, unpack_list

_RECEIVED: Final = ("message_id", "received", "partition", "sequence", "envelope")
_KEY: Final = (0, 0)  # hashes only distinguish records of one person
_CHANGE: Final = "\0"  # takes the place of the name where there is no event


def table_of(batch: RecordBatch) -> pa.Table:
    """Records as a table: time, event (null: a change of attributes), values, source (the encoded identifier)."""
    names = pa.array(batch.names, pa.string())
    numbers = batch.record_names.astype(np.int32)
    return pa.table(
        {
            "time": pa.array(batch.record_times).cast(INSTANT),
            "event": names.take(pa.array(numbers, mask=batch.record_names == ATTRIBUTES)),
            "values": _values(batch),
            "source": _texts(batch.identities).take(pa.array(batch.record_identities)),
        }
    )


def with_receipts(records: pa.Table, receipts: pa.Table) -> pa.Table:
    """The records with the receipt of each: message_id, received, partition, sequence, envelope; null where unknown.

    Both are in order of arrival among those of one time. A change of an attribute has a receipt only if it is the only
    one that arrived for its instant. Which of several changed it is not recorded.
    """
    is_change = records.column("event").is_null().to_numpy(zero_copy_only=False)
    wanted = _said(records.column("event"), records.column("source"), records.column("time"))
    offered = _said(receipts.column("name"), receipts.column("identifier"), receipts.column("time"))
    at: I64 = np.full(wanted.shape[0], -1, np.int64)
    reversed_at = match_last(wanted[~is_change], offered[::-1])  # pairs the last of each with the last
    at[~is_change] = np.where(reversed_at >= 0, offered.shape[0] - 1 - reversed_at, -1)
    at[is_change] = _only_one(wanted[is_change], offered)
    taken = receipts.take(pa.array(at, mask=at < 0))
    for name in _RECEIVED:
        column = taken.column(name)
        is_encoded = pa.types.is_dictionary(column.type)
        records = records.append_column(name, column.cast(pa.string()) if is_encoded else column)
    return records


def _said(names: pa.ChunkedArray, sources: pa.ChunkedArray, times: pa.ChunkedArray) -> U64:
    """A hash of (name, source, time) of each record: u64[n]."""
    table = pa.table({"name": names.cast(pa.string()).fill_null(_CHANGE), "source": sources.cast(pa.string())})
    instants: I64 = times.cast(pa.int64()).to_numpy()
    return combine(_hashed(table, "name"), _hashed(table, "source"), instants.view(np.uint64))


def _hashed(table: pa.Table, name: str) -> U64:
    texts, codes = encoded_text(table, name)
    if not len(texts):
        return np.zeros(0, np.uint64)
    offsets, data = strings_of(pa.table({"text": texts.cast(pa.large_string())}), "text", 0, len(texts))
    return hash_strings(_KEY, Strings(offsets.astype(np.uint32), data))[codes]


def _only_one(wanted: U64, offered: U64) -> I64:
    """For each wanted hash the one offered that equals it; -1 if there is none, or several."""
    distinct, first, counts = np.unique(offered, return_index=True, return_counts=True)
    distinct, first = distinct[counts == 1], first[counts == 1]
    if not distinct.shape[0]:
        return np.full(wanted.shape[0], -1, np.int64)
    at = np.minimum(np.searchsorted(distinct, wanted), distinct.shape[0] - 1)
    return np.where(distinct[at] == wanted, first[at], -1)


def _values(batch: RecordBatch) -> pa.Array:
    kinds, raws = batch.triple_kinds, batch.triple_raws
    children = [
        pa.array(batch.keys, pa.string()).take(pa.array(batch.triple_keys)),
        pa.array(raws != 0, mask=kinds != Kind.BOOL),
        pa.array(raws, mask=kinds != Kind.INT),
        pa.array(raws.view(np.float64), mask=kinds != Kind.FLOAT),
        _of_kind(_texts(batch.strings), kinds, raws, Kind.STRING),
        pa.array(raws, mask=kinds != Kind.TIME).cast(INSTANT),
        _lists(batch, kinds, raws),
    ]
    values = pa.StructArray.from_arrays(children, fields=list(VALUE))
    return pa.ListArray.from_arrays(pa.array(batch.property_offsets.astype(np.int32)), values)


def _lists(batch: RecordBatch, kinds: U8, raws: I64) -> pa.Array:
    used, index = np.unique(raws[kinds == Kind.LIST], return_inverse=True)
    texts = [_json(batch.strings[int(at)]) for at in used]  # one for each distinct list
    numbers: I64 = np.zeros(raws.shape[0], np.int64)
    numbers[kinds == Kind.LIST] = index
    return _of_kind(pa.array(texts, pa.string()), kinds, numbers, Kind.LIST)


def _json(packed: bytes) -> str:
    items: list[Any] = unpack_list(packed)
    return msgspec.json.encode(items).decode()


def _of_kind(texts: pa.Array, kinds: U8, numbers: I64, kind: Kind) -> pa.Array:
    others: Bools = kinds != kind
    return texts.take(pa.array(numbers, mask=others))


def _texts(table: Strings) -> pa.Array:
    offsets, data = pa.py_buffer(table.offsets.astype(np.int64)), pa.py_buffer(table.data)
    return pa.Array.from_buffers(pa.large_string(), len(table), [None, offsets, data]).cast(pa.string())
