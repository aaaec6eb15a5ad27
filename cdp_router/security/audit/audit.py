"""Content of the audit: actions with their key and outcome; never the data of people.

| what | line |
|---|---|
| a method of the roles admin and erase that changes something | BEGUN, and its outcome: both synced before the answer |
| any other method of the roles admin, erase, query and profile-read | its outcome |
| a call refused for its key or role | the reason; above a rate they are only counted |
| an accepted batch | none: the log has it |
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from cdp.v1 import profile_pb2, query_pb2
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message

from cdp_router.errors import REFUSALS
from cdp_router.rpc.call import Call
from cdp_router.rpc.principal import Role
from cdp_router.security.access import NEEDED
from cdp_router.security.audit.audit_files import AuditFiles, Lock, anchor_path, claim_folder
from cdp_router.security.audit.audit_lines import Entry
from cdp_router.security.keys.token_bucket import TokenBucket
from cdp_store.ids import encode_identifier
from cdp_store.outside.seams import Clock, Files, OsFiles
from cdp_store.values import to_datetime

_REFUSED_PER_SECOND: Final = 10.0  # unknown callers must not fill the disk
_REFUSED_BURST: Final = 1000.0
_HASH_BYTES: Final = 16
_NAMING: Final = ("user_id", "anonymous_id", "other", "identifier", "profile", "name", "names")
_CHANGING_ROLES: Final = (Role.ADMIN, Role.ERASE)


def changes_something(path: str) -> bool:
    """True if a method changes anything, as the contract states."""
    method = Default().FindMethodByName(path.strip("/").replace("/", "."))
    return bool(method.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS)


def identifier_hash(secret: bytes, kind: str, value: str) -> str:
    """Hash that represents an identifier: without the secret nobody can test guesses of its owner."""
    return hashlib.blake2b(encode_identifier(kind, value), digest_size=_HASH_BYTES, key=secret).hexdigest()


class Audit:
    """The record of a router's calls; it claims its folder with the first line."""

    def __init__(
        self,
        root: Path,
        chain_secret: bytes,
        people_secret: bytes,
        clock: Clock,
        files: Files | None = None,
        began: Callable[[Sequence[Path]], None] | None = None,
    ) -> None:
        self._root, self._secret, self._people_secret, self._clock = root, chain_secret, people_secret, clock
        self._outside, self._began = files or OsFiles(), began  # called with the files that must exist from then on
        self._files: AuditFiles | None = None
        self._lock: Lock | None = None
        self._changes = {path for path, role in NEEDED.items() if role in _CHANGING_ROLES and changes_something(path)}
        self._refused = TokenBucket(_REFUSED_PER_SECOND, _REFUSED_BURST)
        self._unlisted = 0

    async def begun(self, call: Call) -> None:
        """Records that a change begins, before it does."""
        if call.principal.key and call.path in self._changes:
            await self._keep(call, "BEGUN", self._people(call.request), durable=True)

    async def ended(self, call: Call) -> None:
        """Records the outcome of a call."""
        if call.reason in REFUSALS:
            await self._keep_refusal(call)
            return
        role = NEEDED.get(call.path)
        if not call.principal.key or role is Role.INGEST:
            return
        facts = {**self._people(call.request), **call.facts}
        await self._keep(call, call.reason, facts, durable=call.path in self._changes)

    def close(self) -> None:
        """Closes the files."""
        if self._files is not None:
            self._files.close()
        if self._lock is not None:
            self._lock.release()

    async def _keep_refusal(self, call: Call) -> None:
        if self._refused.wait_seconds():
            self._unlisted += 1
            return
        self._refused.spend(1)
        facts = {"unlisted_before": self._unlisted} if self._unlisted else {}
        self._unlisted = 0
        await self._keep(call, call.reason, facts, durable=False)

    async def _keep(self, call: Call, outcome: str, facts: dict[str, Any], *, durable: bool) -> None:
        if self._files is None:
            self._lock = self._lock or claim_folder(self._root)
            self._files = AuditFiles(self._lock.folder, self._secret, self._outside)
            if self._began is not None:
                self._began([self._lock.folder, anchor_path(self._lock.folder)])
        at = to_datetime(self._clock.now_ms()).isoformat(timespec="milliseconds")
        method = f"{call.service.removeprefix('cdp.v1.')}/{call.method}"
        principal = call.principal
        entry = Entry(0, at, method, outcome, principal.key, principal.name, call.request_id, facts)
        self._files.append(entry)
        if durable:
            await asyncio.to_thread(self._files.sync)

    def _people(self, request: Message | None) -> dict[str, str]:
        """Subjects of a request: hashes of the identifiers it names."""
        found = [] if request is None else list(_identifiers(request))
        return {"people": " ".join(identifier_hash(self._people_secret, *each) for each in found)} if found else {}


def _identifiers(request: Message) -> list[tuple[str, str]]:
    """(kind, value) of the identifiers in a request, in the fields that hold them throughout the contract."""
    found = list[tuple[str, str]]()
    for field, value in request.ListFields():
        if field.name not in _NAMING:
            continue
        for each in value if field.is_repeated else (value,):
            if isinstance(each, query_pb2.Identifier):
                found.append((each.kind, each.value))
            elif isinstance(each, profile_pb2.ProfileName):
                found += _identifiers(each)
            elif isinstance(each, str) and field.name in ("user_id", "anonymous_id"):
                found.append((field.name, each))
    return found
