"""Error tree of the router, each with the gRPC status it becomes (`contract/status.py` translates them).

RouterError
+-- RequestInvalid        a field of a request cannot be used            INVALID_ARGUMENT
+-- RequestTooLarge       a batch stands for more than can be taken      INVALID_ARGUMENT
+-- ProfileNotFound       no profile has this identifier                 NOT_FOUND
+-- PersonChanged         a person's identifiers changed meanwhile      ABORTED
+-- SegmentNotFound       no segment, or no version of it, by this name   NOT_FOUND
+-- SegmentInUse          other segments name it                        FAILED_PRECONDITION
+-- SegmentsChanged       other routers changed segments all the time  ABORTED
+-- ErasuresChanged       other routers began or ended erasures meanwhile  ABORTED
+-- SchemaChanged         other routers changed the rules meanwhile     ABORTED
+-- RestoreRefused        a running cluster is not restored over         FAILED_PRECONDITION
+-- WrongCluster          routed under another cluster's identity        FAILED_PRECONDITION
+-- WrongEpoch            the partition map has changed since         ABORTED
+-- MoveRefused           a partition cannot be moved like that          FAILED_PRECONDITION
+-- ShardUnavailable      shards, and so partitions, cannot be reached   UNAVAILABLE
+-- ShuttingDown          the process stops and takes no new calls       UNAVAILABLE
+-- ViewsLost             a question's views are not held any more       UNAVAILABLE
+-- DeadlineMissed        a shard did not answer in time                 DEADLINE_EXCEEDED
+-- Overloaded            more bytes in flight than allowed              RESOURCE_EXHAUSTED
+-- Unauthenticated       no key, or none that holds                     UNAUTHENTICATED
+-- RoleMissing           the key has not the role the method needs      PERMISSION_DENIED
+-- RateLimited           the key is used more than it may be            RESOURCE_EXHAUSTED
+-- NothingMarked         one person is asked for, and no name is marked  PERMISSION_DENIED
+-- PersonalData          a question tests what its key may not see      PERMISSION_DENIED
+-- PrivacyChanged        other routers changed it all the time          ABORTED
+-- AuditFailed           what was done cannot be kept                   UNAVAILABLE

RecordInvalid stands alone: one record cannot be taken, and its request goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cdp_router.contract.partition_claims import PartitionClaim
    from cdp_store.records.rules import Rule


REFUSALS: Final = frozenset(
    ("KEY_MISSING", "KEY_MALFORMED", "KEY_UNKNOWN", "KEY_EXPIRED", "KEY_REVOKED", "ROLE_MISSING", "RATE_LIMITED")
)


class RecordInvalid(Exception):
    """One record is rejected; the others of its batch are not affected."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message

    @classmethod
    def of(cls, rule: Rule, **found: object) -> RecordInvalid:
        """The error of a record that breaks a rule; `found` is what its text says of the record."""
        return cls(rule.code, rule.said(**found))


class RouterError(Exception):
    """Base of the router's own errors; `reason` is stable for machines, `facts` are its details by name."""

    reason = "ROUTER_ERROR"

    @property
    def facts(self) -> Mapping[str, str]:
        """Variable parts of the message, by name; they hold no data of people."""
        return {}


class RequestInvalid(RouterError):
    """A request field cannot be used; nothing was changed."""

    reason = "REQUEST_INVALID"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field, self.problem = field, problem

    @property
    def facts(self) -> Mapping[str, str]:
        return {"field": self.field}


class RequestTooLarge(RequestInvalid):
    """A batch holds more records, values or bytes than one batch may; nothing was accepted, and a repeat of it is
    refused as well."""

    reason = "BATCH_TOO_LARGE"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, f"{problem}. Send smaller batches")


class ProfileNotFound(RouterError):
    """No profile is known by this identifier."""

    reason = "PROFILE_NOT_FOUND"

    def __init__(self, kind: str, value: str) -> None:
        super().__init__(f"no profile has {kind} {value!r}")
        self.kind, self.value = kind, value


