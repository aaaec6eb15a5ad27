"""Columns of a file and paths of the values inside them, to check the options that name some."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class ColumnPaths:
    """Names of columns, and paths such as order.price inside them, including those that an option leaves out.

    `maps` are columns that hold properties or attributes by name. `opaque` columns hold names that only their values
    tell, such as JSON. `sampled` is the number of records read to find the names if the file may have others.
    """

    names: tuple[str, ...] = ()
    inner: frozenset[str] = frozenset()
    maps: frozenset[str] = frozenset()
    opaque: frozenset[str] = frozenset()
    sampled: int = 0

    def has(self, path: str) -> bool:
        """True for a column, or for a value inside one."""
        return path in self.names or path in self.inner

    def may_hold(self, path: str) -> bool:
        """True for any of these, for a path in an opaque column, and for one in a map without the map's name."""
        if self.has(path) or any(path.startswith(f"{column}.") for column in self.opaque):
            return True
        return any(column in self.opaque or f"{column}.{path}" in self.inner for column in self.maps)


def paths_of_names(names: Iterable[str], maps: frozenset[str]) -> ColumnPaths:
    """Paths of columns of text."""
    there = tuple(names)
    return ColumnPaths(there, maps=maps, opaque=maps & frozenset(there))


def paths_of_schema(schema: pa.Schema, maps: frozenset[str]) -> ColumnPaths:
    """Paths of typed columns."""
    inner = {path for field in schema for path in _inside(field.name, field.type)}
    opaque = {
        field.name
        for field in schema
        if pa.types.is_map(field.type) or (field.name in maps and not pa.types.is_struct(field.type))
    }
    return ColumnPaths(tuple(schema.names), frozenset(inner), maps, frozenset(opaque))


def paths_of_records(records: Iterable[Mapping[str, Any]], maps: frozenset[str], most: int) -> ColumnPaths:
    """Paths of JSON objects, of which `most` are read."""
    names, inner, opaque, count = dict[str, None](), set[str](), set[str](), 0
    for record in islice(records, most):
        count += 1
        names |= dict.fromkeys(record)
        inner.update(path for name, value in record.items() for path in _below(name, value))
        opaque.update(name for name in maps & record.keys() if isinstance(record[name], str))
    return ColumnPaths(tuple(names), frozenset(inner), maps, frozenset(opaque), count if count == most else 0)


def _inside(path: str, kind: pa.DataType) -> Iterator[str]:
    if pa.types.is_struct(kind):
        for field in kind:
            yield f"{path}.{field.name}"
            yield from _inside(f"{path}.{field.name}", field.type)
    elif hasattr(kind, "value_type") and not pa.types.is_map(kind):  # items of a list have the path of the list
        yield from _inside(path, kind.value_type)


def _below(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield f"{path}.{name}"
            yield from _below(f"{path}.{name}", each)
