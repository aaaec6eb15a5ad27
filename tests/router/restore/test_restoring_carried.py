"""What no snapshot holds comes along from the directory that a restore replaces: API keys, audit, dead letters."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cdp_router.cli.app import app
from cdp_router.cluster.topology import ClusterDirectory
from cdp_router.gateway.letters.dead_letters import FOLDER as LETTERS
from cdp_router.gateway.letters.dead_letters import DeadLetters
from cdp_router.gateway.letters.letter_lines import DeadLetter
from cdp_router.process.data_directory import check_directory, open_keys
from cdp_router.restore.cluster_restore import Restored, Wanted, restore
from cdp_router.rpc.principal import Role
from cdp_router.security.audit.audit_check import check
from cdp_router.security.audit.audit_files import FOLDER as AUDIT
from cdp_router.security.audit.audit_files import AuditFiles, anchor_path, claim_folder
from cdp_router.security.audit.audit_lines import Entry
from cdp_router.security.keys.key_file import KEYS_NAME, KEYS_OUTDATED, change_keys
from cdp_router.security.keys.keys import authenticate, mint
from cdp_router.security.tls.cluster_secrets import AUDIT_CHAIN, derived
from cdp_store.errors import DirectoryExists, FileMissing, KeysNotCarried
from cdp_store.outside.seams import OsFiles
from tests.router.restore.test_restoring import RECORDS, opened

LETTER = DeadLetter("web", "segment", 7, None, "FIELD_TYPE", "userId is not text", {"userId": 7})


def with_files(path: Path) -> str:
    """A data directory with a key (which is given back), two audited calls, and a dead letter."""
    with opened(path) as data:
        data.deliver(RECORDS[:3])
    directory = ClusterDirectory(path)
    key, stored = mint("operator", [Role.ADMIN], 0)
    change_keys(path / KEYS_NAME, lambda _: (None, {stored.id: stored}), directory.listed(KEYS_NAME, KEYS_OUTDATED))
    DeadLetters(path / LETTERS, directory).add([LETTER])
    lock = claim_folder(path / AUDIT)
    audit = AuditFiles(lock.folder, derived(directory.load(), AUDIT_CHAIN), OsFiles())
    for _ in range(2):
        audit.append(Entry(0, "2026-01-01", "AdminService/Erase", "OK", "key", "operator", "id", {}))
    audit.close()
    lock.release()
    directory.remember_paths([lock.folder, anchor_path(lock.folder)])
    check_directory(directory)
    return key


def restored(source: Path, data: Path, wanted: Wanted = Wanted()) -> tuple[Restored, list[str]]:
    said = list[str]()
    return restore(str(source), data, wanted, said.append, 7, overwrite=True), said


@pytest.mark.parametrize("wanted", [Wanted(), Wanted(partitions=3), Wanted(shards=1)], ids=["same", "recut", "fewer"])
def test_keys_audit_and_dead_letters_come_along_when_a_directory_is_restored_onto_itself(
    tmp_path: Path, wanted: Wanted
) -> None:
    key = with_files(tmp_path / "data")
    made, _ = restored(tmp_path / "data", tmp_path / "data", wanted)
    directory = ClusterDirectory(tmp_path / "data")
    assert made.has_keys and check_directory(directory) == []
    keys = open_keys(directory, None).keys()
    assert keys is not None and authenticate(keys, key, 1).name == "operator"
    assert list(DeadLetters(directory.path / LETTERS).letters(directory.path / LETTERS / "web")) == [LETTER]
    checked = check(directory.path / AUDIT / "router", derived(directory.load(), AUDIT_CHAIN))
    assert (checked.entries, checked.problems) == (2, ())
    assert made.replaced is not None and (made.replaced / KEYS_NAME).exists() and (made.replaced / AUDIT).exists()
    (directory.path / KEYS_NAME).unlink()
    with pytest.raises(FileMissing):  # the new directory knows that there are keys
        check_directory(directory)


def test_keys_and_letters_of_another_cluster_stay_in_force_and_its_audit_stays_where_it_can_be_checked(
    tmp_path: Path,
) -> None:
    with opened(tmp_path / "source") as data:
        data.deliver(RECORDS)
    key = with_files(tmp_path / "data")
    made, said = restored(tmp_path / "source", tmp_path / "data")
    directory = ClusterDirectory(tmp_path / "data")
    assert check_directory(directory) == []
    keys = open_keys(directory, None).keys()
    assert keys is not None and authenticate(keys, key, 1).name == "operator"
    assert (directory.path / LETTERS).exists() and not (directory.path / AUDIT).exists()
    assert made.replaced is not None and any(str(made.replaced / AUDIT) in line for line in said)


def test_a_restore_is_refused_where_the_keys_of_the_directory_before_cannot_be_read(tmp_path: Path) -> None:
    with_files(tmp_path / "data")
    keys = tmp_path / "data" / KEYS_NAME
    content = keys.read_bytes()
    for damage in (lambda: keys.write_bytes(content[:-9]), keys.unlink):
        damage()
        before = sorted(tmp_path.iterdir())
        with pytest.raises(KeysNotCarried, match=r"keys\.json"):
            restored(tmp_path / "data", tmp_path / "data")
        assert sorted(tmp_path.iterdir()) == before


def test_a_damaged_cluster_file_of_the_directory_before_keeps_no_keys_from_coming_along(tmp_path: Path) -> None:
    with opened(tmp_path / "source") as data:
        data.deliver(RECORDS)
    key = with_files(tmp_path / "data")
    (tmp_path / "data" / "cluster.json").write_bytes(b"{")
    restored(tmp_path / "source", tmp_path / "data")
    directory = ClusterDirectory(tmp_path / "data")
    check_directory(directory)
    keys = open_keys(directory, None).keys()
    assert keys is not None and authenticate(keys, key, 1).name == "operator"


def test_keys_that_let_nobody_in_go_on_letting_nobody_in(tmp_path: Path) -> None:
    with_files(tmp_path / "data")
    directory = ClusterDirectory(tmp_path / "data")
    change_keys(directory.path / KEYS_NAME, lambda _: (None, {}), directory.listed(KEYS_NAME, KEYS_OUTDATED))
    restored(tmp_path / "data", tmp_path / "data")
    assert open_keys(directory, None).keys() == {}


def test_the_command_says_that_a_copy_brings_erased_people_back(tmp_path: Path) -> None:
    with_files(tmp_path / "data")
    restored(tmp_path / "data", tmp_path / "copy")
    for log in (tmp_path / "copy").glob("shard-*/log"):
        shutil.rmtree(log)
    done = CliRunner().invoke(app, ["restore", "--from", str(tmp_path / "copy"), "--data", str(tmp_path / "new")])
    assert done.exit_code == 0 and "is a copy without a log" in done.stdout, done.output


def test_the_command_says_whether_there_are_keys(tmp_path: Path) -> None:
    with_files(tmp_path / "data")
    asked = ["restore", "--from", str(tmp_path / "data"), "--data"]
    new = CliRunner().invoke(app, [*asked, str(tmp_path / "new")])
    assert new.exit_code == 0 and "holds no API keys" in new.stdout and "cdp keys create" in new.stdout
    assert "copy without a log" not in new.stdout
    again = CliRunner().invoke(app, [*asked, str(tmp_path / "data"), "--overwrite"])
    assert again.exit_code == 0 and "no API keys" not in again.stdout
    with pytest.raises(DirectoryExists):
        restore(str(tmp_path / "data"), tmp_path / "new", Wanted(), lambda _: None, 7)
