"""No small number of users is told by an answer, or follows from it: tried on every small population there is.

A population is so many users in each of a few cells. All populations are made whose answers could be told apart by
nothing but what is left in them; what they have in common is what a reader knows, who knows the rules as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import Final

import pytest
from cdp.v1 import ingest_pb2, query_pb2, report_pb2

from cdp_query import tree
from cdp_query.reports.distribution_report import DistributionPart
from cdp_query.reports.funnel_report import FunnelGroup, FunnelPart
from cdp_query.reports.overlap_report import OverlapPart
from cdp_query.scan.multiset import Multiset
from cdp_router.security.privacy.privacy import Privacy
from cdp_router.security.privacy.withholding import withhold
from tests.answered import report_answer

K: Final = 3
CONTEXT: Final = tree.Context(0)
EVENTS: Final = tree.Events(("E",))
Answer = query_pb2.QueryResponse


@dataclass(frozen=True)
class Shape:
    """A question, how many cells its users fall into (the last: those it is not about), and its answer."""

    question: tree.Question
    cells: int
    most: int
    answer: Callable[[Sequence[int]], Answer]


def _value(name: str) -> ingest_pb2.Value:
    return ingest_pb2.Value(text=name)


def _segment(cells: Sequence[int]) -> Answer:
    return Answer(count=cells[0], population=sum(cells))


def _breakdown(cells: Sequence[int]) -> Answer:
    *values, none, outside = cells
    rows = [query_pb2.BreakdownRow(value=_value(str(n)), count=count) for n, count in enumerate(values) if count]
    rows += [query_pb2.BreakdownRow(count=none)] if none else []
    return Answer(count=sum(cells) - outside, population=sum(cells), breakdown=rows)


def _with_rest(cells: Sequence[int]) -> Answer:
    *values, rest, outside = cells
    found = _breakdown((*values, 0, outside))
    found.count, found.population, found.breakdown_rest = found.count + rest, sum(cells), rest
    return found


def _lists(cells: Sequence[int]) -> Answer:
    a, b, both, outside = cells
    counts = {"a": a + both, "b": b + both}
    rows = [query_pb2.BreakdownRow(value=_value(name), count=count) for name, count in counts.items() if count]
    return Answer(count=a + b + both, population=sum(cells), breakdown=rows)


def _overlap(cells: Sequence[int]) -> Answer:
    table = report_answer(OVERLAP, OverlapPart((cells[-1], *cells[:-1])), CONTEXT)
    return Answer(count=sum(cells[:-1]), population=sum(cells), overlap=table.overlap)


def _diff(cells: Sequence[int]) -> Answer:
    entered, left, stayed, _ = cells
    report = report_pb2.DiffReport(entered=entered, left=left, stayed=stayed)
    return Answer(count=entered + stayed, population=sum(cells), diff=report)


def _steps(depths: Sequence[int]) -> tuple[int, ...]:
    return tuple(sum(depths[place:]) for place in range(len(depths)))


def _funnel_of(part: FunnelPart, population: int, question: tree.Funnel) -> Answer:
    steps = part.whole.steps
    return Answer(
        count=steps[-1],
        population=population,
        funnel=[query_pb2.FunnelStep(label="E", count=count) for count in steps],
        funnel_report=report_answer(question, part, CONTEXT).funnel_report,
    )


def _funnel(cells: Sequence[int]) -> Answer:
    return _funnel_of(FunnelPart(FunnelGroup(_steps(cells[:-1])), 0), sum(cells), FUNNEL)


def _unfinished(cells: Sequence[int]) -> Answer:
    dropped, growing, converted, _ = cells
    steps = (dropped + growing + converted, converted)
    return _funnel_of(FunnelPart(FunnelGroup(steps), growing), sum(cells), FUNNEL)


def _grouped(cells: Sequence[int]) -> Answer:
    groups = {name: FunnelGroup(_steps(cells[at : at + 2])) for at, name in ((0, "a"), (2, "b"))}
    whole = FunnelGroup(tuple(map(sum, zip(*(group.steps for group in groups.values()), strict=True))))
    found = _funnel_of(FunnelPart(whole, 0), sum(cells), GROUPED)
    for name, group in groups.items():
        if group.steps[0]:
            found.funnel_report.groups.add(value=_value(name), steps=group.steps)
    return found


def _timed(cells: Sequence[int]) -> Answer:
    fast, slow, dropped, _ = cells
    group = FunnelGroup((fast + slow + dropped, fast + slow), _numbers({1: fast, 2: slow}))
    return _funnel_of(FunnelPart(group, 0), sum(cells), FUNNEL)


def _numbers(counts: dict[int, int]) -> Multiset:
    import numpy as np

    return Multiset.of_integers(np.repeat(np.array(list(counts), np.int64), list(counts.values())))


def _distribution(cells: Sequence[int]) -> Answer:
    *by_value, undefined, outside = cells
    numbers = _numbers(dict(enumerate(by_value)))
    table = report_answer(DISTRIBUTION, DistributionPart(numbers, undefined), CONTEXT)
    return Answer(count=sum(cells) - outside, population=sum(cells), distribution=table.distribution)


def _retention(cells: Sequence[int]) -> Answer:
    gone, back, later_gone, later_back, outside = cells
    rows = [
        report_pb2.RetentionRow(users=gone + back, returned=[back]),
        report_pb2.RetentionRow(users=later_gone + later_back, returned=[later_back]),
    ]
    return Answer(count=sum(cells) - outside, population=sum(cells), retention=report_pb2.RetentionReport(rows=rows))


def _returning(cells: Sequence[int]) -> Answer:
    never, once, twice, outside = cells
    row = report_pb2.RetentionRow(users=never + once + twice, returned=[once + twice, twice])
    return Answer(count=sum(cells) - outside, population=sum(cells), retention=report_pb2.RetentionReport(rows=[row]))


def _trend(cells: Sequence[int]) -> Answer:
    """Users of the first day alone, of the second alone, and of both."""
    first, second, both, outside = cells
    users = (first + both, second + both)
    rows = [report_pb2.TrendRow(users=count, events=count, events_per_user=float(count > 0)) for count in users]
    return Answer(count=sum(cells) - outside, population=sum(cells), trend=report_pb2.TrendReport(rows=rows))


def _added_up(cells: Sequence[int]) -> Answer:
    """Users with one event each, which has a property of 0, of 1, or none."""
    zero, one, without, outside = cells
    users = zero + one + without
    row = report_pb2.TrendRow(users=users, events=users, events_per_user=float(bool(users)))
    row.sum.integer = one
    if zero + one:
        row.average.number = one / (zero + one)
    return Answer(count=users, population=sum(cells), trend=report_pb2.TrendReport(rows=[row]))


def _lifecycle(cells: Sequence[int], periods: int, shown: int) -> Answer:
    """Cells are the users of each set of periods, the last those of none; the last `shown` periods are rows."""
    sets = [[bool(number >> period & 1) for period in range(periods)] for number in range(1, 1 << periods)]
    rows, count = list[report_pb2.LifecycleRow](), 0
    for period in range(periods - shown, periods):
        row = report_pb2.LifecycleRow()
        for users, own in zip(cells, sets, strict=False):
            lately = period > 0 and own[period - 1]
            if own[period]:
                kind = "returning" if lately else "resurrecting" if any(own[:period]) else "new"
            else:
                kind = "dormant" if lately else ""
            if kind:
                setattr(row, kind, getattr(row, kind) + users)
        rows.append(row)
    for users, own in zip(cells, sets, strict=False):
        count += users * any(own[periods - shown :])
    return Answer(count=count, population=sum(cells), lifecycle=report_pb2.LifecycleReport(rows=rows))


def _rfm(cells: Sequence[int]) -> Answer:
    """Two cells each of two named groups."""
    scores = ((5, 5, 5), (5, 5, 4), (1, 1, 1), (1, 1, 2))
    outside = cells[-1]
    report = report_pb2.RfmReport(
        cells=[
            report_pb2.RfmCell(recency=r, frequency=f, money=m, count=count)
            for (r, f, m), count in zip(scores, cells, strict=False)
            if count
        ],
        names=[
            report_pb2.RfmName(name=name, count=count)
            for name, count in (("champions", cells[0] + cells[1]), ("lost", cells[2] + cells[3]))
            if count
        ],
    )
    return Answer(count=sum(cells) - outside, population=sum(cells), rfm=report)


def _flow(cells: Sequence[int]) -> Answer:
    """Anchors after which nothing comes, those that go on to A and end there, to A and on, or to B."""
    ended, a, a_on, b, outside = cells
    nodes = [
        report_pb2.FlowNode(count=sum(cells) - outside, ended=ended),
        report_pb2.FlowNode(path=["A"], count=a + a_on, ended=a),
        report_pb2.FlowNode(path=["A", "C"], count=a_on),
        report_pb2.FlowNode(path=["B"], count=b, ended=b),
    ]
    report = report_pb2.FlowReport(nodes=[node for node in nodes if node.count], node_count=4)
    return Answer(count=sum(cells) - outside, population=sum(cells), flow=report)


EVERYONE: Final = tree.Everyone()
OVERLAP: Final = tree.Overlap((EVERYONE, EVERYONE))
FUNNEL: Final = tree.Funnel((EVENTS, EVENTS), times=True)
GROUPED: Final = tree.Funnel((EVENTS, EVENTS), by_attribute="plan")
DISTRIBUTION: Final = tree.Distribution(EVERYONE, tree.Measure(tree.Measured.COUNT, EVENTS))
RETENTION: Final = tree.Retention(EVENTS, EVENTS, "day", 1)
RETURNING: Final = tree.Retention(EVENTS, EVENTS, "day", 2, mode=tree.ReturnMode.ON_OR_AFTER)
LIFECYCLE: Final = tree.Lifecycle(EVENTS, "day")
TREND: Final = tree.Trend(EVENTS, "day")
SHAPES: Final = {
    "segment": Shape(EVERYONE, 2, 20, _segment),
    "breakdown": Shape(tree.Breakdown(EVERYONE, "plan"), 5, 10, _breakdown),
    "breakdown with a rest": Shape(tree.Breakdown(EVERYONE, "plan"), 4, 12, _with_rest),
    "breakdown by lists": Shape(tree.Breakdown(EVERYONE, "plan"), 4, 12, _lists),
    "overlap": Shape(OVERLAP, 4, 13, _overlap),
    "diff": Shape(tree.Diff(EVERYONE, tree.Moment("x"), tree.Moment("y")), 4, 13, _diff),
    "funnel": Shape(FUNNEL, 4, 13, _funnel),
    "funnel with attempts that go on": Shape(FUNNEL, 4, 13, _unfinished),
    "funnel by groups": Shape(GROUPED, 5, 11, _grouped),
    "funnel with times": Shape(FUNNEL, 4, 8, _timed),
    "distribution": Shape(DISTRIBUTION, 5, 7, _distribution),
    "retention": Shape(RETENTION, 5, 11, _retention),
    "retention on or after": Shape(RETURNING, 4, 13, _returning),
    "trend": Shape(TREND, 4, 12, _trend),
    "trend of a property": Shape(tree.Trend(EVENTS, "day", property="p"), 4, 12, _added_up),
    "lifecycle": Shape(LIFECYCLE, 4, 13, lambda cells: _lifecycle(cells, 2, 2)),
    "lifecycle of a later period": Shape(LIFECYCLE, 4, 13, lambda cells: _lifecycle(cells, 2, 1)),
    "rfm": Shape(tree.Rfm(EVENTS, "money"), 5, 10, _rfm),
    "flow": Shape(tree.Flow(EVENTS, 2), 5, 10, _flow),
}
# With more cells, and so with fewer users.
WIDE_SHAPES: Final = {
    "lifecycle of three periods": Shape(LIFECYCLE, 8, 8, lambda cells: _lifecycle(cells, 3, 3)),
    "lifecycle of the last two of three periods": Shape(LIFECYCLE, 8, 8, lambda cells: _lifecycle(cells, 3, 2)),
}


def _populations(cells: int, most: int) -> Iterator[tuple[int, ...]]:
    """Every spread of up to so many users."""
    for users in range(most + 1):
        for bars in combinations(range(users + cells - 1), cells - 1):
            edges = (-1, *bars, users + cells - 1)
            yield tuple(b - a - 1 for a, b in zip(edges, edges[1:], strict=False))


def _told(shape: Shape, population: Sequence[int], smallest: int) -> bytes:
    answer = shape.answer(population)
    withhold(answer, shape.question, Privacy((), smallest))
    return answer.SerializeToString(deterministic=True)


def _known(
    told: Iterable[tuple[bytes, Sequence[int]]], groups: Iterable[Sequence[int]], smallest: int = K
) -> list[object]:
    """(cells, their number) of each group of which an answer says that it is so small, with a population of it."""
    alike = defaultdict[bytes, list[Sequence[int]]](list)
    for answer, population in told:
        alike[answer].append(population)
    wanted = list(groups)
    return [
        (group, *sizes, populations[0])
        for populations in alike.values()
        for group in wanted
        if len(sizes := {sum(population[cell] for cell in group) for population in populations}) == 1
        and 0 < min(sizes) < smallest
    ]


@pytest.mark.parametrize("name", [*SHAPES, *WIDE_SHAPES])
def test_no_answer_says_of_any_group_that_it_is_a_small_number(name: str) -> None:
    shape = (SHAPES | WIDE_SHAPES)[name]
    groups = chain.from_iterable(combinations(range(shape.cells), size) for size in range(1, shape.cells))
    populations = _populations(shape.cells, shape.most)
    assert not _known(((_told(shape, each, K), each) for each in populations), groups)


@pytest.mark.parametrize(
    ("periods", "shown", "users", "rows_told"),
    [
        (4, 3, {0: 50, 1: 2, 3: 50, 9: 50, 11: 50}, 3),  # two were there before the first row, and never again
        (4, 3, {0: 50, 1: 50, 4: 50, 5: 40, 9: 2, 10: 50, 13: 50, 15: 40}, 3),  # two came again for the last row alone
        (5, 3, {0: 100, 3: 3, 4: 20, 11: 20, 15: 3, 17: 4, 20: 2, 24: 3, 28: 3}, 3),  # two were away for the second
        (5, 3, {4: 50, 6: 50, 9: 50, 10: 1, 11: 50, 15: 1, 16: 50, 28: 50, 0: 1}, 0),  # one in none
        (4, 3, {7: 50, 8: 50, 9: 1, 11: 50, 15: 50}, 0),  # one was away for the last two rows but one
    ],
)
def test_no_group_of_a_lifecycle_over_more_periods_is_told(
    periods: int, shown: int, users: dict[int, int], rows_told: int
) -> None:
    """`users` by the set of periods as bits."""
    answer = _lifecycle([*(users.get(number, 0) for number in range(1, 1 << periods)), users.get(0, 0)], periods, shown)
    withhold(answer, LIFECYCLE, Privacy((), K))
    assert answer.count == 0
    assert (
        sum(any((row.new, row.returning, row.resurrecting, row.dormant)) for row in answer.lifecycle.rows) == rows_told
    )


@pytest.mark.long
@pytest.mark.parametrize("name", SHAPES)
def test_nor_does_one_about_more_users(name: str) -> None:
    shape = replace(SHAPES[name], most=max(12, SHAPES[name].most))
    groups = chain.from_iterable(combinations(range(shape.cells), size) for size in range(1, shape.cells))
    populations = list(_populations(shape.cells, shape.most))
    for smallest in (2, 4):
        assert not _known(((_told(shape, each, smallest), each) for each in populations), groups, max(smallest, K))


def _spreads(users: int, events: int, least: int = 1) -> Iterator[tuple[int, ...]]:
    """Every way in which so many users can have so many events together."""
    if users == 0:
        yield from [()] if events == 0 else []
        return
    for own in range(least, events // users + 1):
        yield from ((own, *others) for others in _spreads(users - 1, events - own, own))


def test_a_trend_does_not_say_how_many_users_have_several_events() -> None:
    def told() -> Iterator[tuple[bytes, Sequence[int]]]:
        for users in range(7):
            for events in range(users, 12):
                for spread in _spreads(users, events):
                    yield _told(Shape(TREND, 0, 0, _one_day), spread, K), [spread.count(n) for n in range(1, 12)]

    exactly = [range(place, place + 1) for place in range(11)]
    at_least = [range(place, 11) for place in range(1, 11)]
    assert not _known(told(), exactly + at_least)


def _one_day(spread: Sequence[int]) -> Answer:
    """Twelve users, of whom some have as many events as `spread` says."""
    users, events = len(spread), sum(spread)
    row = report_pb2.TrendRow(users=users, events=events, events_per_user=events / users if users else 0.0)
    return Answer(count=users, population=12, trend=report_pb2.TrendReport(rows=[row]))


@pytest.mark.parametrize("name", [*SHAPES, *WIDE_SHAPES])
def test_answers_about_many_stay_whole(name: str) -> None:
    """What is withheld is what must be: with many in each cell all numbers of users are told."""
    shape = (SHAPES | WIDE_SHAPES)[name]
    many = [20 + 7 * place for place in range(shape.cells)]
    whole, left = shape.answer(many), shape.answer(many)
    withhold(left, shape.question, Privacy((), K))
    for field in ("mean", "histogram", "quantiles"):
        whole.distribution.ClearField(field)
        left.distribution.ClearField(field)
    if not whole.distribution.count:
        whole.ClearField("distribution")
    for times in (whole.funnel_report.times, left.funnel_report.times):
        times.shortest = times.longest = times.mean = 0.0
    left.withheld_below = 0
    del left.flags[:]  # also where a number is really 0
    whole.flow.ClearField("node_count")
    left.flow.ClearField("node_count")
    assert str(left) == str(whole)
