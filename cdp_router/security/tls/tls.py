"""Certificates of a process: its own, and the authorities that it trusts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc

from cdp_router.security.keys.unusable import CredentialsUnusable


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files. `certificate` and `key` identify the process; `ca` holds the authorities that it trusts.

    A client without `ca` trusts the authorities that come with gRPC.
    """

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise CredentialsUnusable("a certificate and its key go together: --tls-cert and --tls-key")

    def check_server(self, *, clients_show_certificates: bool) -> None:
        """Raises CredentialsUnusable if files that a server needs are not named."""
        if self.certificate is None or self.key is None:
            raise CredentialsUnusable("a server needs a certificate and its key: --tls-cert and --tls-key")
        if clients_show_certificates and self.ca is None:
            raise CredentialsUnusable("checking certificates of clients needs an authority: give --tls-ca")

    def channel(self) -> grpc.ChannelCredentials:
        """Credentials of a client; CredentialsUnusable if files are missing or no PEM."""
        shown = (pem(self.key), pem(self.certificate)) if self.certificate and self.key else (None, None)
        return grpc.ssl_channel_credentials(pem(self.ca) if self.ca is not None else None, *shown)


def pem(path: Path) -> bytes:
    """The content of a PEM file; CredentialsUnusable if it is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CredentialsUnusable(f"{path} cannot be read: {error.strerror}") from error
    # gRPC accepts anything, and then refuses every connection without a reason.
    if b"-----BEGIN " not in content:
        raise CredentialsUnusable(f"{path} is no PEM file")
    return content
