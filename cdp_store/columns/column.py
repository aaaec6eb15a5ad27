"""One property of a chunk in the narrowest array that loses nothing.

A column holds `values`, an unsigned or float array; entry i represents the value

    BOOL INT TIME STRING LIST    base + values[i]
    FLOAT, values integral       (base + values[i]) / 10**scale     (a decimal such as 12.95)
    FLOAT, values floating       values[i]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from cdp_store.arrays import F64, I64, U8, AnyArray, Bools
from cdp_store.kernels import sealing
from cdp_store.values import Kind, float_bits

_UNSIGNED: Final = (np.uint8, np.uint16, np.uint32)
_SCALE_MAX: Final = 4
_ALL: Final[Bools] = np.zeros(0, np.bool_)  # as a presence: every entry has a value
_MANTISSA_MAX: Final = float(1 << 31)  # beyond, a scaled decimal would be no narrower than float64 gains


@dataclass(frozen=True, slots=True)
class EventColumn:
    """Values of one property and kind over the events of a chunk.

    `present` is a bitmap (numpy little bit order), or None when every event has a value. `low` and `high`
    bound the stored `values` of the present entries.
    """

    kind: Kind
    values: AnyArray
    present: U8 | None
    base: int
    scale: int
    low: int | float
    high: int | float

    @property
    def is_decimal(self) -> bool:
        """True if floats are stored as scaled integers."""
        return self.kind is Kind.FLOAT and self.values.dtype.kind != "f"

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + (0 if self.present is None else self.present.nbytes)

    def presence(self) -> Bools | None:
        """Presence as one bool per event, or None if all are present."""
        if self.present is None:
            return None
        return np.unpackbits(self.present, count=self.values.shape[0], bitorder="little").view(np.bool_)

    def take(self, at: I64) -> EventColumn:
        """The entries at some positions, as a column."""
        present = self.present
        if present is not None:
            held = (present[at >> 3] >> (at & 7).astype(np.uint8)) & np.uint8(1)
            present = np.packbits(held, bitorder="little")
        return replace(self, values=self.values[at], present=present)

    def integers(self) -> I64:
        """The values as int64; decimals give their mantissas."""
        return self.values.astype(np.int64) + self.base

    def floats(self) -> F64:
        """The values of a FLOAT column as the float64 that arrived."""
        if self.is_decimal:
            return self.integers() / (10.0**self.scale)
        return self.values.astype(np.float64)

    def raws(self) -> I64:
        """The values in the 64-bit form of values.py."""
        return self.floats().view(np.int64) if self.kind is Kind.FLOAT else self.integers()


def narrow(kind: Kind, raws: I64, present: Bools | None) -> EventColumn:
    """Encodes raw values (values.py form) losslessly and narrowly; absent entries may hold anything."""
    given = raws if present is None else raws[present]
    bitmap = None if present is None else np.packbits(present, bitorder="little")
    if kind is Kind.FLOAT:
        return _narrow_floats(float_bits(raws), float_bits(np.ascontiguousarray(given)), present, bitmap)
    low, high = int(given.min()), int(given.max())
    return _narrow_integers(kind, raws, present, bitmap, (low, high), scale=0)


def _narrow_integers(
    kind: Kind, raws: I64, present: Bools | None, bitmap: U8 | None, bounds: tuple[int, int], scale: int
) -> EventColumn:
    low, high = bounds
    for dtype in _UNSIGNED:
        limit = int(np.iinfo(dtype).max)
        if high - low <= limit:
            base = 0 if low >= 0 and high <= limit else low
            filled = raws if present is None else np.where(present, raws, low)
            return EventColumn(kind, (filled - base).astype(dtype), bitmap, base, scale, low - base, high - base)
    filled = raws if present is None else np.where(present, raws, low)
    return EventColumn(kind, np.array(filled, np.int64), bitmap, 0, scale, low, high)


def _narrow_floats(floats: F64, given: F64, present: Bools | None, bitmap: U8 | None) -> EventColumn:
    mantissas: I64 = np.empty(floats.shape[0], np.int64)
    # The kernel is compiled for writable arrays; those read from a file are not.
    scale, low, high = sealing.decimal_scale(
        np.require(floats, requirements=("C", "W")),
        _ALL if present is None else present,
        _SCALE_MAX,
        _MANTISSA_MAX,
        mantissas,
    )
    if scale >= 0:
        return _narrow_integers(Kind.FLOAT, mantissas, present, bitmap, (int(low), int(high)), scale)
    bound = float(np.abs(given).max())
    minus_zero = bool(np.any(np.signbit(given) & (given == 0.0)))
    filled = floats if present is None else np.where(present, floats, given[0])
    values: AnyArray = filled.astype(np.float64)
    if bound <= float(np.finfo(np.float32).max):
        single = filled.astype(np.float32)
        if np.array_equal(single.astype(np.float64), filled) and not minus_zero:
            values = single
    return EventColumn(Kind.FLOAT, values, bitmap, 0, 0, float(given.min()), float(given.max()))


def column_value_bounds(column: EventColumn) -> tuple[Any, Any]:
    """Smallest and largest value that a column represents, as Python numbers."""
    if column.kind is not Kind.FLOAT:
        return column.base + int(column.low), column.base + int(column.high)
    if column.is_decimal:
        factor = 10.0**column.scale
        return (column.base + int(column.low)) / factor, (column.base + int(column.high)) / factor
    return float(column.low), float(column.high)
