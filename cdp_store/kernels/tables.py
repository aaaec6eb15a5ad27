"""Open-addressing tables over growing byte arenas: identifiers, string dictionaries, message ids.

Linear probing, power-of-two capacity, slots hold entry number + 1 (0 = free). A hit is verified against the
stored bytes, so that a collision of hashes costs time and never an answer.
"""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U8, U32, U64, Bools
from cdp_store.jit import kernel


@kernel
def _same_bytes(a: U8, a_start: int, b: U8, b_start: int, length: int) -> bool:
    for i in range(length):
        if a[a_start + i] != b[b_start + i]:
            return False
    return True


@kernel
def rebuild_slots(slots: U32, hashes: U64, count: int) -> None:
    """Fill the zeroed `slots` with entries 0..count-1; slots.shape[0] is a power of two above count."""
    mask = np.uint64(slots.shape[0] - 1)
    for entry in range(count):
        slot = hashes[entry] & mask
        while slots[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = entry + 1


@kernel
def find_strings(
    slots: U32,
    hashes: U64,
    scopes: U32,
    ends: I64,
    arena: U8,
    query_scopes: U32,
    query_hashes: U64,
    query_index: U32,
    query_offsets: U32,
    query_data: U8,
    out: I64,
) -> int:
    """out[i] = entry of (query_scopes[i], string query_index[i]), or -1; returns how many are missing.

    Entry e holds arena[ends[e]:ends[e + 1]] under scope scopes[e].
    """
    mask = np.uint64(slots.shape[0] - 1)
    missing = 0
    for i in range(out.shape[0]):
        string = query_index[i]
        start = int(query_offsets[string])
        length = int(query_offsets[string + 1]) - start
        wanted = query_hashes[i]
        slot = wanted & mask
        found = np.int64(-1)
        while slots[slot] != 0:
            entry = np.int64(slots[slot]) - 1
            if (
                hashes[entry] == wanted
                and scopes[entry] == query_scopes[i]
                and ends[entry + 1] - ends[entry] == length
                and _same_bytes(arena, ends[entry], query_data, start, length)
            ):
                found = entry
                break
            slot = (slot + np.uint64(1)) & mask
        out[i] = found
        if found < 0:
            missing += 1
    return missing


@kernel
def insert_strings(
    slots: U32,
    hashes: U64,
    scopes: U32,
    ends: I64,
    arena: U8,
    count: int,
    query_scopes: U32,
    query_hashes: U64,
    query_index: U32,
    query_offsets: U32,
    query_data: U8,
    out: I64,
) -> int:
    """Like find_strings, but appends what is missing; room must have been made. Returns the new entry count."""
    mask = np.uint64(slots.shape[0] - 1)
    for i in range(out.shape[0]):
        string = query_index[i]
        start = int(query_offsets[string])
        length = int(query_offsets[string + 1]) - start
        wanted = query_hashes[i]
        slot = wanted & mask
        found = np.int64(-1)
        while slots[slot] != 0:
            entry = np.int64(slots[slot]) - 1
            if (
                hashes[entry] == wanted
                and scopes[entry] == query_scopes[i]
                and ends[entry + 1] - ends[entry] == length
                and _same_bytes(arena, ends[entry], query_data, start, length)
            ):
                found = entry
                break
            slot = (slot + np.uint64(1)) & mask
        if found < 0:
            found = np.int64(count)
            count += 1
            hashes[found] = wanted
            scopes[found] = query_scopes[i]
            base = ends[found]
            for j in range(length):
                arena[base + j] = query_data[start + j]
            ends[found + 1] = base + length
            slots[slot] = found + 1
        out[i] = found
    return count


@kernel
def scoped_hashes(string_hashes: U64, index: U32, scopes: U32, out: U64) -> None:
    """out[i] = hash of string index[i] mixed with scopes[i] (a multiply-xorshift step), so scopes spread apart."""
    for i in range(out.shape[0]):
        h = string_hashes[index[i]] ^ (np.uint64(scopes[i]) * np.uint64(0x9E3779B97F4A7C15))
        h ^= h >> np.uint64(32)
        h *= np.uint64(0xD6E8FEB86659FD93)
        out[i] = h ^ (h >> np.uint64(32))


@kernel
def number_in_scope(scopes: U32, first: int, count: int, next_code: U32, codes: U32) -> None:
    """codes[e] for the new entries first..count-1: the next free number inside each entry's scope."""
    for entry in range(first, count):
        scope = scopes[entry]
        codes[entry] = next_code[scope]
        next_code[scope] += np.uint32(1)


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
