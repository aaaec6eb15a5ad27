"""A data directory whose files were changed, removed or swapped: refused by name, told, or made whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from cdp_router.cli.app import app
from cdp_router.cluster.placement import placement_in
from cdp_router.cluster.topology import ClusterDirectory
from cdp_router.errors import Unauthenticated
from cdp_router.process.data_directory import check_directory, open_keys, remove_old_leftovers
from cdp_router.restore.cluster_restore import Wanted, restore, source_cluster, verify_source
from cdp_router.restore.salvaging import salvaged
from cdp_router.rpc.principal import Role
from cdp_router.security.keys.key_file import KeyFile, decode_keys, read_keys
from cdp_router.security.keys.keys import StoredKey, authenticate
from cdp_store.directory.shard_directory import read_identity
from cdp_store.errors import (
    ClusterKeyMismatch,
    DirectoryDamaged,
    DirectoryMismatch,
    FileMissing,
    LogCorrupt,
    PlaceUnusable,
    SnapshotDamaged,
    StoreError,
)
from cdp_store.ids import PartitionId
from cdp_store.memory.digest import Digest
from cdp_store.outside.sealed import seal_bytes, seal_json, unseal_bytes, unseal_json
from tests.damage import Found, build, found_in, trials

GOLDEN = Path(__file__).parents[1] / "golden" / "directory-1"
DIGEST_1 = "5292b93177c0b652c91c187976522ddd"  # as the version that wrote it told
JSON_FILES = ["cluster.json", "keys.json", "members.json", "addresses.json", "inventory.json"]
JSON_FILES += [f"shard-0/{name}" for name in ("identity.json", "holdings.json", "inventory.json", "log/owner.json")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Found]:
    """A directory with everything in it, and what a start finds there."""
    folder = tmp_path_factory.mktemp("whole")
    build(folder)
    found_in(folder)
    return folder, found_in(folder)


@pytest.fixture
def data(whole: tuple[Path, Found], tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(whole[0], tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A directory of before files were sealed."""
    shutil.copytree(GOLDEN, tmp_path / "old")
    return tmp_path / "old"


def refused(folder: Path, error: type[StoreError], *names: str) -> str:
    """What a start is refused with, which names the files."""
    with pytest.raises(error) as caught:
        found_in(folder)
    for name in names:
        assert str(folder / name) in str(caught.value)
    return str(caught.value)


# --------------------------------------------------------------------------------------------- the key and its holders


@pytest.mark.parametrize("at", [0, 15, 16, 31])
def test_a_cluster_file_with_another_key_opens_no_shard(data: Path, at: int) -> None:
    directory = ClusterDirectory(data)
    cluster = directory.load()
    key = cluster.key[:at] + ("0" if cluster.key[at] != "0" else "1") + cluster.key[at + 1 :]
    directory.cluster_path.write_bytes(seal_json(msgspec.structs.replace(cluster, key=key)))
    message = refused(data, ClusterKeyMismatch, "shard-0")
    assert "cluster.json" in message


def test_a_changed_digit_of_the_key_is_noticed_in_the_file_itself(data: Path) -> None:
    path = data / "cluster.json"
    path.write_text(path.read_text().replace("0e0f", "0e1f"))
    assert "checksum" in refused(data, DirectoryDamaged, "cluster.json")


def test_no_shard_keeps_the_key_itself(data: Path) -> None:
    key = ClusterDirectory(data).load().key
    identity = read_identity(data / "shard-0")
    assert identity.key and identity.key != key
    for path in data.glob("shard-*/*.json"):
        assert key not in path.read_text()


