"""What has been seen is what plain counting finds, over all partitions."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from cdp.v1 import schema_pb2

from cdp_router.questions.discovery import discover
from cdp_store.memory.discovery import DISTINCT_TOLD_MAX
from tests.router.identity.test_moving import rows
from tests.router.local_cluster import NOW_MS, LocalCluster, far_deadline, local_cluster

_VALUES: tuple[Any, ...] = (True, 1, 2.5, "a", "b", ["x"], ["y", 1])


def seen(cluster: LocalCluster) -> schema_pb2.DiscoverSchemaResponse:
    """What the cluster has seen."""
    return cluster.run(discover(cluster.routing, far_deadline()))


def _type(value: Any) -> str:
    names = {bool: "BOOLEAN", int: "INTEGER", float: "NUMBER", str: "TEXT", list: "LIST"}
    return f"VALUE_TYPE_{names[type(value)]}"


def _types(found: schema_pb2.SeenProperty) -> dict[str, int]:
    return {schema_pb2.ValueType.Name(each.type): each.count for each in found.types}


@pytest.mark.parametrize("sealed", [False, True])
def test_events_properties_and_attributes_with_types_texts_and_times(tmp_path: Path, sealed: bool) -> None:
    said = [(f"u{n % 11}", "View" if n % 3 else "Buy", NOW_MS - n * 86_400_000, _VALUES[n % 7]) for n in range(60)]
    with local_cluster(tmp_path) as cluster:
        cluster.ingest(rows(*([name, who, None, ts, None, {"p": value}] for who, name, ts, value in said)))
        changes = [(f"u{n % 5}", NOW_MS - n, {"plan": _VALUES[n % 5]}) for n in range(20)]
        cluster.ingest(rows(*([None, who, None, ts, None, values] for who, ts, values in changes), batch_id=b"2"))
        if sealed:
            cluster.seal()
        found = seen(cluster)
    by_name = defaultdict[str, list[tuple[int, Any]]](list)
    for _, name, ts, value in said:
        by_name[name].append((ts, value))
    assert [event.name for event in found.events] == ["Buy", "View"]
    for event in found.events:
        own = by_name[event.name]
        assert event.count == len(own)
        assert (event.first.ToMilliseconds(), event.last.ToMilliseconds()) == (min(own)[0], max(own)[0])
        [seen_property] = event.properties
        assert _types(seen_property) == Counter(_type(value) for _, value in own)
        texts = {repr(value) for _, value in own if isinstance(value, str | list)}
        assert seen_property.distinct_at_least == seen_property.distinct_at_most == len(texts)
    [plan] = found.attributes
    assert _types(plan) == Counter(_type(values["plan"]) for _, _, values in changes)
    assert (plan.first.ToMilliseconds(), plan.last.ToMilliseconds()) == (NOW_MS - 19, NOW_MS)
    assert plan.distinct_at_least == plan.distinct_at_most == 2


def test_many_texts_are_counted_between_bounds(tmp_path: Path) -> None:
    people, texts = 40, 8 * DISTINCT_TOLD_MAX
    with local_cluster(tmp_path) as cluster:
        for start in range(0, texts, 4000):
            part = range(start, start + 4000)
            packed = (["View", f"u{n % people}", None, NOW_MS, None, {"p": f"t{n}"}] for n in part)
            cluster.ingest(rows(*packed, batch_id=b"%d" % start))
        [event] = seen(cluster).events
    [found] = event.properties
    assert DISTINCT_TOLD_MAX < found.distinct_at_least <= texts == found.distinct_at_most
