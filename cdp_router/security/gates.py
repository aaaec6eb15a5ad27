"""The gates of the call chain: a router's checks API keys, a shard's the cluster's secret."""

from __future__ import annotations

import hmac
from typing import Final

import grpc

from cdp_router.errors import RoleMissing, Unauthenticated
from cdp_router.rpc.call import Call
from cdp_router.security.access import LET_IN, NEEDED
from cdp_router.security.keys.key_file import KeyFile
from cdp_router.security.keys.keys import authenticate
from cdp_router.security.keys.rates import Rates
from cdp_router.security.tls.cluster_secrets import SECRET_HEADER
from cdp_store.outside.seams import Clock

AUTHORIZATION: Final = "authorization"
SCHEME: Final = "bearer "


class KeyGate:
    """Admits callers whose key has the role that the method needs; everybody while there is no file of keys."""

    def __init__(self, file: KeyFile, clock: Clock, rates: Rates | None = None) -> None:
        self._file, self._clock, self._rates = file, clock, rates or Rates()

    def admit(self, call: Call, metadata: grpc.aio.Metadata) -> None:
        """Checks the key of a call, and records its principal in the call."""
        keys = self._file.keys()
        if keys is None:
            return
        key = authenticate(keys, _shown(metadata), self._clock.now_ms())
        call.principal = key.principal()
        role = NEEDED.get(call.path)
        if role is None or LET_IN[call.path].isdisjoint(key.roles):
            raise RoleMissing(f"{call.service}/{call.method}", role or "none: it is not served", key.id)
        self._rates.admit_call(call.principal)

    def renew(self, call: Call) -> None:
        """Checks between two messages of a stream that the key is still valid."""
        keys = self._file.keys()
        if keys is None:
            return
        key = keys.get(call.principal.key)
        if key is None or not key.is_active(self._clock.now_ms()):
            raise Unauthenticated("KEY_REVOKED", f"the API key {call.principal.key} is no longer valid")


class ClusterGate:
    """Admits processes of this cluster."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def admit(self, call: Call, metadata: grpc.aio.Metadata) -> None:
        """Checks the secret."""
        shown = [value for key, value in metadata if key == SECRET_HEADER]
        given = shown[0].encode() if len(shown) == 1 and isinstance(shown[0], str) else b""
        if not hmac.compare_digest(given, self._secret):
            raise Unauthenticated("CLUSTER_SECRET_MISSING", "shards answer their routers only; ask a router")

    def renew(self, call: Call) -> None:
        """Does nothing: the secret of a cluster never changes."""


def _shown(metadata: grpc.aio.Metadata) -> str:
    """The key sent with a call."""
    shown = [value for key, value in metadata if key == AUTHORIZATION]
    if not shown:
        problem = "an API key is needed: send it as `authorization: Bearer KEY`, or set CDP_API_KEY for cdp and the SDK"
        raise Unauthenticated("KEY_MISSING", problem)
    value = shown[0]
    if len(shown) > 1 or not isinstance(value, str) or value[: len(SCHEME)].lower() != SCHEME:
        raise Unauthenticated("KEY_MALFORMED", "one header `authorization: Bearer KEY` is expected")
    return value[len(SCHEME) :]
