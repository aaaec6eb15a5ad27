"""The asynchronous client and its typed results, over a socket; what its tables load."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, date, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pytest
import typer
from cdp.v1 import profile_pb2, query_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from cdp_router.cli.console import parse_as_of
from cdp_router.client import Answer, AsyncClient, Client, ClusterUnreachable, Profile, RequestFailed
from cdp_router.client.asking import members_request, profile_name, query_request
from cdp_router.client.questions import did, funnel
from cdp_router.contract.values import to_value
from tests.router.encodings import Sent, protobuf_batch
from tests.router.local_cluster import NOW_MS
from tests.router.served_cluster import served_cluster


def test_an_asynchronous_client_asks_reads_and_pages(tmp_path: Path) -> None:
    async def test() -> None:
        async with served_cluster(tmp_path) as served, AsyncClient(served.address) as client:
            sent = [Sent("View", f"u{n % 10}", NOW_MS - n, {"n": n}) for n in range(50)]
            plans = [Sent(None, f"u{n}", NOW_MS - 100, {"plan": "gold" if n < 4 else 7}) for n in range(8)]
            taken = await client.ingest(protobuf_batch([*sent, *plans]))
            assert taken.accepted == 58
            assert await client.count(did("View")) == 10
            answer = await client.answer("everyone", by="plan")
            assert (answer.count, answer.exact, answer.as_of.year) == (10, True, 2026)
            assert set(answer.breakdown) == {("gold", 4), (7, 4), (None, 2)}
            table = answer.to_arrow().to_pydict()
            assert dict(zip(table["value"], table["count"], strict=True)) == {"gold": 4, "7": 4, None: 2}
            members = await client.list_members('did("View", n >= 45)')
            assert sorted(members.ids()) == ["u5", "u6", "u7", "u8", "u9"]
            assert members.coverage.total == len(members.coverage.answered)
            events = [event async for event in client.timeline("u3", page_size=2)]
            assert [event.properties["n"] for event in events] == [3, 13, 23, 33, 43]
            names = [profile_pb2.ProfileName(user_id=name) for name in ("u1", "nobody")]
            found = await client.find_profiles(names, events_max=1)
            assert found[1] is None
            assert found[0] is not None and (found[0].attributes, found[0].event_count) == ({"plan": "gold"}, 5)
            assert len((await client.status()).shards) == 2
            many = [Sent("Click", "busy", NOW_MS - n, {}) for n in range(150)]
            await client.ingest(protobuf_batch(many))
            busy = await client.find_profile("busy", events_max=200)
            assert busy is not None and len(busy.events) == busy.event_count == 150
            with pytest.raises(RequestFailed, match="at most 10000 with one profile"):
                await client.find_profile("busy", events_max=10_001)
            with pytest.raises(RequestFailed, match="at most 100 with several"):
                await client.find_profiles(names, events_max=101)

    asyncio.run(test())


def test_a_failure_says_code_reason_field_and_request(tmp_path: Path) -> None:
    async def test() -> None:
        async with served_cluster(tmp_path) as served, AsyncClient(served.address) as client:
            with pytest.raises(RequestFailed) as caught:
                await client.find_profile(user_id="x" * 513)
        error = caught.value
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert (error.reason, error.field) == ("REQUEST_INVALID", "names[0].user_id")
        assert len(error.request_id) == 16
        async with AsyncClient("127.0.0.1:1") as nobody:
            with pytest.raises(ClusterUnreachable, match="cdp up"):
                await nobody.status()

    asyncio.run(test())


def test_a_synchronous_client_reads_more_events_of_one_profile_than_of_several(tmp_path: Path) -> None:
    async def test() -> None:
        async with served_cluster(tmp_path) as served, AsyncClient(served.address) as client:
            await client.ingest(protobuf_batch([Sent("Click", "busy", NOW_MS - n, {}) for n in range(150)]))

            def read() -> Profile | None:
                with Client(served.address) as blocking:
                    return blocking.find_profile("busy", events_max=200)

            found = await asyncio.to_thread(read)
            assert found is not None and len(found.events) == 150

    asyncio.run(test())


_NOON = datetime(2018, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "tz", "iso"),
    [
        ("2018-01-01", "", "2018-01-01T00:00:00Z"),
        (date(2018, 1, 1), "", "2018-01-01T00:00:00Z"),
        (date(2018, 1, 1), "Asia/Tokyo", "2017-12-31T15:00:00Z"),
        ("2018-01-01", "Asia/Tokyo", "2017-12-31T15:00:00Z"),
        ("2018-01-01T12:00", "Asia/Tokyo", "2018-01-01T03:00:00Z"),
        ("2018-01-01T12:00Z", "Asia/Tokyo", "2018-01-01T12:00:00Z"),
        (datetime(2018, 1, 1, 12), "Asia/Tokyo", "2018-01-01T03:00:00Z"),
        (_NOON, "Asia/Tokyo", "2018-01-01T12:00:00Z"),
        (pd.Timestamp(_NOON), "", "2018-01-01T12:00:00Z"),
        (pd.Timestamp("2018-01-01"), "Asia/Tokyo", "2017-12-31T15:00:00Z"),
        (Timestamp(seconds=1_514_764_800), "", "2018-01-01T00:00:00Z"),
        ("2018-03-25", "Asia/Beirut", "2018-03-24T22:00:00Z"),  # the clocks went forward at midnight
    ],
)
def test_the_instant_asked_about_is_a_date_a_time_or_text(given: Any, tz: str, iso: str) -> None:
    for request in (query_request("everyone", as_of=given, tz=tz), members_request("everyone", as_of=given, tz=tz)):
        assert request.as_of.ToDatetime(UTC) == datetime.fromisoformat(iso)
        assert request.tz == tz


@pytest.mark.parametrize(
    ("given", "tz", "error"),
    [
        ("2018-01", "", "as_of"),
        ("yesterday", "", "as_of"),
        ("", "", "as_of"),
        (pd.NaT, "", "as_of"),
        ("2018-01-01", "Mars/Olympus", "tz"),
        (5, "", "as_of"),
        (np.datetime64("2018-01-01"), "", "as_of"),
    ],
)
def test_what_is_no_instant_to_ask_about_is_refused_at_the_call(given: Any, tz: str, error: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{error}: "):
        query_request("everyone", as_of=given, tz=tz)


def test_the_command_line_reads_the_same_instants() -> None:
    assert parse_as_of("2018-01-01", "Asia/Tokyo").ToJsonString() == "2017-12-31T15:00:00Z"
    assert parse_as_of("2018-01-01T12:00:00.0005Z", "UTC").ToJsonString() == "2018-01-01T12:00:00Z"
    for text, tz in (("soon", "UTC"), ("2018-01", "UTC"), ("2018-01-01", "Mars/Olympus")):
        with pytest.raises(typer.Exit) as caught:
            parse_as_of(text, tz)
        assert caught.value.exit_code == 2


def test_options_that_do_not_exist_are_refused_and_types_are_told_to_checkers() -> None:
    with pytest.raises(ValueError, match="limit"):
        query_request("everyone", limit=3)  # type: ignore[call-arg]
    for package in ("cdp_store", "cdp_query", "cdp_router", "cdp"):
        assert resources.files(package).joinpath("py.typed").is_file()


def test_what_has_no_members_or_names_nobody_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ValueError, match="report"):
        members_request(funnel("A", "B"))
    with pytest.raises(ValueError, match="user_id or anonymous_id"):
        profile_name("a", "b")
    with pytest.raises(ValueError, match="user_id or anonymous_id"):
        profile_name(None, None)


def test_tables_of_answers() -> None:
    numbers = [query_pb2.BreakdownRow(value=to_value(value), count=1) for value in (1, 2.5, None)]
    found = Answer.from_response(query_pb2.QueryResponse(breakdown=numbers)).to_arrow()
    assert found.column("value").to_pylist() == [1.0, 2.5, None]
    assert Answer.from_response(query_pb2.QueryResponse(count=3)).to_polars()["count"].to_list() == [3]
    steps = [query_pb2.FunnelStep(label="A", count=5), query_pb2.FunnelStep(label="B", count=2)]
    frame = Answer.from_response(query_pb2.QueryResponse(funnel=steps)).to_pandas()
    assert frame.to_dict("list") == {"step": ["A", "B"], "count": [5, 2]}


def test_the_table_of_a_report_has_its_rows(tmp_path: Path) -> None:
    async def test() -> None:
        async with served_cluster(tmp_path) as served, AsyncClient(served.address) as client:
            await client.ingest(
                protobuf_batch(
                    [
                        Sent(name, f"u{n}", NOW_MS - 1000 * at, {"plan": ["a", "b"][n % 2], "x": n})
                        for n in range(6)
                        for at, name in ((9, "A"), (5, "B"))
                    ]
                )
            )

            async def rows(text: str) -> list[dict[str, Any]]:
                table = (await client.answer(text)).to_arrow()
                assert len(table.to_pandas()) == table.num_rows
                found: list[dict[str, Any]] = table.to_pylist()
                return found

            trend = await rows('trend("A".x, unit: day, last: 30d)')
            assert sum(row["events"] for row in trend) == 6 and max(row["users"] for row in trend) == 6
            assert {"start", "label", "sum", "average", "incomplete"} <= set(trend[0])
            assert sum(row["sum"] or 0 for row in trend) == 15
            kept = await rows('retention("A", return: "B", unit: day, periods: 2, last: 30d)')
            assert {(row["period"], row["users"], row["returned"]) for row in kept} >= {(0, 6, 6)}
            groups = await rows('funnel("A" -> "B", within: 1h, last: 30d, by_entry: plan)')
            assert {(row["group"], row["step"], row["count"]) for row in groups} == {
                (plan, step, 3) for plan in "ab" for step in ("A", "B")
            }
            overlap = await rows('overlap(did("A"), did("B"))')
            assert ([1, 2], 6) in [(row["segments"], row["all"]) for row in overlap]
            bins = await rows('distribution(did("A"), sum("A".x))')
            assert sum(row["count"] for row in bins) == 6 and bins[0]["low"] == 0.0
            cells = await rows('rfm("A".x, last: 30d)')
            assert sum(row["count"] for row in cells) == 6
            [diff] = await rows('diff(did("A"), from: 2020-01-01, to: 2020-01-02)')
            assert (diff["entered"], diff["stayed"], diff["start"].year) == (0, 0, 2020)
            flow = await rows('flow("A", depth: 1, within: 1h, last: 30d)')
            assert (flow[0]["path"], flow[0]["count"], flow[1]["path"]) == ([], 6, ["B"])

    asyncio.run(test())


def test_the_table_of_an_empty_report_has_its_columns() -> None:
    for name in ("trend", "retention", "overlap", "distribution", "rfm", "flow"):
        response = query_pb2.QueryResponse()
        getattr(response, name).SetInParent()
        table = Answer.from_response(response).to_arrow()
        assert table.num_rows == 0 and table.num_columns >= 3
    assert Answer.from_response(query_pb2.QueryResponse(count=3)).to_arrow().to_pydict() == {"count": [3]}


def test_importing_the_client_loads_no_table_library() -> None:
    program = "import sys, cdp_router.client; print([m for m in ('pyarrow', 'pandas', 'polars') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
