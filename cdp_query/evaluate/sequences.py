"""Sequences and funnels: the depth that each user reached.

If no event can fill two steps, the usual case, the chunks are merged in place (kernels/steps). Otherwise the
events that match any step are sorted by user and time, each with the set of steps it matches (kernels/sequence).
"""

from __future__ import annotations

import numpy as np

from cdp_query.bind.bound import BoundSequence
from cdp_query.calendar.windows import Interval
from cdp_query.kernels import sequence
from cdp_query.scan.dropped import note_dropped
from cdp_query.scan.narrowed import chunk_of
from cdp_query.scan.scan import filter_mask
from cdp_query.scan.step_sources import depth_of_steps
from cdp_query.stats import NodeStats
from cdp_store.arrays import I64, U8, U32
from cdp_store.events.chunk import EventChunk
from cdp_store.events.chunk_sealing import order_by_row_time
from cdp_store.memory.view import PartitionView


def sequence_depth(view: PartitionView, node: BoundSequence, stats: NodeStats) -> U8:
    """Most steps any attempt of each row completed: u8[row_count]."""
    depth: U8 = np.zeros(view.row_count, np.uint8)
    horizon = Interval(node.interval.first_ms, node.until_ms)
    if node.within_ms >= 0:
        horizon = Interval(horizon.first_ms, min(horizon.last_ms, node.interval.last_ms + node.within_ms))
    for step in node.steps:
        note_dropped(view, step, horizon, stats)
    names = [name for step in node.steps for name in step.names]
    if len(names) == len(set(names)):
        depth_of_steps(view, node, horizon, depth, stats)
    else:
        _sort_steps(view, node, horizon, depth, stats)
    return depth


def _sort_steps(view: PartitionView, node: BoundSequence, horizon: Interval, depth: U8, stats: NodeStats) -> None:
    rows, times, matches = list[U32](), list[I64](), list[U32]()
    first_ms, last_ms = horizon.first_ms, horizon.last_ms
    for name in sorted({name for step in node.steps for name in step.names}):
        for whole in view.event_chunks(name):
            stats.chunks += 1
            if whole.last_ms < first_ms or whole.first_ms > last_ms:
                stats.chunks_pruned += 1
                continue
            chunk = chunk_of(view, whole)
            matched, at = _steps_of_events(view, node, name, chunk, stats)
            chosen = np.flatnonzero((matched != 0) & (at >= first_ms) & (at <= last_ms))
            if chosen.size:
                rows.append(chunk.full_rows()[chosen])
                times.append(at[chosen])
                matches.append(matched[chosen])
    if rows:
        all_rows, all_times = np.concatenate(rows), np.concatenate(times)
        order = order_by_row_time(all_rows, all_times)
        sequence.sequence_depth(
            all_rows[order],
            all_times[order],
            np.concatenate(matches)[order],
            len(node.steps),
            node.within_ms,
            node.strict_ties,
            depth,
        )


def _steps_of_events(
    view: PartitionView, node: BoundSequence, name: int, chunk: EventChunk, stats: NodeStats
) -> tuple[U32, I64]:
    """(steps each event matches as bits, epoch ms); the first step only inside the interval."""
    stats.events += len(chunk)
    stats.bytes += chunk.index_nbytes + chunk.times.nbytes
    at = chunk.full_times()
    matched: U32 = np.zeros(len(chunk), np.uint32)
    for number, step in enumerate(node.steps):
        if name not in step.names:
            continue
        bit = np.uint32(1 << number)
        bits: U32 = np.full(len(chunk), bit, np.uint32)
        if step.where is not None:
            bits = filter_mask(view, chunk, step.where, stats).astype(np.uint32) * bit
        if number == 0:
            bits[(at < node.interval.first_ms) | (at > node.interval.last_ms)] = 0
        matched |= bits
    return matched, at
