"""Typed errors of calls from a client to a cluster, and the backoff between attempts."""

from __future__ import annotations

import random
from typing import Any, Final

import grpc
from google.rpc import error_details_pb2, status_pb2

from cdp_router.client.results import Answer

RETRYABLE: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,  # on the server: the deadline passed there slightly earlier than here
)
BACKOFF_SECONDS_MIN: Final = 0.05
BACKOFF_SECONDS_MAX: Final = 2.0
_SPREAD: Final = 0.5  # of each wait, added at random


class RequestFailed(Exception):
    """The cluster answered with an error: `code` is the gRPC code, `reason` its stable name.

    `field` is the field of the request that caused it. `request_id` identifies the call in the cluster's logs. Either
    may be empty.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: str,
        retry_after_seconds: float,
        field: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.reason = code, message, reason
        self.retry_after_seconds, self.field, self.request_id = retry_after_seconds, field, request_id


class ClusterUnreachable(Exception):
    """No server at this address, or its certificate is not trusted."""

    def __init__(self, address: str, details: str = "") -> None:
        super().__init__(_unreachable(address, details))
        self.address = address


def _unreachable(address: str, details: str) -> str:
    if "handshake failed" in details:
        return f"{address} does not use TLS, or its certificate is not trusted here; see --tls-ca"
    if "Socket closed" in details:
        return (
            f"{address} ended the connection; if clients must show certificates, give --tls-ca, --tls-cert and "
            "--tls-key"
        )
    if "Failed parsing HTTP/2" in details or "http1.x server" in details:
        return f"{address} speaks HTTP, as a gateway does. Give --address of a router; `cdp up` prints it"
    return f"no cluster answers at {address}. Start one with `cdp up`, or give --address"


Failure = RequestFailed | ClusterUnreachable


def failure_of(error: Any, address: str) -> Failure:
    """The typed error of a grpc.RpcError."""
    details = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            details = status_pb2.Status.FromString(value)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    bad, request = error_details_pb2.BadRequest(), error_details_pb2.RequestInfo()
    for detail in details.details:
        for message in (info, retry, bad, request):
            detail.Unpack(message)
    if error.code() is grpc.StatusCode.UNAVAILABLE and not info.reason:
        return ClusterUnreachable(address, error.details() or "")
    return RequestFailed(
        error.code(),
        error.details() or error.code().name,
        info.reason,
        retry.retry_delay.ToTimedelta().total_seconds(),
        bad.field_violations[0].field if bad.field_violations else "",
        request.request_id,
    )


def told_count(answer: Answer) -> int:
    """The count of an answer; RequestFailed where it is withheld, since a number alone could not tell."""
    if "WITHHELD" in answer.flags and not answer.count:
        raise RequestFailed(
            grpc.StatusCode.PERMISSION_DENIED,
            f"the number is withheld: fewer than {answer.withheld_below} users are in the segment, or "
            "outside it; a key with the role profile-read sees it",
            "COUNT_WITHHELD",
            0.0,
        )
    return answer.count


class Backoff:
    """Waits before attempts, which double up to a limit, and the time to give up; in seconds of a monotonic clock."""

    def __init__(self, now: float, give_up_seconds: float) -> None:
        self._give_up_at, self._wait = now + give_up_seconds, BACKOFF_SECONDS_MIN

    def next(self, code: grpc.StatusCode, failure: Failure, now: float) -> float | None:
        """Seconds to wait after a batch has failed; None if the failure is to be reported."""
        return self._next(failure, now) if code in RETRYABLE else None

    def next_question(self, failure: Failure, now: float) -> float | None:
        """The same after a question: only a busy cluster is asked again; a missing shard is reported at once."""
        is_busy = isinstance(failure, RequestFailed) and failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        return self._next(failure, now) if is_busy and _asked(failure) else None

    def _next(self, failure: Failure, now: float) -> float | None:
        wait, self._wait = max(self._wait, _asked(failure)), min(self._wait * 2, BACKOFF_SECONDS_MAX)
        # A thousand clients that failed at the same moment must not all return at the same moment.
        wait *= 1.0 + random.random() * _SPREAD
        return wait if now + wait <= self._give_up_at else None


def _asked(failure: Failure) -> float:
    return failure.retry_after_seconds if isinstance(failure, RequestFailed) else 0.0
