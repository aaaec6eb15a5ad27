"""The bytes of a batch: they come back as they went, and damaged ones are refused and never half taken."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_query import tree
from cdp_store.errors import BatchMalformed
from cdp_store.ids import SequenceNumber
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.records.batch_check import say_what_does_not_fit
from cdp_store.records.builder import BatchBuilder
from cdp_store.records.records import RecordBatch, Strings, decode_batch, encode_batch
from cdp_store.values import Kind, pack_list, unpack_list
from tests import strategies
from tests.raw_records import Change, Event, Record, user
from tests.shards import Shards, batch_of
from tests.store.contents import raws_of

SAMPLE = replace(
    batch_of(
        [
            Event(user("ann"), "View", 5, {"a": 1, "b": "text", "c": 2.5}, "m1"),
            Change(user("bob"), 6, {"a": None, "t": [1, "x"]}),
            Event(user("ann"), "Buy", 7, {"f": True, "at": strategies.MOMENT_VALUES[0]}, "m2"),
        ],
        b"batch 1",
    ),
    envelopes=Strings.of([b"", b'{"library":"web"}']),
    record_envelopes=np.array([1, 0, 1], np.uint32),
    givers=Strings.of([b"", b"adevice"]),
    record_givers=np.array([0, 1, 0], np.uint32),
)
ENCODED = encode_batch(SAMPLE)


def same(first: RecordBatch, second: RecordBatch) -> bool:
    return encode_batch(first) == encode_batch(second)


def take(encoded: bytes) -> None:
    """Decode and, when that is accepted, apply, seal, read and ask: all of it must work."""
    batch = decode_batch(encoded)
    shards = Shards()
    shards.partitions[0].apply(batch, SequenceNumber(1))
    for _ in range(2):
        for key in batch.keys:
            for condition in (tree.Exists(), tree.Compare(tree.Op.EQ, "x", True), tree.SizeTest(tree.Op.GT, 0)):
                test = tree.Did(tree.Events(batch.names, tree.PropertyTest(key, condition)))
                shards.members(tree.Any((tree.AttributeTest(key, condition), test)), tree.Context(TIME_MAX_MS))
            shards.ask(tree.Breakdown(tree.Everyone(), key), tree.Context(TIME_MAX_MS))
        shards.seal()


def packed(**changed: Any) -> bytes:
    """The sample's bytes with some fields replaced; a field that is ... is left out."""
    parts = msgpack.unpackb(ENCODED, raw=False) | changed
    encoded: bytes = msgpack.packb({name: part for name, part in parts.items() if part is not ...})
    return encoded


@given(strategies.records(), st.binary(max_size=8))
@settings(max_examples=100)
def test_a_batch_comes_back_from_its_bytes(records: list[Record], batch_id: bytes) -> None:
    batch = batch_of(records, batch_id)
    decoded = decode_batch(encode_batch(batch))
    assert same(batch, decoded)
    for field in fields(RecordBatch):
        before, after = getattr(batch, field.name), getattr(decoded, field.name)
        if isinstance(before, np.ndarray):
            assert before.dtype == after.dtype
            assert (before == after).all()
        elif not isinstance(before, Strings):
            assert before == after


def test_the_sample_can_be_taken() -> None:
    take(ENCODED)
    take(packed())


@pytest.mark.parametrize("cut", range(len(ENCODED)))
def test_every_truncation_is_refused(cut: int) -> None:
    with pytest.raises(BatchMalformed):
        decode_batch(ENCODED[:cut])


def test_bytes_behind_the_batch_are_refused() -> None:
    with pytest.raises(BatchMalformed):
        decode_batch(ENCODED + b"\x00")


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\x80",
        b"\xc0",
        b"\x01",
        b"\xa3abc",
        b"\x90",
        b"\xff",
        b"\x81\xc0\xc0",
        b"\xdf\xff\xff\xff\xff",
        b"\x91" * 5000,
        msgpack.packb({"batch_id": b""}),
        msgpack.packb([1, 2]),
    ],
    ids=lambda encoded: encoded[:4].hex() or "empty",
)
def test_bytes_of_another_shape_are_refused(encoded: bytes) -> None:
    with pytest.raises(BatchMalformed):
        decode_batch(encoded)


