"""Faults of a JSON body that is no message of the contract, in words of its fields."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_NUMBERS: Final = (
    FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
)  # fmt: skip
_FLOATS: Final = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)
_INSTANT: Final = "a date or an instant such as 2026-01-31T10:00:00Z, in quotes"
_UNKNOWN: Final = "the body does not fit this path; /openapi.json describes what does"


class GivenTwice(Exception):
    """A field of an object is given twice."""


def fields_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of an object, each of which may be given once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise GivenTwice(f"the body is not JSON: the field {twice[:40]!r} is given twice")
    return found


def fault_of(body: bytes, of: type[Message]) -> str:
    """The first fault of a body that cannot be read as a message, with the path of the field."""
    try:
        value = json.loads(body, object_pairs_hook=fields_once)
    except GivenTwice as error:
        return str(error)
    except json.JSONDecodeError as error:
        return f"the body is not JSON: it ends too early or is malformed at line {error.lineno}, column {error.colno}"
    except UnicodeDecodeError as error:
        return f"the body is not UTF-8: byte 0x{body[error.start]:02x} at position {error.start}"
    except (ValueError, RecursionError):
        return "the body cannot be read: it is nested too deeply, or has a number that is too long"
    descriptor: Any = of.DESCRIPTOR  # of the library's own class or of its C twin
    return next(_faults(value, descriptor, ""), _UNKNOWN)


def _faults(value: Any, of: Descriptor, path: str) -> Iterator[str]:
    if of.full_name == "google.protobuf.Timestamp":
        if not isinstance(value, str):
            yield f"{path} must be {_INSTANT}, not {_kind(value)}"
        else:
            yield f"{path}: {value[:40]!r} is not {_INSTANT}"
        return
    if not isinstance(value, dict):
        yield f"{path or 'the body'} must be {'an object' if path else 'a JSON object'}, not {_kind(value)}"
        return
    given = dict[str, str]()
    for name, inner in value.items():
        here = f"{path}.{name}" if path else name
        field = of.fields_by_name.get(name) or of.fields_by_camelcase_name.get(name)
        if field is None:
            yield _no_field(name, of, path)
            return
        oneof = field.containing_oneof
        if oneof is not None and inner is not None:
            if oneof.name in given:
                yield f"{path or 'the body'} must have one of {given[oneof.name]} and {name}, not both"
            given[oneof.name] = name
        if inner is not None:
            yield from _field_faults(inner, field, here)


def _field_faults(value: Any, field: FieldDescriptor, path: str) -> Iterator[str]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        if not isinstance(value, dict):
            yield f"{path} must be an object, not {_kind(value)}"
            return
        for name, inner in value.items():
            yield from _one(inner, field.message_type.fields_by_name["value"], f"{path}.{name}")
    elif field.is_repeated:
        if not isinstance(value, list):
            yield f"{path} must be a list, not {_kind(value)}"
            return
        for number, inner in enumerate(value):
            yield from _one(inner, field, f"{path}[{number}]")
    else:
        yield from _one(value, field, path)


def _one(value: Any, field: FieldDescriptor, path: str) -> Iterator[str]:
    """Faults of one value; of a number or word only its type and range are checked."""
    kind, wanted = field.cpp_type, ""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if field.message_type is not None:
        yield from _faults(value, field.message_type, path)
    elif kind == FieldDescriptor.CPPTYPE_STRING:
        wanted = "" if isinstance(value, str) else "a string"
    elif kind == FieldDescriptor.CPPTYPE_BOOL:
        wanted = "" if isinstance(value, bool) else "true or false"
    elif kind in _NUMBERS:
        fits = isinstance(value, str) or (is_number and float(value).is_integer())
        wanted = "" if fits else "a whole number"
    elif kind in _FLOATS:
        wanted = "" if is_number or isinstance(value, str) else "a number"
    elif field.enum_type is not None:
        names = [each.name for each in field.enum_type.values]
        wanted = "" if value in names or is_number else f"one of {', '.join(names)}"
    if wanted:
        yield f"{path} must be {wanted}, not {_kind(value)}"


def _no_field(name: str, of: Descriptor, path: str) -> str:
    known = [field.name for field in of.fields]
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    where = f" in {path}" if path else ""
    return f"there is no field {name[:40]!r}{where}{hint} The fields are {', '.join(known)}"


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
    return "an object"
