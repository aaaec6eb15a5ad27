"""Erasures and suppressions that were logged after the instant of a restore: they stay in force.

A restore to an earlier instant restores neither an erased person nor a withdrawn consent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from cdp_router.erasure.begun_erasures import DOCUMENT, Begun, BegunErasures
from cdp_router.restore.restored_documents import OF_CLUSTER, Kept
from cdp_store.directory.documents import Document
from cdp_store.ids import PartitionId, decode_identifier
from cdp_store.log.controls import Erasure, Suppression
from cdp_store.partition.partition import Partition
from cdp_store.shard.logged import Logged
from cdp_store.snapshot.cold.removals import Removals


@dataclass(slots=True)
class LateErasures:
    """Erasures and suppressions logged after the instant, in the order of the logs."""

    ended: set[PartitionId] = field(default_factory=set)
    erased: set[tuple[bytes, ...]] = field(default_factory=set)
    suppressed: list[tuple[PartitionId, Suppression]] = field(default_factory=list)
    _removed: Removals = field(default_factory=Removals)

    def note(self, number: PartitionId, logged: Logged) -> None:
        """Adds a logged record of a partition after its end."""
        self.ended.add(number)
        match logged.meaning:
            case Erasure(identifiers=identifiers):
                self.erased.add(identifiers)
                self._removed.note(Erasure(identifiers), logged.sequence)
            case Suppression() as change:
                self.suppressed.append((number, change))

    def removals(self, number: PartitionId) -> Removals:
        """Removals from the cold rows of a partition whose log was read, also by changes noted from now on."""
        return self._removed if number in self.ended else Removals()

    def hold(self, partitions: Mapping[PartitionId, Partition]) -> int:
        """Applies all of them to the partitions that ended earlier; returns the number of erased profiles.

        Positions stay: nothing is logged.
        """
        erased = 0
        for number in sorted(self.ended & set(partitions)):
            partition = partitions[number]
            for identifiers in sorted(self.erased):
                erased += partition.erase(identifiers, partition.sequence)
        for number, change in self.suppressed:
            partitions[number].suppress(change, partitions[number].sequence)
        return erased

    def documents(self, kept: Kept, partitions: Iterable[Partition]) -> Kept:
        """The documents, with the erasures noted as begun if profiles were between two partitions at the instant:
        a router finishes them once those have arrived."""
        transfers = [each.identity.transfers for each in partitions]
        if not self.erased or not any(each.open or each.arriving for each in transfers):
            return kept
        own = kept.get(OF_CLUSTER, {})
        known = own.get(DOCUMENT)
        begun = BegunErasures() if known is None else msgspec.json.decode(known.content, type=BegunErasures)
        for identifiers in sorted(self.erased):
            _, begun = begun.begin(Begun(frozenset(map(decode_identifier, identifiers))))
        newer = Document(1 if known is None else known.version + 1, msgspec.json.encode(begun))
        return {**kept, OF_CLUSTER: {**own, DOCUMENT: newer}}
