"""Sequences and funnels over many users, buckets and morsels, against a plain walk over each user's events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby
from random import Random

import pytest

from cdp_query import tree
from cdp_store.limits import DAY_MS, MORSEL_ROWS
from tests.raw_records import Event, User, user
from tests.shards import Shards

NAMES = ("View", "Cart", "Buy")
NOW = tree.Context(120 * DAY_MS)
NO_LIMIT = 10**15


def walked(events: Iterable[Event], steps: Sequence[set[str]], within: int, *, strict: bool) -> list[int]:
    """How many users reached each step: per user the latest start of an attempt at each, event after event."""
    by_user = defaultdict[User, list[Event]](list)
    for event in events:
        by_user[event.user].append(event)
    reached = [0] * len(steps)
    for own in by_user.values():
        starts: list[int | None] = [None] * len(steps)
        for now, tied in groupby(sorted(own, key=lambda event: event.ts), key=lambda event: event.ts):
            names = {event.name for event in tied}
            order = range(len(steps))
            for step in reversed(order) if strict else order:
                if steps[step] & names:
                    start = now if step == 0 else starts[step - 1]
                    if start is not None and now - start <= within:
                        held = starts[step]
                        starts[step] = start if held is None else max(held, start)
        for step, start in enumerate(starts):
            reached[step] += start is not None
    return reached


def random_events(seed: int, users: int, count: int, weights: Sequence[int] = (1, 1, 1)) -> list[Event]:
    """Events on few instants of four buckets, so that ties, and users with all steps in one bucket, are frequent."""
    chance = Random(seed)
    people = [user(f"u{number}") for number in range(users)]
    return [
        Event(
            chance.choice(people),
            chance.choices(NAMES, weights)[0],
            chance.randrange(16) * 7 * DAY_MS + chance.randrange(2),
        )
        for _ in range(count)
    ]


def funnel_steps(shards: Shards, steps: Sequence[tree.Events], within: int, *, strict: bool) -> list[int]:
    limit = None if within == NO_LIMIT else tree.Duration(within, "ms")
    return list(shards.ask(tree.Funnel(tuple(steps), tree.ALWAYS, limit, strict_ties=strict), NOW).steps)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("within", [0, 8 * DAY_MS, 40 * DAY_MS, NO_LIMIT])
@pytest.mark.parametrize("state", ["sealed", "half sealed", "in many chunks"])
def test_steps_over_buckets_and_blocks(state: str, within: int, strict: bool) -> None:
    events = random_events(1, users=3_000, count=15_000)
    shards = Shards()
    size = {"sealed": len(events), "half sealed": 10_000, "in many chunks": 1_500}[state]
    for start in range(0, len(events), size):
        shards.seal()
        shards.apply(events[start : start + size])
    if state == "sealed":
        shards.seal()
    asked = [tree.Events((name,)) for name in NAMES]
    expected = walked(events, [{name} for name in NAMES], within, strict=strict)
    assert expected[-1] > 0 or (strict and within == 0)
    assert funnel_steps(shards, asked, within, strict=strict) == expected


def test_a_rare_step_lies_over_the_buckets_of_frequent_ones() -> None:
    events = random_events(3, users=300, count=6_000, weights=(200, 1, 200))
    shards = Shards()
    shards.apply(events)
    shards.seal()
    [view] = shards.capture()
    assert len(view.event_chunks(view.schema.events["Cart"])) < len(view.event_chunks(view.schema.events["View"]))
    asked = [tree.Events((name,)) for name in NAMES]
    expected = walked(events, [{name} for name in NAMES], 40 * DAY_MS, strict=False)
    assert funnel_steps(shards, asked, 40 * DAY_MS, strict=False) == expected


def test_a_step_of_several_names_is_merged() -> None:
    events = random_events(2, users=800, count=4_000)
    shards = Shards()
    shards.apply(events)
    shards.seal()
    asked = [tree.Events(("Cart",)), tree.Events(("View", "Buy"))]
    expected = walked(events, [{"Cart"}, {"View", "Buy"}], 2 * DAY_MS, strict=False)
    assert funnel_steps(shards, asked, 2 * DAY_MS, strict=False) == expected


def test_rows_of_a_second_morsel_are_walked() -> None:
    crowd = [Event(user(f"u{number}"), "View", number % 50 * DAY_MS) for number in range(MORSEL_ROWS + 10)]
    late = [Event(user(f"u{MORSEL_ROWS + number}"), "Cart", 60 * DAY_MS) for number in range(10)]
    shards = Shards()
    shards.apply([*crowd, *late, Event(user("u7"), "Cart", 8 * DAY_MS)])
    shards.seal()
    asked = [tree.Events(("View",)), tree.Events(("Cart",))]
    assert funnel_steps(shards, asked, NO_LIMIT, strict=False) == [MORSEL_ROWS + 10, 11]
