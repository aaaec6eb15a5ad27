"""Claims of shards to partitions, epochs and holdings: to messages and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cdp.v1 import partition_pb2 as pb

from cdp_store.directory.holdings import HoldingState

STATES: Final = {
    HoldingState.OWNED: pb.HOLDING_STATE_OWNED,
    HoldingState.INCOMING: pb.HOLDING_STATE_INCOMING,
    HoldingState.RELEASED: pb.HOLDING_STATE_RELEASED,
    HoldingState.GONE: pb.HOLDING_STATE_GONE,
}


@dataclass(frozen=True, slots=True)
class PartitionClaim:
    """A claim: from this epoch on, the partition belongs to this shard."""

    partition: int
    epoch: int
    shard: int


def to_epochs(claims: Iterable[PartitionClaim]) -> list[pb.PartitionEpoch]:
    """The partitions and epochs of a request to a shard."""
    return [pb.PartitionEpoch(partition=claim.partition, epoch=claim.epoch) for claim in claims]


def to_mismatch(claims: Iterable[PartitionClaim]) -> pb.EpochMismatch:
    """The detail of a refusal."""
    listed = [pb.PartitionClaim(partition=each.partition, epoch=each.epoch, shard=each.shard) for each in claims]
    return pb.EpochMismatch(claims=listed)


def from_mismatch(message: pb.EpochMismatch) -> list[PartitionClaim]:
    """The claims in a refusal."""
    return [PartitionClaim(each.partition, each.epoch, each.shard) for each in message.claims]


def from_holdings(shard: int, holdings: Iterable[pb.PartitionHolding]) -> list[PartitionClaim]:
    """Claims that follow from a shard's holdings; states of newer versions give none."""
    claims = list[PartitionClaim]()
    for each in holdings:
        match each.state:
            case pb.HOLDING_STATE_OWNED:
                claims.append(PartitionClaim(each.partition, each.epoch, shard))
            case pb.HOLDING_STATE_INCOMING:
                claims.append(PartitionClaim(each.partition, each.epoch - 1, each.shard))
            case pb.HOLDING_STATE_RELEASED | pb.HOLDING_STATE_GONE:
                claims.append(PartitionClaim(each.partition, each.epoch, each.shard))
    return claims
