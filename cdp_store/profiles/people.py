"""People of a batch: their rows, and when they appeared according to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cdp_store.arrays import I64, U32
from cdp_store.columns.arena import HashKey, StringArena, hash_strings
from cdp_store.profiles.profile_times import NOT_CREATED, ProfileTimes
from cdp_store.records.records import RecordBatch


@dataclass(frozen=True, slots=True)
class People:
    """rows u32[n], each once, and of_record u32: which of them each record of the batch belongs to."""

    rows: U32
    of_record: U32

    def record_rows(self) -> U32:
        """Row of each record."""
        return self.rows[self.of_record]


def resolve(batch: RecordBatch, identifiers: StringArena, key: HashKey) -> People:
    """The people of a batch; new ones get a row."""
    table = batch.identities
    index: U32 = np.arange(len(table), dtype=np.uint32)
    rows = identifiers.insert(index, table, hash_strings(key, table)).astype(np.uint32)
    distinct, inverse = np.unique(rows, return_inverse=True)
    if distinct.shape[0] == rows.shape[0]:
        return People(rows, batch.record_identities)
    return People(distinct, inverse.astype(np.uint32)[batch.record_identities])


def take_times(batch: RecordBatch, people: People, times: ProfileTimes) -> I64:
    """Notes when people first appeared; returns when the attributes of each were first set, i64[people]."""
    first_set: I64 = np.full(people.rows.shape[0], NOT_CREATED, np.int64)
    earliest: I64 = np.full(people.rows.shape[0], NOT_CREATED, np.int64)
    # Of several records of one person the one assigned last stays: backwards, that is the first to arrive.
    setting = np.flatnonzero(batch.is_attributes())[::-1]
    first_set[people.of_record[setting]] = batch.record_times[setting]
    np.minimum.at(earliest, people.of_record, batch.record_times)
    seen = earliest != NOT_CREATED
    first_set[seen] = times.update(people.rows[seen], first_set[seen], earliest[seen])
    return first_set
