"""Operations on attributes, against a model: exact under retries, in any encoding, live, recovered and moved."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from cdp.v1 import ingest_pb2

from cdp_router.cluster.shard_client import ShardClient
from cdp_router.contract.values import from_value, to_timestamp, to_value
from cdp_router.errors import ShardUnavailable
from cdp_router.records.columnarise import columnarise
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.memory.digest import digest
from cdp_store.partition.partition import Partition
from tests.router.fake_shards import FailingShard, call_error
from tests.router.local_cluster import CLUSTER, NOW_MS, LocalCluster, local_cluster

Row = tuple[Any, ...]


def change(user: str, time_ms: int, message: str, values: dict[str, Any] | None = None, **operations: Any) -> Row:
    return (None, user, None, time_ms, message, values or {}, {}, operations)


def packed(rows: list[Row], batch: str) -> ingest_pb2.Batch:
    return ingest_pb2.Batch(batch_id=batch.encode(), msgpack_rows=msgspec.msgpack.encode(rows))


def protobuf(rows: list[Row], batch: str) -> ingest_pb2.Batch:
    made = ingest_pb2.Batch(batch_id=batch.encode())
    for _, user, _, time_ms, message, values, _, operations in rows:
        record = made.rows.records.add(user_id=user, time=to_timestamp(time_ms), message_id=message)
        record.attributes.SetInParent()
        for name, given in (("attributes", values), *operations.items()):
            for key, value in given.items():
                getattr(record.attributes, name)[key].CopyFrom(to_value(value))
    return made


def attributes(cluster: LocalCluster, user: str) -> dict[str, Any]:
    return {key: from_value(value) for key, value in cluster.profile(user_id=user).attributes.items()}


class Model:
    """What operations mean, one person's attribute at a time: (value, since when)."""

    def __init__(self) -> None:
        self.known = dict[tuple[str, str], tuple[Any, int]]()

    def take(self, row: Row) -> None:
        _, user, _, time_ms, _, values, _, operations = row
        changed = dict[str, Any](values)
        for name, given in operations.items():
            for key, operand in given.items():
                value, _ = self.known.get((user, key), (None, -1))
                after = self.done(name, value, operand)
                if after is not None and after != value:
                    changed[key] = after
        if operations:
            time_ms = max([time_ms, *(self.known[user, key][1] for key in changed if (user, key) in self.known)])
        for key, value in changed.items():
            if time_ms >= self.known.get((user, key), (None, -1))[1]:
                self.known[user, key] = value, time_ms

    @staticmethod
    def done(name: str, value: Any, operand: Any) -> Any:
        match name:
            case "set_once":
                return operand if value is None else None
            case "increment":
                return (value if isinstance(value, int | float) else 0) + operand
            case "append":
                items = value if isinstance(value, list) else []
                return [*items, *(item for item in dict.fromkeys(operand) if item not in items)][-100:]
        return [item for item in value if item not in operand] if isinstance(value, list) else None

    def of(self, user: str) -> dict[str, Any]:
        return {key: value for (who, key), (value, _) in self.known.items() if who == user and value is not None}


def workload(seed: int, count: int) -> list[Row]:
    chance = random.Random(seed)
    rows = list[Row]()
    for number in range(count):
        user, time_ms = f"u-{chance.randrange(4)}", NOW_MS - chance.randrange(1_000)
        key = f"a{chance.randrange(3)}"
        kind = chance.choice(["set", "unset", "set_once", "increment", "increment", "append", "append", "remove"])
        items = [chance.choice(["x", "y", 1, 2.5]) for _ in range(chance.randrange(3))]
        number_ = chance.choice([1, -3, 0.5, 1 << 62])
        operand = {"set_once": chance.choice([7, "seven", ["x"]]), "increment": number_}.get(kind, items)
        if kind in ("set", "unset"):
            value = chance.choice([5, 1.5, ["x", "z"], "text"]) if kind == "set" else None
            rows.append(change(user, time_ms, f"m-{number}", {key: value}))
        else:
            rows.append(change(user, time_ms, f"m-{number}", **{kind: {key: operand}}))
    return rows


