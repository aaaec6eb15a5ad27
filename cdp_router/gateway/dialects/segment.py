"""The calls of Segment and RudderStack: identify, track, page, screen, group, alias."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from cdp_router.errors import RecordInvalid
from cdp_router.gateway.dialects.mapping import (
    GROUP,
    NO_OPERATIONS,
    PROFILE_TYPE,
    Envelope,
    WireRow,
    email_of,
    event_name,
    identifier_kind,
    is_server_library,
    map_of,
    text_id,
)
from cdp_router.gateway.dialects.segment_calls import Call, CallContext
from cdp_router.gateway.dialects.times import Said, corrected_ms, instant_ms, is_skewed, lenient_ms
from cdp_store.ids import ANONYMOUS_ID

GROUP_ID: Final = "group_id"  # kind of a group's identifier, and the attribute that refers to it
_LETTERS: Final = {"t": "track", "i": "identify", "p": "page", "s": "screen", "g": "group", "a": "alias"}


def call_type(name: str) -> str:
    """The type of the calls of a path, from its last part."""
    return _LETTERS.get(name, name)


def map_segment(call: Mapping[str, Any], envelope: Envelope) -> list[WireRow]:
    """The rows of one call; RecordInvalid names its fault."""
    return map_call(Call.from_mapping(call), envelope)


def map_call(call: Call, envelope: Envelope) -> list[WireRow]:
    """The same for a call whose fields have been separated."""
    make = _MAPPERS.get(call.type) if isinstance(call.type, str) else None
    if make is None:
        known = ", ".join(_MAPPERS)
        raise RecordInvalid("TYPE_UNKNOWN", f"type {str(call.type)[:40]!r} is not one of {known}")
    return make(call, envelope)


def call_time_ms(call: Call, envelope: Envelope) -> int:
    """Time of a call, by our clock."""
    given, original = instant_ms(call.timestamp), instant_ms(call.original_timestamp)
    if given is not None and original is not None:
        return given  # a sender of both means the first, and got it from its caller
    instant = original if given is None else given
    if instant is None:
        return envelope.received_ms
    sent = sent_ms(call, envelope)
    if envelope.is_contradicted or not is_skewed(sent, envelope.received_ms):
        return instant
    said, is_server = Said(instant, sent), _is_of_server(call)
    return corrected_ms(said, envelope.received_ms, is_server=is_server, is_attempt=envelope.is_attempt)


def sent_ms(call: Call, envelope: Envelope) -> int | None:
    """Time of sending according to a call, or otherwise to its request."""
    sent = lenient_ms(call.sent_at)
    return envelope.sent_ms if sent is None else sent


def said_by_call(call: Call, envelope: Envelope) -> Said | None:
    """Times of a call according to its library; None if it has none."""
    given, original = lenient_ms(call.timestamp), lenient_ms(call.original_timestamp)
    instant = original if given is None else given
    if instant is None or (given is not None and original is not None):
        return None
    return Said(instant, sent_ms(call, envelope))


def said_by_segment(item: Any, envelope: Envelope) -> Said | None:
    """The same for a call that was read as JSON."""
    return said_by_call(Call.from_mapping(item), envelope) if isinstance(item, dict) else None


def _is_of_server(call: Call) -> bool:
    """True if a server's library made a call: its clock is right, and some of them send old bytes again."""
    library = _context(call.context).library
    name = library.get("name") if isinstance(library, dict) else getattr(library, "name", None)
    return call.channel == "server" or is_server_library(name)


def _row(
    call: Call,
    envelope: Envelope,
    name: str | None,
    values: dict[str, Any],
    others: dict[str, str] | None = None,
) -> WireRow:
    user, anonymous = text_id("userId", call.user_id), text_id("anonymousId", call.anonymous_id)
    message_id = envelope.message_id(call.message_id)
    return name, user, anonymous, call_time_ms(call, envelope), message_id, values, others or {}, NO_OPERATIONS


def _track(call: Call, envelope: Envelope) -> list[WireRow]:
    values = map_of("properties", call.properties)
    return [_row(call, envelope, event_name(call.event), values)]


def _seen(name: str) -> Callable[[Call, Envelope], list[WireRow]]:
    """Pages and screens are events of one name each; the page or screen is among their properties."""

    def make(call: Call, envelope: Envelope) -> list[WireRow]:
        seen = (("name", call.name), ("category", call.category))
        given = {key: value for key, value in seen if value not in (None, "")}
        return [_row(call, envelope, name, given | map_of("properties", call.properties))]

    return make


def _identify(call: Call, envelope: Envelope) -> list[WireRow]:
    context = _context(call.context)
    traits = map_of("context.traits", context.traits) | map_of("traits", call.traits)
    return [_row(call, envelope, None, traits, email_of(traits) | _external_ids(context.external_ids))]


def _context(given: Any) -> CallContext:
    if isinstance(given, CallContext):
        return given
    context = map_of("context", given)
    return CallContext(context.get("traits"), context.get("externalIds"), context.get("library"))


def _external_ids(given: Any) -> dict[str, str]:
    found = dict[str, str]()
    for each in given if isinstance(given, list) else ():
        if isinstance(each, dict) and (kind := identifier_kind(each.get("type"))):
            value = text_id(kind, each.get("id"))
            if value is not None:
                found[kind] = value
    return found


def _group(call: Call, envelope: Envelope) -> list[WireRow]:
    group = text_id("groupId", call.group_id)
    if group is None:
        raise RecordInvalid("IDENTIFIER_MISSING", "a group call needs a groupId")
    member = _row(call, envelope, None, {GROUP_ID: group})
    traits = map_of("traits", call.traits)
    if not traits:
        return [member]
    return [member, group_row(GROUP_ID, group, traits, member)]


def group_row(kind: str, group: str, traits: Mapping[str, Any], member: WireRow) -> WireRow:
    """The change of a group's own profile, in the same message as `member`."""
    return (
        None,
        None,
        None,
        member[3],
        f"{member[4]}/group",
        {**traits, PROFILE_TYPE: GROUP},
        {kind: group},
        NO_OPERATIONS,
    )


def _alias(call: Call, envelope: Envelope) -> list[WireRow]:
    user, previous = text_id("userId", call.user_id), text_id("previousId", call.previous_id)
    if user is None:
        raise RecordInvalid("IDENTIFIER_MISSING", "an alias call needs a userId")
    # Without a previous id, or with itself as such, it links nothing.
    previous = previous or text_id("anonymousId", call.anonymous_id)
    others = {ANONYMOUS_ID: previous} if previous and previous != user else {}
    message_id = envelope.message_id(call.message_id)
    return [(None, user, None, call_time_ms(call, envelope), message_id, {}, others, NO_OPERATIONS)]


_MAPPERS: Final = {
    "track": _track,
    "identify": _identify,
    "page": _seen("Page"),
    "screen": _seen("Screen"),
    "group": _group,
    "alias": _alias,
}
