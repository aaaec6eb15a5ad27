"""CleverTap's upload call: events and changes of profiles, with a result for each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cdp_router.errors import RecordInvalid
from cdp_router.gateway.dialects.mapping import (
    NO_OPERATIONS,
    Envelope,
    Operations,
    WireRow,
    event_name,
    map_of,
    text_id,
)
from cdp_router.gateway.dialects.times import instant_ms
from cdp_store.ids import EMAIL
from cdp_store.values import to_datetime

_TIME: Final = re.compile(r"\$D_(-?[0-9]{1,12})")  # any instant of the years 1 to 9999
_OBJECT_ID: Final = "objectId"
_OTHER_IDS: Final = {"FBID": "fbid", "GPID": "gpid"}
_OPERATIONS: Final = {"$add": "append", "$remove": "remove", "$incr": "increment", "$decr": "increment"}
MESSAGE_ID: Final = "$message_id"  # next to the fields of a record: these have no id of their own


def map_clevertap(record: Mapping[str, Any], envelope: Envelope) -> list[WireRow]:
    """The row of one record; RecordInvalid names its fault."""
    user, device = text_id("identity", record.get("identity")), text_id(_OBJECT_ID, record.get(_OBJECT_ID))
    others = {kind: value for name, kind in _OTHER_IDS.items() if (value := text_id(name, record.get(name)))}
    if not (user or device or others):
        raise RecordInvalid("IDENTIFIER_MISSING", "a record needs an identity, objectId, FBID or GPID")
    time_ms = instant_ms(record.get("ts"))
    instant = envelope.received_ms if time_ms is None else time_ms
    message_id = envelope.message_id(record.get(MESSAGE_ID))
    match record.get("type"):
        case "event":
            name = event_name(record.get("evtName"), "evtName")
            data = {key: _plain(value) for key, value in map_of("evtData", record.get("evtData")).items()}
            return [(name, user, device, instant, message_id, data, others, NO_OPERATIONS)]
        case "profile":
            values, operations = _change(map_of("profileData", record.get("profileData")))
            others |= _email(values)
            return [(None, user, device, instant, message_id, values, others, operations)]
    raise RecordInvalid("TYPE_UNKNOWN", "the type of a record is event or profile")


def _email(values: Mapping[str, Any]) -> dict[str, str]:
    given = values.get("Email", values.get(EMAIL))
    return {EMAIL: given} if isinstance(given, str) and "@" in given else {}


def _change(data: Mapping[str, Any]) -> tuple[dict[str, Any], Operations]:
    """(values, operations) of a profile's data."""
    values, operations = dict[str, Any](), dict[str, dict[str, Any]]()
    for key, value in data.items():
        if isinstance(value, dict) and value and all(name.startswith("$") for name in value):
            for name, operand in value.items():
                if name == "$set":
                    values[key] = _plain(operand)
                elif name == "$delete":
                    values[key] = None
                elif (operation := _OPERATIONS.get(name)) is not None:
                    operations.setdefault(operation, {})[key] = _operand(name, key, operand)
                else:
                    known = ", ".join(("$set", "$delete", *_OPERATIONS))
                    raise RecordInvalid("OPERATION_UNKNOWN", f"{key!r}: {name!r} is not one of {known}")
        else:
            values[key] = _plain(value)
    return values, operations


def _operand(name: str, key: str, operand: Any) -> Any:
    if name in ("$add", "$remove"):
        return _plain(operand if isinstance(operand, list) else [operand])
    if isinstance(operand, bool) or not isinstance(operand, int | float):
        raise RecordInvalid("OPERATION_INVALID", f"{key!r}: {name} needs a number")
    return -operand if name == "$decr" else operand


def _plain(value: Any) -> Any:
    """A value in which `$D_<seconds>` forms, at any depth, are replaced by their times."""
    match value:
        case str() if (found := _TIME.fullmatch(value)) is not None:
            instant = instant_ms(int(found[1]), "s")
            return value if instant is None else to_datetime(instant)
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
    return value


_CODES: Final = {
    "EVENT_NAME_INVALID": 509,
    "PROPERTIES_INVALID": 512,
    "TOO_MANY_PROPERTIES": 522,
    "IDENTIFIER_MISSING": 523,
    "IDENTIFIER_BLOCKED": 523,
    "IDENTIFIER_INVALID": 523,
    "TYPE_UNKNOWN": 524,
    "RECORD_MALFORMED": 524,
    "TIME_INVALID": 525,
    "TIME_IN_FUTURE": 525,
}
_MISCELLANEOUS: Final = 555


def upload_result(count: int, failed: Iterable[tuple[Any, str, str]]) -> dict[str, Any]:
    """The answer to an upload of `count` records: each failed one is (record, our code, message)."""
    unprocessed = [
        {"status": "fail", "code": _CODES.get(code, _MISCELLANEOUS), "error": f"{code}: {message}", "record": record}
        for record, code, message in failed
    ]
    processed = count - len(unprocessed)
    status = "success" if not unprocessed else "partial" if processed else "fail"
    return {"status": status, "processed": processed, "unprocessed": unprocessed}
