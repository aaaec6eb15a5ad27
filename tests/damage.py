"""Damage to every file of a data directory: `python -m tests.damage --count 2000 --seed 7`, or `--seconds 600`.

Bits are flipped; files are cut, removed, emptied, swapped between shards, and put back to what they once were. A start
must do one of three things with the directory: refuse it with an error that names a file, report the damage in words,
or find everything equal to what was there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

from cdp_router.cluster.topology import ClusterDirectory, shard_name
from cdp_router.deadline import Deadline
from cdp_router.erasure.suppressions import suppress
from cdp_router.gateway.letters.dead_letters import DeadLetters
from cdp_router.gateway.letters.letter_lines import DeadLetter
from cdp_router.process.data_directory import check_directory, open_keys
from cdp_router.rpc.principal import Role
from cdp_router.security.audit.audit_check import check
from cdp_router.security.audit.audit_files import AuditFiles, anchor_path
from cdp_router.security.audit.audit_lines import Entry
from cdp_router.security.keys.key_file import KEYS_NAME, KEYS_OUTDATED, change_keys
from cdp_router.security.keys.key_list import KeyList
from cdp_router.security.keys.keys import mint
from cdp_router.security.tls.cluster_secrets import AUDIT_CHAIN, derived
from cdp_store.errors import StoreError
from cdp_store.ids import PartitionId, encode_identifier
from cdp_store.memory.digest import digest
from cdp_store.outside.sealed import seal_json
from cdp_store.outside.seams import AppendFile, OsAppendFile, OsFiles
from cdp_store.partition.partition import Partition
from cdp_store.shard.handover import Giving, Taking
from cdp_store.shard.store import Store
from tests.router.encodings import Sent, protobuf_batch
from tests.router.local_cluster import CLUSTER, NOW_MS, local_cluster

_PEOPLE: Final = 24
_MOVED: Final = PartitionId(3)
_TRANSIENT: Final = {"LOCK", "lock", "reserve"}  # what they hold means nothing


class QuickFiles(OsFiles):
    """Files whose syncs are left out: nothing here loses its power."""

    def open_append(self, path: Path) -> AppendFile:
        return _Quick(path)

    def allocate(self, path: Path, size: int) -> None:
        path.write_bytes(b"")

    def sync_directory(self, path: Path) -> None:
        pass


class _Quick(OsAppendFile):
    def sync(self) -> None:
        pass


State = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """What a start makes of a directory: what it holds, and what is said of it."""

    state: State
    said: tuple[str, ...]


def build(folder: Path, noted: Callable[[], None] = lambda: None) -> None:
    """A data directory of two shards with everything that one may hold; `noted` is called at moments of its life."""
    directory = ClusterDirectory(folder)
    directory.cluster_path.write_bytes(seal_json(CLUSTER))
    with local_cluster(folder) as cluster:
        for part in range(4):
            cluster.ingest(protobuf_batch(_records(part), b"batch-%d" % part))
            stores = [server._store for server in cluster.servers]
            if part == 1:
                cluster.run(suppress({("user_id", "gone")}, cluster.routing, Deadline.after(60, 60)))
                stores[0].documents.put(PartitionId(0), "segments", 0, b'{"vip":"plan = \\"gold\\""}')
                stores[0].documents.put(PartitionId(0), "privacy", 0, b'{"marked":["email_addr"]}')
                stores[0].documents.put(PartitionId(0), "schema", 0, b'{"rules":{"Paid":["amount"]}}')
                stores[1].documents.put(PartitionId(1), "own", 0, b"of another partition")
                noted()
                stores[0].documents.put(PartitionId(0), "privacy", 1, b'{"marked":["email_addr","plan"]}')
            if part < 3:
                for store in stores:
                    store.snapshot(NOW_MS)
            noted()
        _move(stores[1], stores[0])
        noted()
        cluster.ingest(protobuf_batch(_records(9, "only behind the snapshot"), b"batch-9"))
        for store in stores[0], stores[1]:
            for number in store.holdings.owned():
                if number != _MOVED:
                    store.erase(number, [encode_identifier("user_id", "u7")])
    for shard in range(CLUSTER.shards):
        directory.remember(shard_name(shard))
    _around(directory, noted)


def _move(giver: Store, taker: Store) -> None:
    """Partition 3 goes from shard 1 to shard 0, as a move does it."""
    giving, taking = Giving(giver, OsFiles()), Taking(taker, OsFiles())
    taking.begin(_MOVED, 2, 1)
    giving.begin(_MOVED)
    manifest = giving.export(_MOVED, "export", NOW_MS)
    place = taking.place(_MOVED)
    for name in manifest.files:
        place.write(name, giver.snapshot_place.read(name))
    partition = taking.adopt(_MOVED, "export", manifest, NOW_MS)
    giving.release(_MOVED, 2, 0)
    taking.own(partition, 2, giver.documents.of(_MOVED))
    giving.forget(_MOVED, 2, 0)


def _records(part: int, name: str = "Paid") -> list[Sent]:
    sent = [
        Sent(name, f"u{n}", NOW_MS - n, {"amount": 1000 + n, "part": part}, message_id=f"m{part}-{n}")
        for n in range(part, _PEOPLE, 3)
    ]
    people = range(0, _PEOPLE, 8)
    sent += [Sent(None, f"u{n}", NOW_MS - 50 + part, {"plan": "gold", "email": f"{n}@x.org"}, f"d{n}") for n in people]
    return sent + [Sent("Seen", "", NOW_MS - n, {}, anonymous_id=f"d{n}") for n in people]


def _around(directory: ClusterDirectory, noted: Callable[[], None]) -> None:
    """What is beside the shards: keys, members, addresses, dead letters, an audit."""
    folder, cluster = directory.path, directory.load()
    stored = [mint(name, (Role.ADMIN,), 1)[1] for name in ("one", "two")]
    ended = mint("three", (Role.QUERY,), 1, expires_ms=5)[1]
    keys = directory.listed(KEYS_NAME, KEYS_OUTDATED)
    change_keys(keys.path, lambda known: (None, {each.id: each for each in (*stored, ended)}), keys)
    directory.remember(KEYS_NAME)
    directory.set_members([0])
    noted()
    change_keys(keys.path, lambda known: KeyList(known).after(lambda each: each.revoke("two", 7)), keys)
    directory.set_members([0, 1])
    directory.set_addresses({0: "127.0.0.1:7401", 1: "127.0.0.1:7402"})
    letters = DeadLetters(folder / "dead-letters", directory)
    for n in range(4):
        letters.add([DeadLetter("web", "segment", n, None, "WRONG", "it is wrong", {"userId": f"ann-{n}", "n": n})])
        if n == 1:
            noted()
            letters.set_aside(folder / "dead-letters" / "web")
        noted()
    letters.forget(["ann-1"])
    letters.add([DeadLetter("web", "segment", 9, None, "WRONG", "it is wrong", {"userId": "ann-9", "n": 9})])
    audit = folder / "audit" / "router"
    audit.mkdir(parents=True)
    files = AuditFiles(audit, derived(cluster, AUDIT_CHAIN), OsFiles())
    for n in range(4):
        files.append(Entry(0, "2026-01-01", "QueryService/Query", "OK", "aa", "key", facts={"count": n}))
        noted()
    files.close()
    directory.remember_paths([audit, anchor_path(audit)])
    check_directory(directory)


def found_in(folder: Path, shards: tuple[int, ...] = (0, 1), *, around: bool = True) -> Found:
    """What a start finds; raises what it is refused with."""
    directory, state, said = ClusterDirectory(folder), dict[str, Any](), list[str]()
    said += check_directory(directory)
    for shard in shards:
        directory.check_shard(shard)
        state |= _of_shard(directory, shard, said)
    if around:
        state |= _of_rest(directory, said)
    return Found(state, tuple(said))


def _of_shard(directory: ClusterDirectory, shard: int, said: list[str]) -> State:
    cluster = directory.load()
    store = Store(directory.shard_path(shard), cluster.shard_identity(shard), cluster.hash_key, QuickFiles())
    try:
        said += store.recover(lambda *_: None).problems
        found = {
            f"shard {shard} holdings": store.holdings.all(),
            f"shard {shard} documents": {number: dict(store.documents.of(number)) for number in store.partitions},
        }
        for number, partition in store.partitions.items():
            found |= {f"shard {shard} partition {number} {name}": value for name, value in _of_partition(partition)}
            rows = store.receipts(number, [encode_identifier("user_id", f"u{n}") for n in range(_PEOPLE)]).rows
            found[f"shard {shard} partition {number} receipts"] = rows.to_pylist()
        return found
    finally:
        store.close()


def _of_partition(partition: Partition) -> Iterator[tuple[str, object]]:
    export = partition.export()
    yield "digest", str(digest(partition.capture()))
    yield "sequence", partition.sequence
    yield "message ids", sorted(pair for each in export.ids for pair in zip(*map(list, each.ids()), strict=True))
    yield "suppressions", sorted(partition.suppressions)
    yield "quarantine", partition.quarantine.to_table().to_pylist()
    yield "retention", dict(export.retention_days)
    yield "identity", {name: sorted(map(repr, table.to_pylist())) for name, table in export.identity.items()}


def _of_rest(directory: ClusterDirectory, said: list[str]) -> State:
    folder, letters = directory.path, DeadLetters(directory.path / "dead-letters")
    keys = open_keys(directory, None).keys()
    told = [*said, *letters.problems()]
    state: dict[str, Any] = {
        "cluster": directory.load(),
        "keys": keys,
        "members": directory.members(),
        "addresses": directory.addresses(),
    }
    if not any("dead-letters" in line for line in told):
        state["letters"] = {source.name: list(letters.letters(source)) for source in letters.sources()}
    audit = folder / "audit" / "router"
    checked = check(audit, derived(directory.load(), AUDIT_CHAIN)) if audit.exists() else None
    if checked is not None and not checked.problems and not any("audit" in line for line in told):
        state["audit"] = (checked.entries, checked.last_hash)
    said += [*letters.problems(), *(checked.problems if checked is not None else ["the audit was removed"])]
    return state


# ------------------------------------------------------------------------------------------------------------- damage


@dataclass(frozen=True, slots=True)
class Damage:
    """What was done, and to which shards' files."""

    what: str
    paths: tuple[Path, ...]

    def shards(self, folder: Path) -> tuple[int, ...]:
        """The shards it may be noticed in: of files that belong to all, none in particular."""
        names = {path.relative_to(folder).parts[0] for path in self.paths}
        if names & {"cluster.json", "members.json", "inventory.json"}:
            return (0, 1)
        return tuple(sorted(int(name.removeprefix("shard-")) for name in names if name.startswith("shard-")))


