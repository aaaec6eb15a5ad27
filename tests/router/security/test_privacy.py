"""What keys without profile-read are not told: small numbers, what tells them, and values that are personal."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import grpc
import pytest
from cdp.v1 import named_segment_pb2, privacy_pb2, query_pb2, schema_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from cdp_router.client import AsyncClient, RequestFailed
from cdp_router.contract.question_codec import from_question
from cdp_router.errors import PersonalData, RequestInvalid
from cdp_router.questions.discovery import discover
from cdp_router.rpc.principal import Role
from cdp_router.security.gates import ClusterGate, KeyGate
from cdp_router.security.keys.key_file import KeyFile, change_keys
from cdp_router.security.keys.keys import mint
from cdp_router.security.privacy.masking import MASKED
from cdp_router.security.privacy.personal_data import check_conditions
from cdp_router.security.privacy.privacy import Privacy
from cdp_router.security.privacy.withheld_schema import withhold_seen
from cdp_router.security.privacy.withholding import withhold
from tests.router.encodings import Sent, protobuf_batch
from tests.router.local_cluster import NOW_MS, FixedClock, LocalCluster, far_deadline, local_cluster
from tests.router.served_cluster import served_cluster

DAY, PEOPLE, K = 86_400_000, 40, 10
PRIVACY = Privacy(("email", "address", "cart.receiver"), K)


def _sent() -> list[Sent]:
    sent = []
    for n in range(PEOPLE):
        plan = "bronze" if n < 3 else "silver" if n < 15 else "gold"
        values = {
            "plan": plan,
            "email": f"{n}@x.org",
            "age": n,
            "address.city": "Paris",
            "cart": [{"receiver": f"{n}@x.org"}],
            **({"vip": True} if n < 7 else {}),
        }
        sent.append(Sent(None, f"u{n}", NOW_MS - 9 * DAY, values))
        sent += [
            Sent("View", f"u{n}", NOW_MS - day * DAY, {"n": n, "email": f"{n}@x.org"}) for day in range(1, 2 + n % 7)
        ]
        sent += [Sent("Buy", f"u{n}", NOW_MS - DAY // 2, {"amount": n})] if n % 3 == 0 else []
    return sent


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with local_cluster(tmp_path_factory.mktemp("privacy")) as found:
        found.ingest(protobuf_batch(_sent()))
        yield found


def _asked(cluster: LocalCluster, text: str, **options: Any) -> tuple[query_pb2.QueryResponse, query_pb2.QueryResponse]:
    """The whole answer, and what is left of it."""
    whole = cluster.query(text, **options)
    left = query_pb2.QueryResponse()
    left.CopyFrom(whole)
    withhold(left, from_question(whole.question), PRIVACY)
    return whole, left


# ----------------------------------------------------------------------------------------------------------- numbers

COUNTS = {"count", "users", "returned", "only", "all", "in_none", "entered", "left", "stayed", "undefined", "ended"}
COUNTS |= {"other", "incomplete", "converted", "steps", "breakdown_rest", "population"}
COUNTS |= {"new", "returning", "resurrecting", "dormant"}
REPORTS = [
    'trend("View".n, unit: day, last: 10d)',
    'lifecycle("View", unit: day, last: 10d)',
    'retention("View", return: "Buy", unit: day, periods: 5)',
    'funnel("View" -> "Buy", within: 3d, by: plan, times: on)',
    'funnel("View" -> "Buy", within: 3d, by_entry: email)',
    'overlap(plan = "bronze", vip = true, plan = "gold")',
    'diff(did("View"), from: 2025-12-25, to: 2025-12-31)',
    "distribution(everyone, age)",
    'distribution(everyone, count("View"))',
    'rfm("Buy".amount, last: 365d)',
    'flow("View", depth: 3, within: 3d)',
    "vip = true",
]


def _counts(message: Message) -> Iterator[tuple[str, int]]:
    """Every number of users in a message."""
    for field, value in message.ListFields():
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            if field.name not in ("coverage", "question", "as_of"):
                for each in value if field.is_repeated else (value,):
                    yield from _counts(each)
        elif field.name in COUNTS and field.cpp_type == FieldDescriptor.CPPTYPE_UINT64:
            for number in value if field.is_repeated else (value,):
                yield field.name, number


@pytest.mark.parametrize(
    ("text", "by"), [*((text, "") for text in REPORTS), ("everyone", "plan"), ("vip = true", "plan")]
)
def test_no_small_number_is_left_and_no_other_is_changed(cluster: LocalCluster, text: str, by: str) -> None:
    whole, left = _asked(cluster, text, by=by, explain=True)
    assert any(0 < number < K for _, number in _counts(whole)), "the question has something to hide"
    assert not [(name, number) for name, number in _counts(left) if 0 < number < K]
    assert {number for _, number in _counts(left)} <= {0, *(number for _, number in _counts(whole))}
    assert "WITHHELD" in left.flags and left.withheld_below == K
    assert not left.explanation


def test_the_least_and_the_most_are_those_of_one_user(cluster: LocalCluster) -> None:
    whole, left = _asked(cluster, "distribution(everyone, age)")
    assert whole.distribution.histogram and {0.0, 1.0} & {each.share for each in whole.distribution.quantiles}
    assert not left.distribution.histogram
    assert [each.share for each in left.distribution.quantiles] == [0.25, 0.5, 0.75]
    whole, left = _asked(cluster, 'funnel("View" -> "Buy", within: 3d, times: on)')
    assert whole.funnel_report.times.longest and whole.funnel_report.times.converted >= K
    assert not left.funnel_report.times.longest and not left.funnel_report.times.p95
    assert whole.funnel_report.times.mean and not left.funnel_report.times.mean


def test_large_numbers_are_told_as_they_are(cluster: LocalCluster) -> None:
    whole, left = _asked(cluster, 'plan = "gold"')
    assert left.count == whole.count == 25 and left.population == PEOPLE
    assert not left.flags
    assert [row.count for row in _asked(cluster, "everyone", by="plan")[1].breakdown] == [25]


@pytest.mark.parametrize(
    ("text", "count"), [("vip = true", 7), ("not vip = true", 33), ('plan = "none"', 0), ("age < 31", 31)]
)
def test_few_none_and_all_but_few_are_not_told_apart(cluster: LocalCluster, text: str, count: int) -> None:
    whole, left = _asked(cluster, text)
    assert whole.count == count
    assert (left.count, list(left.flags)) == (0, ["WITHHELD"])


def test_what_a_breakdown_leaves_out_is_no_small_number(cluster: LocalCluster) -> None:
    whole, left = _asked(cluster, "everyone", by="plan")
    assert sorted(row.count for row in whole.breakdown) == [3, 12, 25]
    assert left.count - sum(row.count for row in left.breakdown) == 15, "3 alone would be told by the total"


@given(st.lists(st.integers(0, 60), max_size=8), st.integers(0, 30), st.integers(0, 20))
def test_rows_left_out_are_none_or_together_no_small_number(counts: list[int], rest: int, smallest: int) -> None:
    response = query_pb2.QueryResponse(count=sum(counts) + rest, population=1000, breakdown_rest=rest)
    for number, count in enumerate(counts):
        response.breakdown.add(count=count).value.integer = number
    question = cluster_question()
    withhold(response, question, Privacy((), smallest))
    shown = [row.count for row in response.breakdown]
    assert all(count >= smallest or smallest <= 1 for count in shown)
    hidden = sum(counts) + rest - sum(shown) - response.breakdown_rest
    assert hidden == 0 or hidden >= smallest or not shown


def cluster_question() -> Any:
    from cdp_query import tree

    return tree.Breakdown(tree.Everyone(), "plan")


def test_nothing_is_withheld_where_the_smallest_number_is_none(cluster: LocalCluster) -> None:
    whole = cluster.query("vip = true", by="plan")
    left = query_pb2.QueryResponse()
    left.CopyFrom(whole)
    withhold(left, from_question(whole.question), Privacy((), 0))
    assert (left.count, list(left.flags), left.breakdown) == (7, [], whole.breakdown)


# ------------------------------------------------------------------------------------------------------------ values


def test_values_of_personal_names_are_masked(cluster: LocalCluster) -> None:
    whole, left = _asked(cluster, "everyone", by="email")
    assert len(whole.breakdown) == PEOPLE
    assert [(row.value, row.count) for row in left.breakdown] == [(MASKED, PEOPLE)]
    whole, left = _asked(cluster, "everyone", by="address.city")
    assert [(row.value, row.count) for row in left.breakdown] == [(MASKED, PEOPLE)]
    whole, left = _asked(cluster, "everyone", by="cart")
    assert len(whole.breakdown) == PEOPLE and [row.value for row in left.breakdown] == [MASKED]
    secret = Privacy(("n", "age"), K)
    for text in (
        'trend("View".n, unit: day, last: 10d)',
        "distribution(everyone, age)",
        'distribution(everyone, max("View".n))',
    ):
        whole = cluster.query(text)
        withhold(whole, from_question(whole.question), secret)
        assert not whole.distribution.quantiles and not whole.distribution.mean
        assert not any(row.HasField("sum") or row.HasField("average") for row in whole.trend.rows)


REFUSED = [
    'email = "1@x.org"',
    'not (plan = "gold" or email starts_with "1")',
    'did("View", email = "1@x.org")',
    'was(email = "1@x.org")',
    'address.city = "Paris"',
    'distinct("View".email) > 1',
    'trend(["View"], unit: day, last: 3d, email = "x")',
    'retention("View", return: "Buy"(email = "x"), unit: day, periods: 2)',
    'funnel("View" -> "Buy"(email = "x"), within: 3d)',
    'overlap(everyone, email = "x")',
    'distribution(email = "x", age)',
    'diff(email = "x", from: 2025-12-25, to: 2025-12-31)',
    'any(cart, receiver = "x")',
]
ALLOWED = ["exists(email)", 'not missing(email) and plan = "gold"', *REPORTS, 'in_segment("with an address")']


def _parsed(text: str) -> Any:
    from cdp_query import pipeline

    return pipeline.read(text, None)


@pytest.mark.parametrize("text", REFUSED)
def test_a_question_that_tests_what_is_personal_is_refused(text: str) -> None:
    question = _parsed(text)
    with pytest.raises(PersonalData, match="profile-read"):
        check_conditions(question, PRIVACY)


@pytest.mark.parametrize("text", ALLOWED)
def test_whether_a_value_is_there_may_be_asked_and_all_else(text: str) -> None:
    check_conditions(_parsed(text), PRIVACY)


# ------------------------------------------------------------------------------------------------------------ schema


def _seen(cluster: LocalCluster, privacy: Privacy) -> schema_pb2.DiscoverSchemaResponse:
    found = cluster.run(discover(cluster.routing, far_deadline()))
    withhold_seen(found, privacy)
    return found


def test_a_schema_says_no_small_number_no_instant_and_nothing_of_marked_values(tmp_path: Path) -> None:
    sent = [Sent("View", f"u{n}", NOW_MS - n * 1001, {"icd": "F32", "n": n if n < 11 else "x"}) for n in range(29)]
    sent += [Sent("View", "u0", NOW_MS - 77, {"n": 2.5, "odd": True})]
    sent += [Sent("Rare disease", "u1", NOW_MS - 5, {"icd": "F33", "n": 1})]
    sent += [
        Sent(None, f"u{n}", NOW_MS - n, {"plan": "gold" if n else 1, **({} if n else {"vip": 1})}) for n in range(20)
    ]
    with local_cluster(tmp_path) as cluster:
        cluster.ingest(protobuf_batch(sent))
        found = _seen(cluster, Privacy(("icd",), K))
        whole = _seen(cluster, Privacy((), 0))
    rare, view = found.events
    assert (rare.name, rare.count, rare.HasField("first"), rare.HasField("last")) == ("Rare disease", 0, False, False)
    assert not any(each.types or each.distinct_at_most for each in rare.properties)
    assert view.count == 30 and {view.first.ToMilliseconds() % DAY, view.last.ToMilliseconds() % DAY} == {0}
    types = {each.name: [type_.count for type_ in each.types] for each in view.properties}
    assert types == {"icd": [], "n": [18], "odd": []}, "11 and 18 of 30 would tell the one"
    assert {each.name: len(each.types) for each in found.attributes} == {"plan": 0, "vip": 0}
    assert found.withheld_below == K
    assert whole.withheld_below == 0 and whole.events[0].count == 1 and whole.events[0].first.ToMilliseconds() % DAY


# ------------------------------------------------------------------------------------------------------------- marks


def test_marks_are_set_and_taken() -> None:
    marked = Privacy().changed(["phone", "email"], [], None)
    assert (marked.personal, marked.smallest_count) == (("email", "phone"), 10)
    assert marked.is_personal("phone.mobile") and not marked.is_personal("phones")
    assert marked.changed(["email"], [], 10) is marked
    assert marked.changed([], ["phone", "never"], 0) == Privacy(("email",), 0)
    for mark, unmark, count in (([""], [], None), (["x" * 500], [], None), (["a"], ["a"], None), ([], [], 10**9)):
        with pytest.raises(RequestInvalid):
            marked.changed(mark, unmark, count)


def test_keys_see_what_their_roles_allow_through_every_router(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys = {name: mint(name, roles, NOW_MS) for name, roles in _ROLES.items()}
    change_keys(path, lambda known: (None, {stored.id: stored for _, stored in keys.values()}))
    gates = KeyGate(KeyFile(path), FixedClock()), ClusterGate("x")

    async def run() -> None:
        async with served_cluster(tmp_path, gates=gates) as served:
            await served.ingest(protobuf_batch(_sent()))
            mark = served.router.unary_unary("/cdp.v1.PrivacyService/ChangePrivacy")
            raw = privacy_pb2.ChangePrivacyRequest(mark=["email"], smallest_count=8).SerializeToString()
            await mark(raw, metadata=(("authorization", f"Bearer {keys['admin'][0]}"),))
            analyst, seer, admin, definer = (
                AsyncClient(served.address, api_key=keys[name][0]) for name in ("analyst", "seer", "admin", "definer")
            )
            async with analyst, seer, admin, definer:
                assert await seer.count("vip = true") == 7
                assert await seer.count('email = "1@x.org"') == 1
                assert await analyst.count('plan = "gold"') == 25
                with pytest.raises(RequestFailed) as caught:
                    await analyst.count("vip = true")
                assert (caught.value.code, caught.value.reason) == (_DENIED, "COUNT_WITHHELD")
                assert (await analyst.answer("vip = true")).withheld_below == 8
                with pytest.raises(RequestFailed) as caught:
                    await analyst.count('email = "1@x.org"')
                assert (caught.value.code, caught.value.reason) == (_DENIED, "PERSONAL_DATA")
                await admin.create_segment(
                    named_segment_pb2.CreateSegmentRequest(name="theirs", text='email = "1@x.org"', description="Ann's")
                )
                described = [(await each.segment("theirs")).description for each in (analyst, seer, definer)]
                assert described == ["", "Ann's", "Ann's"]
                assert [each.description for each in (await analyst.segments()).segments] == [""]
                assert (await analyst.segment("theirs")).text == "(personal)"
                assert not (await analyst.segment("theirs")).HasField("segment")
                assert "1@x.org" in (await seer.segment("theirs")).text
                discover_schema = served.router.unary_unary("/cdp.v1.SchemaService/DiscoverSchema")
                seen, everything = [
                    schema_pb2.DiscoverSchemaResponse.FromString(
                        await discover_schema(b"", metadata=(("authorization", f"Bearer {keys[name][0]}"),))
                    )
                    for name in ("analyst", "seer")
                ]
                assert seen.withheld_below == 8 and "email" in {each.name for each in seen.attributes}
                assert not any(each.types for each in seen.attributes if each.name == "email")
                assert everything.withheld_below == 0
                with pytest.raises(RequestFailed) as caught:
                    await analyst.answer('distribution(everyone, avg("View".n, email = "1@x.org"))')
                assert (caught.value.code, caught.value.reason) == (_DENIED, "PERSONAL_DATA")
                with pytest.raises(RequestFailed) as caught:
                    await analyst.list_members("everyone")
                assert caught.value.reason == "ROLE_MISSING"

    asyncio.run(run())


_DENIED = grpc.StatusCode.PERMISSION_DENIED
_ROLES = {
    "analyst": [Role.QUERY],
    "seer": [Role.QUERY, Role.PROFILE_READ],
    "admin": [Role.ADMIN],
    "definer": (Role.QUERY, Role.ADMIN),
}


# -------------------------------------------------------------------------------------------------------------- effort


def _wide(rows: int, *, is_flat: bool) -> query_pb2.QueryResponse:
    """A breakdown of so many rows, every second one small; with lists of values more of them than members."""
    counts = [3 if number % 2 else 20 + number for number in range(rows)]
    total = sum(counts) - (0 if is_flat else rows)
    response = query_pb2.QueryResponse(count=total, population=2 * total)
    for number, count in enumerate(counts):
        response.breakdown.add(count=count).value.integer = number
    return response


def _steps_of(work: Callable[[], object]) -> int:
    """Bytecode instructions that some work takes, comprehensions included."""
    steps = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal steps
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        steps += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return steps


@pytest.mark.parametrize("is_flat", [True, False])
def test_withholding_takes_as_many_steps_as_there_are_rows(is_flat: bool) -> None:
    few, many = (_wide(rows, is_flat=is_flat) for rows in (500, 2000))
    steps = [_steps_of(lambda each=each: withhold(each, cluster_question(), PRIVACY)) for each in (few, many)]  # type: ignore[misc]
    assert steps[0] > 1000 and steps[1] < 5 * steps[0]
    widest = _wide(100_000, is_flat=is_flat)
    withhold(widest, cluster_question(), PRIVACY)
    assert len(widest.breakdown) == 49_999
