"""Reports as keys without profile-read see them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from cdp.v1 import query_pb2, report_pb2

from cdp_query import tree
from cdp_query.reports.registry import REPORTS
from cdp_query.reports.report_kind import People
from cdp_query.reports.rfm_report import rfm_name
from cdp_router.security.privacy.blocks import chain, is_apart, is_whole, merged
from cdp_router.security.privacy.cells import Cells
from cdp_router.security.privacy.withheld_attempts import hide_flow, hide_funnel

_SHARES_BEYOND: Final = 1e-9


def hide_report(response: query_pb2.QueryResponse, question: tree.Question, cells: Cells) -> None:
    """Withholds numbers that would reveal few users."""
    form = response.WhichOneof("report")
    if form is None:
        return
    people = REPORTS[type(question)].people
    if people is not None:
        (_hide_rows if people.rows else _hide_cells)(response, getattr(response, form), people, cells)
    if form in _REPORTS:
        _REPORTS[form](response, question, cells)


def _hide_cells(response: query_pb2.QueryResponse, report: Any, people: People, cells: Cells) -> None:
    """The cells of a report and the users outside of them are all users there are."""
    counts = [getattr(report, name) for name in people.cells]
    block = merged([*counts, response.population - sum(counts)], cells.smallest)
    for place, name in enumerate(people.cells):
        setattr(report, name, cells.shown_if(is_whole((place,), block), counts[place]))
    is_told = is_whole([people.cells.index(name) for name in people.counted], block)
    response.count = cells.shown_if(is_told, response.count)


def _hide_rows(response: query_pb2.QueryResponse, report: Any, people: People, cells: Cells) -> None:
    """Withholds the rows up to the last one with a small number, since each known period bounds the next. Numbers from
    several rows together follow only if all of these rows are reported."""
    rows, population, smallest = getattr(report, people.rows), response.population, cells.smallest

    def behind(groups: Iterable[Iterable[int]]) -> int:
        """The place after the last row that has a small group."""
        small = [any(0 < number < smallest for number in numbers) for numbers in groups]
        return max((place for place, is_small in enumerate(small, 1) if is_small), default=0)

    counts = [[getattr(row, name) for name in people.cells] for row in rows]
    first = behind((*own, population - sum(own)) for own in counts)
    while more := behind(people.by_row(rows[first:], population)):
        first += more
    follows = (population - response.count, *people.by_count(rows, response.count))
    is_count_told = not first and not behind([follows])
    response.count = cells.shown_if(is_count_told, response.count)
    for row in rows[:first]:
        for name in people.cells:
            setattr(row, name, cells.hidden())


def _trend(response: query_pb2.QueryResponse, _: tree.Question, cells: Cells) -> None:
    """Withholds numbers of a trend: users of a period are some of all counted users, and have an event each; more
    events than users reveal users with several."""
    population, count, smallest = response.population, response.count, cells.smallest
    users = [row.users for row in response.trend.rows]
    told = [each >= smallest and is_apart(population, each, smallest) for each in users]
    is_count_told = is_apart(sum(users) - count, 0, smallest) and is_apart(population, count, smallest)
    is_count_told &= all(is_apart(count, each, smallest) and each not in range(1, smallest) for each in users)
    for is_told, row in zip(told, response.trend.rows, strict=True):
        row.users = cells.shown_if(is_told, row.users)
        if not (row.users and is_apart(row.events, row.users, smallest)):
            row.events = cells.hidden()
            row.events_per_user = 0.0
        if not row.events or _sum_is_small(row, smallest):
            cells.hidden()
            row.ClearField("sum")
            row.ClearField("average")
    response.count = cells.shown_if(is_count_told, count)


def _sum_is_small(row: report_pb2.TrendRow, smallest: int) -> bool:
    """True if a sum could be a small number of events, such as that of a property of 0 and 1, or if its average
    reveals that few events have the property, or lack it."""
    if not row.HasField("sum"):
        return False
    total, average = _float(row.sum), _float(row.average)
    if not average:
        return True
    with_value = round(total / average)
    is_few = with_value < smallest or not is_apart(row.events, with_value, smallest)
    ones = abs(total)
    like_a_count = ones == int(ones) and (
        ones < smallest or any(0 < abs(ones - each) < smallest for each in (row.events, with_value))
    )
    return is_few or like_a_count


def _float(value: object) -> float:
    kind = value.WhichOneof("kind")  # type: ignore[attr-defined]
    return float(getattr(value, kind)) if kind in ("integer", "number") else 0.0


def _retention(response: query_pb2.QueryResponse, question: tree.Question, cells: Cells) -> None:
    rows, smallest = response.retention.rows, cells.smallest
    users = [row.users for row in rows]
    block = merged([*users, response.population - response.count], smallest)
    is_nested = isinstance(question, tree.Retention) and question.mode is tree.ReturnMode.ON_OR_AFTER
    for place, row in enumerate(rows):
        if place in block or row.users < smallest:
            row.users, row.complete_periods = cells.hidden(), 0
            row.returned[:] = [0] * len(row.returned)
        elif is_nested:
            told = chain((row.users, *row.returned), smallest)[1:]
            row.returned[:] = map(cells.shown_if, told, row.returned)
        else:
            row.returned[:] = [cells.shown_if(is_apart(row.users, count, smallest), count) for count in row.returned]
    response.count = cells.shown_if(is_whole(range(len(users)), block), response.count)


def _overlap(response: query_pb2.QueryResponse, _: tree.Question, cells: Cells) -> None:
    """Withholds combinations; the cells are the users in one combination and no other, and those in none."""
    report, smallest = response.overlap, cells.smallest
    combinations = [frozenset(row.segments) for row in report.rows]
    none, counts = len(combinations), [*(row.only for row in report.rows), report.in_none]
    in_all = [
        frozenset(place for place, other in enumerate(combinations) if wanted <= other) for wanted in combinations
    ]
    in_any = frozenset(range(none))
    block = merged(counts, smallest)
    for place, row in enumerate(report.rows):
        row.only = cells.shown_if(is_whole((place,), block), row.only)
        row.all = cells.shown_if(is_whole(in_all[place], block), row.all)
    report.in_none = cells.shown_if(is_whole((none,), block), report.in_none)
    response.count = cells.shown_if(is_whole(in_any, block), response.count)


def _distribution(response: query_pb2.QueryResponse, _: tree.Question, cells: Cells) -> None:
    """Withholds the mean, which times the count is a total, even of one user's events, and the bins of a histogram,
    which lie between the values of two users. Quantiles stay if k users lie on both sides."""
    report = response.distribution
    kept = inner_quantiles(report.quantiles, report.count, cells.smallest)
    del report.quantiles[:]
    report.quantiles.extend(kept)
    report.ClearField("mean")
    del report.histogram[:]


def inner_quantiles(quantiles: Sequence[report_pb2.Quantile], count: int, smallest: int) -> list[report_pb2.Quantile]:
    """Those without a small number of users on either side."""
    return [each for each in quantiles if int(min(each.share, 1 - each.share) * count + _SHARES_BEYOND) >= smallest]


def _rfm(response: query_pb2.QueryResponse, _: tree.Question, cells: Cells) -> None:
    """Withholds cells: they make up the named groups, and these all members. A fifth of the members is expected to have
    each score, so the number of one score is known even if it is not reported."""
    report, smallest = response.rfm, cells.smallest
    names = [name.count for name in report.names]
    hidden_names = merged([*names, response.population - response.count], smallest)
    counts = [cell.count for cell in report.cells]
    groups = _cells_by_name(report, hidden_names) + [
        [place for place, cell in enumerate(report.cells) if getattr(cell, score) == value]
        for score in ("recency", "frequency", "money")
        for value in range(1, 6)
    ]
    hidden = set(groups[0]) | {place for place, count in enumerate(counts) if count < smallest}
    while True:
        more = {taken for group in groups[1:] if (taken := _next(group, hidden, counts, smallest)) is not None}
        if not more - hidden:
            break
        hidden |= more
    if hidden or hidden_names:
        cells.hidden()
    kept_cells = [cell for place, cell in enumerate(report.cells) if place not in hidden]
    kept_names = [name for place, name in enumerate(report.names) if place not in hidden_names]
    del report.cells[:]
    del report.names[:]
    report.cells.extend(kept_cells)
    report.names.extend(kept_names)
    response.count = cells.shown_if(is_whole(range(len(names)), hidden_names), response.count)


def _cells_by_name(report: report_pb2.RfmReport, hidden_names: frozenset[int]) -> list[list[int]]:
    """Places of cells by their named group; first those of all groups that are withheld."""
    places: dict[str, list[int]] = {name.name: [] for name in report.names}
    for place, cell in enumerate(report.cells):
        places[rfm_name(cell.recency, cell.frequency)].append(place)
    withheld = [at for number, name in enumerate(report.names) if number in hidden_names for at in places[name.name]]
    return [withheld, *(own for number, own in enumerate(places.values()) if number not in hidden_names)]


def _next(group: Sequence[int], hidden: set[int], counts: Sequence[int], smallest: int) -> int | None:
    """The smallest cell of a group to withhold as well, if the withheld ones are few together."""
    few = sum(counts[place] for place in group if place in hidden)
    shown = [place for place in group if place not in hidden]
    return min(shown, key=lambda place: counts[place]) if 0 < few < smallest and shown else None


_REPORTS: Final[Mapping[str, Callable[[query_pb2.QueryResponse, tree.Question, Cells], None]]] = {
    "trend": _trend,
    "retention": _retention,
    "funnel_report": hide_funnel,
    "overlap": _overlap,
    "distribution": _distribution,
    "rfm": _rfm,
    "flow": hide_flow,
}
