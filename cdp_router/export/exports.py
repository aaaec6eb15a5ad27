"""Everything a cluster holds, as its shards stream it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from cdp.v1 import export_pb2, query_pb2, shard_pb2

from cdp_router.cluster.agreement import agreeing_views
from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_methods import READ_ALL
from cdp_router.deadline import Deadline
from cdp_router.limits import MEMBER_RESPONSES_AHEAD
from cdp_router.rpc.call import note


class Exports:
    """Reads all partitions, every profile once; the stream of a failed export has no end marker."""

    def __init__(self, routing: Routing) -> None:
        self._routing = routing

    async def export(self, deadline: Deadline) -> AsyncGenerator[export_pb2.ExportRecordsResponse, None]:
        """Tables as they arrive, then their coverage."""
        agreed = await agreeing_views(self._routing, deadline)
        cluster = self._routing.cluster
        end = export_pb2.ExportRecordsEnd(coverage=query_pb2.Coverage(total=cluster.partitions))

        request = shard_pb2.ReadAllRequest(views=agreed.views)
        count = 0
        async for response in self._routing.stream(READ_ALL, request, deadline, MEMBER_RESPONSES_AHEAD):
            if response.HasField("table"):
                count += response.table.rows
                note(count=count)
                yield export_pb2.ExportRecordsResponse(table=response.table)
            if response.HasField("answered"):
                end.coverage.answered.append(response.answered)
                end.dropped_events += response.dropped_events
        end.coverage.answered.sort(key=lambda position: position.partition)
        yield export_pb2.ExportRecordsResponse(end=end)
