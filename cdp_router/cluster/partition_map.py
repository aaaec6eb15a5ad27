"""Map of partitions to the shards that answer for them. Of several claims the one of the highest epoch holds.

No coordinator assigns epochs: only the holder of a partition can give it away, at one epoch more than its own, so that
no two shards ever claim the same partition at the same epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cdp_router.cluster.topology import ClusterFile
from cdp_router.contract.partition_claims import PartitionClaim
from cdp_store.directory.holdings import FIRST_EPOCH, Holding, HoldingState
from cdp_store.ids import PartitionId


class PartitionMap:
    """The newest claims known; a merge only ever makes it newer."""

    def __init__(self, cluster: ClusterFile) -> None:
        self._claims = [
            PartitionClaim(number, FIRST_EPOCH, cluster.first_shard_of_partition(number))
            for number in range(cluster.partitions)
        ]
        self._everything: Mapping[int, Sequence[PartitionClaim]] | None = None

    def merge(self, claims: Iterable[PartitionClaim]) -> bool:
        """Merges claims; True if any was new."""
        is_newer = False
        for claim in claims:
            if claim.partition < len(self._claims) and claim.epoch > self._claims[claim.partition].epoch:
                self._claims[claim.partition] = claim
                is_newer, self._everything = True, None
        return is_newer

    @property
    def everything(self) -> Mapping[int, Sequence[PartitionClaim]]:
        """The claims of all partitions, by the shard that answers for them."""
        if self._everything is None:
            self._everything = self.by_shard(self.partitions)
        return self._everything

    def claim(self, partition: int) -> PartitionClaim:
        """The newest known claim on a partition; it names the shard that answers for it."""
        return self._claims[partition]

    def by_shard(self, partitions: Iterable[int]) -> dict[int, list[PartitionClaim]]:
        """The claims of some partitions, by the shard that answers for them."""
        found = dict[int, list[PartitionClaim]]()
        for partition in partitions:
            claim = self._claims[partition]
            found.setdefault(claim.shard, []).append(claim)
        return found

    def partitions_of(self, shard: int) -> list[int]:
        """The partitions a shard answers for."""
        return [claim.partition for claim in self._claims if claim.shard == shard]

    @property
    def partitions(self) -> range:
        """All partitions of the cluster."""
        return range(len(self._claims))


def claim_of(shard: int, partition: PartitionId, holding: Holding) -> PartitionClaim:
    """The claim on a partition that follows from a shard's holding."""
    match holding.state:
        case HoldingState.OWNED:
            return PartitionClaim(partition, holding.epoch, shard)
        case HoldingState.INCOMING:
            return PartitionClaim(partition, holding.epoch - 1, holding.shard)
        case HoldingState.RELEASED | HoldingState.GONE:
            return PartitionClaim(partition, holding.epoch, holding.shard)


def claims_of(shard: int, holdings: Mapping[PartitionId, Holding]) -> list[PartitionClaim]:
    """The claims on partitions that follow from all holdings of a shard."""
    return [claim_of(shard, partition, holding) for partition, holding in holdings.items()]
