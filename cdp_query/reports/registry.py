"""The table of reports, and the operations on any of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cdp_query import tree
from cdp_query.bind.bind import Binder
from cdp_query.calendar.windows import zone
from cdp_query.compiled.report_run import ReportRun
from cdp_query.reports.diff_report import DIFF
from cdp_query.reports.distribution_report import DISTRIBUTION
from cdp_query.reports.flow_report import FLOW
from cdp_query.reports.funnel_report import FUNNEL
from cdp_query.reports.lifecycle_report import LIFECYCLE
from cdp_query.reports.overlap_report import OVERLAP
from cdp_query.reports.parts import ReportPart
from cdp_query.reports.report_kind import Finished, ReportKind
from cdp_query.reports.retention_report import RETENTION
from cdp_query.reports.rfm_report import RFM
from cdp_query.reports.trend_report import TREND

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


def evaluate_report(report: tree.Funnel | tree.Report, run: ReportRun) -> tuple[int, ReportPart]:
    """(users that the report is about, its part) of all partitions of a shard."""
    run.checkpoint()
    return REPORTS[type(report)].evaluate(report, run)


def finish_report(question: tree.Question, part: ReportPart | None, context: tree.Context) -> Finished | None:
    """The answer of a report; None for any other question, and if no partition has a part of it."""
    kind = REPORTS.get(type(question))
    merged = kind.nothing if kind is not None and part is None else part
    return None if kind is None or merged is None else kind.finish(question, merged, context)
