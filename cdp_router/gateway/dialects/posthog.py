"""Captures of PostHog's libraries: events, and changes of people and groups among them.

PostHog has one space of ids; `distinct_ids` decides which of them are anonymous. Every other id is a user's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cdp_router.errors import RecordInvalid
from cdp_router.gateway.dialects.distinct_ids import is_anonymous, is_of_nobody, looks_made_up
from cdp_router.gateway.dialects.mapping import (
    GROUP,
    NO_OPERATIONS,
    PROFILE_TYPE,
    Envelope,
    Operations,
    WireRow,
    email_of,
    event_name,
    identifier_kind,
    is_server_library,
    map_of,
    text_id,
)
from cdp_router.gateway.dialects.times import Said, corrected_ms, instant_ms, lenient_ms
from cdp_store.ids import ANONYMOUS_ID

_NOT_STORED: Final = frozenset(
    {
        "token",
        "distinct_id",
        "$set",
        "$set_once",
        "$unset",
        "$process_person_profile",
        "$ignore_sent_at",
    }
)
# The library whose alias call sends the ids in reverse order.
_NEW_ID_IS_ALIAS: Final = "posthog-python"
_ALIASES: Final = ("$create_alias", "$merge_dangerously")
LINK_REFUSED: Final = "LINK_REFUSED"
_NO_CHANGE: Final[tuple[dict[str, Any], Operations]] = ({}, NO_OPERATIONS)


def is_personless(capture: Mapping[str, Any], properties: Mapping[str, Any]) -> bool:
    """True if a capture requests that it is stored for no person."""
    options = capture.get("options")
    given = options.get("process_person_profile") if isinstance(options, dict) else None
    return (properties.get("$process_person_profile") if given is None else given) is False


def is_kept_nowhere(capture: Any) -> bool:
    """True if a capture comes from a browser without cookies: it has no id, so it can be part of no profile."""
    properties = capture.get("properties") if isinstance(capture, dict) else None
    if not isinstance(properties, dict) or capture.get("event") == "$groupidentify":
        return False
    distinct = _first(capture, properties, "distinct_id")
    return isinstance(distinct, str) and is_of_nobody(distinct, properties)


def refused_link(capture: Mapping[str, Any], envelope: Envelope) -> RecordInvalid | None:
    """Reason why a capture's link leaves out the old id's records: it is read as a user's; None if it does not."""
    name, properties = capture.get("event"), map_of("properties", capture.get("properties"))
    if name not in (*_ALIASES, "$identify"):
        return None
    distinct = text_id("distinct_id", _first(capture, properties, "distinct_id"))
    if distinct is None or is_kept_nowhere(capture):
        return None
    old, new = text_id("$anon_distinct_id", properties.get("$anon_distinct_id")), distinct
    if name in _ALIASES:
        new, old = _directed(distinct, text_id("alias", properties.get("alias")), properties, envelope)
    elif "$is_identified" in properties:  # this library marks earlier ids as anonymous
        return None
    known = properties if old == distinct else {}
    if old is None or old == new or is_anonymous(old, known, envelope.anonymous_ids):
        return None
    problem = f"{old[:40]!r} is read as a user id, and two user ids never become one: its records stay apart"
    return RecordInvalid(
        LINK_REFUSED,
        f"{problem}. If such ids name visitors, declare them: `cdp keys create` or `rotate` with --anonymous-ids, or"
        " CDP_ANONYMOUS_IDS",
    )


def map_posthog(capture: Mapping[str, Any], envelope: Envelope) -> list[WireRow]:
    """The rows of one capture, none if it has no id by design; RecordInvalid names its fault."""
    properties = map_of("properties", capture.get("properties"))
    name = event_name(capture.get("event"))
    time_ms = _time_ms(capture, properties, envelope)
    message_id = envelope.message_id(capture.get("uuid"))
    if name == "$groupidentify":
        return [_group(properties, time_ms, message_id)]
    if is_kept_nowhere(capture):
        return []
    distinct = text_id("distinct_id", _first(capture, properties, "distinct_id"))
    if distinct is None:
        raise RecordInvalid("IDENTIFIER_MISSING", "a capture needs a distinct_id")
    change = _NO_CHANGE if is_personless(capture, properties) else _change(capture, properties)
    if name in _ALIASES:
        alias = text_id("alias", properties.get("alias"))
        new, old = _directed(distinct, alias, properties, envelope)
        return _linked(new, old, change, time_ms, message_id, envelope)
    if name == "$identify":
        device = text_id("$anon_distinct_id", properties.get("$anon_distinct_id"))
        return _linked(distinct, device, change, time_ms, message_id, envelope)
    person = (None, distinct) if is_anonymous(distinct, properties, envelope.anonymous_ids) else (distinct, None)
    rows = list[WireRow]()
    if name != "$set":
        kept = {key: value for key, value in properties.items() if key not in _NOT_STORED}
        rows.append((name, *person, time_ms, message_id, kept, {}, NO_OPERATIONS))
    if name == "$set" or any(change):
        values, operations = change
        # An event and its change of a profile are two records of one message.
        change_id = f"{message_id}/set" if rows else message_id
        rows.append((None, *person, time_ms, change_id, values, email_of(values), operations))
    return rows


