"""Calls about a profile: version, anniversary, distance, and the history of an attribute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from lark import Token

from cdp_query import tree
from cdp_query.language.branches import Branch, Part, apart, is_test, kind
from cdp_query.language.calls import Call, Reader
from cdp_query.language.options import Options


def profile_call(reader: Reader, call: Call) -> tree.Node:
    """The node of a call of VALUE_CALLS or HISTORY_CALLS."""
    read, example = VALUE_CALLS.get(call.name) or HISTORY_CALLS[call.name]
    arguments, given = apart(call.arguments)
    call, options = replace(call, arguments=arguments, example=example), Options(call.name, given)
    if not call.arguments:
        call.wrong("needs an attribute first")
    if call.name not in ("version", "distance", "value_at") and call.condition is not None:
        call.wrong("is true or false and takes no comparison")
    node = read(reader, call, options)
    options.finish()
    return node


def _version(reader: Reader, call: Call, _: Options) -> tree.Node:
    name = _name(reader, call, 1)
    match call.condition:
        case tree.Compare(op, str() as version, False):
            return call.test(name, tree.VersionTest(op, version))
    call.wrong("needs a comparison with a version in quotes")


def _anniversary(reader: Reader, call: Call, _: Options) -> tree.Node:
    name = _name(reader, call, 2)
    match call.arguments[1]:
        case Branch("range", [Token(value=first), Token(value=last)]):
            return call.test(name, tree.Anniversary(first, last))
    call.wrong("takes a range of days from today")


def _distance(reader: Reader, call: Call, _: Options) -> tree.Node:
    name = _name(reader, call, 3)
    match call.arguments[1:]:
        case [Token("INTEGER" | "FLOAT", latitude), Token("INTEGER" | "FLOAT", longitude)]:
            pass
        case _:
            call.wrong("takes a latitude and a longitude in degrees")
    match call.condition:
        case tree.Compare(op, (int() | float()) as metres) if not isinstance(metres, bool):
            return tree.DistanceTest(name, float(latitude), float(longitude), op, metres)
    call.wrong("needs a comparison with a number of metres")


def _was(reader: Reader, call: Call, options: Options) -> tree.Node:
    if len(call.arguments) == 2:
        name, value = _name(reader, call, 2), _literal(call, call.arguments[1])
        return tree.WasTest(name, tree.Compare(tree.Op.EQ, value), options.window())
    if len(call.arguments) > 2:
        call.wrong("takes one condition on an attribute")
    inner = _attribute_test(reader, call)
    return tree.WasTest(inner.name, inner.condition, options.window())


def _value_at(reader: Reader, call: Call, _: Options) -> tree.Node:
    match call.arguments:
        case [subject, Token("MOMENT" | "DURATION", at)]:
            if call.condition is not None:
                assert not isinstance(call.condition, Branch)
                return tree.ValueAtTest(_name(reader, call, 2), at, call.condition)
            if kind(subject) == "NAME":
                call.wrong("needs a condition after it")
            inner = _attribute_test(reader, call)
            return tree.ValueAtTest(inner.name, at, inner.condition)
    call.wrong("takes a date, an instant, or how long ago")


def _changed(reader: Reader, call: Call, options: Options) -> tree.Node:
    name, before, after = _name(reader, call, 1), options.side("from"), options.side("to")
    return tree.ChangedTest(name, before, after, options.window(during=True))


def _unchanged(reader: Reader, call: Call, options: Options) -> tree.Node:
    name, span = _name(reader, call, 1), options.duration("for")
    if span is None:
        call.wrong("needs `for:`")
    return tree.UnchangedTest(name, span)


def _attribute_test(reader: Reader, call: Call) -> tree.AttributeTest:
    """The test of an attribute that is the first argument."""
    if is_test(call.arguments[0]):
        inner = reader.node(call.arguments[0], in_filter=call.in_filter)
        if isinstance(inner, tree.AttributeTest):
            return inner
    call.wrong("takes one condition on an attribute")


def _name(reader: Reader, call: Call, count: int) -> str:
    """The name that is the first of this many arguments."""
    if len(call.arguments) != count:
        call.wrong(f"takes {'an attribute' if count == 1 else f'{count} arguments'}")
    match call.arguments[0]:
        case Branch("event", [Token(value=name), None, None]):
            return str(name)
    return reader.single_subject(replace(call, arguments=call.arguments[:1]))


def _literal(call: Call, argument: Part) -> tree.Literal:
    match argument:
        case Branch("event", [Token(value=literal), None, None]):
            pass
        case Token("INTEGER" | "FLOAT" | "MOMENT" | "TRUE" | "FALSE", literal):
            pass
        case _:
            call.wrong("takes a value or a condition")
    value: tree.Literal = literal
    return value


ProfileCall = Callable[[Reader, Call, Options], tree.Node]
VALUE_CALLS: Final[dict[str, tuple[ProfileCall, str]]] = {
    "version": (_version, 'version(app) >= "5.10.0"'),
    "anniversary": (_anniversary, "anniversary(birthday, 0d..7d)"),
    "distance": (_distance, "distance(home, 52.52, 13.405) <= 5000"),
}
HISTORY_CALLS: Final[dict[str, tuple[ProfileCall, str]]] = {
    "was": (_was, 'was(plan = "gold", last: 30d)'),
    "changed": (_changed, 'changed(plan, from: "gold", to: "silver", last: 30d)'),
    "unchanged": (_unchanged, "unchanged(plan, for: 30d)"),
    "value_at": (_value_at, 'value_at(plan, 2026-01-31) = "gold"'),
}
