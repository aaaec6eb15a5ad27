"""A digest of the content of a partition, whatever its layout.

Each profile, attribute value, attribute change and event is hashed by its content alone (identifier, names, time,
values, and its place among equal times), and the hashes are added up. So the digest depends neither on row numbers,
dictionary codes, sealing and compaction nor on how profiles are spread over partitions: the digests of all partitions,
added up, are the digest of the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from cdp_store.arrays import I64, U32, U64, AnyArray, Bools
from cdp_store.columns.arena import hash_strings
from cdp_store.events.chunk import EventChunk
from cdp_store.events.chunk_sealing import order_by_row_time
from cdp_store.memory.view import PartitionView
from cdp_store.profiles.attributes import Versions
from cdp_store.records.records import Strings
from cdp_store.values import TEXT_KINDS, Kind

_KEY: Final = (0, 0)  # not secret: digests of clusters with different secrets must be comparable
_SLICE_BYTES: Final = 1 << 31
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_LANES: Final = (np.uint64(0xA5A5A5A5A5A5A5A5), np.uint64(0x0123456789ABCDEF))
_WORD: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Digest:
    """Two sums modulo 2^64; adding digests gives the digest of both contents together."""

    high: int = 0
    low: int = 0

    def __add__(self, other: Digest) -> Digest:
        return Digest((self.high + other.high) % _WORD, (self.low + other.low) % _WORD)

    @staticmethod
    def parse(text: str) -> Digest:
        """The digest with this text."""
        return Digest(int(text[:16], 16), int(text[16:], 16))

    def __str__(self) -> str:
        return f"{self.high:016x}{self.low:016x}"


def digest(view: PartitionView) -> Digest:
    """Digest of a view: its profiles, versions of attributes, events, and summaries of events dropped by retention."""
    total = Digest()
    for hashes in _Contents(view).hashes():
        sums = (int(_mix(hashes ^ lane).sum(dtype=np.uint64)) for lane in _LANES)
        total += Digest(*sums)
    return total


class _Contents:
    """The hashes of a view's contents, in portions."""

    def __init__(self, view: PartitionView) -> None:
        self._view = view
        self._rows = _hash_all(*view.identifiers)
        self._erased = view.erased()
        self._texts = dict[tuple[int, bool, Kind], U64]()

    def hashes(self) -> Iterator[U64]:
        created = self._view.times.created_ms()
        yield combine(self._rows, _named("created"), created.view(np.uint64))[~self._erased]
        properties = {number: name for name, number in self._view.schema.properties.items()}
        for name, number in self._view.schema.events.items():
            values = self._columns(self._view.event_chunks(number), properties)
            yield from self._records(_named(f"event {name}"), self._view.event_chunks(number), values)
            summary = self._view.summaries.get(number)
            if summary is not None:
                numbers = (summary.counts, summary.first_ms, summary.last_ms)
                held = combine(self._rows[summary.rows], _named(f"dropped {name}"), *map(_unsigned, numbers))
                yield held[~self._erased[summary.rows]]
        for name, number in self._view.schema.attributes.items():
            yield from self._versions(name, number)

    def _records(self, name: U64, chunks: Iterable[EventChunk], values: Iterable[U64]) -> Iterator[U64]:
        """One hash per event of a name, by profile, time, values and place among equal times."""
        parts = [(chunk.full_rows(), chunk.full_times(), hashes) for chunk, hashes in zip(chunks, values, strict=True)]
        if not parts:
            return
        rows, times, hashes = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = order_by_row_time(rows, times)
        yield self._placed(name, rows[order], times[order], hashes[order])

    def _placed(self, name: U64, rows: U32, times: I64, hashes: U64) -> U64:
        """Hashes of entries sorted by (row, time), distinguished by profile, time and place among equal times."""
        starts = np.append(True, (rows[1:] != rows[:-1]) | (times[1:] != times[:-1]))[: rows.shape[0]]
        place = np.arange(rows.shape[0]) - np.flatnonzero(starts)[np.cumsum(starts) - 1]
        found = combine(self._rows[rows], name, times.view(np.uint64), hashes, place.astype(np.uint64))
        return found[~self._erased[rows]]

    def _columns(self, chunks: Iterable[EventChunk], properties: Mapping[int, str]) -> Iterator[U64]:
        """Per chunk a hash of each event's values, whatever the order of its properties."""
        for chunk in chunks:
            total: U64 = np.zeros(len(chunk), np.uint64)
            for (key, kind), column in chunk.columns.items():
                name = _named(f"property {properties[key]}")
                present, raws = column.presence(), column.raws()
                where = slice(None) if present is None else present
                total[where] += self._values(name, key, False, kind, raws[where])
            yield total

    def _versions(self, name: str, number: int) -> Iterator[U64]:
        """One hash per value an attribute ever had, and per removal that took one away."""
        versions = _telling(self._view.attribute_versions(number))
        hashes: U64 = np.zeros(len(versions), np.uint64)
        for kind in Kind:
            where = versions.kinds == kind
            hashes[where] = self._values(_named("value"), number, True, kind, versions.raws[where])
        yield self._placed(_named(f"change {name}"), versions.rows, versions.times, hashes)

    def _values(self, name: U64, owner: int, is_attribute: bool, kind: Kind, raws: I64) -> U64:
        if kind in TEXT_KINDS:
            known = self._texts.get((owner, is_attribute, kind))
            if known is None:
                known = _hash_all(*self._view.string_arena(owner, attribute=is_attribute, is_list=kind is Kind.LIST))
                self._texts[owner, is_attribute, kind] = known
            return combine(known[raws], name, np.uint64(kind))
        return combine(_unsigned(raws), name, np.uint64(kind))


