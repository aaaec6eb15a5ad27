"""Members of a shard's partitions, one partition after the other, packed into messages of a bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from cdp.v1 import ingest_pb2, shard_pb2

from cdp_query import pipeline
from cdp_query.bind.bind import Binder
from cdp_query.stats import Meter, total
from cdp_query.tree import Node
from cdp_router.limits import MEMBER_MESSAGE_BYTES, MEMBERS_PER_MESSAGE
from cdp_router.questions.attribute_columns import AttributeColumns
from cdp_router.shard.query_workers import Checkpoint
from cdp_store.arrays import I64
from cdp_store.memory.view import PartitionView


@dataclass(frozen=True, slots=True)
class MembersOf:
    """The members of a segment in one partition, and the readers of their attributes."""

    view: PartitionView
    rows: I64
    columns: AttributeColumns
    type_mismatch: bool  # some value had another type than requested

    @staticmethod
    def found(
        segment: Node,
        view: PartitionView,
        binder: Binder,
        wanted: Sequence[shard_pb2.AttributeColumn],
        checkpoint: Checkpoint,
    ) -> MembersOf:
        """Evaluates the segment on a view."""
        meter = Meter()
        rows = pipeline.members(segment, view, binder, checkpoint, meter).astype(np.int64)
        columns = AttributeColumns.of(view, wanted, binder.context.as_of_ms)
        return MembersOf(view, rows, columns, total(meter.nodes()).type_mismatch > 0)

    @property
    def starts(self) -> range:
        """Starts of the pages of members."""
        return range(0, self.rows.shape[0], MEMBERS_PER_MESSAGE)

    def page(self, start: int) -> list[pa.RecordBatch]:
        """The encoded identifiers and attributes of the members of a page, in batches that each fit a message."""
        rows = self.rows[start : start + MEMBERS_PER_MESSAGE]
        return [_batch(self.view, some, columns) for some, columns in self.columns.pieces(rows)]


def _batch(view: PartitionView, rows: I64, columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
    offsets, data = view.gather_identifiers(rows)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    identifiers = pa.Array.from_buffers(pa.large_binary(), rows.shape[0], buffers)
    return pa.record_batch([identifiers, *columns.values()], names=["identifier", *columns])


@dataclass(slots=True)
class MemberPages:
    """Queue of messages to send: batches of members, and the positions of partitions that end with them."""

    _batches: list[pa.RecordBatch] = field(default_factory=list)
    _positions: list[ingest_pb2.PartitionPosition] = field(default_factory=list)
    _members: int = 0
    _bytes: int = 0
    _type_mismatch: bool = False

    def add(self, batches: Iterable[pa.RecordBatch]) -> Iterator[shard_pb2.ListMembersResponse]:
        """Adds some members of a partition; yields the messages that become full first."""
        for batch in batches:
            is_full = self._members + batch.num_rows > MEMBERS_PER_MESSAGE
            # Partitions share messages: with many small ones a message each would cost more than its members.
            if self._batches and (is_full or self._bytes + batch.nbytes > MEMBER_MESSAGE_BYTES):
                yield self.next_page()
            self._batches.append(batch)
            self._members += batch.num_rows
            self._bytes += batch.nbytes

    def end(self, position: ingest_pb2.PartitionPosition, *, type_mismatch: bool) -> None:
        """Marks the members of a partition as complete."""
        self._positions.append(position)
        self._type_mismatch |= type_mismatch

    def next_page(self) -> shard_pb2.ListMembersResponse:
        """All waiting members, as a message."""
        message = shard_pb2.ListMembersResponse(
            arrow=_stream(self._batches), answered=self._positions, type_mismatch=self._type_mismatch
        )
        self._batches, self._positions, self._members, self._bytes = [], [], 0, 0
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
