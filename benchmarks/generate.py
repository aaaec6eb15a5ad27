"""Write a scale's data set to Parquet, a day at a time, or reuse the one that is there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.dataset import GENERATOR_VERSION, Dataset, Manifest, dataset_at, is_reusable
from benchmarks.scales import AS_OF_MS, DAY_MS, DEFAULT_SEED, HISTORY_DAYS, SCALES, START_MS, Scale, ScaleName
from benchmarks.synthetic_events import day_events, plan_events
from benchmarks.synthetic_profiles import blocks, change_block, profile_block, set_at_ms

DEFAULT_CACHE: Final = Path(__file__).parent / ".cache"

Array = np.ndarray[Any, np.dtype[Any]]

_ROW_GROUP = 524_288
_PART_ROWS = 8 * _ROW_GROUP


def generate(scale: Scale, seed: int = DEFAULT_SEED, cache: Path = DEFAULT_CACHE) -> Dataset:
    """The data set of a scale and seed, made now or found complete in the cache."""
    dataset = dataset_at(cache, scale, seed)
    if is_reusable(dataset, scale, seed):
        return dataset
    shutil.rmtree(dataset.directory, ignore_errors=True)
    dataset.events.mkdir(parents=True)
    with _progress() as progress:
        changes = _write_profiles(dataset, scale, seed, progress)
        written = _write_events(dataset, scale, seed, progress)
    if written != scale.event_count:
        raise RuntimeError(f"generated {written} events, meant {scale.event_count}")
    dataset.complete(Manifest(scale.name, seed, GENERATOR_VERSION, scale.profile_count, written, changes))
    return dataset


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f}/{task.total:,.0f}"))
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True))


def _write_profiles(dataset: Dataset, scale: Scale, seed: int, progress: Progress) -> int:
    task = progress.add_task("profiles", total=scale.profile_count)
    set_at = set_at_ms(scale, seed)
    profiles, changes = _Parts(dataset.profiles), _Parts(dataset.changes)
    change_count = 0
    for number, start, stop in blocks(scale):
        profiles.write(profile_block(seed, number, start, set_at[start:stop]))
        changed = change_block(seed, number, start, set_at[start:stop])
        change_count += len(changed)
        changes.write(changed)
        progress.advance(task, stop - start)
    profiles.close()
    changes.close()
    return change_count


def _write_events(dataset: Dataset, scale: Scale, seed: int, progress: Progress) -> int:
    task = progress.add_task("events", total=scale.event_count)
    written = 0
    for part, tables in enumerate(_grouped(_arrivals(scale, seed), _PART_ROWS)):
        file = _Parts(dataset.events / f"part-{part:05d}.parquet")
        for table in _grouped(iter(tables), _ROW_GROUP):
            rows = pa.concat_tables(table)
            file.write(rows)
            written += len(rows)
            progress.advance(task, len(rows))
        file.close()
    return written


def _arrivals(scale: Scale, seed: int) -> Iterator[pa.Table]:
    """Events in order of arrival, a day's arrivals at a time; late ones wait for the day they arrive on."""
    plan = plan_events(scale, seed)
    waiting: tuple[pa.Table, Array] | None = None
    for day in range(HISTORY_DAYS):
        table, arrived = day_events(plan, day)
        if waiting is not None:
            table, arrived = pa.concat_tables([waiting[0], table]), np.concatenate([waiting[1], arrived])
        order = np.argsort(arrived, kind="stable")
        ready = int(np.searchsorted(arrived[order], START_MS + (day + 1) * DAY_MS))
        yield table.take(pa.array(order[:ready]))
        waiting = table.take(pa.array(order[ready:])), arrived[order[ready:]]
    if waiting is not None:
        yield waiting[0]


def _grouped(tables: Iterator[pa.Table], rows: int) -> Iterator[list[pa.Table]]:
    """Runs of tables of exactly `rows` rows together, the last one shorter."""
    held: list[pa.Table] = []
    missing = rows
    for table in tables:
        rest = table
        while len(rest) >= missing:
            held.append(rest.slice(0, missing))
            yield held
            rest, held, missing = rest.slice(missing), [], rows
        if len(rest):
            held.append(rest)
            missing -= len(rest)
    if held:
        yield held


class _Parts:
    """A Parquet file whose schema is that of the first table written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd", compression_level=1)
        self._writer.write_table(table, row_group_size=_ROW_GROUP)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def main(
    scale: Annotated[ScaleName, typer.Option()] = "S",
    seed: Annotated[int, typer.Option()] = DEFAULT_SEED,
    out: Annotated[Path, typer.Option(help="Folder of data sets, kept between runs")] = DEFAULT_CACHE,
) -> None:
    """Make the data set of a scale, unless it is there already."""
    dataset = generate(SCALES[scale], seed, out)
    size = sum(path.stat().st_size for path in dataset.directory.rglob("*.parquet"))
    typer.echo(f"{dataset.directory}: {size / 1e6:,.1f} MB, history ends at {AS_OF_MS} ms")


if __name__ == "__main__":
    typer.run(main)
