"""Random attempts: funnels with all their options, and crowds of events for them to meet."""

from __future__ import annotations

from hypothesis import strategies as st

from cdp_query import tree
from tests import strategies
from tests.raw_records import Change, Event, Record

_NAMES = ("A", "B", "C")
_HELD = (1, 1.0, 2, True, "x", ["x"], None)


def _milliseconds(most: int) -> st.SearchStrategy[tree.Duration]:
    return st.builds(tree.Duration, st.integers(0, most), st.just("ms"))


@st.composite
def crowded_events(draw: st.DrawFn) -> list[Record]:
    """At most ten events of two users within eight milliseconds, some with a value to hold and to group by."""
    times = st.integers(-4, 4).map(lambda offset: strategies.BORDER_MS + offset)
    properties = st.one_of(
        st.just({}), st.fixed_dictionaries({"item": st.sampled_from(_HELD), "way": st.sampled_from(_HELD[:5])})
    )
    events = st.builds(Event, st.sampled_from(strategies.USERS[:2]), st.sampled_from(_NAMES), times, properties)
    plans = st.builds(
        Change, st.sampled_from(strategies.USERS[:2]), times, st.sampled_from(_HELD).map(lambda plan: {"plan": plan})
    )
    return [*draw(st.lists(events, max_size=10)), *draw(st.lists(plans, max_size=2))]


def _steps() -> st.SearchStrategy[tree.Events]:
    names = st.lists(st.sampled_from(_NAMES), min_size=1, max_size=2, unique=True).map(tuple)
    where = tree.PropertyTest("item", tree.Exists())
    return st.builds(tree.Events, names, st.sampled_from((None, None, None, where)))


@st.composite
def funnels(draw: st.DrawFn) -> tree.Funnel:
    """Funnels of one to four steps with every option."""
    steps = tuple(draw(st.lists(_steps(), min_size=1, max_size=4)))
    order = draw(st.sampled_from(tree.StepOrder))
    within = draw(st.one_of(st.none(), _milliseconds(7)))
    each, without, strict = None, [], False
    if order is not tree.StepOrder.ANY:
        each, strict = draw(st.one_of(st.none(), _milliseconds(4))), draw(st.booleans())
        if len(steps) > 1:
            gaps = st.integers(0, len(steps) - 2)
            without = draw(st.lists(st.builds(tree.Exclusion, gaps, _steps()), max_size=2))
    rules = tree.AttemptRules(
        each,
        order,
        draw(st.sampled_from((None, None, "item"))),
        tuple(sorted(without, key=lambda excluded: excluded.gap)),
    )
    by_attribute, by_entry = draw(st.sampled_from(((None, None), ("plan", None), (None, "way"), (None, "item"))))
    window = draw(
        st.sampled_from(
            (
                tree.Always(),
                tree.Last(tree.Duration(5, "ms")),
                tree.Ago(tree.Duration(3, "ms"), tree.Duration(7, "ms")),
                tree.WithinFirst(tree.Duration(2, "ms"), ("A",)),
                tree.WithinFirst(tree.Duration(4, "ms"), ("B", "C")),
                tree.Since("since"),
            )
        )
    )
    mode = draw(st.sampled_from(tree.AttemptMode))
    return tree.Funnel(steps, window, within, strict, rules, mode, by_attribute, by_entry, draw(st.booleans()))
