"""msgpack rows read by the kernel and by Python: the same records, the same errors, from whatever bytes."""

from __future__ import annotations

import itertools
import math
import random
import struct
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgpack
import msgspec
import numpy as np
import pytest
from cdp.v1 import ingest_pb2
from hypothesis import given
from hypothesis import strategies as st

from cdp_router.errors import RecordInvalid, RequestInvalid
from cdp_router.limits import ROWS_BYTES_MAX, ROWS_RECORDS_MAX
from cdp_router.records.blocklist import Blocked
from cdp_router.records.columnarise import columnarise
from cdp_router.records.columnarised import Columnarised, RowColumns
from cdp_router.records.msgpack_rows import ReadRows, find_rows, read_msgpack_rows
from cdp_router.records.unusual_rows import as_row
from cdp_router.records.validation import Row
from cdp_store.limits import NAMES_PER_BATCH_MAX, STRING_BYTES_MAX
from cdp_store.records.records import RecordBatch, check_batch
from tests.router.batch_contents import contents
from tests.router.encodings import DAY_MS
from tests.router.local_cluster import NOW_MS

Seed = st.integers(0, 1 << 40)


class Pairs(NamedTuple):
    """A map as it is written: keys may come twice and be anything."""

    items: list[tuple[Any, Any]]


class Written(NamedTuple):
    """Bytes that stand for themselves."""

    data: bytes


def _outcome(columnarised: Columnarised) -> Any:
    check_batch(columnarised.batch)
    errors = [(error.index, error.code) for error in columnarised.errors]
    return contents(columnarised.batch), columnarised.positions.tolist(), errors


def msgpack_rows(packed: bytes) -> list[Row | RecordInvalid]:
    """The rows of an array, each decoded by itself as long as the bytes are msgpack; RequestInvalid for the rest."""
    starts, promised = _starts(packed)
    if promised and len(starts) == 1:
        raise RequestInvalid("batch.msgpack_rows", "the first record cannot be read")
    if len(starts) == promised + 1 and starts[-1] != len(packed):
        raise RequestInvalid("batch.msgpack_rows", "more follows")
    rows = [_decoded(packed[start:stop]) for start, stop in itertools.pairwise(starts)]
    return rows + [RecordInvalid("RECORD_MALFORMED", "lost")] * (promised - len(rows))


def _decoded(packed: bytes) -> Row | RecordInvalid:
    try:
        try:
            return as_row(msgspec.msgpack.decode(packed))
        except UnicodeDecodeError:
            return as_row(msgpack.unpackb(packed, unicode_errors="surrogateescape", strict_map_key=False, timestamp=3))
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError, OverflowError) as error:
        return RecordInvalid("RECORD_MALFORMED", str(error))


def _starts(packed: bytes) -> tuple[list[int], int]:
    """Where each whole item of an array begins, and the end of the last; the number of items it promises."""
    kind, promised, at = _head_at(packed, 0)
    if kind != "array" or promised > ROWS_RECORDS_MAX:
        raise RequestInvalid("batch.msgpack_rows", "no array of records")
    starts = [at]
    while len(starts) <= promised and (at := _skipped(packed, at)) >= 0:
        starts.append(at)
    return starts, promised


def _skipped(packed: bytes, at: int) -> int:
    """Behind the value at `at`, or -1."""
    left = 1
    while left:
        kind, number, at = _head_at(packed, at)
        left += {"array": number, "map": 2 * number}.get(kind, 0) - 1
        at += number if kind == "bytes" else 0
        if kind == "broken" or at > len(packed):
            return -1
    return at