# ------------------------------------------------------------------------------------------------ files that have gone


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        ("shard-0", "shard-0"),
        ("shard-1", "shard-1"),
        ("shard-0/log", "shard-0/log"),
        ("shard-1/log/position", "shard-1/log/position"),
        ("shard-0/holdings.json", "shard-0/holdings.json"),
        ("shard-0/inventory.json", "shard-0/inventory.json"),
        ("shard-0/documents/p0000", "shard-0/documents/p0000"),
        ("shard-0/documents", "shard-0/documents/p0000"),
        ("shard-0/snapshots", "shard-0"),
        ("cluster.json", "cluster.json"),
        ("members.json", "members.json"),
        ("keys.json", "keys.json"),
    ],
)
def test_what_is_missing_is_refused_by_name(data: Path, gone: str, named: str) -> None:
    path = data / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises((FileMissing, LogCorrupt, SnapshotDamaged), match=named):
        if gone == "cluster.json":
            ClusterDirectory(data).load_or_create(2, 4)
        found_in(data)
    assert gone != "cluster.json" or not path.exists()


def test_a_mount_point_without_its_disk_is_no_new_shard(data: Path) -> None:
    shutil.rmtree(data / "shard-0")
    (data / "shard-0").mkdir()
    refused(data, FileMissing, "shard-0")
    assert list((data / "shard-0").iterdir()) == []


@pytest.mark.parametrize("gone", ["dead-letters", "dead-letters/web", "dead-letters/web/current.ndjson", "audit"])
def test_missing_records_and_audits_are_told_and_the_cluster_starts(
    data: Path, whole: tuple[Path, Found], gone: str
) -> None:
    path = data / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    told = "\n".join(found_in(data).said)
    assert str(path) in told and "missing" in told


@pytest.mark.parametrize("gone", ["inventory.json", "shard-0/identity.json", "shard-0/log/owner.json"])
def test_what_follows_from_other_files_is_made_anew(data: Path, whole: tuple[Path, Found], gone: str) -> None:
    (data / gone).unlink()
    assert found_in(data).state == whole[1].state
    assert (data / gone).exists()


def test_without_the_list_of_files_a_shard_without_directory_is_missed(data: Path) -> None:
    (data / "inventory.json").unlink()
    shutil.rmtree(data / "shard-1")
    refused(data, FileMissing, "shard-1")


def test_a_shard_that_was_removed_from_the_cluster_may_lose_its_directory(data: Path) -> None:
    ClusterDirectory(data).set_members([0])
    shutil.rmtree(data / "shard-1")
    assert check_directory(ClusterDirectory(data)) == []


# ------------------------------------------------------------------------------------------------- swapped and damaged


@pytest.mark.parametrize("name", ["log", "log/00000001.cdplog", "holdings.json", "identity.json", "inventory.json"])
def test_files_swapped_between_shards_are_refused(data: Path, name: str) -> None:
    for shard in (0, 1):
        (data / f"shard-{shard}" / name).rename(data / f"aside-{shard}")
    for shard in (0, 1):
        (data / f"aside-{shard}").rename(data / f"shard-{1 - shard}" / name)
    with pytest.raises((DirectoryDamaged, DirectoryMismatch, LogCorrupt), match="shard-0"):
        found_in(data)


def test_a_log_with_records_of_partitions_that_the_shard_never_had_is_refused_by_name(data: Path) -> None:
    for name in ("log", "snapshots"):
        shutil.rmtree(data / "shard-1" / name)
        shutil.copytree(data / "shard-0" / name, data / "shard-1" / name)
    (data / "shard-1" / "log" / "owner.json").unlink()
    message = refused(data, LogCorrupt, "shard-1/log")
    assert "never had" in message or "snapshot holds it" in message


def test_documents_of_another_partition_are_refused(data: Path) -> None:
    folder = data / "shard-0" / "documents"
    shutil.copyfile(folder / "p0000", folder / "p0002")
    refused(data, DirectoryDamaged, "shard-0/documents/p0002")


