"""Writers whose callback, cluster or process fails: every call returns or raises, and nothing is dropped silently."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec
import pytest
from cdp.v1 import ingest_pb2

from cdp_router.client import AsyncWriter, CallbackFailed, QueueFull, Writer, WriterBroken, WriterClosed
from cdp_router.client.writing.batching import Problem

_SECONDS: Final = 20.0  # a call that has not returned by then hangs


class _Cluster:
    """Refuses events called "", takes the others."""

    def __init__(self) -> None:
        self.ids = list[str]()
        self.error: BaseException | None = None

    def ingest(self, batch: ingest_pb2.Batch, *, give_up_seconds: float) -> ingest_pb2.BatchResult:
        if self.error is not None:
            raise self.error
        rows = msgspec.msgpack.decode(batch.msgpack_rows)
        self.ids += [row[4] for row in rows]
        wrong = [
            ingest_pb2.RecordError(index=n, code="NAME_INVALID", message="") for n, row in enumerate(rows) if not row[0]
        ]
        return ingest_pb2.BatchResult(accepted=len(rows) - len(wrong), errors=wrong)


class _AsyncCluster(_Cluster):
    async def ingest(self, batch: ingest_pb2.Batch, *, give_up_seconds: float) -> ingest_pb2.BatchResult:  # type: ignore[override]
        return super().ingest(batch, give_up_seconds=give_up_seconds)


class _Odd(BaseException):
    """What no handler expects."""


def _raising(error: BaseException) -> Callable[[Problem], None]:
    def on_problem(problem: Problem) -> None:
        raise error

    return on_problem


def _in_time(work: Callable[[], Any]) -> Any:
    """What a call gives or raises, in a thread of its own: one that hangs fails the test instead of stopping it."""
    outcome = list[Any]()

    def run() -> None:
        try:
            outcome.append((work(), None))
        except BaseException as error:  # noqa: BLE001  # raised again below
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    assert outcome, "the call hangs"
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def test_a_callback_that_raises_is_told_by_flush_and_sending_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    cluster = _Cluster()
    writer = Writer(cluster, batch_records=1, on_problem=_raising(RuntimeError("mine")))
    writer.track("", "ann", message_id="bad-1")
    writer.track("", "ann", message_id="bad-2")
    writer.track("A", "ann", message_id="good")
    with pytest.raises(CallbackFailed, match=r"2 times.*mine") as caught:
        _in_time(writer.flush)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert cluster.ids == ["bad-1", "bad-2", "good"] and writer.tally.accepted == 1
    assert "mine" in caplog.text
    writer.track("B", "ann", message_id="later")
    assert _in_time(writer.flush)  # a failure is raised once
    _in_time(writer.close)
    assert cluster.ids[-1] == "later"


def test_a_callback_that_raises_is_told_by_close_where_nobody_flushes() -> None:
    cluster = _Cluster()
    writer = Writer(cluster, on_problem=_raising(KeyError("k")))
    writer.track("", "ann")
    with pytest.raises(CallbackFailed):
        _in_time(writer.close)
    with pytest.raises(WriterClosed):
        writer.track("A", "ann")
    _in_time(writer.close)


def test_an_error_of_the_block_is_not_replaced_by_one_of_the_callback() -> None:
    with pytest.raises(ZeroDivisionError) as caught, Writer(_Cluster(), on_problem=_raising(KeyError("k"))) as writer:
        writer.track("", "ann")
        raise ZeroDivisionError
    assert "on_problem" in caught.value.__notes__[0]


@pytest.mark.parametrize("error", [SystemExit(3), _Odd("odd")])
def test_a_sending_thread_that_ended_is_told_by_every_call(error: BaseException) -> None:
    writer = Writer(_Cluster(), batch_records=1, on_problem=_raising(error))
    writer.track("", "ann")
    for call in (writer.flush, lambda: writer.track("A", "ann"), writer.flush, writer.close):
        with pytest.raises(WriterBroken, match="sending thread ended") as caught:
            _in_time(call)
        assert caught.value.__cause__ is error


def test_records_that_a_sending_thread_left_behind_are_counted() -> None:
    cluster = _Cluster()
    cluster.error = SystemExit(1)
    writer = Writer(cluster, batch_records=5, linger_seconds=3600.0)
    for _ in range(4):
        writer.track("A", "ann")
    for call in (writer.flush, writer.close):
        with pytest.raises(WriterBroken, match="4 records"):
            _in_time(call)


def test_records_that_were_answered_before_the_thread_ended_are_not_told_as_unsent() -> None:
    cluster = _Cluster()
    writer = Writer(cluster, batch_records=3, linger_seconds=3600.0, on_problem=_raising(SystemExit(1)))
    for name in ("", "A", "A"):
        writer.track(name, "ann")
    for call in (writer.flush, writer.close):
        with pytest.raises(WriterBroken, match=r"; 0 records"):
            _in_time(call)
    assert writer.tally.accepted == 2


@pytest.mark.parametrize("error", [TypeError("a defect"), MemoryError()])
def test_whatever_a_batch_fails_with_its_records_are_told_as_lost_and_the_next_goes_on(error: Exception) -> None:
    cluster, problems = _Cluster(), list[Problem]()
    cluster.error = error
    writer = Writer(cluster, on_problem=problems.append)
    writer.track("A", "ann", message_id="m-1")
    assert _in_time(writer.flush)
    cluster.error = None
    writer.track("A", "ann", message_id="m-2")
    _in_time(writer.close)
    assert [list(each.message_ids) for each in problems] == [["m-1"]]  # type: ignore[union-attr]
    assert cluster.ids == ["m-2"] and writer.tally.lost == 1


def test_calls_of_the_callback_that_would_wait_for_themselves_are_refused() -> None:
    refused = list[Exception]()

    def on_problem(problem: Problem) -> None:
        for call in (writer.flush, writer.close, lambda: [writer.track("A", "a", {"t": "x" * 900}) for _ in range(9)]):
            try:
                call()
            except (RuntimeError, QueueFull) as error:
                refused.append(error)

    writer = Writer(_Cluster(), queue_bytes=2000, batch_records=1, on_problem=on_problem)
    writer.track("", "ann")
    _in_time(writer.flush)
    _in_time(writer.close)
    assert [type(each) for each in refused] == [RuntimeError, RuntimeError, QueueFull]


@pytest.mark.parametrize("value", [object(), "\ud800"])
def test_a_record_that_has_no_form_is_refused_at_the_call_and_the_others_go(value: object) -> None:
    cluster = _Cluster()
    writer = Writer(cluster)
    writer.track("A", "ann", message_id="m-1")
    with pytest.raises((TypeError, ValueError)):
        writer.track("B", "ann", {"v": value})
    writer.track("C", "ann", message_id="m-2")
    _in_time(writer.close)
    assert cluster.ids == ["m-1", "m-2"]


# ------------------------------------------------------------------------------------------------- forks, and the end

_PROGRAM: Final = """
    import os, sys
    from cdp.v1 import ingest_pb2
    import msgspec
    from cdp_router.client import Writer, WriterBroken
    class Cluster:
        def ingest(self, batch, *, give_up_seconds):
            rows = msgspec.msgpack.decode(batch.msgpack_rows)
            print("sent", os.getpid() == parent, *(row[4] for row in rows), flush=True)
            wrong = [ingest_pb2.RecordError(index=n) for n, row in enumerate(rows) if not row[0]]
            return ingest_pb2.BatchResult(errors=wrong)
    parent = os.getpid()
