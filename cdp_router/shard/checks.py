"""Checks of every request to a shard, before it looks at the rest."""

from __future__ import annotations

from cdp_router.errors import WrongCluster
from cdp_store.shard.store import Store


def check_cluster(store: Store, cluster: str) -> None:
    """Raise WrongCluster unless the request was routed for the cluster this shard belongs to."""
    if cluster != store.identity.cluster:
        raise WrongCluster(cluster, store.identity.cluster)
