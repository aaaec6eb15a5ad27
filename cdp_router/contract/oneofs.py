"""Unions of dataclasses, and their oneofs in the contract."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import OneofDescriptor
from google.protobuf.message_factory import GetMessageClass

from cdp_router.errors import RequestInvalid


@dataclass(frozen=True, slots=True)
class Codec:
    """Writer and reader of one kind of value; the reader takes the message, its path and its depth in levels."""

    write: Callable[[Any], Any]
    read: Callable[[Any, str, int], Any]


@dataclass(frozen=True, slots=True)
class OneofRule:
    """Problems to report if a oneof is not given, or a value has no field in it."""

    missing: str
    place: str | None = None  # of that problem, after the path of the message; None: the oneof
    absent: Any = None  # used in the tree if the oneof is not given, instead of a refusal
    foreign: Callable[[Any], RequestInvalid] | None = None
    only: Container[str] | None = None  # the fields that may be given; None: all
    narrowed: str = ""  # the problem if a field accepts only part of what the message can hold
    nesting: frozenset[str] | None = None  # fields that add a level, while others restart at 0; None: all do
    levels_max: int = sys.maxsize
    unset: Mapping[str, Callable[[Any], bool]] = field(default_factory=dict)  # when a field counts as not given


class Oneof:
    """The codec of a union: each of its dataclasses is in one field of a oneof."""

    def __init__(self, descriptor: OneofDescriptor, rule: OneofRule) -> None:
        self._name, self._rule = descriptor.name, rule
        self._place = f".{descriptor.name}" if rule.place is None else rule.place
        self._message = descriptor.containing_type
        self._by_type: dict[type, tuple[str, Codec]] = {}
        self._by_field: dict[str, Codec] = {}

    def add(self, kind: type, name: str, codec: Codec) -> None:
        """Assigns a dataclass to a field, if the rule allows it."""
        if self._rule.only is None or name in self._rule.only:
            self._by_type[kind] = (name, codec)
            self._by_field[name] = codec

    def kinds(self) -> set[type]:
        """The dataclasses that have a field."""
        return set(self._by_type)

    def parts(self, value: Any) -> dict[str, Any]:
        """The field of a value, with its content."""
        found = self._by_type.get(type(value))
        if found is not None:
            return {found[0]: found[1].write(value)}
        if self._rule.foreign is None:
            raise TypeError(f"{type(value).__name__} has no field in {self._message.name}.{self._name}")
        raise self._rule.foreign(value)

    def read(self, message: Any, path: str, depth: int) -> Any:
        """The value in a message; RequestInvalid if it is missing, or nested too deeply."""
        rule = self._rule
        if depth > rule.levels_max:
            raise RequestInvalid(path, f"more than {rule.levels_max} levels of nesting")
        name = message.WhichOneof(self._name)
        codec = self._by_field.get(name)
        if codec is None or (rule.unset and name in rule.unset and rule.unset[name](getattr(message, name))):
            if rule.absent is not None:
                return rule.absent
            raise RequestInvalid(f"{path}{self._place}", rule.missing)
        deeper = depth + 1 if rule.nesting is None or name in rule.nesting else 0
        return codec.read(getattr(message, name), f"{path}.{name}" if path else name, deeper)

    def of_message(self, only: Container[type] | None = None) -> Codec:
        """The codec of the message around it, for some of its kinds if `only` is given."""
        made, absent, narrowed = GetMessageClass(self._message), type(self._rule.absent), self._rule.narrowed

        def write(value: Any) -> Any:
            return None if type(value) is absent else made(**self.parts(value))

        def read_some(message: Any, path: str, depth: int) -> Any:
            value = self.read(message, path, depth)
            if only is not None and type(value) not in only:
                raise RequestInvalid(path, narrowed)
            return value

        return Codec(write, self.read if only is None else read_some)
