"""Rejection of records whose new names exceed a partition's limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cdp_store.arrays import Bools
from cdp_store.kernels import names
from cdp_store.memory.schema import Schema
from cdp_store.records.records import RecordBatch


@dataclass(frozen=True, slots=True)
class Rejection:
    """One record that was rejected, with a code for machines and a message for people."""

    record: int
    code: str
    message: str


def name_overflow(schema: Schema, batch: RecordBatch, kept: Bools) -> list[Rejection]:
    """Registers the names of the kept records up to the limits; returns the rejections of records with other names."""
    rejections = dict[int, Rejection]()
    of_events, properties, attributes = (np.zeros(len(known), np.bool_) for known in _names_thrice(batch))
    names.mark_mentioned(
        batch.record_names, batch.property_offsets, batch.triple_keys, kept, of_events, properties, attributes
    )
    for table, known, mentioned in (
        (schema.events, batch.names, of_events),
        (schema.properties, batch.keys, properties),
        (schema.attributes, batch.keys, attributes),
    ):
        numbers = [number for number, is_used in enumerate(mentioned.tolist()) if is_used]
        over, beyond = table.overflow([known[number] for number in numbers]), np.zeros(len(known), np.bool_)
        for number in numbers:
            if known[number] in over:
                beyond[number] = True
            else:
                table.number(known[number])
        if over:
            code = f"{table.what}_names_limit".upper()
            for record, number in _mentioning(batch, table.what, beyond, kept):
                message = f"{table.what} name {known[number]!r} is new, and {table.limit} names are known already"
                rejections.setdefault(record, Rejection(record, code, message))
    return list(rejections.values())


def _names_thrice(batch: RecordBatch) -> tuple[tuple[str, ...], ...]:
    """The names that can be event names, property names and attribute names."""
    return batch.names, batch.keys, batch.keys


def _mentioning(batch: RecordBatch, what: str, beyond: Bools, kept: Bools) -> list[tuple[int, int]]:
    """(record, number of its first such name) of the kept records that mention any of these names, bool by number."""
    if what == "event":
        is_event = kept & ~batch.is_attributes()
        records = np.flatnonzero(is_event)
        records = records[beyond[batch.record_names[records]]]
        return list(zip(records.tolist(), batch.record_names[records].tolist(), strict=True))
    owners = np.repeat(np.arange(len(batch)), batch.property_counts())
    side = batch.is_attributes() if what == "attribute" else ~batch.is_attributes()
    triples = np.flatnonzero(beyond[batch.triple_keys] & (kept & side)[owners])
    records, first = np.unique(owners[triples], return_index=True)
    return list(zip(records.tolist(), batch.triple_keys[triples[first]].tolist(), strict=True))
