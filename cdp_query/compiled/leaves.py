"""Leaves of a program with their filters, and which events kernels can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from cdp_query.bind.bound_events import BoundEvents, BoundFilter, BoundProperty, FilterAll, FilterAny, FilterNot
from cdp_query.compiled.kernels import layout
from cdp_query.compiled.program_parts import Leaf, Program, Test
from cdp_query.compiled.value_tests import is_testable, value_test
from cdp_query.matching.matcher import Matcher

_IS_SET: Final = value_test(Matcher(flags=frozenset((True,))))
_FILTER_TESTS_MAX: Final = 32
_FIELDS: Final[Mapping[str, int]] = {
    name.removeprefix("LEAF_").lower(): number
    for name, number in vars(layout).items()
    if name.startswith("LEAF_") and name != "LEAF_FIELDS"
}


def can_read(events: BoundEvents, dropped: frozenset[int]) -> bool:
    """True if kernels can read these events; `dropped` are events of which retention has dropped some."""
    return not dropped.intersection(events.names) and _can_test(events.where)


def _can_test(where: BoundFilter | None) -> bool:
    return where is None or _tests_in(where) <= _FILTER_TESTS_MAX


def _tests_in(where: BoundFilter) -> int:
    """Number of tests of a filter; beyond any bound if kernels cannot evaluate one."""
    match where:
        case FilterAll(items) | FilterAny(items):
            return sum(map(_tests_in, items))
        case FilterNot(item):
            return _tests_in(item)
        case BoundProperty(matcher=matcher):
            return 1 if is_testable(matcher) else _FILTER_TESTS_MAX + 1
    return _FILTER_TESTS_MAX + 1


def write_leaf(program: Program, kind: int, read: Leaf, where: BoundFilter | None = None, **fields: int) -> int:
    """Appends a leaf with its filter, and with the fields of layout.py by their names; returns its number.

    A leaf that gathers events may have any filter: if kernels cannot test it, they read flags that Python makes.
    """
    number, first = len(program.leaves), len(program.filters)
    if not _can_test(where):
        assert read.is_gathered, "unsealed events have no flags"
        read = replace(read, where=where)
        _write_test(program, Test(_IS_SET, None, False, number), 0)
    elif where is not None:
        _write_filter(program, where, number, 0)
    row = [0] * layout.LEAF_FIELDS
    row[layout.LEAF_KIND], row[layout.LEAF_NODE] = kind, program.node(read.node)
    row[layout.LEAF_FILTER], row[layout.LEAF_FILTER_END] = first, len(program.filters)
    for name, value in fields.items():
        row[_FIELDS[name]] = value
    program.rows.append(row)
    program.leaves.append(read)
    return number


def _write_test(program: Program, test: Test, depth: int) -> None:
    program.filter_depth = max(program.filter_depth, depth + 2)
    program.filters.append((layout.FILTER_TEST, len(program.tests)))
    program.tests.append(test)


def _write_filter(program: Program, where: BoundFilter, leaf: int, depth: int) -> None:
    program.filter_depth = max(program.filter_depth, depth + 2)
    match where:
        case FilterAll(items) | FilterAny(items):
            is_all = isinstance(where, FilterAll)
            if not items:
                program.filters.append((layout.FILTER_CONSTANT, int(is_all)))
            for place, item in enumerate(items):
                _write_filter(program, item, leaf, depth + (place > 0))
                if place:
                    program.filters.append((layout.FILTER_AND if is_all else layout.FILTER_OR, 0))
        case FilterNot(item):
            _write_filter(program, item, leaf, depth)
            program.filters.append((layout.FILTER_NOT, 0))
        case BoundProperty(prop, matcher):
            assert prop is not None, "names of a question are all numbered"
            _write_test(program, Test(value_test(matcher), prop, False, leaf), depth)
