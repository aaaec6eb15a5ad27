"""The bytes of a log segment: worked examples, torn tails, damage, versions and gaps."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cdp_store.log
from cdp_store.errors import LogCorrupt, LogUnsupported, RecordUnsupported
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.log.format import (
    FILE_HEADER_BYTES,
    RECORD_HEADER_BYTES,
    LogEntry,
    decode_file_header,
    decode_record,
    encode_file_header,
    encode_record,
    next_record,
    synced_behind,
)
from cdp_store.log.local import LocalLog
from cdp_store.log.position import Position, decode_slot, encode_slot, reset_position
from cdp_store.log.segment_reader import Positions
from cdp_store.log.sync_mode import SyncMode
from cdp_store.outside.faulty_files import FaultyFiles
from cdp_store.outside.seams import OsFiles


def entry(partition: int, sequence: int, payload: bytes) -> LogEntry:
    return LogEntry(PartitionId(partition), SequenceNumber(sequence), payload)


LOOKS_LIKE_A_HEADER = b"a longer payload \x01\xc7\x00\x00\x00\x00"
ENTRIES = [entry(0, 1, b"first"), entry(3, 1, b""), entry(0, 2, LOOKS_LIKE_A_HEADER), entry(0, 3, b"x")]


def write_segment(
    directory: Path, entries: Sequence[LogEntry], number: int = 1, *, synced_from: int | None = None
) -> Path:
    """A segment; records from number `synced_from` on (None: none) are not known to be durable."""
    directory.mkdir(exist_ok=True)
    path = directory / f"{number:08d}.cdplog"
    path.write_bytes(encode_file_header() + b"".join(encode_record(*each) for each in entries))
    known = entries if synced_from is None else entries[:synced_from]
    reset_position(directory, Position(number, starts(known)[-1]), OsFiles())
    return path


def replayed(directory: Path, start: Positions | None = None) -> list[LogEntry]:
    """What a log gives back behind a start; it is opened and closed."""
    found = list[LogEntry]()
    log = LocalLog(directory, OsFiles())
    try:
        log.replay(lambda r: found.append(LogEntry(r.partition, r.sequence, r.payload, r.kind)), lambda *_: None, start)
    finally:
        log.close()
    return found


def starts(entries: Sequence[LogEntry]) -> list[int]:
    """Offset of each record, and of the end."""
    offsets = [FILE_HEADER_BYTES]
    for each in entries:
        offsets.append(offsets[-1] + RECORD_HEADER_BYTES + len(each[2]))
    return offsets


@given(st.integers(0, 2**16 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=60), st.binary(max_size=20))
@settings(max_examples=100)
def test_a_record_comes_back_from_anywhere_in_a_file(
    partition: int, sequence: int, payload: bytes, before: bytes
) -> None:
    encoded = encode_record(*entry(partition, sequence, payload))
    record = decode_record(before + encoded + b"behind", len(before))
    assert record is not None
    assert (record.partition, record.sequence, record.payload) == (partition, sequence, payload)
    assert record.end == len(before) + len(encoded)


@given(st.binary(max_size=30), st.integers(0, 10_000), st.integers(1, 255))
@settings(max_examples=200)
def test_a_record_with_a_changed_byte_is_bad(payload: bytes, at: int, flip: int) -> None:
    encoded = bytearray(encode_record(*entry(3, 7, payload)))
    encoded[at % len(encoded)] ^= flip
    assert decode_record(bytes(encoded), 0) is None


def test_the_examples_of_the_format_description_are_real() -> None:
    text = (Path(cdp_store.log.__file__).parent / "FORMAT.md").read_text()
    example = text.split("## Example")[1].split("## Reading")[0]
    header, record, slot = (line.replace(" ", "") for line in example.splitlines() if line.startswith("    "))
    assert header == encode_file_header().hex()
    assert record == encode_record(*entry(3, 1, b"\x80"), synced=16).hex()
    assert slot == encode_slot(1, Position(1, 41)).hex()


def test_the_layout_is_the_described_one() -> None:
    """Written out here a second time, from FORMAT.md."""
    rest = struct.pack("<HBBIQ", 3, 1, 0xC7, 77, 9) + b"payload"
    expected = struct.pack("<II", 7, google_crc32c.value(rest)) + rest
    assert encode_record(*entry(3, 9, b"payload"), synced=77) == expected
    head = b"CDPLOG\r\n" + struct.pack("<I", 2)
    assert encode_file_header() == head + struct.pack("<I", google_crc32c.value(head))
    slot = b"CDPPOS\r\n" + struct.pack("<IQQQ", 1, 5, 2, 1234)
    assert encode_slot(5, Position(2, 1234)) == slot + struct.pack("<I", google_crc32c.value(slot))


@pytest.mark.parametrize("at", range(FILE_HEADER_BYTES * 8))
def test_a_file_header_with_a_flipped_bit_is_bad(at: int) -> None:
    damaged = bytearray(encode_file_header())
    damaged[at // 8] ^= 1 << at % 8
    assert decode_file_header(bytes(damaged)) is None


def test_a_log_gives_back_what_was_written(tmp_path: Path) -> None:
    write_segment(tmp_path, ENTRIES)
    assert replayed(tmp_path) == ENTRIES


def test_row_02_a_tail_torn_at_any_byte_is_cut_to_the_last_good_record(tmp_path: Path) -> None:
    path = write_segment(tmp_path, ENTRIES, synced_from=1)
    whole, offsets = path.read_bytes(), starts(ENTRIES)
    for size in range(offsets[1], len(whole) + 1):
        path.write_bytes(whole[:size])
        reset_position(tmp_path, Position(1, offsets[1]), OsFiles())
        complete = sum(offset <= size for offset in offsets[1:])
        assert replayed(tmp_path) == ENTRIES[:complete]
        assert path.stat().st_size == offsets[complete]


@pytest.mark.parametrize("garbage", [b"\x00" * 200, b"\xff" * 200, b"\x01\xc7\x00\x00\x00\x00" * 20])
def test_row_02_a_tail_of_garbage_is_cut(tmp_path: Path, garbage: bytes) -> None:
    path = write_segment(tmp_path, ENTRIES)
    path.write_bytes(path.read_bytes() + garbage)
    assert replayed(tmp_path) == ENTRIES
    assert path.stat().st_size == starts(ENTRIES)[-1]


def test_row_02_a_group_of_which_only_the_end_reached_the_disk_is_cut(tmp_path: Path) -> None:
    """A power loss may keep any of the unsynced blocks: good records behind a bad one are no sign of damage."""
    path = write_segment(tmp_path, ENTRIES, synced_from=1)
    damaged, offsets = bytearray(path.read_bytes()), starts(ENTRIES)
    damaged[offsets[1] : offsets[2]] = bytes(offsets[2] - offsets[1])
    path.write_bytes(damaged)
    assert replayed(tmp_path) == ENTRIES[:1]


def test_row_03_every_flipped_bit_of_what_was_synced_is_refused_with_file_and_offset(tmp_path: Path) -> None:
    path = write_segment(tmp_path, ENTRIES)
    whole, offsets = path.read_bytes(), starts(ENTRIES)
    for bit in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(LogCorrupt) as caught:
            replayed(tmp_path)
        expected = max((offset for offset in offsets if offset <= bit // 8), default=0)
        assert (caught.value.path, caught.value.offset) == (path, expected)
        assert str(path) in str(caught.value)
        assert str(expected) in str(caught.value)
        assert path.read_bytes() == damaged, "nothing was changed"


def test_row_03_what_later_records_know_to_be_durable_is_damage_even_when_the_position_lags(tmp_path: Path) -> None:
    """The position file is synced beside the next group, so after a power loss it may be one group old."""
    log = LocalLog(tmp_path, OsFiles())
    log.replay(lambda record: None, lambda *_: None)
    for each in ENTRIES:
        log.append([each])
    log.close()
    (path,) = tmp_path.glob("*.cdplog")
    whole, offsets = path.read_bytes(), starts(ENTRIES)
    for number in range(len(ENTRIES) - 1):
        damaged = bytearray(whole)
        damaged[offsets[number] + 5] ^= 1
        path.write_bytes(damaged)
        reset_position(tmp_path, Position(1, offsets[number]), OsFiles())
        with pytest.raises(LogCorrupt) as caught:
            replayed(tmp_path)
        assert caught.value.offset == offsets[number]


@pytest.mark.parametrize("what", ["flipped", "cut inside", "cut whole", "file gone"])
def test_row_04_damage_to_exactly_the_last_synced_record_is_detected(tmp_path: Path, what: str) -> None:
    log = LocalLog(tmp_path, OsFiles())
    log.replay(lambda record: None, lambda *_: None)
    for each in ENTRIES:
        log.append([each])
    log.close()
    (path,) = tmp_path.glob("*.cdplog")
    data, last = bytearray(path.read_bytes()), starts(ENTRIES)[-2]
    match what:
        case "flipped":
            data[-1] ^= 1
        case "cut inside":
            del data[-1:]
        case "cut whole":
            del data[last:]
    path.write_bytes(data)
    if what == "file gone":
        path.unlink()
    with pytest.raises(LogCorrupt) as caught:
        replayed(tmp_path)
    assert (caught.value.path, caught.value.offset) == (path, 0 if what == "file gone" else last)


def test_row_04_either_slot_of_the_position_may_be_torn_and_both_may_not(tmp_path: Path) -> None:
    write_segment(tmp_path, ENTRIES)
    position = tmp_path / "position"
    whole = position.read_bytes()
    for slot in (0, 4096):
        position.write_bytes(whole[:slot] + bytes(40) + whole[slot + 40 :])
        assert replayed(tmp_path) == ENTRIES
        position.write_bytes(whole)
    for damaged in (bytes(len(whole)), b"", None):
        position.unlink() if damaged is None else position.write_bytes(damaged)
        with pytest.raises(LogCorrupt, match="position"):
            replayed(tmp_path)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 319))
@settings(max_examples=50)
def test_a_slot_comes_back_and_a_flipped_bit_in_it_is_noticed(
    generation: int, segment: int, offset: int, bit: int
) -> None:
    slot = bytearray(encode_slot(generation, Position(segment, offset)))
    assert decode_slot(bytes(slot)) == (1, generation, Position(segment, offset))
    slot[bit // 8] ^= 1 << bit % 8
    assert decode_slot(bytes(slot)) is None


def test_damage_at_the_end_of_an_older_segment_is_no_torn_tail(tmp_path: Path) -> None:
    path = write_segment(tmp_path, ENTRIES)
    write_segment(tmp_path, [entry(0, 4, b"next file")], 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(LogCorrupt) as caught:
        replayed(tmp_path)
    assert (caught.value.path, caught.value.offset) == (path, starts(ENTRIES)[-2])


@pytest.mark.parametrize("left", [0, 1, 7, 8, 15, 16])
@pytest.mark.parametrize("fill", [None, b"\x00", b"\xff"], ids=["cut", "zeros", "ones"])
def test_a_log_that_was_cut_while_its_header_was_written_starts_anew(
    tmp_path: Path, left: int, fill: bytes | None
) -> None:
    """A header is synced before the first record: behind a header that is no header there never was one."""
    path = tmp_path / "00000001.cdplog"
    reset_position(tmp_path, Position(), OsFiles())
    path.write_bytes(encode_file_header()[:left] if fill is None else fill * left)
    log = LocalLog(tmp_path, OsFiles())
    log.replay(lambda record: None, lambda *_: None)
    log.append(ENTRIES)
    log.close()
    assert replayed(tmp_path) == ENTRIES


def test_row_22_a_newer_version_is_refused_and_named(tmp_path: Path) -> None:
    head = b"CDPLOG\r\n" + struct.pack("<I", 3)
    path = tmp_path / "00000001.cdplog"
    path.write_bytes(head + struct.pack("<I", google_crc32c.value(head)))
    with pytest.raises(LogUnsupported) as caught:
        replayed(tmp_path)
    assert (caught.value.path, caught.value.version, caught.value.supported) == (path, 3, 2)


@pytest.mark.parametrize(
    "entries",
    [
        [entry(0, 2, b"")],
        [entry(0, 1, b""), entry(0, 3, b"")],
        [entry(0, 1, b""), entry(0, 1, b"")],
        [entry(0, 1, b""), entry(1, 2, b"")],
    ],
)
def test_a_gap_or_repetition_of_sequence_numbers_is_damage(tmp_path: Path, entries: list[LogEntry]) -> None:
    path = write_segment(tmp_path, entries)
    with pytest.raises(LogCorrupt, match="sequence") as caught:
        replayed(tmp_path)
    assert (caught.value.path, caught.value.offset) == (path, starts(entries)[-2])


def test_a_missing_segment_is_noticed(tmp_path: Path) -> None:
    write_segment(tmp_path, [entry(0, 1, b"a")], 1)
    write_segment(tmp_path, [entry(0, 2, b"b")], 2)
    write_segment(tmp_path, [entry(0, 3, b"c")], 3)
    (tmp_path / "00000002.cdplog").unlink()
    with pytest.raises(LogCorrupt, match="the segment after it is missing"):
        replayed(tmp_path)


def test_segments_are_rolled_and_read_in_order(tmp_path: Path) -> None:
    log = LocalLog(tmp_path, OsFiles(), segment_bytes=200)
    log.replay(lambda record: None, lambda *_: None)
    entries = [entry(number % 2, number // 2 + 1, bytes([number]) * number) for number in range(30)]
    for each in entries:
        log.append([each])
    log.close()
    assert len(list(tmp_path.glob("*.cdplog"))) > 5
    assert replayed(tmp_path) == entries
    assert replayed(tmp_path) == entries, "reading changes nothing"


def test_progress_grows_to_the_whole(tmp_path: Path) -> None:
    write_segment(tmp_path, ENTRIES[:2], 1)
    write_segment(tmp_path, ENTRIES[2:], 2)
    told = list[tuple[int, int]]()
    log = LocalLog(tmp_path, OsFiles())
    log.replay(lambda record: None, lambda done, total: told.append((done, total)))
    log.close()
    total = sum(path.stat().st_size for path in tmp_path.glob("*.cdplog"))
    assert told == sorted(told)
    assert told[-1] == (total, total)


@given(st.binary(max_size=80), st.binary(max_size=30))
@settings(max_examples=100)
def test_a_good_record_is_found_behind_any_bytes(garbage: bytes, payload: bytes) -> None:
    good = encode_record(*entry(2, 5, payload), synced=3)
    found = next_record(b"?" + garbage + good, 0)
    assert found is not None
    assert found <= 1 + len(garbage)
    assert next_record(b"?" + garbage + good[:-1], 0) is None
    assert synced_behind(b"?" + garbage + good, 0) == 3


# ------------------------------------------------------------------------------------------------------- older versions

VERSION_1 = Path(__file__).parents[1] / "golden" / "log-1.cdplog"


def test_row_22_a_log_of_version_1_is_read_and_gone_on_with_in_a_new_segment(tmp_path: Path) -> None:
    old = tmp_path / "00000001.cdplog"
    old.write_bytes(VERSION_1.read_bytes())
    assert replayed(tmp_path) == ENTRIES[:1] + [entry(3, 1, b""), entry(0, 2, b"second"), entry(0, 3, b"x")]
    log = LocalLog(tmp_path, OsFiles())
    log.replay(lambda record: None, lambda *_: None)
    log.append([entry(0, 4, b"new")])
    log.close()
    assert old.read_bytes() == VERSION_1.read_bytes()
    assert replayed(tmp_path)[-1] == entry(0, 4, b"new")


def test_row_22_damage_inside_a_log_of_version_1_is_told_from_its_torn_tail(tmp_path: Path) -> None:
    old, whole = tmp_path / "00000001.cdplog", VERSION_1.read_bytes()
    old.write_bytes(whole[:-1])
    assert len(replayed(tmp_path)) == 3
    for each in tmp_path.iterdir():
        each.unlink()
    damaged = bytearray(whole)
    damaged[30] ^= 1
    old.write_bytes(damaged)
    with pytest.raises(LogCorrupt) as caught:
        replayed(tmp_path)
    assert caught.value.offset == 16


# ------------------------------------------------------------------------------------------------------ kinds and order


def test_a_record_of_an_unknown_kind_is_refused_by_name(tmp_path: Path) -> None:
    path = write_segment(tmp_path, [entry(0, 1, b"a"), entry(0, 2, b"b")._replace(kind=9)])
    with pytest.raises(RecordUnsupported) as caught:
        replayed(tmp_path)
    assert (caught.value.path, caught.value.offset, caught.value.kind) == (path, starts([entry(0, 1, b"a")])[-1], 9)


def test_replay_starts_behind_a_position_and_refuses_a_log_that_starts_later(tmp_path: Path) -> None:
    write_segment(tmp_path, [entry(0, 4, b"a"), entry(0, 5, b"b"), entry(1, 1, b"c")])
    found = list[int]()
    for start, expected in ((3, [4, 5, 1]), (4, [5, 1]), (9, [1])):
        log = LocalLog(tmp_path, OsFiles())
        log.replay(
            lambda record: found.append(record.sequence), lambda *_: None, {PartitionId(0): SequenceNumber(start)}
        )
        log.close()
        assert found == expected
        found.clear()
    log = LocalLog(tmp_path, OsFiles())
    with pytest.raises(LogCorrupt, match="sequence 4 instead of 3"):
        log.replay(lambda record: None, lambda *_: None, {PartitionId(0): SequenceNumber(2)})


def test_trim_removes_whole_segments_behind_a_position_oldest_first(tmp_path: Path) -> None:
    log = LocalLog(tmp_path, OsFiles(), segment_bytes=100)
    log.replay(lambda record: None, lambda *_: None)
    entries = [entry(number % 2, number // 2 + 1, bytes(20)) for number in range(12)]
    for each in entries:
        log.append([each])
    count = len(list(tmp_path.glob("*.cdplog")))
    assert log.trim({PartitionId(0): SequenceNumber(0)}) == 0
    upto = {PartitionId(0): SequenceNumber(4), PartitionId(1): SequenceNumber(3)}
    removed = log.trim(upto)
    assert 0 < removed < count - 1
    log.append([entry(0, 7, b"on")])
    log.close()
    assert len(list(tmp_path.glob("*.cdplog"))) == count - removed
    again, found = LocalLog(tmp_path, OsFiles(), segment_bytes=100), list[LogEntry]()
    again.replay(lambda r: found.append(entry(r.partition, r.sequence, r.payload)), lambda *_: None, upto)
    assert found == [each for each in [*entries, entry(0, 7, b"on")] if each.sequence > upto[each.partition]]
    assert again.trim({PartitionId(0): SequenceNumber(99), PartitionId(1): SequenceNumber(99)}) == count - removed - 1
    again.close()


def test_in_interval_mode_a_crash_takes_only_what_was_not_synced(tmp_path: Path) -> None:
    files = FaultyFiles()
    log = LocalLog(tmp_path, files, segment_bytes=120, mode=SyncMode.INTERVAL)
    log.replay(lambda record: None, lambda *_: None)
    files.plan()
    log.append(ENTRIES[:1])
    assert files.counts["sync"] == 0
    log.sync()
    log.append(ENTRIES[1:])
    files.crash()
    assert replayed(tmp_path)[:1] == ENTRIES[:1]
