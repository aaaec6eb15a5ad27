"""Moves asked of a shard in another process."""

from __future__ import annotations

import grpc
from cdp.v1 import partition_pb2 as pb
from cdp.v1 import partition_pb2_grpc as pb_grpc

from cdp_router.cluster.move_client import MoveClient
from cdp_router.deadline import Deadline
from cdp_router.rpc.call import Metadata
from cdp_router.rpc.carrying import carrying
from cdp_router.security.tls.links import Link


class GrpcMoveClient:
    """A shard in another process."""

    def __init__(self, channel: grpc.aio.Channel, shown: Metadata = ()) -> None:
        self._channel, self._stub = channel, pb_grpc.PartitionServiceStub(carrying(channel, shown))

    async def read_holdings(self, request: pb.ReadHoldingsRequest, deadline: Deadline) -> pb.ReadHoldingsResponse:
        return await self._stub.ReadHoldings(request, timeout=deadline.remaining())

    async def take(self, request: pb.TakePartitionRequest, deadline: Deadline) -> pb.TakePartitionResponse:
        return await self._stub.TakePartition(request, timeout=deadline.remaining())

    async def stop_taking(self, request: pb.StopTakingRequest, deadline: Deadline) -> pb.StopTakingResponse:
        return await self._stub.StopTaking(request, timeout=deadline.remaining())

    async def export(self, request: pb.ExportPartitionRequest, deadline: Deadline) -> pb.ExportPartitionResponse:
        return await self._stub.ExportPartition(request, timeout=deadline.remaining())

    async def read_export(self, request: pb.ReadExportRequest, deadline: Deadline) -> pb.ReadExportResponse:
        return await self._stub.ReadExport(request, timeout=deadline.remaining())

    async def read_tail(self, request: pb.ReadTailRequest, deadline: Deadline) -> pb.ReadTailResponse:
        return await self._stub.ReadTail(request, timeout=deadline.remaining())

    async def release(self, request: pb.ReleasePartitionRequest, deadline: Deadline) -> pb.ReleasePartitionResponse:
        return await self._stub.ReleasePartition(request, timeout=deadline.remaining())

    async def forget(self, request: pb.ForgetPartitionRequest, deadline: Deadline) -> pb.ForgetPartitionResponse:
        return await self._stub.ForgetPartition(request, timeout=deadline.remaining())

    async def close(self) -> None:
        await self._channel.close()


def connect_by_grpc(address: str, link: Link | None = None) -> MoveClient:
    """A client of the shard at an address, with a connection of its own."""
    link = link or Link()
    return GrpcMoveClient(link.connect(address), link.shown)