class PersonChanged(RouterError):
    """A person's identifiers changed while everything about the person was being read."""

    reason = "PERSON_CHANGED"

    def __init__(self) -> None:
        super().__init__("the person was linked, unlinked or erased meanwhile: what was read is not whole; ask again")


class SegmentNotFound(RouterError):
    """No segment is known by this name, or it has no such version."""

    reason = "SEGMENT_NOT_FOUND"

    def __init__(self, name: str, hint: str = "", version: int | None = None) -> None:
        what = f"no segment is named {name!r}" if version is None else f"the segment {name!r} has no version {version}"
        super().__init__(f"{what}{'; ' if hint else ''}{hint}")
        self.name = name


class SegmentInUse(RouterError):
    """Other segments name the segment; nothing was changed."""

    reason = "SEGMENT_IN_USE"

    def __init__(self, name: str, users: Sequence[str]) -> None:
        listed = ", ".join(map(repr, users))
        super().__init__(f"the segment {name!r} is named by {listed}; delete or change those first")
        self.name, self.users = name, tuple(users)


class RestoreRefused(RouterError):
    """A restore replaces everything: it needs a standstill."""

    reason = "RESTORE_NEEDS_STANDSTILL"

    def __init__(self, source: str) -> None:
        super().__init__(
            "a running cluster is not restored over: what is acknowledged meanwhile would be lost. Restore beside it, "
            f"with `cdp restore --from {source or 'SOURCE'} --data DIRECTORY`, stop this cluster, and start the new "
            "one with `cdp up --data DIRECTORY`"
        )


class SegmentsChanged(RouterError):
    """Named segments were changed by others again and again; nothing was changed here."""

    reason = "SEGMENTS_CHANGED"

    def __init__(self) -> None:
        super().__init__("other changes of named segments came first each time; try again")


class ErasuresChanged(RouterError):
    """The list of erasures that have begun was changed by others again and again; nothing was erased."""

    reason = "ERASURES_CHANGED"

    def __init__(self) -> None:
        super().__init__("other erasures came first each time; nothing was erased: try again")


class SchemaChanged(RouterError):
    """The rules of the schema were changed by others again and again; nothing was changed here."""

    reason = "SCHEMA_CHANGED"

    def __init__(self) -> None:
        super().__init__("other changes of the schema came first each time; try again")


class WrongCluster(RouterError):
    """The request was routed for another cluster."""

    reason = "WRONG_CLUSTER"

    def __init__(self, asked: str, own: str) -> None:
        super().__init__(f"this shard belongs to cluster {own}, the request to {asked}; check the router's addresses")


class WrongEpoch(RouterError):
    """Partitions were requested under another epoch of the map than the shard's; `claims` are those of the shard.

    `strange` lists partitions that the shard has never held.
    """

    reason = "WRONG_EPOCH"

    def __init__(self, claims: Sequence[PartitionClaim], strange: Sequence[int] = ()) -> None:
        known = [f"{each.partition} (epoch {each.epoch}, shard {each.shard})" for each in claims]
        listed = ", ".join([*known, *(f"{each} (never on this shard)" for each in strange)])
        super().__init__(f"the partition map has changed since: partitions {listed}")
        self.claims = tuple(claims)


class MoveRefused(RouterError):
    """A partition cannot be moved as requested; nothing was changed."""

    reason = "MOVE_REFUSED"


class ShardUnavailable(RouterError):
    """Some shards cannot be reached; the answer lacks their partitions."""

    reason = "SHARD_UNAVAILABLE"

    def __init__(self, problems: Sequence[str], partitions: Sequence[int]) -> None:
        listed = ", ".join(map(str, partitions))
        super().__init__(f"{'; '.join(problems)}: partitions {listed} are missing. Try again, or see `cdp status`")
        self.problems, self.partitions = tuple(problems), tuple(partitions)

    @property
    def facts(self) -> Mapping[str, str]:
        return {"partitions": ",".join(map(str, self.partitions))}


