"""The one compiled entry: a program over leaves, run morsel by morsel over all partitions of a shard."""

from __future__ import annotations

import numpy as np

from cdp_query.compiled.kernels.addresses import cycles, u8s
from cdp_query.compiled.kernels.arguments import Memory, Results, Tables
from cdp_query.compiled.kernels.attribute_leaf import attribute_leaf
from cdp_query.compiled.kernels.chunk_walk import note_leaf
from cdp_query.compiled.kernels.event_leaf import event_leaf
from cdp_query.compiled.kernels.layout import (
    ALL_OPEN,
    ATTRIBUTE_LEAF,
    BOUND_GIVEN,
    COUNT_CHUNKS,
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
    ENTRY_LEAF,
    FEW,
    LEAF_FILTER,
    LEAF_FILTER_END,
    LEAF_KIND,
    LEAF_NODE,
    LEAF_TEST,
    PART_DELTA,
    PART_FIRST_ROW,
    PART_POPULATION,
    PART_ROWS,
    RETURN_LEAF,
    SEQUENCE_LEAF,
    TREND_LEAF,
)
from cdp_query.compiled.kernels.report_leaves import entry_leaf, ordered_leaf, return_leaf, trend_leaf
from cdp_query.compiled.kernels.text_search import is_searched
from cdp_query.compiled.kernels.values import copy_mask, count_ones
from cdp_store.arrays import I64, U8
from cdp_store.kernels.jit import inlined, kernel, leaf
from cdp_store.limits import MORSEL_ROWS

_AT_ONCE = 1024  # rows of a mask that are looked at before the next decision


