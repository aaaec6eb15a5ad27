"""A view for the rows that are still undecided: later parts of a question read the events of only these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Final

import numpy as np

from cdp_query.kernels.asked import asked_runs
from cdp_store.arrays import I64, U32, Bools
from cdp_store.columns.column import EventColumn
from cdp_store.events.chunk import ColumnKey, EventChunk
from cdp_store.memory.view import PartitionView

FEW: Final = 16  # reading one row in sixteen pays for finding its runs and copying its events
WORTH_NARROWING: Final = 1 << 15  # events; those of smaller chunks are read as fast as they are selected
_FEWER: Final = 4  # of the rows of a narrowed view, whose chunks may exist already


@dataclass(frozen=True, slots=True)
class NarrowedView(PartitionView):
    """A view of the rows `asked`, bool[row_count], of the view `whole`. Results for other rows are undefined."""

    whole: PartitionView = field(kw_only=True)
    asked: Bools = field(kw_only=True)
    known: dict[int, tuple[EventChunk, EventChunk]] = field(default_factory=dict, kw_only=True)

    def chunk(self, chunk: EventChunk) -> EventChunk:
        """The events of the wanted rows, made once for all parts of a question that read them."""
        found = self.known.get(id(chunk))
        if found is None:
            found = self.known[id(chunk)] = chunk, _chunk_of(chunk, self.asked)
        return found[1]


def narrowed(view: PartitionView, asked: Bools) -> PartitionView:
    """The view for some rows; the view itself if they are not few."""
    whole, size, few = whole_of(view), view.row_count, FEW
    if isinstance(view, NarrowedView):
        asked, size, few = asked & view.asked, int(np.count_nonzero(view.asked)), _FEWER
    if np.count_nonzero(asked) * few > size:
        return view
    return NarrowedView(**{each.name: getattr(whole, each.name) for each in _FIELDS}, whole=whole, asked=asked)


_FIELDS: Final = tuple(each for each in fields(PartitionView) if each.init)


def whole_of(view: PartitionView) -> PartitionView:
    """The view of all rows."""
    return view.whole if isinstance(view, NarrowedView) else view


def asked_of(view: PartitionView) -> Bools | None:
    """The wanted rows; None = all."""
    return view.asked if isinstance(view, NarrowedView) else None


def chunk_of(view: PartitionView, chunk: EventChunk) -> EventChunk:
    """Events of a chunk that a view reads: those of its wanted rows. A small chunk is read whole."""
    return view.chunk(chunk) if isinstance(view, NarrowedView) and len(chunk) >= WORTH_NARROWING else chunk


def _chunk_of(chunk: EventChunk, asked: Bools) -> EventChunk:
    kept: U32 = np.empty(chunk.run_rows.shape[0] + 1, np.uint32)
    offsets: I64 = np.zeros(chunk.run_offsets.shape[0], np.int64)
    kept = kept[: asked_runs(chunk.run_rows, chunk.run_offsets, asked, kept, offsets)]
    firsts = chunk.run_starts[kept].astype(np.int64)
    lengths = chunk.run_starts[kept + np.uint32(1)] - firsts
    starts: I64 = np.zeros(kept.shape[0] + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    events: I64 = np.arange(starts[-1], dtype=np.int64) + np.repeat(firsts - starts[:-1], lengths)
    return replace(
        chunk,
        run_rows=chunk.run_rows[kept],
        run_starts=starts.astype(np.uint32),
        run_offsets=offsets,
        times=chunk.times[events],
        columns=_TakenColumns(chunk.columns, events),
    )


@dataclass(frozen=True, slots=True)
class _TakenColumns(Mapping[ColumnKey, EventColumn]):
    """Columns of some events, each gathered at its first use."""

    columns: Mapping[ColumnKey, EventColumn]
    events: I64
    taken: dict[ColumnKey, EventColumn] = field(default_factory=dict)

    def __getitem__(self, key: ColumnKey) -> EventColumn:
        found = self.taken.get(key)
        if found is None:
            found = self.taken[key] = self.columns[key].take(self.events)
        return found

    def __iter__(self) -> Iterator[ColumnKey]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)
