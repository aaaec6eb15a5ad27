"""Common part of all commands: output, the address of the cluster, and errors that end a command."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from cdp_router.client import Client, ClusterUnreachable, RequestFailed
from cdp_router.client.credentials import TLS_CA, TLS_CERT, TLS_KEY
from cdp_router.limits import DEFAULT_PORT
from cdp_router.printable import visible
from cdp_router.records.as_of import as_of_stamp
from cdp_router.security.keys.unusable import CredentialsUnusable

_FOUND_NOTHING: Final = 3  # exit code of a question that found no user and gave a warning


class SafeConsole(Console):
    """A console on which data cannot control the terminal: every command prints through one."""

    def render_str(self, text: str, *arguments: Any, **named: Any) -> Text:
        """The text as it is laid out, on one line: an end of line in data could make it look like two."""
        return super().render_str(visible(text), *arguments, **named)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments to write, with control characters made visible in texts from any source."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.is_control else visible(segment.text, lines=True)
            yield segment if text == segment.text else Segment(text, segment.style)


def print_json(message: Message, *, with_unset: bool = False) -> None:
    """Prints a message as JSON, in lines; unset fields only if wanted."""
    said = json_format.MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=with_unset
    )
    OUT.print(Text(said), soft_wrap=True)


def print_warnings(warnings: Iterable[str]) -> None:
    """Prints the warnings of an answer to standard error."""
    for warning in warnings:
        ERR.print(f"warning: {warning}", soft_wrap=True)


def end_with(warnings: Iterable[str], *, found: int) -> None:
    """Ends the command with the exit code of a warning that may explain why no user was found."""
    if list(warnings) and not found:
        raise typer.Exit(_FOUND_NOTHING)


def echo_exact(line: str) -> None:
    """Writes lines for programs: unchanged into a pipe or file, with visible controls on a terminal."""
    ExactOutput().write(f"{line}\n")  # not by `typer.echo`, which removes colours


class ExactOutput(io.StringIO):
    """Standard output for programs, written to piece by piece, by the same rule."""

    def write(self, text: str) -> int:
        """Writes a piece."""
        sys.stdout.write(visible(text, lines=True) if sys.stdout.isatty() else text)
        return len(text)


_PIPE_WIDTH: Final = 1000  # output into a pipe or file must not be cut to the width of a terminal
# Names and values come from data and questions: none of their characters may be read as markup.
OUT: Final = SafeConsole(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
ERR: Final = SafeConsole(stderr=True, highlight=False, markup=False, emoji=False)

Address = Annotated[
    str, typer.Option("--address", envvar="CDP_ADDRESS", help="Address of the cluster's router.", show_default=True)
]
DEFAULT_ADDRESS: Final = f"127.0.0.1:{DEFAULT_PORT}"
_HOST_AND_PORT: Final = re.compile(r"([^\s/:\[\]]+|\[[^\s/\[\]]+\]):(?P<port>[0-9]{1,5})", re.ASCII)
_PORT_MAX: Final = 65_535
_Pem = Path | None
TlsCert = Annotated[_Pem, typer.Option("--tls-cert", envvar=TLS_CERT, help="PEM file: the certificate to show.")]
TlsKey = Annotated[_Pem, typer.Option("--tls-key", envvar=TLS_KEY, help="PEM file: the key of --tls-cert.")]
TlsCa = Annotated[_Pem, typer.Option("--tls-ca", envvar=TLS_CA, help="PEM file: CA certificates to trust.")]


def fail(message: str, code: int = 1) -> NoReturn:
    """Ends the command with one message on standard error."""
    ERR.print(Text(f"error: {message}"), soft_wrap=True)  # one about a question shows its place in a line of its own
    raise typer.Exit(code)


def check_new(to: Path, *, is_folder: bool = False) -> None:
    """Ends the command unless the path of --to is free for a file, or for a folder, which is made with its parents."""
    if to.exists():
        fail(f"{to} exists already; name another place")
    found = next(parent for parent in to.absolute().parents if parent.exists())
    if not found.is_dir():
        fail(f"--to {to}: {found} is not a folder")
    if not is_folder and not to.parent.exists():
        fail(f"--to {to}: there is no folder {to.parent}; make it first")


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """A client; any failure of the cluster ends the command with one message."""
    named = _HOST_AND_PORT.fullmatch(address)
    if named is None or not 0 < int(named["port"]) <= _PORT_MAX:
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
    """A client with the key and the certificates of the environment, which includes the options of `cdp` itself."""
    try:
        return Client(address)
    except CredentialsUnusable as error:
        fail(str(error), 2)


def parse_instant(text: str, option: str) -> datetime:
    """An instant from an ISO date or time; without a zone it is UTC."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option} {text!r} is not a date or time; write 2026-01-31 or 2026-01-31T10:00:00Z", 2)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def parse_as_of(text: str, tz: str) -> Timestamp:
    """The instant of a question; without a zone of its own it is in the question's."""
    try:
        return as_of_stamp(text, tz)
    except ValueError as error:
        fail(f"--as-of {text!r}: {error}", 2)


# The look of numbers, times, true and false, lists and labels of our own; and texts that are hard to see at all.
_READS_OTHERWISE = re.compile(
    r'\s.*|.*\s||[\[{("].*|true|false|null|[+-]?(inf|nan|[0-9.]+(e[+-]?[0-9]+)?)|[0-9]{4}-[0-9]{2}-.*', re.S | re.I
)


def plain(value: object) -> str:
    """A value in a form for people, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return visible(str(value))


def value_label(value: object) -> str:
    """A value of a row such that no two look alike: a text that looks like another value is quoted."""
    match value:
        case None:
            return "(none)"
        case str():
            return json.dumps(value, ensure_ascii=False) if _READS_OTHERWISE.fullmatch(value) else value
        case list() | dict():
            return json.dumps(value, ensure_ascii=False, default=plain)
    return plain(value)


def text_of(path: Path, named: str) -> str:
    """The text of a file that an argument or option names; ends the command if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        fail(f"{named} {path}: {error.strerror}", 2)
    except UnicodeDecodeError as error:
        fail(f"{named} {path}: {error}", 2)