def _head_at(packed: bytes, at: int) -> tuple[str, int, int]:
    """(what stands there, how many items, pairs or bytes follow, where they begin)."""
    head = packed[at] if at < len(packed) else 0xC1
    fixed = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4,
             0xD3: 8, 0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}  # fmt: skip
    sized = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
    many = {0xDC: ("array", 2), 0xDD: ("array", 4), 0xDE: ("map", 2), 0xDF: ("map", 4)}
    if head < 0x80 or head >= 0xE0:
        return "bytes", 0, at + 1
    if head < 0xC0:
        kind, bits = ("map", 4) if head < 0x90 else ("array", 4) if head < 0xA0 else ("bytes", 5)
        return kind, head & ((1 << bits) - 1), at + 1
    if head in fixed:
        return "bytes", fixed[head], at + 1
    size = sized.get(head) or many.get(head, ("", 0))[1]
    if not size or at + 1 + size > len(packed):
        return "broken", 0, at
    number = int.from_bytes(packed[at + 1 : at + 1 + size], "big") + (head in (0xC7, 0xC8, 0xC9))
    return many.get(head, ("bytes", 0))[0], number, at + 1 + size


def by_rows(packed: bytes) -> Columnarised:
    """The rows of an array, all as Python objects."""
    columns = RowColumns(NOW_MS, Blocked())
    columns.take_all(enumerate(msgpack_rows(packed)))
    return columns.finish(b"x")


def _by_python(packed: bytes) -> Any:
    try:
        return _outcome(by_rows(packed))
    except RequestInvalid as error:
        return error.field


def _by_kernel(packed: bytes) -> Any:
    try:
        return _outcome(columnarise(ingest_pb2.Batch(batch_id=b"x", msgpack_rows=packed), NOW_MS))
    except RequestInvalid as error:
        return error.field


def _read(packed: bytes) -> ReadRows | None:
    return read_msgpack_rows(find_rows(packed), b"x", NOW_MS, Blocked())


def _usual(packed: bytes) -> int:
    """How many rows the kernel read itself."""
    read = _read(packed)
    return -1 if read is None else len(read.batch)


# ------------------------------------------------------------------------------------------------------ random messages


def _head(chance: random.Random, short: int, short_max: int, wide: dict[int, int], count: int) -> bytes:
    """The head of text or a container: mostly the shortest, sometimes a longer one."""
    forms = [bytes([short | count])] if count <= short_max else []
    forms += [bytes([code]) + count.to_bytes(size, "big") for code, size in wide.items() if count < 1 << (8 * size)]
    return forms[0] if chance.random() < 0.9 else chance.choice(forms)


def _integer(chance: random.Random, value: int) -> bytes:
    if chance.random() < 0.8 and -(1 << 63) <= value < 1 << 64:
        return bytes(msgpack.packb(value))
    signed = [struct.pack(form, code, value) for form, code, bits in
              ((">Bb", 0xD0, 7), (">Bh", 0xD1, 15), (">Bi", 0xD2, 31), (">Bq", 0xD3, 63))
              if -(1 << bits) <= value < 1 << bits]  # fmt: skip
    unsigned = [struct.pack(form, code, value) for form, code, bits in
                ((">BB", 0xCC, 8), (">BH", 0xCD, 16), (">BI", 0xCE, 32), (">BQ", 0xCF, 64))
                if 0 <= value < 1 << bits]  # fmt: skip
    return chance.choice(signed + unsigned)


def _written(chance: random.Random, value: Any) -> bytes:
    """msgpack of a value, in one of the forms it can have."""
    match value:
        case Written():
            return value.data
        case Pairs():
            head = _head(chance, 0x80, 15, {0xDE: 2, 0xDF: 4}, len(value.items))
            return head + b"".join(_written(chance, part) for pair in value.items for part in pair)
        case list():
            head = _head(chance, 0x90, 15, {0xDC: 2, 0xDD: 4}, len(value))
            return head + b"".join(_written(chance, item) for item in value)
        case str():
            text = value.encode()
            return _head(chance, 0xA0, 31, {0xD9: 1, 0xDA: 2, 0xDB: 4}, len(text)) + text
        case bool() | None | bytes():
            return bytes(msgpack.packb(value))
        case int():
            return _integer(chance, value)
        case float():
            if chance.random() > 0.8 and (math.isnan(value) or abs(value) < 1e38 or math.isinf(value)):
                return struct.pack(">Bf", 0xCA, value)
            return struct.pack(">Bd", 0xCB, value)
    raise AssertionError(value)


