"""Attempts of users at steps under all rules of semantics.md, section 4; plain attempts have a path of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_query.bind.bound import BoundSequence
from cdp_query.bind.bound_attempts import BoundAttempts
from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.windows import Interval
from cdp_query.evaluate.completed_attempt import Candidate
from cdp_query.kernels import attempts as kernels
from cdp_query.kernels.attempts_any import attempts_in_any_order
from cdp_query.scan.dropped import note_dropped
from cdp_query.scan.event_times import event_time_mask
from cdp_query.scan.held_values import held_values
from cdp_query.scan.narrowed import chunk_of
from cdp_query.scan.scan import filter_mask
from cdp_query.scan.user_windows import row_window
from cdp_query.stats import NodeStats
from cdp_query.tree import AttemptMode, StepOrder
from cdp_store.arrays import I32, I64, U8, U32, Bools
from cdp_store.events.chunk import EventChunk
from cdp_store.events.chunk_sealing import order_by_row_time
from cdp_store.memory.view import PartitionView

NEVER: Final = kernels.NEVER
_MODES: Final = {AttemptMode.DEEPEST: kernels.DEEPEST, AttemptMode.FIRST_ENTRY: kernels.FIRST_ENTRY}
_TOTALS: Final = 2


@dataclass(frozen=True, slots=True)
class Source:
    """Events of one chunk of a name that take part: positions i64[n] in it."""

    name: int
    chunk: EventChunk
    positions: I64


@dataclass(frozen=True, slots=True)
class _Matched:
    """Matches of the chosen events of a chunk: steps and kills u32[n] as bits, enters bool[n], times i64[n]."""

    source: Source
    steps: U32
    kills: U32
    enters: Bools
    times: I64


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts that count: rows u32[n], depth u8[n], entry_ms, end_ms (NEVER if incomplete), latest_ms i64[n].

    `entries` i64[n] are places of the entry events among all events of `sources`, one source after the other.
    """

    rows: U32
    depth: U8
    entry_ms: I64
    end_ms: I64
    latest_ms: I64
    entries: I64
    sources: tuple[Source, ...]

    def of_rows(self, wanted: Bools) -> Attempts:
        """The attempts of some rows only."""
        if wanted.all():
            return self
        kept = wanted[self.rows]
        return Attempts(
            self.rows[kept],
            self.depth[kept],
            self.entry_ms[kept],
            self.end_ms[kept],
            self.latest_ms[kept],
            self.entries[kept],
            self.sources,
        )


def attempts_mask(view: PartitionView, node: BoundAttempts, stats: NodeStats) -> Bools:
    """Rows with an attempt that completes all steps: bool[row_count]."""
    found = find_attempts(view, node, AttemptMode.DEEPEST, stats)
    mask: Bools = np.zeros(view.row_count, np.bool_)
    mask[found.rows[found.depth == len(node.steps)]] = True
    return mask


def find_attempts(view: PartitionView, node: BoundAttempts, mode: AttemptMode, stats: NodeStats) -> Attempts:
    """The attempts of all rows that count in a mode, ordered by row."""
    events, sources = events_of_steps(view, node, stats)
    if events is None:
        none: I64 = np.zeros(0, np.int64)
        return Attempts(np.zeros(0, np.uint32), np.zeros(0, np.uint8), none, none, none, none, ())
    return _run(node, mode, _sorted(events, holds=node.holds), sources)


def candidates_of(
    view: PartitionView, node: BoundAttempts, row: int, stats: NodeStats
) -> Iterator[list[tuple[Candidate, Source, int]]]:
    """Candidates for one row's attempts, in order of time: (event, source, position), a list per value held."""
    events, sources = events_of_steps(view, node, stats)
    if events is None:
        return
    origins = np.repeat(np.arange(len(sources)), [source.positions.shape[0] for source in sources])
    positions = np.concatenate([source.positions for source in sources])
    own = np.flatnonzero(events.rows == row)
    own = own[np.argsort(events.times[own], kind="stable")]
    for value in np.unique(events.values[own][events.steps[own] != 0]):
        # An event without a value fills no step, but ends attempts of every value.
        held = own[(events.values[own] == value) | (events.values[own] < 0)]
        yield [
            (
                Candidate(
                    int(events.times[i]), int(events.steps[i]), int(events.kills[i]), bool(events.enters[i]), int(i)
                ),
                sources[origins[i]],
                int(positions[i]),
            )
            for i in held
        ]


@dataclass(frozen=True, slots=True)
class Events:
    """Parallel arrays over events; `arrival` i64 are their places in the order of the sources."""

    rows: U32
    values: I32
    times: I64
    steps: U32
    kills: U32
    enters: Bools
    arrival: I64


