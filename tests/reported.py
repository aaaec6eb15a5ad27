"""The answers of funnels, trends and retentions in one form: what partitions report, and what the oracle does."""

from __future__ import annotations

from collections.abc import Sequence

from cdp_query import tree
from cdp_query.partial import Partial
from cdp_query.reports.funnel_report import FunnelPart
from cdp_query.reports.retention_report import retention_rows
from cdp_query.reports.trend_report import trend_rows
from tests import oracle, oracle_attempts, oracle_reports
from tests.raw_records import Record

Asked = tree.Funnel | tree.Trend | tree.Retention


def reported(report: Asked, partial: Partial, context: tree.Context) -> tuple[int, object]:
    """(users that the report is about, its numbers) of partitions."""
    match report, partial.report:
        case tree.Trend(), part:
            return partial.count, [
                oracle_reports.TrendRow(
                    row.label, row.events, row.users, 0 if row.sum is None else row.sum, row.average, row.incomplete
                )
                for row in trend_rows(report, part, context)
            ]
        case tree.Retention(), part:
            return partial.count, [
                oracle_reports.RetentionRow(row.label, row.users, row.returned, row.complete)
                for row in retention_rows(report, part, context)
            ]
        case tree.Funnel(), FunnelPart(incomplete=incomplete):
            return partial.count, (partial.steps, incomplete)
    raise AssertionError("a part of another report")


def by_oracle(report: Asked, records: Sequence[Record], context: tree.Context) -> tuple[int, object]:
    """The same by the oracle."""
    match report:
        case tree.Trend():
            return oracle_reports.trend(report, records, context)
        case tree.Retention():
            return oracle_reports.retention(report, records, context)
    found = oracle_attempts.funnel(report, records, context)
    return found.steps[-1], (oracle.funnel(report, records, context), found.incomplete)
