"""The rules of one sealed chunk: order, offsets, zone, and its columns."""

from __future__ import annotations

import numpy as np

from cdp_store.errors import StructureBroken
from cdp_store.events.chunk import EventChunk
from cdp_store.events.column import EventColumn
from cdp_store.limits import BUCKET_MS, MORSEL_BITS
from cdp_store.values import Kind


def require(holds: bool, structure: str, problem: str) -> None:
    """Raise StructureBroken unless a rule holds."""
    if not holds:
        raise StructureBroken(structure, problem)


def check_chunk(what: str, chunk: EventChunk) -> None:
    """Raise StructureBroken unless the chunk keeps its promises; `what` names it."""
    require(len(chunk) > 0, what, "a chunk without events")
    rows, times = chunk.full_rows().astype(np.int64), chunk.full_times()
    require(rows.shape[0] == len(chunk) == times.shape[0], what, "rows and times differ in length")
    later = (rows[1:] > rows[:-1]) | ((rows[1:] == rows[:-1]) & (times[1:] >= times[:-1]))
    require(bool(later.all()), what, "the events are not in order of row and time")
    require(chunk.offsets[0] == 0 and chunk.offsets[-1] == len(chunk), what, "the offsets do not cover the events")
    counts = np.bincount(rows >> MORSEL_BITS, minlength=chunk.offsets.shape[0] - 1)
    require(np.array_equal(np.diff(chunk.offsets), counts), what, "the offsets are not those of the morsels")
    zone = (int(times.min()), int(times.max()))
    require((chunk.first_ms, chunk.last_ms) == zone, what, f"the zone is not {zone}")
    require(chunk.first_ms // BUCKET_MS == chunk.bucket, what, "the first event is not of the chunk's bucket")
    require(chunk.base_ms == chunk.bucket * BUCKET_MS, what, "the base is not the start of the bucket")
    is_wide = chunk.last_ms - chunk.base_ms > np.iinfo(np.uint32).max
    require((chunk.times.dtype == np.int64) == is_wide, what, f"times of {chunk.times.dtype} do not suit the span")
    for (key, kind), column in chunk.columns.items():
        check_column(f"{what}, column {key}", chunk, kind, column)


def check_column(what: str, chunk: EventChunk, kind: Kind, column: EventColumn) -> None:
    """One column fits its chunk, and its bounds are those of the values that are present."""
    require(column.kind is kind, what, f"{column.kind.name} values under {kind.name}")
    require(column.values.shape[0] == len(chunk), what, "values and events differ in number")
    presence = column.presence()
    if presence is not None:
        require(bool(presence.any()) and not bool(presence.all()), what, "a presence that says nothing")
    given = column.values if presence is None else column.values[presence]
    bounds = (given.min(), given.max())
    require((column.low, column.high) == bounds, what, f"the bounds are not {bounds}")
