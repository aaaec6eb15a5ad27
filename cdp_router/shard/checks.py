"""Checks of every request to a shard, before its content is read."""

from __future__ import annotations

from cdp_router.errors import WrongCluster
from cdp_store.shard.store import Store


def check_cluster(store: Store, cluster: str) -> None:
    """Raises WrongCluster unless the request was routed for the cluster of this shard."""
    if cluster != store.identity.cluster:
        raise WrongCluster(cluster, store.identity.cluster)
