"""Calls to a router as values, and the rules of their retries, shared by both clients. Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

import grpc
from cdp.v1.admin_pb2_grpc import AdminServiceStub
from cdp.v1.export_pb2_grpc import ExportServiceStub
from cdp.v1.identity_pb2_grpc import IdentityServiceStub
from cdp.v1.ingest_pb2_grpc import IngestServiceStub
from cdp.v1.named_segment_pb2_grpc import SegmentServiceStub
from cdp.v1.privacy_pb2_grpc import PrivacyServiceStub
from cdp.v1.profile_pb2_grpc import ProfileServiceStub
from cdp.v1.proof_pb2_grpc import ProofServiceStub
from cdp.v1.query_pb2_grpc import QueryServiceStub
from cdp.v1.schema_pb2_grpc import SchemaServiceStub

from cdp_router.client.channels import HEALTH
from cdp_router.client.failures import Backoff, failure_of
from cdp_router.rpc.call import Metadata
from cdp_router.rpc.carrying import carrying

Item = TypeVar("Item")
Request = TypeVar("Request")
Response = TypeVar("Response")
Result = TypeVar("Result")


class Router:
    """The services of a router over one channel; over an asynchronous one, their methods return awaitables."""

    def __init__(self, channel: Any, shown: Metadata) -> None:  # either kind: generated stubs know only one of them
        self.health: Any = channel.unary_unary(HEALTH)
        carried: Any = carrying(channel, shown)
        self.ingest: IngestServiceStub = IngestServiceStub(carried)
        self.query: QueryServiceStub = QueryServiceStub(carried)
        self.profiles: ProfileServiceStub = ProfileServiceStub(carried)
        self.export: ExportServiceStub = ExportServiceStub(carried)
        self.proofs: ProofServiceStub = ProofServiceStub(carried)
        self.segments: SegmentServiceStub = SegmentServiceStub(carried)
        self.identity: IdentityServiceStub = IdentityServiceStub(carried)
        self.privacy: PrivacyServiceStub = PrivacyServiceStub(carried)
        self.admin: AdminServiceStub = AdminServiceStub(carried)
        self.schema: SchemaServiceStub = SchemaServiceStub(carried)


class Again(Enum):
    """Failures after which a call is made again."""

    NEVER = "never"
    WHILE_AWAY = "while the cluster is away"  # each attempt may take the whole time
    WHILE_BUSY = "while the cluster is busy"  # all attempts share the time


@dataclass(frozen=True, slots=True)
class Call(Generic[Result]):
    """A call: its request, and the meaning of its response."""

    begin: Callable[[Router, float], Any]
    read: Callable[[Any], Result]
    again: Again = Again.NEVER


@dataclass(frozen=True, slots=True)
class StreamCall(Generic[Response]):
    """A call with a stream of responses."""

    begin: Callable[[Router, float], Any]


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A page of a list, and the call for the next page if there is one."""

    items: Sequence[Item]
    next: Call[Page[Item]] | None


def call(
    method: Callable[[Router], grpc.UnaryUnaryMultiCallable[Request, Response]],
    request: Request,
    read: Callable[[Response], Result],
    again: Again = Again.NEVER,
) -> Call[Result]:
    """A call of a method whose response `read` turns into the result."""
    return Call(lambda router, seconds: method(router)(request, timeout=seconds), read, again)


def plain(
    method: Callable[[Router], grpc.UnaryUnaryMultiCallable[Request, Response]], request: Request
) -> Call[Response]:
    """A call of a method whose response is the result."""
    return call(method, request, lambda response: response)


def stream(
    method: Callable[[Router], grpc.UnaryStreamMultiCallable[Request, Response]], request: Request
) -> StreamCall[Response]:
    """A call of a method with a stream of responses."""
    return StreamCall(lambda router, seconds: method(router)(request, timeout=seconds))


class Attempts:
    """Attempts at one call; instants are seconds of a monotonic clock."""

    def __init__(
        self, again: Again, address: str, now: float, timeout_seconds: float, give_up_seconds: float | None = None
    ) -> None:
        self._again, self._address = again, address
        self._seconds, self._give_up_at = timeout_seconds, now + timeout_seconds
        self._backoff = Backoff(now, timeout_seconds if give_up_seconds is None else give_up_seconds)

    def seconds(self, now: float) -> float:
        """Time limit of the next attempt, in seconds; attempts WHILE_BUSY share the whole time."""
        return self._give_up_at - now if self._again is Again.WHILE_BUSY else self._seconds

    def wait_after(self, error: Any, now: float) -> float:
        """Seconds to wait after a grpc.RpcError before the next attempt; raises the failure if there is no other
        attempt.
        """
        failure, wait = failure_of(error, self._address), None
        if self._again is Again.WHILE_AWAY:
            wait = self._backoff.next(error.code(), failure, now)
        elif self._again is Again.WHILE_BUSY:
            wait = self._backoff.next_question(failure, now)
        if wait is None:
            raise failure from None
        return wait
