"""Open-addressing tables over growing byte arenas: identifiers, string dictionaries, message ids.

Linear probing. String tables have any capacity (the slot is the product of the hash's upper half and the capacity, as
in Lemire, "Fast random integer generation in an interval", 2019) and slots of 32 bits: entry number + 1 in the low
`entry_bits` (0 = free), above it a tag from the hash's lower half. A hit is verified against the stored bytes, so that
a collision of hashes costs time and never an answer. Probing ends at a free slot, of which there must always be one:
StringArena fills four fifths of a table at most, IdSet half.
"""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U8, U32, U64, AnyArray, Bools
from cdp_store.kernels.hashing import siphash
from cdp_store.kernels.jit import kernel, leaf

_HALF = np.uint64(32)
_AHEAD = 64  # strings whose slots are fetched together, so that the cache misses of a large table overlap


@leaf
def _same_bytes(a: U8, a_start: np.int64, b: U8, b_start: np.int64, length: np.int64) -> bool:
    for i in range(length):
        if a[a_start + i] != b[b_start + i]:
            return False
    return True


@leaf
def _home(h: np.uint64, capacity: int) -> np.int64:
    return np.int64(((h >> _HALF) * np.uint64(capacity)) >> _HALF)


@leaf
def _after(slot: np.int64, capacity: int) -> np.int64:
    return np.int64(0) if slot + 1 == capacity else slot + np.int64(1)


@leaf
def _tagged(h: np.uint64, entry_bits: int) -> np.uint32:
    return np.uint32((h << np.uint64(entry_bits)) & np.uint64(0xFFFFFFFF))


@kernel
def rebuild_slots(
    slots: U32, entry_bits: int, offsets: AnyArray, data: U8, count: int, key0: np.uint64, key1: np.uint64
) -> np.uint32:
    """Fill the zeroed `slots` with entries 0..count-1, hashing their bytes again; reads each byte once.

    The result has no meaning: it keeps the compiler from dropping the reads that fetch slots ahead.
    """
    capacity = slots.shape[0]
    ahead, read = np.empty(_AHEAD, np.uint64), np.uint32(0)
    for first in range(0, count, _AHEAD):
        stop = min(first + _AHEAD, count)
        for entry in range(first, stop):
            h = siphash(key0, key1, data, np.int64(offsets[entry]), np.int64(offsets[entry + 1]))
            ahead[entry - first] = h
        for j in range(stop - first):
            read |= slots[_home(ahead[j], capacity)]
        for entry in range(first, stop):
            h = ahead[entry - first]
            slot = _home(h, capacity)
            while slots[slot] != 0:
                slot = _after(slot, capacity)
            slots[slot] = _tagged(h, entry_bits) | np.uint32(entry + 1)
    return read


@kernel
def _fetch(
    slots: U32, entry_bits: int, offsets: AnyArray, data: U8, hashes: U64, index: U32, first: int, stop: int
) -> int:
    """Read the memory that probing strings first..stop-1 is going to read, so that it waits for all of it at once."""
    mask = np.int64((1 << entry_bits) - 1)
    entries = np.empty(_AHEAD, np.int64)
    for i in range(first, stop):
        entries[i - first] = (np.int64(slots[_home(hashes[index[i]], slots.shape[0])]) & mask) - 1
    for j in range(stop - first):
        # -1 is a free slot; what is read for it is not used.
        entries[j] = np.int64(offsets[max(entries[j], 0)])
    read = 0
    for j in range(stop - first):
        read += data[min(entries[j], data.shape[0] - 1)]
    return read


