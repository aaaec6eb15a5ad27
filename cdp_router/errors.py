"""Error tree of the router, each with the gRPC status it becomes (status.py does the translation).

RouterError
+-- RequestInvalid        a field of a request cannot be used            INVALID_ARGUMENT
+-- ProfileNotFound       no profile has this identifier                 NOT_FOUND
+-- WrongCluster          routed under another cluster's identity        FAILED_PRECONDITION
+-- ShardUnavailable      shards, and so partitions, cannot be reached   UNAVAILABLE
+-- DeadlineMissed        a shard did not answer in time                 DEADLINE_EXCEEDED
+-- Overloaded            more bytes in flight than allowed              RESOURCE_EXHAUSTED
"""

from __future__ import annotations

from collections.abc import Sequence


class RouterError(Exception):
    """Base of the router's own errors; `reason` is stable for machines."""

    reason = "ROUTER_ERROR"


class RequestInvalid(RouterError):
    """A request field cannot be used; nothing was changed."""

    reason = "REQUEST_INVALID"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field, self.problem = field, problem


class ProfileNotFound(RouterError):
    """No profile is known by this identifier."""

    reason = "PROFILE_NOT_FOUND"

    def __init__(self, kind: str, value: str) -> None:
        super().__init__(f"no profile has {kind} {value!r}")
        self.kind, self.value = kind, value


class WrongCluster(RouterError):
    """The request was routed for another cluster."""

    reason = "WRONG_CLUSTER"

    def __init__(self, asked: str, own: str) -> None:
        super().__init__(f"this shard belongs to cluster {own}, the request to {asked}; check the router's addresses")


class ShardUnavailable(RouterError):
    """Some shards cannot be reached; with them these partitions are missing."""

    reason = "SHARD_UNAVAILABLE"

    def __init__(self, problems: Sequence[str], partitions: Sequence[int]) -> None:
        listed = ", ".join(map(str, partitions))
        super().__init__(f"{'; '.join(problems)}: partitions {listed} are missing. Try again, or see `cdp status`")
        self.problems, self.partitions = tuple(problems), tuple(partitions)


class DeadlineMissed(RouterError):
    """The deadline passed before every shard had answered."""

    reason = "DEADLINE_EXCEEDED"


class Overloaded(RouterError):
    """Too much is in flight; the client should wait `retry_after_ms` and send again."""

    reason = "OVERLOADED"

    def __init__(self, what: str, retry_after_ms: int) -> None:
        super().__init__(f"{what}; send again after {retry_after_ms} ms")
        self.retry_after_ms = retry_after_ms
