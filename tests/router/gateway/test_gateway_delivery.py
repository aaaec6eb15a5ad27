"""Rows of many requests in few batches: what one sender does costs no other sender anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from cdp.v1 import ingest_pb2

from cdp_router.gateway.delivery import Delivery
from cdp_router.gateway.dialects.mapping import NO_OPERATIONS, encode_row
from cdp_router.gateway.http_limits import (
    BATCH_BYTES_MAX,
    BATCH_ROWS_MAX,
    CALLS_AT_ONCE,
    PATIENCE_SECONDS,
    WAITING_BYTES_MAX,
)
from cdp_router.gateway.problems import Problem, busy
from cdp_router.gateway.rows import Rows
from cdp_router.records.columnarise import columnarise

NOW_MS = 1_767_225_600_000


def row(message: str, properties: dict[str, Any]) -> bytes:
    return encode_row(("e", f"u-{message}", None, NOW_MS, message, properties, {}, NO_OPERATIONS))


class Cluster:
    """Takes batches as a router reads them, once it is let go; remembers how many rows each had."""

    def __init__(self) -> None:
        self.go, self.sizes, self.calls = asyncio.Event(), list[int](), 0
        self.api_keys = list[str]()
        self.fail: Callable[[], Coroutine[Any, Any, None]] | None = None

    async def __call__(self, batch: ingest_pb2.Batch, api_key: str) -> ingest_pb2.BatchResult:
        self.calls += 1
        await self.go.wait()
        read = columnarise(batch, NOW_MS)
        self.api_keys.append(api_key)
        self.sizes.append(len(read.batch) + len(read.errors))
        if self.fail is not None:
            await self.fail()
        return ingest_pb2.BatchResult(accepted=len(read.batch), errors=read.errors)


async def started(delivery: Delivery, *requests: list[bytes]) -> list[asyncio.Task[Any]]:
    """Requests that come while a call is under way already."""
    asyncio.create_task(delivery.deliver(Rows.of([row("first", {})])))
    await _settled()
    tasks = [asyncio.create_task(delivery.deliver(Rows.of(rows))) for rows in requests]
    await _settled()
    return tasks


async def _settled() -> None:
    """Let every task go as far as it can."""
    for _ in range(4):
        await asyncio.sleep(0)


def test_requests_that_wait_go_in_one_batch_and_each_learns_of_its_own_rows() -> None:
    async def run() -> None:
        cluster = Cluster()
        delivery = Delivery(cluster)
        good, bad = row("good", {"x": 1}), row("bad", {"x": float("nan")})
        tasks = await started(delivery, [good, bad], [], [bad, good, good, bad], [good])
        cluster.go.set()
        refused = [[each.index for each in await task] for task in tasks]
        assert refused == [[1], [], [0, 3], []]
        assert cluster.sizes == [1, 7]
        await delivery.close()

    asyncio.run(run())


def test_a_large_request_goes_in_several_batches_and_keeps_its_places() -> None:
    async def run() -> None:
        cluster = Cluster()
        cluster.go.set()
        rows = [row(f"m-{n}", {"x": "y" * 8000 if n % 100 else float("inf")}) for n in range(600)]
        refused = await Delivery(cluster).deliver(Rows.of(rows))
        assert [each.index for each in refused] == [0, 100, 200, 300, 400, 500]
        assert sum(cluster.sizes) == 600 and len(cluster.sizes) == -(-sum(map(len, rows)) // BATCH_BYTES_MAX)

    asyncio.run(run())


def test_names_of_one_sender_cost_another_nothing() -> None:
    # One batch can mention 65,535 names, and both requests come to go in the same one.
    async def run() -> None:
        cluster = Cluster()
        delivery = Delivery(cluster)
        many = [row(f"many-{n}", {f"{n}.{k}": 1 for k in range(250)}) for n in range(270)]
        few = [row(f"few-{n}", {f"few {n}": 1}) for n in range(3)]
        tasks = await started(delivery, many, few)
        cluster.go.set()
        assert [await task for task in tasks] == [[], []]
        assert 273 in cluster.sizes

    asyncio.run(run())


def test_a_batch_that_fails_fails_all_requests_in_it_and_no_other() -> None:
    async def run() -> None:
        cluster = Cluster()
        delivery = Delivery(cluster)

        async def fail() -> None:
            if cluster.sizes[-1] == 2:
                raise busy("gone")

        cluster.fail = fail
        tasks = await started(delivery, [row("a", {})], [row("b", {})])
        cluster.go.set()
        for task in tasks:
            with pytest.raises(Problem, match="gone"):
                await task
        assert await delivery.deliver(Rows.of([row("c", {})])) == []

    asyncio.run(run())


def test_who_hangs_up_takes_nothing_from_the_others_of_the_batch() -> None:
    async def run() -> None:
        cluster = Cluster()
        delivery = Delivery(cluster)
        gone, stays = await started(delivery, [row("a", {})], [row("b", {"x": float("nan")})])
        gone.cancel()
        cluster.go.set()
        assert [each.index for each in await stays] == [0]

    asyncio.run(run())


def test_what_waits_is_bounded() -> None:
    async def run() -> None:
        cluster = Cluster()
        delivery = Delivery(cluster)
        large = [row(f"{n}", {"x": "y" * 8000}) for n in range(250)]
        size = sum(map(len, large))
        await started(delivery, *[large] * (WAITING_BYTES_MAX // size + CALLS_AT_ONCE))
        with pytest.raises(Problem) as caught:
            await delivery.deliver(Rows.of(large))
        assert (caught.value.status, caught.value.retry_after_seconds) == (503, 2)

    asyncio.run(run())


def test_rows_go_to_the_router_under_the_key_they_came_with() -> None:
    async def run() -> None:
        cluster = Cluster()
        delivery = Delivery(cluster)
        for key in "ab":
            asyncio.create_task(delivery.deliver(Rows.of([row(f"first-{key}", {})]), key))
        await _settled()
        rows = [Rows.of([row(f"{n}", {})]) for n in range(4)]
        tasks = [asyncio.create_task(delivery.deliver(each, key)) for each, key in zip(rows, "abab", strict=True)]
        await _settled()
        cluster.go.set()
        await asyncio.gather(*tasks)
        assert list(zip(cluster.api_keys, cluster.sizes, strict=True)) == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]

    asyncio.run(run())


def test_what_fills_a_batch_does_not_wait_for_a_call_and_calls_are_bounded() -> None:
    async def run() -> None:
        cluster = Cluster()
        delivery = Delivery(cluster)
        full = [row(f"{n}", {}) for n in range(BATCH_ROWS_MAX)]
        tasks = await started(delivery, *[full] * (CALLS_AT_ONCE + 1))
        assert cluster.calls == CALLS_AT_ONCE
        cluster.go.set()
        await asyncio.gather(*tasks)
        assert cluster.sizes == [1] + [BATCH_ROWS_MAX] * (CALLS_AT_ONCE + 1)

    asyncio.run(run())


def test_what_has_waited_long_goes_although_a_call_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        cluster = Cluster()
        delivery = Delivery(cluster)
        await started(delivery, [row("a", {})])
        assert cluster.calls == 1
        while cluster.calls == 1:
            await asyncio.sleep(PATIENCE_SECONDS / 50)
        cluster.go.set()
        await delivery.close()

    monkeypatch.setattr("cdp_router.gateway.delivery.PATIENCE_SECONDS", 0.05)
    asyncio.run(asyncio.wait_for(run(), 60))


def test_what_has_waited_longer_than_its_sender_is_not_sent_but_told_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        cluster = Cluster()
        delivery = Delivery(cluster)
        tasks = await started(delivery, [row("late", {})], [row("later", {})])
        monkeypatch.setattr("cdp_router.gateway.delivery.WAITING_SECONDS_MAX", -1.0)
        cluster.go.set()
        for task in tasks:
            with pytest.raises(Problem) as caught:
                await task
            assert (caught.value.status, caught.value.retry_after_seconds) == (503, 2)
        await delivery.close()
        assert cluster.sizes == [1]

    asyncio.run(run())


def test_warnings_find_their_rows_beside_refusals() -> None:
    async def run() -> None:
        cluster = _Warning()
        cluster.go.set()
        delivery = Delivery(cluster)
        good, bad = row("good", {"x": 1}), row("bad", {"x": float("nan")})
        tasks = await started(delivery, [good, bad, good], [bad, good])
        told = [[(each.index, each.code, each.is_warning) for each in await task] for task in tasks]
        warned, refused = ("IDENTIFIER_LIMIT", True), ("NUMBER_NOT_FINITE", False)
        assert [[each[0] for each in one] for one in told] == [[0, 1, 2], [0, 1]]
        assert [[each[1:] for each in one] for one in told] == [[warned, refused, warned], [refused, warned]]
        await delivery.close()

    asyncio.run(run())


class _Warning(Cluster):
    """A cluster that warns of every record that it takes."""

    async def __call__(self, batch: ingest_pb2.Batch, api_key: str) -> ingest_pb2.BatchResult:
        result = await super().__call__(batch, api_key)
        wrong = {each.index for each in result.errors}
        for index in range(result.accepted + len(wrong)):
            if index not in wrong:
                result.warnings.add(index=index, code="IDENTIFIER_LIMIT", message="the limit")
        return result
