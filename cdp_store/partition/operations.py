"""Operations on attributes: changes that depend on the current value.

They are logged as they were sent. They are evaluated when their batch is applied, against the values of that moment. A
replay applies the same batches in the same order, so it gets the same results. A message id keeps an operation from
being done twice. A late operation is done on the newest value, and takes effect at that value's time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final, Protocol

import numpy as np

from cdp_store.arrays import I64, U32, Bools
from cdp_store.identity.state import IdentityState
from cdp_store.limits import LIST_ITEMS_MAX
from cdp_store.memory.nested import wholes_of
from cdp_store.memory.schema import NameTable
from cdp_store.profiles.attributes import Versions
from cdp_store.records.records import RecordBatch, Strings
from cdp_store.values import KIND_MASK, OPERATION_SHIFT, Kind, Operation, decode_value, pack_list, unpack_list

_INT64_MIN: Final = -(1 << 63)
_INT64_MAX: Final = (1 << 63) - 1


class Values(Protocol):
    """The current values of attributes, as a partition's memory has them."""

    def rows_of(self, identifiers: Strings) -> I64:
        """The row of each encoded identifier, or -1."""

    def current(self, attribute: str, rows: U32) -> Versions:
        """Current values of an attribute for some rows, and the times they were set."""

    def list_value(self, attribute: str, code: int) -> bytes:
        """The bytes of a list."""


@dataclass(frozen=True, slots=True)
class _Value:
    """Value of one attribute of one person: `value` only for numbers and lists; `raw` is as in the batch."""

    time_ms: int
    kind: int
    value: Any = None
    raw: int = 0


def has_operations(batch: RecordBatch) -> bool:
    """True if any value of a batch is an operation."""
    return bool(batch.triple_kinds.shape[0]) and int(batch.triple_kinds.max()) > KIND_MASK


def records_elsewhere(batch: RecordBatch, kept: Bools, identity: IdentityState) -> list[int]:
    """The kept records with operations whose identifiers belong to a profile in another partition: its values are not
    here.
    """
    if not has_operations(batch):
        return []
    operating: Bools = np.zeros(len(batch), np.bool_)
    owners = np.repeat(np.arange(len(batch)), batch.property_counts())
    operating[owners[batch.triple_kinds > KIND_MASK]] = True
    elsewhere = identity.is_linked(batch.identities)[batch.record_identities]
    return [int(record) for record in np.flatnonzero(kept & operating & elsewhere)]


def in_turns(batch: RecordBatch, known: NameTable) -> list[RecordBatch]:
    """The batch as one, or its records one by one where an operation depends on the records before it.

    That is so where several records of a person concern an object, and an operation changes a part of it. `known` are
    names of attributes.
    """
    if not has_operations(batch):
        return [batch]
    names, concerned = {*batch.keys}, set[str]()
    for key in np.unique(batch.triple_keys[batch.triple_kinds > KIND_MASK]).tolist():
        wholes = [whole for whole in wholes_of(batch.keys[key]) if whole in names or known.get(whole) is not None]
        concerned.update([batch.keys[key], *wholes] if wholes else [])
    if not concerned:
        return [batch]
    keys = [number for number, name in enumerate(batch.keys) if name in concerned]
    owners = np.repeat(np.arange(len(batch)), batch.property_counts())
    records = np.unique(owners[np.isin(batch.triple_keys, keys)])
    # Each person occurs once: no operation can depend on another record of the batch.
    if np.unique(_same_people(batch)[records]).shape[0] == records.shape[0]:
        return [batch]
    return [batch.take(np.array([record])) for record in range(len(batch))]


def resolved(batch: RecordBatch, values: Values) -> RecordBatch:
    """The batch with the results of operations in place of these; operations that change nothing are left out."""
    return _Resolving(batch, values).run() if has_operations(batch) else batch