@pytest.mark.parametrize("seed", range(8))
def test_batches_applied_together_mean_what_they_do_one_by_one(seed: int) -> None:
    rows = workload(seed, 60)
    batches = [columnarise(packed(rows[at : at + 7], str(at)), NOW_MS).batch for at in range(0, 60, 7)]
    alone, together = (Partition(PartitionId(0), CLUSTER.hash_key) for _ in range(2))
    for number, batch in enumerate(batches, 1):
        alone.apply(batch, SequenceNumber(number))
    together.apply_all(batches, SequenceNumber(len(batches)))
    assert digest(together.capture()) == digest(alone.capture())
    known = [[held.known_batch(batch) for batch in batches] for held in (alone, together)]
    assert known[0] == known[1] == list(range(1, len(batches) + 1))


@pytest.mark.parametrize("encode", [packed, protobuf])
@pytest.mark.parametrize("seed", range(2))
def test_operations_are_what_the_model_says(tmp_path: Path, seed: int, encode: Any) -> None:
    rows, model = workload(seed, 150), Model()
    with local_cluster(tmp_path) as cluster:
        for start in range(0, len(rows), 23):
            part = rows[start : start + 23]
            for attempt in range(2):  # a batch, and its records in another one
                result = cluster.ingest(encode(part, f"{start} {attempt}"))
                assert list(result.errors) == []
                assert (result.accepted, result.duplicates) == ((len(part), 0) if attempt == 0 else (0, len(part)))
            for row in part:
                model.take(row)
            if start % 2:
                cluster.seal()
        live = {f"u-{n}": attributes(cluster, f"u-{n}") for n in range(4)}
    assert live == {user: model.of(user) for user in live}
    with local_cluster(tmp_path) as cluster:  # from the log
        assert {user: attributes(cluster, user) for user in live} == live


