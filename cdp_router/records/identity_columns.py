"""Identifiers in Arrow columns: the one that names each record's profile, and the others it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cdp_router.records.column_checks import bools_of
from cdp_store.arrays import Bools
from cdp_store.ids import encode_identifier

PREFIX: Final = "identifiers."  # prefix of columns with identifiers of kinds other than user_id and anonymous_id
_TEXT: Final = pa.large_string()


@dataclass(frozen=True, slots=True)
class GivenTogether:
    """Encoded identifiers, lower and upper, that these records give together."""

    records: npt.NDArray[np.intp]
    lower: pa.Array
    upper: pa.Array


@dataclass(frozen=True, slots=True)
class Chosen:
    """The encoded identifier of each record's profile, null without one; `only_blocked` where all were blocked."""

    identifiers: pa.Array
    only_blocked: Bools
    together: list[GivenTogether]


def choose(columns: list[tuple[str, pa.Array]], which_blocked: Callable[[pa.Array], Bools]) -> Chosen:
    """Chooses an identifier among columns (kind, large strings), lowest rank first.

    `which_blocked` returns a mask of the values that identify nobody.
    """
    allowed = [_allowed(column, which_blocked) for _, column in columns]
    encoded = [_encoded(kind, column) for (kind, _), column in zip(columns, allowed, strict=True)]
    chosen = pc.coalesce(*encoded)
    given = [pc.fill_null(pc.not_equal(column, ""), False) for _, column in columns]
    any_given = np.logical_or.reduce([bools_of(each) for each in given])
    together = list[GivenTogether]()
    for column in encoded[1:]:
        records = np.flatnonzero(bools_of(pc.fill_null(pc.not_equal(column, chosen), False)))
        if records.size:
            at = pa.array(records)
            together.append(GivenTogether(records, column.take(at), chosen.take(at)))
    return Chosen(chosen, any_given & bools_of(pc.is_null(chosen)), together)


def _allowed(column: pa.Array, which_blocked: Callable[[pa.Array], Bools]) -> pa.Array:
    # The bytes under a null may be anything, even invalid text.
    names_nobody = which_blocked(column.fill_null("")) & bools_of(column.is_valid())
    return pc.if_else(pa.array(names_nobody), None, column) if names_nobody.any() else column


def _encoded(kind: str, column: pa.Array) -> pa.Array:
    prefix, separator = pa.scalar(encode_identifier(kind, "").decode(), _TEXT), pa.scalar("", _TEXT)
    return pc.binary_join_element_wise(prefix, column, separator)
