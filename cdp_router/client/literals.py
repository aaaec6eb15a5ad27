"""Literals and durations of questions as messages."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Final

from cdp.v1 import segment_pb2 as pb


class at:  # noqa: N801  # reads as a word of the language
    """A date, local time or instant as ISO text, as a value: attr("since") > at("2026-01-31T10:00")."""

    def __init__(self, iso: str) -> None:
        self.iso = iso


Literal = bool | int | float | str | date | datetime | at
_UNITS: Final[Mapping[str, pb.DurationUnit.ValueType]] = {
    "ms": pb.DURATION_UNIT_MILLISECOND,
    "s": pb.DURATION_UNIT_SECOND,
    "m": pb.DURATION_UNIT_MINUTE,
    "min": pb.DURATION_UNIT_MINUTE,
    "h": pb.DURATION_UNIT_HOUR,
    "d": pb.DURATION_UNIT_DAY,
    "w": pb.DURATION_UNIT_WEEK,
    "mo": pb.DURATION_UNIT_MONTH,
    "y": pb.DURATION_UNIT_YEAR,
}
_SPAN: Final = re.compile(r"(\d+)([a-z]+)")


def literal(value: object) -> pb.Literal:
    """Message of a Python value; a date stands for its whole local day, a datetime for an instant."""
    match value:
        case bool():
            return pb.Literal(boolean=value)
        case int():
            return pb.Literal(integer=value)
        case float() if math.isfinite(value):
            return pb.Literal(number=value)
        case str():
            return pb.Literal(text=value)
        case datetime():
            return pb.Literal(moment=value.isoformat(timespec="milliseconds"))
        case date():
            return pb.Literal(moment=value.isoformat())
        case at():
            return pb.Literal(moment=value.iso)
    raise TypeError(f"{value!r} is not a bool, integer, finite number, string, date or datetime")


def moment(instant: str | date) -> str:
    """ISO text of a date or instant."""
    return literal(instant).moment if isinstance(instant, date) else instant


def span(length: str) -> pb.TimeSpan:
    """Message of a duration such as 30d."""
    found = _SPAN.fullmatch(length)
    if found is None or found.group(2) not in _UNITS:
        raise ValueError(f"{length!r} is not a duration; write a number and one of {', '.join(_UNITS)}, such as 30d")
    return pb.TimeSpan(amount=int(found.group(1)), unit=_UNITS[found.group(2)])
