"""What the engine does on one core with one partition, without processes and sockets: time per event and bandwidth.

Every question of the yardstick on one partition of a data set: the CPU time of the thread that evaluates, for all of it
and inside the kernels, time per event, the bytes that are read, and what share of this core's read bandwidth that is;
for comparison the bare kernels that count the runs of an event name. Run by `make bench-engine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from cdp.v1 import ingest_pb2
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.dataset import Dataset
from benchmarks.generate import generate
from benchmarks.ours import arrow_stream, record_batches
from benchmarks.queries import QUERIES
from benchmarks.roofline import measure_roofline
from benchmarks.scales import AS_OF_MS, DEFAULT_SEED, SCALES, ScaleName
from benchmarks.store_rates import cpu_seconds
from cdp_query import pipeline, tree
from cdp_query.bind.bind import Binder
from cdp_query.kernels import runs
from cdp_query.stats import NodeStats, total
from cdp_query.tree import Context
from cdp_router.cluster.partitioning import split
from cdp_router.records.columnarise import columnarise
from cdp_store.arrays import U32, Bools
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.memory.view import PartitionView
from cdp_store.partition.partition import Partition

_KEY: Final = (3, 4)
_PARTITIONS: Final = 16
_ROUNDS: Final = 20
_COUNTED: Final = "App Launched"


def load(dataset: Dataset) -> Partition:
    """One partition of sixteen, sealed as an idle shard seals."""
    partition = Partition(PartitionId(0), _KEY)
    for number, table in enumerate(track(list(record_batches(dataset)), "loading"), 1):
        batch = ingest_pb2.Batch(batch_id=b"%d" % number, arrow_columns=arrow_stream(table))
        parts = split(columnarise(batch, AS_OF_MS).batch, _KEY, _PARTITIONS)
        if 0 in parts:
            partition.apply(parts[0][0], SequenceNumber(number))
            partition.maintain()
    partition.maintain(0)
    return partition


@dataclass(frozen=True, slots=True)
class Row:
    """What one question or kernel took: seconds in all, seconds inside the kernels, events looked at, bytes read."""

    name: str
    seconds: float
    kernel_seconds: float
    events: int
    read: int


def question_rows(view: PartitionView, rounds: int = _ROUNDS) -> Iterator[Row]:
    """A row for every question of the yardstick."""
    for name, query in QUERIES.items():
        context = Context(query.as_of_ms)
        question = pipeline.prepare(query.ours, query.by, context)
        kernels = list[int]()

        def ask(
            asked: tree.Question = question, at: Context = context, took: list[int] = kernels
        ) -> Mapping[int, NodeStats]:
            stats = pipeline.evaluate(asked, view, Binder(at)).stats
            took.append(sum(part.nanoseconds for part in stats.values()))
            return stats

        seconds, whole = cpu_seconds(ask, rounds), total(ask())
        yield Row(name, seconds, min(kernels) / 1e9, whole.events, whole.bytes)


def kernel_rows(view: PartitionView) -> Iterator[Row]:
    """Rows of the kernels that count and mark all runs of the most frequent name."""
    chunks = view.event_chunks(view.schema.events[_COUNTED])
    counts: U32 = np.zeros(view.row_count, np.uint32)
    seen: Bools = np.zeros(view.row_count, np.bool_)

    def count() -> None:
        for chunk in chunks:
            runs.count_runs(chunk.run_rows, chunk.run_starts, chunk.run_offsets, counts)

    def mark() -> None:
        for chunk in chunks:
            runs.mark_runs(chunk.run_rows, chunk.run_offsets, seen)

    works: tuple[tuple[str, Callable[[], None], int], ...] = (
        ("kernel count_runs", count, sum(chunk.index_nbytes for chunk in chunks)),
        ("kernel mark_runs", mark, sum(chunk.run_rows.nbytes for chunk in chunks)),
    )
    for name, work, read in works:
        seconds = cpu_seconds(work, _ROUNDS)
        yield Row(name, seconds, seconds, sum(map(len, chunks)), read)


def main(
    scale: Annotated[ScaleName, typer.Option(help="Data set.")] = "S",
    seed: int = DEFAULT_SEED,
    cache: Annotated[Path, typer.Option(help="Folder of data sets.")] = Path(__file__).parent / ".cache",
) -> None:
    """Measure and print a table."""
    console = Console()
    view = load(generate(SCALES[scale], seed, cache)).capture()
    bandwidth = measure_roofline()["read_1"]["median"]
    share = f"share of {bandwidth:.1f} GB/s"
    table = Table("one partition, one core", "ms", "in kernels", "events", "ns an event", "MB read", "GB/s", share)
    for row in (*question_rows(view), *kernel_rows(view)):
        rate = row.read / row.kernel_seconds / 1e9
        per_event = f"{row.kernel_seconds / row.events * 1e9:.2f}" if row.events else "-"
        times = f"{row.seconds * 1e3:.3f}", f"{row.kernel_seconds * 1e3:.3f}", f"{row.events:,}", per_event
        table.add_row(row.name, *times, f"{row.read / 1e6:.2f}", f"{rate:.2f}", f"{rate / bandwidth:.0%}")
    console.print(f"scale {scale}, {view.row_count:,} profiles in the partition")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
