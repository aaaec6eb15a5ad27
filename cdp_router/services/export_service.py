"""ExportService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from cdp.v1 import export_pb2, export_pb2_grpc

from cdp_router.cluster.routing import Routing
from cdp_router.contract.status import Context
from cdp_router.deadline import Deadline
from cdp_router.errors import Overloaded
from cdp_router.export.exports import Exports
from cdp_router.limits import EXPORTS_OF_ALL_MAX, EXPORTS_RETRY_MS, LONG_SECONDS_MAX


class ExportService(export_pb2_grpc.ExportServiceServicer):
    """Streams everything."""

    def __init__(self, routing: Routing) -> None:
        self._exports, self._running = Exports(routing), 0

    async def ExportRecords(
        self, request: export_pb2.ExportRecordsRequest, context: Context
    ) -> AsyncIterator[export_pb2.ExportRecordsResponse]:
        """Streams all contents; Overloaded while it streams them to too many others."""
        if self._running >= EXPORTS_OF_ALL_MAX:
            raise Overloaded(f"{EXPORTS_OF_ALL_MAX} exports of everything are running", EXPORTS_RETRY_MS)
        self._running += 1
        try:
            deadline = Deadline.after(context.time_remaining(), LONG_SECONDS_MAX).for_shards()
            async with aclosing(self._exports.export(deadline)) as responses:
                async for response in responses:
                    yield response
        finally:
            self._running -= 1
