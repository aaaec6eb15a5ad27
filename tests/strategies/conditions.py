"""Random conditions on values, windows, and sets of events with filters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from hypothesis import strategies as st

from cdp_query import tree
from tests.strategies.records import (
    ATTRIBUTE_NAMES,
    EVENT_NAMES,
    EXTREME_NUMBERS,
    MOMENTS,
    NUMBERS,
    PATTERNS,
    PROPERTY_NAMES,
    TEXTS,
    TYPICAL,
    UNKNOWN_NAME,
    one_of,
)


@cache
def literals(kind: str | None = None) -> st.SearchStrategy[tree.Literal]:
    """Literals of one type or of all, taken from the stored values so that they hit."""
    pools: dict[str, Sequence[tree.Literal]] = {
        "number": NUMBERS + EXTREME_NUMBERS,
        "text": TEXTS,
        "time": MOMENTS,
        "flag": (False, True),
    }
    pools["list"] = (*TEXTS[:4], *NUMBERS[:4], True, *MOMENTS[:2])
    return st.sampled_from([literal for pool in pools.values() for literal in pool] if kind is None else pools[kind])


@cache
def comparisons() -> st.SearchStrategy[tree.Op]:
    """One of the six operators."""
    return st.sampled_from(tree.Op)


@cache
def literal_lists(kind: str | None) -> st.SearchStrategy[tuple[tree.Literal, ...]]:
    """One to three literals."""
    return st.lists(literals(kind), min_size=1, max_size=3).map(tuple)


def _equalities(kind: str | None) -> list[st.SearchStrategy[tree.Condition]]:
    equality = st.sampled_from((tree.Op.EQ, tree.Op.NE))
    return [
        st.builds(tree.Compare, equality, literals(kind), st.booleans()),
        st.builds(tree.OneOf, literal_lists(kind), st.booleans(), st.booleans()),
        st.builds(tree.Exists, st.booleans()),
    ]


def _number_conditions() -> list[st.SearchStrategy[tree.Condition]]:
    pairs = st.tuples(literals("number"), literals("number")).map(sorted)
    return [
        st.builds(tree.Compare, comparisons(), literals("number")),
        pairs.map(lambda pair: tree.Between(pair[0], pair[1])),
        *_equalities("number"),
    ]


def _time_conditions() -> list[st.SearchStrategy[tree.Condition]]:
    days = st.tuples(st.sampled_from(MOMENTS[:5]), st.sampled_from(MOMENTS[:5])).map(by_iso)
    return [
        st.builds(tree.Compare, comparisons(), literals("time")),
        st.builds(tree.TimeTest, st.sampled_from(tree.Side), durations()),
        st.builds(tree.TimeTest, st.sampled_from(tree.Side), durations("d mo y", 30)),
        anniversaries(),
        days.map(lambda pair: tree.Between(pair[0], pair[1])),
        *_equalities("time"),
    ]


def _text_conditions() -> list[st.SearchStrategy[tree.Condition]]:
    folded = st.sampled_from((tree.TextOp.CONTAINS, tree.TextOp.STARTS_WITH, tree.TextOp.ENDS_WITH))
    matches = st.just(tree.TextOp.MATCHES)
    return [
        st.builds(tree.TextTest, folded, st.sampled_from(TEXTS), st.booleans(), st.booleans()),
        st.builds(tree.VersionTest, comparisons(), st.sampled_from(("5", "5.9.0", "5.10", "0.0.1", "6"))),
        st.builds(tree.TextTest, matches, st.sampled_from(PATTERNS), st.booleans(), st.booleans()),
        *_equalities("text"),
    ]


def _list_conditions() -> list[st.SearchStrategy[tree.Condition]]:
    several = st.sampled_from((tree.ListOp.HAS_ANY, tree.ListOp.HAS_ALL, tree.ListOp.HAS_NONE))
    return [
        st.builds(tree.ListTest, several, literal_lists("list")),
        st.builds(tree.ListTest, st.just(tree.ListOp.HAS), literals("list").map(lambda literal: (literal,))),
        st.builds(tree.SizeTest, comparisons(), st.integers(-1, 3)),
        *_equalities("list"),
    ]


@cache
def conditions(kind: str | None = None) -> st.SearchStrategy[tree.Condition]:
    """Every condition that suits a kind of value, or all of them."""
    forms = {
        "number": _number_conditions,
        "degrees": _number_conditions,
        "time": _time_conditions,
        "text": _text_conditions,
        "list": _list_conditions,
    }
    if kind is not None:
        return st.one_of(forms[kind]())
    return st.one_of([form for several in forms.values() for form in several()] + _equalities(None))


def by_iso(moments: Sequence[tree.Moment]) -> list[tree.Moment]:
    """Moments in the order of their text."""
    return sorted(moments, key=lambda moment: moment.iso)


@cache
def durations(units: str = "ms s m h d w mo y", most: int = 40) -> st.SearchStrategy[tree.Duration]:
    """Durations in some units."""
    return st.builds(tree.Duration, st.integers(0, most), st.sampled_from(units.split()))


@cache
def windows(*, always: bool = True) -> st.SearchStrategy[tree.Window]:
    """Every window form with ends in order."""
    dates = st.sampled_from(MOMENTS[:5])
    ordered_dates = st.tuples(dates, dates).map(lambda pair: tree.FromTo(*by_iso(pair)))
    instants = (
        tree.Moment("2026-01-10T12:00:00Z"),
        tree.Moment("2026-01-15T00:00:00Z"),
        tree.Moment("2026-02-01T00:00"),
    )
    ordered_instants = st.sampled_from([(0, 0), (0, 1), (0, 2), (1, 2)]).map(
        lambda pair: tree.FromTo(instants[pair[0]], instants[pair[1]])
    )
    # Nearer than 20 days on one side, further than 28 on the other: in order whatever the month.
    far = st.one_of(
        durations("d", 60).map(lambda d: tree.Duration(d.amount + 21, "d")),
        durations("mo y", 3).map(lambda d: tree.Duration(d.amount + 1, d.unit)),
    )
    units = st.sampled_from(tree.CALENDAR_UNITS)
    forms = [
        ordered_dates,
        ordered_instants,
        st.builds(tree.Before, st.sampled_from(MOMENTS)),
        st.builds(tree.After, st.sampled_from(MOMENTS)),
        st.builds(tree.Last, durations()),
        st.builds(tree.Last, durations("w mo y")),
        st.builds(tree.LastCalendar, durations("d w mo y")),
        st.builds(tree.DaysAgo, st.integers(0, 40)),
        st.builds(tree.Ago, durations("ms s m h d", 20), far),
        st.builds(tree.MoreThanAgo, durations()),
        st.builds(tree.This, units),
        st.builds(tree.Previous, units),
    ]
    return one_of(*[st.just(tree.Always())] * 8 * always, *forms)


@cache
def event_windows(*, always: bool = True) -> st.SearchStrategy[tree.Window]:
    """Windows of predicates over events: those of everybody, and those that differ from user to user."""
    names = st.sampled_from((EVENT_NAMES[:1], EVENT_NAMES[1:], (UNKNOWN_NAME,), (EVENT_NAMES[2],)))
    every = windows(always=always)
    first = st.builds(tree.WithinFirst, durations("ms h d w"), names)
    since = st.sampled_from((*ATTRIBUTE_NAMES, "since", "since", UNKNOWN_NAME)).map(tree.Since)
    return one_of(every, every, every, first, since)


def _time_filters() -> st.SearchStrategy[tree.TimeFilter]:
    hours = st.sampled_from(((0, 24), (0, 1), (9, 17), (22, 6), (23, 0), (1, 24), (12, 13)))
    days = st.frozensets(st.integers(1, 7), min_size=1, max_size=5)
    return one_of(hours.map(lambda pair: tree.HourTest(*pair)), st.builds(tree.WeekdayTest, days))


@cache
def filters(depth: int = 2) -> st.SearchStrategy[tree.Node]:
    """Filters on an event's own properties and time."""
    tests = [conditions_on(tree.PropertyTest, PROPERTY_NAMES)] * 4
    return combined(one_of(*tests, distances("place"), _time_filters()), depth)


