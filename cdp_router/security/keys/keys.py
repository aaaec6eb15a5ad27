"""API keys: how one is made, stored and checked.

A key is `cdp_<id>_<secret>`. Only a hash of it is kept, and a fast one is enough: the secret is 256 random bits, so
there is no list of likely secrets that a slow hash would protect. The id, which is no secret, salts the hash.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from cdp_router.errors import Unauthenticated
from cdp_router.rpc.principal import Principal, Role

KEY_CHARS_MAX: Final = 128  # more is refused before anything is computed from it
_PREFIX: Final = "cdp_"
_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_HASH_BYTES: Final = 32
_NO_HASH: Final = "0" * 2 * _HASH_BYTES


class StoredKey(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Stored form of a key."""

    id: str
    name: str
    roles: tuple[Role, ...]
    hash: str
    created_ms: int
    expires_ms: int | None = None
    revoked_ms: int | None = None
    calls_per_second: float | None = None
    events_per_second: float | None = None
    anonymous_ids: str = ""  # a regular expression: PostHog's ids of unknown people

    def is_active(self, now_ms: int) -> bool:
        """True if the key is valid now."""
        return self.revoked_ms is None and (self.expires_ms is None or now_ms < self.expires_ms)

    def state(self, now_ms: int) -> str:
        """State of the key."""
        if self.revoked_ms is not None:
            return "revoked"
        return "active" if self.is_active(now_ms) else "expired"

    def principal(self) -> Principal:
        """Principal of calls with this key."""
        return Principal(self.id, self.name, frozenset(self.roles), self.calls_per_second, self.events_per_second)


def mint(
    name: str,
    roles: Sequence[Role],
    now_ms: int,
    expires_ms: int | None = None,
    calls_per_second: float | None = None,
    events_per_second: float | None = None,
) -> tuple[str, StoredKey]:
    """A new key, which is shown once, and its stored form."""
    key_id = secrets.token_hex(_ID_BYTES)
    key = f"{_PREFIX}{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    kept = tuple(role for role in Role if role in roles)
    digest = _hash(key, key_id)
    return key, StoredKey(
        key_id,
        name,
        kept,
        digest,
        now_ms,
        expires_ms,
        calls_per_second=calls_per_second,
        events_per_second=events_per_second,
    )


def authenticate(keys: Mapping[str, StoredKey], shown: str, now_ms: int) -> StoredKey:
    """The stored key of the one shown; Unauthenticated if it is none of `keys`, or no longer valid."""
    if len(shown) > KEY_CHARS_MAX or not shown.startswith(_PREFIX) or not shown.isascii():
        raise Unauthenticated("KEY_MALFORMED", "what was given is no API key: those begin with cdp_")
    key_id = shown.removeprefix(_PREFIX).partition("_")[0]
    stored = keys.get(key_id)
    # An unknown id takes as long as a known one.
    expected = stored.hash if stored is not None else _NO_HASH
    is_right = hmac.compare_digest(_hash(shown, key_id), expected)
    if stored is None or not is_right:
        raise Unauthenticated("KEY_UNKNOWN", "the API key is not known here")
    # Reveal details only to callers that hold the secret.
    if stored.revoked_ms is not None:
        raise Unauthenticated("KEY_REVOKED", f"the API key {stored.id} ({stored.name}) was revoked")
    if not stored.is_active(now_ms):
        raise Unauthenticated("KEY_EXPIRED", f"the API key {stored.id} ({stored.name}) has expired")
    return stored


def _hash(key: str, key_id: str) -> str:
    salt = key_id.encode()[: hashlib.blake2b.SALT_SIZE]
    return hashlib.blake2b(key.encode(), digest_size=_HASH_BYTES, salt=salt, person=b"cdp API key").hexdigest()
