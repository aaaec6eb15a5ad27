"""Both evaluators against each other: kernels over all partitions at once, and Python part by part."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from cdp_query import pipeline, tree
from cdp_query.bind.bind import Binder
from cdp_query.compiled import find_members
from cdp_query.compiled.populations import population_of
from cdp_query.errors import QueryCancelled
from cdp_query.evaluate.execute import Execution
from cdp_query.stats import Meter
from cdp_store.arrays import Bools
from cdp_store.limits import DAY_MS, MORSEL_ROWS
from cdp_store.memory.view import PartitionView
from cdp_store.values import to_ms
from tests import strategies
from tests.raw_records import Change, Event, Record, user
from tests.shards import Shards
from tests.states import every_state


def by_python(segment: tree.Node, view: PartitionView, context: tree.Context) -> Bools:
    """Members of one partition, without kernels for whole segments."""
    mask = Execution(view, context, Meter(), lambda: None).members(Binder(context).bind(segment, view.schema))
    population = population_of(view, context)
    return mask if population is None else mask & population


def by_kernels(segment: tree.Node, views: Sequence[PartitionView], context: tree.Context) -> find_members.Members:
    """Members of all partitions."""
    return find_members.find_members(segment, views, Binder(context), lambda: None)


@given(
    strategies.records(),
    st.sampled_from((1, 3, 5)),
    st.lists(strategies.segments(), min_size=8, max_size=8),
    strategies.contexts(),
)
@settings(max_examples=40)
def test_kernels_and_python_find_the_same_members(
    records: list[Record], size: int, asked: list[tree.Node], context: tree.Context
) -> None:
    for state, shards in every_state(records, size):
        views = shards.capture()
        for segment in asked:
            found = by_kernels(segment, views, context)
            expected = [by_python(segment, view, context) for view in views]
            event(f"members: {any(mask.any() for mask in expected)}")
            for got, wanted, (_, count) in zip(found.masks, expected, found.counts, strict=True):
                assert np.array_equal(got, wanted), (state, segment)
                assert count == np.count_nonzero(wanted), (state, segment)


def test_a_caller_that_has_gone_stops_the_kernels() -> None:
    def gone() -> None:
        raise QueryCancelled("the caller went away")

    question = pipeline.segment_of(pipeline.read('count("Buy") >= 0', None))
    with pytest.raises(QueryCancelled):
        find_members.find_members(question, Shards(2).capture(), Binder(tree.Context(0)), gone)


@pytest.fixture(scope="module")
def large() -> Shards:
    """A partition of more than a morsel of rows, with sealed and unsealed events over half a year."""
    shards, random = Shards(), Random(3)
    for count, sealed in ((150_000, True), (2_000, False)):
        records = list[Record]()
        for number in range(count):
            who = user(f"u{number % 80_000}")
            if number < 80_000 and sealed:
                records.append(Change(who, 0, {"plan": "abc"[number % 3], "n": number, "x": number / 4}))
            price = random.choice((random.randrange(10**6) / 100, 12, "free", 1 / 3))
            properties = {"amount": random.randrange(50), "price": price if number % 50 == 0 else number / 100}
            records.append(Event(who, random.choice("AB"), random.randrange(180) * DAY_MS + number, properties))
        shards.apply(records)
        if sealed:
            shards.seal()
    return shards


@pytest.fixture(scope="module")
def changed() -> Shards:
    """A partition whose attributes change on days 0, 50, 60 and 120; those of day 120 are not sealed.

    Day 50 arrives after day 60, and twice: of one instant the later arrival is in force.
    """
    shards = Shards()
    for day, users, plans in (
        (0, range(80_000), "abc"),
        (60, range(0, 80_000, 2), "bca"),
        (50, range(0, 80_000, 3), "xyz"),
        (50, range(0, 80_000, 6), "rst"),
        (120, range(900), "bca"),
    ):
        values = [{"plan": plans[each % 3], "n": each + day, "x": each / 4 + day} for each in users]
        if day == 60:
            for each in range(0, len(values), 5):
                values[each] = {"plan": "None", "n": "many"}
        shards.apply([Change(user(f"u{each}"), day * DAY_MS, given) for each, given in zip(users, values, strict=True)])
        if day < 120:
            shards.seal()
    return shards


@pytest.mark.parametrize("day", [-1, 0, 49, 50, 55, 60, 119, 120])
@pytest.mark.parametrize(
    "text",
    [
        'plan in ["a", "x"]',
        'plan = "r" or plan = "s"',
        'plan != "b"',
        "n between 100 and 70055",
        "x > 130.5",
        "exists(n)",
        'n != "many"',
    ],
)
def test_values_that_attributes_had_are_those_that_python_finds(changed: Shards, text: str, day: int) -> None:
    context, views = tree.Context(day * DAY_MS), changed.capture()
    segment = pipeline.segment_of(pipeline.prepare(text, None, context))
    found = by_kernels(segment, views, context)
    assert np.array_equal(found.masks[0], by_python(segment, views[0], context))
    assert found.masks[0].any() or day < 0 or ('"r"' in text and not 50 <= day < 60)


def test_many_and_few_rows_that_changed_are_kept_apart(changed: Shards) -> None:
    """A list of rows and their times while they are few, else a column: the test before this one meets both."""
    view = changed.capture()[0]
    blocks = view.attributes[view.schema.attributes["plan"]].blocks
    assert [block.changed.column is not None for block in blocks if block and block.changed] == [True, False]


@pytest.mark.parametrize(
    "text",
    [
        'plan in ["a", "c"] and n between 1000 and 70000 and exists(x)',
        'count("A", last: 90d) >= 2 and not did("B", last: 30d)',
        'count("A", amount > 10 and not price < 5) = 1',
        'n < 900 and sum("A".amount) > 30 and count("B", amount < 20) >= 1 and days("A", last: 60d) >= 1',
        'n < 900 or sum("A".amount) > 60',
        'sum("A".price, last: 90d) > 900.5',
        'sum("A".amount) = 30',
        'days("A", last: 40d) >= 2 or first_time("B", last: 20d)',
        'recency("A") > 30d and recency("B") <= 90d',
        '(plan = "a" and did("A", last: 9d)) or (plan = "b" and did("A", last: 9d))',
        'n < 90 and plan contains "b" and count("A") >= 1',
    ],
)
@pytest.mark.parametrize("days", [181, 100])
def test_rows_beyond_the_first_morsel_are_found_too(large: Shards, text: str, days: int) -> None:
    context = tree.Context(days * DAY_MS)
    segment = pipeline.segment_of(pipeline.prepare(text, None, context))
    views = large.capture()
    assert views[0].row_count > MORSEL_ROWS
    found = by_kernels(segment, views, context)
    for mask, view in zip(found.masks, views, strict=True):
        assert np.array_equal(mask, by_python(segment, view, context))


@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize(("literals", "expected"), [("a", 1), ("ab", 2), ("ac", 2), ("abc", 3), ("az", 1), ("z", 0)])
def test_one_two_and_more_texts_are_told_apart(literals: str, expected: int, is_sealed: bool) -> None:
    """Up to two codes stand in the row of a test; of more there is a table."""
    shards = Shards()
    shards.apply([Event(user(f"u{each}"), "A", 0, {"p": each}) for each in "abcd"])
    if is_sealed:
        shards.seal()
    context, views = tree.Context(DAY_MS), shards.capture()
    wanted = ", ".join(f'"{each}"' for each in literals)
    segment = pipeline.segment_of(pipeline.prepare(f'count("A", p in [{wanted}]) >= 1', None, context))
    found = by_kernels(segment, views, context)
    assert np.array_equal(found.masks[0], by_python(segment, views[0], context))
    assert found.counts[0][1] == expected


@pytest.fixture(scope="module")
def texts() -> Shards:
    """Users with texts of many lengths, some without; the last text ends with the last byte of all."""
    shards, random = Shards(), Random(7)
    words = ["", "zz", "z", *("".join(random.choices("abz", k=random.randrange(1, 30))) for _ in range(3000)), "abcz"]
    changes = [Change(user(f"u{number}"), 0, {"mail": word, "n": number}) for number, word in enumerate(words)]
    shards.apply([*changes, *(Change(user(f"none{number}"), 0, {"n": number}) for number in range(100))])
    return shards


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("among", ["", "n < 60 and ", "n >= 2990 and ", "n < 60 or "])
@pytest.mark.parametrize("wanted", ["z", "zz", "az", "abz", "abzabzab", "zabzabzabz", "cz", "q"])
@pytest.mark.parametrize("negation", ["", "not "])
def test_substrings_are_found_in_few_texts_and_in_all(
    texts: Shards, wanted: str, among: str, negation: str, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts of few rows are searched one by one, others in one pass; offsets may have 32 or 64 bits."""
    context, views, arena = tree.Context(DAY_MS), texts.capture(), PartitionView.string_arena

    def of_64_bits(view: PartitionView, key: int, **of: bool) -> tuple[Any, Any]:
        offsets, data = arena(view, key, **of)
        return offsets.astype(np.int64), data

    segment = pipeline.segment_of(pipeline.prepare(f'{among}{negation}mail contains "{wanted}"', None, context))
    expected = by_python(segment, views[0], context)
    if wide:
        monkeypatch.setattr(PartitionView, "string_arena", of_64_bits)
    found = by_kernels(segment, views, context)
    assert np.array_equal(found.masks[0], expected)