def _telling(versions: Versions) -> Versions:
    """Versions by (row, time) without removals that change nothing: no value, or one that held for no time."""
    removals = versions.kinds == Kind.UNSET
    follows: Bools = np.zeros(len(versions), np.bool_)
    follows[1:] = versions.rows[1:] == versions.rows[:-1]
    for_no_time: Bools = np.zeros(len(versions), np.bool_)
    for_no_time[:-1] = follows[1:] & (versions.times[1:] == versions.times[:-1])
    versions = versions.take(~(removals & for_no_time))
    removals = versions.kinds == Kind.UNSET
    of_nothing = removals.copy()
    of_nothing[1:] &= removals[:-1] | (versions.rows[1:] != versions.rows[:-1])
    return versions.take(~of_nothing)


def _hash_all(offsets: AnyArray, data: AnyArray) -> U64:
    """Hash of each string; offsets u32 or i64 [n + 1]."""
    count = offsets.shape[0] - 1
    hashes: U64 = np.empty(count, np.uint64)
    start = 0
    while start < count:
        first = int(offsets[start])
        stop = max(int(np.searchsorted(offsets, first + _SLICE_BYTES, "right")) - 1, start + 1)
        inside = (offsets[start : stop + 1] - offsets[start]).astype(np.uint32)
        hashes[start:stop] = hash_strings(_KEY, Strings(inside, data[first : int(offsets[stop])]))
        start = stop
    return hashes


def _unsigned(values: I64) -> U64:
    return np.ascontiguousarray(values, np.int64).view(np.uint64)


@lru_cache(1024)
def _named(name: str) -> U64:
    """The hash of a name, u64[1], read-only: needed again with each chunk."""
    hashes = hash_strings(_KEY, Strings.of([name.encode()]))
    hashes.flags.writeable = False
    return hashes


def combine(first: U64, *others: U64 | np.uint64) -> U64:
    """One hash of several parts in this order; parts may be broadcast."""
    combined = _mix(first)
    for part in others:
        combined = _mix((combined + _GOLDEN) ^ part)
    return combined


def _mix(values: U64) -> U64:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): each bit of the result depends on all of them."""
    mixed = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    out: U64 = mixed ^ (mixed >> np.uint64(31))
    return out
