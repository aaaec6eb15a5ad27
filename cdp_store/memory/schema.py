"""Names a partition has seen, numbered in order of first arrival."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class SchemaReading:
    """A stable reading of the names: name -> id."""

    events: Mapping[str, int]
    properties: Mapping[str, int]
    attributes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Settled:
    """Numbers of property and attribute names at the time when everything admitted had been applied: a purge frees
    those that nothing uses."""

    properties: int = 0
    attributes: int = 0

    def __bool__(self) -> bool:
        return self.properties > 0 or self.attributes > 0


_NONE: Final = frozenset[str]()


class NameTable:
    """Numbers names densely; refuses more than `limit`."""

    def __init__(self, what: str, limit: int) -> None:
        self.what, self.limit = what, limit
        self._ids = dict[str, int]()
        self._shared = False

    def overflow(self, names: Iterable[str]) -> frozenset[str]:
        """The new names beyond the limit, counted in order of appearance."""
        fresh = [name for name in names if name not in self._ids]
        # The limit may be exceeded already: by names used again, or by a restore that joined partitions.
        room = max(0, self.limit - len(self._ids))
        return frozenset([*dict.fromkeys(fresh)][room:]) if fresh else _NONE

    def number(self, name: str) -> int:
        """Id of a name, new or known."""
        known = self._ids.get(name)
        if known is None:
            if self._shared:
                self._ids, self._shared = dict(self._ids), False
            known = self._ids[name] = len(self._ids)
        return known

    def get(self, name: str) -> int | None:
        """Id of a known name."""
        return self._ids.get(name)

    def load(self, names: Iterable[str]) -> None:
        """Numbers these names from 0 and forgets others."""
        self._ids, self._shared = {name: number for number, name in enumerate(names)}, False

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def capture(self) -> Mapping[str, int]:
        """Name -> id at this moment; later names do not appear in it."""
        self._shared = True
        return self._ids


class Schema:
    """The event, property and attribute names of one partition."""

    def __init__(self, events_max: int, properties_max: int, attributes_max: int) -> None:
        self.events = NameTable("event", events_max)
        self.properties = NameTable("property", properties_max)
        self.attributes = NameTable("attribute", attributes_max)

    @classmethod
    def restored(cls, reading: SchemaReading, events_max: int, properties_max: int, attributes_max: int) -> Schema:
        """A schema that knows these names under these numbers."""
        schema = cls(events_max, properties_max, attributes_max)
        known = (reading.events, reading.properties, reading.attributes)
        for table, names in zip((schema.events, schema.properties, schema.attributes), known, strict=True):
            for name in sorted(names, key=names.__getitem__):
                table.number(name)
        return schema

    def include(self, other: Schema, events: Collection[str], before: SchemaReading) -> None:
        """Numbers the names that another schema knows and this one does not, in its order. Leaves out
        forgotten events, and properties and attributes of `before` that this one does not know: they were freed."""
        properties = before.properties.keys() - set(self.properties)
        attributes = before.attributes.keys() - set(self.attributes)
        left_out = (events, properties, attributes)
        for own, known, forgotten in zip(self._tables(), other._tables(), left_out, strict=True):
            for name in known:
                if name not in forgotten:
                    own.number(name)

    def capture(self) -> SchemaReading:
        """All three tables at this moment."""
        return SchemaReading(self.events.capture(), self.properties.capture(), self.attributes.capture())

    def _tables(self) -> tuple[NameTable, ...]:
        return self.events, self.properties, self.attributes
