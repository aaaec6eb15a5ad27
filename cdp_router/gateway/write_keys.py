"""Sender of a request: the write key, from any of the places where SDKs put it, and its source."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cdp_router.errors import Unauthenticated
from cdp_router.gateway.http_limits import KEY_BYTES_MAX
from cdp_router.gateway.problems import Problem, key_unknown
from cdp_router.rpc.principal import ANYBODY, Principal, Role
from cdp_router.security.keys.key_file import KeyFile
from cdp_router.security.keys.keys import authenticate
from cdp_store.outside.seams import Clock

_KEY_FIELDS = ("writeKey", "api_key", "token")
NO_CREDENTIALS: Final = ("", "")
_ACCOUNT, _PASSCODE = "x-clevertap-account-id", "x-clevertap-passcode"


@dataclass(frozen=True, slots=True)
class Source:
    """An admitted sender; its name scopes message ids and names its dead letters.

    `api_key` is sent with the sender's batches to routers, which check it again; `principal` has its rates;
    `anonymous_ids` is the pattern of ids of unknown people, in addition to those that look generated.
    """

    name: str
    api_key: str = ""
    anonymous_ids: str = ""
    principal: Principal = ANYBODY


class Sources(Protocol):
    """Knows the write keys.

    While a key cannot be checked, or may be too new to be known, it must raise `problems.busy` and not report the key
    as unknown: clients drop requests answered with 401, and some of them end their program.
    """

    def source_of(self, key: str, secret: str) -> Source:
        """The source of a key, and of its secret if the dialect has one; Problem 401 if there is none."""


class AnySource:
    """Accepts every key as the name of a source: right only on the loopback address."""

    def __init__(self, anonymous_ids: str = "") -> None:
        self._anonymous_ids = anonymous_ids

    def source_of(self, key: str, secret: str) -> Source:
        """The source named like the key."""
        if not key or len(key.encode(errors="replace")) > KEY_BYTES_MAX:
            raise key_unknown(is_missing=not key)
        return Source(key, anonymous_ids=self._anonymous_ids)


class KeySources:
    """Write keys are API keys with the role ingest, from the file that routers read; any key if there is no file."""

    def __init__(
        self, file: KeyFile, clock: Clock, refused: Callable[[str], None] = lambda _: None, anonymous_ids: str = ""
    ) -> None:
        """`refused` is called with each key that is refused, in any thread; `anonymous_ids` applies to keys that have
        no pattern of their own."""
        self._file, self._clock, self._any, self._refused = file, clock, AnySource(anonymous_ids), refused
        self._anonymous_ids = anonymous_ids

    def source_of(self, key: str, secret: str) -> Source:
        """The source named like the API key, so that a key that replaces another one continues its messages."""
        keys = self._file.keys()
        if keys is None:
            return self._any.source_of(key, secret)
        # CleverTap's account is no secret; the passcode sent with it is.
        shown = secret or key
        try:
            found = authenticate(keys, shown, self._clock.now_ms())
        except Unauthenticated as error:
            self._refused(shown)
            raise key_unknown(is_missing=not shown) from error
        if Role.INGEST not in found.roles:
            self._refused(shown)
            raise Problem(403, "role_missing", f"the key {found.id} does not have the role ingest")
        return Source(found.name, shown, found.anonymous_ids or self._anonymous_ids, found.principal())


def credentials(headers: Mapping[str, str], query: Mapping[str, str], body: Any) -> tuple[str, str]:
    """(key, secret) as sent; empty if there is none."""
    account = headers.get(_ACCOUNT)
    if account:
        return account, headers.get(_PASSCODE, "")
    return next(_keys(headers, query, body), ""), ""


def _keys(headers: Mapping[str, str], query: Mapping[str, str], body: Any) -> Iterator[str]:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic" and (user := _basic_user(value)):
        yield user
    if scheme.lower() == "bearer" and value.strip():
        yield value.strip()
    if isinstance(body, dict):
        yield from _texts(body)
        properties = body.get("properties")
        if isinstance(properties, dict):
            yield from _texts(properties)
        batch = body.get("batch")
        if isinstance(batch, list) and batch and isinstance(batch[0], dict):
            yield from _keys({}, {}, batch[0])
    if isinstance(body, list) and body and isinstance(body[0], dict):
        yield from _keys({}, {}, body[0])
    yield from (query[name] for name in _KEY_FIELDS if query.get(name))


def _texts(values: Mapping[str, Any]) -> Iterator[str]:
    for name in _KEY_FIELDS:
        if isinstance(value := values.get(name), str) and value:
            yield value


def _basic_user(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return ""
