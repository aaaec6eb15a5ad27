"""The one compiled entry: a program over leaves, run morsel by morsel over all partitions of a shard."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.addresses import cycles, u8s
from cdp_query.compiled.kernels.attribute_leaf import attribute_leaf
from cdp_query.compiled.kernels.event_leaf import event_leaf
from cdp_query.compiled.kernels.event_walk import note_chunks
from cdp_query.compiled.kernels.layout import (
    ALL_OPEN,
    ATTRIBUTE_LEAF,
    BOUND_GIVEN,
    COUNT_CYCLES,
    COUNT_EVALUATIONS,
    COUNT_TRUE,
    DO_AND,
    DO_FALSE,
    DO_KEEP,
    DO_LEAF,
    DO_NOT,
    DO_OR,
    DO_RECALL,
    DO_SKIP_IF_ALL,
    DO_SKIP_IF_NONE,
    DO_TRUE,
    LEAF_FILTER,
    LEAF_FILTER_END,
    LEAF_KIND,
    LEAF_NODE,
    LEAF_TEST,
    PART_FIRST_ROW,
    PART_POPULATION,
    PART_ROWS,
)
from cdp_query.compiled.kernels.values import copy_mask
from cdp_store.arrays import I64, U8, U32, U64
from cdp_store.kernels.jit import inlined, kernel, leaf

_MORSEL_ROWS = 1 << 16
FEW = 16  # one row in so many, or fewer


@kernel
def run_program(
    operations: I64,
    leaves: I64,
    filters: I64,
    parts: I64,
    bounds: I64,
    tests: I64,
    first_part: int,
    last_part: int,
    masks: U8,
    kept: U8,
    event_masks: U8,
    scratch: U8,
    amounts: I64,
    window: U32,
    sums: I64,
    days: U64,
    asked: U8,
    noted: U8,
    counters: I64,
    open_leaves: U8,
    members: U8,
    counts: I64,
) -> None:
    """Evaluates a program on partitions first_part:last_part.

    operations, leaves and filters are i64[n, fields of layout.py]; parts i64[parts, .], bounds i64[parts, leaves, .],
    tests i64[parts, tests, .]. masks u8[depth, 65536] and kept u8[slots, 65536] hold masks of one morsel, event_masks
    u8[depth, events] and scratch u8[max(events, 65536)] those of a chunk's events in it, amounts i64[events] their
    numbers. window, sums and days hold a number per row of a morsel; sums and days are the same memory. asked
    u8[rows of a morsel] are its undecided rows.
    noted u8[parts, leaves], zeros, marks those whose chunks are counted.

    Results: members u8[rows of all partitions], counts i64[parts, 2] (population, members), counters i64[parts, nodes,
    .]. open_leaves u8[parts, leaves] is set where a leaf cannot be decided here; then nothing else of that partition
    means anything.
    """
    for number in range(first_part, last_part):
        part, rows = parts[number], parts[number, PART_ROWS]
        for morsel in range((rows + _MORSEL_ROWS - 1) // _MORSEL_ROWS):
            n = min(rows - morsel * _MORSEL_ROWS, _MORSEL_ROWS)
            filled, at = np.uint64(0), 0
            while at < operations.shape[0]:
                operation, depth, argument, node, undecided = operations[at]
                mask = masks[depth, :n]
                at += 1
                if operation == DO_LEAF:
                    started = cycles()
                    is_narrow = _find_open(masks, undecided, asked[:n])
                    if not _evaluate(
                        argument,
                        leaves[argument],
                        bounds[number, argument],
                        part,
                        filters,
                        tests[number],
                        morsel,
                        event_masks,
                        scratch,
                        amounts,
                        window,
                        sums,
                        days,
                        asked,
                        is_narrow,
                        noted[number],
                        counters[number, leaves[argument, LEAF_NODE]],
                        mask,
                    ):
                        open_leaves[number, argument] = np.uint8(1)
                    counters[number, leaves[argument, LEAF_NODE], COUNT_CYCLES] += cycles() - started
                elif operation == DO_SKIP_IF_NONE:
                    if not _any(mask):
                        at = argument
                elif operation == DO_SKIP_IF_ALL:
                    if _all(mask):
                        at = argument
                elif operation == DO_KEEP:
                    copy_mask(mask, kept[argument, :n])
                    filled |= np.uint64(1) << np.uint64(argument)
                elif operation == DO_RECALL:
                    slot = argument & 0xFF
                    if (filled >> np.uint64(slot)) & np.uint64(1):
                        copy_mask(kept[slot], mask)
                        at = argument >> 8
                else:
                    _combine(operation, mask, masks[depth + 1, :n])
                if node >= 0:
                    counters[number, node, COUNT_TRUE] += _count(mask)
                    counters[number, node, COUNT_EVALUATIONS] = 1
            start = part[PART_FIRST_ROW] + morsel * _MORSEL_ROWS
            found = _members(part, morsel, masks[0, :n], members[start : start + n])
            counts[number, 0] += found[0]
            counts[number, 1] += found[1]


@inlined
def _evaluate(
    number: int,
    leaf_row: I64,
    bound: I64,
    part: I64,
    filters: I64,
    tests: I64,
    morsel: int,
    event_masks: U8,
    scratch: U8,
    amounts: I64,
    window: U32,
    sums: I64,
    days: U64,
    asked: U8,
    is_narrow: bool,
    noted: U8,
    counters: I64,
    mask: U8,
) -> bool:
    """mask[i] = row i of the morsel satisfies a predicate; False if it cannot be decided here."""
    kind, start = leaf_row[LEAF_KIND], morsel * _MORSEL_ROWS
    if bound[BOUND_GIVEN] != 0:
        copy_mask(u8s(bound[BOUND_GIVEN] + start, mask.shape[0]), mask)
        return True
    if kind == ATTRIBUTE_LEAF:
        attribute_leaf(tests[leaf_row[LEAF_TEST]], morsel, scratch, counters, mask)
        return True
    own = filters[leaf_row[LEAF_FILTER] : leaf_row[LEAF_FILTER_END]]
    if not noted[number]:
        noted[number] = np.uint8(1)
        note_chunks(leaf_row, bound, own, tests, counters)
    return event_leaf(
        leaf_row,
        bound,
        part,
        own,
        tests,
        morsel,
        event_masks,
        scratch,
        amounts,
        window,
        sums,
        days,
        asked,
        is_narrow,
        counters,
        mask,
    )


@inlined
def _find_open(masks: U8, undecided: int, asked: U8) -> bool:
    """asked[i] = row i is undecided; True if so few are that a predicate better looks at their events only."""
    if undecided == ALL_OPEN:
        return False
    decided, flip, found = masks[undecided >> 1], np.uint8(undecided & 1), 0
    for i in range(asked.shape[0]):
        asked[i] = decided[i] ^ flip
        found += int(np.int64(asked[i]))
    return bool(found * FEW <= asked.shape[0])


@inlined
def _combine(operation: int, mask: U8, other: U8) -> None:
    if operation == DO_AND:
        for i in range(mask.shape[0]):
            mask[i] &= other[i]
    elif operation == DO_OR:
        for i in range(mask.shape[0]):
            mask[i] |= other[i]
    elif operation == DO_NOT:
        for i in range(mask.shape[0]):
            mask[i] ^= np.uint8(1)
    elif operation == DO_TRUE:
        mask[:] = np.uint8(1)
    elif operation == DO_FALSE:
        mask[:] = np.uint8(0)


@leaf
def _count(mask: U8) -> int:
    total = 0
    for i in range(mask.shape[0]):
        total += int(np.int64(mask[i]))
    return total


@leaf
def _any(mask: U8) -> bool:
    for start in range(0, mask.shape[0], 1024):
        found = np.uint8(0)
        for i in range(start, min(start + 1024, mask.shape[0])):
            found |= mask[i]
        if found:
            return True
    return False


@leaf
def _all(mask: U8) -> bool:
    for start in range(0, mask.shape[0], 1024):
        holds = np.uint8(1)
        for i in range(start, min(start + 1024, mask.shape[0])):
            holds &= mask[i]
        if not holds:
            return False
    return True


@inlined
def _members(part: I64, morsel: int, mask: U8, members: U8) -> tuple[int, int]:
    """members = the rows of the mask that are in the population; returns how many are in it, and are members."""
    n = mask.shape[0]
    if part[PART_POPULATION] == 0:
        copy_mask(mask, members)
        return n, _count(mask)
    population, whole = u8s(part[PART_POPULATION] + morsel * _MORSEL_ROWS, n), 0
    for i in range(n):
        whole += int(np.int64(population[i]))
        members[i] = mask[i] & population[i]
    return whole, _count(members)
