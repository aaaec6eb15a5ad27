"""Values in conditions, and the meaning of comparison operators on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from cdp.v1 import segment_pb2 as pb

from cdp_router.client.literals import Literal, literal, span

EQ: Final = pb.COMPARISON_OPERATOR_EQ
NE: Final = pb.COMPARISON_OPERATOR_NE
LT: Final = pb.COMPARISON_OPERATOR_LT
LE: Final = pb.COMPARISON_OPERATOR_LE
GT: Final = pb.COMPARISON_OPERATOR_GT
GE: Final = pb.COMPARISON_OPERATOR_GE


class Compared:
    """Operand of comparison operators that return a predicate and no bool; it cannot be hashed."""

    __hash__ = None  # type: ignore[assignment]

    def _compare(self, operator: Any, value: Any) -> Any:
        raise NotImplementedError

    def __eq__(self, value: object) -> Any:
        return self._compare(EQ, value)

    def __ne__(self, value: object) -> Any:
        return self._compare(NE, value)

    def __lt__(self, value: Any) -> Any:
        return self._compare(LT, value)

    def __le__(self, value: Any) -> Any:
        return self._compare(LE, value)

    def __gt__(self, value: Any) -> Any:
        return self._compare(GT, value)

    def __ge__(self, value: Any) -> Any:
        return self._compare(GE, value)


class Tested(Compared):
    """Value with methods for conditions on it; each returns a predicate."""

    def _test(self, condition: pb.Condition) -> Any:
        raise NotImplementedError

    def _compare(self, operator: Any, value: Any) -> Any:
        return self._test(pb.Condition(comparison=pb.Comparison(operator=operator, value=literal(value))))

    def equals(self, value: Literal, *, ignore_case: bool) -> Any:
        """Equality of strings that may ignore case."""
        return self._equality(EQ, value, ignore_case)

    def differs(self, value: Literal, *, ignore_case: bool) -> Any:
        """Inequality of strings that may ignore case; also true where the value is unset."""
        return self._equality(NE, value, ignore_case)

    def _equality(self, operator: Any, value: Literal, ignore_case: bool) -> Any:
        comparison = pb.Comparison(operator=operator, value=literal(value), ignore_case=ignore_case)
        return self._test(pb.Condition(comparison=comparison))

    def is_in(self, values: Sequence[Literal], *, ignore_case: bool = False) -> Any:
        """The value is one of these."""
        return self._test(pb.Condition(one_of=pb.OneOf(values=map(literal, values), ignore_case=ignore_case)))

    def not_in(self, values: Sequence[Literal], *, ignore_case: bool = False) -> Any:
        """The value is none of these; also true where it is unset."""
        one_of = pb.OneOf(values=map(literal, values), negated=True, ignore_case=ignore_case)
        return self._test(pb.Condition(one_of=one_of))

    def between(self, low: Literal, high: Literal) -> Any:
        """low <= value <= high."""
        return self._test(pb.Condition(between=pb.Between(low=literal(low), high=literal(high))))

    def contains(self, part: str, *, ignore_case: bool = False) -> Any:
        """The string has this part."""
        return self._text(pb.TEXT_OPERATOR_CONTAINS, part, ignore_case)

    def not_contains(self, part: str, *, ignore_case: bool = False) -> Any:
        """The string does not have this part; also true where it is unset."""
        return self._text(pb.TEXT_OPERATOR_CONTAINS, part, ignore_case, negated=True)

    def starts_with(self, part: str, *, ignore_case: bool = False) -> Any:
        """The string begins with this text."""
        return self._text(pb.TEXT_OPERATOR_STARTS_WITH, part, ignore_case)

    def not_starts_with(self, part: str, *, ignore_case: bool = False) -> Any:
        """The string does not begin with this text; also true where it is unset."""
        return self._text(pb.TEXT_OPERATOR_STARTS_WITH, part, ignore_case, negated=True)

    def ends_with(self, part: str, *, ignore_case: bool = False) -> Any:
        """The string ends with this text."""
        return self._text(pb.TEXT_OPERATOR_ENDS_WITH, part, ignore_case)

    def not_ends_with(self, part: str, *, ignore_case: bool = False) -> Any:
        """The string does not end with this text; also true where it is unset."""
        return self._text(pb.TEXT_OPERATOR_ENDS_WITH, part, ignore_case, negated=True)

    def matches(self, pattern: str, *, ignore_case: bool = False) -> Any:
        """The string contains a match of a regular expression in RE2 syntax."""
        return self._text(pb.TEXT_OPERATOR_MATCHES, pattern, ignore_case)

    def not_matches(self, pattern: str, *, ignore_case: bool = False) -> Any:
        """The string contains no match of the regular expression; also true where it is unset."""
        return self._text(pb.TEXT_OPERATOR_MATCHES, pattern, ignore_case, negated=True)

    def _text(self, operator: Any, pattern: str, ignore_case: bool, *, negated: bool = False) -> Any:
        test = pb.TextTest(operator=operator, pattern=pattern, negated=negated, ignore_case=ignore_case)
        return self._test(pb.Condition(text=test))

    def has(self, value: Literal) -> Any:
        """The list contains the value."""
        return self._list(pb.LIST_OPERATOR_HAS, [value])

    def has_any(self, values: Sequence[Literal]) -> Any:
        """The list contains any of the values."""
        return self._list(pb.LIST_OPERATOR_HAS_ANY, values)

    def has_all(self, values: Sequence[Literal]) -> Any:
        """The list contains all of the values."""
        return self._list(pb.LIST_OPERATOR_HAS_ALL, values)

    def has_none(self, values: Sequence[Literal]) -> Any:
        """The list contains none of the values; also true where it is unset."""
        return self._list(pb.LIST_OPERATOR_HAS_NONE, values)

    def _list(self, operator: Any, values: Sequence[Literal]) -> Any:
        return self._test(pb.Condition(list=pb.ListTest(operator=operator, values=map(literal, values))))

    def within_last(self, length: str) -> Any:
        """The time is at most this long ago."""
        return self._test(pb.Condition(time=pb.TimeTest(side=pb.TIME_SIDE_LAST, span=span(length))))

    def within_next(self, length: str) -> Any:
        """The time is at most this far ahead."""
        return self._test(pb.Condition(time=pb.TimeTest(side=pb.TIME_SIDE_NEXT, span=span(length))))

    def older_than(self, length: str) -> Any:
        """The time is more than this long ago."""
        return self._test(pb.Condition(time=pb.TimeTest(side=pb.TIME_SIDE_OLDER, span=span(length))))


class Value(Tested):
    """A value that may be unset: an attribute, a property, or an attribute's value at another instant."""

    def exists(self) -> Any:
        """The value is set."""
        return self._test(pb.Condition(existence=pb.Existence()))

    def missing(self) -> Any:
        """The value is unset."""
        return self._test(pb.Condition(existence=pb.Existence(negated=True)))

    def size(self) -> Derived:
        """The number of items of the list, for a comparison."""
        return Derived(self, lambda operator, size: pb.Condition(size=pb.SizeTest(operator=operator, size=size)))

    def version(self) -> Derived:
        """The dotted version number at the start of the string, for a comparison."""
        return Derived(
            self, lambda operator, text: pb.Condition(version=pb.VersionTest(operator=operator, version=text))
        )

    def anniversary(self, first: str, last: str) -> Any:
        """The anniversary falls between `first` and `last` days from now."""
        return self._test(pb.Condition(anniversary=pb.Anniversary(first=span(first), last=span(last))))


class Derived(Compared):
    """A number computed from a value, for a comparison."""

    def __init__(self, value: Value, condition: Callable[[Any, Any], pb.Condition]) -> None:
        self._value, self._condition = value, condition

    def _compare(self, operator: Any, value: Any) -> Any:
        return self._value._test(self._condition(operator, value))