@kernel
def run_program(tables: Tables, memory: Memory, results: Results, first_part: int, last_part: int) -> None:
    """Evaluates a program on partitions first_part:last_part, morsel by morsel."""
    for number in range(first_part, last_part):
        part, rows = tables.parts[number], tables.parts[number, PART_ROWS]
        for morsel in range((rows + MORSEL_ROWS - 1) // MORSEL_ROWS):
            n = min(rows - morsel * MORSEL_ROWS, MORSEL_ROWS)
            _run_morsel(tables, memory, results, number, morsel, n)
            start = part[PART_FIRST_ROW] + morsel * MORSEL_ROWS
            found = _members(part, morsel, memory.masks[0, :n], results.members[start : start + n])
            results.counts[number, 0] += found[0]
            results.counts[number, 1] += found[1]


@inlined
def _run_morsel(tables: Tables, memory: Memory, results: Results, number: int, morsel: int, n: int) -> None:
    """memory.masks[0, :n] = the rows of a morsel that satisfy the segment."""
    operations, counters, filled, at = tables.operations, results.counters[number], np.uint64(0), 0
    while at < operations.shape[0]:
        operation, depth, argument, node, undecided = operations[at]
        mask = memory.masks[depth, :n]
        at += 1
        if operation == DO_LEAF:
            own, started = counters[tables.leaves[argument, LEAF_NODE]], cycles()
            if not _evaluate(tables, memory, results, number, argument, morsel, undecided, own, mask):
                results.open_leaves[number, argument] = np.uint8(1)
                mask[:] = np.uint8(0)
            own[COUNT_CYCLES] += cycles() - started
        elif operation == DO_SKIP_IF_NONE:
            if not _any(mask):
                at = argument
        elif operation == DO_SKIP_IF_ALL:
            if _all(mask):
                at = argument
        elif operation == DO_KEEP:
            copy_mask(mask, memory.kept[argument, :n])
            filled |= np.uint64(1) << np.uint64(argument)
        elif operation == DO_RECALL:
            slot = argument & 0xFF
            if (filled >> np.uint64(slot)) & np.uint64(1):
                copy_mask(memory.kept[slot], mask)
                at = argument >> 8
        else:
            _combine(operation, mask, memory.masks[depth + 1, :n])
        if node >= 0:
            counters[node, COUNT_TRUE] += count_ones(mask)
            counters[node, COUNT_EVALUATIONS] = 1


@inlined
def _evaluate(
    tables: Tables,
    memory: Memory,
    results: Results,
    number: int,
    argument: int,
    morsel: int,
    undecided: int,
    counters: I64,
    mask: U8,
) -> bool:
    """mask[i] = row i of the morsel satisfies a predicate; False if it cannot be decided here."""
    leaf_row, bound, tests = tables.leaves[argument], tables.bounds[number, argument], tables.tests[number]
    if bound[BOUND_GIVEN] != 0:
        copy_mask(u8s(bound[BOUND_GIVEN] + morsel * MORSEL_ROWS, mask.shape[0]), mask)
        return True
    if leaf_row[LEAF_KIND] == ATTRIBUTE_LEAF:
        test = tests[leaf_row[LEAF_TEST]]
        if is_searched(test):
            _find_open(memory.masks, undecided, memory.asked[: mask.shape[0]])
        attribute_leaf(bound, test, morsel, memory, counters, mask)
        return True
    is_narrow = _find_open(memory.masks, undecided, memory.asked[: mask.shape[0]])
    if leaf_row[LEAF_KIND] == SEQUENCE_LEAF:
        ordered_leaf(tables, memory, results, number, argument, morsel, is_narrow, counters, mask)
        return True
    if leaf_row[LEAF_KIND] == TREND_LEAF:
        trend_leaf(tables, memory, results, number, argument, morsel, counters, mask)
        return True
    if leaf_row[LEAF_KIND] == ENTRY_LEAF:
        entry_leaf(tables, memory, results, number, argument, morsel, counters, mask)
        return True
    if leaf_row[LEAF_KIND] == RETURN_LEAF:
        return_leaf(tables, memory, results, number, argument, morsel, counters, mask)
        return True
    filters, part = tables.filters[leaf_row[LEAF_FILTER] : leaf_row[LEAF_FILTER_END]], tables.parts[number]
    if part[PART_DELTA] > 0 and not results.noted[number, argument]:
        counters[COUNT_CHUNKS] += 1  # all unsealed events are as one chunk
    note_leaf(tables, results, number, argument, counters)
    return event_leaf(leaf_row, bound, part, filters, tests, morsel, memory, is_narrow, counters, mask)


@leaf
def _find_open(masks: U8, undecided: int, asked: U8) -> bool:
    """asked[i] = row i is undecided; True if so few are that a predicate better looks at their events only."""
    if undecided == ALL_OPEN:
        asked[:] = np.uint8(1)
        return False
    decided, flip = masks[undecided >> 1], np.uint8(undecided & 1)
    for i in range(asked.shape[0]):
        asked[i] = decided[i] ^ flip
    return bool(count_ones(asked) * FEW <= asked.shape[0])


@leaf
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
def _any(mask: U8) -> bool:
    for start in range(0, mask.shape[0], _AT_ONCE):
        found = False
        # Truths alone: a byte would grow to 64 bits, and a register hold an eighth of them.
        for i in range(np.uint64(start), np.uint64(min(start + _AT_ONCE, mask.shape[0]))):
            found |= mask[i] != np.uint8(0)
        if found:
            return True
    return False


@leaf
def _all(mask: U8) -> bool:
    for start in range(0, mask.shape[0], _AT_ONCE):
        misses = False
        for i in range(np.uint64(start), np.uint64(min(start + _AT_ONCE, mask.shape[0]))):
            misses |= mask[i] == np.uint8(0)
        if misses:
            return False
    return True


@leaf
def _members(part: I64, morsel: int, mask: U8, members: U8) -> tuple[int, int]:
    """members = the rows of the mask that are in the population; returns how many are in it, and are members."""
    n = mask.shape[0]
    if part[PART_POPULATION] == 0:
        copy_mask(mask, members)
        return n, count_ones(mask)
    population = u8s(part[PART_POPULATION] + morsel * MORSEL_ROWS, n)
    for i in range(n):
        members[i] = mask[i] & population[i]
    return count_ones(population), count_ones(members)
