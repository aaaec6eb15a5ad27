"""A question and a batch go to all shards; what happens when some of them do not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cdp.v1 import moving_pb2, query_pb2

from cdp_query.errors import QueryCancelled, QueryError, QueryInvalid, QuerySyntaxError
from cdp_router.cluster.scatter import as_they_come, scatter
from cdp_router.cluster.shard_client import ShardClient
from cdp_router.cluster.shard_methods import EVALUATE, READ_SCHEMA, UnaryMethod
from cdp_router.deadline import Deadline
from cdp_router.errors import DeadlineMissed, Overloaded, ProfileNotFound, RequestInvalid, ShardUnavailable
from cdp_router.limits import INGEST_BYTES_IN_FLIGHT_MAX, PROFILE_EVENTS_MAX
from cdp_store.errors import StorageFull
from tests.router.encodings import DAY_MS, Sent, protobuf_batch
from tests.router.fake_shards import FailingShard, SilentShard, call_error
from tests.router.local_cluster import CLUSTER, NOW_MS, LocalCluster, far_deadline, local_cluster

PEOPLE = 40
RECORDS = [
    *(Sent("View", f"u{n}", NOW_MS - n * DAY_MS, {"page": f"p{n % 3}"}) for n in range(PEOPLE)),
    *(Sent(None, f"u{n}", NOW_MS - 50 * DAY_MS, {"plan": ("gold", "silver")[n % 2]}) for n in range(PEOPLE)),
]
ALL = (0, 1, 2, 3)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    with local_cluster(tmp_path) as found:
        found.ingest(protobuf_batch(RECORDS))
        yield found


@contextmanager
def _with_shard(folder: Path, make: Callable[[ShardClient], ShardClient]) -> Iterator[LocalCluster]:
    """A cluster with PEOPLE in it whose shard 1 is replaced after they were taken."""
    with local_cluster(folder) as found:
        found.ingest(protobuf_batch(RECORDS))
        shards = found.shards
        shards[1] = make(shards[1])
        yield found


def _away(shard: ShardClient) -> FailingShard:
    return FailingShard(shard, call_error(grpc.StatusCode.UNAVAILABLE))


def _partitions(coverage: query_pb2.Coverage) -> tuple[int, ...]:
    return tuple(position.partition for position in coverage.answered)


def test_an_answer_covers_every_partition_once_and_in_order(cluster: LocalCluster) -> None:
    found = cluster.query('did("View", last: 10d)')
    assert (found.count, found.population) == (10, PEOPLE)
    assert _partitions(found.coverage) == ALL
    assert all(position.sequence == 1 for position in found.coverage.answered)
    assert found.exact


def test_members_come_from_every_shard_with_the_coverage_at_the_end(cluster: LocalCluster) -> None:
    members, coverage = cluster.members('did("View", last: 10d)')
    assert members == sorted(("user_id", f"u{n}") for n in range(10))
    assert _partitions(coverage) == ALL
    assert coverage.total == 4


def test_a_profile_is_read_from_its_shard_alone(tmp_path: Path) -> None:
    with _with_shard(tmp_path, _away) as cluster:
        outcomes = dict[int, int]()
        for n in range(PEOPLE):
            try:
                found = cluster.profile(user_id=f"u{n}")
            except ShardUnavailable as error:
                assert error.partitions in {(1,), (3,)}
            else:
                outcomes[n] = found.partition
                assert [event.name for event in found.events] == ["View"]
        assert 0 < len(outcomes) < PEOPLE
        assert set(outcomes.values()) == {0, 2}


def test_an_unknown_profile_is_not_found(cluster: LocalCluster) -> None:
    with pytest.raises(ProfileNotFound, match="nobody"):
        cluster.profile(user_id="nobody")
    with pytest.raises(ProfileNotFound):
        cluster.profile(anonymous_id="u1")


def test_a_profile_request_is_checked(cluster: LocalCluster) -> None:
    with pytest.raises(RequestInvalid, match="identifier"):
        cluster.profile()
    with pytest.raises(RequestInvalid, match="events_max"):
        cluster.profile(user_id="u1", events_max=PROFILE_EVENTS_MAX + 1)
    assert cluster.profile(user_id="u1", events_max=PROFILE_EVENTS_MAX).event_count == 1


def test_a_missing_shard_fails_the_question_and_names_what_is_missing(tmp_path: Path) -> None:
    with _with_shard(tmp_path, _away) as cluster, pytest.raises(ShardUnavailable) as caught:
        cluster.query("everyone")
    assert caught.value.partitions == (1, 3)
    assert "shard 1 at local:1" in str(caught.value)
    assert "1, 3" in str(caught.value)


def test_a_partial_answer_is_flagged_and_says_what_it_covers(tmp_path: Path) -> None:
    with _with_shard(tmp_path, _away) as cluster:
        found = cluster.query('did("View")', allow_partial=True)
    assert _partitions(found.coverage) == (0, 2)
    assert found.coverage.total == 4
    assert 0 < found.count == found.population < PEOPLE
    assert list(found.flags) == ["PARTIAL"]
    assert not found.exact


def test_a_name_is_not_called_unknown_while_a_shard_that_may_know_it_is_away(tmp_path: Path) -> None:
    with _with_shard(tmp_path, _away) as cluster:
        with pytest.raises(ShardUnavailable):
            cluster.members('did("Elsewhere")', strict=True)
        with pytest.raises(ShardUnavailable):
            cluster.query('did("Elsewhere")', strict=True)
        found = cluster.query('did("Elsewhere")', strict=True, allow_partial=True)
        assert {"PARTIAL", "UNKNOWN_NAME"} <= set(found.flags)
        assert "2 of 4 partitions could not be asked" in found.warnings[0]
        assert not cluster.query('did("View")', strict=True, allow_partial=True).warnings


def test_a_name_that_no_partition_knows_is_an_error_where_all_were_asked(cluster: LocalCluster) -> None:
    for options in ({}, {"allow_partial": True}):
        with pytest.raises(RequestInvalid, match="no event named 'Elsewhere'"):
            cluster.query('did("Elsewhere")', strict=True, **options)
    with pytest.raises(RequestInvalid, match="no event named 'Elsewhere'"):
        cluster.members('did("Elsewhere")', strict=True)


class _Moving(FailingShard):
    """Says that a profile has come in that the partition it came from does not know of, until views are held."""

    async def call(self, method: UnaryMethod[Any, Any], request: Any, deadline: Deadline) -> Any:
        response = await super().call(method, request, deadline)
        if method is EVALUATE and not request.HasField("views"):
            ends = {each.partition: each for each in response.transfers}
            if {0, 2} <= {each.partition for each in request.partitions}:
                moved = moving_pb2.PartitionTransfers(partition=2, received=[{"source": 0, "last": 1}])
                del response.transfers[:]
                response.transfers.extend([ends.get(0, moving_pb2.PartitionTransfers(partition=0)), moved])
        return response


def test_an_answer_may_be_partial_while_profiles_move(tmp_path: Path) -> None:
    with _with_shard(tmp_path, _away) as cluster:
        shards = cluster.shards
        shards[0] = _Moving(shards[0])
        found = cluster.query("everyone", allow_partial=True)
        assert _partitions(found.coverage) == (0, 2)
        assert list(found.flags) == ["PARTIAL"]
        with pytest.raises(ShardUnavailable):
            cluster.query("everyone")
    with local_cluster(tmp_path / "whole") as cluster:
        cluster.ingest(protobuf_batch(RECORDS))
        shards = cluster.shards
        shards[0] = _Moving(shards[0])
        found = cluster.query("everyone", allow_partial=True)
        assert (found.count, _partitions(found.coverage), list(found.flags)) == (PEOPLE, ALL, [])


def test_a_whole_answer_is_not_flagged_partial_because_it_might_have_been(cluster: LocalCluster) -> None:
    found = cluster.query("everyone", allow_partial=True)
    assert found.exact
    assert not found.flags


def test_no_shard_at_all_is_a_failure_even_if_partial_answers_are_allowed(tmp_path: Path) -> None:
    def away(_: int, shard: ShardClient) -> ShardClient:
        return _away(shard)

    with local_cluster(tmp_path, away) as cluster, pytest.raises(ShardUnavailable) as caught:
        cluster.query("everyone", allow_partial=True)
    assert caught.value.partitions == ALL


def test_members_fail_when_a_shard_is_lost_on_the_way(tmp_path: Path) -> None:
    def lost(shard: ShardClient) -> FailingShard:
        return FailingShard(shard, call_error(grpc.StatusCode.UNAVAILABLE), before=1)

    with _with_shard(tmp_path, lost) as cluster, pytest.raises(ShardUnavailable):
        cluster.members("everyone")


def test_a_shard_that_never_answers_misses_the_deadline(tmp_path: Path) -> None:
    with _with_shard(tmp_path, SilentShard) as cluster:
        with pytest.raises(DeadlineMissed, match="shard 1"):
            cluster.ask(query_pb2.QueryRequest(text="everyone"), Deadline.after(0.2, 1.0))
        found = cluster.ask(query_pb2.QueryRequest(text="everyone", allow_partial=True), Deadline.after(0.2, 1.0))
        assert list(found.flags) == ["PARTIAL"]
        with pytest.raises(DeadlineMissed):
            cluster.run(cluster.taking.ingest(protobuf_batch(RECORDS), Deadline.after(0.2, 1.0)))


def test_an_evaluation_stops_when_its_deadline_has_passed(cluster: LocalCluster) -> None:
    with pytest.raises((QueryCancelled, DeadlineMissed)):
        cluster.ask(query_pb2.QueryRequest(text='did("View") and did("View", last: 3d)'), Deadline.after(0.0, 0.0))


def test_every_shard_is_asked_at_the_same_time() -> None:
    async def run() -> list[int]:
        both = asyncio.Barrier(2)

        async def call(number: int, _: ShardClient) -> int:
            await both.wait()
            return number

        gathered = await scatter({0: None, 1: None}, call)  # type: ignore[dict-item]
        return list(gathered.answers.values())

    assert asyncio.run(run()) == [0, 1]


def test_a_caller_who_goes_away_ends_the_calls_to_all_shards() -> None:
    async def run() -> list[int]:
        ended, begun = list[int](), asyncio.Barrier(4)

        async def call(number: int, _: ShardClient) -> int:
            try:
                await begun.wait()
                await asyncio.Event().wait()
            finally:
                ended.append(number)
            return number

        asking = asyncio.create_task(scatter(dict.fromkeys(range(3)), call))  # type: ignore[arg-type]
        await begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        return sorted(ended)

    assert asyncio.run(run()) == [0, 1, 2]


def test_what_a_shard_refuses_is_passed_on_and_not_taken_for_an_outage(tmp_path: Path) -> None:
    full = call_error(grpc.StatusCode.RESOURCE_EXHAUSTED, cause=StorageFull(Path("/data"), "ENOSPC"))
    with _with_shard(tmp_path, lambda shard: FailingShard(shard, full)) as cluster:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            cluster.ingest(protobuf_batch(RECORDS))
    assert caught.value is full


# --------------------------------------------------------------------------------------------------------- ingest


def test_a_batch_sent_again_after_an_outage_is_taken_once(tmp_path: Path) -> None:
    new = protobuf_batch([Sent("Buy", f"u{n}", NOW_MS, {}) for n in range(PEOPLE)])
    with _with_shard(tmp_path, _away) as cluster:
        shard = cluster.shards[1]
        assert isinstance(shard, FailingShard)
        with pytest.raises(ShardUnavailable):
            cluster.ingest(new)
        shard.error = None
        result = cluster.ingest(new)
        assert result.accepted + result.duplicates == PEOPLE
        assert 0 < result.accepted < PEOPLE
        assert cluster.query('count("Buy") = 1').count == PEOPLE
        assert cluster.ingest(new).duplicates == PEOPLE


def test_errors_of_shards_and_of_the_router_stand_at_their_places_in_the_batch(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for server in cluster.servers:
        for partition in server._store.partitions.values():
            monkeypatch.setattr(partition._memory.schema.events, "limit", 1)
    names = ["View", "Other", "View", "", "Other", "View"]
    result = cluster.ingest(protobuf_batch([Sent(name, f"w{n}", NOW_MS, {}) for n, name in enumerate(names)]))
    assert [(error.index, error.code) for error in result.errors] == [
        (1, "EVENT_NAMES_LIMIT"), (3, "EVENT_NAME_INVALID"), (4, "EVENT_NAMES_LIMIT"),
    ]  # fmt: skip
    assert result.accepted == 3


def test_an_empty_batch_is_taken_and_asks_no_shard(tmp_path: Path) -> None:
    with _with_shard(tmp_path, _away) as cluster:
        result = cluster.ingest(protobuf_batch([]))
    assert (result.accepted, result.duplicates, len(result.errors), len(result.positions)) == (0, 0, 0, 0)


def test_more_in_flight_than_allowed_is_refused_with_a_time_to_wait(cluster: LocalCluster) -> None:
    cluster.taking._bytes_in_flight = INGEST_BYTES_IN_FLIGHT_MAX
    with pytest.raises(Overloaded) as caught:
        cluster.ingest(protobuf_batch(RECORDS))
    assert caught.value.retry_after_ms > 0
    cluster.taking._bytes_in_flight = 0
    cluster.ingest(protobuf_batch(RECORDS))
    assert cluster.taking._bytes_in_flight == 0


def test_what_was_in_flight_is_given_back_when_a_batch_fails(tmp_path: Path) -> None:
    with _with_shard(tmp_path, _away) as cluster:
        with pytest.raises(ShardUnavailable):
            cluster.ingest(protobuf_batch(RECORDS))
        assert cluster.taking._bytes_in_flight == 0


# ----------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ('did("Viw")', ["no event named 'Viw' has been seen; did you mean 'View'?"]),
        ('plann = "gold"', ["no attribute named 'plann' has been seen; did you mean 'plan'?"]),
        ('did("View", pge = "p1")', ["no property named 'pge' has been seen; did you mean 'page'?"]),
        ('did("Zzzzz")', ["no event named 'Zzzzz' has been seen"]),
        (
            'trend("View", unit: day, plan = "gold")',
            ["no property named 'plan' has been seen; there is an attribute of profiles of that name"],
        ),
        ('page = "p1"', ["no attribute named 'page' has been seen; there is a property of events of that name"]),
        (
            'did("*")',
            ["no event named '*' has been seen; a question names its events, and * is no name for all of them"],
        ),
        ('did("View") and plan = "x"', []),
    ],
)
def test_an_unknown_name_is_a_warning_with_the_nearest_ones(
    cluster: LocalCluster, text: str, warnings: list[str]
) -> None:
    found = cluster.query(text)
    assert list(found.warnings) == warnings
    assert list(found.flags) == (["UNKNOWN_NAME"] if warnings else [])
    assert found.exact


def test_an_unknown_name_counts_as_missing(cluster: LocalCluster) -> None:
    assert cluster.query('not did("Viw")').count == PEOPLE
    assert cluster.query('count("Viw") = 0').count == PEOPLE
    assert cluster.query('plann != "gold"').count == PEOPLE
    assert cluster.query("everyone", by="plann").breakdown[0].count == PEOPLE
    assert list(cluster.query("everyone", by="plann").flags) == ["UNKNOWN_NAME"]


def test_in_strict_mode_unknown_names_are_an_error_that_lists_them_all(cluster: LocalCluster) -> None:
    text = 'did("Viw") and plann = "gold"'
    with pytest.raises(RequestInvalid, match=r"(?s)Viw.*plann"):
        cluster.query(text, strict=True)
    with pytest.raises(RequestInvalid, match=r"(?s)Viw.*plann"):
        cluster.members(text, strict=True)
    assert cluster.query('did("View")', strict=True).count == PEOPLE
    assert len(cluster.members('did("View")', strict=True)[0]) == PEOPLE


def test_a_name_known_to_one_partition_only_is_known(cluster: LocalCluster) -> None:
    cluster.ingest(protobuf_batch([Sent("Rare", "u1", NOW_MS, {"odd": 1})]))
    found = cluster.query('did("Rare", odd = 1)', strict=True)
    assert found.count == 1
    assert not found.warnings


# ---------------------------------------------------------------------------------------------------- what is asked


def test_now_is_fixed_by_the_router(cluster: LocalCluster) -> None:
    found = cluster.query('did("View", last: 1d)')
    assert found.as_of.ToMilliseconds() == NOW_MS
    assert found.count == 1
    assert found.tz == "UTC"


def test_a_question_may_be_asked_as_of_another_instant(cluster: LocalCluster) -> None:
    assert cluster.query("everyone", NOW_MS - 50 * DAY_MS).population == PEOPLE
    assert cluster.query("everyone", NOW_MS - 50 * DAY_MS - 1).population == 0
    assert cluster.query('did("View")', NOW_MS - 10 * DAY_MS).count == 30


def test_anonymous_profiles_may_be_left_out(cluster: LocalCluster) -> None:
    cluster.ingest(protobuf_batch([Sent("View", "", NOW_MS, {}, anonymous_id="x1")]))
    assert cluster.query("everyone").population == PEOPLE + 1
    assert cluster.query("everyone", exclude_anonymous=True).population == PEOPLE
    assert ("anonymous_id", "x1") in cluster.members("everyone")[0]
    assert ("anonymous_id", "x1") not in cluster.members("everyone", exclude_anonymous=True)[0]


def test_a_tree_and_its_text_are_one_question(cluster: LocalCluster) -> None:
    tree = {"segment": {"did": {"events": {"names": ["View"]}, "window": {"last": {"amount": 10, "unit": 5}}}}}
    by_tree, by_text = cluster.query(tree=tree), cluster.query('did("View", last: 10d)')
    assert (by_tree.count, by_tree.text, by_tree.plan_hash) == (by_text.count, by_text.text, by_text.plan_hash)
    assert cluster.members(segment=tree["segment"])[0] == cluster.members(by_text.text)[0]
    by_plan = [cluster.query(**asked, by="plan").breakdown for asked in ({"tree": tree}, {"text": by_text.text})]
    assert by_plan[0] == by_plan[1] and len(by_plan[0]) > 1


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({}, "question"),
        ({"tree": {}}, "question.form"),
        ({"text": "everyone", "as_of": {"seconds": 10**15}}, "as_of"),
    ],
)
def test_a_request_that_says_nothing_usable_is_refused(
    cluster: LocalCluster, options: dict[str, object], field: str
) -> None:
    with pytest.raises(RequestInvalid) as caught:
        cluster.ask(query_pb2.QueryRequest(**options))  # type: ignore[arg-type]
    assert caught.value.field == field


@pytest.mark.parametrize("text", ["everyone", 'did("View", last: 1d)', 'plan = "gold"'])
def test_an_unknown_time_zone_is_refused_whatever_is_asked(cluster: LocalCluster, text: str) -> None:
    with pytest.raises(Exception, match="time zone"):
        cluster.query(text, tz="Mars/Olympus")


def test_members_are_of_a_segment_only(cluster: LocalCluster) -> None:
    with pytest.raises(QueryInvalid, match="listing users needs a segment"):
        cluster.members('funnel("View" -> "View")')
    with pytest.raises(QuerySyntaxError):
        cluster.members("")


_BIG = "99999999999999999999"
ODD_QUESTIONS = [
    f"plan = {_BIG}", f"plan in [1, {_BIG}]", f"plan between 0 and {_BIG}", f'count("View") >= {_BIG}',
    f'count("View") < {_BIG}', f'sum("View".n) > -{_BIG}', f"size(tags) >= {_BIG}",
    f'sequence("View" -> "View", within: {_BIG}d)', 'sequence("View" -> "View", within: 999999999999d)',
    f'did("View", last: {_BIG}d)', f'did("View", days_ago: {_BIG})', 'plan = "\\ud800"', 'did("\\ud800")',
    "plan = 9999-12-31", "plan = 0001-01-01", 'did("View", from: 0001-01-01, to: 9999-12-31)', "plan = 1e999",
    "not " * 60 + "everyone", "not " * 5000 + "everyone", "(" * 64 + "everyone" + ")" * 64,
    'plan matches "("', 'did("View", last: 0d)', 'plan = "' + "x" * 60_000 + '"',
]  # fmt: skip


@pytest.mark.parametrize("tz", ["UTC", "Asia/Kolkata", "America/New_York"])
@pytest.mark.parametrize("text", ODD_QUESTIONS, ids=[text[:40] for text in ODD_QUESTIONS])
def test_an_odd_question_is_answered_or_refused_with_a_reason(cluster: LocalCluster, text: str, tz: str) -> None:
    try:
        found = cluster.query(text, tz=tz)
    except (QueryError, RequestInvalid) as error:
        assert str(error)
    else:
        assert found.population == PEOPLE
        assert found.exact


@pytest.mark.parametrize("levels", [10, 30, 45, 60])
def test_groups_inside_each_other_are_answered_or_refused_with_a_reason(cluster: LocalCluster, levels: int) -> None:
    text = 'plan = "gold"'
    for level in range(levels):
        text = f"(n = {level} {'and' if level % 2 else 'or'} {text})"
    try:
        assert cluster.query(text).population == PEOPLE
    except (QueryError, RequestInvalid) as error:
        assert levels > 10
        assert "nest" in str(error)


def test_the_deadline_is_shared_by_all_calls_of_a_question(tmp_path: Path) -> None:
    seen = list[Deadline]()

    class Noting(FailingShard):
        async def call(self, method: UnaryMethod[Any, Any], request: Any, deadline: Deadline) -> Any:
            assert method in (EVALUATE, READ_SCHEMA)
            seen.append(deadline)
            return await super().call(method, request, deadline)

    with local_cluster(tmp_path, lambda _, shard: Noting(shard)) as cluster:
        deadline = far_deadline()
        cluster.ask(query_pb2.QueryRequest(text='did("Never")'), deadline)
    assert len(seen) == 2 * CLUSTER.shards
    assert all(given is deadline for given in seen)


def test_streams_that_wait_for_a_reader_end_with_it() -> None:
    closed = list[int]()

    async def endless(shard: int) -> AsyncGenerator[int, None]:
        try:
            while True:
                yield shard
        finally:
            closed.append(shard)

    async def test() -> None:
        reading: Any = as_they_come({0: endless(0), 1: endless(1)}, 1)
        await anext(reading)
        await asyncio.sleep(0)
        await reading.aclose()
        assert sorted(closed) == [0, 1]

    asyncio.run(test())
