"""Raw records into real partitions, and questions to all of them, without sockets or logs."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from cdp_query import pipeline, tree
from cdp_query.bind.bind import Binder
from cdp_query.compiled.find_members import find_members
from cdp_query.partial import Partial, merge_all
from cdp_store.directory.shard_directory import ShardIdentity, log_path
from cdp_store.events.layout import Layout
from cdp_store.ids import PartitionId, SequenceNumber, decode_identifier, encode_identifier
from cdp_store.memory.view import PartitionView
from cdp_store.outside.sealed import key_fingerprint
from cdp_store.outside.seams import OsFiles
from cdp_store.partition.partition import Partition
from cdp_store.records.builder import BatchBuilder
from cdp_store.records.records import RecordBatch
from cdp_store.shard.salvaging import salvage_files
from tests.raw_records import Change, Event, Record, User

# Cuts a handful of events like the real one cuts thousands: dense buckets alone, sparse ones together.
SMALL_LAYOUT = Layout(4, 9)
Spread = Mapping[int, RecordBatch]  # by number of the partition
KEY = (0x0706050403020100, 0x0F0E0D0C0B0A0908)


def batch_of(records: Iterable[Record], batch_id: bytes = b"") -> RecordBatch:
    """A batch of raw records."""
    builder = BatchBuilder()
    for record in records:
        match record:
            case Event(user, name, ts, properties, message_id):
                builder.add(*user, name, ts, properties, message_id)
            case Change(user, ts, attributes, message_id):
                builder.add(*user, None, ts, attributes, message_id)
    return builder.finish(batch_id)


def filled(records: Iterable[Record]) -> Partition:
    """One partition with these records, unsealed."""
    shards = Shards()
    shards.apply(records)
    return shards.partitions[0]


class Shards:
    """A number of partitions with users spread over them by a stable hash."""

    def __init__(self, partition_count: int = 1) -> None:
        self.partitions = [Partition(PartitionId(number), KEY, SMALL_LAYOUT) for number in range(partition_count)]

    def apply(self, records: Iterable[Record]) -> None:
        """Apply records as one batch for each partition that has any."""
        self.take(self.spread(records))

    def spread(self, records: Iterable[Record]) -> Spread:
        """The records as batches by partition; any shards with as many partitions can take them."""
        parts: list[list[Record]] = [[] for _ in self.partitions]
        for record in records:
            parts[self._home(record.user)].append(record)
        return {number: batch_of(part) for number, part in enumerate(parts) if part}

    def take(self, spread: Spread) -> None:
        """Apply one batch for each partition that has any."""
        for number, batch in spread.items():
            partition = self.partitions[number]
            partition.apply(batch, SequenceNumber(partition.sequence + 1))

    def seal(self) -> None:
        """Seal everything, and compact where due."""
        for partition in self.partitions:
            partition.maintain(0)

    def capture(self) -> list[PartitionView]:
        """A view of each partition."""
        return [partition.capture() for partition in self.partitions]

    def ask(
        self, question: tree.Question, context: tree.Context, views: Sequence[PartitionView] | None = None
    ) -> Partial:
        """The merged contributions of all partitions."""
        binder = Binder(context)
        checked = pipeline.check(question, context)
        every = views or self.capture()
        # As two shards would: the first has the greater half.
        halves = every[: -(-len(every) // 2)], every[-(-len(every) // 2) :]
        return merge_all(pipeline.evaluate_all(checked, half, binder) for half in halves if half)

    def members(
        self,
        segment: tree.Node,
        context: tree.Context,
        *,
        rewritten: bool = True,
        views: Sequence[PartitionView] | None = None,
    ) -> set[User]:
        """The users of a segment; `rewritten` False leaves the rewrite rules out."""
        binder = Binder(context)
        question = pipeline.check(segment, context) if rewritten else segment
        assert not isinstance(question, tree.Funnel | tree.Breakdown | tree.Report)
        found = set[User]()
        every = views or self.capture()
        for view, mask in zip(every, find_members(question, every, binder, lambda: None).masks, strict=True):
            offsets, data = view.gather_identifiers(np.flatnonzero(mask))
            found.update(User(*decode_identifier(data[a:b].tobytes())) for a, b in pairwise(offsets))
        return found

    def _home(self, user: User) -> int:
        return zlib.crc32(encode_identifier(*user)) % len(self.partitions)


def without_log(directory: Path, identity: ShardIdentity) -> None:
    """Leave only the snapshots of a shard, and have that be meant."""
    shutil.rmtree(log_path(directory))
    salvage_files(directory, msgspec.structs.replace(identity, key=key_fingerprint(KEY, identity.cluster)), OsFiles())
