"""The same from an event loop: records in the background, questions side by side."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime

from cdp_router.client import AsyncClient, AsyncWriter
from cdp_router.client.questions import count

ADDRESS = os.environ.get("CDP_ADDRESS", "127.0.0.1:7400")


async def visit(writer: AsyncWriter, number: int) -> None:
    """One visitor; waits only while the queue is full."""
    time = datetime(2026, 3, 3, 12, number % 60, tzinfo=UTC)
    for page in range(3):
        await writer.track(
            "example.Page", f"async-{number}", {"page": page}, time=time, message_id=f"page-{number}-{page}"
        )


async def main() -> None:
    """A hundred visitors at once, then a few questions at once."""
    async with AsyncClient(ADDRESS) as client:
        async with AsyncWriter(client) as writer:
            await asyncio.gather(*(visit(writer, number) for number in range(100)))
        print(f"{writer.tally.accepted + writer.tally.duplicates} records are durable")
        pages = [count("example.Page") >= least for least in (1, 3, 4)]
        print("with 1, 3, 4 pages:", await asyncio.gather(*(client.count(each) for each in pages)))
        members = await client.list_members(pages[0])
        print(members.to_arrow().num_rows, "members")


if __name__ == "__main__":
    asyncio.run(main())
