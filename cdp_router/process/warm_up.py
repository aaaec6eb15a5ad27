"""Compiling every kernel, or loading it from the cache, before a process reports that it is ready.

The work is done the way production does it, on a few thousand made-up records that reach every kernel with every
type of array: so no query has to wait for a compilation. A test compares the compiled signatures.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
from cdp.v1 import ingest_pb2

from cdp_query import pipeline
from cdp_query.bind.bind import Binder
from cdp_query.evaluate.execute import Execution
from cdp_query.reports.registry import REPORTS
from cdp_query.scan.narrowed import chunk_of, narrowed
from cdp_query.stats import Meter
from cdp_query.tree import Breakdown, Context, Funnel, Report
from cdp_router.cluster.partitioning import split
from cdp_router.questions.member_stream import kinds_and_ids
from cdp_router.records.columnarise import columnarise
from cdp_store.columns.arena import StringArena, hash_strings
from cdp_store.ids import USER_ID, PartitionId, SequenceNumber, encode_identifier
from cdp_store.kernels.bits import places_of_ones
from cdp_store.kernels.utf8 import which_not_utf8
from cdp_store.limits import BUCKET_CHUNKS_MAX, DAY_MS
from cdp_store.partition.partition import Partition
from cdp_store.records.builder import BatchBuilder
from cdp_store.records.records import RecordBatch, Strings, decode_batch, encode_batch
from cdp_store.values import Value

_KEY: Final = (1, 2)
_QUESTIONS: Final = (
    'plan = "p1" and age > 3',
    'plan contains "p"',
    'city = "c1"',
    'tags has "x" and size(tags) > 0 and any(tags, place.city = "x") and any(tags, place.city contains "x")',
    'count("A") >= 1 and count("A", small > 1, last: 2d) < 5',
    *(f'sum("A".{name}) > 1' for name in ("small", "medium", "wide", "huge", "price", "fare", "mixed")),
    'avg("A".mixed) > 1',
    'count("A", last: 3d) = 2',
    'sum("A".cents) > 1',
    'sum("A".spread) > 1',
    *(f'{extreme}("A".{name}) > 1' for extreme in ("min", "max") for name in ("small", "price")),
    'streak("A") > 1 and streak(["A", "B"]) > 2 and count("A", within: 1d, of_first: "A") > 1 and recency("A") > 3d',
    *(f'{measure}("A".{name}) > 0 * sum("B".{name})' for measure in ("distinct", "p95") for name in ("small", "mixed")),
    'regularly("A", 1 per day, 1 of last 9) and nth("A", 2) and first("A".small) = 1 and share("A".text = "t1") > 0.1',
    'days("A") > 1 and days(["A", "B"]) > 2 * count("B")',
    'first_time("A", last: 9d) and last_time("A", last: 9d)',
    'sequence("A" -> "B" -> "A", within: 1d)',
    'sequence("A" -> "B", tie: strict)',
    'sequence("A" -> "B", within: 1d, for: 2d, of_first: "A")',
    *(text for kind in REPORTS.values() for text in kind.warm_up),
)

Step = Callable[[], object]


def is_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """True if a process loads all kernels before it is ready; with CDP_WARM=0 the first calls that need one load it."""
    return environment.get("CDP_WARM", "1") != "0"


def warm_kernels(progress: Callable[[int, int], None] | None = None, evaluator: Step = lambda: None) -> None:
    """Runs every step; calls `progress(done, total)` after each.

    `evaluator` is one step more, before the first that needs the kernels for whole questions: it may wait for another
    process that compiles these (`warm_evaluator`).
    """
    steps = list(_steps(evaluator))
    for done, work in enumerate(steps, 1):
        work()
        if progress is not None:
            progress(done, len(steps))


def warm_evaluator() -> None:
    """Compiles the kernels for whole questions; they take about as long as all others together."""
    pipeline.evaluate(
        pipeline.segment_of(pipeline.read("everyone", None)),
        Partition(PartitionId(0), _KEY).capture(),
        Binder(Context(0)),
    )


def warm_routing() -> None:
    """Loads the few kernels that a router runs."""
    rows = [["A", "u1", None, 0, None, {"n": 1, "text": "x"}], ["A", "u2", None, 0, None, {"list": [[1]]}], 5]
    batch = ingest_pb2.Batch(batch_id=b"warm", msgpack_rows=msgspec.msgpack.encode(rows))
    split(columnarise(batch, 0).batch, _KEY, 3)
    which_not_utf8(np.zeros(1, np.int64), np.zeros(0, np.uint8))
    kinds_and_ids(pa.array([encode_identifier(USER_ID, "warm").decode()], pa.large_string()))


def _steps(evaluator: Step) -> Iterator[Step]:
    yield warm_routing
    partition = Partition(PartitionId(0), _KEY)
    batches = [_batch(events, seed) for seed, events in enumerate((5_000, *[50] * (BUCKET_CHUNKS_MAX + 1)))]
    for number, batch in enumerate(batches, 1):
        yield partial(split, batch, _KEY, 3)
        yield partial(_apply, partition, batch, number)
        yield partial(partition.maintain, 0)
    unsealed = _batch(50, 99)
    yield partial(_apply, partition, unsealed, len(batches) + 1)
    sparse = Partition(PartitionId(1), _KEY)  # few events over a long time: chunks with times of 64 bits
    yield partial(_apply, sparse, _batch(300, 0, days=400), 1)
    yield partial(sparse.maintain, 0)
    asked = [
        (each, text, as_of_ms)
        for each in (partition, sparse)
        for as_of_ms in (8 * DAY_MS, 400 * DAY_MS)
        for text in _QUESTIONS
    ]
    yield from (partial(_ask_parts, *one) for one in asked)
    yield partial(_ask_few, partition)
    yield evaluator
    yield from (partial(_ask, *one) for one in asked)
    yield lambda: partition.capture().gather_identifiers(places_of_ones(np.ones(3, np.uint8)))
    yield partial(partition.locate, [b"u1"])
    yield _wide_offsets
    yield partial(_ask, partition, "everyone", 400 * DAY_MS, "plan")


def _wide_offsets() -> None:
    """Runs the kernels on an arena in its form beyond 2 GiB of strings."""
    arena, table = StringArena(_KEY, narrow_bytes_max=0), Strings.of(b"%d" % number for number in range(50))
    entries = arena.insert(np.arange(50, dtype=np.uint32), table, hash_strings(_KEY, table))
    arena.gather(entries)


def _apply(partition: Partition, batch: RecordBatch, sequence: int) -> None:
    received = decode_batch(encode_batch(batch))
    admission = partition.admit(received, partition.pending_ids())
    partition.apply(admission.batch, SequenceNumber(sequence))


def _ask(partition: Partition, text: str, as_of_ms: int, by: str | None = None) -> None:
    context = Context(as_of_ms)
    pipeline.evaluate(pipeline.prepare(text, by, context), partition.capture(), Binder(context))


def _ask_parts(partition: Partition, text: str, as_of_ms: int) -> None:
    """Reaches the kernels for what those for whole questions leave open."""
    context = Context(as_of_ms)
    question, view = pipeline.prepare(text, None, context), partition.capture()
    if not isinstance(question, Breakdown | Funnel | Report):
        Execution(view, context, Meter(), lambda: None).members(Binder(context).bind(question, view.schema))


def _ask_few(partition: Partition) -> None:
    """Reaches the kernels that run if hardly any row is undecided."""
    view, context = partition.capture(), Context(8 * DAY_MS)
    inside = narrowed(view, np.zeros(view.row_count, np.bool_))
    for chunk in view.event_chunks(view.schema.events["A"]):
        chunk_of(inside, chunk)
    for text in ('plan contains "p"', 'plan matches "p%"', 'tags has "x"'):
        segment = Binder(context).bind(pipeline.segment_of(pipeline.prepare(text, None, context)), view.schema)
        Execution(inside, context, Meter(), lambda: None).mask(segment)


def _batch(events: int, seed: int, days: int = 40) -> RecordBatch:
    """Made-up records: two event names over two buckets and more, equal times, properties of every kind and width."""
    chance, builder = random.Random(seed), BatchBuilder()
    for number in range(events):
        user = f"u{chance.randrange(200)}"
        time_ms = chance.randrange(days) * DAY_MS
        values: dict[str, Value | None] = {
            "small": chance.randrange(200),
            "medium": chance.randrange(60_000),
            "wide": chance.randrange(1 << 31),
            "huge": chance.randrange(1 << 40),
            "cents": chance.randrange(200) / 100,
            "spread": chance.choice((1e16, 1.0, 1e-9)),  # sums whose rounding needs exact computation
            "price": chance.randrange(10_000) / 100,
            "fare": chance.randrange(200) / 100,
            "mixed": chance.random() * 10 if number % 2 else number,
            "flag": number % 2 == 0,
            "text": f"t{number % 7}",
        }
        builder.add(USER_ID, user, "AB"[number % 2], time_ms, values, f"{seed}-{number}")
        if number < 100:
            tags = ["x", {"place": {"city": "x"}}]
            attributes: dict[str, Value | None] = {"plan": f"p{number % 3}", "age": number, "tags": tags}
            attributes["gone"] = None if number % 2 else "x"
            builder.add(USER_ID, user, None, time_ms, attributes)
            # Changes so far apart that their history takes chunks with times of 64 bits.
            builder.add(USER_ID, user, None, number * 37 % 400 * DAY_MS, {"city": f"c{number % 3}"})
    return builder.finish(f"{seed}".encode())
