"""Shards that fail in the ways a network and a process can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from cdp_router.cluster.shard_client import ShardClient
from cdp_router.cluster.shard_methods import DELIVER, EVALUATE, StreamMethod, UnaryMethod
from cdp_router.contract.status import describe
from cdp_router.deadline import Deadline


def call_error(code: grpc.StatusCode, details: str = "", *, cause: Exception | None = None) -> grpc.aio.AioRpcError:
    """What a call over gRPC raises; with `cause`, as if the shard had ended the call with that error."""
    trailing = grpc.aio.Metadata()
    if cause is not None:
        trailing = grpc.aio.Metadata(("grpc-status-details-bin", describe(cause).SerializeToString()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details or code.name.lower())


class FailingShard:
    """Fails every call, after `before` good ones, with `error`; works again once `error` is None."""

    def __init__(self, inner: ShardClient, error: grpc.aio.AioRpcError | None = None, before: int = 0) -> None:
        self.address, self.inner = inner.address, inner
        self.error, self.before = error, before
        self.calls = 0

    def _fail(self) -> None:
        self.calls += 1
        if self.error is not None and self.calls > self.before:
            raise self.error

    async def call(self, method: UnaryMethod[Any, Any], request: Any, deadline: Deadline) -> Any:
        self._fail()
        return await self.inner.call(method, request, deadline)

    async def stream(self, method: StreamMethod[Any, Any], request: Any, deadline: Deadline) -> AsyncIterator[Any]:
        async for response in self.inner.stream(method, request, deadline):
            self._fail()
            yield response

    async def close(self) -> None:
        await self.inner.close()


class SilentShard(FailingShard):
    """Never answers: a call ends when its deadline does, as gRPC ends it."""

    async def call(self, method: UnaryMethod[Any, Any], request: Any, deadline: Deadline) -> Any:
        if method not in (EVALUATE, DELIVER):
            return await super().call(method, request, deadline)
        await self._until(deadline)
        raise AssertionError("unreachable")

    @staticmethod
    async def _until(deadline: Deadline) -> None:
        try:
            await asyncio.wait_for(asyncio.Event().wait(), deadline.remaining())
        except TimeoutError:
            raise call_error(grpc.StatusCode.DEADLINE_EXCEEDED) from None
