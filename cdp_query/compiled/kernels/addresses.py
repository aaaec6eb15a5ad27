"""Arrays made from addresses, so that one kernel walks over any number of chunks, blocks and columns.

The caller holds the arrays for as long as the kernel runs, and answers for addresses, types and lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from cdp_store.arrays import AnyArray

_EIGHT = 8
_Maker = Callable[[int, int], AnyArray]


def _maker(element: types.Type) -> _Maker:
    """make(address, count): the array of `count` elements at an address; it owns nothing, so nothing is counted."""
    array_type = types.Array(element, 1, "C")

    def make(_typing: Any, _address: types.Type, _count: types.Type) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            address, count = arguments
            array = make_array(array_type)(context, builder)  # type: ignore[no-untyped-call]
            size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(element)))
            data = builder.inttoptr(address, context.get_data_type(element).as_pointer())
            populate_array(array, data=data, shape=[count], strides=[size], itemsize=size, meminfo=None)  # type: ignore[no-untyped-call]
            return array._getvalue()

        return array_type(types.int64, types.int64), generate

    return cast(_Maker, intrinsic(make))


def _cycle_counter() -> Callable[[], int]:
    """cycles(): the processor's time stamp, to divide a measured time among parts."""

    def cycles(_typing: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
            counter = builder.module.declare_intrinsic("llvm.readcyclecounter", (), ir.FunctionType(ir.IntType(64), []))
            return builder.call(counter, [])

        return types.int64(), generate

    return cast(Callable[[], int], intrinsic(cycles))


def _line_fetcher() -> Callable[[int], None]:
    """prefetch(address): asks for the memory there ahead of its use; any address will do."""

    def fetch(_typing: Any, _address: types.Type) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            signature = ir.FunctionType(ir.VoidType(), (pointer, number, number, number))
            asked = builder.module.declare_intrinsic("llvm.prefetch", (pointer,), signature)
            # Read, as near as can be, data.
            builder.call(asked, [builder.inttoptr(arguments[0], pointer), number(0), number(3), number(1)])
            return context.get_dummy_value()

        return types.void(types.int64), generate

    return cast(Callable[[int], None], intrinsic(fetch))


def _bits_as_float() -> Callable[[int], float]:
    """float_of(raw): the float64 with these bits."""

    def convert(_typing: Any, _raw: types.Type) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], ir.DoubleType())

        return types.float64(types.int64), generate

    return cast(Callable[[int], float], intrinsic(convert))


def _eight_adder(element: types.Type, size: int) -> Callable[[int, int, int], None]:
    """put(target, source, number): the eight values at `source`, each plus a number, as i64 at `target`."""

    def put(_typing: Any, _target: types.Type, _source: types.Type, _number: types.Type) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            target, source, number = arguments
            stored = ir.VectorType(context.get_data_type(element), _EIGHT)
            wide = ir.VectorType(ir.IntType(64), _EIGHT)
            values = builder.load(builder.inttoptr(source, stored.as_pointer()), align=size)
            if stored != wide:
                values = builder.zext(values, wide)
            first = builder.insert_element(ir.Constant(wide, ir.Undefined), number, ir.IntType(32)(0))
            lanes = ir.Constant(ir.VectorType(ir.IntType(32), _EIGHT), [0] * _EIGHT)
            numbers = builder.shuffle_vector(first, first, lanes)
            builder.store(builder.add(values, numbers), builder.inttoptr(target, wide.as_pointer()), align=8)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), generate

    return cast(Callable[[int, int, int], None], intrinsic(put))


u8s = _maker(types.uint8)
u16s = _maker(types.uint16)
u32s = _maker(types.uint32)
i64s = _maker(types.int64)
f32s = _maker(types.float32)
f64s = _maker(types.float64)
cycles = _cycle_counter()
prefetch = _line_fetcher()
put_eight_u32 = _eight_adder(types.uint32, 4)
put_eight_i64 = _eight_adder(types.int64, 8)
float_of = _bits_as_float()
