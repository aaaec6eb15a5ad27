"""Answers for keys without profile-read: small numbers of users are withheld, values that are personal masked.

What is withheld is 0, or a row that is not there; the flag WITHHELD says so, also where a number is really 0: else the
two could be told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from cdp.v1 import query_pb2, report_pb2

from cdp_query import tree
from cdp_query.names import names_of
from cdp_router.security.masking import MASKED
from cdp_router.security.privacy import Privacy

WITHHELD: Final = "WITHHELD"
_SHARES: Final[Mapping[str, float]] = {"median": 0.5, "p10": 0.1, "p25": 0.25, "p75": 0.75, "p90": 0.9, "p95": 0.95}


def withhold(response: query_pb2.QueryResponse, question: tree.Question, privacy: Privacy) -> None:
    """Take out of an answer what its key may not see."""
    cells = _Cells(max(privacy.smallest_count, 1))
    _mask(response, question, privacy)
    _hide_counts(response, question, cells)
    _hide_breakdown(response, cells)
    kind = response.WhichOneof("report")
    if kind is not None:
        _REPORTS[kind](getattr(response, kind), cells)
    # How many users a part of the question holds for is told there.
    del response.explanation[:]
    response.withheld_below = cells.smallest
    if cells.is_any_hidden:
        response.flags.append(WITHHELD)


class _Cells:
    """Numbers of users, and whether any was withheld."""

    def __init__(self, smallest: int) -> None:
        self.smallest, self.is_any_hidden = smallest, False

    def shown(self, count: int) -> int:
        """The number, or 0 where it is withheld."""
        if not self.is_small(count):
            return count
        self.is_any_hidden = True
        return 0

    def is_small(self, count: int) -> bool:
        """Whether a number is not to be told; 0 is as little as any other, unless everything is told."""
        return count < self.smallest and self.smallest > 1


def _mask(response: query_pb2.QueryResponse, question: tree.Question, privacy: Privacy) -> None:
    match question:
        case tree.Breakdown(attribute=name) if privacy.holds_personal(name):
            valued = [row.count for row in response.breakdown if row.value.WhichOneof("kind")]
            others = [row for row in response.breakdown if not row.value.WhichOneof("kind")]
            del response.breakdown[:]
            if valued:
                response.breakdown.add(value=MASKED, count=sum(valued) + response.breakdown_rest)
            response.breakdown.extend(others)
            response.breakdown_rest = 0
        case tree.Funnel(by_attribute=attribute, by_entry=entry):
            if any(name is not None and privacy.holds_personal(name) for name in (attribute, entry)):
                for group in response.funnel_report.groups:
                    if group.value.WhichOneof("kind"):
                        group.value.CopyFrom(MASKED)
        case tree.Trend(property=name) if name is not None and privacy.is_personal(name):
            for row in response.trend.rows:
                row.ClearField("sum")
                row.ClearField("average")
        case tree.Distribution():
            names = names_of(tree.Distribution(tree.Everyone(), question.number))
            if any(map(privacy.is_personal, names.attributes | names.properties)):
                response.distribution.ClearField("mean")
                del response.distribution.quantiles[:]


def _hide_counts(response: query_pb2.QueryResponse, question: tree.Question, cells: _Cells) -> None:
    count, population = response.count, response.population
    is_report = response.WhichOneof("report") is not None or isinstance(question, tree.Funnel)
    # All but a few is as good as the few: the complement can be asked for as well.
    if population - count > 0 and cells.is_small(population - count) and not is_report:
        count = 0
    if count or not is_report:
        response.count = cells.shown(count)
    response.population = cells.shown(population)
    for step in response.funnel:
        step.count = cells.shown(step.count)


def _hide_breakdown(response: query_pb2.QueryResponse, cells: _Cells) -> None:
    """Leave small rows out, and of the others the smallest, until what is left out is no small number itself."""
    rows = sorted(response.breakdown, key=lambda row: -row.count)
    rest, hidden, is_hiding = response.breakdown_rest, 0, False
    while rows and (cells.is_small(rows[-1].count) or (is_hiding and cells.is_small(hidden))):
        hidden += rows.pop().count
        is_hiding = cells.is_any_hidden = True
    if is_hiding:
        kept = [row for row in response.breakdown if any(row is each for each in rows)]
        del response.breakdown[:]
        response.breakdown.extend(kept)
    response.breakdown_rest = cells.shown(rest) if rest else 0


def _trend(report: report_pb2.TrendReport, cells: _Cells) -> None:
    for row in report.rows:
        if not cells.shown(row.users):
            for field in ("events", "users", "events_per_user", "sum", "average"):
                row.ClearField(field)


def _retention(report: report_pb2.RetentionReport, cells: _Cells) -> None:
    for row in report.rows:
        row.users = cells.shown(row.users)
        row.returned[:] = [cells.shown(count) if row.users else 0 for count in row.returned]


def _funnel(report: report_pb2.FunnelReport, cells: _Cells) -> None:
    report.incomplete = cells.shown(report.incomplete)
    if report.HasField("times"):
        _times(report.times, cells)
    for group in [*report.groups, *([report.rest] if report.HasField("rest") else [])]:
        group.steps[:] = map(cells.shown, group.steps)
        if group.HasField("times"):
            _times(group.times, cells)
    kept = [group for group in report.groups if any(group.steps)]
    del report.groups[:]
    report.groups.extend(kept)


def _times(times: report_pb2.ConversionTimes, cells: _Cells) -> None:
    """The least and the most are those of one user, and so are quantiles with few users beyond them."""
    converted = times.converted
    times.converted = cells.shown(converted)
    hidden = [name for name, share in _SHARES.items() if cells.is_small(int(min(share, 1 - share) * converted))]
    if not times.converted:
        hidden.append("mean")
    for name in ("shortest", "longest", *hidden):
        setattr(times, name, 0.0)


def _overlap(report: report_pb2.OverlapReport, cells: _Cells) -> None:
    for row in report.rows:
        row.only, row.all = cells.shown(row.only), cells.shown(row.all)
    report.in_none = cells.shown(report.in_none)


def _diff(report: report_pb2.DiffReport, cells: _Cells) -> None:
    report.entered, report.left, report.stayed = map(cells.shown, (report.entered, report.left, report.stayed))


def _distribution(report: report_pb2.DistributionReport, cells: _Cells) -> None:
    count = report.count
    report.count, report.undefined = cells.shown(count), cells.shown(report.undefined)
    kept = [
        quantile
        for quantile in report.quantiles
        if not cells.is_small(int(min(quantile.share, 1 - quantile.share) * count))
    ]
    del report.quantiles[:]
    report.quantiles.extend(kept)
    if not report.count:
        report.ClearField("mean")
    # Its bins lie between the least and the greatest value, which are those of one user each.
    del report.histogram[:]


def _rfm(report: report_pb2.RfmReport, cells: _Cells) -> None:
    shown_cells = [cell for cell in report.cells if cells.shown(cell.count)]
    shown_names = [name for name in report.names if cells.shown(name.count)]
    del report.cells[:]
    del report.names[:]
    report.cells.extend(shown_cells)
    report.names.extend(shown_names)


def _flow(report: report_pb2.FlowReport, cells: _Cells) -> None:
    shown = [node for node in report.nodes if cells.shown(node.count)]
    del report.nodes[:]
    report.nodes.extend(shown)
    for node in report.nodes:
        node.ended, node.other = cells.shown(node.ended), cells.shown(node.other)
    report.incomplete = cells.shown(report.incomplete)


_REPORTS: Final[Mapping[str, Callable[..., None]]] = {
    "trend": _trend,
    "retention": _retention,
    "funnel_report": _funnel,
    "overlap": _overlap,
    "diff": _diff,
    "distribution": _distribution,
    "rfm": _rfm,
    "flow": _flow,
}
