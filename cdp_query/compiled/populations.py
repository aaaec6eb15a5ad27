"""The population of a question in each partition: the rows that a question is about."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np

from cdp_query.compiled.descriptors import address_of, column_row
from cdp_query.compiled.kernels.layout import COLUMN_FIELDS
from cdp_query.compiled.kernels.population import MORSEL_FIELDS, ROWS_FIELDS, mark_created
from cdp_query.tree import Context
from cdp_store.arrays import I64, U8, AnyArray, Bools
from cdp_store.ids import ANONYMOUS_ID
from cdp_store.memory.view import PartitionView
from cdp_store.profiles.profile_times import MorselTimes

_CREATED: Final = "created"
_NEVER_SET: Final = bytes(8 * COLUMN_FIELDS)
_TIMES: Final = struct.Struct(f"={MORSEL_FIELDS - COLUMN_FIELDS}q")
_ROWS: Final = struct.Struct(f"={ROWS_FIELDS}q")


@dataclass(frozen=True, slots=True)
class _CreatedTable:
    """Times when the profiles of a partition were created: `row` tells of them, and `kept` are the arrays it names."""

    row: bytes
    kept: tuple[AnyArray, ...]


def populations_of(views: Sequence[PartitionView], context: Context) -> list[Bools | None]:
    """U of semantics.md in each partition: bool[row_count]; None if that is every row."""
    every = [context.include_anonymous and _all_exist(view, context.as_of_ms) for view in views]
    asked = [view for view, is_every in zip(views, every, strict=True) if not is_every]
    if not asked:
        return [None] * len(views)
    tables = [_created_table(view) for view in asked]
    partitions: I64 = np.frombuffer(bytearray().join([table.row for table in tables]), np.int64)
    mask: U8 = np.empty(sum([view.row_count for view in asked]), np.uint8)
    mark_created(partitions.reshape(-1, ROWS_FIELDS), context.as_of_ms, mask)
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


def _created_table(view: PartitionView) -> _CreatedTable:
    known = view.tables.get(_CREATED)
    if not isinstance(known, _CreatedTable):
        kept = list[AnyArray]()
        table: I64 = np.frombuffer(
            bytearray().join([_morsel_row(morsel, kept) for morsel in view.times.morsels]), np.int64
        )
        hidden = view.hidden
        row = _ROWS.pack(
            address_of(table), len(view.times.morsels), address_of(hidden), hidden.shape[0], view.row_count
        )
        made = _CreatedTable(row, (table, hidden, *kept))
        known = cast(_CreatedTable, view.tables.setdefault(_CREATED, made))
    return known


def _morsel_row(morsel: MorselTimes, kept: list[AnyArray]) -> bytes:
    column = _NEVER_SET if morsel.first_set is None else column_row(morsel.first_set)
    if morsel.created is None:
        return column + _TIMES.pack(0, 0, 0)
    rows, times = morsel.created.given()
    own: I64 = rows.astype(np.int64, copy=False)
    kept += [own, times]
    return column + _TIMES.pack(address_of(own), address_of(times), own.shape[0])
