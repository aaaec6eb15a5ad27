"""Rows of many requests on their way to the router: in batches, bounded, acknowledged once they are durable."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from cdp.v1 import ingest_pb2

from cdp_router.background import Background
from cdp_router.gateway.http_limits import (
    BATCH_BYTES_MAX,
    BATCH_ROWS_MAX,
    CALLS_AT_ONCE,
    PATIENCE_SECONDS,
    ROWS_ALONE_MAX,
    WAITING_BYTES_MAX,
    WAITING_SECONDS_MAX,
)
from cdp_router.gateway.problems import Problem, busy
from cdp_router.gateway.rows import Rows, batch_of

Send = Callable[[ingest_pb2.Batch, str], Awaitable[ingest_pb2.BatchResult]]  # with an API key, or none
_TOO_MANY_NAMES: Final = "TOO_MANY_NAMES"


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that the cluster rejects, or accepts with a warning, by its place among those delivered."""

    index: int
    code: str
    message: str
    is_warning: bool = False


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows of one request that go in one batch; `since` is the loop's time at which they began to wait."""

    rows: Rows
    is_alone: bool
    since: float
    done: asyncio.Future[list[Refused]]


@dataclass(slots=True)
class _Lane:
    """Queues of rows under one API key, in the order they came, and the number of calls under way with it."""

    waiting: deque[_Piece] = field(default_factory=deque)
    rows: int = 0
    size: int = 0
    calls: int = 0

    def add(self, piece: _Piece) -> None:
        """Adds a piece to the queue."""
        self.waiting.append(piece)
        self.rows, self.size = self.rows + piece.rows.count, self.size + len(piece.rows.packed)

    def drain(self) -> list[_Piece]:
        """The pieces of the next batch."""
        taken, count, size = list[_Piece](), 0, 0
        while self.waiting:
            piece = self.waiting[0]
            count, size = count + piece.rows.count, size + len(piece.rows.packed)
            is_apart = any(each.is_alone for each in (piece, *taken[:1]))
            if taken and (is_apart or count > BATCH_ROWS_MAX or size > BATCH_BYTES_MAX):
                break
            taken.append(self.waiting.popleft())
        self.rows -= sum(piece.rows.count for piece in taken)
        self.size -= sum(len(piece.rows.packed) for piece in taken)
        return taken

    def is_due(self, now: float) -> bool:
        """True if a call should begin: none is under way, there is enough for a full one, or it has waited long."""
        if not self.waiting:
            return False
        is_full = self.rows >= BATCH_ROWS_MAX or self.size >= BATCH_BYTES_MAX
        return not self.calls or is_full or now - self.waiting[0].since >= PATIENCE_SECONDS


