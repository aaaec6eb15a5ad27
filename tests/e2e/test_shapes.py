"""Unusual shapes of records, from a client to an answer: nested, lists of objects, changing types, rare names."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from cdp.v1 import ingest_pb2

from cdp_router.client import Client
from tests.router.encodings import Sent, msgpack_batch, msgpack_row, protobuf_batch

PAST_MS = 1_700_000_000_000
Encode = Callable[[Iterable[Sent]], ingest_pb2.Batch]


def _msgpack(records: Iterable[Sent]) -> ingest_pb2.Batch:
    return msgpack_batch(map(msgpack_row, records))


@pytest.fixture(params=[protobuf_batch, _msgpack], ids=["protobuf", "msgpack"])
def encode(request: pytest.FixtureRequest) -> Encode:
    """One of the encodings in which rows come."""
    chosen: Encode = request.param
    return chosen


def test_objects_are_asked_by_dotted_names_down_to_the_deepest_level_and_refused_beyond(
    client: Client, encode: Encode
) -> None:
    event = f"shapes.nested.{encode.__name__}"
    deepest = {"order": {"ship": {"city": "Lyon", "floor": 3}}}
    beyond = {"order": {"ship": {"city": {"name": "Lyon"}}}}
    records = [Sent(event, "nested-1", PAST_MS, deepest), Sent(event, "nested-2", PAST_MS, beyond)]
    records.append(Sent(None, "nested-1", PAST_MS, {"home": {"place": {"zip": f"69001 {event}"}}}))
    response = client.ingest(encode(records))
    assert [(error.index, error.code) for error in response.errors] == [(1, "NESTING_TOO_DEEP")]
    assert "order.ship.city" in response.errors[0].message
    assert client.count(f'did("{event}")') == 1
    assert client.count(f'did("{event}", order.ship.city = "Lyon" and order.ship.floor > 2)') == 1
    assert client.count(f'did("{event}", order.ship.city = "Paris")') == 0
    assert client.count(f'home.place.zip = "69001 {event}"') == 1


def test_lines_of_an_order_are_asked_line_by_line(client: Client, encode: Encode) -> None:
    event = f"shapes.lines.{encode.__name__}"
    orders = {
        "lines-1": [{"sku": "pen", "qty": 9, "tag": {"color": "red"}}, {"sku": "ink", "qty": 1, "note": "é"}],
        "lines-2": [{"sku": "pen", "qty": 1}, {"sku": "ink", "qty": 9}],
        "lines-3": [],
    }
    client.ingest(encode([Sent(event, who, PAST_MS, {"lines": lines}) for who, lines in orders.items()]))
    expected = {
        'any(lines, sku = "pen" and qty >= 9)': 1,
        'any(lines, sku = "pen") and size(lines) = 2': 2,
        "all(lines, qty >= 1)": 3,
        'none(lines, sku = "ink" and qty > 5)': 2,
        'any(lines, tag.color = "red")': 1,
        'any(lines, note contains "é")': 1,
    }
    assert {text: client.count(f'did("{event}", {text})') for text in expected} == expected


def test_a_property_that_changes_its_type_keeps_both(client: Client, encode: Encode) -> None:
    event = f"shapes.types.{encode.__name__}"
    values = [7, "7", 7.5, True, ["7"]]
    client.ingest(encode([Sent(event, f"types-{n}", PAST_MS + n, {"v": value}) for n, value in enumerate(values)]))
    asked = {"v = 7": 1, 'v = "7"': 2, "v > 7": 1, "v = true": 1, "exists(v)": 5, "size(v) = 1": 1}
    assert {text: client.count(f'did("{event}", {text})') for text in asked} == asked


def test_a_name_with_one_event_beside_many_is_found(client: Client, encode: Encode) -> None:
    event = f"shapes.once.{encode.__name__}"
    client.ingest(encode([Sent(f"{event} often", f"once-{n % 50}", PAST_MS + n, {}) for n in range(500)]))
    client.ingest(encode([Sent(event, "once-7", PAST_MS, {"n": 1})]))
    assert client.count(f'did("{event}")') == 1
    assert client.count(f'sum("{event}".n) = 1 and count("{event} often") = 10') == 1
    assert client.count(f'not did("{event}") and did("{event} often")') == 49
