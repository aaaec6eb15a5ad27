"""String dictionaries of one partition: a code per distinct string of each property and attribute."""

from __future__ import annotations

import threading

import numpy as np
import pyarrow as pa

from cdp_store.arena import HashKey, StringArena
from cdp_store.arrays import I64, U8, U32
from cdp_store.growable import Growable
from cdp_store.kernels import tables
from cdp_store.records import Strings


def scope_of(key: int, *, attribute: bool, is_list: bool) -> int:
    """Number of the dictionary that holds the strings of one property or attribute."""
    return key << 2 | attribute << 1 | is_list


class StringDictionary:
    """All dictionaries of a partition in one table; codes count up from 0 inside each scope.

    Readers and the writer may be different threads: each call takes the lock for as long as it runs.
    """

    def __init__(self, key: HashKey) -> None:
        self._arena = StringArena(key)
        self._codes = Growable(np.uint32)
        self._next_code: U32 = np.zeros(64, np.uint32)
        self._values = dict[int, _ScopeValues]()
        self._lock = threading.Lock()

    def encode(self, scopes: U32, index: U32, table: Strings) -> U32:
        """Code of string index[i] under scopes[i]; unknown strings are added."""
        with self._lock:
            before = len(self._arena)
            entries = self._arena.insert(scopes, index, table.offsets, table.data)
            after = len(self._arena)
            if after > before:
                self._number(before, after)
            return self._codes.filled()[entries]

    def lookup(self, scope: int, text: bytes) -> int | None:
        """Code of one string, or None when the scope has never held it."""
        table = Strings.of([text])
        with self._lock:
            entry = self._arena.find(np.array([scope], np.uint32), np.zeros(1, np.uint32), table.offsets, table.data)
            return None if entry[0] < 0 else int(self._codes.filled()[entry[0]])

    def values(self, scope: int) -> pa.ChunkedArray:
        """All strings of a scope as Arrow large_binary, in code order."""
        with self._lock:
            known = self._values.setdefault(scope, _ScopeValues())
            return known.refresh(scope, self._arena)

    def get(self, scope: int, code: int) -> bytes:
        """Bytes of one code."""
        value = self.values(scope)[code].as_py()
        assert isinstance(value, bytes)
        return value

    @property
    def nbytes(self) -> int:
        return self._arena.nbytes + self._codes.nbytes + self._next_code.nbytes

    def _number(self, before: int, after: int) -> None:
        scopes = self._arena.scopes
        top = int(scopes[before:after].max())
        if top >= self._next_code.shape[0]:
            grown: U32 = np.zeros(max(top + 1, 2 * self._next_code.shape[0]), np.uint32)
            grown[: self._next_code.shape[0]] = self._next_code
            self._next_code = grown
        self._codes.reserve(after - before)
        tables.number_in_scope(scopes, before, after, self._next_code, self._codes.buffer)
        self._codes.count = after


class _ScopeValues:
    """Arrow copies of a scope's strings, extended by what came since the last look."""

    def __init__(self) -> None:
        self._seen = 0
        self._chunks = list[pa.Array]()

    def refresh(self, scope: int, arena: StringArena) -> pa.ChunkedArray:
        scopes = arena.scopes
        fresh: I64 = np.flatnonzero(scopes[self._seen :] == scope) + self._seen
        self._seen = scopes.shape[0]
        if fresh.size:
            offsets, data = arena.gather(fresh)
            self._chunks.append(_arrow_binary(offsets, data))
            if len(self._chunks) > 16:
                self._chunks = [pa.concat_arrays(self._chunks)]
        return pa.chunked_array(self._chunks, type=pa.large_binary())


def _arrow_binary(offsets: I64, data: U8) -> pa.Array:
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), offsets.shape[0] - 1, buffers)
