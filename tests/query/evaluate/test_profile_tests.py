"""Attribute predicates beyond one value at T: named edges, and random records against the oracle."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from cdp_query import pipeline, tree
from cdp_query.errors import QueryInvalid
from cdp_query.pipeline import prepare
from cdp_store.values import to_ms
from tests import oracle, strategies
from tests.oracle_profiles import bucket_of
from tests.raw_records import Change, Event, Record, User, anonymous, user
from tests.shards import Shards

DAY_MS = 86_400_000
ANN = user("ann")


def _ms(text: str) -> int:
    return to_ms(datetime.fromisoformat(text).replace(tzinfo=UTC))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _holds(text: str, records: list[Record], as_of: str = "2026-03-10T12:00", tz: str = "UTC") -> bool:
    """Whether ann is a member, by the kernels in several states, all of one opinion with the oracle."""
    context = tree.Context(_ms(as_of), tz)
    question = prepare(text, None, context)
    assert not isinstance(question, tree.Funnel | tree.Breakdown)
    answers = {ANN in oracle.members(question, records, context)}
    for sealed in (False, True):
        for partitions in (1, 3):
            shards = Shards(partitions)
            shards.apply(records)
            if sealed:
                shards.seal()
            answers.add(ANN in shards.members(question, context))
    assert len(answers) == 1, (text, answers)
    return answers.pop()


def _set(**attributes: Any) -> list[Record]:
    return [Change(ANN, 0, attributes)]


# ------------------------------------------------------------------------------------------------------------- versions


@pytest.mark.parametrize(
    ("stored", "condition", "expected"),
    [
        ("5.9", '< "5.10.0"', True),
        ("5.10", '= "5.10.0"', True),
        ("5.10.0.1", '> "5.10"', True),
        ("v5.11-beta.2", '>= "5.11"', True),
        ("05.1", '= "5.1"', True),
        ("5.10.", '= "5.10"', True),
        ("5.", '= "5"', True),
        ("5.x", '= "5"', True),
        ("5.9.x", '= "5.9"', True),
        ("5..9", '= "5"', True),
        ("5." + "1" * 19, '>= "0"', False),
        ("beta 5", '>= "0"', False),
        ("5.10.", '!= "5"', True),
        (5.9, '< "6"', False),
        (["5.9"], '< "6"', False),
        (None, '!= "5"', True),
        (None, '<= "5"', False),
        ("1" * 19, '> "0"', False),
        (".".join("1" * 16), '> "1"', True),
        (".".join("1" * 17), '> "1"', False),
        ("5\nrest", '= "5"', True),
    ],
)
def test_versions_compare_number_by_number(stored: Any, condition: str, expected: bool) -> None:
    assert _holds(f"version(app) {condition}", _set(app=stored)) is expected


def test_versions_of_events_are_compared_too() -> None:
    records: list[Record] = [Event(ANN, "Open", 0, {"app": "5.9.1"})]
    assert _holds('did("Open", version(app) < "5.10")', records)
    assert not _holds('did("Open", version(app) >= "5.10")', records)


# ------------------------------------------------------------------------------------------------------------- calendar


@pytest.mark.parametrize(
    ("stored", "condition", "expected"),
    [
        ("2026-03-03T00:00", "within last 7d", True),
        ("2026-03-02T23:59:59", "within last 7d", False),
        ("2026-03-10T23:59", "within last 7d", True),
        ("2026-03-11T00:00", "within last 7d", False),
        ("2026-03-10T00:00", "within next 7d", True),
        ("2026-03-17T23:59", "within next 7d", True),
        ("2026-03-18T00:00", "within next 7d", False),
        ("2026-03-09T23:59", "within next 7d", False),
        ("2025-03-09T23:59", "older than 1y", True),
        ("2025-03-10T00:00", "older than 1y", False),
        ("2026-03-10T11:00", "within last 1h", False),
        ("2026-03-10T11:00:00.001", "within last 1h", True),
        ("2026-03-10T12:00", "within last 1h", True),
        ("2026-03-10T12:00", "within next 1h", False),
        ("2026-03-10T13:00", "within next 1h", True),
        ("2026-03-10T11:00", "older than 1h", True),
        ("2026-03-10T11:00:00.001", "older than 1h", False),
    ],
)
def test_days_are_local_dates_and_hours_elapsed_time(stored: str, condition: str, expected: bool) -> None:
    assert _holds(f"since {condition}", _set(since=_time(stored))) is expected


def test_the_dates_are_those_of_the_questions_zone() -> None:
    records = _set(since=_time("2026-03-02T23:30"))
    assert not _holds("since within last 7d", records)
    assert _holds("since within last 7d", records, tz="Asia/Kolkata")


def test_a_year_before_29_february_ends_on_28_february() -> None:
    records = _set(since=_time("2023-02-28T10:00"))
    assert not _holds("since older than 1y", records, "2024-02-29T00:00")
    assert _holds("since older than 1y", records, "2024-03-01T00:00")


@pytest.mark.parametrize(
    ("born", "range_of_days", "as_of", "expected"),
    [
        ("1990-03-10", "0d..0d", "2026-03-10", True),
        ("1990-03-17", "0d..7d", "2026-03-10", True),
        ("1990-03-18", "0d..7d", "2026-03-10", False),
        ("1990-03-10", "1d..7d", "2026-03-10", False),
        ("1990-01-03", "0d..7d", "2026-12-28", True),
        ("2000-02-29", "0d..0d", "2026-02-28", True),
        ("2000-02-29", "0d..0d", "2026-03-01", False),
        ("2000-02-29", "0d..0d", "2028-02-28", False),
        ("2000-02-29", "0d..0d", "2028-02-29", True),
        ("2000-02-28", "0d..0d", "2028-02-29", False),
        ("1969-07-20", "0d..2w", "2026-07-06", True),
        ("1990-06-01", "0d..400d", "2026-03-10", True),
    ],
)
def test_anniversaries(born: str, range_of_days: str, as_of: str, expected: bool) -> None:
    assert _holds(f"anniversary(born, {range_of_days})", _set(born=_time(born)), as_of) is expected


def test_an_anniversary_is_a_local_date() -> None:
    records = _set(born=_time("1990-03-09T23:30"))
    assert _holds("anniversary(born, 0d..0d)", records, tz="Europe/Berlin")
    assert not _holds("anniversary(born, 0d..0d)", records, tz="UTC")
    summer = _set(born=_time("1990-07-09T22:30"))
    assert _holds("anniversary(born, 0d..0d)", summer, "2026-07-10T12:00", "Europe/Berlin")


# --------------------------------------------------------------------------------------------------------------- places

_PARIS = {"home.lat": 48.8566, "home.lon": 2.3522}


@pytest.mark.parametrize(
    ("place", "condition", "expected"),
    [
        (_PARIS, "< 344200", True),  # to London: 343.5 km on the mean sphere
        (_PARIS, "< 343000", False),
        (_PARIS, ">= 343000", True),
        ({"home.lat": 51.5074, "home.lon": -0.1278}, "<= 0", True),
        ({"home.lat": 51.5074}, ">= 0", False),
        ({"home.lat": "51", "home.lon": 0}, ">= 0", False),
        ({"home.lat": 91, "home.lon": 0}, ">= 0", False),
        ({"home.lat": 51, "home.lon": 181}, ">= 0", False),
        ({}, ">= 0", False),
    ],
)
def test_distances_to_london(place: dict[str, Any], condition: str, expected: bool) -> None:
    assert _holds(f"distance(home, 51.5074, -0.1278) {condition}", _set(**place)) is expected


def test_a_distance_over_the_date_line_is_short() -> None:
    assert _holds("distance(home, 0, -179.9) < 25000", _set(**{"home.lat": 0, "home.lon": 179.9}))


def test_places_of_events() -> None:
    records: list[Record] = [Event(ANN, "Open", 0, {"at.lat": 1, "at.lon": 2.5})]
    assert _holds('did("Open", distance(at, 1, 2.5) < 1)', records)
    assert not _holds('did("Open", distance(at, 2, 2.5) < 1)', records)


# -------------------------------------------------------------------------------------------------------------- buckets


def test_buckets_deal_out_everybody_once_and_never_move() -> None:
    users = [user(f"u{number}") for number in range(300)] + [anonymous(f"u{number}") for number in range(50)]
    answers = list[list[set[User]]]()
    for partitions in (1, 4):
        shards = Shards(partitions)
        shards.apply([Event(who, "A", 0) for who in users])
        ranges = [(0, 99), (100, 499), (500, 999)]
        answers.append([shards.members(tree.BucketTest(*ends), tree.Context(0)) for ends in ranges])
    assert answers[0] == answers[1]
    assert sum(map(len, answers[0])) == len(users) == len(set().union(*answers[0]))
    assert 10 <= len(answers[0][0]) <= 60


def test_frozen_buckets_never_change() -> None:
    """Running experiments depend on them."""
    known = (("ann", 336), ("bob", 781), ("učen", 153))
    assert [(name, bucket_of(user(name))) for name, _ in known] == list(known)


# -------------------------------------------------------------------------------------------------------------- history

_PLANS: list[Record] = [
    Change(ANN, _ms("2026-01-01"), {"plan": "free"}),
    Change(ANN, _ms("2026-02-01"), {"plan": "gold"}),
    Change(ANN, _ms("2026-03-01"), {"plan": None}),
    Change(ANN, _ms("2026-03-05"), {"plan": "free"}),
    Change(ANN, _ms("2026-03-08"), {"plan": "free"}),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The value in force when the window starts counts: gold was set on 1 February and lasted until 1 March.
        ('was(plan, "gold", from: 2026-02-10, to: 2026-02-20)', True),
        ('was(plan, "gold", from: 2026-02-28, to: 2026-03-02)', True),
        ('was(plan, "gold", from: 2026-03-01, to: 2026-03-02)', False),
        ('was(plan, "gold", before: 2026-02-01)', False),
        ('was(plan, "gold")', True),
        ('was(plan, "silver")', False),
        ("was(missing(plan), from: 2026-03-02, to: 2026-03-03)", True),
        ("was(missing(plan), from: 2026-02-02, to: 2026-02-03)", False),
        ("was(missing(plan), before: 2026-01-01)", True),
        ("was(missing(plan), from: 2026-01-01, to: 2026-01-02)", False),
        ("was(missing(plan), from: 2025-12-31, to: 2026-01-02)", True),
        ('was(plan != "gold", from: 2026-03-02, to: 2026-03-03)', False),
        ('was(plan in ["gold", "silver"], last: 20d)', True),
        ('changed(plan, from: "free", to: "gold")', True),
        ('changed(plan, from: "free", to: "gold", last: 20d)', False),
        ('changed(plan, from: "gold", to: "free")', False),
        ('changed(plan, from: "gold", to: unset, during: 2026-03-01..2026-03-01)', True),
        ("changed(plan, from: unset, to: set, last: 7d)", True),
        ("changed(plan, last: 3d)", False),  # free to free on 8 March is no change
        ("changed(plan, last: 6d)", True),
        ("unchanged(plan, for: 5d)", True),
        ("unchanged(plan, for: 6d)", False),
        ("unchanged(country, for: 6d)", False),
        ('value_at(plan, 2026-02-01) = "gold"', True),
        ('value_at(plan, 2026-01-31T23:59:59Z) = "free"', True),
        ('value_at(plan, 2025-12-31) != "gold"', False),
        ("value_at(missing(plan), 2025-12-31)", True),
        ('value_at(plan, 20d) = "gold"', True),
        ('value_at(plan, 2027-01-01) = "free"', True),
        ('value_at(plan, 2026-02-01) contains "ol"', True),
        ("changed(country)", False),
    ],
)
def test_history(text: str, expected: bool) -> None:
    assert _holds(text, _PLANS) is expected


def test_of_several_values_at_one_instant_only_the_last_to_arrive_was_ever_in_force() -> None:
    at = _ms("2026-02-01")
    records: list[Record] = [Change(ANN, at, {"plan": "a"}), Change(ANN, at, {"plan": "b"})]
    assert not _holds('was(plan, "a")', records)
    assert not _holds('changed(plan, from: "a")', records)
    assert _holds('was(plan, "b")', records)


def test_a_number_of_another_type_is_no_change() -> None:
    records: list[Record] = [Change(ANN, 0, {"n": 1}), Change(ANN, 1, {"n": 1.0}), Change(ANN, 2, {"n": True})]
    assert not _holds("changed(n, from: 1, to: 1)", records)
    assert _holds("changed(n, from: 1, to: true)", records)
    large: list[Record] = [Change(ANN, 0, {"n": 2**53 + 1}), Change(ANN, 1, {"n": float(2**53)})]
    assert _holds("changed(n, from: 9007199254740993)", large)


def test_what_happens_after_t_has_not_happened() -> None:
    assert not _holds('was(plan, "gold")', _PLANS, "2026-01-15T00:00")
    assert _holds("unchanged(plan, for: 10d)", _PLANS, "2026-01-15T00:00")


@given(
    strategies.records(40),
    st.lists(st.one_of(strategies.histories(), strategies.histories(), strategies.distances("home")), min_size=6),
    strategies.contexts(),
)
@settings(max_examples=40)
def test_history_and_places_are_the_oracles_in_every_state(
    records: list[Record], questions: list[tree.Node], context: tree.Context
) -> None:
    expected = [oracle.members(question, records, context) for question in questions]
    event(f"somebody: {any(expected)}")
    rewritten = [pipeline.segment_of(pipeline.check(question, context)) for question in questions]
    for partitions, sealed_after in ((1, 0), (1, 40), (3, 15)):
        shards = Shards(partitions)
        shards.apply(records[:sealed_after])
        shards.seal()
        shards.apply(records[sealed_after:])
        views = shards.capture()
        for question, members in zip(rewritten, expected, strict=True):
            assert shards.members(question, context, rewritten=False, views=views) == members, question


@given(strategies.records(40), strategies.conditions("text"), strategies.contexts())
@settings(max_examples=40)
def test_the_value_at_t_is_the_value_now_where_it_is_set(
    records: list[Record], condition: tree.Condition, context: tree.Context
) -> None:
    shards = Shards(2)
    shards.apply(records)
    now = shards.members(tree.All((tree.AttributeTest("plan", condition),)), context)
    at = shards.members(tree.ValueAtTest("plan", tree.Duration(0, "d"), condition), context)
    set_now = shards.members(tree.AttributeTest("plan", tree.Exists()), context)
    assert at <= now
    assert (now & set_now) - at == set() or _is_negated(condition)


def _is_negated(condition: tree.Condition) -> bool:
    match condition:
        case tree.Compare(tree.Op.NE) | tree.VersionTest(tree.Op.NE):
            return True
        case tree.OneOf() | tree.TextTest() | tree.Exists():
            return condition.negated
    return False


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('version(app) > "new"', "no version"),
        ("distance(home, 91, 0) < 5", "latitude"),
        ("distance(home, 1, 200) < 5", "longitude"),
        ("distance(home, 1, 2) = 5", "<, <=, > or >="),
        ("bucket between 0 and 1000", "0 to 999"),
        ("bucket between 5 and 1", "smaller first"),
        ("anniversary(born, 7d..0d)", "nearer end first"),
        ("anniversary(born, 0d..1mo)", "days or weeks"),
        ("since within last 99999y", "beyond the calendar"),
        ("changed(plan, during: 2026-02-01..2026-01-01)", "before it starts"),
    ],
)
def test_what_has_no_meaning_says_why(text: str, part: str) -> None:
    with pytest.raises(QueryInvalid, match=part):
        prepare(text, None, tree.Context(0))


def test_parts_that_cannot_change_anything_are_spared() -> None:
    shards = Shards(3)
    shards.apply([Change(user(f"u{number}"), 0, {"n": number}) for number in range(50)])
    context = tree.Context(1)
    answer = shards.ask(prepare("n > 100 and was(n, 5) and n < 7", None, context), context)
    assert {node: stats.evaluations for node, stats in answer.stats.items()} == {0: 3, 1: 3}
    assert answer.stats[1].rows >= 50


@pytest.mark.parametrize(("group", "expected"), [(tree.All, True), (tree.Any, False)])
def test_a_filter_of_no_parts_is_true_for_all_and_false_for_any(
    group: type[tree.All] | type[tree.Any], expected: bool
) -> None:
    shards = Shards()
    shards.apply([Event(ANN, "A", 0)])
    assert (ANN in shards.members(tree.Did(tree.Events(("A",), group(()))), tree.Context(1))) is expected
