"""Answers for keys without profile-read: small numbers of users are withheld, personal values masked.

A withheld number is 0, or its row is missing; the flag WITHHELD is then set, also if the number is really 0, so that
the two look the same. `blocks.py` has the rule that reported numbers do not reveal withheld ones.
"""

from __future__ import annotations

from typing import Final

from cdp.v1 import query_pb2, report_pb2

from cdp_query import tree
from cdp_query.tree.mentions import mentions
from cdp_router.security.privacy.blocks import chain, is_apart, is_whole, merged
from cdp_router.security.privacy.cells import Cells
from cdp_router.security.privacy.masking import MASKED
from cdp_router.security.privacy.privacy import Privacy
from cdp_router.security.privacy.withheld_reports import hide_report

WITHHELD: Final = "WITHHELD"
_ROWS_HIDDEN_MIN: Final = 2  # of rows that overlap; one alone could follow from the others


def withhold(response: query_pb2.QueryResponse, question: tree.Question, privacy: Privacy) -> None:
    """Removes from an answer everything that its key may not see."""
    cells = Cells(privacy.smallest_count)
    _mask(response, question, privacy, cells)
    if isinstance(question, tree.Breakdown):
        _hide_breakdown(response, cells)
    elif response.WhichOneof("report") is None and not isinstance(question, tree.Funnel):
        _hide_segment(response, cells)
    elif cells.is_hiding:
        hide_report(response, question, cells)
    response.population = cells.shown(response.population)
    # The explanation has the number of users of each part of the question, and the sizes have the number of events.
    del response.explanation[:]
    response.events_scanned = response.bytes_scanned = response.rows_scanned = 0
    response.withheld_below = cells.smallest
    if cells.is_any_hidden:
        response.flags.append(WITHHELD)


def _mask(response: query_pb2.QueryResponse, question: tree.Question, privacy: Privacy, cells: Cells) -> None:
    """Puts all groups of a personal value into one: their number and sizes reveal the values too."""
    match question:
        case tree.Breakdown(attribute=name) if privacy.holds_personal(name):
            others = [row for row in response.breakdown if not row.value.WhichOneof("kind")]
            with_value = response.count - sum(row.count for row in others)
            del response.breakdown[:]
            if with_value:
                response.breakdown.add(value=MASKED, count=with_value)
            response.breakdown.extend(others)
            response.breakdown_rest = 0
        case tree.Funnel(by_attribute=attribute, by_entry=entry):
            if any(name is not None and privacy.holds_personal(name) for name in (attribute, entry)):
                _mask_groups(response)
                cells.hidden()
        # Questions that calculate with personal values are refused; a mark that was set meanwhile counts too.
        case tree.Trend(property=name) if name is not None and privacy.holds_personal(name):
            for row in response.trend.rows:
                row.ClearField("sum")
                row.ClearField("average")
        case tree.Distribution(number=number) if any(privacy.holds_personal(each.name) for each in mentions(number)):
            response.distribution.ClearField("mean")
            del response.distribution.quantiles[:]


def _mask_groups(response: query_pb2.QueryResponse) -> None:
    report = response.funnel_report
    others = [group for group in report.groups if not group.value.WhichOneof("kind")]
    for group in others:
        group.ClearField("times")
    steps = [step.count - sum(group.steps[place] for group in others) for place, step in enumerate(response.funnel)]
    del report.groups[:]
    report.ClearField("rest")
    if any(steps):
        report.groups.append(report_pb2.FunnelGroupRow(value=MASKED, steps=steps))
    report.groups.extend(others)


def _hide_segment(response: query_pb2.QueryResponse, cells: Cells) -> None:
    """Withholds counts: all but a few reveal as much as the few, because the complement can be requested as well."""
    if cells.is_hiding and not chain((response.population, response.count), cells.smallest)[1]:
        response.count = cells.hidden()


def _hide_breakdown(response: query_pb2.QueryResponse, cells: Cells) -> None:
    if not cells.is_hiding:
        return
    counts = [row.count for row in response.breakdown]
    # Members with several values are in several rows, and those are no cells of one table.
    if sum(counts) + response.breakdown_rest == response.count:
        hidden, is_count_told, is_rest_told = _flat(response, counts, cells.smallest)
    else:
        hidden, is_count_told, is_rest_told = _overlapping(response, counts, cells.smallest)
    if not is_rest_told or 0 < response.breakdown_rest < cells.smallest:
        response.breakdown_rest = cells.hidden()
    if not is_count_told:
        response.count = cells.hidden()
    if hidden:
        cells.hidden()
        kept = [row for place, row in enumerate(response.breakdown) if place not in hidden]
        del response.breakdown[:]
        response.breakdown.extend(kept)


def _flat(response: query_pb2.QueryResponse, counts: list[int], smallest: int) -> tuple[frozenset[int], bool, bool]:
    """(rows to leave out, whether the count may be reported, and whether the rest may)."""
    total, population = response.count, response.population
    rest = len(counts)
    block = merged([*counts, response.breakdown_rest, population - total], smallest)
    is_told = total >= smallest and is_apart(population, total, smallest) and is_whole(range(rest + 1), block)
    hidden = {place for place, count in enumerate(counts) if count < smallest or place in block}
    return frozenset(hidden), is_told, rest not in block


def _overlapping(
    response: query_pb2.QueryResponse, counts: list[int], smallest: int
) -> tuple[frozenset[int], bool, bool]:
    total, population, rest = response.count, response.population, response.breakdown_rest
    is_told = chain((population, total), smallest)[1]
    if not is_told:
        return frozenset(range(len(counts))), False, False
    hidden = {
        place
        for place, count in enumerate(counts)
        if count < smallest or not is_apart(population, count, smallest) or not is_apart(total, count, smallest)
    }
    if hidden or 0 < sum(counts) + rest - total < smallest:
        left = sorted((place for place in range(len(counts)) if place not in hidden), key=counts.__getitem__)
        hidden.update(left[: max(1, _ROWS_HIDDEN_MIN - len(hidden))])
    return frozenset(hidden), True, is_apart(total, rest, smallest)
