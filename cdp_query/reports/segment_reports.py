"""Reports about segments: overlap, difference between two instants, and the distribution of a number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Final

import numpy as np

from cdp_query import tree
from cdp_query.bind.bind import Binder
from cdp_query.calendar.windows import moment_span
from cdp_query.errors import QueryInvalid
from cdp_query.evaluate.execute import Execution
from cdp_query.evaluate.needs import check_needs
from cdp_query.evaluate.numeric_expressions import expression_numbers
from cdp_query.evaluate.plan import plan
from cdp_query.limits import OVERLAP_SEGMENTS_MAX
from cdp_query.reports.parts import DiffPart, DistributionPart, OverlapPart
from cdp_query.scan.attribute_scan import spans
from cdp_query.scan.multiset import EMPTY, Multiset
from cdp_query.scan.numbers import Numbers
from cdp_store.arrays import F64, I64, U8, Bools
from cdp_store.values import Kind

REPORT: Final = 0  # the number of a report among the nodes of a question


def overlap(report: tree.Overlap, execution: Execution, binder: Binder, population: Bools) -> tuple[int, OverlapPart]:
    """(users in any of the segments, users by combination)."""
    combination: U8 = np.zeros(population.shape[0], np.uint8)
    numbers = _behind_report()
    with execution.meter.timed(REPORT) as stats:
        for place, segment in enumerate(report.segments):
            combination |= _members(segment, execution, binder, numbers).astype(np.uint8) << np.uint8(place)
        counts = np.bincount(combination[population], minlength=1 << len(report.segments))
        users = int(counts[1:].sum())
        stats.rows_true += users
    return users, OverlapPart(tuple(counts.tolist()))


def check_overlap(report: tree.Overlap) -> None:
    """Raise QueryInvalid for too few or too many segments."""
    if not 2 <= len(report.segments) <= OVERLAP_SEGMENTS_MAX:
        raise QueryInvalid(f"an overlap takes 2 to {OVERLAP_SEGMENTS_MAX} segments, not {len(report.segments)}")


def diff_instants(report: tree.Diff, context: tree.Context) -> tuple[int, int]:
    """The two instants; a date is its first. QueryInvalid where they are not in order or lie after T."""
    start_ms, end_ms = (moment_span(moment, context).first_ms for moment in (report.start, report.end))
    if end_ms < start_ms:
        raise QueryInvalid(f"the second instant lies before the first: from {report.start.iso} to {report.end.iso}")
    if end_ms > context.as_of_ms:
        raise QueryInvalid(f"{report.end.iso} lies after the instant of the question; nothing is known of it yet")
    return start_ms, end_ms


def diff(report: tree.Diff, execution: Execution) -> tuple[int, DiffPart]:
    """(members at the second instant, who entered, left and stayed)."""
    instants = diff_instants(report, execution.context)
    with execution.meter.timed(REPORT) as stats:
        before, after = (_members_at(report.segment, execution, instant_ms) for instant_ms in instants)
        changes = (after & ~before, before & ~after, after & before)
        entered, left, stayed = (int(np.count_nonzero(mask)) for mask in changes)
        stats.rows_true += entered + stayed
    return entered + stayed, DiffPart(entered, left, stayed)


def _members_at(segment: tree.Node, execution: Execution, instant_ms: int) -> Bools:
    context = replace(execution.context, as_of_ms=instant_ms)
    then = Execution(execution.view, context, execution.meter, execution.checkpoint)
    return _members(segment, then, Binder(context), _behind_report()) & then.population()


def distribution(
    report: tree.Distribution, execution: Execution, binder: Binder, population: Bools
) -> tuple[int, DistributionPart]:
    """(members, their numbers)."""
    with execution.meter.timed(REPORT) as stats:
        members = np.flatnonzero(_members(report.segment, execution, binder, _behind_report()) & population)
        match report.number:
            case tree.AttributeNumber(name):
                numbers = _attribute_numbers(execution, name)
            case number:
                bound = binder.expression(number, execution.view.schema)
                numbers = expression_numbers(execution.view, bound, stats)
        stats.rows_true += members.shape[0]
    is_float, integers = numbers.float_mask()[members], numbers.integers[members]
    defined = np.ones(members.shape[0], np.bool_) if numbers.defined is None else numbers.defined[members]
    if numbers.floats is not None:  # a sum beyond the largest float64 is no number to show
        defined = defined & (~is_float | np.isfinite(numbers.floats[members]))
    found = Multiset.of_integers(integers[defined & ~is_float])
    if numbers.floats is not None:
        floats: F64 = numbers.floats[members][defined & is_float]
        found = found.merge(Multiset.of_pairs(floats, np.zeros_like(floats), np.ones(floats.shape[0], np.int64)))
    return members.shape[0], DistributionPart(found if len(found) else EMPTY, int(np.count_nonzero(~defined)))


def _attribute_numbers(execution: Execution, name: str) -> Numbers:
    """The numbers that an attribute holds at T; anything else is undefined."""
    view = execution.view
    integers: I64 = np.zeros(view.row_count, np.int64)
    floats: F64 = np.zeros(view.row_count, np.float64)
    kinds: U8 = np.zeros(view.row_count, np.uint8)
    for span in spans(view, view.schema.attributes.get(name), execution.context.as_of_ms):
        kinds[span.first_row : span.first_row + span.kinds.shape[0]] = span.kinds
        for kind, values in span.values.items():
            held = np.flatnonzero(span.kinds[: values.shape[0]] == kind)
            if kind in (Kind.INT, Kind.FLOAT):
                (integers if kind is Kind.INT else floats)[span.first_row + held] = values[held]
    is_float: Bools = kinds == Kind.FLOAT
    return Numbers(integers, floats, is_float, is_float | (kinds == Kind.INT))


def _behind_report() -> Iterator[int]:
    """Numbers of the nodes of a report's segments: they follow its own."""
    return count(REPORT + 1)


def _members(segment: tree.Node, execution: Execution, binder: Binder, numbers: Iterator[int]) -> Bools:
    planned = plan(binder.bind(segment, execution.view.schema, numbers), execution.view)
    check_needs(planned, execution.view)
    return execution.members(planned)
