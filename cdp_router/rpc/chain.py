"""The chain every call passes: request id, observers, errors as statuses, record, gate, cap, reading the request."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from cdp_router.background import awaited
from cdp_router.contract.arrow_streams import Pieces
from cdp_router.contract.status import Context, abort, grpc_code, reason_of, status_of
from cdp_router.errors import DeadlineMissed, RequestInvalid, ShuttingDown
from cdp_router.limits import REQUEST_BYTES_MAX
from cdp_router.rpc.call import REQUEST_ID, Call, begin
from cdp_router.rpc.expiry import Expiry
from cdp_router.rpc.gate import Gate, OpenGate
from cdp_router.rpc.large_requests import Readings
from cdp_router.rpc.method_bounds import Bounds, bounds_of
from cdp_router.rpc.record import NoRecord, Record

Result = TypeVar("Result")
_ADMITTED: Final = OpenGate()
_TELLING_SECONDS: Final = 0.05  # to inform a caller before its deadline passes
_TELLING_SHARE: Final = 0.1
LATE: Final = "the deadline passed before the answer was complete; allow more time"
_FAR_SECONDS: Final = 1e8  # gRPC reports an enormous remaining time when the caller set none
_STANDARD_SERVICES: Final = "/grpc."  # health and reflection have their own handling


class Observer(Protocol):
    """Receives the begin and the end of every call."""

    def began(self, call: Call, metadata: grpc.aio.Metadata) -> None:
        """Receives a call that came in."""

    def ended(self, call: Call, seconds: float) -> None:
        """Receives a call that has ended, with call.code."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method in the form that the chain serves."""

    service: str
    name: str
    bounds: Bounds
    handler: Any

    @staticmethod
    def of(path: str, handler: Any) -> Method:
        """The method at a path: /service/name."""
        _, service, name = path.split("/")
        return Method(service, name, bounds_of(path), handler)

    def read(self, raw: bytes) -> Any:
        """The request in `raw`; RequestInvalid if it is too large or no such message."""
        if len(raw) > self.bounds.request_bytes:
            raise RequestInvalid("request", f"{len(raw)} bytes; the limit is {self.bounds.request_bytes}")
        try:
            return self.handler.request_deserializer(raw)
        except DecodeError as error:
            raise RequestInvalid("request", f"is no message of {self.service}/{self.name}: {error}") from error


