"""Dictionaries: codes count up inside each scope, and readers see them while writers add more."""

from __future__ import annotations

import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_store.columns.dictionary import StringDictionary, scope_of
from cdp_store.records.records import Strings
from tests.shards import KEY

SCOPED = st.tuples(st.sampled_from([0, 1, 2, 3, 64, 300]), st.text(max_size=4))


def encode(dictionary: StringDictionary, strings: list[tuple[int, str]]) -> list[int]:
    table = Strings.of(text.encode() for _, text in strings)
    scopes = np.array([scope for scope, _ in strings], np.uint32)
    return dictionary.encode(scopes, np.arange(len(strings), dtype=np.uint32), table).tolist()


@given(st.lists(st.lists(SCOPED, max_size=15), max_size=8))
@settings(max_examples=100)
def test_codes_count_up_inside_each_scope(batches: list[list[tuple[int, str]]]) -> None:
    dictionary, model = StringDictionary(KEY), dict[int, dict[str, int]]()
    for batch in batches:
        for scope, text in batch:
            codes = model.setdefault(scope, {})
            codes.setdefault(text, len(codes))
        assert encode(dictionary, batch) == [model[scope][text] for scope, text in batch]
        for scope, codes in model.items():
            values = dictionary.values(scope)
            assert [value.as_py().decode() for value in values] == list(codes)
    for scope, codes in model.items():
        for text, code in codes.items():
            assert dictionary.lookup(scope, text.encode()) == code
            assert dictionary.get(scope, code) == text.encode()


def test_strings_that_alternate_between_scopes_keep_one_code_in_each() -> None:
    dictionary = StringDictionary(KEY)
    table = Strings.of([b"x", b"y"])
    scopes = np.array([5, 9, 5, 9, 5], np.uint32)
    index = np.array([0, 0, 0, 0, 1], np.uint32)
    assert dictionary.encode(scopes, index, table).tolist() == [0, 0, 0, 0, 1]
    assert [len(dictionary.values(scope)) for scope in (5, 9)] == [2, 1]


def test_the_memory_behind_the_values_is_theirs() -> None:
    dictionary = StringDictionary(KEY)
    encode(dictionary, [(3, "a"), (3, "bcd")])
    offsets, data = dictionary.filled(3)
    assert (offsets.tolist(), data.tobytes()) == ([0, 1, 4], b"abcd")
    [chunk] = dictionary.values(3).chunks
    assert chunk.buffers()[2].address == data.ctypes.data, "no copy"
    assert dictionary.filled(7)[0].tolist() == [0]


def test_unknown_strings_have_no_code() -> None:
    dictionary = StringDictionary(KEY)
    encode(dictionary, [(1, "x")])
    assert dictionary.lookup(1, b"y") is None
    assert dictionary.lookup(2, b"x") is None
    assert len(dictionary.values(5)) == 0


def test_scopes_of_properties_attributes_and_lists_never_meet() -> None:
    scopes = {
        scope_of(key, attribute=attribute, is_list=is_list)
        for key in (0, 1, 4095)
        for attribute in (False, True)
        for is_list in (False, True)
    }
    assert len(scopes) == 12


def test_values_taken_earlier_are_not_changed_by_later_strings() -> None:
    dictionary = StringDictionary(KEY)
    encode(dictionary, [(0, "a")])
    before = dictionary.values(0)
    for number in range(40):
        encode(dictionary, [(0, str(number))])
        dictionary.values(0)
    assert [value.as_py() for value in before] == [b"a"]
    assert len(dictionary.values(0)) == 41
    assert dictionary.get(0, 40) == b"39"


def test_a_reader_beside_a_writer_always_sees_whole_strings() -> None:
    dictionary, failures, done = StringDictionary(KEY), list[object](), threading.Event()

    def read() -> None:
        while not done.is_set():
            values = [value.as_py() for value in dictionary.values(0)]
            if values != [f"value {number}".encode() for number in range(len(values))]:
                failures.append(values)

    reader = threading.Thread(target=read)
    reader.start()
    for start in range(0, 600, 20):
        encode(dictionary, [(0, f"value {number}") for number in range(start, start + 20)])
    done.set()
    reader.join()
    assert not failures
    assert len(dictionary.values(0)) == 600
