"""Random segments: every predicate, and how predicates are combined."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from hypothesis import strategies as st

from cdp_query import tree
from tests.strategies.conditions import (
    combined,
    comparisons,
    conditions,
    conditions_on,
    distances,
    durations,
    event_sets,
    event_windows,
    filters,
    literal_lists,
    literals,
    windows,
)
from tests.strategies.records import ATTRIBUTE_NAMES, MOMENTS, PROPERTY_NAMES, TYPICAL, UNKNOWN_NAME, one_of

ONLY_IN_EXPRESSIONS = (
    tree.Measured.DAYS,
    tree.Measured.WEEKS,
    tree.Measured.STREAK,
    tree.Measured.DISTINCT,
    tree.Measured.MEDIAN,
    tree.Measured.P95,
)


@cache
def histories() -> st.SearchStrategy[tree.HistoryTest]:
    """was, changed, unchanged and value_at, mostly with values that suit the attribute."""
    return st.sampled_from((*ATTRIBUTE_NAMES, *ATTRIBUTE_NAMES[:4], UNKNOWN_NAME)).flatmap(_histories_of)


@cache
def _histories_of(name: str) -> st.SearchStrategy[tree.HistoryTest]:
    kind = TYPICAL.get(name, "text")
    suited, moments_at = conditions(kind), st.one_of(st.sampled_from(MOMENTS), durations())
    values = literal_lists("list" if kind == "list" else "number" if kind == "degrees" else kind)
    side = st.one_of(st.none(), st.builds(tree.ChangeSide, values), st.just(tree.ChangeSide()), _unset())
    named = st.just(name)
    return st.one_of(
        st.builds(tree.WasTest, named, suited, windows()),
        st.builds(tree.ChangedTest, named, side, side, windows()),
        st.builds(tree.ChangedTest, named, st.none(), side, st.just(tree.ALWAYS)),
        st.builds(tree.UnchangedTest, named, durations()),
        st.builds(tree.ValueAtTest, named, moments_at, suited),
    )


def _unset() -> st.SearchStrategy[tree.ChangeSide]:
    return st.just(tree.ChangeSide(unset=True))


@cache
def buckets() -> st.SearchStrategy[tree.BucketTest]:
    """A part of the population."""
    return st.sampled_from(((0, 999), (0, 499), (0, 0), (300, 700))).map(lambda pair: tree.BucketTest(*pair))


@cache
def _sequences(kind: type[Any]) -> st.SearchStrategy[Any]:
    steps = st.lists(event_sets(), min_size=2, max_size=4).map(tuple)
    within = one_of(st.none(), durations("ms h d w w", 9))
    return st.builds(kind, steps, event_windows(), within, st.booleans())


def funnels() -> st.SearchStrategy[tree.Funnel]:
    """Funnels of two to four steps."""
    return _sequences(tree.Funnel)


def sequences() -> st.SearchStrategy[tree.SequenceTest]:
    """Sequences of two to four steps."""
    return _sequences(tree.SequenceTest)


@cache
def _measures(functions: Sequence[tree.Measured]) -> st.SearchStrategy[tree.Measure]:
    plain = [function for function in functions if function not in tree.PROPERTY_MEASURES]
    of_property = [function for function in functions if function in tree.PROPERTY_MEASURES]
    names = st.sampled_from((*PROPERTY_NAMES, "amount", "amount", UNKNOWN_NAME))
    return one_of(
        st.builds(tree.Measure, st.sampled_from(plain), event_sets(), st.none(), event_windows()),
        st.builds(tree.Measure, st.sampled_from(of_property), event_sets(), names, event_windows()),
    )


def _numbers() -> st.SearchStrategy[tree.Number]:
    return one_of(st.sampled_from((0, 1, 2, 3, 0.5, 2.0)), literals("number")).map(tree.Number)


@cache
def numbers() -> st.SearchStrategy[tree.Expression]:
    """Numbers about users: measured, and calculated from what is measured."""
    measures = _measures(tuple(tree.Measured))
    operands = one_of(measures, _numbers())
    return one_of(
        measures, measures, st.builds(tree.Arithmetic, st.sampled_from(tree.ArithmeticOp), measures, operands)
    )


@cache
def expression_tests() -> st.SearchStrategy[tree.ExpressionTest]:
    """Comparisons in the form in which they are read: one count against a number is a test of its own."""
    measures, only = _measures(tuple(tree.Measured)), _measures(ONLY_IN_EXPRESSIONS)
    operators = st.sampled_from(tree.ArithmeticOp)
    operands = one_of(measures, _numbers())
    calculated = one_of(
        st.builds(tree.Arithmetic, operators, measures, operands),
        st.builds(tree.Arithmetic, operators, _numbers(), st.builds(tree.Arithmetic, operators, operands, measures)),
    )
    return one_of(
        st.builds(tree.ExpressionTest, only, comparisons(), st.sampled_from((0, 1, 2, 3, 2.5)).map(tree.Number)),
        st.builds(tree.ExpressionTest, only, comparisons(), _numbers()),
        st.builds(tree.ExpressionTest, _numbers(), comparisons(), measures),
        st.builds(tree.ExpressionTest, measures, comparisons(), one_of(measures, calculated)),
        st.builds(tree.ExpressionTest, calculated, comparisons(), one_of(operands, calculated)),
    )


@cache
def _phases() -> st.SearchStrategy[tree.Node]:
    day = tree.Moment("2026-01-15")
    month, week = tree.Duration(30, "d"), tree.Duration(7, "d")
    pairs = (
        (tree.Ago(week, month), tree.Last(week)),
        (tree.MoreThanAgo(month), tree.Last(month)),
        (tree.Before(day), tree.FromTo(day, tree.Moment("2026-01-16"))),
        (tree.Previous("month"), tree.This("month")),
    )
    stopped = st.sampled_from(pairs).flatmap(
        lambda pair: st.builds(tree.StoppedTest, event_sets(), *map(st.just, pair))
    )
    hours = tree.Ago(tree.Duration(1, "h"), tree.Duration(50, "h"))
    # All of them end before any T; a gap between dates may not.
    gaps = (tree.Ago(week, month), tree.DaysAgo(3), tree.Previous("week"), hours)
    return one_of(stopped, st.builds(tree.ResumedTest, event_sets(), st.sampled_from((*gaps, tree.MoreThanAgo(month)))))


@cache
def _value_tests() -> st.SearchStrategy[tree.Node]:
    kinds = st.sampled_from(
        [(name, kind) for name, kind in TYPICAL.items() if name in PROPERTY_NAMES] * 2 + [("amount", "text")]
    )
    shares = st.sampled_from((0, 1, 0.5, 0.4, 0.25, 1 / 3, 2, -1, 1e300))

    def of(pair: tuple[str, str]) -> st.SearchStrategy[tree.Node]:
        name = st.sampled_from((pair[0], pair[0], pair[0], UNKNOWN_NAME))
        infix = conditions(pair[1]).filter(lambda condition: isinstance(condition, tree.Infix))
        parts = name, event_sets(), event_windows(), infix
        return one_of(
            st.builds(tree.EdgeValueTest, st.sampled_from(tree.Edge), *parts),
            st.builds(tree.MostlyTest, *parts),
            st.builds(tree.ShareTest, *parts, comparisons(), shares),
        )

    return kinds.flatmap(of)


@cache
def _ordinals() -> st.SearchStrategy[tree.Node]:
    quotas = st.sampled_from(((1, 1), (1, 3), (2, 3), (3, 3), (2, 10)))
    units = st.sampled_from(tree.CALENDAR_UNITS)
    regularly = quotas.flatmap(
        lambda quota: st.builds(tree.RegularlyTest, event_sets(), st.integers(1, 3), units, *map(st.just, quota))
    )
    nth = st.builds(tree.NthTest, event_sets(), st.integers(1, 4), one_of(st.none(), filters(1)), event_windows())
    return one_of(nth, nth, regularly)


@cache
def predicates() -> st.SearchStrategy[tree.Node]:
    """Every leaf of a segment."""
    thresholds = st.sampled_from((-1, 0, 1, 2, 3, 5, 0.5, 2.0))
    names = st.sampled_from((*PROPERTY_NAMES, "amount", "amount", UNKNOWN_NAME))
    attributes = conditions_on(tree.AttributeTest, ATTRIBUTE_NAMES)
    aggregates = st.builds(
        tree.AggregateTest,
        st.sampled_from(tree.Aggregate),
        names,
        event_sets(),
        event_windows(),
        comparisons(),
        literals("number"),
    )
    return one_of(
        attributes,
        attributes,
        attributes,
        aggregates,
        aggregates,
        st.builds(tree.Did, event_sets(), event_windows()),
        st.builds(tree.CountTest, event_sets(), event_windows(), comparisons(), thresholds, st.booleans()),
        st.builds(tree.CountTest, event_sets(), event_windows(), comparisons(), thresholds),
        st.builds(tree.OccurrenceTest, st.sampled_from(tree.Occurrence), event_sets(), event_windows(always=False)),
        expression_tests(),
        expression_tests(),
        st.builds(tree.RecencyTest, event_sets(), comparisons(), durations(), event_windows()),
        st.builds(tree.Inactive, durations()),
        _phases(),
        _value_tests(),
        _value_tests(),
        _ordinals(),
        sequences(),
        sequences(),
        histories(),
        histories(),
        distances("home"),
        buckets(),
        st.just(tree.Everyone()),
    )


@cache
def segments(depth: int = 4) -> st.SearchStrategy[tree.Node]:
    """Segments up to a depth of and, or, not."""
    return combined(predicates(), depth - 1)
