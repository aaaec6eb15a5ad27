"""Questions on the wire: differences between the tree of cdp_query and the messages of cdp.v1 that are not just
spelling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from cdp.v1 import segment_pb2 as pb

from cdp_query import tree
from cdp_query.limits import QUERY_NESTING_MAX
from cdp_query.tree.mentions import FIELDS, VALUE_OF, NameKind
from cdp_router.contract.expression_codec import expressions, finish_expression_test
from cdp_router.contract.fieldwise import Codecs, Rules
from cdp_router.contract.literal_codec import literals
from cdp_router.contract.oneofs import Codec, OneofRule
from cdp_router.errors import RequestInvalid


def to_question(question: tree.Question) -> pb.Question:
    """Message of a question."""
    if isinstance(question, tree.Funnel | tree.Breakdown | tree.Report):
        return pb.Question(**_FORMS.parts(question))
    return pb.Question(segment=to_segment(question))


def from_question(message: pb.Question) -> tree.Question:
    """Question of a message; RequestInvalid names a missing or unknown field."""
    if message.WhichOneof("form") == "segment":
        return from_segment(message.segment)
    question: tree.Question = _FORMS.read(message, "", 0)
    return question


def to_segment(node: tree.Node) -> pb.Segment:
    """Message of a segment."""
    message: pb.Segment = _SEGMENT.write(node)
    return message


def from_segment(message: pb.Segment) -> tree.Node:
    """Segment of a message; RequestInvalid names a missing or unknown field."""
    node: tree.Node = _SEGMENT.read(message, "segment", 0)
    return node


_DURATION_UNITS: Final = {
    "ms": "MILLISECOND", "s": "SECOND", "m": "MINUTE", "h": "HOUR", "d": "DAY", "w": "WEEK", "mo": "MONTH", "y": "YEAR",
}  # fmt: skip
_NESTING: Final = frozenset({"all", "any", "negation"})


def _outside_segment(node: Any) -> RequestInvalid:
    if isinstance(node, tree.PropertyTest):
        return RequestInvalid("segment", f"the property test of {node.name!r} is outside an event filter")
    return RequestInvalid("segment", "a test of the hour or weekday is outside an event filter")


def _outside_filter(node: Any) -> RequestInvalid:
    return RequestInvalid("events.where", f"{type(node).__name__} is not allowed in an event filter")


def _outside_items(node: Any) -> RequestInvalid:
    return RequestInvalid("items.where", f"{type(node).__name__} is not allowed in a filter of items")


_ONEOFS: Final = {
    "Question": OneofRule(
        "one of " + ", ".join(each.name for each in pb.Question.DESCRIPTOR.oneofs[0].fields) + " must be given",
        "question.form",
        nesting=frozenset(),
    ),
    "Segment": OneofRule(
        "a segment must say what it tests",
        foreign=_outside_segment,
        nesting=_NESTING,
        levels_max=QUERY_NESTING_MAX,
    ),
    "Filter": OneofRule(
        "a filter must say what it tests",
        foreign=_outside_filter,
        nesting=_NESTING,
        levels_max=QUERY_NESTING_MAX,
    ),
    "Filter in items": OneofRule(
        "a filter of items combines tests of their fields, which have names",
        "",
        foreign=_outside_items,
        levels_max=QUERY_NESTING_MAX,
        only=_NESTING | {"property"},
        unset={"property": lambda test: not test.name},
    ),
    "Condition": OneofRule("must say what it tests", "", narrowed="asks nothing of one value; use did with a filter"),
    "Window": OneofRule("", absent=tree.ALWAYS),
    "ValueAtTest.at": OneofRule("one of moment and ago must be given"),
    "Distribution.number": OneofRule(
        "an expression or an attribute must be given", unset={"attribute": lambda name: not name}
    ),
}


def _checked(is_valid: Callable[[Any], bool], problem: str) -> Callable[[Codec], Codec]:
    """A codec that refuses some values."""

    def of(codec: Codec) -> Codec:
        def read(message: Any, path: str, depth: int) -> Any:
            value = codec.read(message, path, depth)
            if not is_valid(value):
                raise RequestInvalid(path, problem)
            return value

        return Codec(codec.write, read)

    return of


def _bounded(codec: Codec) -> Codec:
    """A window that must be given."""

    def read(message: Any, path: str, depth: int) -> Any:
        window = codec.read(message, f"{path}.window", depth)
        if window == tree.ALWAYS:
            raise RequestInvalid(path, "must be given")
        return window

    return Codec(codec.write, read)


def _sorted_by_gap(codec: Codec) -> Codec:
    def read(message: Any, path: str, depth: int) -> Any:
        return tuple(sorted(codec.read(message, path, depth), key=lambda excluded: excluded.gap))

    return Codec(codec.write, read)


_IS_GIVEN: Final = _checked(bool, "must not be empty")
_SOME_EVENTS: Final = _checked(lambda names: bool(names) and all(names), "at least one event name, none of them empty")
_NOT_NEGATIVE: Final = _checked(lambda number: number >= 0, "must not be negative")


def _checked_list(test: tree.ListTest, path: str) -> tree.ListTest:
    if test.op is tree.ListOp.HAS and len(test.values) != 1:
        raise RequestInvalid(f"{path}.values", "has takes one value; use has_any, has_all or has_none")
    return test


CODECS: Final = Codecs(
    Rules(
        types=vars(tree),
        wire_names={
            "op": "operator",
            "ci": "ignore_case",
            (tree.AggregateTest, "aggregate"): "function",
            (tree.SizeTest, "value"): "size",
            **{(tree.Funnel, name): f"counting.{name}" for name in ("mode", "by_attribute", "by_entry", "times")},
            tree.Not: "negation",
            tree.InSegment: "named",
            tree.Compare: "comparison",
            tree.Exists: "existence",
            tree.Duration: "ago",
            tree.AttributeNumber: "attribute",
            **dict.fromkeys((tree.Number, tree.Measure, tree.Arithmetic), "expression"),
        },
        words={(tree.Duration, "unit"): _DURATION_UNITS},
        unions={"Segment": tree.Node, "Filter": tree.Node, "Condition": tree.Condition, "Window": tree.Window},
        oneofs=_ONEOFS,
        messages={"Literal": literals, "Expression": expressions},
        fields={
            **{owner: _IS_GIVEN for owner, named in FIELDS.items() if named in {*VALUE_OF, NameKind.SEGMENT}},
            **{owner: _SOME_EVENTS for owner, named in FIELDS.items() if named is NameKind.EVENT},
            (tree.Flow, "only"): _checked(all, "must not hold an empty name"),
            (tree.OneOf, "values"): _IS_GIVEN,
            (tree.ListTest, "values"): _IS_GIVEN,
            (tree.Duration, "amount"): _NOT_NEGATIVE,
            (tree.DaysAgo, "days"): _NOT_NEGATIVE,
            (tree.WeekdayTest, "days"): _checked(
                lambda days: bool(days) and days <= set(range(1, 8)), "some of the days from 1, Monday, to 7, Sunday"
            ),
            (tree.StoppedTest, "earlier"): _bounded,
            (tree.StoppedTest, "later"): _bounded,
            (tree.ResumedTest, "gap"): _bounded,
            (tree.AttemptRules, "without"): _sorted_by_gap,
        },
        finishing={tree.ListTest: _checked_list, tree.ExpressionTest: finish_expression_test},
        first={
            tree.DistanceTest: ("metres", "op"),
            tree.EdgeValueTest: ("edge", "property", "condition"),
            tree.MostlyTest: ("property", "condition"),
            tree.ShareTest: ("property", "condition"),
            tree.AggregateTest: ("property",),
            tree.WasTest: ("condition",),
            tree.ValueAtTest: ("at",),
            tree.WithinFirst: ("names",),
            tree.SequenceTest: ("steps", "rules", "within"),
            tree.Funnel: ("steps", "rules", "within"),
            tree.AttemptRules: ("without",),
        },
        inside={tree.ItemsTest: "items"},
    )
)
_FORMS: Final = CODECS.of_oneof(tree.Funnel | tree.Breakdown | tree.Report, pb.Question.DESCRIPTOR.oneofs[0])
_SEGMENT: Final = CODECS.of_message(tree.Node, pb.Segment.DESCRIPTOR)
