"""Records sent in the background: none lost without a word, none twice, memory bounded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import grpc
import msgspec
import pandas as pd
import pytest
from cdp.v1 import ingest_pb2
from hypothesis import given
from hypothesis import strategies as st

from cdp_router.client import AsyncWriter, Lost, QueueFull, Rejected, RequestFailed, Warned, Writer, WriterClosed
from cdp_router.client.failures import BACKOFF_SECONDS_MAX, Backoff, ClusterUnreachable
from cdp_router.client.writing.batching import BATCH_BYTES_MAX, Problem, Sending, encode

FAR = 3600.0
FAILED = RequestFailed(grpc.StatusCode.UNAVAILABLE, "gone", "SHARD_UNAVAILABLE", 0.0)


class _Cluster:
    """Takes batches like a client does; may be held, may refuse."""

    def __init__(self) -> None:
        self.rows = list[Any]()
        self.sizes = list[int]()
        self.batch_ids = list[bytes]()
        self.entered, self.may_go = threading.Event(), threading.Event()
        self.may_go.set()
        self.error: Exception | None = None

    def ingest(self, batch: ingest_pb2.Batch, *, give_up_seconds: float) -> ingest_pb2.BatchResult:
        self.entered.set()
        self.may_go.wait()
        return self._taken(batch)

    def _taken(self, batch: ingest_pb2.Batch) -> ingest_pb2.BatchResult:
        if self.error is not None:
            raise self.error
        rows = msgspec.msgpack.decode(batch.msgpack_rows)
        self.rows.extend(rows)
        self.sizes.append(len(rows))
        self.batch_ids.append(batch.batch_id)
        errors = [
            ingest_pb2.RecordError(index=n, code="NAME_INVALID", message="no name")
            for n, row in enumerate(rows)
            if row[0] == ""
        ]
        return ingest_pb2.BatchResult(accepted=len(rows) - len(errors), errors=errors)


class _AsyncCluster(_Cluster):
    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()

    async def ingest(self, batch: ingest_pb2.Batch, *, give_up_seconds: float) -> ingest_pb2.BatchResult:  # type: ignore[override]
        await self.open.wait()
        return self._taken(batch)


def _ids(cluster: _Cluster) -> list[str]:
    return [row[4] for row in cluster.rows]


def test_every_record_of_every_thread_is_sent_once_in_batches_of_the_size_asked_for() -> None:
    cluster = _Cluster()

    def work(name: str) -> None:
        for number in range(100):
            writer.track("View", name, {"n": number}, message_id=f"{name}-{number}")

    with Writer(cluster, batch_records=30, linger_seconds=FAR) as writer:
        threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(_ids(cluster)) == sorted(f"t{n}-{number}" for n in range(4) for number in range(100))
    assert max(cluster.sizes) <= 30
    assert len(set(cluster.batch_ids)) == len(cluster.batch_ids)
    for name in ("t0", "t3"):
        assert [row[5]["n"] for row in cluster.rows if row[1] == name] == list(range(100))
    assert writer.tally.accepted == 400


def test_what_is_sent_is_the_row_of_the_contract() -> None:
    cluster = _Cluster()
    instant = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
    with Writer(cluster) as writer:
        writer.track("View", "ann", {"a": [1], "m": {"x": None}}, time=instant, message_id="m-1")
        writer.identify(anonymous_id="device", attributes={"plan": None}, time=instant)
    event, change = cluster.rows
    assert event == ["View", "ann", "", 1_767_323_045_678, "m-1", {"a": [1], "m": {"x": None}}]
    assert change[:4] == [None, "", "device", 1_767_323_045_678]
    assert len(change[4]) == 32


def test_further_identifiers_go_along_by_their_kind() -> None:
    cluster = _Cluster()
    with Writer(cluster) as writer:
        writer.track("View", "ann", email="a@x.org", identifiers={"loyalty": "7"})
        writer.identify(attributes={"plan": "gold"}, email="a@x.org")
        with pytest.raises(TypeError, match="loyalty"):
            writer.identify("ann", identifiers={"loyalty": 7})  # type: ignore[dict-item]
    assert cluster.rows[0][6] == {"email": "a@x.org", "loyalty": "7"}
    assert cluster.rows[1][:3] == [None, "", ""] and cluster.rows[1][6] == {"email": "a@x.org"}


@given(st.datetimes(timezones=st.just(UTC)))
def test_the_time_sent_is_the_time_given_rounded_down_to_the_millisecond(instant: datetime) -> None:
    [record] = msgspec.msgpack.decode(b"\x91" + encode("View", {}, "ann", "", instant, "m").packed)
    assert record[3] == (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def test_a_time_without_zone_is_refused_at_once() -> None:
    with Writer(_Cluster()) as writer, pytest.raises(ValueError, match="zone"):
        writer.track("View", "ann", time=datetime(2026, 1, 1))
    with Writer(_Cluster()) as writer:
        for wrong in (pd.NaT, date(2026, 1, 1), "2026-01-01", 5, pd.Timestamp("2026-01-01")):
            with pytest.raises((ValueError, TypeError)):
                writer.track("View", "ann", time=wrong)  # type: ignore[arg-type]


def test_a_full_queue_makes_callers_wait_or_fail_and_holds_no_more_than_its_bytes() -> None:
    cluster = _Cluster()
    cluster.may_go.clear()
    writer = Writer(cluster, queue_bytes=10_000, linger_seconds=0.0, wait_seconds=0.0)
    writer.track("View", "first")
    cluster.entered.wait()  # the first batch is on its way and stays there
    queued = 0
    with pytest.raises(QueueFull):
        while True:
            writer.track("View", "ann", {"text": "x" * 900})
            queued += 1
    assert queued == 10_000 // 1000
    cluster.may_go.set()
    assert writer.flush()
    writer.track("View", "last")
    writer.close()
    assert len(cluster.rows) == queued + 2


def test_a_caller_that_waits_goes_on_when_there_is_room() -> None:
    cluster = _Cluster()
    cluster.may_go.clear()
    with Writer(cluster, queue_bytes=2_000, linger_seconds=0.0) as writer:
        thread = threading.Thread(target=lambda: [writer.track("V", "a", {"t": "x" * 500}) for _ in range(20)])
        thread.start()
        cluster.entered.wait()
        assert thread.is_alive()
        cluster.may_go.set()
        thread.join()
    assert len(cluster.rows) == 20


def test_a_record_larger_than_a_batch_or_queue_travels_alone() -> None:
    cluster = _Cluster()
    with Writer(cluster, queue_bytes=1000) as writer:
        for size in (10, BATCH_BYTES_MAX, 10):
            writer.track("V", "a", {"t": "x" * size})
    assert len(cluster.rows) == 3


def test_rejected_records_are_told_by_their_ids_and_the_others_count() -> None:
    problems = list[Problem]()
    with Writer(_Cluster(), on_problem=problems.append) as writer:
        for name in ("A", "", "B"):
            writer.track(name, "ann", message_id=f"m-{name}")
    assert problems == [Rejected("m-", "NAME_INVALID", "no name")]
    assert (writer.tally.accepted, writer.tally.rejected) == (2, 1)


def test_what_breaks_a_rule_and_was_not_refused_is_told_too() -> None:
    result = ingest_pb2.BatchResult(accepted=1, quarantined=1)
    result.warnings.add(index=1, code="SCHEMA_QUARANTINED", message="why")
    sending = Sending(ingest_pb2.Batch(), ["m0", "m1"], 0)
    assert sending.problems(result) == [Warned("m1", "SCHEMA_QUARANTINED", "why")]

    class Answering(_Cluster):
        def ingest(self, batch: ingest_pb2.Batch, *, give_up_seconds: float) -> ingest_pb2.BatchResult:
            return result

    problems = list[Problem]()
    with Writer(Answering(), on_problem=problems.append) as writer:
        for number in range(2):
            writer.track("A", "ann", message_id=f"m{number}")
    assert problems == [Warned("m1", "SCHEMA_QUARANTINED", "why")]
    assert (writer.tally.accepted, writer.tally.rejected, writer.tally.quarantined) == (1, 0, 1)


@pytest.mark.parametrize("error", [FAILED, ClusterUnreachable("here:1"), ValueError("Cannot invoke RPC: closed")])
def test_records_given_up_on_are_told_and_the_writer_goes_on(error: Exception) -> None:
    cluster, problems = _Cluster(), list[Problem]()
    cluster.error = error
    with Writer(cluster, on_problem=problems.append) as writer:
        writer.track("A", "ann", message_id="m-1")
        assert writer.flush()
        cluster.error = None
        writer.track("A", "ann", message_id="m-2")
    assert problems == [Lost(["m-1"], error)]
    assert _ids(cluster) == ["m-2"]
    assert writer.tally.lost == 1


def test_problems_nobody_listens_to_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    cluster = _Cluster()
    cluster.error = FAILED
    with Writer(cluster) as writer:
        writer.track("A", "ann@example.com")
    assert "1 record was lost: gone" in caplog.text
    assert "ann@example.com" not in caplog.text


def test_a_closed_writer_refuses() -> None:
    writer = Writer(_Cluster())
    writer.close()
    writer.close()
    with pytest.raises(WriterClosed):
        writer.track("A", "ann")


def test_waiting_between_attempts_grows_and_ends() -> None:
    backoff, now, waits = Backoff(0.0, 10.0), 0.0, list[float]()
    while (wait := backoff.next(grpc.StatusCode.UNAVAILABLE, FAILED, now)) is not None:
        waits.append(wait)
        now += wait
    assert all(least <= wait <= 1.5 * least for wait, least in zip(waits, (0.05, 0.1, 0.2, 0.4), strict=False))
    assert BACKOFF_SECONDS_MAX <= max(waits) <= 1.5 * BACKOFF_SECONDS_MAX
    assert now <= 10.0
    asked = RequestFailed(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "OVERLOADED", 1.5)
    assert 1.5 <= (Backoff(0.0, 10.0).next(asked.code, asked, 0.0) or 0.0) <= 2.25
    assert Backoff(0.0, 1.0).next(asked.code, asked, 0.0) is None
    assert Backoff(0.0, 10.0).next_question(asked, 0.0) is not None
    for told in (FAILED, RequestFailed(grpc.StatusCode.RESOURCE_EXHAUSTED, "too large", "QUERY_TOO_LARGE", 0.0)):
        assert Backoff(0.0, 10.0).next_question(told, 0.0) is None
    assert Backoff(0.0, 10.0).next(grpc.StatusCode.INVALID_ARGUMENT, FAILED, 0.0) is None


# ---------------------------------------------------------------------------------------------------- on an event loop


def _loop(test: Callable[[], Any]) -> None:
    asyncio.run(test())


def test_on_a_loop_every_record_is_sent_once() -> None:
    async def test() -> None:
        cluster = _AsyncCluster()
        async with AsyncWriter(cluster, batch_records=30, linger_seconds=FAR) as writer:
            await asyncio.gather(*(writer.track("V", f"u{n}", message_id=f"m{n}") for n in range(100)))
            await writer.flush()
            assert len(cluster.rows) == 100
            await writer.identify("ann", {"a": 1})
        assert sorted(_ids(cluster)[:100]) == sorted(f"m{n}" for n in range(100))
        assert max(cluster.sizes) <= 30
        assert writer.tally.accepted == 101

    _loop(test)


def test_on_a_loop_a_full_queue_makes_callers_wait() -> None:
    async def test() -> None:
        cluster = _AsyncCluster()
        cluster.open.clear()
        async with AsyncWriter(cluster, queue_bytes=2_000, linger_seconds=0.0) as writer:
            tasks = [asyncio.create_task(writer.track("V", "a", {"t": "x" * 900})) for _ in range(20)]
            for _ in range(200):
                await asyncio.sleep(0)
            assert not all(task.done() for task in tasks)
            assert writer._outbox.waiting._bytes <= 2_000
            cluster.open.set()
            await asyncio.gather(*tasks)
        assert len(cluster.rows) == 20

    _loop(test)


def test_on_a_loop_problems_are_told_and_a_closed_writer_refuses() -> None:
    async def test() -> None:
        cluster, problems = _AsyncCluster(), list[Problem]()
        cluster.error = FAILED
        async with AsyncWriter(cluster, on_problem=problems.append) as writer:
            await writer.track("A", "ann", message_id="m-1")
            await writer.flush()
            cluster.error = None
            await writer.track("", "ann", message_id="m-2")
        assert problems == [Lost(["m-1"], FAILED), Rejected("m-2", "NAME_INVALID", "no name")]
        with pytest.raises(WriterClosed):
            await writer.track("A", "ann")

    _loop(test)
