"""A partition without its erased profiles: nothing of them stays, and the other rows are renumbered without gaps.

Strings that are unused because of that or of retention go too, and so do names of events without any event left. Where
event names were forgotten, unused names of properties and attributes go with them.

The work is done on a view, alongside reads and writes, and results in a new memory. Changes that arrive meanwhile are
applied to the new memory too, before it replaces the old one. Earlier views keep the old one alive for as long as they
are held.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from cdp_store.arrays import I64, U32, Bools
from cdp_store.columns.arena import HashKey
from cdp_store.columns.dictionary import scope_key, scope_of
from cdp_store.events.chunk import EventChunk
from cdp_store.events.chunk_sealing import compact, renumber
from cdp_store.events.layout import Chunks, Layout
from cdp_store.memory.memory import PartitionMemory, Parts
from cdp_store.memory.schema import SchemaReading, Settled
from cdp_store.memory.view import PartitionView
from cdp_store.values import TEXT_KINDS, Kind

Change = Callable[[PartitionMemory], object]


def apply_changes(changes: Iterable[Change], memory: PartitionMemory) -> None:
    """Repeats on a new memory the changes made to the old one meanwhile."""
    for change in changes:
        change(memory)


def purged(
    view: PartitionView, retention_days: Mapping[str, int], key: HashKey, layout: Layout, settled: Settled | None = None
) -> PartitionMemory:
    """A memory with everything of the view except its erased profiles, under the same rules of retention.

    Forgets those `settled` properties that no event has any more, and those attributes that no remaining profile ever
    had.
    """
    ranks, settled = Ranks.without(view.erased()), settled or Settled()
    texts = _Texts()
    tables = {name: view.events.chunks(name) for name in view.events.names()}
    events = _carried(tables, ranks, layout, texts, attribute=False)
    versions = {attribute: view.attribute_chunks(attribute, layout) for attribute in view.attributes}
    changes = _carried(versions, ranks, layout, texts, attribute=True)
    dictionary = view.dictionary.without(texts.unreferenced(view.dictionary.sizes()))
    summaries = {name: summary.without(ranks.gone, ranks.of_row) for name, summary in view.summaries.items()}
    names, number_of = _numbered(view.schema.events, {*events, *summaries})
    events = {number_of[name]: chunks for name, chunks in events.items()}
    summaries = {number_of[name]: summary for name, summary in summaries.items()}
    used = {key for chunks in events.values() for chunk in chunks for key in used_properties(chunk)}
    properties, key_of = _numbered(view.schema.properties, used, settled.properties)
    attributes, attribute_of = _numbered(view.schema.attributes, changes, settled.attributes)
    if len(properties) < len(view.schema.properties):
        events = {name: tuple(_rekeyed(chunk, key_of) for chunk in chunks) for name, chunks in events.items()}
    if len(key_of) + len(attribute_of) < len(view.schema.properties) + len(view.schema.attributes):
        dictionary = dictionary.rescoped(_scopes(dictionary.sizes(), key_of, attribute_of))
    changes = {attribute_of[attribute]: chunks for attribute, chunks in changes.items()}
    staying = SchemaReading(names, properties, attributes)
    parts = Parts(ranks.kept, events, changes, dictionary, summaries, retention_days, staying)
    return PartitionMemory.restored(view, parts, key, layout)


def _numbered(
    known: Mapping[str, int], used: Collection[int], settled: int | None = None
) -> tuple[dict[str, int], dict[int, int]]:
    """The used names, renumbered in the same order, and new numbers by old ones.

    Names from number `settled` on stay, whether used or not.
    """
    names = sorted(known.items(), key=lambda each: each[1])
    staying = [(name, old) for name, old in names if old in used or (settled is not None and old >= settled)]
    numbers = {old: new for new, (_, old) in enumerate(staying)}
    return {name: numbers[old] for name, old in staying}, numbers


def used_properties(chunk: EventChunk) -> Iterator[int]:
    """Numbers of the properties that any event of a chunk has."""
    for (key, _), column in chunk.columns.items():
        presence = column.presence()
        # No presence: every event of the chunk has the property.
        if presence is None or presence.any():
            yield key


def _rekeyed(chunk: EventChunk, key_of: Mapping[int, int]) -> EventChunk:
    columns = {(key_of[key], kind): column for (key, kind), column in chunk.columns.items() if key in key_of}
    return replace(chunk, columns=columns)


def _scopes(known: Iterable[int], key_of: Mapping[int, int], attribute_of: Mapping[int, int]) -> dict[int, int]:
    """New numbers of dictionaries by old ones."""
    found = dict[int, int]()
    for scope in known:
        key, is_attribute, is_list = scope_key(scope)
        new = (attribute_of if is_attribute else key_of).get(key)
        if new is not None:
            found[scope] = scope_of(new, attribute=is_attribute, is_list=is_list)
    return found


@dataclass(frozen=True, slots=True)
class Ranks:
    """The rows that stay, in order, and the number each gets: kept i64[m], of_row u32[n], gone bool[n]."""

    kept: I64
    of_row: U32
    gone: Bools

    @staticmethod
    def without(gone: Bools) -> Ranks:
        """New numbers for the rows that are not gone."""
        # The number of a gone row is that of a neighbour, or wraps before the first: check `gone` first.
        ranks: U32 = np.cumsum(~gone, dtype=np.uint32) - np.uint32(1)
        return Ranks(np.flatnonzero(~gone), ranks, gone)


@dataclass(slots=True)
class _Texts:
    """Dictionary codes in use, by scope."""

    used: dict[int, list[I64]] = field(default_factory=dict)

    def unreferenced(self, sizes: Mapping[int, int]) -> Mapping[int, I64]:
        """Codes that nothing uses, by scope, of dictionaries of these sizes."""
        found = dict[int, I64]()
        for scope, size in sizes.items():
            free: Bools = np.ones(size, np.bool_)
            for codes in self.used.get(scope, ()):
                free[codes] = False
            found[scope] = np.flatnonzero(free)
        return {scope: codes for scope, codes in found.items() if codes.size}

    def note(self, number: int, chunk: EventChunk, doomed: Bools, *, attribute: bool) -> None:
        """Marks the codes of a chunk's events that are not doomed; `number` is that of their name."""
        for scope, codes, presence in _text_columns(number, chunk, attribute=attribute):
            stay = ~doomed if presence is None else ~doomed & presence
            self.used.setdefault(scope, []).append(np.unique(codes[stay]))


def _text_columns(number: int, chunk: EventChunk, *, attribute: bool) -> Iterator[tuple[int, I64, Bools | None]]:
    for (key, kind), column in chunk.columns.items():
        if kind in TEXT_KINDS:
            owner = number if attribute else key
            scope = scope_of(owner, attribute=attribute, is_list=kind is Kind.LIST)
            yield scope, column.integers(), column.presence()


def _carried(
    held: Mapping[int, Chunks], ranks: Ranks, layout: Layout, texts: _Texts, *, attribute: bool
) -> Mapping[int, Chunks]:
    tables = dict[int, Chunks]()
    for name, own in held.items():
        chunks = list[EventChunk]()
        for chunk in own:
            doomed = ranks.gone[chunk.full_rows()]
            # Codes are noted before the chunk is cut: a text goes only if no remaining event uses it.
            texts.note(name, chunk, doomed, attribute=attribute)
            # A chunk that loses nothing is kept, with the columns that it shares with views.
            staying = compact([chunk], layout, ~doomed) if doomed.any() else (chunk,)
            chunks.extend(renumber(part, ranks.of_row) for part in staying)
        if chunks:
            tables[name] = tuple(chunks)
    return tables
