"""The contract as descriptors tell it: its methods, and messages of every shape for them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import cdp.v1
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

_DEPTH_MAX = 4
_TEXTS = (
    "",
    "everyone",
    'did("View")',
    "plan",
    "a",
    "UTC",
    "user_id",
    "cluster-one",
    "ü☕",
    "\x00",
    "x" * 600,
    "~nobody",
    "s3:/",
    '{"a":1}',
)
_NUMBERS = (0, 1, 2, -1, 3, 100, 10_001, 2**31 - 1, 2**32 - 1, -(2**31), 2**63 - 1, -(2**63), 2**64 - 1)
_KINDS = FieldDescriptor


def methods() -> Iterator[MethodDescriptor]:
    """Every method of the contract."""
    for path in sorted(Path(next(iter(cdp.v1.__path__))).glob("*_pb2.py")):
        for service in import_module(f"cdp.v1.{path.stem}").DESCRIPTOR.services_by_name.values():
            yield from service.methods


def path_of(method: MethodDescriptor) -> str:
    """What gRPC calls the method."""
    return f"/{method.containing_service.full_name}/{method.name}"


@cache  # a strategy made for each example costs more than the drawing
def messages(descriptor: Descriptor, depth: int = 0) -> st.SearchStrategy[Message]:
    """Messages of a type, with few fields set and values at and beyond what is sensible."""
    return _messages(descriptor, depth)


@cache
def _fields(descriptor: Descriptor, depth: int) -> st.SearchStrategy[list[FieldDescriptor]]:
    fields = [each for each in descriptor.fields if depth < _DEPTH_MAX or each.message_type is None]
    return st.lists(st.sampled_from(fields), max_size=4, unique_by=lambda each: each.number) if fields else st.just([])


@st.composite
def _messages(draw: st.DrawFn, descriptor: Descriptor, depth: int) -> Message:
    message = GetMessageClass(descriptor)()
    for field in draw(_fields(descriptor, depth)):
        _fill(draw, message, field, depth)
    return message


def _fill(draw: st.DrawFn, message: Any, field: FieldDescriptor, depth: int) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        value_field = field.message_type.fields_by_name["value"]
        key = draw(st.sampled_from(_TEXTS))
        if value_field.message_type is None:
            getattr(message, field.name)[key] = draw(scalars(value_field))
        else:
            getattr(message, field.name)[key].CopyFrom(draw(messages(value_field.message_type, depth + 1)))
    elif field.message_type is not None:
        count = draw(st.integers(0, 2)) if field.is_repeated else 1
        for _ in range(count):
            inner = draw(messages(field.message_type, depth + 1))
            getattr(message, field.name).append(inner) if field.is_repeated else getattr(message, field.name).CopyFrom(
                inner
            )
    elif field.is_repeated:
        getattr(message, field.name).extend(draw(_several(field)))
    else:
        setattr(message, field.name, draw(scalars(field)))


@cache
def _several(field: FieldDescriptor) -> st.SearchStrategy[list[Any]]:
    return st.lists(scalars(field), max_size=2)


@cache
def scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Values of a field that is no message."""
    match field.cpp_type:
        case _KINDS.CPPTYPE_STRING:
            if field.type == _KINDS.TYPE_BYTES:
                return st.sampled_from([b"", b"x", b"\x90", b"\xc1", b"\x91\x96", b"y" * 70]) | st.binary(max_size=20)
            return st.sampled_from(_TEXTS)
        case _KINDS.CPPTYPE_BOOL:
            return st.booleans()
        case _KINDS.CPPTYPE_ENUM:
            return st.sampled_from([*(value.number for value in field.enum_type.values), 99])
        case _KINDS.CPPTYPE_DOUBLE | _KINDS.CPPTYPE_FLOAT:
            return st.sampled_from([0.0, -1.5, 1e308, float("inf"), float("nan")])
        case _KINDS.CPPTYPE_INT32:
            low, high = -(2**31), 2**31 - 1
        case _KINDS.CPPTYPE_UINT32:
            low, high = 0, 2**32 - 1
        case _KINDS.CPPTYPE_INT64:
            low, high = -(2**63), 2**63 - 1
        case _:
            low, high = 0, 2**64 - 1
    return st.sampled_from([number for number in _NUMBERS if low <= number <= high])


@st.composite
def broken(draw: st.DrawFn, descriptor: Descriptor) -> bytes:
    """Bytes of a message with a few of them changed, cut off or put in."""
    data = bytearray(draw(messages(descriptor)).SerializeToString())
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(data)