@pytest.mark.parametrize(
    "text", ["n < 1", "n <= 0", "n < 0", "n > 0", "n >= 0", "n between -1 and 0", "n > 5", "n < -5"]
)
@pytest.mark.parametrize("values", [(-(1 << 63),), ((1 << 63) - 1,), (-(1 << 63), -(1 << 63) + 200), (-3, 0, 4)])
def test_the_ends_of_64_bits_are_compared_as_they_are(text: str, values: tuple[int, ...]) -> None:
    """Columns hold differences from their least value, and so do bounds."""
    shards = Shards()
    shards.apply([Change(user(f"u{number}"), 0, {"n": value}) for number, value in enumerate(values)])
    context, views = tree.Context(DAY_MS), shards.capture()
    segment = pipeline.segment_of(pipeline.prepare(text, None, context))
    found = by_kernels(segment, views, context)
    assert np.array_equal(found.masks[0], by_python(segment, views[0], context))


def test_a_part_that_is_skipped_once_another_one_is_known_exactly_costs_no_answer() -> None:
    """Both sums need exact floats; the first one then decides the user, and the second is not asked again."""
    shards = Shards()
    shards.apply([Event(user("a"), "A", DAY_MS, {"amount": 1 / 3}), Change(user("a"), DAY_MS, {"p": "b"})])
    context, views = tree.Context(2 * DAY_MS), shards.capture()
    text = 'sum("A".amount) > 0 or (p = "b" and sum("A".amount, last: 30d) <= -5)'
    segment = pipeline.segment_of(pipeline.prepare(text, None, context))
    assert by_python(segment, views[0], context).tolist() == [True]
    assert by_kernels(segment, views, context).masks[0].tolist() == [True]


