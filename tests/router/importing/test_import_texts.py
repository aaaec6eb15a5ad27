"""CSV and NDJSON files: digits, encodings, quotes and columns are kept, or their record is refused aloud."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_router.cli.data.sources import SourceInvalid, open_source
from cdp_router.importing.numbers import INT64_MAX
from cdp_router.importing.read_options import Reading
from tests.router.imported_files import Imported, Record, imported

Write = Callable[[str, bytes | str], Path]
MARCH_MS = 1_772_323_200_000  # 2026-03-01


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def writer(name: str, content: bytes | str) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return writer


def _users(records: list[Record]) -> list[str]:
    return [record.user for record in records]


# -------------------------------------------------------------------------------------------------------------- numbers

_LONG = "12345678901234567890123456789012"
_KEPT = (
    ("0", 0), ("-0.0", -0.0), (str(INT64_MAX), INT64_MAX), (str(-INT64_MAX - 1), -INT64_MAX - 1), ("12.50", 12.5),
    ("0.1", 0.1), ("1e5", 100000.0), ("3.3333333333333333", 10 / 3), ("9007199254740993.0", 9007199254740993),
    ("0.1000000000000000055511151231257827021181583404541015625", 0.1), ("1e22", 1e22), ("-1.5E-3", -0.0015),
)  # fmt: skip
_LOST = (
    (str(INT64_MAX + 1), "INTEGER_OUT_OF_RANGE"), (str(-INT64_MAX - 2), "INTEGER_OUT_OF_RANGE"),
    ("17758512297797920768", "INTEGER_OUT_OF_RANGE"), (_LONG, "INTEGER_OUT_OF_RANGE"),
    (f"-{_LONG}", "INTEGER_OUT_OF_RANGE"), ("9" * 4000, "INTEGER_OUT_OF_RANGE"),
    ("12345678901234567.89", "NUMBER_INEXACT"), ("0.1234567890123456789", "NUMBER_INEXACT"),
    (f"{_LONG}.5", "NUMBER_INEXACT"),
)  # fmt: skip


def _number(folder: Path, text: str, kind: str, **options: Any) -> tuple[list[Record], Imported]:
    """A record with a number, and one after it."""
    path = folder / f"f.{kind}"
    if kind == "csv":
        path.write_text(f"user_id,event,time,n\na,Sent,2026-03-01,{text}\nb,Sent,2026-03-01,1\n")
    else:
        lines = [
            f'{{"user_id":"{who}","event":"Sent","time":"2026-03-01","n":{n}}}\n'
            for who, n in (("a", text), ("b", "1"))
        ]
        path.write_text("".join(lines))
    return imported(path, **options)


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
@pytest.mark.parametrize(("text", "value"), _KEPT)
def test_a_number_is_kept_digit_by_digit(tmp_path: Path, kind: str, text: str, value: Any) -> None:
    records, outcome = _number(tmp_path, text, kind)
    assert outcome.codes == {}
    assert repr(records[0].values["n"]) == repr(value)


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
@pytest.mark.parametrize(("text", "code"), _LOST, ids=lambda value: value[:20])
def test_a_number_that_64_bits_do_not_hold_costs_its_record(tmp_path: Path, kind: str, text: str, code: str) -> None:
    records, outcome = _number(tmp_path, text, kind)
    line = 2 if kind == "csv" else 1
    assert (_users(records), outcome.codes) == (["b"], {code: 1})
    assert f"f.{kind} line {line}: " in outcome.said and "'n'" in outcome.said and "--as-text" in outcome.said


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
@pytest.mark.parametrize("text", [_LONG, "17758512297797920768", "12345678901234567.890", "12.50", "7", "1e5", "-0.0"])
def test_numbers_are_kept_as_they_are_written_where_that_is_asked(tmp_path: Path, kind: str, text: str) -> None:
    options = {"reading": Reading(as_text=frozenset("n")), "as_text": frozenset("n")}
    records, outcome = _number(tmp_path, text, kind, **options)
    assert outcome.codes == {}
    assert records[0].values == {"n": text}


def test_numbers_inside_of_maps_are_refused_and_kept_by_their_path(write: Write) -> None:
    line = f'{{"user_id":"a","event":"E","time":"2026-03-01","properties":{{"o":{{"n":{_LONG},"m":1.25}}}}}}\n'
    path = write("a.ndjson", line)
    _, outcome = imported(path)
    assert outcome.codes == {"INTEGER_OUT_OF_RANGE": 1} and "'o.n'" in outcome.said
    options = {"reading": Reading(as_text=frozenset(("o.n",))), "as_text": frozenset(("o.n",))}
    [record], _ = imported(path, **options)
    assert record.values == {"o.n": _LONG, "o.m": 1.25}
    path = write("a.csv", f'user_id,event,time,properties\na,E,2026-03-01,"{{""o"":{{""n"":{_LONG}}}}}"\n')
    _, outcome = imported(path)
    assert outcome.codes == {"INTEGER_OUT_OF_RANGE": 1}
    [record], _ = imported(path, **options)
    assert record.values == {"o.n": _LONG}


@pytest.mark.parametrize("user", ["9007199254740993", _LONG, "007", "1.0", "1e5", "+0", "truth"])
def test_ids_of_csv_are_what_is_written(write: Write, user: str) -> None:
    [record], _ = imported(write("a.csv", f"user_id,event,time\n{user},E,2026-03-01\n"))
    assert record.user == user


@pytest.mark.parametrize(
    ("written", "user"), [("9007199254740993", None), (_LONG, None), ("1.0", "1"), ('"1.0"', "1.0")]
)
def test_numbers_as_ids_of_ndjson_keep_every_digit(write: Write, written: str, user: str | None) -> None:
    [record], _ = imported(write("a.ndjson", f'{{"user_id":{written},"event":"E","time":"2026-03-01"}}'))
    assert record.user == (user or written)


def test_an_id_of_a_float_that_stands_for_several_is_refused(write: Write) -> None:
    _, outcome = imported(write("a.ndjson", '{"user_id":1.8014398509481984e16,"event":"E","time":"2026-03-01"}'))
    assert outcome.codes == {"RECORD_MALFORMED": 1} and "several" in outcome.said


# ------------------------------------------------------------------------------------------------------------ encodings


_TWO = "user_id,event,time\nMüller,Buy,2026-03-01\nMöller,Buy,2026-03-01\nann,Buy,2026-03-01\n"
_LINE = '{"user_id":"%s","event":"%s","time":"2026-03-01","message_id":"%s","city":"%s"}\n'


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_bytes_that_are_no_utf8_cost_their_record_alone(write: Write, kind: str, place: int) -> None:
    def row(user: str, odd: str) -> tuple[str, ...]:
        fields = [user, "Buy", f"m-{user}", "Pune"]
        fields[place] = fields[place] + odd
        return tuple(fields)

    rows = [row("a", ""), row("b", "ü"), row("c", "")]
    if kind == "csv":
        lines = ["user_id,event,message_id,city,time\n", *(f"{','.join(each)},2026-03-01\n" for each in rows)]
        first = 3
    else:
        lines, first = [_LINE % each for each in rows], 2
    records, outcome = imported(write(f"f.{kind}", "".join(lines).encode("latin-1")))
    assert (_users(records), outcome.codes) == (["a", "c"], {"TEXT_INVALID": 1})
    assert f"f.{kind} line {first}: " in outcome.said and "0xfc" in outcome.said and "--encoding" in outcome.said


@pytest.mark.parametrize("encoding", ["latin-1", "windows-1252", "utf-16", "utf-16-le", "utf-8", "utf-8-sig", "utf-32"])
def test_a_file_is_read_in_the_encoding_that_is_given(write: Write, encoding: str) -> None:
    reading = Reading(encoding="utf-8" if encoding == "utf-8-sig" else encoding)
    records, outcome = imported(write("a.csv", _TWO.encode(encoding)), reading=reading)
    assert (_users(records), outcome.codes) == (["Müller", "Möller", "ann"], {})
    line = _LINE % ("Müller", "Größe", "m", "Zürich")
    [record], _ = imported(write("a.ndjson", line.encode(encoding)), reading=reading)
    assert (record.user, record.event, record.values) == ("Müller", "Größe", {"city": "Zürich"})


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_byte_order_mark_says_the_encoding(write: Write, encoding: str) -> None:
    path = write("a.csv", _TWO.encode(encoding))
    assert bool(open_source(path, None).assumed) == (encoding != "utf-8-sig")
    assert _users(imported(path)[0]) == ["Müller", "Möller", "ann"]


def test_bytes_that_another_encoding_lacks_cost_their_record_alone(write: Write) -> None:
    content = b"user_id,event,time\na,Buy,2026-03-01\nb\x81,Buy,2026-03-01\nc,Buy,2026-03-01\n"
    records, outcome = imported(write("a.csv", content), reading=Reading(encoding="cp1252"))
    assert (_users(records), outcome.codes) == (["a", "c"], {"TEXT_INVALID": 1})
    assert "0x81" in outcome.said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (_TWO.encode("utf-16-le"), "utf-16-le"), (bytes(range(256)) * 40, "NUL"),
        (b"user_id,\0\n" * 99, "NUL"),
        ("größe,b\n".encode("latin-1"), "0xf6"),
        (b"\x89PNG\r\n\x1a\n" * 100, "0x89"), (b"\xd0\xcf\x11\xe0" * 100, "0x"),
    ],
)  # fmt: skip
def test_a_file_whose_header_is_no_text_is_refused_as_a_whole(write: Write, content: bytes, said: str) -> None:
    with pytest.raises(SourceInvalid, match=said):
        open_source(write("a.csv", content), None)


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_a_nul_byte_costs_no_other_record(write: Write, kind: str) -> None:
    lines = ["user_id,event,time\n", "a\0,Buy,2026-03-01\n", "b,Buy,2026-03-01\n"]
    if kind == "ndjson":
        lines = [f'{{"user_id":"{user}","event":"Buy","time":"2026-03-01"}}\n' for user in ("a\0", "b")]
    records, outcome = imported(write(f"a.{kind}", "".join(lines)))
    assert _users(records)[-1] == "b" and len(records) + sum(outcome.codes.values()) == 2


def test_utf16_without_a_mark_says_what_to_give(write: Write) -> None:
    with pytest.raises(SourceInvalid, match="utf-16-le"):
        imported(write("a.csv", _TWO.encode("utf-16-le")), reading=Reading(encoding="utf-16"))


# --------------------------------------------------------------------------------------------------------------- quotes


_FOLLOWING = "".join(f"u-{number},Buy,2026-03-01\n" for number in range(50))


@pytest.mark.parametrize(
    "line",
    [
        'b,"Buy,2026-03-01',
        '"b,Buy,2026-03-01',
        'b,Buy,"2026-03-01',
        'b,"Buy, twice,2026-03-01',
        'b,"Buy ""x"",2026-03-01',
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_quote_that_is_never_closed_costs_its_line_alone(write: Write, line: str, end: str) -> None:
    content = f"user_id,event,time\na,Buy,2026-03-01\n{line}\n{_FOLLOWING}".replace("\n", end)
    records, outcome = imported(write("a.csv", content))
    assert (len(records), outcome.codes) == (51, {"RECORD_MALFORMED": 1})
    assert "a.csv line 3: " in outcome.said and "quote" in outcome.said


@pytest.mark.parametrize(
    "later", ['c,"Sell",2026-03-01', '"c",Sell,2026-03-01', 'c,Sell,"2026-03-01"', 'c,"Se""ll",2026-03-01']
)
def test_a_quote_that_ends_in_a_later_line_costs_no_line_between(write: Write, later: str) -> None:
    content = f'user_id,event,time\nb,"Buy,2026-03-01\n{_FOLLOWING}{later}\nd,Buy,2026-03-01\n'
    records, outcome = imported(write("a.csv", content))
    assert len(records) == 52 and outcome.codes == {"RECORD_MALFORMED": 1}
    assert "a.csv line 2: " in outcome.said


def test_a_quote_that_another_one_happens_to_close_is_refused_with_its_lines(write: Write) -> None:
    content = f'user_id,event,time\nb,"Buy,2026-03-01\n{_FOLLOWING}c,5",2026-03-01\nd,Buy,2026-03-01\n'
    records, outcome = imported(write("a.csv", content))
    assert (_users(records), outcome.codes) == (["d"], {"RECORD_MALFORMED": 1})
    assert "line 2" in outcome.said and "line 53" in outcome.said


def test_texts_of_several_lines_are_records_like_others(write: Write) -> None:
    rows = [
        ["u1", "Buy", "2026-03-01", "Dear Ann,\nthanks, Bob\n\nyours, and so on, C"],
        ["u2", 'say "x",\r\nso', "2026-03-01", ""],
        ["u3", "Buy", "2026-03-01", "a\rb"],
    ]
    text = io.StringIO()
    csv.writer(text).writerows([["user_id", "event", "time", "note"], *rows])
    records, outcome = imported(write("a.csv", text.getvalue()))
    assert outcome.codes == {}
    assert [(record.user, record.event, record.values.get("note", "")) for record in records] == [
        (user, event, note) for user, event, _, note in rows
    ]


def test_what_an_export_has_quoted_is_never_taken_for_records(write: Write) -> None:
    header = "profile_kind,profile_id,time,event\n"
    hostile = '"E,2026-03-01,x\nuser_id,victim,2026-03-01,Pay\nuser_id,victim,2026-03-01,Pay"'
    records, outcome = imported(write("a.csv", f"{header}user_id,u,2026-03-01,{hostile}\n"))
    assert ([record.user for record in records], outcome.codes) == (["u"], {})
    records, outcome = imported(write("a.csv", f"{header}user_id,u,2026-03-01,{hostile[:-1]}\n"))
    assert (records, outcome.codes) == ([], {"RECORD_MALFORMED": 1}) and "2 lines" in outcome.said


_CELLS = st.text(st.sampled_from('ab,;"\n\r \t|ü1'), max_size=8)


@settings(max_examples=150)
@given(rows=st.lists(st.tuples(_CELLS, _CELLS), max_size=5))
def test_whatever_a_csv_writer_writes_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "cells.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("time", "a", "b"), *(("2026-03-01", *row) for row in rows)])
    found = list(open_source(path, None, Reading(delimiter=",")).read())
    assert [each.problem for each in found if each.record is None] == []
    texts = [(each.record.written["a"], each.record.written["b"]) for each in found if each.record is not None]  # type: ignore[attr-defined]
    assert texts == rows


# -------------------------------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize("name", ["", '""', "Unnamed: 0"])
def test_the_index_column_of_a_data_frame_is_left_out_and_that_is_said(write: Write, name: str) -> None:
    path = write("frame.csv", f"{name},user_id,event,time\n0,a,Buy,2026-03-01\n1,b,Buy,2026-03-01\n")
    records, outcome = imported(path)
    assert ([(record.user, record.values) for record in records], outcome.codes) == ([("a", {}), ("b", {})], {})
    assert "index" in open_source(path, None).assumed[0]


def test_a_value_in_a_column_without_a_name_costs_its_record(write: Write) -> None:
    path = write("a.csv", "user_id,event,time,\na,Buy,2026-03-01,\nb,Buy,2026-03-01,lost\n")
    records, outcome = imported(path)
    assert (_users(records), outcome.codes) == (["a"], {"RECORD_MALFORMED": 1}) and "column 4" in outcome.said


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_separator_is_told_by_the_header_and_said(write: Write, delimiter: str) -> None:
    path = write("a.csv", 'user_id,event,time,note\na,Buy,2026-03-01,"x, y"\n'.replace(",", delimiter))
    assert repr(delimiter) in open_source(path, None).assumed[0]
    [record], _ = imported(path)
    assert record == Record("a", "Buy", MARCH_MS, {"note": f"x{delimiter} y"})


def test_a_separator_that_is_given_is_taken(write: Write) -> None:
    path = write("a.csv", "user_id:event:time\na,b:Buy:2026-03-01\n")
    assert _users(imported(path, reading=Reading(delimiter=":"))[0]) == ["a,b"]


def test_columns_can_be_left_out(write: Write) -> None:
    reading = Reading(skip=frozenset(("x", "o.y")))
    [record], _ = imported(write("a.csv", "user_id,event,time,x\na,Buy,2026-03-01,1\n"), reading=reading)
    assert record.values == {}
    line = '{"user_id":"a","event":"E","time":"2026-03-01","x":1,"o":{"y":1,"z":2}}'
    [record], _ = imported(write("a.ndjson", line), reading=reading)
    assert record.values == {"o.z": 2}


# ------------------------------------------------------------------------------------------------------ names of events


def test_name_is_no_event_unless_that_is_said(write: Write) -> None:
    path = write("customers.csv", "user_id,name,email,time\nu-1,Alice Example,alice@example.org,2026-03-01\n")
    records, outcome = imported(path)
    assert (records, outcome.codes) == ([], {"RECORD_MALFORMED": 1})
    assert "--profiles" in outcome.said and "--event name" in outcome.said
    [record], _ = imported(path, profiles=True)
    assert (record.event, record.values) == (None, {"name": "Alice Example", "email": "alice@example.org"})
    [record], _ = imported(path, event="name")
    assert (record.event, record.values) == ("Alice Example", {"email": "alice@example.org"})


def test_name_beside_attributes_is_one_of_them(write: Write) -> None:
    line = '{"user_id":"u-2","time":"2026-03-01","name":"Bob Example","attributes":{"plan":"gold"}}'
    [record], _ = imported(write("bob.ndjson", line))
    assert (record.event, record.values) == (None, {"plan": "gold", "name": "Bob Example"})


def test_name_beside_an_event_is_a_property(write: Write) -> None:
    [record], _ = imported(write("a.csv", "user_id,event,name,time\nu,Buy,Ann,2026-03-01\n"))
    assert (record.event, record.values) == ("Buy", {"name": "Ann"})


# -------------------------------------------------------------------------------------------------- nulls of attributes


def test_a_null_in_json_unsets_an_attribute_unless_it_is_said_to_be_absent(write: Write) -> None:
    line = '{"user_id":"u","time":"2026-03-01","attributes":{"plan":"gold","city":null,"a":{"b":null,"c":1}}}'
    path = write("a.ndjson", line)
    [record], _ = imported(path)
    assert record.values == {"plan": "gold", "city": None, "a": None, "a.b": None, "a.c": 1}
    [record], _ = imported(path, nulls="absent")
    assert record.values == {"plan": "gold", "a.c": 1}


@given(st.text(max_size=20), st.floats(allow_nan=False, allow_infinity=False), st.integers(-INT64_MAX, INT64_MAX))
@settings(max_examples=60)
def test_whatever_json_says_is_kept(
    tmp_path_factory: pytest.TempPathFactory, text: str, number: float, integer: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "values.ndjson"
    values = {"t": text, "n": number, "i": integer, "l": [text, number, integer, {"x": number}]}
    path.write_text(json.dumps({"user_id": "u", "event": "E", "time": "2026-03-01", "properties": values}))
    [record], outcome = imported(path)
    assert outcome.codes == {}
    assert repr(record.values) == repr(values)


# -------------------------------------------------------------------------------------- one name in several columns


@pytest.mark.parametrize("given", ['{"x":1}', '{"x":null}', '{"x":"2"}', '{"x":2.0}', '{"x":true}'])
def test_a_column_and_a_map_that_disagree_about_a_name_cost_their_record(write: Write, given: str) -> None:
    quoted = given.replace('"', '""')
    row = f'a,Buy,2026-03-01,"{quoted}",2\nb,Buy,2026-03-01,,2\n'
    records, outcome = imported(write("f.csv", "user_id,event,time,properties,x\n" + row))
    assert (_users(records), outcome.codes) == (["b"], {"RECORD_MALFORMED": 1})
    assert "different values of 'x'" in outcome.said
    assert "line 2" in outcome.said
    line = f'{{"user_id":"a","event":"Buy","time":"2026-03-01","properties":{given},"x":2}}\n'
    assert imported(write("f.ndjson", line))[1].codes == {"RECORD_MALFORMED": 1}
    line = f'{{"user_id":"a","time":"2026-03-01","attributes":{given},"properties":{{"x":2}}}}\n'
    assert imported(write("g.ndjson", line))[1].codes == {"RECORD_MALFORMED": 1}


def test_a_column_and_a_map_that_agree_about_a_name_are_taken(write: Write) -> None:
    line = '{"user_id":"a","event":"Buy","time":"2026-03-01","properties":{"x":[1,"a"],"y":1},"x":[1,"a"],"z":3}\n'
    records, outcome = imported(write("f.ndjson", line))
    assert (outcome.codes, records[0].values) == ({}, {"x": [1, "a"], "y": 1, "z": 3})


# ---------------------------------------------------------------------------------------- booleans, texts for null


@pytest.mark.parametrize(("text", "value"), [("true", True), ("True", True), ("TRUE", True), ("False", False)])
def test_a_boolean_of_csv_is_one_in_every_usual_spelling(write: Write, text: str, value: bool) -> None:
    path = write("f.csv", f"user_id,event,time,paid\na,Buy,2026-03-01,{text}\n")
    assert [record.values for record in imported(path)[0]] == [{"paid": value}]
    kept = imported(path, reading=Reading(as_text=frozenset(["paid"])))[0]
    assert [record.values for record in kept] == [{"paid": text}]


@pytest.mark.parametrize("text", ["tRUE", "t", "yes", "Trueman", "FALSEHOOD"])
def test_other_words_are_texts(write: Write, text: str) -> None:
    [record], _ = imported(write("f.csv", f"user_id,event,time,paid\na,Buy,2026-03-01,{text}\n"))
    assert record.values == {"paid": text}


def test_booleans_of_a_data_frame_are_the_same_in_csv_and_parquet(tmp_path: Path) -> None:
    columns = {"user_id": ["a", "b"], "event": "Buy", "time": "2026-03-01", "paid": [True, False]}
    frame = pd.DataFrame(columns)
    frame.to_csv(tmp_path / "f.csv", index=False)
    frame.to_parquet(tmp_path / "f.parquet")
    assert imported(tmp_path / "f.csv")[0] == imported(tmp_path / "f.parquet")[0]


@pytest.mark.parametrize("text", ["NULL", r"\N", "NaN", "-"])
def test_texts_that_mean_no_value_are_none_where_that_is_said(write: Write, text: str) -> None:
    path = write("f.csv", f'user_id,event,time,v,n\na,Buy,2026-03-01,{text},1\n{text},Buy,2026-03-01,"{text}",{text}\n')
    assert [record.values for record in imported(path)[0] if record.user == "a"] == [{"v": text, "n": 1}]
    told = Reading(missing=frozenset([text]), as_text=frozenset(["v"]))
    records, outcome = imported(path, reading=told)
    assert [record.values for record in records] == [{"n": 1}]
    assert outcome.codes == {"IDENTIFIER_MISSING": 1}
