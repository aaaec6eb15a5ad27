"""Trends and retentions as leaves of a program: they count by calendar period, or by time since an entry."""

from __future__ import annotations

from typing import Final

from cdp_query.bind.bound_events import BoundEvents
from cdp_query.calendar.periods import Periods
from cdp_query.calendar.windows import Interval
from cdp_query.compiled.descriptors import address_of
from cdp_query.compiled.kernels.layout import ENTRY_LEAF, RETURN_LEAF, TREND_LEAF
from cdp_query.compiled.leaves import write_leaf
from cdp_query.compiled.program_parts import Leaf, Program
from cdp_query.stats import REPORT
from cdp_store.limits import DAY_MS

_OVERLAP_MAX_MS: Final = 60 * DAY_MS  # of chunks in a trend: fewer than 64 days, of which some last 23 hours
RETURNS_MAX: Final = 64  # periods of a retention: a bit each


def write_trend(
    program: Program, events: BoundEvents, interval: Interval, periods: Periods, overlap_ms: int
) -> list[int]:
    """Appends the leaves that add up events and users by period; no event may lie outside of these.

    One leaf if no event lies too far before one of an earlier chunk (`overlap_ms`), else one for every few periods.
    """
    table, edges = write_periods(program, periods), periods.edges_ms.tolist()
    if overlap_ms <= _OVERLAP_MAX_MS:
        return [_write(program, TREND_LEAF, events, interval, **table)]
    leaves, first_ms = list[int](), interval.first_ms
    for number, end_ms in enumerate(edges[1:], 1):
        if number == len(periods) or edges[number + 1] - max(first_ms, edges[0]) > _OVERLAP_MAX_MS:
            last_ms = interval.last_ms if number == len(periods) else end_ms - 1
            leaves.append(_write(program, TREND_LEAF, events, Interval(first_ms, last_ms), **table))
            first_ms = end_ms
    return leaves


def write_entries(program: Program, events: BoundEvents, interval: Interval) -> int:
    """Appends the leaf that finds the first entry of each user."""
    return _write(program, ENTRY_LEAF, events, interval)


def write_returns(program: Program, events: BoundEvents, interval: Interval, calendar: Periods, **rules: int) -> int:
    """Appends the leaf that adds up users by cohort, and their returns.

    `calendar` holds the periods of the cohorts. If returns count by calendar period (`unit` 0), it holds theirs too.
    """
    return _write(program, RETURN_LEAF, events, interval, **write_periods(program, calendar), **rules)


def _write(program: Program, kind: int, events: BoundEvents, interval: Interval, **fields: int) -> int:
    program.steps = max(program.steps, 1)
    read = Leaf(REPORT, events.names, is_gathered=True)
    window = {"first_ms": interval.first_ms, "last_ms": interval.last_ms}
    return write_leaf(program, kind, read, events.where, **window, **fields)


def write_periods(program: Program, periods: Periods) -> dict[str, int]:
    """The fields of a leaf that name periods, which the program keeps."""
    program.kept += [periods.edges_ms, periods.blocks]
    return {
        "edges": address_of(periods.edges_ms),
        "edge_count": periods.edges_ms.shape[0],
        "blocks": address_of(periods.blocks),
        "block_count": periods.blocks.shape[0],
        "block_bits": periods.block_bits,
        "even_ms": periods.even_ms,
    }