@pytest.mark.parametrize("wanted", range(1, 4))
@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize("month", [3, 10])
def test_days_of_an_hour_more_or_less_are_told_apart(month: int, is_sealed: bool, wanted: int) -> None:
    """Days are guessed by division: after a change of the clock the guess is an hour late, or an hour early."""
    zone, shards = ZoneInfo("Europe/Berlin"), Shards()
    midnights = [datetime(2026, month, day, tzinfo=zone) for day in range(22, 32)]
    for number, midnight in enumerate(midnights):
        at = to_ms(midnight)
        times = (at - 1, at, at + 1) if number % 2 else (at, at + 1)
        shards.apply([Event(user(f"u{number}"), "A", time, {}) for time in times])
    if is_sealed:
        shards.seal()
    context = tree.Context(to_ms(datetime(2026, month, 31, 12, tzinfo=zone)), "Europe/Berlin")
    segment = pipeline.segment_of(pipeline.prepare(f'days("A", last: 20d) = {wanted}', None, context))
    views = shards.capture()
    found = by_kernels(segment, views, context)
    assert np.array_equal(found.masks[0], by_python(segment, views[0], context))
    assert found.counts[0][1] == (5 if wanted < 3 else 0)


def test_the_numbers_that_are_added_count_as_read(large: Shards) -> None:
    context = tree.Context(181 * DAY_MS)
    views = large.capture()

    def read(text: str) -> int:
        stats = by_kernels(pipeline.segment_of(pipeline.read(text, None)), views, context).stats
        return sum(each.bytes for each in stats.values())

    [view] = views
    name, prop = view.schema.events["A"], view.schema.properties["amount"]
    values = sum(column.nbytes for chunk in view.events.sealed[name] for _, column in chunk.variants(prop))
    assert read('sum("A".amount) > 3') == read('count("A") > 3') + values


@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        'count("A", x = 1, last: 1d) = 1',
        'sum("A".x, last: 1d) = 1',
        'days("A", last: 1d) = 1',
        'count("A", last: 1d) = 1',
    ],
)
def test_events_at_the_ends_of_a_window_count(text: str, is_sealed: bool) -> None:
    shards, now = Shards(), 400 * DAY_MS + DAY_MS // 2
    times = [now + edge + step for edge in (-DAY_MS, 0) for step in (-1, 0, 1)]
    shards.apply([Event(user(f"u{number}"), "A", ts, {"x": 1}) for number, ts in enumerate(times)])
    if is_sealed:
        shards.seal()
    context = tree.Context(now)
    segment, [view] = pipeline.segment_of(pipeline.prepare(text, None, context)), shards.capture()
    found = by_kernels(segment, [view], context).masks[0]
    assert np.array_equal(found, by_python(segment, view, context))
    assert found[[2, 3, 4]].all()
    assert not found[[0, 5]].any()
