"""Columns of named values, a list per record, as one column per name and type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdp_router.contract.arrow_streams import VALUE
from cdp_router.errors import RequestInvalid
from cdp_router.limits import COLUMNS_MAX
from cdp_router.records.column_checks import FIELD, Positions, bools_of
from cdp_store.arrays import I64, Bools

_NAMES_MAX: Final = COLUMNS_MAX
_LIST: Final = "list"


@dataclass(frozen=True, slots=True)
class NamedColumn:
    """Values of one name and type, and the record of each; lists are JSON. Without values: removals."""

    name: str
    records: Positions
    values: pa.Array | None
    is_list: bool = False


@dataclass(frozen=True, slots=True)
class NamedValues:
    """The columns, and the records that have a value twice or two under one name, each with such a name."""

    columns: list[NamedColumn]
    ambiguous: dict[int, str]


def named_values(column: pa.Array) -> NamedValues:
    """A column whose type `is_values`; RequestInvalid if it cannot be read."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    owners: Positions = np.repeat(np.arange(len(column)), lengths)
    try:
        found = column.flatten().cast(VALUE)
    except pa.ArrowException as error:
        raise RequestInvalid(FIELD, f"column 'values' has type {column.type}: {error}") from error
    names = found.field("name").dictionary_encode()
    if names.null_count or len(names.dictionary) > _NAMES_MAX:
        raise RequestInvalid(FIELD, f"column 'values' has values without a name, or more than {_NAMES_MAX} names")
    codes: I64 = names.indices.to_numpy().astype(np.int64)
    texts = names.dictionary.to_pylist()
    given = np.zeros(codes.shape[0], np.int64)
    columns = list[NamedColumn]()
    for field in VALUE.names[1:]:
        values = found.field(field)
        valid = bools_of(pc.is_valid(values))
        given += valid
        for code, at in _by_code(codes, valid):
            columns.append(NamedColumn(texts[code], owners[at], values.take(pa.array(at)), field == _LIST))
    columns += [NamedColumn(texts[code], owners[at], None) for code, at in _by_code(codes, given == 0)]
    own = owners * _NAMES_MAX + codes
    pairs, counts = np.unique(own, return_counts=True)
    twice = np.concatenate((pairs[counts > 1], own[given > 1])).tolist()
    return NamedValues(columns, {pair // _NAMES_MAX: texts[pair % _NAMES_MAX] for pair in twice})


def _by_code(codes: I64, chosen: Bools) -> Iterator[tuple[int, Positions]]:
    """(code, its place among the chosen ones) of each."""
    at = np.flatnonzero(chosen)
    order = np.argsort(codes[at], kind="stable")
    ordered = codes[at][order]
    bounds = np.flatnonzero(np.diff(ordered)) + 1
    for part in np.split(order, bounds) if at.shape[0] else ():
        yield int(codes[at[part[0]]]), at[part]
