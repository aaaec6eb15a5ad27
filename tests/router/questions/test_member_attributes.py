"""Members of a segment with attributes: typed columns, now and as of then, from any number of partitions."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from cdp.v1 import ingest_pb2, query_pb2

from cdp_router.contract.values import to_timestamp
from cdp_router.errors import RequestInvalid
from cdp_router.questions import attribute_columns
from tests.router.encodings import Sent, protobuf_batch
from tests.router.local_cluster import NOW_MS, LocalCluster, far_deadline, local_cluster

DAY_MS = 86_400_000
THEN = datetime(2025, 5, 6, 7, 8, 9, 123_000, UTC)


def members(
    cluster: LocalCluster, names: list[str], text: str = "everyone", **options: Any
) -> tuple[pa.Table, list[query_pb2.MembersResponse]]:
    request = query_pb2.MembersRequest(text=text, attributes=names, **options)

    async def collect() -> list[query_pb2.MembersResponse]:
        encoded = cluster.asking.members(request, far_deadline())
        return [query_pb2.MembersResponse.FromString(b"".join(each)) async for each in encoded]

    responses = cluster.run(collect())
    with pa.ipc.open_stream(b"".join(response.arrow for response in responses)) as reader:
        return reader.read_all(), responses


def by_id(table: pa.Table, column: str) -> dict[str, Any]:
    return dict(zip(table.column("id").to_pylist(), table.column(column).to_pylist(), strict=True))


def take(cluster: LocalCluster, values: dict[str, Any], time_ms: int = NOW_MS - DAY_MS) -> None:
    """Give users, by name, attributes."""
    sent = [Sent(None, user, time_ms, given) for user, given in values.items()]
    assert cluster.ingest(protobuf_batch(sent)).accepted == len(sent)


def test_columns_have_the_type_of_their_values(tmp_path: Path) -> None:
    big = (1 << 62) + 1
    given: dict[str, Any] = {
        "a": {"flag": True, "n": big, "price": 1, "wide": big, "at": THEN, "mixed": "x", "tags": ["ü", 2]},
        "b": {"flag": False, "n": -3, "price": 2.5, "wide": 0.5, "mixed": 7, "tags": ["ü", 2], "id": "own"},
        "c": {"mixed": False, "tags": []},
        "d": {"mixed": 0.1},
        "e": {"mixed": THEN},
        "f": {"mixed": ["p"]},
        "g": {},
    }
    with local_cluster(tmp_path) as cluster:
        take(cluster, given)
        names = ["flag", "n", "price", "wide", "at", "mixed", "tags", "id"]
        table, responses = members(cluster, names)
        assert len(responses[-1].coverage.answered) == 4
        cluster.seal()
        assert members(cluster, names)[0].sort_by("id") == table.sort_by("id")
    assert table.schema.names == ["kind", "id", "flag", "n", "price", "wide", "at", "mixed", "tags", "attributes.id"]
    types = [
        pa.bool_(),
        pa.int64(),
        pa.float64(),
        pa.large_string(),
        pa.timestamp("ms", "UTC"),
        *[pa.large_string()] * 3,
    ]
    assert table.schema.types[2:] == types
    assert sorted(table.column("id").to_pylist()) == list(given)
    for column, key in (("flag", "flag"), ("n", "n"), ("price", "price"), ("at", "at"), ("attributes.id", "id")):
        assert by_id(table, column) == {user: values.get(key) for user, values in given.items()}
    assert by_id(table, "wide") == dict.fromkeys(given) | {"a": str(big), "b": "0.5"}
    mixed = {"a": "x", "b": "7", "c": "false", "d": "0.1", "e": "2025-05-06T07:08:09.123Z", "f": '["p"]', "g": None}
    assert by_id(table, "mixed") == mixed
    lists = {user: text and json.loads(text) for user, text in by_id(table, "tags").items()}
    assert lists == {user: values.get("tags") for user, values in given.items()}


def test_attributes_are_as_they_stood_then(tmp_path: Path) -> None:
    with local_cluster(tmp_path) as cluster:
        take(cluster, {"a": {"plan": 1}, "b": {"plan": 2}}, NOW_MS - 9 * DAY_MS)
        take(cluster, {"a": {"plan": "gold"}, "b": {"plan": None}, "c": {"plan": "free"}}, NOW_MS - 2 * DAY_MS)
        now, _ = members(cluster, ["plan"])
        then, _ = members(cluster, ["plan"], as_of=to_timestamp(NOW_MS - 5 * DAY_MS))
    assert by_id(now, "plan") == {"a": "gold", "b": None, "c": "free"}
    assert (by_id(then, "plan"), then.schema.field("plan").type) == ({"a": 1, "b": 2}, pa.int64())


def test_messages_end_by_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribute_columns, "MEMBER_MESSAGE_BYTES", 4000)
    monkeypatch.setattr("cdp_router.shard.member_pages.MEMBER_MESSAGE_BYTES", 4000)
    given = {f"u{number}": {"text": f"{number} " + "x" * 1000, "n": number} for number in range(200)}
    with local_cluster(tmp_path) as cluster:
        take(cluster, given)
        table, responses = members(cluster, ["text", "n"])
    assert by_id(table, "text") == {user: values["text"] for user, values in given.items()}
    assert by_id(table, "n") == {user: values["n"] for user, values in given.items()}
    assert len(responses) > 50
    assert max(len(response.arrow) for response in responses) < 8000


def test_members_are_those_of_the_segment_and_of_any_identifier(tmp_path: Path) -> None:
    rows = [(None, None, f"device-{n}", NOW_MS - DAY_MS, f"m{n}", {"n": n}) for n in range(20)]
    with local_cluster(tmp_path) as cluster:
        cluster.ingest(ingest_pb2.Batch(batch_id=b"b", msgpack_rows=msgspec.msgpack.encode(rows)))
        table, _ = members(cluster, ["n"], "n between 5 and 9")
        nobody, _ = members(cluster, ["n"], "n > 99")
    assert table.column("kind").unique().to_pylist() == ["anonymous_id"]
    assert by_id(table, "n") == {f"device-{n}": n for n in range(5, 10)}
    assert nobody.num_rows == 0


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["plann"], "no attribute named 'plann' has been seen; did you mean 'plan'?"),
        (["plan", "plan"], "attributes\\[1\\]: there are two columns 'plan'"),
        (["id", "attributes.id"], "two columns 'attributes.id'"),
        ([f"a{n}" for n in range(257)], "at most 256"),
    ],
)
def test_what_cannot_be_a_column_is_said(tmp_path: Path, names: list[str], told: str) -> None:
    with local_cluster(tmp_path) as cluster:
        take(cluster, {"a": {"plan": "gold"}})
        with pytest.raises(RequestInvalid, match=told):
            members(cluster, names)
