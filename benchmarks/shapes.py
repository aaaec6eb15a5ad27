"""Unusual shapes of data at their named sizes: many rare event names, one hot user. Run by `make bench-shapes`."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
import typer
from rich.console import Console

from cdp_store.events.layout import LAYOUT, Layout
from cdp_store.ids import USER_ID, PartitionId, SequenceNumber, encode_identifier
from cdp_store.limits import DAY_MS, IDLE_BUCKET_CHUNKS_MAX, IDLE_DELTA_EVENTS_MAX
from cdp_store.partition.partition import Partition
from cdp_store.records.records import RecordBatch, Strings
from cdp_store.values import Kind

_KEY: Final = (3, 4)
_START_MS: Final = 1_640_995_200_000  # 2022-01-01
_BATCH_EVENTS: Final = 50_000
_PAGES: Final = 50


@dataclass(frozen=True, slots=True)
class Shape:
    """Events of `users` under `names` names, evenly over `days`, in order of time."""

    events: int
    names: int
    users: int
    days: int


def batches(shape: Shape, seed: int) -> Iterator[RecordBatch]:
    """The events of a shape with three properties each: a decimal, a string and an integer."""
    random = np.random.default_rng(seed)
    identities = Strings.of(encode_identifier(USER_ID, f"user-{number}") for number in range(shape.users))
    pages = Strings.of(f"/page/{number}".encode() for number in range(_PAGES))
    names = tuple(f"Event {number}" for number in range(shape.names))
    for start in range(0, shape.events, _BATCH_EVENTS):
        count = min(_BATCH_EVENTS, shape.events - start)
        spread = np.sort(random.integers(start, start + count, count))
        raws = np.empty((count, 3), np.int64)
        raws[:, 0] = (random.integers(0, 10_000, count) / 100).view(np.int64)
        raws[:, 1] = random.integers(0, _PAGES, count)
        raws[:, 2] = random.integers(0, 1000, count)
        yield RecordBatch(
            batch_id=b"",
            received_ms=0,
            identities=identities,
            record_identities=random.integers(0, shape.users, count).astype(np.uint32),
            record_names=random.integers(0, shape.names, count).astype(np.uint16),
            record_times=_START_MS + spread * (shape.days * DAY_MS // shape.events),
            property_offsets=np.arange(0, 3 * count + 1, 3, dtype=np.uint32),
            message_ids=Strings(np.zeros(count + 1, np.uint32), np.zeros(0, np.uint8)),
            triple_keys=np.tile(np.arange(3, dtype=np.uint16), count),
            triple_kinds=np.tile(np.array([Kind.FLOAT, Kind.STRING, Kind.INT], np.uint8), count),
            triple_raws=raws.reshape(-1),
            strings=pages,
            names=names,
            keys=("amount", "page", "n"),
        )


def filled(shape: Shape, seed: int, layout: Layout = LAYOUT) -> Partition:
    """A settled partition with the events of a shape."""
    partition = Partition(PartitionId(0), _KEY, layout)
    for number, batch in enumerate(batches(shape, seed), 1):
        partition.apply(batch, SequenceNumber(number))
        partition.maintain()
    partition.maintain(IDLE_DELTA_EVENTS_MAX, IDLE_BUCKET_CHUNKS_MAX)
    return partition


def bytes_held(shape: Shape, partitions: int, layout: Layout = LAYOUT) -> int:
    """What `partitions` partitions of this shape take, Python objects and unused room included."""
    filled(Shape(1, 1, 1, 1), 0)  # what is loaded on first use is not of this shape
    gc.collect()
    tracemalloc.start()
    held = [filled(shape, seed, layout) for seed in range(partitions)]
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(held) == partitions
    return size


def three_years(events: int, names: int, partitions: int) -> Shape:
    """One partition's share of `events` under `names` names over three years."""
    share = events // partitions
    return Shape(share, names, max(share // 25, 1), 3 * 365)


def seconds_of_hot_user(events: int) -> tuple[float, float]:
    """(seconds to take and settle events of one user under one name, seconds of the last maintenance)."""
    started = time.perf_counter()
    partition = Partition(PartitionId(0), _KEY)
    for number, batch in enumerate(batches(Shape(events, 1, 1, 30), 1), 1):
        partition.apply(batch, SequenceNumber(number))
        partition.maintain()
    settling = time.perf_counter()
    partition.maintain(IDLE_DELTA_EVENTS_MAX, IDLE_BUCKET_CHUNKS_MAX)
    assert partition.status().events == events
    return time.perf_counter() - started, time.perf_counter() - settling


def main(events: Annotated[int, typer.Option(help="Events of each shape.")] = 5_000_000) -> None:
    """Measure both shapes and print them."""
    console = Console()
    many, few = (bytes_held(three_years(events, names, 16), 16) for names in (512, 20))
    console.print(
        f"{events:,} events, 16 partitions, 3 years: 512 names {many / 1e6:.0f} MB, 20 names {few / 1e6:.0f} MB"
    )
    console.print(f"ratio {many / few:.2f}")
    seconds, last = seconds_of_hot_user(events)
    console.print(f"one user with {events:,} events: {events / seconds / 1e6:.2f} M events/s, last merge {last:.1f} s")


if __name__ == "__main__":
    typer.run(main)
