"""Sequences of one user: ties, events that fit several steps, bounds of time, and very many events."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdp_query import tree
from cdp_query.kernels.sequence import sequence_depth
from tests.raw_records import Event, user
from tests.shards import Shards

NO_LIMIT = -1


def depth_of(
    events: Sequence[tuple[int, str]], steps: Sequence[str], within: int = NO_LIMIT, *, strict: bool = False
) -> int:
    """Depth of one user whose events are (time, names that fit); a step is a name: "ab" fits step a and step b."""
    ordered = sorted(events, key=lambda event: event[0])
    bits = [sum(1 << number for number, step in enumerate(steps) if step in fits) for _, fits in ordered]
    depth = np.zeros(1, np.uint8)
    sequence_depth(
        np.zeros(len(events), np.uint32),
        np.array([time for time, _ in ordered], np.int64),
        np.array(bits, np.uint32),
        len(steps),
        within,
        strict,
        depth,
    )
    return int(depth[0])


def brute_force(events: Sequence[tuple[int, str]], steps: Sequence[str], within: int, *, strict: bool) -> int:
    """Deepest prefix of the steps that some choice of different events fills."""
    for length in range(min(len(steps), len(events)), 0, -1):
        for chosen in permutations(events, length):
            times = [time for time, _ in chosen]
            fits = all(step in names for step, (_, names) in zip(steps, chosen, strict=False))
            in_order = all(a < b if strict else a <= b for a, b in zip(times, times[1:], strict=False))
            if fits and in_order and (within < 0 or times[-1] - times[0] <= within):
                return length
    return 0


FITS = st.sampled_from(["a", "b", "c", "ab", "bc", "ac", "abc", ""])
EVENTS = st.lists(st.tuples(st.integers(0, 3), FITS), max_size=6)


@given(EVENTS, st.lists(st.sampled_from("abc"), min_size=1, max_size=5), st.integers(-1, 3), st.booleans())
@example([(0, "ab"), (0, "ab"), (0, "c")], list("abc"), 0, False)
@example([(0, "a"), (1, "ab"), (1, "b")], list("abb"), 1, False)
@example([(0, "a"), (1, "a"), (1, "b"), (3, "c")], list("abc"), 2, False)
@settings(max_examples=500)
def test_depth_is_that_of_the_best_choice_of_events(
    events: list[tuple[int, str]], steps: list[str], within: int, strict: bool
) -> None:
    assert depth_of(events, steps, within, strict=strict) == brute_force(events, steps, within, strict=strict)


@pytest.mark.parametrize(
    ("events", "steps", "depth"),
    [
        ([], "ab", 0),
        ([(1, "b"), (2, "a")], "ab", 1),
        ([(1, "a"), (2, "b")], "ab", 2),
        ([(1, "b"), (1, "a")], "ab", 2),  # equal times count as in order, whatever order they arrived in
        ([(1, "a")], "aa", 1),  # one event fills one step
        ([(1, "a"), (1, "a")], "aa", 2),
        ([(1, "ab")], "ab", 1),
        ([(1, "ab"), (1, "ab")], "ab", 2),
        ([(1, "ab"), (1, "a")], "ab", 2),  # the event that fits both steps must give way to the other
        ([(1, "abc"), (1, "ab"), (1, "a")], "abc", 3),
        ([(1, "abc"), (1, "a"), (1, "a")], "abc", 2),
        ([(1, "a"), (2, "a"), (3, "b")], "aab", 3),
        ([(1, "a"), (2, "b"), (3, "a"), (4, "b"), (5, "c")], "abc", 3),
    ],
)
def test_steps_reached(events: list[tuple[int, str]], steps: str, depth: int) -> None:
    assert depth_of(events, steps) == depth
    assert depth_of(events[::-1], steps) == depth


def test_within_is_total_and_inclusive() -> None:
    events = [(0, "a"), (60, "b"), (120, "c")]
    assert depth_of(events, "abc", 120) == 3
    assert depth_of(events, "abc", 119) == 2
    assert depth_of(events, "abc", 59) == 1
    assert depth_of(events, "abc", 0) == 1
    assert depth_of([(7, "a"), (7, "b")], "ab", 0) == 2


def test_a_later_start_rescues_an_attempt_that_ran_out_of_time() -> None:
    assert depth_of([(0, "a"), (50, "a"), (100, "b")], "ab", 50) == 2
    assert depth_of([(0, "a"), (10, "b"), (50, "a"), (55, "b"), (60, "c")], "abc", 10) == 3


def test_the_latest_start_is_kept_for_each_step_on_its_own() -> None:
    """The second a does not disturb the attempt that has its b already."""
    assert depth_of([(0, "a"), (10, "b"), (20, "a"), (30, "c")], "abc", 30) == 3


def test_strict_ties_want_growing_times() -> None:
    assert depth_of([(1, "a"), (1, "b")], "ab", strict=True) == 1
    assert depth_of([(1, "a"), (2, "b")], "ab", strict=True) == 2
    assert depth_of([(1, "a"), (1, "a"), (2, "a")], "aaa", strict=True) == 2


def test_users_do_not_share_attempts() -> None:
    depth = np.zeros(4, np.uint8)
    sequence_depth(
        np.array([0, 1, 3, 3], np.uint32),
        np.array([1, 2, 1, 2], np.int64),
        np.array([1, 2, 1, 2], np.uint32),
        2,
        NO_LIMIT,
        False,
        depth,
    )
    assert depth.tolist() == [1, 0, 0, 2]


def test_thirty_two_steps_fill_every_bit() -> None:
    steps = [chr(ord("A") + number) for number in range(32)]
    assert depth_of([(time, step) for time, step in enumerate(steps)], steps) == 32
    assert depth_of([(0, step) for step in reversed(steps)], steps) == 32
    assert depth_of([(0, "".join(steps))] * 32, steps) == 32
    assert depth_of([(0, "".join(steps))] * 31, steps) == 31


@pytest.mark.parametrize("strict", [False, True])
def test_a_hot_user_is_exact(strict: bool) -> None:
    """100,000 events; the only completed attempt is the very last one in time."""
    noise = [(time, "ab"[time % 2]) for time in range(99_990)]
    events = [*noise, (200_000, "a"), (200_001, "b"), (200_002, "c")]
    assert depth_of(events, "abc", 2, strict=strict) == 3
    assert depth_of(events, "abc", 1, strict=strict) == 2
    assert depth_of(noise, "abc", strict=strict) == 2


@pytest.mark.parametrize(
    ("fits", "steps", "depth"),
    [
        ("a", "aaaa", 4),
        ("ab", "abab", 4),
        ("abc", "cba" * 4, 12),
        ("a", "ab", 1),
        ("abcdefghijkl", "lkjihgfedcba", 12),
    ],
)
def test_very_many_events_at_one_time_are_exact(fits: str, steps: str, depth: int) -> None:
    assert depth_of([(5, fits)] * 50_000, steps) == depth


def test_very_many_different_events_at_one_time_are_exact() -> None:
    def fits(number: int) -> str:
        return "".join(step for bit, step in enumerate("abcdefgh") if number >> bit & 1)

    events = [(5, fits(number)) for number in range(20_000)]
    assert depth_of(events, "hgfedcba") == 8
    without_h = [(time, names.replace("h", "")) for time, names in events]
    assert depth_of(without_h, "abcdefgh") == 7


def test_a_hot_user_beside_others_in_a_partition() -> None:
    hot, cold = user("hot"), user("cold")
    records = [Event(hot, "View", time) for time in range(30_000)]
    records += [Event(cold, "View", 5), Event(cold, "Buy", 6), Event(hot, "Buy", 40_000)]
    shards = Shards()
    shards.apply(records)
    shards.seal()
    sequence = tree.SequenceTest(
        (tree.Events(("View",)), tree.Events(("Buy",))), tree.Always(), tree.Duration(10_001, "ms")
    )
    assert shards.members(sequence, tree.Context(10**6)) == {hot, cold}
    short = tree.SequenceTest(sequence.steps, tree.Always(), tree.Duration(10_000, "ms"))
    assert shards.members(short, tree.Context(10**6)) == {cold}


@pytest.mark.parametrize(
    ("entry", "buy", "within", "as_of", "held"),
    [
        (100, 150, 100, 1000, True),
        (99, 150, 100, 1000, False),  # the first step lies before the window
        (199, 260, 100, 1000, True),  # later steps may lie behind it
        (200, 260, 100, 1000, False),  # the first one may not
        (150, 260, 200, 259, False),  # nothing lies after T
        (150, 260, 200, 260, True),
        (150, 250, 100, 1000, True),
        (150, 251, 100, 1000, False),
        (150, 900, None, 1000, True),
    ],
)
def test_the_first_step_lies_in_the_window_and_later_ones_up_to_t(
    entry: int, buy: int, within: int | None, as_of: int, held: bool
) -> None:
    shards = Shards()
    shards.apply([Event(user("ann"), "View", entry), Event(user("ann"), "Buy", buy)])
    window = tree.FromTo(tree.Moment("1970-01-01T00:00:00.100Z"), tree.Moment("1970-01-01T00:00:00.200Z"))
    steps = (tree.Events(("View",)), tree.Events(("Buy",)))
    sequence = tree.SequenceTest(steps, window, None if within is None else tree.Duration(within, "ms"))
    assert (shards.members(sequence, tree.Context(as_of)) == {user("ann")}) == held
