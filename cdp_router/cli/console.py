"""What all commands share: where to print, where the cluster is, and how errors end a command."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from cdp_router.as_of import as_of_stamp
from cdp_router.client import Client, ClusterUnreachable, RequestFailed
from cdp_router.client.credentials import TLS_CA, TLS_CERT, TLS_KEY
from cdp_router.limits import DEFAULT_PORT
from cdp_router.security.unusable import CredentialsUnusable

_PIPE_WIDTH: Final = 1000  # what goes into a pipe or file must not be cut to the width of a terminal
# Names and values come from data and questions: none of their characters may be taken for markup.
OUT: Final = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
ERR: Final = Console(stderr=True, highlight=False, markup=False, emoji=False)

Address = Annotated[
    str, typer.Option("--address", envvar="CDP_ADDRESS", help="Where the cluster's router listens.", show_default=True)
]
DEFAULT_ADDRESS: Final = f"127.0.0.1:{DEFAULT_PORT}"
_Pem = Path | None
TlsCert = Annotated[_Pem, typer.Option("--tls-cert", envvar=TLS_CERT, help="PEM file: the certificate to show.")]
TlsKey = Annotated[_Pem, typer.Option("--tls-key", envvar=TLS_KEY, help="PEM file: the key of --tls-cert.")]
TlsCa = Annotated[_Pem, typer.Option("--tls-ca", envvar=TLS_CA, help="PEM file: the authorities to believe.")]


def fail(message: str, code: int = 1) -> NoReturn:
    """End the command with one message on standard error."""
    ERR.print(f"error: {message}", soft_wrap=True)
    raise typer.Exit(code)


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """A client; whatever goes wrong with the cluster ends the command with one message."""
    if ":" not in address:
        fail(f"--address {address!r} must be host:port, such as {DEFAULT_ADDRESS}", 2)
    with _client(address) as client:
        try:
            yield client
        except (ClusterUnreachable, RequestFailed) as error:
            fail(str(error))
        except BrokenPipeError:
            # The reader of our output, such as `head`, has seen enough.
            sys.stderr.close()
            raise typer.Exit(0) from None


def _client(address: str) -> Client:
    """A client with the key and the certificates of the environment, where the options of `cdp` itself are too."""
    try:
        return Client(address)
    except CredentialsUnusable as error:
        fail(str(error), 2)


def parse_instant(text: str, option: str) -> datetime:
    """An instant from an ISO date or time; without a zone it is UTC."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option} {text!r} is no date or time; write 2026-01-31 or 2026-01-31T10:00:00Z", 2)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def parse_as_of(text: str, tz: str) -> Timestamp:
    """The instant a question is asked about; without a zone of its own it is in the question's."""
    try:
        return as_of_stamp(text, tz)
    except ValueError as error:
        fail(f"--as-of {text!r}: {error}", 2)


# What numbers, times, true and false, lists and labels of our own look like; and texts that are hard to see at all.
_READS_OTHERWISE = re.compile(
    r'\s.*|.*\s||[\[{("].*|true|false|null|[+-]?(inf|nan|[0-9.]+(e[+-]?[0-9]+)?)|[0-9]{4}-[0-9]{2}-.*', re.S | re.I
)


def plain(value: object) -> str:
    """A value as people read it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)


def value_label(value: object) -> str:
    """A value of a row such that no two look alike: a text that reads like something else stands in quotes."""
    match value:
        case None:
            return "(none)"
        case str():
            return json.dumps(value, ensure_ascii=False) if _READS_OTHERWISE.fullmatch(value) else value
        case list() | dict():
            return json.dumps(value, ensure_ascii=False, default=plain)
    return plain(value)


def text_of(path: Path, named: str) -> str:
    """The text of a file that an argument or option names; ends the command where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        fail(f"{named} {path}: {error.strerror}", 2)
    except UnicodeDecodeError as error:
        fail(f"{named} {path}: {error}", 2)
