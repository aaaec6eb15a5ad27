"""Options of `cdp import` about texts, columns and values: how files are read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cdp_router.importing.numbers import WrittenFloat, as_text

BINARIES: Final = ("text", "hex", "base64")
NULLS: Final = ("absent", "unset")


def _no_time(_: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Reading:
    """Way to read files. `as_text` and `skip` are names of columns, or paths such as order.price inside them."""

    encoding: str | None = None
    delimiter: str | None = None
    as_text: frozenset[str] = frozenset()
    skip: frozenset[str] = frozenset()
    binary: str | None = None  # form of bytes: one of BINARIES; None: they are refused
    nulls: str | None = None  # meaning of null inside a map of values: one of NULLS; None: by the format
    missing: frozenset[str] = frozenset()  # texts of CSV that mean no value, such as NULL
    is_time: Callable[[str], bool] = _no_time  # tests whether a text can be the time of a record
    nested: frozenset[str] = frozenset(("properties", "attributes", "traits"))  # columns that are maps of values

    def is_text(self, path: str) -> bool:
        """True if the values at a path are kept as text; inside a map of values the map's name may be left out."""
        outer, _, inner = path.partition(".")
        return path in self.as_text or (outer in self.nested and inner in self.as_text)


def textual(values: Mapping[str, Any], paths: Collection[str], prefix: str = "") -> dict[str, Any]:
    """The values, with those at these paths as written, and plain numbers elsewhere."""
    found = dict[str, Any]()
    for name, value in values.items():
        path = prefix + name
        if path in paths:
            found[name] = [as_text(item) for item in value] if isinstance(value, list) else as_text(value)
        else:
            found[name] = textual(value, paths, f"{path}.") if isinstance(value, dict) else _plain(value)
    return found


def _plain(value: Any) -> Any:
    match value:
        case WrittenFloat():
            return float(value)
        case list():
            return [textual(item, (), "") if isinstance(item, dict) else _plain(item) for item in value]
    return value


def without(record: dict[str, Any], paths: Collection[str], prefix: str = "") -> dict[str, Any]:
    """The record without the values at these paths."""
    return {
        name: without(value, paths, f"{prefix}{name}.") if isinstance(value, dict) else value
        for name, value in record.items()
        if prefix + name not in paths
    }
