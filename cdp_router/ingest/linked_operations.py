"""Operations under an identifier of another profile: forwarded to the partition that holds the values.

The partition of the identifier refuses them. It refuses them again when a batch is repeated, until it knows the
message. The partition of the profile applies them under the profile's own identifier. It remembers the message under
the operation's original identifier, so that each operation is applied once: records that are sent again after a crash,
and equal ids of the profile's own records, change nothing.

Before the batch is acked, the identifier's partition learns the message too. It stays known when the identifier later
belongs to another profile, or to none. A record without a message id could not be recognised; it stays refused.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from cdp.v1 import ingest_pb2

from cdp_router.cluster.partitioning import partitions_of
from cdp_router.cluster.routing import Routing
from cdp_router.deadline import Deadline
from cdp_router.identity.batch_links import NO_LINKS
from cdp_router.identity.identities import Identities
from cdp_router.identity.transfers import Mover
from cdp_router.ingest.flights import Flights
from cdp_router.ingest.loads import Taken
from cdp_router.records.columnarised import Columnarised
from cdp_store.identity.identity_changes import TakenElsewhere
from cdp_store.ids import decode_identifier, encode_identifier
from cdp_store.partition.dedupe import hash_records
from cdp_store.partition.refusals import OPERATION_ELSEWHERE
from cdp_store.records.records import RecordBatch, Strings

_TRIES: Final = 3  # the profile may be linked to another one meanwhile


async def send_on(
    result: ingest_pb2.BatchResult,
    sent: Columnarised,
    flights: Flights,
    routing: Routing,
    deadline: Deadline,
) -> None:
    """Sends refused records on to the partition that has their values, and puts the outcome into the result."""
    for _ in range(_TRIES):
        refused = [error.index for error in result.errors if error.code == OPERATION_ELSEWHERE]
        if not refused:
            return
        records = np.flatnonzero(np.isin(sent.positions, refused) & _with_message_id(sent.batch))
        if not records.size:
            return
        taken = await take_elsewhere(sent.batch.take(records), flights, routing, deadline)
        positions = sent.positions[records]
        gone = set(positions.tolist())
        kept = [error for error in result.errors if error.index not in gone]
        result.accepted += taken.accepted
        result.duplicates += taken.duplicates
        _note_positions(result, taken.positions)
        for record, code, message in taken.errors:
            kept.append(ingest_pb2.RecordError(index=int(positions[record]), code=code, message=message))
        del result.errors[:]
        result.errors.extend(sorted(kept, key=lambda error: error.index))


async def take_elsewhere(batch: RecordBatch, flights: Flights, routing: Routing, deadline: Deadline) -> Taken:
    """Applies operations with message ids under the profiles that their identifiers belong to, each once."""
    own = await _under_profiles(batch, routing, deadline)
    taken = await flights.deliver(own, NO_LINKS, deadline)
    await _tell_homes(own, taken, routing, deadline)
    return taken


async def _tell_homes(own: RecordBatch, taken: Taken, routing: Routing, deadline: Deadline) -> None:
    """Records durably, in the home partitions of the operations' identifiers, that they were applied elsewhere."""
    cluster, mover = routing.cluster, Mover(routing)
    homes, done_at = (
        partitions_of(table, cluster.hash_key, cluster.partitions)[numbers]
        for table, numbers in ((own.givers, own.record_givers), (own.identities, own.record_identities))
    )
    told = homes != done_at
    told[[record for record, _, _ in taken.errors]] = False
    ids = hash_records(cluster.hash_key, own)
    known = TakenElsewhere(ids.high, ids.low, own.received_ms)
    changes = ((home, known.take(told & (homes == home))) for home in np.unique(homes[told]).tolist())
    await asyncio.gather(*(mover.change(home, change, deadline) for home, change in changes))


def _note_positions(result: ingest_pb2.BatchResult, positions: Mapping[int, int]) -> None:
    """Sets each partition's position once in the result, the later one."""
    known = {each.partition: each.sequence for each in result.positions}
    for partition, sequence in positions.items():
        known[partition] = max(sequence, known.get(partition, 0))
    del result.positions[:]
    for partition in sorted(known):
        result.positions.add(partition=partition, sequence=known[partition])


def _with_message_id(batch: RecordBatch) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.diff(batch.message_ids.offsets.astype(np.int64)) > 0


async def _under_profiles(batch: RecordBatch, routing: Routing, deadline: Deadline) -> RecordBatch:
    """The same records under the identifiers of the profiles they belong to.

    Repeats are recognised by message id and original identifier, not by batch id.
    """
    known = Identities(routing)
    named = [decode_identifier(batch.identities[number]) for number in range(len(batch.identities))]
    owners = await known.profiles_of(named, deadline)
    identities = Strings.of(encode_identifier(*owners[each]) for each in named)
    given = [batch.identities[number] for number in range(len(batch.identities))]
    return replace(
        batch,
        batch_id=uuid.uuid4().bytes,
        identities=identities,
        givers=Strings.of([b"", *given]),
        record_givers=batch.record_identities + np.uint32(1),
    )
