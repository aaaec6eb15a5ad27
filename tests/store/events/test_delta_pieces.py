"""What questions sort of a delta is used again for later ones, and equals all events sorted at once."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cdp_store.events.delta as delta_module
from cdp_store.events.chunk import EventChunk
from cdp_store.events.delta import ArrivedEvents, DeltaReading, EventDelta
from cdp_store.events.delta_chunks import DeltaColumns
from cdp_store.events.event_tables import EventsReading, EventTables, prepare_compactions, prepare_seal
from cdp_store.events.layout import Layout
from cdp_store.limits import BUCKET_MS
from cdp_store.values import Kind
from tests.store.contents import check_chunks
from tests.store.events.test_sealing import ARRIVALS, LAYOUTS, Arrival, _arrived, events_of

NAMES = (0, 3)
Named = tuple[int, Arrival]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from(NAMES), ARRIVALS),
        st.tuples(st.just("capture")),
        st.tuples(st.just("ask"), st.integers(0, 9), st.sampled_from(NAMES)),
        st.tuples(st.just("prepare")),
        st.tuples(st.just("install")),
        st.tuples(st.just("compact"), st.integers(2, 4), st.sampled_from([0, 2, 8])),
        st.tuples(st.just("drop"), st.sampled_from(NAMES), st.integers(-2, 2)),
    ),
    max_size=30,
)


@pytest.fixture(autouse=True)
def small_tails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tail of a few events is long already."""
    monkeypatch.setattr(delta_module, "_TAIL_EVENTS", 3)
    monkeypatch.setattr(delta_module, "_TAIL_SHIFT", 2)


def named(arrivals: Iterable[Arrival], name: int) -> ArrivedEvents:
    arrived = _arrived(list(arrivals))
    return replace(arrived, names=np.full(arrived.rows.shape[0], name, np.uint16))


def in_order(arrivals: Iterable[Arrival]) -> list[Arrival]:
    """By row and time; stable, so arrival breaks ties."""
    return sorted(arrivals, key=lambda arrival: arrival[:2])


def check(chunks: Iterable[EventChunk], expected: Iterable[Arrival]) -> None:
    """The chunks are sound, and hold these events in order of arrival where they share buckets."""
    chunks = list(chunks)
    check_chunks(chunks)
    assert in_order(event for chunk in chunks for event in events_of(chunk)) == in_order(expected)


class Tables:
    """Event tables beside a list of all that arrived, and what earlier captures have to show."""

    def __init__(self, layout: Layout) -> None:
        self.tables, self.held = EventTables(layout), list[Named]()
        self.captures = list[tuple[EventsReading, list[Named]]]()
        self.prepared = list[Any]()

    def append(self, name: int, arrivals: list[Arrival]) -> None:
        self.tables.append(named(arrivals, name))
        self.held += [(name, arrival) for arrival in arrivals]

    def capture(self) -> None:
        self.captures.append((self.tables.capture(), list(self.held)))

    def ask(self, which: int, name: int) -> None:
        if self.captures:
            reading, held = self.captures[-1 - which % len(self.captures)]
            expected = [arrival for own, arrival in held if own == name]
            check(reading.pieces(name), expected)
            check(reading.chunks(name), expected)

    def prepare(self) -> None:
        self.prepared.append(prepare_seal(self.tables.capture()))

    def install(self) -> None:
        if self.prepared:
            self.tables.install_seal(self.prepared.pop(0))

    def compact(self, least: int, growth: int) -> None:
        for done in prepare_compactions(self.tables.capture(), least, growth):
            self.tables.install_compaction(done)

    def drop(self, name: int, bucket: int) -> None:
        cutoff_ms = bucket * BUCKET_MS
        self.tables.drop_before(name, cutoff_ms)
        self.held = [(own, each) for own, each in self.held if own != name or each[1] >= cutoff_ms]


@pytest.mark.parametrize("name", LAYOUTS)
@given(STEPS)
@settings(max_examples=150)
def test_every_capture_shows_what_had_arrived(name: str, steps: list[tuple[Any, ...]]) -> None:
    """Whatever was asked, sealed, compacted and dropped meanwhile."""
    tables = Tables(LAYOUTS[name])
    for work, *arguments in steps:
        getattr(tables, work)(*arguments)
    tables.capture()
    for which in range(len(tables.captures)):
        for number in NAMES:
            tables.ask(which, number)


def filled(count: int, layout: Layout = LAYOUTS["wide"]) -> EventDelta:
    delta = EventDelta(layout)
    extend(delta, count)
    return delta


def extend(delta: EventDelta, count: int) -> None:
    first = len(delta)
    key: tuple[int, Kind] = (1, Kind.INT)
    delta.append(named([(n % 5, 100 - n, {key: n} if n % 2 else {}) for n in range(first, first + count)], 0))


def test_a_later_question_sorts_only_what_arrived_since(monkeypatch: pytest.MonkeyPatch) -> None:
    sorted_from = list[int]()
    plain = delta_module.chunks_of_name

    def noted(reading: DeltaReading, name: int, first: int) -> tuple[EventChunk, ...]:
        sorted_from.append(first)
        return plain(reading, name, first)

    monkeypatch.setattr(delta_module, "chunks_of_name", noted)
    delta = filled(20)
    before = delta.reading()
    first = before.pieces(0)
    assert before.pieces(0) == first and sorted_from == [0], "the same view asks again"
    extend(delta, 3)
    reading = delta.reading()
    [head, tail] = reading.pieces(0)
    assert (head, len(tail)) == (first[0], 3)
    assert reading.pieces(0)[1] is tail and sorted_from == [0, 20]
    extend(delta, 4)
    assert [len(chunk) for chunk in delta.reading().pieces(0)] == [27] and sorted_from == [0, 20, 0]
    assert [len(chunk) for chunk in before.pieces(0)] == [20], "a view from before"


