"""Steps compared as sorted arrays, against the rule in plain Python."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdp_query.compiled.kernels.following import (
    BLOCKS,
    block_offsets,
    count_earlier,
    keep_followers,
    mark_rows,
    row_key,
)
from cdp_store.arrays import I64, U8, U32
from cdp_store.limits import MORSEL_ROWS, TIME_MAX_MS, TIME_MIN_MS

_Event = tuple[int, int]  # a row and a time
_Kept = tuple[int, int, int]  # a row, the time of its event and the start of its attempt

_ROWS = st.sampled_from((0, 1, 2, 4094, 4095, 4096, 4097, 8191, 8192, 40_000, MORSEL_ROWS - 2, MORSEL_ROWS - 1))
_TIMES = st.one_of(st.integers(0, 9), st.sampled_from((TIME_MIN_MS, TIME_MIN_MS + 1, TIME_MAX_MS - 1, TIME_MAX_MS)))
_EVENTS = st.lists(st.tuples(_ROWS, _TIMES), min_size=1, max_size=30).map(sorted)
_WITHIN = st.sampled_from((-1, 0, 1, 3, TIME_MAX_MS - TIME_MIN_MS - 1, TIME_MAX_MS - TIME_MIN_MS, 1 << 62))


def _laid_out(events: Sequence[_Event]) -> tuple[I64, I64]:
    """(numbers of the events, their offsets by block)."""
    numbers: I64 = np.array([row_key(np.uint16(row)) + time - TIME_MIN_MS for row, time in events], np.int64)
    found, firsts = np.unique([row for row, _ in events], return_index=True)
    begins: U32 = np.zeros(MORSEL_ROWS, np.uint32)
    begins[found] = firsts
    offsets: I64 = np.empty(BLOCKS + 1, np.int64)
    block_offsets(found.astype(np.uint32), begins, len(events), offsets)
    return numbers, offsets


def _followed(steps: Sequence[Sequence[_Event]], within: int, *, strict: bool) -> tuple[list[_Kept], U8, U8]:
    """(events of the last step that are kept, rows wanted, depths)."""
    past, past_offsets = _laid_out(steps[0])
    past_starts = past
    wanted: U8 = np.ones(MORSEL_ROWS, np.uint8)
    depth: U8 = np.zeros(MORSEL_ROWS, np.uint8)
    for number, step in enumerate(steps[1:], 2):
        events, offsets = _laid_out(step)
        starts: I64 = np.empty_like(events)
        earlier: U32 = np.empty(events.shape[0], np.uint32)
        count_earlier(past, past_offsets, events, offsets, int(not strict), earlier)
        keep_followers(past_starts, past_offsets, events, starts, offsets, earlier, within)
        mark_rows(events, offsets, number, wanted, depth)
        past, past_starts, past_offsets = events, starts, offsets
    kept = list[_Kept]()
    for row in sorted({row for row, _ in steps[-1]}):
        block, zero = row * BLOCKS // MORSEL_ROWS, int(row_key(np.uint16(row)))
        for at in range(past_offsets[block], past_offsets[block + 1]):
            times = int(past[at]) - zero + TIME_MIN_MS, int(past_starts[at]) - zero + TIME_MIN_MS
            if TIME_MIN_MS <= times[0] <= TIME_MAX_MS:
                kept.append((row, *times))
    return kept, wanted, depth


def _expected(steps: Sequence[Sequence[_Event]], within: int, *, strict: bool) -> list[_Kept]:
    past: list[_Kept] = [(row, time, time) for row, time in steps[0]]
    for step in steps[1:]:
        kept = list[_Kept]()
        for row, time in step:
            starts = [s for own, t, s in past if own == row and (t < time or (t == time and not strict))]
            latest = max((s for own, _, s in kept if own == row), default=None)
            start = max(starts, default=None)
            if start is None or (latest is not None and start <= latest) or (within >= 0 and time - start > within):
                continue
            kept.append((row, time, start))
        past = kept
    return past


@given(st.lists(_EVENTS, min_size=2, max_size=3), _WITHIN, st.booleans())
@example([[(0, 1), (4095, 1)], [(1, 2), (4096, 2)]], -1, False)  # what comes before is another row's
@example([[(0, TIME_MAX_MS)], [(1, TIME_MIN_MS)]], 1 << 62, False)
@example([[(7, 1), (7, 1), (7, 2)], [(7, 1), (7, 2), (7, 2)]], 0, False)
@settings(max_examples=400, deadline=None)
def test_the_events_kept_are_those_that_complete_a_step_with_a_later_start(
    steps: list[list[_Event]], within: int, strict: bool
) -> None:
    kept, wanted, depth = _followed(steps, within, strict=strict)
    expected = _expected(steps, within, strict=strict)
    assert kept == expected
    rows = sorted({row for row, _, _ in expected})
    assert np.flatnonzero(wanted).tolist() == rows == np.flatnonzero(depth == len(steps)).tolist()
