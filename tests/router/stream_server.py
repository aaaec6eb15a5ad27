"""A cluster behind sockets in a process of its own, whose memory a test measures.

`python -m tests.router.stream_server FOLDER TURNS` prints the router's address and serves until standard input ends.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from cdp_router.rpc.large_requests import Readings
from tests.router.served_cluster import served_cluster


async def _serve(folder: Path, turns: int) -> None:
    readings = Readings(together=turns, of_key=turns, idle_seconds=0)
    async with served_cluster(folder, readings=readings) as served:
        print(served.address, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
