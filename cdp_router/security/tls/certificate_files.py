"""The files of certificates, watched for usable replacements."""

from __future__ import annotations

import logging
import ssl
import threading
from pathlib import Path
from typing import Final

from cdp_router.security.keys.unusable import CredentialsUnusable
from cdp_router.security.tls.tls import Tls, pem

_LOG: Final = logging.getLogger(__name__)
_Stamp = tuple[int, int, int] | None  # of a file: its time of writing, size and number; None: there is none


class CertificateFiles:
    """The certificate files of a process, in their last known state; several threads may use it."""

    def __init__(self, tls: Tls) -> None:
        self._tls, self._lock = tls, threading.Lock()
        self._used = self._looked_at = _stamps(tls)

    def have_changed(self) -> bool:
        """True if the files changed since this was last true, and fit together.

        A certificate and its key are replaced one after the other: until they fit, the old ones stay in use.
        """
        with self._lock:
            stamps = _stamps(self._tls)
            if stamps in (self._used, self._looked_at):
                return False
            self._looked_at = stamps
            problem = _problem(self._tls)
            if problem:
                _LOG.warning("certificates have changed and cannot be used, the old ones stay in use: %s", problem)
                return False
            if _stamps(self._tls) != stamps:
                return False  # changed while they were read: the next check decides
            self._used = stamps
        _LOG.info("certificates have changed: new connections use the new ones")
        return True


def _problem(tls: Tls) -> str:
    """Problem that makes certificates unusable; empty if there is none."""
    try:
        for path in filter(None, (tls.certificate, tls.key, tls.ca)):
            pem(path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
        if tls.ca is not None:
            context.load_verify_locations(tls.ca)
    except (CredentialsUnusable, OSError) as error:  # ssl.SSLError is an OSError
        return str(error)
    return ""


def _stamps(tls: Tls) -> tuple[_Stamp, ...]:
    return tuple(_stamp(path) for path in (tls.certificate, tls.key, tls.ca) if path is not None)


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
