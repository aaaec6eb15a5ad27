"""A connection to a cluster's router with typed failures and safe retries."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from types import TracebackType
from typing import Any, Self

import grpc
from cdp.v1 import query_pb2

from cdp_router.client.calls import Attempts, Call, Item, Page, Response, Result, Router, StreamCall
from cdp_router.client.channels import OPTIONS
from cdp_router.client.credentials import authorization, tls_of_environment
from cdp_router.client.failures import failure_of
from cdp_router.rpc.blocking_pipes import MEMBERS, QUERY, BlockingPipes
from cdp_router.rpc.call import Metadata
from cdp_router.rpc.pipe_frames import Meeting, NotServed
from cdp_router.security.tls.loopback import host_of_loopback
from cdp_router.security.tls.renewing import renewing_blocking
from cdp_router.security.tls.tls import Tls


def _connect(address: str, tls: Tls | None) -> grpc.Channel:
    if tls is None:
        return grpc.insecure_channel(address, options=OPTIONS)
    return renewing_blocking(lambda: grpc.secure_channel(address, tls.channel(), options=OPTIONS), tls)


class Connection:
    """One channel to a router, and the calls over it."""

    def __init__(self, address: str, api_key: str | None = None, tls: Tls | None = None) -> None:
        self.address, shown, tls = address, authorization(api_key), tls or tls_of_environment()
        self._channel = _connect(address, tls)
        self._router = Router(self._channel, shown)
        self._pipes = _pipes(address, shown) if tls is None else None
        if self._pipes is not None:
            asking: Any = self._router.query
            asking.Query = _piped(self._pipes, asking.Query)
            asking.Members = _streamed(self._pipes, asking.Members)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the connection."""
        if self._pipes is not None:
            self._pipes.close()
        self._channel.close()

    def _call(self, call: Call[Result], timeout_seconds: float, give_up_seconds: float | None = None) -> Result:
        attempts = Attempts(call.again, self.address, time.monotonic(), timeout_seconds, give_up_seconds)
        while True:
            try:
                response = call.begin(self._router, attempts.seconds(time.monotonic()))
            except grpc.RpcError as error:
                wait = attempts.wait_after(error, time.monotonic())
            else:
                return call.read(response)
            time.sleep(wait)

    def _stream(self, call: StreamCall[Response], timeout_seconds: float) -> Iterator[Response]:
        try:
            yield from call.begin(self._router, timeout_seconds)
        except grpc.RpcError as error:
            raise failure_of(error, self.address) from None

    def _items(self, call: Call[Page[Item]], timeout_seconds: float) -> Iterator[Item]:
        more: Call[Page[Item]] | None = call
        while more is not None:
            page = self._call(more, timeout_seconds)
            yield from page.items
            more = page.next


def _pipes(address: str, shown: Metadata) -> BlockingPipes | None:
    """Pipes to a router of this machine; whether it serves any shows when one is needed."""
    host = host_of_loopback(address)
    if not host or sys.platform != "linux":
        return None
    return BlockingPipes(Meeting.at("", int(address.rpartition(":")[2]), host), shown)


def _piped(pipes: BlockingPipes, over_grpc: Callable[..., query_pb2.QueryResponse]) -> Callable[..., Any]:
    def ask(request: query_pb2.QueryRequest, timeout: float) -> query_pb2.QueryResponse:
        began = time.monotonic()
        answer = pipes.call(QUERY, request.SerializeToString(), timeout)
        if answer is None:
            return over_grpc(request, timeout=max(0.0, timeout - (time.monotonic() - began)))
        return query_pb2.QueryResponse.FromString(answer)

    return ask


def _streamed(
    pipes: BlockingPipes, over_grpc: Callable[..., Iterator[query_pb2.MembersResponse]]
) -> Callable[..., Any]:
    def ask(request: query_pb2.MembersRequest, timeout: float) -> Iterator[query_pb2.MembersResponse]:
        began = time.monotonic()
        try:
            with closing(pipes.stream(MEMBERS, request.SerializeToString(), timeout)) as messages:
                yield from map(query_pb2.MembersResponse.FromString, messages)
            return
        except NotServed:
            left = max(0.0, timeout - (time.monotonic() - began))
        yield from over_grpc(request, timeout=left)

    return ask
