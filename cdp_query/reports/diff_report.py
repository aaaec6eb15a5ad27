"""Difference: users that entered, left and stayed in a segment between two instants."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from cdp_query import tree
from cdp_query.bind.bind import NO_SCHEMA, Binder
from cdp_query.calendar.windows import moment_span
from cdp_query.compiled.report_run import ReportRun
from cdp_query.errors import QueryInvalid
from cdp_query.reports.parts import Added
from cdp_query.reports.report_kind import Finished, People, ReportKind, Run, in_each


@dataclass(frozen=True, slots=True)
class DiffPart(Added):
    """Users that entered, left and stayed."""

    entered: int
    left: int
    stayed: int


@dataclass(frozen=True, slots=True)
class DiffReport:
    """The answer of a diff, with its two instants."""

    entered: int
    left: int
    stayed: int
    start_ms: int
    end_ms: int


def diff_instants(report: tree.Diff, context: tree.Context) -> tuple[int, int]:
    """The two instants; a date means its first. QueryInvalid if they are not in order, or are after T."""
    start_ms, end_ms = (moment_span(moment, context).first_ms for moment in (report.start, report.end))
    if end_ms < start_ms:
        raise QueryInvalid(f"the second instant is before the first: from {report.start.iso} to {report.end.iso}")
    if end_ms > context.as_of_ms:
        raise QueryInvalid(f"{report.end.iso} is after the instant of the question; nothing is known about it yet")
    return start_ms, end_ms


def _check(report: tree.Diff, binder: Binder) -> None:
    for instant_ms in diff_instants(report, binder.context):
        Binder(replace(binder.context, as_of_ms=instant_ms)).bind(report.segment, NO_SCHEMA)


def _evaluate(report: tree.Diff, run: ReportRun) -> tuple[int, DiffPart]:
    """(members at the second instant; users that entered, left and stayed)."""
    instants = diff_instants(report, run.binder.context)
    before, after = (run.members_at(report.segment, instant_ms) for instant_ms in instants)

    def count(_: tree.Diff, own: Run) -> tuple[int, DiffPart]:
        old, new = before[own.number], after[own.number]
        entered, left, stayed = (int(np.count_nonzero(mask)) for mask in (new & ~old, old & ~new, new & old))
        return entered + stayed, DiffPart(entered, left, stayed)

    return in_each(count)(report, run)


def _finish(report: tree.Diff, part: DiffPart, context: tree.Context) -> Finished:
    return Finished(DiffReport(part.entered, part.left, part.stayed, *diff_instants(report, context)))


DIFF: Final = ReportKind(
    DiffPart,
    DiffReport,
    _check,
    _evaluate,
    _finish,
    people=People(("entered", "left", "stayed"), counted=("entered", "stayed")),
)
