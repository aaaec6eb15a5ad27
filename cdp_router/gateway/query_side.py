"""Questions over HTTP: the messages of the contract as JSON, forwarded to a router under the caller's own key."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import grpc
import msgspec
import pyarrow as pa
from cdp.v1 import profile_pb2, proof_pb2, query_pb2
from google.protobuf import json_format
from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from cdp_router.client.failures import RequestFailed, failure_of
from cdp_router.gateway.http_limits import QUERY_SECONDS
from cdp_router.gateway.problems import Problem, busy, malformed, too_large
from cdp_router.gateway.question_faults import GivenTwice, fault_of, fields_once
from cdp_router.gateway.request_bytes import Bodies
from cdp_router.limits import LONG_QUESTION_BYTES, REQUEST_BYTES_MAX
from cdp_router.records.as_of import as_of_stamp
from cdp_router.records.instants import NoInstant
from cdp_router.rpc.call import REQUEST_ID, is_usable

ARROW: Final = "application/vnd.apache.arrow.stream"
NDJSON: Final = "application/x-ndjson"
_DEPTH_MAX: Final = 100
_CARRIED_MAX: Final = 1024
_FAULT_MAX: Final = 1000
_LINES: Final = msgspec.json.Encoder()
_LONG_AT_ONCE: Final = 2  # of messages that take long to read or write as JSON: a megabyte takes seconds
_LONG_ANSWER_BYTES: Final = 16 * 1024

Admits = Callable[[str, Mapping[str, str]], bool]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Served:
    """A method of the contract at a path; `response` is that of each message if it streams."""

    path: str
    method: str
    request: type[Message]
    response: type[Message]
    summary: str


COUNT: Final = Served(
    "/v1/segments:count",
    "/cdp.v1.QueryService/Query",
    query_pb2.QueryRequest,
    query_pb2.QueryResponse,
    "How many profiles are in a segment, and how many by an attribute.",
)
MEMBERS: Final = Served(
    "/v1/segments:members",
    "/cdp.v1.QueryService/Members",
    query_pb2.MembersRequest,
    query_pb2.MembersResponse,
    f"The members of a segment: a line each, and a last one with their coverage; or `Accept: {ARROW}`.",
)
UNARY: Final = (
    COUNT,
    Served(
        "/v1/reports:run",
        "/cdp.v1.QueryService/Query",
        query_pb2.QueryRequest,
        query_pb2.QueryResponse,
        "A funnel, trend, retention or another report.",
    ),
    Served(
        "/v1/segments:explainUser",
        "/cdp.v1.ProofService/ExplainUser",
        proof_pb2.ExplainUserRequest,
        proof_pb2.ExplainUserResponse,
        "Which parts of a segment hold for one user, and the events that decide.",
    ),
    Served(
        "/v1/profiles:get",
        "/cdp.v1.QueryService/GetProfile",
        query_pb2.GetProfileRequest,
        query_pb2.GetProfileResponse,
        "One profile with its latest events.",
    ),
    Served(
        "/v1/profiles:batchGet",
        "/cdp.v1.ProfileService/BatchGetProfiles",
        profile_pb2.BatchGetProfilesRequest,
        profile_pb2.BatchGetProfilesResponse,
        "Up to 100 profiles, in the order asked for.",
    ),
    Served(
        "/v1/profiles:listEvents",
        "/cdp.v1.ProfileService/ListProfileEvents",
        profile_pb2.ListProfileEventsRequest,
        profile_pb2.ListProfileEventsResponse,
        "A profile's events, latest first, page by page.",
    ),
)

_AS_OF: Final = re.compile(rb'"as_?[oO]f"')
_STATUSES: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.CANCELLED: 504,
}
STATUSES: Final = (*sorted({*_STATUSES.values(), 413, 500}),)


def _all(method: str, headers: Mapping[str, str]) -> bool:
    return True


class QuerySide:
    """Routes that forward to the routers of some channels."""

    def __init__(self, channels: Sequence[grpc.aio.Channel], bodies: Bodies, admits: Admits = _all) -> None:
        """`admits` decides by method and headers which bodies are read at once."""
        self._channels, self._bodies, self._admits, self._next = channels, bodies, admits, 0
        self._long = asyncio.Semaphore(_LONG_AT_ONCE)

    def routes(self) -> list[Route]:
        """All paths."""
        unary = [Route(served.path, self._asking(served), methods=["POST"]) for served in UNARY]
        return [*unary, Route(MEMBERS.path, self._members, methods=["POST"])]

    def _asking(self, served: Served) -> Any:
        async def ask(request: Request) -> Response:
            message = await self._message(request, served)
            call = self._channel().unary_unary(
                served.method,
                request_serializer=served.request.SerializeToString,
                response_deserializer=served.response.FromString,
            )
            try:
                answer = await call(message, timeout=QUERY_SECONDS, metadata=_carried(request))
            except grpc.aio.AioRpcError as error:
                raise _problem(error) from error
            is_long = answer.ByteSize() > _LONG_ANSWER_BYTES
            text = await self._aside(is_long, lambda: json_format.MessageToJson(answer, indent=None))
            return Response(text, media_type="application/json")

        return ask

    async def _members(self, request: Request) -> Response:
        message = await self._message(request, MEMBERS)
        call = self._channel().unary_stream(
            MEMBERS.method,
            request_serializer=MEMBERS.request.SerializeToString,
            response_deserializer=MEMBERS.response.FromString,
        )(message, metadata=_carried(request))
        try:
            # A fault in the question must become a status, which is sent before the first member.
            first = await call.read()
        except grpc.aio.AioRpcError as error:
            raise _problem(error) from error
        wants_arrow = ARROW in request.headers.get("accept", "")
        parts = _arrow_parts(first, call) if wants_arrow else _lines(first, call)
        return StreamingResponse(parts, media_type=ARROW if wants_arrow else NDJSON)

    async def _check_key(self, request: Request, served: Served) -> None:
        """Makes a router refuse an unknown key, or admit it: it decides before it reads a request."""
        if self._admits(served.method, request.headers):
            return
        call: Any = self._channel().stream_stream(served.method)(
            iter(()), timeout=QUERY_SECONDS, metadata=_carried(request)
        )
        try:
            await call.read()
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:  # it lacks a message, but not a key
                raise _problem(error) from error

    async def _message(self, request: Request, served: Served) -> Message:
        await self._check_key(request, served)
        async with self._bodies.read(request) as body:
            if len(body) > REQUEST_BYTES_MAX:
                raise too_large(f"a question has at most {REQUEST_BYTES_MAX} bytes")
            return await self._aside(len(body) > LONG_QUESTION_BYTES, lambda: parsed(body, served.request))

    async def _aside(self, is_long: bool, work: Callable[[], Result]) -> Result:
        """The result of work on a message; that on a long one is done outside of the event loop."""
        if not is_long:
            return work()
        async with self._long:
            return await asyncio.to_thread(work)

    def _channel(self) -> grpc.aio.Channel:
        self._next = (self._next + 1) % len(self._channels)
        return self._channels[self._next]


def parsed(body: bytes, of: type[Message]) -> Message:
    """The message in a JSON body; Problem 400 names the part that does not fit."""
    try:
        return json_format.Parse(_with_instant(body, of) or b"{}", of(), max_recursion_depth=_DEPTH_MAX)
    except (NoInstant, GivenTwice) as error:
        raise malformed(str(error)) from error
    except (json_format.ParseError, ValueError, TypeError, OverflowError, AttributeError, RecursionError) as error:
        # The library raises these for values that do not fit a field; its words are not those of the interface.
        raise malformed(fault_of(body, of)[:_FAULT_MAX]) from error


def _with_instant(body: bytes, of: type[Message]) -> bytes:
    """The body with its instant, which may be a date, or a time without a zone, in the message's form."""
    if "as_of" not in of.DESCRIPTOR.fields_by_name or not _AS_OF.search(body):
        return body
    fields = json.loads(body, object_pairs_hook=fields_once)
    name = "asOf" if isinstance(fields, dict) and "asOf" in fields else "as_of"
    given = fields.get(name) if isinstance(fields, dict) else None
    if not isinstance(given, str):
        return body
    tz = fields.get("tz")
    try:
        stamp = as_of_stamp(given, tz if isinstance(tz, str) else "")
    except ValueError as error:
        raise malformed(str(error)) from error
    return json.dumps({**fields, name: stamp.ToJsonString()}).encode()


