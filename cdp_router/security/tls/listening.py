"""Rules for the addresses where a router may listen, and the certificates of servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import grpc

from cdp_router.errors import RequestInvalid
from cdp_router.security.keys.unusable import CredentialsUnusable
from cdp_router.security.tls.certificate_files import CertificateFiles
from cdp_router.security.tls.loopback import is_loopback
from cdp_router.security.tls.tls import Tls, pem


def check_listening(address: str, *, has_keys: bool) -> None:
    """Raises RequestInvalid for an address that others can reach if no key is required."""
    host = address.rpartition(":")[0].strip("[]")
    if not has_keys and not is_loopback(host):
        raise RequestInvalid(
            "address",
            f"{host} can be reached by others, and no API keys are required: without keys only loopback addresses "
            "are served. Make a key first with `cdp keys create NAME --role ROLE --data DIRECTORY`",
        )


def server_credentials(tls: Tls, *, clients_show_certificates: bool) -> grpc.ServerCredentials:
    """Credentials of a server: the files at the time when a connection begins.

    Raises CredentialsUnusable if they are missing or no PEM at the start; later, the last ones read stay in use.
    """
    tls.check_server(clients_show_certificates=clients_show_certificates)
    files = CertificateFiles(tls)

    def read() -> grpc.ServerCertificateConfiguration:
        assert tls.certificate is not None and tls.key is not None, "checked above"
        ca = pem(tls.ca) if tls.ca is not None and clients_show_certificates else None
        return grpc.ssl_server_certificate_configuration([(pem(tls.key), pem(tls.certificate))], ca)

    def read_when_changed() -> grpc.ServerCertificateConfiguration | None:
        try:
            return read() if files.have_changed() else None
        except CredentialsUnusable:
            return None  # replaced once more meanwhile: the next connection reads again

    fetch = cast("Callable[[], grpc.ServerCertificateConfiguration]", read_when_changed)  # None: unchanged
    return grpc.dynamic_ssl_server_credentials(read(), fetch, clients_show_certificates)
