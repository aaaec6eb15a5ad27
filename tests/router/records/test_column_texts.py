"""Texts of Arrow columns that are not UTF-8 cost their records alone, wherever they stand; dictionaries stay small."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp_router.errors import RequestInvalid
from cdp_router.records.column_texts import written_out_bytes
from cdp_router.records.columnarise import columnarise
from cdp_router.records.columnarised import Columnarised
from cdp_store.records.records import check_batch
from tests.router.batch_contents import contents
from tests.router.encodings import arrow_batch
from tests.router.local_cluster import NOW_MS

GOOD, BAD = b"Pune", "München".encode("latin-1")


def _text(values: list[bytes | None]) -> pa.Array:
    """Bytes as what they claim to be."""
    given = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(given), given.buffers())


def _taken(**columns: Any) -> Columnarised:
    count = len(next(iter(columns.values())))
    usual = {"user_id": pa.array([f"u{n}" for n in range(count)]), "time": pa.array([NOW_MS] * count)}
    found = columnarise(arrow_batch(pa.table(usual | columns)), NOW_MS)
    check_batch(found.batch)
    return found


def _codes(values: list[int | None], entries: pa.Array) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(values, pa.int32()), entries)


def _named(texts: pa.Array, field: str) -> pa.Array:
    names = ["name", "boolean", "integer", "number", "text", "time", "list"]
    plain = pa.array(["p"] * len(texts))
    fields = {"name": texts if field == "name" else plain, "text": texts if field == "text" else plain}
    nothing = pa.nulls(len(texts))
    values = pa.StructArray.from_arrays([fields.get(name, nothing) for name in names], names)
    return pa.ListArray.from_arrays(pa.array(range(len(texts) + 1), pa.int32()), values)


MIXED = [GOOD, BAD, None, BAD, GOOD]
PLACES: list[tuple[str, dict[str, Any], str]] = [
    ("value", {"event": ["E"] * 5, "city": _text(MIXED)}, "STRING_INVALID"),
    ("dictionary", {"event": ["E"] * 5, "city": _codes([0, 1, None, 1, 0], _text([GOOD, BAD]))}, "STRING_INVALID"),
    (
        "item of a list",
        {"event": ["E"] * 5, "l": pa.ListArray.from_arrays([0, 1, 3, 3, 4, 4], _text([GOOD, GOOD, BAD, BAD]))},
        "STRING_INVALID",
    ),
    ("user", {"user_id": _text([GOOD, BAD, b"x", BAD, GOOD]), "event": ["E"] * 5}, "IDENTIFIER_INVALID"),
    ("other identifier", {"identifiers.email": _text(MIXED), "event": ["E"] * 5}, "IDENTIFIER_INVALID"),
    ("event", {"event": _text([GOOD, BAD, b"x", BAD, GOOD])}, "EVENT_NAME_INVALID"),
    ("message id", {"event": ["E"] * 5, "message_id": _text([b"1", BAD, b"2", BAD, b"3"])}, "MESSAGE_ID_INVALID"),
    ("named value", {"event": ["E"] * 5, "values": _named(_text(MIXED), "text")}, "STRING_INVALID"),
    (
        "name of a value",
        {"event": ["E"] * 5, "values": _named(_text([GOOD, BAD, b"x", BAD, GOOD]), "name")},
        "STRING_INVALID",
    ),
]


@pytest.mark.parametrize(("columns", "code"), [each[1:] for each in PLACES], ids=[each[0] for each in PLACES])
def test_a_text_that_is_not_utf8_costs_its_record_alone(columns: dict[str, Any], code: str) -> None:
    found = _taken(**columns)
    assert [(each.index, each.code) for each in found.errors] == [(1, code), (3, code)]
    assert "UTF-8" in found.errors[0].message
    assert found.positions.tolist() == [0, 2, 4]


def test_other_faults_are_told_beside_it_at_their_own_positions() -> None:
    found = _taken(event=["E", "E", "", "E", "E"], city=_text([GOOD, BAD, GOOD, GOOD, BAD]))
    assert [(each.index, each.code) for each in found.errors] == [
        (1, "STRING_INVALID"), (2, "EVENT_NAME_INVALID"), (4, "STRING_INVALID"),
    ]  # fmt: skip
    assert found.positions.tolist() == [0, 3]


def test_the_name_of_a_column_that_is_not_utf8_refuses_the_stream() -> None:
    table = pa.table({"user_id": ["u"], "time": [NOW_MS], "cityname": [1]})
    batch = arrow_batch(table)
    batch.arrow_columns = batch.arrow_columns.replace(b"cityname", b"cit\xff\xfeame")
    with pytest.raises(RequestInvalid):
        columnarise(batch, NOW_MS)


@given(
    st.lists(st.none() | st.integers(0, 3), min_size=1, max_size=12),
    st.sampled_from([
        pa.array(["a", None, "b", "a"]), pa.array([["x", "y"], None, [], ["x", "y"]]), pa.array([1, None, 2, 1]),
        pa.array([0.5, None, -0.0, 0.0]), pa.array([True, None, False, True]),
        pa.array([["x"], ["y"], None, ["x"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
    ]),
)  # fmt: skip
def test_a_dictionary_means_what_its_values_written_out_mean(codes: list[int | None], entries: pa.Array) -> None:
    coded = _codes(codes, entries)
    plain = entries.take(pa.array(codes, pa.int32()))
    events = ["E"] * len(codes)
    by_codes, by_values = _taken(event=events, p=coded), _taken(event=events, p=plain)
    assert contents(by_codes.batch) == contents(by_values.batch)


def test_what_dictionaries_stand_for_is_counted_wherever_they_are() -> None:
    entries = pa.array(["x" * 10, None, "y"])
    coded = _codes([0, 0, 2, None, 1], entries)
    assert written_out_bytes(coded) == 21
    assert written_out_bytes(pa.ListArray.from_arrays([0, 2, 5], coded)) == 21
    assert written_out_bytes(pa.StructArray.from_arrays([coded, coded], ["a", "b"])) == 42
    assert written_out_bytes(pa.array(["x"] * 9)) == written_out_bytes(_codes([], entries)) == 0
