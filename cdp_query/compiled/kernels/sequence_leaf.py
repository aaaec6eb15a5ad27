"""Depth that each user reached along steps in order, of which no event can fill two.

Rows that lack a step that they need are left out first. Then stages follow one another in time: the chunks of all steps
whose times overlap. In a stage, the events of one step after the other are listed in order and compared with those of
the step before. Only events count that give an attempt a later start than every earlier one (semantics.md, section 4).
What later stages need of them is carried on: the latest start for each row and step.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from cdp_query.compiled.kernels.arguments import Memory, Results, Tables
from cdp_query.compiled.kernels.chunk_walk import list_chunk, note_leaf, walk_leaf
from cdp_query.compiled.kernels.event_walk import chunk_table, is_outside, run_arrays, runs_of
from cdp_query.compiled.kernels.following import (
    BLOCKS,
    carry_starts,
    count_earlier,
    keep_followers,
    mark_reached,
)
from cdp_query.compiled.kernels.layout import (
    BOUND_EVENTS,
    CHUNK_FIRST_MS,
    CHUNK_LAST_MS,
    FEW,
    LEAF_REPORTS,
    LEAF_STEPS,
    LEAF_STRICT,
    LEAF_WITHIN,
    MARK_LEAF,
)
from cdp_query.compiled.kernels.step_events import SLACK, pile_up
from cdp_query.compiled.kernels.values import count_ones
from cdp_store.arrays import I64, U8, U32
from cdp_store.kernels.jit import inlined, leaf
from cdp_store.limits import TIME_MIN_MS

# A step of a sequence in one morsel.
STEP_FIRST: Final = 0  # the chunks of its stage
STEP_LAST: Final = 1
STEP_PLACE: Final = 2  # where its events are listed
STEP_ROOM: Final = 3  # places that they have there
STEP_CARRIED: Final = 4  # rows that completed it before the stage and may go on, or more
STEP_FIELDS: Final = 5
NO_STAGE: Final = 1 << 62


@inlined
def sequence_leaf(
    tables: Tables,
    memory: Memory,
    results: Results,
    number: int,
    argument: int,
    morsel: int,
    counters: I64,
    wanted: U8,
    depth: U8,
) -> None:
    """depth[i] = most steps that any attempt of row i completed, of the rows that are wanted; `wanted` is used up.

    A segment asks about the last step only: there the depth of a row that lacks a step is 0.
    """
    length = tables.leaves[argument, LEAF_STEPS]
    _find_possible(tables, memory, results, number, argument, morsel, counters, wanted, memory.possible)
    left = _begin(memory.possible, wanted, depth)
    if left > 0 and length > 1:
        events_max = _make_room(tables, memory.steps, number, argument, morsel)
        last = memory.steps[length - 1]
        numbers = np.empty(last[STEP_PLACE] + last[STEP_ROOM], np.int64)
        starts = np.empty_like(numbers)
        merged, earlier = np.empty(events_max + SLACK, np.int64), np.empty(events_max + SLACK, np.uint32)
        memory.level[: wanted.shape[0]] = np.uint8(0)
        memory.carried[: wanted.shape[0]] = np.uint8(0)
        first_ms, before_ms = _next_stage(tables, memory.steps, number, argument), NO_STAGE
        while first_ms != NO_STAGE and left > 0:
            _carry(tables.leaves[argument], memory, before_ms, first_ms, wanted, numbers, starts)
            _follow_stage(
                tables, memory, number, argument, morsel, left, wanted, depth, numbers, starts, merged, earlier
            )
            left = _leave_out(memory.possible, depth, wanted)
            before_ms, first_ms = first_ms, _next_stage(tables, memory.steps, number, argument)


@leaf
def _begin(possible: U8, wanted: U8, depth: U8) -> int:
    """depth[i] = 1 if row i has the first step, wanted[i] = it may complete more; returns how many may."""
    for row in range(wanted.shape[0]):
        depth[row] = min(possible[row], np.uint8(1))
    return _leave_out(possible, depth, wanted)


@leaf
def _leave_out(possible: U8, depth: U8, wanted: U8) -> int:
    """wanted[i] = row i may complete more steps than it has; returns how many may."""
    for row in range(wanted.shape[0]):
        wanted[row] = np.uint8(depth[row] < possible[row])
    return count_ones(wanted)


@leaf
def _carry(leaf_row: I64, memory: Memory, before_ms: int, first_ms: int, wanted: U8, numbers: I64, starts: I64) -> None:
    """Keeps the latest starts of a stage for the next one, which begins at `first_ms`; none begins at the last step.

    memory.level[row] becomes the steps that a wanted row completed before and may go on from.
    """
    steps, within = memory.steps, leaf_row[LEAF_WITHIN]
    if before_ms == NO_STAGE:
        return
    # What began before the stage that is over lies too long ago, or everything counts.
    is_over = 0 <= within < first_ms - before_ms
    if is_over:
        memory.carried[: wanted.shape[0]] = np.uint8(0)
    since_ms = int(first_ms - within if is_over else TIME_MIN_MS)
    for step in range(leaf_row[LEAF_STEPS] - 1):
        place, end = steps[step, STEP_PLACE], steps[step, STEP_PLACE] + steps[step, STEP_ROOM]
        events, begun = numbers[place:end], (numbers if step == 0 else starts)[place:end]
        found = carry_starts(
            events, begun, memory.offsets[step], step + 1, since_ms, memory.carried, memory.carry[step]
        )
        steps[step, STEP_CARRIED] = found + (0 if is_over else steps[step, STEP_CARRIED])
    for row in range(wanted.shape[0]):
        memory.level[row] = memory.carried[row] * wanted[row]


@leaf
def _follow_stage(
    tables: Tables,
    memory: Memory,
    number: int,
    argument: int,
    morsel: int,
    left: int,
    wanted: U8,
    depth: U8,
    numbers: I64,
    starts: I64,
    merged: I64,
    earlier: U32,
) -> None:
    """depth[row] = steps that an attempt of a wanted row completed in a stage, at least. `left` rows are wanted."""
    leaf_row, offsets, candidates = tables.leaves[argument], memory.offsets, left
    for step in range(leaf_row[LEAF_STEPS]):
        if candidates > 0:
            is_narrow, asked = candidates * FEW <= wanted.shape[0], memory.level if step > 0 else wanted
            _list_step(tables, memory, number, argument, step, morsel, asked, is_narrow, numbers, merged)
            if step > 0:
                _follow_step(leaf_row, memory, step, numbers, starts, earlier, depth)
        else:
            offsets[step, :] = 0
        candidates = offsets[step, BLOCKS] + memory.steps[step, STEP_CARRIED]


@leaf
def _list_step(
    tables: Tables,
    memory: Memory,
    number: int,
    argument: int,
    step: int,
    morsel: int,
    asked: U8,
    is_narrow: bool,
    numbers: I64,
    merged: I64,
) -> None:
    """Lists the events of a step in its stage, of rows that may go on with it: memory.offsets[step]."""
    row = memory.steps[step]
    listed = numbers[row[STEP_PLACE] : row[STEP_PLACE] + row[STEP_ROOM]]
    piles, count, own = memory.piles, 0, argument + 1 + step
    for chunk in range(row[STEP_FIRST], row[STEP_LAST]):
        piles[count, :] = piles[count - 1, BLOCKS] if count > 0 else 0
        list_chunk(
            tables, memory, number, own, morsel, chunk, asked, max(step, 1), is_narrow, listed, piles[count],
            memory.counted,
        )  # fmt: skip
        if piles[count, BLOCKS] > piles[count, 0]:
            count = pile_up(listed, piles, count + 1, merged, False)
    count = pile_up(listed, piles, count, merged, True)
    for block in range(BLOCKS + 1):
        memory.offsets[step, block] = piles[0, block] if count > 0 else 0


@leaf
def _follow_step(leaf_row: I64, memory: Memory, step: int, numbers: I64, starts: I64, earlier: U32, depth: U8) -> None:
    """Keeps the events that complete a step in its stage."""
    steps, offsets, last = memory.steps, memory.offsets, leaf_row[LEAF_STEPS] - 1
    before, own = steps[step - 1], steps[step]
    past = numbers[before[STEP_PLACE] : before[STEP_PLACE] + before[STEP_ROOM]]
    past_starts = (numbers if step == 1 else starts)[before[STEP_PLACE] : before[STEP_PLACE] + before[STEP_ROOM]]
    events = numbers[own[STEP_PLACE] : own[STEP_PLACE] + own[STEP_ROOM]]
    new_starts = starts[own[STEP_PLACE] : own[STEP_PLACE] + own[STEP_ROOM]]
    count_earlier(past, offsets[step - 1], events, offsets[step], int(leaf_row[LEAF_STRICT] == 0), earlier)
    keep_followers(
        past_starts, offsets[step - 1], events, new_starts, offsets[step], earlier, leaf_row[LEAF_WITHIN], step,
        memory.carried, memory.carry[step - 1], memory.carry[min(step, last - 1)],
    )  # fmt: skip
    mark_reached(events, offsets[step], step + 1, memory.level, depth)


@leaf
def _make_room(tables: Tables, steps: I64, number: int, argument: int, morsel: int) -> int:
    """Gives each step places for all of its events in a morsel, before its first stage; returns the most of any."""
    place, most = np.int64(0), np.int64(0)
    for step in range(tables.leaves[argument, LEAF_STEPS]):
        leaf_row, events = tables.leaves[argument + 1 + step], np.int64(0)
        chunks = chunk_table(tables.bounds[number, argument + 1 + step])
        for each in range(chunks.shape[0]):
            first, last = runs_of(chunks[each], morsel)
            if first < last and not is_outside(leaf_row, chunks[each]):
                run_starts = run_arrays(chunks[each], last)[1]
                events += np.int64(run_starts[last]) - np.int64(run_starts[first])
        steps[step, :] = 0
        steps[step, STEP_PLACE], steps[step, STEP_ROOM] = place, events + SLACK
        place, most = place + events + SLACK, max(most, events)
    return int(most)


@leaf
def _next_stage(tables: Tables, steps: I64, number: int, argument: int) -> int:
    """Finds the next chunks of each step, which are in order of time, that overlap with each other.

    Returns the first millisecond of these chunks, NO_STAGE if none are left.
    """
    length, first_ms = tables.leaves[argument, LEAF_STEPS], np.int64(NO_STAGE)
    for step in range(length):
        steps[step, STEP_FIRST] = steps[step, STEP_LAST]
        chunks, at = chunk_table(tables.bounds[number, argument + 1 + step]), steps[step, STEP_FIRST]
        while at < chunks.shape[0] and is_outside(tables.leaves[argument + 1 + step], chunks[at]):
            at += 1
        if at < chunks.shape[0]:
            first_ms = min(first_ms, chunks[at, CHUNK_FIRST_MS])
    latest_ms, is_growing = first_ms, first_ms != NO_STAGE
    while is_growing:
        is_growing = False
        for step in range(length):
            chunks, at = chunk_table(tables.bounds[number, argument + 1 + step]), steps[step, STEP_LAST]
            while at < chunks.shape[0] and chunks[at, CHUNK_FIRST_MS] <= latest_ms:
                if not is_outside(tables.leaves[argument + 1 + step], chunks[at]):
                    latest_ms = max(latest_ms, chunks[at, CHUNK_LAST_MS])
                at += 1
                is_growing = True
            steps[step, STEP_LAST] = at
    return int(first_ms)


@leaf
def _find_possible(
    tables: Tables,
    memory: Memory,
    results: Results,
    number: int,
    argument: int,
    morsel: int,
    counters: I64,
    wanted: U8,
    possible: U8,
) -> None:
    """possible[i] = steps that row i may complete: it has events of so many, from the first step on.

    A segment asks for all of them, so that those of the fewest events come first, and rows without are out.
    """
    leaf_row, bounds, marked, left = tables.leaves[argument], tables.bounds[number, argument + 1 :], np.uint64(0), 1
    length, is_report = leaf_row[LEAF_STEPS], leaf_row[LEAF_REPORTS] != 0
    possible[: wanted.shape[0]] = np.uint8(0)
    for place in range(length):
        step = place
        if not is_report:
            step = -1
            for other in range(length):
                is_marked = ((marked >> np.uint64(other)) & np.uint64(1)) != np.uint64(0)
                if not is_marked and (step < 0 or bounds[other, BOUND_EVENTS] < bounds[step, BOUND_EVENTS]):
                    step = other
        marked |= np.uint64(1) << np.uint64(step)
        left = keep_marked(tables, memory, results, number, argument + 1 + step, morsel, counters, wanted)
        if left == 0:
            break
        if is_report:
            for row in range(wanted.shape[0]):
                possible[row] += wanted[row]
    if left > 0 and not is_report:
        for row in range(wanted.shape[0]):
            possible[row] = wanted[row] * np.uint8(length)


@leaf
def keep_marked(
    tables: Tables,
    memory: Memory,
    results: Results,
    number: int,
    own: int,
    morsel: int,
    counters: I64,
    wanted: U8,
) -> int:
    """Rows without any event of a leaf are wanted no more. Returns how many are left."""
    marks, left = memory.marks[: wanted.shape[0]], count_ones(wanted)
    marks[:] = np.uint8(0)
    note_leaf(tables, results, number, own, counters)
    is_narrow = left * FEW <= wanted.shape[0]
    walk_leaf(tables, memory, number, own, MARK_LEAF, morsel, wanted, is_narrow, memory.window, memory.sums, counters)
    for row in range(wanted.shape[0]):
        wanted[row] &= marks[row]
    return count_ones(wanted)
