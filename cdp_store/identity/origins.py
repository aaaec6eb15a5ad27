"""Origins: records of a profile that came in under another identifier; twelve bytes for each arrived record."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from cdp_store.arrays import I64, U32, U64
from cdp_store.columns.growable import Growable
from cdp_store.identity.linked_identifiers import Names
from cdp_store.identity.ties import places
from cdp_store.memory.contents import is_creation, record_hashes, unified
from cdp_store.memory.digest import combine
from cdp_store.profiles.profile_times import NOT_CREATED
from cdp_store.records.records import ATTRIBUTES, RecordBatch, Strings, join_batches


@dataclass(frozen=True, slots=True)
class OriginsReading:
    """Reading of `Origins` at one moment for records of some profiles.

    It holds the entries of the profiles, ascending. Each entry has the number of its profile among the identities of
    the records, its place among those whose records count at one instant, and its identifier. `hashes` and `sources`
    are those of all arrived records.
    """

    tree: U32
    profiles: U64
    places: I64
    identifiers: Strings
    hashes: U64
    sources: U32

    def told_apart(self, batch: RecordBatch) -> RecordBatch:
        """The batch of the profiles' records, each assigned to the identifier it came in under."""
        at = np.minimum(np.searchsorted(self.tree, self.sources), max(self.tree.shape[0] - 1, 0))
        here = np.flatnonzero(self.tree[at] == self.sources) if self.tree.shape[0] else np.zeros(0, np.int64)
        # In the order of the records: of equal ones the first are the weakest identifier's, the last the profile's own.
        here = here[np.argsort(self.places[at[here]], kind="stable")]
        own = np.flatnonzero(~is_creation(batch))
        wanted = combine(record_hashes(batch)[own], batch.record_identities[own].astype(np.uint64))
        matched = match_first(wanted, combine(self.hashes[here], self.profiles[at[here]]))
        owners, found = batch.record_identities.copy(), matched >= 0
        owners[own[found]] = len(batch.identities) + at[here[matched[found]]]
        return replace(batch, identities=batch.identities.join(self.identifiers), record_identities=owners)


class Origins:
    """The hash of each arrived record with the entry of the identifier it came under."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.hashes, self.sources = Growable(np.uint64), Growable(np.uint32)

    def add(self, hashes: U64, sources: U32) -> None:
        """Adds arrived records."""
        self.hashes.extend(hashes)
        self.sources.extend(sources)

    def forget(self, sources: Collection[int]) -> None:
        """Removes the records of some entries."""
        keep = ~np.isin(self.sources.filled(), np.array(sorted(sources), np.uint32))
        if not keep.all():
            hashes, kept = self.hashes.filled()[keep], self.sources.filled()[keep]
            self.hashes, self.sources = Growable(np.uint64), Growable(np.uint32)
            self.add(hashes, kept)

    def told_apart(self, batch: RecordBatch) -> RecordBatch:
        """The contents of rows, assigned to the identifiers they came in under; of each in order of arrival."""
        joined = dict[int, int]()
        for number in range(len(batch.identities)):
            top = self._joined_entry(batch.identities[number])
            if top is not None:
                joined[number] = top
        if not joined:
            return unified(batch)
        reading = self._reading(joined)
        of_joined = np.isin(batch.record_identities, np.array([*joined], np.uint32))
        # An identifier under another one may have a row too: what it holds came in after all that is under the other.
        order = np.argsort(~of_joined, kind="stable")
        stays = order[~(is_creation(batch) & of_joined)[order]]
        told = reading.told_apart(batch)
        return unified(join_batches((told.take(stays), self._created(reading.tree.tolist()))))

    def reading(self, identifier: bytes) -> OriginsReading | None:
        """Reading of a profile's records by the identifier they came in under; None if all came under its own."""
        top = self._joined_entry(identifier)
        return None if top is None else self._reading({0: top})

    def _joined_entry(self, identifier: bytes) -> int | None:
        """The entry of an identifier whose profile holds records of others.

        None for an identifier under another one: its row, if any, has only late records of its own.
        """
        entry = self._names.entry(identifier)
        if entry is None or not self._names.is_tracked.filled()[entry] or self._names.root(entry) != entry:
            return None
        return entry

    def _reading(self, tops: Mapping[int, int]) -> OriginsReading:
        """Reading of the profiles of some entries, by the numbers of these profiles."""
        parts = sorted((entry, number) for number, top in tops.items() for entry in self._names.subtree(top))
        tree = np.array([entry for entry, _ in parts], np.uint32)
        profiles = np.array([number for _, number in parts], np.uint64)
        named = [self._names.get(entry) for entry, _ in parts]
        held = self.hashes.filled(), self.sources.filled()
        return OriginsReading(tree, profiles, places(named), Strings.of(named), *held)

    def _created(self, tree: list[int]) -> RecordBatch:
        """A record for each entry whose own records created a profile."""
        times = self._names.own_created.filled()
        known = [entry for entry in tree if times[entry] != NOT_CREATED]
        return creations([self._names.get(entry) for entry in known], times[np.array(known, np.intp)])

    @property
    def nbytes(self) -> int:
        """Memory occupied."""
        return self.hashes.nbytes + self.sources.nbytes


def creations(identifiers: list[bytes], times: I64) -> RecordBatch:
    """A record for each identifier that states only that it existed."""
    count, nothing = len(identifiers), Strings.of(())
    return RecordBatch(
        b"",
        0,
        Strings.of(identifiers),
        np.arange(count, dtype=np.uint32),
        np.full(count, ATTRIBUTES, np.uint16),
        np.array(times, np.int64),
        np.zeros(count + 1, np.uint32),
        Strings(np.zeros(count + 1, np.uint32), np.zeros(0, np.uint8)),
        np.zeros(0, np.uint16),
        np.zeros(0, np.uint8),
        np.zeros(0, np.int64),
        nothing,
        (),
        (),
    )


def match_last(wanted: U64, offered: U64) -> I64:
    """For each wanted hash an equal offered one, -1 if none is left; of equal ones the last are matched."""
    return _matched(_numbered(wanted[::-1])[::-1], _numbered(offered))


def match_first(wanted: U64, offered: U64) -> I64:
    """For each wanted hash an equal offered one, -1 if none is left; of equal ones the first are matched."""
    return _matched(_numbered(wanted), _numbered(offered))


def _matched(wanted: U64, offered: U64) -> I64:
    """Position of each hash among others that all differ, -1 if it is missing."""
    order = np.argsort(offered)
    if not order.shape[0]:
        return np.full(wanted.shape[0], -1, np.int64)
    inside = np.minimum(np.searchsorted(offered[order], wanted), order.shape[0] - 1)
    return np.where(offered[order][inside] == wanted, order[inside], -1)


def _numbered(hashes: U64) -> U64:
    """Hashes made distinct by the number of equal ones before each."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.append(True, ordered[1:] != ordered[:-1])[: ordered.shape[0]]
    place = np.arange(ordered.shape[0]) - np.flatnonzero(starts)[np.cumsum(starts) - 1]
    numbered: U64 = np.empty(hashes.shape[0], np.uint64)
    numbered[order] = combine(ordered, place.astype(np.uint64))
    return numbered
