"""Batches of several senders as one load for the shards, and the results of each sender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from cdp.v1 import shard_pb2

from cdp_router.cluster.partitioning import split
from cdp_router.cluster.topology import ClusterFile
from cdp_router.identity.batch_links import NO_LINKS, LinkParts, earliest, ends, joined, parted
from cdp_store.arrays import I64
from cdp_store.columns.arena import HashKey
from cdp_store.identity.identity_changes import Links, encode_identity_change
from cdp_store.records.records import RecordBatch, encode_batch, join_batches

_NO_RECORDS: Final[I64] = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Said:
    """A sender's input to the shards: records, the links that these state, and links that are known to be new.

    Of a pair that is stated often, the shards get the first and the last statement only, unless `is_exact`. With
    `is_again` the links got their seats a moment ago. asked_at, seated_at: of new links, by the partition of the lower
    identifier (see CheckedAt); asked_at of links whose records were taken a moment ago, by that of the upper one.
    """

    batch: RecordBatch
    links: Links = NO_LINKS
    new_links: Links = NO_LINKS
    is_exact: bool = False
    is_again: bool = False
    asked_at: Mapping[int, int] = field(default_factory=dict)
    seated_at: Mapping[int, int] = field(default_factory=dict)

    @property
    def may_share(self) -> bool:
        """True if every record has an id: then no record is applied twice, in any company.

        An exact batch goes alone: next to batches with links left out, its records might be undecided again.
        """
        ids = self.batch.message_ids.offsets
        return not self.is_exact and bool((ids[1:] > ids[:-1]).all())


@dataclass(frozen=True, slots=True)
class Taken:
    """A sender's results.

    positions: the sequence number of each partition; errors: (record, code, message). new_links: new, and to be
    logged; refused: without a seat; unseated: of records that were taken earlier without a seat, and which may have
    one now. undecided: records, ascending, that were not taken; all of their links must be asked for first. asked_at:
    of each partition the first position at which it looked at links; taken_at: that at which it looked at records and
    took them; doubted: new links that it did not log, as their seats must be looked for.
    """

    accepted: int
    duplicates: int
    positions: Mapping[int, int]
    errors: Sequence[tuple[int, str, str]]
    new_links: Links
    refused: Links
    unseated: Links
    undecided: I64
    asked_at: Mapping[int, int]
    taken_at: Mapping[int, int]
    doubted: Links

    def completed(self, later: Taken, key: HashKey) -> Taken:
        """These results with those of the undecided records, after all their links were sent."""
        assert not len(later.undecided), "all their links were sent"
        records = self.undecided.tolist()
        return Taken(
            self.accepted + later.accepted,
            self.duplicates + later.duplicates,
            {**self.positions, **later.positions},
            [*self.errors, *((records[record], code, message) for record, code, message in later.errors)],
            earliest(joined((self.new_links, later.new_links)), key),
            earliest(joined((self.refused, later.refused)), key),
            earliest(joined((self.unseated, later.unseated)), key),
            later.undecided,
            {**later.asked_at, **self.asked_at},
            {**later.taken_at, **self.taken_at},
            later.doubted,
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """Records for one partition: encoded, with their numbers in the load and the start of each batch's records."""

    encoded: bytes
    records: I64
    bounds: I64


