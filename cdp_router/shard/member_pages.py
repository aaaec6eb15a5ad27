"""Members of a shard's partitions, one partition after the other, packed into messages of a bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from cdp.v1 import ingest_pb2, shard_pb2

from cdp_query.bind.bind import Binder
from cdp_query.bind.names import NO_NAMES, Names
from cdp_query.compiled.find_members import find_members
from cdp_query.stats import total
from cdp_query.tree import Node
from cdp_router.contract.arrow_streams import END_OF_STREAM, Pieces
from cdp_router.contract.partials import to_names
from cdp_router.limits import MEMBER_MESSAGE_BYTES, MEMBERS_AT_ONCE
from cdp_router.questions.attribute_columns import AttributeColumns
from cdp_router.rpc.threaded_calls import Checkpoint
from cdp_store.arrays import I64, Bools
from cdp_store.kernels.bits import places_of_ones
from cdp_store.memory.view import PartitionView

Page: TypeAlias = tuple[shard_pb2.ListMembersResponse, Pieces]  # a message without its Arrow stream, and the stream


@dataclass(frozen=True, slots=True)
class FoundMembers:
    """The members of a segment in some partitions, all of one moment: masks bool[row_count]."""

    views: Sequence[tuple[ingest_pb2.PartitionPosition, PartitionView]]
    masks: Sequence[Bools]
    attributes: Sequence[shard_pb2.AttributeColumn]
    as_of_ms: int
    names: Names
    type_mismatch: bool  # some value had another type than requested

    @staticmethod
    def of(
        segment: Node,
        views: Sequence[tuple[ingest_pb2.PartitionPosition, PartitionView]],
        binder: Binder,
        attributes: Sequence[shard_pb2.AttributeColumn],
        checkpoint: Checkpoint,
    ) -> FoundMembers:
        """Evaluates a segment on views."""
        found = find_members(segment, [view for _, view in views], binder, checkpoint)
        mismatch = total(found.stats).type_mismatch > 0
        return FoundMembers(views, found.masks, attributes, binder.context.as_of_ms, binder.names(segment), mismatch)

    def messages(self) -> Iterator[Page]:
        """The members as messages to send, one partition after the other; the last may have none."""
        pages = _Pages(type_mismatch=self.type_mismatch)
        for (position, view), mask in zip(self.views, self.masks, strict=True):
            columns = AttributeColumns.of(view, self.attributes, self.as_of_ms)
            rows = places_of_ones(mask.view(np.uint8))
            for start in range(0, rows.shape[0], MEMBERS_AT_ONCE):
                some = columns.pieces(rows[start : start + MEMBERS_AT_ONCE])
                yield from pages.add(_batch(view, piece, values) for piece, values in some)
            pages.end(position, self.names.known_to(view.schema))
        yield pages.next_page()


def _batch(view: PartitionView, rows: I64, columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
    offsets, data = view.gather_identifiers(rows)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    identifiers = pa.Array.from_buffers(pa.large_binary(), rows.shape[0], buffers)
    return pa.record_batch([identifiers, *columns.values()], names=["identifier", *columns])


@dataclass(slots=True)
class _Pages:
    """Queue of messages to send: batches of members, and the positions of partitions that end with them."""

    type_mismatch: bool
    _batches: list[pa.RecordBatch] = field(default_factory=list)
    _positions: list[ingest_pb2.PartitionPosition] = field(default_factory=list)
    _known: Names = NO_NAMES
    _bytes: int = 0

    def add(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Page]:
        """Adds some members of a partition; yields the messages that become full first."""
        for batch in batches:
            # Partitions share messages: with many small ones a message each would cost more than its members.
            if self._batches and self._bytes + batch.nbytes > MEMBER_MESSAGE_BYTES:
                yield self.next_page()
            self._batches.append(batch)
            self._bytes += batch.nbytes

    def end(self, position: ingest_pb2.PartitionPosition, known: Names) -> None:
        """Marks the members of a partition as complete; `known` are names of the segment that it knows."""
        self._positions.append(position)
        self._known = self._known.merge(known)

    def next_page(self) -> Page:
        """All waiting members, as a message."""
        message = shard_pb2.ListMembersResponse(answered=self._positions, type_mismatch=self.type_mismatch)
        if self._positions:
            message.known.CopyFrom(to_names(self._known))
        page = message, _stream(self._batches)
        self._batches, self._positions, self._known, self._bytes = [], [], NO_NAMES, 0
        return page


def _stream(batches: list[pa.RecordBatch]) -> Pieces:
    if not batches:
        return ()
    # One batch, whatever number of partitions: each costs the router as much as some hundred members.
    whole = pa.concat_batches(batches)
    return memoryview(whole.schema.serialize()), memoryview(whole.serialize()), END_OF_STREAM
