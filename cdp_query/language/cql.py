"""CleverTap's query language (CQL, a JSON form) to our tree, with its meanings kept.

A base event (`event_name`, `from`, `to`, `event_properties`), `common_profile_properties.profile_fields`, and
`did_all`, `did_any`, `did_none`, which may also be in `advanced_query`, must all hold. Days are written as 20260131 and
both ends are included. `count` compares the number of events and never includes users without any. Without a base
event, it means users with any event in the last 365 days. Anything unknown is an error with its path, never left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Any as Anything
from typing import Final, NoReturn

from cdp_query import tree
from cdp_query.errors import QueryInvalid
from cdp_query.language.suggest import nearest_hint
from cdp_query.matching.ranges import INT_MAX, INT_MIN

_EVENT_KEYS: Final = ("event_name", "from", "to", "event_properties", "count")
_GROUP_KEYS: Final = ("did_all", "did_any", "did_none")
_TOP_KEYS: Final = (*_EVENT_KEYS, *_GROUP_KEYS, "advanced_query", "common_profile_properties")
_PROFILE_KEYS: Final = ("profile_fields",)
_FIELD_KEYS: Final = ("name", "operator", "value")
_ORDERINGS: Final = {
    "greater_than": tree.Op.GT,
    "greater_than_equals": tree.Op.GE,
    "less_than": tree.Op.LT,
    "less_than_equals": tree.Op.LE,
}
_COUNTS: Final = {**_ORDERINGS, "equals": tree.Op.EQ, "not_equals": tree.Op.NE}
_OPERATORS: Final = ("equals", "not_equals", "contains", "does_not_contain", "exists", "does_not_exist", *_ORDERINGS)
_DEFAULT_BASE: Final = tree.Duration(365, "d")  # without a base event: any event in this time
_FLAGS: Final = {"True": True, "False": False}

Test = Callable[[str, tree.Condition], tree.Node]


def read_cql(text: str) -> tree.Node:
    """The segment that a query in CQL describes; QueryInvalid names the path of an unsupported part."""
    try:
        query = json.loads(text)
        json.dumps(query, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise QueryInvalid(f"CQL: this is not JSON: {error}") from error
    return import_cql(query)


def import_cql(query: object) -> tree.Node:
    """The same for parsed JSON."""
    top = _object(query, "the query", _TOP_KEYS)
    parts = list[tree.Node]()
    if "event_name" in top:
        parts.append(_event({key: top[key] for key in _EVENT_KEYS if key in top}, ""))
    elif stray := [key for key in _EVENT_KEYS if key in top]:
        _fail(stray[0], "needs an event_name as well")
    if "common_profile_properties" in top:
        parts.extend(_profile(top["common_profile_properties"]))
    groups = {key: top[key] for key in _GROUP_KEYS if key in top}
    if "advanced_query" in top:
        for key, items in _object(top["advanced_query"], "advanced_query", _GROUP_KEYS).items():
            if key in groups:
                _fail(f"advanced_query.{key}", f"{key} is given twice")
            groups[key] = items
    for key, items in groups.items():
        parts.extend(_group(key, items))
    if parts and "event_name" not in top:
        parts.insert(0, tree.Not(tree.Inactive(_DEFAULT_BASE)))
    if not parts:
        _fail("the query", "says nothing; give event_name, common_profile_properties, did_all, did_any or did_none")
    return parts[0] if len(parts) == 1 else tree.All(tuple(parts))


def _group(key: str, items: object) -> list[tree.Node]:
    events = tuple(
        _event(_object(item, f"{key}[{index}]", _EVENT_KEYS), f"{key}[{index}].")
        for index, item in enumerate(_list(items, key))
    )
    if key == "did_all":
        return list(events)
    any_of = events[0] if len(events) == 1 else tree.Any(events)
    return [any_of if key == "did_any" else tree.Not(any_of)]


def _event(event: Mapping[str, Anything], path: str) -> tree.Node:
    name = event.get("event_name")
    if not isinstance(name, str) or not name:
        _fail(f"{path}event_name", "must be the name of an event")
    window = tree.FromTo(_day(event, "from", path), _day(event, "to", path))
    properties = _list(event["event_properties"], f"{path}event_properties") if "event_properties" in event else []
    filters = tuple(
        _field(item, f"{path}event_properties[{index}]", tree.PropertyTest) for index, item in enumerate(properties)
    )
    where = None if not filters else filters[0] if len(filters) == 1 else tree.All(filters)
    events = tree.Events((name,), where)
    if "count" not in event:
        return tree.Did(events, window)
    op, value = _count(event["count"], f"{path}count")
    return tree.CountTest(events, window, op, value, exclude_zero=True)


def _count(count: object, path: str) -> tuple[tree.Op, int | float]:
    given = _object(count, path, ("operator", "value"))
    operator, value = given.get("operator"), given.get("value")
    if operator not in _COUNTS:
        _fail(f"{path}.operator", f"must be one of {', '.join(_COUNTS)}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or not _fits(int(value)):
        _fail(f"{path}.value", "must be a number")
    return _COUNTS[operator], value


def _day(event: Mapping[str, Anything], key: str, path: str) -> tree.Moment:
    day = event.get(key)
    try:
        written = datetime.strptime(str(day), "%Y%m%d") if isinstance(day, int) and not isinstance(day, bool) else None
    except ValueError:
        written = None
    if written is None or len(str(day)) != 8:
        _fail(f"{path}{key}", "must be a day as an integer, such as 20260131")
    return tree.Moment(written.date().isoformat())


def _profile(given: object) -> list[tree.Node]:
    path = "common_profile_properties"
    fields = _list(_object(given, path, _PROFILE_KEYS).get("profile_fields"), f"{path}.profile_fields")
    return [_field(item, f"{path}.profile_fields[{index}]", tree.AttributeTest) for index, item in enumerate(fields)]


def _field(item: object, path: str, test: Test) -> tree.Node:
    field = _object(item, path, _FIELD_KEYS)
    name, operator = field.get("name"), field.get("operator", "equals")
    if not isinstance(name, str) or not name:
        _fail(f"{path}.name", "must be a name")
    if operator not in _OPERATORS:
        hint = nearest_hint(str(operator), _OPERATORS) or f"use one of {', '.join(_OPERATORS)}"
        _fail(f"{path}.operator", f"{operator!r} is not known; {hint}")
    if operator in ("exists", "does_not_exist"):
        return test(name, tree.Exists(negated=operator == "does_not_exist"))
    if "value" not in field:
        _fail(f"{path}.value", f"must be given for {operator}")
    values = field["value"] if isinstance(field["value"], list) else [field["value"]]
    if not values:
        _fail(f"{path}.value", "must not be empty")
    return _comparison(name, operator, values, f"{path}.value", test)


def _comparison(name: str, operator: str, values: Sequence[Anything], path: str, test: Test) -> tree.Node:
    """Any of the values for positive operators, none of them for negative ones."""
    for value in values:
        if not isinstance(value, str | int | float):
            _fail(path, f"{value!r} is not a string or number")
        if (isinstance(value, float) and not isfinite(value)) or (isinstance(value, int) and not _fits(value)):
            _fail(path, f"{value} is larger than any number that can be stored")
    match operator:
        case "equals" | "not_equals":
            # A value that arrives as the text True may be stored as a boolean.
            literals = [literal for value in values for literal in _literals(value)]
            return test(name, tree.OneOf(tuple(literals), operator == "not_equals"))
        case "contains" | "does_not_contain":
            found = tuple(test(name, tree.TextTest(tree.TextOp.CONTAINS, _text(value, path))) for value in values)
            any_of = found[0] if len(found) == 1 else tree.Any(found)
            return tree.Not(any_of) if operator == "does_not_contain" else any_of
    compared = tuple(test(name, tree.Compare(_ORDERINGS[operator], _number(value, path))) for value in values)
    return compared[0] if len(compared) == 1 else tree.Any(compared)


def _fits(value: int) -> bool:
    return INT_MIN <= value <= INT_MAX


def _literals(value: Anything) -> list[tree.Literal]:
    return [value, _FLAGS[value]] if isinstance(value, str) and value in _FLAGS else [value]


def _text(value: Anything, path: str) -> str:
    if not isinstance(value, str):
        _fail(path, f"contains looks for strings, not for {value!r}")
    return value


def _number(value: Anything, path: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _fail(path, f"is compared as a number, and {value!r} is not one")
    return value


def _object(value: object, path: str, keys: Sequence[str]) -> Mapping[str, Anything]:
    if not isinstance(value, dict):
        _fail(path, "must be an object { }")
    for key in value:
        if key not in keys:
            hint = nearest_hint(str(key), keys) or f"known here: {', '.join(keys)}"
            _fail(path, f"{key!r} is not known; {hint}")
    return value


def _list(value: object, path: str) -> Sequence[Anything]:
    if not isinstance(value, list) or not value:
        _fail(path, "must be a list [ ] with at least one item")
    return value


def _fail(path: str, problem: str) -> NoReturn:
    raise QueryInvalid(f"CQL: {path}: {problem}")
