"""Cold rows on their way into another data directory, also one with other partitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from cdp_store.arrays import U32
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.log.segment_reader import Positions
from cdp_store.records.records import Strings
from cdp_store.snapshot.arrow_tables import from_parquet, strings_of
from cdp_store.snapshot.cold.cold_tables import chosen, completed, encoded_text
from cdp_store.snapshot.cold.logged_rows import ColdSource, logged_rows
from cdp_store.snapshot.cold.removals import Removals
from cdp_store.snapshot.manifest import Manifest
from cdp_store.snapshot.places import SnapshotPlace
from cdp_store.snapshot.reader import check_file

Route = Callable[[Strings], U32]  # the new partition of each encoded identifier


@dataclass(frozen=True, slots=True)
class OldPartition:
    """Source of the cold rows of a partition: files of a snapshot, and the log after it up to `end`, without the rows
    that `later` removals cover."""

    partition: PartitionId
    place: SnapshotPlace
    snapshot: Manifest | None
    log: Path | None
    end: SequenceNumber
    later: Removals = field(default_factory=Removals)

    def tables(self, problems: list[str]) -> Iterator[pa.Table]:
        """The rows that are not removed, in order of arrival; adds unreadable places to `problems`."""
        return (self.later.staying(table, is_older=True) for table in self._tables(problems))

    def _tables(self, problems: list[str]) -> Iterator[pa.Table]:
        entries = () if self.snapshot is None else self.snapshot.partitions
        entry = next((each for each in entries if each.partition == self.partition), None)
        start = SequenceNumber(entry.cold_sequence if entry is not None else 0)
        with self._tail({self.partition: start}) as tail:
            removals = tail.removals.get(self.partition, Removals()) if tail is not None else Removals()
            if self.snapshot is not None and entry is not None:
                for name in entry.cold:
                    data = check_file(self.place, name, self.snapshot.files[name])
                    yield removals.staying(completed(from_parquet(name, data)), is_older=True)
            if tail is not None:
                yield from (table for _, table in tail.tables())
                problems.extend(tail.problems)

    def _tail(self, start: Positions) -> AbstractContextManager[ColdSource | None]:
        if self.log is None:
            return nullcontext()
        return logged_rows(self.log, start, {self.partition: self.end})


@dataclass(slots=True)
class DealtOut:
    """A ColdSource of everything in some old partitions that belongs to the new partitions `own`."""

    old: Sequence[OldPartition]
    own: frozenset[PartitionId]
    route: Route | None  # None: the partitions are the same
    removals: Mapping[PartitionId, Removals] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def tables(self) -> Iterator[tuple[PartitionId, pa.Table]]:
        """Rows by new partition, those of each person in order of arrival."""
        for old in self.old:
            if self.route is None:
                if old.partition in self.own:
                    yield from ((old.partition, table) for table in old.tables(self.problems))
                continue
            for table in old.tables(self.problems):
                yield from self._parts(table, self.route)

    def _parts(self, table: pa.Table, route: Route) -> Iterator[tuple[PartitionId, pa.Table]]:
        texts, codes = encoded_text(table, "identifier")
        if not len(texts):
            return
        partitions = route(_strings(texts))[codes]
        for number in np.unique(partitions).tolist():
            if number in self.own:
                yield PartitionId(number), chosen(table, partitions == number)

    @contextmanager
    def read(self, start: Positions, end: Positions) -> Iterator[ColdSource]:
        """The object itself, as a ColdReader: the new directory has no positions of its own yet."""
        del start, end
        yield self


def _strings(texts: pa.Array) -> Strings:
    offsets, data = strings_of(pa.table({"text": texts.cast(pa.large_string())}), "text", 0, len(texts))
    return Strings(offsets.astype(np.uint32), data)
