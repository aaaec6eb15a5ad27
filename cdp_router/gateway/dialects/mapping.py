"""Common part of all dialects: from one item of a client to the rows of the cluster."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import msgspec

from cdp_router.errors import RecordInvalid
from cdp_router.records.validation import Row, check_row, check_text
from cdp_store.ids import EMAIL, is_identifier_kind
from cdp_store.limits import MESSAGE_ID_BYTES_MAX, TIME_MAX_MS
from cdp_store.records import rules

# The operands by operation and attribute.
Operations = Mapping[str, Mapping[str, Any]]
# [name or None, user_id, anonymous_id, time ms, message_id, values, others, operations]: the msgpack row of cdp.v1.
WireRow = tuple[str | None, str | None, str | None, int, str, dict[str, Any], dict[str, str], Operations]
# The same without identifiers and operations.
UsualRow = tuple[str | None, str | None, str | None, int, str, dict[str, Any]]
_USUAL_FIELDS: Final = 6
_SHORT_ARRAY, _MIDDLE_ARRAY = 15, 65_535  # rows whose array has a head of one byte, of three
_SOURCE_CHARACTERS_MAX: Final = 40
_SUFFIX_BYTES: Final = 8  # room for the suffix that distinguishes the rows of one message
_NO_KIND_CHARACTER: Final = re.compile(r"[^a-z0-9_]+")
_KIND_CHARACTERS_MAX: Final = 40
_ENCODER: Final = msgspec.msgpack.Encoder()
_NO_FORM: Final = (OverflowError, UnicodeEncodeError, RecursionError)
# Names of libraries, such as analytics-python, @segment/analytics-node, posthog-ruby; Android's has java in no name.
_SERVERS: Final = re.compile(r"(^|[^a-z])(python|node|ruby|php|go|java|net|dotnet|rust|elixir|server)($|[^a-z])")

PROFILE_TYPE: Final = "profile_type"  # the attribute that distinguishes groups from people
GROUP: Final = "group"


@dataclass(frozen=True, slots=True)
class Envelope:
    """Facts of a request apart from its records; times in epoch milliseconds."""

    source: str
    received_ms: int
    sent_ms: int | None = None
    is_attempt: bool = False  # a header of this very attempt has sent_ms; otherwise it may be an earlier one's
    is_contradicted: bool = False  # a record is younger than the stated time of sending
    anonymous_ids: str = ""  # the source's pattern of ids of unknown people

    def message_id(self, given: Any, part: str = "") -> str:
        """An id that no other source can give: a message is accepted once from each. Without one it is generated."""
        prefix, room = self.message_id_prefix()
        known = text_id("message id", given) or uuid.uuid4().hex
        if len(known.encode(errors="replace")) > room:
            prefix, known = f"{_short(prefix[:-1])}:", _short(known)
        return f"{prefix}{known}{part}"

    def message_id_prefix(self) -> tuple[str, int]:
        """Prefix of the ids of this source, and the bytes of an id that fit after it."""
        source = self.source if len(self.source) <= _SOURCE_CHARACTERS_MAX else _short(self.source)
        return f"{source}:", MESSAGE_ID_BYTES_MAX - _SUFFIX_BYTES - len(source.encode(errors="replace"))


NO_OPERATIONS: Final[Operations] = {}
Mapper = Callable[[Mapping[str, Any], Envelope], list[WireRow]]


def _short(text: str) -> str:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def text_id(what: str, value: Any) -> str | None:
    """An identifier as text; null, the empty text and absence are the same."""
    if value is None:
        return None
    if isinstance(value, str):
        return value or None
    match value:
        case bool():
            pass
        case int():
            return str(value)
        case float() if value.is_integer():
            return str(int(value))
    raise RecordInvalid.of(rules.IDENTIFIER.kind, what=what, type=type(value).__name__)


def map_of(what: str, value: Any) -> dict[str, Any]:
    """A map that may be missing."""
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        raise RecordInvalid.of(rules.PROPERTY_MAP, what=what)
    return value


def event_name(value: Any, what: str = "event name") -> str:
    """The name of an event; the cluster reports any other fault in it."""
    if not isinstance(value, str) or not value:
        check_text(rules.EVENT_NAME, value, what)
    return str(value)


def identifier_kind(name: Any) -> str | None:
    """A kind of identifiers from a name that clients chose, None if nothing of it is left."""
    if not isinstance(name, str):
        return None
    kind = _NO_KIND_CHARACTER.sub("_", name.lower()).strip("_")[:_KIND_CHARACTERS_MAX]
    return kind if is_identifier_kind(kind) else None


def is_server_library(name: Any) -> bool:
    """True if a library is one for servers."""
    return isinstance(name, str) and _SERVERS.search(name.lower()) is not None


def email_of(traits: Mapping[str, Any]) -> dict[str, str]:
    """The e-mail address among traits, as an identifier."""
    email = traits.get(EMAIL)
    return {EMAIL: email} if isinstance(email, str) and "@" in email else {}


def encode_row(row: WireRow | UsualRow) -> bytes:
    """The bytes of a row; RecordInvalid where a value has no form on the wire, by the rule that it breaks."""
    try:
        return _ENCODER.encode(_needed(row))
    except _NO_FORM:
        check_row(Row(*row), TIME_MAX_MS, lambda _: False)
        raise


def encode_rows(rows: Sequence[WireRow | UsualRow]) -> bytes | None:
    """All rows at once; None if one of them has no form on the wire: then `encode_row` names the fault."""
    try:
        packed = _ENCODER.encode([_needed(row) for row in rows])
    except _NO_FORM:
        return None
    head = 1 if len(rows) <= _SHORT_ARRAY else 3 if len(rows) <= _MIDDLE_ARRAY else 5
    return packed[head:]


def _needed(row: WireRow | UsualRow) -> tuple[Any, ...]:
    if len(row) == _USUAL_FIELDS:
        return row
    return row[:6] if not (row[6] or row[7]) else row if row[7] else row[:7]
