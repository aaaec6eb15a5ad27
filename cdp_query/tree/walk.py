"""The one walk over the tree: the parts directly inside a part, found by the fields of its dataclass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, Final, TypeVar

from cdp_query.tree.reports import Question
from cdp_query.tree.segments import Leaf, Node

Written = TypeVar("Written", bound=Question)


def children(part: object) -> Iterator[tuple[str, object]]:
    """Each part directly inside a part of a question, with its field, in the order of the fields."""
    for name in _fields_of(type(part)):
        value = getattr(part, name)
        for each in value if isinstance(value, tuple) else (value,):
            if _is_part(type(each)):
                yield name, each


def texts(part: object) -> Iterator[tuple[str, str]]:
    """Each text directly inside a part, with its field."""
    for name in _fields_of(type(part)):
        value = getattr(part, name)
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, str):
                yield name, each


def descendants(part: Any) -> Iterator[object]:
    """The part and every part inside it, each before its own parts."""
    yield part
    for _, child in children(part):
        yield from descendants(child)


def operands(question: Question) -> tuple[Node, ...]:
    """The segments that `and`, `or` and `not` join or that a report is about; none for a predicate."""
    if _is_leaf(type(question)):
        return ()
    return tuple([child for _, child in children(question) if isinstance(child, Node)])


def with_operands(question: Written, change: Callable[[Node], Node]) -> Written:
    """The same group or report with changed segments; a predicate stays unchanged."""
    if isinstance(question, Leaf):
        return question
    whole: Any = question
    changed = dict[str, Any]()
    for name in _fields_of(type(whole)):
        value = getattr(whole, name)
        if isinstance(value, Node):
            changed[name] = change(value)
        elif isinstance(value, tuple):
            changed[name] = tuple(change(each) if isinstance(each, Node) else each for each in value)
    rebuilt: Written = replace(whole, **changed)
    return rebuilt


def predicates(node: Node) -> Iterator[Node]:
    """The parts that `and`, `or` and `not` join and that are none of them, in written order."""
    if _is_leaf(type(node)):
        yield node
    else:
        for item in operands(node):
            yield from predicates(item)


def _fields(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else ()


# Asked at every node of every question: the names of the fields of a type, none for what is no dataclass, and what a
# type is.
_fields_of: Final[Callable[[type], tuple[str, ...]]] = cache(_fields)
_is_part: Final[Callable[[type], bool]] = cache(is_dataclass)
_is_leaf: Final[Callable[[type], bool]] = cache(lambda kind: issubclass(kind, Leaf))
