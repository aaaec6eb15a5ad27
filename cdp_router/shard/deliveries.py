"""Deliveries at a shard: from the messages of routers, and their outcomes as messages."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from cdp.v1 import ingest_pb2, shard_pb2

from cdp_router.errors import RequestInvalid
from cdp_store.identity.identity_changes import Links, decode_identity_change
from cdp_store.identity.seats import OTHERS, Wanted
from cdp_store.ids import PartitionId
from cdp_store.records.builder import BatchBuilder
from cdp_store.records.records import decode_batch
from cdp_store.shard.admission import Delivery, Outcome
from cdp_store.shard.link_admission import CheckedAt


def to_delivery(item: shard_pb2.PartitionBatch, limits: Mapping[str, int]) -> Delivery:
    links, asked, seats = (_links(item, field) for field in ("links", "asked_links", "seats"))
    only_links = not item.batch and any(each is not None for each in (links, asked, seats))
    batch = BatchBuilder().finish() if only_links else decode_batch(item.batch)
    if seats is not None and OTHERS not in limits:
        raise RequestInvalid("limits", "say nothing of other kinds")
    return Delivery(
        PartitionId(item.partition), batch, links, asked, _wanted(item, seats, limits), _checked_at(item, links)
    )


def _wanted(item: shard_pb2.PartitionBatch, seats: Links | None, limits: Mapping[str, int]) -> Wanted | None:
    if seats is None:
        return None
    if item.seats_asked_at and len(item.seats_asked_at) != len(seats):
        raise RequestInvalid("batches.seats_asked_at", "must have a position for each link")
    asked_at = np.array(item.seats_asked_at, np.int64) if item.seats_asked_at else None
    return Wanted(seats, limits, item.leaves_out_seats, item.seats_again, asked_at)


def _checked_at(item: shard_pb2.PartitionBatch, links: Links | None) -> CheckedAt | None:
    """Positions that come with links; older routers send none."""
    if links is None or not item.links_asked_at:
        return None
    if not len(item.links_asked_at) == len(item.links_seated_at) == len(links):
        raise RequestInvalid("batches.links_asked_at", "must have a position for each link")
    return CheckedAt(np.array(item.links_asked_at, np.int64), np.array(item.links_seated_at, np.int64))


def _links(item: shard_pb2.PartitionBatch, field: str) -> Links | None:
    payload: bytes = getattr(item, field)
    links = decode_identity_change(payload) if payload else None
    if links is not None and not isinstance(links, Links):
        raise RequestInvalid(f"batches.{field}", "hold another change of identifiers")
    return links


def to_outcome(delivery: Delivery, outcome: Outcome) -> shard_pb2.PartitionOutcome:
    errors = [
        ingest_pb2.RecordError(index=rejection.record, code=rejection.code, message=rejection.message)
        for rejection in outcome.rejections
    ]
    return shard_pb2.PartitionOutcome(
        partition=delivery.partition,
        sequence=outcome.sequence,
        accepted=outcome.accepted,
        duplicates=outcome.duplicates,
        duplicate_records=outcome.known.tolist() if outcome.duplicates < len(delivery.batch) else (),
        errors=errors,
        news=outcome.news,
        refused=outcome.refused,
        void=outcome.void,
        unseated=outcome.unseated,
        forgotten=outcome.forgotten,
        undecided=outcome.undecided,
        asked_at=outcome.asked_at,
        doubted=outcome.doubted,
    )
