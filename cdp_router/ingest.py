"""A batch's way through the router: columns, split by partition, delivered to shards, results put together."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor

from cdp.v1 import ingest_pb2, shard_pb2

from cdp_router.columnarise import Columnarised, columnarise
from cdp_router.deadline import Deadline
from cdp_router.errors import Overloaded
from cdp_router.limits import INGEST_BYTES_IN_FLIGHT_MAX, INGEST_RETRY_AFTER_MS
from cdp_router.partitioning import Parts, split
from cdp_router.scatter import scatter
from cdp_router.shard_client import ShardClient
from cdp_router.topology import ClusterFile
from cdp_store.records import encode_batch
from cdp_store.seams import Clock


class Ingest:
    """Takes batches from any number of callers at once."""

    def __init__(self, cluster: ClusterFile, shards: Sequence[ShardClient], clock: Clock, threads: Executor) -> None:
        self._cluster, self._shards, self._clock, self._threads = cluster, shards, clock, threads
        self._bytes_in_flight = 0

    async def take(self, batch: ingest_pb2.Batch, deadline: Deadline) -> ingest_pb2.BatchResult:
        """Make a batch durable on all shards it concerns.

        Raises ShardUnavailable when a shard did not acknowledge: the batch may then be sent again, and what was
        taken is not taken twice.
        """
        size = batch.ByteSize()
        if self._bytes_in_flight and self._bytes_in_flight + size > INGEST_BYTES_IN_FLIGHT_MAX:
            raise Overloaded(f"{self._bytes_in_flight} bytes of batches are in flight", INGEST_RETRY_AFTER_MS)
        self._bytes_in_flight += size
        try:
            return await self._take(batch, deadline)
        finally:
            self._bytes_in_flight -= size

    async def _take(self, batch: ingest_pb2.Batch, deadline: Deadline) -> ingest_pb2.BatchResult:
        loop = asyncio.get_running_loop()
        columnarised, parts, requests = await loop.run_in_executor(self._threads, self._prepare, batch)
        asked = {shard: self._shards[shard] for shard in requests}
        gathered = await scatter(asked, lambda shard, client: client.deliver(requests[shard], deadline))
        answers = gathered.complete(self._cluster, self._shards)
        outcomes = [outcome for answer in answers.values() for outcome in answer.outcomes]
        return _result(columnarised, parts, outcomes)

    def _prepare(self, batch: ingest_pb2.Batch) -> tuple[Columnarised, Parts, dict[int, shard_pb2.DeliverRequest]]:
        columnarised = columnarise(batch, self._clock.now_ms())
        parts = split(columnarised.batch, self._cluster.hash_key, self._cluster.partitions)
        by_shard = defaultdict[int, list[shard_pb2.PartitionBatch]](list)
        for partition, (part, _) in parts.items():
            encoded = shard_pb2.PartitionBatch(partition=partition, batch=encode_batch(part))
            by_shard[self._cluster.shard_of_partition(partition)].append(encoded)
        requests = {
            shard: shard_pb2.DeliverRequest(cluster=self._cluster.cluster, batches=batches)
            for shard, batches in by_shard.items()
        }
        return columnarised, parts, requests


def _result(
    columnarised: Columnarised, parts: Parts, outcomes: Iterable[shard_pb2.PartitionOutcome]
) -> ingest_pb2.BatchResult:
    result = ingest_pb2.BatchResult(errors=columnarised.errors)
    for outcome in outcomes:
        result.accepted += outcome.accepted
        result.duplicates += outcome.duplicates
        result.positions.add(partition=outcome.partition, sequence=outcome.sequence)
        records = parts[outcome.partition][1]
        for error in outcome.errors:
            index = int(columnarised.positions[records[error.index]])
            result.errors.add(index=index, code=error.code, message=error.message)
    result.errors.sort(key=lambda error: error.index)
    return result
