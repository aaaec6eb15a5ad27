"""Random reports; see the strategies beside it."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from cdp_query import tree
from tests import strategies

UNITS = st.sampled_from(tree.PERIOD_UNITS)


@cache
def trends() -> st.SearchStrategy[tree.Trend]:
    """Trends with and without a property."""
    names = st.sampled_from((None, "amount", "amount", "item.größe", strategies.UNKNOWN_NAME))
    return st.builds(tree.Trend, strategies.event_sets(), UNITS, strategies.event_windows(), names)


@cache
def retentions() -> st.SearchStrategy[tree.Retention]:
    """Retentions of every kind; often an event returns to itself."""
    return st.builds(
        tree.Retention,
        strategies.event_sets(),
        strategies.event_sets(),
        UNITS,
        st.sampled_from((1, 2, 4, 66)),
        strategies.event_windows(),
        st.sampled_from(tree.PeriodStart),
        st.sampled_from(tree.ReturnMode),
    )


@cache
def lifecycles() -> st.SearchStrategy[tree.Lifecycle]:
    """Lifecycles over every window."""
    return st.builds(tree.Lifecycle, strategies.event_sets(), UNITS, strategies.event_windows())


@cache
def reports() -> st.SearchStrategy[tree.Report]:
    """Every report."""
    return st.one_of(trends(), retentions(), overlaps(), distributions(), rfms(), flows(), lifecycles())


@cache
def overlaps() -> st.SearchStrategy[tree.Overlap]:
    """Two to four segments."""
    return st.builds(tree.Overlap, st.lists(strategies.segments(2), min_size=2, max_size=4).map(tuple))


@cache
def distributions() -> st.SearchStrategy[tree.Distribution]:
    """Of an attribute, or of what is measured."""
    attributes = st.builds(tree.AttributeNumber, st.sampled_from((*strategies.ATTRIBUTE_NAMES, "and", "and")))
    measured = strategies.numbers()
    return st.builds(tree.Distribution, strategies.segments(2), strategies.one_of(attributes, measured, measured))


@cache
def rfms() -> st.SearchStrategy[tree.Rfm]:
    """Scores of users by an event."""
    return st.builds(
        tree.Rfm, strategies.event_sets(), st.sampled_from(("amount", "odd name")), strategies.event_windows()
    )


@cache
def flows() -> st.SearchStrategy[tree.Flow]:
    """Flows of every kind; some look at a few names only."""
    only = st.sampled_from(
        ((), (), (), strategies.EVENT_NAMES[:1], strategies.EVENT_NAMES[1:], (strategies.UNKNOWN_NAME,))
    )
    within = st.one_of(st.none(), strategies.durations("ms h d w", 9))
    return st.builds(
        tree.Flow,
        strategies.event_sets(),
        st.integers(1, 4),
        strategies.event_windows(),
        within,
        st.sampled_from(tree.FlowDirection),
        st.sampled_from(tree.FlowAnchor),
        only,
    )
