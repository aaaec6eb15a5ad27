"""Merged parts of reports to the tables a client sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite

from cdp.v1 import ingest_pb2, report_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from cdp_query import tree
from cdp_query.matching.ranges import INT_MAX, INT_MIN
from cdp_query.reports.finish import RetentionRow, TrendRow, retention_rows, trend_rows
from cdp_query.reports.finish_segments import QUANTILES, combinations, histogram, rfm_cells, rfm_name
from cdp_query.reports.flow_part import FlowPart
from cdp_query.reports.parts import (
    DiffPart,
    DistributionPart,
    FunnelGroup,
    FunnelPart,
    OverlapPart,
    ReportPart,
    RfmPart,
)
from cdp_query.reports.segment_reports import diff_instants
from cdp_query.reports.value_keys import NONE_KEY, ValueKey
from cdp_query.scan.exact_total import ExactTotal
from cdp_router.contract.flows import to_flow_report
from cdp_router.contract.key_values import to_key_value
from cdp_router.contract.values import to_timestamp, to_value
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS


@dataclass(frozen=True, slots=True)
class ReportTable:
    """At most one table, and whether any of it is still open at the instant of the question."""

    is_incomplete: bool = False
    trend: report_pb2.TrendReport | None = None
    retention: report_pb2.RetentionReport | None = None
    funnel: report_pb2.FunnelReport | None = None
    overlap: report_pb2.OverlapReport | None = None
    diff: report_pb2.DiffReport | None = None
    distribution: report_pb2.DistributionReport | None = None
    rfm: report_pb2.RfmReport | None = None
    flow: report_pb2.FlowReport | None = None


def report_table(question: tree.Question, part: ReportPart | None, context: tree.Context) -> ReportTable:
    """The table of a report; an empty one of any other question."""
    match question:
        case tree.Trend():
            trend = trend_rows(question, part, context)
            return ReportTable(any(row.incomplete for row in trend), trend=_trend(question, trend))
        case tree.Retention(periods=periods):
            cohorts = retention_rows(question, part, context)
            is_incomplete = any(row.complete < periods for row in cohorts)
            return ReportTable(is_incomplete, retention=_retention(cohorts))
        case tree.Overlap(segments) if isinstance(part, OverlapPart):
            return ReportTable(overlap=_overlap(part, len(segments)))
        case tree.Diff() if isinstance(part, DiffPart):
            return ReportTable(diff=_diff(question, part, context))
        case tree.Distribution() if isinstance(part, DistributionPart):
            return ReportTable(distribution=_distribution(part))
        case tree.Rfm() if isinstance(part, RfmPart):
            return ReportTable(rfm=_rfm(part))
        case tree.Flow() if isinstance(part, FlowPart):
            return ReportTable(part.growing > 0, flow=to_flow_report(part))
        case tree.Funnel() if isinstance(part, FunnelPart):
            return ReportTable(part.incomplete > 0, funnel=_funnel(question, part))
    return ReportTable()


def _overlap(part: OverlapPart, segments: int) -> report_pb2.OverlapReport:
    rows = [
        report_pb2.OverlapRow(segments=[number + 1 for number in found.segments], only=found.only, all=found.all)
        for found in combinations(part, segments)
    ]
    return report_pb2.OverlapReport(rows=rows, in_none=part.counts[0])


def _diff(report: tree.Diff, part: DiffPart, context: tree.Context) -> report_pb2.DiffReport:
    start_ms, end_ms = diff_instants(report, context)
    return report_pb2.DiffReport(
        entered=part.entered,
        left=part.left,
        stayed=part.stayed,
        start=_instant(start_ms),
        end=_instant(end_ms),
    )


def _distribution(part: DistributionPart) -> report_pb2.DistributionReport:
    numbers = part.numbers
    if not len(numbers):
        return report_pb2.DistributionReport(undefined=part.undefined)
    return report_pb2.DistributionReport(
        count=len(numbers),
        undefined=part.undefined,
        mean=float(numbers.total() / len(numbers)),
        quantiles=[
            report_pb2.Quantile(share=float(share), value=float(numbers.quantile(share))) for share in QUANTILES
        ],
        histogram=[
            report_pb2.HistogramBin(low=found.low, high=found.high, count=found.count) for found in histogram(numbers)
        ],
    )


def _rfm(part: RfmPart) -> report_pb2.RfmReport:
    cells, names = rfm_cells(part), Counter[str]()
    for (recency, frequency, _), count in cells.items():
        names[rfm_name(recency, frequency)] += count
    return report_pb2.RfmReport(
        cells=[
            report_pb2.RfmCell(recency=recency, frequency=frequency, money=money, count=count)
            for (recency, frequency, money), count in sorted(cells.items())
        ],
        names=[report_pb2.RfmName(name=name, count=count) for name, count in names.most_common()],
    )


def _funnel(report: tree.Funnel, part: FunnelPart) -> report_pb2.FunnelReport:
    by_entries = sorted(part.groups.items(), key=lambda item: (-item[1].steps[0], item[0] == NONE_KEY, str(item[0][1])))
    return report_pb2.FunnelReport(
        mode=report.mode.value,
        incomplete=part.incomplete,
        times=_times(part.whole),
        groups=[_group(group, key) for key, group in by_entries],
        rest=None if part.rest is None else _group(part.rest),
    )


def _group(group: FunnelGroup, key: ValueKey = NONE_KEY) -> report_pb2.FunnelGroupRow:
    return report_pb2.FunnelGroupRow(value=to_key_value(key), steps=group.steps, times=_times(group))


def _times(group: FunnelGroup) -> report_pb2.ConversionTimes | None:
    times = group.times
    if not len(times):
        return None
    tenth, quarter, half = Fraction(1, 10), Fraction(1, 4), Fraction(1, 2)
    return report_pb2.ConversionTimes(
        converted=len(times),
        median=float(times.quantile(half)),
        p10=float(times.quantile(tenth)),
        p25=float(times.quantile(quarter)),
        p75=float(times.quantile(1 - quarter)),
        p90=float(times.quantile(1 - tenth)),
        p95=float(times.quantile(Fraction(19, 20))),
        shortest=float(times.quantile(Fraction(0))),
        longest=float(times.quantile(Fraction(1))),
        mean=float(times.total() / len(times)),
    )


def _trend(report: tree.Trend, rows: Sequence[TrendRow]) -> report_pb2.TrendReport:
    return report_pb2.TrendReport(
        rows=[
            report_pb2.TrendRow(
                start=_instant(row.start_ms),
                label=row.label,
                events=row.cell.events,
                users=row.cell.users,
                events_per_user=row.cell.events / row.cell.users if row.cell.users else 0.0,
                sum=None if report.property is None else _number(row.cell.total),
                average=to_value(row.cell.total.average()) if row.cell.total.count else None,
                incomplete=row.incomplete,
            )
            for row in rows
        ]
    )


def _instant(ms: int) -> Timestamp:
    """A local day at the ends of the calendar may begin beyond them, where no Timestamp is valid."""
    return to_timestamp(min(max(ms, TIME_MIN_MS), TIME_MAX_MS))


def _number(total: ExactTotal) -> ingest_pb2.Value | None:
    """An integer beyond 64 bits has no exact form in a Value and goes as the nearest float64; None beyond that."""
    value = total.value()
    if isinstance(value, float) and not isfinite(value):
        return None
    return to_value(value if isinstance(value, float) or INT_MIN <= value <= INT_MAX else float(value))


def _retention(rows: Sequence[RetentionRow]) -> report_pb2.RetentionReport:
    return report_pb2.RetentionReport(
        rows=[
            report_pb2.RetentionRow(
                start=_instant(row.start_ms),
                label=row.label,
                users=row.users,
                returned=row.returned,
                complete_periods=row.complete,
            )
            for row in rows
        ]
    )
