"""The calls of Segment and RudderStack: identify, track, page, screen, group, alias."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from cdp_router.gateway.mapping import (
    GROUP,
    NO_OPERATIONS,
    PROFILE_TYPE,
    Envelope,
    WireRow,
    email_of,
    event_name,
    identifier_kind,
    map_of,
    text_id,
)
from cdp_router.gateway.times import corrected_ms, instant_ms, lenient_ms
from cdp_router.validation import RecordInvalid
from cdp_store.ids import ANONYMOUS_ID

GROUP_ID: Final = "group_id"  # kind of a group's identifier, and the attribute that refers to it
_LETTERS: Final = {"t": "track", "i": "identify", "p": "page", "s": "screen", "g": "group", "a": "alias"}


def call_type(name: str) -> str:
    """The type of the calls a path takes, from its last part."""
    return _LETTERS.get(name, name)


def map_segment(call: Mapping[str, Any], envelope: Envelope) -> list[WireRow]:
    """The rows of one call; RecordInvalid says what is wrong with it."""
    type_ = call.get("type")
    make = _MAPPERS.get(type_) if isinstance(type_, str) else None
    if make is None:
        known = ", ".join(_MAPPERS)
        raise RecordInvalid("TYPE_UNKNOWN", f"type {str(type_)[:40]!r} is none of {known}")
    return make(call, envelope)


def _time_ms(call: Mapping[str, Any], envelope: Envelope) -> int:
    """When the call was made, by our clock."""
    given, original = instant_ms(call.get("timestamp")), instant_ms(call.get("originalTimestamp"))
    if given is not None and original is not None:
        return given  # whoever sends both means the first, and has it from the caller
    instant = original if given is None else given
    if instant is None:
        return envelope.received_ms
    sent = lenient_ms(call.get("sentAt"))
    return corrected_ms(instant, envelope.sent_ms if sent is None else sent, envelope.received_ms)


def _row(
    call: Mapping[str, Any],
    envelope: Envelope,
    name: str | None,
    values: dict[str, Any],
    others: dict[str, str] | None = None,
) -> WireRow:
    user, anonymous = text_id("userId", call.get("userId")), text_id("anonymousId", call.get("anonymousId"))
    message_id = envelope.message_id(call.get("messageId"))
    return name, user, anonymous, _time_ms(call, envelope), message_id, values, others or {}, NO_OPERATIONS


def _track(call: Mapping[str, Any], envelope: Envelope) -> list[WireRow]:
    values = map_of("properties", call.get("properties"))
    return [_row(call, envelope, event_name(call.get("event")), values)]


def _seen(name: str) -> Callable[[Mapping[str, Any], Envelope], list[WireRow]]:
    """Pages and screens are events of one name each; what was seen is among their properties."""

    def make(call: Mapping[str, Any], envelope: Envelope) -> list[WireRow]:
        given = {key: call[key] for key in ("name", "category") if call.get(key) not in (None, "")}
        return [_row(call, envelope, name, given | map_of("properties", call.get("properties")))]

    return make


def _identify(call: Mapping[str, Any], envelope: Envelope) -> list[WireRow]:
    context = map_of("context", call.get("context"))
    traits = map_of("context.traits", context.get("traits")) | map_of("traits", call.get("traits"))
    return [_row(call, envelope, None, traits, email_of(traits) | _external_ids(context))]


def _external_ids(context: Mapping[str, Any]) -> dict[str, str]:
    given = context.get("externalIds")
    found = dict[str, str]()
    for each in given if isinstance(given, list) else ():
        if isinstance(each, dict) and (kind := identifier_kind(each.get("type"))):
            value = text_id(kind, each.get("id"))
            if value is not None:
                found[kind] = value
    return found


def _group(call: Mapping[str, Any], envelope: Envelope) -> list[WireRow]:
    group = text_id("groupId", call.get("groupId"))
    if group is None:
        raise RecordInvalid("IDENTIFIER_MISSING", "a group call needs a groupId")
    member = _row(call, envelope, None, {GROUP_ID: group})
    traits = map_of("traits", call.get("traits"))
    if not traits:
        return [member]
    return [member, group_row(GROUP_ID, group, traits, member)]


def group_row(kind: str, group: str, traits: Mapping[str, Any], member: WireRow) -> WireRow:
    """The change of a group's own profile, said by the same message as `member`."""
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


def _alias(call: Mapping[str, Any], envelope: Envelope) -> list[WireRow]:
    user, previous = text_id("userId", call.get("userId")), text_id("previousId", call.get("previousId"))
    if user is None:
        raise RecordInvalid("IDENTIFIER_MISSING", "an alias call needs a userId")
    # Without a previous id, or with itself as such, it says nothing new.
    previous = previous or text_id("anonymousId", call.get("anonymousId"))
    others = {ANONYMOUS_ID: previous} if previous and previous != user else {}
    message_id = envelope.message_id(call.get("messageId"))
    return [(None, user, None, _time_ms(call, envelope), message_id, {}, others, NO_OPERATIONS)]


_MAPPERS: Final = {
    "track": _track,
    "identify": _identify,
    "page": _seen("Page"),
    "screen": _seen("Screen"),
    "group": _group,
    "alias": _alias,
}
