"""What several senders have as one load for the shards, and what became of each one's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from cdp.v1 import shard_pb2

from cdp_router.cluster.partitioning import split
from cdp_router.cluster.topology import ClusterFile
from cdp_router.identity.batch_links import NO_LINKS, LinkParts, earliest, ends, joined, parted
from cdp_store.arrays import I64, Bools
from cdp_store.columns.arena import HashKey
from cdp_store.identity.identity_changes import Links, encode_identity_change
from cdp_store.records.records import RecordBatch, encode_batch, join_batches


@dataclass(frozen=True, slots=True)
class Said:
    """What a sender has for the shards: records, links that these say, and links that are known to be news."""

    batch: RecordBatch
    links: Links = NO_LINKS
    new_links: Links = NO_LINKS

    @property
    def may_share(self) -> bool:
        """Whether every record has an id: then nothing is taken twice, whatever it travels with."""
        ids = self.batch.message_ids.offsets
        return bool((ids[1:] > ids[:-1]).all())


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of it: the sequence number of each partition, errors as (record, code, message), links that say
    something new and are to be logged, those for which there was no seat, and those of pairs that an erasure removed.
    For these `gone` tells which records were not taken now, bool[n]: another record may say the pair anew."""

    accepted: int
    duplicates: int
    positions: Mapping[int, int]
    errors: Sequence[tuple[int, str, str]]
    new_links: Links
    refused: Links
    void: Links
    gone: Bools


@dataclass(frozen=True, slots=True)
class _Part:
    """What goes to one partition: encoded, which records of the load those are, and where each batch's begin."""

    encoded: bytes
    records: I64
    bounds: I64


@dataclass(frozen=True, slots=True)
class _Links:
    """The links of several senders, by partition; those of sender i begin at starts[i]."""

    key: HashKey
    starts: I64
    parts: LinkParts

    @staticmethod
    def of(links: Sequence[Links], cluster: ClusterFile) -> _Links:
        if not any(map(len, links)):
            return _Links(cluster.hash_key, np.zeros(len(links) + 1, np.int64), LinkParts(NO_LINKS, {}, {}))
        pairs = [ends(each, cluster.hash_key) if len(each) else each for each in links]
        at_home = parted(joined(pairs), cluster.hash_key, cluster.partitions)
        return _Links(cluster.hash_key, np.cumsum([0, *map(len, pairs)]), at_home)

    def homes(self, number: int, at: Mapping[int, I64]) -> set[int]:
        """The partitions of one side that a sender's links concern."""
        first, stop = self.starts[number : number + 2]
        return {home for home, links in at.items() if np.any((links >= first) & (links < stop))}

    def encoded(self, chosen: I64 | None) -> bytes:
        """Some of them as payload of a log record."""
        return b"" if chosen is None else encode_identity_change(self.parts.links.take(chosen))


@dataclass(frozen=True, slots=True)
class Load:
    """What several senders have, as one, split by partition; the records of sender i begin at starts[i]."""

    starts: I64
    parts: Mapping[int, _Part]
    links: _Links
    new_links: _Links

    @property
    def partitions(self) -> set[int]:
        """Those that are told anything."""
        asked, logged = self.links.parts, self.new_links.parts
        return {*self.parts, *asked.at_lower, *asked.at_upper, *logged.at_lower}

    def message(self, partition: int, epoch: int) -> shard_pb2.PartitionBatch:
        """What a partition is told: records and links to log, links it is asked about, links that want seats there."""
        part, links, new_links = self.parts.get(partition), self.links, self.new_links
        return shard_pb2.PartitionBatch(
            partition=partition,
            batch=part.encoded if part else b"",
            epoch=epoch,
            links=new_links.encoded(new_links.parts.at_lower.get(partition)),
            asked_links=links.encoded(links.parts.at_lower.get(partition)),
            seats=links.encoded(links.parts.at_upper.get(partition)),
        )

    def concerned(self, number: int) -> set[int]:
        """The partitions that one of the senders tells anything."""
        own = {partition for partition, part in self.parts.items() if part.bounds[number] < part.bounds[number + 1]}
        own |= self.links.homes(number, self.links.parts.at_lower) | self.links.homes(number, self.links.parts.at_upper)
        return own | self.new_links.homes(number, self.new_links.parts.at_lower)

    def taken(self, number: int, outcomes: Sequence[shard_pb2.PartitionOutcome]) -> Taken:
        """What became of what one of the senders has, from the outcomes of the partitions that it concerns."""
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
        new, refused_links, void = self._new_and_refused(number, outcomes)
        gone = self._gone(number, outcomes) if len(void) else np.zeros(0, np.bool_)
        return Taken(accepted, duplicates, positions, errors, new, refused_links, void, gone)

    def _gone(self, number: int, outcomes: Sequence[shard_pb2.PartitionOutcome]) -> Bools:
        """Which of a sender's records were refused, or had been taken before: bool[n]."""
        gone: Bools = np.zeros(int(self.starts[-1]), np.bool_)
        for outcome in outcomes:
            if (part := self.parts.get(outcome.partition)) is not None:
                gone[part.records[[error.index for error in outcome.errors]]] = True
                repeated = outcome.duplicates == len(part.records)
                gone[part.records if repeated else part.records[list(outcome.duplicate_records)]] = True
        return gone[int(self.starts[number]) : int(self.starts[number + 1])]

    def _new_and_refused(
        self, number: int, outcomes: Sequence[shard_pb2.PartitionOutcome]
    ) -> tuple[Links, Links, Links]:
        """Of a sender's links those that are news and have seats, that are news and have none, and that are news of
        pairs that are gone; each pair once."""
        parts, own = self.links.parts, np.arange(*self.links.starts[number : number + 2])
        if not own.size:
            return NO_LINKS, NO_LINKS, NO_LINKS
        news, seatless, void = np.zeros((3, len(parts.links)), np.bool_)
        for outcome in outcomes:
            if outcome.news:
                news[parts.at_lower[outcome.partition][list(outcome.news)]] = True
            if outcome.refused:
                seatless[parts.at_upper[outcome.partition][list(outcome.refused)]] = True
            if outcome.void:
                void[parts.at_upper[outcome.partition][list(outcome.void)]] = True
        new, refused = own[(news & ~seatless & ~void)[own]], own[(news & seatless)[own]]
        gone = own[(news & void & ~seatless)[own]]
        first = (self._earliest(each) for each in (new, refused, gone))
        new_links, refused_links, void_links = first
        return new_links, refused_links, void_links

    def _earliest(self, chosen: I64) -> Links:
        return earliest(self.links.parts.links.take(chosen), self.links.key) if chosen.size else NO_LINKS


def load(said: Sequence[Said], cluster: ClusterFile) -> Load:
    """What senders have, ready for the shards.

    Only a batch that goes alone keeps its id: of several, every record must have one.
    """
    batches = [each.batch for each in said]
    whole = batches[0] if len(batches) == 1 else replace(join_batches(batches), batch_id=b"")
    starts = np.cumsum([0, *map(len, batches)])
    parts = {
        partition: _Part(encode_batch(part), records, np.searchsorted(records, starts))
        for partition, (part, records) in split(whole, cluster.hash_key, cluster.partitions).items()
    }
    asked, logged = [each.links for each in said], [each.new_links for each in said]
    return Load(starts, parts, _Links.of(asked, cluster), _Links.of(logged, cluster))


def _known(outcome: shard_pb2.PartitionOutcome, part: _Part, own: range) -> int:
    """How many of a batch's records a partition had taken before."""
    if outcome.duplicates == len(part.records):
        return len(own)
    return sum(record in own for record in outcome.duplicate_records)
