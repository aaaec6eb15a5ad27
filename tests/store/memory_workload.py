"""Run in a fresh process: load profiles and events, print what the process grew by and what the partition reports.

python -m tests.store.memory_workload
"""

from __future__ import annotations

import gc
import json

import numpy as np
import psutil

from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.outside.heap import release_free_memory
from cdp_store.partition.partition import Partition
from cdp_store.records.records import ATTRIBUTES, RecordBatch, Strings
from cdp_store.values import Kind
from tests.shards import KEY

PROFILES, BATCH, EVENTS_EACH = 240_000, 20_000, 2
DAY_MS = 86_400_000


def _strings(prefix: bytes, numbers: range) -> Strings:
    return Strings.of(prefix + b"%09d" % (number * 736_338_717 % 1_000_000_007) for number in numbers)


def profiles(numbers: range) -> RecordBatch:
    """One attribute record each: a code, two integers, a price, a time and an e-mail address."""
    count = len(numbers)
    rng = np.random.default_rng(numbers.start)
    emails, plans = _strings(b"someone-", numbers), [b"free", b"gold"]
    texts = Strings.of([emails[index] for index in range(count)] + plans)
    kinds = (Kind.STRING, Kind.INT, Kind.INT, Kind.FLOAT, Kind.TIME, Kind.STRING)
    columns = (
        rng.integers(count, count + len(plans), count),
        rng.integers(0, 100, count),
        rng.integers(0, 30_000, count),
        np.round(rng.exponential(100, count), 2).view(np.int64),
        rng.integers(0, 1000 * DAY_MS, count),
        np.arange(count),
    )
    return RecordBatch(
        b"profiles %d" % numbers.start,
        0,
        _strings(b"u", numbers),
        np.arange(count, dtype=np.uint32),
        np.full(count, ATTRIBUTES, np.uint16),
        rng.integers(0, 1000 * DAY_MS, count),
        np.arange(0, (count + 1) * len(kinds), len(kinds), dtype=np.uint32),
        Strings.of([b""] * count),
        np.tile(np.arange(len(kinds), dtype=np.uint16), count),
        np.tile(np.array(kinds, np.uint8), count),
        np.stack(columns, axis=1).reshape(-1).astype(np.int64),
        texts,
        (),
        ("plan", "age", "points", "value", "seen", "email"),
    )


def events(numbers: range) -> RecordBatch:
    """Two events each, with an amount."""
    count = len(numbers) * EVENTS_EACH
    rng = np.random.default_rng(numbers.stop)
    return RecordBatch(
        b"events %d" % numbers.start,
        0,
        _strings(b"u", numbers),
        np.repeat(np.arange(len(numbers), dtype=np.uint32), EVENTS_EACH),
        np.zeros(count, np.uint16),
        rng.integers(0, 100 * DAY_MS, count),
        np.arange(count + 1, dtype=np.uint32),
        Strings.of([b""] * count),
        np.zeros(count, np.uint16),
        np.full(count, Kind.INT, np.uint8),
        rng.integers(0, 1000, count),
        Strings.of([]),
        ("Paid",),
        ("amount",),
    )


def load(partition: Partition, people: int) -> None:
    """Profiles, then events, sealed, and read once."""
    sequence = 0
    for make in (profiles, events):
        for start in range(0, people, BATCH):
            sequence += 1
            partition.apply(make(range(start, start + BATCH)), SequenceNumber(sequence))
            partition.maintain()
    partition.maintain(0)
    partition.capture()


def private_bytes() -> int:
    """Memory that only this process has, with nothing free kept back."""
    gc.collect()
    release_free_memory()
    return int(psutil.Process().memory_full_info().uss)


def main() -> None:
    """Load a throw-away partition so that all code is in memory, then one that counts."""
    load(Partition(PartitionId(0), KEY), 3 * BATCH)
    before = private_bytes()
    partition = Partition(PartitionId(1), KEY)
    load(partition, PROFILES)
    print(json.dumps({"grown": private_bytes() - before, "reported": partition.status().memory}))


if __name__ == "__main__":
    main()