def test_no_bit_of_the_documents_changes_unnoticed(data: Path) -> None:
    path, mark = data / "shard-0" / "documents" / "p0000", read_identity(data / "shard-0").mark("documents/p0000")
    content = path.read_bytes()
    assert unseal_bytes(path, content, mark).is_sealed
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            found = unseal_bytes(path, bytes(changed), mark)
        except DirectoryDamaged:
            continue
        assert not found.is_sealed  # its first bytes are others: then it must be no msgpack of the old form either
        path.write_bytes(changed)
        refused(data, DirectoryDamaged, "shard-0/documents/p0000")


@pytest.mark.parametrize("name", JSON_FILES)
def test_bytes_that_are_no_text_and_formats_to_come_are_refused_by_name(data: Path, name: str) -> None:
    path = data / name
    content = path.read_bytes()
    path.write_bytes(content.replace(b":", b":\xff", 1) if b'"' not in content else content.replace(b'"', b'"\xff', 1))
    refused(data, DirectoryDamaged, name)
    fields = json.loads(content)
    fields.pop("checksum")
    assert "format" in fields
    path.write_bytes(msgspec.json.encode({**fields, "format": 4}))
    assert "has format 4, which a newer version" in refused(data, DirectoryDamaged, name)


def test_an_address_written_by_hand_needs_no_checksum_and_one_changed_in_a_sealed_file_is_told(data: Path) -> None:
    path, directory = data / "addresses.json", ClusterDirectory(data)
    path.write_text(path.read_text().replace("7401", "7409"))
    with pytest.raises(DirectoryDamaged, match="checksum"):
        directory.addresses()
    path.write_text('{"0": "10.0.0.1:7401"}')
    assert directory.addresses() == {0: "10.0.0.1:7401"}


def test_the_layout_of_a_json_file_does_not_matter_and_every_field_does(tmp_path: Path) -> None:
    path, value = tmp_path / "file", {"a": 1, "b": ["x"]}
    sealed = seal_json(value, "owner", indent=2)
    assert unseal_json(path, sealed, dict[str, object], "owner").value == value
    again = json.dumps(dict(reversed(json.loads(sealed).items()))).encode()
    assert unseal_json(path, again, dict[str, object], "owner").value == value
    with pytest.raises(DirectoryDamaged, match="another cluster"):
        unseal_json(path, sealed, dict[str, object], "other")
    with pytest.raises(DirectoryDamaged, match="another cluster"):
        unseal_bytes(path, seal_bytes(b"x", "00" * 8), "11" * 8)


# ---------------------------------------------------------------------------------------------------------------- keys


SECRETS = (
    "cdp_bbbbbbbbbbbb_secret",
    "cdp_cccccccccccc_secret",
)  # of a key that was revoked and of one that has expired


def opens(content: bytes) -> bool:
    """Whether any of these keys is let in by a file with this content."""
    try:
        keys = decode_keys(Path("keys.json"), content).value
    except DirectoryDamaged:
        return False
    for shown in SECRETS:
        try:
            authenticate(keys, shown, 1_000)
        except Unauthenticated:
            continue
        return True
    return False


def test_no_bit_of_the_file_of_keys_lets_a_revoked_or_expired_key_in() -> None:
    [_, revoked] = read_keys(GOLDEN / "keys.json").values()
    expired = StoredKey("cccccccccccc", "expired", (Role.ADMIN,), revoked.hash, 1, expires_ms=9)
    content = seal_json({"keys": [msgspec.to_builtins(each) for each in (revoked, expired)]})
    assert not opens(content) and len(decode_keys(Path("keys.json"), content).value) == 2
    assert opens(seal_json({"keys": [msgspec.to_builtins(msgspec.structs.replace(revoked, revoked_ms=None))]}))
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        assert not opens(bytes(changed)), bit


@pytest.mark.parametrize(("name", "instead"), [("revoked_ms", "sevoked_ms"), ("format", "gormat"), ("keys", "jeys")])
def test_a_file_of_keys_of_the_first_form_has_no_fields_that_are_passed_over(
    tmp_path: Path, name: str, instead: str
) -> None:
    path = tmp_path / "keys.json"
    path.write_text((GOLDEN / "keys.json").read_text().replace(name, instead))
    with pytest.raises(DirectoryDamaged, match=r"keys\.json"):
        read_keys(path)


