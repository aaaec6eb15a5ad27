"""Starting and stopping a cluster with `cdp up`, and everything it refuses to start with."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cdp_router.client import Client
from cdp_router.cluster.topology import ClusterDirectory, shard_name
from cdp_router.process.data_directory import check_place
from cdp_router.process.supervisor import Supervisor
from cdp_store.outside.sealed import seal_json
from tests.e2e.processes import (
    cdp,
    cdp_process,
    error_of,
    eventually,
    kill,
    processes_of,
    read_until,
    shard_process,
    starting_cluster,
)
from tests.router.encodings import Sent, protobuf_batch
from tests.router.local_cluster import local_cluster


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of a cluster of two shards with some records, stopped again; tests work on copies."""
    data = tmp_path_factory.mktemp("stopped") / "data"
    directory = ClusterDirectory(data)
    with local_cluster(data, cluster=directory.load_or_create(2, None)) as cluster:
        for batch in range(4):
            cluster.ingest(protobuf_batch([Sent("E", f"u{n}", 5, {"n": n}) for n in range(50)], b"%d" % batch))
    directory.remember(*map(shard_name, range(2)))
    return data


@pytest.fixture
def copied(stopped: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of that data; whatever a test starts on it has ended when the test has."""
    data = tmp_path / "copy"
    shutil.copytree(stopped, data)
    yield data
    assert processes_of(data) == []


def _refused(data: Path, *options: object, port: object = 0) -> str:
    """What `cdp up` says when it cannot start; it leaves no process behind."""
    before = {process.pid for process in processes_of(data)}
    done = cdp_process("up", "--data", data, "--port", port, *options, code=1)
    assert {process.pid for process in processes_of(data)} == before
    message = done.stderr.strip()
    assert message.startswith("error: "), done
    assert message.count("error:") == 1
    return message.removeprefix("error: ")


def _refused_by_a_shard(data: Path) -> str:
    """What `cdp up`, run in this process, says when a shard that it started refuses; it leaves no process behind."""
    before = {process.pid for process in processes_of(data)}
    message = error_of("up", "--data", data, "--port", 0)
    assert {process.pid for process in processes_of(data)} == before
    assert re.match(r"shard \d cannot run: ", message)
    return message


def _refused_by(shard: int, data: Path) -> str:
    """The same, when `cdp up` runs this shard alone: a start is most of the time of such a test."""
    ClusterDirectory(data).set_members([shard])
    return _refused_by_a_shard(data)


def _refused_at_once(data: Path, *options: object) -> str:
    """What `cdp up` says of a directory that it refuses before it starts anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Supervisor, "run", _start)
        return error_of("up", "--data", data, "--port", 0, *options)


def _start(*_: object) -> None:
    raise AssertionError("the directory was not refused")


def test_a_port_that_is_taken_is_named(tmp_path: Path, address: str) -> None:
    port = address.rsplit(":", 1)[1]
    assert port in _refused(tmp_path / "data", "--shards", "1", port=port)


def test_row_23_a_directory_in_use_is_refused_and_the_one_who_uses_it_goes_on(
    address: str, client: Client, cluster_data: Path
) -> None:
    message = _refused_by_a_shard(cluster_data)
    assert "in use" in message
    assert str(cluster_data) in message
    assert all(shard.reachable for shard in client.status().shards)


@pytest.mark.parametrize(("option", "value"), [("--shards", 3), ("--partitions", 32)])
def test_data_made_with_other_options_are_refused(copied: Path, option: str, value: int) -> None:
    message = _refused_at_once(copied, option, value)
    assert option.removeprefix("--") in message
    assert str(value) in message
    assert str(copied) in message


def test_a_damaged_log_is_refused_with_file_and_place_and_left_as_it_is(copied: Path) -> None:
    [log] = (copied / "shard-1" / "log").glob("*.cdplog")
    data = bytearray(log.read_bytes())
    data[200] ^= 1
    log.write_bytes(data)
    message = _refused_by_a_shard(copied)  # and the other shard, which is whole, is stopped
    assert str(log) in message
    assert "byte" in message
    assert log.read_bytes() == bytes(data)


@pytest.mark.parametrize("content", ["", "{}", "garbage", '{"cluster": 1}'])
def test_a_damaged_cluster_file_is_named(copied: Path, content: str) -> None:
    (copied / "cluster.json").write_text(content)
    assert str(copied / "cluster.json") in _refused_at_once(copied)


