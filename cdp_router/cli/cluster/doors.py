"""Common part of the commands that start processes: admission, and protection of connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cdp_router.cli.console import fail
from cdp_router.security.keys.unusable import CredentialsUnusable
from cdp_router.security.tls.loopback import is_loopback
from cdp_router.security.tls.tls import Tls

KeysFile = Annotated[
    Path | None,
    typer.Option(
        "--keys", envvar="CDP_KEYS", help="The file of API keys. [default: keys.json in the data directory, if any]"
    ),
]
AnyClient = Annotated[
    bool, typer.Option("--any-client", help="With --tls-ca: clients need no certificate, their API keys are enough.")
]
Insecure = Annotated[
    bool,
    typer.Option("--insecure", help="Listen on an address that others can reach, without encryption."),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        help="Without API keys: also serve HTTP under this host name, as behind a proxy; may be given several times. "
        "[default: localhost and loopback addresses only]",
    ),
]


def host_options(allowed: Sequence[str] | None) -> list[str]:
    """Arguments of a gateway for the names of --allow-host."""
    return [word for name in allowed or () for word in ("--allow-host", name)]


@dataclass(frozen=True, slots=True)
class Doors:
    """The options of one command."""

    keys: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    tls_ca: Path | None
    any_client: bool
    insecure: bool

    def check(self, address: str, data: Path) -> None:
        """End the command if others could reach an unprotected address."""
        self.check_encrypted(address)
        self.check_keys(address, data)

    def check_encrypted(self, address: str) -> None:
        """End the command if others could read the traffic, unless that is accepted."""
        try:
            Tls(self.tls_cert, self.tls_key, self.tls_ca)
        except CredentialsUnusable as error:
            fail(str(error), 2)
        if self.tls_ca is not None and self.tls_cert is None:
            fail("--tls-ca names the trusted authorities; give --tls-cert and --tls-key of this process as well", 2)
        host = _host(address)
        if not (self.insecure or self.tls_cert or is_loopback(host)):
            fail(
                f"{host} can be reached by others, and nothing is encrypted; give --tls-cert and --tls-key, or "
                "--insecure if its network is private",
                2,
            )

    def check_keys(self, address: str, data: Path) -> None:
        """End the command if others would be admitted without a key."""
        if self.keys is not None and not self.keys.exists():
            fail(f"--keys {self.keys} does not exist; make a key with `cdp keys create NAME --role ROLE`", 2)
        host, path = _host(address), self.keys or data / "keys.json"
        if not is_loopback(host) and not path.exists():
            fail(
                f"{host} can be reached by others, and there are no API keys at {path}: without keys only loopback "
                f"addresses are served. Make one first: `cdp keys create NAME --role ROLE --keys {path}`",
                2,
            )

    def shard_options(self) -> Sequence[str]:
        """Arguments of shards: certificates if there is an authority for those of their routers."""
        return self._tls_options() if self.tls_ca is not None else []

    def _tls_options(self) -> Sequence[str]:
        files = (("--tls-cert", self.tls_cert), ("--tls-key", self.tls_key), ("--tls-ca", self.tls_ca))
        return [word for name, path in files if path is not None for word in (name, str(path.resolve()))]

    def router_options(self) -> Sequence[str]:
        """Arguments of routers."""
        keys = ["--keys", str(self.keys.resolve())] if self.keys is not None else []
        return [*self._tls_options(), *keys, *(["--any-client"] if self.any_client else [])]


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")
