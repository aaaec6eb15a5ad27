"""String dictionaries of one partition: a code per distinct string of each property and attribute."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from itertools import count, pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cdp_store.arrays import I64, U8, U32, U64, AnyArray
from cdp_store.columns.arena import HashKey, StringArena, hash_strings
from cdp_store.kernels import tables
from cdp_store.records.records import Strings
from cdp_store.values import pack_list

_NO_SCOPE: Final = 0xFFFFFFFF
_LIST_SCOPE: Final = 1
_FOUND_MAX: Final = 4096


def scope_of(key: int, *, attribute: bool, is_list: bool) -> int:
    """Number of the dictionary that holds the strings of one property or attribute."""
    return key << 2 | attribute << 1 | is_list


def scope_key(scope: int) -> tuple[int, bool, bool]:
    """(property or attribute, is it an attribute, are these lists) of a scope."""
    return scope >> 2, bool(scope & 2), bool(scope & 1)


class StringDictionary:
    """An arena for each scope; a string's code is its entry number there, counting up from 0.

    Readers and the writer may be different threads: each call holds the lock for as long as it runs. A caller may
    already hold its partition's lock; no other lock is acquired under this one.
    """

    def __init__(self, key: HashKey) -> None:
        self._key = key
        self._arenas = dict[int, StringArena]()
        self._lock = threading.Lock()
        # Strings that questions looked up: a code, once given, stays. Read without the lock, since an entry is whole.
        self._found = dict[tuple[int, bytes], int]()

    def encode(self, scopes: U32, index: U32, table: Strings) -> U32:
        """Code of string index[i] under scopes[i]; unknown strings are added."""
        hashes = hash_strings(self._key, table)
        pair_of, firsts = _pairs(scopes, index, len(table))
        pair_scopes, pair_strings = scopes[firsts], index[firsts]
        codes: U32 = np.empty(firsts.shape[0], np.uint32)
        with self._lock:
            for scope, where in _by_scope(pair_scopes):
                codes[where] = self._insert(scope, pair_strings[where], table, hashes)
        return codes[pair_of]

    def lookup(self, scope: int, text: bytes) -> int | None:
        """Code of one string, or None if the scope has never held it; touches nothing but that string."""
        known = self._found.get((scope, text))
        if known is not None:
            return known
        table = Strings(np.array((0, len(text)), np.uint32), np.frombuffer(text, np.uint8))
        hashes = hash_strings(self._key, table)
        with self._lock:
            arena = self._arenas.get(scope)
            if arena is None:
                return None
            [entry] = arena.find(np.zeros(1, np.uint32), table, hashes)
            if entry < 0:
                return None
            if len(self._found) >= _FOUND_MAX:
                self._found.clear()
            self._found[scope, text] = int(entry)
        return int(entry)

    def filled(self, scope: int) -> tuple[AnyArray, U8]:
        """(offsets u32 or i64 [n + 1], bytes) of a scope's strings in code order; later strings do not change them."""
        with self._lock:
            arena = self._arenas.get(scope)
            return (np.zeros(1, np.uint32), np.zeros(0, np.uint8)) if arena is None else arena.filled()

    def values(self, scope: int) -> pa.ChunkedArray:
        """All strings of a scope in code order as one Arrow chunk over the same memory, binary or large_binary."""
        return as_arrow(*self.filled(scope))

    def fill(self, scope: int, offsets: AnyArray, data: U8) -> None:
        """Appends strings known to be distinct to those of a scope; offsets u32 or i64 [n + 1], from 0."""
        with self._lock:
            self._arenas.setdefault(scope, StringArena(self._key)).fill(offsets, data)

    def get(self, scope: int, code: int) -> bytes:
        """Bytes of one code."""
        with self._lock:
            return self._arenas[scope].get(code)

    def without(self, forgotten: Mapping[int, I64]) -> StringDictionary:
        """A copy in which the strings of some codes (by scope) are gone; all other codes keep their meaning.

        A placeholder takes the place of each: a short string that no other code has.
        """
        other = StringDictionary(self._key)
        with self._lock:
            other._arenas = {scope: arena.copy() for scope, arena in self._arenas.items()}
        # No other thread has the copy yet, so its arenas are replaced without a lock.
        for scope, codes in forgotten.items():
            offsets, data = other.filled(scope)
            forgotten_now, texts = other._placeholders(scope, codes)
            if forgotten_now.size:
                replaced = _replaced(offsets.astype(np.int64), data, forgotten_now, texts)
                other._arenas[scope] = StringArena.of(self._key, *replaced)
        return other

    def rescoped(self, scopes: Mapping[int, int]) -> StringDictionary:
        """A copy with other scope numbers, keyed by the present ones; scopes without a new number are left out.

        The copy shares the strings, so only one of the two may add more.
        """
        other = StringDictionary(self._key)
        with self._lock:
            other._arenas = {scopes[scope]: arena for scope, arena in self._arenas.items() if scope in scopes}
        return other

    def sizes(self) -> Mapping[int, int]:
        """Number of codes of each scope."""
        with self._lock:
            return {scope: len(arena) for scope, arena in self._arenas.items()}

    @property
    def nbytes(self) -> int:
        """Memory occupied by all scopes."""
        return sum(arena.nbytes for arena in tuple(self._arenas.values()))

    def _placeholders(self, scope: int, codes: I64) -> tuple[I64, list[bytes]]:
        """(those of the codes that have no placeholder yet, a placeholder for each)."""
        texts = [_placeholder(scope, code) for code in codes.tolist()]
        table = Strings.of(texts)
        index: U32 = np.arange(len(texts), dtype=np.uint32)
        found = self._arenas[scope].find(index, table, hash_strings(self._key, table))
        for position in np.flatnonzero((found >= 0) & (found != codes)).tolist():
            # A stored string has this form already: with enough zeros appended, none has.
            more = (_placeholder(scope, int(codes[position]), zeros) for zeros in count(1))
            texts[position] = next(text for text in more if self.lookup(scope, text) is None)
        fresh = np.flatnonzero(found != codes)
        return codes[fresh], [texts[position] for position in fresh.tolist()]

    def _insert(self, scope: int, index: U32, table: Strings, hashes: U64) -> npt.NDArray[np.int64]:
        arena = self._arenas.get(scope)
        if arena is None:
            arena = self._arenas[scope] = StringArena(self._key)
        return arena.insert(index, table, hashes)


