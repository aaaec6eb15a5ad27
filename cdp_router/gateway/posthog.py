"""What PostHog's libraries capture: events, and changes of people and groups among them.

PostHog has one space of ids. An id is taken for an anonymous one where the library says so or its form does: browsers
and servers make up UUIDs for people they do not know. Every other id is a user's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cdp_router.gateway.mapping import (
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
from cdp_router.gateway.times import Said, corrected_ms, instant_ms, lenient_ms
from cdp_router.validation import RecordInvalid
from cdp_store.ids import ANONYMOUS_ID

_MADE_UP: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|anon.*", re.IGNORECASE | re.DOTALL)
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
# The library whose alias call sends the ids the other way round.
_NEW_ID_IS_ALIAS: Final = "posthog-python"


def is_personless(capture: Any) -> bool:
    """Whether a capture asks that no profile is made for it."""
    if not isinstance(capture, dict):
        return False
    options, properties = capture.get("options"), capture.get("properties")
    given = options.get("process_person_profile") if isinstance(options, dict) else None
    if given is None and isinstance(properties, dict):
        given = properties.get("$process_person_profile")
    return given is False


def map_posthog(capture: Mapping[str, Any], envelope: Envelope) -> list[WireRow]:
    """The rows of one capture, none where it wants no profile; RecordInvalid says what is wrong with it."""
    properties = map_of("properties", capture.get("properties"))
    name = event_name(capture.get("event"))
    time_ms = _time_ms(capture, properties, envelope)
    message_id = envelope.message_id(capture.get("uuid"))
    if name == "$groupidentify":
        return [_group(properties, time_ms, message_id)]
    if is_personless(capture):
        return []
    distinct = text_id("distinct_id", _first(capture, properties, "distinct_id"))
    if distinct is None:
        raise RecordInvalid("IDENTIFIER_MISSING", "a capture needs a distinct_id")
    change = _change(capture, properties)
    if name in ("$create_alias", "$merge_dangerously"):
        alias = text_id("alias", properties.get("alias"))
        new, old = _directed(distinct, alias, properties)
        return _linked(new, [old], change, time_ms, message_id)
    if name == "$identify":
        device = text_id("$anon_distinct_id", properties.get("$anon_distinct_id"))
        return _linked(distinct, [device], change, time_ms, message_id)
    person = _person(distinct, properties)
    rows = list[WireRow]()
    if name != "$set":
        kept = {key: value for key, value in properties.items() if key not in _NOT_STORED}
        rows.append((name, *person, time_ms, message_id, kept, {}, NO_OPERATIONS))
    if name == "$set" or any(change):
        values, operations = change
        # An event and the change it brings are two records of one message.
        change_id = f"{message_id}/set" if rows else message_id
        rows.append((None, *person, time_ms, change_id, values, email_of(values), operations))
    return rows


def _first(capture: Mapping[str, Any], properties: Mapping[str, Any], name: str) -> Any:
    given = capture.get(name)
    return properties.get(name) if given in (None, "") else given


def _person(distinct: str, properties: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """(user id, anonymous id) that an id stands for; one of them is None."""
    is_said = properties.get("$is_identified") is False or properties.get("$device_id") == distinct
    return (None, distinct) if is_said or looks_made_up(distinct) else (distinct, None)


def looks_made_up(distinct: str) -> bool:
    """Whether an id has the form of those that libraries make up for people they do not know."""
    return _MADE_UP.fullmatch(distinct) is not None


def _directed(distinct: str, alias: str | None, properties: Mapping[str, Any]) -> tuple[str, str | None]:
    """(the id that goes on, the one that belongs to it): an alias means the same in either direction."""
    if alias is None:
        return distinct, None
    if looks_made_up(distinct) != looks_made_up(alias):
        is_reversed = looks_made_up(distinct)
    else:
        is_reversed = properties.get("$lib") == _NEW_ID_IS_ALIAS
    return (alias, distinct) if is_reversed else (distinct, alias)


def _change(capture: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[dict[str, Any], Operations]:
    """What a capture changes of its person: (values, operations)."""
    values, once = dict[str, Any](), dict[str, Any]()
    for given in (capture, properties):
        values |= map_of("$set", given.get("$set"))
        once |= map_of("$set_once", given.get("$set_once"))
        unset = given.get("$unset")
        values |= dict.fromkeys(each for each in unset if isinstance(each, str)) if isinstance(unset, list) else {}
    # The browser library names what it knows no value of, such as campaigns, with null.
    known = {name: value for name, value in once.items() if value is not None}
    return values, {"set_once": known} if known else NO_OPERATIONS


def _linked(
    user: str, others: Iterable[str | None], change: tuple[dict[str, Any], Operations], time_ms: int, message_id: str
) -> list[WireRow]:
    """The change of a user, and which ids belong to that user from now on."""
    values, operations = change
    # An id that looks made up may have been taken for an anonymous one before it was known to be a user's.
    given = dict.fromkeys(each for each in others if each is not None and each != user)
    links = [*given, user] if looks_made_up(user) else list(given)
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
    """When it was captured, by our clock."""
    instant = instant_ms(capture.get("timestamp"))
    if instant is None:
        instant = instant_ms(properties.get("$time"))
    if instant is None:
        offset = capture.get("offset")
        is_number = isinstance(offset, int | float) and not isinstance(offset, bool)
        return envelope.received_ms - int(offset or 0) if is_number else envelope.received_ms
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
    """What a library says of the times of a capture; None where it says nothing."""
    properties = item.get("properties") if isinstance(item, dict) else None
    given = lenient_ms(item.get("timestamp")) if isinstance(item, dict) else None
    if given is None and isinstance(properties, dict):
        given = lenient_ms(properties.get("$time"))
    return None if given is None else Said(given, envelope.sent_ms)
