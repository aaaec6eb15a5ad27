"""Shards are added, drained and removed, and processes killed, while two routers take records and answer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cdp_router.client import Client
from tests.e2e.processes import (
    cdp,
    eventually,
    kill,
    read_until,
    shard_process,
    starting_cluster,
)
from tests.e2e.test_recovery import Sender, _check_exact

READY = re.compile(r"router at (\S+)")


def _holders(client: Client) -> set[int]:
    return {each.shard for each in client.placements().placements}


@pytest.mark.long
def test_a_cluster_grows_and_shrinks_while_it_serves(tmp_path: Path) -> None:
    data = tmp_path / "data"
    options = ("--data", data, "--shards", 2, "--partitions", 4, "--routers", 2, "--snapshot-every", 0)
    with starting_cluster(*options) as running:
        said = read_until(running, "ready:")
        first = READY.search(said).group(1)  # type: ignore[union-attr]
        second = re.search(r"router 1\s+(\S+)", said).group(1)  # type: ignore[union-attr]
        sender = Sender(first)
        with Client(first) as client, Client(second) as other, sender.sending():
            sender.await_more(3)
            assert "shard 2 runs" in cdp("add-shard", "--data", data, "--address", first).stdout
            assert "partition 1 is on shard 2" in cdp("move", 1, "--to", 2, "--address", second).stdout
            assert "lives on shard 2 already" in cdp("move", 1, "--to", 2, "--address", first, code=1).stderr
            sender.await_more(3)
            client.drain(0)
            kill(shard_process(data, 0))
            eventually(lambda: 0 not in _holders(other) and not other.placements().moves)
            sender.await_more(3)
            assert "no longer a member" in cdp("remove-shard", 0, "--data", data, "--address", first).stdout
            read_until(running, "shard 0 was removed")
        with Client(second) as other:
            _check_exact(other, sender.acked)
            digest = other.digest().digest
    restored = cdp("restore", "--from", data, "--data", tmp_path / "restored", "--shards", 1)
    assert f"digest {digest}" in restored.stdout
