"""Room for dead letters, held by requests that may be cancelled."""

from __future__ import annotations

import asyncio

from cdp_router.background import awaited
from cdp_router.gateway.letters.dead_letters import DeadLetters


async def hold(letters: DeadLetters, source: str, size: int) -> None:
    """Holds room for bytes of a source's letters, in a thread, until `letters.release`; LettersFull if there is none.

    A caller that is cancelled while the thread searches holds no room: it is released as soon as it is found.
    """
    holding = awaited(asyncio.to_thread(letters.hold, source, size))

    def let_go(done: asyncio.Task[None]) -> None:
        if not done.cancelled() and done.exception() is None:
            letters.release(source, size)

    try:
        await asyncio.shield(holding)
    except asyncio.CancelledError:
        holding.add_done_callback(let_go)
        raise
