"""Partition of a profile: a keyed, stable hash of its canonical identifier."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Final

import numpy as np

from cdp_store.arrays import I64, U32, U64
from cdp_store.columns.arena import HashKey
from cdp_store.kernels import hashing, splitting
from cdp_store.limits import MIB
from cdp_store.records.records import RecordBatch, Strings

# Few names: every part gets all of them. Many: each part gets its own.
NAMES_COPIED_MAX: Final = 4 * MIB
Parts = dict[int, tuple[RecordBatch, np.ndarray[tuple[int], np.dtype[np.intp]]]]


def partitions_of(identities: Strings, key: HashKey, partition_count: int) -> U32:
    """Partition of each encoded identifier: SipHash-1-3 under the cluster's key, modulo the number of partitions.

    Frozen: changing it would move every profile. A partition's tables use the same hash: this remainder is independent
    of the top bits, which pick their slots, and of the lower half, which makes their tags.
    """
    hashes: U64 = np.empty(len(identities), np.uint64)
    hashing.hash_strings(np.uint64(key[0]), np.uint64(key[1]), identities.offsets, identities.data, hashes)
    return partitions_of_hashes(hashes, partition_count)


def partitions_of_hashes(hashes: U64, partition_count: int) -> U32:
    """Partition of each identifier, from its keyed hash."""
    return ((hashes >> np.uint64(32)) % np.uint64(partition_count)).astype(np.uint32)


def split(batch: RecordBatch, key: HashKey, partition_count: int) -> Parts:
    """The batch by partition, with the original positions of its records."""
    partitions = partitions_of(batch.identities, key, partition_count)[batch.record_identities]
    order, starts = splitting.order_by_part(partitions, partition_count)
    names, times, ends, keys, kinds, raws, triple_starts = splitting.split_records(
        order,
        starts,
        batch.record_names,
        batch.record_times,
        batch.property_offsets,
        batch.triple_keys,
        batch.triple_kinds,
        batch.triple_raws,
    )
    indexed = splitting.split_indexes(order, starts, batch.record_identities, len(batch.identities))
    owners, identities, identity_starts = indexed
    text = splitting.split_text(kinds, raws, triple_starts, len(batch.strings))
    identity_parts = _strings_by_part(batch.identities, identities, identity_starts)
    message_parts = _strings_by_part(batch.message_ids, order.astype(np.uint32), starts)
    string_parts = _strings_by_part(batch.strings, *text)
    parts: Parts = {}
    trims = min(partition_count, len(batch)) * _name_bytes(batch) > NAMES_COPIED_MAX
    for part in np.flatnonzero(np.diff(starts)).tolist():
        records = slice(starts[part], starts[part + 1])
        triples = slice(triple_starts[part], triple_starts[part + 1])
        whole = RecordBatch(
            batch.batch_id,
            batch.received_ms,
            identity_parts[part],
            owners[records],
            names[records],
            times[records],
            ends[records.start + part : records.stop + part + 1],
            message_parts[part],
            keys[triples],
            kinds[triples],
            raws[triples],
            string_parts[part],
            batch.names,
            batch.keys,
            *batch.optional_of(order[records]),
        )
        parts[part] = (with_own_names(whole) if trims else whole, order[records])
    return parts


def with_own_names(batch: RecordBatch) -> RecordBatch:
    """The batch with only those names and keys that its records mention."""
    is_event = ~batch.is_attributes()
    used_names, numbers = np.unique(batch.record_names[is_event], return_inverse=True)
    used_keys, triple_keys = np.unique(batch.triple_keys, return_inverse=True)
    record_names = batch.record_names.copy()
    record_names[is_event] = numbers.astype(np.uint16)
    return replace(
        batch,
        record_names=record_names,
        triple_keys=triple_keys.astype(np.uint16),
        names=tuple(batch.names[number] for number in used_names.tolist()),
        keys=tuple(batch.keys[number] for number in used_keys.tolist()),
    )


def _name_bytes(batch: RecordBatch) -> int:
    return sum(map(len, batch.names)) + sum(map(len, batch.keys))


def _strings_by_part(table: Strings, kept: U32, kept_starts: I64) -> list[Strings]:
    offsets, data, byte_starts = splitting.split_strings(table.offsets, table.data, kept, kept_starts)
    bounds = list(zip(pairwise(kept_starts.tolist()), pairwise(byte_starts.tolist()), strict=True))
    return [
        # Each part has one offset more than it has strings.
        Strings(offsets[first + part : last + part + 1], data[begin:end])
        for part, ((first, last), (begin, end)) in enumerate(bounds)
    ]
