"""What the engine does on one core with one partition, without processes and sockets: milliseconds and bandwidth.

Every question of the yardstick on one partition of a data set: the CPU time of the thread that evaluates, the bytes
it reads, and what share of this core's read bandwidth that is; for comparison the bare kernels that count the runs of
an event name. Run by `make bench-engine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from cdp_query import pipeline
from cdp_query.bind.bind import Binder
from cdp_query.kernels import runs
from cdp_query.stats import total
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


def question_rows(view: PartitionView, rounds: int = _ROUNDS) -> Iterator[tuple[str, float, int]]:
    """(question, seconds, bytes read) of every question of the yardstick."""
    for name, query in QUERIES.items():
        context = Context(query.as_of_ms)
        question = pipeline.prepare(query.ours, query.by, context)
        seconds = cpu_seconds(lambda asked=question, at=context: pipeline.evaluate(asked, view, Binder(at)), rounds)
        read = total(pipeline.evaluate(question, view, Binder(context)).stats).bytes
        yield name, seconds, read


def kernel_rows(view: PartitionView) -> Iterator[tuple[str, float, int]]:
    """(kernel, seconds, bytes read) of counting and marking all runs of the most frequent name."""
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
        yield name, cpu_seconds(work, _ROUNDS), read


def main(
    scale: Annotated[ScaleName, typer.Option(help="Data set.")] = "S",
    seed: int = DEFAULT_SEED,
    cache: Annotated[Path, typer.Option(help="Folder of data sets.")] = Path(__file__).parent / ".cache",
) -> None:
    """Measure and print a table."""
    console = Console()
    view = load(generate(SCALES[scale], seed, cache)).capture()
    bandwidth = measure_roofline()["read_1"]["median"]
    table = Table("one partition, one core", "ms", "MB read", "GB/s", f"share of {bandwidth:.1f} GB/s")
    for name, seconds, read in (*question_rows(view), *kernel_rows(view)):
        rate = read / seconds / 1e9
        table.add_row(name, f"{seconds * 1e3:.3f}", f"{read / 1e6:.2f}", f"{rate:.2f}", f"{rate / bandwidth:.0%}")
    console.print(f"scale {scale}, {view.row_count:,} profiles in the partition")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
