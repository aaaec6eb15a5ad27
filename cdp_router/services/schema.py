"""SchemaService."""

from __future__ import annotations

from cdp.v1 import schema_pb2, schema_pb2_grpc

from cdp_router.deadline import Deadline
from cdp_router.limits import QUERY_SECONDS_DEFAULT
from cdp_router.schema_gate import SchemaGate
from cdp_router.status import Context


class SchemaService(schema_pb2_grpc.SchemaServiceServicer):
    """Keeps the rules that records are checked by."""

    def __init__(self, gate: SchemaGate) -> None:
        self._gate = gate

    async def GetSchemaRules(
        self, request: schema_pb2.GetSchemaRulesRequest, context: Context
    ) -> schema_pb2.GetSchemaRulesResponse:
        """Give the rules."""
        rules = await self._gate.newest(_deadline(context))
        return schema_pb2.GetSchemaRulesResponse(rules=rules.message)

    async def SetSchemaRules(
        self, request: schema_pb2.SetSchemaRulesRequest, context: Context
    ) -> schema_pb2.SetSchemaRulesResponse:
        """Replace the rules."""
        rules = await self._gate.set(request.rules, _deadline(context))
        return schema_pb2.SetSchemaRulesResponse(rules=rules.message)


def _deadline(context: Context) -> Deadline:
    return Deadline.after(context.time_remaining(), QUERY_SECONDS_DEFAULT)
