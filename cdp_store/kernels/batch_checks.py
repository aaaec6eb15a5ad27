"""Checks of a record batch from the wire or the log: its arrays fit together and hold only values of columns."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U8, U16, U32, Bools, Int
from cdp_store.kernels.jit import kernel, leaf
from cdp_store.kernels.msgpack_tokens import (
    ARRAY,
    BEYOND,
    BINARY,
    BROKEN,
    EXTENSION,
    MAP,
    PADDING,
    read_token,
    skip_value,
)
from cdp_store.kernels.utf8 import is_utf8
from cdp_store.limits import NAMES_PER_BATCH_MAX, TIME_MAX_MS, TIME_MIN_MS
from cdp_store.values import KIND_MASK, OPERATION_SHIFT, Kind, Operation

_UNSET, _BOOL, _FLOAT, _TIME = int(Kind.UNSET), int(Kind.BOOL), int(Kind.FLOAT), int(Kind.TIME)
_STRING, _LIST = int(Kind.STRING), int(Kind.LIST)
_INT, _INCREMENT = int(Kind.INT), int(Operation.INCREMENT)
_KIND_MASK, _OPERATION_SHIFT = KIND_MASK, OPERATION_SHIFT
_LAST_OPERATION = max(int(operation) for operation in Operation)
_LAST_KIND = max(int(kind) for kind in Kind)
_LIST_BYTES_MAX = 1024  # of a list that is looked at here; longer ones are few
_ATTRIBUTES = NAMES_PER_BATCH_MAX


@leaf
def offsets_fit(offsets: U32, size: Int) -> bool:
    """Tests whether the offsets rise from 0 to `size`."""
    if offsets.shape[0] == 0 or offsets[0] != 0 or offsets[-1] != size:
        return False
    for i in range(offsets.shape[0] - 1):
        # Kernels index without checks of bounds: whatever comes from a disk or a wire is checked here, once.
        if offsets[i + 1] < offsets[i]:
            return False
    return True


@kernel
def records_fit(
    owners: U32, names: U16, times: I64, property_offsets: U32, triple_count: int, owner_count: int, name_count: int
) -> bool:
    """Tests whether the record columns are of one length, point into their tables, and have times a store can hold."""
    count = times.shape[0]
    if owners.shape[0] != count or names.shape[0] != count or property_offsets.shape[0] != count + 1:
        return False
    if not offsets_fit(property_offsets, triple_count):
        return False
    for i in range(count):
        # _ATTRIBUTES is beyond every table of names: it marks a change of attributes.
        if owners[i] >= owner_count or (names[i] >= name_count and names[i] != _ATTRIBUTES):
            return False
        if times[i] < TIME_MIN_MS or times[i] > TIME_MAX_MS:
            return False
    return True


@kernel
def triples_fit(
    names: U16, property_offsets: U32, keys: U16, kinds: U8, raws: I64, key_count: int, is_string: Bools, is_list: Bools
) -> bool:
    """Tests whether every value is one its kind allows; marks the strings that are texts, and those that are lists.

    The record columns fit. Reads each triple once: 11 bytes.
    """
    if kinds.shape[0] != keys.shape[0] or raws.shape[0] != keys.shape[0]:
        return False
    for record in range(names.shape[0]):
        for i in range(np.int64(property_offsets[record]), np.int64(property_offsets[record + 1])):
            operation, kind, raw = kinds[i] >> _OPERATION_SHIFT, kinds[i] & _KIND_MASK, raws[i]
            if keys[i] >= key_count or kind > _LAST_KIND or operation > _LAST_OPERATION:
                return False
            if operation != 0 and names[record] != _ATTRIBUTES:
                return False
            if operation == _INCREMENT and kind != _INT and kind != _FLOAT:
                return False
            if operation > _INCREMENT and kind != _LIST:
                return False
            if kind == _STRING or kind == _LIST:
                if raw < 0 or raw >= is_string.shape[0]:
                    return False
                if kind == _STRING:
                    is_string[raw] = True
                else:
                    is_list[raw] = True
            elif kind == _FLOAT:
                # NaN or infinite: no comparison could place it, and a sum with it would say nothing of the other
                # values.
                if (raw >> np.int64(52)) & np.int64(0x7FF) == 0x7FF:
                    return False
            elif kind == _BOOL:
                if raw != 0 and raw != 1:
                    return False
            elif kind == _TIME:
                if raw < TIME_MIN_MS or raw > TIME_MAX_MS:
                    return False
            elif kind == _UNSET and names[record] != _ATTRIBUTES:
                return False
    return True


@kernel
def identities_fit(offsets: U32, data: U8, tags: U8) -> bool:
    """Tests whether every identifier has one of the tags and is UTF-8. Reads each byte once."""
    for i in range(offsets.shape[0] - 1):
        start, stop = np.int64(offsets[i]), np.int64(offsets[i + 1])
        known = False
        for j in range(tags.shape[0]):
            if stop > start and data[start] == tags[j]:
                known = True
        if not known or not is_utf8(data, start, stop):
            return False
    return True


@kernel
def strings_fit(offsets: U32, data: U8, is_string: Bools, is_list: Bools) -> bool:
    """Tests whether the texts are UTF-8; clears is_list of lists that are good. The others must be decoded to know."""
    scratch = np.zeros(_LIST_BYTES_MAX + PADDING, np.uint8)
    for i in range(offsets.shape[0] - 1):
        start, stop = np.int64(offsets[i]), np.int64(offsets[i + 1])
        if is_string[i] and not is_utf8(data, start, stop):
            return False
        if is_list[i] and stop - start <= _LIST_BYTES_MAX:
            # Copied in front of padding: the reader of tokens reads a head before it knows that it is whole.
            scratch[: stop - start] = data[start:stop]
            is_list[i] = not _is_plain_list(scratch, stop - start)
    return True


@leaf
def _is_plain_list(data: U8, size: Int) -> bool:
    """Tests whether data[:size] is a msgpack array of scalars that every reader decodes."""
    kind, count, at = read_token(data, 0)
    if kind != ARRAY or size == 0:
        return False
    for _ in range(count):
        kind, _number, _body = read_token(data, at)
        if kind == ARRAY or kind == MAP or kind == EXTENSION or kind == BINARY or kind == BEYOND:
            return False
        at = skip_value(data, at, size)
        if at == BROKEN:
            return False
    return bool(at == size)
