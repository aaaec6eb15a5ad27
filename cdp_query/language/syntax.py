"""Syntax nodes that the parser makes, with their places in the text. Their meaning is not checked yet."""

from __future__ import annotations

from dataclasses import dataclass

from cdp_query.tree import ArithmeticOp, Condition, Duration, Literal, Moment, Op


@dataclass(frozen=True, slots=True)
class Place:
    """Position in the text: line and column, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class NameSyntax:
    """A plain word."""

    name: str
    place: Place


@dataclass(frozen=True, slots=True)
class OptionSyntax:
    """name: value."""

    name: str
    values: tuple[OptionValue, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class EventOptionSyntax:
    """Events as the value of an option: names with a property or filters, which only events can have."""

    names: tuple[Literal, ...]
    property: str | None
    where: tuple[Syntax, ...]


@dataclass(frozen=True, slots=True)
class EventSyntax:
    """Event names, perhaps with a property and filters."""

    names: tuple[str, ...]
    property: str | None
    where: tuple[Syntax, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class ChainSyntax:
    """One event, or several joined by arrows."""

    events: tuple[EventSyntax, ...]
    place: Place
    without: tuple[tuple[int, EventSyntax], ...] = ()  # (the gap it stands in, event)


@dataclass(frozen=True, slots=True)
class ScalarSyntax:
    """A number, time, flag or duration, or two durations with `..` between them, as an argument."""

    values: tuple[Duration | Moment | bool | int | float, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class TestedSyntax:
    """An event's property with a condition, as an argument."""

    event: EventSyntax
    condition: ConditionSyntax
    place: Place


@dataclass(frozen=True, slots=True)
class RateSyntax:
    """times per unit."""

    times: int
    unit: str
    place: Place


@dataclass(frozen=True, slots=True)
class QuotaSyntax:
    """count of last total."""

    count: int
    total: int
    place: Place


@dataclass(frozen=True, slots=True)
class CallSyntax:
    """name(arguments)."""

    name: str
    arguments: tuple[ArgumentSyntax, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class NumberSyntax:
    """A number as an operand."""

    value: int | float
    place: Place


@dataclass(frozen=True, slots=True)
class CalculationSyntax:
    """left op right."""

    op: ArithmeticOp
    left: OperandSyntax
    right: OperandSyntax
    place: Place


@dataclass(frozen=True, slots=True)
class DurationSyntax:
    """A duration that something is compared with."""

    value: Duration
    place: Place


@dataclass(frozen=True, slots=True)
class GroupSyntax:
    """Something true or false in parentheses where a value may stand."""

    item: Syntax
    place: Place


OperandSyntax = NameSyntax | CallSyntax | NumberSyntax | CalculationSyntax | DurationSyntax | GroupSyntax


@dataclass(frozen=True, slots=True)
class CompareSyntax:
    """A comparison with something to be worked out."""

    op: Op
    right: OperandSyntax
    ci: bool


@dataclass(frozen=True, slots=True)
class SpanSyntax:
    """in first..last, or not in."""

    first: int
    last: int
    negated: bool
    place: Place


ConditionSyntax = Condition | CompareSyntax | SpanSyntax


@dataclass(frozen=True, slots=True)
class PredicateSyntax:
    """An operand with a condition, or alone."""

    operand: OperandSyntax
    condition: ConditionSyntax | None


@dataclass(frozen=True, slots=True)
class AllSyntax:
    """and."""

    items: tuple[Syntax, ...]


@dataclass(frozen=True, slots=True)
class AnySyntax:
    """or."""

    items: tuple[Syntax, ...]


@dataclass(frozen=True, slots=True)
class NotSyntax:
    """not."""

    item: Syntax


OptionValue = Duration | NameSyntax | Literal | EventOptionSyntax | tuple[Literal, ...]
Syntax = PredicateSyntax | AllSyntax | AnySyntax | NotSyntax
ArgumentSyntax = Syntax | OptionSyntax | ChainSyntax | ScalarSyntax | TestedSyntax | RateSyntax | QuotaSyntax
