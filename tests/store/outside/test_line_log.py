"""A file of lines: what a crash leaves half written never counts, and what was answered for is never dropped."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from cdp_store.outside.line_log import LineLog
from cdp_store.outside.seams import OsAppendFile


class _Failing(OsAppendFile):
    """Writes `room` bytes more, and cuts nothing while `may_cut` is not set."""

    room, may_cut = 1 << 30, True

    def write(self, data: bytes) -> None:
        super().write(data[: self.room])
        if len(data) > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")

    def truncate(self, size: int) -> None:
        if not self.may_cut:
            raise OSError(errno.EIO, "Input/output error")
        super().truncate(size)


def opened(path: Path, answered_for: int = 0) -> tuple[LineLog, _Failing]:
    file = _Failing(path)
    with path.open("rb") as reading:
        return LineLog(file, reading.fileno(), answered_for), file


@pytest.mark.parametrize(
    "whole", [b"", b"one\ntwo\n", b"x" * ((1 << 16) - 1) + b"\n", b"a\n" + b"y" * (1 << 17) + b"\n"]
)
@pytest.mark.parametrize("torn", [b"", b"th", b"z" * (1 << 16), b"z" * ((1 << 17) + 1)])
def test_half_a_line_is_cut_off(tmp_path: Path, whole: bytes, torn: bytes) -> None:
    path = tmp_path / "lines"
    path.write_bytes(whole + torn)
    log, _ = opened(path, len(whole))
    assert (log.size, log.was_mended) == (len(whole), bool(torn))
    log.append(b"next\n")
    assert path.read_bytes() == whole + b"next\n"
    assert log.size == len(whole) + 5


def test_a_line_that_was_answered_for_gets_another_end(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntwo?")
    log, _ = opened(path, len(b"one\ntwo\n"))
    assert (log.size, log.was_mended) == (9, True)
    assert path.read_bytes() == b"one\ntwo?\n"


def test_a_file_that_is_shorter_than_what_was_answered_for_is_left_at_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\n")
    log, _ = opened(path, 100)
    assert (log.size, log.was_mended) == (4, False)


@pytest.mark.parametrize("may_cut", [True, False])
def test_a_write_that_fails_is_taken_back_at_once_or_before_the_next(tmp_path: Path, may_cut: bool) -> None:
    path = tmp_path / "lines"
    log, file = opened_after(path, b"one\n")
    file.room, file.may_cut = 6, may_cut
    with pytest.raises(OSError, match="No space"):
        log.append(b"two\nthree\n")
    assert path.read_bytes() == (b"one\n" if may_cut else b"one\ntwo\nth")
    if not may_cut:
        with pytest.raises(OSError, match="Input/output"):
            log.append(b"four\n")
    file.room, file.may_cut = 1 << 30, True
    log.append(b"four\n")
    assert path.read_bytes() == b"one\nfour\n"
    assert log.size == path.stat().st_size


def opened_after(path: Path, lines: bytes) -> tuple[LineLog, _Failing]:
    path.write_bytes(lines)
    return opened(path)
