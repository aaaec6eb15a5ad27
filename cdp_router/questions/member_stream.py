"""Members as one Arrow IPC stream with the columns kind and id, and those of attributes, written piece by piece."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cdp.v1 import shard_pb2

from cdp_router.contract.arrow_streams import END_OF_STREAM, Pieces
from cdp_router.questions.attribute_columns import ARROW_TYPES
from cdp_store.arrays import I64, U8
from cdp_store.ids import TAGGED_KINDS, encode_identifier
from cdp_store.kernels import strings

_IDENTIFIER: Final = [("kind", pa.large_string()), ("id", pa.large_string())]

_NUMBER_OF_TAG: Final = np.full(256, len(TAGGED_KINDS), np.uint8)
_NUMBER_OF_TAG[[encode_identifier(kind, "")[0] for kind in TAGGED_KINDS]] = np.arange(len(TAGGED_KINDS))
_REPEATED_MAX: Final = 8  # arrays of a repeated kind that are kept
_CUSTOM: Final = r"(?s)^c(?P<kind>[a-z0-9_]+):(?P<id>.*)$"


class MemberStream:
    """Turns the shards' encoded identifiers into the stream clients read, without a Python object per member."""

    def __init__(self, attributes: Iterable[shard_pb2.AttributeColumn] = ()) -> None:
        columns = [(each.column, ARROW_TYPES[each.type]) for each in attributes]
        self._schema = pa.schema([*_IDENTIFIER, *columns])
        self._pieces = [memoryview(self._schema.serialize())]
        self.count = 0

    def write(self, identifiers: bytes) -> None:
        """Add a shard's Arrow stream of encoded identifiers, with the columns of attributes."""
        with pa.ipc.open_stream(identifiers) as reader:
            for batch in reader:
                self.count += len(batch)
                own = kinds_and_ids(batch.column(0).view(pa.large_string()))
                written = pa.record_batch([*own, *batch.columns[1:]], schema=self._schema).serialize()
                self._pieces.append(memoryview(written))

    def drain(self) -> Pieces:
        """Pieces written since the last call."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def finish(self) -> bytes:
        """The end of the stream, after what was not drained."""
        return b"".join((*self.drain(), END_OF_STREAM))


def kinds_and_ids(texts: pa.Array) -> list[pa.Array]:
    """The kind and the value of encoded identifiers, as `cdp_store.ids` encodes them."""
    if not len(texts):
        return [texts, texts]
    _, held, bytes_of_all = texts.buffers()
    offsets, data = np.frombuffer(held, np.int64), np.frombuffer(bytes_of_all, np.uint8)
    offsets = offsets[texts.offset : texts.offset + len(texts) + 1]
    # Of one type wherever the buffers come from: kernels are compiled for each.
    for array in (offsets, data):
        array.setflags(write=False)
    tags, ids = data[offsets[:-1]], _without_tags(offsets, data)
    if (tags == tags[0]).all():  # as nearly always
        kinds = _repeated(int(_NUMBER_OF_TAG[tags[0]]), (len(texts) - 1).bit_length()).slice(0, len(texts))
    else:
        kinds = _kinds().take(pa.array(_NUMBER_OF_TAG[tags]))
    if kinds.null_count:
        # Kinds without a tag of their own stand before the value.
        custom = pc.extract_regex(texts, _CUSTOM)
        ids = pc.if_else(pc.is_valid(kinds), ids, custom.field("id"))
        kinds = pc.coalesce(kinds, custom.field("kind"))
    return [kinds, ids]


def _without_tags(offsets: I64, data: U8) -> pa.Array:
    own: I64 = np.empty(offsets.shape[0], np.int64)
    values: U8 = np.empty(int(offsets[-1] - offsets[0]) - (offsets.shape[0] - 1), np.uint8)
    strings.drop_first_bytes(offsets, data, own, values)
    return pa.Array.from_buffers(
        pa.large_string(), offsets.shape[0] - 1, [None, pa.py_buffer(own), pa.py_buffer(values)]
    )


@lru_cache(_REPEATED_MAX)
def _repeated(number: int, bits: int) -> pa.Array:
    """A kind by its number, as many times as so many bits can count."""
    return pa.repeat(_kinds()[number], 1 << bits)


@cache
def _kinds() -> pa.Array:
    """The kinds by number, then none; made when needed, because the first array of a process loads pandas if it can."""
    return pa.array([*TAGGED_KINDS, None], pa.large_string())
