"""Rows of many requests on their way to the router: as batches, bounded, acknowledged after they are durable."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cdp.v1 import ingest_pb2

from cdp_router.gateway.limits import (
    BATCH_BYTES_MAX,
    BATCH_ROWS_MAX,
    BATCHES_AT_ONCE,
    ROWS_ALONE_MAX,
    WAITING_BYTES_MAX,
)
from cdp_router.gateway.problems import Problem, busy

Send = Callable[[ingest_pb2.Batch, str], Awaitable[ingest_pb2.BatchResult]]  # with an API key, or none
_ARRAY_HEAD: Final = b"\xdd"  # of a msgpack array with a length of 32 bits
_TOO_MANY_NAMES: Final = "TOO_MANY_NAMES"


@dataclass(frozen=True, slots=True)
class Refused:
    """A row the cluster does not take, by its place among those delivered."""

    index: int
    code: str
    message: str


@dataclass(slots=True)
class _Piece:
    """Rows of one request that go in one batch, under the API key they came with."""

    rows: Sequence[bytes]
    api_key: str
    size: int
    is_alone: bool
    done: asyncio.Future[list[Refused]]


class Delivery:
    """Puts rows of requests that come together into one batch, so that many small requests cost few batches."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting = deque[_Piece]()
        self._waiting_bytes = 0
        self._senders = set[asyncio.Task[None]]()

    async def deliver(self, rows: Sequence[bytes], api_key: str = "") -> list[Refused]:
        """Make rows durable; those refused. Raises Problem 503 where that is not known: they may be sent again."""
        refused = await self._deliver(rows, api_key, BATCH_ROWS_MAX, is_alone=False)
        # Rows of others may have used up the names that one batch can mention.
        crowded = [each.index for each in refused if each.code == _TOO_MANY_NAMES]
        if not crowded:
            return refused
        again = await self._deliver([rows[index] for index in crowded], api_key, ROWS_ALONE_MAX, is_alone=True)
        kept = [each for each in refused if each.code != _TOO_MANY_NAMES]
        return kept + [Refused(crowded[each.index], each.code, each.message) for each in again]

    async def close(self) -> None:
        """Wait for what is on its way."""
        while self._senders:
            await asyncio.gather(*self._senders)

    async def _deliver(self, rows: Sequence[bytes], api_key: str, rows_max: int, *, is_alone: bool) -> list[Refused]:
        size = sum(map(len, rows))
        if self._waiting and self._waiting_bytes + size > WAITING_BYTES_MAX:
            raise busy("more is coming in than the cluster takes; send it again a little later")
        loop = asyncio.get_running_loop()
        pieces = [
            _Piece(part, api_key, sum(map(len, part)), is_alone, loop.create_future())
            for part in _parts(rows, rows_max)
        ]
        self._waiting.extend(pieces)
        self._waiting_bytes += size
        # Those at work may be at it for long; one too many finds nothing to do.
        for _ in range(min(BATCHES_AT_ONCE - len(self._senders), len(pieces))):
            sender = loop.create_task(self._send_all())
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)
        # Every piece is waited for, so that none is left behind when another one fails.
        answers = await asyncio.gather(*(piece.done for piece in pieces), return_exceptions=True)
        refused, start = list[Refused](), 0
        for piece, answer in zip(pieces, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            refused += [Refused(start + each.index, each.code, each.message) for each in answer]
            start += len(piece.rows)
        return refused

    async def _send_all(self) -> None:
        while self._waiting:
            pieces = self._take()
            rows = [row for piece in pieces for row in piece.rows]
            packed = b"".join((_ARRAY_HEAD, len(rows).to_bytes(4, "big"), *rows))
            try:
                batch = ingest_pb2.Batch(batch_id=uuid.uuid4().bytes, msgpack_rows=packed)
                result = await self._send(batch, pieces[0].api_key)
            except Problem as problem:
                for piece in pieces:
                    _fail(piece, problem)
                continue
            _settle(pieces, result)

    def _take(self) -> list[_Piece]:
        """The pieces of the next batch."""
        taken = [self._waiting.popleft()]
        count, size = len(taken[0].rows), taken[0].size
        while self._waiting and not taken[0].is_alone:
            following = self._waiting[0]
            count, size = count + len(following.rows), size + following.size
            if following.api_key != taken[0].api_key or following.is_alone:
                break
            if count > BATCH_ROWS_MAX or size > BATCH_BYTES_MAX:
                break
            taken.append(self._waiting.popleft())
        self._waiting_bytes -= sum(piece.size for piece in taken)
        return taken


def _parts(rows: Sequence[bytes], rows_max: int) -> Iterator[Sequence[bytes]]:
    start = size = 0
    for index, row in enumerate(rows):
        if index > start and (index - start == rows_max or size + len(row) > BATCH_BYTES_MAX):
            yield rows[start:index]
            start, size = index, 0
        size += len(row)
    if start < len(rows):
        yield rows[start:]


def _fail(piece: _Piece, problem: Problem) -> None:
    if not piece.done.done():  # whoever waited may have hung up
        piece.done.set_exception(problem)


def _settle(pieces: Sequence[_Piece], result: ingest_pb2.BatchResult) -> None:
    errors, start, at = result.errors, 0, 0
    for piece in pieces:
        stop, refused = start + len(piece.rows), list[Refused]()
        while at < len(errors) and errors[at].index < stop:
            refused.append(Refused(errors[at].index - start, errors[at].code, errors[at].message))
            at += 1
        start = stop
        if not piece.done.done():
            piece.done.set_result(refused)