@dataclass(frozen=True, slots=True)
class _Links:
    """The links of several senders, by partition; those of sender i begin at starts[i]."""

    key: HashKey
    starts: I64
    parts: LinkParts
    leaves_out: bool = False  # statements of a pair between the first and the last
    is_again: bool = False

    @staticmethod
    def of(links: Sequence[Links], cluster: ClusterFile) -> _Links:
        if not any(map(len, links)):
            return _Links(cluster.hash_key, np.zeros(len(links) + 1, np.int64), LinkParts(NO_LINKS, {}, {}))
        at_home = parted(joined(links), cluster.hash_key, cluster.partitions)
        return _Links(cluster.hash_key, np.cumsum([0, *map(len, links)]), at_home)

    @staticmethod
    def asked(said: Sequence[Said], cluster: ClusterFile) -> _Links:
        key = cluster.hash_key
        links = [ends(each.links, key) if len(each.links) and not each.is_exact else each.links for each in said]
        leaves_out = sum(map(len, links)) < sum(len(each.links) for each in said)
        is_again = any(each.is_again for each in said)
        return replace(_Links.of(links, cluster), leaves_out=leaves_out, is_again=is_again)

    def homes(self, number: int, at: Mapping[int, I64]) -> set[int]:
        """The partitions of one side that a sender's links concern."""
        first, stop = self.starts[number : number + 2]
        return {home for home, links in at.items() if np.any((links >= first) & (links < stop))}

    def positions(self, partition: int, at: Mapping[int, I64], told: Sequence[Mapping[int, int]]) -> list[int]:
        """For each link of one side of a partition the position that its sender knows of the partition, or 0."""
        own: I64 = np.array([each.get(partition, 0) for each in told], np.int64)
        known: list[int] = own[np.searchsorted(self.starts, at.get(partition, _NO_RECORDS), "right") - 1].tolist()
        return known

    def encoded(self, chosen: I64 | None) -> bytes:
        """Some of them as payload of a log record."""
        return b"" if chosen is None else encode_identity_change(self.parts.links.take(chosen))


