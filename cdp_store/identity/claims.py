"""Claims: identifiers that were seen together, and the owner of each, independent of the order of arrival.

An identifier is linked to the one of the highest kind that it was ever seen with (a user id before an e-mail address
before others); among several of that kind to the one it was seen with at the earliest time, and of one time to the
least. Unlinked pairs never count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cdp_store.arrays import I64, U8, U32, U64, Bools
from cdp_store.columns.arena import HashKey, StringArena, hash_strings
from cdp_store.columns.growable import Growable
from cdp_store.identity.identity_changes import Links
from cdp_store.identity.linked_identifiers import NOBODY, Names
from cdp_store.ids import decode_identifier, rank_of_kind
from cdp_store.limits import TIME_MAX_MS
from cdp_store.records.records import Strings

_NEVER = TIME_MAX_MS + 1


@dataclass(frozen=True, slots=True)
class Claim:
    """Two identifiers seen together: first time and its message; `apart`: unlinked; `holds`: it is the link."""

    lower: bytes
    upper: bytes
    time_ms: int | None
    message_id: bytes
    apart: bool
    holds: bool


@dataclass(frozen=True, slots=True)
class KeptClaims:
    """Pairs of identifiers, each with its earliest time: (offsets i64[n + 1], bytes) of lower and upper ones, encoded;
    times i64[n]."""

    lower: tuple[I64, U8]
    upper: tuple[I64, U8]
    times: I64

    def __len__(self) -> int:
        return int(self.times.shape[0])


class Claims:
    """The pairs seen, and the targets that follow from them."""

    def __init__(self, key: HashKey, names: Names) -> None:
        self._key, self._names = key, names
        self._pairs = StringArena(key)
        self._messages = StringArena(key)
        self._messages.insert(*_no_message(key))
        self.times, self.messages, self.apart = Growable(np.int64), Growable(np.uint32), Growable(np.bool_)

    def __len__(self) -> int:
        return len(self._pairs)

    def news(self, links: Links) -> Bools:
        """Mask of the claims that are new: bool[n]."""
        lower, upper = self._names.find(links.lower), self._names.find(links.upper)
        known = np.flatnonzero((lower >= 0) & (upper >= 0))
        fresh: Bools = np.ones(len(links), np.bool_)
        if known.size:
            index, table, hashes = self._paired(lower[known], upper[known])
            pairs = self._pairs.find(index, table, hashes)
            found, pairs = known[pairs >= 0], pairs[pairs >= 0]
            apart = self.apart.filled()[pairs]
            fresh[found] = ~apart & (links.apart | (links.times[found] < self.times.filled()[pairs]))
        return fresh

    def add(self, links: Links) -> list[int]:
        """Records pairs; returns the entries whose target changed."""
        if links.apart:
            lower, pairs, _ = self._paired_new(links)
            self.apart.filled()[pairs] = True
            return [entry for entry in np.unique(lower).tolist() if self._choose_anew(entry)]
        return self._choose(*self._note(links))

    def _note(self, links: Links) -> tuple[U32, U32, I64]:
        """Records times and messages; returns (lower, upper, pair) of linked pairs whose earliest time changed."""
        lower, pairs, upper = self._paired_new(links)
        order = np.argsort(-links.times, kind="stable")  # the earliest of a pair is recorded last
        order = order[links.times[order] < self.times.filled()[pairs[order]]]
        self.times.filled()[pairs[order]] = links.times[order]
        table = links.message_ids
        messages = self._messages.insert(np.arange(len(table), dtype=np.uint32), table, hash_strings(self._key, table))
        self.messages.filled()[pairs[order]] = messages[order]
        order = order[~self.apart.filled()[pairs[order]]]
        return lower[order], upper[order], pairs[order]

    def _paired_new(self, links: Links) -> tuple[U32, I64, U32]:
        """(lower, pair, upper) of claims; new pairs get a number."""
        lower, upper = self._names.insert(links.lower), self._names.insert(links.upper)
        pairs = self._pairs.insert(*self._paired(lower.astype(np.int64), upper.astype(np.int64)))
        self._reach()
        return lower, pairs, upper

    def about(self, identifier: bytes) -> Iterator[Claim]:
        """Every pair with an identifier in it."""
        return self.about_any([identifier])

    def about_any(self, identifiers: Sequence[bytes]) -> Iterator[Claim]:
        """Every pair with one of some identifiers in it, once."""
        entries = self._names.find(Strings.of(identifiers))
        asked: Bools = np.zeros(len(self._names), np.bool_)
        asked[entries[entries >= 0]] = True
        lower, upper = self._columns()
        for pair in np.flatnonzero(asked[lower] | asked[upper]).tolist() if asked.any() else ():
            time_ms = int(self.times.filled()[pair])
            yield Claim(
                self._names.get(lower[pair]),
                self._names.get(upper[pair]),
                None if time_ms == _NEVER else time_ms,
                self._messages.get(int(self.messages.filled()[pair])),
                bool(self.apart.filled()[pair]),
                int(self._names.target.filled()[lower[pair]]) == int(upper[pair]),
            )

    def all(self) -> tuple[U32, U32, I64, tuple[I64, U8], Bools]:
        """(lower, upper: entries of names; earliest time, _NEVER without; message ids; apart) of all pairs."""
        lower, upper = self._columns()
        ids = self._messages.gather(self.messages.filled().astype(np.int64))
        return lower, upper, self.times.filled(), ids, self.apart.filled()

    def kept(self) -> KeptClaims:
        """The pairs that were stated and not unlinked."""
        lower, upper, times, _, apart = self.all()
        chosen = np.flatnonzero(~apart & (times != _NEVER))
        gather = self._names.arena.gather
        return KeptClaims(gather(lower[chosen].astype(np.int64)), gather(upper[chosen].astype(np.int64)), times[chosen])

    def load(self, links: Links, apart: Bools) -> None:
        """Loads the pairs that `all` returned, each named once; does not choose targets."""
        self._note(links)
        self.apart.filled()[:] = apart

    @property
    def nbytes(self) -> int:
        """Memory occupied."""
        columns = (self.times, self.messages, self.apart)
        return self._pairs.nbytes + self._messages.nbytes + sum(column.nbytes for column in columns)

    def _choose(self, lower: U32, upper: U32, pairs: I64) -> list[int]:
        """Chooses between new claims and existing links. Nearly all are of identifiers without any."""
        target, changed = self._names.target.filled(), list[int]()
        distinct, index, counts = np.unique(lower, return_index=True, return_counts=True)
        simple = (target[distinct] == NOBODY) & (counts == 1)
        target[distinct[simple]] = upper[index[simple]]
        changed.extend(distinct[simple].tolist())
        for entry in distinct[~simple].tolist():
            if self._choose_among(entry, pairs[lower == entry]):
                changed.append(entry)
        return changed

    def _choose_among(self, entry: int, pairs: I64) -> bool:
        """Sets an entry's target to the best of some pairs and the present one; True if it changed."""
        target = self._names.target.filled()
        before, candidates = int(target[entry]), pairs
        if before != NOBODY:
            both = np.array([entry], np.int64), np.array([before], np.int64)
            candidates = np.append(pairs, self._pairs.find(*self._paired(*both)))
        candidates = candidates[~self.apart.filled()[candidates]]
        _, upper = self._columns()
        best = min(map(int, candidates), key=lambda pair: self._weight(int(upper[pair]), pair), default=None)
        target[entry] = NOBODY if best is None else upper[best]
        return int(target[entry]) != before

    def _choose_anew(self, entry: int) -> bool:
        lower, _ = self._columns()
        seen = np.flatnonzero((lower == entry) & (self.times.filled() != _NEVER))
        before = int(self._names.target.filled()[entry])
        self._names.target.filled()[entry] = NOBODY
        self._choose_among(entry, seen)
        return int(self._names.target.filled()[entry]) != before

    def _weight(self, upper: int, pair: int) -> tuple[tuple[int, str], int, bytes]:
        identifier = self._names.get(upper)
        return rank_of_kind(decode_identifier(identifier)[0]), int(self.times.filled()[pair]), identifier

    def _paired(self, lower: I64, upper: I64) -> tuple[U32, Strings, U64]:
        """Pairs of entries as strings of 8 bytes, with the numbers and hashes that an arena needs."""
        count = lower.shape[0]
        both = np.stack([lower, upper], axis=1).astype(np.uint32)
        table = Strings(np.arange(0, 8 * count + 1, 8, dtype=np.uint32), both.reshape(-1).view(np.uint8))
        return np.arange(count, dtype=np.uint32), table, hash_strings(self._key, table)

    def _columns(self) -> tuple[U32, U32]:
        _, data = self._pairs.filled()
        both = data[: 8 * len(self._pairs)].view(np.uint32).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def _reach(self) -> None:
        new = len(self._pairs) - self.times.count
        if new:
            self.times.extend(np.full(new, _NEVER, np.int64))
            self.messages.extend(np.zeros(new, np.uint32))
            self.apart.extend(np.zeros(new, np.bool_))


def _no_message(key: HashKey) -> tuple[U32, Strings, U64]:
    """The empty message id, with number 0."""
    table = Strings.of([b""])
    return np.zeros(1, np.uint32), table, hash_strings(key, table)
