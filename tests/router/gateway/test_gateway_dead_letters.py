"""Dead letters: kept whatever happens, told by `cdp dead-letters`, and sent again without taking any twice."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cdp.v1 import ingest_pb2
from typer.testing import CliRunner

from cdp_router.cli.data import dead_letters_command as command
from cdp_router.gateway.letters.dead_letters import (
    DeadLetter,
    DeadLetters,
    decode_letter,
    directory_name,
    encode_letter,
    read_letters,
    replace_letters,
)
from cdp_router.gateway.letters.redriving import redrive
from cdp_store.outside import line_log
from cdp_store.outside.line_log import LineLog
from cdp_store.outside.seams import DescriptorFile
from tests.router.gateway_cluster import GatewayCluster, gateway_cluster


def letter(source: str = "web", record: Any = None, code: str = "WRONG") -> DeadLetter:
    return DeadLetter(source, "segment", 1_767_225_600_000, None, code, "it is wrong", record)


@pytest.mark.parametrize("record", [None, {"x": "\ud800"}, {"x": 1 << 70}, ["a\nb"], {"x": 1.5}, {"": {"": []}}])
def test_a_letter_is_one_line_that_gives_it_back(record: Any) -> None:
    line = encode_letter(letter(record=record))
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert decode_letter(line) == letter(record=record)


def test_no_source_gets_out_of_its_directory_or_into_that_of_another(tmp_path: Path) -> None:
    sources = ["web", "..", ".", "a/b", "a%2Fb", "/etc", "x" * 300, "x" * 299 + "y", "\ud800", "Ü", "a\x00b", "A", "a"]
    names = [directory_name(source) for source in sources]
    assert len(set(names)) == len(sources)
    for source in sources:
        DeadLetters(tmp_path / "dead").add([letter(source)])
    assert [each.name for each in tmp_path.iterdir()] == ["dead"]
    assert len(DeadLetters(tmp_path / "dead").sources()) == len(sources)


def torn(current: Path, what: bytes = b'{"source":"web","record":{"userId":"ann-4711') -> None:
    """Leave in a file what a crash leaves of a line."""
    with current.open("ab") as file:
        file.write(what)


@pytest.mark.parametrize("bytes_read", [1, 7, 1 << 16])
@pytest.mark.parametrize("before", [[], [1]])
def test_a_line_torn_by_a_crash_costs_no_other_and_is_gone_with_the_next(
    tmp_path: Path, before: list[int], bytes_read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_log, "_READ_BYTES", bytes_read)
    kept, current = DeadLetters(tmp_path), tmp_path / "web" / "current.ndjson"
    current.parent.mkdir()
    if before:
        kept.add([letter(record=each) for each in before])
    torn(current)
    assert [each.record for each in kept.letters(tmp_path / "web")] == before
    kept.add([letter(record=3)])
    assert [decode_letter(line).record for line in current.read_bytes().splitlines()] == [*before, 3]


def test_a_torn_line_goes_when_letters_are_set_aside_or_a_person_is_forgotten(tmp_path: Path) -> None:
    kept = DeadLetters(tmp_path)
    for source in ("web", "shop"):
        kept.add([letter(source, {"userId": "bob"})])
        torn(tmp_path / source / "current.ndjson")
    [aside] = kept.set_aside(tmp_path / "web")
    assert aside.read_bytes() == encode_letter(letter(record={"userId": "bob"}))
    assert kept.forget({"ann-4711"}) == 0, "what was torn was never acknowledged"
    assert not any(b"ann-4711" in path.read_bytes() for path in tmp_path.rglob("*.ndjson"))


def test_what_comes_while_letters_are_set_aside_is_lost_nowhere(tmp_path: Path) -> None:
    kept, seen = DeadLetters(tmp_path), list[Any]()
    writers = [
        threading.Thread(target=lambda n=n: [kept.add([letter(record=[n, k])]) for k in range(40)]) for n in range(3)
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        for path in kept.set_aside(tmp_path / "web"):
            seen += [each.record for each in read_letters(path)]
            replace_letters(path, [])
    seen += [each.record for each in kept.letters(tmp_path / "web")]
    assert sorted(seen) == [[n, k] for n in range(3) for k in range(40)]


def test_setting_letters_aside_waits_for_who_is_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, begun, asked = DeadLetters(tmp_path), threading.Event(), threading.Event()
    append, lock = LineLog.append, fcntl.flock

    def late(log: LineLog, lines: bytes) -> None:
        begun.set()
        asked.wait(5)  # for the file, which has another name by then
        append(log, lines)

    def noted(file: Any, how: int) -> None:
        if begun.is_set():
            asked.set()
        lock(file, how)

    monkeypatch.setattr(LineLog, "append", late)
    monkeypatch.setattr(fcntl, "flock", noted)
    writer = threading.Thread(target=lambda: kept.add([letter(record=1)]))
    writer.start()
    begun.wait()
    (aside,) = kept.set_aside(tmp_path / "web")
    found = [each.record for each in read_letters(aside)]
    writer.join()
    assert found == [1]


def test_a_failed_write_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = DeadLetters(tmp_path)
    kept.add([letter(record=1)])

    def half(file: DescriptorFile, lines: bytes) -> None:
        import os

        os.write(file._descriptor, lines[:10])
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(DescriptorFile, "write", half)
        with pytest.raises(OSError):
            kept.add([letter(record=2)])
    assert (tmp_path / "web" / "current.ndjson").read_bytes() == encode_letter(letter(record=1))


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayCluster]:
    with gateway_cluster(tmp_path) as found:
        yield found


class Taking:
    """The cluster as `cdp dead-letters redrive` sees it."""

    def __init__(self, gateway: GatewayCluster) -> None:
        self._gateway = gateway

    def ingest(self, batch: ingest_pb2.Batch) -> ingest_pb2.BatchResult:
        return self._gateway.cluster.ingest(batch)


def _late(gateway: GatewayCluster) -> dict[str, Any]:
    """An event that is too far ahead now, and is not a day later."""
    from cdp_store.values import to_datetime

    ahead = to_datetime(gateway.cluster.clock.now + 30 * 3_600_000).isoformat()
    return {"type": "track", "event": "late", "userId": "u-1", "timestamp": ahead}


def test_letters_are_sent_again_after_a_fix_and_none_is_taken_twice(
    gateway: GatewayCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = {"type": "track", "event": "good", "userId": "u-1"}
    gateway.post("/v1/batch", {"batch": [_late(gateway), good, _late(gateway), {"type": "never"}, 7]})
    run, data = CliRunner(), ["--data", str(gateway.folder)]

    @contextmanager
    def connected(address: str) -> Iterator[Taking]:
        yield Taking(gateway)

    monkeypatch.setattr(command, "connected", connected)
    listed = run.invoke(command.dead_letters, ["list", *data]).stdout
    counts = {line.split()[1]: line.split()[2] for line in listed.splitlines()[1:]}
    assert counts == {"TIME_IN_FUTURE": "2", "TYPE_UNKNOWN": "1", "RECORD_MALFORMED": "1"}
    shown = run.invoke(command.dead_letters, ["show", "web", "--code", "TIME_IN_FUTURE", *data]).stdout
    assert shown.count("\n") == 2 and '"event":"late"' in shown
    again = run.invoke(command.dead_letters, ["redrive", "web", *data])
    assert "0 records were taken, 4 are kept" in again.stdout
    gateway.cluster.clock.now += 24 * 3_600_000
    # Sent once, but the file could not be replaced after that.
    aside = DeadLetters(gateway.folder / "dead-letters").set_aside(gateway.folder / "dead-letters" / "web")
    assert len(redrive(list(read_letters(aside[0])), Taking(gateway), None)) == 2
    again = run.invoke(command.dead_letters, ["redrive", "web", *data])
    assert "2 records were taken, 2 are kept" in again.stdout
    assert gateway.profile(user_id="u-1").event_count == 3
    assert {each.code for each in gateway.letters()} == {"TYPE_UNKNOWN", "RECORD_MALFORMED"}
    assert (
        "1 record was dropped"
        in run.invoke(command.dead_letters, ["drop", "web", "--code", "TYPE_UNKNOWN", *data]).stdout
    )
    assert "1 record was dropped" in run.invoke(command.dead_letters, ["drop", "web", *data]).stdout
    assert run.invoke(command.dead_letters, ["list", *data]).stdout == "none\n"


def test_a_source_without_letters_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "dead-letters").mkdir()
    done = CliRunner().invoke(command.dead_letters, ["redrive", "nobody", "--data", str(tmp_path)])
    assert done.exit_code == 1


@pytest.mark.parametrize("asked", [["list"], ["show", "web"], ["drop", "web"], ["forget", "u-1"]])
def test_a_directory_of_something_else_is_not_one_without_letters(tmp_path: Path, asked: list[str]) -> None:
    done = CliRunner().invoke(command.dead_letters, [*asked, "--data", str(tmp_path)])
    assert done.exit_code == 2 and "holds no cluster and no dead letters" in " ".join(done.stderr.split())


def test_what_became_of_records_is_counted(tmp_path: Path) -> None:
    from prometheus_client import CollectorRegistry

    from cdp_router.observing.gateway_metrics import GatewayMetrics

    registry = CollectorRegistry()
    with gateway_cluster(tmp_path, metrics=GatewayMetrics(registry)) as gateway:
        good, bad = {"type": "group", "userId": "u", "groupId": "g", "traits": {"a": 1}}, {"type": "?"}
        gateway.post("/v1/batch", {"batch": [good, bad, bad]})
        nobody = {"event": "e", "distinct_id": "$posthog_cookieless", "properties": {"$cookieless_mode": True}}
        gateway.post("/batch/", {"api_key": "k", "batch": [nobody]})
        assert gateway.post("/v1/batch", b"{").status_code == 400

    def count(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    outcomes = [
        count("cdp_gateway_records_total", dialect="segment", outcome=each) for each in ("taken", "dead_letter")
    ]
    assert outcomes == [1, 2]
    assert count("cdp_gateway_records_total", dialect="posthog", outcome="unwanted") == 1
    assert [count("cdp_gateway_requests_total", status=each) for each in ("200", "400")] == [2, 1]


@pytest.mark.parametrize(
    ("record", "goes"),
    [
        ({"userId": "ann-4711"}, True),
        ({"context": {"traits": [{"email": "ann@x.org"}]}}, True),
        ({"properties": {"friend": "ann-4711"}}, True),
        ("not json, ann-4711", True),
        ({"userId": 7}, True),
        ({"properties": {"quantity": 7}}, False),
        ({"userId": "ann-47110"}, False),
        ({"ann-4711": "x"}, False),
        ("7", False),
    ],
)
def test_letters_of_a_person_are_forgotten_and_no_others(tmp_path: Path, record: Any, goes: bool) -> None:
    kept, other = DeadLetters(tmp_path), letter(record={"userId": "bob"})
    kept.add([other, letter(record=record)])
    kept.add([letter("shop", {"userId": "bob"})])
    assert kept.forget({"ann-4711", "ann@x.org", "7"}) == goes
    kept.add([letter(record={"userId": "eve"})])
    left = [each.record for each in kept.letters(tmp_path / "web")]
    assert left == [{"userId": "bob"}, *([] if goes else [record]), {"userId": "eve"}]
    assert [each.record for each in kept.letters(tmp_path / "shop")] == [{"userId": "bob"}]