FIELDS = [field.name for field in fields(RecordBatch)]


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [..., None, 7, "text", 1.5, [], [1], {}, {"a": 1}, True, -1], ids=repr)
def test_a_field_of_another_type_is_refused(name: str, value: Any) -> None:
    allowed: dict[str, tuple[Any, ...]] = {"received_ms": (7, -1), "names": ([],), "keys": ([],)}
    if any(type(value) is type(fine) and value == fine for fine in allowed.get(name, ())):
        pytest.skip("of the right type")
    with pytest.raises(BatchMalformed):
        decode_batch(packed(**{name: value}))


ARRAYS = {
    "record_identities": np.uint32,
    "record_names": np.uint16,
    "record_times": np.int64,
    "property_offsets": np.uint32,
    "triple_keys": np.uint16,
    "triple_kinds": np.uint8,
    "triple_raws": np.int64,
    "record_envelopes": np.uint32,
    "record_givers": np.uint32,
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_that_is_too_short_too_long_or_no_multiple_is_refused(name: str) -> None:
    whole = getattr(SAMPLE, name)
    for damaged in (whole[:-1].tobytes(), np.append(whole, whole[:1]).tobytes(), b"", b"\x00"):
        with pytest.raises(BatchMalformed):
            decode_batch(packed(**{name: damaged}))
    if whole.itemsize > 1:
        with pytest.raises(BatchMalformed):
            decode_batch(packed(**{name: whole.tobytes() + b"\x00"}))


def _with(name: str, at: int, value: int) -> bytes:
    array = getattr(SAMPLE, name).copy()
    array[at] = value
    return packed(**{name: array.tobytes()})


@pytest.mark.parametrize(
    "encoded",
    [
        _with("record_identities", 0, 2),
        _with("record_identities", 2, 2**32 - 1),
        _with("record_names", 0, 2),
        _with("record_names", 2, 0xFFFE),
        _with("property_offsets", 0, 1),
        _with("property_offsets", 1, 99),
        _with("property_offsets", 3, 6),
        _with("triple_keys", 0, len(SAMPLE.keys)),
        _with("triple_keys", 1, 0xFFFF),
        _with("triple_kinds", 0, 7),
        _with("triple_kinds", 0, 255),
        _with("triple_raws", 1, 2),
        _with("triple_raws", 1, -1),
        _with("triple_raws", 4, 2**40),
        _with("record_envelopes", 0, 2),
        _with("record_envelopes", 1, 2**32 - 1),
        _with("record_givers", 1, 2),
    ],
    ids=range(17),
)
def test_an_index_that_points_outside_is_refused(encoded: bytes) -> None:
    with pytest.raises(BatchMalformed):
        decode_batch(encoded)


@pytest.mark.parametrize("name", ["identities", "message_ids", "strings", "envelopes", "givers"])
@pytest.mark.parametrize("offsets", [[], [0], [1, 2], [0, 5, 3, 6], [0, 2**32 - 1], [0, 1, 2]])
def test_string_offsets_that_do_not_cover_their_bytes_are_refused(name: str, offsets: list[int]) -> None:
    table: Strings = getattr(SAMPLE, name)
    with pytest.raises(BatchMalformed):
        decode_batch(packed(**{name: (np.array(offsets, np.uint32).tobytes(), table.data.tobytes())}))


def _strings(*texts: bytes) -> tuple[bytes, bytes]:
    table = Strings.of(texts)
    return table.offsets.tobytes(), table.data.tobytes()


BOOL_AT = int(np.flatnonzero(SAMPLE.triple_kinds == Kind.BOOL)[0])
FLOAT_AT = int(np.flatnonzero(SAMPLE.triple_kinds == Kind.FLOAT)[0])
TIME_AT = int(np.flatnonzero(SAMPLE.triple_kinds == Kind.TIME)[0])
POISON = {
    "an identifier without its tag": packed(identities=_strings(b"uann", b"")),
    "an identifier of an unknown kind": packed(identities=_strings(b"uann", b"zbob")),
    "an identifier that is no UTF-8": packed(identities=_strings(b"uann", b"u\xff")),
    "a string that is no UTF-8": packed(strings=_strings(b"\xff\xfe", pack_list([1, "x"]))),
    "a list that is no msgpack": packed(strings=_strings(b"text", b"\xc1")),
    "a list that is a number": packed(strings=_strings(b"text", b"\x05")),
    "a boolean that is 2": _with("triple_raws", BOOL_AT, 2),
    "a boolean that is -1": _with("triple_raws", BOOL_AT, -1),
    "a float that is NaN": _with("triple_raws", FLOAT_AT, int(raws_of([float("nan")])[0])),
    "a float that is infinite": _with("triple_raws", FLOAT_AT, int(raws_of([float("inf")])[0])),
    "a time beyond the calendar": _with("triple_raws", TIME_AT, 2**62),
    "a record before year 1": _with("record_times", 0, TIME_MIN_MS - 1),
    "a record after year 9999": _with("record_times", 0, TIME_MAX_MS + 1),
    "an unset property of an event": _with("triple_kinds", 0, Kind.UNSET),
    "names that are numbers": packed(names=[1, 2]),
    "names that are bytes": packed(names=[b"View", b"Buy"]),
}


@pytest.mark.parametrize("what", POISON)
def test_values_that_no_column_can_hold_are_refused(what: str) -> None:
    """Applying cannot fail half-way, and no question may stumble later: what cannot be held must not be let in."""
    with pytest.raises(BatchMalformed) as caught:
        decode_batch(POISON[what])
    assert "its arrays" not in str(caught.value)


@given(st.integers(0, len(ENCODED) - 1), st.integers(1, 255))
@settings(max_examples=400)
def test_a_changed_byte_is_refused_or_harmless(at: int, flip: int) -> None:
    damaged = bytearray(ENCODED)
    damaged[at] ^= flip
    try:
        take(bytes(damaged))
        say_what_does_not_fit(decode_batch(bytes(damaged)))
    except BatchMalformed as error:
        assert "its arrays" not in str(error)


@given(strategies.records(20), st.data())
@settings(max_examples=60)
def test_take_gives_the_records_asked_for_and_what_they_use(records: list[Record], data: st.DataObject) -> None:
    batch = batch_of(records)
    chosen = sorted(data.draw(st.sets(st.integers(0, max(len(records) - 1, 0)), max_size=len(records))))
    kept = batch.take(np.array(chosen, np.intp))
    direct = batch_of(records[i] for i in chosen)
    assert len(kept) == len(chosen)
    decode_batch(encode_batch(kept))
    for name in ("record_times", "property_offsets", "triple_kinds", "record_identities"):
        assert (getattr(kept, name) == getattr(direct, name)).all()
    for name in ("identities", "message_ids", "strings"):
        mine, theirs = getattr(kept, name), getattr(direct, name)
        assert [mine[i] for i in range(len(mine))] == [theirs[i] for i in range(len(theirs))]


@given(st.lists(strategies.scalars(), max_size=6))
@settings(max_examples=100)
def test_lists_come_back_and_equal_lists_have_equal_bytes(items: list[Any]) -> None:
    assert list(map(repr, unpack_list(pack_list(items)))) == list(map(repr, items))
    assert pack_list(items) == pack_list(list(items))


def test_an_empty_batch_is_a_batch() -> None:
    batch = BatchBuilder().finish()
    assert len(batch) == 0
    take(encode_batch(batch))
