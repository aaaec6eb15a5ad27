"""A batch prepared for a partition's memory: names numbered, strings coded, events separated from attribute changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cdp_store.arrays import I64, U8, U16, U32, Bools
from cdp_store.columns.dictionary import StringDictionary
from cdp_store.events.delta import ArrivedEvents
from cdp_store.kernels import arrivals
from cdp_store.kernels.names import mark_mentioned
from cdp_store.memory.schema import NameTable, Schema
from cdp_store.records.records import RecordBatch


@dataclass(frozen=True, slots=True)
class ArrivedChanges:
    """Attribute changes, one a value: records i64[n] of the batch, attributes u16[n], kinds u8[n], raws i64[n]."""

    records: I64
    attributes: U16
    kinds: U8
    raws: I64

    def __len__(self) -> int:
        return int(self.records.shape[0])


@dataclass(frozen=True, slots=True)
class NameNumbers:
    """The partition's number of each name that the batch's records mention, 0 for the others."""

    events: U16
    properties: U16
    attributes: U16


def number_names(batch: RecordBatch, schema: Schema) -> NameNumbers:
    """The numbers of a batch's names; new names are registered."""
    chosen: Bools = np.ones(len(batch), np.bool_)
    events: Bools = np.zeros(len(batch.names), np.bool_)
    properties: Bools = np.zeros(len(batch.keys), np.bool_)
    attributes: Bools = np.zeros(len(batch.keys), np.bool_)
    mark_mentioned(
        batch.record_names, batch.property_offsets, batch.triple_keys, chosen, events, properties, attributes
    )
    return NameNumbers(
        _numbers(schema.events, batch.names, events),
        _numbers(schema.properties, batch.keys, properties),
        _numbers(schema.attributes, batch.keys, attributes),
    )


def code_strings(batch: RecordBatch, numbers: NameNumbers, dictionary: StringDictionary) -> I64:
    """The triples' raw values with string numbers replaced by dictionary codes; unknown strings are added."""
    columns = (batch.record_names, batch.property_offsets, batch.triple_keys, batch.triple_kinds, batch.triple_raws)
    where, scopes, strings = arrivals.find_text(*columns, numbers.properties, numbers.attributes)
    raws = batch.triple_raws.copy()
    if where.shape[0]:
        raws[where] = dictionary.encode(scopes, strings, batch.strings)
    return raws


def tell_apart(batch: RecordBatch, rows: U32, numbers: NameNumbers, raws: I64) -> tuple[ArrivedEvents, ArrivedChanges]:
    """Separates the events of a batch from its attribute changes, each in order; `rows` by record, `raws` coded."""
    told = arrivals.tell_apart(
        batch.record_names,
        batch.property_offsets,
        batch.triple_keys,
        batch.triple_kinds,
        raws,
        numbers.events,
        numbers.properties,
        numbers.attributes,
    )
    records, names, counts, keys, kinds, values = told[:6]
    events = ArrivedEvents(rows[records], names, batch.record_times[records], counts, keys, kinds, values)
    return events, ArrivedChanges(*told[6:])


def _numbers(table: NameTable, names: Sequence[str], mentioned: Bools) -> U16:
    used = zip(names, mentioned.tolist(), strict=True)
    return np.array([table.number(name) if is_used else 0 for name, is_used in used], np.uint16)
