"""The identifiers of one partition, and the effect of each change on the partition's memory.

docs/design/identity.md describes the protocol. Changes come from the log in its order: a replay has the same effect.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, MutableSet
from dataclasses import dataclass, replace
from heapq import merge
from itertools import groupby, islice

import numpy as np
from sortedcontainers import SortedSet

from cdp_store.arrays import I64, Bools
from cdp_store.columns.arena import HashKey
from cdp_store.identity.claims import Claims
from cdp_store.identity.dropped import Dropped, dropped_of, take_dropped
from cdp_store.identity.identity_changes import (
    AllHome,
    Arrival,
    Departure,
    Farewell,
    IdentityChange,
    Links,
    Parcel,
    Recall,
    Seating,
    TakenElsewhere,
)
from cdp_store.identity.joining import Joining, MemoryChange, applying, renamed, renamed_all
from cdp_store.identity.linked_identifiers import NOBODY, Names
from cdp_store.identity.origins import Origins
from cdp_store.identity.pieces import Pieces, next_piece, staged_with, whole
from cdp_store.identity.seats import Seats
from cdp_store.identity.ties import in_order, tied_rows
from cdp_store.identity.transfers import OpenTransfer, Transfers
from cdp_store.ids import SequenceNumber
from cdp_store.memory.contents import given_of, is_creation, record_hashes, unified
from cdp_store.memory.validate_chunk import require
from cdp_store.memory.view import PartitionView
from cdp_store.profiles.profile_times import NOT_CREATED
from cdp_store.records.records import RecordBatch, Strings, join_batches

Find = Callable[[list[bytes]], list[int | None]]  # rows of identifiers in the partition's memory


@dataclass(frozen=True, slots=True)
class DueMoves:
    """Moves that are due. Departures: (identifier, the one it belongs under) of profiles that can leave now. Recalls:
    (identifier, the one its records left for) of those that left for an identifier that they do not belong under."""

    departures: tuple[tuple[bytes, bytes], ...]
    recalls: tuple[tuple[bytes, bytes], ...]

    def __bool__(self) -> bool:
        return bool(self.departures or self.recalls)


class IdentityState:
    """Links of the identifiers that live here, and the sources and destinations of records."""

    def __init__(self, key: HashKey) -> None:
        self.names = Names(key)
        self.claims = Claims(key, self.names)
        self.origins = Origins(self.names)
        self.transfers = Transfers()
        self.seats = Seats(key)
        # Sorted, because a backlog of any size is reported and worked off in small pieces, from the lowest entry on.
        self.guests: MutableSet[int] = SortedSet()  # entries of profiles here that belong to another partition
        self._due: MutableSet[int] = SortedSet()
        self._astray: MutableSet[int] = SortedSet()
        self._pieces = dict[SequenceNumber, Pieces]()  # of the transfer asked for last

    @property
    def is_empty(self) -> bool:
        """True if nothing was ever linked."""
        return len(self.names) == len(self.seats) == 0 and self.transfers.is_empty

    def knows(self, identifier: bytes) -> bool:
        """True if this partition knows of a record that named the identifier together with others."""
        return self.names.entry(identifier) is not None or self.seats.names(identifier)

    def take_records(self, batch: RecordBatch) -> None:
        """Notes records of an applied batch under linked identifiers, or those whose profiles hold others' records."""
        if len(self.names) == 0:
            return
        entries = self.names.find(batch.identities)
        known = np.flatnonzero(entries >= 0)
        if not known.size:
            return
        self._note_due(entries[known])
        owners = entries[batch.record_identities]
        given = owners >= 0
        self.names.lower_created(owners[given], batch.record_times[given])

    def is_linked(self, identifiers: Strings) -> Bools:
        """Mask of the identifiers that belong to the profile of another one: bool[n]."""
        linked: Bools = np.zeros(len(identifiers), np.bool_)
        if len(self.names):
            entries = self.names.find(identifiers)
            known = entries >= 0
            linked[known] = self.names.target.filled()[entries[known]] != NOBODY
        return linked

    def means_something(self, change: IdentityChange) -> bool:
        """True if a change still changes anything here; only such changes are logged."""
        match change:
            case Links():
                return len(change) > 0
            case Departure():
                return change.to not in self.transfers.open and len(change.moves) > 0
            case Arrival():
                if self.transfers.has_received(change.source, change.transfer):
                    return False
                return change.piece == next_piece(self.transfers.arriving.get(change.source), change)
            case Farewell():
                opened = self.transfers.open.get(change.to)
                return opened is not None and opened.number == change.transfer
            case Seating() | TakenElsewhere():
                return len(change) > 0
            case AllHome():
                return self._is_awaited(change)
        return self._recallable(change) is not None

    def is_moving(self, identifier: bytes, parent: bytes) -> bool:
        """True if records of an identifier are leaving, wait to go home, or wait under `parent` for a transfer to end.

        The records meant are those that came in under the identifier and are still at this partition.
        """
        entry = self.names.entry(identifier)
        if entry is None:
            return False
        opened = self.transfers.open.values()
        if entry in self.guests or any(identifier == child for each in opened for child, _ in each.parcel.parents):
            return True
        stands = self.names.parent.filled()[entry] == self.names.entry(parent)
        return bool(stands) and self.names.get(self.names.root(entry)) in self.transfers.underway()

    def still_due(self, moves: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
        """The departures to make next: guests leave first and alone, as at home their records stand first."""
        wanted = set(self.due_moves().departures)
        due = tuple(move for move in moves if move in wanted)
        return tuple(move for move in due if move[0] == move[1]) or due

    @property
    def is_due(self) -> bool:
        """True if anything has to move, or is on its way from here."""
        return bool(self._due or self.guests or self._astray or self.transfers.open)

    def due_moves(self, most: int = 1 << 30) -> DueMoves:
        """Moves that are due now, at most so many of each; those under way are left out."""
        underway, target, place = self.transfers.underway(), self.names.target.filled(), self.names.place.filled()
        departures, recalls = list[tuple[bytes, bytes]](), list[tuple[bytes, bytes]]()
        for entry, _ in islice(groupby(merge(self._due, self.guests)), most):
            identifier = self.names.get(entry)
            if identifier in underway:
                continue
            if entry in self.guests:
                departures.append((identifier, identifier))
            elif place[entry] in (NOBODY, target[entry]):
                departures.append((identifier, self.names.get(int(target[entry]))))
        for entry in islice(self._astray, most):
            identifier = self.names.get(entry)
            if identifier not in underway:
                recalls.append((identifier, self.names.get(int(place[entry]))))
        return DueMoves(tuple(departures), tuple(recalls))

    def apply(
        self, change: IdentityChange, sequence: SequenceNumber, view: PartitionView, find: Find
    ) -> list[MemoryChange]:
        """Applies a change; returns its changes of the memory that `view` shows and `find` finds profiles in."""
        match change:
            case Departure():
                return self._depart(change, sequence, view, find)
            case Arrival():
                return self._arrive(change, sequence, view, find)
            case Farewell():
                opened = self.transfers.open.pop(change.to)
                self.transfers.released[change.to] = opened.number
                return [lambda memory: memory.release(list(opened.leaving), sequence)]
            case Recall():
                return self._recall(change, sequence, view, find)
            case Links():
                self._note_targets(self.claims.add(change), find)
            case Seating():
                self.seats.apply(change)
            case AllHome():
                entry = self.names.add(change.identifier)
                self.names.place.filled()[entry] = NOBODY
                self._astray.discard(entry)
            case TakenElsewhere():
                pass  # the partition keeps message ids
        return []

    def pieces_of(self, opened: OpenTransfer) -> Pieces:
        """Pieces of an open transfer."""
        known = self._pieces.get(opened.number)
        if known is None:
            self._pieces = {opened.number: (known := Pieces.of(opened.parcel))}
        return known

    def find_due(self, find: Find) -> None:
        """Finds the moves that are due, after everything was loaded."""
        names = self.names
        linked = (names.target.filled() != NOBODY) | (names.place.filled() != NOBODY)
        self._note_targets(np.flatnonzero(linked).tolist(), find)

    def validate(self, in_transit: set[bytes]) -> None:
        """Raises StructureBroken unless transfers, marks and numbers fit together."""
        leaving = [identifier for opened in self.transfers.open.values() for identifier in opened.leaving]
        require(len(set(leaving)) == len(leaving), "transfers", "a profile leaves twice at once")
        require(in_transit <= set(leaving), "transfers", "a profile is marked as leaving and does not")
        count = len(self.names)
        require(self.names.target.count == self.names.parent.count == count, "identity", "columns differ in length")
        self.names.check_parents()
        require(len(self.claims) == self.claims.times.count, "identity", "the pairs differ in length")
        self.seats.validate()

    @property
    def nbytes(self) -> int:
        """Memory occupied."""
        return self.names.nbytes + self.claims.nbytes + self.origins.nbytes + self.seats.nbytes

    def _note_due(self, entries: I64) -> None:
        linked = entries[self.names.target.filled()[entries] != NOBODY]
        self._due |= {*linked.tolist()}

    def _note_targets(self, entries: list[int], find: Find) -> None:
        """Marks moves as due after identifiers changed their owner: what they have here, and what left."""
        target, place = self.names.target.filled(), self.names.place.filled()
        rows = find([self.names.get(entry) for entry in entries])
        for entry, row in zip(entries, rows, strict=True):
            if target[entry] == NOBODY:
                self._due.discard(entry)
            elif row is not None:
                self._due.add(entry)
            if place[entry] != NOBODY and place[entry] != target[entry]:
                self._astray.add(entry)
            else:
                self._astray.discard(entry)

    def _depart(
        self, change: Departure, sequence: SequenceNumber, view: PartitionView, find: Find
    ) -> list[MemoryChange]:
        leaving = [identifier for identifier, _ in change.moves]
        rows = [row for row in find(leaving) if row is not None]
        records = self.origins.told_apart(given_of(view, rows))
        parents, gone = list(change.moves), set[int]()
        for identifier, parent in change.moves:
            top = self.names.add(identifier)
            if parent != identifier:
                self.names.place.filled()[top] = onto = self.names.add(parent)
                if self.names.target.filled()[top] == onto:
                    self._astray.discard(top)  # logs of earlier versions do not record that all were home
            if self.names.root(top) == top:  # else its earlier records are under another's in this partition
                tree = self.names.subtree(top)
                above = self.names.parent.filled()
                parents += [(self.names.get(entry), self.names.get(above[entry])) for entry in tree[1:]]
                gone.update(tree)
            self._due.discard(top)
            self.guests.discard(top)
        for entry in gone:
            self.names.let_go(entry)
            self.names.untrack(entry)
        self.origins.forget(gone)
        dropped = self._dropped(view, find, leaving)
        parcel = Parcel(records, tuple(parents), tuple(dropped))
        self.transfers.open[change.to] = OpenTransfer(sequence, parcel, tuple(leaving))
        return [lambda memory: memory.detach(leaving, sequence)]

    def _arrive(self, change: Arrival, sequence: SequenceNumber, view: PartitionView, find: Find) -> list[MemoryChange]:
        staged = self.transfers.arriving.pop(change.source, None)
        if change.piece + 1 < change.pieces:
            self.transfers.arriving[change.source] = staged_with(staged, change)
            return []
        parcel = whole(staged, change)
        names, records = self.names, in_order(parcel.records)
        self.transfers.received[change.source] = change.transfer
        self._take_parents(parcel, view, find)
        sources = names.insert(records.identities)
        roots = np.array([names.root(int(entry)) for entry in sources], np.int64)
        owners, creation = sources[records.record_identities].astype(np.int64), is_creation(records)
        names.lower_created(owners[creation], records.record_times[creation])
        # The records here under an identifier whose records come home arrived after those had left.
        home = {child for child, parent in parcel.parents if child == parent}
        joining = self._joined(records, self._root_of, home, view, find)  # distinguished by earlier arrivals
        arrived: Bools = ~creation & (owners != roots[records.record_identities])
        if arrived.any():
            self.origins.add(record_hashes(records)[arrived], owners[arrived].astype(np.uint32))
        self._note_due(roots)
        dropped = [self._at_root(each) for each in parcel.dropped]
        return [*joining.changes(sequence), lambda memory: take_dropped(memory, [*joining.dropped, *dropped])]

    def _take_parents(self, parcel: Parcel, view: PartitionView, find: Find) -> None:
        names = self.names
        for child, parent in parcel.parents:
            entry = names.add(child)
            if child == parent:
                continue  # its place stays until nothing is left there: `AllHome`
            self._track(names.add(parent), view, find)
            if not names.is_tracked.filled()[entry] or names.root(entry) == entry:
                names.track(entry, NOT_CREATED)
            names.adopt(entry, names.add(parent))

    def _joined(
        self,
        records: RecordBatch,
        root_of: Callable[[bytes], bytes],
        returning: Collection[bytes],
        view: PartitionView,
        find: Find,
    ) -> Joining:
        """Joins records to the profiles of their roots: after the records there, or before them if they return to them.

        A profile with records of one instant on both sides is put in order as a whole.
        """
        owners = [root_of(records.identities[number]) for number in range(len(records.identities))]
        rows = np.array([-1 if row is None else row for row in find(owners)], np.int64)
        tied = sorted(tied_rows(view, records, rows))
        if not tied:
            return Joining((), (renamed(records, owners),) if len(records) else (), ())
        returns: Bools = np.array([owner in returning for owner in owners], np.bool_)[records.record_identities]
        mixed: Bools = np.isin(rows[records.record_identities], tied)
        held = self.origins.told_apart(given_of(view, tied))
        earlier, later = (records.take(np.flatnonzero(mixed & some)) for some in (returns, ~returns))
        whole = in_order(unified(join_batches((earlier, held, later))))
        whole = renamed(whole, [root_of(whole.identities[number]) for number in range(len(whole.identities))])
        gone = {row: owner for row, owner in zip(rows.tolist(), owners, strict=True) if row in tied}
        others = renamed(records, owners).take(np.flatnonzero(~mixed))
        dropped = (each for row, owner in gone.items() for each in dropped_of(view, row, owner))
        return Joining(tuple(gone.values()), tuple(part for part in (whole, others) if len(part)), tuple(dropped))

    def _root_of(self, identifier: bytes) -> bytes:
        """The identifier that the records of another one are under here."""
        return self.names.get(self.names.root(self.names.add(identifier)))

    def _at_root(self, dropped: Dropped) -> Dropped:
        """The same events under the identifier whose profile is here."""
        return replace(dropped, identifier=self._root_of(dropped.identifier))

    def _dropped(self, view: PartitionView, find: Find, leaving: list[bytes]) -> Iterator[Dropped]:
        for identifier, row in zip(leaving, find(leaving), strict=True):
            if row is not None:
                yield from dropped_of(view, row, identifier)

    def _is_awaited(self, change: AllHome) -> bool:
        """True if an identifier's records have to come home from under another one."""
        entry, parent = self.names.entry(change.identifier), self.names.entry(change.parent)
        if entry is None or parent is None or self.is_moving(change.identifier, change.parent):
            return False
        return bool(self.names.place.filled()[entry] == parent != self.names.target.filled()[entry])

    def _track(self, entry: int, view: PartitionView, find: Find) -> None:
        """Keeps the creation time by the identifier's own records, because others' records join them."""
        if not self.names.is_tracked.filled()[entry]:
            [own] = find([self.names.get(entry)])
            self.names.track(entry, NOT_CREATED if own is None else view.times.created_ms_of(own))

    def _recallable(self, change: Recall) -> tuple[int, int] | None:
        """(entry, the one its records are under), if they are here and can be separated now."""
        entry, parent = self.names.entry(change.identifier), self.names.entry(change.parent)
        if entry is None or parent is None or self.names.parent.filled()[entry] != parent:
            return None
        root = self.names.root(entry)
        underway = self.transfers.underway()
        return None if underway & {self.names.get(root), change.identifier} else (entry, root)

    def _recall(self, change: Recall, sequence: SequenceNumber, view: PartitionView, find: Find) -> list[MemoryChange]:
        found = self._recallable(change)
        assert found is not None, "only what can be recalled is logged"
        entry, root = found
        owner = self.names.get(root)
        [at] = find([owner])
        records = self.origins.told_apart(given_of(view, [] if at is None else [at]))
        tree = {self.names.get(each) for each in self.names.subtree(entry)}
        is_ours: Bools = np.array([records.identities[n] in tree for n in range(len(records.identities))], np.bool_)
        leaves = is_ours[records.record_identities] if len(records) else np.zeros(0, np.bool_)
        # It may have a row of its own again, with later arrivals.
        ours = self._joined(
            unified(records.take(np.flatnonzero(leaves))), lambda _: change.identifier, [change.identifier], view, find
        )
        self.names.let_go(entry)
        [late] = find([change.identifier])
        if late is not None:  # records that came in later have no creation time noted yet
            self.names.lower_created(np.array([entry]), np.array([view.times.created_ms_of(late)]))
        self.origins.forget([entry])
        rest = renamed_all(unified(records.take(np.flatnonzero(~leaves))), owner)
        if self.names.place.filled()[entry] == NOBODY:
            self.guests.add(entry)
        self._note_due(np.array([entry, root], np.int64))
        changes: list[MemoryChange] = [lambda memory: memory.erase([owner], sequence)] if at is not None else []
        changes += [applying(rest, sequence)] if len(rest) else []
        changes += ours.changes(sequence)
        # Dropped events can no longer be separated: they stay with the profile, while that has anything else.
        holder = owner if len(rest) else change.identifier
        dropped = [] if at is None else list(dropped_of(view, at, holder))
        return [*changes, lambda memory: take_dropped(memory, [*ours.dropped, *dropped])]
