"""The seam of moves to a shard in this process: for tests, and for the simulation of a cluster."""

from __future__ import annotations

from cdp.v1 import partition_pb2 as pb

from cdp_router.deadline import Deadline
from cdp_router.shard.moves.shard import ShardMoves


class LocalMoveClient:
    """A shard in this process."""

    def __init__(self, moves: ShardMoves) -> None:
        self._moves = moves

    async def read_holdings(self, request: pb.ReadHoldingsRequest, deadline: Deadline) -> pb.ReadHoldingsResponse:
        return self._moves.read_holdings(request)

    async def take(self, request: pb.TakePartitionRequest, deadline: Deadline) -> pb.TakePartitionResponse:
        return await self._moves.taker.take(request)

    async def stop_taking(self, request: pb.StopTakingRequest, deadline: Deadline) -> pb.StopTakingResponse:
        return await self._moves.taker.stop(request)

    async def export(self, request: pb.ExportPartitionRequest, deadline: Deadline) -> pb.ExportPartitionResponse:
        return await self._moves.giver.export(request)

    async def read_export(self, request: pb.ReadExportRequest, deadline: Deadline) -> pb.ReadExportResponse:
        return await self._moves.giver.read_export(request)

    async def read_tail(self, request: pb.ReadTailRequest, deadline: Deadline) -> pb.ReadTailResponse:
        return await self._moves.giver.read_tail(request)

    async def release(self, request: pb.ReleasePartitionRequest, deadline: Deadline) -> pb.ReleasePartitionResponse:
        return await self._moves.giver.release(request)

    async def forget(self, request: pb.ForgetPartitionRequest, deadline: Deadline) -> pb.ForgetPartitionResponse:
        return await self._moves.giver.forget(request)

    async def close(self) -> None:
        """Nothing is open."""
