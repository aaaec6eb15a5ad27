"""Arguments of the compiled entry in three groups: the tables that it reads, its working memory, and its results."""

from __future__ import annotations

from typing import NamedTuple

from cdp_store.arrays import I64, U8, U32, U64


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
    u64[rows], which are the same memory. Per event of a chunk: event_masks u8[depth, events], amounts i64[events].
    scratch u8 holds either.
    """

    masks: U8
    kept: U8
    asked: U8
    window: U32
    sums: I64
    days: U64
    event_masks: U8
    amounts: I64
    scratch: U8


class Results(NamedTuple):
    """Results of a run, zeros before it.

    members u8[rows of all partitions], counts i64[parts, 2] (population, members), counters i64[parts, nodes, .].
    open_leaves u8[parts, leaves] is set where a leaf cannot be decided: then nothing else of that partition means
    anything. noted u8[parts, leaves] marks the leaves whose chunks are counted.
    """

    members: U8
    counts: I64
    counters: I64
    open_leaves: U8
    noted: U8
