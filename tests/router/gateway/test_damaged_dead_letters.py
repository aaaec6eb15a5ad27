"""Dead letters that were damaged on the disk: noticed, kept, and never dropped by what rewrites their file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cdp.v1 import ingest_pb2
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cdp_router.cli.data import dead_letters_command as command
from cdp_router.gateway.letters.dead_letters import UNREADABLE, DeadLetters, read_letters, replace_letters
from cdp_router.gateway.letters.letter_lines import DeadLetter, decode_letter, encode_letter
from cdp_router.gateway.letters.letter_sizes import lost
from tests.router.gateway.test_gateway_dead_letters import letter

RECORDS: list[Any] = [{"userId": f"ann-{n}", "properties": {"amount": 1000 + n}} for n in range(5)]


class Refusing:
    """A cluster that takes every record and hears of none."""

    def ingest(self, batch: ingest_pb2.Batch) -> ingest_pb2.BatchResult:
        return ingest_pb2.BatchResult()


@pytest.fixture
def kept(tmp_path: Path) -> DeadLetters:
    kept = DeadLetters(tmp_path / "dead-letters")
    for each in RECORDS:
        kept.add([letter(record=each)])
    return kept


def change(path: Path, old: bytes, new: bytes) -> None:
    """Change bytes of a file without any program's knowledge."""
    before = path.read_bytes()
    assert before.count(old) == 1
    path.write_bytes(before.replace(old, new))


def test_a_changed_digit_is_noticed_and_the_line_kept(kept: DeadLetters) -> None:
    web = kept.path / "web"
    change(web / "current.ndjson", b'"amount":1003', b'"amount":9003')
    assert [each.record for each in kept.letters(web)] == [*RECORDS[:3], RECORDS[4]]
    assert any("1 lines" in problem and str(web) in problem for problem in kept.problems())
    [aside] = kept.set_aside(web)
    assert replace_letters(aside, []) == 1
    assert b"9003" in (web / UNREADABLE).read_bytes()
    assert any(UNREADABLE in problem for problem in kept.problems())


