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
from cdp_store.errors import LogCorrupt, LogUnsupported
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.log.format import (
    FILE_HEADER_BYTES,
    RECORD_HEADER_BYTES,
    decode_file_header,
    decode_record,
    encode_file_header,
    encode_record,
    good_record_follows,
)
from cdp_store.log.local import LocalLog
from cdp_store.seams import OsFiles

Entry = tuple[PartitionId, SequenceNumber, bytes]


def entry(partition: int, sequence: int, payload: bytes) -> Entry:
    return PartitionId(partition), SequenceNumber(sequence), payload


LOOKS_LIKE_A_HEADER = b"a longer payload \x01\x00\x00\x00\x00\x00"
ENTRIES = [entry(0, 1, b"first"), entry(3, 1, b""), entry(0, 2, LOOKS_LIKE_A_HEADER), entry(0, 3, b"x")]


def write_segment(directory: Path, entries: Sequence[Entry], number: int = 1) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / f"{number:08d}.cdplog"
    path.write_bytes(encode_file_header() + b"".join(encode_record(*each) for each in entries))
    return path


def replayed(directory: Path) -> list[Entry]:
    """What a log gives back; it is opened and closed."""
    found = list[Entry]()
    log = LocalLog(directory, OsFiles())
    try:
        log.replay(lambda record: found.append((record.partition, record.sequence, record.payload)), lambda *_: None)
    finally:
        log.close()
    return found


def starts(entries: Sequence[Entry]) -> list[int]:
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
    record = decode_record(memoryview(before + encoded + b"behind"), len(before))
    assert record is not None
    assert (record.partition, record.sequence, record.payload) == (partition, sequence, payload)
    assert record.end == len(before) + len(encoded)


@given(st.binary(max_size=30), st.integers(0, 10_000), st.integers(1, 255))
@settings(max_examples=200)
def test_a_record_with_a_changed_byte_is_bad(payload: bytes, at: int, flip: int) -> None:
    encoded = bytearray(encode_record(*entry(3, 7, payload)))
    encoded[at % len(encoded)] ^= flip
    assert decode_record(memoryview(bytes(encoded)), 0) is None


def test_the_examples_of_the_format_description_are_real() -> None:
    text = (Path(cdp_store.log.__file__).parent / "FORMAT.md").read_text()
    example = text.split("## Example")[1].split("## Reading")[0]
    header, record = (line.replace(" ", "") for line in example.splitlines() if line.startswith("    "))
    assert header == encode_file_header().hex()
    assert record == encode_record(*entry(3, 1, b"\x80")).hex()


def test_the_layout_is_the_described_one() -> None:
    """Written out here a second time, from FORMAT.md."""
    rest = struct.pack("<HBBIQ", 3, 1, 0, 0, 9) + b"payload"
    expected = struct.pack("<II", 7, google_crc32c.value(rest)) + rest
    assert encode_record(*entry(3, 9, b"payload")) == expected
    head = b"CDPLOG\r\n" + struct.pack("<I", 1)
    assert encode_file_header() == head + struct.pack("<I", google_crc32c.value(head))


@pytest.mark.parametrize("at", range(FILE_HEADER_BYTES * 8))
def test_a_file_header_with_a_flipped_bit_is_bad(at: int) -> None:
    damaged = bytearray(encode_file_header())
    damaged[at // 8] ^= 1 << at % 8
    assert decode_file_header(bytes(damaged)) is None


def test_a_log_gives_back_what_was_written(tmp_path: Path) -> None:
    write_segment(tmp_path, ENTRIES)
    assert replayed(tmp_path) == ENTRIES


def test_a_tail_torn_at_any_byte_is_cut_to_the_last_good_record(tmp_path: Path) -> None:
    path = write_segment(tmp_path, ENTRIES)
    whole, offsets = path.read_bytes(), starts(ENTRIES)
    for size in range(offsets[1], len(whole) + 1):
        path.write_bytes(whole[:size])
        complete = sum(offset <= size for offset in offsets[1:])
        assert replayed(tmp_path) == ENTRIES[:complete]
        assert path.stat().st_size == offsets[complete]


@pytest.mark.parametrize("garbage", [b"\x00" * 200, b"\xff" * 200, b"\x01\x00\x00\x00\x00\x00" * 20])
def test_a_tail_of_garbage_is_cut(tmp_path: Path, garbage: bytes) -> None:
    path = write_segment(tmp_path, ENTRIES)
    path.write_bytes(path.read_bytes() + garbage)
    assert replayed(tmp_path) == ENTRIES
    assert path.stat().st_size == starts(ENTRIES)[-1]


def test_every_flipped_bit_before_the_last_record_is_refused_with_file_and_offset(tmp_path: Path) -> None:
    path = write_segment(tmp_path, ENTRIES)
    whole, offsets = path.read_bytes(), starts(ENTRIES)
    for bit in range(offsets[-2] * 8):
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
    path.write_bytes(encode_file_header()[:left] if fill is None else fill * left)
    log = LocalLog(tmp_path, OsFiles())
    log.replay(lambda record: None, lambda *_: None)
    log.append(ENTRIES)
    log.close()
    assert replayed(tmp_path) == ENTRIES


def test_a_newer_version_is_refused_and_named(tmp_path: Path) -> None:
    head = b"CDPLOG\r\n" + struct.pack("<I", 2)
    path = tmp_path / "00000001.cdplog"
    path.write_bytes(head + struct.pack("<I", google_crc32c.value(head)))
    with pytest.raises(LogUnsupported) as caught:
        replayed(tmp_path)
    assert (caught.value.path, caught.value.version, caught.value.supported) == (path, 2, 1)


@pytest.mark.parametrize(
    "entries",
    [
        [entry(0, 2, b"")],
        [entry(0, 1, b""), entry(0, 3, b"")],
        [entry(0, 1, b""), entry(0, 1, b"")],
        [entry(0, 1, b""), entry(1, 2, b"")],
    ],
)
def test_a_gap_or_repetition_of_sequence_numbers_is_damage(tmp_path: Path, entries: list[Entry]) -> None:
    path = write_segment(tmp_path, entries)
    with pytest.raises(LogCorrupt, match="sequence") as caught:
        replayed(tmp_path)
    assert (caught.value.path, caught.value.offset) == (path, starts(entries)[-2])


def test_a_missing_segment_is_noticed(tmp_path: Path) -> None:
    write_segment(tmp_path, [entry(0, 1, b"a")], 1)
    write_segment(tmp_path, [entry(0, 2, b"b")], 2)
    write_segment(tmp_path, [entry(0, 3, b"c")], 3)
    (tmp_path / "00000002.cdplog").unlink()
    with pytest.raises(LogCorrupt, match="sequence 3 instead of 2"):
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
    good = encode_record(*entry(2, 5, payload))
    assert good_record_follows(memoryview(b"?" + garbage + good), 0)
    assert not good_record_follows(memoryview(b"?" + garbage + good[:-1]), 0)
