"""What a caller is told who is not let in, or not that far.

RouterError
+-- Unauthenticated       no key, or none that holds                     UNAUTHENTICATED
+-- RoleMissing           the key has not the role the method needs      PERMISSION_DENIED
+-- RateLimited           the key is used more than it may be            RESOURCE_EXHAUSTED
+-- NothingMarked         one person is asked for, and no name is marked  PERMISSION_DENIED
+-- PersonalData          a question tests what its key may not see      PERMISSION_DENIED
+-- PrivacyChanged        other routers changed it all the time          ABORTED
+-- AuditFailed           what was done cannot be kept                   UNAVAILABLE
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cdp_router.errors import RouterError

REFUSALS: Final = frozenset(
    ("KEY_MISSING", "KEY_MALFORMED", "KEY_UNKNOWN", "KEY_EXPIRED", "KEY_REVOKED", "ROLE_MISSING", "RATE_LIMITED")
)


class Unauthenticated(RouterError):
    """The call came without a key that holds; `reason` tells which it was."""

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


class RoleMissing(RouterError):
    """The key is good, but not for this."""

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
    """What must be kept of a call cannot be; a call that begins is refused, one that has ended is not answered."""

    reason = "AUDIT_UNWRITABLE"


class RateLimited(RouterError):
    """The key is used more than it may be; nothing was done, and after `retry_after_ms` it may be used again."""

    reason = "RATE_LIMITED"

    def __init__(self, key: str, limit: str, retry_after_ms: int) -> None:
        super().__init__(f"the key {key} may be used for {limit}; send again after {retry_after_ms} ms")
        self.key, self.limit, self.retry_after_ms = key, limit, retry_after_ms

    @property
    def facts(self) -> Mapping[str, str]:
        return {"key": self.key, "limit": self.limit, "retry_after_ms": str(self.retry_after_ms)}


class PersonalData(RouterError):
    """A question tests a value that is personal, and its key may not see one person."""

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
    """A key without profile-read asks for a person, and nobody has said yet which values are personal."""

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
    """What is withheld was changed by others again and again; nothing was changed here."""

    reason = "PRIVACY_CHANGED"

    def __init__(self) -> None:
        super().__init__("other changes of what is withheld came first each time; try again")
