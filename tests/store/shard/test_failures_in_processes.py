"""What must survive, with a process that really ends; its files fail where told (rows of the failures to survive)."""

from __future__ import annotations

import errno
import multiprocessing
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from cdp_store.directory.shard_directory import log_path, snapshots_path
from cdp_store.errors import LogCorrupt
from cdp_store.log.format import RECORD_HEADER_BYTES
from cdp_store.log.position import read_position
from cdp_store.outside.faulty_files import Fault
from cdp_store.outside.seams import OsFiles
from cdp_store.shard.store import Store
from cdp_store.snapshot.places import LocalPlace
from cdp_store.snapshot.reader import snapshot_numbers
from tests.shards import KEY
from tests.simulation import numbers_in
from tests.store.store_process import EXIT_FAILED, IDENTITY, Trouble, numbers_of, serve

PROCESSES = multiprocessing.get_context("forkserver")  # what they import is loaded once
NO_TROUBLE = Trouble()


@pytest.fixture(scope="module", autouse=True)
def _preloaded() -> None:
    PROCESSES.set_forkserver_preload(["tests.store.store_process"])


def fed(directory: Path, orders: list[str], trouble: Trouble = NO_TROUBLE) -> tuple[int, list[str]]:
    """How a process with these orders ended, and what it answered."""
    answers = directory.with_suffix(".said")
    process = PROCESSES.Process(target=serve, args=(directory, orders, answers, trouble))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode, answers.read_text().splitlines()


def check(directory: Path, said: list[str], sent: int) -> None:
    """What was acknowledged is there once, what was not at most once and whole; and the store goes on."""
    store = Store(directory, IDENTITY, KEY, OsFiles())
    store.recover(lambda *_: None)
    [partition] = store.partitions.values()
    partition.validate()
    found = Counter(numbers_in(partition.capture()))
    store.close()
    acked = {int(line.split()[1]) for line in said if line.startswith("ok ") and line[3:].isdigit()}
    for batch in range(sent):
        counts = {found.pop(n, 0) for n in numbers_of(batch)}
        assert counts == {1} or (counts == {0} and batch not in acked), (batch, said)
    assert not found


LINES = ["0", "1", "s", "2", "c", "3", "s", "4", "5"]


def test_rows_01_02_09_24_power_lost_at_any_operation_of_a_process_loses_nothing_acknowledged(tmp_path: Path) -> None:
    number = random.SystemRandom().randint(1, 100)
    code, said = fed(tmp_path, LINES, Trouble(kill=("any", number)))
    assert code in (-signal.SIGKILL, 0), (number, code, said)
    check(tmp_path, said, 6)
    again, answers = fed(tmp_path, LINES)
    assert again == 0 and len(answers) == len(LINES)
    check(tmp_path, answers, 6)


@pytest.mark.parametrize("snapshots", [1, 2])
def test_row_09_a_power_loss_takes_back_no_snapshot_that_was_reported(tmp_path: Path, snapshots: int) -> None:
    code, said = fed(tmp_path, ["0", *["s", "1"] * (snapshots - 1), "s", "power loss"])
    assert code == -signal.SIGKILL and said == ["ok 0", *["ok s", "ok 1"] * (snapshots - 1), "ok s"]
    numbers = snapshot_numbers(LocalPlace(snapshots_path(tmp_path), OsFiles()))
    assert numbers == list(range(snapshots, 0, -1))
    check(tmp_path, said, 2)


def test_row_09_a_snapshot_whose_name_was_not_made_durable_is_as_if_it_had_never_been(tmp_path: Path) -> None:
    code, said = fed(tmp_path, ["0", "s", "1", "s", "2"], Trouble(kill=("rename", 8)))
    assert code == -signal.SIGKILL and said == ["ok 0", "ok s", "ok 1"]
    assert snapshot_numbers(LocalPlace(snapshots_path(tmp_path), OsFiles())) == [1]
    check(tmp_path, said, 3)


def test_row_07_after_a_failed_sync_a_process_acknowledges_nothing_more_and_ends(tmp_path: Path) -> None:
    assert fed(tmp_path, ["0"])[0] == 0
    code, said = fed(tmp_path, ["1", "2", "3"], Trouble(fail=Fault("sync", 5, errno.EIO)))
    assert code == EXIT_FAILED
    assert said[-1].startswith("failed: ") and "after a failed write" in said[-1]
    check(tmp_path, ["ok 0", *said[:-1]], 4)


def test_row_06_a_process_that_may_write_no_more_keeps_nothing_of_the_batch_and_goes_on(tmp_path: Path) -> None:
    code, said = fed(tmp_path, [str(n) for n in range(30)], Trouble(file_bytes=9000))
    assert code == 0
    first_full = next(number for number, line in enumerate(said) if line.startswith("full: "))
    assert any(line.startswith("ok ") for line in said[first_full:]), "a smaller batch still fits"
    check(tmp_path, said, 30)


def test_row_08_a_system_that_writes_a_few_bytes_at_a_time_is_written_to_whole(tmp_path: Path) -> None:
    code, said = fed(tmp_path, LINES, Trouble(has_short_writes=True))
    assert code == 0 and len(said) == len(LINES)
    check(tmp_path, said, 6)


def test_row_04_a_process_refuses_a_log_whose_last_synced_record_is_damaged(tmp_path: Path) -> None:
    code, said = fed(tmp_path, ["0", "1"])
    assert code == 0 and len(said) == 2
    [segment] = log_path(tmp_path).glob("*.cdplog")
    content = bytearray(segment.read_bytes())
    content[-RECORD_HEADER_BYTES] ^= 1
    segment.write_bytes(content)
    code, said = fed(tmp_path, ["2"])
    assert code == 1 and "refused: " in said[0] and str(segment) in said[0]
    found = read_position(log_path(tmp_path))
    assert found is not None and found[1].offset == len(content)
    store = Store(tmp_path, IDENTITY, KEY, OsFiles())
    with pytest.raises(LogCorrupt):
        store.recover(lambda *_: None)
    store.close()
