"""A shard's part in moves."""

from __future__ import annotations

from cdp.v1 import partition_pb2 as pb

from cdp_router.shard.checks import check_cluster
from cdp_router.shard.moves.giver import Giver
from cdp_router.shard.moves.taker import Taker
from cdp_store.shard.store import Store


class ShardMoves:
    """Moves of one shard, in both directions."""

    def __init__(self, store: Store, giver: Giver, taker: Taker) -> None:
        self._store, self.giver, self.taker = store, giver, taker

    async def read_holdings(self, request: pb.ReadHoldingsRequest) -> pb.ReadHoldingsResponse:
        """All holdings of the shard."""
        check_cluster(self._store, request.cluster)
        return pb.ReadHoldingsResponse(holdings=map(self.taker.describe, sorted(self._store.holdings.all())))
