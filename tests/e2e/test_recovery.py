"""Processes are killed while records come in; in the end every record counts once."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cdp.v1 import ingest_pb2, query_pb2

from benchmarks.cluster import running_cluster
from cdp_router.client import Client, ClusterUnreachable, RequestFailed
from tests.e2e.processes import (
    cdp,
    eventually,
    kill,
    processes_of,
    read_until,
    router_process,
    shard_process,
    starting_cluster,
    supervisor_process,
)
from tests.router.encodings import Sent, msgpack_batch, msgpack_row, protobuf_batch

USERS, PER_BATCH, START_MS = 97, 60, 1_700_000_000_000


def _batch(number: int) -> ingest_pb2.Batch:
    """Batch `number`, the same every time: each record has its own user, message id and number."""
    records = [
        Sent("Step", f"u{n % USERS}", START_MS + n, {"n": n}, message_id=f"m{n}")
        for n in range(number * PER_BATCH, (number + 1) * PER_BATCH)
    ]
    batch_id = b"batch-%d" % number
    return protobuf_batch(records, batch_id) if number % 2 else msgpack_batch(map(msgpack_row, records), batch_id)


class Sender:
    """A client that sends batch after batch until told to stop, each until it is acknowledged."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stop = threading.Event()
        self._moved = threading.Condition()
        self._thread = threading.Thread(target=self._run)
        self.acked = 0
        self.error: BaseException | None = None

    def _run(self) -> None:
        try:
            with Client(self._address) as client:
                while not self._stop.is_set():
                    result = client.ingest(_batch(self.acked), timeout_seconds=20.0, give_up_seconds=60.0)
                    assert result.accepted + result.duplicates == PER_BATCH
                    assert not result.errors
                    with self._moved:
                        self.acked += 1
                        self._moved.notify_all()
        except BaseException as error:  # noqa: BLE001 - told to the test
            self.error = error
            with self._moved:
                self._moved.notify_all()

    def await_more(self, batches: int) -> None:
        """Wait until so many batches more are acknowledged."""
        with self._moved:
            wanted = self.acked + batches
            assert self._moved.wait_for(lambda: self.acked >= wanted or self.error is not None, 90.0)
        if self.error is not None:
            raise self.error

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send for the length of the block."""
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()
        assert self.error is None


def _await_whole(client: Client) -> None:
    """Wait until router and shards answer."""

    def whole() -> bool:
        try:
            return all(shard.reachable for shard in client.status().shards)
        except (ClusterUnreachable, RequestFailed):
            return False

    eventually(whole)


def _check_exact(client: Client, acked: int) -> None:
    """All records of the first `acked` batches are there once: by user, by number and in total."""
    total = acked * PER_BATCH
    status = client.status()
    assert sum(size.events for shard in status.shards for size in shard.partitions) == total
    per_user = [len(range(user, total, USERS)) for user in range(USERS)]
    for wanted in sorted({*per_user, 0, max(per_user) + 1}):
        answer = client.query(query_pb2.QueryRequest(text=f'count("Step") = {wanted}'))
        assert answer.exact
        assert answer.count == sum(count == wanted for count in per_user if count), wanted
        assert answer.population == sum(count > 0 for count in per_user)
    sums = [sum(range(user, total, USERS)) for user in range(min(USERS, total))]
    for limit in (sums[0], sums[-1]):
        answer = client.query(query_pb2.QueryRequest(text=f'sum("Step".n) <= {limit}'))
        assert answer.count == sum(value <= limit for value in sums)


def _answers(client: Client) -> list[tuple[int, int]]:
    """Counts and populations of a few questions."""
    texts = (
        "everyone",
        'sum("Step".n) > 100000',
        'did("Step", n between 100 and 200)',
        'last_time("Step", after: 2023-11-14T22:13:21Z)',
    )
    found = [client.query(query_pb2.QueryRequest(text=text)) for text in texts]
    return [(answer.count, answer.population) for answer in found]


@pytest.mark.long
def test_row_01_and_12_killed_shards_lose_and_double_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_cluster(data) as address, Client(address) as client:
        sender = Sender(address)
        with sender.sending():
            for shard in (0, 1, 0):
                sender.await_more(15)
                kill(shard_process(data, shard))
            sender.await_more(15)
        _await_whole(client)
        _check_exact(client, sender.acked)
        again = [client.ingest(_batch(number)) for number in range(sender.acked)]
        assert {(result.accepted, result.duplicates) for result in again} == {(0, PER_BATCH)}
        _check_exact(client, sender.acked)
        before = _answers(client)
    assert processes_of(data) == []
    with running_cluster(data) as address, Client(address) as client:
        _check_exact(client, sender.acked)
        assert _answers(client) == before
        assert client.ingest(_batch(0)).duplicates == PER_BATCH


@pytest.mark.long
def test_row_15_a_killed_router_loses_and_doubles_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_cluster(data) as address, Client(address) as client:
        sender = Sender(address)
        with sender.sending():
            for _ in range(2):
                sender.await_more(15)
                kill(router_process(data))
            sender.await_more(15)
        _await_whole(client)
        _check_exact(client, sender.acked)


def test_row_01_and_02_all_processes_killed_at_once_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_cluster(data, warm=False) as address:
        sender = Sender(address)
        with sender.sending():
            sender.await_more(20)
        for process in processes_of(data):
            process.kill()
        eventually(lambda: not processes_of(data))
    # A write that was torn by the end of the machine: half a record behind the last good one.
    for shard in range(2):
        [log] = (data / f"shard-{shard}" / "log").glob("*.cdplog")
        with log.open("ab") as file:
            file.write(log.read_bytes()[16:60])
    with running_cluster(data, warm=False) as address, Client(address) as client:
        _check_exact(client, sender.acked)
        client.ingest(_batch(sender.acked))
        _check_exact(client, sender.acked + 1)


def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_cluster(data, 1, warm=False):
        assert len(processes_of(data)) == 3
        kill(supervisor_process(data))
        eventually(lambda: not processes_of(data))


def test_row_14_while_a_shard_is_dead_the_other_goes_on(tmp_path: Path) -> None:
    """The supervisor is held still, so that the shard stays dead for as long as the test looks."""
    data = tmp_path / "data"
    with running_cluster(data, warm=False) as address, Client(address) as client:
        client.ingest(_batch(0))
        supervisor = supervisor_process(data)
        supervisor.suspend()
        try:
            kill(shard_process(data, 1))
            with pytest.raises(RequestFailed) as caught:
                client.query(query_pb2.QueryRequest(text="everyone"))
            assert caught.value.reason == "SHARD_UNAVAILABLE"
            assert caught.value.retry_after_seconds > 0
            assert "shard 1" in caught.value.message
            partial = client.query(query_pb2.QueryRequest(text="everyone", allow_partial=True))
            assert list(partial.flags) == ["PARTIAL"]
            assert 0 < partial.count < USERS
            assert {position.partition % 2 for position in partial.coverage.answered} == {0}
            taken = _taken_one_by_one(client)
            assert 0 < taken < PER_BATCH
            assert [shard.reachable for shard in client.status().shards] == [True, False]
        finally:
            supervisor.resume()
        _await_whole(client)
        client.ingest(_batch(1))
        _check_exact(client, 2)


def _taken_one_by_one(client: Client) -> int:
    """How many records of batch 1 are taken when each is sent alone."""
    taken = 0
    for record in _batch(1).rows.records:
        batch = ingest_pb2.Batch(batch_id=record.message_id.encode(), rows=ingest_pb2.RecordRows(records=[record]))
        try:
            taken += client.ingest(batch, give_up_seconds=0.0).accepted
        except RequestFailed as error:
            assert error.reason == "SHARD_UNAVAILABLE"
    return taken


@pytest.mark.long
def test_row_24_an_erasure_with_purge_leaves_no_byte_in_any_file_though_a_shard_is_killed_meanwhile(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    rows = [
        Sent("Step", "zebra-7", START_MS, {"page": "zebra-page", "n": 0}, message_id="zebra-message"),
        Sent("Step", "giraffe-7", START_MS, {"page": "giraffe-page", "n": 0}),
    ]

    def files_with(text: bytes) -> list[Path]:
        return [path for path in data.rglob("*") if path.is_file() and text in path.read_bytes()]

    with running_cluster(data) as address, Client(address) as client:
        client.ingest(msgpack_batch(map(msgpack_row, rows), b"animals"))
        cdp("snapshot", "--address", address)
        client.ingest(_batch(0))
        assert cdp("erase", "giraffe-7", "--yes", "--address", address).stdout.startswith("forgotten")
        assert files_with(b"giraffe-7")
        purging = subprocess.Popen(
            [sys.executable, "-m", "cdp_router", "erase", "zebra-7", "--purge", "--yes", "--address", address],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert purging.stdout is not None and "forgotten: user_id zebra-7" in purging.stdout.readline()
        for shard in (0, 1):
            kill(shard_process(data, shard))
        purging.communicate()
        _await_whole(client)
        said = cdp("erase", "zebra-7", "--purge", "--yes", "--address", address).stdout
        assert "no profile has user_id zebra-7" in said and said.count("written") == 2
        assert files_with(b"zebra") == files_with(b"giraffe") == []
        _check_exact(client, 1)
        assert client.ingest(_batch(0)).duplicates == PER_BATCH
    assert files_with(b"zebra") == files_with(b"giraffe") == []
    with running_cluster(data) as address, Client(address) as client:
        _check_exact(client, 1)


@pytest.mark.long
def test_row_03_a_damaged_log_is_refused_and_salvaged_when_told(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_cluster(data) as address, Client(address) as client:
        for number in range(4):
            client.ingest(_batch(number))
    dumped = cdp("log", "dump", "--data", data, "--records", "--json").stdout
    listed = [json.loads(line) for line in dumped.splitlines()]
    assert sum(line["events"] for line in listed) == 4 * PER_BATCH
    named = {(record["identifier"], record["message_id"]) for line in listed for record in line["records"]}
    assert len(named) == 4 * PER_BATCH
    shown = cdp("log", "dump", "--data", data, "--records").stdout
    assert all(f"of {identifier}, message id {message_id!r}" in shown for identifier, message_id in named)
    assert cdp("log", "dump", "--data", data, "--shard", 0).stdout.count("BATCH") == sum(
        line["shard"] == 0 for line in listed
    )
    hit = next(line for line in listed if line["shard"] == 1 and line["sequence"] == 2)
    path = data / "shard-1" / "log" / hit["segment"]
    content = bytearray(path.read_bytes())
    content[hit["offset"] + 100] ^= 1
    path.write_bytes(content)
    refused = cdp("log", "dump", "--data", data, code=1)
    assert str(path) in refused.stderr and f"byte {hit['offset']}" in refused.stderr
    with starting_cluster("--data", data, "--shards", 2) as process:
        said = read_until(process, "error:")
        assert str(path) in said and "--salvage" in said
        assert process.wait(30) == 1
    with starting_cluster("--data", data, "--shards", 2, "--salvage") as process:
        said = read_until(process, "ready: router at ")
        assert str(path) in said and f"partition {hit['partition']} has lost 1 batch" in said
        address = said.rsplit("ready: router at ", 1)[1].split()[0]
        with Client(address) as client:
            count = client.query(query_pb2.QueryRequest(text="everyone")).count
            assert 0 < count
            events = sum(size.events for shard in client.status().shards for size in shard.partitions)
            assert events == 4 * PER_BATCH - hit["events"]
            again = [client.ingest(_batch(number)) for number in range(4)]
            assert sum(result.accepted for result in again) == hit["events"]
            _check_exact(client, 4)


@pytest.mark.long
def test_row_01_and_05_a_cluster_starts_from_its_snapshots_and_says_when_one_is_damaged(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    with running_cluster(data) as address, Client(address) as client:
        sender = Sender(address)
        with sender.sending():
            sender.await_more(10)
            said = cdp("snapshot", "--address", address, "--to", copy).stdout
            assert said.count("MB") == 4
            sender.await_more(5)
            kill(shard_process(data, 0))
            sender.await_more(10)
        _await_whole(client)
        cdp("snapshot", "--address", address)
        client.ingest(_batch(sender.acked))
        _check_exact(client, sender.acked + 1)
        before = cdp("digest", "--address", address).stdout
        assert "0 problems" in cdp("verify", "--address", address).stdout
        assert "0 problems" in cdp("verify", "--from", copy).stdout
        victim = max((data / "shard-0" / "snapshots").glob("*-events-*.parquet"))
        victim.write_bytes(victim.read_bytes()[:-1] + b"?")
        assert victim.name in cdp("verify", "--address", address, code=1).stdout
        kill(shard_process(data, 0))
        _await_whole(client)
        assert cdp("digest", "--address", address).stdout == before
        assert client.ingest(_batch(0)).duplicates == PER_BATCH
    assert victim.name in (data / "logs" / "shard-0.log").read_text()
    with running_cluster(data) as address, Client(address) as client:
        _check_exact(client, sender.acked + 1)
        assert cdp("digest", "--address", address).stdout == before
