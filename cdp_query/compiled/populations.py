"""The population of a question in each partition: the rows that a question is about."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np

from cdp_query.compiled.descriptors import address_of, created_table
from cdp_query.compiled.kernels.population import ROWS_FIELDS, mark_created
from cdp_query.tree import Context
from cdp_store.arrays import I64, U8, Bools
from cdp_store.ids import ANONYMOUS_ID
from cdp_store.limits import MORSEL_ROWS
from cdp_store.memory.view import PartitionView

_ROWS: Final = struct.Struct(f"={ROWS_FIELDS}q")


def populations_of(views: Sequence[PartitionView], context: Context) -> list[Bools | None]:
    """U of semantics.md in each partition: bool[row_count]; None if that is every row."""
    every = [context.include_anonymous and _all_exist(view, context.as_of_ms) for view in views]
    asked = [view for view, is_every in zip(views, every, strict=True) if not is_every]
    if not asked:
        return [None] * len(views)
    tables = [created_table(view) for view in asked]
    rows = [
        _ROWS.pack(address_of(table.rows), address_of(view.hidden), view.hidden.shape[0], view.row_count)
        for view, table in zip(asked, tables, strict=True)
    ]
    partitions: I64 = np.frombuffer(bytearray().join(rows), np.int64)
    mask: U8 = np.empty(sum([view.row_count for view in asked]), np.uint8)
    scratch: U8 = np.empty(MORSEL_ROWS, np.uint8)
    mark_created(partitions.reshape(-1, ROWS_FIELDS), context.as_of_ms, scratch, mask)
    found, created, first = list[Bools | None](), mask.view(np.bool_), 0
    for view, is_every in zip(views, every, strict=True):
        if is_every:
            found.append(None)
            continue
        own = created[first : first + view.row_count]
        first += view.row_count
        found.append(own if context.include_anonymous else own & ~view.named_by(ANONYMOUS_ID))
    return found


def population_of(view: PartitionView, context: Context) -> Bools | None:
    """That of one partition."""
    return populations_of([view], context)[0]


def _all_exist(view: PartitionView, instant_ms: int) -> bool:
    latest_ms = [morsel.latest_created_ms for morsel in view.times.morsels]
    return not view.hidden.size and max(latest_ms, default=instant_ms) <= instant_ms
