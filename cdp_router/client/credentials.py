"""Credentials of a client: its API key, and the TLS files for its connection."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from cdp_router.rpc.call import Metadata
from cdp_router.security.keys.unusable import CredentialsUnusable
from cdp_router.security.tls.tls import Tls

API_KEY: Final = "CDP_API_KEY"
TLS: Final = "CDP_TLS"
TLS_CERT: Final = "CDP_TLS_CERT"
TLS_KEY: Final = "CDP_TLS_KEY"
TLS_CA: Final = "CDP_TLS_CA"
_KEY_CHARS_MAX: Final = 1024


def authorization(api_key: str | None) -> Metadata:
    """Metadata of calls for an API key: the given one, else that in CDP_API_KEY; empty without any.

    Raises CredentialsUnusable for a text that cannot be a key, such as one read from a file with its line end.
    """
    key = os.environ.get(API_KEY, "") if api_key is None else api_key
    if not key:
        return ()
    if not (key.isascii() and key.isprintable() and " " not in key) or len(key) > _KEY_CHARS_MAX:
        raise CredentialsUnusable("this is not an API key: a key is one short word that begins with cdp_")
    return (("authorization", f"Bearer {key}"),)


def tls_of_environment() -> Tls | None:
    """The certificates that CDP_TLS_CERT, CDP_TLS_KEY and CDP_TLS_CA name; CDP_TLS alone encrypts connections."""
    certificate, key, ca = (
        Path(os.environ[name]) if os.environ.get(name) else None for name in (TLS_CERT, TLS_KEY, TLS_CA)
    )
    is_wanted = os.environ.get(TLS, "") not in ("", "0")
    return Tls(certificate, key, ca) if certificate or key or ca or is_wanted else None
