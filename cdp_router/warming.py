"""Compiling every kernel, or loading it from the cache, before a process says it is ready.

The work is done the way production does it, on a few thousand made-up records that reach every kernel with every
type of array: so no query is the first to pay for a compilation. A test compares the compiled signatures.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from cdp_query import pipeline
from cdp_query.bind import Binder
from cdp_query.tree import Context
from cdp_router.partitioning import split
from cdp_store.builder import BatchBuilder
from cdp_store.ids import USER_ID, PartitionId, SequenceNumber
from cdp_store.limits import BUCKET_CHUNKS_MAX, DAY_MS
from cdp_store.partition import Partition
from cdp_store.records import RecordBatch, decode_batch, encode_batch

_KEY: Final = (1, 2)
_QUESTIONS: Final = (
    'plan = "p1" and age > 3',
    'count("A") >= 1 and count("A", small > 1, last: 2d) < 5',
    *(f'sum("A".{name}) > 1' for name in ("small", "medium", "wide", "huge", "price", "mixed")),
    'avg("A".mixed) > 1',
    'min("A".small) > 0',
    'max("A".price) < 9',
    'first_time("A", last: 9d) and last_time("A", last: 9d)',
    'sequence("A" -> "B" -> "A", within: 1d)',
    'sequence("A" -> "B", tie: strict)',
)

Step = tuple[str, Callable[[], object]]


def warm_kernels(progress: Callable[[int, int], None]) -> None:
    """Run every step; `progress(done, total)` is told before each and at the end."""
    steps = list(_steps())
    for done, (_, work) in enumerate(steps):
        progress(done, len(steps))
        work()
    progress(len(steps), len(steps))


def _steps() -> Iterator[Step]:
    partition = Partition(PartitionId(0), _KEY)
    batches = [_batch(events, seed) for seed, events in enumerate((20_000, *[50] * (BUCKET_CHUNKS_MAX + 1)))]
    for number, batch in enumerate(batches, 1):
        yield "split", lambda batch=batch: split(batch, _KEY, 3)
        yield "admit and apply", lambda batch=batch, number=number: _apply(partition, batch, number)
        yield "seal and compact", lambda: partition.maintain(0)
    unsealed = _batch(50, 99)
    yield "unsealed events", lambda: _apply(partition, unsealed, len(batches) + 1)
    for as_of_ms in (8 * DAY_MS, 400 * DAY_MS):
        for text in _QUESTIONS:
            yield text, lambda text=text, as_of_ms=as_of_ms: _ask(partition, text, as_of_ms)
    yield "identifiers", lambda: partition.identifiers(np.arange(3, dtype=np.int64))
    yield "find", lambda: partition.find([b"u1"])
    yield "breakdown", lambda: _break_down(partition)


def _apply(partition: Partition, batch: RecordBatch, sequence: int) -> None:
    received = decode_batch(encode_batch(batch))
    admission = partition.admit(received, partition.pending_ids())
    partition.apply(admission.batch, SequenceNumber(sequence))


def _ask(partition: Partition, text: str, as_of_ms: int) -> None:
    context = Context(as_of_ms)
    question = pipeline.prepare(text, None, context)
    pipeline.evaluate(question, partition.capture(), Binder(context))


def _break_down(partition: Partition) -> None:
    context = Context(400 * DAY_MS)
    pipeline.evaluate(pipeline.prepare("everyone", "plan", context), partition.capture(), Binder(context))


def _batch(events: int, seed: int) -> RecordBatch:
    """Made-up records: two event names over two buckets, equal times, properties of every kind and width."""
    chance, builder = random.Random(seed), BatchBuilder()
    for number in range(events):
        user = f"u{chance.randrange(200)}"
        time_ms = chance.randrange(40) * DAY_MS
        values = {
            "small": chance.randrange(200),
            "medium": chance.randrange(60_000),
            "wide": chance.randrange(1 << 31),
            "huge": chance.randrange(1 << 40),
            "price": chance.randrange(10_000) / 100,
            "mixed": chance.random() * 10 if number % 2 else number,
            "flag": number % 2 == 0,
            "text": f"t{number % 7}",
        }
        builder.add(USER_ID, user, "AB"[number % 2], time_ms, values, f"{seed}-{number}")
        if number < 100:
            attributes = {"plan": f"p{number % 3}", "age": number, "tags": ["x"], "gone": None}
            builder.add(USER_ID, user, None, time_ms, attributes)
    return builder.finish(f"{seed}".encode())
