"""Bytes eight at a time, by address, aligned or not.

The caller holds the arrays for as long as the kernel runs, and answers for addresses and lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from numba.core import types
from numba.extending import intrinsic

from cdp_store.arrays import U8
from cdp_store.kernels.jit import inlined, leaf

_WORD: Final = 8


def _word_reader() -> Callable[[int, int], int]:
    """word_at(address, offset): the eight bytes from `offset` on as one u64."""

    def read(_typing: Any, _address: types.Type, _offset: types.Type) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(builder.add(*arguments), context.get_value_type(types.uint64).as_pointer())
            # `align=1`: a text begins anywhere, and LLVM may otherwise take an aligned load for granted.
            return builder.load(pointer, align=1)

        return types.uint64(types.int64, types.int64), generate

    return cast(Callable[[int, int], int], intrinsic(read))


def _word_writer() -> Callable[[int, int, int], None]:
    """put_word(address, offset, word): writes the eight bytes from `offset` on."""

    def write(_typing: Any, _address: types.Type, _offset: types.Type, _word: types.Type) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            address, offset, word = arguments
            pointer = builder.inttoptr(builder.add(address, offset), context.get_value_type(types.uint64).as_pointer())
            builder.store(word, pointer, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.uint64), generate

    return cast(Callable[[int, int, int], None], intrinsic(write))


word_at = _word_reader()
put_word = _word_writer()


AHEAD: Final = 16  # bytes that are copied at once, whatever the length


@inlined
def copy_ahead(source: int, target: int, count: int) -> None:
    """Copies `count` bytes between addresses, and up to sixteen beyond them: most texts need no loop.

    Both must have so many more, and what follows at the target must be written afterwards.
    """
    put_word(target, 0, word_at(source, 0))
    put_word(target, _WORD, word_at(source, _WORD))
    for offset in range(AHEAD, count, _WORD):
        put_word(target, offset, word_at(source, offset))


@leaf
def copy_bytes(data: U8, start: int, count: int, out: U8, at: int) -> None:
    """out[at + i] = data[start + i] for `count` bytes; neither array is touched beyond them.

    Texts are short: a loop over bytes spends most of its time on getting ready for wide registers.
    """
    if count < _WORD:
        for i in range(count):
            out[at + i] = data[start + i]
        return
    source, target = data.ctypes.data + start, out.ctypes.data + at
    for offset in range(0, count - _WORD, _WORD):
        put_word(target, offset, word_at(source, offset))
    put_word(target, count - _WORD, word_at(source, count - _WORD))