def test_a_tail_is_that_of_the_view_that_asks() -> None:
    delta = filled(20)
    readings = [delta.reading()]
    for _ in range(3):
        extend(delta, 1)
        readings.append(delta.reading())
    for _ in range(2):
        for more, reading in enumerate(readings):
            assert [len(chunk) for chunk in reading.pieces(0)] == [20, *[more][: min(more, 1)]]


def test_chunks_of_a_short_delta_are_known_again_until_it_grows() -> None:
    delta = filled(3)
    [chunk] = delta.reading().chunks(0)
    assert delta.reading().chunks(0)[0] is chunk
    extend(delta, 5)
    assert [len(each) for each in delta.reading().chunks(0)] == [8]
    assert delta.reading().chunks(0)[0] is not delta.reading().chunks(0)[0], "a long one is sealed soon"


def test_columns_are_made_when_they_are_read_and_counted_when_made() -> None:
    delta = filled(40)
    bare = delta.nbytes
    [chunk] = delta.reading().pieces(0)
    columns = chunk.columns
    assert isinstance(columns, DeltaColumns) and not columns.made
    assert list(columns) == [(1, Kind.INT)] and len(columns) == 1 and (2, Kind.INT) not in columns
    indexed = delta.nbytes
    assert indexed - bare == chunk.index_nbytes + chunk.times.nbytes + columns.events.nbytes
    assert columns[1, Kind.INT] is columns[1, Kind.INT]
    assert delta.nbytes - indexed == columns[1, Kind.INT].nbytes


def test_what_was_sorted_keeps_no_outgrown_arrays() -> None:
    delta = filled(40)
    [chunk] = delta.reading().pieces(0)
    outgrown = weakref.ref(delta._raws.buffer)
    extend(delta, 4000)
    gc.collect()
    assert outgrown() is None
    assert sorted(event[2][1, Kind.INT] for event in events_of(chunk) if event[2]) == list(range(1, 40, 2))


@given(st.lists(st.dictionaries(st.tuples(st.integers(0, 40), st.just(Kind.INT)), st.integers(0, 9), max_size=3)))
@settings(max_examples=60)
def test_columns_that_do_not_fit_one_chunk_are_sealed_as_ever(values: list[dict[tuple[int, Kind], int]]) -> None:
    layout = Layout(1000, 1000, 40, 24)
    delta, arrivals = EventDelta(layout), [(n % 3, n, each) for n, each in enumerate(values)]
    delta.append(named(arrivals, 0))
    pieces = delta.reading().pieces(0)
    check(pieces, arrivals)
    for chunk in pieces:
        given_count = sum(len(each) for _, _, each in events_of(chunk))
        assert len(chunk) < 2 or layout.fits(8 * len(chunk) * len(chunk.columns), given_count)


def test_a_run_of_very_many_events_out_of_order_is_sorted() -> None:
    """More than insertion would take, on two instants, over more time than 32 bits hold."""
    chance = np.random.default_rng(1)
    times = chance.choice([0, 1, 3 * BUCKET_MS], 2000).tolist()
    arrivals: list[Arrival] = [(7, time, {(0, Kind.INT): n}) for n, time in enumerate(times)]
    delta = EventDelta(LAYOUTS["mixed"])
    delta.append(named(arrivals, 0))
    [chunk] = delta.reading().pieces(0)
    assert chunk.times.dtype == np.int64
    assert events_of(chunk) == in_order(arrivals)


BATCHES = st.lists(ARRIVALS, min_size=1, max_size=12)


@pytest.mark.parametrize("growth", [1, 2, 8])
@pytest.mark.parametrize("name", LAYOUTS)
@given(BATCHES)
@settings(max_examples=40)
def test_chunks_grow_apart_and_compaction_comes_to_rest(name: str, growth: int, batches: list[list[Arrival]]) -> None:
    layout = LAYOUTS[name]
    tables = Tables(layout)
    for batch in batches:
        tables.append(0, batch)
        tables.prepare()
        tables.install()
        for _ in _until_rest(tables, growth):
            pass
        held = tables.tables.capture().sealed.get(0, ())
        assert not list(layout.due(held, 1000, growth))
    tables.capture()
    tables.ask(0, 0)


def _until_rest(tables: Tables, growth: int) -> Iterator[None]:
    for _ in range(30):
        before = tables.tables.capture().sealed
        tables.compact(1000, growth)
        if tables.tables.capture().sealed is before:
            return
        yield
    raise AssertionError("compaction never ends")


def test_chunks_of_one_bucket_stay_few() -> None:
    """However often small deltas are sealed: one chunk for each step in size."""
    layout, tables = LAYOUTS["bucket by bucket"], Tables(LAYOUTS["bucket by bucket"])
    merged = 0
    for number in range(256):
        tables.append(0, [(number % 7, number, {}), (number % 5, number, {})])
        tables.prepare()
        tables.install()
        for done in prepare_compactions(tables.tables.capture(), 1000, 8):
            merged += sum(map(len, done.sources))
            tables.tables.install_compaction(done)
        held = tables.tables.capture().sealed[0]
        assert len(held) <= 4 and not list(layout.due(held, 1000, 8))
    assert merged <= 512 * 8 * 2, "an event is merged a few times, not at each seal"
