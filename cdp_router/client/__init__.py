"""The client: what programs and the command line use to talk to a cluster. Loads neither kernels nor server."""

from cdp_router.client.connection import Client, ClusterUnreachable, RequestFailed

__all__ = ["Client", "ClusterUnreachable", "RequestFailed"]
