"""The contract over the wire: health, reflection, rich errors, streams."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest
from cdp.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    query_pb2,
    query_pb2_grpc,
    shard_pb2,
    shard_pb2_grpc,
)
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from benchmarks.cluster import running_cluster
from cdp_router.client import Client
from cdp_router.limits import ROWS_BYTES_MAX
from tests.e2e.processes import eventually, router_process, shard_process
from tests.router.encodings import Sent, arrow_batch, arrow_table, fresh_batch_id, protobuf_batch

SERVICES = (
    "cdp.v1.IngestService",
    "cdp.v1.QueryService",
    "cdp.v1.ProfileService",
    "cdp.v1.ExportService",
    "cdp.v1.ProofService",
    "cdp.v1.SegmentService",
    "cdp.v1.AdminService",
    "cdp.v1.PrivacyService",
    "cdp.v1.SchemaService",
    "cdp.v1.IdentityService",
)
PAST_MS = 1_700_000_000_000


@pytest.fixture(scope="module")
def channel(address: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address) as found:
        yield found


@pytest.fixture(scope="module")
def queries(channel: grpc.Channel) -> query_pb2_grpc.QueryServiceStub:
    return query_pb2_grpc.QueryServiceStub(channel)


@pytest.fixture(scope="module")
def ingests(channel: grpc.Channel) -> ingest_pb2_grpc.IngestServiceStub:
    return ingest_pb2_grpc.IngestServiceStub(channel)


def _failure(call: Any) -> tuple[grpc.StatusCode, status_pb2.Status]:
    """Code and rich status of a call that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        result = call()
        list(result)  # a stream fails when it is read
    error: Any = caught.value
    status = rpc_status.from_call(error)
    assert status is not None, error
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    return error.code(), status


def _detail(status: status_pb2.Status, kind: type[Message]) -> Any:
    """The one detail of a kind."""
    found = []
    for detail in status.details:
        message = kind()
        if detail.Unpack(message):
            found.append(message)
    assert len(found) == 1, kind
    return found[0]


def _events(prefix: str, count: int) -> list[Sent]:
    return [Sent(f"{prefix}.seen", f"{prefix}-{n}", PAST_MS + n, {"n": n}) for n in range(count)]


# --------------------------------------------------------------------------------------------------- standard services


@pytest.mark.parametrize("service", ["", *SERVICES])
def test_health_says_serving(channel: grpc.Channel, service: str) -> None:
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_health_of_a_service_there_is_not_is_not_found(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="cdp.v1.Nothing"), timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]


def test_watching_health_tells_at_once_and_of_unknown_services_that_they_are(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service, said in (("cdp.v1.QueryService", "SERVING"), ("cdp.v1.Nothing", "SERVICE_UNKNOWN")):
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert health_pb2.HealthCheckResponse.ServingStatus.Name(next(watch).status) == said
        watch.cancel()


def test_reflection_answers_under_its_new_name_too(channel: grpc.Channel) -> None:
    ask = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    [listing] = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=10)
    assert "cdp.v1.QueryService" in {service.name for service in listing.list_services_response.service}


