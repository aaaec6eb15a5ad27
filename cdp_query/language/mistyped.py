"""Comparisons that can never hold, because no value of the name has the type in question, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import numpy as np

from cdp_query import tree
from cdp_query.bind.names import Names
from cdp_query.calendar.written_times import is_written_time
from cdp_query.language import print_question
from cdp_query.matching.matcher import Matcher
from cdp_query.matching.matchers import compile_condition
from cdp_query.scan.attribute_scan import blocks
from cdp_query.tree.walk import children
from cdp_store.columns.dictionary import as_arrow
from cdp_store.limits import TIME_MAX_MS
from cdp_store.memory.view import PartitionView, changed_to
from cdp_store.values import Kind

# Keys of held kinds: (whether it is an attribute, its name).
HeldKinds = Mapping[tuple[bool, str], frozenset[Kind]]

_MANY: Final = {
    Kind.BOOL: "true and false",
    Kind.INT: "numbers",
    Kind.FLOAT: "numbers",
    Kind.STRING: "texts",
    Kind.TIME: "times",
    Kind.LIST: "lists",
}
_ONE: Final = {
    Kind.BOOL: "true or false",
    Kind.INT: "a number",
    Kind.FLOAT: "a number",
    Kind.STRING: "a text",
    Kind.TIME: "a time",
    Kind.LIST: "a list",
}
_NUMBERS: Final = frozenset((Kind.INT, Kind.FLOAT))


def kinds_held(view: PartitionView, names: Names) -> dict[tuple[bool, str], frozenset[Kind]]:
    """Kinds of the values that a view holds under some names; properties on the named events, otherwise on all."""
    schema, found = view.schema, dict[tuple[bool, str], frozenset[Kind]]()
    for name in names.attributes & schema.attributes.keys():
        number = schema.attributes[name]
        kinds = {kind for _, block in blocks(view, number, TIME_MAX_MS) for kind in block.columns}
        for chunk in view.changes.pieces(number):
            kinds.update(map(Kind, np.unique(changed_to(chunk, np.arange(len(chunk)))[0]).tolist()))
        found[True, name] = _with_written(view, number, kinds - {Kind.UNSET}, attribute=True)
    events = [schema.events[name] for name in names.events & schema.events.keys()] or list(schema.events.values())
    numbers = {schema.properties[name]: name for name in names.properties & schema.properties.keys()}
    for event in events if numbers else ():
        for owner, kind in {key for chunk in view.event_chunks(event) for key in chunk.columns}:
            if owner in numbers:
                own = False, numbers[owner]
                found[own] = found.get(own, frozenset()) | {kind}
    for number, name in numbers.items():
        if (False, name) in found:
            found[False, name] = _with_written(view, number, found[False, name], attribute=False)
    return found


def _with_written(view: PartitionView, number: int, kinds: Set[Kind], *, attribute: bool) -> frozenset[Kind]:
    """The kinds, and times if any text is one."""
    if Kind.STRING in kinds and Kind.TIME not in kinds:
        texts = as_arrow(*view.string_arena(number, attribute=attribute))
        if Matcher(text=is_written_time).decide_strings(texts).any():
            return frozenset(kinds | {Kind.TIME})
    return frozenset(kinds)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A condition on a name, or None if a number is calculated from its values.

    A condition on earlier values is false for those of another type, even `!=`.
    """

    is_attribute: bool
    name: str
    condition: tree.Condition | None
    of_history: bool = False


def never_matching(question: tree.Question, held: HeldKinds, context: tree.Context) -> list[str]:
    """A sentence for every comparison whose name holds values, but none of the type in question."""
    return list(dict.fromkeys(_sentence(asked, kinds) for asked, kinds in _mistyped(question, held, context)))


def _mistyped(
    question: tree.Question, held: HeldKinds, context: tree.Context
) -> Iterator[tuple[_Asked, frozenset[Kind]]]:
    for asked in _asked(question):
        kinds = held.get((asked.is_attribute, asked.name), frozenset())
        if kinds and not kinds & _wanted(asked.condition, context):
            yield asked, kinds


def _wanted(condition: tree.Condition | None, context: tree.Context) -> frozenset[Kind]:
    if condition is None:
        return _NUMBERS
    matcher = compile_condition(condition, context)
    wanted = frozenset(kind for kind in Kind if matcher.decides(kind))
    return wanted - {Kind.STRING} if matcher.typed is not None else wanted