@kernel
def number_strings(
    slots: U32,
    entry_bits: int,
    offsets: AnyArray,
    data: U8,
    count: int,
    room: int,
    hashes: U64,
    index: U32,
    query_offsets: U32,
    query_data: U8,
    first: int,
    out: I64,
) -> tuple[int, int]:
    """out[i] = entry of string index[i] for i >= first; absent ones are appended, or get -1 when `room` is negative.

    Stops at a string that does not fit any more into `data` or `room` entries. Returns (the i to go on with, the
    number of entries). Touches about three cache lines a string; they are fetched for _AHEAD strings at a time.
    """
    capacity, bits = slots.shape[0], np.uint32(entry_bits)
    mask = np.int64((1 << entry_bits) - 1)
    total = out.shape[0]
    fetched, read = first, 0
    for i in range(first, total):
        if i == fetched:
            fetched = min(i + _AHEAD, total)
            read += _fetch(slots, entry_bits, offsets, data, hashes, index, i, fetched)
        string = index[i]
        start = np.int64(query_offsets[string])
        length = np.int64(query_offsets[string + 1]) - start
        h = hashes[string]
        tag = _tagged(h, entry_bits)
        slot = _home(h, capacity)
        found = np.int64(-1)
        while slots[slot] != 0:
            # The tag, which is in the slot already, spares nearly all reads of strings that are not the one wanted.
            if (slots[slot] ^ tag) >> bits == 0:
                entry = (np.int64(slots[slot]) & mask) - 1
                at = np.int64(offsets[entry])
                if np.int64(offsets[entry + 1]) - at == length and _same_bytes(data, at, query_data, start, length):
                    found = entry
                    break
            slot = _after(slot, capacity)
        if found < 0 and room >= 0:
            at = np.int64(offsets[count])
            if count >= room or at + length > data.shape[0]:
                # Before anything of the string is written: the caller makes room and goes on with it.
                return i, count
            for j in range(length):
                data[at + j] = query_data[start + j]
            found = np.int64(count)
            count += 1
            offsets[count] = at + length
            slots[slot] = tag | np.uint32(count)
        out[i] = found
    # `read` only keeps the compiler from dropping the reads ahead: it is never negative.
    return total + min(read, 0), count


@kernel
def pair_up(scopes: U32, index: U32, last_scope: U32, last_pair: U32, pair_of: U32, firsts: U32) -> int:
    """pair_of[i] = number of the pair (scopes[i], index[i]), firsts[pair] = one i that has it. Returns the pairs.

    A pair may get several numbers, when one string alternates between scopes. last_scope and last_pair are scratches by
    string, last_scope filled with a number that is no scope.
    """
    pairs = 0
    for i in range(index.shape[0]):
        string = index[i]
        if last_scope[string] != scopes[i]:
            last_scope[string] = scopes[i]
            last_pair[string] = pairs
            firsts[pairs] = i
            pairs += 1
        pair_of[i] = last_pair[string]
    return pairs


@kernel
def contains_ids(table: U64, high: U64, low: U64, out: Bools) -> None:
    """out[i] |= whether (high[i], low[i]) is in `table` (capacity x 2, a power of two rows; 0, 0 = free)."""
    mask = np.uint64(table.shape[0] - 1)
    for i in range(out.shape[0]):
        slot = low[i] & mask
        while table[slot, 0] != 0 or table[slot, 1] != 0:
            if table[slot, 0] == high[i] and table[slot, 1] == low[i]:
                out[i] = True
                break
            slot = (slot + np.uint64(1)) & mask


@kernel
def repeated_ids(high: U64, low: U64, out: Bools) -> None:
    """out[i] |= whether (high[i], low[i]) occurs earlier in the arrays too; (0, 0) never does."""
    capacity = 16
    while capacity < 2 * high.shape[0]:
        capacity *= 2
    first = np.full(capacity, -1, np.int64)
    mask = np.uint64(capacity - 1)
    for i in range(high.shape[0]):
        # Records without an id repeat nothing.
        if high[i] == 0 and low[i] == 0:
            continue
        slot = low[i] & mask
        while first[slot] >= 0 and (high[first[slot]] != high[i] or low[first[slot]] != low[i]):
            slot = (slot + np.uint64(1)) & mask
        if first[slot] >= 0:
            out[i] = True
        else:
            first[slot] = i


@kernel
def insert_ids(table: U64, high: U64, low: U64) -> int:
    """Put each (high[i], low[i]) into `table` unless present; returns how many were new."""
    mask = np.uint64(table.shape[0] - 1)
    added = 0
    for i in range(high.shape[0]):
        slot = low[i] & mask
        present = False
        while table[slot, 0] != 0 or table[slot, 1] != 0:
            if table[slot, 0] == high[i] and table[slot, 1] == low[i]:
                present = True
                break
            slot = (slot + np.uint64(1)) & mask
        if not present:
            table[slot, 0] = high[i]
            table[slot, 1] = low[i]
            added += 1
    return added