class Chain(grpc.aio.ServerInterceptor):
    """Interceptor of all services of a process."""

    def __init__(
        self,
        gate: Gate | None = None,
        observers: Sequence[Observer] = (),
        record: Record | None = None,
        readings: Readings | None = None,
    ) -> None:
        self._readings = readings
        self._gate, self._observers, self._record = gate or OpenGate(), observers, record or NoRecord()
        self._handlers = dict[str, Any]()
        self._running = 0
        self._expiry: Expiry | None = None  # of the loop of the first call
        self._closing, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()

    async def drain(self, seconds: float) -> None:
        """Refuses new calls, ends request streams, and waits for running calls, at most `seconds`."""
        self._closing.set()
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return  # the server's stop ends the others

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        """The handler of a method, inside the chain."""
        path = details.method
        found = self._handlers.get(path)
        if found is None:
            found = await continuation(details)
            if found is not None and not path.startswith(_STANDARD_SERVICES):
                found = self._handlers[path] = self._inside(Method.of(path, found))
        return found

    def served(
        self, path: str, handler: Any, *, is_admitted: bool = True
    ) -> Callable[[bytes, Context], Awaitable[bytes | None]]:
        """A method inside the chain, for callers by a pipe, who may have been admitted when they connected.

        The result is the answer, or None after the messages of a stream were written.
        """
        gate = _ADMITTED if is_admitted else self._gate
        method = Method.of(path, handler)

        async def serve(raw: bytes, context: Context) -> bytes | None:
            async def work(call: Call) -> bytes | None:
                call.request = method.read(raw)
                await self._record.begun(call)
                if handler.response_streaming:
                    await self._respond(method, context, gate, call, lambda each: context.write(_pieces(handler, each)))
                    return None
                answer: bytes = handler.response_serializer(await handler.unary_unary(call.request, context))
                return answer

            return await self._run(method, context, gate, work)

        return serve

    def _inside(self, method: Method) -> Any:
        handler = method.handler
        # Without a deserializer gRPC passes the bytes: unreadable ones must end with a status of ours. In a stream it
        # passes nothing before it is asked: a caller without permission is refused before its request is read.
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(self._stream(method), None, handler.response_serializer)
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._responses(method), None, partial(_to_bytes, handler))
        return grpc.stream_unary_rpc_method_handler(self._unary(method), None, handler.response_serializer)

    def _unary(self, method: Method) -> Callable[[AsyncIterator[bytes], Context], Awaitable[Any]]:
        async def serve(_: AsyncIterator[bytes], context: Context) -> Any:
            async def work(call: Call) -> Any:
                return await method.handler.unary_unary(await self._begun(method, context, call), context)

            return await self._run(method, context, self._gate, work)

        return serve

    def _responses(self, method: Method) -> Callable[[AsyncIterator[bytes], Context], Awaitable[None]]:
        async def serve(_: AsyncIterator[bytes], context: Context) -> None:
            async def work(call: Call) -> None:
                await self._begun(method, context, call)
                await self._respond(method, context, self._gate, call, context.write)

            await self._run(method, context, self._gate, work)

        return serve

    async def _respond(
        self, method: Method, context: Context, gate: Gate, call: Call, write: Callable[[Any], Awaitable[None]]
    ) -> None:
        # Writing here, and not yielding, keeps a client that reads too slowly under the cap as well.
        async with aclosing(method.handler.unary_stream(call.request, context)) as responses:
            async for response in responses:
                gate.renew(call)
                await write(response)

    def _stream(self, method: Method) -> Callable[[AsyncIterator[bytes], Context], Awaitable[None]]:
        async def serve(_: AsyncIterator[bytes], context: Context) -> None:
            async def work(call: Call) -> None:
                requests = _Requests(partial(self._next, method, context, call))
                async with aclosing(method.handler.stream_stream(requests, context)) as responses:
                    async for response in responses:
                        await context.write(response)

            await self._run(method, context, self._gate, work)

        return serve

    async def _begun(self, method: Method, context: Context, call: Call) -> Any:
        """The request of a call, once its begin is recorded."""
        async with self._turn(method, call):
            if (raw := await context.read()) is grpc.aio.EOF:
                raise RequestInvalid("request", "a message is missing")
            call.request = method.read(raw)
        await self._record.begun(call)
        return call.request

    async def _next(self, method: Method, context: Context, call: Call) -> Any:
        """The next request of a stream, EOF at its end; ShuttingDown if the process has to end it."""
        async with self._turn(method, call):
            # With this call nothing holds the bytes any longer; gRPC's iterator keeps the last ones.
            if (raw := await self._arrived(context)) is grpc.aio.EOF:
                return raw
            self._gate.renew(call)
            return method.read(raw)

    def _turn(self, method: Method, call: Call) -> AbstractAsyncContextManager[None]:
        if self._readings is None or method.bounds.request_bytes <= REQUEST_BYTES_MAX:
            return nullcontext()
        of = self._readings.next_of_stream if method.handler.request_streaming else self._readings.one
        return of(call.principal.key)

    async def _arrived(self, context: Context) -> Any:
        arriving, closing = awaited(context.read()), awaited(self._closing.wait())
        try:
            await asyncio.wait({arriving, closing}, return_when=asyncio.FIRST_COMPLETED)
            if not arriving.done():
                raise ShuttingDown
            return arriving.result()
        finally:
            closing.cancel()
            arriving.cancel()
            await asyncio.gather(arriving, closing, return_exceptions=True)  # after a hang-up reading may have failed

    async def _run(
        self, method: Method, context: Context, gate: Gate, work: Callable[[Call], Awaitable[Result]]
    ) -> Result:
        metadata = context.invocation_metadata() or grpc.aio.Metadata()
        started = time.monotonic()
        call = begin(method.service, method.name, metadata, started)
        context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
        for observer in self._observers:
            observer.began(call, metadata)
        self._enter()
        try:
            result = await self._recorded(method, context, gate, metadata, call, work)
            call.code = grpc.StatusCode.OK
            return result
        except asyncio.CancelledError:
            remaining = context.time_remaining()
            missed = remaining is not None and remaining <= 0
            call.code = grpc.StatusCode.DEADLINE_EXCEEDED if missed else grpc.StatusCode.CANCELLED
            raise
        except Exception as error:  # the one border where everything is translated
            status = status_of(error, call.request_id)
            call.code = grpc_code(status)
            await abort(context, status, (REQUEST_ID, call.request_id))
        finally:
            self._leave()
            for observer in self._observers:
                observer.ended(call, time.monotonic() - started)

    async def _recorded(
        self,
        method: Method,
        context: Context,
        gate: Gate,
        metadata: grpc.aio.Metadata,
        call: Call,
        work: Callable[[Call], Awaitable[Result]],
    ) -> Result:
        """The result of an admitted call; its outcome is recorded before its caller gets it."""
        try:
            self._check_open()
            gate.admit(call, metadata)
            async with _capped(method.bounds.seconds, context.time_remaining(), self._expiry):
                result = await work(call)
        except asyncio.CancelledError:
            call.reason = "CANCELLED"
            await self._record.ended(call)
            raise
        except Exception as error:
            call.reason = reason_of(error)
            await self._record.ended(call)
            raise
        await self._record.ended(call)
        return result

    def _check_open(self) -> None:
        if self._closing.is_set():
            raise ShuttingDown

    def _enter(self) -> None:
        self._expiry = self._expiry or Expiry()
        self._running += 1
        self._idle.clear()

    def _leave(self) -> None:
        self._running -= 1
        if not self._running:
            self._idle.set()


