"""Everything a shard holds about one person, page by page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Protocol, TypeVar

from cdp.v1 import moving_pb2, profile_pb2, query_pb2, shard_pb2

from cdp_router.contract.arrow_streams import to_stream
from cdp_router.contract.values import to_timestamp
from cdp_router.errors import RequestInvalid
from cdp_router.limits import IDENTITIES_READ_MAX
from cdp_router.records.record_tables import table_of
from cdp_router.shard.checks import check_cluster
from cdp_router.shard.shard_identity import read_identities
from cdp_store.identity.dropped import dropped_of
from cdp_store.identity.pages import Place, read_records
from cdp_store.ids import PartitionId, encode_identifier, is_identifier_kind
from cdp_store.limits import RECEIPT_ROWS, TIME_MAX_MS, TIME_MIN_MS
from cdp_store.memory.view import PartitionView
from cdp_store.partition.partition import Partition
from cdp_store.shard.store import Store

Result = TypeVar("Result")
CheckEpochs = Callable[[Iterable[tuple[int, int]]], None]


class InThread(Protocol):
    """Runs work alongside the event loop."""

    def __call__(self, work: Callable[[], Result]) -> Awaitable[Result]: ...


class ShardPeople:
    """Reads records of profiles, and their receipts."""

    def __init__(self, store: Store, check_epochs: CheckEpochs, in_thread: InThread) -> None:
        self._store, self._check_epochs, self._in_thread = store, check_epochs, in_thread

    async def read_records(self, request: shard_pb2.ReadRecordsRequest) -> shard_pb2.ReadRecordsResponse:
        """A page of everything a profile holds."""
        partition, identifier = self._owned(request), encoded(request.identifier)
        return await self._in_thread(partial(_records, partition, identifier, _place(request)))

    async def read_receipts(self, request: shard_pb2.ReadReceiptsRequest) -> shard_pb2.ReadReceiptsResponse:
        """Receipts of the records under identifiers."""
        partition, identifiers = self._owned(request), [encoded(each) for each in request.identifiers]
        if not identifiers:
            raise RequestInvalid("identifiers", "none is given")
        if not TIME_MIN_MS <= request.from_ms <= TIME_MAX_MS:
            raise RequestInvalid("from_ms", "is not between the years 1 and 9999")
        number = partition.partition
        read = partial(self._store.receipts, number, identifiers, request.from_ms, RECEIPT_ROWS)
        receipts = await self._in_thread(read)
        return shard_pb2.ReadReceiptsResponse(arrow=to_stream(receipts.rows), until_ms=receipts.until_ms)

    async def read_identities(self, request: moving_pb2.ReadIdentitiesRequest) -> moving_pb2.ReadIdentitiesResponse:
        """Reads the identities of some identifiers in several partitions."""
        check_cluster(self._store, request.cluster)
        if len(request.identifiers) > IDENTITIES_READ_MAX:
            raise RequestInvalid("identifiers", f"are more than {IDENTITIES_READ_MAX:,}")
        asked = [(each.partition, each.epoch) for each in request.partitions]
        self._check_epochs(asked)
        partitions = [self._store.partitions[PartitionId(number)] for number, _ in asked]
        identifiers = [encoded(each) for each in request.identifiers]
        found = await self._in_thread(partial(read_identities, partitions, identifiers))
        # What was read is true only of a partition that has not been released meanwhile.
        self._check_epochs(asked)  # still
        return found

    def _owned(self, request: shard_pb2.ReadRecordsRequest | shard_pb2.ReadReceiptsRequest) -> Partition:
        check_cluster(self._store, request.cluster)
        self._check_epochs([(request.partition, request.epoch)])
        return self._store.partitions[PartitionId(request.partition)]


def encoded(identifier: query_pb2.Identifier) -> bytes:
    """The encoded form of an identifier; RequestInvalid if there is none of that kind."""
    if not is_identifier_kind(identifier.kind):
        raise RequestInvalid("identifier.kind", f"{identifier.kind!r} is no name of a kind: a-z, 0-9, _")
    return encode_identifier(identifier.kind, identifier.value)


def _place(request: shard_pb2.ReadRecordsRequest) -> Place | None:
    if not request.HasField("after"):
        return None
    if not TIME_MIN_MS <= request.after.time_ms <= TIME_MAX_MS:
        raise RequestInvalid("after.time_ms", "is not between the years 1 and 9999")
    return Place(request.after.time_ms, request.after.given)


def _records(partition: Partition, identifier: bytes, after: Place | None) -> shard_pb2.ReadRecordsResponse:
    view, row, origins = partition.locate_person(identifier)
    if row is None:
        return shard_pb2.ReadRecordsResponse()
    page = read_records(view, row, after)
    records = page.records if origins is None or not len(page.records) else origins.told_apart(page.records)
    response = shard_pb2.ReadRecordsResponse(
        found=True,
        profile=profile_pb2.ExportedProfile(
            created=to_timestamp(view.times.created_ms_of(row)),
            partition=partition.partition,
            sequence=view.sequence,
            dropped=_dropped(view, row),
        ),
        arrow=to_stream(table_of(records)),
    )
    if page.after is not None:
        response.next.time_ms, response.next.given = page.after.time_ms, page.after.given
    return response


def _dropped(view: PartitionView, row: int) -> Iterator[profile_pb2.DroppedEvents]:
    for each in dropped_of(view, row, b""):
        first, last = to_timestamp(each.first_ms), to_timestamp(each.last_ms)
        yield profile_pb2.DroppedEvents(name=each.name, count=each.count, first=first, last=last)
