"""A report over one partition: bound, evaluated, as a mergeable part."""

from __future__ import annotations

from dataclasses import replace

from cdp_query import tree
from cdp_query.bind import NO_SCHEMA, Binder
from cdp_query.errors import QueryInvalid
from cdp_query.execute import Execution
from cdp_query.limits import PERIODS_MAX
from cdp_query.reports.funnel import BoundFunnel, funnel, plain_funnel
from cdp_query.reports.parts import FunnelPart, ReportPart
from cdp_query.reports.retention import BoundRetention, retention
from cdp_query.reports.rfm import BoundRfm, rfm
from cdp_query.reports.segments import check_overlap, diff, diff_instants, distribution, overlap
from cdp_query.reports.trend import BoundTrend, trend
from cdp_query.windows import zone
from cdp_store.arrays import Bools
from cdp_store.schema import SchemaReading


def evaluate_report(
    report: tree.Report, execution: Execution, binder: Binder, population: Bools
) -> tuple[int, ReportPart]:
    """(users the report is about, its part) of one partition."""
    view = execution.view
    execution.checkpoint()
    with execution.meter.timed(0) as stats:
        match report:
            case tree.Trend():
                count, part = trend(view, bind_trend(report, binder, view.schema), population, stats)
                stats.rows_true += count
                return count, part
            case tree.Retention():
                users, cohorts = retention(view, bind_retention(report, binder, view.schema), population, stats)
                stats.rows_true += users
                return users, cohorts
            case tree.Rfm():
                members, scored = rfm(view, bind_rfm(report, binder, view.schema), population, stats)
                stats.rows_true += members
                return members, scored
    match report:
        case tree.Overlap():
            return overlap(report, execution, binder, population)
        case tree.Diff():
            return diff(report, execution)
        case tree.Distribution():
            return distribution(report, execution, binder, population)


def evaluate_funnel(report: tree.Funnel, execution: Execution, binder: Binder, population: Bools) -> FunnelPart:
    """The part of one partition; the plain form takes the road of plain sequences."""
    view = execution.view
    execution.checkpoint()
    with execution.meter.timed(0) as stats:
        if _is_plain(report):
            part = plain_funnel(view, binder.bind_sequence(report, view.schema), population, stats)
        else:
            part = funnel(view, bind_funnel(report, binder, view.schema), population, stats)
        stats.rows_true += part.whole.steps[-1]
    return part


def _is_plain(report: tree.Funnel) -> bool:
    return report == tree.Funnel(report.steps, report.window, report.within, report.strict_ties)


def bind_funnel(report: tree.Funnel, binder: Binder, schema: SchemaReading) -> BoundFunnel:
    """A funnel with the names of a partition."""
    by_attribute, by_entry = report.by_attribute, report.by_entry
    key = None
    if by_attribute is not None:
        key = schema.attributes.get(by_attribute)
    elif by_entry is not None:
        key = schema.properties.get(by_entry)
    return BoundFunnel(
        binder.attempts(report, schema, 0),
        report.mode,
        by_attribute is not None or by_entry is not None,
        by_attribute is not None,
        key,
        report.times,
    )


def check_report(report: tree.Report, binder: Binder) -> None:
    """Raise QueryInvalid where a report has no meaning whatever the schema."""
    zone(binder.context.tz)
    if isinstance(report, tree.Trend | tree.Retention) and report.unit not in tree.PERIOD_UNITS:
        raise QueryInvalid(f"a report counts by {', '.join(tree.PERIOD_UNITS)}, not by {report.unit!r}")
    match report:
        case tree.Trend():
            bind_trend(report, binder, NO_SCHEMA)
        case tree.Retention(periods=periods):
            if not 1 <= periods <= PERIODS_MAX:
                raise QueryInvalid(f"a retention has 1 to {PERIODS_MAX} periods, not {periods}")
            bind_retention(report, binder, NO_SCHEMA)
        case tree.Rfm():
            bind_rfm(report, binder, NO_SCHEMA)
        case tree.Overlap(segments):
            check_overlap(report)
            for segment in segments:
                binder.bind(segment, NO_SCHEMA)
        case tree.Diff(segment):
            for instant_ms in diff_instants(report, binder.context):
                Binder(replace(binder.context, as_of_ms=instant_ms)).bind(segment, NO_SCHEMA)
        case tree.Distribution(segment, number):
            binder.bind(segment, NO_SCHEMA)
            if not isinstance(number, tree.AttributeNumber):
                binder.expression(number, NO_SCHEMA)


def bind_trend(report: tree.Trend, binder: Binder, schema: SchemaReading) -> BoundTrend:
    """A trend with the names of a partition."""
    prop = None if report.property is None else schema.properties.get(report.property)
    return BoundTrend(
        binder.events(report.events, schema), binder.interval(report.window), report.unit, binder.context.tz, prop
    )


def bind_rfm(report: tree.Rfm, binder: Binder, schema: SchemaReading) -> BoundRfm:
    """An rfm with the names of a partition."""
    money = schema.properties.get(report.money)
    return BoundRfm(binder.events(report.events, schema), binder.interval(report.window), money)


def bind_retention(report: tree.Retention, binder: Binder, schema: SchemaReading) -> BoundRetention:
    """A retention with the names of a partition."""
    return BoundRetention(
        binder.events(report.entry, schema),
        binder.events(report.returns, schema),
        binder.interval(report.window),
        binder.context.as_of_ms,
        report.unit,
        report.periods,
        report.start,
        report.mode,
        binder.context.tz,
    )
