"""Which partition a profile lives in: a keyed, stable hash of its canonical identifier."""

from __future__ import annotations

import numpy as np

from cdp_store.arena import HashKey
from cdp_store.arrays import U32, U64
from cdp_store.kernels import hashing
from cdp_store.records import RecordBatch, Strings

Parts = dict[int, tuple[RecordBatch, np.ndarray[tuple[int], np.dtype[np.intp]]]]


def partitions_of(identities: Strings, key: HashKey, partition_count: int) -> U32:
    """Partition of each encoded identifier: SipHash-1-3 under the cluster's key, modulo the number of partitions.

    Frozen: changing it would move every profile. A partition's tables use the same hash: the remainder taken here says
    nothing about the top bits, which pick their slots, nor about the lower half, which makes their tags.
    """
    hashes: U64 = np.empty(len(identities), np.uint64)
    hashing.hash_strings(np.uint64(key[0]), np.uint64(key[1]), identities.offsets, identities.data, hashes)
    return ((hashes >> np.uint64(32)) % np.uint64(partition_count)).astype(np.uint32)


def split(batch: RecordBatch, key: HashKey, partition_count: int) -> Parts:
    """The batch by partition, with the positions its records had."""
    partitions = partitions_of(batch.identities, key, partition_count)[batch.record_identities]
    parts: Parts = {}
    for partition in np.flatnonzero(np.bincount(partitions, minlength=partition_count)):
        records = np.flatnonzero(partitions == partition)
        parts[int(partition)] = (batch.take(records), records)
    return parts
