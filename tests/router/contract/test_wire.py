"""Questions on the wire: lossless both ways, and a path to whatever cannot be used."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from cdp.v1 import segment_pb2 as pb
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import assume, given
from hypothesis import strategies as st

from cdp_query import pipeline, tree
from cdp_query.errors import QueryError
from cdp_query.language import parse
from cdp_query.limits import QUERY_NESTING_MAX
from cdp_router.contract.question_codec import CODECS, from_question, to_question
from cdp_router.errors import RequestInvalid
from tests import strategies, strategies_attempts, strategies_reports
from tests.case_files import Case, cases


def _questions() -> st.SearchStrategy[tree.Question]:
    breakdowns = st.builds(tree.Breakdown, strategies.segments(3), st.sampled_from(strategies.ATTRIBUTE_NAMES))
    return st.one_of(
        strategies.segments(),
        strategies.funnels(),
        breakdowns,
        strategies_reports.reports(),
        strategies_attempts.funnels(),
    )


def _typed(value: Any) -> str:
    """A form of a tree in which 1, 1.0 and true, and 0.0 and -0.0, differ."""
    return repr(value)


@given(_questions())
def test_a_tree_survives_the_way_over_bytes(question: tree.Question) -> None:
    received = pb.Question.FromString(to_question(question).SerializeToString())
    assert _typed(from_question(received)) == _typed(question)


@given(_questions())
def test_a_tree_survives_the_way_over_json(question: tree.Question) -> None:
    received = json_format.Parse(json_format.MessageToJson(to_question(question)), pb.Question())
    assert _typed(from_question(received)) == _typed(question)


@given(strategies.segments())
def test_a_rewritten_tree_survives_as_well(segment: tree.Node) -> None:
    context = tree.Context(strategies.BORDER_MS)
    try:
        checked = pipeline.check(segment, context)
    except QueryError:
        assume(False)
    received = pb.Question.FromString(to_question(checked).SerializeToString())
    assert _typed(from_question(received)) == _typed(checked)


# ------------------------------------------------------------------------------------------------- byte for byte


def _fields_set(message: Message) -> Iterator[str]:
    for field, value in message.ListFields():
        yield field.full_name
        if field.enum_type is not None:
            yield field.enum_type.values_by_number[value].name
        for inner in value if field.is_repeated else [value]:
            if isinstance(inner, Message):
                yield from _fields_set(inner)


def _fields_of(descriptor: Descriptor, known: set[str]) -> set[str]:
    """Every field and enumerated value that a message may hold, those of messages inside it too."""
    for field in descriptor.fields:
        if field.full_name not in known:
            known.add(field.full_name)
            if field.enum_type is not None:
                known.update(value.name for value in field.enum_type.values if value.number)
            if field.message_type is not None:
                _fields_of(field.message_type, known)
    return known


@pytest.mark.parametrize("case", cases("wire.txt"))
def test_the_bytes_of_a_question_stay_what_they_are(case: Case) -> None:
    (written,) = case.expected
    question = parse(case.text)
    assert to_question(question).SerializeToString().hex() == written
    assert _typed(from_question(pb.Question.FromString(bytes.fromhex(written)))) == _typed(question)


def test_the_bytes_of_a_breakdown_stay_what_they_are() -> None:
    question = tree.Breakdown(tree.Everyone(), "plan")
    assert to_question(question).SerializeToString().hex() == "1a0a0a0222001204706c616e"


def test_the_written_bytes_hold_every_field_of_a_question() -> None:
    written = [pb.Question.FromString(bytes.fromhex(case.values[0].expected[0])) for case in cases("wire.txt")]
    held = {name for question in written for name in _fields_set(question)}
    lost = _fields_of(pb.Question.DESCRIPTOR, set()) - held
    assert {name for name in lost if "breakdown" not in name.lower()} == set(), "add a question to wire.txt"


def test_every_node_of_a_segment_has_a_field() -> None:
    messages = (pb.Segment, pb.Filter, pb.Condition, pb.Window)
    unions = (tree.Node, tree.Node, tree.Condition, tree.Window)
    held = set[type]()
    for message, union in zip(messages, unions, strict=True):
        held |= CODECS.of_oneof(union, message.DESCRIPTOR.oneofs[0]).kinds()
    assert set(get_args(tree.Node) + get_args(tree.Condition) + get_args(tree.Window)) - held == {tree.Always}


# --------------------------------------------------------------------------------------------------------- what is bad

_VIEW = {"names": ["View"]}
_ONE = {"integer": "1"}
_DAY = {"amount": "1", "unit": "DURATION_UNIT_DAY"}
_SET = {"existence": {}}


def _attribute(**condition: Any) -> dict[str, Any]:
    return {"segment": {"attribute": {"name": "plan", "condition": condition}}}


def _did(**fields: Any) -> dict[str, Any]:
    return {"segment": {"did": {"events": _VIEW, **fields}}}


def _where(**node: Any) -> dict[str, Any]:
    return _did(events={"names": ["View"], "where": node})


def _count(**fields: Any) -> dict[str, Any]:
    whole = {"events": _VIEW, "operator": "COMPARISON_OPERATOR_GE", "value": _ONE, **fields}
    return {"segment": {"count": {name: value for name, value in whole.items() if value is not None}}}


def _aggregate(**fields: Any) -> dict[str, Any]:
    whole = {
        "function": "AGGREGATE_FUNCTION_SUM", "property": "p", "events": _VIEW, "operator": "COMPARISON_OPERATOR_GE",
        "value": _ONE, **fields,
    }  # fmt: skip
    return {"segment": {"aggregate": {name: value for name, value in whole.items() if value is not None}}}


_MEASURE = {"measure": {"function": "MEASURE_FUNCTION_DAYS", "events": _VIEW}}
_NUMBER = {"number": _ONE}


def _compared(*terms: Any, **fields: Any) -> dict[str, Any]:
    whole = {
        "left": {"terms": list(terms)}, "operator": "COMPARISON_OPERATOR_GE", "right": {"terms": [_NUMBER]}, **fields,
    }  # fmt: skip
    return {"segment": {"expression": {name: value for name, value in whole.items() if value is not None}}}


def _valued(node: str, **fields: Any) -> dict[str, Any]:
    equal = {"comparison": {"operator": 1, "value": _ONE}}
    return {"segment": {node: {"property": "p", "events": _VIEW, "condition": equal, **fields}}}


# (what is wrong with the question, as protobuf JSON; the path of the field that is to blame)
BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "question.form"),
    ({"segment": {}}, "segment.node"),
    ({"segment": {"negation": {}}}, "segment.negation.node"),
    ({"segment": {"all": {"items": [{"everyone": {}}, {}]}}}, "segment.all.items[1].node"),
    ({"segment": {"any": {"items": [{"all": {"items": [{}]}}]}}}, "segment.any.items[0].all.items[0].node"),
    ({"breakdown": {}}, "breakdown.segment.node"),
    ({"breakdown": {"segment": {"everyone": {}}}}, "breakdown.attribute"),
    ({"trend": {"unit": 1}}, "trend.events.names"),
    ({"trend": {"events": _VIEW}}, "trend.unit"),
    ({"retention": {"entry": _VIEW, "unit": 1}}, "retention.returns.names"),
    ({"retention": {"entry": _VIEW, "returns": _VIEW, "unit": 1, "start": 9}}, "retention.start"),
    ({"retention": {"entry": _VIEW, "returns": _VIEW, "unit": 1, "mode": 9}}, "retention.mode"),
    ({"flow": {"depth": 2}}, "flow.events.names"),
    ({"flow": {"events": _VIEW, "depth": 2, "direction": 9}}, "flow.direction"),
    ({"flow": {"events": _VIEW, "depth": 2, "anchor": 9}}, "flow.anchor"),
    ({"flow": {"events": _VIEW, "depth": 2, "only": [""]}}, "flow.only"),
    ({"funnel": {"steps": [_VIEW], "order": 9}}, "funnel.order"),
    ({"funnel": {"steps": [_VIEW], "counting": {"mode": 9}}}, "funnel.counting.mode"),
    ({"funnel": {"steps": [_VIEW], "without": [{}]}}, "funnel.without[0].events.names"),
    ({"segment": {"attribute": {"condition": _SET}}}, "segment.attribute.name"),
    ({"segment": {"attribute": {"name": "plan"}}}, "segment.attribute.condition"),
    (_attribute(comparison={"value": _ONE}), "segment.attribute.condition.comparison.operator"),
    (
        _attribute(comparison={"operator": 99, "value": _ONE}), "segment.attribute.condition.comparison.operator",
    ),
    (_attribute(comparison={"operator": 1}), "segment.attribute.condition.comparison.value"),
    (
        _attribute(comparison={"operator": 1, "value": {"number": "NaN"}}),
        "segment.attribute.condition.comparison.value",
    ),
    (_attribute(one_of={}), "segment.attribute.condition.one_of.values"),
    (_attribute(one_of={"values": [_ONE, {}]}), "segment.attribute.condition.one_of.values[1]"),
    (_attribute(between={"high": _ONE}), "segment.attribute.condition.between.low"),
    (_attribute(between={"low": _ONE}), "segment.attribute.condition.between.high"),
    (_attribute(text={"pattern": "x"}), "segment.attribute.condition.text.operator"),
    (_attribute(list={"values": [_ONE]}), "segment.attribute.condition.list.operator"),
    (_attribute(list={"operator": 1}), "segment.attribute.condition.list.values"),
    (_attribute(list={"operator": 1, "values": [_ONE, _ONE]}), "segment.attribute.condition.list.values"),
    (_attribute(size={"size": "1"}), "segment.attribute.condition.size.operator"),
    (_attribute(version={"version": "1"}), "segment.attribute.condition.version.operator"),
    (_attribute(time={"span": _DAY}), "segment.attribute.condition.time.side"),
    (_attribute(time={"side": 1}), "segment.attribute.condition.time.span.unit"),
    (_attribute(anniversary={"first": _DAY}), "segment.attribute.condition.anniversary.last.unit"),
    ({"segment": {"distance": {"name": "a", "metres": _ONE}}}, "segment.distance.operator"),
    ({"segment": {"distance": {"name": "a", "operator": 3}}}, "segment.distance.metres"),
    ({"segment": {"distance": {"operator": 3, "metres": _ONE}}}, "segment.distance.name"),
    ({"segment": {"was": {"condition": _SET}}}, "segment.was.name"),
    ({"segment": {"was": {"name": "a"}}}, "segment.was.condition"),
    ({"segment": {"changed": {}}}, "segment.changed.name"),
    ({"segment": {"changed": {"name": "a", "before": {"values": [{}]}}}}, "segment.changed.before.values[0]"),
    ({"segment": {"unchanged": {"name": "a"}}}, "segment.unchanged.span.unit"),
    ({"segment": {"value_at": {"name": "a", "condition": _SET}}}, "segment.value_at.at"),
    (_where(distance={"name": "a", "metres": _ONE}), "segment.did.events.where.distance.operator"),
    ({"segment": {"did": {}}}, "segment.did.events.names"),
    (_did(events={"names": [""]}), "segment.did.events.names"),
    (_where(), "segment.did.events.where.node"),
    (_where(negation={}), "segment.did.events.where.negation.node"),
    (_where(all={"items": [{}]}), "segment.did.events.where.all.items[0].node"),
    (_where(any={"items": [{}]}), "segment.did.events.where.any.items[0].node"),
    (_where(property={"condition": _SET}), "segment.did.events.where.property.name"),
    (_where(property={"name": "p"}), "segment.did.events.where.property.condition"),
    (_did(window={"last": {"amount": "1"}}), "segment.did.window.last.unit"),
    (_did(window={"last": {"amount": "-1", "unit": 5}}), "segment.did.window.last.amount"),
    (_did(window={"last_calendar": {"amount": "1"}}), "segment.did.window.last_calendar.unit"),
    (_did(window={"days_ago": "-1"}), "segment.did.window.days_ago"),
    (_did(window={"ago": {"far": _DAY}}), "segment.did.window.ago.near.unit"),
    (_did(window={"ago": {"near": _DAY}}), "segment.did.window.ago.far.unit"),
    (_did(window={"more_than_ago": {}}), "segment.did.window.more_than_ago.unit"),
    (_did(window={"this": 0}), "segment.did.window.this"),
    (_did(window={"previous": 0}), "segment.did.window.previous"),
    (_count(operator=None), "segment.count.operator"),
    (_count(value=None), "segment.count.value"),
    (_count(value={"text": "1"}), "segment.count.value"),
    (_count(value={"boolean": True}), "segment.count.value"),
    (_aggregate(function=None), "segment.aggregate.function"),
    (_aggregate(property=None), "segment.aggregate.property"),
    (_aggregate(operator=None), "segment.aggregate.operator"),
    (_aggregate(value={"moment": "2026-01-01"}), "segment.aggregate.value"),
    ({"segment": {"occurrence": {"events": _VIEW}}}, "segment.occurrence.occurrence"),
    ({"segment": {"sequence": {"steps": [_VIEW, {}]}}}, "segment.sequence.steps[1].names"),
    ({"segment": {"sequence": {"steps": [{"names": ["View"], "where": {}}]}}}, "segment.sequence.steps[0].where.node"),
    ({"segment": {"sequence": {"steps": [_VIEW, _VIEW], "within": {}}}}, "segment.sequence.within.unit"),
    (_compared(), "segment.expression.left.terms"),
    (_compared(*[_MEASURE] * 65), "segment.expression.left.terms"),
    (_compared(_MEASURE, _MEASURE), "segment.expression.left.terms"),
    (_compared({}), "segment.expression.left.terms[0].form"),
    (_compared({"number": {"text": "1"}}), "segment.expression.left.terms[0].number"),
    (_compared({"measure": {"events": _VIEW}}), "segment.expression.left.terms[0].measure.function"),
    (_compared({"measure": {"function": 2}}), "segment.expression.left.terms[0].measure.events.names"),
    (
        _compared({"measure": {"function": 2, "events": _VIEW, "property": "p"}}),
        "segment.expression.left.terms[0].measure.property",
    ),
    (_compared(_MEASURE, {"operation": 1}), "segment.expression.left.terms[1].operation"),
    (_compared(_MEASURE, _MEASURE, {"operation": 0}), "segment.expression.left.terms[2].operation"),
    (_compared(_MEASURE, operator=None), "segment.expression.operator"),
    (_compared(_MEASURE, right=None), "segment.expression.right.terms"),
    (_did(window={"within_first": {"duration": _DAY}}), "segment.did.window.within_first.names"),
    (_did(window={"within_first": {"names": ["A", ""]}}), "segment.did.window.within_first.names"),
    (_did(window={"within_first": {"names": ["A"]}}), "segment.did.window.within_first.duration.unit"),
    (_did(window={"since": ""}), "segment.did.window.since"),
    (_where(weekday={}), "segment.did.events.where.weekday.days"),
    (_where(weekday={"days": ["8"]}), "segment.did.events.where.weekday.days"),
    ({"segment": {"recency": {"operator": 1, "duration": _DAY}}}, "segment.recency.events.names"),
    ({"segment": {"recency": {"events": _VIEW, "duration": _DAY}}}, "segment.recency.operator"),
    ({"segment": {"recency": {"events": _VIEW, "operator": 1}}}, "segment.recency.duration.unit"),
    ({"segment": {"inactive": {}}}, "segment.inactive.duration.unit"),
    (_valued("edge_value", edge=0), "segment.edge_value.edge"),
    (_valued("edge_value", edge=1, property=""), "segment.edge_value.property"),
    (_valued("edge_value", edge=1, condition=_SET), "segment.edge_value.condition"),
    (_valued("edge_value", edge=1, events={}), "segment.edge_value.events.names"),
    (_valued("mostly", condition={}), "segment.mostly.condition"),
    (_valued("share", value=_ONE), "segment.share.operator"),
    (_valued("share", operator=1), "segment.share.value"),
    ({"segment": {"nth": {"number": "1"}}}, "segment.nth.events.names"),
    ({"segment": {"nth": {"events": _VIEW, "where": {}}}}, "segment.nth.where.node"),
    ({"segment": {"regularly": {"events": _VIEW, "times": "1"}}}, "segment.regularly.unit"),
    ({"segment": {"stopped": {"events": _VIEW}}}, "segment.stopped.earlier"),
    ({"segment": {"stopped": {"events": _VIEW, "earlier": {"days_ago": "3"}}}}, "segment.stopped.later"),
    ({"segment": {"resumed": {"events": _VIEW}}}, "segment.resumed.gap"),
    ({"funnel": {"steps": [{}]}}, "funnel.steps[0].names"),
    ({"funnel": {"steps": [_VIEW, _VIEW], "within": {"amount": "1"}}}, "funnel.within.unit"),
    ({"funnel": {"steps": [_VIEW, _VIEW], "window": {"last": {}}}}, "funnel.window.last.unit"),
]  # fmt: skip


def test_one_count_against_a_number_is_the_count_test_it_says() -> None:
    message = _compared({"measure": {"function": "MEASURE_FUNCTION_COUNT", "events": _VIEW}})
    question = from_question(json_format.ParseDict(message, pb.Question()))
    assert question == tree.CountTest(tree.Events(("View",)), tree.ALWAYS, tree.Op.GE, 1)
    message = _compared({"measure": {"function": "MEASURE_FUNCTION_SUM", "events": _VIEW, "property": "p"}})
    question = from_question(json_format.ParseDict(message, pb.Question()))
    assert question == tree.AggregateTest(tree.Aggregate.SUM, "p", tree.Events(("View",)), tree.ALWAYS, tree.Op.GE, 1)


@pytest.mark.parametrize(("question", "path"), BAD, ids=[f"{number}-{path}" for number, (_, path) in enumerate(BAD)])
def test_what_is_missing_or_unspecified_is_named_by_its_path(question: dict[str, Any], path: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        from_question(json_format.ParseDict(question, pb.Question()))
    assert caught.value.field == path
    assert caught.value.problem


def test_every_enumeration_of_the_contract_is_among_the_bad_cases() -> None:
    reached = {path.rsplit(".", 1)[-1] for _, path in BAD}
    enumerations = {
        field.name
        for message in pb.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
        if field.enum_type is not None
    }
    assert enumerations <= reached


def _deep(levels: int, kind: str) -> pb.Question:
    """Segments inside each other, built in place: copying would already meet the limit of protobuf."""
    question = pb.Question()
    segment = question.segment
    for _ in range(levels):
        segment = segment.negation if kind == "negation" else segment.all.items.add()
    segment.everyone.SetInParent()
    return question


@pytest.mark.parametrize("kind", ["negation", "all"])
def test_nesting_beyond_the_limit_is_refused(kind: str) -> None:
    assert from_question(_deep(QUERY_NESTING_MAX - 1, kind))
    with pytest.raises(RequestInvalid, match=f"{QUERY_NESTING_MAX} levels"):
        from_question(_deep(QUERY_NESTING_MAX + 1, kind))


@pytest.mark.parametrize("kind", ["negation", "all"])
def test_whatever_nesting_is_allowed_fits_through_a_protobuf_parser(kind: str) -> None:
    levels = 1
    while True:
        try:
            from_question(_deep(levels + 1, kind))
        except RequestInvalid:
            break
        levels += 1
    packed = _deep(levels, kind).SerializeToString()
    assert pb.Question.FromString(packed) == _deep(levels, kind)


# ------------------------------------------------------------------------------------------------------ mutated bytes


@given(_questions(), st.integers(0, 1 << 40))
def test_any_message_is_a_question_or_is_refused_with_a_reason(question: tree.Question, seed: int) -> None:
    chance, data = random.Random(seed), bytearray(to_question(question).SerializeToString())
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(data))
        data[at] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256), (data[at] + 1) % 256))
    try:
        message = pb.Question.FromString(bytes(data))
    except DecodeError:
        return  # gRPC refuses it before we see it
    try:
        received = from_question(message)
        checked = pipeline.check(received, tree.Context(strategies.BORDER_MS))
    except (RequestInvalid, QueryError) as error:
        assert str(error)
        return
    assert _typed(from_question(to_question(checked))) == _typed(checked)


_MOMENTS = ("", "x", "0001-01-01", "9999-12-31", "9999-12-31T23:59:59.999Z", "2026-02-30", "2026-01-01T", "2026-W01-1")
_AMOUNTS = (0, 1, 10**6, 10**12, (1 << 63) - 1)


def _extreme_windows() -> st.SearchStrategy[tree.Window]:
    moments = st.sampled_from(_MOMENTS).map(tree.Moment)
    spans = st.builds(tree.Duration, st.sampled_from(_AMOUNTS), st.sampled_from(tree.DURATION_UNITS))
    units = st.sampled_from(tree.CALENDAR_UNITS)
    return st.one_of(
        st.builds(tree.FromTo, moments, moments), st.builds(tree.Before, moments), st.builds(tree.After, moments),
        st.builds(tree.Last, spans), st.builds(tree.LastCalendar, spans), st.builds(tree.MoreThanAgo, spans),
        st.builds(tree.Ago, spans, spans), st.builds(tree.DaysAgo, st.sampled_from(_AMOUNTS)),
        st.builds(tree.This, units), st.builds(tree.Previous, units),
    )  # fmt: skip


_EXTREME_INSTANTS = (-62_135_596_800_000, 253_402_300_799_999, 0, strategies.BORDER_MS)


@given(
    _extreme_windows(), st.sampled_from(_EXTREME_INSTANTS), st.sampled_from((*strategies.ZONES, "Pacific/Kiritimati"))
)
def test_any_window_at_any_instant_is_answered_or_refused_with_a_reason(
    window: tree.Window, as_of_ms: int, tz: str
) -> None:
    question = tree.Did(tree.Events(("View",)), window)
    try:
        pipeline.check(question, tree.Context(as_of_ms, tz))
    except QueryError as error:
        assert str(error)


@given(st.sampled_from(_MOMENTS), st.sampled_from(tuple(tree.Op)), st.sampled_from(strategies.ZONES))
def test_any_moment_is_compared_or_refused_with_a_reason(iso: str, op: tree.Op, tz: str) -> None:
    question = tree.AttributeTest("since", tree.Compare(op, tree.Moment(iso)))
    try:
        pipeline.check(question, tree.Context(strategies.BORDER_MS, tz))
    except QueryError as error:
        assert str(error)
