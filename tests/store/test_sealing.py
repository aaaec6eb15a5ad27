"""Sealing sorts and splits events without losing one; compaction merges what sealing made."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_store.arrays import I64, U32
from cdp_store.events.chunk import EventChunk
from cdp_store.events.delta import ArrivedEvents, EventDelta
from cdp_store.events.sealing import EventColumns, compact, order_by_row_time, seal
from cdp_store.limits import BUCKET_MS, MORSEL_ROWS
from cdp_store.values import Kind
from tests.store.contents import check_chunks

Arrival = tuple[int, int, dict[tuple[int, Kind], int]]  # row, time, values by (property, kind)
ROWS = st.one_of(st.integers(0, 4), st.sampled_from([MORSEL_ROWS - 1, MORSEL_ROWS, 3 * MORSEL_ROWS + 5]))
TIMES = st.one_of(
    st.sampled_from([0, -1, 1, BUCKET_MS - 1, BUCKET_MS, -BUCKET_MS, -BUCKET_MS - 1, 5 * BUCKET_MS]),
    st.integers(-3 * BUCKET_MS, 3 * BUCKET_MS),
)
VALUES = st.dictionaries(
    st.tuples(st.integers(0, 2), st.sampled_from([Kind.INT, Kind.STRING, Kind.TIME])), st.integers(0, 2**40), max_size=3
)
ARRIVALS = st.lists(st.tuples(ROWS, TIMES, VALUES), max_size=30)


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


def in_order(arrivals: list[Arrival]) -> list[Arrival]:
    """By bucket, row and time; stable, so arrival breaks ties."""
    return sorted(arrivals, key=lambda arrival: (arrival[1] // BUCKET_MS, arrival[0], arrival[1]))


@given(ARRIVALS)
@settings(max_examples=200)
def test_sealing_sorts_by_bucket_row_and_time_and_keeps_arrival_in_ties(arrivals: list[Arrival]) -> None:
    chunks = seal(columns_of(arrivals))
    check_chunks(chunks)
    assert len({chunk.bucket for chunk in chunks}) == len(chunks)
    assert [event for chunk in chunks for event in events_of(chunk)] == in_order(arrivals)


@given(st.lists(ARRIVALS, min_size=1, max_size=5))
@settings(max_examples=150)
def test_compaction_equals_sealing_at_once(batches: list[list[Arrival]]) -> None:
    """Ties across chunks go by arrival too."""
    sealed = [chunk for batch in batches for chunk in seal(columns_of(batch))]
    at_once = {chunk.bucket: chunk for chunk in seal(columns_of([a for batch in batches for a in batch]))}
    for bucket, expected in at_once.items():
        merged = compact([chunk for chunk in sealed if chunk.bucket == bucket])
        check_chunks([merged])
        assert events_of(merged) == events_of(expected)
        assert set(merged.columns) == set(expected.columns)
        for key, column in expected.columns.items():
            assert merged.columns[key].values.dtype == column.values.dtype, "narrow again after merging"


@given(st.lists(ARRIVALS, max_size=5), st.integers(0, 60))
@settings(max_examples=100)
def test_a_delta_reading_is_a_prefix_and_its_tail_the_rest(batches: list[list[Arrival]], start: int) -> None:
    delta, readings, whole = EventDelta(), [], list[Arrival]()
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


@pytest.mark.parametrize("row_count", [1, 3, 65_536, 65_537, 2_000_000])
def test_order_of_many_is_stable(row_count: int) -> None:
    """Above the size where a radix sort takes over, with one and with two digits, few and many events per row."""
    random = np.random.default_rng(row_count)
    rows = random.integers(0, row_count, 20_000).astype(np.uint32)
    times = random.integers(-50, 50, 20_000)
    order = order_by_row_time(rows, times)
    assert order.tolist() == np.lexsort((np.arange(20_000), times, rows)).tolist()


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
