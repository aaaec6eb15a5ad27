"""Parts from which the profiles of one morsel are loaded from a snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cdp_store.arrays import I64, U16
from cdp_store.columns.column import EventColumn


@dataclass(frozen=True, slots=True)
class BlockParts:
    """The current values of an attribute: a column per kind, entry i for row i of the morsel, and the times of those
    rows that differ from the time of the row's first attributes: rows u16[n] ascending, times i64[n].
    """

    columns: Sequence[EventColumn]
    changed_rows: U16
    changed_times: I64


@dataclass(frozen=True, slots=True)
class MorselParts:
    """First times of attributes (None: never set), rows u16[n] that were created at another time than that with those
    times i64[n], and the blocks by attribute.
    """

    first_set: EventColumn | None
    created_rows: U16
    created_times: I64
    latest_created_ms: int
    blocks: Mapping[int, BlockParts]
