"""Partitions that hold linked identifiers, and a mover that can be stopped between any two steps: no sockets, no files.

Each partition's log is a list; a crash throws memory away and replays it.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cdp_store.identity.admitting import to_log
from cdp_store.identity.identity_changes import (
    AllHome,
    Arrival,
    Departure,
    Farewell,
    IdentityChange,
    Links,
    Recall,
    encode_identity_change,
)
from cdp_store.identity.linked_identifiers import NOBODY
from cdp_store.ids import PartitionId, SequenceNumber, decode_identifier, encode_identifier, rank_of_kind
from cdp_store.log.format import LogRecord, RecordKind
from cdp_store.memory.digest import Digest, digest
from cdp_store.partition.partition import Partition
from cdp_store.records.records import encode_batch
from cdp_store.shard.logged import Logged, apply_logged
from tests.raw_records import Change, Event, Record, User
from tests.shards import KEY, SMALL_LAYOUT, batch_of


@dataclass(frozen=True, slots=True)
class Link:
    """Two identifiers named together at a time."""

    lower: User
    upper: User
    ts: int
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class Apart:
    """Two identifiers that do not belong together, whatever else is said."""

    lower: User
    upper: User


Said = Record | Link | Apart


@dataclass
class Partitions:
    """Some partitions with their logs."""

    count: int
    partitions: list[Partition] = field(default_factory=list)
    logs: list[list[LogRecord]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.logs = [[] for _ in range(self.count)]
        self.partitions = [self._empty(number) for number in range(self.count)]

    def _empty(self, number: int) -> Partition:
        return Partition(PartitionId(number), KEY, SMALL_LAYOUT)

    def home(self, identifier: bytes) -> int:
        """Where an identifier lives."""
        return zlib.crc32(identifier) % self.count

    def say(self, said: Said) -> None:
        """Log and apply one thing at its home."""
        match said:
            case Link(lower, upper, ts, message_id):
                claim = (encode_identifier(*lower), encode_identifier(*upper), ts, message_id.encode())
                self._link(claim[0], Links.of([claim]))
            case Apart(lower, upper):
                claim = (encode_identifier(*lower), encode_identifier(*upper), 0, b"")
                self._link(claim[0], Links.of([claim], apart=True))
            case Event() | Change():
                number = self.home(encode_identifier(*said.user))
                self._log(number, RecordKind.BATCH, encode_batch(batch_of([said])))

    def _link(self, lower: bytes, links: Links) -> None:
        number = self.home(lower)
        news = links.take(self.partitions[number].identity.claims.news(links))
        self.change(number, news)

    def change(self, number: int, change: IdentityChange) -> bool:
        """Log and apply a change of identifiers, if it means something."""
        logged = to_log(self.partitions[number].identity, change, PartitionId(number))
        if logged is None:
            return False
        self._log(number, RecordKind.IDENTITY, encode_identity_change(logged))
        return True

    def _log(self, number: int, kind: RecordKind, payload: bytes) -> None:
        sequence = SequenceNumber(self.partitions[number].sequence + 1)
        record = LogRecord(PartitionId(number), sequence, kind, payload, 0, 0)
        self.logs[number].append(record)
        apply_logged(self.partitions[number], Logged.decode(record))

    def crash(self, number: int) -> None:
        """Lose a partition's memory and replay its log."""
        self.partitions[number] = self._empty(number)
        for record in self.logs[number]:
            apply_logged(self.partitions[number], Logged.decode(record))

    def settle(self) -> None:
        """Move until nothing is left to move."""
        for _ in range(10_000):
            if not any(True for _ in self.steps()):
                return
        raise AssertionError("moving never comes to rest")

    def steps(self) -> Iterator[None]:
        """One pass of the mover over all partitions; yields after every step that did something."""
        for number in range(self.count):
            yield from self._finish(number)
            due = self.partitions[number].identity.due_moves()
            by_target: dict[int, list[tuple[bytes, bytes]]] = {}
            for move in due.departures:
                by_target.setdefault(self.home(move[1]), []).append(move)
            for to, moves in by_target.items():
                still = self.partitions[number].identity.still_due(moves)
                if self.change(number, Departure(PartitionId(to), still)):
                    yield
                    yield from self._finish(number)
            for identifier, parent in due.recalls:
                yield from self._recall(identifier, parent)

    def _finish(self, number: int) -> Iterator[None]:
        for to, opened in [*self.partitions[number].identity.transfers.open.items()]:
            if self.change(to, Arrival(PartitionId(number), opened.number, opened.parcel)):
                yield
            arrived = self.partitions[to].identity.transfers.has_received(PartitionId(number), opened.number)
            if arrived and self.change(number, Farewell(to, opened.number)):
                yield

    def _recall(self, identifier: bytes, parent: bytes) -> Iterator[None]:
        """Look for records where they went, and where they were taken on from there; twice, since they may come back
        behind the first look."""
        looks = list[list[bytes]]()
        for _ in range(2):
            seen, at = list[bytes](), parent
            while at:
                number = self.home(at)
                if self.partitions[number].identity.is_moving(identifier, parent):
                    return
                if self.change(number, Recall(identifier, parent)):
                    yield
                    return
                seen.append(at)
                at = self._place(number, at)
            looks.append(seen)
        if looks[0] == looks[1] and self.change(self.home(identifier), AllHome(identifier, parent)):
            yield

    def _place(self, number: int, identifier: bytes) -> bytes:
        names = self.partitions[number].identity.names
        entry = names.entry(identifier)
        place = NOBODY if entry is None else int(names.place.filled()[entry])
        return b"" if place == NOBODY else names.get(place)

    def digest(self) -> Digest:
        """Of everything together."""
        return sum((digest(partition.capture()) for partition in self.partitions), Digest())

    def validate(self) -> None:
        """Every structure is whole, nothing is on its way."""
        for partition in self.partitions:
            partition.validate()
            assert not partition.identity.due_moves()
            assert not partition.identity.transfers.open


