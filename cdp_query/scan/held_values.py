"""One number per distinct value of a property, over events of several chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from cdp_store.arrays import F64, I32, I64, U8, Bools
from cdp_store.events.chunk import EventChunk
from cdp_store.values import Kind

_INTEGRAL_MAX: Final = float(1 << 63)


def held_values(events: Sequence[tuple[EventChunk, I64]], prop: int | None) -> I32:
    """The number of each event's value, or -1 for none, for events given as chunks with positions: i32[n].

    Equal values have equal numbers: an int and a float of the same value too, but never a bool and a number.
    """
    parts = [_as_held(*kinds_and_raws(chunk, positions, prop)) for chunk, positions in events]
    kinds, raws = np.concatenate([kinds for kinds, _ in parts]), np.concatenate([raws for _, raws in parts])
    values: I32 = np.full(kinds.shape[0], -1, np.int32)
    given = 0
    for kind in np.unique(kinds[kinds != Kind.UNSET]):
        held = np.flatnonzero(kinds == kind)
        distinct, numbers = np.unique(raws[held], return_inverse=True)
        values[held] = given + numbers
        given += distinct.shape[0]
    return values


def kinds_and_raws(chunk: EventChunk, positions: I64, prop: int | None) -> tuple[U8, I64]:
    """Kind u8[n] (UNSET for no value) and 64-bit form i64[n] of a property of events of a chunk."""
    kinds: U8 = np.zeros(positions.shape[0], np.uint8)
    raws: I64 = np.zeros(positions.shape[0], np.int64)
    for kind, column in chunk.variants(prop):
        presence = column.presence()
        held: Bools = np.ones(positions.shape[0], np.bool_) if presence is None else presence[positions]
        kinds[held], raws[held] = kind, column.raws()[positions][held]
    return kinds, raws


def _as_held(kinds: U8, raws: I64) -> tuple[U8, I64]:
    """Kinds and raws with a float that is a whole int64 replaced by that integer: they hold the same value."""
    floats: F64 = np.where(kinds == Kind.FLOAT, raws.view(np.float64), np.nan)
    whole = (np.floor(floats) == floats) & (floats >= -_INTEGRAL_MAX) & (floats < _INTEGRAL_MAX)
    integers = np.where(whole, floats, 0.0).astype(np.int64)
    return np.where(whole, np.uint8(Kind.INT), kinds), np.where(whole, integers, raws)
