"""Rules for checking records, compiled from the contract's form into one that columns are compared with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from cdp.v1 import ingest_pb2, schema_pb2

from cdp_router.contract.values import from_value
from cdp_router.errors import RecordInvalid, RequestInvalid
from cdp_router.ingest.violation_counts import Mode
from cdp_router.limits import SCHEMA_ALLOWED_MAX, SCHEMA_RULES_MAX
from cdp_store.arrays import I64, U8
from cdp_store.limits import NAME_BYTES_MAX, PROPERTIES_PER_RECORD_MAX
from cdp_store.values import Kind

_KINDS: Final[Mapping[int, tuple[Kind, ...]]] = {
    schema_pb2.VALUE_TYPE_BOOLEAN: (Kind.BOOL,),
    schema_pb2.VALUE_TYPE_INTEGER: (Kind.INT,),
    schema_pb2.VALUE_TYPE_NUMBER: (Kind.INT, Kind.FLOAT),
    schema_pb2.VALUE_TYPE_TEXT: (Kind.STRING,),
    schema_pb2.VALUE_TYPE_TIME: (Kind.TIME,),
    schema_pb2.VALUE_TYPE_LIST: (Kind.LIST,),
}


_INT64: Final = np.iinfo(np.int64)


@dataclass(frozen=True, slots=True)
class Allowed:
    """Values by kind, in the form that batches have them."""

    booleans: I64
    integers: I64
    floats: np.ndarray[Any, np.dtype[np.float64]]
    texts: frozenset[bytes]
    shown: str


@dataclass(frozen=True, slots=True)
class PropertyCheck:
    """Requirements of one property; None for kinds or for allowed values: any."""

    name: str
    kinds: U8 | None
    type_name: str
    required: bool
    allowed: Allowed | None


@dataclass(frozen=True, slots=True)
class RecordCheck:
    """Requirements of records of one event name, or of changes of attributes."""

    mode: Mode
    properties: tuple[PropertyCheck, ...]
    only_these: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Rules:
    """All checks by event name, "" for changes of attributes, and the mode for events without a check."""

    message: schema_pb2.SchemaRules = field(default_factory=schema_pb2.SchemaRules)
    checks: Mapping[str, RecordCheck] = field(default_factory=dict)
    unlisted: Mode = Mode.ALLOW

    @property
    def is_empty(self) -> bool:
        """True if no record can break the rules."""
        return not self.checks and self.unlisted is Mode.ALLOW

    @staticmethod
    def from_message(message: schema_pb2.SchemaRules) -> Rules:
        """The rules in a message; RequestInvalid names the part without a meaning."""
        if len(message.rules) > SCHEMA_RULES_MAX:
            raise RequestInvalid("rules.rules", f"{len(message.rules)} of them; at most {SCHEMA_RULES_MAX}")
        checks = dict[str, RecordCheck]()
        for number, rule in enumerate(message.rules):
            path = f"rules.rules[{number}]"
            if rule.event in checks:
                raise RequestInvalid(f"{path}.event", f"there is another rule for {rule.event!r}")
            if len(rule.event.encode()) > NAME_BYTES_MAX:
                raise RequestInvalid(f"{path}.event", f"longer than {NAME_BYTES_MAX} bytes")
            checks[rule.event] = _record_check(rule, path)
        return Rules(message, checks, _mode(message.unlisted, "rules.unlisted"))


def _record_check(rule: schema_pb2.SchemaRule, path: str) -> RecordCheck:
    if len(rule.properties) > PROPERTIES_PER_RECORD_MAX:
        raise RequestInvalid(f"{path}.properties", f"at most {PROPERTIES_PER_RECORD_MAX}: no record has more")
    properties = [_property(each, f"{path}.properties[{n}]") for n, each in enumerate(rule.properties)]
    names = frozenset(each.name for each in properties)
    if len(names) < len(properties):
        raise RequestInvalid(f"{path}.properties", "name one twice")
    if not rule.event and any(each.required for each in properties):
        raise RequestInvalid(f"{path}.properties", "a change of attributes names only some: none can be required")
    return RecordCheck(_mode(rule.mode, f"{path}.mode"), tuple(properties), names if rule.only_these else None)


def _property(rule: schema_pb2.PropertyRule, path: str) -> PropertyCheck:
    if not 0 < len(rule.name.encode()) <= NAME_BYTES_MAX:
        raise RequestInvalid(f"{path}.name", f"must have 1 to {NAME_BYTES_MAX} bytes")
    if rule.type and rule.type not in _KINDS:
        raise RequestInvalid(f"{path}.type", f"{rule.type} is no type of values")
    kinds = np.array(_KINDS[rule.type], np.uint8) if rule.type else None
    type_name = schema_pb2.ValueType.Name(rule.type).removeprefix("VALUE_TYPE_").lower()
    allowed = _allowed(rule.allowed, f"{path}.allowed") if rule.allowed else None
    return PropertyCheck(rule.name, kinds, type_name, rule.required, allowed)


def _allowed(values: Iterable[ingest_pb2.Value], path: str) -> Allowed:
    try:
        found = [from_value(value) for value in values]
    except RecordInvalid as error:
        raise RequestInvalid(path, error.message) from error
    if len(found) > SCHEMA_ALLOWED_MAX:
        raise RequestInvalid(path, f"{len(found)} values; at most {SCHEMA_ALLOWED_MAX}")
    if not all(isinstance(value, bool | int | float | str) for value in found):
        raise RequestInvalid(path, "only booleans, numbers and texts can be listed")
    numbers = [value for value in found if isinstance(value, int | float) and not isinstance(value, bool)]
    if not all(math.isfinite(value) for value in numbers):
        raise RequestInvalid(path, "only finite numbers can be listed")
    integers = [int(value) for value in numbers if value == int(value) and _INT64.min <= value <= _INT64.max]
    return Allowed(
        np.array([value for value in found if isinstance(value, bool)], np.int64),
        np.array(integers, np.int64),
        np.array([float(value) for value in numbers if float(value) == value], np.float64),
        frozenset(value.encode() for value in found if isinstance(value, str)),
        ", ".join(repr(value) for value in found[:5]) + (", ..." if len(found) > 5 else ""),
    )


def _mode(mode: int, path: str) -> Mode:
    if mode not in schema_pb2.ViolationMode.values():
        raise RequestInvalid(path, f"{mode} is no mode")
    return Mode(mode) if mode else Mode.ALLOW