"""


def _program(code: str) -> subprocess.CompletedProcess[str]:
    text = textwrap.dedent(_PROGRAM) + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        timeout=_SECONDS * 3,
        check=False,
    )


def test_what_waits_when_the_program_ends_is_sent_and_a_raising_callback_is_seen() -> None:
    done = _program("""
        def on_problem(problem):
            raise RuntimeError("mine")
        writer = Writer(Cluster(), linger_seconds=3600, on_problem=on_problem)
        writer.track("", "ann", message_id="m-1")
        writer.track("A", "ann", message_id="m-2")
    """)
    assert done.stdout == "sent True m-1 m-2\n", done.stderr
    assert "CallbackFailed" in done.stderr


def test_a_child_of_a_fork_is_refused_and_the_parents_records_are_sent_once() -> None:
    done = _program("""
        writer = Writer(Cluster(), linger_seconds=3600)
        writer.track("A", "ann", message_id="m-1")
        child = os.fork()
        if child == 0:
            for call in (writer.flush, lambda: writer.track("A", "ann")):
                try:
                    call()
                except WriterBroken as error:
                    print("refused", "process" in str(error), flush=True)
            writer.close()
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        writer.track("A", "ann", message_id="m-2")
        writer.close()
    """)
    assert done.stdout.splitlines() == ["refused True", "refused True", "sent True m-1 m-2"], done.stderr


# ---------------------------------------------------------------------------------------------------- on an event loop


def _loop(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(_SECONDS):
            await test()

    asyncio.run(bounded())


def test_on_a_loop_a_callback_that_raises_is_told_by_flush_and_sending_goes_on() -> None:
    async def test() -> None:
        cluster = _AsyncCluster()
        async with AsyncWriter(cluster, batch_records=1, on_problem=_raising(RuntimeError("mine"))) as writer:
            await writer.track("", "ann", message_id="bad")
            await writer.track("A", "ann", message_id="good")
            with pytest.raises(CallbackFailed, match="mine"):
                await writer.flush()
            await writer.track("B", "ann", message_id="later")
            await writer.flush()
        assert cluster.ids == ["bad", "good", "later"]

    _loop(test)


def test_on_a_loop_a_callback_that_raises_is_told_at_the_end_of_the_block() -> None:
    async def test() -> None:
        cluster = _AsyncCluster()
        with pytest.raises(CallbackFailed):
            async with AsyncWriter(cluster, on_problem=_raising(RuntimeError("mine"))) as writer:
                await writer.track("", "ann")
                await writer.track("A", "ann")
        assert len(cluster.ids) == 2
        with pytest.raises(ZeroDivisionError) as caught:
            async with AsyncWriter(cluster, on_problem=_raising(RuntimeError("mine"))) as writer:
                await writer.track("", "ann")
                raise ZeroDivisionError
        assert "on_problem" in caught.value.__notes__[0]

    _loop(test)


def test_on_a_loop_a_sending_task_that_ended_is_told_by_every_call() -> None:
    async def test() -> None:
        writer = AsyncWriter(_AsyncCluster(), batch_records=1, on_problem=_raising(_Odd("odd")))
        with pytest.raises(WriterBroken):
            async with writer:
                await writer.track("", "ann")
                for call in (writer.flush, lambda: writer.track("A", "ann")):
                    with pytest.raises(WriterBroken, match="sending task ended"):
                        await call()
        with pytest.raises(WriterBroken):
            await writer.track("A", "ann")

    _loop(test)


def test_on_a_loop_a_cancelled_sending_task_is_told() -> None:
    async def test() -> None:
        with pytest.raises(WriterBroken, match="1 record"):
            async with AsyncWriter(_AsyncCluster(), linger_seconds=3600.0) as writer:
                await writer.track("A", "ann")
                [task] = [each for each in asyncio.all_tasks() if each.get_name() == "cdp-writer"]
                task.cancel()
                with pytest.raises(WriterBroken):
                    await writer.flush()

    _loop(test)


def test_on_a_loop_whatever_a_batch_fails_with_its_records_are_told_as_lost() -> None:
    async def test() -> None:
        cluster, problems = _AsyncCluster(), list[Problem]()
        cluster.error = TypeError("a defect")
        async with AsyncWriter(cluster, on_problem=problems.append) as writer:
            await writer.track("A", "ann", message_id="m-1")
            await writer.flush()
            cluster.error = None
            await writer.track("A", "ann", message_id="m-2")
        assert [list(each.message_ids) for each in problems] == [["m-1"]]  # type: ignore[union-attr]
        assert cluster.ids == ["m-2"]

    _loop(test)