def canonical(said: Sequence[Said]) -> dict[User, User]:
    """By plain reading of everything that was said: whom each linked identifier belongs to."""
    apart = {(each.lower, each.upper) for each in said if isinstance(each, Apart)}
    claims = defaultdict[User, list[tuple[tuple[int, str], int, bytes, User]]](list)
    for each in said:
        if isinstance(each, Link) and (each.lower, each.upper) not in apart:
            weight = (rank_of_kind(each.upper.kind), each.ts, encode_identifier(*each.upper), each.upper)
            claims[each.lower].append(weight)
    target = {lower: min(weights)[-1] for lower, weights in claims.items()}
    return {lower: _root(target, lower) for lower in target}


def _root(target: dict[User, User], user: User) -> User:
    while user in target:
        user = target[user]
    return user


def merged(said: Sequence[Said]) -> list[Record]:
    """The records under the identifiers of the persons they belong to, in order of time; of one instant those of lower
    rank, and of one rank those of the greater identifier, first, and those of one identifier as they arrived."""
    persons = canonical(said)
    arrived = [each for each in said if isinstance(each, Event | Change)]
    strongest_first = sorted({(rank_of_kind(each.user.kind), encode_identifier(*each.user)) for each in arrived})
    place = {identifier: -number for number, (_, identifier) in enumerate(strongest_first)}
    arrived.sort(key=lambda record: (record.ts, place[encode_identifier(*record.user)]))
    return [replace(record, user=persons.get(record.user, record.user)) for record in arrived]


def never_linked(records: Iterable[Record]) -> Digest:
    """The digest of records that came under these identifiers from the first."""
    partition = Partition(PartitionId(0), KEY, SMALL_LAYOUT)
    partition.apply(batch_of(records), SequenceNumber(1))
    return digest(partition.capture())


def people_of(partitions: Partitions) -> list[User]:
    """Everybody that a question sees, partitions read one after the other."""
    found = list[User]()
    for partition in partitions.partitions:
        view = partition.capture()
        offsets, data = view.gather_identifiers(np.flatnonzero(~view.erased()))
        texts = [data[offsets[at] : offsets[at + 1]].tobytes() for at in range(offsets.shape[0] - 1)]
        found += [User(*decode_identifier(text)) for text in texts]
    return sorted(found)
