"""Identifiers under which no record is accepted any more, known only by keyed hashes of 128 bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from cdp_store.arrays import I64, U64, Bools
from cdp_store.columns.arena import HashKey
from cdp_store.log.controls import Suppression
from cdp_store.partition.dedupe import IdSet, hash_ids
from cdp_store.records.records import Strings

TABLE = "suppressed"  # a file of a snapshot, next to those of identifiers


def fingerprints(key: HashKey, identifiers: Strings) -> list[bytes]:
    """The 16 bytes that stand for each encoded identifier."""
    high, low = hash_ids(key, identifiers)
    return [part.tobytes() for part in np.stack((high, low), axis=1)]


@dataclass(frozen=True, slots=True)
class Suppressions:
    """Fingerprints with the time each was suppressed; immutable: a change returns another value."""

    key: HashKey
    since_ms: Mapping[bytes, int] = field(default_factory=dict)
    _known: IdSet = field(default_factory=IdSet)

    @staticmethod
    def of(key: HashKey, since_ms: Mapping[bytes, int]) -> Suppressions:
        """Suppressions of these fingerprints, with their times."""
        known, pairs = IdSet(), _pairs(since_ms)
        if since_ms:
            known.add(np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1]))
        return Suppressions(key, dict(since_ms), known)

    def __len__(self) -> int:
        return len(self.since_ms)

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        return iter(sorted(self.since_ms.items()))

    def among(self, identifiers: Strings) -> Bools:
        """Mask of the encoded identifiers that are suppressed: bool[n]."""
        if not self.since_ms or not len(identifiers):
            return np.zeros(len(identifiers), np.bool_)
        return self._known.contains(*hash_ids(self.key, identifiers))

    def news(self, change: Suppression) -> Suppression:
        """The part of a change that is new."""
        added = tuple(each for each in change.added if each not in self.since_ms)
        return Suppression(change.since_ms, added, tuple(each for each in change.lifted if each in self.since_ms))

    def changed(self, change: Suppression) -> Suppressions:
        """The suppressions after a change."""
        # Kept ones come last in the merge: an identifier suppressed again keeps its first time.
        kept = {each: since for each, since in self.since_ms.items() if each not in change.lifted}
        return Suppressions.of(self.key, {**dict.fromkeys(change.added, change.since_ms), **kept})

    def joined(self, other: Suppressions) -> Suppressions:
        """The suppressions of both."""
        return Suppressions.of(self.key, {**other.since_ms, **self.since_ms})

    def to_table(self) -> pa.Table:
        """Table of the fingerprints for a snapshot."""
        pairs = _pairs(self.since_ms)
        since: I64 = np.array(list(self.since_ms.values()), np.int64)
        return pa.table({"high": pa.array(pairs[:, 0]), "low": pa.array(pairs[:, 1]), "since": pa.array(since)})

    @staticmethod
    def from_table(key: HashKey, table: pa.Table) -> Suppressions:
        """Suppressions from the output of `to_table`."""
        pairs = np.stack([table.column(name).to_numpy() for name in ("high", "low")], axis=1)
        since = table.column("since").to_pylist()
        return Suppressions.of(key, dict(zip([pair.tobytes() for pair in pairs], since, strict=True)))


def _pairs(since_ms: Mapping[bytes, int]) -> U64:
    pairs: U64 = np.frombuffer(b"".join(since_ms), np.uint64).reshape(-1, 2)
    return pairs