def test_a_request_that_grpc_compressed_is_refused_in_words(queries: query_pb2_grpc.QueryServiceStub) -> None:
    request = query_pb2.QueryRequest(text="everyone")
    with pytest.raises(grpc.RpcError) as caught:  # its bytes on the way would bound nothing
        queries.Query(request, timeout=10, compression=grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED and "gzip" in caught.value.details()
    assert queries.Query(request, timeout=10).exact


def test_the_request_id_comes_back_with_answers_and_errors(queries: query_pb2_grpc.QueryServiceStub) -> None:
    sent = (("x-request-id", "mine-1"),)
    _, call = queries.Query.with_call(query_pb2.QueryRequest(text="everyone"), timeout=10, metadata=sent)
    assert sent[0] in call.trailing_metadata()
    _, status = _failure(lambda: queries.Query(query_pb2.QueryRequest(text="plan ="), timeout=10, metadata=sent))
    assert _detail(status, error_details_pb2.RequestInfo).request_id == "mine-1"


@pytest.mark.long
def test_a_router_that_stops_says_so_to_who_watches_and_finishes_what_runs(tmp_path: Path) -> None:
    with running_cluster(tmp_path / "data", 1) as address, grpc.insecure_channel(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        ingests = ingest_pb2_grpc.IngestServiceStub(channel)
        waiting = queue.Queue[ingest_pb2.Batch | None]()
        requests = (ingest_pb2.IngestStreamRequest(batch=batch) for batch in iter(waiting.get, None))
        answers = ingests.IngestStream(requests, timeout=60)
        waiting.put(protobuf_batch(_events("stopping", 3)))
        assert next(answers).result.accepted == 3
        router = router_process(tmp_path / "data")
        assert router is not None
        router.terminate()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        code, status = _failure(lambda: answers)
        waiting.put(None)
        assert code is grpc.StatusCode.UNAVAILABLE
        assert _detail(status, error_details_pb2.ErrorInfo).reason == "SHUTTING_DOWN"


def test_reflection_lists_the_services_and_describes_them(channel: grpc.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="cdp.v1.QueryService"),
    ]
    listing, described = stub.ServerReflectionInfo(iter(requests), timeout=10)
    names = {service.name for service in listing.list_services_response.service}
    assert {*SERVICES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} == names
    assert described.file_descriptor_response.file_descriptor_proto
    assert not any("Shard" in name for name in names)


def test_the_internal_service_is_not_offered_by_the_router(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        shard_pb2_grpc.ShardServiceStub(channel).ReadStatus(shard_pb2.ReadStatusRequest(), timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]


def test_the_status_names_version_shards_and_partitions(channel: grpc.Channel) -> None:
    found = admin_pb2_grpc.AdminServiceStub(channel).GetStatus(admin_pb2.GetStatusRequest(), timeout=10)
    assert found.version
    assert len(found.cluster) == 32
    assert [shard.reachable for shard in found.shards] == [True, True]
    numbers = [size.partition for shard in found.shards for size in shard.partitions]
    assert sorted(numbers) == list(range(found.partition_count))


# ---------------------------------------------------------------------------------------------------------- rich errors


def test_a_syntax_error_points_at_its_place(queries: query_pb2_grpc.QueryServiceStub) -> None:
    code, status = _failure(lambda: queries.Query(query_pb2.QueryRequest(text='did("View" and'), timeout=10))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "column 12" in status.message
    assert "\n             ^" in status.message
    assert _detail(status, error_details_pb2.ErrorInfo).reason == "QUERY_SYNTAX"
    [violation] = _detail(status, error_details_pb2.BadRequest).field_violations
    assert violation.field == "question"


def test_a_bad_tree_names_the_path_of_the_field(queries: query_pb2_grpc.QueryServiceStub) -> None:
    request = query_pb2.QueryRequest()
    request.tree.segment.count.events.names.append("View")
    code, status = _failure(lambda: queries.Query(request, timeout=10))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert _detail(status, error_details_pb2.BadRequest).field_violations[0].field == "segment.count.operator"
    assert _detail(status, error_details_pb2.ErrorInfo).domain == "cdp.v1"


def test_a_missing_profile_names_the_resource(queries: query_pb2_grpc.QueryServiceStub) -> None:
    code, status = _failure(lambda: queries.GetProfile(query_pb2.GetProfileRequest(user_id="nobody"), timeout=10))
    assert code is grpc.StatusCode.NOT_FOUND
    assert _detail(status, error_details_pb2.ResourceInfo).resource_name == "nobody"


@pytest.mark.parametrize("text", ['did("View", last: 1d)', "everyone"])
def test_an_unknown_zone_is_an_invalid_argument(queries: query_pb2_grpc.QueryServiceStub, text: str) -> None:
    code, status = _failure(lambda: queries.Query(query_pb2.QueryRequest(text=text, tz="Mars/Olympus"), timeout=10))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "Mars/Olympus" in status.message


def test_a_stream_fails_with_the_same_details(queries: query_pb2_grpc.QueryServiceStub) -> None:
    code, status = _failure(lambda: queries.Members(query_pb2.MembersRequest(text="plan ="), timeout=10))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert _detail(status, error_details_pb2.ErrorInfo).reason == "QUERY_SYNTAX"


_LONG = "x" * 20_000
_MISTAKES = [
    'plan in [' + ", ".join(f'"{number}"' for number in range(4000)) + "] and",
    f'plan = "{_LONG}" and', f'plan matches "({_LONG}"', "not " * 5000 + "everyone", "(" * 5000, "größe " * 3000,
]  # fmt: skip


@pytest.mark.parametrize("text", _MISTAKES, ids=[text[:12] for text in _MISTAKES])
def test_a_mistake_in_a_long_question_is_still_told(queries: query_pb2_grpc.QueryServiceStub, text: str) -> None:
    code, _ = _failure(lambda: queries.Query(query_pb2.QueryRequest(text=text), timeout=20))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_long_id_is_refused_or_not_found(queries: query_pb2_grpc.QueryServiceStub) -> None:
    code, _ = _failure(lambda: queries.GetProfile(query_pb2.GetProfileRequest(user_id="ü" * 20_000), timeout=10))
    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)


@pytest.mark.parametrize("levels", [20, 45, 60])
def test_groups_inside_each_other_are_answered_or_refused(
    queries: query_pb2_grpc.QueryServiceStub, levels: int
) -> None:
    text = "plan = 1"
    for level in range(levels):
        text = f"(n = {level} {'and' if level % 2 else 'or'} {text})"
    try:
        assert queries.Query(query_pb2.QueryRequest(text=text), timeout=20).exact
    except grpc.RpcError as error:
        assert levels > 20
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]


