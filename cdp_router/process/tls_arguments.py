"""Arguments that name the certificates of a process."""

from __future__ import annotations

import argparse
from pathlib import Path

from cdp_router.security.tls.tls import Tls


def add_tls_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments for the files of a process's certificates."""
    for name in ("cert", "key", "ca"):
        parser.add_argument(f"--tls-{name}", type=Path)


def tls_of(arguments: argparse.Namespace) -> Tls | None:
    """The given certificates; CredentialsUnusable if some are missing."""
    files = arguments.tls_cert, arguments.tls_key, arguments.tls_ca
    return Tls(*files) if any(files) else None
