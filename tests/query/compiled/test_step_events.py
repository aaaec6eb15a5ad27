"""Lists of the events of a step, from chunks whose times overlap, against sorting all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdp_query.compiled.descriptors import address_of
from cdp_query.compiled.kernels.following import BLOCKS, row_key
from cdp_query.compiled.kernels.layout import (
    CHUNK_BASE_MS,
    CHUNK_EVENTS,
    CHUNK_FIELDS,
    CHUNK_IS_WIDE,
    CHUNK_RUN_ROWS,
    CHUNK_RUN_STARTS,
    CHUNK_TIMES,
)
from cdp_query.compiled.kernels.step_events import PILES, SLACK, append_events, pile_up
from cdp_store.arrays import I64, U8, U32, AnyArray
from cdp_store.limits import MORSEL_ROWS, TIME_MIN_MS

_Event = tuple[int, int, bool]  # a row, a time, and whether it passes the filter

_BASE_MS = 1_000_000
_ROWS = st.sampled_from((0, 1, 2, 3, 4095, 4096, 4097, 8191, 40_000, MORSEL_ROWS - 1))
_CHUNK = st.lists(st.tuples(_ROWS, st.integers(0, 50), st.booleans()), min_size=1, max_size=60).map(sorted)


def _chunk(events: Sequence[_Event], *, is_wide: bool) -> tuple[I64, int, list[AnyArray]]:
    """(row of a chunk table, its runs, the arrays that it names)."""
    rows, starts = np.unique([row for row, _, _ in events], return_index=True)
    run_rows = rows.astype(np.uint16)
    run_starts: U32 = np.array([*starts, len(events)], np.uint32)
    times: AnyArray = np.array([time for _, time, _ in events], np.int64 if is_wide else np.uint32)
    chunk: I64 = np.zeros(CHUNK_FIELDS, np.int64)
    chunk[[CHUNK_RUN_ROWS, CHUNK_RUN_STARTS, CHUNK_TIMES]] = [address_of(a) for a in (run_rows, run_starts, times)]
    chunk[[CHUNK_IS_WIDE, CHUNK_BASE_MS, CHUNK_EVENTS]] = is_wide, _BASE_MS, len(events)
    return chunk, len(rows), [run_rows, run_starts, times]


def _number(row: int, time: int) -> int:
    return int(row_key(np.uint16(row))) + _BASE_MS + time - TIME_MIN_MS


@given(st.lists(_CHUNK, min_size=1, max_size=9), st.booleans(), st.booleans(), st.sets(_ROWS), st.integers(1, 2))
@example([[(row, 5, True) for row in (0, 4096)]] * 9, False, False, set(), 1)
@example([[(1, time, time % 2 == 0) for time in range(40)]], False, True, set(), 1)
@example([[(row, time, True) for row in (1, 2) for time in range(20)]], False, False, set(), 1)  # runs need a loop
@settings(max_examples=300, deadline=None)
def test_a_list_holds_the_events_of_all_chunks_in_order(
    chunks: list[list[_Event]], is_wide: bool, is_masked: bool, left_out: set[int], least: int
) -> None:
    most = sum(map(len, chunks))
    asked: U8 = np.full(MORSEL_ROWS, least, np.uint8)
    asked[list(left_out)] = least - 1
    marks: U8 = np.zeros(MORSEL_ROWS, np.uint8)
    numbers, merged = np.empty(most + SLACK, np.int64), np.empty(most + SLACK, np.int64)
    flags, chosen = np.empty(most + SLACK, np.uint8), np.empty(MORSEL_ROWS, np.uint32)
    piles, count = np.empty((PILES, BLOCKS + 1), np.int64), 0
    for events in chunks:
        chunk, runs, kept = _chunk(events, is_wide=is_wide)
        # As in memory of a walk: passes are followed by bytes of something else.
        passes: U8 = np.array([*(passes for _, _, passes in events), *[1] * SLACK], np.uint8)[: len(events)]
        piles[count] = piles[count - 1, BLOCKS] if count else 0
        append_events(
            chunk, 0, runs, passes if is_masked else passes[:0], flags, asked, least, chosen, marks, numbers,
            piles[count],
        )  # fmt: skip
        assert kept
        if piles[count, BLOCKS] > piles[count, 0]:
            count = pile_up(numbers, piles, count + 1, merged, False)
            sizes = (piles[:count, BLOCKS] - piles[:count, 0]).tolist()
            assert all(newer < older // 2 for older, newer in zip(sizes, sizes[1:], strict=False))
    count = pile_up(numbers, piles, count, merged, True)
    wanted = [(row, time) for events in chunks for row, time, passes in events if passes or not is_masked]
    expected = sorted((row, time) for row, time in wanted if row not in left_out)
    assert count == (1 if expected else 0)
    if expected:
        assert numbers[: piles[0, BLOCKS]].tolist() == [_number(row, time) for row, time in expected]
        blocks = [row * BLOCKS // MORSEL_ROWS for row, _ in expected]
        assert piles[0].tolist() == np.searchsorted(blocks, np.arange(BLOCKS + 1)).tolist()
    rows = {row for events in chunks for row, _, _ in events}
    assert set(np.flatnonzero(marks).tolist()) == rows - left_out