def _placeholder(scope: int, code: int, zeros: int = 0) -> bytes:
    mark = f"\x00{code}" + "\x00" * zeros
    return pack_list([mark]) if scope & _LIST_SCOPE else mark.encode()


def _replaced(offsets: I64, data: U8, codes: I64, texts: list[bytes]) -> tuple[I64, U8]:
    """(offsets, bytes) with other texts for some codes."""
    sizes = np.diff(offsets)
    keep = np.repeat(np.isin(np.arange(sizes.shape[0]), codes, invert=True), sizes)
    sizes[codes] = [len(text) for text in texts]
    new_offsets: I64 = np.append(0, np.cumsum(sizes))
    fresh: U8 = np.empty(int(new_offsets[-1]), np.uint8)
    is_new = np.repeat(np.isin(np.arange(sizes.shape[0]), codes), sizes)
    fresh[~is_new] = data[: offsets[-1]][keep]
    fresh[is_new] = np.frombuffer(b"".join(texts), np.uint8)
    return new_offsets, fresh


def _pairs(scopes: U32, index: U32, strings: int) -> tuple[U32, U32]:
    """(pair of each i, one i of each pair): the (scope, string) pairs, some perhaps more than once."""
    last_scope: U32 = np.full(strings, _NO_SCOPE, np.uint32)
    last_pair: U32 = np.empty(strings, np.uint32)
    pair_of: U32 = np.empty(index.shape[0], np.uint32)
    firsts: U32 = np.empty(index.shape[0], np.uint32)
    pairs = tables.pair_up(scopes, index, last_scope, last_pair, pair_of, firsts)
    return pair_of, firsts[:pairs]


def _by_scope(scopes: U32) -> Iterator[tuple[int, npt.NDArray[np.intp]]]:
    """(scope, its positions, ascending) for each scope there is."""
    # numpy sorts 16-bit numbers by radix.
    order = np.argsort(scopes.astype(np.uint16), kind="stable")
    starts = np.flatnonzero(np.diff(scopes[order], prepend=_NO_SCOPE))
    for start, stop in pairwise((*starts.tolist(), order.shape[0])):
        yield int(scopes[order[start]]), order[start:stop]


def as_arrow(offsets: AnyArray, data: U8) -> pa.ChunkedArray:
    """Strings back to back, offsets u32 or i64 [n + 1], as one Arrow chunk over the same memory."""
    arrow_type = pa.large_binary() if offsets.dtype == np.int64 else pa.binary()
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.chunked_array([pa.Array.from_buffers(arrow_type, offsets.shape[0] - 1, buffers)])
