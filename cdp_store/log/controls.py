"""Log records other than batches: erasures, retention, suppressions (log/FORMAT.md has their bytes)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cdp_store.errors import BatchMalformed
from cdp_store.ids import IDENTIFIER_TAGS
from cdp_store.limits import RETENTION_DAYS_MAX, TIME_MAX_MS, TIME_MIN_MS
from cdp_store.values import decoding, pack, unpack

FINGERPRINT_BYTES: Final = 16
FORGOTTEN_MS: Final = TIME_MAX_MS  # a cutoff that leaves nothing of a name, not even its number of events
ALL_EVENTS: Final = ""  # the retention rule of events that have no rule of their own


@dataclass(frozen=True, slots=True)
class Erasure:
    """Profiles to forget, by encoded identifier."""

    identifiers: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Retention:
    """A change of rules (days by event name, 0 = for ever), and the events to drop: all before an instant, by name."""

    days: Mapping[str, int]
    cutoffs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Suppression:
    """A change of suppressions: identifiers with these fingerprints are refused from now on, or accepted again."""

    since_ms: int
    added: tuple[bytes, ...]
    lifted: tuple[bytes, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.lifted)


def encode_suppression(suppression: Suppression) -> bytes:
    """Payload of a log record of kind SUPPRESSION."""
    return pack({"since": suppression.since_ms, "added": suppression.added, "lifted": suppression.lifted})


def decode_suppression(payload: bytes) -> Suppression:
    """The suppression in a payload; BatchMalformed names the fault."""
    since_ms, added, lifted = (_unpacked(payload, field) for field in ("since", "added", "lifted"))
    # `type(...) is int`: in Python a bool is an int, and msgpack distinguishes them.
    _require(type(since_ms) is int and TIME_MIN_MS <= since_ms <= TIME_MAX_MS, "a suppression has no time")
    for part in (added, lifted):
        good = isinstance(part, list) and all(type(each) is bytes and len(each) == FINGERPRINT_BYTES for each in part)
        _require(good, "a suppression names something that is no fingerprint")
    return Suppression(since_ms, tuple(added), tuple(lifted))


def encode_erasure(erasure: Erasure) -> bytes:
    """Payload of a log record of kind ERASE."""
    return pack({"identifiers": list(erasure.identifiers)})


def decode_erasure(payload: bytes) -> Erasure:
    """The erasure in a payload; BatchMalformed names the fault."""
    identifiers = _unpacked(payload, "identifiers")
    good = isinstance(identifiers, list) and all(_is_identifier(item) for item in identifiers)
    _require(good, "an erasure names something that is no identifier")
    return Erasure(tuple(identifiers))


def encode_retention(retention: Retention) -> bytes:
    """Payload of a log record of kind RETENTION."""
    return pack({"days": dict(retention.days), "cutoffs": dict(retention.cutoffs)})


def decode_retention(payload: bytes) -> Retention:
    """The retention in a payload; BatchMalformed names the fault."""
    days, cutoffs = _unpacked(payload, "days"), _unpacked(payload, "cutoffs")
    _require(_by_name(days, 0, RETENTION_DAYS_MAX), "a retention rule is no number of days by event name")
    _require(_by_name(cutoffs, TIME_MIN_MS, TIME_MAX_MS), "a retention cutoff is no instant by event name")
    return Retention(days, cutoffs)


def _unpacked(payload: bytes, field: str) -> Any:
    with decoding(field):
        return unpack(payload)[field]


def _is_identifier(item: object) -> bool:
    return type(item) is bytes and item[:1] in IDENTIFIER_TAGS


def _by_name(table: object, low: int, high: int) -> bool:
    if not isinstance(table, dict):
        return False
    return all(type(name) is str and type(value) is int and low <= value <= high for name, value in table.items())


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise BatchMalformed(problem)
