"""Values of one kind in one morsel: narrow, with presence, changed in place until a reader holds them."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U8, U16, AnyArray, Bools
from cdp_store.columns.column import EventColumn, narrow
from cdp_store.columns.growable import resident_bytes, zeroed
from cdp_store.kernels import bits
from cdp_store.limits import BLOCK_ROWS_MIN
from cdp_store.values import Kind, float_bits


class ValueBlock:
    """Values of rows, encoded like an event column; a value that does not fit re-encodes the whole block.

    Arrays returned by `reading` never change: the next write copies them.
    """

    __slots__ = ("_base", "_count", "_high", "_low", "_present", "_scale", "_shared", "_values", "kind")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._values: AnyArray = np.zeros(0, np.uint8)
        self._present: U8 = np.zeros(0, np.uint8)
        self._count = self._base = self._scale = 0
        self._low: int | float = 0
        self._high: int | float = 0
        self._shared = False

    @classmethod
    def of(cls, column: EventColumn) -> ValueBlock:
        """A block of the values of a column, entry i for row i."""
        block, rows, presence = cls(column.kind), column.values.shape[0], column.presence()
        capacity = max(BLOCK_ROWS_MIN, 1 << (rows - 1).bit_length())
        block._values = zeroed(capacity, column.values.dtype)
        block._values[:rows] = column.values
        held: Bools = np.zeros(capacity, np.bool_)
        held[:rows] = True if presence is None else presence
        block._present, block._count = np.packbits(held, bitorder="little"), int(np.count_nonzero(held))
        block._base, block._scale, block._low, block._high = column.base, column.scale, column.low, column.high
        return block

    def __len__(self) -> int:
        """Number of rows with a value."""
        return self._count

    def has(self, local: U16) -> Bools:
        """Mask of these rows that have a value: bool[n]."""
        held: Bools = np.zeros(local.shape[0], np.bool_)
        inside = local < self._values.shape[0]
        rows = local if inside.all() else local[inside]
        held[inside] = (self._present[rows >> np.uint16(3)] >> (rows & np.uint16(7)).astype(np.uint8)) & np.uint8(1)
        return held

    def raws(self, local: U16) -> I64:
        """Values of rows that have one, in the form of values.py."""
        return self._column(self._values[local], None).raws()

    def put(self, local: U16, raws: I64) -> None:
        """Gives values to rows, each named once."""
        stored = self._stored(raws)
        rows = int(local.max()) + 1
        if stored is None:
            self._encode(local, raws, rows)
        else:
            self._make_writable(rows)
            self._values[local] = stored
            self._low = min(self._low, stored.min().item())
            self._high = max(self._high, stored.max().item())
        self._count += bits.set_bits(self._present, local)

    def clear(self, local: U16) -> None:
        """Removes the values of rows."""
        held = local[self.has(local)]
        if held.size:
            self._make_writable(0)
            self._count -= bits.clear_bits(self._present, held)

    def reading(self, rows: int) -> EventColumn | None:
        """The values of the first `rows` rows, or None if there are none.

        The bounds cover all values, and perhaps removed ones.
        """
        if not self._count:
            return None
        self._shared = True
        covered = min(rows, self._values.shape[0])
        present = None if self._count == covered else self._present[: (covered + 7) >> 3]
        return self._column(self._values[:covered], present)

    @property
    def nbytes(self) -> int:
        """Memory occupied."""
        return resident_bytes(self._values, self._rows_used()) + self._present.nbytes

    def _rows_used(self) -> int:
        used = np.flatnonzero(self._present)
        return 0 if not used.size else min((int(used[-1]) + 1) * 8, self._values.shape[0])

    def _column(self, values: AnyArray, present: U8 | None) -> EventColumn:
        return EventColumn(
            kind=self.kind,
            values=values,
            present=present,
            base=self._base,
            scale=self._scale,
            low=self._low,
            high=self._high,
        )

    def _stored(self, raws: I64) -> AnyArray | None:
        """The values in the block's encoding, or None if it cannot hold them all."""
        if not self._count:
            return None
        if self.kind is Kind.FLOAT:
            return self._stored_floats(raws)
        if self._values.dtype == np.int64:
            return raws
        low, high = int(raws.min()) - self._base, int(raws.max()) - self._base
        if low < 0 or high > np.iinfo(self._values.dtype).max:
            return None
        return (raws - self._base).astype(self._values.dtype)

    def _stored_floats(self, raws: I64) -> AnyArray | None:
        floats, dtype = float_bits(raws), self._values.dtype
        if dtype == np.float64:
            return floats
        stored: AnyArray
        if dtype == np.float32:
            with np.errstate(over="ignore"):
                stored = floats.astype(np.float32)
        else:
            with np.errstate(over="ignore"):
                mantissas = np.rint(floats * 10.0**self._scale) - self._base
            info = np.iinfo(dtype)
            if not (mantissas.min() >= max(info.min, -(1 << 53)) and mantissas.max() <= min(info.max, 1 << 53)):
                return None
            stored = mantissas.astype(dtype)
        return stored if np.array_equal(self._column(stored, None).raws(), raws) else None

    def _encode(self, local: U16, raws: I64, rows: int) -> None:
        """Encodes all values again, `raws` at `local` included."""
        capacity = max(BLOCK_ROWS_MIN, 1 << (rows - 1).bit_length(), self._values.shape[0])
        whole: I64 = np.zeros(capacity, np.int64)
        given: Bools = np.zeros(capacity, np.bool_)
        if self._count:
            own = self._values.shape[0]
            whole[:own] = self._column(self._values, None).raws()
            given[:own] = np.unpackbits(self._present, bitorder="little").view(np.bool_)
        whole[local] = raws
        given[local] = True
        used = int(np.flatnonzero(given)[-1]) + 1
        column = narrow(self.kind, whole[:used], None if given[:used].all() else given[:used])
        self._values = zeroed(capacity, column.values.dtype)
        self._values[:used] = column.values
        self._base, self._scale, self._low, self._high = column.base, column.scale, column.low, column.high
        present: U8 = np.zeros(capacity >> 3, np.uint8)
        present[: self._present.shape[0]] = self._present
        self._present, self._shared = present, False

    def _make_writable(self, rows: int) -> None:
        """Makes the arrays unshared, with room for `rows` rows."""
        own = self._values.shape[0]
        if not self._shared and own >= rows:
            return
        capacity = max(own, 1 << (rows - 1).bit_length()) if rows > own else own
        values = zeroed(capacity, self._values.dtype)
        used = self._rows_used()
        values[:used] = self._values[:used]
        present: U8 = np.zeros(capacity >> 3, np.uint8)
        present[: self._present.shape[0]] = self._present
        self._values, self._present, self._shared = values, present, False
