"""Dotted numbers at the beginning of strings, compared part by part: 5.9 < 5.10 = 5.10.0; other text is ignored."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdp_query.errors import QueryInvalid
from cdp_query.tree import Op
from cdp_store.arrays import I64, Bools

_PARTS_MAX: Final = 16  # bounds the table of parts that a hostile string could cause
_NUMBER: Final = r"[0-9]{1,18}"  # fits 64 bits
_DOTTED: Final = rf"{_NUMBER}(?:\.{_NUMBER}){{0,{_PARTS_MAX - 1}}}"
# Nothing that would continue the version may follow: no parts beyond the most, no part of too many digits.
_VERSION: Final = rf"(?s)^[vV]?(?P<dotted>{_DOTTED})(?:[^0-9.].*|\.(?:[^0-9].*)?)?$"
_COMPARE: Final[dict[Op, Callable[[I64], Bools]]] = {
    Op.EQ: lambda order: order == 0,
    Op.LT: lambda order: order < 0,
    Op.LE: lambda order: order <= 0,
    Op.GT: lambda order: order > 0,
    Op.GE: lambda order: order >= 0,
}


def version_decision(op: Op, version: str) -> Callable[[pa.Array], pa.Array]:
    """Test of strings (large_string in, boolean out): they begin with a version that compares so."""
    if re.fullmatch(_DOTTED, version) is None:
        raise QueryInvalid(f'{version!r} is no version; write up to {_PARTS_MAX} numbers with dots, such as "5.10.0"')
    wanted: I64 = np.array(version.split("."), np.int64)
    compare = _COMPARE[op]

    def decide(strings: pa.Array) -> pa.Array:
        dotted = pc.struct_field(pc.extract_regex(strings, _VERSION), "dotted")
        valid = np.asarray(pc.is_valid(dotted).to_numpy(zero_copy_only=False), np.bool_)
        held: Bools = np.zeros(len(strings), np.bool_)
        held[valid] = compare(_order(dotted.drop_null(), wanted))
        return pa.array(held)

    return decide


def _order(dotted: pa.Array, wanted: I64) -> I64:
    """Signs of each version compared with the wanted one: i64[n], -1, 0 or 1."""
    split = pc.split_pattern(dotted, ".")
    lengths = np.asarray(pc.list_value_length(split).to_numpy(zero_copy_only=False), np.int64)
    order: I64 = np.zeros(len(dotted), np.int64)
    if not len(dotted):
        return order
    width = max(int(lengths.max()), wanted.shape[0])
    parts: I64 = np.zeros((len(dotted), width), np.int64)
    rows = np.repeat(np.arange(len(dotted)), lengths)
    columns = np.arange(rows.shape[0]) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    parts[rows, columns] = pc.cast(split.flatten(), pa.int64()).to_numpy(zero_copy_only=False)
    other = np.zeros(width, np.int64)
    other[: wanted.shape[0]] = wanted
    for column in range(width):
        undecided = order == 0
        order[undecided] = np.sign(parts[undecided, column] - other[column])
    return order
