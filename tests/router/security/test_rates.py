"""How much a key may be used: calls and records a second."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from cdp.v1 import ingest_pb2, ingest_pb2_grpc
from google.rpc import code_pb2, error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from cdp_router.errors import RateLimited
from cdp_router.rpc.principal import ANYBODY, Principal, Role
from cdp_router.security.gates import ClusterGate, KeyGate
from cdp_router.security.keys.key_file import KeyFile, change_keys
from cdp_router.security.keys.keys import mint
from cdp_router.security.keys.rates import Rates
from cdp_router.security.keys.token_bucket import TokenBucket
from tests.router.calls import call
from tests.router.contract_rpcs import methods
from tests.router.encodings import Sent, protobuf_batch
from tests.router.local_cluster import NOW_MS, FixedClock
from tests.router.served_cluster import served_cluster

METHODS = {method.full_name.removeprefix("cdp.v1."): method for method in methods()}


class _Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@given(st.floats(0.1, 1e4), st.lists(st.tuples(st.floats(0, 10), st.integers(1, 10_000)), min_size=1, max_size=20))
def test_over_any_time_no_more_is_admitted_than_the_rate_allows(rate: float, asked: list[tuple[float, int]]) -> None:
    clock = _Clock()
    bucket = TokenBucket(rate, max(1.0, rate), clock)
    taken, last = 0, 0
    for pause, count in asked:
        clock.now += pause
        wait = bucket.wait_seconds()
        if wait:
            clock.now += wait * 1.0001
        assert not bucket.wait_seconds(), "what was said to be enough is"
        bucket.spend(count)
        taken, last = taken + count, count
    elapsed = clock.now - 100.0
    assert taken - last <= (rate * elapsed + max(1.0, rate)) * 1.001


def test_calls_beyond_the_rate_wait_and_other_keys_do_not() -> None:
    clock = _Clock()
    rates = Rates(clock)
    slow, other = (Principal(name, name, frozenset(), calls_per_second=2.0) for name in ("slow", "other"))
    for _ in range(2):
        rates.admit_call(slow)
    with pytest.raises(RateLimited) as caught:
        rates.admit_call(slow)
    assert caught.value.retry_after_ms == 500
    rates.admit_call(other)
    rates.admit_call(ANYBODY)
    clock.now += 0.5
    rates.admit_call(slow)


def test_a_limit_that_was_changed_counts_at_once() -> None:
    rates = Rates(_Clock())
    rates.admit_call(Principal("k", "k", frozenset(), calls_per_second=1.0))
    with pytest.raises(RateLimited):
        rates.admit_call(Principal("k", "k", frozenset(), calls_per_second=1.0))
    rates.admit_call(Principal("k", "k", frozenset(), calls_per_second=5.0))


def _details(status: Any, kind: Any) -> Any:
    found = kind()
    assert any(detail.Unpack(found) for detail in status.details)
    return found


def test_a_key_that_is_used_too_much_is_told_when_to_come_again(tmp_path: Path) -> None:
    clock, keys = _Clock(), tmp_path / "keys.json"
    rates = Rates(clock)
    asking, asks = mint("asking", [Role.QUERY], NOW_MS, calls_per_second=1.0)
    sending, sends = mint("sending", [Role.INGEST], NOW_MS, events_per_second=10.0)
    change_keys(keys, lambda known: (None, {asks.id: asks, sends.id: sends}))
    gate = KeyGate(KeyFile(keys), FixedClock(), rates)
    shown = (("authorization", f"Bearer {sending}"),)

    def batch(name: bytes, count: int) -> ingest_pb2.Batch:
        made = protobuf_batch([Sent("View", f"{name.decode()}{n}", NOW_MS, {}) for n in range(count)])
        made.batch_id = name
        return made

    async def run() -> None:
        async with served_cluster(tmp_path, gates=(gate, ClusterGate("x")), rates=rates) as served:
            query, bearer = METHODS["QueryService.Query"], [("authorization", f"Bearer {asking}")]
            assert (await call(served.router, query, b"", bearer)).reason != "RATE_LIMITED"
            ending = await call(served.router, query, b"", bearer)
            assert (ending.code, ending.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
            assert _details(ending.status, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == 1000
            assert _details(ending.status, error_details_pb2.QuotaFailure).violations[0].subject == f"key:{asks.id}"

            ingest = ingest_pb2_grpc.IngestServiceStub(served.router)
            first = await ingest.Ingest(ingest_pb2.IngestRequest(batch=batch(b"a", 25)), metadata=shown)
            assert first.result.accepted == 25, "a batch is taken whole"
            before = served.state()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ingest.Ingest(ingest_pb2.IngestRequest(batch=batch(b"b", 1)), metadata=shown)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert ("grpc-retry-pushback-ms", "1600") in list(caught.value.trailing_metadata())

            stream = ingest.IngestStream(metadata=shown)
            await stream.write(ingest_pb2.IngestStreamRequest(batch=batch(b"c", 1)))
            answer = await stream.read()
            assert (answer.failure.code, answer.failure.retry_after_ms) == (code_pb2.RESOURCE_EXHAUSTED, 1600)
            assert served.state() == before
            clock.now += 1.601
            await stream.write(ingest_pb2.IngestStreamRequest(batch=batch(b"c", 1)))
            assert (await stream.read()).result.accepted == 1

    asyncio.run(run())
