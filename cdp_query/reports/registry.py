"""The table of reports, and the operations on any of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cdp_query import tree
from cdp_query.bind.bind import Binder
from cdp_query.calendar.windows import zone
from cdp_query.compiled.report_run import ReportRun
from cdp_query.evaluate.execute import Execution
from cdp_query.reports.diff_report import DIFF
from cdp_query.reports.distribution_report import DISTRIBUTION
from cdp_query.reports.flow_report import FLOW
from cdp_query.reports.funnel_report import FUNNEL
from cdp_query.reports.lifecycle_report import LIFECYCLE
from cdp_query.reports.overlap_report import OVERLAP
from cdp_query.reports.parts import ReportPart
from cdp_query.reports.report_kind import Finished, ReportKind, Run
from cdp_query.reports.retention_report import RETENTION
from cdp_query.reports.rfm_report import RFM
from cdp_query.reports.trend_report import TREND
from cdp_query.stats import REPORT
from cdp_store.arrays import Bools

REPORTS: Final[Mapping[type, ReportKind[Any, Any]]] = {
    tree.Funnel: FUNNEL,
    tree.Trend: TREND,
    tree.Retention: RETENTION,
    tree.Overlap: OVERLAP,
    tree.Diff: DIFF,
    tree.Distribution: DISTRIBUTION,
    tree.Rfm: RFM,
    tree.Flow: FLOW,
    tree.Lifecycle: LIFECYCLE,
}


def check_report(report: tree.Funnel | tree.Report, binder: Binder) -> None:
    """Raises QueryInvalid if a report is meaningless for any schema."""
    zone(binder.context.tz)
    REPORTS[type(report)].check(report, binder)


def evaluate_report(
    report: tree.Funnel | tree.Report, execution: Execution, binder: Binder, population: Bools
) -> tuple[int, ReportPart]:
    """(users that the report is about, its part) of one partition."""
    execution.checkpoint()
    with execution.meter.timed(REPORT) as stats:
        count, part = REPORTS[type(report)].evaluate(report, Run(execution, binder, population, stats))
        stats.rows_true += count
    return count, part


def run_report(report: tree.Funnel | tree.Report, run: ReportRun) -> tuple[int, ReportPart] | None:
    """The same of all partitions of a shard by kernels; None if they cannot evaluate the report."""
    run.checkpoint()
    return REPORTS[type(report)].run(report, run)


def finish_report(question: tree.Question, part: ReportPart | None, context: tree.Context) -> Finished | None:
    """The answer of a report; None for any other question, and if no partition has a part of it."""
    kind = REPORTS.get(type(question))
    merged = kind.nothing if kind is not None and part is None else part
    return None if kind is None or merged is None else kind.finish(question, merged, context)
