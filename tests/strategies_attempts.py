"""Random attempts: funnels with all their options, and crowds of events for them to meet."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from cdp_query import tree
from tests import strategies
from tests.raw_records import Change, Event, Record

_NAMES = ("A", "B", "C")
_HELD = (1, 1.0, 2, True, "x", ["x"], None)


# Made once: a strategy made for each example costs more than the drawing.
_TIMES = st.integers(-4, 4).map(lambda offset: strategies.BORDER_MS + offset)
_PROPERTIES = st.one_of(
    st.just({}), st.fixed_dictionaries({"item": st.sampled_from(_HELD), "way": st.sampled_from(_HELD[:5])})
)
_EVENTS = st.builds(Event, st.sampled_from(strategies.USERS[:2]), st.sampled_from(_NAMES), _TIMES, _PROPERTIES)
_PLANS = st.builds(
    Change, st.sampled_from(strategies.USERS[:2]), _TIMES, st.sampled_from(_HELD).map(lambda plan: {"plan": plan})
)
_STEPS = st.builds(
    tree.Events,
    st.lists(st.sampled_from(_NAMES), min_size=1, max_size=2, unique=True).map(tuple),
    st.sampled_from((None, None, None, tree.PropertyTest("item", tree.Exists()))),
)
_WITHIN, _EACH = (
    st.one_of(st.none(), st.builds(tree.Duration, st.integers(0, most), st.just("ms"))) for most in (7, 4)
)
_EXCLUSIONS = {
    gaps: st.lists(st.builds(tree.Exclusion, st.integers(0, gaps - 1), _STEPS), max_size=2) for gaps in (1, 2, 3)
}
_WINDOWS = st.sampled_from(
    (
        tree.Always(),
        tree.Last(tree.Duration(5, "ms")),
        tree.Ago(tree.Duration(3, "ms"), tree.Duration(7, "ms")),
        tree.WithinFirst(tree.Duration(2, "ms"), ("A",)),
        tree.WithinFirst(tree.Duration(4, "ms"), ("B", "C")),
        tree.Since("since"),
    )
)
_STEP_LISTS, _ORDERS = st.lists(_STEPS, min_size=1, max_size=4), st.sampled_from(tree.StepOrder)
_HOLDS, _MODES, _FLAGS = st.sampled_from((None, None, "item")), st.sampled_from(tree.AttemptMode), st.booleans()
_GROUPS = st.sampled_from(((None, None), ("plan", None), (None, "way"), (None, "item")))


@cache
def crowded_events() -> st.SearchStrategy[list[Record]]:
    """At most ten events of two users within eight milliseconds, some with a value to hold and to group by."""
    return st.tuples(st.lists(_EVENTS, max_size=10), st.lists(_PLANS, max_size=2)).map(
        lambda pair: [*pair[0], *pair[1]]
    )


@st.composite
def funnels(draw: st.DrawFn) -> tree.Funnel:
    """Funnels of one to four steps with every option."""
    steps = tuple(draw(_STEP_LISTS))
    order = draw(_ORDERS)
    within = draw(_WITHIN)
    each, without, strict = None, [], False
    if order is not tree.StepOrder.ANY:
        each, strict = draw(_EACH), draw(_FLAGS)
        if len(steps) > 1:
            without = draw(_EXCLUSIONS[len(steps) - 1])
    rules = tree.AttemptRules(each, order, draw(_HOLDS), tuple(sorted(without, key=lambda excluded: excluded.gap)))
    by_attribute, by_entry = draw(_GROUPS)
    window, mode = draw(_WINDOWS), draw(_MODES)
    return tree.Funnel(steps, window, within, strict, rules, mode, by_attribute, by_entry, draw(_FLAGS))
