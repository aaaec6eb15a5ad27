"""Arguments of the compiled entry in three groups: the tables that it reads, its working memory, and its results."""

from __future__ import annotations

from typing import NamedTuple

from cdp_store.arrays import I32, I64, U8, U16, U32, U64


class Tables(NamedTuple):
    """A program bound to partitions, in rows of `layout.py`.

    operations, leaves and filters i64[n, .], parts i64[parts, .], bounds i64[parts, leaves, .], tests i64[parts, tests,
    .].
    """

    operations: I64
    leaves: I64
    filters: I64
    parts: I64
    bounds: I64
    tests: I64


class Memory(NamedTuple):
    """Working memory for one morsel.

    Per row: masks u8[depth, rows], kept u8[slots, rows], asked u8[rows], window u32[rows], sums i64[rows] and days
    u64[rows], which are the same memory, marks u8[rows]. Per event of a chunk: running i64[events + 1], totals of those
    before it, event_rows u16[events + 4] and event_periods u32[events]. event_masks u8[depth, .] and scratch u8 hold
    either, and 8 bytes more.

    Per row, only if a leaf is about gathered events: wanted, depth, possible, level and carried u8[rows], rows and
    chosen u32[rows], carry i64[steps, rows]; if it is about returns: periods i32[rows]. Of sequences (see
    sequence_leaf.py): steps i64[steps, STEP_FIELDS], offsets i64[steps, BLOCKS + 1], piles i64[PILES, BLOCKS + 1], and
    counted i64[COUNTERS] for what has been counted before.
    """

    masks: U8
    kept: U8
    asked: U8
    window: U32
    sums: I64
    days: U64
    marks: U8
    event_masks: U8
    running: I64
    event_rows: U16
    event_periods: U32
    scratch: U8
    wanted: U8
    depth: U8
    possible: U8
    level: U8
    carried: U8
    rows: U32
    chosen: U32
    carry: I64
    periods: I32
    steps: I64
    offsets: I64
    piles: I64
    counted: I64


class Results(NamedTuple):
    """Results of a run, zeros before it.

    members u8[rows of all partitions], counts i64[parts, 2] (population, members), counters i64[parts, nodes, .].
    open_leaves u8[parts, leaves] is set where a leaf cannot be decided: then nothing else of that partition means
    anything. noted u8[parts, leaves] marks the leaves whose chunks are counted. output i64 holds what a report adds up
    (see report_leaves.py), entries i64[rows of all partitions] the first entries of a retention.
    """

    members: U8
    counts: I64
    counters: I64
    open_leaves: U8
    noted: U8
    output: I64
    entries: I64
