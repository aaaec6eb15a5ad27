"""Envelope of an item: kept with its records as a JSON text, for callers that ask for their origin.

It names no person: identifiers have their own place, from which an erasure removes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from cdp_router.gateway.dialects.mapping import Envelope
from cdp_router.gateway.dialects.segment import sent_ms
from cdp_router.gateway.dialects.segment_calls import Call, CallContext, Library, UsualCall
from cdp_router.gateway.dialects.times import is_skewed
from cdp_store.values import to_datetime

Wrap = Callable[[Any, Envelope], str]
_REMEMBERED: Final = 1024  # the items of a request mostly share theirs
_TEXT_MAX: Final = 100  # characters of a client's text


def wrap_call(call: Call, envelope: Envelope) -> str:
    """The envelope of one of Segment's calls."""
    context = call.context
    library = context.library if isinstance(context, CallContext) else _field(context, "library")
    if isinstance(library, Library):
        name, version = library.name, library.version
    else:
        name, version = _field(library, "name"), _field(library, "version")
    original = call.timestamp or call.original_timestamp
    return _wrapped(envelope, call.type, name, version, sent_ms(call, envelope), original)


def usual_wrap(envelope: Envelope) -> Callable[[UsualCall], str]:
    """The same for the calls of a request, which mostly describe themselves alike."""
    known = dict[tuple[Any, ...], str]()

    def wrap(call: UsualCall) -> str:
        library = None if call.context is None else call.context.library
        key = (call.type, call.sent_at, library and library.name, library and library.version)
        found = known.get(key)
        if found is None:
            found = wrap_call(call, envelope)
            if not is_skewed(sent_ms(call, envelope), envelope.received_ms):
                known[key] = found
        return found

    return wrap


def wrap_segment(item: Any, envelope: Envelope) -> str:
    """The same for a call that was read as JSON."""
    return wrap_call(Call.from_mapping(item), envelope)


def wrap_posthog(item: Any, envelope: Envelope) -> str:
    """The envelope of a capture."""
    properties = _field(item, "properties")
    name, version = _field(properties, "$lib"), _field(properties, "$lib_version")
    return _wrapped(envelope, "capture", name, version, envelope.sent_ms, _field(item, "timestamp"))


def wrap_clevertap(item: Any, envelope: Envelope) -> str:
    """The envelope of a record of an upload."""
    return _wrapped(envelope, _field(item, "type"), None, None, None, None)


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


def _wrapped(envelope: Envelope, type_: Any, name: Any, version: Any, sent_ms: int | None, original: Any) -> str:
    # If the clock is right, the client's time is the record's own.
    told = original[:_TEXT_MAX] if is_skewed(sent_ms, envelope.received_ms) and isinstance(original, str) else None
    texts = (each[:_TEXT_MAX] if isinstance(each, str) else None for each in (type_, name, version))
    return _text(envelope.source, *texts, sent_ms, told)


@lru_cache(_REMEMBERED)
def _text(
    source: str, type_: str | None, name: str | None, version: str | None, sent_ms: int | None, original: str | None
) -> str:
    said = {"source": source, "type": type_, "library": name, "library_version": version}
    kept: dict[str, Any] = {key: value for key, value in said.items() if value}
    if sent_ms is not None:
        kept["sent_at"] = _instant(sent_ms)
    if original:
        kept["original_timestamp"] = original
    try:
        return msgspec.json.encode(kept).decode()
    except UnicodeEncodeError:
        return ""  # a text that is no Unicode


def _instant(ms: int) -> str:
    try:
        return to_datetime(ms).isoformat(timespec="milliseconds")
    except OverflowError:
        return str(ms)
