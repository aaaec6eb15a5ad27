"""The asynchronous client and its typed results, over a socket; what its tables load."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from cdp.v1 import profile_pb2, query_pb2

from cdp_router.client import Answer, AsyncClient, ClusterUnreachable, RequestFailed
from cdp_router.client.asking import members_request, profile_name
from cdp_router.client.questions import did, funnel
from cdp_router.wire.values import to_value
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


def test_what_has_no_members_or_names_nobody_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ValueError, match="report"):
        members_request(funnel("A", "B"))
    with pytest.raises(ValueError, match="user_id or anonymous_id"):
        profile_name("a", "b")
    with pytest.raises(ValueError, match="user_id or anonymous_id"):
        profile_name(None, None)


def test_tables_of_answers() -> None:
    numbers = [query_pb2.BreakdownRow(value=to_value(value), count=1) for value in (1, 2.5, None)]
    found = Answer.of(query_pb2.QueryResponse(breakdown=numbers)).to_arrow()
    assert found.column("value").to_pylist() == [1.0, 2.5, None]
    assert Answer.of(query_pb2.QueryResponse(count=3)).to_polars()["count"].to_list() == [3]
    steps = [query_pb2.FunnelStep(label="A", count=5), query_pb2.FunnelStep(label="B", count=2)]
    frame = Answer.of(query_pb2.QueryResponse(funnel=steps)).to_pandas()
    assert frame.to_dict("list") == {"step": ["A", "B"], "count": [5, 2]}


def test_importing_the_client_loads_no_table_library() -> None:
    program = "import sys, cdp_router.client; print([m for m in ('pyarrow', 'pandas', 'polars') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
