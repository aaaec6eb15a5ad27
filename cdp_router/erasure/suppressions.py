"""Identifiers of erased people, whose records are refused: known to every partition, by keyed hashes only."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cdp.v1 import admin_pb2, shard_pb2

from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_methods import CHANGE_SUPPRESSIONS
from cdp_router.contract.values import to_timestamp
from cdp_router.deadline import Deadline
from cdp_router.errors import RequestInvalid
from cdp_router.identity.identities import Named
from cdp_router.identity.profile_reference import checked
from cdp_store.ids import encode_identifier
from cdp_store.log.controls import FINGERPRINT_BYTES
from cdp_store.partition.suppressions import fingerprints
from cdp_store.records.records import Strings


async def suppress(identifiers: Collection[Named], routing: Routing, deadline: Deadline) -> None:
    """Makes every partition refuse records under some identifiers; ShardUnavailable if one could not be reached."""
    if identifiers:
        await _change(routing, deadline, added=_fingerprints(identifiers, routing))


async def lift(
    request: admin_pb2.LiftSuppressionRequest, routing: Routing, deadline: Deadline
) -> admin_pb2.LiftSuppressionResponse:
    """Accepts records under an identifier again."""
    match request.WhichOneof("which"):
        case "identifier":
            lifted = _fingerprints([checked(request.identifier, "identifier")], routing)
        case "fingerprint":
            lifted = [_parsed(request.fingerprint)]
        case _:
            raise RequestInvalid("which", "an identifier or a fingerprint must be given")
    answers = await _change(routing, deadline, lifted=lifted)
    return admin_pb2.LiftSuppressionResponse(lifted=any(answer.changed for answer in answers))


async def list_suppressions(routing: Routing, deadline: Deadline) -> admin_pb2.ListSuppressionsResponse:
    """All identifiers that any partition refuses."""
    answers = await _change(routing, deadline)
    since = {each.fingerprint: each.since_ms for answer in answers for each in answer.suppressions}
    listed = [
        admin_pb2.SuppressedIdentifier(fingerprint=fingerprint.hex(), since=to_timestamp(since_ms))
        for fingerprint, since_ms in sorted(since.items(), key=lambda each: (each[1], each[0]))
    ]
    return admin_pb2.ListSuppressionsResponse(suppressed=listed)


async def _change(
    routing: Routing, deadline: Deadline, added: Sequence[bytes] = (), lifted: Sequence[bytes] = ()
) -> Sequence[shard_pb2.ChangeSuppressionsResponse]:
    request = shard_pb2.ChangeSuppressionsRequest(added=added, lifted=lifted)
    return await routing.complete(CHANGE_SUPPRESSIONS, request, deadline)


def _fingerprints(identifiers: Collection[Named], routing: Routing) -> list[bytes]:
    encoded = Strings.of(encode_identifier(*each) for each in sorted(identifiers))
    return fingerprints(routing.cluster.hash_key, encoded)


def _parsed(text: str) -> bytes:
    try:
        fingerprint = bytes.fromhex(text)
    except ValueError:
        fingerprint = b""
    if len(fingerprint) != FINGERPRINT_BYTES:
        raise RequestInvalid("fingerprint", f"must be {2 * FINGERPRINT_BYTES} hexadecimal digits, as the list has them")
    return fingerprint
