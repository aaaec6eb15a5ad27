"""Objects as attributes, as senders say them: a new one stands for the whole, a dotted name for a part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cdp_router.records.columnarise import columnarise
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.memory.digest import digest
from cdp_store.partition.partition import Partition
from tests.router.ingest.test_operations import Row, attributes, change, packed, protobuf, workload
from tests.router.local_cluster import CLUSTER, NOW_MS, local_cluster

FULL = {"city": "X", "zip": "1"}
T = NOW_MS - 1000


@pytest.mark.parametrize("encode", [packed, protobuf])
@pytest.mark.parametrize(
    ("later", "left"),
    [
        ({"address": None}, {}),
        ({"address": "X 1"}, {"address": "X 1"}),
        ({"address": ["X", 1]}, {"address": ["X", 1]}),
        ({"address": {}}, {}),
        ({"address": {"city": "Y"}}, {"address.city": "Y"}),
        ({"address": {"geo": {"lat": 1}}}, {"address.geo.lat": 1}),
        ({"address.city": "Y"}, {"address.city": "Y", "address.zip": "1"}),
        ({"address.city": None}, {"address.zip": "1"}),
        ({"addresses": None}, {"address.city": "X", "address.zip": "1"}),
    ],
)
def test_what_a_later_record_leaves_of_an_object(
    tmp_path: Path, encode: Any, later: dict[str, Any], left: dict[str, Any]
) -> None:
    rows = [change("u", T, "m1", {"address": FULL}), change("u", T + 1, "m2", later)]
    with local_cluster(tmp_path) as cluster:
        for number, row in enumerate(rows):
            cluster.ingest(encode([row], str(number)))
            _, _, _, at, _, values, *_ = rows[1 - number]
            cluster.ingest(encode([change("late", at, f"l{number}", values)], f"late {number}"))
        cluster.ingest(encode([change("v", row[3], f"v{row[4]}", row[5]) for row in reversed(rows)], "together"))
        assert all(attributes(cluster, who) == left for who in ("u", "v", "late"))
    with local_cluster(tmp_path) as cluster:
        assert all(attributes(cluster, who) == left for who in ("u", "v", "late"))


@pytest.mark.parametrize("encode", [packed, protobuf])
def test_an_object_unsets_what_stood_in_its_place(tmp_path: Path, encode: Any) -> None:
    with local_cluster(tmp_path) as cluster:
        for at, value in enumerate(["text", {"city": "X"}]):
            cluster.ingest(encode([change("u", T + at, f"m{at}", {"address": value})], str(at)))
        assert attributes(cluster, "u") == {"address.city": "X"}
        assert cluster.members("exists(address)")[0] == []


def test_objects_of_events_are_no_removals() -> None:
    row: Row = ("Ordered", "u", None, T, "m", {"address": FULL})
    batch = columnarise(packed([row], "b"), NOW_MS).batch
    assert sorted(batch.keys[key] for key in batch.triple_keys) == ["address.city", "address.zip"]


@pytest.mark.parametrize("seed", range(4))
def test_batches_with_operations_on_parts_mean_together_what_they_do_one_by_one(seed: int) -> None:
    """The workload of operations, on parts of an object that changes as well."""
    rows = [
        (*row[:5], _nested(row[5]), {}, {name: _nested(given) for name, given in row[7].items()})
        for row in workload(seed, 60)
    ]
    batches = [columnarise(packed(rows[at : at + 7], str(at)), NOW_MS).batch for at in range(0, 60, 7)]
    alone, together = (Partition(PartitionId(0), CLUSTER.hash_key) for _ in range(2))
    for number, batch in enumerate(batches, 1):
        alone.apply(batch, SequenceNumber(number))
    together.apply_all(batches, SequenceNumber(len(batches)))
    assert digest(together.capture()) == digest(alone.capture())


def _nested(values: dict[str, Any]) -> dict[str, Any]:
    names = {"a0": "a0", "a1": "a0.x", "a2": "a0.y"}
    return {names[name]: value for name, value in values.items()}