def files_of(folder: Path) -> list[Path]:
    """The files that mean something, in a fixed order."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in _TRANSIENT)


def damage(folder: Path, random: Random, earlier: Sequence[Path] = ()) -> Damage:
    """Do something to one file or two, or to a folder; `earlier` are copies of what it once was."""
    ways = (_flip, _flip, _flip, _cut, _remove, _remove_folder, _empty, _swap, _replace, partial(_put_back, earlier))
    while True:
        done = random.choice(ways)(folder, random)
        if done is not None:
            return done


def _copy(original: Path, copy: Path) -> None:
    """A copy that shares the files that nobody writes to in place."""

    def link(source: str, target: str) -> None:
        if source.endswith(".parquet"):
            os.link(source, target)
        else:
            shutil.copyfile(source, target)

    shutil.copytree(original, copy, copy_function=link, ignore=shutil.ignore_patterns(*_TRANSIENT))


def _put(path: Path, content: bytes) -> None:
    """Another content; the copies that share the file keep theirs."""
    path.unlink()
    path.write_bytes(content)


def _flip(folder: Path, random: Random) -> Damage | None:
    path = random.choice(files_of(folder))
    data = bytearray(path.read_bytes())
    if not data:
        return None
    # The file of the position is mostly filling, and a page of a large file is like the next.
    at, bit = random.randrange(len(data)), random.randrange(8)
    data[at] ^= 1 << bit
    _put(path, data)
    return Damage(f"bit {bit} of byte {at} flipped", (path,))


def _cut(folder: Path, random: Random) -> Damage | None:
    path = random.choice(files_of(folder))
    data = path.read_bytes()
    if not data:
        return None
    size = random.randrange(len(data))
    _put(path, data[:size])
    return Damage(f"cut to {size} of {len(data)} bytes", (path,))


def _remove(folder: Path, random: Random) -> Damage:
    path = random.choice(files_of(folder))
    path.unlink()
    return Damage("removed", (path,))


def _remove_folder(folder: Path, random: Random) -> Damage:
    path = random.choice(sorted(path for path in folder.rglob("*") if path.is_dir()))
    shutil.rmtree(path)
    return Damage("folder removed", (path,))


def _empty(folder: Path, random: Random) -> Damage:
    path = random.choice(files_of(folder))
    _put(path, b"")
    return Damage("emptied", (path,))


def _others(folder: Path, path: Path) -> list[Path]:
    """The same file or folder of the other shard, and files beside it."""
    parts = path.relative_to(folder).parts
    if parts[0].startswith("shard-"):
        twin = folder.joinpath("shard-1" if parts[0] == "shard-0" else "shard-0", *parts[1:])
        beside = [each for each in path.parent.iterdir() if each != path and each.is_file() == path.is_file()]
        return [each for each in (twin, *sorted(beside)) if each.exists() and each.name not in _TRANSIENT]
    return []


def _swap(folder: Path, random: Random) -> Damage | None:
    path = random.choice([*files_of(folder), *(each for each in folder.glob("shard-*/*") if each.is_dir())])
    others = _others(folder, path)
    if not others:
        return None
    other, aside = random.choice(others), folder / "aside"
    path.rename(aside)
    other.rename(path)
    aside.rename(other)
    return Damage("swapped", (path, other))


def _replace(folder: Path, random: Random) -> Damage | None:
    path = random.choice(files_of(folder))
    others = [each for each in _others(folder, path) if each.is_file()]
    if not others:
        return None
    other = random.choice(others)
    _put(path, other.read_bytes())
    return Damage(f"replaced by {other.relative_to(folder)}", (path,))


def _put_back(earlier: Sequence[Path], folder: Path, random: Random) -> Damage | None:
    path = random.choice(files_of(folder))
    now, name = path.read_bytes(), path.relative_to(folder)
    others = [each / name for each in earlier if (each / name).exists() and (each / name).read_bytes() != now]
    if not others:
        return None
    before = random.choice(others)
    _put(path, before.read_bytes())
    return Damage(f"put back to what it was at moment {before.relative_to(before.parents[len(name.parts)])}", (path,))


# -------------------------------------------------------------------------------------------------------------- trials


def outcome(folder: Path, whole: Found, done: Damage) -> str:
    """How a damaged directory is met; AssertionError where it is silently another."""
    names = ", ".join(str(path.relative_to(folder)) for path in done.paths)
    shards = done.shards(folder)
    try:
        found = found_in(folder, shards)
    except StoreError as error:
        # A path of the directory, or the name of a file of a snapshot.
        assert any(word in str(error) for word in (str(folder), "snapshot")), f"{names}: {done.what}: {error}"
        return "refused"
    told = "\n".join(found.said)
    for name, value in whole.state.items():
        if name.startswith("shard ") and int(name.split()[1]) not in shards:
            continue
        if name in ("letters", "audit") and name not in found.state:
            assert told, f"{names}: {done.what}: {name} is not read, and nothing is said"
            continue
        assert found.state.get(name) == value, f"{names}: {done.what}: {name} is silently another\n{told}"
    return "told" if set(found.said) - set(whole.said) else "equal"


def trials(folder: Path, seed: int, go_on: Callable[[int], bool]) -> Counter[str]:
    """Damage copies of one directory, one after the other; how often each outcome came."""
    original, copy, earlier = folder / "whole", folder / "copy", list[Path]()
    original.mkdir()

    def noted() -> None:
        earlier.append(folder / f"earlier-{len(earlier)}")
        _copy(original, earlier[-1])

    build(original, noted)
    found_in(original)  # the second start finds what every later one does
    whole, counts, number = found_in(original), Counter[str](), 0
    while go_on(number):
        _copy(original, copy)
        done = damage(copy, Random(f"{seed}/{number}"), earlier)
        try:
            counts[outcome(copy, whole, done)] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, number {number}: {done}: {error!r}") from error
        shutil.rmtree(copy)
        number += 1
    return counts


def main() -> None:
    """Run trials and print what they came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.0, help="how long; else --count says how many")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    arguments = parser.parse_args()
    print(f"damage trials with --seed {arguments.seed}", flush=True)
    ends = time.monotonic() + arguments.seconds

    def go_on(number: int) -> bool:
        return number < arguments.count or time.monotonic() < ends

    with tempfile.TemporaryDirectory() as folder:
        print(dict(trials(Path(folder), arguments.seed, go_on)))


if __name__ == "__main__":
    main()