class Delivery:
    """Joins rows of concurrent requests into one batch: while one is on its way, new rows wait for the next.

    A batch costs the cluster about as much for few rows as for many, so the fewer calls, the more rows a second. Rows
    that fill a batch do not wait, and no row waits long when a call hangs.
    """

    def __init__(
        self, send: Send, background: Background | None = None, omitted: Callable[[int], None] = lambda _: None
    ) -> None:
        """`omitted` is called with the number of warnings that the cluster counted and did not report."""
        self._send, self._background, self._omitted = send, background or Background(), omitted
        self._lanes = dict[str, _Lane]()
        self._waiting_bytes = 0
        self._calls = set[asyncio.Task[None]]()
        self._look: asyncio.TimerHandle | None = None

    async def deliver(self, rows: Rows, api_key: str = "") -> list[Refused]:
        """Makes rows durable; returns the refused ones, and warnings about others. Raises Problem 503 if the outcome is
        unknown: they may be sent again.
        """
        refused = await self._deliver(rows, api_key, BATCH_ROWS_MAX, is_alone=False)
        # Rows of others may have used up the names that one batch can mention.
        crowded = [each.index for each in refused if each.code == _TOO_MANY_NAMES]
        if not crowded:
            return refused
        each_row = rows.each()
        alone = rows.some(each_row, crowded)
        again = await self._deliver(alone, api_key, ROWS_ALONE_MAX, is_alone=True)
        kept = [each for each in refused if each.code != _TOO_MANY_NAMES]
        return kept + [replace(each, index=crowded[each.index]) for each in again]

    async def close(self) -> None:
        """Waits for rows on their way."""
        while self._calls:
            await asyncio.gather(*self._calls, return_exceptions=True)
        if self._look is not None:
            self._look.cancel()

    async def _deliver(self, rows: Rows, api_key: str, rows_max: int, *, is_alone: bool) -> list[Refused]:
        if not rows.count:
            return []
        if self._waiting_bytes and self._waiting_bytes + len(rows.packed) > WAITING_BYTES_MAX:
            raise busy("more is coming in than the cluster accepts; send it again a little later")
        loop = asyncio.get_running_loop()
        pieces = [_Piece(part, is_alone, loop.time(), loop.create_future()) for part in _parts(rows, rows_max)]
        lane = self._lanes.setdefault(api_key, _Lane())
        for piece in pieces:
            lane.add(piece)
        self._waiting_bytes += len(rows.packed)
        self._begin_due()
        # Every piece is awaited, so that none is forgotten when another one fails.
        answers = await asyncio.gather(*(piece.done for piece in pieces), return_exceptions=True)
        refused, start = list[Refused](), 0
        for piece, answer in zip(pieces, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            refused += [replace(each, index=start + each.index) for each in answer]
            start += piece.rows.count
        return refused

    def _begin_due(self) -> None:
        """Begins the calls that are due, and checks again later if any row still waits."""
        loop = asyncio.get_running_loop()
        while len(self._calls) < CALLS_AT_ONCE and (found := self._longest_due(loop.time())) is not None:
            api_key, lane = found
            pieces = lane.drain()
            self._waiting_bytes -= sum(len(piece.rows.packed) for piece in pieces)
            lane.calls += 1
            call = self._background.begin("delivery", self._call(api_key, lane, pieces))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        if self._look is None and any(lane.waiting for lane in self._lanes.values()):
            self._look = loop.call_later(PATIENCE_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        self._begin_due()

    def _longest_due(self, now: float) -> tuple[str, _Lane] | None:
        """Of the lanes that are due, the one whose first piece has waited longest."""
        due = ((api_key, lane) for api_key, lane in self._lanes.items() if lane.is_due(now))
        return min(due, key=lambda each: each[1].waiting[0].since, default=None)

    async def _call(self, api_key: str, lane: _Lane, pieces: Sequence[_Piece]) -> None:
        try:
            await self._send_pieces(api_key, pieces)
        finally:
            for piece in pieces:  # after any failure, no sender may wait for ever
                _fail(piece, busy("the batch did not reach the cluster; send it again"))
            lane.calls -= 1
            if not lane.calls and not lane.waiting:
                del self._lanes[api_key]
            self._calls.discard(asyncio.current_task())
        self._begin_due()

    async def _send_pieces(self, api_key: str, pieces: Sequence[_Piece]) -> None:
        """Sends those pieces of a batch whose senders still wait for an answer."""
        now, wanted = asyncio.get_running_loop().time(), list[_Piece]()
        for piece in pieces:
            if now - piece.since > WAITING_SECONDS_MAX:
                _fail(piece, busy("more is coming in than the cluster accepts; send it again a little later"))
            else:
                wanted.append(piece)
        if not wanted:
            return
        batch = batch_of(uuid.uuid4().bytes, (piece.rows for piece in wanted))
        try:
            result = await self._send(batch, api_key)
        except Problem as problem:
            for piece in wanted:
                _fail(piece, problem)
            return
        if result.warnings_omitted:
            self._omitted(result.warnings_omitted)
        _settle(wanted, result)


def _parts(rows: Rows, rows_max: int) -> Iterator[Rows]:
    """The rows in parts that fit one batch each."""
    if rows.count <= rows_max and len(rows.packed) <= BATCH_BYTES_MAX:
        yield rows
        return
    each_row, start, size = rows.each(), 0, 0
    for index, row in enumerate(each_row):
        if index > start and (index - start == rows_max or size + len(row) > BATCH_BYTES_MAX):
            yield rows.some(each_row, range(start, index))
            start, size = index, 0
        size += len(row)
    yield rows.some(each_row, range(start, len(each_row)))


def _fail(piece: _Piece, problem: Problem) -> None:
    if not piece.done.done():  # the sender may have hung up
        piece.done.set_exception(problem)


def _settle(pieces: Sequence[_Piece], result: ingest_pb2.BatchResult) -> None:
    told = [(each.index, each.code, each.message, False) for each in result.errors]
    told += [(each.index, each.code, each.message, True) for each in result.warnings]
    told.sort(key=lambda each: each[0])
    start, at = 0, 0
    for piece in pieces:
        stop, refused = start + piece.rows.count, list[Refused]()
        while at < len(told) and told[at][0] < stop:
            index, code, message, is_warning = told[at]
            refused.append(Refused(index - start, code, message, is_warning))
            at += 1
        start = stop
        if not piece.done.done():
            piece.done.set_result(refused)
