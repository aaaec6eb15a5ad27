"""What SDKs wrap their calls in is told where it is asked how events came in."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from cdp.v1 import ingest_pb2

from cdp_router.errors import RequestInvalid
from cdp_router.limits import ENVELOPE_BYTES_MAX
from cdp_router.records.columnarise import columnarise
from cdp_store.ids import USER_ID
from cdp_store.values import to_datetime
from tests.router.export.test_people import document
from tests.router.gateway_cluster import GatewayCluster, gateway_cluster
from tests.router.local_cluster import NOW_MS, far_deadline

LIBRARY = {"name": "analytics-python", "version": "2.4.0"}
LONG_AGO = "2020-01-02T03:04:05.678Z"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayCluster]:
    """One gateway; each test uses ids of its own."""
    with gateway_cluster(tmp_path_factory.mktemp("gateway")) as found:
        yield found


def envelopes(gateway: GatewayCluster, user: str) -> list[dict[str, Any]]:
    """The envelopes of a user's events, latest first."""
    events = gateway.profile(user_id=user, with_origins=True).events
    return [json.loads(event.origin.envelope) for event in events]


def track(user: str, **fields: Any) -> dict[str, Any]:
    return {"type": "track", "event": "e", "userId": user, "messageId": f"{user}-1", **fields}


@pytest.mark.parametrize("unusual", [{}, {"timestamp": 1}], ids=["usual", "unusual"])
def test_calls_of_segment_keep_type_library_and_time_of_sending(
    gateway: GatewayCluster, unusual: dict[str, Any]
) -> None:
    user, sent = f"segment-{len(unusual)}", datetime.now(UTC).isoformat(timespec="milliseconds")
    other = {"type": "page", "messageId": f"{user}-2", "timestamp": "2024-01-01T00:00:00Z"}
    calls = [track(user, context={"library": LIBRARY, "ip": "::1"}), {"userId": user, **other}]
    assert gateway.post("/v1/batch", {"batch": [*calls, track("x", **unusual)], "sentAt": sent}).status_code == 200
    told = {"source": "web", "sent_at": sent}
    track_told = {**told, "type": "track", "library": LIBRARY["name"], "library_version": LIBRARY["version"]}
    assert envelopes(gateway, user) == [track_told, {**told, "type": "page"}]


@pytest.mark.parametrize("usual", [True, False])
def test_the_time_a_client_gave_is_kept_where_its_clock_was_wrong(gateway: GatewayCluster, usual: bool) -> None:
    user = f"late-{usual}"
    sent = to_datetime(gateway.cluster.clock.now - 2 * 86_400_000).isoformat(timespec="milliseconds")
    body = {"batch": [track(user, timestamp=LONG_AGO)], "sentAt": sent}
    assert gateway.post("/v1/batch", body | ({} if usual else {"context": {"a": 1}})).status_code == 200
    [told] = envelopes(gateway, user)
    assert (told["original_timestamp"], told["sent_at"]) == (LONG_AGO, sent)


def test_captures_and_uploads_and_single_calls_are_wrapped_too(gateway: GatewayCluster) -> None:
    capture = {"event": "e", "distinct_id": "captured", "uuid": "1", "properties": {"$lib": "web", "$lib_version": "1"}}
    assert gateway.post("/batch/", {"api_key": "web", "batch": [capture]}).status_code == 200
    expected = {"source": "web", "type": "capture", "library": "web", "library_version": "1"}
    assert envelopes(gateway, "captured") == [expected]
    upload = {"type": "event", "evtName": "e", "identity": "uploaded", "ts": int(time.time())}
    assert gateway.post("/1/upload", {"d": [upload]}).status_code == 200
    assert envelopes(gateway, "uploaded") == [{"source": "web", "type": "event"}]
    assert gateway.post("/v1/t", track("single", context={"library": "x" * 5000})).status_code == 200
    assert envelopes(gateway, "single") == [{"source": "web", "type": "track"}]


def test_an_export_of_a_person_has_the_envelopes(gateway: GatewayCluster) -> None:
    calls = [track("exported", context={"library": LIBRARY}), track("other")]
    assert gateway.post("/v1/batch", {"batch": calls}).status_code == 200

    async def collect() -> list[Any]:
        return [each async for each in gateway.cluster.asking.people.export((USER_ID, "exported"), far_deadline())]

    [record] = document(gateway.cluster.run(collect()))["records"]
    assert json.loads(record["envelope"])["library"] == LIBRARY["name"]


def batch(rows: list[Any], texts: list[str], records: list[int]) -> ingest_pb2.Batch:
    given = ingest_pb2.Envelopes(texts=texts, records=records)
    return ingest_pb2.Batch(batch_id=b"b", msgpack_rows=msgspec.msgpack.encode(rows), envelopes=given)


def test_envelopes_stay_with_their_records_when_others_are_refused() -> None:
    rows = [
        ["e", f"u{n}", None, NOW_MS if n % 3 else "wrong", f"m{n}", {"x": [{"y": n}] if n % 4 else n}]
        for n in range(12)
    ]
    found = columnarise(batch(rows, ["a", "b"], [n % 3 for n in range(9)]), NOW_MS)
    assert len(found.errors) == 4
    told = [found.batch.envelopes[number].decode() for number in found.batch.record_envelopes.tolist()]
    assert told == [["", "a", "b"][position % 3] if position < 9 else "" for position in found.positions.tolist()]


@pytest.mark.parametrize(
    ("texts", "records", "field"),
    [(["a"], [2], "records"), (["x" * (ENVELOPE_BYTES_MAX + 1)], [1], "texts")],
)
def test_envelopes_that_are_not_what_they_should_be_are_refused(
    texts: list[str], records: list[int], field: str
) -> None:
    with pytest.raises(RequestInvalid) as caught:
        columnarise(batch([["e", "u", None, NOW_MS, "m", {}]], texts, records), NOW_MS)
    assert caught.value.field == f"batch.envelopes.{field}"