def _first(capture: Mapping[str, Any], properties: Mapping[str, Any], name: str) -> Any:
    given = capture.get(name)
    return properties.get(name) if given in (None, "") else given


def _directed(
    distinct: str, alias: str | None, properties: Mapping[str, Any], envelope: Envelope
) -> tuple[str, str | None]:
    """(the id that stays, the one that belongs to it): an alias means the same in either direction."""
    if alias is None:
        return distinct, None
    is_unknown = is_anonymous(distinct, properties, envelope.anonymous_ids)
    if is_unknown != looks_made_up(alias, envelope.anonymous_ids):
        is_reversed = is_unknown
    else:
        is_reversed = properties.get("$lib") == _NEW_ID_IS_ALIAS
    return (alias, distinct) if is_reversed else (distinct, alias)


def _change(capture: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[dict[str, Any], Operations]:
    """Changes of a capture to its person: (values, operations)."""
    values, once = dict[str, Any](), dict[str, Any]()
    for given in (capture, properties):
        values |= map_of("$set", given.get("$set"))
        once |= map_of("$set_once", given.get("$set_once"))
        unset = given.get("$unset")
        values |= dict.fromkeys(each for each in unset if isinstance(each, str)) if isinstance(unset, list) else {}
    # The browser library sends null under names without a known value, such as campaigns.
    known = {name: value for name, value in once.items() if value is not None}
    return values, {"set_once": known} if known else NO_OPERATIONS


def _linked(
    user: str,
    other: str | None,
    change: tuple[dict[str, Any], Operations],
    time_ms: int,
    message_id: str,
    envelope: Envelope,
) -> list[WireRow]:
    """The change of a user, and the ids that belong to that user from now on."""
    values, operations = change
    # An id that looks generated may have been read as an anonymous one before it was known to be a user's.
    given = [] if other is None or other == user else [other]
    links = [*given, user] if looks_made_up(user, envelope.anonymous_ids) else given
    email = email_of(values)
    first = {**email, ANONYMOUS_ID: links[0]} if links else email
    rows: list[WireRow] = [(None, user, None, time_ms, message_id, values, first, operations)]
    for number, link in enumerate(links[1:], 1):
        part = f"{message_id}/{number}"
        rows.append((None, user, None, time_ms, part, {}, {ANONYMOUS_ID: link}, NO_OPERATIONS))
    return rows


def _group(properties: Mapping[str, Any], time_ms: int, message_id: str) -> WireRow:
    key = text_id("$group_key", properties.get("$group_key"))
    given = properties.get("$group_type")
    kind = identifier_kind(f"{GROUP}_{given}") if isinstance(given, str) and given else None
    if key is None or kind is None:
        raise RecordInvalid("IDENTIFIER_MISSING", "a group needs $group_type and $group_key")
    values = map_of("$group_set", properties.get("$group_set")) | {PROFILE_TYPE: GROUP, "group_type": given}
    return None, None, None, time_ms, message_id, values, {kind: key}, NO_OPERATIONS


def _time_ms(capture: Mapping[str, Any], properties: Mapping[str, Any], envelope: Envelope) -> int:
    """Time of the capture, by our clock."""
    instant = instant_ms(capture.get("timestamp"))
    if instant is None:
        instant = instant_ms(properties.get("$time"))
    if instant is None:
        offset = capture.get("offset")
        is_number = isinstance(offset, int | float) and not isinstance(offset, bool)
        # Nothing is captured after it is sent.
        return envelope.received_ms - max(0, int(offset or 0)) if is_number else envelope.received_ms
    options = capture.get("options")
    is_trusted = properties.get("$ignore_sent_at") is True or (
        isinstance(options, dict) and options.get("disable_skew_correction") is True
    )
    if is_trusted or envelope.is_contradicted:
        return instant
    is_server = properties.get("$is_server") is True or is_server_library(properties.get("$lib"))
    said = Said(instant, envelope.sent_ms)
    return corrected_ms(said, envelope.received_ms, is_server=is_server, is_attempt=envelope.is_attempt)


def said_by_capture(item: Any, envelope: Envelope) -> Said | None:
    """Times of a capture according to the library; None if it has none."""
    properties = item.get("properties") if isinstance(item, dict) else None
    given = lenient_ms(item.get("timestamp")) if isinstance(item, dict) else None
    if given is None and isinstance(properties, dict):
        given = lenient_ms(properties.get("$time"))
    return None if given is None else Said(given, envelope.sent_ms)
