"""Rates of the store's own work on one core: taking columns in, sealing, compaction, snapshots, loading them, string
dictionaries, identifiers.

CPU time of the one thread that works, best of some rounds. Run by `make bench-shapes`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import numpy as np
import typer
from rich.console import Console

from benchmarks.shapes import Shape, batches
from cdp_store.arrays import U8, U32
from cdp_store.columns.arena import StringArena, hash_strings
from cdp_store.directory.shard_directory import ShardIdentity
from cdp_store.events.chunk_sealing import compact
from cdp_store.events.event_tables import EventsReading, prepare_seal
from cdp_store.events.layout import Chunks
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.limits import BUCKET_CHUNKS_MAX, COLD_FILE_ROWS, DELTA_EVENTS_MAX
from cdp_store.outside.seams import OsFiles
from cdp_store.partition.partition import Partition
from cdp_store.records.records import Strings, encode_batch
from cdp_store.shard.admission import Delivery
from cdp_store.shard.store import Store
from cdp_store.snapshot.arrow_tables import to_parquet
from cdp_store.snapshot.cold.carrying import DealtOut
from cdp_store.snapshot.cold.cold_tables import LoggedBatch, table_of
from cdp_store.snapshot.keeper import ShardSnapshots
from cdp_store.snapshot.places import LocalPlace

_KEY: Final = (3, 4)
_ROUNDS: Final = 5
_NAMES: Final = 20
_STRING_BYTES: Final = 10
_STRINGS_PER_CALL: Final = 1 << 16
_RECORDS_PER_PAYLOAD: Final = 64  # of one partition, in a batch of a thousand for sixteen


def cpu_seconds(work: Callable[[], object], rounds: int = _ROUNDS) -> float:
    """CPU seconds of this thread for the quickest round, the first left out: it compiles and touches memory."""
    spent = list[float]()
    for _ in range(rounds + 1):
        started = time.thread_time()
        work()
        spent.append(time.thread_time() - started)
    return min(spent[1:])


def shape_of(events: int) -> Shape:
    """A partition's events of one day, some dozens a user."""
    return Shape(events, _NAMES, max(events // 25, 1), 1)


def apply_rate(events: int) -> float:
    """Events a second from decoded columns to visible."""
    decoded = list(batches(shape_of(events), 1))

    def work() -> None:
        partition = Partition(PartitionId(0), _KEY)
        for number, batch in enumerate(decoded, 1):
            partition.apply(batch, SequenceNumber(number))

    return events / cpu_seconds(work, 3)


def reading_of(events: int, seed: int) -> EventsReading:
    """A delta of events that arrived in order of time."""
    partition = Partition(PartitionId(0), _KEY)
    for number, batch in enumerate(batches(shape_of(events), seed), 1):
        partition.apply(batch, SequenceNumber(number))
    return partition.capture().events


def seal_rate(events: int = DELTA_EVENTS_MAX) -> float:
    """Events a second sorted from a delta into chunks."""
    reading = reading_of(events, 1)
    return events / cpu_seconds(lambda: prepare_seal(reading))


def compaction_rate(events: int = DELTA_EVENTS_MAX) -> float:
    """Events a second of the chunks of one name merged into one, as many chunks as upkeep lets come together."""
    sealed = [prepare_seal(reading_of(events, seed)).chunks for seed in range(BUCKET_CHUNKS_MAX)]
    sources: list[Chunks] = [tuple(chunk for tables in sealed for chunk in tables[name]) for name in range(_NAMES)]
    total = sum(len(chunk) for chunks in sources for chunk in chunks)
    return total / cpu_seconds(lambda: [compact(chunks) for chunks in sources])


def distinct_strings(first: int, count: int) -> Strings:
    """Different strings of ten letters."""
    numbers = np.arange(first, first + count, dtype=np.int64)
    data: U8 = np.empty((count, _STRING_BYTES), np.uint8)
    for place in range(_STRING_BYTES):
        data[:, place] = 97 + numbers % 10
        numbers //= 10
    offsets: U32 = np.arange(0, (count + 1) * _STRING_BYTES, _STRING_BYTES, dtype=np.uint32)
    return Strings(offsets, data.reshape(-1))


def arena_nanoseconds(strings: int) -> tuple[float, float, float]:
    """(ns to add a new string, ns to find one, bytes of memory a string), hashing included, up to so many strings."""
    arena, index = StringArena(_KEY), np.arange(_STRINGS_PER_CALL, dtype=np.uint32)
    spent = [0.0, 0.0]
    for turn, call in enumerate((arena.insert, arena.find)):
        for first in range(0, strings, _STRINGS_PER_CALL):
            table = distinct_strings(first, min(_STRINGS_PER_CALL, strings - first))
            started = time.thread_time()
            call(index[: len(table)], table, hash_strings(_KEY, table))
            spent[turn] += time.thread_time() - started
    assert len(arena) == strings
    return spent[0] / strings * 1e9, spent[1] / strings * 1e9, arena.nbytes / strings


def cold_cost(events: int) -> tuple[float, float]:
    """(events a second from the log's payloads to a cold file, bytes of it an event), each with a random message id."""
    random, payloads = np.random.default_rng(1), list[bytes]()
    for batch in batches(shape_of(events), 1):
        for first in range(0, len(batch), _RECORDS_PER_PAYLOAD):
            part = batch.take(np.arange(first, min(first + _RECORDS_PER_PAYLOAD, len(batch))))
            ids = Strings.of(random.bytes(16).hex().encode() for _ in range(len(part)))
            payloads.append(encode_batch(replace(part, message_ids=ids)))
    written = list[int]()

    def work() -> None:
        logged = [LoggedBatch.decode(SequenceNumber(number), payload) for number, payload in enumerate(payloads, 1)]
        written.append(to_parquet(table_of(PartitionId(0), logged)).size)

    return events / cpu_seconds(work, 3), written[0] / events


def snapshot_rates(events: int) -> tuple[float, float, float]:
    """(bytes of memory a second written to a first snapshot, events a second loaded from it, bytes of files an event),
    cold columns apart."""
    number, nothing = PartitionId(0), DealtOut([], frozenset(), None)
    partition = Partition(number, _KEY)
    for sequence, batch in enumerate(batches(shape_of(events), 1), 1):
        partition.apply(batch, SequenceNumber(sequence))
    partition.maintain(0)
    size, written = sum(partition.status().memory.values()), list[int]()
    with TemporaryDirectory() as folder:
        place = LocalPlace(Path(folder), OsFiles())

        def write() -> None:
            taken = ShardSnapshots(place, "rates").take_snapshot({number: partition}, 0, nothing.read, lambda _: {})
            written.append(taken.bytes_written)

        def load() -> None:
            assert ShardSnapshots(place, "rates").load(lambda: {number: Partition(number, _KEY)}).snapshot == 1

        return size / cpu_seconds(write, 3), events / cpu_seconds(load, 3), written[0] / events


def first_snapshot_rates(events: int, rounds: int = 3) -> tuple[float, float]:
    """(bytes of memory a second written to the first snapshot of a store, events a second whose cold columns went from
    its log to files ahead of that)."""
    spent, size = list[tuple[float, float]](), 0
    for _ in range(rounds):
        with TemporaryDirectory() as folder:
            store = Store(Path(folder), ShardIdentity("rates", 0, (0,)), _KEY, OsFiles())
            store.recover(lambda *_: None)
            for batch in batches(shape_of(events), 1):
                store.commit([Delivery(PartitionId(0), batch)])
            store.maintain(0)
            size = sum(store.partitions[PartitionId(0)].status().memory.values())
            started = time.thread_time()
            store.write_cold()
            between = time.thread_time()
            store.snapshot(0)
            spent.append((time.thread_time() - between, between - started))
            store.close()
    of_snapshot, ahead = map(min, zip(*spent, strict=True))
    return size / of_snapshot, events / ahead


def main(
    events: Annotated[int, typer.Option(help="Events to take in.")] = 2_000_000,
    strings: Annotated[int, typer.Option(help="Distinct strings of one dictionary.")] = 10_000_000,
) -> None:
    """Measure and print all rates."""
    console = Console()
    console.print(f"columns in, applied: {apply_rate(events) / 1e6:.2f} M events/s per core")
    console.print(f"sealing: {seal_rate() / 1e6:.2f} M events/s per core")
    console.print(f"compaction: {compaction_rate() / 1e6:.2f} M events/s per core")
    rate, size = cold_cost(min(events, COLD_FILE_ROWS))
    console.print(f"cold columns: {rate / 1e6:.2f} M events/s per core, {size:.1f} bytes an event")
    rate, loaded, size = snapshot_rates(events)
    console.print(
        f"snapshots: {rate / 1e6:.0f} MB of memory/s per core, {size:.1f} bytes an event; "
        f"loaded at {loaded / 1e6:.2f} M events/s per core"
    )
    rate, ahead = first_snapshot_rates(events)
    console.print(
        f"first snapshot of a store: {rate / 1e6:.0f} MB of memory/s per core, behind cold columns that were written "
        f"ahead at {ahead / 1e6:.1f} M events/s per core"
    )
    add, find, size = arena_nanoseconds(strings)
    console.print(
        f"{strings:,} distinct strings or identifiers of {_STRING_BYTES} bytes: "
        f"add {add:.0f} ns, find {find:.0f} ns, {size:.1f} bytes each"
    )


if __name__ == "__main__":
    typer.run(main)
