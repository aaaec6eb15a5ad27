"""Everything some profiles hold, as one record batch, and a hash of the content of each record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from cdp_store.arrays import I64, U32, U64, Bools
from cdp_store.columns.arena import hash_strings
from cdp_store.columns.column import EventColumn
from cdp_store.columns.morsels import by_morsel
from cdp_store.events.chunk import ColumnKey, EventChunk
from cdp_store.events.chunk_sealing import order_by_row_time
from cdp_store.ids import LOWER_CASE
from cdp_store.memory.digest import combine
from cdp_store.memory.nested import without_unset_parts
from cdp_store.memory.rerouting import batch_of_values, values_of
from cdp_store.memory.view import CHANGE_VALUE, PartitionView, changes_of
from cdp_store.profiles.attributes import AttributeBlock, Versions
from cdp_store.profiles.profile_times import NOT_CREATED
from cdp_store.records.records import ATTRIBUTES, RecordBatch, Strings, join_batches
from cdp_store.values import Kind, is_text

_FEW_ROWS: Final = 4  # up to these, the runs of each are searched for
_RECORD_BYTES: Final = 64  # without its values
_TRIPLE_BYTES: Final = 48  # without its text
_KEY: Final = (0, 0)  # the hashes only distinguish records of one person
_ATTRIBUTE: Final = np.uint64(1)

Taken = tuple[I64, Bools | None]


def contents_of(view: PartitionView, rows: Sequence[int]) -> RecordBatch:
    """All records of rows: for each a record without values at its creation, events by (name, row, time), one record
    per version of an attribute. Equal times of a row keep their order of arrival."""
    wanted = np.array(sorted(rows), np.int64)
    parts = [creations_of(view, wanted)]
    for name in range(len(view.schema.events)):
        for chunk in view.event_chunks(name):
            where = events_of(chunk, wanted, view.row_count)
            if where.shape[0]:
                parts.append(batch_of_events(view, name, chunk, where))
    for attribute in sorted(view.attributes):
        versions = versions_of(view, attribute, wanted)
        if len(versions):
            parts.append(batch_of_versions(view, attribute, versions))
    return in_lower_case(joined_batches(parts))


def given_of(view: PartitionView, rows: Sequence[int]) -> RecordBatch:
    """The same without removals of parts of objects that follow from other records: among the records of another
    profile they may be due at other times."""
    return without_unset_parts(contents_of(view, rows))


def record_hashes(batch: RecordBatch) -> U64:
    """Hash of the content of each record, independent of its profile and batch: u64[n]."""
    names, keys = (
        hash_strings(_KEY, Strings.of(name.encode() for name in table)) for table in (batch.names, batch.keys)
    )
    texts = hash_strings(_KEY, batch.strings)
    raws = batch.triple_raws.astype(np.int64).view(np.uint64).copy()
    textual = is_text(batch.triple_kinds)
    raws[textual] = texts[batch.triple_raws[textual]]
    triples = combine(keys[batch.triple_keys], batch.triple_kinds.astype(np.uint64), raws)
    owners = np.repeat(np.arange(len(batch)), batch.property_counts())
    values: U64 = np.zeros(len(batch), np.uint64)
    np.add.at(values, owners, triples)
    what: U64 = np.full(len(batch), _ATTRIBUTE, np.uint64)
    events = ~batch.is_attributes()
    what[events] = names[batch.record_names[events]]
    return combine(what, batch.record_times.view(np.uint64), values)


def record_sizes(batch: RecordBatch) -> I64:
    """Approximate bytes of each record in memory: i64[n]."""
    counts = batch.property_counts()
    texts: I64 = np.zeros(batch.triple_raws.shape[0], np.int64)
    textual = is_text(batch.triple_kinds)
    texts[textual] = np.diff(batch.strings.offsets)[batch.triple_raws[textual]]
    sizes: I64 = counts * _TRIPLE_BYTES + _RECORD_BYTES
    np.add.at(sizes, np.repeat(np.arange(len(batch)), counts), texts)
    return sizes


def is_creation(batch: RecordBatch) -> Bools:
    """Mask of the records that state only that a profile exists: bool[n]."""
    said: Bools = batch.is_attributes() & (batch.property_counts() == 0)
    return said


def events_of(chunk: EventChunk, rows: I64, row_count: int) -> I64:
    """Positions of the events of rows in a chunk, ascending."""
    if rows.shape[0] <= _FEW_ROWS:
        slices = (chunk.events_of_row(int(row)) for row in rows)
        return np.concatenate([np.zeros(0, np.int64), *(np.arange(each.start, each.stop) for each in slices)])
    wanted: Bools = np.zeros(row_count, np.bool_)
    wanted[rows] = True
    return np.flatnonzero(np.repeat(wanted[chunk.full_run_rows()], np.diff(chunk.run_starts)))


def rows_at(chunk: EventChunk, where: I64) -> U32:
    """The rows of the events at some positions of a chunk, ascending."""
    runs = np.searchsorted(chunk.run_starts, where, "right") - 1
    return chunk.full_run_rows()[runs]


def _taken(column: EventColumn, where: I64) -> Taken:
    """(raws, presence or None) of some entries of a column."""
    one = replace(column, values=column.values[where], present=None)
    if column.present is None:
        return one.raws(), None
    present: Bools = (column.present[where >> 3] >> (where & 7).astype(np.uint8)) & 1 != 0
    return one.raws(), present


def batch_of_events(view: PartitionView, name: int, chunk: EventChunk, where: I64) -> RecordBatch:
    """The events of a name at some positions of a chunk, ascending, as records."""
    taken = {key: _taken(column, where) for key, column in chunk.columns.items()}
    given = {key: each for key, each in taken.items() if each[1] is None or each[1].any()}
    rows, times = rows_at(chunk, where), chunk.times[where].astype(np.int64) + chunk.base_ms
    values = values_of(view, given, slice(0, rows.shape[0]), None)
    return batch_of_values(view, rows, times, name, values, tuple(view.schema.events), tuple(view.schema.properties))


def batch_of_versions(view: PartitionView, attribute: int, versions: Versions) -> RecordBatch:
    """Versions of an attribute as records, one each."""
    columns = dict[ColumnKey, Taken]()
    for kind in map(Kind, np.unique(versions.kinds).tolist()):
        if kind is not Kind.UNSET:
            columns[CHANGE_VALUE, kind] = versions.raws, versions.kinds == kind
    values = values_of(view, columns, slice(0, len(versions)), attribute)
    keys = tuple(view.schema.attributes)
    return batch_of_values(view, versions.rows, versions.times, ATTRIBUTES, values, (), keys)


def creations_of(view: PartitionView, rows: I64) -> RecordBatch:
    """A record without values for each row, at the time its profile was created."""
    created = _by_row(view, rows)
    exists = created != NOT_CREATED
    values = values_of(view, {}, slice(0, 0), None)
    return batch_of_values(view, rows[exists].astype(np.uint32), created[exists], ATTRIBUTES, values, (), ())


def _by_row(view: PartitionView, rows: I64) -> I64:
    created: I64 = np.empty(rows.shape[0], np.int64)
    for morsel, local, where in by_morsel(rows.astype(np.uint32)):
        created[where] = view.times.morsels[morsel].created_ms()[local]
    return created


def versions_of(view: PartitionView, attribute: int, rows: I64) -> Versions:
    """Every value an attribute of rows ever had, by (row, time), as it arrived."""
    parts = list[Versions]()
    for chunk in view.changes.pieces(attribute):
        where = events_of(chunk, rows, view.row_count)
        if where.shape[0]:
            parts.append(changes_of(chunk).take(where))
    parts.append(current_of(view, attribute, rows))
    versions = Versions.join(parts)
    return versions.take(order_by_row_time(versions.rows, versions.times)) if len(versions) else versions


def current_of(view: PartitionView, attribute: int, rows: I64) -> Versions:
    """The values of an attribute that rows have now, removals included."""
    reading, parts = view.attributes[attribute], list[Versions]()
    for morsel, local, where in by_morsel(rows.astype(np.uint32)):
        block = reading.blocks[morsel] if morsel < len(reading.blocks) else None
        if block is not None:
            within = local.astype(np.int64)
            inside = within < block.rows
            first_set = view.times.morsels[morsel].first_set_ms()
            parts.append(_current_of_block(block, rows[where][inside], within[inside], first_set))
    return Versions.join(parts)


def _current_of_block(block: AttributeBlock, rows: I64, local: I64, first_set_ms: I64) -> Versions:
    kinds, raws = block.at(local)
    times, touched = first_set_ms[local], kinds != Kind.UNSET
    if block.changed is not None:
        differing, theirs = block.changed.given()
        at = np.minimum(np.searchsorted(differing, local), max(differing.shape[0] - 1, 0))
        differs = differing[at] == local if differing.shape[0] else np.zeros(local.shape[0], np.bool_)
        times[differs] = theirs[at[differs]]
        touched |= differs
    return Versions(rows.astype(np.uint32), times, kinds, raws).take(touched)


def joined_batches(parts: list[RecordBatch]) -> RecordBatch:
    """All batches as one, with each identity once."""
    return unified(join_batches(parts))


def unified(batch: RecordBatch) -> RecordBatch:
    """The same records with each identity once, and with the names they use; `join_batches` repeats and keeps them."""
    known, events = dict[bytes, int](), ~batch.is_attributes()
    numbers = [known.setdefault(batch.identities[at], len(known)) for at in range(len(batch.identities))]
    names, keys = np.unique(batch.record_names[events]), np.unique(batch.triple_keys)
    record_names = batch.record_names.copy()
    record_names[events] = np.searchsorted(names, record_names[events])
    return replace(
        batch,
        identities=Strings.of(known),
        record_identities=np.array(numbers, np.uint32)[batch.record_identities],
        record_names=record_names,
        triple_keys=np.searchsorted(keys, batch.triple_keys).astype(np.uint16),
        names=tuple(batch.names[at] for at in names),
        keys=tuple(batch.keys[at] for at in keys),
    )


def in_lower_case(batch: RecordBatch) -> RecordBatch:
    """Identifiers as they are without being in transit."""
    data = batch.identities.data.copy()
    data[batch.identities.offsets[:-1]] |= LOWER_CASE
    return replace(batch, identities=Strings(batch.identities.offsets, data))