def _asked(part: Any) -> Iterator[_Asked]:
    match part:
        case tree.AttributeTest(name, condition):
            yield _Asked(True, name, condition)
        case tree.WasTest(name, condition) | tree.ValueAtTest(name, _, condition):
            yield _Asked(True, name, condition, of_history=True)
        case tree.PropertyTest(name, condition):
            yield _Asked(False, name, condition)
        case tree.EdgeValueTest() | tree.MostlyTest() | tree.ShareTest():
            yield _Asked(False, part.property, part.condition)
            yield from _asked(part.events)
        case tree.AggregateTest(_, name) | tree.Measure(_, _, str() as name):
            if getattr(part, "function", None) is not tree.Measured.DISTINCT:
                yield _Asked(False, name, None)
            yield from _asked(part.events)
        case _:
            for _, child in children(part):
                yield from _asked(child)


def _sentence(asked: _Asked, kinds: frozenset[Kind]) -> str:
    holds = " and ".join(dict.fromkeys(_MANY[kind] for kind in sorted(kinds)))
    if asked.condition is None:
        return f"{asked.name} holds {holds}, and only numbers can be calculated with"
    differs = not asked.of_history and _is_negated(asked.condition)
    outcome = "always differs" if differs else "never matches"
    told = f"{asked.name} holds {holds}; compared with {_type_asked(asked.condition)} it {outcome}"
    if Kind.STRING in kinds and _type_asked(asked.condition) == _ONE[Kind.TIME]:
        return f"{told}: none is an ISO date or time such as 2026-01-31 or 2026-01-31T09:30:00Z"
    other = _retyped(asked.condition, kinds)
    if other is None:
        return told
    return f"{told}. Did you mean {print_question(tree.AttributeTest(asked.name, other))}?"


def _is_negated(condition: tree.Condition) -> bool:
    """True if a condition is a complement, such as `!=`: values of any other type satisfy it."""
    match condition:
        case tree.Compare(op) | tree.VersionTest(op):
            return op is tree.Op.NE
        case tree.OneOf() | tree.TextTest():
            return condition.negated
        case tree.ListTest(op):
            return op is tree.ListOp.HAS_NONE
        case tree.ItemsTest(op):
            return op is tree.ItemsOp.NONE
    return False


def _type_asked(condition: tree.Condition) -> str:
    literal: Any = None
    match condition:
        case tree.Compare(_, literal) | tree.Between(literal, _) | tree.OneOf((literal, *_)):
            pass
        case tree.TimeTest() | tree.Anniversary():
            return _ONE[Kind.TIME]
        case tree.ListTest() | tree.SizeTest() | tree.ItemsTest():
            return _ONE[Kind.LIST]
        case _:
            return _ONE[Kind.STRING]
    match literal:
        case bool():
            return _ONE[Kind.BOOL]
        case int() | float():
            return _ONE[Kind.INT]
        case tree.Moment():
            return _ONE[Kind.TIME]
    return _ONE[Kind.STRING]


def _retyped(condition: tree.Condition, kinds: frozenset[Kind]) -> tree.Condition | None:
    """The same comparison with a value of a type that is held; None if there is no such value."""
    match condition:
        case tree.Compare(tree.Op.EQ | tree.Op.NE, literal):
            other = _as_held(literal, kinds)
            return None if other is None else replace(condition, value=other, ci=False)
        case tree.OneOf(literals):
            others = tuple(other for literal in literals if (other := _as_held(literal, kinds)) is not None)
            if others and len(others) == len(literals):
                return replace(condition, values=others, ci=False)
    return None


def _as_held(literal: tree.Literal, kinds: frozenset[Kind]) -> tree.Literal | None:
    if isinstance(literal, str):
        return _read(literal, kinds)
    if Kind.STRING not in kinds:
        return None
    match literal:
        case bool():
            return "true" if literal else "false"
        case tree.Moment(iso):
            return iso
    return str(literal)


def _read(text: str, kinds: frozenset[Kind]) -> tree.Literal | None:
    """A text converted to the value it represents."""
    if Kind.BOOL in kinds and text.casefold() in ("true", "false"):
        return text.casefold() == "true"
    if kinds & _NUMBERS:
        for number in (int, float):
            try:
                return number(text)
            except ValueError:
                pass
    if Kind.TIME in kinds:
        try:
            datetime.fromisoformat(text)
        except ValueError:
            return None
        return tree.Moment(text)
    return None