class _Resolving:
    def __init__(self, batch: RecordBatch, values: Values) -> None:
        self._batch, self._values = batch, values
        # Copies: the batch stays as it was sent, which is also what the log has.
        self._kinds, self._raws = batch.triple_kinds.copy(), batch.triple_raws.copy()
        self._times, self._kept = batch.record_times.copy(), np.ones(batch.triple_kinds.shape[0], np.bool_)
        self._lists = list[bytes]()
        self._owners = np.repeat(np.arange(len(batch)), batch.property_counts())
        self._people = _same_people(batch)
        self._states = dict[tuple[int, int], _Value]()

    def run(self) -> RecordBatch:
        """The batch with every operation done, record by record."""
        walked = self._touched()
        self._read_states(walked)
        for record, triples in groupby(walked.tolist(), lambda triple: int(self._owners[triple])):
            self._do(record, list(triples))
        return self._finished()

    def _touched(self) -> I64:
        """The triples that are operations, and those that set the values they work on."""
        # One number for an attribute of a person: keys of a batch are u16.
        pairs = (self._people[self._owners] << 16) | self._batch.triple_keys.astype(np.int64)
        operating = self._kinds > KIND_MASK
        is_change = self._batch.is_attributes()[self._owners]
        return np.flatnonzero(is_change & np.isin(pairs, pairs[operating]))

    def _read_states(self, walked: I64) -> None:
        rows = self._values.rows_of(self._batch.identities)
        keys = self._batch.triple_keys[walked]
        for key in np.unique(keys).tolist():
            people = np.unique(self._people[self._owners[walked[keys == key]]])
            # A new person has no values yet: the next operation builds on what the batch states first.
            known = people[rows[people] >= 0]
            found = self._values.current(self._batch.keys[key], rows[known].astype(np.uint32))
            columns = (known, found.times, found.kinds, found.raws)
            for person, time_ms, kind, raw in zip(*(column.tolist() for column in columns), strict=True):
                value = self._stored(self._batch.keys[key], kind, raw)
                self._states[person, key] = _Value(time_ms, kind, value)

    def _stored(self, attribute: str, kind: int, raw: int) -> Any:
        if kind == Kind.LIST:
            return unpack_list(self._values.list_value(attribute, raw))
        return decode_value(kind, raw) if kind in (Kind.INT, Kind.FLOAT) else None

    def _do(self, record: int, triples: list[int]) -> None:
        """Does the operations of one record; its changes take effect together."""
        changed = list(self._changes(record, triples))
        if any(self._kinds[triple] > KIND_MASK for triple in triples):
            # Later than the value it builds on, or it would be history at once.
            latest = max((state.time_ms for _, state, _ in changed if state is not None), default=self._times[record])
            self._times[record] = max(self._times[record], latest)
        time_ms = int(self._times[record])
        for triple, before, after in changed:
            self._kinds[triple], self._raws[triple] = after.kind, after.raw
            # A late value is history, and nothing builds on it.
            if before is None or time_ms >= before.time_ms:
                self._states[self._pair(triple)] = replace(after, time_ms=time_ms)

    def _changes(self, record: int, triples: list[int]) -> Iterator[tuple[int, _Value | None, _Value]]:
        """(triple, old value, new value) of each operation that changes anything; marks the others."""
        for triple in triples:
            before = self._states.get(self._pair(triple))
            operation = Operation(int(self._kinds[triple]) >> OPERATION_SHIFT)
            after = self._done(operation, before, self._given(triple))
            if after is None:
                self._kept[triple] = False
            else:
                yield triple, before, after

    def _pair(self, triple: int) -> tuple[int, int]:
        return int(self._people[self._owners[triple]]), int(self._batch.triple_keys[triple])

    def _given(self, triple: int) -> _Value:
        kind, raw = int(self._kinds[triple]) & KIND_MASK, int(self._raws[triple])
        if kind == Kind.LIST:
            return _Value(0, kind, unpack_list(self._batch.strings[raw]), raw)
        return _Value(0, kind, decode_value(kind, raw) if kind in (Kind.INT, Kind.FLOAT) else None, raw)

    def _done(self, operation: Operation, before: _Value | None, given: _Value) -> _Value | None:
        """Result of an operation on a value; None where the value stays as it was."""
        match operation:
            case Operation.SET:
                return given
            case Operation.SET_ONCE:
                return given if before is None or before.kind == Kind.UNSET else None
            case Operation.INCREMENT:
                return _sum(before, given)
        items = before.value if before is not None and before.kind == Kind.LIST else None
        if operation is Operation.APPEND:
            after = _appended(items or [], given.value)
        elif items is None:
            return None
        else:
            after = _removed(items, given.value)
        # No change: adding what a list has already must not extend its history.
        if items is not None and len(after) == len(items) and pack_list(after) == pack_list(items):
            return None
        self._lists.append(pack_list(after))
        return _Value(0, Kind.LIST, after, len(self._batch.strings) + len(self._lists) - 1)

    def _finished(self) -> RecordBatch:
        counts = np.bincount(self._owners[self._kept], minlength=len(self._batch))
        offsets: U32 = np.zeros(len(self._batch) + 1, np.uint32)
        np.cumsum(counts, out=offsets[1:])
        return replace(
            self._batch,
            record_times=self._times,
            property_offsets=offsets,
            triple_keys=self._batch.triple_keys[self._kept],
            triple_kinds=self._kinds[self._kept],
            triple_raws=self._raws[self._kept],
            strings=self._batch.strings.join(Strings.of(self._lists)),
        )


def _same_people(batch: RecordBatch) -> I64:
    """For each record the first number of its identity in the batch's table, which may list equal ones twice."""
    first = dict[bytes, int]()
    numbers = [first.setdefault(batch.identities[number], number) for number in range(len(batch.identities))]
    return np.array(numbers, np.int64)[batch.record_identities]


def _sum(before: _Value | None, given: _Value) -> _Value | None:
    base = before.value if before is not None and before.kind in (Kind.INT, Kind.FLOAT) else 0
    total = base + given.value
    # Beyond 64 bits the result becomes a float, as in calculations of questions; a result that is not a number changes
    # nothing.
    if isinstance(total, int) and _INT64_MIN <= total <= _INT64_MAX:
        return _Value(0, Kind.INT, total, total)
    number = float(total)
    if not math.isfinite(number):
        return None
    return _Value(0, Kind.FLOAT, number, int(np.float64(number).view(np.int64)))


def _appended(items: list[Any], added: list[Any]) -> list[Any]:
    """A list with the items that it did not have; the oldest are dropped beyond the maximum."""
    # Compared by their bytes: 1, 1.0 and true are three different items.
    known = {pack_list([item]): item for item in items}
    for item in added:
        known.setdefault(pack_list([item]), item)
    return list(known.values())[-LIST_ITEMS_MAX:]


def _removed(items: list[Any], removed: list[Any]) -> list[Any]:
    gone = {pack_list([item]) for item in removed}
    return [item for item in items if pack_list([item]) not in gone]
