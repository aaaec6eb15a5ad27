"""Chunks that overlap in time are merged to one as if their events had been sorted together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_query.calendar.windows import Interval
from cdp_query.scan.merged import merged
from cdp_query.scan.scan import Scanned
from cdp_store.arrays import Bools
from cdp_store.events.chunk_sealing import seal
from cdp_store.events.layout import Layout
from cdp_store.limits import BUCKET_MS, MORSEL_ROWS
from cdp_store.values import Kind
from tests.store.events.test_sealing import ARRIVALS, Arrival, columns_of, events_of

WIDE = Layout(1000, 1000)


@dataclass(frozen=True)
class Batch:
    """Events that are sealed together, and a seed for those that pass a filter; 0 = no filter."""

    arrivals: list[Arrival]
    seed: int


BATCHES = st.lists(st.builds(Batch, ARRIVALS.filter(bool), st.integers(0, 3)), min_size=1, max_size=12)
BOUNDS = st.one_of(st.just(None), st.tuples(st.integers(-2 * BUCKET_MS, 2), st.integers(0, 2 * BUCKET_MS)))


@given(BATCHES, BOUNDS)
@settings(max_examples=200)
def test_events_that_count_come_in_order_of_row_time_and_chunk(
    batches: list[Batch], bounds: tuple[int, int] | None
) -> None:
    wanted = Interval(*(bounds or (-(10**15), 10**15)))
    scanned, expected = list[Scanned](), list[Arrival]()
    for batch in batches:
        for chunk in seal(columns_of(batch.arrivals), WIDE):
            mask: Bools | None = None
            if batch.seed:
                mask = np.random.default_rng(batch.seed).random(len(chunk)) < 0.5
            scanned.append(Scanned(chunk, mask))
            passed = [each for at, each in enumerate(events_of(chunk)) if mask is None or mask[at]]
            expected += [each for each in passed if wanted.first_ms <= each[1] <= wanted.last_ms]
    chunk = merged(scanned, wanted)
    expected.sort(key=lambda arrival: arrival[:2])
    assert [(int(row), int(ms)) for row, ms in zip(chunk.full_rows(), chunk.full_times(), strict=True)] == [
        arrival[:2] for arrival in expected
    ]
    assert events_of(chunk) == expected
    assert (2, Kind.LIST) not in chunk.columns
    assert chunk.run_offsets[-1] == chunk.run_rows.shape[0] and (np.diff(chunk.run_starts.astype(np.int64)) > 0).all()
    assert not expected or chunk.first_ms <= min(ms for _, ms, _ in expected)
    assert not expected or max(ms for _, ms, _ in expected) <= chunk.last_ms


@pytest.mark.parametrize("chunk_count", [2, 7, 8, 9, 70])
def test_rows_of_several_blocks_and_morsels_and_any_number_of_chunks(chunk_count: int) -> None:
    chance = np.random.default_rng(chunk_count)
    scanned, expected = list[Scanned](), list[Arrival]()
    for number in range(chunk_count):
        rows = chance.choice([0, 2047, 2048, 5000, MORSEL_ROWS - 1, MORSEL_ROWS, 2 * MORSEL_ROWS + 2048], 60)
        arrivals: list[Arrival] = [(int(row), int(chance.integers(0, 9)), {(0, Kind.INT): number}) for row in rows]
        expected += arrivals
        scanned += [Scanned(chunk, None) for chunk in seal(columns_of(arrivals), WIDE)]
    assert events_of(merged(scanned)) == sorted(expected, key=lambda arrival: arrival[:2])
