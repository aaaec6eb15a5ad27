"""The dialects: how each family of SDKs packs its events, and the answers it expects."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any, Final

from cdp_router.errors import RecordInvalid
from cdp_router.gateway.dialects.clevertap import MESSAGE_ID, map_clevertap, upload_result
from cdp_router.gateway.dialects.mapped import Rejected, Warned
from cdp_router.gateway.dialects.mapping import Envelope, Mapper
from cdp_router.gateway.dialects.posthog import (
    LINK_REFUSED,
    is_kept_nowhere,
    map_posthog,
    refused_link,
    said_by_capture,
)
from cdp_router.gateway.dialects.segment import map_segment, said_by_segment
from cdp_router.gateway.dialects.times import Said, lenient_ms
from cdp_router.gateway.dialects.wrapping import Wrap, wrap_clevertap, wrap_posthog, wrap_segment
from cdp_router.gateway.problems import malformed


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The items of a request's body and the time of sending according to the client."""

    items: list[Any]
    sent_ms: int | None = None
    is_attempt: bool = False  # the time is in a header, written again at each attempt
    is_repeatable: bool = True  # each item came with an id, so that a repeat is recognised


Unpack = Callable[[Any, Mapping[str, str], str], Unpacked]
Items = Callable[[], Sequence[Any]]
SaidBy = Callable[[Any, Envelope], Said | None]
DoubtOf = Callable[[Any, Envelope], RecordInvalid | None]
Answer = Callable[[Items, Sequence[Rejected], Sequence[Warned]], dict[str, Any]]
_SENT_AT: Final = "sentat"
_POSTHOG_SENT: Final = "posthog-request-timestamp"
BATCH: Final = "batch"  # the type of calls of a path that takes many


@dataclass(frozen=True, slots=True)
class Dialect:
    """Dialect of a family of SDKs: `unpack` gets a body, the headers and the type of calls in the path."""

    name: str
    unpack: Unpack
    map: Mapper
    answer: Answer
    wrap: Wrap
    has_beacons: bool = False  # bodies may be forms
    doubt: DoubtOf | None = None  # reason why an accepted item does not get all that it requests
    said: SaidBy | None = None  # times in an item, if clocks are corrected


def object_body(body: Any) -> dict[str, Any]:
    """A body that must be an object."""
    if not isinstance(body, dict):
        raise malformed("the body must be a JSON object")
    return body


def list_of(body: Mapping[str, Any], name: str) -> list[Any]:
    """The items of a body, under a name that must hold a list."""
    items = body.get(name)
    if not isinstance(items, list):
        raise malformed(f"{name!r} must be a list")
    return items


def _unpack_segment(body: Any, headers: Mapping[str, str], call_type: str) -> Unpacked:
    given = object_body(body)
    sent = segment_sent(given.get("sentAt"), headers)
    if call_type != BATCH:
        return _with_ids([{**given, "type": call_type}], *sent)
    context = given.get("context")
    items = list_of(given, "batch")
    if isinstance(context, dict) and context:
        items = [_with_context(item, context) for item in items]
    return _with_ids(items, *sent)


def segment_sent(given: Any, headers: Mapping[str, str]) -> tuple[int | None, bool]:
    """(time of sending according to the client, True if it is in a header, which is written at each attempt)."""
    attempt_ms = lenient_ms(headers.get(_SENT_AT))
    return (lenient_ms(given), False) if attempt_ms is None else (attempt_ms, True)


def _with_context(item: Any, context: Mapping[str, Any]) -> Any:
    own = item.get("context") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not (own is None or isinstance(own, dict)):
        return item
    return {**item, "context": {**context, **(own or {})}}


def _with_ids(items: list[Any], sent_ms: int | None, is_attempt: bool, name: str = "messageId") -> Unpacked:
    """Items, each with an id: a dead letter must keep its first one, or it could be accepted twice."""
    nameless = [item for item in items if isinstance(item, dict) and item.get(name) in (None, "")]
    for item in nameless:
        item[name] = uuid.uuid4().hex
    return Unpacked(items, sent_ms, is_attempt, not nameless)


def _answer_segment(items: Items, rejected: Sequence[Rejected], warned: Sequence[Warned]) -> dict[str, Any]:
    return {"success": True}


