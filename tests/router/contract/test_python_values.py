"""What Python values become on the wire: the same for writers and messages, exact or refused."""

from __future__ import annotations

import dataclasses
import enum
import math
import uuid
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Final

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp_router.client.writing.batching import encode
from cdp_router.contract.values import from_value, to_value

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


class _Plan(enum.Enum):
    GOLD = "gold"
    PRICE = Decimal("12.50")


class _Level(enum.IntEnum):
    HIGH = 3


class _Text(enum.StrEnum):
    A = "a"


@dataclasses.dataclass
class _Place:
    city: str
    price: Decimal


class _Struct(msgspec.Struct):
    city: str


def _sent(value: Any) -> Any:
    """A property as a writer sends it."""
    [row] = msgspec.msgpack.decode(b"\x91" + encode("E", {"v": value}, "u", "", NOON, "m").packed)
    return row[5]["v"]


_STORED: Final[list[tuple[Any, Any]]] = [
    (None, None),
    (True, True),
    (7, 7),
    (-(2**63), -(2**63)),
    (1.5, 1.5),
    ("é", "é"),
    (Decimal("12.50"), 12.5),
    (Decimal("19.99"), 19.99),
    (Decimal("-0.07"), -0.07),
    (Decimal("3.00"), 3),
    (Decimal("1E+3"), 1000),
    (Decimal("9223372036854775807"), 2**63 - 1),
    (Decimal("9007199254740993"), 9007199254740993),
    (Decimal("-0.0"), 0),
    (NOON, NOON),
    (datetime(2026, 3, 1, 14, tzinfo=timezone(timedelta(hours=2))), NOON),
    (datetime(1969, 12, 31, 23, 59, 59, 999_500, UTC), datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC)),
    (date(2026, 3, 1), datetime(2026, 3, 1, tzinfo=UTC)),
    (time(9, 30), "09:30:00"),
    (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    (_Plan.GOLD, "gold"),
    (_Plan.PRICE, 12.5),
    (_Level.HIGH, 3),
    (_Text.A, "a"),
    (np.bool_(True), True),
    (np.int8(-3), -3),
    (np.uint64(2**63 - 1), 2**63 - 1),
    (np.float32(0.5), 0.5),
    (np.float64(0.1), 0.1),
    (np.str_("x"), "x"),
    (np.datetime64("NaT"), None),
    (np.array([1, 2]), [1, 2]),
    (np.array(5), 5),
    (np.ma.array([[1, 2], [3, 4]], mask=[[False, True], [False, False]]), [[1, None], [3, 4]]),
    (np.ma.array([1.5, math.nan], mask=[False, True]), [1.5, None]),
    (np.ma.masked, None),
    (pd.NA, None),
    (pd.NaT, None),
    (pd.Timestamp("2026-03-01T12:00:00.0009Z"), NOON),
    ((1, "a"), [1, "a"]),
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset({"b", "a"}), ["a", "b"]),
    ([Decimal("12.50"), NOON, {"p": Decimal("1")}], [12.5, NOON, {"p": 1}]),
    (OrderedDict(a=Decimal("0.5")), {"a": 0.5}),
    (_Place("Goa", Decimal("2")), {"city": "Goa", "price": 2}),
    (_Struct("Goa"), {"city": "Goa"}),
]


@pytest.mark.parametrize(
    ("value", "stored"), _STORED, ids=[f"{number}-{type(each).__name__}" for number, (each, _) in enumerate(_STORED)]
)
def test_a_value_is_stored_as_the_table_says_by_writers_and_in_messages(value: Any, stored: Any) -> None:
    for found in (_sent(value), from_value(to_value(value))):
        assert found == stored and type(found) is type(stored)


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (2**63, ValueError, "64 bits"),
        (-(2**63) - 1, ValueError, "64 bits"),
        (10**6000, ValueError, "64 bits"),
        (np.uint64(2**63), ValueError, "64 bits"),
        (Decimal(2**63), ValueError, "64 bits"),
        (Decimal("1E+999999"), ValueError, "64 bits"),
        (Decimal("0.1234567890123456789"), ValueError, "digits"),
        (Decimal("1E-999999"), ValueError, "digits"),
        (Decimal("NaN"), ValueError, "None"),
        (Decimal("sNaN"), ValueError, "None"),
        (Decimal("-Infinity"), ValueError, "None"),
        (datetime(2026, 3, 1), ValueError, "zone"),
        ([datetime(2026, 3, 1)], ValueError, "zone"),
        (pd.Timestamp("2026-03-01"), ValueError, "zone"),
        (np.ma.array(["2026-03-01"], "datetime64[ns]"), TypeError, "MaskedArray"),
        (b"raw", TypeError, "bytes"),
        (bytearray(b"raw"), TypeError, "bytearray"),
        (timedelta(1), TypeError, "timedelta"),
        (pd.Timedelta("1s"), TypeError, "Timedelta"),
        (np.datetime64("2026-03-01"), TypeError, "datetime64"),
        (np.complex64(1), TypeError, "complex"),
        (np.bytes_(b"x"), TypeError, "bytes"),
        (1j, TypeError, "complex"),
        (object(), TypeError, "object"),
        (int, TypeError, "type"),
        (iter([1]), TypeError, "iterator"),
        ({1: 2}, TypeError, "names"),
        ([b"raw"], TypeError, "bytes"),
        ({"a": {"b": Decimal("NaN")}}, ValueError, "None"),
    ],
    ids=lambda each: str(type(each).__name__),
)
def test_a_value_that_has_no_exact_form_is_refused_at_the_call(value: Any, error: type[Exception], said: str) -> None:
    for call in (_sent, to_value):
        with pytest.raises(error, match=said):
            call(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan"), [math.nan]])
def test_numbers_that_are_not_finite_are_refused_by_writers(value: Any) -> None:
    with pytest.raises(ValueError, match="None"):
        _sent(value)


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested"):
        _sent(endless)


def test_the_name_of_a_property_is_text_and_in_the_message() -> None:
    with pytest.raises(TypeError, match="names"):
        encode("E", {1: 2}, "u", "", NOON, "m")  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="'amount'"):
        encode("E", {"amount": b""}, "u", "", NOON, "m")


@given(st.decimals(allow_nan=False, allow_infinity=False) | st.decimals(-(10**6), 10**6, places=2))
def test_a_decimal_is_stored_with_its_very_digits_or_refused(value: Decimal) -> None:
    try:
        found = _sent(value)
    except ValueError:
        is_wide = value == value.to_integral_value() and abs(value) >= 2**63 if abs(value.adjusted()) < 300 else True
        assert is_wide or len(value.normalize().as_tuple().digits) > 15
    else:
        assert Decimal(repr(found)) == value
        assert isinstance(found, int) == (value == value.to_integral_value())


@given(st.sets(st.integers() | st.text() | st.none() | st.tuples(st.integers(0, 3), st.text(max_size=1))))
def test_equal_sets_become_equal_lists(values: set[Any]) -> None:
    kept = {each for each in values if not isinstance(each, int) or abs(each) < 2**62}
    assert _sent(set(kept)) == _sent(set(reversed(list(kept))))


@pytest.mark.parametrize("hours", [5, -5])
def test_a_time_that_utc_has_no_year_for_is_refused_by_writers(hours: int) -> None:
    edge = datetime.min if hours > 0 else datetime.max
    with pytest.raises(ValueError, match="at.*years 1 and 9999"):
        _sent({"at": [edge.replace(tzinfo=timezone(timedelta(hours=hours)))]})
