"""Readings of a partition: sizes, texts, and everything that a snapshot keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cdp_store.arrays import U8, AnyArray
from cdp_store.identity.identity_tables import IdentityTables
from cdp_store.identity.state import IdentityState
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.memory.view import PartitionView
from cdp_store.partition.dedupe import IdGeneration
from cdp_store.partition.quarantine import Quarantine
from cdp_store.partition.suppressions import Suppressions


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts as (offsets, bytes): encoded identifiers by structure, and the distinct strings and lists of each name."""

    identifiers: Mapping[str, tuple[AnyArray, U8]]
    values: tuple[tuple[AnyArray, U8], ...]


def texts_of(view: PartitionView, identity: IdentityState, quarantine: Quarantine) -> Texts:
    """Everything in a partition's memory that is text."""
    opened = identity.transfers.open.items()
    # Parcels and their pieces belong to no row, yet name people: a scan for remains of an erasure must see them.
    underway = {f"transfer to {to}": each.parcel.records.identities for to, each in opened}
    for source, staged in identity.transfers.arriving.items():
        underway |= {f"piece {n} from {source}": piece.identities for n, piece in enumerate(staged.pieces)}
    underway["quarantine"] = quarantine.identifiers()
    named = {"identifiers": view.identifiers, "links": identity.names.arena.filled()}
    named |= {name: (table.offsets, table.data) for name, table in underway.items()}
    return Texts(named, tuple(view.dictionary.filled(scope) for scope in view.dictionary.sizes()))


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """Sizes of one partition."""

    partition: PartitionId
    sequence: SequenceNumber
    profiles: int
    events: int
    unsealed: int
    memory: dict[str, int]


@dataclass(frozen=True, slots=True)
class PartitionExport:
    """A partition at one position of the log, as a snapshot keeps it.

    While `lineage` is unchanged and not negative, rows, names and codes keep their meaning, and new ones are only
    added.
    """

    view: PartitionView
    lineage: int
    received_ms: int
    retention_days: Mapping[str, int]
    suppressions: Suppressions
    quarantine: Quarantine
    ids: tuple[IdGeneration, ...]
    batches: tuple[tuple[bytes, SequenceNumber], ...]
    identity: IdentityTables
