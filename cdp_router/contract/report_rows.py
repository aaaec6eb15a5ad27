"""The rows of a report's answer and their fields, found in its message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_ROWS: Final = {"DistributionReport": "histogram"}  # for other reports, the first field of messages


def report_rows(report: Message) -> tuple[Sequence[Any], Sequence[FieldDescriptor]]:
    """(the rows, their fields); an answer without rows counts as one row."""
    described: Any = report.DESCRIPTOR
    of_messages = [each.name for each in described.fields if each.is_repeated and each.message_type is not None]
    if not of_messages:
        return [report], described.fields
    name = _ROWS.get(described.name, of_messages[0])
    return getattr(report, name), described.fields_by_name[name].message_type.fields


def is_instant(field: FieldDescriptor) -> bool:
    """Tests whether a field holds an instant."""
    return field.message_type is not None and field.message_type.name == "Timestamp"


def is_value(field: FieldDescriptor) -> bool:
    """Tests whether a field holds a value of any type."""
    return field.message_type is not None and field.message_type.name == "Value"
