"""Overlap: users in each combination of several segments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_query import tree
from cdp_query.bind.bind import NO_SCHEMA, Binder
from cdp_query.compiled.report_run import ReportRun
from cdp_query.errors import QueryInvalid
from cdp_query.limits import OVERLAP_SEGMENTS_MAX
from cdp_query.reports.parts import Added
from cdp_query.reports.report_kind import Finished, ReportKind, Run, in_each
from cdp_store.arrays import U8


@dataclass(frozen=True, slots=True)
class OverlapPart(Added):
    """Users by combination of segments: counts[c] are in exactly the segments whose bits are set in c."""

    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Combination:
    """Users in exactly these segments, and in at least these."""

    segments: tuple[int, ...]
    only: int
    all: int


@dataclass(frozen=True, slots=True)
class OverlapReport:
    """The answer of an overlap: every combination of at least one segment, numbered from 1, small ones first."""

    rows: tuple[Combination, ...]
    in_none: int


def combinations(part: OverlapPart, segments: int) -> list[Combination]:
    """Every combination of at least one segment, small ones first."""
    wanted = sorted(range(1, 1 << segments), key=lambda combination: (combination.bit_count(), _members(combination)))
    return [
        Combination(
            _members(combination),
            part.counts[combination],
            sum(count for other, count in enumerate(part.counts) if other & combination == combination),
        )
        for combination in wanted
    ]


def _members(combination: int) -> tuple[int, ...]:
    return tuple(number for number in range(combination.bit_length()) if combination >> number & 1)


def _check(report: tree.Overlap, binder: Binder) -> None:
    if not 2 <= len(report.segments) <= OVERLAP_SEGMENTS_MAX:
        raise QueryInvalid(f"an overlap takes 2 to {OVERLAP_SEGMENTS_MAX} segments, not {len(report.segments)}")
    for segment in report.segments:
        binder.bind(segment, NO_SCHEMA)


def _evaluate(report: tree.Overlap, run: ReportRun) -> tuple[int, OverlapPart]:
    """(users in any of the segments, users by combination)."""
    members = [run.members(segment) for segment in report.segments]

    def count(_: tree.Overlap, own: Run) -> tuple[int, OverlapPart]:
        combination: U8 = np.zeros(own.population.shape[0], np.uint8)
        for place, masks in enumerate(members):
            combination |= masks[own.number].astype(np.uint8) << np.uint8(place)
        counts = np.bincount(combination[own.population], minlength=1 << len(members))
        return int(counts[1:].sum()), OverlapPart(tuple(counts.tolist()))

    return in_each(count)(report, run)


def _finish(report: tree.Overlap, part: OverlapPart, _: tree.Context) -> Finished:
    rows = (
        Combination(tuple(place + 1 for place in found.segments), found.only, found.all)
        for found in combinations(part, len(report.segments))
    )
    return Finished(OverlapReport(tuple(rows), part.counts[0]))


OVERLAP: Final = ReportKind(OverlapPart, OverlapReport, _check, _evaluate, _finish)