def _carried(request: Request) -> tuple[tuple[str, str], ...]:
    """Metadata for the router: the caller's key, and the id that identifies the call in its logs."""
    shown = request.headers.get("authorization", "")
    is_key = shown.lower().startswith("bearer ") and shown.isascii() and shown.isprintable()
    # The part cut off is longer than any key; gRPC would refuse it as a lack of room.
    found = (("authorization", shown[:_CARRIED_MAX]),) if is_key else ()
    request_id = request.headers.get(REQUEST_ID, "")
    return (*found, (REQUEST_ID, request_id)) if is_usable(request_id) else found


def _problem(error: grpc.aio.AioRpcError) -> Problem:
    failure = failure_of(error, "the gateway's router")
    if not isinstance(failure, RequestFailed):
        return busy("no router of the cluster can be reached; ask again a little later")
    where = f" ({failure.field})" if failure.field and failure.field not in failure.message else ""
    code = (failure.reason or failure.code.name).lower()
    seconds = max(1, round(failure.retry_after_seconds)) if failure.retry_after_seconds else 0
    return Problem(_STATUSES.get(failure.code, 500), code, failure.message + where, seconds)


async def _arrow_parts(first: Any, call: Any) -> AsyncIterator[bytes]:
    """The Arrow stream; a failed one has no end, and every reader reports that."""
    async for response in _responses(first, call):
        if response.arrow:
            yield response.arrow


async def _lines(first: Any, call: Any) -> AsyncIterator[bytes]:
    """A line per member; the last line is the coverage or the error: without it the list is incomplete."""
    schema: pa.Schema | None = None
    try:
        async for response in _responses(first, call):
            if response.arrow:
                for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(response.arrow)):
                    if schema is None:
                        schema = pa.ipc.read_schema(message)
                    else:
                        yield _LINES.encode_lines(pa.ipc.read_record_batch(message, schema).to_pylist())
            if response.HasField("coverage"):
                coverage = json_format.MessageToDict(response.coverage)
                yield _LINES.encode_lines([{"coverage": coverage}])
    except grpc.aio.AioRpcError as error:
        problem = _problem(error)
        yield _LINES.encode_lines([{"error": {"code": problem.code, "message": problem.message}}])


async def _responses(first: Any, call: Any) -> AsyncIterator[Any]:
    response = first
    try:
        while response is not grpc.aio.EOF:
            yield response
            response = await call.read()
    finally:
        call.cancel()  # a caller that hung up reads no more
