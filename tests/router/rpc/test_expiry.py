"""One timer for many moments: what is due expires, in time, and nothing else does."""

from __future__ import annotations

import asyncio

from cdp_router.rpc.expiry import Expiry


class _Noted:
    def __init__(self, name: str, told: list[str]) -> None:
        self._name, self._told = name, told

    def expire(self) -> None:
        self._told.append(self._name)


def test_what_is_due_expires_in_order_and_what_is_forgotten_never() -> None:
    async def test() -> list[str]:
        told, expiry = list[str](), Expiry()
        late, forgotten, early = (_Noted(name, told) for name in ("late", "forgotten", "early"))
        expiry.add(late, 0.04)
        expiry.add(forgotten, 0.02)
        expiry.add(early, 0.01)  # before what the timer was set for
        expiry.add(_Noted("far", told), 60.0)
        expiry.forget(forgotten)
        expiry.forget(forgotten)
        while len(told) < 2:
            await asyncio.sleep(0.005)
        expiry.add(_Noted("now", told), -1.0)
        while len(told) < 3:
            await asyncio.sleep(0)
        return told

    assert asyncio.run(test()) == ["early", "late", "now"]


def test_one_timer_is_set_however_many_calls_come_and_go() -> None:
    async def test() -> None:
        loop, expiry = asyncio.get_running_loop(), Expiry()
        timers = list[float]()
        call_at = loop.call_at
        loop.call_at = lambda at, work: timers.append(at) or call_at(at, work)  # type: ignore[assignment, func-returns-value, method-assign, misc]
        for _ in range(100):
            each = _Noted("call", [])
            expiry.add(each, 60.0)
            expiry.forget(each)
        assert len(timers) == 1
        expiry.close()

    asyncio.run(test())


def test_what_expires_may_add_and_forget_others() -> None:
    async def test() -> list[str]:
        told, expiry = list[str](), Expiry()
        other = _Noted("other", told)

        class Chained(_Noted):
            def expire(self) -> None:
                super().expire()
                expiry.forget(other)
                expiry.add(_Noted("next", told), 0.0)

        expiry.add(Chained("first", told), 0.005)
        expiry.add(other, 0.05)
        await asyncio.sleep(0.1)
        return told

    assert asyncio.run(test()) == ["first", "next"]