SEGMENT: Final = Dialect("segment", _unpack_segment, map_segment, _answer_segment, wrap_segment, said=said_by_segment)


def _unpack_posthog(body: Any, headers: Mapping[str, str], call_type: str) -> Unpacked:
    given = {"batch": body} if isinstance(body, list) else object_body(body)
    items = list_of(given, "batch") if "batch" in given else [given]
    attempt_ms = lenient_ms(headers.get(_POSTHOG_SENT))
    sent_ms = lenient_ms(given.get("sent_at") or given.get("created_at")) if attempt_ms is None else attempt_ms
    library, _, version = headers.get("posthog-sdk-info", "").partition("/")
    if library:
        items = [_with_library(item, library, version) for item in items]
    return _with_ids(items, sent_ms, attempt_ms is not None, "uuid")


def _with_library(item: Any, library: str, version: str) -> Any:
    properties = item.get("properties", {}) if isinstance(item, dict) else None
    if not isinstance(properties, dict):
        return item
    return {**item, "properties": {"$lib": library, "$lib_version": version, **properties}}


def _answer_posthog(items: Items, rejected: Sequence[Rejected], warned: Sequence[Warned]) -> dict[str, Any]:
    return {"status": 1}


def _answer_posthog_v1(items: Items, rejected: Sequence[Rejected], warned: Sequence[Warned]) -> dict[str, Any]:
    """Outcome of each event, by its uuid; a rejected one will be rejected again when it is sent again."""
    results = dict[str, dict[str, str]]()
    wrong = {each.index: each for each in rejected}
    doubtful = {each.index: each for each in reversed(warned)}
    for index, item in enumerate(items()):
        known = item.get("uuid") if isinstance(item, dict) else None
        if not isinstance(known, str):
            continue
        if index in wrong:
            result = "warning" if wrong[index].code == LINK_REFUSED else "drop"
            results[known] = {"result": result, "details": f"{wrong[index].code}: {wrong[index].message}"}
        elif index in doubtful:
            warning = doubtful[index]
            results[known] = {"result": "warning", "details": f"{warning.code}: {warning.message}"}
        elif is_kept_nowhere(item):
            results[known] = {"result": "warning", "details": "events without cookies have no id, and are not kept"}
        else:
            results[known] = {"result": "ok"}
    return {"results": results}


def _unpack_clevertap(body: Any, headers: Mapping[str, str], call_type: str) -> Unpacked:
    items, seen = list[Any](), Counter[bytes]()
    for record in list_of(object_body(body), "d"):
        if isinstance(record, dict):
            items.append({**record, MESSAGE_ID: _made_id(record, seen)})
        else:
            items.append(record)
    return Unpacked(items)


def _made_id(record: Mapping[str, Any], seen: Counter[bytes]) -> str:
    """An id by the content of a record, so that the same call sent again is known; equal records of one call get
    different ids.

    Without a time, a record sent again looks like a new one.
    """
    if record.get("ts") in (None, ""):
        return uuid.uuid4().hex
    content = blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=16).digest()
    seen[content] += 1
    return f"{content.hex()}.{seen[content]}"


def _answer_clevertap(items: Items, rejected: Sequence[Rejected], warned: Sequence[Warned]) -> dict[str, Any]:
    given = items()
    return upload_result(len(given), [(_as_sent(given[each.index]), each.code, each.message) for each in rejected])


def _as_sent(item: Any) -> Any:
    return {key: value for key, value in item.items() if key != MESSAGE_ID} if isinstance(item, dict) else item


_POSTHOG: Final = partial(
    Dialect,
    name="posthog",
    unpack=_unpack_posthog,
    map=map_posthog,
    wrap=wrap_posthog,
    has_beacons=True,
    doubt=refused_link,
    said=said_by_capture,
)
POSTHOG: Final = _POSTHOG(answer=_answer_posthog)
POSTHOG_V1: Final = _POSTHOG(answer=_answer_posthog_v1)
CLEVERTAP: Final = Dialect("clevertap", _unpack_clevertap, map_clevertap, _answer_clevertap, wrap_clevertap)
DIALECTS: Final = {each.name: each for each in (SEGMENT, POSTHOG, CLEVERTAP)}
