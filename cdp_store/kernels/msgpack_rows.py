"""Rows of msgpack straight into the arrays of a record batch.

A row is [name or nil, user_id, anonymous_id, time in ms, message_id, map of values]. Where both ids are given, the
second is noted separately. Rows that are valid and of the usual shape are read here. Any other row is left out and its
place noted, for the path that reports its faults.
"""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import I64, U8, U16, U32, Bools, Int
from cdp_store.kernels.interning import COUNT, Table, intern, new_table
from cdp_store.kernels.jit import kernel, leaf
from cdp_store.kernels.msgpack_tokens import (
    ARRAY,
    BOOL,
    BROKEN,
    EXTENSION,
    FLOAT,
    INT,
    MAP,
    NIL,
    SINGLE,
    STRING,
    big_endian,
    read_token,
    skip_structure,
)
from cdp_store.limits import (
    IDENTIFIER_BYTES_MAX,
    LIST_ITEMS_MAX,
    MESSAGE_ID_BYTES_MAX,
    NAME_BYTES_MAX,
    NAMES_PER_BATCH_MAX,
    NESTING_DEPTH_MAX,
    PROPERTIES_PER_RECORD_MAX,
    RECORD_BYTES_MAX,
    STRING_BYTES_MAX,
    TIME_MAX_MS,
    TIME_MIN_MS,
)
from cdp_store.values import Kind

UNUSUAL = -2
NO_SECOND = 0xFFFFFFFF
_ROW_FIELDS = 6
_ROW_BYTES_MIN = 7  # of a row that is read: its head, no name, an id of a letter, nothing else
_VALUE_BYTES_MIN = 3  # a key of a letter and a value
_ATTRIBUTES = NAMES_PER_BATCH_MAX  # the name number of a record that changes attributes
_SCALAR_BYTES = 8
_UNSET, _BOOL, _INT, _FLOAT = int(Kind.UNSET), int(Kind.BOOL), int(Kind.INT), int(Kind.FLOAT)
_STRING, _TIME, _LIST = int(Kind.STRING), int(Kind.TIME), int(Kind.LIST)
_USER_TAG, _ANONYMOUS_TAG = ord("u"), ord("a")
_DOT = ord(".")
_TIMESTAMP_TYPE = 0xFF
_SECONDS_BITS = np.int64((1 << 34) - 1)

Triples = tuple[U16, U8, I64]
Value = tuple[Int, Int, Int, Int]
Parsed = tuple[int, int, Int, int, U32, U32, U16, I64, U32, U32, U8, I64, I64, Triples, Table, Table, Table, Table]


@kernel
def read_array_head(packed: U8, end: Int) -> tuple[Int, Int]:
    """(items, position of the first) of the array that packed[:end] begins with; BROKEN items where it is none."""
    kind, count, at = read_token(packed, 0)
    return count if kind == ARRAY and at <= end else BROKEN, at


@kernel
def find_rows(packed: U8, at: Int, end: Int, starts: I64, is_text: Bools) -> int:
    """Note where each value from `at` on begins, and whether its texts are UTF-8; how many are whole.

    starts i64[rows + 1] has room for the end of the last one, is_text bool[rows].
    """
    starts[0] = at
    for row in range(is_text.shape[0]):
        stop, is_text[row] = skip_structure(packed, starts[row], end)
        if stop == BROKEN:
            return row
        starts[row + 1] = stop
    return int(is_text.shape[0])


