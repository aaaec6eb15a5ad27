"""Message ids and batch ids that a partition has already taken, bounded in memory.

A message id counts for the identifier that names the profile of its record, as given. Two identifiers may use the same
id, even after they are linked, and in any partitions. Versions before snapshots of format 4 kept ids alone. Those ids
count for every identifier until the first generation after them is full or old.

An erasure leaves marks among the ids of messages and of batches: a keyed hash of each identifier. So the erasure is
remembered for as long as the erased records may be sent again.

An id is remembered for at least DEDUPE_WINDOW_MS or DEDUPE_IDS_PER_GENERATION further ids, whichever ends first. Time
is that of the batches' receipt as logged, so recovery remembers what the previous process did.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cdp_store.arrays import I64, U64, Bools
from cdp_store.columns.arena import HashKey
from cdp_store.identity.identity_changes import Links, TakenElsewhere
from cdp_store.ids import SequenceNumber
from cdp_store.kernels import hashing, tables
from cdp_store.limits import BATCH_IDS_REMEMBERED, DEDUPE_IDS_PER_GENERATION, DEDUPE_WINDOW_MS
from cdp_store.memory.digest import combine
from cdp_store.records.records import RecordBatch, Strings

_TABLE_ROWS_MIN = 1024
_BATCH_ID_BYTES = 200  # a key of 16 bytes, a number, and their entry in the dictionary
_ERASED, _KEPT_APART = b"erased", b"kept apart"  # stand for an identifier in marks; encoded ones begin differently
_BATCH_MARK = b"erased:"  # prefix of marks among the ids of batches
_ID_BITS = 128  # this keyed hash is wide enough to stand for the id: no collision is expected in a cluster's life


class IdSet:
    """One growing hash set of 128-bit ids; `started_ms` is when its first id was received."""

    def __init__(self, started_ms: int = 0) -> None:
        self.started_ms = started_ms
        # (0, 0) is a free slot: it is the hash of the empty id, which is never added.
        self.table: U64 = np.zeros((0, 2), np.uint64)  # many sets never hold an id
        self.count = 0

    def add(self, high: U64, low: U64) -> None:
        """Adds the ids that are not in the set yet."""
        # At most half full, so that probes stay short and always end at a free slot.
        wanted = (self.count + high.shape[0]) * 2
        if wanted > self.table.shape[0]:
            # A power of two: the kernels find a slot by a mask and wrap around with it.
            grown: U64 = np.zeros((max(_TABLE_ROWS_MIN, 1 << int(wanted - 1).bit_length()), 2), np.uint64)
            kept = self.table[(self.table != 0).any(axis=1)]
            tables.insert_ids(grown, np.ascontiguousarray(kept[:, 0]), np.ascontiguousarray(kept[:, 1]))
            self.table = grown
        self.count += tables.insert_ids(self.table, high, low)

    def contains(self, high: U64, low: U64) -> Bools:
        """Mask of these ids that are in the set."""
        out: Bools = np.zeros(high.shape[0], np.bool_)
        if self.count:
            tables.contains_ids(self.table, high, low, out)
        return out


@dataclass(frozen=True, slots=True)
class IdGeneration:
    """A copy of one generation for a snapshot; `table` u64[capacity, 2], (0, 0) = free."""

    started_ms: int
    table: U64
    of_identifiers: bool = True  # False: ids alone, as versions before snapshots of format 4 kept them

    def ids(self) -> tuple[U64, U64]:
        """(high, low) of the ids, in no particular order."""
        kept = self.table[(self.table != 0).any(axis=1)]
        return np.ascontiguousarray(kept[:, 0]), np.ascontiguousarray(kept[:, 1])


def hash_ids(key: HashKey, ids: Strings) -> tuple[U64, U64]:
    """128-bit keyed hash of each id as two uint64 arrays; the empty id gives (0, 0)."""
    high: U64 = np.zeros(len(ids), np.uint64)
    low: U64 = np.zeros(len(ids), np.uint64)
    if not ids.data.shape[0]:
        return high, low
    hashing.hash_ids(np.uint64(key[0]), np.uint64(key[1]), ids.offsets, ids.data, high, low)
    return high, low


@dataclass(frozen=True, slots=True)
class RecordIds:
    """128-bit keyed hashes of the message ids of some records, (0, 0) where there is none: u64[n] each.

    `high` and `low` hash an id together with the identifier of its record; `alone` has (high, low) of the id by itself.
    """

    high: U64
    low: U64
    alone: tuple[U64, U64]

    @property
    def given(self) -> Bools:
        """Mask of the records that have an id: bool[n]."""
        given: Bools = (self.high != 0) | (self.low != 0)
        return given


def hash_records(key: HashKey, batch: RecordBatch) -> RecordIds:
    """Ids of the records of a batch, hashed with their identifiers."""
    hashes: U64 = np.zeros((len(batch), 4), np.uint64)
    if batch.message_ids.data.shape[0]:
        hashing.hash_records(
            np.uint64(key[0]),
            np.uint64(key[1]),
            (batch.message_ids.offsets, batch.message_ids.data),
            (batch.identities.offsets, batch.identities.data, batch.record_identities),
            (batch.givers.offsets, batch.givers.data, batch.record_givers),
            hashes,
        )
    high, low, alone_high, alone_low = np.ascontiguousarray(hashes.T)
    return RecordIds(high, low, (alone_high, alone_low))


def identified(alone: tuple[U64, U64], owners: tuple[U64, U64]) -> tuple[U64, U64]:
    """Hashes of ids combined with identifiers, from the hashes of both: (high, low), (0, 0) where there is no id."""
    given = (alone[0] != 0) | (alone[1] != 0)
    high, low = (np.where(given, combine(own, owner), 0) for own, owner in zip(alone, owners, strict=True))
    return high, low


def repeated(high: U64, low: U64) -> Bools:
    """Mask of the ids that occur earlier in these arrays, never of the empty id: bool[n]."""
    out: Bools = np.zeros(high.shape[0], np.bool_)
    if low.any() or high.any():
        tables.repeated_ids(high, low, out)
    return out


class MessageIds:
    """The last one or two generations of message ids; the older one is dropped when the newer is full or old.

    Ids from older versions are kept too, until the first generation that began after them is full or old.
    """

    def __init__(
        self, key: HashKey, capacity: int = DEDUPE_IDS_PER_GENERATION, window_ms: int = DEDUPE_WINDOW_MS
    ) -> None:
        self._key = key
        self._capacity, self._window_ms = capacity, window_ms
        self._older, self._newer = IdSet(), IdSet()
        self._alone = list[IdSet]()  # ids from older versions

    def hash(self, batch: RecordBatch) -> RecordIds:
        """Ids of the records of a batch, hashed with their identifiers."""
        return hash_records(self._key, batch)

    def known(self, ids: RecordIds) -> Bools:
        """Mask of the records that were taken before, as far as is remembered: bool[n]."""
        known = self.seen(ids.high, ids.low)
        for generation in self._alone:
            known |= generation.contains(*ids.alone)
        return known

    def seen(self, high: U64, low: U64) -> Bools:
        """True for each id that was added before; the empty id never was."""
        out: Bools = np.zeros(high.shape[0], np.bool_)
        for generation in (self._older, self._newer):
            out |= generation.contains(high, low)
        return out

    def add(self, high: U64, low: U64, received_ms: int = 0) -> None:
        """Remembers these ids, received at `received_ms`."""
        given = (high != 0) | (low != 0)
        if not given.any():
            return
        is_full = self._newer.count + int(given.sum()) > self._capacity
        # One generation at a time: a clock that jumps ahead drops one, never both.
        if self._newer.count and (is_full or received_ms - self._newer.started_ms > self._window_ms):
            self._older, self._newer = self._newer, IdSet(received_ms)
            self._alone = []
        elif not self._newer.count:
            self._newer.started_ms = received_ms
        self._newer.add(high[given], low[given])

    def said(self, links: Links) -> Bools:
        """Mask of the links of records that were taken, or of quarantined ones with an erased identifier: bool[n].

        Records older than the memory of ids are no longer known.
        """
        alone = hash_ids(self._key, links.message_ids)
        ids = RecordIds(*identified(alone, hash_ids(self._key, links.upper)), alone)
        return self.known(ids) | self._kept_apart(ids)

    def met(self, batch: RecordBatch) -> Bools:
        """Mask of the records that were taken, or in quarantine when an identifier they state was erased: bool[n]."""
        ids = self.hash(batch)
        return self.known(ids) | self._kept_apart(ids)

    def unknown(self, taken: TakenElsewhere) -> TakenElsewhere:
        """Those of the ids that are not remembered."""
        return taken.take(~self.seen(taken.high, taken.low))

    def forget(
        self,
        marks: tuple[U64, U64],
        erased: Iterable[RecordBatch],
        kept_apart: Iterable[RecordBatch],
        received_ms: int,
    ) -> None:
        """Notes marks of erased identifiers, and the quarantined records `erased` with them, which count as taken from
        now on.

        Records `kept_apart` stay in quarantine without what they stated about the identifiers. If they are sent again,
        that part stays out as well.
        """
        self.add(*marks, received_ms)
        for batch in erased:
            ids = self.hash(batch)
            self.add(ids.high, ids.low, max(received_ms, batch.received_ms))
        for batch in kept_apart:
            ids = self.hash(batch)
            self.add(*self._marked(_KEPT_APART, ids.high, ids.low), max(received_ms, batch.received_ms))

    def marks(self, identifiers: Strings) -> tuple[U64, U64]:
        """Marks of erased identifiers among the ids: keyed hashes, (high, low) u64[n]."""
        return self._marked(_ERASED, *hash_ids(self._key, identifiers))

    def _kept_apart(self, ids: RecordIds) -> Bools:
        return self.seen(*self._marked(_KEPT_APART, ids.high, ids.low))

    def _marked(self, mark: bytes, high: U64, low: U64) -> tuple[U64, U64]:
        """Hashes of others combined with a mark; (0, 0) for (0, 0)."""
        # Hashed like an identifier: a mark is stored like an id, and ages with the ids of its time.
        [own_high], [own_low] = hash_ids(self._key, Strings.of([mark]))
        return identified((high, low), (np.full(high.shape[0], own_high), np.full(low.shape[0], own_low)))

    def generations(self) -> tuple[IdGeneration, ...]:
        """Everything that is remembered: generations of older versions first, then the older and the newer one."""
        # Copies: the newest table is written to again once the lock is released.
        alone = tuple(IdGeneration(each.started_ms, each.table.copy(), False) for each in self._alone if each.count)
        own = (IdGeneration(each.started_ms, each.table.copy()) for each in (self._older, self._newer) if each.count)
        return (*alone, *own)

    def remember(self, generations: Sequence[IdGeneration]) -> None:
        """Replaces what is remembered by the output of `generations`."""
        self._alone = [_loaded(each) for each in generations if not each.of_identifiers]
        own = [_loaded(each) for each in generations if each.of_identifiers]
        self._older, self._newer = [IdSet(), IdSet(), *own][-2:]

    @property
    def nbytes(self) -> int:
        """Memory occupied."""
        return sum(each.table.nbytes for each in (self._older, self._newer, *self._alone))


def _loaded(generation: IdGeneration) -> IdSet:
    loaded = IdSet(generation.started_ms)
    loaded.add(*generation.ids())
    return loaded


class BatchIds:
    """The sequence numbers under which the most recent batches were logged, by batch id."""

    def __init__(self, capacity: int = BATCH_IDS_REMEMBERED) -> None:
        self._capacity = capacity
        self._known = OrderedDict[bytes, SequenceNumber]()
        self._mark_count = 0

    def get(self, batch: RecordBatch) -> SequenceNumber | None:
        """Position of this batch in the log, if it has one; batches without an id are never known."""
        return self._known.get(batch.batch_id) if batch.batch_id else None

    def add(self, batch_id: bytes, sequence: SequenceNumber) -> None:
        """Remembers a batch id, forgetting the oldest beyond capacity."""
        if not batch_id:
            return
        self._mark_count += batch_id not in self._known and batch_id.startswith(_BATCH_MARK)
        self._known[batch_id] = sequence
        # A mark noted again, at a second erasure, counts as new.
        self._known.move_to_end(batch_id)
        if len(self._known) > self._capacity:
            oldest, _ = self._known.popitem(last=False)
            self._mark_count -= oldest.startswith(_BATCH_MARK)

    def forget(self, marks: tuple[U64, U64], sequence: SequenceNumber) -> None:
        """Notes marks of erased identifiers: a batch may be remembered for longer than its message ids."""
        for mark in _mark_keys(marks):
            self.add(mark, sequence)

    def erased_at(self, marks: tuple[U64, U64]) -> I64:
        """Position of the last erasure that noted each mark: i64[n]; -1 where there was none."""
        # Called for every link of a batch; few partitions ever hold a mark.
        if not self._mark_count:
            return np.full(marks[0].shape[0], -1, np.int64)
        return np.array([self._known.get(mark, -1) for mark in _mark_keys(marks)], np.int64)

    @property
    def nbytes(self) -> int:
        """Memory occupied, by the measured size of an entry."""
        return len(self._known) * _BATCH_ID_BYTES

    def items(self) -> list[tuple[bytes, SequenceNumber]]:
        """Everything that is remembered, the oldest first."""
        return list(self._known.items())


def _mark_keys(marks: tuple[U64, U64]) -> Iterator[bytes]:
    data = np.stack(marks, axis=1).tobytes()
    return (_BATCH_MARK + data[at : at + 16] for at in range(0, len(data), 16))
