"""Row 3, the way out: damaged parts of a log are set aside, and the rest of it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdp_store.errors import LogCorrupt
from cdp_store.ids import PartitionId
from cdp_store.log.format import LogEntry, LogRecord, RecordKind
from cdp_store.log.local import LocalLog
from cdp_store.log.salvage import Salvage, Salvaged
from cdp_store.outside.seams import OsFiles
from tests.store.log.test_log_format import entry, replayed

ENTRIES = [entry(number % 2, number // 2 + 1, bytes([number]) * (number + 1)) for number in range(12)]


def write_log(directory: Path, segment_bytes: int = 150) -> list[Path]:
    """A log of several segments; their paths."""
    log = LocalLog(directory, OsFiles(), segment_bytes)
    log.replay(lambda record: None, lambda *_: None)
    for each in ENTRIES:
        log.append([each])
    log.close()
    return sorted(directory.glob("*.cdplog"))


def salvage(directory: Path, *, refuse: bytes | None = None) -> Salvaged:
    def is_usable(record: LogRecord) -> bool:
        return record.payload != refuse

    return Salvage(directory, OsFiles(), {}, is_usable).run()


def batches(entries: list[LogEntry]) -> list[LogEntry]:
    return [each for each in entries if each.kind == RecordKind.BATCH]


def check_usable(directory: Path, expected: list[LogEntry]) -> None:
    """The log replays, holds `expected`, and can be appended to."""
    assert batches(replayed(directory)) == expected
    log = LocalLog(directory, OsFiles())
    log.replay(lambda record: None, lambda *_: None)
    more = entry(7, 1, b"more")
    log.append([more])
    log.close()
    assert batches(replayed(directory)) == [*expected, more]


def test_row_03_a_whole_log_is_left_as_it_is(tmp_path: Path) -> None:
    paths = write_log(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert salvage(tmp_path) == Salvaged()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert len(paths) > 3


@pytest.mark.parametrize("number", range(len(ENTRIES)))
def test_row_03_one_damaged_record_costs_this_record_only(tmp_path: Path, number: int) -> None:
    paths = write_log(tmp_path)
    damaged = next(path for path in paths if ENTRIES[number].payload in path.read_bytes()[16:])
    data = bytearray(damaged.read_bytes())
    at = _offsets(paths, damaged)[number]
    data[at + 20] ^= 0x40
    damaged.write_bytes(data)
    with pytest.raises(LogCorrupt):
        replayed(tmp_path)
    found = salvage(tmp_path)
    assert [(damage.path, damage.start) for damage in found.damages] == [(damaged, at)]
    assert found.kept[0].read_bytes() == data, "what was damaged is kept"
    is_last_of_partition = number >= len(ENTRIES) - 2
    assert found.lost == ({} if is_last_of_partition else {ENTRIES[number].partition: 1})
    check_usable(tmp_path, [each for each in ENTRIES if each is not ENTRIES[number]])
    assert salvage(tmp_path) == Salvaged()


def _offsets(paths: list[Path], damaged: Path) -> dict[int, int]:
    """Where each entry stands in the file that holds it, for those of `damaged`."""
    found, number = dict[int, int](), 0
    for path in paths:
        at, size = 16, path.stat().st_size
        while at < size:
            if path == damaged:
                found[number] = at
            at += 24 + len(ENTRIES[number].payload)
            number += 1
    return found


@pytest.mark.parametrize("what", ["header", "missing", "empty"])
def test_row_03_a_segment_may_be_gone_altogether(tmp_path: Path, what: str) -> None:
    paths = write_log(tmp_path)
    lost = _offsets(paths, paths[1]).keys()
    match what:
        case "header":
            paths[1].write_bytes(b"?" + paths[1].read_bytes()[1:])
        case "missing":
            paths[1].unlink()
        case "empty":
            paths[1].write_bytes(b"")
    with pytest.raises(LogCorrupt):
        replayed(tmp_path)
    found = salvage(tmp_path)
    assert found.damages
    if what == "header":
        check_usable(tmp_path, ENTRIES)
    else:
        check_usable(tmp_path, [each for number, each in enumerate(ENTRIES) if number not in lost])
        assert sum(found.lost.values()) == len(lost)


@pytest.mark.parametrize("damage", ["gone", "zeros"])
def test_row_03_a_log_without_its_position_is_read_to_its_end(tmp_path: Path, damage: str) -> None:
    write_log(tmp_path)
    position = tmp_path / "position"
    position.unlink() if damage == "gone" else position.write_bytes(bytes(8192))
    with pytest.raises(LogCorrupt, match="position"):
        replayed(tmp_path)
    salvage(tmp_path)
    check_usable(tmp_path, ENTRIES)


def test_row_16_a_record_that_cannot_be_used_is_set_aside_like_a_damaged_one(tmp_path: Path) -> None:
    write_log(tmp_path)
    found = salvage(tmp_path, refuse=ENTRIES[3].payload)
    assert found.lost == {PartitionId(1): 1}
    assert len(found.kept) >= 1
    check_usable(tmp_path, [each for each in ENTRIES if each is not ENTRIES[3]])
