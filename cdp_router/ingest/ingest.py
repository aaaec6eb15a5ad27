"""A batch's path through the router: read, checked against the schema, delivered to the shards, its result combined."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor

from cdp.v1 import ingest_pb2

from cdp_router.cluster.routing import Routing
from cdp_router.deadline import Deadline
from cdp_router.errors import DeadlineMissed, Overloaded
from cdp_router.identity.identifier_limits import IdentifierLimits, tell_refused
from cdp_router.ingest.flights import Flights
from cdp_router.ingest.linked_operations import send_on
from cdp_router.ingest.loads import Taken
from cdp_router.ingest.quarantine import keep_apart
from cdp_router.ingest.result_size import shorten
from cdp_router.ingest.schema_gate import Passed, SchemaGate
from cdp_router.ingest.schema_rules import Rules
from cdp_router.limits import INGEST_BYTES_IN_FLIGHT_MAX, INGEST_RETRY_AFTER_MS, PIECE_RECORDS, READ_AT_ONCE_BYTES
from cdp_router.records.blocklist import Blocked
from cdp_router.records.columnarise import columnarise_steps
from cdp_router.records.spread import check_spread
from cdp_store.outside.seams import Clock
from cdp_store.shard.admission import told_by_ids


class Ingest:
    """Ingests batches from any number of callers at once."""

    def __init__(
        self,
        routing: Routing,
        clock: Clock,
        threads: Executor,
        blocked: Blocked | None = None,
        schema: SchemaGate | None = None,
        limits: IdentifierLimits | None = None,
    ) -> None:
        self._routing, self._clock, self._threads = routing, clock, threads
        self._blocked, self._schema = blocked or Blocked(), schema
        self._limits = limits or IdentifierLimits()
        self._flights = Flights(routing, threads, self._limits)
        self._bytes_in_flight = 0

    async def ingest(
        self, batch: ingest_pb2.Batch, deadline: Deadline, admit: Callable[[int], None] | None = None
    ) -> ingest_pb2.BatchResult:
        """Makes a batch durable on all shards it concerns; `admit` may refuse it once its records are counted.

        Raises ShardUnavailable when a shard did not acknowledge. The batch may then be sent again: sending the same
        record again has no effect.
        """
        size = batch.ByteSize()
        if self._bytes_in_flight and self._bytes_in_flight + size > INGEST_BYTES_IN_FLIGHT_MAX:
            raise Overloaded(f"{self._bytes_in_flight} bytes of batches are in flight", INGEST_RETRY_AFTER_MS)
        self._bytes_in_flight += size
        try:
            return await self._take(batch, size, deadline, admit)
        finally:
            self._bytes_in_flight -= size

    async def _take(
        self, batch: ingest_pb2.Batch, size: int, deadline: Deadline, admit: Callable[[int], None] | None
    ) -> ingest_pb2.BatchResult:
        rules = Rules() if self._schema is None else await self._schema.rules(deadline)
        passed = await self._read(batch, size, rules, deadline)
        columnarised = passed.columnarised
        if admit is not None:
            admit(len(columnarised.batch))
        is_partial = bool(columnarised.errors or columnarised.errors_omitted)
        records = told_by_ids(columnarised.batch) if is_partial else columnarised.batch
        taken = await self._flights.deliver(records, columnarised.links, deadline)
        if len(taken.errors) + len(taken.refused) <= PIECE_RECORDS:
            result = _result(passed, taken, self._limits)
        else:  # off the event loop: other callers must not wait for it
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(self._threads, _result, passed, taken, self._limits)
        await send_on(result, columnarised, self._flights, self._routing, deadline)
        if passed.apart is not None:
            await keep_apart(passed.apart, self._routing, self._threads, deadline, result)
        shorten(result)
        return result

    async def _read(self, batch: ingest_pb2.Batch, size: int, rules: Rules, deadline: Deadline) -> Passed:
        """Reads the columns of a batch of `size` bytes in a thread, step by step, until the deadline passes.

        A small batch is read in one step: changing threads would cost more.
        """
        loop, steps = asyncio.get_running_loop(), self._steps(batch, size, rules)
        read = _read_all if size <= READ_AT_ONCE_BYTES else next
        while (passed := await loop.run_in_executor(self._threads, read, steps)) is None:
            if not deadline.remaining():
                raise DeadlineMissed("the deadline passed while the batch was read; nothing of it was accepted")
        return passed

    def _steps(self, batch: ingest_pb2.Batch, size: int, rules: Rules) -> Iterator[Passed | None]:
        columnarised = yield from columnarise_steps(batch, self._clock.now_ms(), self._blocked)
        yield None
        check_spread(columnarised.batch, size, self._routing.cluster.partitions)
        yield None
        yield Passed(columnarised) if self._schema is None else self._schema.check(columnarised, rules)


def _read_all(steps: Iterator[Passed | None]) -> Passed | None:
    return next(passed for passed in steps if passed is not None)


def _result(passed: Passed, taken: Taken, limits: IdentifierLimits) -> ingest_pb2.BatchResult:
    columnarised, positions = passed.columnarised, passed.columnarised.positions
    links, links_omitted = tell_refused(taken.refused, columnarised.links, columnarised.batch, limits)
    result = ingest_pb2.BatchResult(
        accepted=taken.accepted,
        duplicates=taken.duplicates,
        errors=passed.columnarised.errors,
        errors_omitted=passed.columnarised.errors_omitted,
        warnings=passed.warnings,
        warnings_omitted=passed.warnings_omitted + links_omitted,
    )
    for partition, sequence in taken.positions.items():
        result.positions.add(partition=partition, sequence=sequence)
    for record, code, message in taken.errors:
        result.errors.add(index=int(positions[record]), code=code, message=message)
    result.errors.sort(key=lambda error: error.index)
    for record, warning in links:
        warning.index = int(positions[record])
        result.warnings.append(warning)
    result.warnings.sort(key=lambda warning: warning.index)
    return result