def test_history_has_every_value_at_its_time(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        hour = 3_600_000
        for number in range(3):
            cluster.ingest(
                packed([change("u", NOW_MS - (3 - number) * hour, f"{number}", increment={"n": 1})], f"{number}")
            )
        late = change("u", NOW_MS - 9 * hour, "late", increment={"n": 10})
        cluster.ingest(packed([late], "late"))
        assert attributes(cluster, "u") == {"n": 13}
        counts = [cluster.query(f"n = {n}", as_of_ms=NOW_MS - ago * hour).count for n, ago in ((1, 3), (2, 2), (13, 1))]
        assert counts == [1, 1, 1]


@pytest.mark.parametrize(
    "row",
    [
        ("event", "u", None, NOW_MS, "m", {}, {}, {"increment": {"n": 1}}),
        change("u", NOW_MS, "m", multiply={"n": 1}),
        change("u", NOW_MS, "m", increment={"n": "1"}),
        change("u", NOW_MS, "m", increment={"n": True}),
        change("u", NOW_MS, "m", append={"n": "x"}),
        change("u", NOW_MS, "m", remove={"n": {"x": 1}}),
        change("u", NOW_MS, "m", set_once={"n": None}),
        change("u", NOW_MS, "m", {"n": 1}, increment={"n": 1}),
        change("u", NOW_MS, "m", append={"n": []}, increment={"n": 1}),
        change("u", NOW_MS, "m", increment=5),
        (None, "u", None, NOW_MS, "m", {}, {}, 5),
    ],
)
def test_what_is_no_operation_is_an_error(tmp_path: Path, row: Row) -> None:
    with local_cluster(tmp_path) as cluster:
        result = cluster.ingest(packed([row, change("u", NOW_MS, "good", increment={"n": 2})], "b"))
        assert [error.code for error in result.errors] == ["OPERATION_INVALID"]
        assert attributes(cluster, "u") == {"n": 2}


def under(device: str, message: str, **operations: Any) -> Row:
    return (None, None, device, NOW_MS, message, {}, {}, operations or {"increment": {"n": 1}})


def linked(cluster: LocalCluster) -> None:
    """A device that belongs to an address, and that to a user, who has n = 5."""
    cluster.ingest(packed([change("u", NOW_MS, "1", increment={"n": 5})], "value"))
    cluster.ingest(packed([(None, None, "d", NOW_MS, "2", {}, {"email": "u@x.de"}, {})], "device"))
    cluster.ingest(packed([(None, "u", None, NOW_MS, "3", {}, {"email": "u@x.de"}, {})], "user"))


@pytest.mark.parametrize("again", ["same", "other"])
def test_an_operation_under_an_identifier_of_somebody_else_is_done_on_his_values_once(
    tmp_path: Path, again: str
) -> None:
    rows = [
        under("d", "4"),
        change("v", NOW_MS, "5", increment={"n": 2}),
        under("d", "6", set_once={"n": 100, "first": "web"}),
        under("nobody", "7"),
        under("d", "8", append={"seen": ["a"]}),
    ]
    with local_cluster(tmp_path) as cluster:
        linked(cluster)
        result = cluster.ingest(packed(rows, "same"))
        assert (result.accepted, result.duplicates, list(result.errors)) == (5, 0, [])
        repeated = cluster.ingest(packed(rows, again))
        assert (repeated.accepted, repeated.duplicates, list(repeated.errors)) == (0, 5, [])
        assert attributes(cluster, "u") == {"n": 6, "first": "web", "seen": ["a"]}
        assert attributes(cluster, "v") == {"n": 2}


def test_an_operation_that_was_refused_before_a_crash_is_done_when_its_batch_comes_again(tmp_path: Path) -> None:
    shards = dict[int, FailingShard]()

    def failing(number: int, client: ShardClient) -> ShardClient:
        shards[number] = FailingShard(client)
        return shards[number]

    rows = [under("d", "4"), *(change(f"v{n}", NOW_MS, f"v{n}", increment={"n": 2}) for n in range(9))]
    with local_cluster(tmp_path, failing) as cluster:
        linked(cluster)
        for shard in shards.values():
            shard.error, shard.before, shard.calls = call_error(grpc.StatusCode.UNAVAILABLE), 1, 0
        with pytest.raises(ShardUnavailable):
            cluster.ingest(packed(rows, "same"))
        assert attributes_once_well(cluster, shards) == {"n": 5}, "what is elsewhere must not have been done yet"
        result = cluster.ingest(packed(rows, "same"))
        assert (result.accepted, result.duplicates, list(result.errors)) == (1, 9, [])
        assert attributes(cluster, "u") == {"n": 6}


def attributes_once_well(cluster: LocalCluster, shards: dict[int, FailingShard]) -> dict[str, Any]:
    for shard in shards.values():
        shard.error = None
    return attributes(cluster, "u")


def test_an_operation_that_cannot_be_told_from_its_repetition_is_refused_where_it_would_be_sent_on(
    tmp_path: Path,
) -> None:
    with local_cluster(tmp_path) as cluster:
        linked(cluster)
        result = cluster.ingest(packed([under("d", ""), under("nobody", "")], "c"))
        assert [(error.index, error.code) for error in result.errors] == [(0, "OPERATION_ON_LINKED_IDENTIFIER")]
        assert "message id" in result.errors[0].message
        assert attributes(cluster, "u") == {"n": 5}


def test_what_was_done_before_it_was_linked_is_not_done_again_elsewhere(tmp_path: Path) -> None:
    early = packed([under("d", "0")], "early")
    with local_cluster(tmp_path) as cluster:
        assert cluster.ingest(early).accepted == 1
        linked(cluster)
        before = attributes(cluster, "u")
        for batch in (early, packed([under("d", "0")], "another")):
            result = cluster.ingest(batch)
            assert (result.accepted, result.duplicates, list(result.errors)) == (0, 1, [])
        assert attributes(cluster, "u") == before
