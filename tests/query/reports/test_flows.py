"""Flows against the oracle, in every state of the data, and worked examples."""

from __future__ import annotations

from collections import Counter
from functools import reduce

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from cdp_query import tree
from cdp_query.errors import QueryInvalid, QuerySyntaxError
from cdp_query.language import parse, print_question
from cdp_query.partial import Partial
from cdp_query.pipeline import prepare
from cdp_query.reports.flow_report import FlowNode, FlowPart, flow_nodes
from tests import oracle_flows, strategies, strategies_attempts, strategies_reports
from tests.raw_records import Event, Record, user
from tests.shards import Shards
from tests.states import every_state

ANN, BOB = user("ann"), user("bob")
CONTEXT = tree.Context(strategies.BORDER_MS)


def _paths(partial: Partial) -> Counter[tuple[str, ...]]:
    part = partial.report
    assert isinstance(part, FlowPart)
    return Counter(
        {
            tuple(part.names[number - 1] for number in path if number): count
            for path, count in zip(part.paths.tolist(), part.counts.tolist(), strict=True)
        }
    )


def _several(flows: st.SearchStrategy[tree.Flow]) -> st.SearchStrategy[list[tree.Flow]]:
    """Flows that are asked of the same shards; making these is what takes time."""
    return st.lists(flows, min_size=4, max_size=4)


def _check(reports: list[tree.Flow], records: list[Record], size: int, context: tree.Context) -> None:
    expected = [oracle_flows.flow(report, records, context) for report in reports]
    event(f"some path: {any(any(each.paths) for each in expected)}")
    for state, shards in every_state(records, size):
        views = shards.capture()
        for report, wanted in zip(reports, expected, strict=True):
            partial = shards.ask(report, context, views)
            assert partial.count == wanted.users, state
            assert _paths(partial) == wanted.paths, state
            assert isinstance(partial.report, FlowPart)
            assert partial.report.growing == wanted.growing, state


@given(strategies.records(40), st.sampled_from((1, 3, 13)), _several(strategies_reports.flows()), strategies.contexts())
@settings(max_examples=12)
def test_flows_are_the_oracles_in_every_state(
    records: list[Record], size: int, reports: list[tree.Flow], context: tree.Context
) -> None:
    _check(reports, records, size, context)


@st.composite
def _crowded(draw: st.DrawFn) -> tree.Flow:
    """Flows over the few names and instants of crowded events: ties everywhere."""
    names = draw(st.lists(st.sampled_from(("B", "A", "C")), min_size=1, max_size=3, unique=True).map(tuple))
    within = draw(st.one_of(st.none(), st.builds(tree.Duration, st.integers(0, 4), st.just("ms"))))
    only = draw(st.sampled_from(((), (), ("A",), ("C", "B"))))
    direction, anchor = draw(st.sampled_from(tree.FlowDirection)), draw(st.sampled_from(tree.FlowAnchor))
    return tree.Flow(tree.Events(names), draw(st.integers(1, 5)), tree.ALWAYS, within, direction, anchor, only)


@given(strategies_attempts.crowded_events(), _several(_crowded()), st.integers(-2, 6))
@settings(max_examples=30)
def test_crowded_flows_are_the_oracles(records: list[Record], reports: list[tree.Flow], offset: int) -> None:
    _check(reports, records, 4, tree.Context(strategies.BORDER_MS + offset))


@given(strategies.records(60), strategies_reports.flows(), st.sampled_from((1, 2, 3, 5, 1000)))
@settings(max_examples=30)
def test_what_is_shown_hangs_together_and_adds_up(records: list[Record], report: tree.Flow, shown_max: int) -> None:
    shards = Shards(2)
    shards.apply(records)
    context = tree.Context(strategies.BORDER_MS + 40 * strategies.DAY_MS)
    paths = oracle_flows.flow(report, records, context).paths
    part = shards.ask(report, context).report
    assert isinstance(part, FlowPart)
    nodes, node_count = flow_nodes(part, shown_max)
    prefixes = Counter[tuple[str, ...]]()
    for path, count in paths.items():
        for length in range(len(path) + 1):
            prefixes[path[:length]] += count
    assert node_count == len(prefixes)
    assert len(nodes) == min(shown_max, node_count)
    by_path = {node.path: node for node in nodes}
    for place, node in enumerate(nodes):
        children = [other for other in nodes if other.path[:-1] == node.path and other.path]
        assert node.count == prefixes[node.path]
        assert node.path == () or node.path[:-1] in {before.path for before in nodes[:place]}
        if len(node.path) < report.depth:
            assert node.ended == paths[node.path]
            assert node.count == node.ended + node.other + sum(child.count for child in children)
        else:
            assert (node.ended, node.other) == (0, 0)
    least = min((node.count for node in nodes), default=0)
    assert all(count <= least for path, count in prefixes.items() if path not in by_path)


