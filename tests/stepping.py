"""Threads that go on one at a time, and change over only where a lock is taken or given back, as a schedule says.

No sleep and no chance: the same schedule gives the same run. A `SteppingLock` outside a run is an ordinary lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Final, TypeVar

from cdp_store.partition.partition import Partition

_WAIT_SECONDS: Final = 60.0  # for a thread that is at work; none ever waits so long unless it hangs
Result = TypeVar("Result")
Choose = Callable[[Sequence[int]], int]  # the threads that can go on -> the one that does


@dataclass
class _Thread:
    work: Callable[[], Any]
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    wants: SteppingLock | None = None
    is_done: bool = False
    result: Any = None
    error: BaseException | None = None


class Interleaving:
    """One run of several pieces of work, each in a thread of its own."""

    def __init__(self, choose: Choose) -> None:
        self._choose, self._back = choose, threading.Semaphore(0)
        self._threads, self._current = list[_Thread](), -1
        self.points = 0

    def run(self, *works: Callable[[], Any]) -> list[Any]:
        """Their results; what one of them raised, once all have ended."""
        self._threads = [_Thread(work) for work in works]
        started = [threading.Thread(target=self._run, args=(each,), daemon=True) for each in self._threads]
        for each in started:
            each.start()
        with _running(self):
            while ready := [number for number, each in enumerate(self._threads) if not each.is_done]:
                ready = [number for number in ready if _may_go_on(self._threads[number])]
                assert ready, "every thread waits for a lock that another one holds"
                self._current = self._choose(ready)
                self._threads[self._current].go.release()
                assert self._back.acquire(timeout=_WAIT_SECONDS), "a thread hangs"
        for each in started:
            each.join()
        for thread in self._threads:
            if thread.error is not None:
                raise thread.error
        return [thread.result for thread in self._threads]

    def point(self, wants: SteppingLock | None = None) -> None:
        """Let the schedule choose who goes on; with `wants`, this thread only while that lock is free."""
        thread = self._threads[self._current]
        thread.wants = wants
        self.points += 1
        self._back.release()
        assert thread.go.acquire(timeout=_WAIT_SECONDS), "the schedule hangs"
        thread.wants = None

    def _run(self, thread: _Thread) -> None:
        thread.go.acquire()
        try:
            thread.result = thread.work()
        except BaseException as error:  # noqa: BLE001 - it is raised again where the run was begun
            thread.error = error
        thread.is_done = True
        self._back.release()


WHOLE: Final = 1 << 30  # points: more than there are
_NOW = list[Interleaving]()  # the run under way: one at most


@contextmanager
def _running(interleaving: Interleaving) -> Iterator[None]:
    assert not _NOW, "one run at a time"
    _NOW.append(interleaving)
    try:
        yield
    finally:
        _NOW.clear()


def _may_go_on(thread: _Thread) -> bool:
    return thread.wants is None or not thread.wants.is_held


def step() -> None:
    """A point where threads may change over."""
    if _NOW:
        _NOW[0].point()


class SteppingLock:
    """A lock whose every acquire and release is a point."""

    def __init__(self) -> None:
        self.is_held = False

    def __enter__(self) -> None:
        if _NOW:
            _NOW[0].point(self)
        assert not self.is_held, "the lock is taken twice"
        self.is_held = True

    def __exit__(self, *_: object) -> None:
        self.is_held = False
        step()


class SteppedPartition(Partition):
    """A partition in a run; looks at what a purge is told of are points too, so that an unguarded one shows."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        step_through(self)

    @property
    def _meanwhile(self) -> Any:
        step()
        return self.__dict__["_meanwhile"]

    @_meanwhile.setter
    def _meanwhile(self, value: Any) -> None:
        self.__dict__["_meanwhile"] = value


def step_through(partition: Partition) -> None:
    """Give a partition a stepping lock."""
    partition._lock = SteppingLock()  # type: ignore[assignment]


class ChangingOver:
    """Thread `first` goes on for steps[0] points, the other one for steps[1], and so on; the next one to its end, then
    the other. A thread that cannot go on makes way."""

    def __init__(self, first: int, *steps: int) -> None:
        self._first, self._turn, self.left = first, 0, [*steps]

    def __str__(self) -> str:
        return f"thread {self._first} first, changes after {self.left} points"

    def __call__(self, ready: Sequence[int]) -> int:
        while self._turn < len(self.left) and self.left[self._turn] == 0:
            self._turn += 1
        wanted = (self._first + self._turn) % 2
        if wanted not in ready:
            return ready[0]
        if self._turn < len(self.left):
            self.left[self._turn] -= 1
        return wanted


def by_chance(chance: Random) -> Choose:
    """Any of those that can go on, often the same again: more often in some runs than in others."""
    last, again = -1, chance.choice([0.5, 0.8, 0.95])

    def choose(ready: Sequence[int]) -> int:
        nonlocal last
        if last not in ready or chance.random() >= again:
            last = chance.choice(ready)
        return last

    return choose


def whole_in_between(run: Callable[[Choose], Result]) -> Iterator[Result]:
    """Run two threads, either one as a whole at every point of the other; yields like `every_change_over`."""
    for first in (0, 1):
        for i in count():
            schedule = ChangingOver(first, i, WHOLE)
            yield _noted(run, schedule)
            if schedule.left[0]:
                break


def every_change_over(run: Callable[[Choose], Result]) -> Iterator[Result]:
    """Run two threads under every schedule of up to three changes: one goes on for i points, the other for j, then each
    to its end. Yields what `run` returns, which begins from the same state each time."""
    for first in (0, 1):
        for i in count():
            for j in count(1):
                schedule = ChangingOver(first, i, j)
                yield _noted(run, schedule)
                if any(schedule.left):
                    break  # one of them ended before that
            if schedule.left[0]:
                break


def _noted(run: Callable[[Choose], Result], schedule: ChangingOver) -> Result:
    told = f"schedule: {schedule}"
    try:
        return run(schedule)
    except BaseException as error:
        error.add_note(told)
        raise
