"""A codec between dataclasses and protobuf messages, made from the fields of both.

A field is matched by its name and converted by its annotation: scalars, enums, optional values, tuples, mappings,
dataclasses, and unions, which are oneofs. `Rules` lists the exceptions. Codecs are made from both when a module is
loaded; fields that do not fit together are an error then.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from operator import attrgetter
from types import NoneType
from typing import Any, Final, get_args, get_origin, get_type_hints

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message_factory import GetMessageClass

from cdp_router.contract.oneofs import Codec, Oneof, OneofRule
from cdp_router.errors import RequestInvalid

Put = Callable[[Any, dict[str, Any]], None]
Take = Callable[[Any, str, int], Any]
Owner = tuple[type, str]  # a dataclass and the name of one of its fields

AS_IT_IS: Final = Codec(lambda value: value, lambda value, _path, _depth: value)


def _none() -> Any:
    """The default of a table of exceptions."""
    return field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rules:
    """Exceptions to the mapping by names and types.

    types: by the names that annotations use.

    wire_names: of dataclasses in a oneof, and of fields; "a.b" is b of the message a.

    words: our texts for the members of an enum of the contract.

    unions: types of messages that contain only a oneof.

    oneofs: by message, message and oneof, or message and its container.

    messages: those with a codec of their own, which gets the annotation.

    fields: exceptions for one field.

    finishing: the last step of reading a dataclass, which gets its path.

    first: fields that are read, and refused, before the others.

    inside: the name of this dataclass as a container in `oneofs`.

    values: codecs of types in one field, such as an array in bytes.
    """

    types: Mapping[str, Any] = _none()
    wire_names: Mapping[type | str | Owner, str] = _none()
    words: Mapping[Owner, Mapping[str, str]] = _none()
    unions: Mapping[str, Any] = _none()
    oneofs: Mapping[str, OneofRule] = _none()
    messages: Mapping[str, Callable[[Codecs, Any], Codec]] = _none()
    fields: Mapping[Owner, Callable[[Codec], Codec]] = _none()
    finishing: Mapping[type, Callable[[Any, str], Any]] = _none()
    first: Mapping[type, tuple[str, ...]] = _none()
    inside: Mapping[type, str] = _none()
    values: Mapping[Any, Codec] = _none()


@dataclass(frozen=True, slots=True)
class _Part:
    """A field of a dataclass: how it is written to the fields of a message, and read from the message.

    `plain` names a field of the message whose value is taken as it is.
    """

    name: str
    put: Put
    take: Take
    plain: str = ""


class Codecs:
    """The codecs of a family of dataclasses."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._oneofs: dict[tuple[str, str], Oneof] = {}
        self._messages: dict[tuple[Any, str, str], Codec] = {}
        self._annotations: dict[type, dict[str, Any]] = {}

    def of_message(self, kind: Any, descriptor: Descriptor, inside: str = "") -> Codec:
        """The codec of a type that is a message."""
        special = self._rules.messages.get(descriptor.name)
        if special is not None:
            return special(self, kind)
        key = (kind, descriptor.full_name, inside)
        if key not in self._messages:
            self._messages[key] = self._of_union_or_dataclass(kind, descriptor, inside)
        return self._messages[key]

    def _of_union_or_dataclass(self, kind: Any, descriptor: Descriptor, inside: str) -> Codec:
        union = self._rules.unions.get(descriptor.name)
        if union is None:
            return self._of_dataclass(kind, descriptor, self._rules.inside.get(kind, inside))
        only = _members(kind)
        narrowed = None if set(only) >= set(_members(union)) else frozenset(only)
        return self.of_oneof(union, descriptor.oneofs[0], inside).of_message(narrowed)

    def of_oneof(self, union: Any, descriptor: OneofDescriptor, inside: str = "") -> Oneof:
        """The codec of a union; made once, since a union may contain itself."""
        key = (descriptor.full_name, inside)
        if key in self._oneofs:
            return self._oneofs[key]
        message = descriptor.containing_type.name
        names = (f"{message} in {inside}", f"{message}.{descriptor.name}", message)
        made = Oneof(descriptor, next(self._rules.oneofs[name] for name in names if name in self._rules.oneofs))
        self._oneofs[key] = made
        by_name = {each.name: each for each in descriptor.fields}
        for kind in _members(union):
            name = self._rules.wire_names.get(kind) or _snake(kind.__name__)
            if name in by_name:
                made.add(kind, name, self.of_value(kind, by_name[name], None, inside))
        return made

    def of_value(self, kind: Any, at: FieldDescriptor, owner: Owner | None = None, inside: str = "") -> Codec:
        """The codec of one value in a field."""
        message = at.message_type
        if is_dataclass(kind) and isinstance(kind, type) and not (message and message.name in self._rules.messages):
            own = fields(kind)
            if len(own) == 1 and not (message and self._wire_name(kind, own[0].name) in message.fields_by_name):
                return self._of_only(kind, own[0].name, at, inside)
        if message is not None:
            return self.of_message(kind, message, inside)
        return (
            self._rules.values.get(kind, AS_IT_IS) if at.enum_type is None else self._of_enum(kind, at.enum_type, owner)
        )

    def _of_only(self, kind: type, name: str, at: FieldDescriptor, inside: str) -> Codec:
        """The codec of a dataclass with one field, which the contract writes without a message around it."""
        codec = self._of_field(kind, name, at, inside)
        write, read = codec.write, codec.read
        return Codec(
            lambda value: write(getattr(value, name)), lambda value, path, depth: kind(read(value, path, depth))
        )

    def _of_enum(self, kind: Any, enumeration: EnumDescriptor, owner: Owner | None) -> Codec:
        """The codec of an enum, or of texts for one, by the names of its members."""
        prefix = enumeration.values_by_number[0].name.removesuffix("UNSPECIFIED")
        numbers = {value.name.removeprefix(prefix): value.number for value in enumeration.values if value.number}
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            ours: dict[Any, int] = {member: numbers[member.name] for member in kind}
        else:
            words = self._rules.words.get(owner) if owner else None
            ours = {word: numbers[name] for word, name in (words or {name.lower(): name for name in numbers}).items()}
        theirs = {number: member for member, number in ours.items()}

        def read(number: int, path: str, _depth: int) -> Any:
            if number not in theirs:
                raise RequestInvalid(path, f"value {number} is unspecified or unknown")
            return theirs[number]

        return Codec(ours.__getitem__, read)

    def _of_field(self, owner: type, name: str, at: FieldDescriptor, inside: str) -> Codec:
        """The codec of a dataclass's field, with its exceptions."""
        kind, special = self._annotation(owner, name), self._rules.fields.get((owner, name))
        if get_origin(kind) is Mapping:
            key, value = get_args(kind)
            codec = self._of_mapping(key, value, at, inside)
        elif at.is_repeated:
            codec = _repeated(self.of_value(get_args(kind)[0], at, (owner, name), inside), get_origin(kind))
        else:
            members = _members(kind)
            codec = self.of_value(members[0] if len(members) == 1 else kind, at, (owner, name), inside)
        return codec if special is None else special(codec)

    def _of_mapping(self, key_kind: Any, kind: type, at: FieldDescriptor, inside: str) -> Codec:
        """The codec of values by key.

        The key is in the one field of the message that the dataclass does not have, or before the field of any other
        value.
        """
        descriptor = at.message_type
        assert descriptor is not None, f"{at.full_name} holds no messages"
        if not is_dataclass(kind):
            return self._of_pairs(key_kind, kind, descriptor)
        own = {self._wire_name(kind, each.name) for each in fields(kind)}
        (key_at,) = (each for each in descriptor.fields if each.name not in own)
        made, key, name = GetMessageClass(descriptor), self.of_value(key_kind, key_at), key_at.name
        parts = self._parts(kind, descriptor, inside)
        take = self._taking(kind, parts)

        def write(mapping: Mapping[Any, Any]) -> list[Any]:
            wholes = list[Any]()
            for each, value in mapping.items():
                whole = {name: key.write(each)}
                for part in parts:
                    part.put(value, whole)
                wholes.append(made(**whole))
            return wholes

        def read(messages: Any, path: str, depth: int) -> dict[Any, Any]:
            return {key.read(getattr(each, name), path, depth): take(each, path, depth) for each in messages}

        return Codec(write, read)

    def _of_pairs(self, key_kind: Any, kind: Any, descriptor: Descriptor) -> Codec:
        made, (first, second) = GetMessageClass(descriptor), descriptor.fields
        key, value = self.of_value(key_kind, first), self.of_value(kind, second)

        def read(messages: Any, path: str, depth: int) -> dict[Any, Any]:
            pairs = ((getattr(each, first.name), getattr(each, second.name)) for each in messages)
            return {key.read(each, path, depth): value.read(own, path, depth) for each, own in pairs}

        return Codec(
            lambda mapping: [
                made(**{first.name: key.write(each), second.name: value.write(own)}) for each, own in mapping.items()
            ],
            read,
        )

    def _of_dataclass(self, kind: type, descriptor: Descriptor, inside: str) -> Codec:
        """The codec of a dataclass that is a message."""
        made, parts = GetMessageClass(descriptor), self._parts(kind, descriptor, inside)
        putting, take = [part.put for part in parts], self._taking(kind, parts)

        def write(node: Any) -> Any:
            whole: dict[str, Any] = {}
            for put in putting:
                put(node, whole)
            return made(**whole)

        return Codec(write, take)

    def _parts(self, kind: type, descriptor: Descriptor, inside: str) -> list[_Part]:
        """The fields of a dataclass in a message."""
        parts = list[_Part]()
        for each in fields(kind):
            group, _, wire_name = self._wire_name(kind, each.name).rpartition(".")
            there = _message_in(descriptor, group)
            annotation = self._annotation(kind, each.name)
            if wire_name in there.fields_by_name:
                at = there.fields_by_name[wire_name]
                codec = self._of_field(kind, each.name, at, inside)
                plain = wire_name if codec is AS_IT_IS and NoneType not in get_args(annotation) else ""
                taking = _taking(at, each, codec, annotation)
                part = _Part(each.name, _putting(each.name, wire_name, codec), taking, plain)
                parts.append(_grouped(group, part) if group else part)
            elif wire_name in there.oneofs_by_name:
                union = self.of_oneof(annotation, there.oneofs_by_name[wire_name], inside)
                parts.append(_Part(each.name, _spreading(each.name, union), union.read))
            else:
                own = self._parts(annotation, descriptor, inside)
                parts.append(_Part(each.name, _inlining(each.name, own), self._taking(annotation, own)))
        return parts

    def _taking(self, kind: type, parts: list[_Part]) -> Take:
        """A reader of a dataclass from the fields of a message."""
        first, finish = self._rules.first.get(kind, ()), self._rules.finishing.get(kind)
        if finish is None and len(parts) > 1 and all(part.plain for part in parts):
            read = attrgetter(*(part.plain for part in parts))  # one call for all fields
            return lambda message, _path, _depth: kind(*read(message))
        order = sorted(range(len(parts)), key=lambda place: _rank(first, parts[place].name))
        taking = [(place, parts[place].take) for place in order]

        def take(message: Any, path: str, depth: int) -> Any:
            values = [None] * len(taking)
            for place, take_part in taking:
                values[place] = take_part(message, path, depth)
            return kind(*values) if finish is None else finish(kind(*values), path)

        return take

    def _wire_name(self, kind: type, name: str) -> str:
        names = self._rules.wire_names
        return names.get((kind, name)) or names.get(name) or name

    def _annotation(self, kind: type, name: str) -> Any:
        if kind not in self._annotations:
            self._annotations[kind] = get_type_hints(kind, localns=dict(self._rules.types))
        return self._annotations[kind][name]