@given(strategies.records(40), strategies_reports.flows())
@settings(max_examples=20)
def test_parts_merge_in_any_order(records: list[Record], report: tree.Flow) -> None:
    shards = Shards(4)
    shards.apply(records)
    parts = [shards.ask(report, CONTEXT, [view]).report for view in shards.capture()]
    flows = [part for part in parts if isinstance(part, FlowPart)]
    assert reduce(FlowPart.merge, flows) == reduce(FlowPart.merge, flows[::-1])
    assert (flows[0].merge(flows[1])).merge(flows[2].merge(flows[3])) == reduce(FlowPart.merge, flows)


@given(strategies_reports.flows())
def test_a_flow_survives_being_printed_and_parsed(report: tree.Flow) -> None:
    assert parse(print_question(report)) == report


# ------------------------------------------------------------------------------------------------------ worked examples


def _ask(text: str, records: list[Record], offset_ms: int = 1000) -> Partial:
    shards = Shards(2)
    shards.apply(records)
    context = tree.Context(strategies.BORDER_MS + offset_ms)
    return shards.ask(prepare(text, None, context), context)


def _events(who: object, *done: tuple[int, str]) -> list[Record]:
    return [Event(who, name, strategies.BORDER_MS + at) for at, name in done]  # type: ignore[arg-type]


VISITS = [
    *_events(ANN, (0, "Home"), (10, "View"), (20, "Buy"), (30, "Home"), (40, "Search")),
    *_events(BOB, (0, "Home"), (10, "Search"), (400, "View")),
]


def test_the_first_visit_of_each_user_leads_where_it_leads() -> None:
    partial = _ask('flow("Home", depth: 2)', VISITS)
    assert partial.count == 2
    assert _paths(partial) == {("View", "Buy"): 1, ("Search", "View"): 1}


def test_the_last_visit_and_each_visit() -> None:
    assert _paths(_ask('flow("Home", depth: 2, anchor: last)', VISITS)) == {("Search",): 1, ("Search", "View"): 1}
    assert _paths(_ask('flow("Home", depth: 1, anchor: each)', VISITS)) == {("View",): 1, ("Search",): 2}


def test_before_looks_back_from_the_anchor() -> None:
    partial = _ask('flow("Search", depth: 2, direction: before)', VISITS)
    assert _paths(partial) == {("Home", "Buy"): 1, ("Home",): 1}


def test_within_is_measured_from_the_anchor_and_what_may_go_on_is_counted() -> None:
    partial = _ask('flow("Home", depth: 2, within: 50ms)', VISITS, 45)
    assert _paths(partial) == {("View", "Buy"): 1, ("Search",): 1}
    assert isinstance(partial.report, FlowPart)
    assert partial.report.growing == 1, "Bob's 50 ms are not over at 45 ms"
    later = _ask('flow("Home", depth: 2, within: 50ms)', VISITS, 50).report
    assert isinstance(later, FlowPart)
    assert later.growing == 0


def test_only_some_names_are_looked_at() -> None:
    assert _paths(_ask('flow("Home", depth: 3, only: ["Buy", "View"])', VISITS)) == {("View", "Buy"): 1, ("View",): 1}


def test_a_window_of_each_user_holds_the_anchors() -> None:
    text = 'flow("Home", depth: 1, anchor: each, for: 20ms, of_first: "View")'
    assert _paths(_ask(text, VISITS)) == {("Search",): 1}


def test_nodes_of_a_flow() -> None:
    part = _ask('flow("Home", depth: 2, anchor: each)', VISITS).report
    assert isinstance(part, FlowPart)
    nodes, node_count = flow_nodes(part)
    assert nodes == [
        FlowNode((), 3, 0, 0),
        FlowNode(("Search",), 2, 1, 0),
        FlowNode(("Search", "View"), 1, 0, 0),
        FlowNode(("View",), 1, 0, 0),
        FlowNode(("View", "Buy"), 1, 0, 0),
    ]
    assert node_count == 5
    assert flow_nodes(part, 2) == ([FlowNode((), 3, 0, 1), FlowNode(("Search",), 2, 1, 1)], 5)


def test_too_many_paths_are_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdp_query.reports.flow_report.FLOW_PATHS_MAX", 1)
    with pytest.raises(QueryInvalid, match="2 different paths.*smaller depth.*only"):
        _ask('flow("Home", depth: 2)', VISITS)


@pytest.mark.parametrize(
    "text", ['flow("Home", depth: 0)', 'flow("Home", depth: 11)', 'flow("A", depth: 2, within: 1mo)']
)
def test_flows_without_meaning_say_why(text: str) -> None:
    with pytest.raises((QueryInvalid, QuerySyntaxError), match="whole number|depth of 1 to 10|no fixed length"):
        prepare(text, None, CONTEXT)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('flow("Home")', "needs depth"),
        ('flow("Home".x, depth: 2)', "takes no property"),
        ('flow("Home", depth: 2, direction: up)', "not a value of 'direction'"),
        ('flow("Home", depth: 2, only: [1])', "names in quotes"),
        ('flow("Home", depth: 2, within: 7d, of_first: "A")', "needs 'for' as well"),
        ('flow("Home", depth: 2) and everyone', "stands alone"),
    ],
)
def test_arguments_that_do_not_fit_say_what_does(text: str, wanted: str) -> None:
    with pytest.raises(QuerySyntaxError, match=wanted):
        parse(text)
