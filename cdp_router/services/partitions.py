"""PartitionService: a shard's part in moves behind gRPC."""

from __future__ import annotations

from cdp.v1 import partition_pb2 as pb
from cdp.v1 import partition_pb2_grpc as pb_grpc

from cdp_router.contract.status import Context
from cdp_router.shard.moves.shard import ShardMoves


class PartitionService(pb_grpc.PartitionServiceServicer):
    """Passes calls on to giver and taker."""

    def __init__(self, moves: ShardMoves) -> None:
        self._moves, self._giver, self._taker = moves, moves.giver, moves.taker

    async def ReadHoldings(self, request: pb.ReadHoldingsRequest, context: Context) -> pb.ReadHoldingsResponse:
        """Say what the shard knows of partitions."""
        return self._moves.read_holdings(request)

    async def TakePartition(self, request: pb.TakePartitionRequest, context: Context) -> pb.TakePartitionResponse:
        """Begin to take a partition over."""
        return await self._taker.take(request)

    async def StopTaking(self, request: pb.StopTakingRequest, context: Context) -> pb.StopTakingResponse:
        """Give up a partition that is on its way in."""
        return await self._taker.stop(request)

    async def ExportPartition(self, request: pb.ExportPartitionRequest, context: Context) -> pb.ExportPartitionResponse:
        """Copy a partition for its taker."""
        return await self._giver.export(request)

    async def ReadExport(self, request: pb.ReadExportRequest, context: Context) -> pb.ReadExportResponse:
        """Give a piece of a copy."""
        return await self._giver.read_export(request)

    async def ReadTail(self, request: pb.ReadTailRequest, context: Context) -> pb.ReadTailResponse:
        """Give what was logged since."""
        return await self._giver.read_tail(request)

    async def ReleasePartition(
        self, request: pb.ReleasePartitionRequest, context: Context
    ) -> pb.ReleasePartitionResponse:
        """Make the partition the taker's."""
        return await self._giver.release(request)

    async def ForgetPartition(self, request: pb.ForgetPartitionRequest, context: Context) -> pb.ForgetPartitionResponse:
        """Let go of a partition that its taker has."""
        return await self._giver.forget(request)