def test_keys_of_another_cluster_are_refused(data: Path, tmp_path: Path) -> None:
    ClusterDirectory(tmp_path / "other").load_or_create(2, 4)
    shutil.copyfile(data / "keys.json", tmp_path / "other" / "keys.json")
    with pytest.raises(DirectoryDamaged, match="another cluster"):
        open_keys(ClusterDirectory(tmp_path / "other"), None)
    assert open_keys(ClusterDirectory(tmp_path / "other"), data / "keys.json").keys()


def test_a_damaged_file_leaves_a_running_router_with_the_keys_it_has(data: Path) -> None:
    keys = KeyFile(data / "keys.json")
    before = keys.keys()
    (data / "keys.json").write_bytes(b'{"format":2,"keys":[],"surplus":"\xff"}')
    assert keys.keys() == before


def test_keys_that_were_removed_are_asked_for_until_somebody_disables_them(data: Path) -> None:
    directory = ClusterDirectory(data)
    (data / "keys.json").unlink()
    with pytest.raises(FileMissing, match="cdp keys disable"):
        open_keys(directory, None)
    list(salvaged(directory))
    refused(data, FileMissing, "keys.json")
    assert CliRunner().invoke(app, ["keys", "disable", "--data", str(data)]).exit_code == 0
    assert open_keys(directory, None).keys() is None
    done = CliRunner().invoke(app, ["keys", "create", "new", "--role", "query", "--first", "--data", str(data)])
    assert done.exit_code == 0 and len(open_keys(directory, None).keys() or {}) == 1


# --------------------------------------------------------------------------------------------------------- older forms


def test_a_directory_of_before_files_were_sealed_is_read_and_sealed(old: Path) -> None:
    first = found_in(old)
    digests = [value for name, value in first.state.items() if name.endswith("digest")]
    assert str(sum(map(Digest.parse, digests), Digest())) == DIGEST_1
    assert first.state["shard 0 documents"][PartitionId(0)]["segments"].content == b'{"vip":1}'
    assert first.state["members"] == (0, 1)
    assert [each.name for each in first.state["keys"].values()] == ["open", "revoked"]
    assert [each.record for each in first.state["letters"]["web"]] == [{"userId": "ann"}]
    assert first.state["audit"][0] == 3
    for name, form in (("cluster", 2), ("keys", 3), ("members", 3), ("shard-0/identity", 2), ("shard-1/holdings", 3)):
        assert json.loads((old / f"{name}.json").read_bytes())["format"] == form
    assert (old / "shard-0" / "documents" / "p0000").read_bytes().startswith(b"CDPFILE")
    assert found_in(old).state == first.state
    shutil.rmtree(old / "dead-letters" / "web")
    assert any("dead-letters/web is missing" in line for line in found_in(old).said)


@pytest.mark.parametrize("name", ["cluster.json", "shard-0/identity.json", "shard-0/holdings.json"])
def test_no_field_of_a_file_of_the_first_form_is_passed_over(old: Path, name: str) -> None:
    fields = json.loads((old / name).read_bytes())
    (old / name).write_text(json.dumps({**fields, "surplus": 1}))
    refused(old, DirectoryDamaged, name)


def test_a_key_that_is_no_key_is_refused(old: Path) -> None:
    path = old / "cluster.json"
    path.write_text(path.read_text().replace("0e0f", "0e0\u00e9"))
    refused(old, DirectoryDamaged, "cluster.json")


# ------------------------------------------------------------------------------------------------------------- salvage


def without(folder: Path, name: str) -> None:
    path = folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def garbled(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"garbled")