def test_a_damaged_identity_of_a_shard_is_named(copied: Path) -> None:
    (copied / "shard-0" / "identity.json").write_text("garbage")
    assert "identity.json" in _refused_by(0, copied)


def test_shards_of_another_cluster_are_refused(copied: Path) -> None:
    directory = ClusterDirectory(copied)
    directory.cluster_path.write_bytes(seal_json(msgspec.structs.replace(directory.load(), cluster="f" * 32)))
    assert re.search(r"shard-[01] was made with cluster", _refused_at_once(copied))


def test_a_changed_key_of_the_cluster_is_refused_by_the_name_of_its_file(copied: Path) -> None:
    path = copied / "cluster.json"
    content = path.read_bytes()
    key = ClusterDirectory(copied).load().key
    path.write_bytes(content.replace(key.encode(), (key[:-1] + "01"[key[-1] == "0"]).encode()))
    assert str(path) in _refused_at_once(copied)
    path.write_bytes(content)
    shutil.rmtree(copied / "shard-0" / "log")
    assert str(copied / "shard-0" / "log") in _refused_by(0, copied)


@pytest.mark.parametrize("gone", ["shard-0", "shard-1", "cluster.json"])
def test_what_is_missing_is_named_before_anything_is_started_or_written(copied: Path, gone: str) -> None:
    path = copied / gone
    path.rename(copied.with_name("elsewhere"))
    before = sorted(each.name for each in copied.iterdir())
    message = _refused_at_once(copied)
    assert f"{path} is missing" in message
    assert sorted(each.name for each in copied.iterdir()) == before


def test_a_file_in_the_place_of_the_directory_is_said(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    assert _refused_at_once(path) == (
        f"{path} cannot be a data directory: it is a file. Nothing was changed; give another path with --data"
    )
    assert f"{path / 'below'} cannot be used: Not a directory" in _refused_at_once(path / "below")


def test_a_folder_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "src").mkdir()
    message = (
        f"{tmp_path} cannot be a data directory: it has no cluster.json, but notes.txt and src. Nothing was changed; "
        "give another path with --data"
    )
    assert _refused_at_once(tmp_path) == message
    assert error_of("init", "--shards", 1, "--data", tmp_path) == message
    assert sorted(each.name for each in tmp_path.iterdir()) == ["notes.txt", "src"]


@pytest.mark.parametrize("there", [[], ["lost+found"], ["keys.json", "keys.lock"], ["addresses.json", "tls.pem"]])
def test_an_empty_folder_and_one_prepared_for_a_cluster_are_taken(tmp_path: Path, there: list[str]) -> None:
    for name in there:
        (tmp_path / name).write_text("{}")
    check_place(ClusterDirectory(tmp_path))
    check_place(ClusterDirectory(tmp_path / "new" / "folder"))


def test_an_address_nobody_can_listen_on_is_named(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    cdp("keys", "create", "anybody", "--role", "admin", "--keys", keys)
    options = ("--host", "203.0.113.1", "--shards", "1", "--keys", str(keys), "--insecure")
    assert "203.0.113.1" in _refused(tmp_path / "data", *options)


@pytest.mark.long
def test_ctrl_c_stops_every_process_and_the_data_remember_their_shards(copied: Path) -> None:
    with starting_cluster("--data", copied) as process:
        said = read_until(process, "ready:")
        assert "kernels ready" in said
        assert len(re.findall(r"^shard \d +127", said, re.MULTILINE)) == 2
        assert len(processes_of(copied)) == 4
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate()
        assert process.returncode == 0
        assert "stopped" in rest
        assert "Traceback" not in said + rest


def test_a_signal_during_the_start_stops_every_process(copied: Path) -> None:
    with starting_cluster("--data", copied) as process:
        eventually(lambda: len(processes_of(copied)) >= 3)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate()
        assert "Traceback" not in rest
        assert "ready:" not in rest


@pytest.mark.long
def test_a_shard_that_dies_is_announced_and_started_again_and_a_termination_stops_all(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with starting_cluster("--data", data, "--shards", "1") as process:
        read_until(process, "ready:")
        kill(shard_process(data, 0))
        assert "shard 0 ended (signal SIGKILL)" in read_until(process, "starting it again")
        read_until(process, "shard 0 is back")
        assert shard_process(data, 0) is not None
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate()
        assert process.returncode == 0
        assert "stopped" in rest
    assert processes_of(data) == []