@kernel
def parse_rows(
    packed: U8, starts: I64, is_text: Bools, end: Int, time_max: int, key0: np.uint64, key1: np.uint64
) -> Parsed:
    """Read the rows packed[starts[i]:starts[i + 1]], which padding follows; `packed` is used as scratch.

    Gives (status, records, triples, unusual rows, record identities, second identities (NO_SECOND: none), names, times,
    property offsets, message id offsets, message id bytes, position of each record, position of each unusual row,
    triples, identities, names, keys, strings). Status BROKEN: more names than a batch can number.
    """
    count = is_text.shape[0]
    # No more room is made than the bytes can need.
    room = min(count, end // _ROW_BYTES_MIN) + 1
    values_max = end // _VALUE_BYTES_MIN + 1
    identities, names = new_table(2 * room, end + 1), new_table(room, end + 1)
    keys_max = min(values_max, NAMES_PER_BATCH_MAX + 2 * PROPERTIES_PER_RECORD_MAX)
    keys = new_table(keys_max, keys_max * (NAME_BYTES_MAX + 1))
    strings = new_table(values_max, end + 1)
    tables = (identities, names, keys, strings)
    record_identities, record_names = np.empty(room, np.uint32), np.empty(room, np.uint16)
    seconds = np.empty(room, np.uint32)
    record_times, ends = np.empty(room, np.int64), np.empty(room + 1, np.uint32)
    message_ends, message_bytes = np.empty(room + 1, np.uint32), np.empty(end + 1, np.uint8)
    positions, unusual = np.empty(room, np.int64), np.empty(count, np.int64)
    triples = np.empty(values_max, np.uint16), np.empty(values_max, np.uint8), np.empty(values_max, np.int64)
    stamps, path = np.empty(keys_max, np.int64), np.empty(2 * NAME_BYTES_MAX + 2, np.uint8)
    levels = np.zeros((2, NESTING_DEPTH_MAX + 1), np.int64)
    head = np.zeros(5, np.int64)
    ends[0] = message_ends[0] = 0
    records, odd, status = 0, 0, 0
    filled: Int = 0
    for position in range(count):
        stop: Int = UNUSUAL
        if is_text[position]:
            message_at = np.int64(message_ends[records])
            body = _read_head(packed, starts[position], time_max, tables, head, message_bytes, message_at, key0, key1)
            if body != UNUSUAL:
                is_event = head[1] != _ATTRIBUTES
                stop = _read_values(
                    packed, body, filled, is_event, triples, keys, strings, stamps, position + 1, path, levels, key0,
                    key1,
                )  # fmt: skip
        # After each row, since the next could number a name beyond the 16 bits that it is stored in.
        if max(keys[0][COUNT], names[0][COUNT]) > NAMES_PER_BATCH_MAX:
            status = BROKEN
            break
        if stop == UNUSUAL:
            unusual[odd] = position
            odd += 1
            continue
        # What an unusual row has written stands behind `filled`, where the next row overwrites it.
        filled = stop
        record_identities[records], record_names[records], record_times[records] = head[0], head[1], head[2]
        seconds[records] = head[4]
        positions[records] = position
        records += 1
        ends[records] = filled
        message_ends[records] = message_ends[records - 1] + head[3]
    return (
        status, records, filled, odd, record_identities, seconds, record_names, record_times, ends, message_ends,
        message_bytes, positions, unusual, triples, identities, names, keys, strings,
    )  # fmt: skip


@leaf
def _read_head(
    packed: U8,
    at: Int,
    time_max: int,
    tables: tuple[Table, Table, Table, Table],
    head: I64,
    message_bytes: U8,
    message_at: Int,
    key0: np.uint64,
    key1: np.uint64,
) -> Int:
    """head = [identity, name, time, bytes of the message id, second identity] of the row at `at`; position of its
    values or UNUSUAL."""
    kind, size, at = read_token(packed, at)
    if kind != ARRAY or size != _ROW_FIELDS:
        return UNUSUAL
    kind, size, at = read_token(packed, at)
    name_start, name_size = at, size
    is_event = kind == STRING
    if is_event:
        at += size
    if (not is_event and kind != NIL) or (is_event and (size == 0 or size > NAME_BYTES_MAX)):
        return UNUSUAL
    kind, size, at = read_token(packed, at)
    start, stop, tag = at, at + size, _USER_TAG
    if kind == STRING:
        at += size
    elif kind != NIL:
        return UNUSUAL
    given = kind == STRING and size > 0
    kind, size, at = read_token(packed, at)
    second: Int = 0
    second_size: Int = 0
    if kind == STRING:
        if given:
            second, second_size = at, size
        else:
            start, stop, tag = at, at + size, _ANONYMOUS_TAG
            given = size > 0
        at += size
    elif kind != NIL:
        return UNUSUAL
    if not given or stop - start > IDENTIFIER_BYTES_MAX or second_size > IDENTIFIER_BYTES_MAX:
        return UNUSUAL
    kind, time_ms, at = read_token(packed, at)
    if kind != INT or time_ms < TIME_MIN_MS or time_ms > min(time_max, TIME_MAX_MS):
        return UNUSUAL
    kind, size, at = read_token(packed, at)
    if (kind != STRING and kind != NIL) or size > MESSAGE_ID_BYTES_MAX:
        return UNUSUAL
    for i in range(size):
        message_bytes[message_at + i] = packed[at + i]
    # The byte before an identifier is the end of its own head, read already: the tag takes its place.
    packed[start - 1] = tag
    head[0] = intern(tables[0], packed, start - 1, stop, key0, key1)
    head[4] = NO_SECOND
    if second_size > 0:
        packed[second - 1] = _ANONYMOUS_TAG
        head[4] = intern(tables[0], packed, second - 1, second + second_size, key0, key1)
    head[1] = _ATTRIBUTES
    if is_event:
        head[1] = intern(tables[1], packed, name_start, name_start + name_size, key0, key1)
    head[2], head[3] = time_ms, size
    return at + size


@leaf
def _read_values(
    packed: U8,
    at: Int,
    filled: Int,
    is_event: bool,
    triples: Triples,
    keys: Table,
    strings: Table,
    stamps: I64,
    stamp: Int,
    path: U8,
    levels: I64,
    key0: np.uint64,
    key1: np.uint64,
) -> Int:
    """Append the values of the map at `at` to the triples; their new number, or UNUSUAL. Nested maps give dotted keys,
    and a map among attributes its own key too, unset.

    stamps[key] = the last record that has the key: a key that comes twice makes a record unusual. levels[0] is the
    pairs left on each level, levels[1] the bytes of `path` before its keys.
    """
    kind, pairs, at = read_token(packed, at)
    if kind != MAP:
        return UNUSUAL
    depth, properties, size = 1, 0, 0
    levels[0, 1], levels[1, 1] = pairs, 0
    while depth > 0:
        if levels[0, depth] == 0:
            depth -= 1
            continue
        levels[0, depth] -= 1
        kind, length, at = read_token(packed, at)
        name_size = levels[1, depth] + length
        if kind != STRING or length == 0 or name_size > NAME_BYTES_MAX:
            return UNUSUAL
        for i in range(length):
            path[levels[1, depth] + i] = packed[at + i]
        known = keys[0][COUNT]
        key = intern(keys, path, 0, name_size, key0, key1)
        # Stamps of new keys are memory that was never written.
        if key < known and stamps[key] == stamp:
            return UNUSUAL
        stamps[key] = stamp
        at += length
        kind, pairs, body = read_token(packed, at)
        if kind == MAP:
            if depth == NESTING_DEPTH_MAX or properties == PROPERTIES_PER_RECORD_MAX:
                return UNUSUAL
            if depth == 1 and not is_event:
                # The whole of an object: it unsets the parts that it does not give.
                triples[0][filled], triples[1][filled], triples[2][filled] = key, _UNSET, 0
                filled += 1
            # Each level writes behind its own beginning, over what its last sibling left there.
            path[name_size] = _DOT
            depth += 1
            properties += 1
            levels[0, depth], levels[1, depth] = pairs, name_size + 1
            at = body
            continue
        stored, raw, value_size, at = _read_value(packed, at, strings, key0, key1)
        properties += 1
        # Counted as the other path counts, or a record's fate would depend on whether it is unusual.
        size += name_size + value_size
        if stored == UNUSUAL or properties > PROPERTIES_PER_RECORD_MAX or size > RECORD_BYTES_MAX:
            return UNUSUAL
        # A null is no property of an event, and unsets an attribute.
        if stored != _UNSET or not is_event:
            triples[0][filled], triples[1][filled], triples[2][filled] = key, stored, raw
            filled += 1
    return filled


@leaf
def _read_value(packed: U8, at: Int, strings: Table, key0: np.uint64, key1: np.uint64) -> Value:
    """(kind or UNUSUAL, raw form, bytes it counts for, position after it) of the value at `at`, which is no map."""
    kind, number, body = read_token(packed, at)
    if kind == STRING and number <= STRING_BYTES_MAX:
        return _STRING, intern(strings, packed, body, body + number, key0, key1), number, body + number
    if kind == INT:
        return _INT, number, _SCALAR_BYTES, body
    if kind == FLOAT and is_finite(number):
        return _FLOAT, number, _SCALAR_BYTES, body
    if kind == BOOL:
        return _BOOL, number, _SCALAR_BYTES, body
    if kind == NIL:
        return _UNSET, 0, _SCALAR_BYTES, body
    if kind == SINGLE:
        wide = widened(number)
        return _FLOAT if is_finite(wide) else UNUSUAL, wide, _SCALAR_BYTES, body
    if kind == EXTENSION:
        time_ms = timestamp_ms(packed, number, body)
        inside = TIME_MIN_MS <= time_ms <= TIME_MAX_MS
        return _TIME if inside else UNUSUAL, time_ms, _SCALAR_BYTES, body + number
    if kind == ARRAY and number <= LIST_ITEMS_MAX:
        stop, size = canonical_items(packed, body, number)
        if stop != UNUSUAL:
            return _LIST, intern(strings, packed, at, stop, key0, key1), size, stop
    return UNUSUAL, 0, 0, at


@leaf
def is_finite(bits: Int) -> bool:
    """Tests whether the float64 of these bits is a finite number."""
    return bool((bits >> np.int64(52)) & np.int64(0x7FF) != 0x7FF)


@leaf
def widened(bits: Int) -> Int:
    """The bits as float64 of a float32's bits; of subnormal and infinite numbers those of no finite number."""
    sign = (bits >> np.int64(31)) << np.int64(63)
    exponent = (bits >> np.int64(23)) & np.int64(0xFF)
    fraction = bits & np.int64(0x7FFFFF)
    if exponent == 0 and fraction == 0:
        return sign
    # Subnormal ones are rare enough to be left to the other path, which also refuses infinite ones and NaN.
    if exponent == 0 or exponent == 0xFF:
        return np.int64(0x7FF) << np.int64(52)
    # 896 is the difference of the two biases, 1023 - 127; 29 that of the fractions, 52 - 23.
    return sign | ((exponent + np.int64(896)) << np.int64(52)) | (fraction << np.int64(29))


@leaf
def timestamp_ms(packed: U8, size: Int, at: Int) -> Int:
    """Milliseconds of the timestamp extension at `at`; beyond all times when it is none, or finer than microseconds."""
    nanos: Int = 0
    if packed[at] != _TIMESTAMP_TYPE or (size != 5 and size != 9 and size != 13):
        return np.int64(TIME_MAX_MS) + 1
    if size == 5:
        seconds = big_endian(packed, at + 1, 4)
    elif size == 9:
        both = big_endian(packed, at + 1, 8)
        nanos = (both >> np.int64(34)) & np.int64(0x3FFFFFFF)
        seconds = both & _SECONDS_BITS
    else:
        nanos = big_endian(packed, at + 1, 4)
        seconds = big_endian(packed, at + 5, 8)
    if nanos >= 1_000_000_000 or nanos % 1000 != 0 or not -TIME_MAX_MS <= seconds <= TIME_MAX_MS:
        return np.int64(TIME_MAX_MS) + 1
    return seconds * 1000 + nanos // 1_000_000


@leaf
def canonical_items(packed: U8, at: Int, count: Int) -> tuple[Int, Int]:
    """(position after the list, bytes its items count for); UNUSUAL unless they are scalars in their shortest form."""
    start = at
    size: Int = 0
    # The head of the list must be the shortest one, too: the bytes are kept as they are.
    if packed[start - 1] != (0x90 | count) and not (count > 15 and packed[start - 3] == 0xDC):
        return UNUSUAL, 0
    for _ in range(count):
        head = np.int64(packed[at])
        kind, number, body = read_token(packed, at)
        if kind == STRING:
            long_head = 1 if number < 32 else 2 if number < 256 else 3
            # Lists are equal if their bytes are: one with a longer head than needed would be another value.
            if number > STRING_BYTES_MAX or body - at != long_head:
                return UNUSUAL, 0
            at, size = body + number, size + number
            continue
        if kind == INT:
            if body - at != 1 + integer_bytes(number) or (number >= 0 and head >= 0xD0):
                return UNUSUAL, 0
        elif not (kind == NIL or kind == BOOL or (kind == FLOAT and is_finite(number))):
            return UNUSUAL, 0
        at, size = body, size + _SCALAR_BYTES
    return at, size


@leaf
def integer_bytes(number: Int) -> Int:
    """Bytes that follow the head of an integer in its shortest form."""
    if -32 <= number < 128:
        return 0
    if number >= 0:
        return 1 if number < 1 << 8 else 2 if number < 1 << 16 else 4 if number < np.int64(1) << 32 else 8
    return 1 if number >= -128 else 2 if number >= -32768 else 4 if number >= -2147483648 else 8
