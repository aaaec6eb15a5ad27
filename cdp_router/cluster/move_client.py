"""The seam of moves: what routers, and takers, ask of a shard about its partitions."""

from __future__ import annotations

from typing import Protocol

from cdp.v1 import partition_pb2 as pb

from cdp_router.deadline import Deadline


class MoveClient(Protocol):
    """What a shard does for moves; failures of the shard itself are grpc.RpcError. All may be asked again."""

    async def read_holdings(self, request: pb.ReadHoldingsRequest, deadline: Deadline) -> pb.ReadHoldingsResponse:
        """What the shard knows of partitions."""

    async def take(self, request: pb.TakePartitionRequest, deadline: Deadline) -> pb.TakePartitionResponse:
        """Begin to take a partition over, or go on."""

    async def stop_taking(self, request: pb.StopTakingRequest, deadline: Deadline) -> pb.StopTakingResponse:
        """Give up a partition that is on its way in."""

    async def export(self, request: pb.ExportPartitionRequest, deadline: Deadline) -> pb.ExportPartitionResponse:
        """Copy a partition for its taker."""

    async def read_export(self, request: pb.ReadExportRequest, deadline: Deadline) -> pb.ReadExportResponse:
        """A piece of a copy."""

    async def read_tail(self, request: pb.ReadTailRequest, deadline: Deadline) -> pb.ReadTailResponse:
        """What was logged since."""

    async def release(self, request: pb.ReleasePartitionRequest, deadline: Deadline) -> pb.ReleasePartitionResponse:
        """Make the partition the taker's."""

    async def forget(self, request: pb.ForgetPartitionRequest, deadline: Deadline) -> pb.ForgetPartitionResponse:
        """Let go of a partition that its taker has."""

    async def close(self) -> None:
        """Let go of the connection, where it is one of its own."""
