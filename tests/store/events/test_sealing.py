"""Sealing sorts and splits events without losing one; compaction merges what sealing made."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_store.arrays import I64, U32
from cdp_store.events.chunk import EventChunk
from cdp_store.events.chunk_sealing import _PIVOT_CELLS_MAX, EventColumns, compact, order_by_row_time, seal
from cdp_store.events.delta import ArrivedEvents, EventDelta
from cdp_store.events.event_tables import EventTables, prepare_compactions, prepare_seal
from cdp_store.events.layout import LAYOUT, Layout
from cdp_store.limits import (
    BUCKET_MS,
    CHUNK_SLOT_BYTES,
    MORSEL_ROWS,
    SLOT_BYTES_PER_VALUE,
    SPARSE_BUCKET_EVENTS,
    WIDE_CHUNK_EVENTS_MAX,
)
from cdp_store.values import Kind
from tests.raw_records import Event, user
from tests.shards import filled
from tests.store.contents import check_chunks

Arrival = tuple[int, int, dict[tuple[int, Kind], int]]  # row, time, values by (property, kind)
_FAR_ROWS = (MORSEL_ROWS - 1, MORSEL_ROWS, 3 * MORSEL_ROWS + 5)
_EDGES = (0, -1, 1, BUCKET_MS - 1, BUCKET_MS, -BUCKET_MS, -BUCKET_MS - 1, 5 * BUCKET_MS)
_KINDS = (Kind.INT, Kind.STRING, Kind.TIME)
ROWS = st.one_of(st.integers(0, 4), st.sampled_from(_FAR_ROWS))
TIMES = st.one_of(st.sampled_from(_EDGES), st.integers(-3 * BUCKET_MS, 3 * BUCKET_MS))
VALUES = st.dictionaries(st.tuples(st.integers(0, 2), st.sampled_from(_KINDS)), st.integers(0, 2**40), max_size=3)
# Either a few drawn one by one, which shrink well, or the first of a random series, which are many and cheap.
ARRIVALS = st.one_of(
    st.lists(st.tuples(ROWS, TIMES, VALUES), max_size=30),
    st.builds(lambda seed, count: _random_arrivals(Random(seed), count), st.integers(0, 2**32), st.integers(0, 30)),
    st.builds(lambda seed, count: _random_arrivals(Random(seed), count), st.integers(0, 2**32), st.integers(0, 8)),
)


def _random_arrivals(random: Random, count: int) -> list[Arrival]:
    return [
        (
            random.choice((random.randint(0, 4), random.choice(_FAR_ROWS))),
            random.choice((random.choice(_EDGES), random.randint(-3 * BUCKET_MS, 3 * BUCKET_MS))),
            {
                (random.randint(0, 2), random.choice(_KINDS)): random.randint(0, random.choice((9, 2**16, 2**40)))
                for _ in range(random.randint(0, 3))
            },
        )
        for _ in range(count)
    ]


def columns_of(arrivals: list[Arrival]) -> EventColumns:
    triples = [(event, key, kind, raw) for event, (_, _, v) in enumerate(arrivals) for (key, kind), raw in v.items()]
    return EventColumns(
        np.array([row for row, _, _ in arrivals], np.uint32),
        np.array([time for _, time, _ in arrivals], np.int64),
        np.array([t[0] for t in triples], np.uint32),
        np.array([t[1] for t in triples], np.uint16),
        np.array([t[2] for t in triples], np.uint8),
        np.array([t[3] for t in triples], np.int64),
    )


def events_of(chunk: EventChunk) -> list[Arrival]:
    """The events of a chunk as they arrived, in the chunk's order."""
    found: list[Arrival] = [
        (int(row), int(time), {}) for row, time in zip(chunk.full_rows(), chunk.full_times(), strict=True)
    ]
    for key, column in chunk.columns.items():
        presence = column.presence()
        for event, raw in enumerate(column.raws()):
            if presence is None or presence[event]:
                found[event][2][key] = int(raw)
    return found


LAYOUTS = {"bucket by bucket": Layout(0, 0), "mixed": Layout(3, 7), "wide": Layout(1000, 1000)}


