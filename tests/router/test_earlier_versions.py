"""Generations of small files: an earlier version that is put back alone is refused, and a crash is no such thing."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from cdp_router.cli.app import app
from cdp_router.cluster.topology import MEMBERS_NAME, ClusterDirectory
from cdp_router.gateway.letters.dead_letters import FOLDER, DeadLetters
from cdp_router.gateway.letters.letter_lines import DeadLetter
from cdp_router.process.data_directory import check_directory, open_keys
from cdp_router.restore.cluster_restore import Wanted, restore
from cdp_router.restore.salvaging import salvaged
from cdp_router.rpc.principal import Role
from cdp_router.security.keys.key_file import KEYS_NAME, KEYS_OUTDATED, Keys, change_keys, decode_keys, read_keys
from cdp_router.security.keys.key_list import KeyList
from cdp_router.security.keys.keys import mint
from cdp_store.directory.documents import Documents
from cdp_store.directory.holdings import Holding, Holdings, HoldingState, read_holdings
from cdp_store.directory.inventory import read_inventory
from cdp_store.errors import DirectoryDamaged, FileOutdated, StoreFailed
from cdp_store.ids import PartitionId
from cdp_store.outside.faulty_files import Fault, FaultyFiles
from cdp_store.outside.sealed import Unsealed, generation_in, seal_bytes, seal_json, unseal_bytes, unseal_json
from cdp_store.outside.seams import AppendFile, Files, OsFiles
from tests.router.local_cluster import CLUSTER, NOW_MS, open_store

GOLDEN = Path(__file__).parent / "golden"
IDENTITY = CLUSTER.shard_identity(0)
FIRST, MOVED = PartitionId(0), PartitionId(2)


def begun(folder: Path, files: Files | None = None) -> Path:
    """The directory of a shard that has started once."""
    open_store(folder, files=files).close()
    return folder


def put(folder: Path, files: Files, content: int) -> None:
    """Write a document as a shard that has just started."""
    documents = Documents(folder, IDENTITY, files)
    before = documents.of(FIRST)
    documents.put(FIRST, "d", before["d"].version if before else 0, b"%d" % content)


def document(folder: Path) -> int:
    return int(Documents(folder, IDENTITY, OsFiles()).of(FIRST)["d"].content)


def give(folder: Path, files: Files, epoch: int) -> None:
    """Change the holdings of such a shard."""
    Holdings(folder, IDENTITY, files).change(MOVED, Holding(HoldingState.GONE, epoch, 1))


def epoch(folder: Path) -> int:
    return read_holdings(folder, IDENTITY)[MOVED].epoch


Change = Callable[[Path, Files, int], None]
Read = Callable[[Path], int]
CHANGED = pytest.mark.parametrize(
    ("name", "change", "read"), [("documents/p0000", put, document), ("holdings.json", give, epoch)]
)


@CHANGED
def test_an_earlier_version_is_refused_by_name_with_what_to_do(
    tmp_path: Path, name: str, change: Change, read: Read
) -> None:
    folder = begun(tmp_path)
    change(folder, OsFiles(), 2)
    before = (folder / name).read_bytes()
    change(folder, OsFiles(), 3)
    (folder / name).write_bytes(before)
    with pytest.raises(
        FileOutdated, match=r"replaced: .* generation 3; the newest .* 4\. Nothing .*--salvage"
    ) as caught:
        open_store(folder)
    assert str(folder / name) in str(caught.value)


@CHANGED
@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_a_crash_at_any_step_leaves_one_of_both_versions_and_refuses_none(
    tmp_path: Path, name: str, change: Change, read: Read, seed: int | None
) -> None:
    found = list[tuple[int, int]]()  # what is there, and how far the file is ahead of the list
    for number in range(1, 40):
        files = FaultyFiles()
        folder = begun(tmp_path / str(number), files)
        change(folder, files, 2)
        files.plan(Fault("any", number, errno.EIO))
        try:
            change(folder, files, 3)
        except StoreFailed:
            pass
        if not files.struck:
            break
        files.crash(None if seed is None else Random(seed))
        listed = read_inventory(folder, IDENTITY.mark("inventory.json"))
        assert listed is not None
        found.append((read(folder), generation_in(folder / name) - listed.generations[name]))
        open_store(folder).close()
        settled = read_inventory(folder, IDENTITY.mark("inventory.json"))
        assert settled is not None and settled.generations[name] == generation_in(folder / name)
        change(folder, OsFiles(), 4)
        open_store(folder).close()
        assert read(folder) == 4
    assert {(2, 0), (3, 1)} <= set(found) <= {(2, 0), (3, 1), (3, 0)}


def test_an_earlier_list_is_none_and_what_comes_later_is_behind_all_files(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    put(folder, OsFiles(), 2)
    before, old = (folder / "inventory.json").read_bytes(), (folder / "documents" / "p0000").read_bytes()
    put(folder, OsFiles(), 3)
    (folder / "inventory.json").write_bytes(before)
    put(folder, OsFiles(), 4)
    assert document(folder) == 4 and generation_in(folder / "documents" / "p0000") == 5
    (folder / "inventory.json").write_bytes(before)
    open_store(folder).close()
    (folder / "documents" / "p0000").write_bytes(old)
    with pytest.raises(FileOutdated):
        open_store(folder)


class FullForLists(OsFiles):
    """A disk on which there is no room for a list."""

    def open_append(self, path: Path) -> AppendFile:
        if path.name.startswith("inventory.json"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().open_append(path)


def test_a_list_without_room_follows_with_the_next_start(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    put(folder, OsFiles(), 2)
    before = (folder / "documents" / "p0000").read_bytes()
    put(folder, FullForLists(), 3)
    open_store(folder).close()
    (folder / "documents" / "p0000").write_bytes(before)
    with pytest.raises(FileOutdated):
        open_store(folder)


def test_a_file_of_an_earlier_form_is_an_earlier_version(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    put(folder, OsFiles(), 2)
    content = (folder / "holdings.json").read_bytes()
    for form in (2, 1):
        fields = {"format": form, "holdings": json.loads(content)["holdings"]}
        sealed = seal_json({"holdings": fields["holdings"]}, IDENTITY.mark("holdings.json"))
        (folder / "holdings.json").write_bytes(sealed if form == 2 else json.dumps(fields).encode())
        with pytest.raises(FileOutdated, match="generation 0"):
            open_store(folder)


# ------------------------------------------------------------------------------------------- files of the whole cluster


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory of one shard with two keys."""
    directory = ClusterDirectory(tmp_path / "data")
    cluster = directory.load_or_create(1, 2)
    open_store(directory.shard_path(0), cluster=cluster).close()
    made = [mint(name, (Role.ADMIN,), 1)[1] for name in ("one", "two")]
    listed = directory.listed(KEYS_NAME, KEYS_OUTDATED)
    change_keys(listed.path, lambda known: (None, {each.id: each for each in made}), listed)
    directory.set_members([0])
    check_directory(directory)
    return directory.path


