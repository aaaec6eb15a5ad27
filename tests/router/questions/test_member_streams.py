"""How many lists of members one router sends at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pyarrow as pa
import pytest
from cdp.v1 import query_pb2

from cdp_router.errors import Overloaded
from cdp_router.questions.member_stream import MemberStream
from cdp_router.services import query_service as query_module
from cdp_router.services.query_service import QueryService
from cdp_store.ids import encode_identifier

REQUEST = query_pb2.MembersRequest(text="everyone")


class _Endless:
    """Queries whose lists never end."""

    async def members(self, request: Any, deadline: Any) -> AsyncGenerator[query_pb2.MembersResponse, None]:
        while True:
            yield query_pb2.MembersResponse()


class _Context:
    def time_remaining(self) -> float:
        return 60.0


def test_one_list_too_many_is_refused_until_another_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_module, "MEMBER_STREAMS_MAX", 2)

    async def test() -> None:
        service: Any = QueryService(_Endless(), None)  # type: ignore[arg-type]
        lists = [service.Members(REQUEST, _Context()) for _ in range(3)]
        for each in lists[:2]:
            await anext(each)
        with pytest.raises(Overloaded):
            await anext(lists[2])
        await lists[0].aclose()
        again = service.Members(REQUEST, _Context())
        await anext(again)
        await again.aclose()
        await lists[1].aclose()
        assert service._member_streams == 0

    asyncio.run(test())


def test_members_have_the_kind_and_the_value_of_their_identifier() -> None:
    known = [
        ("user_id", "u:1"),
        ("anonymous_id", "c"),
        ("email", "a@x.org"),
        ("crm_id", "7"),
        ("group_id", "two\nlines: and more"),
        ("user_id", "crm:9"),
        ("anonymous_id", "Ünï"),
    ]
    encoded = pa.array([encode_identifier(*each) for each in known], pa.large_binary())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([("identifier", pa.large_binary())])) as writer:
        writer.write_batch(pa.record_batch([encoded], names=["identifier"]))
    stream = MemberStream()
    stream.write(sink.getvalue().to_pybytes())
    with pa.ipc.open_stream(stream.finish()) as reader:
        table = reader.read_all()
    assert list(zip(table.column("kind").to_pylist(), table.column("id").to_pylist(), strict=True)) == known
