"""Changes of the list of keys: a key made, replaced, revoked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from cdp_router.rpc.principal import Role
from cdp_router.security.keys.keys import StoredKey, mint
from cdp_store.limits import NAME_BYTES_MAX

Result = TypeVar("Result")
_IN_USE_MAX: Final = 2  # of one name: the old one and the new one during a change-over


class KeyRefused(Exception):
    """The requested change of the keys is impossible; nothing was changed."""


class KeyList:
    """Keys while they are changed."""

    def __init__(self, known: Mapping[str, StoredKey]) -> None:
        self._keys = dict(known)

    @property
    def is_empty(self) -> bool:
        """True if there never was a key: then routers require none."""
        return not self._keys

    def after(self, work: Callable[[KeyList], Result]) -> tuple[Result, Mapping[str, StoredKey]]:
        """Result of `work`, and the keys after it."""
        return work(self), self._keys

    def create(
        self,
        name: str,
        roles: Sequence[Role],
        now_ms: int,
        expires_ms: int | None,
        calls_per_second: float | None,
        events_per_second: float | None,
        anonymous_ids: str = "",
    ) -> str:
        """Makes a key under a name that no key in use has."""
        if not 0 < len(name.encode(errors="replace")) <= NAME_BYTES_MAX or not name.isprintable():
            raise KeyRefused(f"a name is 1 to {NAME_BYTES_MAX} bytes of printable text")
        if self._in_use(name, now_ms):
            raise KeyRefused(f"a key named {name!r} is in use; replace it with `cdp keys rotate`, or use another name")
        made, stored = mint(name, roles, now_ms, expires_ms, calls_per_second, events_per_second)
        self._keys[stored.id] = msgspec.structs.replace(stored, anonymous_ids=anonymous_ids)
        return made

    def revoke(self, which: str, now_ms: int) -> StoredKey:
        """Ends a key, given by its id or by a name that one key in use has."""
        found = self._keys.get(which) or self._one(which, now_ms)
        if found.revoked_ms is not None:
            raise KeyRefused(f"the key {found.id} ({found.name}) was revoked before")
        self._keys[found.id] = revoked = msgspec.structs.replace(found, revoked_ms=now_ms)
        return revoked

    def limit(
        self, which: str, now_ms: int, calls_per_second: float | None, events_per_second: float | None
    ) -> StoredKey:
        """Changes the rates of a key, given by its id or by a name that one key in use has."""
        found = self._keys.get(which) or self._one(which, now_ms)
        limited = msgspec.structs.replace(found, calls_per_second=calls_per_second, events_per_second=events_per_second)
        self._keys[found.id] = limited
        return limited

    def rotate(
        self,
        name: str,
        now_ms: int,
        expires_ms: int | None,
        old_expires_ms: int | None,
        anonymous_ids: str | None = None,
    ) -> tuple[str, StoredKey]:
        """Makes a second key of a name, and sets an end for the first, if requested."""
        in_use = self._in_use(name, now_ms)
        if len(in_use) >= _IN_USE_MAX:
            ids = " and ".join(key.id for key in in_use)
            raise KeyRefused(f"{ids} are both in use as {name!r}; revoke one of them first")
        old = self._one(name, now_ms)
        made, stored = mint(name, old.roles, now_ms, expires_ms, old.calls_per_second, old.events_per_second)
        pattern = old.anonymous_ids if anonymous_ids is None else anonymous_ids
        stored = msgspec.structs.replace(stored, anonymous_ids=pattern)
        if old_expires_ms is not None:
            old = msgspec.structs.replace(old, expires_ms=min(old_expires_ms, old.expires_ms or old_expires_ms))
        self._keys[old.id], self._keys[stored.id] = old, stored
        return made, old

    def _in_use(self, name: str, now_ms: int) -> list[StoredKey]:
        return [key for key in self._keys.values() if key.name == name and key.is_active(now_ms)]

    def _one(self, name: str, now_ms: int) -> StoredKey:
        in_use = self._in_use(name, now_ms)
        if len(in_use) > 1:
            ids = ", ".join(key.id for key in in_use)
            raise KeyRefused(f"several keys in use are named {name!r}: {ids}; give the id")
        if not in_use:
            raise KeyRefused(f"no key in use has the id or name {name!r}; see `cdp keys list`")
        return in_use[0]


def listed(keys: Mapping[str, StoredKey], now_ms: int) -> str:
    """Keys as JSON, without their hashes."""
    rows = []
    for key in keys.values():
        row = msgspec.to_builtins(key)
        del row["hash"]
        rows.append({**row, "state": key.state(now_ms)})
    return msgspec.json.format(msgspec.json.encode(rows), indent=2).decode()
