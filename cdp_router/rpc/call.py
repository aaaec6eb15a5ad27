"""One call while it runs: its facts for logs, metrics and traces, and the metadata for the shards it calls."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

import grpc
from google.protobuf.message import Message

from cdp_router.rpc.principal import ANYBODY, Principal

REQUEST_ID: Final = "x-request-id"
ATTEMPTS: Final = "grpc-previous-rpc-attempts"
_ATTEMPTS_DIGITS_MAX: Final = 10
_REQUEST_ID_CHARS_MAX: Final = 128
_REQUEST_ID_BYTES: Final = 8

Metadata = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Call:
    """A call of one method; `code` is set when it has ended."""

    service: str
    method: str
    request_id: str
    started: float  # monotonic seconds
    previous_attempts: int = 0
    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    principal: Principal = ANYBODY
    request: Message | None = None  # once it is read, and only if it is the only one
    reason: str = "OK"  # of its end
    facts: dict[str, str | int] = field(default_factory=dict)  # about the answer, for records of the call
    passed_on: Metadata = ()  # metadata that observers add to the calls this one makes
    span: object = None  # of the trace, if there is one

    @property
    def path(self) -> str:
        """Name of the method in gRPC."""
        return f"/{self.service}/{self.method}"


_CURRENT: Final = ContextVar[Call | None]("call", default=None)


def begin(service: str, method: str, metadata: Iterable[tuple[str, str | bytes]], started: float) -> Call:
    """A call with the request id its caller gave, or a new one, as the current call of this task."""
    request_id, attempts = "", 0
    for key, value in metadata:
        if key == REQUEST_ID and isinstance(value, str) and is_usable(value):
            request_id = value
        elif key == ATTEMPTS and isinstance(value, str) and value.isdecimal() and len(value) < _ATTEMPTS_DIGITS_MAX:
            attempts = int(value)
    call = Call(service, method, request_id or secrets.token_hex(_REQUEST_ID_BYTES), started, attempts)
    _CURRENT.set(call)
    return call


def resume(call: Call) -> None:
    """Makes a call that was begun elsewhere the current one of this thread."""
    _CURRENT.set(call)


def is_usable(request_id: str) -> bool:
    """True if an id from outside may appear in logs and headers."""
    return 0 < len(request_id) <= _REQUEST_ID_CHARS_MAX and request_id.isascii() and request_id.isprintable()


def current_principal() -> Principal:
    """Principal that called this task."""
    call = _CURRENT.get()
    return call.principal if call is not None else ANYBODY


def note(**facts: str | int) -> None:
    """Adds facts to the record of the current call; nothing about people."""
    call = _CURRENT.get()
    if call is not None:
        call.facts.update(facts)


def current_request_id() -> str:
    """The id of the request that this task works for; empty outside of one."""
    call = _CURRENT.get()
    return call.request_id if call is not None else ""


def outgoing_metadata() -> Metadata:
    """Metadata to send with a call on behalf of the current one."""
    call = _CURRENT.get()
    return ((REQUEST_ID, call.request_id), *call.passed_on) if call is not None else ()
