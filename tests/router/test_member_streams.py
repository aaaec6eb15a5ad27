"""How many lists of members one router sends at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from cdp.v1 import query_pb2

from cdp_router.errors import Overloaded
from cdp_router.services import query as query_module
from cdp_router.services.query import QueryService

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
