"""The events of one profile, latest first, a page at a time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from cdp_store.arrays import I64
from cdp_store.events.chunk import EventChunk
from cdp_store.memory.view import PartitionView


@dataclass(frozen=True, slots=True)
class Page:
    """Request for events: so many, of these names or of all, and after the end of the previous page.

    `time_ms` is the time of the last event given, `given` how many of that time were.
    """

    events_max: int
    names: Collection[str] = ()
    time_ms: int | None = None
    given: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """Place of one event."""

    time_ms: int
    name: str
    chunk: EventChunk
    index: int


def read_page(view: PartitionView, row: int, page: Page) -> tuple[list[Found], int]:
    """A page of a row's events, latest first, and how many there are on all pages.

    Ties go by name in the order the partition has met them, then by arrival: an order that later events only extend.
    """
    runs = list[tuple[str, EventChunk, int]]()
    times = list[I64]()
    for name, number in view.schema.events.items():
        if page.names and name not in page.names:
            continue
        for chunk in view.event_chunks(number):
            where = chunk.events_of_row(row)
            if where.stop > where.start:
                runs.append((name, chunk, where.start))
                times.append(chunk.times[where].astype(np.int64) + chunk.base_ms)
    if not runs:
        return [], 0
    flat = np.concatenate(times)
    order = np.argsort(flat, kind="stable")
    stop = _stop(flat[order], page)
    chosen = order[max(0, stop - page.events_max) : stop][::-1]
    starts = np.cumsum([0, *(part.shape[0] for part in times)])
    owners = np.searchsorted(starts, chosen, side="right") - 1
    found = list[Found]()
    for place, owner in zip(chosen.tolist(), owners.tolist(), strict=True):
        name, chunk, first = runs[owner]
        found.append(Found(int(flat[place]), name, chunk, first + place - int(starts[owner])))
    return found, int(flat.shape[0])


def _stop(ordered: I64, page: Page) -> int:
    """Number of the events, in order of time, that the previous pages have left."""
    if page.time_ms is None:
        return int(ordered.shape[0])
    first, last = np.searchsorted(ordered, page.time_ms, "left"), np.searchsorted(ordered, page.time_ms, "right")
    return max(int(first), int(last) - page.given)
