"""What a process tells about itself."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cdp.v1 import admin_pb2, ingest_pb2, query_pb2, query_pb2_grpc, shard_pb2, shard_pb2_grpc
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from cdp_router.cli.cluster.watching import Look, rate, view
from cdp_router.cluster.shard_methods import READ_SCHEMA
from cdp_router.deadline import Deadline
from cdp_router.errors import RequestInvalid
from cdp_router.observing.access_log import AccessLog
from cdp_router.observing.call_metrics import CallMetrics
from cdp_router.observing.logs import JsonLines
from cdp_router.observing.observing import Observing
from cdp_router.observing.settings import Settings
from cdp_router.observing.slow_queries import AnsweredQueries
from cdp_router.observing.traces import Traces
from cdp_router.observing.work_metrics import IngestMetrics, QueryMetrics
from cdp_router.rpc.call import begin
from cdp_router.rpc.chain import Chain
from cdp_router.shard.grpc_shard_client import GrpcShardClient
from cdp_store.partition.readings import PartitionStatus
from tests.router.encodings import Sent, protobuf_batch
from tests.router.local_cluster import NOW_MS
from tests.router.served_cluster import served_cluster

SECRET = "ann@example.com"


def _value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


# -------------------------------------------------------------------------------------------------------------- metrics


def test_calls_are_counted_by_method_and_code_and_nothing_names_a_user(tmp_path: Path) -> None:
    registry = CollectorRegistry()

    async def run() -> None:
        async with served_cluster(tmp_path, CallMetrics(registry)) as served:
            queries = query_pb2_grpc.QueryServiceStub(served.router)
            await queries.Query(query_pb2.QueryRequest(text="everyone"))
            for _ in range(2):
                with pytest.raises(grpc.aio.AioRpcError):
                    await queries.GetProfile(query_pb2.GetProfileRequest(user_id=SECRET))

    asyncio.run(run())
    told = {"service": "cdp.v1.QueryService"}
    assert _value(registry, "cdp_rpc_handled_total", **told, method="Query", code="OK") == 1
    assert _value(registry, "cdp_rpc_handled_total", **told, method="GetProfile", code="NOT_FOUND") == 2
    assert _value(registry, "cdp_rpc_duration_seconds_count", **told, method="GetProfile") == 2
    assert _value(registry, "cdp_rpc_in_flight") == 0
    labels = {value for family in registry.collect() for sample in family.samples for value in sample.labels.values()}
    assert not any(SECRET in label for label in labels)


def test_records_and_questions_are_counted_as_answered() -> None:
    registry = CollectorRegistry()
    batch = protobuf_batch([Sent("View", "a", NOW_MS, {})])
    warnings = [ingest_pb2.RecordError(code=code) for code in ("IDENTIFIER_LIMIT", "SCHEMA_VIOLATION")]
    result = ingest_pb2.BatchResult(accepted=5, duplicates=2, errors=[ingest_pb2.RecordError()], warnings=warnings)
    IngestMetrics(registry).took(batch, result)
    for outcome, count in (("accepted", 5), ("duplicate", 2), ("rejected", 1)):
        assert _value(registry, "cdp_ingest_records_total", outcome=outcome) == count
    assert _value(registry, "cdp_ingest_links_refused_total") == 1
    assert _value(registry, "cdp_ingest_bytes_total") == batch.ByteSize()
    assert _value(registry, "cdp_ingest_batches_total", encoding="rows") == 1
    metrics = QueryMetrics(registry)
    metrics.answered(query_pb2.QueryResponse(events_scanned=7, flags=["PARTIAL"]), slow=True)
    assert _value(registry, "cdp_query_scanned_events_total") == 7
    assert _value(registry, "cdp_query_partial_total") == 1
    assert _value(registry, "cdp_query_slow_total") == 1


@pytest.fixture
def observing() -> Iterator[Observing]:
    found = Observing("shard-0", Settings(), ("127.0.0.1", 0))
    yield found
    found.close()


def test_metrics_are_served_over_http(observing: Observing, caplog: pytest.LogCaptureFixture) -> None:
    status = PartitionStatus(3, 9, 4, 12, 2, {"events": 100})  # type: ignore[arg-type]
    observing.watch_partitions(lambda: [status])
    with caplog.at_level(logging.INFO):
        observing.start()
    address = caplog.records[-1].getMessage().removeprefix("metrics at ")
    with urllib.request.urlopen(address) as answer:
        families = {family.name: family for family in text_string_to_metric_families(answer.read().decode())}
    [events] = families["cdp_partition_events"].samples
    assert (events.labels, events.value) == ({"partition": "3"}, 12)
    [memory] = families["cdp_partition_memory_bytes"].samples
    assert (memory.labels, memory.value) == ({"partition": "3", "structure": "events"}, 100)
    assert "process_resident_memory_bytes" in families


# ----------------------------------------------------------------------------------------------------------------- logs


def _line(record: logging.LogRecord) -> dict[str, Any]:
    return json.loads(JsonLines().format(record))  # type: ignore[no-any-return]


def test_a_log_line_is_one_json_object_with_the_request_it_belongs_to(caplog: pytest.LogCaptureFixture) -> None:
    begin("s", "m", [("x-request-id", "r-1")], 0.0)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("a").warning("said %s", "so", exc_info=True, extra={"n": 1, "path": Path("/x")})
    line = _line(caplog.records[-1])
    assert (line["message"], line["level"], line["n"], line["path"]) == ("said so", "warning", 1, "/x")
    assert line["request_id"] == "r-1"
    assert "two\nlines" in line["exception"]
    assert "\n" not in JsonLines().format(caplog.records[-1])


@pytest.mark.parametrize(("every", "told"), [(False, ["INTERNAL"]), (True, ["OK", "NOT_FOUND", "INTERNAL"])])
def test_the_access_log_tells_of_faults_or_of_everything(
    every: bool, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    observer = AccessLog(every=every)
    with caplog.at_level(logging.INFO):
        for code in (grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INTERNAL):
            call = begin("cdp.v1.QueryService", "Query", [], 0.0)
            call.code = code
            observer.ended(call, 0.0125)
    lines = [_line(record) for record in caplog.records]
    assert [line["code"] for line in lines] == told
    assert all(line["milliseconds"] == 12.5 and line["method"] == "Query" for line in lines)


def test_slow_questions_are_logged_by_their_hash_alone(caplog: pytest.LogCaptureFixture) -> None:
    answered = AnsweredQueries(QueryMetrics(), 100.0)
    for milliseconds in (99.9, 100.0):
        response = query_pb2.QueryResponse(milliseconds=milliseconds, plan_hash="abc", text=f'email = "{SECRET}"')
        answered.answered(response)
    [line] = [_line(record) for record in caplog.records]
    assert (line["plan_hash"], line["milliseconds"]) == ("abc", 100.0)
    assert SECRET not in json.dumps(line)


# --------------------------------------------------------------------------------------------------------------- traces


class _Shard(shard_pb2_grpc.ShardServiceServicer):
    async def ReadSchema(self, request: Any, context: Any) -> shard_pb2.ReadSchemaResponse:
        return shard_pb2.ReadSchemaResponse()


class _Router(query_pb2_grpc.QueryServiceServicer):
    """Asks its shard."""

    def __init__(self, address: str) -> None:
        self.shard = GrpcShardClient(address)

    async def Query(self, request: Any, context: Any) -> query_pb2.QueryResponse:
        await self.shard.call(READ_SCHEMA, shard_pb2.ReadSchemaRequest(), Deadline.after(10.0, 10.0))
        return query_pb2.QueryResponse()


def test_spans_go_from_the_caller_over_the_router_to_the_shard() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    async def run() -> None:
        router, shard = (grpc.aio.server(interceptors=[Chain(None, [Traces(provider)])]) for _ in range(2))
        ports = [server.add_insecure_port("127.0.0.1:0") for server in (router, shard)]
        shard_pb2_grpc.add_ShardServiceServicer_to_server(_Shard(), shard)
        service = _Router(f"127.0.0.1:{ports[1]}")
        query_pb2_grpc.add_QueryServiceServicer_to_server(service, router)
        await asyncio.gather(router.start(), shard.start())
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports[0]}") as channel:
            given = (("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"), ("x-request-id", "r-9"))
            await query_pb2_grpc.QueryServiceStub(channel).Query(query_pb2.QueryRequest(), metadata=given)
        await service.shard.close()
        await asyncio.gather(router.stop(0), shard.stop(0))

    asyncio.run(run())
    inner, outer = exporter.get_finished_spans()
    assert (outer.name, inner.name) == ("cdp.v1.QueryService/Query", "cdp.v1.ShardService/ReadSchema")
    assert outer.parent is not None and inner.parent is not None
    assert f"{outer.parent.span_id:x}" == "b" * 16
    assert inner.parent.span_id == outer.context.span_id
    assert f"{inner.context.trace_id:x}" == "a" * 32
    assert {span.attributes["cdp.request_id"] for span in (inner, outer) if span.attributes} == {"r-9"}


# ------------------------------------------------------------------------------------------------------------- settings


def test_settings_of_an_environment() -> None:
    found = Settings.from_environment(
        {"CDP_METRICS": "127.0.0.1:9464", "CDP_ACCESS_LOG": "1", "CDP_SLOW_QUERY_MS": "50"}
    )
    assert found == Settings(("127.0.0.1", 9464), True, 50.0, False)
    assert found.metrics_of_shard(1) == ("127.0.0.1", 9466)
    assert Settings.from_environment({}).metrics_of_shard(1) is None
    assert Settings.from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}).traces


@pytest.mark.parametrize("variable", ["CDP_METRICS", "CDP_SLOW_QUERY_MS"])
def test_a_setting_without_meaning_names_its_variable(variable: str) -> None:
    with pytest.raises(RequestInvalid, match=variable):
        Settings.from_environment({variable: "nonsense"})


# ------------------------------------------------------------------------------------------------------- the live view


def _look(at: float, *events: int, reachable: bool = True) -> Look:
    shards = [
        admin_pb2.ShardStatus(
            shard=number, reachable=reachable, partitions=[admin_pb2.PartitionStatus(partition=number, events=count)]
        )
        for number, count in enumerate(events)
    ]
    return Look(at, admin_pb2.GetStatusResponse(shards=shards, partition_count=2))


def test_a_rate_is_what_came_between_two_looks() -> None:
    before, now = _look(10.0, 100, 50), _look(12.0, 300, 50)
    assert [rate(before, now, shard) for shard in (0, 1)] == [100.0, 0.0]
    assert rate(now, now, 0) == 0.0
    assert rate(_look(10.0, 100, reachable=False), now, 0) == 0.0  # what was not seen has not come at once
    assert rate(Look(10.0, None, "away"), now, 0) == 0.0
    assert rate(_look(10.0), now, 1) == 0.0


def test_a_cluster_that_is_away_is_said_to_be() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(view(_look(0.0, 1), Look(1.0, None, "no cluster answers")))
    console.print(view(_look(0.0, 100), _look(1.0, 350)))
    said = console.export_text()
    assert "no cluster answers" in said
    assert "250" in said
