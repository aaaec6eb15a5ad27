"""Numbering the distinct byte strings of one batch in order of first appearance, inside a kernel.

A table is five arrays: state i64[2] (entries, slot mask), slots u32 (0 = free, a power of two), hashes u64, offsets u32
(offsets[0] = 0) and data u8, all large enough for the whole batch. Only the slots below the mask are in use, so that a
small batch touches little memory; they double in place.
"""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U8, U32, U64, Int
from cdp_store.kernels.hashing import siphash
from cdp_store.kernels.jit import kernel, leaf

COUNT = 0
MASK = 1
SLOTS_FIRST = 256

Table = tuple[I64, U32, U64, U32, U8]


@kernel
def new_table(entries_max: Int, bytes_max: Int) -> Table:
    """An empty table with room for that many entries and bytes; untouched room costs address space only."""
    capacity = SLOTS_FIRST
    while capacity <= 2 * entries_max:
        capacity *= 2
    state = np.zeros(2, np.int64)
    state[MASK] = SLOTS_FIRST - 1
    offsets = np.empty(entries_max + 1, np.uint32)
    offsets[0] = 0
    slots = np.empty(capacity, np.uint32)
    slots[:SLOTS_FIRST] = 0
    return state, slots, np.empty(entries_max, np.uint64), offsets, np.empty(bytes_max, np.uint8)


@leaf
def intern(table: Table, source: U8, start: Int, stop: Int, key0: np.uint64, key1: np.uint64) -> Int:
    """Entry of source[start:stop], appended when it is new; reads each byte two or three times."""
    state, slots, hashes, offsets, data = table
    wanted = siphash(key0, key1, source, start, stop)
    mask = np.uint64(state[MASK])
    slot = wanted & mask
    while slots[slot] != 0:
        entry = np.int64(slots[slot]) - 1
        # Verified by the bytes: a collision of hashes costs time, never an answer.
        if hashes[entry] == wanted and _same(offsets, data, entry, source, start, stop):
            return entry
        slot = (slot + np.uint64(1)) & mask
    entry = np.int64(state[COUNT])
    base = np.int64(offsets[entry])
    for i in range(stop - start):
        data[base + i] = source[start + i]
    offsets[entry + 1] = base + stop - start
    hashes[entry] = wanted
    slots[slot] = entry + 1
    state[COUNT] = entry + 1
    # At most half full, so that probing always meets a free slot, where it ends.
    if 2 * state[COUNT] > state[MASK]:
        _double(state, slots, hashes)
    return entry


@leaf
def _same(offsets: U32, data: U8, entry: Int, source: U8, start: Int, stop: Int) -> bool:
    base = np.int64(offsets[entry])
    if np.int64(offsets[entry + 1]) - base != stop - start:
        return False
    for i in range(stop - start):
        if data[base + i] != source[start + i]:
            return False
    return True


@leaf
def _double(state: I64, slots: U32, hashes: U64) -> None:
    # In place: `new_table` made room for all slots, and the kept hashes give each entry its new one without its bytes.
    state[MASK] = 2 * state[MASK] + 1
    slots[: state[MASK] + 1] = 0
    mask = np.uint64(state[MASK])
    for entry in range(state[COUNT]):
        slot = hashes[entry] & mask
        while slots[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = entry + 1
