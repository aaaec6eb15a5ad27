"""SchemaService."""

from __future__ import annotations

import base64
import binascii

import msgspec
from cdp.v1 import schema_pb2, schema_pb2_grpc

from cdp_router.cluster.routing import Routing
from cdp_router.contract.status import Context
from cdp_router.deadline import Deadline
from cdp_router.erasure.retention import forget_events
from cdp_router.errors import RequestInvalid
from cdp_router.identity.identifier_limits import IdentifierLimits
from cdp_router.ingest.quarantine import Quarantine
from cdp_router.ingest.quarantined import to_quarantined
from cdp_router.ingest.schema_gate import SchemaGate
from cdp_router.limits import LONG_SECONDS_MAX, QUARANTINED_DEFAULT, QUARANTINED_MAX, QUERY_SECONDS_DEFAULT
from cdp_router.questions.discovery import discover
from cdp_router.security.privacy.discretion import Discretion


class SchemaService(schema_pb2_grpc.SchemaServiceServicer):
    """Serves the rules that records are checked by."""

    def __init__(
        self, routing: Routing, gate: SchemaGate, discretion: Discretion, limits: IdentifierLimits | None = None
    ) -> None:
        self._routing, self._gate, self._quarantine = routing, gate, Quarantine(routing, gate, limits)
        self._discretion = discretion

    async def DiscoverSchema(
        self, request: schema_pb2.DiscoverSchemaRequest, context: Context
    ) -> schema_pb2.DiscoverSchemaResponse:
        """Reports the names that have been seen."""
        deadline = _deadline(context, LONG_SECONDS_MAX)
        return await self._discretion.discovered(await discover(self._routing, deadline), deadline)

    async def ForgetEvents(
        self, request: schema_pb2.ForgetEventsRequest, context: Context
    ) -> schema_pb2.ForgetEventsResponse:
        """Drops all events of some names, and frees the names."""
        deadline = _deadline(context, LONG_SECONDS_MAX)
        return await forget_events(request.events, self._routing, deadline, unused=request.unused)

    async def ListQuarantined(
        self, request: schema_pb2.ListQuarantinedRequest, context: Context
    ) -> schema_pb2.ListQuarantinedResponse:
        """Lists records in quarantine."""
        if request.page_size > QUARANTINED_MAX:
            raise RequestInvalid("page_size", f"at most {QUARANTINED_MAX}")
        start = _read_token(request.page_token) if request.page_token else (0, 0, 0)
        deadline = _deadline(context)
        found, following = await self._quarantine.page(start, request.page_size or QUARANTINED_DEFAULT, deadline)
        return schema_pb2.ListQuarantinedResponse(
            records=[to_quarantined(entry, at) for entry, at in found],
            next_page_token=_token(following) if following else "",
            total=await self._quarantine.total(deadline),
        )

    async def RedriveQuarantined(
        self, request: schema_pb2.RedriveQuarantinedRequest, context: Context
    ) -> schema_pb2.RedriveQuarantinedResponse:
        """Accepts records that no longer break a rule."""
        event = request.event if request.HasField("event") else None
        return await self._quarantine.redrive(event, _deadline(context, LONG_SECONDS_MAX))

    async def DropQuarantined(
        self, request: schema_pb2.DropQuarantinedRequest, context: Context
    ) -> schema_pb2.DropQuarantinedResponse:
        """Deletes records."""
        event = request.event if request.HasField("event") else None
        dropped = await self._quarantine.drop(event, _deadline(context, LONG_SECONDS_MAX))
        return schema_pb2.DropQuarantinedResponse(dropped=dropped)

    async def GetSchemaRules(
        self, request: schema_pb2.GetSchemaRulesRequest, context: Context
    ) -> schema_pb2.GetSchemaRulesResponse:
        """Returns the rules."""
        rules = await self._gate.newest(_deadline(context))
        return schema_pb2.GetSchemaRulesResponse(rules=rules.message)

    async def SetSchemaRules(
        self, request: schema_pb2.SetSchemaRulesRequest, context: Context
    ) -> schema_pb2.SetSchemaRulesResponse:
        """Replaces the rules."""
        rules = await self._gate.set(request.rules, _deadline(context))
        return schema_pb2.SetSchemaRulesResponse(rules=rules.message)


def _token(place: tuple[int, int, int]) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(place)).decode()


def _read_token(token: str) -> tuple[int, int, int]:
    try:
        found = msgspec.msgpack.decode(base64.urlsafe_b64decode(token), type=tuple[int, int, int])
    except (msgspec.DecodeError, binascii.Error, ValueError) as error:
        raise RequestInvalid("page_token", "is not from an earlier page") from error
    if not all(0 <= part < 1 << 62 for part in found):
        raise RequestInvalid("page_token", "is not from an earlier page")
    return found


def _deadline(context: Context, default: float = QUERY_SECONDS_DEFAULT) -> Deadline:
    return Deadline.after(context.time_remaining(), default)
