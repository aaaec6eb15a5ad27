"""The client of a shard in another process: over pipes where both share a machine, else over gRPC."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Generator
from contextlib import aclosing
from typing import Any, Final, Generic

from cdp_router.cluster import shard_methods as methods
from cdp_router.cluster.shard_methods import METHODS, Method, Request, Response, StreamMethod, UnaryMethod
from cdp_router.deadline import Deadline
from cdp_router.rpc.carrying import carrying
from cdp_router.rpc.pipe_client import PipeCall, PipeClient
from cdp_router.rpc.pipe_frames import NotServed
from cdp_router.rpc.threaded_pipes import HOST
from cdp_router.security.tls.links import Link
from cdp_router.security.tls.loopback import is_loopback

# Short calls that many wait for, because a large message would hold up all others of its pipe; and a stream.
PIPED: Final[frozenset[Method[Any, Any]]] = frozenset(
    (
        methods.CAPTURE_VIEWS,
        methods.DELIVER,
        methods.EVALUATE,
        methods.LIST_MEMBERS,
        methods.PROVE_USER,
        methods.READ_DOCUMENT,
        methods.READ_IDENTITIES,
        methods.READ_IDENTITY,
        methods.READ_PROFILE,
        methods.READ_SCHEMA,
    )
)
# Of these, those that only compute: threads answer them without the event loop of the shard.
THREADED: Final[frozenset[Method[Any, Any]]] = frozenset((methods.EVALUATE,))
PIPED_BYTES_MAX: Final = 1 << 16  # of a request


class GrpcShardClient:
    """A shard in another process, reached by connections of its own."""

    def __init__(self, address: str, link: Link | None = None) -> None:
        self.address = address
        link = link or Link()
        self._channel = link.connect(address)
        self._pipe, self._questions = _pipe(address, link), _pipe(address, link, HOST)
        channel: Any = carrying(self._channel, link.shown)
        self._calls: dict[Method[Any, Any], Any] = {}
        for method in METHODS:
            make = channel.unary_stream if isinstance(method, StreamMethod) else channel.unary_unary
            self._calls[method] = make(
                method.path,
                request_serializer=_serialized,
                response_deserializer=method.response.FromString,
                _registered_method=True,
            )

    async def call(self, method: UnaryMethod[Request, Response], request: Request, deadline: Deadline) -> Response:
        return await self.send(method, request, deadline)

    def send(self, method: UnaryMethod[Request, Response], request: Request, deadline: Deadline) -> Awaitable[Response]:
        """A call that is under way already, awaited by anybody or cancelled."""
        # Once for both ways; the size decides, and gRPC gets the same bytes.
        asked = request.SerializeToString()
        if self._pipe is not None and method in PIPED and len(asked) <= PIPED_BYTES_MAX:
            questions = self._questions if method in THREADED else None
            pipe = (None if questions is None else questions.pipe) or self._pipe.pipe
            if pipe is not None:
                return _Piped(method, pipe.call(method.path, asked, deadline.remaining()))
        response: Awaitable[Response] = self._calls[method](asked, timeout=deadline.remaining())
        return response

    async def stream(
        self, method: StreamMethod[Request, Response], request: Request, deadline: Deadline
    ) -> AsyncGenerator[Response, None]:
        asked = request.SerializeToString()
        if self._pipe is not None and method in PIPED and len(asked) <= PIPED_BYTES_MAX:
            try:
                async with aclosing(self._pipe.stream(method.path, asked, deadline)) as messages:
                    async for message in messages:
                        yield method.response.FromString(message)
                return
            except NotServed:
                pass
        call = self._calls[method](asked, timeout=deadline.remaining())
        try:
            async for response in call:
                yield response
        finally:
            call.cancel()  # gRPC ends it late, or never, if its reader is gone between two messages

    async def close(self) -> None:
        for pipe in (self._pipe, self._questions):
            if pipe is not None:
                await pipe.close()
        await self._channel.close()


class _Piped(Generic[Response]):
    """A call over a pipe whose answer is a message."""

    __slots__ = ("_call", "_method")

    def __init__(self, method: UnaryMethod[Any, Response], call: PipeCall) -> None:
        self._method, self._call = method, call

    def __await__(self) -> Generator[Any, None, Response]:
        answer = yield from self._call.__await__()
        return self._method.response.FromString(answer)

    def cancel(self) -> None:
        """Gives the call up."""
        self._call.cancel()


def _serialized(message: bytes) -> bytes:
    return message


def _pipe(address: str, link: Link, place: str = "") -> PipeClient | None:
    """The pipe to a shard of this machine; none where certificates are to protect what is sent."""
    host, _, port = address.rpartition(":")
    if link.tls is not None or not is_loopback(host.strip("[]")) or not port.isdecimal():
        return None
    return PipeClient(link.secret, int(port), place)
