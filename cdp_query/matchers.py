"""Conditions compiled for columns: what each kind of value must be for the condition to hold.

A condition is decided per kind; a value of another kind, or none, counts as missing. `negated` conditions
(`!=`, `not in`, `missing` ...) are the complement of their positive form, missing values included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any as Anything

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdp_query import tree
from cdp_query.anniversaries import anniversary_decision, time_test_span
from cdp_query.errors import QueryInvalid
from cdp_query.ranges import Range, range_of
from cdp_query.versions import version_decision
from cdp_query.windows import Interval, moment_span
from cdp_store.arrays import I64, Bools
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.values import Kind, to_ms, unpack_list

TextDecision = Callable[[pa.Array], pa.Array]


@dataclass(frozen=True, slots=True)
class Matcher:
    """Which stored values satisfy a condition.

    numbers, times: any of these ranges; instants: decided on arrays of times i64; flags: these booleans; text: decided
    per distinct string (string or large_string in, boolean out); lists: decided per distinct list; everything: any
    value at all.
    """

    numbers: tuple[Range, ...] = ()
    times: tuple[Interval, ...] = ()
    flags: frozenset[bool] = frozenset()
    text: TextDecision | None = None
    lists: Callable[[list[Anything]], bool] | None = None
    everything: bool = False
    negated: bool = False
    literals: tuple[str, ...] | None = field(default=None, compare=False)
    instants: Callable[[I64], Bools] | None = None

    def decides(self, kind: Kind) -> bool:
        """Whether values of this kind are of the type asked for."""
        match kind:
            case Kind.INT | Kind.FLOAT:
                return self.everything or bool(self.numbers)
            case Kind.TIME:
                return self.everything or bool(self.times) or self.instants is not None
            case Kind.BOOL:
                return self.everything or bool(self.flags)
            case Kind.STRING:
                return self.everything or self.text is not None
            case Kind.LIST:
                return self.everything or self.lists is not None
        return False

    def decide_strings(self, strings: pa.ChunkedArray) -> Bools:
        """Per distinct string, in code order, whether it satisfies the condition."""
        if self.text is None:
            return np.full(len(strings), self.everything, np.bool_)
        as_text = pa.string() if pa.types.is_binary(strings.type) else pa.large_string()
        parts = [self.text(chunk.view(as_text)).to_numpy(zero_copy_only=False) for chunk in strings.chunks]
        return np.concatenate(parts) if parts else np.zeros(0, np.bool_)

    def decide_lists(self, packed: pa.ChunkedArray) -> Bools:
        """Per distinct list, in code order, whether it satisfies the condition."""
        if self.lists is None:
            return np.full(len(packed), self.everything, np.bool_)
        return np.array([self.lists(unpack_list(item.as_py())) for item in packed], np.bool_)

    def holds(self, value: Anything) -> bool:
        """Whether one list item satisfies the positive condition."""
        match value:
            case bool():
                return value in self.flags
            case int() | float():
                return any(bounds.contains(value) for bounds in self.numbers)
            case datetime():
                return any(span.overlaps(to_ms(value), to_ms(value)) for span in self.times)
            case str() if self.text is not None:
                return bool(self.text(pa.array([value], pa.large_string()))[0].as_py())
        return False


def compile_condition(condition: tree.Condition, context: tree.Context) -> Matcher:
    """The matcher of a condition; QueryInvalid when it cannot be asked of any type."""
    match condition:
        case tree.Compare(op, value, ci):
            compared = _compare(op, value, ci, context)
            if op not in (tree.Op.EQ, tree.Op.NE):
                return compared
            positive = _with_items(compared)
            return _complement(positive) if op is tree.Op.NE else positive
        case tree.OneOf(values, negated, ci):
            positive = _with_items(_union([_compare(tree.Op.EQ, value, ci, context) for value in values]))
            return _complement(positive) if negated else positive
        case tree.Between(low, high):
            return _between(low, high, context)
        case tree.TextTest(op, pattern, negated, ci):
            positive = _with_items(Matcher(text=_text_decision(op, pattern, ci)))
            return _complement(positive) if negated else positive
        case tree.Exists(negated):
            return Matcher(everything=True, negated=negated)
        case tree.ListTest(op, values):
            return _list_test(op, [_compare(tree.Op.EQ, value, False, context) for value in values])
        case tree.SizeTest(op, size):
            return _size_test(op, size)
        case tree.VersionTest(op, version):
            positive = Matcher(text=version_decision(tree.Op.EQ if op is tree.Op.NE else op, version))
            return _complement(positive) if op is tree.Op.NE else positive
        case tree.TimeTest():
            return Matcher(times=(time_test_span(condition, context),))
        case tree.Anniversary():
            return Matcher(instants=anniversary_decision(condition, context))


def _complement(matcher: Matcher) -> Matcher:
    return Matcher(
        matcher.numbers,
        matcher.times,
        matcher.flags,
        matcher.text,
        matcher.lists,
        matcher.everything,
        not matcher.negated,
        matcher.literals,
    )


def _compare(op: tree.Op, value: tree.Literal, ci: bool, context: tree.Context) -> Matcher:
    ordering = op not in (tree.Op.EQ, tree.Op.NE)
    match value:
        case bool():
            if ordering:
                raise QueryInvalid(f"{op.value} does not apply to true and false; use = or !=")
            return Matcher(flags=frozenset({value}))
        case int() | float():
            return Matcher(numbers=(range_of(op, value),))
        case tree.Moment():
            return Matcher(times=(_time_span(op, moment_span(value, context)),))
    if ordering:
        raise QueryInvalid(f"{op.value} compares numbers and times, not the string {value!r}; use =, in or contains")
    return Matcher(text=_equals(value, ci), literals=None if ci else (value,))


def _time_span(op: tree.Op, span: Interval) -> Interval:
    match op:
        case tree.Op.LT:
            return Interval(TIME_MIN_MS, span.first_ms - 1)
        case tree.Op.LE:
            return Interval(TIME_MIN_MS, span.last_ms)
        case tree.Op.GT:
            return Interval(span.last_ms + 1, TIME_MAX_MS)
        case tree.Op.GE:
            return Interval(span.first_ms, TIME_MAX_MS)
    return span


def _between(low: tree.Literal, high: tree.Literal, context: tree.Context) -> Matcher:
    match low, high:
        case (bool(), _) | (_, bool()):
            pass
        case (int() | float(), int() | float()):
            if low > high:
                raise QueryInvalid(f"between {low} and {high} is empty; write the smaller number first")
            return Matcher(numbers=(Range(low, high),))
        case (tree.Moment(), tree.Moment()):
            first, last = moment_span(low, context).first_ms, moment_span(high, context).last_ms
            if first > last:
                raise QueryInvalid(f"between {low.iso} and {high.iso} is empty; write the earlier time first")
            return Matcher(times=(Interval(first, last),))
    raise QueryInvalid("between takes two numbers or two times")


def _union(matchers: Sequence[Matcher]) -> Matcher:
    texts = [matcher.text for matcher in matchers if matcher.text is not None]
    literals = [matcher.literals for matcher in matchers if matcher.text is not None]
    return Matcher(
        numbers=tuple(bounds for matcher in matchers for bounds in matcher.numbers),
        times=tuple(span for matcher in matchers for span in matcher.times),
        flags=frozenset().union(*(matcher.flags for matcher in matchers)),
        text=_any_of(texts) if texts else None,
        literals=None if None in literals else tuple(item for known in literals if known for item in known),
    )


def _with_items(matcher: Matcher) -> Matcher:
    """The same condition on lists: it holds when it holds for any item."""
    return Matcher(
        matcher.numbers,
        matcher.times,
        matcher.flags,
        matcher.text,
        lambda items: any(matcher.holds(item) for item in items),
        literals=matcher.literals,
    )


def _list_test(op: tree.ListOp, wanted: Sequence[Matcher]) -> Matcher:
    if op is tree.ListOp.HAS_ALL:
        return Matcher(lists=lambda items: all(any(one.holds(item) for item in items) for one in wanted))
    return Matcher(
        lists=lambda items: any(one.holds(item) for one in wanted for item in items),
        negated=op is tree.ListOp.HAS_NONE,
    )


def _size_test(op: tree.Op, size: int) -> Matcher:
    bounds = range_of(op, size)
    if op is tree.Op.NE:
        return Matcher(lists=lambda items: not bounds.contains(len(items)))
    return Matcher(lists=lambda items: bounds.contains(len(items)))


def _equals(value: str, ci: bool) -> TextDecision:
    if ci:
        return lambda strings: pc.equal(pc.utf8_lower(strings), pc.utf8_lower(pa.scalar(value, pa.large_string())))
    return lambda strings: pc.equal(strings, pa.scalar(value, pa.large_string()))


def _any_of(decisions: Sequence[TextDecision]) -> TextDecision:
    def decide(strings: pa.Array) -> pa.Array:
        held = decisions[0](strings)
        for decision in decisions[1:]:
            held = pc.or_(held, decision(strings))
        return held

    return decide


def _text_decision(op: tree.TextOp, pattern: str, ci: bool) -> TextDecision:
    if op is tree.TextOp.MATCHES:
        _check_regex(pattern)
        return lambda strings: pc.match_substring_regex(strings, pattern, ignore_case=ci)
    test = {
        tree.TextOp.CONTAINS: pc.match_substring,
        tree.TextOp.STARTS_WITH: pc.starts_with,
        tree.TextOp.ENDS_WITH: pc.ends_with,
    }[op]
    if not ci:
        return lambda strings: test(strings, pattern)
    lowered = pc.utf8_lower(pa.scalar(pattern)).as_py()
    return lambda strings: test(pc.utf8_lower(strings), lowered)


def _check_regex(pattern: str) -> None:
    try:
        pc.match_substring_regex(pa.array([""], pa.large_string()), pattern)
    except pa.ArrowInvalid as error:
        raise QueryInvalid(f"matches: {pattern!r} is no regular expression: {error}") from error