def revoke(data: Path) -> None:
    listed = ClusterDirectory(data).listed(KEYS_NAME, KEYS_OUTDATED)
    change_keys(listed.path, lambda known: KeyList(known).after(lambda each: each.revoke("two", 7)), listed)


def grow(data: Path) -> None:
    ClusterDirectory(data).set_members([0, 1])


@pytest.mark.parametrize(("name", "change"), [(KEYS_NAME, revoke), (MEMBERS_NAME, grow)])
def test_an_earlier_file_of_the_cluster_is_refused_until_a_salvage_goes_on_with_it(
    data: Path, name: str, change: Callable[[Path], None]
) -> None:
    before = (data / name).read_bytes()
    change(data)
    (data / name).write_bytes(before)
    with pytest.raises(FileOutdated, match=r"the newest .*--salvage") as caught:
        check_directory(ClusterDirectory(data))
    assert str(data / name) in str(caught.value)
    said = "\n".join(salvaged(ClusterDirectory(data)))
    assert f"{data / name}: it is an earlier version" in said
    assert check_directory(ClusterDirectory(data)) == []
    assert (data / name).read_bytes() == before
    change(data)
    (data / name).write_bytes(before)
    with pytest.raises(FileOutdated):
        check_directory(ClusterDirectory(data))


