"""Links from processes of a cluster to its shards: with the cluster's secret, and certificates if there are any."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from cdp_router.cluster.topology import ClusterFile
from cdp_router.limits import SHARD_CHANNEL_OPTIONS
from cdp_router.rpc.call import Metadata
from cdp_router.security.tls.cluster_secrets import SECRET_HEADER, call_secret
from cdp_router.security.tls.renewing import renewing
from cdp_router.security.tls.tls import Tls


@dataclass(frozen=True, slots=True)
class Link:
    """Credentials of connections to shards."""

    shown: Metadata = ()
    tls: Tls | None = None

    @staticmethod
    def of(cluster: ClusterFile, tls: Tls | None = None) -> Link:
        """The link of a process that belongs to a cluster."""
        return Link(((SECRET_HEADER, call_secret(cluster)),), tls)

    @property
    def secret(self) -> str:
        """Secret that both ends of a connection know."""
        return "".join(value for _, value in self.shown)

    def connect(self, address: str) -> grpc.aio.Channel:
        """A connection to a shard."""
        if self.tls is None:
            return grpc.aio.insecure_channel(address, options=SHARD_CHANNEL_OPTIONS)
        tls = self.tls
        return renewing(lambda: grpc.aio.secure_channel(address, tls.channel(), options=SHARD_CHANNEL_OPTIONS), tls)
