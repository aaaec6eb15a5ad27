"""Size of a batch in long form, distributed over partitions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cdp_router.errors import RequestTooLarge
from cdp_router.limits import SPREAD_BYTES, SPREAD_BYTES_MAX, SPREAD_GROWTH_MAX
from cdp_store.arrays import I64, AnyArray
from cdp_store.records.records import RecordBatch, Strings
from cdp_store.values import is_text

_RECORD_BYTES = 24  # identity, name, time, and the ends of properties and message id
_VALUE_BYTES = 11  # key, kind, raw value


def check_spread(batch: RecordBatch, request_bytes: int, partition_count: int) -> None:
    """Refuses a batch whose parts together are too large for a request of this size, or for one shard."""
    limit = min(SPREAD_BYTES_MAX, max(SPREAD_BYTES, SPREAD_GROWTH_MAX * request_bytes))
    parts = min(partition_count, len(batch))
    if _bound(batch, parts) <= limit:
        return
    size = spread_bytes(batch, partition_count)
    if size > limit:
        problem = f"its records are {size} bytes once distributed to partitions; for its size the limit is {limit}"
        raise RequestTooLarge("batch.records", problem)


def spread_bytes(batch: RecordBatch, partition_count: int) -> int:
    """Bytes of all parts: a text, or a name, goes to every partition that uses it."""
    parts = min(partition_count, len(batch))
    texts = batch.triple_raws[is_text(batch.triple_kinds)]
    return (
        _copied(_sizes_of(batch.names), batch.record_names[~batch.is_attributes()], parts)
        + _copied(_sizes_of(batch.keys), batch.triple_keys, parts)
        + _own_bytes(batch)
        + _copied(_sizes(batch.strings), texts, parts)
        + _copied(_sizes(batch.envelopes), batch.record_envelopes, parts)
    )


def _bound(batch: RecordBatch, parts: int) -> int:
    """Upper bound of `spread_bytes`, without looking at records: as if every text went to every part."""
    texts = int(_sizes_of(batch.names).sum() + _sizes_of(batch.keys).sum())
    texts += int(batch.strings.data.shape[0] + batch.envelopes.data.shape[0])
    return _own_bytes(batch) + texts * parts


def _own_bytes(batch: RecordBatch) -> int:
    """Bytes of the data that go to one part only."""
    texts = int(batch.identities.data.shape[0] + batch.message_ids.data.shape[0])
    return _RECORD_BYTES * len(batch) + _VALUE_BYTES * int(batch.triple_keys.shape[0]) + texts


def _sizes(table: Strings) -> I64:
    offsets: I64 = table.offsets.astype(np.int64)
    return offsets[1:] - offsets[:-1]


def _sizes_of(names: Sequence[str]) -> I64:
    return np.array([len(name.encode()) for name in names], np.int64)


def _copied(sizes: I64, numbers: AnyArray, parts: int) -> int:
    """Bytes of the texts with these numbers, each as often as it is mentioned, at most once per part."""
    if not numbers.size:
        return 0
    mentioned = np.bincount(numbers.astype(np.int64), minlength=sizes.shape[0])
    return int((sizes * np.minimum(mentioned, parts)).sum())
