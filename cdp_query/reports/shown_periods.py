"""The calendar periods that an answer has a row for, including those without events."""

from __future__ import annotations

from collections.abc import Collection

from cdp_query import tree
from cdp_query.calendar.periods import Periods, check_shown, periods_over
from cdp_query.calendar.windows import Interval
from cdp_query.errors import QueryInvalid
from cdp_store.limits import TIME_MIN_MS


def check_unit(unit: str) -> None:
    """Raises QueryInvalid for an unknown unit of a report."""
    if unit not in tree.PERIOD_UNITS:
        raise QueryInvalid(f"a report counts by {', '.join(tree.PERIOD_UNITS)}, not by {unit!r}")


def shown_periods(unit: str, starts: Collection[int], interval: Interval, tz: str) -> Periods | None:
    """The periods to show, from the first of `starts` if the window has no start; None if there are none."""
    first_ms = interval.first_ms
    if first_ms == TIME_MIN_MS:
        if not starts:
            return None
        first_ms = min(starts)
    if interval.last_ms < first_ms:
        return None
    check_shown(unit, first_ms, interval.last_ms, tz)
    return periods_over(unit, first_ms, interval.last_ms, tz)