def events_of_steps(
    view: PartitionView, node: BoundAttempts, stats: NodeStats
) -> tuple[Events | None, tuple[Source, ...]]:
    """All events that take part, one source after the other; None if there are none."""
    found = list(_matched(view, node, stats))
    sources = tuple(matched.source for matched in found)
    if not found:
        return None, ()
    rows = np.concatenate([source.chunk.full_rows()[source.positions] for source in sources])
    times = np.concatenate([matched.times for matched in found])
    steps = np.concatenate([matched.steps for matched in found])
    kills = np.concatenate([matched.kills for matched in found])
    values: I32 = np.zeros(rows.shape[0], np.int32)
    if node.holds:
        values = held_values([(source.chunk, source.positions) for source in sources], node.hold)
        steps = np.where(values < 0, np.uint32(0), steps)
    enters = np.concatenate([matched.enters for matched in found])
    if node.order is StepOrder.STRICT:
        kills = np.where(steps != 0, np.uint32(0xFFFFFFFF), kills)
    if node.order is not StepOrder.ANY:
        steps &= np.uint32(0xFFFFFFFE) | enters
    return Events(rows, values, times, steps, kills, enters, np.arange(rows.shape[0])), sources


def _sorted(events: Events, *, holds: bool) -> Events:
    """By (row, value, time), without events that neither fill a step nor end an attempt."""
    chosen = np.flatnonzero((events.steps | events.kills) != 0)
    rows, values, times = events.rows[chosen], events.values[chosen], events.times[chosen]
    order: I64 = np.lexsort((times, values, rows)).astype(np.int64) if holds else order_by_row_time(rows, times)
    places = chosen[order]
    return Events(
        rows[order], values[order], times[order], events.steps[places], events.kills[places], events.enters[places],
        places,
    )  # fmt: skip


def _run(node: BoundAttempts, mode: AttemptMode, events: Events, sources: tuple[Source, ...]) -> Attempts:
    count = int(np.count_nonzero(events.steps))
    rows, depth = np.empty(count, np.uint32), np.empty(count, np.uint8)
    entry, ends, latest = (np.empty(count, np.int64) for _ in range(3))
    length, out, number = len(node.steps), (rows, depth, entry, ends, latest), _MODES.get(mode, _TOTALS)
    if node.order is StepOrder.ANY:
        found = attempts_in_any_order(
            events.rows, events.values, events.times, events.steps, events.enters & (events.steps != 0),
            events.arrival, length, node.within_ms, number, *out,
        )  # fmt: skip
    else:
        found = kernels.ordered_attempts(
            events.rows, events.values, events.times, events.steps, events.kills, events.arrival, length,
            node.within_ms, node.within_each_ms, node.strict_ties, number, *out,
        )  # fmt: skip
    places = entry[:found]
    return Attempts(
        rows[:found], depth[:found], events.times[places], ends[:found], latest[:found], events.arrival[places], sources
    )


def _matched(view: PartitionView, node: BoundAttempts, stats: NodeStats) -> Iterator[_Matched]:
    """Chunks with events that match a step or end attempts; names of the first step first."""
    last_ms, longest_ms = node.until_ms, node.longest_ms()
    own = None if node.window is None else row_window(node.window, view, stats)
    if longest_ms >= 0:
        last_ms = min(last_ms, node.interval.last_ms + longest_ms)
    reach = Interval(node.interval.first_ms, last_ms)
    sets = (*node.steps, *(events for _, events in node.without))
    for events in sets:
        note_dropped(view, events, reach, stats)
    for name in dict.fromkeys(name for events in sets for name in events.names):
        for whole in view.event_chunks(name):
            stats.chunks += 1
            if not reach.overlaps(whole.first_ms, whole.last_ms):
                stats.chunks_pruned += 1
                continue
            chunk = chunk_of(view, whole)
            stats.events += len(chunk)
            stats.bytes += chunk.rows.nbytes + chunk.times.nbytes
            steps = _bits(view, enumerate(node.steps), name, chunk, stats)
            kills = _bits(view, node.without, name, chunk, stats) if node.without else None
            at = chunk.full_times()
            inside = (steps if kills is None else steps | kills) != 0
            if not reach.covers(whole.first_ms, whole.last_ms):
                inside &= (at >= reach.first_ms) & (at <= reach.last_ms)
            chosen: I64 = np.flatnonzero(inside).astype(np.int64, copy=False)
            if chosen.size:
                times = at[chosen]
                enters = (times >= node.interval.first_ms) & (times <= node.interval.last_ms)
                if own is not None:
                    enters &= event_time_mask(chunk, own, stats)[chosen]
                own_steps = steps[chosen]
                own_kills = np.zeros_like(own_steps) if kills is None else kills[chosen]
                yield _Matched(Source(name, chunk, chosen), own_steps, own_kills, enters, times)


def _bits(
    view: PartitionView, numbered: Iterable[tuple[int, BoundEvents]], name: int, chunk: EventChunk, stats: NodeStats
) -> U32:
    """The steps that each event of a chunk matches, or the gaps that it ends, as bits."""
    bits: U32 = np.zeros(len(chunk), np.uint32)
    for number, events in numbered:
        if name in events.names:
            bit = np.uint32(1 << number)
            bits |= bit if events.where is None else filter_mask(view, chunk, events.where, stats) * bit
    return bits


def under_plain_rules(sequence: BoundSequence) -> BoundAttempts:
    """A sequence without other rules as attempts."""
    return BoundAttempts(
        sequence.id,
        sequence.steps,
        sequence.interval,
        sequence.until_ms,
        sequence.within_ms,
        -1,
        sequence.strict_ties,
        StepOrder.ORDERED,
        False,
        None,
        (),
    )
