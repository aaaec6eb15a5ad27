"""Identifiers at a shard: changes, remaining moves, and the identity of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cdp.v1 import identity_pb2, moving_pb2, query_pb2

from cdp_router.contract.values import to_timestamp
from cdp_router.limits import MOVES_TOLD_MAX
from cdp_store.identity.claims import Claim
from cdp_store.identity.identity_changes import Arrival, Recall, decode_identity_change, encode_identity_change
from cdp_store.identity.linked_identifiers import NOBODY
from cdp_store.identity.state import IdentityState
from cdp_store.ids import decode_identifier
from cdp_store.limits import PARCELS_TOLD_BYTES
from cdp_store.partition.partition import Partition
from cdp_store.partition.quarantine import Quarantine
from cdp_store.shard.store import Store

Owned = Callable[[], Partition]  # raises unless the partition still belongs to the shard; called between commits


def change_identity(
    owned: Owned, request: moving_pb2.ChangeIdentityRequest, store: Store
) -> moving_pb2.ChangeIdentityResponse:
    """Logs and applies a change, and returns the remaining moves. Repeating a change has no effect."""
    # Asked again in the thread of commits: the partition may have been released since the request came in.
    partition = owned()
    done = arrived = moving = False
    if request.change:
        change = decode_identity_change(request.change)
        if isinstance(change, Recall):
            moving = partition.identity.is_moving(change.identifier, change.parent)
        # False too where it was done before: routers repeat a change until its step is confirmed.
        done = store.change_identity(partition.partition, change)
        if isinstance(change, Arrival):
            arrived = partition.identity.transfers.has_received(change.source, change.transfer)
    response = _left_to_move(partition, request)
    response.done, response.arrived, response.moving = done, arrived, moving
    return response


def _left_to_move(partition: Partition, request: moving_pb2.ChangeIdentityRequest) -> moving_pb2.ChangeIdentityResponse:
    identity, response, size = partition.identity, moving_pb2.ChangeIdentityResponse(), 0
    for to, opened in identity.transfers.open.items():
        pieces = identity.pieces_of(opened)
        if request.piece >= len(pieces.starts) or size > PARCELS_TOLD_BYTES:
            continue  # omitted here; the router asks again once these transfers are done
        arrival = encode_identity_change(pieces.arrival(partition.partition, opened, request.piece))
        response.open.add(to=to, number=opened.number, arrival=arrival, pieces=len(pieces.starts))
        size += len(arrival)
    due = identity.due_moves(MOVES_TOLD_MAX)
    for identifier, belongs_to in due.departures:
        response.departures.add(identifier=identifier, belongs_to=belongs_to)
    for identifier, belongs_to in due.recalls:
        response.recalls.add(identifier=identifier, belongs_to=belongs_to)
    entry = identity.names.entry(request.place_of) if request.place_of else None
    if entry is not None and identity.names.place.filled()[entry] != NOBODY:
        response.place = identity.names.get(int(identity.names.place.filled()[entry]))
    return response


def read_identity(partition: Partition, identifier: bytes) -> moving_pb2.ReadIdentityResponse:
    """Owner of an identifier, as this partition knows it, and the identifiers it was seen with; from any thread."""

    def read(identity: IdentityState, quarantine: Quarantine) -> moving_pb2.ReadIdentityResponse:
        response = moving_pb2.ReadIdentityResponse(
            quarantined=quarantine.names(identifier), seated=identity.seats.names(identifier)
        )
        entry = identity.names.entry(identifier)
        target = NOBODY if entry is None else int(identity.names.target.filled()[entry])
        if target != NOBODY:
            response.belongs_to.CopyFrom(_named(identity.names.get(target)))
        response.bindings.extend(_binding(claim) for claim in identity.claims.about(identifier))
        return response

    return partition.with_identity(read)


def read_identities(partitions: Iterable[Partition], identifiers: Sequence[bytes]) -> moving_pb2.ReadIdentitiesResponse:
    """Reads the identities of some identifiers in several partitions; from any thread."""

    def read(identity: IdentityState, quarantine: Quarantine) -> tuple[list[Claim], bool]:
        mentioned = quarantine.names_any(frozenset(identifiers)) or identity.seats.names_any(identifiers)
        return [*identity.claims.about_any(identifiers)], mentioned

    response = moving_pb2.ReadIdentitiesResponse()
    for partition in partitions:
        claims, mentioned = partition.with_identity(read)
        if claims or mentioned:
            bindings = [_binding(claim) for claim in claims]
            response.partitions.add(partition=partition.partition, bindings=bindings, mentioned=mentioned)
    return response


def _binding(claim: Claim) -> identity_pb2.IdentityBinding:
    binding = identity_pb2.IdentityBinding(
        identifier=_named(claim.lower),
        message_id=claim.message_id.decode(),
        apart=claim.apart,
        holds=claim.holds,
        claimed_for=_named(claim.upper),
    )
    if claim.time_ms is not None:
        binding.time.CopyFrom(to_timestamp(claim.time_ms))
    return binding


def _named(encoded: bytes) -> query_pb2.Identifier:
    kind, value = decode_identifier(encoded)
    return query_pb2.Identifier(kind=kind, value=value)
