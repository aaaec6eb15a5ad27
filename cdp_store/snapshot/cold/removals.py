"""Cold rows that an erasure or retention removes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdp_store.arrays import I64, Bools
from cdp_store.ids import SequenceNumber
from cdp_store.log.controls import Erasure, Retention
from cdp_store.snapshot.cold.cold_tables import chosen, encoded_text


@dataclass(slots=True)
class Removals:
    """Removals of a partition's log: profiles by identifier and events by (name, cutoff), each with the position."""

    erased: dict[bytes, SequenceNumber] = field(default_factory=dict)
    dropped: list[tuple[str, int, SequenceNumber]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.erased or self.dropped)

    def note(self, what: Erasure | Retention, sequence: SequenceNumber) -> None:
        """Adds a logged removal at a position after all added before."""
        match what:
            case Erasure(identifiers=identifiers):
                self.erased.update(dict.fromkeys(identifiers, sequence))
            case Retention(cutoffs=cutoffs):
                self.dropped.extend((name, cutoff_ms, sequence) for name, cutoff_ms in cutoffs.items())

    def staying(self, table: pa.Table, *, is_older: bool) -> pa.Table:
        """The rows that stay; `is_older`: all rows came before every removal, whatever their sequence numbers."""
        sequences: I64 = np.full(table.num_rows, -1, np.int64) if is_older else table.column("sequence").to_numpy()
        keep = ~self._erased(table, sequences) if self.erased else np.ones(table.num_rows, np.bool_)
        if self.dropped:
            keep &= ~self._dropped(table, sequences)
        return table if keep.all() else chosen(table, keep)

    def _erased(self, table: pa.Table, sequences: I64) -> Bools:
        texts, codes = encoded_text(table, "identifier")
        wanted = pa.array(list(self.erased), pa.large_binary())
        found = pc.index_in(texts.cast(pa.large_binary()), value_set=wanted).fill_null(-1).to_numpy()
        # Position -1 is the appended one, for rows of identifiers that were not erased: nothing comes before it.
        limits: I64 = np.append(np.array(list(self.erased.values()), np.int64), np.int64(-1))
        gone: Bools = sequences < limits[found][codes]
        return gone

    def _dropped(self, table: pa.Table, sequences: I64) -> Bools:
        texts, codes = encoded_text(table, "name")
        times: I64 = table.column("time").cast(pa.int64()).to_numpy()
        gone: Bools = np.zeros(table.num_rows, np.bool_)
        for name, cutoff_ms, sequence in self.dropped:
            code = pc.index(texts, pa.scalar(name, texts.type)).as_py()
            if code >= 0:
                gone |= (codes == code) & (times < cutoff_ms) & (sequences < sequence)
        return gone
