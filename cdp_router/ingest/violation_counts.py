"""Counts of violations for each rule of the schema."""

from __future__ import annotations

import enum
from collections import Counter
from typing import Final

from cdp.v1 import schema_pb2


class Mode(enum.IntEnum):
    """Treatment of a record that breaks a rule, numbered as in the contract."""

    ALLOW = schema_pb2.VIOLATION_MODE_ALLOW
    WARN = schema_pb2.VIOLATION_MODE_WARN
    QUARANTINE = schema_pb2.VIOLATION_MODE_QUARANTINE
    REJECT = schema_pb2.VIOLATION_MODE_REJECT


Rule = tuple[str, str, str]  # event ("": attributes), property ("": the record), the violation
ANY_NAME: Final = "*"  # names without a rule: senders choose them, so counts by name would grow without end
Counts = Counter[tuple[Rule, Mode]]