@pytest.mark.parametrize("harm", [without, garbled])
@pytest.mark.parametrize("name", ["inventory.json", "identity.json", "documents/p0000"])
def test_a_salvage_makes_files_of_a_shard_anew(
    data: Path, whole: tuple[Path, Found], name: str, harm: Callable[[Path, str], None]
) -> None:
    harm(data, f"shard-0/{name}")
    is_made_anyhow = name == "identity.json" and harm is without
    if not is_made_anyhow:
        refused(data, DirectoryDamaged, f"shard-0/{name}")
    said = "\n".join(salvaged(ClusterDirectory(data)))
    assert is_made_anyhow or str(data / "shard-0" / name) in said
    assert found_in(data).state == whole[1].state


@pytest.mark.parametrize("harm", [without, garbled])
def test_a_salvage_makes_holdings_anew_only_where_no_partition_was_moved(
    data: Path, old: Path, harm: Callable[[Path, str], None]
) -> None:
    harm(data, "shard-0/holdings.json")
    with pytest.raises(DirectoryDamaged, match="shard-0/holdings"):
        list(salvaged(ClusterDirectory(data)))
    before = found_in(old)
    harm(old, "shard-1/holdings.json")
    refused(old, DirectoryDamaged, "shard-1/holdings.json")
    assert "holds what it was dealt" in "".join(salvaged(ClusterDirectory(old)))
    assert found_in(old).state == before.state


def test_a_salvage_goes_on_without_a_shard_or_a_log_that_is_lost(data: Path) -> None:
    shutil.rmtree(data / "shard-1")
    shutil.rmtree(data / "shard-0" / "log")
    said = "\n".join(salvaged(ClusterDirectory(data)))
    assert "shard-1" in said and "lost" in said and str(data / "shard-0" / "log") in said
    found = found_in(data)
    assert found.state["shard 1 partition 1 receipts"] == []
    assert found.state["shard 0 partition 0 receipts"] != []


@pytest.mark.parametrize("harm", [without, garbled])
def test_a_salvage_makes_the_list_of_shards_anew(data: Path, harm: Callable[[Path, str], None]) -> None:
    ClusterDirectory(data).set_members([0, 1, 4])
    shutil.copytree(data / "shard-1", data / "shard-4")
    check_directory(ClusterDirectory(data))
    harm(data, "members.json")
    assert "--salvage" in refused(data, DirectoryDamaged, "members.json")
    shutil.rmtree(data / "shard-1")
    said = next(salvaged(ClusterDirectory(data)))
    assert str(data / "members.json") in said and "0, 1, 4" in said
    assert ClusterDirectory(data).members() == (0, 1, 4)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("cluster.json", "another machine"),
        ("keys.json", "cdp keys create"),
        ("members.json", "--salvage"),
        ("addresses.json", "cdp up"),
        ("inventory.json", "--salvage"),
        ("shard-0/identity.json", "--salvage"),
        ("shard-0/inventory.json", "--salvage"),
        ("shard-0/holdings.json", "cdp restore"),
        ("shard-0/log/owner.json", "remove it"),
        ("shard-0/documents/p0000", "--salvage"),
    ],
)
def test_a_damaged_file_is_named_with_its_damage_and_what_to_do(data: Path, name: str, advice: str) -> None:
    garbled(data, name)
    text = refused(data, DirectoryDamaged, name)
    damage, _, remedy = text.partition(". Nothing was changed; ")
    assert " is damaged: " in damage and advice in remedy


def test_a_salvage_does_not_make_another_cluster_s_directory_its_own(data: Path, tmp_path: Path) -> None:
    other = ClusterDirectory(tmp_path / "other")
    other.load_or_create(2, 4)
    shutil.copytree(data / "shard-0", other.shard_path(0))
    garbled(other.path, "shard-0/identity.json")
    with pytest.raises(DirectoryMismatch, match="shard-0"):
        list(salvaged(other))


# ------------------------------------------------------------------------------------------------- restored and copied


