"""The rules of one sealed chunk: order, offsets, zone, and its columns."""

from __future__ import annotations

import numpy as np

from cdp_store.columns.column import EventColumn
from cdp_store.errors import StructureBroken
from cdp_store.events.chunk import EventChunk
from cdp_store.limits import BUCKET_MS
from cdp_store.values import Kind


def require(holds: bool, structure: str, problem: str) -> None:
    """Raises StructureBroken unless a rule holds."""
    if not holds:
        raise StructureBroken(structure, problem)


def check_chunk(what: str, chunk: EventChunk) -> None:
    """Raises StructureBroken unless the chunk keeps its promises; `what` names it."""
    require(len(chunk) > 0, what, "a chunk without events")
    check_runs(what, chunk)
    rows, times = chunk.full_rows().astype(np.int64), chunk.full_times()
    require(rows.shape[0] == len(chunk) == times.shape[0], what, "rows and times differ in length")
    later = (rows[1:] > rows[:-1]) | ((rows[1:] == rows[:-1]) & (times[1:] >= times[:-1]))
    require(bool(later.all()), what, "the events are not in order of row and time")
    zone = (int(times.min()), int(times.max()))
    require((chunk.first_ms, chunk.last_ms) == zone, what, f"the zone is not {zone}")
    require(chunk.first_ms // BUCKET_MS == chunk.bucket, what, "the first event is not of the chunk's bucket")
    require(chunk.base_ms == chunk.bucket * BUCKET_MS, what, "the base is not the start of the bucket")
    is_wide = chunk.last_ms - chunk.base_ms > np.iinfo(np.uint32).max
    require((chunk.times.dtype == np.int64) == is_wide, what, f"times of {chunk.times.dtype} do not suit the span")
    for (key, kind), column in chunk.columns.items():
        check_column(f"{what}, column {key}", chunk, kind, column)


def check_runs(what: str, chunk: EventChunk) -> None:
    """Checks that the runs cover the events, one for each row, and their offsets are those of the morsels."""
    starts, offsets = chunk.run_starts.astype(np.int64), chunk.run_offsets
    require(starts[0] == 0 and starts[-1] == len(chunk), what, "the runs do not cover the events")
    require(bool((np.diff(starts) > 0).all()), what, "a run without events")
    require(starts.shape[0] == chunk.run_rows.shape[0] + 1, what, "starts and rows of runs differ in number")
    covered = offsets[0] == 0 and offsets[-1] == chunk.run_rows.shape[0] and bool((np.diff(offsets) >= 0).all())
    require(covered, what, "the offsets do not cover the runs")
    rows = chunk.full_run_rows().astype(np.int64)
    require(bool((np.diff(rows) > 0).all()), what, "the runs are not in order of their rows")


def check_column(what: str, chunk: EventChunk, kind: Kind, column: EventColumn) -> None:
    """Checks that one column fits its chunk, and its bounds are those of the values that are present."""
    require(column.kind is kind, what, f"{column.kind.name} values under {kind.name}")
    require(column.values.shape[0] == len(chunk), what, "values and events differ in number")
    presence = column.presence()
    if presence is not None:
        require(bool(presence.any()) and not bool(presence.all()), what, "a presence that says nothing")
    given = column.values if presence is None else column.values[presence]
    bounds = (given.min(), given.max())
    require((column.low, column.high) == bounds, what, f"the bounds are not {bounds}")