@cache
def conditions_on(kind: type[Any], names: Sequence[str]) -> st.SearchStrategy[Any]:
    """A condition that suits the name, mostly."""
    suited = [st.builds(kind, st.just(name), conditions(TYPICAL[name])) for name in names]
    return one_of(*suited, *suited, st.builds(kind, st.sampled_from((*names, UNKNOWN_NAME)), conditions()))


@cache
def event_sets() -> st.SearchStrategy[tree.Events]:
    """E: one or several names, often with a filter."""
    single = [(name,) for name in EVENT_NAMES]
    names = st.sampled_from((*single, EVENT_NAMES[:2], EVENT_NAMES[1:], (UNKNOWN_NAME, "Buy")))
    return st.builds(tree.Events, names, one_of(st.none(), st.none(), filters()))


@cache
def anniversaries() -> st.SearchStrategy[tree.Anniversary]:
    """Ranges of days from T, near, far and longer than a year."""
    ranges = st.sampled_from(((0, 0), (0, 7), (1, 2), (5, 40), (0, 400), (300, 400)))
    days = ranges.map(lambda pair: tree.Anniversary(tree.Duration(pair[0], "d"), tree.Duration(pair[1], "d")))
    return st.one_of(days, st.just(tree.Anniversary(tree.Duration(0, "d"), tree.Duration(2, "w"))))


@cache
def distances(name: str) -> st.SearchStrategy[tree.DistanceTest]:
    """Distances between the places that are stored, none of them close to a threshold."""
    latitudes, longitudes = st.sampled_from((0.0, 52.5, -33.25, 90.0)), st.sampled_from((0.0, 13.0, -180.0))
    ops = st.sampled_from((tree.Op.LT, tree.Op.LE, tree.Op.GT, tree.Op.GE))
    metres = st.sampled_from((1.5, 700_000, 5_000_000.5, 11_111_111, 2.1e7))
    return st.builds(tree.DistanceTest, st.just(name), latitudes, longitudes, ops, metres)


@cache
def combined(leaves: st.SearchStrategy[tree.Node], depth: int) -> st.SearchStrategy[tree.Node]:
    """Leaves, and groups of them up to a depth."""
    if depth <= 0:
        return leaves
    inner = combined(leaves, depth - 1)
    groups = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(leaves, st.builds(tree.Not, inner), st.builds(tree.All, groups), st.builds(tree.Any, groups))
