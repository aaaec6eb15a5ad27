"""Whether a value satisfies a condition, as plain Python; see oracle.py."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from cdp_query import tree
from tests.oracle_profiles import anniversary_holds, time_holds, time_of, version_holds
from tests.oracle_windows import span_of_moment
from tests.raw_records import Value

COMPARE: dict[tree.Op, Callable[[Any, Any], bool]] = {
    tree.Op.EQ: operator.eq,
    tree.Op.NE: operator.ne,
    tree.Op.LT: operator.lt,
    tree.Op.LE: operator.le,
    tree.Op.GT: operator.gt,
    tree.Op.GE: operator.ge,
}


def satisfies(condition: tree.Condition, value: Value | None, context: tree.Context) -> bool:
    """Whether a value satisfies a condition; None is an unset value, and so is a value of another type than asked."""
    match condition:
        case tree.Exists(negated):
            return (value is not None) != negated
        case tree.Compare(tree.Op.NE, literal, ci):
            return not satisfies(tree.Compare(tree.Op.EQ, literal, ci), value, context)
        case tree.Compare(tree.Op.EQ, literal, ci):
            return any(_equal(item, literal, ci, context) for item in _items(value))
        case tree.Compare(op, literal):
            return _ordered(op, value, literal, context)
        case tree.OneOf(literals, negated, ci):
            found = any(_equal(item, literal, ci, context) for item in _items(value) for literal in literals)
            return found != negated
        case tree.Between(low, high):
            return _ordered(tree.Op.GE, value, low, context) and _ordered(tree.Op.LE, value, high, context)
        case tree.TextTest(op, pattern, negated, ci):
            return any(_text_holds(op, item, pattern, ci) for item in _items(value)) != negated
        case tree.VersionTest():
            return version_holds(condition, value)
        case tree.TimeTest():
            return time_holds(condition, value, context)
        case tree.Anniversary():
            return anniversary_holds(condition, value, context)
    return _about_list(condition, value, context)


def _about_list(condition: tree.Condition, value: Value | None, context: tree.Context) -> bool:
    items = value if isinstance(value, list) else None
    match condition:
        case tree.ListTest(tree.ListOp.HAS_NONE, literals):
            return not _about_list(tree.ListTest(tree.ListOp.HAS_ANY, literals), value, context)
        case tree.ListTest(op, literals):
            among = all if op is tree.ListOp.HAS_ALL else any
            return items is not None and among(
                any(_equal(item, literal, False, context) for item in items) for literal in literals
            )
        case tree.ItemsTest(tree.ItemsOp.NONE, where):
            return not _about_list(tree.ItemsTest(tree.ItemsOp.ANY, where), value, context)
        case tree.ItemsTest(op, where):
            among = all if op is tree.ItemsOp.ALL else any
            return items is not None and among(_item_passes(where, item, context) for item in items)
        case tree.SizeTest(op, size):
            return items is not None and COMPARE[op](len(items), size)
    raise AssertionError(f"no condition: {condition}")


def _item_passes(where: tree.Node, item: Value, context: tree.Context) -> bool:
    """Whether one object of a list passes a filter on its fields, nested ones by their dotted path."""
    match where:
        case tree.All(parts):
            return all(_item_passes(part, item, context) for part in parts)
        case tree.Any(parts):
            return any(_item_passes(part, item, context) for part in parts)
        case tree.Not(part):
            return not _item_passes(part, item, context)
        case tree.PropertyTest(name, condition):
            value = _flat(item).get(name) if isinstance(item, dict) else None
            return satisfies(condition, value, context)
    raise AssertionError(f"no filter of items: {where}")


def _flat(item: dict[str, Value]) -> dict[str, Value]:
    flat = dict[str, Value]()
    for key, value in item.items():
        flat[key] = value
        if isinstance(value, dict):
            flat.update({f"{key}.{inner}": deeper for inner, deeper in _flat(value).items()})
    return {**flat, **item}


def _items(value: Value | None) -> list[Value]:
    """What a test of a single value looks at: a list is tested by any element."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def is_number(value: Value | None) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(value: Value, literal: tree.Literal, ci: bool, context: tree.Context) -> bool:
    """Equality of one scalar with a literal of the same type."""
    if isinstance(literal, tree.Moment):
        at = time_of(value, context)
        return at is not None and span_of_moment(literal, context).holds(at)
    if isinstance(literal, str):
        return isinstance(value, str) and _folded(value, ci) == _folded(literal, ci)
    if isinstance(literal, bool):
        return value is literal
    return is_number(value) and bool(value == literal)


def _ordered(op: tree.Op, value: Value | None, literal: tree.Literal, context: tree.Context) -> bool:
    """< <= > >= of numbers, exact between int and float, and of times, where a date is its whole day."""
    if isinstance(literal, tree.Moment):
        at = time_of(value, context)
        if at is None:
            return False
        span = span_of_moment(literal, context)
        assert span.start is not None
        before, up_to = at < span.start, at < span.start or span.holds(at)  # a skipped day holds nothing
        return {tree.Op.LT: before, tree.Op.GE: not before, tree.Op.LE: up_to, tree.Op.GT: not up_to}[op]
    return is_number(value) and COMPARE[op](value, literal)


def _text_holds(op: tree.TextOp, value: Value, pattern: str, ci: bool) -> bool:
    if not isinstance(value, str):
        return False
    if op is tree.TextOp.MATCHES:
        if not ci:
            return re.search(pattern, value) is not None
        return _matches_in_any_case(value, pattern)
    text, part = _folded(value, ci), _folded(pattern, ci)
    tests = {
        tree.TextOp.CONTAINS: part in text,
        tree.TextOp.STARTS_WITH: text.startswith(part),
        tree.TextOp.ENDS_WITH: text.endswith(part),
    }
    return tests[op]


def _matches_in_any_case(value: str, pattern: str) -> bool:
    """The text as it is, or folded; letters alone, perhaps between ^ and $, are compared as they fold."""
    letters = pattern.removeprefix("^").removesuffix("$")
    if letters == re.escape(letters).replace("\\ ", " "):
        found = re.search(pattern.casefold(), value.casefold())
        return found is not None
    wide = "".join(f"(?:{own.casefold()})" if len(own.casefold()) > 1 else own for own in pattern)
    tries = (pattern, value), (wide, value.casefold())
    return any(re.search(written, text, re.IGNORECASE) is not None for written, text in tries)


def _folded(text: str, ci: bool) -> str:
    return text.casefold() if ci else text


def epoch_ms(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
