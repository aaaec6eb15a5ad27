"""All contents of a shard's partitions, one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial

from cdp.v1 import export_pb2, ingest_pb2, shard_pb2

from cdp_router.deadline import Deadline
from cdp_router.export.exported_tables import tables_of
from cdp_router.rpc.threaded_calls import Checkpoint
from cdp_router.shard.held_views import Captured
from cdp_router.shard.query_workers import QueryWorkers
from cdp_store.memory.view import PartitionView
from cdp_store.partition.partition import Partition
from cdp_store.reading.everything import dropped_of


class ShardExporting:
    """Streams tables from views, a page at a time on the threads of questions, which run between pages."""

    def __init__(self, workers: QueryWorkers) -> None:
        self._workers = workers

    async def read_all(
        self, take: Callable[[], Sequence[Captured]], deadline: Deadline
    ) -> AsyncIterator[shard_pb2.ReadAllResponse]:
        """The tables of each partition, and its position; claims are those at the start of the export."""
        for partition, view, _ in await self._workers.run(lambda _: take(), deadline):
            tables = await self._workers.run(partial(_tables, partition, view), deadline, begun=True)
            # `begun`: an export that has sent half of its tables must not be refused because others wait.
            while (table := await self._workers.run(_next(tables), deadline, begun=True)) is not None:
                yield shard_pb2.ReadAllResponse(table=table)
            position = ingest_pb2.PartitionPosition(partition=partition.partition, sequence=view.sequence)
            yield shard_pb2.ReadAllResponse(answered=position, dropped_events=dropped_of(view))


def _tables(partition: Partition, view: PartitionView, _: Checkpoint) -> Iterator[export_pb2.RecordTable]:
    return tables_of(view, partition.with_identity(lambda identity, _: identity.claims.kept()))


def _next(tables: Iterator[export_pb2.RecordTable]) -> Callable[[Checkpoint], export_pb2.RecordTable | None]:
    return lambda _: next(tables, None)
