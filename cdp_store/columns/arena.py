"""Distinct byte strings, numbered densely in order of first arrival, without a Python object per string.

The bytes lie back to back in one array, the string of entry e at data[offsets[e]:offsets[e + 1]]. A slot of the hash
table is one u32: the entry number in its low bits and, in the bits that the number leaves free, a tag of the string's
hash that spares most comparisons of bytes. So a string costs 4 bytes of offset, 5 to 8 bytes of slots, and itself.
"""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U8, U32, U64, AnyArray
from cdp_store.columns.growable import Growable, zeroed
from cdp_store.ids import LOWER_CASE
from cdp_store.kernels import hashing, strings, tables
from cdp_store.limits import NARROW_ARENA_BYTES_MAX
from cdp_store.records.records import Strings

HashKey = tuple[int, int]

_SLOTS_MIN = 16
_ENTRIES_MAX = (1 << 31) - 2  # leaves one bit of a slot for a tag; memory ends long before


def hash_strings(key: HashKey, table: Strings) -> U64:
    """Keyed hash of each string of a table."""
    hashes: U64 = np.empty(len(table), np.uint64)
    hashing.hash_strings(np.uint64(key[0]), np.uint64(key[1]), table.offsets, table.data, hashes)
    return hashes


class StringArena:
    """Maps byte strings to entry numbers 0, 1, 2 ... and back; insertion and look-up are vectorised.

    The first look-up or insertion after `fill` enters the filled strings into the slots: a start fills every arena, and
    few of them are searched soon. So a look-up may change an arena, and needs the same lock as an insertion.
    """

    __slots__ = ("_bytes", "_entry_bits", "_has_all_in_slots", "_key", "_narrow_bytes_max", "_offsets", "_slots")

    def __init__(self, key: HashKey, narrow_bytes_max: int = NARROW_ARENA_BYTES_MAX) -> None:
        self._key = (np.uint64(key[0]), np.uint64(key[1]))
        self._narrow_bytes_max = narrow_bytes_max
        self._slots: U32 = zeroed(_SLOTS_MIN, np.uint32)
        self._entry_bits = _entry_bits(_SLOTS_MIN)
        self._has_all_in_slots = True
        self._offsets: Growable[np.uint32] | Growable[np.int64] = Growable(np.uint32, _SLOTS_MIN)
        self._offsets.count = 1
        self._bytes = Growable(np.uint8, 128)

    @classmethod
    def of(cls, key: HashKey, offsets: I64, data: U8, narrow_bytes_max: int = NARROW_ARENA_BYTES_MAX) -> StringArena:
        """An arena of strings that differ, numbered in their order: (offsets i64[n + 1], bytes)."""
        arena = cls(key, narrow_bytes_max)
        count = offsets.shape[0] - 1
        if data.shape[0] > narrow_bytes_max:
            arena._offsets = Growable(np.int64, count + 1)
        arena._offsets.count = 0
        arena._offsets.extend(offsets)
        arena._bytes.extend(data)
        arena._rebuild(max(_SLOTS_MIN, count * 5 // 4 + 2))
        return arena

    def copy(self) -> StringArena:
        """The same strings under the same numbers, apart from later ones."""
        other = StringArena((int(self._key[0]), int(self._key[1])), self._narrow_bytes_max)
        other._slots, other._entry_bits = self._slots.copy(), self._entry_bits
        other._has_all_in_slots = self._has_all_in_slots
        other._offsets, other._bytes = self._offsets.copy(), self._bytes.copy()
        return other

    def __len__(self) -> int:
        return self._offsets.count - 1

    def find(self, index: U32, table: Strings, hashes: U64) -> I64:
        """Entry of string index[i] of the table, -1 where absent; `hashes` is `hash_strings` of the table."""
        self._fill_slots()
        out: I64 = np.empty(index.shape[0], np.int64)
        self._number(index, table, hashes, out, 0, -1)
        return out

    def insert(self, index: U32, table: Strings, hashes: U64) -> I64:
        """Entry of string index[i] of the table; absent ones are appended in order."""
        self._fill_slots()
        out: I64 = np.empty(index.shape[0], np.int64)
        done = self._number(index, table, hashes, out, 0, self._room())
        while done < index.shape[0]:
            left = index[done:]
            size = int((table.offsets[left + 1].astype(np.int64) - table.offsets[left]).sum())
            self._grow(left.shape[0], size)
            done = self._number(index, table, hashes, out, done, self._room())
        return out

    def fill(self, offsets: AnyArray, data: U8) -> None:
        """Appends strings known to be distinct; offsets u32 or i64 [n + 1], from 0."""
        count, size = offsets.shape[0] - 1, self._bytes.count
        if size + data.shape[0] > self._narrow_bytes_max and self._offsets.buffer.dtype != np.int64:
            wide = Growable(np.int64, self._offsets.count + count)
            wide.extend(self._offsets.filled())
            self._offsets = wide
        self._offsets.extend(offsets[1:].astype(np.int64) + size)
        self._bytes.extend(data)
        if len(self) > _fill_max(self._slots.shape[0]):
            self._slots = zeroed(len(self) * 5 // 4 + _SLOTS_MIN, np.uint32)  # free until it is written
        self._has_all_in_slots = False

    def get(self, entry: int) -> bytes:
        """Bytes of one entry."""
        offsets = self._offsets.filled()
        return self._bytes.filled()[offsets[entry] : offsets[entry + 1]].tobytes()

    def filled(self) -> tuple[AnyArray, U8]:
        """(offsets u32 or i64 [n + 1], bytes) of all entries so far, without copying; later ones do not change them."""
        return self._offsets.filled(), self._bytes.filled()

    def gather(self, entries: I64) -> tuple[I64, U8]:
        """(offsets int64[n + 1], bytes) of the given entries, in their order."""
        return strings.gather(*self.filled(), entries)

    def blank(self, entries: I64) -> None:
        """Overwrites the bytes of entries with zeros, which no look-up finds; arrays from `filled()` do not change."""
        offsets = self._offsets.filled()
        blanked = self._bytes.copy()
        for entry in entries.tolist():
            blanked.filled()[offsets[entry] : offsets[entry + 1]] = 0
        self._bytes = blanked

    def retag(self, entries: I64) -> None:
        """Puts the first byte of entries into upper case, hiding them from look-ups; arrays from `filled()` do not
        change."""
        retagged = self._bytes.copy()
        retagged.filled()[self._offsets.filled()[entries]] &= 0xFF ^ LOWER_CASE
        self._bytes = retagged

    @property
    def nbytes(self) -> int:
        """Memory occupied by all structures."""
        return self._slots.nbytes + self._offsets.nbytes + self._bytes.nbytes

    def _number(self, index: U32, table: Strings, hashes: U64, out: I64, first: int, room: int) -> int:
        done, count = tables.number_strings(
            self._slots,
            self._entry_bits,
            self._offsets.buffer,
            self._bytes.buffer,
            len(self),
            room,
            hashes,
            index,
            table.offsets,
            table.data,
            first,
            out,
        )
        self._offsets.count = count + 1
        self._bytes.count = int(self._offsets.buffer[count])
        return done

    def _room(self) -> int:
        """Number of entries that the slots and offsets have room for in all."""
        return min(_fill_max(self._slots.shape[0]), len(self._offsets.buffer) - 1)

    def _grow(self, entries: int, size: int) -> None:
        """Makes room for up to `entries` more strings of together up to `size` bytes, perhaps not for all of them.

        The number of new ones is not known: the table grows by half, and the caller calls again if that is not
        enough. Unused room for bytes and offsets costs nothing.
        """
        assert len(self) < _ENTRIES_MAX
        self._bytes.reserve(size)
        if self._bytes.count + size > self._narrow_bytes_max and self._offsets.buffer.dtype != np.int64:
            wide = Growable(np.int64, self._offsets.buffer.shape[0])
            wide.extend(self._offsets.filled())
            self._offsets = wide
        self._offsets.reserve(entries)
        if len(self) >= _fill_max(self._slots.shape[0]):
            self._rebuild(self._slots.shape[0] * 3 // 2)

    def _fill_slots(self) -> None:
        """Enters what `fill` brought since the last look-up."""
        if not self._has_all_in_slots:
            self._rebuild(self._slots.shape[0])
            self._has_all_in_slots = True

    def _rebuild(self, capacity: int) -> None:
        self._entry_bits = _entry_bits(capacity)
        slots: U32 = zeroed(capacity, np.uint32)
        tables.rebuild_slots(slots, self._entry_bits, self._offsets.buffer, self._bytes.buffer, len(self), *self._key)
        self._slots = slots


def _fill_max(capacity: int) -> int:
    """Number of entries at which a table grows: beyond four fifths, linear probing gets long."""
    return min(capacity * 4 // 5, _ENTRIES_MAX)


def _entry_bits(capacity: int) -> int:
    return (_fill_max(capacity) + 1).bit_length()