def _message_in(descriptor: Descriptor, name: str) -> Descriptor:
    """The message in a field of a message; without a name, the message itself."""
    inner = descriptor.fields_by_name[name].message_type if name else descriptor
    if inner is None:
        raise TypeError(f"{descriptor.full_name}.{name} is no message")
    return inner


def _members(kind: Any) -> tuple[Any, ...]:
    """The types of a union except None; for any other type, that type."""
    return tuple(each for each in get_args(kind) or (kind,) if each is not NoneType)


def _rank(first: tuple[str, ...], name: str) -> int:
    """Rank that orders fields for reading: those in `first`, then all others."""
    return first.index(name) if name in first else len(first)


def _snake(name: str) -> str:
    """The oneof field of a dataclass: WasTest in was, EdgeValueTest in edge_value."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower().removesuffix("_test")


def _repeated(item: Codec, made: Callable[[Any], Any]) -> Codec:
    """The codec of several values; sets are written in order."""
    write, read = item.write, item.read
    listed: Callable[[Any], Any] = sorted if made is frozenset else list
    if item is AS_IT_IS:
        return Codec(listed, lambda values, _path, _depth: made(values))

    def read_all(values: Any, path: str, depth: int) -> Any:
        return made([read(value, f"{path}[{index}]", depth) for index, value in enumerate(values)])

    return Codec(lambda values: [write(value) for value in listed(values)], read_all)


def _putting(name: str, wire_name: str, codec: Codec) -> Put:
    """Writes a value into its field; None is left out."""
    write = codec.write
    if codec is AS_IT_IS:

        def put_as_it_is(node: Any, whole: dict[str, Any]) -> None:
            whole[wire_name] = getattr(node, name)  # protobuf leaves None out

        return put_as_it_is

    def put(node: Any, whole: dict[str, Any]) -> None:
        value = getattr(node, name)
        if value is not None:
            whole[wire_name] = write(value)

    return put


def _spreading(name: str, union: Oneof) -> Put:
    """Writes a value of a union into the message's own oneof for it."""
    return lambda node, whole: whole.update(union.parts(getattr(node, name)))


