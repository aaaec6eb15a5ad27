"""Distribution of a number over the members of a segment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from cdp_query import tree
from cdp_query.bind.bind import NO_SCHEMA, Binder
from cdp_query.compiled.report_run import ReportRun
from cdp_query.evaluate.numeric_expressions import expression_numbers
from cdp_query.reports.parts import Added
from cdp_query.reports.report_kind import Finished, People, ReportKind, Run, in_each
from cdp_query.scan.attribute_scan import spans
from cdp_query.scan.multiset import EMPTY, Multiset
from cdp_query.scan.numbers import Numbers
from cdp_query.scan.sums import Rows
from cdp_store.arrays import F64, I64, U8, Bools
from cdp_store.values import Kind

QUANTILES: Final = tuple(Fraction(share, 100) for share in (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100))
_BINS: Final = 20


@dataclass(frozen=True, slots=True)
class DistributionPart(Added):
    """The numbers of the members, and the count of members without one."""

    numbers: Multiset
    undefined: int


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile: the number that this share of the members do not exceed."""

    share: float
    value: float


@dataclass(frozen=True, slots=True)
class Bin:
    """Members with a number in [low, high); the last bin includes its end.

    All numbers are inside the bins: an end that is no float64 is rounded away from them.
    """

    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class DistributionReport:
    """The answer of a distribution: members with a number, and without one."""

    count: int
    undefined: int
    mean: float = 0.0
    quantiles: tuple[Quantile, ...] = ()
    histogram: tuple[Bin, ...] = ()


def histogram(numbers: Multiset) -> list[Bin]:
    """Up to 20 bins of equal width over all numbers; one if they are all equal."""
    if not len(numbers):
        return []
    low, high = 0.0 - _not_below(-numbers.quantile(Fraction(0))), _not_below(numbers.quantile(Fraction(1)))
    if low == high:
        return [Bin(low, high, len(numbers))]
    shares = np.arange(_BINS + 1) / _BINS
    # Not low + (high - low) x share: the width may exceed float64. Rounding must not leave the range.
    edges = np.unique(np.clip(low * (1 - shares) + high * shares, low, high))
    below = [int(numbers.counts[numbers.below(float(edge))].sum()) for edge in edges[1:-1]]
    counts = np.diff([0, *below, len(numbers)])
    return [Bin(float(a), float(b), int(count)) for a, b, count in zip(edges, edges[1:], counts, strict=False)]


def _not_below(number: Fraction) -> float:
    """The least float64 that is not below a number."""
    rounded = float(number)
    return rounded if rounded >= number else math.nextafter(rounded, math.inf)


def _check(report: tree.Distribution, binder: Binder) -> None:
    binder.bind(report.segment, NO_SCHEMA)
    if not isinstance(report.number, tree.AttributeNumber):
        binder.expression(report.number, NO_SCHEMA)


def _evaluate(report: tree.Distribution, run: ReportRun) -> tuple[int, DistributionPart]:
    """(members, their numbers)."""
    masks = run.members(report.segment)

    def numbers(_: tree.Distribution, own: Run) -> tuple[int, DistributionPart]:
        return _numbers_of(report, own, np.flatnonzero(masks[own.number]))

    return in_each(numbers)(report, run)


def _numbers_of(report: tree.Distribution, run: Run, members: Rows) -> tuple[int, DistributionPart]:
    match report.number:
        case tree.AttributeNumber(name):
            numbers = _attribute_numbers(run, name)
        case number:
            bound = run.binder.expression(number, run.view.schema)
            numbers = expression_numbers(run.view, bound, run.stats)
    is_float, integers = numbers.float_mask()[members], numbers.integers[members]
    defined = np.ones(members.shape[0], np.bool_) if numbers.defined is None else numbers.defined[members]
    if numbers.floats is not None:  # a sum beyond the largest float64 cannot be shown
        defined = defined & (~is_float | np.isfinite(numbers.floats[members]))
    found = Multiset.of_integers(integers[defined & ~is_float])
    if numbers.floats is not None:
        floats: F64 = numbers.floats[members][defined & is_float]
        found = found.merge(Multiset.of_pairs(floats, np.zeros_like(floats), np.ones(floats.shape[0], np.int64)))
    return members.shape[0], DistributionPart(found if len(found) else EMPTY, int(np.count_nonzero(~defined)))


def _attribute_numbers(run: Run, name: str) -> Numbers:
    """The numbers that an attribute holds at T; anything else is undefined."""
    view = run.view
    integers: I64 = np.zeros(view.row_count, np.int64)
    floats: F64 = np.zeros(view.row_count, np.float64)
    kinds: U8 = np.zeros(view.row_count, np.uint8)
    for span in spans(view, view.schema.attributes.get(name), run.binder.context.as_of_ms):
        kinds[span.first_row : span.first_row + span.kinds.shape[0]] = span.kinds
        for kind, values in span.values.items():
            held = np.flatnonzero(span.kinds[: values.shape[0]] == kind)
            if kind in (Kind.INT, Kind.FLOAT):
                (integers if kind is Kind.INT else floats)[span.first_row + held] = values[held]
    is_float: Bools = kinds == Kind.FLOAT
    return Numbers(integers, floats, is_float, is_float | (kinds == Kind.INT))


def _finish(_: tree.Distribution, part: DistributionPart, __: tree.Context) -> Finished:
    numbers = part.numbers
    if not len(numbers):
        return Finished(DistributionReport(0, part.undefined))
    quantiles = tuple(Quantile(float(share), float(numbers.quantile(share))) for share in QUANTILES)
    mean = float(numbers.total() / len(numbers))
    return Finished(DistributionReport(len(numbers), part.undefined, mean, quantiles, tuple(histogram(numbers))))


DISTRIBUTION: Final = ReportKind(
    DistributionPart,
    DistributionReport,
    _check,
    _evaluate,
    _finish,
    warm_up=('distribution(everyone, count("A"))',),
    people=People(("count", "undefined"), counted=("count", "undefined")),
)
