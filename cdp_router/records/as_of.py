"""The instant of a question, in the forms that callers use: a date, a time, or text of either."""

from __future__ import annotations

from datetime import date, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from google.protobuf.timestamp_pb2 import Timestamp

from cdp_router.contract.values import to_timestamp
from cdp_router.records.instants import NoInstant, instant_of
from cdp_store.values import to_ms

AsOf = date | str | Timestamp  # datetimes, and pandas' Timestamps, are dates


def as_of_ms(given: date | str, tz: str) -> int:
    """Epoch milliseconds of an instant; without a zone it is in `tz`, and a date means its first instant.

    Raises ValueError for something other than an instant, TypeError for another type.
    """
    zone = _zone(tz)
    match given:
        case str():
            try:
                return instant_of(given, zone=zone)
            except NoInstant as error:
                raise NoInstant(f"as_of: {error}, or 2026-01-31") from None
        case datetime():
            if type(given).__name__ == "NaTType":
                raise NoInstant("as_of: NaT is not a time")
            return to_ms(given if given.tzinfo else given.replace(tzinfo=zone))
        case date():
            return to_ms(datetime(given.year, given.month, given.day, tzinfo=zone))
    raise TypeError(f"as_of: a date, a datetime or text such as 2026-01-31 is wanted, not {type(given).__name__}")


def as_of_stamp(given: AsOf, tz: str) -> Timestamp:
    """The same as a message; a message is returned unchanged."""
    return given if isinstance(given, Timestamp) else to_timestamp(as_of_ms(given, tz))


def _zone(tz: str) -> tzinfo:
    try:
        return ZoneInfo(tz or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise NoInstant(f"tz: {tz!r} is not a time zone; write one such as Europe/Berlin") from error
