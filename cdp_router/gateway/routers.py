"""The gateway's connections to routers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
from cdp.v1 import ingest_pb2, ingest_pb2_grpc

from cdp_router.client.channels import OPTIONS
from cdp_router.client.credentials import authorization
from cdp_router.client.failures import RETRYABLE, ClusterUnreachable, RequestFailed, failure_of
from cdp_router.gateway.http_limits import DELIVERY_SECONDS
from cdp_router.gateway.problems import Problem, busy, key_unknown
from cdp_router.security.tls.renewing import renewing
from cdp_router.security.tls.tls import Tls


class Routers:
    """Any of several routers: if one is not there, the next one is called."""

    def __init__(self, addresses: Sequence[str], tls: Tls | None = None) -> None:
        self._addresses = list(addresses)
        self.channels = [_channel(address, tls) for address in addresses]
        self._ingest = [ingest_pb2_grpc.IngestServiceStub(channel) for channel in self.channels]
        self._next = 0

    async def close(self) -> None:
        """Closes all connections."""
        await asyncio.gather(*(channel.close() for channel in self.channels))

    async def ingest(self, batch: ingest_pb2.Batch, api_key: str = "") -> ingest_pb2.BatchResult:
        """The result of a batch; Problem 503 if some shard may not have accepted it."""
        request, wait, shown = ingest_pb2.IngestRequest(batch=batch), 0.0, authorization(api_key)
        for _ in self._ingest:
            number = self._next = (self._next + 1) % len(self._ingest)
            try:
                call = self._ingest[number].Ingest(request, timeout=DELIVERY_SECONDS, metadata=shown)
                return (await call).result
            except grpc.aio.AioRpcError as error:
                failure = failure_of(error, self._addresses[number])
                if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                    raise key_unknown() from error
                if error.code() is grpc.StatusCode.PERMISSION_DENIED:
                    raise Problem(403, "role_missing", str(failure)) from error
                if error.code() not in RETRYABLE:
                    raise Problem(500, "internal", f"the cluster refused a batch of the gateway: {failure}") from error
                wait = failure.retry_after_seconds if isinstance(failure, RequestFailed) else 0.0
                if not isinstance(failure, ClusterUnreachable):
                    break
        raise busy("the cluster cannot accept it now; send it again", wait)


def _channel(address: str, tls: Tls | None) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(address, options=OPTIONS)
    return renewing(lambda: grpc.aio.secure_channel(address, tls.channel(), options=OPTIONS), tls)
