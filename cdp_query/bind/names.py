"""The names a question mentions, and those a partition knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cdp_query import tree
from cdp_query.bind.bind_profiles import LATITUDE, LONGITUDE
from cdp_query.tree.mentions import NameKind, mentions
from cdp_store.memory.schema import SchemaReading


@dataclass(frozen=True, slots=True)
class Names:
    """Names a question mentions, or a partition knows of them."""

    events: frozenset[str] = frozenset()
    properties: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()

    def merge(self, other: Names) -> Names:
        """Names in either."""
        return Names(self.events | other.events, self.properties | other.properties, self.attributes | other.attributes)

    def known_to(self, *schemas: SchemaReading) -> Names:
        """The names that any of the schemas knows."""
        return Names(
            _known(self.events, (each.events for each in schemas)),
            _known(self.properties, (each.properties for each in schemas)),
            _known(self.attributes, (each.attributes for each in schemas)),
        )


NO_NAMES = Names()


def _known(names: frozenset[str], tables: Iterable[Mapping[str, int]]) -> frozenset[str]:
    unknown = set(names)
    for table in tables:
        if not unknown:
            break
        unknown -= table.keys()
    return names - unknown if unknown else names


def numbers_of(names: Names) -> SchemaReading:
    """Numbers for the names of a question, in their order."""

    def number(known: frozenset[str]) -> Mapping[str, int]:
        return {name: place for place, name in enumerate(sorted(known))}

    return SchemaReading(number(names.events), number(names.properties), number(names.attributes))


def names_of(question: tree.Question) -> Names:
    """Every event, property and attribute name a question mentions; those of fields of lists' items are none."""
    found: dict[NameKind, set[str]] = {kind: set() for kind in NameKind}
    for mention in mentions(question):
        is_place = isinstance(mention.part, tree.DistanceTest)
        if not mention.in_list:
            found[mention.kind] |= {mention.name + end for end in (LATITUDE, LONGITUDE)} if is_place else {mention.name}
    return Names(*(frozenset(found[kind]) for kind in (NameKind.EVENT, NameKind.PROPERTY, NameKind.ATTRIBUTE)))
