"""Strings to dense numbers and back, in any mix of scopes, also when hashes collide."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_store.arena import StringArena
from cdp_store.growable import Growable
from cdp_store.kernels import tables
from cdp_store.records import Strings
from tests.shards import KEY

Scoped = tuple[int, bytes]
SCOPED = st.tuples(st.integers(0, 3), st.one_of(st.binary(max_size=3), st.binary(max_size=30)))


def insert(arena: StringArena, strings: list[Scoped]) -> list[int]:
    table = Strings.of(text for _, text in strings)
    scopes = np.array([scope for scope, _ in strings], np.uint32)
    index = np.arange(len(strings), dtype=np.uint32)
    return arena.insert(scopes, index, table.offsets, table.data).tolist()


def find(arena: StringArena, strings: list[Scoped]) -> list[int]:
    table = Strings.of(text for _, text in strings)
    scopes = np.array([scope for scope, _ in strings], np.uint32)
    index = np.arange(len(strings), dtype=np.uint32)
    return arena.find(scopes, index, table.offsets, table.data).tolist()


@given(st.lists(st.lists(SCOPED, max_size=20), max_size=6))
@settings(max_examples=100)
def test_an_arena_is_a_dict_that_numbers_its_keys(batches: list[list[Scoped]]) -> None:
    arena, model = StringArena(KEY), dict[Scoped, int]()
    for batch in batches:
        assert find(arena, batch) == [model.get(string, -1) for string in batch]
        for string in batch:
            model.setdefault(string, len(model))
        assert insert(arena, batch) == [model[string] for string in batch]
    assert len(arena) == len(model)
    assert [arena.get(entry) for entry in range(len(arena))] == [text for _, text in model]
    assert arena.scopes.tolist() == [scope for scope, _ in model]


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=20), st.data())
@settings(max_examples=50)
def test_gather_gives_entries_in_the_order_asked(texts: list[bytes], data: st.DataObject) -> None:
    arena = StringArena(KEY)
    entries = insert(arena, [(0, text) for text in texts])
    wanted = data.draw(st.lists(st.sampled_from(entries), max_size=10))
    offsets, gathered = arena.gather(np.array(wanted, np.int64))
    found = [gathered[a:b].tobytes() for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
    assert found == [arena.get(entry) for entry in wanted]


def test_growth_keeps_every_string() -> None:
    arena = StringArena(KEY)
    texts = [(0, f"user {number}".encode()) for number in range(5000)]
    for start in range(0, len(texts), 700):
        insert(arena, texts[start : start + 700])
    assert find(arena, texts) == list(range(5000))
    assert find(arena, [(1, b"user 7"), (0, b"user 5000")]) == [-1, -1]


def test_strings_with_one_hash_are_told_apart_by_their_bytes() -> None:
    """An attacker may aim at a slot; the answer stays right."""
    texts = [b"a", b"b", b"ab", b""]
    table = Strings.of(texts)
    index, scopes = np.arange(4, dtype=np.uint32), np.zeros(4, np.uint32)
    same_hash = np.full(4, 63, np.uint64)  # the last slot of 64: probing wraps around
    slots, hashes, entry_scopes = np.zeros(64, np.uint32), np.zeros(8, np.uint64), np.zeros(8, np.uint32)
    ends, arena, out = np.zeros(9, np.int64), np.zeros(64, np.uint8), np.empty(4, np.int64)
    count = tables.insert_strings(
        slots, hashes, entry_scopes, ends, arena, 0, scopes, same_hash, index, table.offsets, table.data, out
    )
    assert (count, out.tolist()) == (4, [0, 1, 2, 3])
    assert slots[63] == 1
    rebuilt = np.zeros(64, np.uint32)
    tables.rebuild_slots(rebuilt, hashes, 4)
    for each in (slots, rebuilt):
        again = np.empty(4, np.int64)
        missing = tables.find_strings(
            each, hashes, entry_scopes, ends, arena, scopes, same_hash, index, table.offsets, table.data, again
        )
        assert (missing, again.tolist()) == (0, [0, 1, 2, 3])


def test_one_scope_does_not_see_the_strings_of_another() -> None:
    arena = StringArena(KEY)
    assert insert(arena, [(0, b"x"), (1, b"x"), (0, b"x")]) == [0, 1, 0]


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