# --------------------------------------------------------------------------------------------------------------- ingest


def test_a_batch_of_rows_beyond_its_size_is_refused(ingests: ingest_pb2_grpc.IngestServiceStub) -> None:
    batch = ingest_pb2.Batch(batch_id=fresh_batch_id(), msgpack_rows=b"\x00" * (ROWS_BYTES_MAX + 1))
    code, status = _failure(lambda: ingests.Ingest(ingest_pb2.IngestRequest(batch=batch), timeout=20))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert str(ROWS_BYTES_MAX) in status.message
    assert _detail(status, error_details_pb2.BadRequest).field_violations[0].field == "batch.msgpack_rows"


@pytest.mark.parametrize("kind", ["msgpack_rows", "arrow_columns"])
def test_a_batch_that_is_no_such_encoding_is_refused(ingests: ingest_pb2_grpc.IngestServiceStub, kind: str) -> None:
    batch = ingest_pb2.Batch(batch_id=fresh_batch_id(), **{kind: b"garbage"})  # type: ignore[arg-type]
    code, status = _failure(lambda: ingests.Ingest(ingest_pb2.IngestRequest(batch=batch), timeout=20))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert _detail(status, error_details_pb2.BadRequest).field_violations[0].field == f"batch.{kind}"


def test_a_record_at_an_impossible_time_does_not_spoil_its_batch(ingests: ingest_pb2_grpc.IngestServiceStub) -> None:
    batch = protobuf_batch(_events("impossible", 3))
    batch.rows.records[1].time.seconds = 10**15
    result = ingests.Ingest(ingest_pb2.IngestRequest(batch=batch), timeout=20).result
    assert result.accepted == 2
    assert [(error.index, error.code) for error in result.errors] == [(1, "TIME_INVALID")]


def test_columns_are_taken_and_visible_at_once(ingests: ingest_pb2_grpc.IngestServiceStub, client: Client) -> None:
    batch = arrow_batch(arrow_table(_events("columns", 50), {"n": pa.int64()}))
    result = ingests.Ingest(ingest_pb2.IngestRequest(batch=batch), timeout=20).result
    assert result.accepted == 50
    positions = {position.partition: position.sequence for position in result.positions}
    answer = client.query(query_pb2.QueryRequest(text='did("columns.seen", n >= 25)'))
    assert answer.count == 25
    covered = {position.partition: position.sequence for position in answer.coverage.answered}
    assert all(covered[partition] >= sequence for partition, sequence in positions.items())


