"""Current attribute values: one typed, dense column per attribute and kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from cdp_store.arrays import I32, I64, U8, U16, U32, AnyArray, Bools
from cdp_store.blocks import BlockColumn, Blocks, by_morsel, smallest_integer_dtype
from cdp_store.kernels import changes
from cdp_store.limits import MORSEL_BITS, MORSEL_ROWS, TIME_MIN_MS
from cdp_store.values import Kind, float_bits

_NEVER: Final = TIME_MIN_MS - 1
_NARROWEST: Final[dict[Kind, npt.DTypeLike]] = {
    Kind.BOOL: np.uint8,
    Kind.INT: np.int8,
    Kind.FLOAT: np.float32,
    Kind.STRING: np.uint8,
    Kind.LIST: np.uint8,
    Kind.TIME: np.int64,
}


@dataclass(frozen=True, slots=True)
class AttributeReading:
    """A stable reading of one attribute.

    kinds u8 by row (values.Kind; UNSET where there is no value), values by kind in their own width;
    `latest_ms` is the time of the newest change: for an instant before it the history must be asked.
    """

    kinds: Blocks
    values: Mapping[Kind, Blocks]
    latest_ms: int

    def raw(self, row: int) -> tuple[Kind, int]:
        """Kind and 64-bit form of one row's value."""
        morsel, local = row >> MORSEL_BITS, row & (MORSEL_ROWS - 1)
        kinds = self.kinds[morsel] if morsel < len(self.kinds) else None
        if kinds is None or local >= kinds.shape[0] or not kinds[local]:
            return Kind.UNSET, 0
        kind = Kind(int(kinds[local]))
        block = self.values[kind][morsel]
        assert block is not None
        return kind, int(_raws(kind, block[local : local + 1])[0])


def _raws(kind: Kind, values: AnyArray) -> I64:
    return values.astype(np.float64).view(np.int64) if kind is Kind.FLOAT else values.astype(np.int64)


class AttributeColumn:
    """The current value of one attribute for all rows, with the time it was set."""

    def __init__(self) -> None:
        self._changed = BlockColumn(np.int64, _NEVER)
        self._kinds = BlockColumn(np.uint8, Kind.UNSET)
        self._values = dict[Kind, BlockColumn]()
        self._latest_ms = _NEVER

    def apply(self, rows: U32, times: I64, kinds: U8, raws: I64) -> None:
        """Take changes in order of arrival; the latest time wins, ties go to the later arrival."""
        self._latest_ms = max(self._latest_ms, int(times.max()))
        for morsel, local, where in by_morsel(rows):
            self._apply_morsel(morsel, local, times[where], kinds[where], raws[where])

    def _apply_morsel(self, morsel: int, local: U16, times: I64, kinds: U8, raws: I64) -> None:
        room = int(local.max()) + 1
        changed = self._changed.writable(morsel, room)
        winners: Bools = np.empty(local.shape[0], np.bool_)
        last: I32 = np.empty(changed.shape[0], np.int32)
        changes.accept_latest(local, times, changed, last, winners)
        if not winners.any():
            return
        self._kinds.writable(morsel, room)[local[winners]] = kinds[winners]
        for kind in np.unique(kinds[winners]):
            if kind != Kind.UNSET:
                chosen = winners & (kinds == kind)
                self._write(Kind(kind), morsel, room, local[chosen], raws[chosen])

    def _write(self, kind: Kind, morsel: int, room: int, local: U16, raws: I64) -> None:
        column = self._values.get(kind)
        if column is None:
            column = self._values[kind] = BlockColumn(_NARROWEST[kind], 0)
        if kind is Kind.FLOAT:
            floats = float_bits(raws)
            column.writable(morsel, room, _float_dtype(floats))[local] = floats
        else:
            column.writable(morsel, room, smallest_integer_dtype(raws, signed=kind is Kind.INT))[local] = raws

    def capture(self) -> AttributeReading:
        """A reading that later changes leave alone."""
        values = {kind: column.capture() for kind, column in self._values.items()}
        return AttributeReading(self._kinds.capture(), values, self._latest_ms)

    @property
    def nbytes(self) -> int:
        return self._changed.nbytes + self._kinds.nbytes + sum(column.nbytes for column in self._values.values())


def _float_dtype(floats: npt.NDArray[np.float64]) -> npt.DTypeLike:
    with np.errstate(over="ignore"):
        single = floats.astype(np.float32)
    return np.float32 if np.array_equal(single.astype(np.float64), floats) else np.float64
