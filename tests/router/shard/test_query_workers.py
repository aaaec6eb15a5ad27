"""Threads for questions: so many at a time, so many waiting, nothing done for who is gone. Gates, no sleeps."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from cdp_query.errors import QueryCancelled
from cdp_router.deadline import Deadline
from cdp_router.errors import Overloaded, ShuttingDown
from cdp_router.shard.query_workers import Checkpoint, QueryWorkers


class Gate:
    """Work that says when it has begun and ends when it is let go."""

    def __init__(self) -> None:
        self.begun, self.opened = threading.Event(), threading.Event()
        self.stopped_by = ""

    def __call__(self, checkpoint: Checkpoint) -> str:
        self.begun.set()
        assert self.opened.wait(30)
        try:
            checkpoint()
        except QueryCancelled as cancelled:
            self.stopped_by = str(cancelled)
            raise
        return "done"


def _run(test: Callable[[QueryWorkers], Coroutine[Any, Any, None]], threads: int = 1, waiting_max: int = 2) -> None:
    workers = QueryWorkers(threads, waiting_max)
    try:
        asyncio.run(test(workers))
    finally:
        workers.close()


async def _begun(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.begun.wait, 30)


async def _until(holds: Callable[[], bool]) -> None:
    """Let the loop turn until something holds."""
    for _ in range(100_000):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to hold")


def test_as_many_run_at_a_time_as_there_are_threads_and_the_others_follow_in_order() -> None:
    async def test(workers: QueryWorkers) -> None:
        gates, order = [Gate() for _ in range(4)], list[int]()

        def numbered(number: int) -> Callable[[Checkpoint], int]:
            def work(checkpoint: Checkpoint) -> int:
                order.append(number)
                gates[number](checkpoint)
                return number

            return work

        tasks = [asyncio.create_task(workers.run(numbered(number))) for number in range(4)]
        await _begun(gates[0])
        await _begun(gates[1])
        assert workers.waiting == 2
        assert not gates[2].begun.is_set()
        for gate in gates:
            gate.opened.set()
        assert await asyncio.gather(*tasks) == [0, 1, 2, 3]
        assert order.index(2) < order.index(3)
        assert workers.waiting == 0

    _run(test, threads=2)


def test_beyond_the_queue_a_question_is_refused_with_a_delay_and_later_taken() -> None:
    async def test(workers: QueryWorkers) -> None:
        gate = Gate()
        gate.opened.clear()
        tasks = [asyncio.create_task(workers.run(gate)) for _ in range(3)]
        await _begun(gate)
        assert workers.waiting == 2
        with pytest.raises(Overloaded, match="2 questions wait.*send again after") as refused:
            await workers.run(gate)
        assert refused.value.retry_after_ms > 0
        going_on = asyncio.create_task(workers.run(gate, begun=True))
        gate.opened.set()
        assert await asyncio.gather(*tasks, going_on) == ["done"] * 4
        assert await workers.run(gate) == "done"

    _run(test)


def test_a_deadline_that_passes_in_the_queue_ends_the_waiting_and_the_work_never_begins() -> None:
    async def test(workers: QueryWorkers) -> None:
        gate, late = Gate(), Gate()
        first = asyncio.create_task(workers.run(gate))
        await _begun(gate)
        with pytest.raises(QueryCancelled, match="waited for a thread"):
            await workers.run(late, Deadline(time.monotonic()))
        assert workers.waiting == 0
        gate.opened.set()
        assert await first == "done"
        assert not late.begun.is_set()

    _run(test)


def test_work_whose_caller_went_away_stops_at_its_next_checkpoint_and_frees_its_place() -> None:
    async def test(workers: QueryWorkers) -> None:
        gate, following = Gate(), Gate()
        following.opened.set()
        task = asyncio.create_task(workers.run(gate))
        await _begun(gate)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        waiting = asyncio.create_task(workers.run(following))
        await _until(lambda: workers.waiting == 1)
        assert not following.begun.is_set(), "the thread is still at work"
        gate.opened.set()
        assert await waiting == "done"
        assert gate.stopped_by == "the caller went away"

    _run(test)


def test_a_caller_who_goes_while_waiting_leaves_the_queue() -> None:
    async def test(workers: QueryWorkers) -> None:
        gate, never = Gate(), Gate()
        first = asyncio.create_task(workers.run(gate))
        await _begun(gate)
        task = asyncio.create_task(workers.run(never))
        await _until(lambda: workers.waiting == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert workers.waiting == 0
        gate.opened.set()
        assert await first == "done"
        assert await workers.run(gate) == "done"
        assert not never.begun.is_set()

    _run(test)


def test_a_deadline_that_passes_at_work_stops_it_between_two_steps() -> None:
    async def test(workers: QueryWorkers) -> None:
        passed = Deadline(time.monotonic())
        with pytest.raises(QueryCancelled, match="deadline"):
            await workers.run(lambda checkpoint: checkpoint(), passed)

    _run(test)


def test_an_error_of_the_work_is_its_result_and_frees_the_place() -> None:
    async def test(workers: QueryWorkers) -> None:
        def fails(_: Checkpoint) -> None:
            raise ValueError("broken")

        for _ in range(3):
            with pytest.raises(ValueError, match="broken"):
                await workers.run(fails)

    _run(test)


def test_a_thread_takes_the_next_question_by_itself_while_the_loop_is_busy() -> None:
    async def test(workers: QueryWorkers) -> None:
        gate, second = Gate(), Gate()
        tasks = [asyncio.create_task(workers.run(each)) for each in (gate, second)]
        await _begun(gate)
        assert workers.waiting == 1
        gate.opened.set()
        assert second.begun.wait(30), "the loop has not turned"
        second.opened.set()
        assert await asyncio.gather(*tasks) == ["done", "done"]
        assert workers.waiting == 0

    _run(test)


def test_a_deadline_that_passed_before_the_loop_could_say_so_keeps_the_work_from_beginning() -> None:
    async def test(workers: QueryWorkers) -> None:
        gate, late, begun = Gate(), Deadline.after(0.01, 60), list[int]()
        first = asyncio.create_task(workers.run(gate))
        await _begun(gate)
        second = asyncio.create_task(workers.run(lambda _: begun.append(1), late))
        await asyncio.sleep(0)
        while late.remaining():
            pass  # the loop is busy
        gate.opened.set()
        with pytest.raises(QueryCancelled, match="deadline"):
            await second
        assert (await first, begun) == ("done", [])

    _run(test)


def test_nothing_begins_once_the_threads_are_closed() -> None:
    async def test(workers: QueryWorkers) -> None:
        assert await workers.run(lambda _: 1) == 1
        workers.close()
        with pytest.raises(ShuttingDown):
            await workers.run(lambda _: 2)

    _run(test)


def test_no_more_threads_are_called_than_may_work() -> None:
    """Each takes one piece after the other: calls for the others would pile up while the queue is never empty."""

    async def test() -> None:
        workers, may_end = QueryWorkers(2), threading.Event()
        pieces = [asyncio.ensure_future(workers.run(lambda _: may_end.wait())) for _ in range(50)]
        await asyncio.sleep(0)
        assert workers._threads._work_queue.qsize() <= 2
        may_end.set()
        assert all(await asyncio.gather(*pieces))
        assert await workers.run(lambda _: 7) == 7
        workers.close()

    asyncio.run(test())
