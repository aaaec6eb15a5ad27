"""What a dialect is made of, and the one of Segment and RudderStack."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cdp_router.gateway.mapping import Mapper
from cdp_router.gateway.problems import malformed
from cdp_router.gateway.segment import map_segment
from cdp_router.gateway.times import lenient_ms


@dataclass(frozen=True, slots=True)
class Rejected:
    """An item that was not taken, by its place in the request."""

    index: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The items of a request's body and when the client says it sent them."""

    items: list[Any]
    sent_ms: int | None = None


Unpack = Callable[[Any, Mapping[str, str], str], Unpacked]
Answer = Callable[[Sequence[Any], Sequence[Rejected]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a family of SDKs talks: `unpack` takes a body, the headers and the type of calls that the path names."""

    name: str
    unpack: Unpack
    map: Mapper
    answer: Answer


def object_body(body: Any) -> dict[str, Any]:
    """A body that must be an object."""
    if not isinstance(body, dict):
        raise malformed("the body must be a JSON object")
    return body


def list_of(body: Mapping[str, Any], name: str) -> list[Any]:
    """The items of a body, under a name where they must be a list."""
    items = body.get(name)
    if not isinstance(items, list):
        raise malformed(f"{name!r} must be a list")
    return items


def _unpack_segment(body: Any, headers: Mapping[str, str], call_type: str) -> Unpacked:
    given = object_body(body)
    sent = lenient_ms(given.get("sentAt") or headers.get("sentat"))
    if call_type != "batch":
        return Unpacked([_with_id({**given, "type": call_type})], sent)
    context = given.get("context")
    items = list_of(given, "batch")
    if isinstance(context, dict) and context:
        items = [_with_context(item, context) for item in items]
    return Unpacked([_with_id(item) for item in items], sent)


def _with_context(item: Any, context: Mapping[str, Any]) -> Any:
    own = item.get("context") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not (own is None or isinstance(own, dict)):
        return item
    return {**item, "context": {**context, **(own or {})}}


def _with_id(item: Any) -> Any:
    # A dead letter must keep the id it was first given, or it could be taken twice.
    if isinstance(item, dict) and item.get("messageId") in (None, ""):
        item["messageId"] = uuid.uuid4().hex
    return item


def _answer_segment(items: Sequence[Any], rejected: Sequence[Rejected]) -> dict[str, Any]:
    return {"success": True}


SEGMENT: Final = Dialect("segment", _unpack_segment, map_segment, _answer_segment)
DIALECTS: Final = {each.name: each for each in (SEGMENT,)}
