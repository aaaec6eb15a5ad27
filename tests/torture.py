"""A cluster of real processes under `kill -9` at random times: `python -m tests.torture --seconds 600`.

Clients send batches without pause, each until it is acknowledged, though some give up early; a ledger keeps what was
acknowledged. Meanwhile shards, router, supervisor or all of them are killed, also while snapshots and purges are
written and while a copy is restored. In the end every acknowledged record must be there once, every other one at most
once: in the data and in what is restored from them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import psutil

from cdp_router.client import Client, ClusterUnreachable, RequestFailed
from cdp_router.cluster.topology import ClusterDirectory
from cdp_store.outside.seams import OsFiles
from cdp_store.shard.store import Store
from tests.e2e.processes import (
    ENVIRONMENT,
    eventually,
    kill,
    processes_of,
    read_until,
    router_process,
    shard_process,
)
from tests.router.encodings import Sent, msgpack_batch, msgpack_row, protobuf_batch
from tests.simulation import numbers_in

_USERS, _SENDERS = 997, 3
_START_MS = 1_700_000_000_000
_ACK_SECONDS_MAX = 300.0
_STARTS_MAX = 5
_GONE = (ClusterUnreachable, RequestFailed)


class Ledger:
    """Numbers of records: handed out, and acknowledged."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._moved = threading.Condition(self._lock)
        self._next = self.batches = 0
        self._acked = list[range]()
        self.failure: BaseException | None = None

    def hand_out(self, count: int) -> range:
        """The next numbers, never given before."""
        with self._lock:
            self._next += count
            return range(self._next - count, self._next)

    def acknowledge(self, numbers: range) -> None:
        """These records must be there from now on."""
        with self._moved:
            self._acked.append(numbers)
            self.batches += 1
            self._moved.notify_all()

    def fail(self, error: BaseException) -> None:
        """A sender met something that must not happen."""
        with self._moved:
            self.failure = error
            self._moved.notify_all()

    def await_more(self, batches: int, between: Callable[[], None]) -> None:
        """Wait until so many batches more are acknowledged, doing something `between` again and again."""
        wanted, give_up_at = self.batches + batches, time.monotonic() + _ACK_SECONDS_MAX
        while self.batches < wanted:
            with self._moved:
                self._moved.wait(1.0)
            if self.failure is not None:
                raise self.failure
            assert time.monotonic() < give_up_at, "nothing is acknowledged any more"
            between()

    def check(self, numbers: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Figures:
        """Compare what is there with what was acknowledged."""
        counts = np.bincount(numbers, minlength=self._next)
        acked = np.zeros(counts.shape[0], np.bool_)
        for part in self._acked:
            acked[part.start : part.stop] = True
        missing, doubled = int((acked & (counts == 0)).sum()), int((counts > 1).sum())
        return Figures(self._next, int(acked.sum()), missing, doubled, int((~acked & (counts == 1)).sum()))


@dataclass(frozen=True, slots=True)
class Figures:
    """What a check found; `unacked_there` was taken though nobody heard of it, which is allowed."""

    sent: int
    acked: int
    missing: int
    doubled: int
    unacked_there: int


class Sender(threading.Thread):
    """A client that sends new batches until it is told to stop."""

    def __init__(self, address: str, ledger: Ledger, seed: int) -> None:
        super().__init__(daemon=True)
        self._address, self._ledger, self._chance = address, ledger, Random(seed)
        self.stopping = threading.Event()

    def run(self) -> None:
        try:
            with Client(self._address) as client:
                while not self.stopping.is_set():
                    self._send(client)
        except BaseException as error:  # noqa: BLE001 - told to the one who waits
            self._ledger.fail(error)

    def _send(self, client: Client) -> None:
        numbers = self._ledger.hand_out(self._chance.randint(1, 200))
        records = [
            Sent("Step", f"u{n % _USERS}", _START_MS + n, {"n": n, "s": f"text {n % 50}"}, message_id=f"m{n}")
            for n in numbers
        ]
        batch_id = b"b%d" % numbers.start if self._chance.random() < 0.5 else b""
        if self._chance.random() < 0.5:
            batch = msgpack_batch(map(msgpack_row, records), batch_id)
        else:
            batch = protobuf_batch(records, batch_id)
        is_patient = self._chance.random() < 0.9
        while not self.stopping.is_set():
            try:
                result = client.ingest(batch, timeout_seconds=5.0, give_up_seconds=20.0 if is_patient else 0.0)
            except _GONE:
                if is_patient:
                    continue
                return
            assert not result.errors
            assert result.accepted + result.duplicates == len(numbers)
            self._ledger.acknowledge(numbers)
            return


class Cluster:
    """`cdp up` over one directory, started again at the same address whenever it is gone."""

    def __init__(self, data: Path) -> None:
        self.data, self.starts = data, 0
        self._port = "0"
        self._process: subprocess.Popen[str] | None = None
        self.address = ""

    def start(self) -> None:
        """Start, and wait until it is ready; a port that another process has taken meanwhile may come free again."""
        for attempt in range(_STARTS_MAX):
            try:
                return self._start()
            except AssertionError:
                if attempt == _STARTS_MAX - 1:
                    raise

    def _start(self) -> None:
        command = [sys.executable, "-m", "cdp_router", "up", "--data", str(self.data), "--shards", "2"]
        options = ["--port", self._port, "--snapshot-every", "0.1"]
        process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        self.address = read_until(process, "ready: router at ").rsplit("ready: router at ", 1)[1].split()[0]
        threading.Thread(target=_emptied, args=(process,), daemon=True).start()  # a full pipe would stop it
        self._process, self._port, self.starts = process, self.address.rsplit(":", 1)[1], self.starts + 1

    def start_if_gone(self) -> None:
        """Start again when the supervisor has ended: it was killed, or its children died too often in a minute."""
        if self._process is not None and self._process.poll() is not None:
            self.await_gone()
            self.start()

    def await_gone(self) -> None:
        """Wait until no process of it is left."""
        eventually(lambda: not processes_of(self.data))

    def kill_supervisor(self) -> None:
        """`kill -9` the supervisor; the others end by themselves."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it in order."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait()
        self.await_gone()


class Torture:
    """One run, decided by its seed but for what the operating system adds."""

    def __init__(self, directory: Path, seed: int, *, restores: bool = True) -> None:
        self._directory, self._chance, self._restores = directory, Random(seed), restores
        self.cluster, self.ledger = Cluster(directory / "data"), Ledger()
        self.done = dict[str, int]()

    def run(self, keep_on: Callable[[int], bool]) -> list[Figures]:
        """Kill for as long as `keep_on(kills)`; what is in the data then, and with `restores` in what comes of them."""
        self.cluster.start()
        kills = 0
        with self._sending():
            while keep_on(kills):
                self.ledger.await_more(self._chance.randint(1, 30), self.cluster.start_if_gone)
                self._strike()
                kills += 1
            self.ledger.await_more(10, self.cluster.start_if_gone)
        self.cluster.stop()
        found = [self.ledger.check(numbers_of(self.cluster.data))]
        if self._restores:
            restored = self._directory / "restored"
            self._restore(self.cluster.data, restored, killed=2)
            found.append(self.ledger.check(numbers_of(restored)))
        return found

    @contextmanager
    def _sending(self) -> Iterator[None]:
        senders = [Sender(self.cluster.address, self.ledger, self._chance.getrandbits(32)) for _ in range(_SENDERS)]
        for sender in senders:
            sender.start()
        try:
            yield
        finally:
            for sender in senders:
                sender.stopping.set()
            for sender in senders:
                sender.join()

    def _strike(self) -> None:
        strikes = {
            "a shard": self._kill_shard,
            "the router": lambda: self._kill_one(router_process(self.cluster.data)),
            "the supervisor": self.cluster.kill_supervisor,
            "everything": self._kill_everything,
            "a shard in a snapshot": lambda: self._during(lambda client: client.snapshot(), self._kill_shard),
            "a shard in a purge": lambda: self._during(lambda client: client.purge(), self._kill_shard),
        }
        if self._restores:
            strikes["a restore of a copy"] = self._kill_restore
        what = self._chance.choice(list(strikes))
        self.done[what] = self.done.get(what, 0) + 1
        strikes[what]()

    def _kill_shard(self) -> None:
        self._kill_one(shard_process(self.cluster.data, self._chance.randint(0, 1)))

    def _kill_one(self, process: psutil.Process | None) -> None:
        with suppress(psutil.NoSuchProcess):  # it may be dead still from the strike before
            if process is not None:
                kill(process)

    def _kill_everything(self) -> None:
        for process in processes_of(self.cluster.data):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.cluster.await_gone()

    def _during(self, work: Callable[[Client], object], strike: Callable[[], None]) -> None:
        def run() -> None:
            with Client(self.cluster.address) as client:
                try:
                    work(client)
                except _GONE:
                    return

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(self._chance.random() * 0.5)
        strike()
        thread.join()

    def _kill_restore(self) -> None:
        """Copy a snapshot while clients send, kill its restore on the way, and then do it."""
        copy, target = self._directory / "copy", self._directory / "from-copy"
        with Client(self.cluster.address) as client:
            try:
                client.snapshot(str(copy))
            except _GONE:
                return
        self._restore(copy, target, killed=1)
        found = self.ledger.check(numbers_of(target))
        assert found.doubled == 0

    def _restore(self, source: Path, target: Path, killed: int) -> None:
        command = [sys.executable, "-m", "cdp_router", "restore", "--from", str(source), "--data", str(target)]
        for number in range(killed + 1):
            process = subprocess.Popen([*command, "--overwrite"], env=ENVIRONMENT, stdout=subprocess.DEVNULL)
            if number < killed:
                try:
                    process.wait(self._chance.random() * 3)
                except subprocess.TimeoutExpired:
                    process.kill()
            code = process.wait()
        assert code == 0


def _emptied(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    with process.stdout:
        process.stdout.read()


def numbers_of(data: Path) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Numbers of all records in a directory that no cluster uses, read by the product's own recovery."""
    directory = ClusterDirectory(data)
    cluster, found = directory.load(), [np.zeros(0, np.int64)]
    for number in range(cluster.shards):
        path, identity = directory.shard_path(number), cluster.shard_identity(number)
        store = Store(path, identity, cluster.hash_key, OsFiles())
        store.recover(lambda *_: None)
        for partition in store.partitions.values():
            partition.validate()
            found.append(np.array(numbers_in(partition.capture()), np.int64))
        store.close()
    return np.concatenate(found)


def main() -> int:
    """Kill for a time."""
    parser = argparse.ArgumentParser(description="Real processes under kill -9.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    started = time.monotonic()

    def keep_on(_: int) -> bool:
        return time.monotonic() - started < arguments.seconds

    with tempfile.TemporaryDirectory() as directory:
        torture = Torture(Path(directory), arguments.seed)
        found = torture.run(keep_on)
    for what, figures in zip(("the data", "restored from them"), found, strict=True):
        print(
            f"{what}: {figures.sent:,} records sent, {figures.acked:,} acknowledged, {figures.missing} of them "
            f"missing, {figures.doubled} doubled; {figures.unacked_there:,} there without an acknowledgement"
        )
    strikes = ", ".join(f"{what} {count}" for what, count in sorted(torture.done.items()))
    print(f"killed in {time.monotonic() - started:,.0f} s: {strikes}; {torture.cluster.starts} starts of `cdp up`")
    return 1 if any(each.missing or each.doubled for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
