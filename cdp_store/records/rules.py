"""Rules of a record: limit, code and text of each, once, and the paths on which a record that breaks it can come.

Rows are checked one by one, columns as arrays, msgpack by a kernel, and batches at a shard by kernels again. Each path
takes limits and texts from here. `tests/router/records/test_rules.py` breaks every rule on every path of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, auto
from typing import Final

from cdp_store.limits import (
    DAY_MS,
    FUTURE_SKEW_MS,
    IDENTIFIER_BYTES_MAX,
    LIST_ITEMS_MAX,
    MESSAGE_ID_BYTES_MAX,
    NAME_BYTES_MAX,
    NAMES_PER_BATCH_MAX,
    NESTING_DEPTH_MAX,
    PROPERTIES_PER_RECORD_MAX,
    RECORD_BYTES_MAX,
    STRING_BYTES_MAX,
)


class Path(Flag):
    """The way by which a record comes in."""

    JSON = auto()  # of the gateway, whose dialects make rows of msgpack: what JSON cannot say does not come
    MSGPACK = auto()  # values of any type
    PROTOBUF = auto()  # typed, and its texts are UTF-8
    COLUMNS = auto()  # a column has one type, and a wrong one is refused with its whole batch
    SHARD = auto()  # batches from routers: checked for what no column could hold, and for no size


ROWS: Final = Path.JSON | Path.MSGPACK | Path.PROTOBUF
ROUTER: Final = ROWS | Path.COLUMNS
_UNTYPED: Final = Path.JSON | Path.MSGPACK
_MESSAGES: Final = Path.MSGPACK | Path.PROTOBUF


@dataclass(frozen=True, slots=True)
class Rule:
    """One demand on records: code and text for a record that does not meet it, and the paths on which that can be."""

    code: str
    text: str  # a form; `limit` is known, all else is of the record
    paths: Path = ROUTER
    limit: int = 0

    def said(self, **found: object) -> str:
        """The text for one record."""
        return self.text.format(limit=self.limit, **found)


@dataclass(frozen=True, slots=True)
class TextRules:
    """The rules of a text that every record can have; without `given` the empty text means that there is none."""

    what: str
    limit: int
    length: Rule
    kind: Rule
    unicode: Rule
    given: Rule | None


def _text_rules(
    what: str, code: str, limit: int, *, unicode: Path = _UNTYPED, given: Path | None = None, kind: Path = _UNTYPED
) -> TextRules:
    return TextRules(
        what,
        limit,
        Rule(code, "{what} {start!r}... is longer than {limit} bytes", ROUTER, limit),
        Rule(code, "{what} must be a string, not {type}", kind),
        Rule(code, "{what} is not valid UTF-8", unicode),
        None if given is None else Rule(code, "{what} is empty", given),
    )


_UTF8_IN: Final = _UNTYPED | Path.COLUMNS  # texts of columns are bytes; those of `values` are one column
EVENT_NAME: Final = _text_rules("event name", "EVENT_NAME_INVALID", NAME_BYTES_MAX, unicode=_UTF8_IN, given=ROUTER)
MESSAGE_ID: Final = _text_rules("message_id", "MESSAGE_ID_INVALID", MESSAGE_ID_BYTES_MAX, unicode=_UTF8_IN)
PROPERTY_NAME: Final = _text_rules(
    "property name", "PROPERTY_NAME_INVALID", NAME_BYTES_MAX, given=ROUTER, kind=Path.MSGPACK
)
# A router drops empty identifiers; what is left of one at a shard is a tag.
IDENTIFIER: Final = _text_rules(
    "identifier", "IDENTIFIER_INVALID", IDENTIFIER_BYTES_MAX, unicode=_UTF8_IN | Path.SHARD, given=Path.SHARD
)
IDENTIFIER_MAP: Final = Rule("IDENTIFIER_INVALID", "identifiers must be a map of kinds to values", Path.MSGPACK)
IDENTIFIER_KIND: Final = Rule(
    "IDENTIFIER_INVALID", "{kind!r:.60} is no kind of identifiers: a-z, 0-9 and _", _MESSAGES | Path.SHARD
)
IDENTIFIER_BLOCKED: Final = Rule("IDENTIFIER_BLOCKED", "its identifiers are values that name nobody, such as 0 or null")
IDENTIFIER_MISSING: Final = Rule(
    "IDENTIFIER_MISSING", "a record needs a user_id, an anonymous_id or another identifier"
)

TIME_GIVEN: Final = Rule("TIME_INVALID", "time must be given, as milliseconds since 1970 UTC", _MESSAGES | Path.COLUMNS)
TIME_YEARS: Final = Rule(
    "TIME_INVALID", "{what} is not between the years 1 and 9999; is its unit right?", ROUTER | Path.SHARD
)
TIME_NANOSECONDS: Final = Rule("TIME_INVALID", "{what} has {nanos} nanoseconds beside its seconds", Path.PROTOBUF)
TIME_AHEAD: Final = Rule(
    "TIME_IN_FUTURE",
    "time {when} is more than {limit} hours ahead of the server's clock",
    ROUTER,
    24 * FUTURE_SKEW_MS // DAY_MS,
)

PROPERTY_MAP: Final = Rule("PROPERTIES_INVALID", "{what} must be a map of names to values", _UNTYPED)
PROPERTY_TWICE: Final = Rule(
    "PROPERTY_NAME_INVALID", "{name!r} is there twice, also as a name with a dot or inside an object; send one of them"
)
PROPERTY_COUNT: Final = Rule(
    "TOO_MANY_PROPERTIES", "{count} properties; a record may have {limit}", ROUTER, PROPERTIES_PER_RECORD_MAX
)
RECORD_SIZE: Final = Rule("RECORD_TOO_LARGE", "about {size} bytes; a record may have {limit}", ROUTER, RECORD_BYTES_MAX)
NESTING: Final = Rule("NESTING_TOO_DEEP", "{name!r} is nested deeper than {limit} levels", ROUTER, NESTING_DEPTH_MAX)
LIST_LENGTH: Final = Rule(
    "LIST_TOO_LONG", "{name!r} has {count} items; a list may have {limit}", ROUTER, LIST_ITEMS_MAX
)
STRING_LENGTH: Final = Rule("STRING_TOO_LONG", "{name!r} is longer than {limit} bytes", ROUTER, STRING_BYTES_MAX)
STRING_UNICODE: Final = Rule("STRING_INVALID", "{name!r} holds text that is not valid UTF-8", _UTF8_IN | Path.SHARD)
INTEGER_BITS: Final = Rule(
    "INTEGER_OUT_OF_RANGE", "{name!r} = {value} does not fit 64 bits; send a string", _UNTYPED | Path.COLUMNS
)
NUMBER_EXACT: Final = Rule(
    "NUMBER_INEXACT", "{name!r} has more digits than a number keeps; send a string", Path.COLUMNS
)
NUMBER_FINITE: Final = Rule(
    "NUMBER_NOT_FINITE", "{name!r} is {value}; send null or leave it out", _MESSAGES | Path.COLUMNS | Path.SHARD
)
LIST_JSON: Final = Rule("VALUE_UNUSABLE", "{name!r} holds no JSON list", Path.COLUMNS)
VALUE_TYPE: Final = Rule("VALUE_TYPE_UNKNOWN", "{name!r} has type {type}, which cannot be stored", Path.MSGPACK)
VALUE_BOOLEAN: Final = Rule("VALUE_TYPE_UNKNOWN", "{name!r} is a boolean and neither 0 nor 1", Path.SHARD)
VALUE_UNSET: Final = Rule("PROPERTIES_INVALID", "{name!r} is unset, which only attributes can be", Path.SHARD)

OPERATION_MAP: Final = Rule(
    "OPERATION_INVALID", "operations are a map, in a record that changes attributes", Path.MSGPACK | Path.SHARD
)
OPERATION_NAME: Final = Rule("OPERATION_INVALID", "{name!r:.60} is none of {known}, with a map", Path.MSGPACK)
OPERATION_TWICE: Final = Rule("OPERATION_INVALID", "{name!r} has two operations in one record", ROWS)
OPERATION_AND_SET: Final = Rule("OPERATION_INVALID", "{name!r} is set as well; send that in a record before", ROWS)
OPERATION_NUMBER: Final = Rule("OPERATION_INVALID", "{name!r} can only be incremented by a number", ROWS | Path.SHARD)
OPERATION_LIST: Final = Rule("OPERATION_INVALID", "{operation} needs a list for {name!r}", ROWS | Path.SHARD)
OPERATION_VALUE: Final = Rule("OPERATION_INVALID", "{name!r} cannot be set once to nothing", ROWS)

BATCH_NAMES: Final = Rule("TOO_MANY_NAMES", "one batch may mention {limit} different names", ROWS, NAMES_PER_BATCH_MAX)
BODY: Final = Rule("BODY_MISSING", "a record needs an event, attributes or an alias", Path.PROTOBUF)
ROW_OBJECT: Final = Rule("RECORD_MALFORMED", "a record must be an object, not {type}", Path.JSON)
ROW_FIELDS: Final = Rule(
    "RECORD_MALFORMED", "a record is an array of {limit} fields, or one or two more", Path.MSGPACK, 6
)
ROW_DEPTH: Final = Rule("RECORD_MALFORMED", "is nested too deeply to be read", Path.MSGPACK)
ROW_DECODED: Final = Rule("RECORD_MALFORMED", "cannot be decoded: {problem:.200}", Path.MSGPACK)
ROW_UNICODE: Final = Rule("RECORD_MALFORMED", "holds text that is not UTF-8", Path.MSGPACK)
ROW_BYTES: Final = Rule(
    "RECORD_MALFORMED",
    "cannot be read: from byte {at} on the bytes are not msgpack; the records before it are taken",
    Path.MSGPACK,
)

RULES: Final = {name: each for name, each in globals().copy().items() if isinstance(each, Rule)} | {
    f"{name}.{part}": rule
    for name, each in globals().copy().items()
    if isinstance(each, TextRules)
    for part in ("length", "kind", "unicode", "given")
    if isinstance(rule := getattr(each, part), Rule)
}