_INTEGERS = (0, 1, 127, 128, 255, 256, 65_535, 65_536, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1,
             -1, -32, -33, -128, -129, -32_768, -32_769, -(1 << 31), -(1 << 31) - 1, -(1 << 63))  # fmt: skip
_FLOATS = (0.0, -0.0, 0.5, 12.95, 1e300, 5e-324, 1e-40, 3.0e38, math.inf, -math.inf, math.nan)
_TEXTS = ("", "a", "x" * 31, "x" * 32, "x" * 255, "x" * 256, "größe", "日本", "\U0001f600", "\ufffd",
          "s" * STRING_BYTES_MAX, "s" * (STRING_BYTES_MAX + 1), "é" * (STRING_BYTES_MAX // 2 + 1))  # fmt: skip
_MOMENTS = tuple(
    Written(data) for data in (
        msgspec.msgpack.encode(datetime(2026, 1, 1, 12, 0, 0, 123_456, UTC)), b"\xd6\xff" + b"\x00" * 4,
        b"\xd6\xff" + b"\xff" * 4, b"\xd7\xff" + ((1_000 << 34) | 5).to_bytes(8, "big"),
        b"\xd7\xff" + ((999_999_999 << 34) | 5).to_bytes(8, "big"),
        b"\xc7\x0c\xff" + (999_999_000).to_bytes(4, "big") + (-1).to_bytes(8, "big", signed=True),
        b"\xc7\x0c\xff" + bytes(4) + (-62_135_596_800).to_bytes(8, "big", signed=True),
        b"\xd6\x05" + bytes(4), b"\xd4\xff\x00", b"\xc7\x00\x01", b"\xc8\x00\x04\x01" + bytes(4),
        b"\xc8\x00\x04\xff" + bytes(4),
    )
)  # fmt: skip
# msgspec refuses to decode these.
_NO_MOMENTS = tuple(
    Written(data) for data in (
        b"\xd7\xff" + b"\xff" * 8, b"\xc7\x0c\xff" + bytes(4) + (-62_135_596_801).to_bytes(8, "big", signed=True),
        b"\xc7\x0c\xff" + bytes(4) + (253_402_300_800).to_bytes(8, "big"),
        b"\xc7\x0c\xff" + (1_000_000_000).to_bytes(4, "big") + bytes(8),
        b"\xc7\x0c\xff" + bytes(4) + (1 << 62).to_bytes(8, "big"),
        b"\xc7\x0c\xff" + bytes(4) + b"\x80" + bytes(7), b"\xc7\x00\xff",
    )
)  # fmt: skip


def _value(chance: random.Random, depth: int = 0) -> Any:
    roll = chance.random()
    if roll < 0.6:
        return chance.choice((1, 0.5, "text", True, None, chance.choice(_INTEGERS[:11]), "größe", -5))
    if roll < 0.72 and depth < 5:
        return Pairs([(_key(chance), _value(chance, depth + 1)) for _ in range(chance.choice((0, 1, 1, 2)))])
    if roll < 0.84 and depth < 5:
        count = chance.choice((0, 1, 2, 3, 15, 16, 100, 101))
        return [
            _value(chance, depth + 3) if chance.random() < 0.1 else chance.choice(("a", 1, -7)) for _ in range(count)
        ]
    if roll > 0.999:
        return chance.choice(_NO_MOMENTS)
    pools: tuple[tuple[Any, ...], ...] = (_INTEGERS, _FLOATS, _TEXTS, _MOMENTS, (b"raw",))
    return chance.choice(chance.choice(pools))


def _key(chance: random.Random) -> Any:
    if chance.random() < 0.02:
        return chance.choice(("", 5, None, "k" * 121, b"k", [1]))
    return chance.choice(("a", "b", "c", "a.b", "b.c", "größe", "k" * 60, "k" * 120, "m" * 59))


def _row(chance: random.Random) -> Any:
    fields = [
        chance.choice(("View", "View", "Buy", None, "größe")),
        chance.choice(("ann", "bob", "bob", "", None)),
        chance.choice((None, None, "", "x", "ann")),
        chance.choice((NOW_MS, 0, -1, 5, 1 << 40, -62_135_596_800_000)),
        chance.choice((None, None, "", "m1", "m2")),
        Pairs([(_key(chance), _value(chance)) for _ in range(chance.choice((0, 1, 2, 3, 3)))]),
    ]
    if chance.random() < 0.15:
        fields[chance.randrange(6)] = chance.choice((
            5, "", "n" * 120, "n" * 121, "u" * 512, "u" * 513, True, 0.5, NOW_MS + DAY_MS, NOW_MS + DAY_MS + 1,
            1 << 63, -62_135_596_800_001, [], b"raw", None, Pairs([]), "m" * 128, "m" * 129,
        ))  # fmt: skip
    return fields if chance.random() < 0.97 else chance.choice((5, fields[:5], [*fields, 1], Pairs([]), None))


def _message(seed: int) -> bytes:
    chance = random.Random(seed)
    rows = [_row(chance) for _ in range(chance.choice((0, 1, 2, 3, 20, 40)))]
    while len(packed := _written(chance, rows)) > ROWS_BYTES_MAX:  # some strings are as long as they may be
        rows = rows[: len(rows) // 2]
    return packed


def _mutated(chance: random.Random, packed: bytes) -> bytes:
    data = bytearray(packed)
    for _ in range(chance.randrange(1, 3)):
        at = chance.randrange(len(data)) if data else 0
        if chance.random() < 0.6:
            data[at : at + 1] = bytes([chance.randrange(256)])
        else:
            del data[at : at + chance.choice((1, 2, 50))]
    return bytes(data)


@given(Seed)
def test_the_kernel_reads_what_python_reads(seed: int) -> None:
    packed = _message(seed)
    assert _by_kernel(packed) == _by_python(packed)


@given(Seed)
def test_damaged_bytes_are_refused_the_same_way(seed: int) -> None:
    packed = _mutated(random.Random(seed), _message(seed))
    assert _by_kernel(packed) == _by_python(packed)


def test_the_random_rows_take_both_roads() -> None:
    read = [_read(_message(seed)) for seed in range(200)]
    both = [found for found in read if found is not None and len(found.batch) and len(found.unusual)]
    assert sum(len(found.batch) for found in both) > 500
    assert len(both) > 100


# --------------------------------------------------------------------------------------------------------- single cases


class _Shortest(random.Random):
    """Chance that always picks the shortest form."""

    def random(self) -> float:
        return 0.0


def _one(values: Any, **changed: Any) -> bytes:
    fields = {"name": "View", "user_id": "ann", "anonymous_id": None, "time": NOW_MS, "message_id": None} | changed
    return _written(_Shortest(), [[*fields.values(), values]])


USUAL: list[tuple[str, Any]] = [
    ("nothing", Pairs([])),
    ("scalars", Pairs([("a", 1), ("b", 0.5), ("c", "x"), ("d", True), ("e", -(1 << 63))])),
    ("null of an event", Pairs([("a", None), ("b", 1)])),
    ("nested", Pairs([("a", Pairs([("b", Pairs([("c", 1)])), ("d", Pairs([]))])), ("e", 2)])),
    ("lists", Pairs([("a", ["x", 1, -1, 300, None, True, 0.5]), ("b", []), ("c", list(range(20)))])),
    ("times", Pairs([("a", _MOMENTS[0]), ("b", _MOMENTS[5]), ("c", _MOMENTS[6])])),
    ("single precision", Pairs([("a", Written(struct.pack(">Bf", 0xCA, 0.1))), ("b", Written(b"\xca\x80\0\0\0"))])),
]


@pytest.mark.parametrize("values", [case[1] for case in USUAL], ids=[case[0] for case in USUAL])
def test_a_usual_row_is_read_by_the_kernel(values: Any) -> None:
    packed = _one(values)
    assert _usual(packed) == 1
    assert _by_kernel(packed) == _by_python(packed)
    changes = _one(values, name=None)
    assert _usual(changes) == 1
    assert _by_kernel(changes) == _by_python(changes)


UNUSUAL: list[tuple[str, Any]] = [
    ("a key twice", Pairs([("a", 1), ("a", 2)])),
    ("a key twice, the second a map", Pairs([("a", 1), ("a", Pairs([]))])),
    ("a list of maps", Pairs([("a", [Pairs([("b", 1)])])])),
    ("a list not in its shortest form", Pairs([("a", Written(b"\xdc\x00\x01\x05"))])),
    ("an item not in its shortest form", Pairs([("a", Written(b"\x91\xcc\x05")), ("b", Written(b"\x91\xd9\x01x"))])),
    ("a positive item in a signed form", Pairs([("a", Written(b"\x91\xd1\x01\x00"))])),
]


@pytest.mark.parametrize("values", [case[1] for case in UNUSUAL], ids=[case[0] for case in UNUSUAL])
def test_an_unusual_row_is_left_to_python_and_taken(values: Any) -> None:
    packed = _one(values)
    assert _usual(packed) == 0
    found = _by_kernel(packed)
    assert found == _by_python(packed)
    assert found[1] == [0]


@pytest.mark.parametrize("moment", _NO_MOMENTS, ids=range(len(_NO_MOMENTS)))
def test_a_timestamp_that_cannot_be_refuses_its_record_alone(moment: Written) -> None:
    packed = _written(_Shortest(), [_ROW, [*_ROW[:5], Pairs([("a", moment)])], _ROW])
    found = _by_kernel(packed)
    assert found == _by_python(packed)
    assert found[1:] == ([0, 2], [(1, "RECORD_MALFORMED")])


_ROW: list[Any] = ["View", "ann", None, NOW_MS, None, Pairs([("a", 1)])]
_BAD = Written(b"\xa2\xff\xfe")  # text that is not UTF-8
NOT_UTF8: list[tuple[str, list[Any], str]] = [
    ("value", [*_ROW[:5], Pairs([("a", _BAD)])], "STRING_INVALID"),
    ("item of a list", [*_ROW[:5], Pairs([("a", ["x", _BAD])])], "STRING_INVALID"),
    ("field of an item", [*_ROW[:5], Pairs([("a", [Pairs([(_BAD, 1)])])])], "PROPERTY_NAME_INVALID"),
    ("property name", [*_ROW[:5], Pairs([(_BAD, 1)])], "PROPERTY_NAME_INVALID"),
    ("event name", [_BAD, *_ROW[1:]], "EVENT_NAME_INVALID"),
    ("user id", ["View", _BAD, *_ROW[2:]], "IDENTIFIER_INVALID"),
    ("anonymous id", ["View", None, _BAD, *_ROW[3:]], "IDENTIFIER_INVALID"),
    ("message id", [*_ROW[:4], _BAD, Pairs([])], "MESSAGE_ID_INVALID"),
    ("identifier of another kind", [*_ROW, Pairs([("email", _BAD)])], "IDENTIFIER_INVALID"),
    ("kind of an identifier", [*_ROW, Pairs([(_BAD, "x")])], "IDENTIFIER_INVALID"),
    ("operation", [None, *_ROW[1:], None, Pairs([(_BAD, Pairs([]))])], "OPERATION_INVALID"),
    ("the whole record", _BAD, "RECORD_MALFORMED"),  # type: ignore[list-item]
]


@pytest.mark.parametrize(("row", "code"), [case[1:] for case in NOT_UTF8], ids=[case[0] for case in NOT_UTF8])
def test_text_that_is_not_utf8_costs_its_record_alone(row: Any, code: str) -> None:
    packed = _written(_Shortest(), [_ROW, row, _ROW, row])
    found = _by_kernel(packed)
    assert found == _by_python(packed)
    assert found[1:] == ([0, 2], [(1, code), (3, code)])


def test_records_before_the_place_where_the_bytes_break_are_taken_and_the_others_told() -> None:
    packed = _written(_Shortest(), [_ROW] * 4)
    for cut in range(len(_written(_Shortest(), [_ROW])), len(packed)):
        whole = (cut - 1) // ((len(packed) - 1) // 4)
        found = columnarise(ingest_pb2.Batch(batch_id=b"x", msgpack_rows=packed[:cut]), NOW_MS)
        assert found.positions.tolist() == list(range(whole))
        assert [(each.index, each.code) for each in found.errors] == [(n, "RECORD_MALFORMED") for n in range(whole, 4)]
        assert f"from byte {1 + whole * ((len(packed) - 1) // 4)} on" in found.errors[0].message


def test_a_name_with_a_dot_that_an_object_gives_as_well_is_refused_in_either_order() -> None:
    nested, dotted = ("a", Pairs([("b", 1)])), ("a.b", 2)
    for pairs in ([nested, dotted], [dotted, nested], [("x", 1), dotted, nested], [nested, ("x", 1), dotted]):
        for name in ("View", None):
            packed = _one(Pairs(pairs), name=name)
            found = columnarise(ingest_pb2.Batch(batch_id=b"x", msgpack_rows=packed), NOW_MS)
            assert [(each.index, each.code) for each in found.errors] == [(0, "PROPERTY_NAME_INVALID")]
            assert "'a.b'" in found.errors[0].message
            assert _by_kernel(packed) == _by_python(packed)


def test_a_usual_batch_is_the_same_to_the_last_array() -> None:
    rows = [["View", f"u{n % 7}", None, n, f"m{n}", {"n": n, "text": f"t{n % 5}", "tags": ["x"]}] for n in range(300)]
    packed = msgspec.msgpack.encode(rows)
    kernel = columnarise(ingest_pb2.Batch(batch_id=b"x", msgpack_rows=packed), NOW_MS).batch
    python = by_rows(packed).batch
    for name in RecordBatch.__slots__:
        mine, theirs = getattr(kernel, name), getattr(python, name)
        for one, other in ((mine, theirs),) if not hasattr(mine, "offsets") else (
            (mine.offsets, theirs.offsets), (mine.data, theirs.data),
        ):  # fmt: skip
            assert np.array_equal(one, other), name
            assert getattr(one, "dtype", None) == getattr(other, "dtype", None), name


@pytest.mark.parametrize("of_events", [True, False])
def test_a_record_whose_names_no_batch_can_number_is_refused_alone(of_events: bool) -> None:
    count = NAMES_PER_BATCH_MAX + 3
    rows = [[f"n{n}", "u", None, n, None, {}] if of_events else ["n", "u", None, n, None, {f"n{n}": 1}]
            for n in range(count)]  # fmt: skip
    rows.append(["n0" if of_events else "n", "u", None, 5, None, {} if of_events else {"n0": 1}])
    found = columnarise(ingest_pb2.Batch(batch_id=b"x", msgpack_rows=msgspec.msgpack.encode(rows)), NOW_MS)
    assert [(error.index, error.code) for error in found.errors] == [(count - n, "TOO_MANY_NAMES") for n in (3, 2, 1)]
    assert len(found.batch) == NAMES_PER_BATCH_MAX + 1