def test_a_running_router_does_not_take_keys_that_were_put_back(data: Path) -> None:
    keys = open_keys(ClusterDirectory(data), None)
    before = (data / KEYS_NAME).read_bytes()
    revoke(data)
    revoked = keys.keys()
    (data / KEYS_NAME).write_bytes(before)
    assert keys.keys() == revoked and sorted(each.revoked_ms or 0 for each in (revoked or {}).values()) == [0, 7]
    done = CliRunner().invoke(app, ["keys", "list", "--data", str(data)])
    assert done.exit_code == 1 and "generation" in done.output.replace("\n", " ")


def test_a_file_that_is_written_while_it_is_read_is_no_earlier_one(data: Path) -> None:
    listed = ClusterDirectory(data).listed(KEYS_NAME, KEYS_OUTDATED)

    def slowly(path: Path, content: bytes, owner: str) -> Unsealed[Keys]:
        revoke(data)
        return decode_keys(path, content, owner)

    assert len(listed.read(slowly)) == 2
    assert len(read_keys(listed.path, listed)) == 2


def test_keys_from_before_all_were_given_up_stay_refused(data: Path) -> None:
    before = (data / KEYS_NAME).read_bytes()
    assert CliRunner().invoke(app, ["keys", "disable", "--data", str(data)]).exit_code == 0
    made = CliRunner().invoke(app, ["keys", "create", "new", "--role", "query", "--first", "--data", str(data)])
    assert made.exit_code == 0
    (data / KEYS_NAME).write_bytes(before)
    with pytest.raises(FileOutdated):
        open_keys(ClusterDirectory(data), None)


def test_files_from_before_a_restore_are_earlier_ones(data: Path) -> None:
    shard, cluster = data / "shard-0", ClusterDirectory(data).load()
    store = open_store(shard, cluster=cluster)
    store.documents.put(FIRST, "own", 0, b"1")
    store.snapshot(NOW_MS)
    store.close()
    names = [KEYS_NAME, "shard-0/holdings.json", "shard-0/documents/p0000"]
    before = {name: (data / name).read_bytes() for name in names}
    for _ in range(3):
        restore(str(data), data, Wanted(), lambda line: None, NOW_MS, overwrite=True)
    for name, content in before.items():
        now = (data / name).read_bytes()
        (data / name).write_bytes(content)
        with pytest.raises(FileOutdated):
            check_directory(ClusterDirectory(data))
            open_store(shard, cluster=cluster)
        (data / name).write_bytes(now)


def test_a_salvage_takes_of_each_document_the_newest_that_is_left(tmp_path: Path) -> None:
    directory = ClusterDirectory(tmp_path)
    cluster = directory.load_or_create(1, 1)
    store = open_store(directory.shard_path(0), cluster=cluster)
    store.documents.put(FIRST, "a", 0, b"a1")
    store.documents.put(FIRST, "a", 1, b"a2")
    store.documents.put(FIRST, "b", 0, b"b1")
    store.snapshot(NOW_MS)
    store.documents.put(FIRST, "b", 1, b"b2")
    path = directory.shard_path(0) / "documents" / "p0000"
    before = path.read_bytes()
    store.documents.put(FIRST, "a", 2, b"a3")
    store.close()
    path.write_bytes(before)
    said = "\n".join(salvaged(directory))
    assert str(path) in said and "earlier version" in said
    store = open_store(directory.shard_path(0), cluster=cluster)
    assert {name: each.content for name, each in store.documents.of(FIRST).items()} == {
        "a": b"a2",
        "b": b"b2",
    }
    store.close()


# ----------------------------------------------------------------------------------------------------------- the forms


