"""Carries message ids and summaries over to partitions that are divided differently.

Message ids are kept as hashes only. Cold rows list them with the identifiers they came under, which shows where they
belong. An id without a cold row, such as one of an erased profile, is remembered by every new partition. Ids that older
versions kept alone count from here on for the identifiers in their cold rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

from cdp_store.arrays import I64, U64
from cdp_store.columns.arena import HashKey
from cdp_store.events.retained import Summary
from cdp_store.ids import PartitionId
from cdp_store.limits import DEDUPE_IDS_PER_GENERATION
from cdp_store.memory.view import PartitionView
from cdp_store.partition.dedupe import IdGeneration, IdSet, RecordIds, hash_ids, identified
from cdp_store.partition.partition import Partition
from cdp_store.records.records import Strings
from cdp_store.snapshot.arrow_tables import strings_of
from cdp_store.snapshot.cold.cold_tables import encoded_text

Partitions = Mapping[PartitionId, Partition]
Table = tuple[PartitionId, pa.Table]
Found = tuple[U64, U64, I64]  # (high, low) of ids, and when each was received

_SOME: Final = 1 << 16  # ids remembered at once: a generation may begin between two such groups


def carry_ids(generations: Iterable[IdGeneration], rows: Iterator[Table], partitions: Partitions) -> int:
    """Makes new partitions remember the ids of old ones; `rows` are the old ones' cold rows by new partition.

    Returns the number of ids that were lost, because more than a generation of them have no cold row.
    """
    old = sorted(generations, key=lambda each: each.started_ms)
    own, alone = ([each for each in old if each.of_identifiers is wanted] for wanted in (True, False))
    taken, taken_alone, told, told_alone = _all_of(own), _all_of(alone), IdSet(), IdSet()
    found = {number: list[Found]() for number in partitions}
    for number, table in rows:
        ids, received = _ids_of(table, partitions[number].key)
        # Only ids that are remembered: cold rows list those of all records that ever were.
        known = taken.contains(ids.high, ids.low) | taken_alone.contains(*ids.alone)
        told.add(ids.high[known], ids.low[known])
        told_alone.add(ids.alone[0][known], ids.alone[1][known])
        found[number].append((ids.high[known], ids.low[known], received[known]))
    homeless, left = _without(own, told)
    older, left_alone = _without(alone, told_alone)
    generations_alone = [
        IdGeneration(int(received[0]), np.stack([high, low], axis=1), of_identifiers=False)
        for high, low, received in reversed(older)
        if received.shape[0]
    ]
    for number, partition in partitions.items():
        partition.remember_ids(generations_alone, _lots([*homeless, *found[number]]))
    return left + left_alone


def carry_summaries(view: PartitionView, partitions: Partitions) -> None:
    """Makes new partitions, which hold the profiles already, keep the summaries of an old one's dropped events."""
    names = list(view.schema.events)
    for number, summary in view.summaries.items():
        offsets, data = view.gather_identifiers(summary.rows.astype(np.int64))
        identifiers = Strings(offsets.astype(np.uint32), data)
        for partition in partitions.values():
            rows = partition.rows_of(identifiers)
            here = np.flatnonzero(rows >= 0)
            here = here[np.argsort(rows[here], kind="stable")]
            columns = (summary.counts[here], summary.first_ms[here], summary.last_ms[here])
            part = Summary(summary.cutoff_ms, rows[here].astype(np.uint32), *columns)
            partition.add_summary(names[number], part)


def _all_of(generations: Iterable[IdGeneration]) -> IdSet:
    every = IdSet()
    for generation in generations:
        every.add(*generation.ids())
    return every


def _ids_of(table: pa.Table, key: HashKey) -> tuple[RecordIds, I64]:
    """The ids in cold rows, and the time each was received."""
    given = table.filter(pa.compute.is_valid(table.column("message_id")))
    alone = hash_ids(key, _strings(given, "message_id"))
    texts, codes = encoded_text(given, "identifier")
    high, low = hash_ids(key, _strings(pa.table({"text": texts.cast(pa.large_string())}), "text"))
    received: I64 = given.column("received").cast(pa.int64()).to_numpy()
    return RecordIds(*identified(alone, (high[codes], low[codes])), alone), received


def _strings(table: pa.Table, name: str) -> Strings:
    offsets, data = strings_of(table, name, 0, table.num_rows)
    return Strings(offsets.astype(np.uint32), data)


def _without(generations: Iterable[IdGeneration], told: IdSet) -> tuple[list[Found], int]:
    """The newest ids without a cold row, at most a generation, and the number of those beyond."""
    found, count = list[Found](), 0
    # The newest ones: where not all have room, the oldest are the least likely to be repeated.
    for generation in reversed(list(generations)):
        high, low = generation.ids()
        rest = np.flatnonzero(~told.contains(high, low))
        kept = rest[: max(DEDUPE_IDS_PER_GENERATION - count, 0)]
        count += rest.shape[0]
        found.append((high[kept], low[kept], np.full(kept.shape[0], generation.started_ms, np.int64)))
    return found, max(count - DEDUPE_IDS_PER_GENERATION, 0)


def _lots(found: list[Found]) -> Iterator[tuple[U64, U64, int]]:
    """Ids in order of receipt, in groups, each with the receipt of its last id."""
    if not found:
        return
    high, low, received = (np.concatenate([each[place] for each in found]) for place in range(3))
    # In order of receipt, as they first came: generations begin and end by it.
    order = np.argsort(received, kind="stable")
    for start in range(0, order.shape[0], _SOME):
        some = order[start : start + _SOME]
        yield high[some], low[some], int(received[some[-1]])
