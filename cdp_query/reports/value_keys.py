"""Values as keys of groups in an answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from cdp_store.values import Kind, pack_list

# A value with its kind, so that 1, "1" and true stay distinct; (0, None) is "(none)". A whole number is an INT, however
# it was stored. An item of a list that is not a single value (null, a list, an object) is a LIST with the hexadecimal
# form of the canonical bytes of a list with only that item; so is an empty list.
ValueKey = tuple[int, bool | int | float | str | None]
NONE_KEY: Final[ValueKey] = (0, None)
_WHOLE_MAX: Final = float(1 << 63)


def list_key(items: list[Any]) -> ValueKey:
    """The key of a list as a whole."""
    return int(Kind.LIST), pack_list(_in_order(items)).hex()


def number_key(value: float) -> ValueKey:
    """The key of a float: that of the integer it is equal to, where there is one."""
    if value.is_integer() and -_WHOLE_MAX <= value < _WHOLE_MAX:
        return int(Kind.INT), int(value)
    return int(Kind.FLOAT), value


def item_key(item: object) -> ValueKey:
    """The key of a single value or of an item of a list."""
    match item:
        case bool():
            return int(Kind.BOOL), item
        case int():
            return int(Kind.INT), item
        case float():
            return number_key(item)
        case str():
            return int(Kind.STRING), item
        case datetime():
            return int(Kind.TIME), item.astimezone(UTC).isoformat()
    return list_key([item])


def _in_order(value: Any) -> Any:
    """The value with the fields of all objects in the order of their names."""
    match value:
        case dict():
            return {name: _in_order(value[name]) for name in sorted(value)}
        case list():
            return [_in_order(item) for item in value]
    return value


EMPTY_LIST_KEY: Final = list_key([])
