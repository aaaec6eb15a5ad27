"""Keyed hashes of the texts in a person's records: the terms to search for once the person is forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from cdp_store.arrays import U64
from cdp_store.columns.arena import HashKey, hash_strings
from cdp_store.memory.contents import batch_of_events, batch_of_versions, current_of, events_of
from cdp_store.memory.view import PartitionView, changes_of
from cdp_store.partition.partition import Partition
from cdp_store.records.records import RecordBatch

_EVENTS_AT_ONCE = 1 << 16  # of one chunk: bounds the memory of one step


def text_hashes(partition: Partition, identifiers: Sequence[bytes]) -> U64:
    """Hashes of all distinct texts and lists that profiles hold or have held, in quarantine too: u64[n], ascending.

    Memory depends on the number of distinct texts, not of values.
    """
    view, found = partition.locate(identifiers)
    rows = sorted(row for row in found if row is not None)
    hashes: U64 = np.zeros(0, np.uint64)
    for batch in (*_batches(view, rows), *partition.quarantine.batches_of(identifiers)):
        hashes = np.union1d(hashes, hashes_of(batch, partition.key))
    return hashes


def hashes_of(batch: RecordBatch, key: HashKey) -> U64:
    """Hashes of all texts and lists in a batch: u64[n]."""
    return hash_strings(key, batch.strings)


def _batches(view: PartitionView, rows: Sequence[int]) -> Iterator[RecordBatch]:
    wanted = np.array(rows, np.int64)
    if not rows:
        return
    for name in range(len(view.schema.events)):
        for chunk in view.event_chunks(name):
            where = events_of(chunk, wanted, view.row_count)
            for start in range(0, where.shape[0], _EVENTS_AT_ONCE):
                yield batch_of_events(view, name, chunk, where[start : start + _EVENTS_AT_ONCE])
    for attribute in sorted(view.attributes):
        for chunk in view.changes.pieces(attribute):
            versions = changes_of(chunk).take(events_of(chunk, wanted, view.row_count))
            yield batch_of_versions(view, attribute, versions)
        yield batch_of_versions(view, attribute, current_of(view, attribute, wanted))
