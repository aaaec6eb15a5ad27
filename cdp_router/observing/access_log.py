"""One line for each call, or only for those that failed by the fault of the cluster."""

from __future__ import annotations

import logging
from typing import Final

import grpc

from cdp_router.rpc.call import Call

_LOG = logging.getLogger("cdp.access")
_OWN_FAULTS: Final = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


class AccessLog:
    """An observer of calls."""

    def __init__(self, *, every: bool) -> None:
        self._every = every

    def began(self, call: Call, metadata: grpc.aio.Metadata) -> None:
        """Does nothing: a call is logged at its end."""

    def ended(self, call: Call, seconds: float) -> None:
        """Logs a call that has ended."""
        is_fault = call.code in _OWN_FAULTS
        if not (is_fault or self._every):
            return
        extra: dict[str, object] = {
            "service": call.service,
            "method": call.method,
            "code": call.code.name,
            "milliseconds": round(seconds * 1000, 3),
            "request_id": call.request_id,
        }
        if call.principal.key:
            extra["key"] = call.principal.key
        if call.previous_attempts:
            extra["previous_attempts"] = call.previous_attempts
        _LOG.log(logging.WARNING if is_fault else logging.INFO, "call", extra=extra)
