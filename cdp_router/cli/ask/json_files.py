"""Messages of the contract, read from files of JSON."""

from __future__ import annotations

import json
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from cdp_router.cli.console import fail

Read = TypeVar("Read", bound=Message)


def message_of(text: str, message: Read, named: str, code: int) -> Read:
    """The message in a JSON text; ends the command if there is none, with the place and the reason."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        fail(f"{named}: {place}: is not JSON ({error.msg}); one JSON object is expected", code)
    except RecursionError:
        fail(f"{named}: is nested too deeply", code)
    if not isinstance(found, dict):
        fail(f"{named}: holds {_kind(found)}; one JSON object is expected", code)
    try:
        return json_format.Parse(text, message)
    except json_format.ParseError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        fail(f"{named}: is not a {message.DESCRIPTOR.full_name}: {reason}", code)


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case list():
            return "a list"
        case str():
            return "a text"
        case bool():
            return "true or false"
    return "a number"