def test_a_redrive_ends_with_an_error_that_says_where_unreadable_lines_are(
    kept: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import nullcontext

    change(kept.path / "web" / "current.ndjson", b'"ann-2"', b'"ann-2')
    monkeypatch.setattr(command, "connected", lambda address: nullcontext(Refusing()))
    done = CliRunner().invoke(command.dead_letters, ["redrive", "web", "--data", str(kept.path.parent)])
    assert done.exit_code == 1
    assert UNREADABLE in done.output
    assert b"ann-2" in (kept.path / "web" / UNREADABLE).read_bytes()


def test_a_line_whose_end_was_damaged_is_not_taken_for_a_torn_one(kept: DeadLetters) -> None:
    current = kept.path / "web" / "current.ndjson"
    current.write_bytes(current.read_bytes()[:-1] + b"\x0b")
    kept.add([letter(record=7)])
    [aside] = kept.set_aside(kept.path / "web")
    assert [each.record for each in read_letters(aside)] == [*RECORDS[:4], 7]
    assert replace_letters(aside, []) == 1
    assert b"ann-4" in (kept.path / "web" / UNREADABLE).read_bytes()


def test_files_that_were_cut_or_removed_are_missed(kept: DeadLetters) -> None:
    web = kept.path / "web"
    current, whole = web / "current.ndjson", (web / "current.ndjson").read_bytes()
    current.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    assert [str(current) in problem for problem in kept.problems()] == [True]
    current.unlink()
    assert [str(current) in problem for problem in kept.problems()] == [True]
    current.write_bytes(whole)
    [aside] = kept.set_aside(web)
    assert kept.problems() == []
    aside.unlink()
    assert [str(aside) in problem for problem in kept.problems()] == [True]
    (web / "index.json").unlink()
    web.rename(kept.path.parent / "elsewhere")
    assert [str(web) in problem for problem in kept.problems()] == [True]


def test_what_was_lost_stays_told_when_new_letters_come(kept: DeadLetters) -> None:
    (kept.path / "web" / "current.ndjson").unlink()
    kept.add([letter(record=1)])
    assert lost(kept.path / "web") == []
    assert b"current.ndjson was cut" in (kept.path / "web" / UNREADABLE).read_bytes()


def test_losses_are_told_until_records_are_dropped_or_a_salvage_goes_on_without_them(kept: DeadLetters) -> None:
    web, run, data = kept.path / "web", CliRunner(), ["--data", str(kept.path.parent)]
    change(web / "current.ndjson", b'"amount":1003', b'"amount":9003')
    [aside] = kept.set_aside(web)
    replace_letters(aside, list(read_letters(aside)))
    kept.add([letter(record=1)])
    (web / "current.ndjson").unlink()
    listed = run.invoke(command.dead_letters, ["list", *data])
    assert "current.ndjson is missing" in listed.output and "1 lines" in listed.output.replace("\n", " ")
    dropped = run.invoke(command.dead_letters, ["drop", "web", *data])
    assert "4 records were dropped" in dropped.output and "is missing" in dropped.output
    assert kept.problems() == []
    web.rename(kept.path.parent / "elsewhere")
    assert kept.problems() != []
    assert kept.expect_what_is_there() == ["web"]
    assert kept.problems() == []


def test_an_unreadable_line_about_a_person_goes_with_the_person(kept: DeadLetters) -> None:
    change(kept.path / "web" / "current.ndjson", b'"amount":1003', b'"amount":9003')
    change(kept.path / "web" / "current.ndjson", b'"amount":1001', b'"amount":9001')
    [aside] = kept.set_aside(kept.path / "web")
    replace_letters(aside, list(read_letters(aside)))
    kept.add([letter(record={"userId": "person-7"})])
    change(kept.path / "web" / "current.ndjson", b'"person-7"', b'"person-7')
    assert kept.forget({"person-8"}) == 0
    assert kept.forget({"person-7"}) == 1
    assert kept.forget({'"ann-3"'}) == 1
    assert b"person-7" not in b"".join(path.read_bytes() for path in kept.path.rglob("*") if path.is_file())
    [line] = (kept.path / "web" / UNREADABLE).read_bytes().splitlines()
    assert b"ann-1" in line


def test_letters_of_before_there_were_checksums_are_read(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    line = msgspec.json.encode(letter(record={"a": 1, "crc32c": "deadbeef"})) + b"\n"
    (tmp_path / "web" / "current.ndjson").write_bytes(line)
    kept = DeadLetters(tmp_path)
    kept.add([letter(record=2)])
    assert [each.record for each in kept.letters(tmp_path / "web")] == [{"a": 1, "crc32c": "deadbeef"}, 2]
    assert kept.problems() == []


@given(st.data())
def test_whatever_happens_to_a_file_every_letter_is_right_or_kept_or_missed(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        kept = DeadLetters(Path(folder))
        for each in RECORDS[:3]:
            kept.add([letter(record=each)])
        path = Path(folder) / "web" / "current.ndjson"
        whole = bytearray(path.read_bytes())
        lines = bytes(whole).splitlines(keepends=True)
        if data.draw(st.booleans(), "cut"):
            whole = whole[: data.draw(st.integers(0, len(whole) - 1))]
        else:
            whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(whole)
        told = bool(kept.problems())
        found = [encode_letter(each) for aside in kept.set_aside(path.parent) for each in read_letters(aside)]
        assert told and all(line in lines for line in found)
        for aside in kept.set_aside(path.parent):
            replace_letters(aside, [])
        unreadable = path.parent / UNREADABLE
        rest = unreadable.read_bytes() if unreadable.exists() else b""
        assert len(b"".join(found)) + len(rest) >= len(whole)


def test_no_field_of_a_letter_is_passed_over() -> None:
    body = msgspec.json.encode(letter(record=1))
    with pytest.raises(ValueError, match="surplus"):
        decode_letter(body[:-1] + b',"surplus":1}\n')
    with pytest.raises(ValueError):
        decode_letter(body.replace(b"web", b"w\xffb"))
    assert isinstance(decode_letter(body), DeadLetter)
