"""A batch's records, separated into events and attribute changes, with the partition's numbers for their names."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U8, U16, U32
from cdp_store.kernels.jit import kernel
from cdp_store.limits import NAMES_PER_BATCH_MAX
from cdp_store.values import Kind

_ATTRIBUTES = NAMES_PER_BATCH_MAX
_STRING, _LIST = int(Kind.STRING), int(Kind.LIST)

Told = tuple[I64, U16, U32, U16, U8, I64, I64, U16, U8, I64]


@kernel
def find_text(
    names: U16, property_offsets: U32, keys: U16, kinds: U8, raws: I64, properties: U16, attributes: U16
) -> tuple[I64, U32, U32]:
    """(triple, scope of its dictionary, string number) of each text and list; reads 11 bytes a triple."""
    # Room for the case that everything is text; counting first would read the batch twice.
    room = kinds.shape[0]
    where, scopes, strings = np.empty(room, np.int64), np.empty(room, np.uint32), np.empty(room, np.uint32)
    found = 0
    for record in range(names.shape[0]):
        changes = names[record] == _ATTRIBUTES
        for triple in range(np.int64(property_offsets[record]), np.int64(property_offsets[record + 1])):
            kind = kinds[triple]
            if kind == _STRING or kind == _LIST:
                key = np.int64(attributes[keys[triple]] if changes else properties[keys[triple]])
                where[found], strings[found] = triple, raws[triple]
                # The same number as `scope_of` of columns/dictionary.py gives.
                scopes[found] = (key << 2) | (2 if changes else 0) | (1 if kind == _LIST else 0)
                found += 1
    return where[:found], scopes[:found], strings[:found]


@kernel
def tell_apart(
    names: U16,
    property_offsets: U32,
    keys: U16,
    kinds: U8,
    raws: I64,
    events: U16,
    properties: U16,
    attributes: U16,
) -> Told:
    """Events: record, name, property count, then key, kind, raw of triples. Changes: record, attribute, kind, raw.

    events, properties and attributes give the partition's number of a batch's. Reads and writes each column once.
    """
    count, room = names.shape[0], kinds.shape[0]
    records, event_names, counts = np.empty(count, np.int64), np.empty(count, np.uint16), np.empty(count, np.uint32)
    event_keys, event_kinds, event_raws = np.empty(room, np.uint16), np.empty(room, np.uint8), np.empty(room, np.int64)
    owners, changed = np.empty(room, np.int64), np.empty(room, np.uint16)
    change_kinds, change_raws = np.empty(room, np.uint8), np.empty(room, np.int64)
    event_count, filled, changes = 0, 0, 0
    for record in range(count):
        first, last = np.int64(property_offsets[record]), np.int64(property_offsets[record + 1])
        if names[record] == _ATTRIBUTES:
            for triple in range(first, last):
                owners[changes], changed[changes] = record, attributes[keys[triple]]
                change_kinds[changes], change_raws[changes] = kinds[triple], raws[triple]
                changes += 1
            continue
        records[event_count], event_names[event_count] = record, events[names[record]]
        counts[event_count] = last - first
        event_count += 1
        for triple in range(first, last):
            event_keys[filled] = properties[keys[triple]]
            event_kinds[filled], event_raws[filled] = kinds[triple], raws[triple]
            filled += 1
    return (
        records[:event_count], event_names[:event_count], counts[:event_count],
        event_keys[:filled], event_kinds[:filled], event_raws[:filled],
        owners[:changes], changed[:changes], change_kinds[:changes], change_raws[:changes],
    )  # fmt: skip