@dataclass(frozen=True, slots=True)
class Load:
    """Batches of several senders as one, split by partition; the records of sender i begin at starts[i]."""

    said: Sequence[Said]
    starts: I64
    parts: Mapping[int, _Part]
    links: _Links
    new_links: _Links

    @property
    def partitions(self) -> set[int]:
        """The partitions that get any message."""
        asked, logged = self.links.parts, self.new_links.parts
        return {*self.parts, *asked.at_lower, *asked.at_upper, *logged.at_lower}

    def message(self, partition: int, epoch: int) -> shard_pb2.PartitionBatch:
        """Message to a partition: records and links to log, links to check, links that need seats there."""
        part, links, new_links = self.parts.get(partition), self.links, self.new_links
        asked_at, seated_at = [each.asked_at for each in self.said], [each.seated_at for each in self.said]
        return shard_pb2.PartitionBatch(
            partition=partition,
            batch=part.encoded if part else b"",
            epoch=epoch,
            links=new_links.encoded(new_links.parts.at_lower.get(partition)),
            asked_links=links.encoded(links.parts.at_lower.get(partition)),
            seats=links.encoded(links.parts.at_upper.get(partition)),
            leaves_out_seats=links.leaves_out,
            seats_again=links.is_again,
            links_asked_at=new_links.positions(partition, new_links.parts.at_lower, asked_at),
            links_seated_at=new_links.positions(partition, new_links.parts.at_lower, seated_at),
            seats_asked_at=links.positions(partition, links.parts.at_upper, asked_at) if any(asked_at) else (),
        )

    def concerned(self, number: int) -> set[int]:
        """The partitions that one sender's input concerns."""
        own = {partition for partition, part in self.parts.items() if part.bounds[number] < part.bounds[number + 1]}
        own |= self.links.homes(number, self.links.parts.at_lower) | self.links.homes(number, self.links.parts.at_upper)
        return own | self.new_links.homes(number, self.new_links.parts.at_lower)

    def taken(self, number: int, outcomes: Sequence[shard_pb2.PartitionOutcome]) -> Taken:
        """Results of one sender, from the outcomes of the partitions that it concerns."""
        accepted, duplicates, first = 0, 0, int(self.starts[number])
        positions, errors, undecided = dict[int, int](), list[tuple[int, str, str]](), [_NO_RECORDS]
        asked_at = {outcome.partition: outcome.asked_at for outcome in outcomes}
        # Position 0 stands for none: nothing was erased before the first record of a log.
        taken_at = {each.partition: max(1, each.asked_at) for each in outcomes if not each.undecided}
        for outcome in outcomes:
            positions[outcome.partition] = outcome.sequence
            part = self.parts.get(outcome.partition)
            if part is None:
                continue
            own = range(int(part.bounds[number]), int(part.bounds[number + 1]))
            if outcome.undecided:
                undecided.append(part.records[own.start : own.stop] - first)
                continue
            refused = [error for error in outcome.errors if error.index in own]
            known = _known(outcome, part, own)
            accepted, duplicates = accepted + len(own) - known - len(refused), duplicates + known
            errors += [(int(part.records[error.index]) - first, error.code, error.message) for error in refused]
        links, doubted = self._answered(number, outcomes), self._doubted(number, outcomes)
        records = np.sort(np.concatenate(undecided))
        return Taken(accepted, duplicates, positions, errors, *links, records, asked_at, taken_at, doubted)

    def _doubted(self, number: int, outcomes: Sequence[shard_pb2.PartitionOutcome]) -> Links:
        """A sender's new links that were not logged, because their seats must be checked."""
        parts, (first, stop) = self.new_links.parts, self.new_links.starts[number : number + 2]
        told = [parts.at_lower[each.partition][list(each.doubted)] for each in outcomes if each.doubted]
        doubted = np.concatenate([_NO_RECORDS, *told])
        return parts.links.take(doubted[(doubted >= first) & (doubted < stop)]) if doubted.size else NO_LINKS

    def _answered(self, number: int, outcomes: Sequence[shard_pb2.PartitionOutcome]) -> tuple[Links, Links, Links]:
        """A sender's new links: those with seats, those without, and those for which none was requested yet.

        Each pair occurs once.
        """
        parts, own = self.links.parts, np.arange(*self.links.starts[number : number + 2])
        if not own.size:
            return NO_LINKS, NO_LINKS, NO_LINKS
        news, forgotten, seatless, void, unseated, undecided = np.zeros((6, len(parts.links)), np.bool_)
        for outcome in outcomes:
            at_lower, at_upper = parts.at_lower.get(outcome.partition), parts.at_upper.get(outcome.partition)
            told = (
                (news, at_lower, outcome.news),
                (forgotten, at_lower, outcome.forgotten),
                (seatless, at_upper, outcome.refused),
                (void, at_upper, outcome.void),
                (unseated, at_upper, outcome.unseated),
            )
            for flags, at, numbers in told:
                if at is not None and numbers:
                    flags[at[list(numbers)]] = True
            if outcome.undecided and at_upper is not None:
                undecided[at_upper] = True  # nothing was logged, not even seats: they are requested with the records
        news &= ~undecided
        chosen = (news & ~seatless & ~void & ~unseated, news & seatless, news & unseated & ~forgotten)
        new, refused, late = (self._earliest(own[each[own]]) for each in chosen)
        return new, refused, late

    def _earliest(self, chosen: I64) -> Links:
        return earliest(self.links.parts.links.take(chosen), self.links.key) if chosen.size else NO_LINKS


def load(said: Sequence[Said], cluster: ClusterFile) -> Load:
    """One load of several senders' batches, encoded for the shards.

    Only a batch that travels alone keeps its batch id. Of several batches, every record must have an id.
    """
    batches = [each.batch for each in said]
    whole = batches[0] if len(batches) == 1 else replace(join_batches(batches), batch_id=b"")
    starts = np.cumsum([0, *map(len, batches)])
    parts = {
        partition: _Part(encode_batch(part), records, np.searchsorted(records, starts))
        for partition, (part, records) in split(whole, cluster.hash_key, cluster.partitions).items()
    }
    logged = [each.new_links for each in said]
    return Load(said, starts, parts, _Links.asked(said, cluster), _Links.of(logged, cluster))


def _known(outcome: shard_pb2.PartitionOutcome, part: _Part, own: range) -> int:
    """Number of a batch's records that a partition had accepted before."""
    if outcome.duplicates == len(part.records):
        return len(own)
    return sum(record in own for record in outcome.duplicate_records)
