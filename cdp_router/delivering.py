"""Batches and what they say of identifiers, on their way to the shards (ARCHITECTURE.md, "Identity").

Everything goes out at once: batches are logged, where the lower identifier of a link lives is asked what would be news,
and where the upper one lives a seat is taken. Then new links are logged, if there was a seat.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from cdp.v1 import ingest_pb2, shard_pb2

from cdp_router.deadline import Deadline
from cdp_router.identifier_limits import IDENTIFIERS_MAX, LINK_REFUSED, IdentifierLimits
from cdp_router.linking import LinkParts, parted, records_saying
from cdp_router.partition_map import Claim
from cdp_router.routing import Routing
from cdp_router.shard_client import ShardClient
from cdp_store.arrays import I64, Bools
from cdp_store.identity.changes import Links, encode_identity_change
from cdp_store.ids import decode_identifier
from cdp_store.records import RecordBatch


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of batches by partition, which partitions have profiles to move, and links without a seat."""

    outcomes: Sequence[shard_pb2.PartitionOutcome]
    due: frozenset[int]
    refused: Links


async def deliver(
    batches: Mapping[int, bytes], links: Links, limits: IdentifierLimits, routing: Routing, deadline: Deadline
) -> Delivered:
    """Make encoded batches by partition durable, and the links that their records say.

    Raises ShardUnavailable when a shard did not acknowledge; all of it may be sent again then.
    """
    parts = parted(links, routing.cluster.hash_key, routing.cluster.partitions)
    answers = await _send(_first(batches, parts), limits, routing, deadline)
    news, refused = _told(parts, answers)
    late = np.flatnonzero(news & ~refused)
    if late.size:
        chosen = {number: each[np.isin(each, late)] for number, each in parts.at_lower.items()}
        wanted = {
            number: shard_pb2.PartitionBatch(partition=number, links=_encoded(parts, each))
            for number, each in chosen.items()
            if each.size
        }
        answers = [*answers, *await _send(wanted, limits, routing, deadline)]
    due = frozenset(number for answer in answers for number in answer.due)
    return Delivered(_merged(answers), due, parts.links.take(news & refused))


def tell_refused(
    refused: Links, said: Links, batch: RecordBatch, limits: IdentifierLimits
) -> list[tuple[int, ingest_pb2.RecordError]]:
    """By record of a batch that says a refused link: what its sender is told. `said` are all links of the batch."""
    told = list[tuple[int, ingest_pb2.RecordError]]()
    for record, at in records_saying(refused, said, batch):
        (lower, value), (upper, owner) = decode_identifier(said.lower[at]), decode_identifier(said.upper[at])
        problem = (
            f"{lower} {value!r} was not linked to {upper} {owner!r}, which has {limits.of_kind(lower)} of this kind "
            f"already; the record is taken all the same. Unlink some, or raise {IDENTIFIERS_MAX}"
        )
        told.append((record, ingest_pb2.RecordError(code=LINK_REFUSED, message=problem)))
    return told


def _first(batches: Mapping[int, bytes], parts: LinkParts) -> Mapping[int, shard_pb2.PartitionBatch]:
    return {
        number: shard_pb2.PartitionBatch(
            partition=number,
            batch=batches.get(number, b""),
            asked_links=_encoded(parts, parts.at_lower.get(number)),
            seats=_encoded(parts, parts.at_upper.get(number)),
        )
        for number in {*batches, *parts.at_lower, *parts.at_upper}
    }


def _encoded(parts: LinkParts, chosen: I64 | None) -> bytes:
    return b"" if chosen is None else encode_identity_change(parts.links.take(chosen))


async def _send(
    wanted: Mapping[int, shard_pb2.PartitionBatch], limits: IdentifierLimits, routing: Routing, deadline: Deadline
) -> Sequence[shard_pb2.DeliverResponse]:
    def ask(client: ShardClient, claims: Sequence[Claim]) -> Awaitable[shard_pb2.DeliverResponse]:
        request = shard_pb2.DeliverRequest(cluster=routing.cluster.cluster)
        for claim in claims:
            wanted[claim.partition].epoch = claim.epoch
            request.batches.append(wanted[claim.partition])
            if wanted[claim.partition].seats:
                request.limits.update(limits.by_kind)
        return client.deliver(request, deadline)

    return await routing.complete(wanted, ask, deadline)


def _told(parts: LinkParts, answers: Sequence[shard_pb2.DeliverResponse]) -> tuple[Bools, Bools]:
    """Which links are news, and which have no seat: bool[n] each."""
    news, refused = np.zeros(len(parts.links), np.bool_), np.zeros(len(parts.links), np.bool_)
    for outcome in (outcome for answer in answers for outcome in answer.outcomes):
        if outcome.news:
            news[parts.at_lower[outcome.partition][list(outcome.news)]] = True
        if outcome.refused:
            refused[parts.at_upper[outcome.partition][list(outcome.refused)]] = True
    return news, refused


def _merged(answers: Sequence[shard_pb2.DeliverResponse]) -> Sequence[shard_pb2.PartitionOutcome]:
    """One outcome of each partition: what was logged later has no records."""
    found = dict[int, shard_pb2.PartitionOutcome]()
    for outcome in (outcome for answer in answers for outcome in answer.outcomes):
        known = found.setdefault(outcome.partition, outcome)
        known.sequence = max(known.sequence, outcome.sequence)
    return list(found.values())
