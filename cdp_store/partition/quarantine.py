"""Records that broke a rule of the schema: kept as they came, with reasons, and part of no answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from cdp_store.arrays import I64, Bools
from cdp_store.errors import BatchMalformed
from cdp_store.identity.identity_changes import Links, decode_identity_change, encode_identity_change
from cdp_store.ids import SequenceNumber
from cdp_store.records.records import RecordBatch, Strings, decode_batch, encode_batch
from cdp_store.values import decoding, pack, unpack

TABLE = "quarantined"  # a file of a snapshot, next to those of identifiers
_ENTRY_BYTES: Final = 4096  # size of an entry without its content: some thirty arrays and texts
_REASON_BYTES: Final = 56  # size of a text without its characters


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Records with their numbers in the entry, the reasons why they are here, and the links they state."""

    batch: RecordBatch
    numbers: I64
    reasons: tuple[str, ...]
    links: Links

    def __len__(self) -> int:
        return len(self.batch)

    @staticmethod
    def of(batch: RecordBatch, reasons: Iterable[str], links: Links) -> Quarantined:
        """A new entry of these records."""
        return Quarantined(batch, np.arange(len(batch)), tuple(reasons), links)

    def take(self, kept: Bools) -> Quarantined:
        """Takes some of the records; all links stay, since stating a link twice has no effect."""
        at = np.flatnonzero(kept)
        return replace(
            self, batch=self.batch.take(at), numbers=self.numbers[at], reasons=tuple(self.reasons[n] for n in at)
        )

    def names(self, identifiers: Collection[bytes]) -> bool:
        """True if a record or a link names one of some identifiers."""
        # Links too: an erasure must leave no trace of a person in records about others.
        tables = (self.batch.identities, self.links.lower, self.links.upper)
        return any(table[at] in identifiers for table in tables for at in range(len(table)))

    def without(self, identifiers: Collection[bytes]) -> Quarantined:
        """The entry without the records and links of some people."""
        stays = self.take(~_among(self.batch.identities, identifiers)[self.batch.record_identities])
        gone = _among(self.links.lower, identifiers) | _among(self.links.upper, identifiers)
        return replace(stays, links=self.links.take(~gone))

    @property
    def nbytes(self) -> int:
        """Approximate memory occupied."""
        tables = (self.links.lower, self.links.upper, self.links.message_ids)
        links: int = self.links.times.nbytes + sum(table.offsets.nbytes + table.data.nbytes for table in tables)
        reasons = sum(map(len, self.reasons)) + _REASON_BYTES * len(self.reasons)
        return _ENTRY_BYTES + self.batch.nbytes + links + reasons


@dataclass(frozen=True, slots=True)
class Released:
    """Records that leave the quarantine: their numbers, by entry."""

    records: Mapping[SequenceNumber, tuple[int, ...]]


QuarantineChange = Quarantined | Released


def encode_quarantine_change(change: QuarantineChange) -> bytes:
    """Payload of a log record of kind QUARANTINE."""
    if isinstance(change, Released):
        packed: dict[str, Any] = {"released": [[sequence, list(each)] for sequence, each in change.records.items()]}
    else:
        links = encode_identity_change(change.links) if len(change.links) else b""
        numbers = change.numbers.astype(np.int64).tobytes()
        packed = {"batch": encode_batch(change.batch), "numbers": numbers, "reasons": change.reasons, "links": links}
    return pack(packed)


def decode_quarantine_change(payload: bytes) -> QuarantineChange:
    """Change that a payload encodes; BatchMalformed names the fault."""
    with decoding("quarantined records"):
        packed = unpack(payload)
        if "released" in packed:
            return Released({SequenceNumber(int(entry)): tuple(map(int, each)) for entry, each in packed["released"]})
        links = decode_identity_change(packed["links"]) if packed["links"] else Links.of([])
        if not isinstance(links, Links):
            raise TypeError("its links are something else")
        numbers: I64 = np.frombuffer(packed["numbers"], np.int64)
        found = Quarantined(decode_batch(packed["batch"]), numbers, tuple(map(str, packed["reasons"])), links)
    if not len(found) == found.numbers.shape[0] == len(found.reasons):
        raise BatchMalformed("quarantined records: their columns differ in length")
    return found


