"""Decides by the headers alone which callers may ask, before a byte of the question is read."""

from __future__ import annotations

from collections.abc import Mapping

from cdp_router.errors import Unauthenticated
from cdp_router.security.access import LET_IN
from cdp_router.security.gates import AUTHORIZATION, SCHEME
from cdp_router.security.keys.key_file import KeyFile
from cdp_router.security.keys.keys import authenticate
from cdp_store.outside.seams import Clock


class AskingKeys:
    """Checks API keys against the file that routers read, which here may be an older copy."""

    def __init__(self, file: KeyFile, clock: Clock) -> None:
        self._file, self._clock = file, clock

    def admits(self, method: str, headers: Mapping[str, str]) -> bool:
        """True if a key among the headers has a role that the method needs; otherwise a router decides."""
        keys = self._file.keys()
        if keys is None:
            return True
        shown = headers.get(AUTHORIZATION, "")
        if shown[: len(SCHEME)].lower() != SCHEME:
            return False
        try:
            key = authenticate(keys, shown[len(SCHEME) :], self._clock.now_ms())
        except Unauthenticated:
            return False
        return not LET_IN[method].isdisjoint(key.roles)