def in_order(arrivals: list[Arrival]) -> list[Arrival]:
    """By bucket, row and time; stable, so arrival breaks ties."""
    return sorted(arrivals, key=lambda arrival: (arrival[1] // BUCKET_MS, arrival[0], arrival[1]))


def buckets_of(chunk: EventChunk) -> list[int]:
    """Number of events in each bucket of a chunk that has any."""
    return np.unique(chunk.full_times() // BUCKET_MS, return_counts=True)[1].tolist()


def check_wide(chunks: Sequence[EventChunk], layout: Layout) -> None:
    """Dense buckets stand alone, no two chunks share a bucket, and only a wide span has 64-bit times."""
    for chunk in chunks:
        sizes = buckets_of(chunk)
        assert len(sizes) == 1 or (max(sizes) < layout.sparse_events and sum(sizes) <= layout.wide_events_max)
        assert (chunk.times.dtype == np.int64) == (chunk.last_ms - chunk.base_ms >= 1 << 32)
    assert all(chunk.last_bucket < after.bucket for chunk, after in pairwise(chunks))


def check_together(chunks: Sequence[EventChunk], layout: Layout) -> None:
    """Sparse neighbours share a chunk, as far as there is room."""
    for chunk, after in pairwise(chunks):
        first_after = buckets_of(after)[0]
        sparse = max(buckets_of(chunk)[-1], first_after) < layout.sparse_events
        assert not sparse or len(chunk) + first_after > layout.wide_events_max


@pytest.mark.parametrize("name", LAYOUTS)
@given(ARRIVALS)
@settings(max_examples=80)
def test_sealing_sorts_by_row_and_time_and_keeps_arrival_in_ties(name: str, arrivals: list[Arrival]) -> None:
    layout = LAYOUTS[name]
    chunks = seal(columns_of(arrivals), layout)
    check_chunks(chunks)
    check_wide(chunks, layout)
    check_together(chunks, layout)
    expected = sorted(arrivals, key=lambda arrival: (arrival[0], arrival[1]))
    for chunk in chunks:
        inside = [a for a in expected if chunk.bucket <= a[1] // BUCKET_MS <= chunk.last_bucket]
        assert events_of(chunk) == inside
    assert sum(map(len, chunks)) == len(arrivals)


@pytest.mark.parametrize("name", LAYOUTS)
@given(st.lists(ARRIVALS, min_size=1, max_size=5))
@settings(max_examples=60)
def test_compaction_comes_to_the_same_events_as_sealing_at_once(name: str, batches: list[list[Arrival]]) -> None:
    """Ties across chunks go by arrival too; merged step by step, the cuts may lie elsewhere."""
    layout = LAYOUTS[name]
    tables = EventTables(layout)
    for batch in batches:
        tables.append(_arrived(batch))
        tables.install_seal(prepare_seal(tables.capture()))
        _compact_once(tables)
    while _compact_once(tables):
        pass
    merged = sorted(tables.capture().chunks(7), key=lambda chunk: chunk.bucket)
    check_chunks(merged)
    check_wide(merged, layout)
    assert in_order([e for chunk in merged for e in events_of(chunk)]) == in_order([a for b in batches for a in b])
    for chunk in merged:
        (again,) = seal(columns_of(events_of(chunk)), layout)
        assert events_of(again) == events_of(chunk)
        assert {key: c.values.dtype for key, c in again.columns.items()} == {
            key: c.values.dtype for key, c in chunk.columns.items()
        }, "narrow again after merging"


def _compact_once(tables: EventTables) -> bool:
    done = list(prepare_compactions(tables.capture(), least=2))
    for compacted in done:
        tables.install_compaction(compacted)
    return bool(done)


@given(st.lists(ARRIVALS, max_size=5), st.integers(0, 60))
@settings(max_examples=100)
def test_a_delta_reading_is_a_prefix_and_its_tail_the_rest(batches: list[list[Arrival]], start: int) -> None:
    delta, readings, whole = EventDelta(Layout(0, 0)), [], list[Arrival]()
    for batch in batches:
        readings.append((delta.reading(), list(whole)))
        delta.append(_arrived(batch))
        whole += batch
    start = min(start, len(whole))
    assert _all_events(delta) == in_order(whole)
    assert _all_events(delta.tail(start)) == in_order(whole[start:])
    for reading, expected in readings:
        assert [event for chunk in reading.chunks(7) for event in events_of(chunk)] == in_order(expected)


def _arrived(arrivals: list[Arrival]) -> ArrivedEvents:
    columns = columns_of(arrivals)
    counts = np.array([len(values) for _, _, values in arrivals], np.uint32)
    return ArrivedEvents(
        columns.rows,
        np.full(len(arrivals), 7, np.uint16),
        columns.times,
        counts,
        columns.triple_keys,
        columns.triple_kinds,
        columns.triple_raws,
    )


def _all_events(delta: EventDelta) -> list[Arrival]:
    return [event for chunk in delta.reading().chunks(7) for event in events_of(chunk)]


def _stable_order(rows: U32, times: I64) -> list[int]:
    return sorted(range(len(rows)), key=lambda i: (rows[i], times[i]))


@given(st.lists(st.tuples(st.integers(0, 200_000), st.integers(-5, 5)), max_size=60))
@settings(max_examples=150)
def test_order_is_stable(pairs: list[tuple[int, int]]) -> None:
    rows, times = np.array([r for r, _ in pairs], np.uint32), np.array([t for _, t in pairs], np.int64)
    assert order_by_row_time(rows, times).tolist() == _stable_order(rows, times)


@pytest.mark.parametrize("count", [511, 512, 20_000, 70_000])
@pytest.mark.parametrize("row_count", [1, 3, 8192, 8193, 65_536, 65_537, 2_000_000, 1 << 32])
def test_order_of_many_is_stable(row_count: int, count: int) -> None:
    """Around the sizes where a radix sort takes over and widens, with one and more digits, few and many a row."""
    random = np.random.default_rng(row_count)
    rows = random.integers(0, row_count, count).astype(np.uint32)
    times = random.integers(-50, 50, count)
    order = order_by_row_time(rows, times)
    assert np.array_equal(order, np.lexsort((np.arange(count), times, rows)))


@given(ARRIVALS)
@settings(max_examples=30)
def test_many_columns_are_laid_out_some_at_a_time(arrivals: list[Arrival]) -> None:
    whole = seal(columns_of(arrivals))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("cdp_store.events.chunk_sealing._PIVOT_CELLS_MAX", 2 * max(len(arrivals), 1))
        parts = seal(columns_of(arrivals))
    assert [events_of(chunk) for chunk in parts] == [events_of(chunk) for chunk in whole]
    assert all(set(some.columns) == set(all_.columns) for some, all_ in zip(parts, whole, strict=True))


@given(st.lists(st.tuples(st.integers(0, 3), ROWS, TIMES, VALUES), max_size=40))
@settings(max_examples=60)
def test_a_delta_is_taken_apart_by_name_at_once_as_name_by_name(arrivals: list[tuple[int, int, int, Any]]) -> None:
    delta = EventDelta()
    for name, *arrival in arrivals:
        one = _arrived([(arrival[0], arrival[1], arrival[2])])
        delta.append(replace(one, names=np.full(1, name, np.uint16)))
    reading = delta.reading()
    by_name = dict(reading.columns_by_name())
    assert set(by_name) == {name for name, *_ in arrivals}
    for name, events in by_name.items():
        for field in fields(events):
            alone = getattr(reading.columns(name), field.name)
            assert getattr(events, field.name).tolist() == alone.tolist(), field.name
        assert events.rows.tolist() == [row for other, row, _, _ in arrivals if other == name]


@pytest.mark.parametrize("chunks_max", [1, 0, -1])
def test_a_chunk_alone_cannot_be_merged(chunks_max: int) -> None:
    partition = filled([Event(user("ann"), "View", 1)])
    with pytest.raises(ValueError, match=f"chunks_max is {chunks_max}"):
        partition.maintain(0, chunks_max)


def test_nothing_seals_to_nothing() -> None:
    assert seal(columns_of([])) == ()


def test_events_of_a_row_are_found_across_morsels() -> None:
    arrivals: list[Arrival] = [(row, time, {}) for row in (0, 2, MORSEL_ROWS + 2) for time in range(3)]
    (chunk,) = seal(columns_of(arrivals))
    assert chunk.events_of_row(2) == slice(3, 6)
    assert chunk.events_of_row(MORSEL_ROWS + 2) == slice(6, 9)
    for missing in (1, MORSEL_ROWS, MORSEL_ROWS + 3, 5 * MORSEL_ROWS):
        part = chunk.events_of_row(missing)
        assert part.start == part.stop


CRAMPED = {
    "values alone": Layout(3, 7, 0, 24),
    "some room": Layout(1000, 1000, 100, 8),
    "bucket by bucket": Layout(0, 0, 60, 8),
}


@pytest.mark.parametrize("name", CRAMPED)
@given(st.lists(ARRIVALS, min_size=1, max_size=6))
@settings(max_examples=60)
def test_columns_without_room_share_no_chunk_and_ties_go_by_arrival(name: str, batches: list[list[Arrival]]) -> None:
    layout = CRAMPED[name]
    tables = EventTables(layout)
    for batch in batches:
        tables.append(_arrived(batch))
        tables.install_seal(prepare_seal(tables.capture()))
        for chunk in tables.capture().chunks(7):
            values = sum(map(len, (v for _, _, v in events_of(chunk))))
            assert len(chunk) == 1 or len(chunk) * len(chunk.columns) <= layout.slot_bytes + 24 * values
        _compact_once(tables)
    while _compact_once(tables):
        pass
    chunks = tables.capture().chunks(7)
    check_chunks(chunks)
    assert in_order([e for chunk in chunks for e in events_of(chunk)]) == in_order([a for b in batches for a in b])


def test_chunks_that_only_one_without_room_holds_together_are_not_merged_for_ever() -> None:
    some, more, text = (2, Kind.INT), (0, Kind.INT), (1, Kind.STRING)
    batches: list[list[Arrival]] = [
        [(3, -373874036, {some: 66028538692}), (2, -8362454, {some: 1455, more: 133}),
         (0, 2419199999, {(1, Kind.TIME): 1075443394, (2, Kind.STRING): 1706, (0, Kind.TIME): 3997}),
         (196613, 2419199999, {})],
        [(65535, 315787819, {}), (4, -2419200000, {text: 11238}), (0, -262616, {}),
         (65535, 454, {(1, Kind.TIME): 29769983113, more: 1358, text: 17486}), (65535, 2419199999, {})],
        [(4, -3845, {}), (0, 2419199999, {}), (4, 1, {}), (65535, 2419200000, {}),
         (1, -352704004, {(0, Kind.STRING): 17179869183}), (65536, -19104135, {})],
    ]  # fmt: skip
    tables = EventTables(CRAMPED["values alone"])
    for batch in batches:
        tables.append(_arrived(batch))
        tables.install_seal(prepare_seal(tables.capture()))
        _compact_once(tables)
    assert any(not _compact_once(tables) for _ in range(10)), "compaction comes to rest"
    check_chunks(tables.capture().chunks(7))


def test_rare_properties_cost_what_their_values_do() -> None:
    """An event in a thousand has a property that no other has; plain ones come before, between and after."""
    rare, plain = 500, 250_000
    events = EventColumns(
        np.zeros(plain, np.uint32),
        np.arange(plain, dtype=np.int64),
        np.arange(0, plain, plain // rare, dtype=np.uint32),
        np.arange(rare, dtype=np.uint16),
        np.full(rare, Kind.INT, np.uint8),
        np.arange(rare, dtype=np.int64) % 100,
    )
    held = tuple(chunk for _ in range(3) for chunk in seal(events))
    assert sum(map(len, held)) == 3 * plain and slot_bytes(held) <= 3 * 32 * plain
    merged = [compact(sources) for sources in LAYOUT.due(held, 2)]
    assert merged, "neighbours that fit share a chunk"
    assert sum(map(slot_bytes, merged)) <= 3 * 64 * plain
    for chunks in merged:
        values = sum(len(chunk.columns) for chunk in chunks)
        assert slot_bytes(chunks) <= CHUNK_SLOT_BYTES + SLOT_BYTES_PER_VALUE * 3 * values


def slot_bytes(chunks: Sequence[EventChunk]) -> int:
    """Bytes of the values of all columns, given or not."""
    return sum(column.values.nbytes for chunk in chunks for column in chunk.columns.values())


@pytest.mark.parametrize("work", ["seal", "compact"])
def test_very_many_properties_are_wide_one_after_the_other(work: str) -> None:
    events, keys = 20_000, 1000
    wide = EventColumns(
        np.zeros(events, np.uint32),
        np.arange(events, dtype=np.int64),
        np.arange(keys, dtype=np.uint32),
        np.arange(keys, dtype=np.uint16),
        np.full(keys, Kind.INT, np.uint8),
        np.arange(keys, dtype=np.int64) % 100,
    )
    roomy = Layout(SPARSE_BUCKET_EVENTS, WIDE_CHUNK_EVENTS_MAX, 1 << 40)
    (sealed,) = seal(wide, roomy)
    tracemalloc.start()
    try:
        (chunk,) = seal(wide, roomy) if work == "seal" else compact([sealed, sealed], roomy)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(chunk.columns) == keys
    # A block of columns that are laid out together, and no second one of all: 9 bytes an event each.
    assert peak < chunk.nbytes + len(chunk) * keys * 9 // 4 + 9 * _PIVOT_CELLS_MAX