def told_seconds(remaining: float | None) -> float:
    """Seconds after which a caller that waits so long is told that its answer is late."""
    return math.inf if remaining is None else remaining - min(_TELLING_SECONDS, remaining * _TELLING_SHARE)


def _pieces(handler: Any, response: Any) -> Pieces:
    """The encoded response of a stream, which may be encoded already because it is large."""
    return (handler.response_serializer(response),) if isinstance(response, Message) else response


def _to_bytes(handler: Any, response: Any) -> bytes:
    return b"".join(_pieces(handler, response))


class _capped:  # noqa: N801 - a class, because a generator in its place costs twice as much
    """Limits the call to the cap, and to a moment less than its caller waits: gRPC would end it without a message."""

    __slots__ = ("_before", "_cap", "_expiry", "_is_expired", "_seconds", "_task")

    def __init__(self, cap: float | None, remaining: float | None, expiry: Expiry | None = None) -> None:
        self._cap, self._seconds = cap, min(cap or math.inf, told_seconds(remaining))
        self._expiry, self._is_expired = expiry or Expiry(), False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._before = task, task.cancelling()
        if self._seconds < _FAR_SECONDS:
            self._expiry.add(self, self._seconds)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._expiry.forget(self)
        # As in asyncio.timeout: a task that somebody else cancelled as well stays cancelled.
        if self._is_expired and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            if self._seconds == self._cap:
                raise DeadlineMissed(f"no call may take longer than {self._cap:g} s; ask for less") from None
            raise DeadlineMissed(LATE) from None

    def expire(self) -> None:
        """Ends the call."""
        self._is_expired = True
        self._task.cancel()


class _Requests:
    """The requests of a stream; each belongs to its reader alone."""

    def __init__(self, read: Callable[[], Awaitable[Any]]) -> None:
        self._read = read

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if (request := await self._read()) is grpc.aio.EOF:
            raise StopAsyncIteration
        return request
