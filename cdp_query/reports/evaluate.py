"""A report over one partition: bound, evaluated, as a mergeable part."""

from __future__ import annotations

from dataclasses import replace

from cdp_query import tree
from cdp_query.bind.bind import NO_SCHEMA, Binder
from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.windows import zone
from cdp_query.errors import QueryInvalid
from cdp_query.evaluate.execute import Execution
from cdp_query.evaluate.needs import check_needs, check_report_needs
from cdp_query.limits import PERIODS_MAX
from cdp_query.reports.flow_report import bind_flow, flow
from cdp_query.reports.funnel_report import bind_funnel, funnel, plain_funnel
from cdp_query.reports.parts import FunnelPart, ReportPart
from cdp_query.reports.retention_report import bind_retention, retention
from cdp_query.reports.rfm_report import bind_rfm, rfm
from cdp_query.reports.segment_reports import check_overlap, diff, diff_instants, distribution, overlap
from cdp_query.reports.trend_report import bind_trend, trend
from cdp_store.arrays import Bools


def evaluate_report(
    report: tree.Report, execution: Execution, binder: Binder, population: Bools
) -> tuple[int, ReportPart]:
    """(users the report is about, its part) of one partition."""
    view = execution.view
    execution.checkpoint()
    match report:
        case tree.Overlap():
            return overlap(report, execution, binder, population)
        case tree.Diff():
            return diff(report, execution)
        case tree.Distribution():
            return distribution(report, execution, binder, population)
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
                scoring = bind_rfm(report, binder, view.schema)
                check_report_needs([scoring.events], view)
                members, scored = rfm(view, scoring, population, stats)
                stats.rows_true += members
                return members, scored
            case tree.Flow():
                bound = bind_flow(report, binder, view.schema)
                nodes = BoundEvents(tuple(name for _, name in bound.nodes), None)
                check_report_needs([bound.events, nodes], view)
                anchored_users, paths = flow(view, bound, population, execution.checkpoint, stats)
                stats.rows_true += anchored_users
                return anchored_users, paths


def evaluate_funnel(report: tree.Funnel, execution: Execution, binder: Binder, population: Bools) -> FunnelPart:
    """The part of one partition; the plain form takes the path of plain sequences."""
    view = execution.view
    execution.checkpoint()
    with execution.meter.timed(0) as stats:
        if _is_plain(report):
            steps = binder.bind_sequence(report, view.schema)
            check_needs(steps, view)
            part = plain_funnel(view, steps, population, stats)
        else:
            bound = bind_funnel(report, binder, view.schema)
            check_needs(bound.attempts, view)
            part = funnel(view, bound, population, stats)
        stats.rows_true += part.whole.steps[-1]
    return part


def _is_plain(report: tree.Funnel) -> bool:
    own_window = isinstance(report.window, tree.WithinFirst | tree.Since)
    return not own_window and report == tree.Funnel(report.steps, report.window, report.within, report.strict_ties)


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
        case tree.Flow():
            bind_flow(report, binder, NO_SCHEMA)
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