@pytest.mark.parametrize(("form", "generations"), [(2, (0, 0, 0)), (3, (3, 4, 4))])
def test_directories_of_versions_with_a_checksum_are_read_and_numbered(
    tmp_path: Path, form: int, generations: tuple[int, ...]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(GOLDEN / f"directory-{form}", data)
    names = (KEYS_NAME, MEMBERS_NAME, "shard-0/documents/p0000")
    assert tuple(generation_in(data / name) for name in names) == generations
    directory = ClusterDirectory(data)
    assert check_directory(directory) == []
    assert [key.revoked_ms for key in (open_keys(directory, None).keys() or {}).values()] == [2]
    store = open_store(data / "shard-0", cluster=directory.load())
    assert store.documents.of(FIRST)["segments"].content == b'{"vip":2}'
    store.close()
    before = {name: (data / name).read_bytes() for name in (*names, "shard-0/holdings.json")}
    assert all(generation_in(data / name) for name in before)
    if form == 2:
        for name in before:
            now = (data / name).read_bytes()
            shutil.copyfile(GOLDEN / "directory-2" / name, data / name)
            with pytest.raises(FileOutdated):
                check_directory(directory)
                open_store(data / "shard-0", cluster=directory.load())
            (data / name).write_bytes(now)
    assert check_directory(directory) == []


def test_no_bit_of_a_numbered_file_changes_unnoticed() -> None:
    path, owner = Path("file"), "ab" * 8
    assert unseal_json(path, seal_json({"a": 1}, owner, 7), dict, owner).generation == 7
    content = seal_bytes(b"content", owner, 7)
    assert unseal_bytes(path, content, owner).value == b"content"
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            assert not unseal_bytes(path, bytes(changed), owner).is_sealed  # no longer a file with a header
        except DirectoryDamaged:
            continue
    for size in range(8, len(content)):
        with pytest.raises(DirectoryDamaged):
            unseal_bytes(path, content[:size], owner)


# --------------------------------------------------------------------------------------------------------- dead letters


def letter(n: int) -> DeadLetter:
    return DeadLetter("web", "segment", n, None, "WRONG", "it is wrong", {"userId": f"ann-{n}"})


def test_earlier_files_of_dead_letters_are_reported_by_name(tmp_path: Path) -> None:
    letters, web = DeadLetters(tmp_path / FOLDER), tmp_path / FOLDER / "web"
    for n in range(3):
        letters.add([letter(n)])
    current = (web / "current.ndjson").read_bytes()
    [aside] = letters.set_aside(web)
    letters.forget(["ann-0"])
    letters.add([letter(3)])
    assert letters.problems() == []
    for path in (aside, web / "current.ndjson"):
        now = path.read_bytes()
        path.write_bytes(current)
        [problem] = letters.problems()
        assert problem.startswith(f"{path} was changed") and "restore its newest version" in problem
        path.write_bytes(now)
    assert letters.problems() == []


def test_a_crash_between_two_notes_of_dead_letters_is_no_change(tmp_path: Path) -> None:
    letters, web = DeadLetters(tmp_path / FOLDER), tmp_path / FOLDER / "web"
    for n in range(2):
        letters.add([letter(n)])
    head = (web / "head").read_bytes()
    letters.set_aside(web)
    for n in range(2, 5):
        letters.add([letter(n)])
    (web / "head").write_bytes(head)  # it is not synced: a power loss may bring back what it said before
    assert letters.problems() == []
    letters.add([letter(5)])  # what was answered for is counted anew
    (web / "current.ndjson").write_bytes((web / "current.ndjson").read_bytes().replace(b"ann-2", b"ann-7"))
    assert any("was changed" in problem for problem in letters.problems())


def test_what_was_answered_for_in_an_earlier_form_has_no_checksum(tmp_path: Path) -> None:
    letters, web = DeadLetters(tmp_path / FOLDER), tmp_path / FOLDER / "web"
    shutil.copytree(GOLDEN / "directory-1" / FOLDER, tmp_path / FOLDER)
    size = (web / "current.ndjson").stat().st_size
    (web / "head").write_bytes(b"%020d 99d2f7b2\n" % size)
    assert letters.problems() == []
    letters.add([letter(1)])
    assert len(list(letters.letters(web))) == 2 and letters.problems() == []
