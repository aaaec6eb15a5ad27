"""A batch's way through the router: columns, split by partition, delivered to shards, results put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor

import grpc
from cdp.v1 import ingest_pb2, shard_pb2

from cdp_router.blocking import Blocked
from cdp_router.columnarise import columnarise
from cdp_router.deadline import Deadline
from cdp_router.delivering import deliver, tell_refused
from cdp_router.errors import Overloaded, RouterError
from cdp_router.identifier_limits import IdentifierLimits
from cdp_router.limits import INGEST_BYTES_IN_FLIGHT_MAX, INGEST_RETRY_AFTER_MS, MOVING_SECONDS
from cdp_router.linked_operations import send_on
from cdp_router.moving import Mover
from cdp_router.partitioning import Parts, split
from cdp_router.quarantining import keep_apart
from cdp_router.routing import Routing
from cdp_router.schema_gate import Passed, SchemaGate
from cdp_router.schema_rules import Rules
from cdp_store.records import encode_batch
from cdp_store.seams import Clock

_LOG = logging.getLogger(__name__)


class Ingest:
    """Takes batches from any number of callers at once."""

    def __init__(
        self,
        routing: Routing,
        clock: Clock,
        threads: Executor,
        blocked: Blocked | None = None,
        schema: SchemaGate | None = None,
        limits: IdentifierLimits | None = None,
    ) -> None:
        self._routing, self._cluster, self._clock, self._threads = routing, routing.cluster, clock, threads
        self._mover, self._blocked = Mover(routing), blocked or Blocked()
        self._schema, self._limits = schema, limits or IdentifierLimits()
        self._bytes_in_flight = 0

    async def take(
        self, batch: ingest_pb2.Batch, deadline: Deadline, admit: Callable[[int], None] | None = None
    ) -> ingest_pb2.BatchResult:
        """Make a batch durable on all shards it concerns; `admit` may refuse it once its records are counted.

        Raises ShardUnavailable when a shard did not acknowledge: the batch may then be sent again, and what was
        taken is not taken twice.
        """
        size = batch.ByteSize()
        if self._bytes_in_flight and self._bytes_in_flight + size > INGEST_BYTES_IN_FLIGHT_MAX:
            raise Overloaded(f"{self._bytes_in_flight} bytes of batches are in flight", INGEST_RETRY_AFTER_MS)
        self._bytes_in_flight += size
        try:
            return await self._take(batch, deadline, admit)
        finally:
            self._bytes_in_flight -= size

    async def _take(
        self, batch: ingest_pb2.Batch, deadline: Deadline, admit: Callable[[int], None] | None
    ) -> ingest_pb2.BatchResult:
        loop = asyncio.get_running_loop()
        rules = Rules() if self._schema is None else await self._schema.rules(deadline)
        passed, parts, encoded = await loop.run_in_executor(self._threads, self._prepare, batch, rules)
        columnarised = passed.columnarised
        if admit is not None:
            admit(len(columnarised.batch))
        said = columnarised.links
        delivered = await deliver(encoded, said, self._limits, self._routing, deadline)
        await self._move(delivered.due, deadline)
        result = _result(passed, parts, delivered.outcomes)
        await send_on(result, columnarised, self._routing, self._limits, deadline)
        for record, warning in tell_refused(delivered.refused, said, columnarised.batch, self._limits):
            warning.index = int(columnarised.positions[record])
            result.warnings.append(warning)
        result.warnings.sort(key=lambda warning: warning.index)
        if passed.apart is not None:
            await keep_apart(passed.apart, self._routing, deadline, result)
        return result

    async def _move(self, due: Collection[int], deadline: Deadline) -> None:
        """Have profiles move before the batch that links them is acked. What it says is durable already."""
        if due:
            try:
                # A shard that hangs must not hold up the acks of all who link anybody.
                seconds = min(deadline.remaining(), MOVING_SECONDS)
                await self._mover.settle(due, Deadline.after(seconds, MOVING_SECONDS))
            except (RouterError, grpc.aio.AioRpcError) as error:
                _LOG.warning("profiles wait for being moved: %s", error)

    def _prepare(self, batch: ingest_pb2.Batch, rules: Rules) -> tuple[Passed, Parts, Mapping[int, bytes]]:
        columnarised = columnarise(batch, self._clock.now_ms(), self._blocked)
        passed = Passed(columnarised) if self._schema is None else self._schema.check(columnarised, rules)
        parts = split(passed.columnarised.batch, self._cluster.hash_key, self._cluster.partitions)
        return passed, parts, {partition: encode_batch(part) for partition, (part, _) in parts.items()}


def _result(passed: Passed, parts: Parts, outcomes: Iterable[shard_pb2.PartitionOutcome]) -> ingest_pb2.BatchResult:
    columnarised = passed.columnarised
    result = ingest_pb2.BatchResult(errors=columnarised.errors, warnings=passed.warnings)
    for outcome in outcomes:
        result.accepted += outcome.accepted
        result.duplicates += outcome.duplicates
        result.positions.add(partition=outcome.partition, sequence=outcome.sequence)
        for error in outcome.errors:
            index = int(columnarised.positions[parts[outcome.partition][1][error.index]])
            result.errors.add(index=index, code=error.code, message=error.message)
    result.errors.sort(key=lambda error: error.index)
    return result
