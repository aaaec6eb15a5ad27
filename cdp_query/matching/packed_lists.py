"""Lists in dictionaries, msgpack back to back, and the values in them: arrays of positions, never objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cdp_query.kernels import packed
from cdp_store.arrays import I64, U8, Bools


@dataclass(frozen=True, slots=True)
class PackedValues:
    """Values at positions of some bytes; starts i64[n], -1 for no value.

    kinds u8[n] (0: none, packed.OTHER: of no kind in use), raws i64[n] and sizes i64[n] are as
    `packed.read_values` returns them.
    """

    data: U8
    starts: I64
    kinds: U8
    raws: I64
    sizes: I64

    def __len__(self) -> int:
        return int(self.starts.shape[0])

    @staticmethod
    def at(data: U8, starts: I64) -> PackedValues:
        """The values that begin at some positions."""
        count = starts.shape[0]
        kinds: U8 = np.empty(count, np.uint8)
        raws: I64 = np.empty(count, np.int64)
        sizes: I64 = np.empty(count, np.int64)
        packed.read_values(data, starts, kinds, raws, sizes)
        return PackedValues(data, starts, kinds, raws, sizes)

    def strings(self, where: I64) -> pa.Array:
        """The strings at some places, which all hold one, as a large_string array."""
        offsets: I64 = np.append(0, np.cumsum(self.sizes[where]))
        out: U8 = np.empty(int(offsets[-1]), np.uint8)
        packed.copy_spans(self.data, self.raws[where], offsets, out)
        return pa.Array.from_buffers(
            pa.large_string(), where.shape[0], [None, pa.py_buffer(offsets), pa.py_buffer(out)]
        )

    def are_any_of(self, where: I64, texts: Sequence[str]) -> Bools:
        """Mask of the strings at some places that are any of these: bool[places]."""
        starts, sizes, found = self.raws[where], self.sizes[where], np.zeros(where.shape[0], np.uint8)
        for text in texts:
            packed.equal_spans(self.data, starts, sizes, np.frombuffer(bytearray(text.encode()), np.uint8), found)
        return found.view(np.bool_)

    def field(self, name: str) -> PackedValues:
        """The field of that name of each object, or the one at the end of its dotted path."""
        found, path = self._named(self.starts, name), name.split(".")
        if len(path) > 1:
            led = np.where(found < 0, self.starts, -1)
            for step in path:
                led = self._named(led, step)
            found = np.where(found < 0, led, found)
        return PackedValues.at(self.data, found)

    def _named(self, starts: I64, name: str) -> I64:
        out: I64 = np.empty(starts.shape[0], np.int64)
        packed.find_field(self.data, starts, np.frombuffer(bytearray(name.encode()), np.uint8), out)
        return out


@dataclass(frozen=True, slots=True)
class PackedTexts:
    """Texts back to back: ends i64[n]."""

    data: U8
    ends: I64

    @staticmethod
    def of(texts: Iterable[str]) -> PackedTexts:
        """These texts."""
        encoded = [text.encode() for text in texts]
        ends: I64 = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        return PackedTexts(np.frombuffer(bytearray().join(encoded), np.uint8), ends)


@dataclass(frozen=True, slots=True)
class PackedLists:
    """Lists that begin at positions of some bytes: starts i64[n]."""

    data: U8
    starts: I64

    def __len__(self) -> int:
        return int(self.starts.shape[0])

    def sizes(self) -> I64:
        """Number of items of each."""
        found: I64 = np.empty(len(self), np.int64)
        packed.list_sizes(self.data, self.starts, found)
        return found

    def items(self) -> tuple[I64, PackedValues]:
        """(number of the list each item is of i64[m], the items), list after list."""
        sizes = self.sizes()
        starts: I64 = np.empty(int(sizes.sum()), np.int64)
        packed.item_starts(self.data, self.starts, starts)
        return np.repeat(np.arange(len(self)), sizes), PackedValues.at(self.data, starts)

    def holding(self, wanted: PackedTexts, *, every: bool) -> Bools:
        """Mask of the lists with any of some texts among their items, or with every one: bool[n]."""
        found: U8 = np.empty(len(self), np.uint8)
        packed.lists_holding(self.data, self.starts, wanted.data, wanted.ends, every, found)
        return found.view(np.bool_)

    def any_item(self, owners: I64, holds: Bools) -> Bools:
        """Mask of the lists with an item that `holds`: bool[n]; `owners` and `holds` are aligned with `items`."""
        found: Bools = np.zeros(len(self), np.bool_)
        found[owners[holds]] = True
        return found