class ShuttingDown(RouterError):
    """The process is stopping; another one, or the same after its restart, will answer."""

    reason = "SHUTTING_DOWN"

    def __init__(self) -> None:
        super().__init__("this process is shutting down; send again")


class ViewsLost(RouterError):
    """The views held for a question are gone."""

    reason = "VIEWS_LOST"

    def __init__(self, token: bytes) -> None:
        super().__init__(f"the views {token.hex()} are not held here any more; ask again")


class DeadlineMissed(RouterError):
    """The deadline passed before every shard had answered."""

    reason = "DEADLINE_EXCEEDED"


class Overloaded(RouterError):
    """Too much is in flight; the client should wait `retry_after_ms` and send again."""

    reason = "OVERLOADED"

    def __init__(self, what: str, retry_after_ms: int) -> None:
        super().__init__(f"{what}; send again after {retry_after_ms} ms")
        self.retry_after_ms = retry_after_ms

    @property
    def facts(self) -> Mapping[str, str]:
        return {"retry_after_ms": str(self.retry_after_ms)}


class Unauthenticated(RouterError):
    """The call came without a valid key; `reason` is the code of the cause."""

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


class RoleMissing(RouterError):
    """The key is valid, but lacks the role for this."""

    reason = "ROLE_MISSING"

    def __init__(self, method: str, role: str, key: str) -> None:
        super().__init__(
            f"the key {key} lacks the role {role}, which {method} needs. Whoever runs the cluster makes keys: "
            f"`cdp keys create NAME --role {role}`"
        )
        self.method, self.role, self.key = method, role, key

    @property
    def facts(self) -> Mapping[str, str]:
        return {"role": self.role, "method": self.method, "key": self.key}


class AuditFailed(RouterError):
    """The audit entry of a call cannot be written; a new call is refused, one that has ended is not answered."""

    reason = "AUDIT_UNWRITABLE"


class RateLimited(RouterError):
    """The key exceeds its rate; nothing was done, and after `retry_after_ms` it may be used again."""

    reason = "RATE_LIMITED"

    def __init__(self, key: str, limit: str, retry_after_ms: int) -> None:
        super().__init__(f"the key {key} may be used for {limit}; send again after {retry_after_ms} ms")
        self.key, self.limit, self.retry_after_ms = key, limit, retry_after_ms

    @property
    def facts(self) -> Mapping[str, str]:
        return {"key": self.key, "limit": self.limit, "retry_after_ms": str(self.retry_after_ms)}


class PersonalData(RouterError):
    """A question tests a personal value, and its key may not see one person."""

    reason = "PERSONAL_DATA"

    def __init__(self, name: str, marked: str | None = None) -> None:
        super().__init__(
            f"the values of {name!r} are personal: testing them or calculating with them needs a key with the role "
            f"profile-read; whether one is there may be asked, with exists({marked or name})"
        )
        self.name = name

    @property
    def facts(self) -> Mapping[str, str]:
        return {"name": self.name, "role": "profile-read"}


class NothingMarked(RouterError):
    """A key without profile-read asks for a person, but no names are marked as personal yet."""

    reason = "NOTHING_MARKED"

    def __init__(self) -> None:
        super().__init__(
            "keys without the role profile-read see no profiles until personal names are marked, as with "
            "`cdp privacy mark email`"
        )

    @property
    def facts(self) -> Mapping[str, str]:
        return {"role": "profile-read"}


class PrivacyChanged(RouterError):
    """Other calls changed the withheld names first each time; nothing was changed here."""

    reason = "PRIVACY_CHANGED"

    def __init__(self) -> None:
        super().__init__("other changes of what is withheld came first each time; try again")
