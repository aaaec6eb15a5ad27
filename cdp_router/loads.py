"""Several batches as one load for the shards, and what became of each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from cdp.v1 import shard_pb2

from cdp_router.linking import LinkParts, earliest, joined, parted
from cdp_router.partitioning import split
from cdp_router.topology import ClusterFile
from cdp_store.arrays import I64, Bools
from cdp_store.identity.changes import Links, encode_identity_change
from cdp_store.records import RecordBatch, encode_batch, join_batches


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch: the sequence number of each partition, errors as (record, code, message), and the links
    for which there was no seat."""

    accepted: int
    duplicates: int
    positions: dict[int, int]
    errors: Sequence[tuple[int, str, str]]
    refused: Links


@dataclass(frozen=True, slots=True)
class _Part:
    """What goes to one partition: encoded, which records of the load those are, and where each batch's begin."""

    encoded: bytes
    records: I64
    bounds: I64


@dataclass(frozen=True, slots=True)
class Load:
    """Batches as one, split by partition; batch i has the records from starts[i] on, and links from link_starts[i]."""

    starts: I64
    parts: Mapping[int, _Part]
    link_starts: I64
    links: LinkParts

    @property
    def partitions(self) -> set[int]:
        """Those that are told anything."""
        return {*self.parts, *self.links.at_lower, *self.links.at_upper}

    def message(self, partition: int, epoch: int) -> shard_pb2.PartitionBatch:
        """What a partition is told: records to log, links it is asked about, links that want seats there."""
        part = self.parts.get(partition)
        return shard_pb2.PartitionBatch(
            partition=partition,
            batch=part.encoded if part else b"",
            epoch=epoch,
            asked_links=self._encoded(self.links.at_lower.get(partition)),
            seats=self._encoded(self.links.at_upper.get(partition)),
        )

    def concerned(self, number: int) -> set[int]:
        """The partitions that one of the batches tells anything."""
        own = {partition for partition, part in self.parts.items() if part.bounds[number] < part.bounds[number + 1]}
        first, stop = self.link_starts[number : number + 2]
        for homes in (self.links.at_lower, self.links.at_upper):
            own |= {home for home, links in homes.items() if np.any((links >= first) & (links < stop))}
        return own

    def taken(self, number: int, outcomes: Iterable[shard_pb2.PartitionOutcome]) -> Taken:
        """What became of one of the batches, from the outcomes of the partitions that it concerns."""
        accepted, duplicates = 0, 0
        positions, errors = dict[int, int](), list[tuple[int, str, str]]()
        for outcome in outcomes:
            positions[outcome.partition] = outcome.sequence
            part = self.parts.get(outcome.partition)
            if part is None:
                continue
            own = range(int(part.bounds[number]), int(part.bounds[number + 1]))
            refused = [error for error in outcome.errors if error.index in own]
            known = _known(outcome, part, own)
            accepted, duplicates = accepted + len(own) - known - len(refused), duplicates + known
            first = int(self.starts[number])
            errors += [(int(part.records[error.index]) - first, error.code, error.message) for error in refused]
        links, news, seatless = self._told(number, outcomes)
        return Taken(accepted, duplicates, positions, errors, links.take(news & seatless))

    def new_links(self, number: int, outcomes: Iterable[shard_pb2.PartitionOutcome]) -> Links:
        """The links of one of the batches that say something new, and have seats: they are to be logged."""
        links, news, seatless = self._told(number, outcomes)
        return links.take(news & ~seatless)

    def _told(self, number: int, outcomes: Iterable[shard_pb2.PartitionOutcome]) -> tuple[Links, Bools, Bools]:
        """A batch's links; which of them are news, and which have no seat: bool[n] each."""
        count = len(self.links.links)
        news, seatless = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        for outcome in outcomes:
            if outcome.news:
                news[self.links.at_lower[outcome.partition][list(outcome.news)]] = True
            if outcome.refused:
                seatless[self.links.at_upper[outcome.partition][list(outcome.refused)]] = True
        own = np.arange(*self.link_starts[number : number + 2])
        return self.links.links.take(own), news[own], seatless[own]

    def _encoded(self, chosen: I64 | None) -> bytes:
        return b"" if chosen is None else encode_identity_change(self.links.links.take(chosen))


def load(batches: Sequence[RecordBatch], links: Sequence[Links], cluster: ClusterFile) -> Load:
    """Batches, and what each says of identifiers, ready for the shards.

    Only a batch that goes alone keeps its id: of several, every record must have one.
    """
    whole = batches[0] if len(batches) == 1 else replace(join_batches(batches), batch_id=b"")
    starts = np.cumsum([0, *map(len, batches)])
    parts = {
        partition: _Part(encode_batch(part), records, np.searchsorted(records, starts))
        for partition, (part, records) in split(whole, cluster.hash_key, cluster.partitions).items()
    }
    pairs = [earliest(each, cluster.hash_key) if len(each) else each for each in links]
    at_home = parted(joined(pairs), cluster.hash_key, cluster.partitions)
    return Load(starts, parts, np.cumsum([0, *map(len, pairs)]), at_home)


def links_to_log(links: Links, cluster: ClusterFile) -> Mapping[int, bytes]:
    """New links, each once, as payloads of log records, by the partition where the lower identifiers live."""
    parts = parted(links, cluster.hash_key, cluster.partitions)
    return {number: encode_identity_change(links.take(chosen)) for number, chosen in parts.at_lower.items()}


def _known(outcome: shard_pb2.PartitionOutcome, part: _Part, own: range) -> int:
    """How many of a batch's records a partition had taken before."""
    if outcome.duplicates == len(part.records):
        return len(own)
    return sum(record in own for record in outcome.duplicate_records)
