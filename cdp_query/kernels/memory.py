"""Reading arrays by address, so that one kernel call can walk over any number of chunks.

The caller holds the arrays for as long as the kernel runs, and answers for addresses and lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from numba.core import types
from numba.extending import intrinsic


def _reader(element: types.Type) -> Callable[[int, int], int]:
    """read(address, index): element `index` of the aligned array at `address`, widened to i64."""

    def read(_typing: Any, _address: types.Type, _index: types.Type) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(arguments[0], context.get_value_type(element).as_pointer())
            value = builder.load(builder.gep(pointer, [arguments[1]], inbounds=True))
            return context.cast(builder, value, element, types.int64)

        return types.int64(types.int64, types.int64), generate

    return cast(Callable[[int, int], int], intrinsic(read))


u8_at = _reader(types.uint8)
u16_at = _reader(types.uint16)
u32_at = _reader(types.uint32)
i64_at = _reader(types.int64)
