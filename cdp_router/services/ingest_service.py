"""IngestService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

from cdp.v1 import ingest_pb2, ingest_pb2_grpc
from google.rpc import status_pb2

from cdp_router.background import awaited
from cdp_router.contract.status import TRANSLATED, Context, describe, retry_delay_ms
from cdp_router.deadline import Deadline
from cdp_router.ingest.ingest import Ingest
from cdp_router.limits import INGEST_SECONDS_DEFAULT
from cdp_router.observing.work_metrics import IngestMetrics
from cdp_router.rpc.call import current_principal
from cdp_router.security.keys.rates import Rates

_STREAM_BATCHES_IN_FLIGHT = 8


class IngestService(ingest_pb2_grpc.IngestServiceServicer):
    """Accepts batches."""

    def __init__(self, ingest: Ingest, metrics: IngestMetrics | None = None, rates: Rates | None = None) -> None:
        self._ingest, self._metrics, self._rates = ingest, metrics or IngestMetrics(), rates or Rates()

    async def Ingest(self, request: ingest_pb2.IngestRequest, context: Context) -> ingest_pb2.IngestResponse:
        """Accepts one batch."""
        deadline = Deadline.after(context.time_remaining(), INGEST_SECONDS_DEFAULT)
        return ingest_pb2.IngestResponse(result=await self._taken(request.batch, deadline))

    async def IngestStream(
        self, request_iterator: AsyncIterator[ingest_pb2.IngestStreamRequest], context: Context
    ) -> AsyncIterator[ingest_pb2.IngestStreamResponse]:
        """Accepts batches as they arrive, a few at once; answers keep their order, and reading stops when they lag."""
        answers = asyncio.Queue[asyncio.Task[ingest_pb2.IngestStreamResponse] | None]()
        room = asyncio.Semaphore(_STREAM_BATCHES_IN_FLIGHT)

        async def read() -> None:
            try:
                await room.acquire()  # first: a batch that has been read is counted as work
                async for request in request_iterator:
                    answers.put_nowait(awaited(self._take(request.batch)))
                    del request  # before the wait for the next one, which may be long
                    await room.acquire()
            finally:
                answers.put_nowait(None)

        reader = awaited(read())
        try:
            while (task := await answers.get()) is not None:
                yield await task
                room.release()
            await reader
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _taken(self, batch: ingest_pb2.Batch, deadline: Deadline) -> ingest_pb2.BatchResult:
        """The result of a batch; RateLimited if its key has sent too much."""
        principal = current_principal()
        self._rates.admit_events(principal)  # before any work; and again once others have been counted
        result = await self._ingest.ingest(batch, deadline, partial(self._rates.admit_batch, principal))
        self._metrics.took(batch, result)
        return result

    async def _take(self, batch: ingest_pb2.Batch) -> ingest_pb2.IngestStreamResponse:
        try:
            result = await self._taken(batch, Deadline.after(None, INGEST_SECONDS_DEFAULT))
        except TRANSLATED as error:
            failure = _failure(describe(error))
            return ingest_pb2.IngestStreamResponse(batch_id=batch.batch_id, failure=failure)
        return ingest_pb2.IngestStreamResponse(batch_id=batch.batch_id, result=result)


def _failure(status: status_pb2.Status) -> ingest_pb2.BatchFailure:
    return ingest_pb2.BatchFailure(code=status.code, message=status.message, retry_after_ms=retry_delay_ms(status))