def _inlining(name: str, own: list[_Part]) -> Put:
    """Writes the fields of a dataclass among those of its container."""

    def put(node: Any, whole: dict[str, Any]) -> None:
        value = getattr(node, name)
        for part in own:
            part.put(value, whole)

    return put


def _grouped(group: str, part: _Part) -> _Part:
    """The part of a message inside the message."""
    return _Part(
        part.name,
        lambda node, whole: part.put(node, whole.setdefault(group, {})),
        lambda message, path, depth: part.take(getattr(message, group), f"{path}.{group}", depth),
    )


def _taking(at: FieldDescriptor, ours: Field[Any], codec: Codec, annotation: Any) -> Take:
    """A reader of one field; a field with a default may be left out."""
    wire_name, read = at.name, codec.read
    if NoneType in get_args(annotation):
        if at.has_presence:
            return lambda message, path, depth: (
                read(getattr(message, wire_name), f"{path}.{wire_name}", depth) if message.HasField(wire_name) else None
            )
        return lambda message, _path, _depth: getattr(message, wire_name) or None
    if codec is AS_IT_IS:
        return lambda message, _path, _depth: getattr(message, wire_name)
    if isinstance(ours.default, enum.Enum):
        default = codec.write(ours.default)
        return lambda message, path, depth: read(getattr(message, wire_name) or default, f"{path}.{wire_name}", depth)
    if at.is_repeated and (empty := _empty(codec)) is not None:

        def take_several(message: Any, path: str, depth: int) -> Any:
            values = getattr(message, wire_name)
            return read(values, f"{path}.{wire_name}", depth) if values else empty()

        return take_several
    return lambda message, path, depth: read(getattr(message, wire_name), f"{path}.{wire_name}", depth)


def _empty(codec: Codec) -> type[Any] | None:
    """Type whose call makes the value of an empty field; None if such a field is refused."""
    try:
        return type(codec.read((), "", 0))
    except RequestInvalid:
        return None