def test_a_start_after_a_restore_takes_the_number_of_partitions_as_it_is(tmp_path: Path) -> None:
    directory = ClusterDirectory(tmp_path)
    directory.load_or_create(2, 5)
    assert directory.load_or_create(2, None).partitions == 5
    with pytest.raises(DirectoryMismatch, match="5, but 16"):
        directory.load_or_create(2, 16)
    assert ClusterDirectory(tmp_path / "new").load_or_create(2, None).partitions == 16


@pytest.mark.parametrize("read", [source_cluster, lambda source: placement_in(source, source_cluster(source))])
def test_damaged_files_of_a_copy_are_named(tmp_path: Path, read: Callable[[str], object]) -> None:
    cluster = ClusterDirectory(tmp_path / "data").load_or_create(2, 4)
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "cluster.json").write_bytes(seal_json(cluster))
    (copy / "placement.json").write_bytes(seal_json({0: [0, 1], 1: [2, 3]}, cluster.mark("placement.json")))
    read(str(copy))
    assert placement_in(str(copy), cluster) == {0: [0, 1], 1: [2, 3]}
    name = "cluster.json" if read is source_cluster else "placement.json"
    path = copy / name
    path.write_bytes(path.read_bytes().replace(b":", b": \xff", 1))
    with pytest.raises(SnapshotDamaged, match=name):
        read(str(copy))


def test_a_directory_without_one_of_its_shards_is_not_restored_as_if_it_were_whole(old: Path, tmp_path: Path) -> None:
    shutil.rmtree(old / "shard-1")
    with pytest.raises(PlaceUnusable, match="partition 1"):
        restore(str(old), tmp_path / "new", Wanted(), lambda line: None, 7)
    assert any("partition 1" in problem for problem in verify_source(str(old))[3])
    restored = restore(str(old), tmp_path / "new", Wanted(only=frozenset({0, 2})), lambda line: None, 7)
    assert restored.profiles > 0


@pytest.mark.parametrize("name", ["members.json", "inventory.json", "cluster.json"])
def test_commands_that_meet_a_damaged_file_name_it(data: Path, name: str) -> None:
    (data / name).write_bytes(b"\xff")
    before = (data / "keys.json").read_bytes()
    commands = [["audit", "verify"], ["add-shard"], ["up"], ["keys", "create", "x", "--role", "query"]]
    for words in commands[: 3 if name == "members.json" else 4]:
        done = CliRunner().invoke(app, [*words, "--data", str(data)])
        assert done.exit_code in (1, 2), done.output
        assert name in done.output.replace("\n", ""), words
    assert (data / "keys.json").read_bytes() == before


# -------------------------------------------------------------------------------------------------------------- trials


@pytest.mark.parametrize("count", [50, pytest.param(400, marks=pytest.mark.long)])
def test_whatever_is_damaged_is_refused_told_or_equal(tmp_path: Path, count: int) -> None:
    counts = trials(tmp_path, seed=1, go_on=lambda number: number < count)
    assert sum(counts.values()) == count and len(counts) == 3


# ---------------------------------------------------------------------------------------------- leftovers of writers


def test_old_leftovers_of_killed_writers_go_and_those_of_living_ones_stay(data: Path) -> None:
    now_ms = 10 * 3_600_000
    for name, written_ms in (
        ("keys.json.0123456789ab.tmp", 1),
        ("audit/x.tmp", 1),
        ("members.json.0a.tmp", now_ms - 1),
    ):
        (data / name).write_bytes(b"half of it")
        os.utime(data / name, ns=(written_ms * 1_000_000,) * 2)
    (data / "shard-0" / "x.tmp").write_bytes(b"the shard's own")
    os.utime(data / "shard-0" / "x.tmp", ns=(0, 0))
    remove_old_leftovers(ClusterDirectory(data), now_ms)
    left = sorted(str(path.relative_to(data)) for path in data.rglob("*.tmp"))
    assert left == ["members.json.0a.tmp", "shard-0/x.tmp"]
