"""Assumptions of `cdp import` where a file is not explicit: reported before any of it is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from typing import Any, Final

from cdp_router.cli.data.row_mapping import AUTO, EXPORTED, NAME, ColumnMapping
from cdp_router.cli.data.sources import Source
from cdp_router.records.instants import number_in, sure_unit

_SAMPLE: Final = 1000
_UNITS: Final = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


def notes(source: Source, mapping: ColumnMapping) -> Iterator[str]:
    """Sentences about a file."""
    yield from source.assumed
    columns = mapping.columns(dict.fromkeys(source.names))
    if NAME in source.names and columns["event"] is None and EXPORTED not in source.names:
        what = "a property" if mapping.event_name is not None else "an attribute"
        yield f"column 'name' is read as {what}; if it holds the names of events, give --event name"
    time = columns["time"]
    if time is not None and mapping.time_unit == AUTO:
        yield from _units(source, time)


def _units(source: Source, time: str) -> Iterator[str]:
    found = Counter[str]()
    for each in islice(source.read(), _SAMPLE):
        unit = _unit(None if each.record is None else each.record.get(time))
        if unit is not None:
            found[unit] += 1
    if not found:
        return
    told = " and ".join(_UNITS[unit] for unit, _ in found.most_common())
    hint = "" if len(found) == 1 else ", each by its own size: do they belong together?"
    yield f"{time!r} holds numbers, by their size {told} since 1970{hint or '; else give --time-unit'}"


def _unit(value: Any) -> str | None:
    count = number_in(value) if isinstance(value, str) else value
    return sure_unit(count) if isinstance(count, int | float | Decimal) and not isinstance(count, bool) else None
