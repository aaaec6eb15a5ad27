"""Marked values: no place of a question in which a marked name stands lets the answer depend on its value."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from cdp.v1 import query_pb2, segment_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdp_query import pipeline, tree
from cdp_query.bind.names import names_of
from cdp_query.language.cql import read_cql
from cdp_query.tree.mentions import FIELDS, VALUE_OF, NameKind, mentions
from cdp_router.contract.question_codec import from_question, to_question
from cdp_router.errors import PersonalData
from cdp_router.security.privacy.personal_data import check_conditions, check_mentions
from cdp_router.security.privacy.privacy import Privacy
from cdp_router.security.privacy.withholding import withhold
from tests import strategies, strategies_attempts, strategies_reports
from tests.router.encodings import Sent, protobuf_batch
from tests.router.local_cluster import NOW_MS, LocalCluster, local_cluster

DAY: Final = 86_400_000
SECRET: Final = "icd"
MARKED: Final = Privacy((SECRET,), 0)
NESTED: Final = Privacy((SECRET, "cart.receiver", "home.lat"), 0)

# Every text of the contract's questions: whether it is the name of an attribute or a property.
NAMES: Final = {
    "AggregateTest.property",
    "AttributeTest.name",
    "ChangedTest.name",
    "DistanceTest.name",
    "Distribution.attribute",
    "EdgeValueTest.property",
    "Measure.property",
    "MostlyTest.property",
    "PropertyTest.name",
    "Rfm.money",
    "ShareTest.property",
    "Steps.hold",
    "Trend.property",
    "UnchangedTest.name",
    "ValueAtTest.name",
    "WasTest.name",
    "Window.since",
}
GROUPS: Final = {"Breakdown.attribute", "FunnelCounting.by_attribute", "FunnelCounting.by_entry"}
OTHERS: Final = {
    "Diff.end",
    "Diff.start",
    "EventSet.names",
    "Flow.only",
    "FromTo.end",
    "FromTo.start",
    "Literal.moment",
    "Literal.text",
    "SegmentReference.name",
    "TextTest.pattern",
    "ValueAtTest.moment",
    "VersionTest.version",
    "Window.after",
    "Window.before",
    "WithinFirst.names",
}


def _text_fields(message: Descriptor, seen: set[str]) -> Iterator[str]:
    if message.full_name not in seen:
        seen.add(message.full_name)
        for field in message.fields:
            if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
                yield f"{message.name}.{field.name}"
            if field.message_type is not None:
                yield from _text_fields(field.message_type, seen)


def test_every_text_of_a_question_is_known_to_be_a_name_or_none() -> None:
    assert set(_text_fields(segment_pb2.Question.DESCRIPTOR, set())) == NAMES | GROUPS | OTHERS


def test_every_text_in_the_tree_is_known_to_be_a_name_or_none() -> None:
    parts = [part for part in map(tree.__dict__.get, tree.__all__) if isinstance(part, type)]
    texts = {
        (part, field.name)
        for part in parts
        if dataclasses.is_dataclass(part)
        for field in dataclasses.fields(part)
        if re.search(r"\b(str|Literal)\b", str(field.type))
    }
    assert texts == set(FIELDS)


def test_a_text_that_nobody_has_classified_is_an_error() -> None:
    @dataclasses.dataclass(frozen=True, slots=True)
    class New:
        name: str

    with pytest.raises(TypeError, match=r"New\.name"):
        list(mentions(tree.Not(New("x"))))  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------- one place at a time

QUESTIONS = st.one_of(
    strategies.segments(3),
    strategies_reports.reports(),
    strategies_attempts.funnels(),
    strategies.funnels(),
    st.builds(tree.Breakdown, strategies.segments(2), st.sampled_from(strategies.ATTRIBUTE_NAMES)),
)


def _places(message: Message) -> Iterator[tuple[Message, FieldDescriptor]]:
    for field, value in message.ListFields():
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            for each in value if field.is_repeated else (value,):
                yield from _places(each)
        elif f"{message.DESCRIPTOR.name}.{field.name}" in NAMES | GROUPS:
            yield message, field


def _is_presence(message: Any) -> bool:
    return message.DESCRIPTOR.name in ("AttributeTest", "PropertyTest") and message.condition.HasField("existence")


def _is_refused(message: segment_pb2.Question) -> bool:
    try:
        check_conditions(from_question(message), MARKED)
    except PersonalData:
        return True
    return False


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(QUESTIONS)
def test_a_marked_name_is_refused_wherever_it_stands(question: tree.Question) -> None:
    message = to_question(question)
    assert not _is_refused(message)
    for place, field in _places(message):
        before = getattr(place, field.name)
        setattr(place, field.name, SECRET)
        is_group = f"{place.DESCRIPTOR.name}.{field.name}" in GROUPS
        assert _is_refused(message) == (not is_group and not _is_presence(place)), (place, field.name)
        with pytest.raises(PersonalData):
            check_mentions(from_question(message), MARKED)
        setattr(place, field.name, f"{SECRET}.part")
        assert _is_refused(message), "whether a part is there says what the whole is"
        setattr(place, field.name, before)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(QUESTIONS)
def test_the_walk_finds_every_name_of_the_message(question: tree.Question) -> None:
    found, names = list(mentions(question)), names_of(question)
    written = [(place, getattr(place, field.name)) for place, field in _places(to_question(question))]
    assert Counter(each.name for each in found if each.kind in VALUE_OF) == Counter(name for _, name in written)
    assert {each.name for each in found if each.kind is NameKind.EVENT} == names.events
    ends = {True: (".lat", ".lon"), False: ("",)}
    looked_up = {f"{name}{end}" for place, name in written for end in ends[place.DESCRIPTOR.name == "DistanceTest"]}
    assert looked_up == names.attributes | names.properties


# ---------------------------------------------------------------------------------------------------------- every form

REFUSED = [
    'icd = "F32"',
    'not icd in ["F32"] ci',
    'any(items, a = 1) or icd starts_with "F"',
    "size(icd) > 1",
    'version(icd) >= "3"',
    "icd within last 7d",
    "icd older than 1y",
    "anniversary(icd, 0d..7d)",
    'icd has_any ["F32"]',
    "distance(home, 1.0, 2.0) <= 500",
    'any(cart, receiver = "x")',
    "none(cart, exists(receiver))",
    "any(cart, qty > 1)",
    'any(icd, code = "F32")',
    'was(icd = "F32", last: 7d)',
    "was(exists(icd))",
    'changed(icd, to: "F32")',
    "changed(icd)",
    "unchanged(icd, for: 30d)",
    'value_at(icd, 2025-12-01) = "F32"',
    "exists(icd.F32)",
    "missing(icd.F32)",
    'did("Visit", icd = "F32")',
    'did("Visit", exists(icd.F32))',
    'did("Visit", not (amount > 3 or icd contains "F"))',
    'did("Visit", distance(home, 1.0, 2.0) <= 500)',
    'did("Visit", any(cart, receiver = "x"))',
    'did("Visit", since: icd)',
    'count("Visit", icd = "F32") >= 2',
    'count("Visit", since: icd) >= 2',
    'sum("Visit".icd) > 3',
    'sum("Visit".amount, icd = "F32") > 3',
    'avg("Visit".amount, since: icd) > 3',
    'distinct("Visit".icd) > 1',
    'days("Visit", icd = "F32") > 1',
    'streak("Visit", icd = "F32") >= 2',
    'count("Visit") > 2 * max("Visit".icd)',
    'count("Visit") > 2 * count("Visit", icd = "F32")',
    'first_time("Visit", last: 7d, icd = "F32")',
    'last_time("Visit", last: 7d, icd = "F32")',
    'recency("Visit", icd = "F32") < 7d',
    'first("Visit".icd) = "F32"',
    'last("Visit".amount, icd = "F32") = 1',
    'nth("Visit", 2, icd = "F32")',
    'nth("Visit"(icd = "F32"), 2)',
    'mostly("Visit".icd = "F32")',
    'share("Visit".icd = "F32") >= 0.4',
    'share("Visit".amount = 3, icd = "F32") >= 0.4',
    'regularly("Visit"(icd = "F32"), 1 per week, 2 of last 3)',
    'stopped("Visit"(icd = "F32"), ago: 7d..30d, last: 7d)',
    'resumed("Visit"(icd = "F32"), ago: 7d..30d)',
    'sequence("Visit" -> "Buy"(icd = "F32"), within: 7d)',
    'sequence("Visit" -> "Buy", within: 7d, hold: icd)',
    'sequence("Visit" -> without "Leave"(icd = "F32") -> "Buy", within: 7d)',
    'funnel("Visit" -> without "Leave"(icd = "F32") -> "Buy", within: 7d)',
    'sequence("Visit" -> "Buy", within: 7d, since: icd)',
    'funnel("Visit" -> "Buy"(icd = "F32"), within: 7d)',
    'funnel("Visit" -> "Buy", within: 7d, hold: icd)',
    'funnel("Visit" -> "Buy", within: 7d, by: icd.F32)',
    'funnel("Visit" -> "Buy", within: 7d, by_entry: icd.F32)',
    'trend("Visit".icd, unit: day, last: 10d)',
    'trend("Visit", unit: day, last: 10d, icd = "F32")',
    'trend("Visit", unit: day, since: icd)',
    'retention("Visit", return: "Buy"(icd = "F32"), unit: day, periods: 2)',
    'retention("Visit"(icd = "F32"), return: "Buy", unit: day, periods: 2)',
    'overlap(everyone, icd = "F32")',
    'diff(icd = "F32", from: 2025-12-25, to: 2025-12-31)',
    'distribution(icd = "F32", age)',
    "distribution(everyone, icd)",
    "distribution(everyone, icd.F32)",
    'distribution(everyone, avg("Visit".amount, icd = "F32"))',
    'distribution(everyone, 1 / count("Visit", icd = "F32"))',
    'distribution(everyone, 1 / (max("Visit".icd) - 1007))',
    'distribution(everyone, sum("Visit".icd))',
    'distribution(everyone, sum("Visit".amount, since: icd))',
    'distribution(everyone, max("Visit".amount, icd <= 1007))',
    'rfm("Buy".icd, last: 365d)',
    'rfm("Buy".amount, last: 365d, icd = "F32")',
    'flow("Visit", depth: 3, within: 3d, icd = "F32")',
    'flow("Visit", depth: 3, within: 3d, since: icd)',
]
ALLOWED = [
    "exists(icd)",
    'missing(icd) and plan = "gold"',
    'did("Visit", exists(icd))',
    'distribution(everyone, count("Visit", missing(icd)))',
    'funnel("Visit" -> "Buy", within: 7d, by: icd, times: on)',
    'funnel("Visit" -> "Buy", within: 7d, by_entry: icd)',
    'in_segment("with depression")',
    "exists(cart)",
    "exists(home)",
]


@pytest.mark.parametrize("text", REFUSED)
def test_no_form_of_a_question_tests_a_marked_value(text: str) -> None:
    with pytest.raises(PersonalData, match="profile-read"):
        check_conditions(pipeline.read(text, None), NESTED)


@pytest.mark.parametrize("text", ALLOWED)
def test_presence_groups_and_named_segments_may_be_asked(text: str) -> None:
    check_conditions(pipeline.read(text, None), NESTED)


def test_the_forms_above_stand_for_every_name_of_the_contract() -> None:
    met = {
        f"{place.DESCRIPTOR.name}.{field.name}"
        for text in REFUSED + ALLOWED
        for place, field in _places(to_question(pipeline.read(text, None)))
        if str(getattr(place, field.name)).split(".")[0] in (SECRET, "home")
    }
    met |= {"Breakdown.attribute"}  # has no text of its own
    assert met == NAMES | GROUPS


_FIELD: Final = {"name": "icd", "operator": "equals", "value": "F32"}
_EVENT: Final = {"event_name": "Visit", "from": 20260101, "to": 20260131, "event_properties": [_FIELD]}


@pytest.mark.parametrize(
    "query", [{"common_profile_properties": {"profile_fields": [_FIELD]}}, _EVENT, {"did_any": [_EVENT]}]
)
def test_the_rule_holds_for_cql(query: Any) -> None:
    with pytest.raises(PersonalData):
        check_conditions(read_cql(json.dumps(query)), MARKED)


# ------------------------------------------------------------------------------ the answer does not depend on the value


def _sent(values: Mapping[int, Any]) -> list[Sent]:
    sent = []
    for n in range(24):
        has = {SECRET: values[n]} if n % 4 else {}
        sent.append(Sent(None, f"u{n}", NOW_MS - 9 * DAY, {"plan": "gold" if n % 3 else "silver", **has}))
        sent += [Sent("Visit", f"u{n}", NOW_MS - day * DAY, {"amount": n, **has}) for day in range(1, 2 + n % 5)]
        sent += [Sent("Buy", f"u{n}", NOW_MS - DAY // 2, has)] if n % 2 else []
    return sent


@pytest.fixture(scope="module")
def two_worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalCluster, LocalCluster]]:
    """Two clusters that differ in nothing but marked values, in their types too."""
    first: dict[int, Any] = {n: "F32" if n % 5 else "F33" for n in range(24)}
    second: dict[int, Any] = {n: 1000 + n if n % 2 else ["F32", "F33"] for n in range(24)}
    with (
        local_cluster(tmp_path_factory.mktemp("one")) as one,
        local_cluster(tmp_path_factory.mktemp("two")) as two,
    ):
        one.ingest(protobuf_batch(_sent(first)))
        two.ingest(protobuf_batch(_sent(second)))
        yield one, two


def _told(cluster: LocalCluster, smallest: int, **asked: Any) -> query_pb2.QueryResponse:
    answer = cluster.query(**asked)
    withhold(answer, from_question(answer.question), Privacy((SECRET,), smallest))
    for field in ("milliseconds", "engine_milliseconds", "coverage"):
        answer.ClearField(field)
    return answer


@pytest.mark.parametrize("smallest", [0, 3])
@pytest.mark.parametrize("text", [text for text in ALLOWED if "in_segment" not in text])
def test_what_may_be_asked_has_the_same_answer_whatever_the_values_are(
    two_worlds: tuple[LocalCluster, LocalCluster], text: str, smallest: int
) -> None:
    one, two = (_told(cluster, smallest, text=text, explain=True) for cluster in two_worlds)
    assert one == two


@pytest.mark.parametrize("smallest", [0, 3])
def test_a_breakdown_by_marked_values_is_the_same_whatever_they_are(
    two_worlds: tuple[LocalCluster, LocalCluster], smallest: int
) -> None:
    one, two = (_told(cluster, smallest, text="everyone", by=SECRET) for cluster in two_worlds)
    assert one == two
    assert [row.count for row in one.breakdown] == [18, 6]


def test_a_question_is_refused_before_any_of_it_is_evaluated(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        cluster.ingest(protobuf_batch(_sent(dict.fromkeys(range(24), "F32"))))
        asked = list[tree.Question]()

        def check(question: tree.Question) -> None:
            asked.append(question)
            raise PersonalData(SECRET)

        for server in cluster.servers:
            server.evaluate = None  # type: ignore[assignment,method-assign]
        request = query_pb2.QueryRequest(text='icd = "F32"', strict=True)
        from cdp_router.deadline import monotonic_ms
        from tests.router.local_cluster import far_deadline

        with pytest.raises(PersonalData):
            cluster.run(cluster.asking.query(request, far_deadline(), monotonic_ms(), check))
        assert len(asked) == 1
