"""A batch into its parts by partition, all parts in one pass."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U8, U16, U32
from cdp_store.kernels.jit import kernel
from cdp_store.values import KIND_MASK, Kind

_STRING, _LIST = int(Kind.STRING), int(Kind.LIST)
_KIND_MASK = KIND_MASK


@kernel
def order_by_part(parts: U32, part_count: int) -> tuple[I64, I64]:
    """(positions ordered by part, stable; starts[part_count + 1] of each part in them)."""
    starts = np.zeros(part_count + 1, np.int64)
    for i in range(parts.shape[0]):
        starts[parts[i] + 1] += 1
    for part in range(part_count):
        starts[part + 1] += starts[part]
    free = starts[:-1].copy()
    order = np.empty(parts.shape[0], np.int64)
    for i in range(parts.shape[0]):
        # Stable: at one instant what arrived later counts as later, so a person's records keep their order.
        order[free[parts[i]]] = i
        free[parts[i]] += 1
    return order, starts


@kernel
def split_records(
    order: I64, starts: I64, names: U16, times: I64, property_offsets: U32, keys: U16, kinds: U8, raws: I64
) -> tuple[U16, I64, U32, U16, U8, I64, I64]:
    """Record and triple columns by part, with the start of each part in the triples.

    The offsets of part p begin at starts[p] + p, at 0. Reads and writes each column once.
    """
    count, part_count = order.shape[0], starts.shape[0] - 1
    out_names, out_times = np.empty(count, np.uint16), np.empty(count, np.int64)
    ends, triple_starts = np.empty(count + part_count, np.uint32), np.empty(part_count + 1, np.int64)
    triples = keys.shape[0]
    out_keys, out_kinds = np.empty(triples, np.uint16), np.empty(triples, np.uint8)
    out_raws = np.empty(triples, np.int64)
    filled = np.int64(0)
    for part in range(part_count):
        triple_starts[part] = filled
        # n records have n + 1 offsets: each part before this one has one more offset than records.
        ends[starts[part] + part] = 0
        for place in range(starts[part], starts[part + 1]):
            record = order[place]
            out_names[place], out_times[place] = names[record], times[record]
            for triple in range(np.int64(property_offsets[record]), np.int64(property_offsets[record + 1])):
                out_keys[filled], out_kinds[filled], out_raws[filled] = keys[triple], kinds[triple], raws[triple]
                filled += 1
            ends[place + part + 1] = filled - triple_starts[part]
    triple_starts[part_count] = filled
    return out_names, out_times, ends, out_keys, out_kinds, out_raws, triple_starts


@kernel
def split_indexes(order: I64, starts: I64, index: U32, table_size: int) -> tuple[U32, U32, I64]:
    """(index[order], renumbered in each part by first use; old numbers kept; start of each part in them)."""
    part_count = starts.shape[0] - 1
    out, kept = np.empty(order.shape[0], np.uint32), np.empty(order.shape[0], np.uint32)
    kept_starts = np.empty(part_count + 1, np.int64)
    last_part, number = np.full(table_size, -1, np.int32), np.empty(table_size, np.uint32)
    filled = np.int64(0)
    for part in range(part_count):
        kept_starts[part] = filled
        for place in range(starts[part], starts[part + 1]):
            old = index[order[place]]
            # A number is valid for the part it was given in, so nothing is cleared between parts.
            if last_part[old] != part:
                last_part[old] = part
                number[old] = filled - kept_starts[part]
                kept[filled] = old
                filled += 1
            out[place] = number[old]
    kept_starts[part_count] = filled
    return out, kept[:filled], kept_starts


@kernel
def split_text(kinds: U8, raws: I64, triple_starts: I64, table_size: int) -> tuple[U32, I64]:
    """Renumber the strings of each part in `raws`; (old numbers kept, start of each part in them)."""
    part_count = triple_starts.shape[0] - 1
    kept, kept_starts = np.empty(raws.shape[0], np.uint32), np.empty(part_count + 1, np.int64)
    last_part, number = np.full(table_size, -1, np.int32), np.empty(table_size, np.uint32)
    filled = np.int64(0)
    for part in range(part_count):
        kept_starts[part] = filled
        for triple in range(triple_starts[part], triple_starts[part + 1]):
            # Above the kind stands the operation of a change of attributes.
            kind = kinds[triple] & _KIND_MASK
            if kind == _STRING or kind == _LIST:
                old = raws[triple]
                if last_part[old] != part:
                    last_part[old] = part
                    number[old] = filled - kept_starts[part]
                    kept[filled] = old
                    filled += 1
                raws[triple] = number[old]
    kept_starts[part_count] = filled
    return kept[:filled], kept_starts


@kernel
def split_strings(offsets: U32, data: U8, kept: U32, kept_starts: I64) -> tuple[U32, U8, I64]:
    """(offsets, bytes, start of each part in the bytes) of strings `kept`; offsets of part p at kept_starts[p] + p."""
    part_count, size = kept_starts.shape[0] - 1, np.int64(0)
    for i in range(kept.shape[0]):
        size += np.int64(offsets[kept[i] + 1]) - np.int64(offsets[kept[i]])
    out_offsets, out = np.empty(kept.shape[0] + part_count, np.uint32), np.empty(size, np.uint8)
    byte_starts = np.empty(part_count + 1, np.int64)
    at = np.int64(0)
    for part in range(part_count):
        byte_starts[part] = at
        out_offsets[kept_starts[part] + part] = 0
        for place in range(kept_starts[part], kept_starts[part + 1]):
            for i in range(np.int64(offsets[kept[place]]), np.int64(offsets[kept[place] + 1])):
                out[at] = data[i]
                at += 1
            out_offsets[place + part + 1] = at - byte_starts[part]
    byte_starts[part_count] = at
    return out_offsets, out, byte_starts
