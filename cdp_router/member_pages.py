"""Members of a shard's partitions, one partition after the other, packed into messages of a bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from cdp.v1 import ingest_pb2, shard_pb2

from cdp_query import pipeline
from cdp_query.bind import Binder
from cdp_query.tree import Node
from cdp_router.limits import MEMBERS_PER_MESSAGE
from cdp_router.query_workers import Checkpoint
from cdp_store.view import PartitionView


def member_batches(segment: Node, view: PartitionView, binder: Binder, checkpoint: Checkpoint) -> list[pa.RecordBatch]:
    """The encoded identifiers of a segment's members in one partition, so many at a time as fit a message."""
    rows = pipeline.members(segment, view, binder, checkpoint).astype(np.int64)
    starts = range(0, rows.shape[0], MEMBERS_PER_MESSAGE)
    return [_identifiers(view, rows[start : start + MEMBERS_PER_MESSAGE]) for start in starts]


def _identifiers(view: PartitionView, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pa.RecordBatch:
    offsets, data = view.gather_identifiers(rows)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.record_batch({"identifier": pa.Array.from_buffers(pa.large_binary(), rows.shape[0], buffers)})


@dataclass(slots=True)
class MemberPages:
    """What waits to be sent: batches of members, and the positions of partitions that end with them."""

    _batches: list[pa.RecordBatch] = field(default_factory=list)
    _positions: list[ingest_pb2.PartitionPosition] = field(default_factory=list)
    _members: int = 0

    def add(
        self, batches: list[pa.RecordBatch], position: ingest_pb2.PartitionPosition
    ) -> Iterator[shard_pb2.ListMembersResponse]:
        """Take all members of a partition; the messages that are full before they fit."""
        for batch in batches:
            if self._members + batch.num_rows > MEMBERS_PER_MESSAGE:
                yield self.take()
            self._batches.append(batch)
            self._members += batch.num_rows
        self._positions.append(position)

    def take(self) -> shard_pb2.ListMembersResponse:
        """All that waits, as a message."""
        message = shard_pb2.ListMembersResponse(arrow=_stream(self._batches), answered=self._positions)
        self._batches, self._positions, self._members = [], [], 0
        return message


def _stream(batches: list[pa.RecordBatch]) -> bytes:
    if not batches:
        return b""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream
