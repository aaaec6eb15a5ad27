"""Members of several partitions as messages: who they are, and which names their partitions know."""

from __future__ import annotations

import pyarrow as pa
from cdp.v1 import ingest_pb2

from cdp_query import pipeline, tree
from cdp_query.bind.bind import Binder
from cdp_router.shard.member_pages import FoundMembers
from cdp_store.ids import decode_identifier
from tests.raw_records import Event, user
from tests.shards import Shards


def test_one_message_tells_what_all_its_partitions_know() -> None:
    shards = Shards(8)
    shards.apply([Event(user(f"u{number}"), f"E{number}", 0, {}) for number in range(8)])
    views = [(ingest_pb2.PartitionPosition(partition=at), view) for at, view in enumerate(shards.capture())]
    known = {name for _, view in views for name in view.schema.events}
    assert known == {f"E{number}" for number in range(8)}
    assert all(set(view.schema.events) < known for _, view in views)
    segment = pipeline.segment_of(pipeline.read('did("E1") or did("E2") or did("E3") or did("unheard")', None))
    found = FoundMembers.of(segment, views, Binder(tree.Context(1)), [], lambda: None)
    [(message, arrow)] = found.messages()
    assert set(message.known.events) == {"E1", "E2", "E3"}
    assert [each.partition for each in message.answered] == list(range(8))
    with pa.ipc.open_stream(b"".join(arrow)) as reader:
        encoded = reader.read_all().column("identifier").to_pylist()
    assert sorted(decode_identifier(each)[1] for each in encoded) == ["u1", "u2", "u3"]
