"""Numbers as files write them: kept digit by digit in 64 bits, or rejected."""

from __future__ import annotations

import math
import re
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]*")
_FLOAT: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_STARTS: Final = "-0123456789"
# As JSON and databases, Python data frames, and spreadsheets write them.
BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER_CHARACTERS_MAX: Final = 20  # -9223372036854775808
_SURE_CHARACTERS: Final = 16  # at most 15 digits apart from the point, which every float64 keeps
_SURE_DIGITS: Final = 15
FLOAT_DIGITS_MAX: Final = 17  # the most that writers of float64 need; more digits mean an exact decimal
WHOLE_MAX: Final = 1 << 53  # up to here every integer is a float64
_NORMAL_MIN: Final = 2.3e-308
_SHOWN: Final = 40
_HINT: Final = "; --as-text takes such a column as text"


class Unkept:
    """A value that cannot be stored unchanged: its text, and the reason. `digits`: it is nevertheless an integer.

    Not a dataclass: no encoder may treat it as a map.
    """

    __slots__ = ("code", "digits", "reason", "text")

    def __init__(self, text: str, reason: str, digits: bool = False, code: str = "VALUE_UNUSABLE") -> None:
        self.text, self.reason, self.digits, self.code = text, reason, digits, code

    def inside(self, where: str) -> Unkept:
        """The same for the list or map that contains the value."""
        return Unkept("", f"{where}: {self.reason}", code=self.code)


class WrittenFloat(float):
    """A number of JSON with the text it was written as."""

    __slots__ = ("text",)
    text: str


def integer_of(value: int) -> int | Unkept:
    """The integer, if it fits 64 bits."""
    if INT64_MIN <= value <= INT64_MAX:
        return value
    return _too_large(str(value))


def _too_large(text: str) -> Unkept:
    return Unkept(text, f"{text[:_SHOWN]} is an integer beyond 64 bits{_HINT}", True, "INTEGER_OUT_OF_RANGE")


def float_of(text: str) -> int | float | Unkept:
    """The float64 of a decimal text; Unkept if it would be another number.

    Up to 17 digits mean the nearest float64, as writers of float64 use it. More digits, or an integer part beyond
    2**53, must be exact.
    """
    value = float(text)
    if len(text) <= _SURE_CHARACTERS and (value == 0 or abs(value) >= _NORMAL_MIN) and math.isfinite(value):
        return value if value or "e" not in text.lower() else _exactly(text, value)
    return _exactly(text, value)


def _exactly(text: str, value: float) -> int | float | Unkept:
    try:
        exact = Decimal(text)
    except InvalidOperation:  # an exponent beyond all bounds
        return _inexact(text)
    return decimal_of(exact, text, value)


def decimal_of(exact: Decimal, text: str | None = None, value: float | None = None) -> int | float | Unkept:
    """The float64 or integer equal to a decimal number; Unkept if neither exists."""
    number = float(exact) if value is None else value
    written = format(exact, "f") if text is None else text
    if not math.isfinite(number):
        return _inexact(written)
    if Decimal(repr(number)) == exact or Decimal(number) == exact:
        return number
    digits = len(str(int("".join(map(str, exact.as_tuple().digits)))).rstrip("0"))
    if abs(number) >= _NORMAL_MIN and (
        digits <= _SURE_DIGITS or (text is not None and digits <= FLOAT_DIGITS_MAX and abs(number) < WHOLE_MAX)
    ):
        return number
    if abs(exact) <= INT64_MAX and exact == int(exact):
        return int(exact)
    return _inexact(written)


def _inexact(text: str) -> Unkept:
    return Unkept(text, f"{text[:_SHOWN]} has more digits than a number keeps{_HINT}", code="NUMBER_INEXACT")


def csv_value(text: str) -> Any:
    """Numbers and booleans by their spelling; 007 and 1_000 stay text, an empty field has no value."""
    if not text:
        return None
    if text[0] not in _STARTS:
        return BOOLEANS.get(text, text)
    if _INTEGER.fullmatch(text):
        if len(text) > _INTEGER_CHARACTERS_MAX:
            return _too_large(text)
        return integer_of(int(text))
    if not _FLOAT.fullmatch(text):
        return text
    number = float_of(text)
    is_code = isinstance(number, Unkept) and "e" in text.lower()  # such as 1e400, which nobody means
    return text if is_code else number


def json_float(text: str) -> Any:
    """A number of JSON with a fraction or an exponent. Raises ValueError if it is beyond all floats."""
    value = float_of(text)
    if isinstance(value, Unkept) and math.isinf(float(text)):
        raise ValueError(f"number {text[:_SHOWN]} is out of range")
    return value


def written_json_float(text: str) -> Any:
    """The same, with its text."""
    value = json_float(text)
    if not isinstance(value, float):
        return value
    written = WrittenFloat(value)
    written.text = text
    return written


def as_text(value: Any) -> Any:
    """A value as the text it is written as; lists and maps stay unchanged."""
    match value:
        case bool():
            return "true" if value else "false"
        case Unkept() | WrittenFloat():
            return value.text
        case int():
            return str(value)
        case float():
            return repr(value)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
    return value