@dataclass(frozen=True, slots=True)
class Quarantine:
    """All entries of a partition by their positions; immutable: a change returns another value."""

    entries: Mapping[SequenceNumber, Quarantined] = field(default_factory=dict)
    nbytes: int = 0
    """Memory occupied, about: asked for with each entry, of which there may be very many."""

    @staticmethod
    def of(entries: Mapping[SequenceNumber, Quarantined]) -> Quarantine:
        """Quarantine that holds these entries."""
        return Quarantine(entries, sum(entry.nbytes for entry in entries.values()))

    def __len__(self) -> int:
        return sum(map(len, self.entries.values()))

    def changed(self, change: QuarantineChange, sequence: SequenceNumber) -> Quarantine:
        """The quarantine after a change that is logged at a position."""
        if isinstance(change, Quarantined):
            return Quarantine({**self.entries, sequence: change}, self.nbytes + change.nbytes)
        return self._with(lambda at, entry: entry.take(~np.isin(entry.numbers, change.records.get(at, ()))))

    def without(self, identifiers: Collection[bytes]) -> Quarantine:
        """The quarantine without records and links of some people."""
        return self._with(lambda _, entry: entry.without(identifiers) if entry.names(identifiers) else entry)

    def batches_of(self, identifiers: Collection[bytes]) -> Iterator[RecordBatch]:
        """The records under some identifiers."""
        for entry in self.entries.values():
            own = _among(entry.batch.identities, identifiers)[entry.batch.record_identities]
            if own.any():
                yield entry.batch.take(np.flatnonzero(own))

    def batches_changed(self, before: Quarantine) -> Iterator[RecordBatch]:
        """The records of entries that differ from those before."""
        # By identity: `without` returns the same entry where it took nothing out.
        return (entry.batch for at, entry in self.entries.items() if entry is not before.entries.get(at))

    def names(self, identifier: bytes) -> bool:
        """True if anything here names an identifier."""
        return self.names_any((identifier,))

    def names_any(self, identifiers: Collection[bytes]) -> bool:
        """True if anything here names one of some identifiers."""
        return any(entry.names(identifiers) for entry in self.entries.values())

    def news(self, change: Released) -> Released:
        """The part of a release that is still in quarantine."""
        here = {at: set(entry.numbers.tolist()) for at, entry in self.entries.items()}
        # Routers repeat a release: records that have left are not logged twice.
        found = {at: tuple(n for n in each if n in here.get(at, ())) for at, each in change.records.items()}
        return Released({at: each for at, each in found.items() if each})

    def identifiers(self) -> Strings:
        """All identifiers that anything here names."""
        tables = [table for each in self.entries.values() for table in (each.batch.identities, each.links.lower)]
        return Strings.of(table[at] for table in tables for at in range(len(table)))

    def to_table(self) -> pa.Table:
        """Table of the entries for a snapshot."""
        payloads = [encode_quarantine_change(entry) for entry in self.entries.values()]
        return pa.table(
            {"sequence": pa.array(list(self.entries), pa.int64()), "entry": pa.array(payloads, pa.large_binary())}
        )

    @staticmethod
    def from_table(table: pa.Table) -> Quarantine:
        """Quarantine from the output of `to_table`; BatchMalformed where an entry cannot be read."""
        entries = dict[SequenceNumber, Quarantined]()
        for row in table.to_pylist():
            entry = decode_quarantine_change(row["entry"])
            if isinstance(entry, Released):
                raise BatchMalformed("quarantined records: an entry of a snapshot is none")
            entries[SequenceNumber(row["sequence"])] = entry
        return Quarantine.of(entries)

    def _with(self, work: Callable[[SequenceNumber, Quarantined], Quarantined]) -> Quarantine:
        changed = {at: work(at, entry) for at, entry in self.entries.items()}
        # An entry without records goes with its links: these served its records only.
        return Quarantine.of({at: entry for at, entry in changed.items() if len(entry)})


def _among(table: Strings, identifiers: Collection[bytes]) -> Bools:
    return np.array([table[at] in identifiers for at in range(len(table))], np.bool_)
