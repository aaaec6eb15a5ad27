"""Usual batches of Segment's libraries take a short road: it must say what the road of all other bodies says."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdp_router.gateway.dialects.dialects import BATCH, SEGMENT
from cdp_router.gateway.dialects.mapped import Mapped, mapped
from cdp_router.gateway.dialects.mapping import Envelope
from cdp_router.gateway.dialects.segment_calls import usual_batch
from cdp_router.gateway.dialects.segment_rows import usual_rows
from cdp_router.gateway.intake import map_item

NOW_MS = 1_767_225_600_000
TEXTS = st.sampled_from(["u-1", "", "ü" * 20, "x" * 130, "2026-01-31T10:00:00.123Z", "2026-01-31", "no time", "anon-1"])
VALUES = st.sampled_from([1, -1, 1 << 63, 1 << 70, 0.5, True, None, "text", "", [1], {"a": {"b": 1}}])
TRAITS = st.none() | st.dictionaries(
    st.sampled_from(["email", "plan", "größe"]), VALUES | st.just("a@x.de"), max_size=2
)
BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from(["identify", "page", "screen", "group", "alias", "other"]),
    "messageId": st.sampled_from(["m-2", "größe", "ö" * 100, "x" * 40, "x" * 130]),
    "event": st.sampled_from(["", "Ünï"]) | st.none(),
    **{name: st.none() | TEXTS for name in ("userId", "anonymousId", "timestamp", "originalTimestamp", "sentAt")},
    **{name: st.none() | TEXTS | VALUES for name in ("groupId", "previousId", "name", "category")},
    "properties": TRAITS,
    "traits": TRAITS | VALUES,
    "context": st.fixed_dictionaries(
        {"library": st.just({"name": "x"})},
        optional={"traits": TRAITS | VALUES, "externalIds": st.just([{"type": "Phone", "id": 7}, 3]) | VALUES},
    ),
    "integrations": st.just({"All": False}),
}
USUAL = {"type": "track", "event": "Order", "messageId": "m-1", "userId": "u-1"}
CALLS = st.lists(st.one_of([st.tuples(st.just(name), each) for name, each in BY_NAME.items()]), max_size=4).map(
    lambda changes: USUAL | dict(changes)
)


def shown(made: Mapped) -> tuple[Any, ...]:
    """What a sender could tell of rows; the order of identifiers says nothing."""
    return [msgspec.msgpack.decode(row) for row in made.rows.each()], list(made.owners), list(made.rejected)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(CALLS, min_size=1, max_size=5),
    st.sampled_from([None, NOW_MS - 500_000]),
    st.sampled_from(["web", "q" * 50]),
)
@example([USUAL | {"userId": "", "anonymousId": "a"}, USUAL | {"messageId": "ö" * 100}], None, "web")
@example([USUAL | {"properties": {"x": 1 << 70}}, USUAL | {"type": "identify", "traits": []}, USUAL], None, "web")
def test_the_short_road_says_what_the_long_one_says(calls: list[Any], sent_ms: int | None, source: str) -> None:
    body = json.dumps({"batch": calls, "writeKey": "web"}).encode()
    batch, envelope = usual_batch(body), Envelope(source, NOW_MS, sent_ms)
    assert batch is not None
    items = SEGMENT.unpack(json.loads(body), {}, BATCH).items
    long = mapped(items, lambda item: map_item(SEGMENT, item, envelope))
    assert shown(mapped(batch.batch, usual_rows(envelope))) == shown(long)


@pytest.mark.parametrize(
    "unusual",
    [
        {"messageId": ""},
        {"messageId": None},
        {"messageId": 7},
        {"userId": 7},
        {"properties": []},
        {"properties": ""},
        {"context": "x"},
        {"timestamp": 1_767_225_600},
        {"event": {}},
    ],
)
def test_what_is_unusual_leaves_the_short_road(unusual: dict[str, Any]) -> None:
    usual = {"type": "track", "event": "e", "userId": "u", "messageId": "m", "properties": {}}
    assert usual_batch(json.dumps({"batch": [usual]}).encode()) is not None
    assert usual_batch(json.dumps({"batch": [usual, usual | unusual]}).encode()) is None
    assert usual_batch(json.dumps({"batch": [usual], "context": {"ip": "::1"}}).encode()) is None
    assert usual_batch(json.dumps({"batch": [usual, 7]}).encode()) is None
