"""Which of the records that stand under an identifier came under another one: twelve bytes for each that arrived."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from cdp_store.arrays import I64, U32, U64, Bools
from cdp_store.digest import combine
from cdp_store.growable import Growable
from cdp_store.identity.contents import is_creation, record_hashes, unified
from cdp_store.identity.names import Names
from cdp_store.profile_times import NOT_CREATED
from cdp_store.records import ATTRIBUTES, RecordBatch, Strings, join_batches


@dataclass(frozen=True, slots=True)
class OriginsReading:
    """What `Origins` knew at one moment of one profile's records: the entries that it is made of, ascending, with
    their identifiers, and the hashes and sources of everybody's arrived records."""

    tree: U32
    identifiers: Strings
    hashes: U64
    sources: U32

    def told_apart(self, batch: RecordBatch, number: int = 0) -> RecordBatch:
        """The batch with the records of one of its identities given to those they came under."""
        here = np.flatnonzero(np.isin(self.sources, self.tree))
        own = np.flatnonzero((batch.record_identities == number) & ~is_creation(batch))
        hashes, sources = self.hashes[here], self.sources[here]
        matched = match_last(record_hashes(batch)[own], hashes)
        owners = batch.record_identities.copy()
        found = matched >= 0
        owners[own[found]] = len(batch.identities) + np.searchsorted(self.tree, sources[matched[found]])
        return replace(batch, identities=batch.identities.join(self.identifiers), record_identities=owners)


class Origins:
    """The hash of each arrived record with the entry of the identifier it came under."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.hashes, self.sources = Growable(np.uint64), Growable(np.uint32)

    def add(self, hashes: U64, sources: U32) -> None:
        """Note arrived records."""
        self.hashes.extend(hashes)
        self.sources.extend(sources)

    def forget(self, sources: Collection[int]) -> None:
        """Forget the records of some entries."""
        keep = ~np.isin(self.sources.filled(), np.array(sorted(sources), np.uint32))
        if not keep.all():
            hashes, kept = self.hashes.filled()[keep], self.sources.filled()[keep]
            self.hashes, self.sources = Growable(np.uint64), Growable(np.uint32)
            self.add(hashes, kept)

    def told_apart(self, batch: RecordBatch) -> RecordBatch:
        """Everything that rows hold, under the identifiers it came under."""
        for number in range(len(batch.identities)):
            entry = self._names.entry(batch.identities[number])
            # What stands under another's identifier here has a row of its own again for late records, all its own.
            if entry is not None and self._names.is_tracked.filled()[entry] and self._names.root(entry) == entry:
                batch = self._told_apart(batch, number, entry)
        return unified(batch)

    def reading(self, identifier: bytes) -> OriginsReading | None:
        """Which records of a profile came under which identifier, for later; None where all came under its own."""
        top = self._names.entry(identifier)
        if top is None or not self._names.is_tracked.filled()[top] or self._names.root(top) != top:
            return None
        return self._reading(top)

    def _reading(self, top: int) -> OriginsReading:
        tree = sorted(self._names.subtree(top))
        named = Strings.of(self._names.get(entry) for entry in tree)
        return OriginsReading(np.array(tree, np.uint32), named, self.hashes.filled(), self.sources.filled())

    def _told_apart(self, batch: RecordBatch, number: int, top: int) -> RecordBatch:
        """The records of one identity of a batch given to those they came under."""
        reading = self._reading(top)
        told = reading.told_apart(batch, number)
        stays = np.flatnonzero(~(is_creation(batch) & (batch.record_identities == number)))
        return join_batches((told.take(stays), self._created(reading.tree.tolist())))

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
    """A record for each identifier that says no more than that it was there."""
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
    """For each wanted hash an offered one that equals it, -1 where none is left; of equal ones the last are served."""
    last, theirs = _numbered(wanted[::-1])[::-1], _numbered(offered)
    order = np.argsort(theirs)
    at = np.searchsorted(theirs[order], last)
    inside = np.minimum(at, max(order.shape[0] - 1, 0))
    hit: Bools = (theirs[order][inside] == last) if order.shape[0] else np.zeros(wanted.shape[0], np.bool_)
    return np.where(hit, order[inside] if order.shape[0] else -1, -1)


def _numbered(hashes: U64) -> U64:
    """Hashes told apart by how many equal ones stand before each."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.append(True, ordered[1:] != ordered[:-1])[: ordered.shape[0]]
    place = np.arange(ordered.shape[0]) - np.flatnonzero(starts)[np.cumsum(starts) - 1]
    numbered: U64 = np.empty(hashes.shape[0], np.uint64)
    numbered[order] = combine(ordered, place.astype(np.uint64))
    return numbered
