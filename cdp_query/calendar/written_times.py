"""Times in texts: ISO 8601 dates and times, read from whole arrays of strings at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdp_query.calendar.windows import Interval, zone
from cdp_query.calendar.zone_clock import zone_clock_of
from cdp_store.arrays import I64, AnyArray, Bools
from cdp_store.limits import DAY_MS

_PATTERN: Final = (
    r"^(?P<year>[0-9]{4})-(?P<month>0[1-9]|1[0-2])-(?P<day>0[1-9]|[12][0-9]|3[01])"
    r"(?:[Tt ](?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9])"
    r"(?::(?P<second>[0-5][0-9])(?:[.,](?P<fraction>[0-9]{1,9}))?)?"
    r"(?P<zone>[Zz]|(?P<sign>[+-])(?P<ahead>[01][0-9]|2[0-3]):?(?P<minutes>[0-5][0-9])?)?)?$"
)
_MINUTE_MS: Final = 60_000


def written_times(strings: pa.Array, tz: str) -> tuple[I64, Bools]:
    """(epoch ms i64[n], mask of the strings that are dates or times bool[n]).

    A date alone is its local day's first instant in the zone `tz`; a time without an offset is in that zone. Fractions
    are cut to milliseconds.
    """
    parts = pc.extract_regex(strings.cast(pa.large_string()), _PATTERN)
    held: Bools = pc.is_valid(parts).to_numpy(zero_copy_only=False)
    times: I64 = np.zeros(len(strings), np.int64)
    where = np.flatnonzero(held)
    if not where.size:
        return times, held
    fields = {field.name: parts.field(field.name).take(pa.array(where)) for field in parts.type}

    def number(name: str) -> I64:
        texts = fields[name]
        found: I64 = pc.if_else(pc.equal(texts, ""), "0", texts).cast(pa.int64()).to_numpy()
        return found

    months = ((number("year") - 1970) * 12 + number("month") - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (number("day") - 1)
    is_date = (days.astype("datetime64[M]") == months) & (number("year") > 0)
    thousandths = pc.utf8_slice_codeunits(pc.utf8_rpad(fields["fraction"], 3, "0"), 0, 3).cast(pa.int64()).to_numpy()
    of_day = ((number("hour") * 60 + number("minute")) * 60 + number("second")) * 1000 + thousandths
    walls = days.astype(np.int64) * DAY_MS + of_day
    times[where] = _instants(
        walls,
        days.astype(np.int64),
        _texts(fields["hour"]),
        _texts(fields["zone"]),
        number,
        tz,
        _texts(fields["sign"]) == "-",
    )
    held[where] = is_date
    return times, held


def is_written_time(strings: pa.Array) -> pa.Array:
    """Mask of the strings that are dates or times."""
    return pa.array(written_times(strings, "UTC")[1])


def _texts(strings: pa.Array) -> AnyArray:
    texts: AnyArray = strings.to_numpy(zero_copy_only=False).astype(str)
    return texts


def _instants(
    walls: I64, days: I64, hours: AnyArray, zones: AnyArray, number: Callable[[str], I64], tz: str, is_behind: Bools
) -> I64:
    clock = zone_clock_of(zone(tz), walls)
    local = np.where(hours == "", clock.day_starts(days), clock.to_instants(walls))
    ahead = (number("ahead") * 60 + number("minutes")) * _MINUTE_MS
    return np.where(zones == "", local, walls - np.where(is_behind, -ahead, ahead))


def text_in_spans(spans: tuple[Interval, ...], tz: str) -> Callable[[pa.Array], pa.Array]:
    """Test of strings: they are times that lie in any of some intervals."""

    def inside(times: I64) -> Bools:
        found: Bools = np.zeros(times.shape[0], np.bool_)
        for span in spans:
            found |= (times >= span.first_ms) & (times <= span.last_ms)
        return found

    return text_as_time(inside, tz)


def text_as_time(decide: Callable[[I64], Bools], tz: str) -> Callable[[pa.Array], pa.Array]:
    """Test of strings: they are times for which `decide` holds."""

    def decide_texts(strings: pa.Array) -> pa.Array:
        times, held = written_times(strings, tz)
        found = np.zeros(held.shape[0], np.bool_)
        found[held] = decide(times[held])
        return pa.array(found)

    return decide_texts
