"""Identifiers that are part of links, numbered densely, with their columns."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from cdp_store.arrays import I64, U32, Bools
from cdp_store.columns.arena import HashKey, StringArena, hash_strings
from cdp_store.columns.growable import Growable
from cdp_store.memory.validate_chunk import require
from cdp_store.profiles.profile_times import NOT_CREATED
from cdp_store.records.records import Strings

NOBODY: Final = 0xFFFFFFFF
_LEVELS_MAX: Final = 256  # of identifiers under each other: each has a kind of its own


class Names:
    """An entry per identifier.

    target      u32, at home: the entry of the identifier it is linked to, or NOBODY
    place       u32, at home: the identifier that its records left for, or NOBODY
    parent      u32, here: the identifier that its records are under since they arrived, or NOBODY
    own_created i64: creation time by its own records, if that of its row differs
    is_tracked  True if own_created is kept; has_children: True if records of others may be under it
    """

    def __init__(self, key: HashKey) -> None:
        self._key = key
        self.arena = StringArena(key)
        self.target, self.place, self.parent = (Growable(np.uint32) for _ in range(3))
        self.own_created = Growable(np.int64)
        self.is_tracked, self.has_children = Growable(np.bool_), Growable(np.bool_)

    def __len__(self) -> int:
        return len(self.arena)

    def insert(self, table: Strings) -> U32:
        """Entry of each identifier; unknown ones get one."""
        index: U32 = np.arange(len(table), dtype=np.uint32)
        entries = self.arena.insert(index, table, hash_strings(self._key, table)).astype(np.uint32)
        self._reach()
        return entries

    def find(self, table: Strings) -> I64:
        """Entry of each identifier, -1 if unknown."""
        index: U32 = np.arange(len(table), dtype=np.uint32)
        return self.arena.find(index, table, hash_strings(self._key, table))

    def entry(self, identifier: bytes) -> int | None:
        """Entry of one identifier."""
        found = int(self.find(Strings.of([identifier]))[0])
        return None if found < 0 else found

    def add(self, identifier: bytes) -> int:
        """Entry of one identifier, created if missing."""
        return int(self.insert(Strings.of([identifier]))[0])

    def get(self, entry: int) -> bytes:
        """The identifier of an entry."""
        return self.arena.get(int(entry))

    def root(self, entry: int) -> int:
        """Entry of the identifier that the records of an entry are under here."""
        parent = self.parent.filled()
        while parent[entry] != NOBODY:
            entry = int(parent[entry])
        return entry

    def subtree(self, entry: int) -> list[int]:
        """The entry and all entries with records under it."""
        found = [entry]
        for each in found:
            if self.has_children.filled()[each]:
                found.extend(np.flatnonzero(self.parent.filled() == each).tolist())
        return found

    def adopt(self, child: int, parent: int) -> None:
        """Puts the records of one entry under another."""
        self.parent.filled()[child] = parent
        self.has_children.filled()[parent] = True

    def let_go(self, entry: int) -> None:
        """Removes an entry from its parent."""
        self.parent.filled()[entry] = NOBODY

    def track(self, entry: int, created_ms: int) -> None:
        """Starts to keep the time at which an entry's own records created a profile."""
        self.is_tracked.filled()[entry] = True
        self.own_created.filled()[entry] = created_ms

    def untrack(self, entry: int) -> None:
        """Stops keeping it."""
        self.is_tracked.filled()[entry] = False
        self.own_created.filled()[entry] = NOT_CREATED

    def lower_created(self, entries: Any, times: I64) -> None:
        """Lowers the kept creation times of tracked entries to those of their own records."""
        tracked: Bools = self.is_tracked.filled()[entries]
        np.minimum.at(self.own_created.filled(), entries[tracked], times[tracked])

    def check_parents(self) -> None:
        """Raises StructureBroken if entries are under each other in a circle, or a parent is not marked as one."""
        parent = self.parent.filled()
        above = parent.copy()
        for _ in range(_LEVELS_MAX):
            held = above != NOBODY
            if not held.any():
                break
            above[held] = parent[above[held]]
        require(bool(np.all(above == NOBODY)), "identity", "identifiers stand under each other in a circle")
        known = self.has_children.filled()[parent[parent != NOBODY]]
        require(bool(np.all(known)), "identity", "an identifier does not know that others stand under it")

    @property
    def nbytes(self) -> int:
        """Memory occupied."""
        columns = (self.target, self.place, self.parent, self.own_created, self.is_tracked, self.has_children)
        return self.arena.nbytes + sum(column.nbytes for column in columns)

    def _reach(self) -> None:
        new = len(self.arena) - self.target.count
        if new:
            for column in (self.target, self.place, self.parent):
                column.extend(np.full(new, NOBODY, np.uint32))
            self.own_created.extend(np.full(new, NOT_CREATED, np.int64))
            for flags in (self.is_tracked, self.has_children):
                flags.extend(np.zeros(new, np.bool_))
