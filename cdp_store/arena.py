"""Distinct byte strings, numbered densely in order of first arrival, without a Python object per string."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U8, U32, U64
from cdp_store.growable import Growable
from cdp_store.kernels import hashing, strings, tables

HashKey = tuple[int, int]

_SLOTS_MIN = 64


class StringArena:
    """Maps (scope, bytes) to an entry number 0, 1, 2 ... and back; insertion and look-up are vectorised."""

    def __init__(self, key: HashKey) -> None:
        self._key = (np.uint64(key[0]), np.uint64(key[1]))
        self._slots: U32 = np.zeros(_SLOTS_MIN, np.uint32)
        self._hashes = Growable(np.uint64)
        self._scopes = Growable(np.uint32)
        self._ends = Growable(np.int64)
        self._ends.extend(np.zeros(1, np.int64))
        self._bytes = Growable(np.uint8, 1024)

    def __len__(self) -> int:
        return self._hashes.count

    @property
    def scopes(self) -> U32:
        """Scope of each entry."""
        return self._scopes.filled()

    def find(self, scopes: U32, index: U32, offsets: U32, data: U8) -> I64:
        """Entry of (scopes[i], string index[i] of offsets/data), -1 where absent."""
        out: I64 = np.empty(index.shape[0], np.int64)
        hashes = self._hash(scopes, index, offsets, data)
        self._find(scopes, hashes, index, offsets, data, out)
        return out

    def insert(self, scopes: U32, index: U32, offsets: U32, data: U8) -> I64:
        """Entry of (scopes[i], string index[i] of offsets/data); absent ones are appended in order."""
        out: I64 = np.empty(index.shape[0], np.int64)
        hashes = self._hash(scopes, index, offsets, data)
        missing = self._find(scopes, hashes, index, offsets, data, out)
        if missing == 0:
            return out
        absent = index[out < 0]
        lengths = offsets[absent + 1].astype(np.int64) - offsets[absent]
        self._make_room(missing, int(lengths.sum()))
        count = tables.insert_strings(
            self._slots,
            self._hashes.buffer,
            self._scopes.buffer,
            self._ends.buffer,
            self._bytes.buffer,
            len(self),
            scopes,
            hashes,
            index,
            offsets,
            data,
            out,
        )
        self._hashes.count = self._scopes.count = count
        self._ends.count = count + 1
        self._bytes.count = int(self._ends.filled()[-1])
        return out

    def get(self, entry: int) -> bytes:
        """Bytes of one entry."""
        ends = self._ends.filled()
        return self._bytes.filled()[ends[entry] : ends[entry + 1]].tobytes()

    def gather(self, entries: I64) -> tuple[I64, U8]:
        """(offsets int64[n + 1], bytes) of the given entries, in their order."""
        ends = self._ends.filled()
        offsets: I64 = np.zeros(entries.shape[0] + 1, np.int64)
        np.cumsum(ends[entries + 1] - ends[entries], out=offsets[1:])
        data: U8 = np.empty(int(offsets[-1]), np.uint8)
        strings.gather_bytes(ends, self._bytes.filled(), entries, offsets, data)
        return offsets, data

    @property
    def nbytes(self) -> int:
        """Bytes held by all structures, unused room included."""
        return self._slots.nbytes + sum(part.nbytes for part in (self._hashes, self._scopes, self._ends, self._bytes))

    def _hash(self, scopes: U32, index: U32, offsets: U32, data: U8) -> U64:
        distinct: U64 = np.empty(offsets.shape[0] - 1, np.uint64)
        hashing.hash_strings(*self._key, offsets, data, distinct)
        out: U64 = np.empty(index.shape[0], np.uint64)
        tables.scoped_hashes(distinct, index, scopes, out)
        return out

    def _find(self, scopes: U32, hashes: U64, index: U32, offsets: U32, data: U8, out: I64) -> int:
        return tables.find_strings(
            self._slots,
            self._hashes.buffer,
            self._scopes.buffer,
            self._ends.buffer,
            self._bytes.buffer,
            scopes,
            hashes,
            index,
            offsets,
            data,
            out,
        )

    def _make_room(self, entries: int, size: int) -> None:
        for column in (self._hashes, self._scopes, self._ends):
            column.reserve(entries)
        self._bytes.reserve(size)
        wanted = (len(self) + entries) * 2
        if wanted > self._slots.shape[0]:
            slots: U32 = np.zeros(1 << int(wanted - 1).bit_length(), np.uint32)
            tables.rebuild_slots(slots, self._hashes.buffer, len(self))
            self._slots = slots
