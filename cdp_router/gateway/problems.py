"""Problems that a request can end with instead of an answer; SDKs read `code` and `message` of the body."""

from __future__ import annotations

from cdp_router.gateway.http_limits import RETRY_AFTER_SECONDS


class Problem(Exception):
    """A request cannot be answered; `code` is stable, `message` names the fault and the remedy."""

    def __init__(self, status: int, code: str, message: str, retry_after_seconds: int = 0) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.retry_after_seconds = retry_after_seconds


def busy(message: str, retry_after_seconds: float = 0.0, code: str = "unavailable") -> Problem:
    """The request may be sent again a little later; nothing is lost."""
    # Whole seconds, and not many: few clients read the header, and those that do wait as long as it states.
    seconds = min(5, max(1, round(retry_after_seconds or RETRY_AFTER_SECONDS)))
    return Problem(503, code, message, seconds)


def too_large(message: str) -> Problem:
    """The request exceeds a bound that no client of the public SDKs reaches."""
    return Problem(413, "payload_too_large", message)


def malformed(message: str) -> Problem:
    """No part of the request can be read."""
    return Problem(400, "invalid_request", message)


def key_unknown(*, is_missing: bool = False) -> Problem:
    """No source has this write key."""
    message = "no write key was sent: send it as the library does, or as `Authorization: Bearer KEY`"
    return Problem(401, "invalid_write_key", message if is_missing else "invalid write key")
