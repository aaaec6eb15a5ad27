"""Steps compared as sorted arrays, stage by stage, against the rule in plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdp_query.compiled.kernels.following import (
    BLOCKS,
    carry_starts,
    count_earlier,
    keep_followers,
    mark_reached,
    row_key,
)
from cdp_store.arrays import I64, U8, U32
from cdp_store.limits import MORSEL_ROWS, TIME_MAX_MS, TIME_MIN_MS

_Event = tuple[int, int]  # a row and a time
_Kept = tuple[int, int, int]  # a row, the time of its event and the start of its attempt

_ROWS = st.sampled_from((0, 1, 4095, 4096, 4097, 8191, 8192, 12_288, 16_383, 40_000, MORSEL_ROWS - 1))
_TIMES = st.one_of(st.integers(0, 9), st.sampled_from((TIME_MIN_MS, TIME_MIN_MS + 1, TIME_MAX_MS - 1, TIME_MAX_MS)))
_EVENTS = st.lists(st.tuples(_ROWS, _TIMES), min_size=1, max_size=60).map(sorted)
_WITHIN = st.sampled_from((-1, 0, 1, 3, TIME_MAX_MS - TIME_MIN_MS - 1, TIME_MAX_MS - TIME_MIN_MS, 1 << 62))
_BREAKS = st.lists(st.integers(0, 9), max_size=3).map(lambda times: sorted({TIME_MIN_MS, *times}))


def _listed(events: Sequence[_Event]) -> tuple[I64, I64]:
    """(numbers of the events, their offsets by block), with the place more that loads may touch."""
    numbers = [int(row_key(np.uint16(row))) + time - TIME_MIN_MS for row, time in events]
    blocks = [row * BLOCKS // MORSEL_ROWS for row, _ in events]
    return np.array([*numbers, 0], np.int64), np.searchsorted(blocks, np.arange(BLOCKS + 1)).astype(np.int64)


@dataclass(slots=True)
class _Followed:
    """Steps followed through all stages so far; `kept` are the events that completed the last one."""

    steps: int
    depth: U8 = field(default_factory=lambda: np.zeros(MORSEL_ROWS, np.uint8))
    carried: U8 = field(default_factory=lambda: np.zeros(MORSEL_ROWS, np.uint8))
    kept: list[_Kept] = field(default_factory=list)
    carry: I64 = field(init=False)

    def __post_init__(self) -> None:
        self.carry = np.full((self.steps, MORSEL_ROWS), 1 << 62, np.int64)  # what is not carried may be anything

    def stage(self, steps: Sequence[Sequence[_Event]], within: int, since_ms: int, *, strict: bool) -> None:
        """Follows the steps of a stage; what began before `since_ms` is of no use to the next one."""
        lists = [_listed(events) for events in steps]
        past, past_offsets = lists[0]
        starts = [past]
        for number, (events, offsets) in enumerate(lists[1:], 1):
            own: I64 = np.empty_like(events)
            earlier: U32 = np.empty(events.shape[0], np.uint32)
            count_earlier(past, past_offsets, events, offsets, int(not strict), earlier)
            keep_followers(
                starts[-1], past_offsets, events, own, offsets, earlier, within, number, self.carried,
                self.carry[number - 1], self.carry[number],
            )  # fmt: skip
            mark_reached(events, offsets, number + 1, np.zeros(MORSEL_ROWS, np.uint8), self.depth)
            starts.append(own)
            past, past_offsets = events, offsets
        self._note(past, starts[-1], past_offsets)
        for number, ((events, offsets), begun) in enumerate(zip(lists, starts, strict=True)):
            carry_starts(events, begun, offsets, number + 1, since_ms, self.carried, self.carry[number])

    def _note(self, events: I64, starts: I64, offsets: I64) -> None:
        for block in range(BLOCKS):
            for at in range(offsets[block], offsets[block + 1]):
                row = (int(events[at]) >> 50) - 1
                zero = int(row_key(np.uint16(row))) - TIME_MIN_MS
                self.kept.append((row + block * MORSEL_ROWS // BLOCKS, int(events[at]) - zero, int(starts[at]) - zero))


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


@given(st.lists(_EVENTS, min_size=2, max_size=4), _WITHIN, st.booleans(), _BREAKS, st.booleans())
@example([[(0, 1), (4095, 1)], [(1, 2), (4096, 2)]], -1, False, [TIME_MIN_MS], False)  # what is before is another row's
@example([[(0, TIME_MAX_MS)], [(1, TIME_MIN_MS)]], 1 << 62, False, [TIME_MIN_MS], False)
@example([[(7, 1), (7, 1), (7, 2)], [(7, 1), (7, 2), (7, 2)]], 0, False, [TIME_MIN_MS], False)
@example([[(0, 1)], [(0, 5)]], -1, True, [TIME_MIN_MS, 3], False)  # the first row of all, from an earlier stage
@example([[(7, 1)], [(7, 2), (7, 6)]], -1, True, [TIME_MIN_MS, 4], False)  # a start that completed the step before
@settings(max_examples=600, deadline=None)
def test_the_events_kept_are_those_that_complete_a_step_with_a_later_start(
    steps: list[list[_Event]], within: int, strict: bool, breaks: list[int], forgets: bool
) -> None:
    followed = _Followed(len(steps))
    for first_ms, end_ms in zip(breaks, [*breaks[1:], TIME_MAX_MS + 1], strict=True):
        inside = [[event for event in step if first_ms <= event[1] < end_ms] for step in steps]
        # Rows whose attempts all lie too long ago are left out of the stages that follow.
        since_ms = end_ms - within if forgets and 0 <= within < TIME_MAX_MS else TIME_MIN_MS
        followed.stage(inside, within, since_ms, strict=strict)
    expected = _expected(steps, within, strict=strict)
    assert sorted(followed.kept) == sorted(expected)
    assert np.flatnonzero(followed.depth == len(steps)).tolist() == sorted({row for row, _, _ in expected})