def test_a_stream_answers_every_batch_in_order_with_a_failing_one_in_the_middle(
    ingests: ingest_pb2_grpc.IngestServiceStub, client: Client
) -> None:
    good = [protobuf_batch(_events(f"stream{n}", 40), b"stream-%d" % n) for n in range(30)]
    bad = ingest_pb2.Batch(batch_id=b"stream-bad", msgpack_rows=b"\xc1")
    sent = [*good[:15], bad, *good[15:], good[3]]
    requests = (ingest_pb2.IngestStreamRequest(batch=batch) for batch in sent)
    answers = list(ingests.IngestStream(requests, timeout=60))
    assert [answer.batch_id for answer in answers] == [batch.batch_id for batch in sent]
    assert [answer.WhichOneof("outcome") for answer in answers] == ["result"] * 15 + ["failure"] + ["result"] * 16
    assert answers[15].failure.code == code_pb2.INVALID_ARGUMENT
    assert "msgpack" in answers[15].failure.message
    assert answers[15].failure.retry_after_ms == 0
    assert all(answer.result.accepted == 40 for answer in (*answers[:15], *answers[16:31]))
    assert (answers[31].result.accepted, answers[31].result.duplicates) == (0, 40)
    for n in (0, 14, 15, 29):
        assert client.query(query_pb2.QueryRequest(text=f'did("stream{n}.seen")')).count == 40


def test_a_stream_answers_while_it_is_still_open(ingests: ingest_pb2_grpc.IngestServiceStub) -> None:
    waiting = queue.Queue[ingest_pb2.Batch | None]()
    requests = (ingest_pb2.IngestStreamRequest(batch=batch) for batch in iter(waiting.get, None))
    answers = iter(ingests.IngestStream(requests, timeout=60))
    for n in range(3):
        waiting.put(protobuf_batch(_events("open", 3), b"open-%d" % n))
        answer = next(answers)
        assert answer.batch_id == b"open-%d" % n
        assert answer.result.accepted == 3
    waiting.put(None)
    assert list(answers) == []


def test_an_empty_stream_ends_without_an_answer(ingests: ingest_pb2_grpc.IngestServiceStub) -> None:
    assert list(ingests.IngestStream(iter(()), timeout=20)) == []


def test_members_come_as_one_arrow_stream(client: Client) -> None:
    client.ingest(protobuf_batch(_events("members", 500)))
    responses = list(client.members(query_pb2.MembersRequest(text='did("members.seen", n < 300)')))
    with pa.ipc.open_stream(b"".join(response.arrow for response in responses)) as reader:
        table = reader.read_all()
    assert sorted(table.column("id").to_pylist()) == sorted(f"members-{n}" for n in range(300))
    assert set(table.column("kind").to_pylist()) == {"user_id"}
    assert responses[-1].coverage.total == len(responses[-1].coverage.answered)


def test_no_members_are_an_empty_stream(client: Client) -> None:
    responses = list(client.members(query_pb2.MembersRequest(text="not everyone")))
    with pa.ipc.open_stream(b"".join(response.arrow for response in responses)) as reader:
        assert reader.read_all().num_rows == 0


# ------------------------------------------------------------------------------------------------------- a shard hangs


def test_row_13_a_shard_that_hangs_misses_the_deadline_or_leaves_a_partial_answer(
    cluster_data: Path, client: Client, queries: query_pb2_grpc.QueryServiceStub
) -> None:
    client.ingest(protobuf_batch(_events("hang", 100)))
    assert _hung(client).count == 100
    shard = shard_process(cluster_data, 1)
    assert shard is not None
    shard.suspend()
    try:
        code, _ = _failure(lambda: queries.Query(query_pb2.QueryRequest(text='did("hang.seen")'), timeout=2))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        partial = queries.Query(query_pb2.QueryRequest(text='did("hang.seen")', allow_partial=True), timeout=2)
        assert list(partial.flags) == ["PARTIAL"]
        assert 0 < partial.count < 100
    finally:
        shard.resume()
    whole = eventually(lambda: answer if (answer := _hung(client)).exact else None)
    assert whole.count == 100


def _hung(client: Client) -> query_pb2.QueryResponse:
    return client.query(query_pb2.QueryRequest(text='did("hang.seen")', allow_partial=True))
