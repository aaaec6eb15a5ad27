"""Records that broke a rule: into the quarantine of their profiles' partitions, and out of it again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from cdp.v1 import ingest_pb2, schema_pb2, shard_pb2

from cdp_router.cluster.partitioning import partitions_of, split
from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_methods import CHANGE_QUARANTINE, READ_QUARANTINE
from cdp_router.cluster.topology import ClusterFile
from cdp_router.deadline import Deadline
from cdp_router.identity.batch_links import without_records
from cdp_router.identity.identifier_limits import IdentifierLimits
from cdp_router.ingest.flights import Flights
from cdp_router.ingest.linked_operations import take_elsewhere
from cdp_router.ingest.schema_checking import check
from cdp_router.ingest.schema_gate import Apart, SchemaGate
from cdp_router.ingest.schema_rules import Rules
from cdp_router.ingest.violation_counts import Mode
from cdp_router.limits import ERRORS_TOLD_MAX
from cdp_store.arrays import I64, Bools
from cdp_store.ids import SequenceNumber
from cdp_store.partition.quarantine import (
    QuarantineChange,
    Quarantined,
    Released,
    decode_quarantine_change,
    encode_quarantine_change,
)
from cdp_store.partition.refusals import OPERATION_ELSEWHERE
from cdp_store.records.records import ATTRIBUTES, RecordBatch, Strings

QUARANTINED: Final = "SCHEMA_QUARANTINED"
FULL: Final = "QUARANTINE_FULL"
_BATCH_PREFIX: Final = b"quarantine:"  # the quarantined part of a batch has an id of its own, which is remembered too


@dataclass(frozen=True, slots=True)
class Entry:
    """Records that came together, and their place."""

    partition: int
    sequence: SequenceNumber
    records: Quarantined


async def keep_apart(
    apart: Apart, routing: Routing, threads: Executor, deadline: Deadline, result: ingest_pb2.BatchResult
) -> None:
    """Keeps records durably, and reports the first ones in the result of their batch, next to those of others.

    The work on each record is done off the event loop.
    """
    loop = asyncio.get_running_loop()
    # A batch with anything new was not accepted before as a whole.
    sent_before = b"" if result.accepted else apart.batch.batch_id
    for partition, records, own in await loop.run_in_executor(threads, _parts, apart, routing.cluster):
        told = await _change(own, partition, routing, deadline, sent_before)
        await loop.run_in_executor(threads, _tell, apart, records, told, result)


def _parts(apart: Apart, cluster: ClusterFile) -> list[tuple[int, I64, Quarantined]]:
    """The records that each partition keeps."""
    homes = partitions_of(apart.links.upper, cluster.hash_key, cluster.partitions)
    parts = split(_with_message_ids(apart), cluster.hash_key, cluster.partitions)
    return [
        (
            partition,
            records,
            Quarantined.of(
                part, [apart.reasons[record] for record in records.tolist()], apart.links.take(homes == partition)
            ),
        )
        for partition, (part, records) in parts.items()
    ]


def _tell(apart: Apart, records: I64, told: shard_pb2.ChangeQuarantineResponse, result: ingest_pb2.BatchResult) -> None:
    """Adds the outcome of records of one partition; beyond the first of the batch they are only counted."""
    new: I64 = np.delete(records, np.array(told.taken, np.int64))
    result.duplicates += len(told.taken)
    first = new[new < ERRORS_TOLD_MAX]
    said = zip(apart.positions[first].tolist(), (apart.reasons[record] for record in first.tolist()), strict=True)
    if told.done:
        result.quarantined += new.shape[0]
        result.warnings_omitted += new.shape[0] - first.shape[0]
        for index, reason in said:
            result.warnings.add(index=index, code=QUARANTINED, message=reason)
        result.warnings.sort(key=lambda warning: warning.index)
    else:
        result.errors_omitted += new.shape[0] - first.shape[0]
        for index, reason in said:
            problem = f"{reason}; and the quarantine is full: redrive or drop its records"
            result.errors.add(index=index, code=FULL, message=problem)
        result.errors.sort(key=lambda error: error.index)


class Quarantine:
    """The quarantine of a cluster."""

    def __init__(self, routing: Routing, gate: SchemaGate, limits: IdentifierLimits | None = None) -> None:
        self._routing, self._gate = routing, gate
        self._flights = Flights(routing, None, limits or IdentifierLimits())

    async def page(
        self, start: tuple[int, int, int], count: int, deadline: Deadline
    ) -> tuple[list[tuple[Entry, int]], tuple[int, int, int] | None]:
        """Some records, as an entry and a place in it, from (partition, position, number) on; and the start of the next
        page."""
        found = list[tuple[Entry, int]]()
        async for entry in self._entries(deadline, start[0], start[1]):
            for at, number in enumerate(entry.records.numbers.tolist()):
                place = entry.partition, int(entry.sequence), number
                if place < start:
                    continue
                if len(found) == count:
                    return found, place
                found.append((entry, at))
        return found, None

    async def total(self, deadline: Deadline) -> int:
        """Number of all records in quarantine."""
        reads = [await self._read(number, 1 << 62, deadline) for number in self._routing.map.partitions]
        return sum(each.total for each in reads)

    async def redrive(self, event: str | None, deadline: Deadline) -> schema_pb2.RedriveQuarantinedResponse:
        """Accepts records that no longer break a rule.

        Each is released only after it was accepted; its message id ensures that it is accepted once.
        """
        rules, told = await self._gate.newest(deadline), schema_pb2.RedriveQuarantinedResponse()
        async for entry in self._entries(deadline):
            wanted = _of_event(entry.records.batch, event)
            passing = wanted & ~_broken(entry.records.batch, rules)
            told.kept += int((wanted & ~passing).sum())
            if passing.any():
                await self._take(entry, passing, deadline, told)
        return told

    async def drop(self, event: str | None, deadline: Deadline) -> int:
        """Deletes records; returns their number."""
        dropped = 0
        async for entry in self._entries(deadline):
            wanted = _of_event(entry.records.batch, event)
            if wanted.any():
                dropped += int(wanted.sum())
                await self._release(entry, wanted, deadline)
        return dropped

    async def _take(
        self, entry: Entry, passing: Bools, deadline: Deadline, told: schema_pb2.RedriveQuarantinedResponse
    ) -> None:
        records = entry.records.take(passing)
        # Only message ids identify accepted records: rules may pass others of the batch next time.
        batch = replace(records.batch, batch_id=b"")
        links = without_records(entry.records.links, entry.records.batch, ~passing)
        taken = await self._flights.deliver(batch, links, deadline)
        refused = [record for record, code, _ in taken.errors if code != OPERATION_ELSEWHERE]
        if elsewhere := [record for record, code, _ in taken.errors if code == OPERATION_ELSEWHERE]:
            part = batch.take(np.array(elsewhere, np.int64))  # all have message ids
            later = await take_elsewhere(part, self._flights, self._routing, deadline)
            refused += [elsewhere[record] for record, _, _ in later.errors]
            told.taken += later.accepted
            told.duplicates += later.duplicates
        gone = passing.copy()
        gone[np.flatnonzero(passing)[refused]] = False
        told.links_refused += len(taken.refused)
        told.taken += taken.accepted
        told.duplicates += taken.duplicates
        told.kept += len(refused)
        await self._release(entry, gone, deadline)

    async def _release(self, entry: Entry, gone: Bools, deadline: Deadline) -> None:
        numbers = tuple(entry.records.numbers[gone].tolist())
        await _change(Released({entry.sequence: numbers}), entry.partition, self._routing, deadline)

    async def _entries(self, deadline: Deadline, partition: int = 0, position: int = 0) -> AsyncIterator[Entry]:
        """All entries from a position of a partition on."""
        for number in sorted(self._routing.map.partitions):
            at = position if number == partition else 0
            while number >= partition:
                found = await self._read(number, at, deadline)
                if not found.sequence:
                    break
                records = decode_quarantine_change(found.entry)
                assert isinstance(records, Quarantined), "a shard gives entries"
                yield Entry(number, SequenceNumber(found.sequence), records)
                at = found.sequence + 1

    async def _read(self, partition: int, position: int, deadline: Deadline) -> shard_pb2.ReadQuarantineResponse:
        request = shard_pb2.ReadQuarantineRequest(from_sequence=position)
        return await self._routing.one(READ_QUARANTINE, request, deadline, partition)


async def _change(
    change: QuarantineChange, partition: int, routing: Routing, deadline: Deadline, batch_id: bytes = b""
) -> shard_pb2.ChangeQuarantineResponse:
    request = shard_pb2.ChangeQuarantineRequest(change=encode_quarantine_change(change), batch_id=batch_id)
    return await routing.one(CHANGE_QUARANTINE, request, deadline, partition)


def _with_message_ids(apart: Apart) -> RecordBatch:
    """The records, each with an id; one without gets the same id whenever its batch is sent again."""
    batch = apart.batch
    known = hashlib.blake2b(batch.batch_id, digest_size=12).hexdigest()
    places = enumerate(apart.positions.tolist())
    ids = [batch.message_ids[at] or f"quarantine-{known}-{place}".encode() for at, place in places]
    return replace(batch, batch_id=_BATCH_PREFIX + batch.batch_id, message_ids=Strings.of(ids))


def _of_event(batch: RecordBatch, event: str | None) -> Bools:
    if event is None:
        return np.ones(len(batch), np.bool_)
    numbers = [number for number, name in enumerate(batch.names) if name == event] if event else [ATTRIBUTES]
    return np.isin(batch.record_names, numbers)


def _broken(batch: RecordBatch, rules: Rules) -> Bools:
    broken = np.zeros(len(batch), np.bool_)
    found = check(batch, rules)
    broken[found.of_mode(Mode.QUARANTINE)] = broken[found.of_mode(Mode.REJECT)] = True
    return broken
