"""Strings to dense numbers and back, also when hashes collide and when offsets must be wide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_store.columns.arena import StringArena, hash_strings
from cdp_store.columns.growable import Growable
from cdp_store.kernels import tables
from cdp_store.limits import MAPPED_BYTES_MIN
from cdp_store.records.records import Strings
from tests.shards import KEY

TEXTS = st.one_of(st.binary(max_size=3), st.binary(max_size=30))


def insert(arena: StringArena, texts: list[bytes]) -> list[int]:
    table = Strings.of(texts)
    return arena.insert(np.arange(len(texts), dtype=np.uint32), table, hash_strings(KEY, table)).tolist()


def find(arena: StringArena, texts: list[bytes]) -> list[int]:
    table = Strings.of(texts)
    return arena.find(np.arange(len(texts), dtype=np.uint32), table, hash_strings(KEY, table)).tolist()


@given(st.lists(st.lists(TEXTS, max_size=40), max_size=6), st.sampled_from([0, 50, 1 << 31]))
@settings(max_examples=100)
def test_an_arena_is_a_dict_that_numbers_its_keys(batches: list[list[bytes]], narrow_bytes_max: int) -> None:
    arena, model = StringArena(KEY, narrow_bytes_max), dict[bytes, int]()
    for batch in batches:
        assert find(arena, batch) == [model.get(text, -1) for text in batch]
        for text in batch:
            model.setdefault(text, len(model))
        assert insert(arena, batch) == [model[text] for text in batch]
    assert len(arena) == len(model)
    assert [arena.get(entry) for entry in range(len(arena))] == list(model)
    offsets, data = arena.filled()
    assert data.tobytes() == b"".join(model)
    assert np.diff(offsets.astype(np.int64)).tolist() == [len(text) for text in model]


@given(st.lists(TEXTS, max_size=120, unique=True), st.data(), st.sampled_from([0, 50, 1 << 31]))
@settings(max_examples=100)
def test_filled_strings_are_found_however_often_it_is_searched_between(
    texts: list[bytes], data: st.DataObject, narrow_bytes_max: int
) -> None:
    arena, filled = StringArena(KEY, narrow_bytes_max), 0
    while filled < len(texts):
        match data.draw(st.sampled_from(["fill", "insert", "find", "copy"])):
            case "fill":
                part = Strings.of(texts[filled : (filled := data.draw(st.integers(filled, len(texts))))])
                arena.fill(part.offsets, part.data)
            case "insert":
                assert insert(arena, [texts[filled], *texts[:filled]]) == [filled, *range(filled)]
                filled += 1
            case "find":
                assert find(arena, texts) == [entry if entry < filled else -1 for entry in range(len(texts))]
            case "copy":
                arena = arena.copy()
    assert find(arena, texts) == list(range(len(texts)))


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=20), st.data())
@settings(max_examples=50)
def test_gather_gives_entries_in_the_order_asked(texts: list[bytes], data: st.DataObject) -> None:
    arena = StringArena(KEY)
    entries = insert(arena, texts)
    wanted = data.draw(st.lists(st.sampled_from(entries), max_size=10))
    offsets, gathered = arena.gather(np.array(wanted, np.int64))
    found = [gathered[a:b].tobytes() for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
    assert found == [arena.get(entry) for entry in wanted]


@pytest.mark.parametrize("narrow_bytes_max", [1 << 31, 20_000])
def test_growth_keeps_every_string(narrow_bytes_max: int) -> None:
    arena = StringArena(KEY, narrow_bytes_max)
    texts = [f"user {number}".encode() for number in range(5000)]
    for start in range(0, len(texts), 700):
        insert(arena, texts[start : start + 700])
    assert find(arena, texts) == list(range(5000))
    assert find(arena, [b"user 5000", b"user 7"]) == [-1, 7]
    assert arena.filled()[0].dtype == (np.int64 if narrow_bytes_max == 20_000 else np.uint32)


def test_a_string_costs_little_more_than_itself() -> None:
    arena = StringArena(KEY)
    count = 200_000
    insert(arena, [b"%08d" % number for number in range(count)])
    assert arena.nbytes <= count * (8 + 12.5)


def test_what_a_reader_took_of_an_arena_stays() -> None:
    arena = StringArena(KEY)
    insert(arena, [b"a", b"bc"])
    offsets, data = arena.filled()
    for number in range(0, 100_000, 20_000):
        insert(arena, [str(number + n).encode() for n in range(20_000)])
    assert (offsets.tolist(), data.tobytes()) == ([0, 1, 3], b"abc")


def test_strings_with_one_hash_are_told_apart_by_their_bytes() -> None:
    """An attacker may aim at a slot; the answer stays right."""
    texts = [b"a", b"b", b"ab", b""]
    table = Strings.of(texts)
    index, last_slot = np.arange(4, dtype=np.uint32), np.full(4, (1 << 64) - 1, np.uint64)
    slots, offsets, data = np.zeros(16, np.uint32), np.zeros(9, np.uint32), np.zeros(64, np.uint8)

    def number(count: int, room: int) -> tuple[tuple[int, int], list[int]]:
        out = np.empty(4, np.int64)
        strings = (last_slot, index, table.offsets, table.data)
        return tables.number_strings(slots, 4, offsets, data, count, room, *strings, 0, out), out.tolist()

    assert number(0, 8) == ((4, 4), [0, 1, 2, 3])
    assert (slots & np.uint32(15)).tolist() == [2, 3, 4, *[0] * 12, 1], "probing wraps around"
    assert number(4, -1) == ((4, 4), [0, 1, 2, 3])


@given(st.lists(st.lists(st.integers(0, 255), max_size=50), max_size=8))
@settings(max_examples=50)
def test_what_a_reader_took_of_a_growable_array_stays(parts: list[list[int]]) -> None:
    growable, taken, whole = Growable(np.uint8, 2), [], list[int]()
    for part in parts:
        taken.append((growable.filled(), list(whole)))
        growable.extend(np.array(part, np.int64))
        whole += part
    assert growable.filled().tolist() == whole
    for array, expected in taken:
        assert array.tolist() == expected


@pytest.mark.parametrize("count", [0, 10, MAPPED_BYTES_MIN // 8 - 1, MAPPED_BYTES_MIN // 8, MAPPED_BYTES_MIN])
def test_an_emptied_array_has_room_for_as_much_if_that_is_free(count: int) -> None:
    before = Growable(np.int64)
    before.extend(np.arange(count))
    after = before.emptied()
    assert after.count == 0 and before.count == count
    assert after.nbytes <= 64 * 8, "what is not used yet takes no memory"
    room = after.buffer
    after.extend(np.arange(count))
    assert after.filled().tolist() == before.filled().tolist()
    assert (after.buffer is room) == (count <= 64 or count * 8 >= MAPPED_BYTES_MIN)
