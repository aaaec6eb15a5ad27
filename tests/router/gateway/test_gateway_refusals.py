"""Write keys that a gateway refuses stand in the audit of a router."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cdp_router.gateway.problems import Problem
from cdp_router.gateway.refusals import Refusals
from cdp_router.gateway.write_keys import KeySources
from cdp_router.rpc.principal import Role
from cdp_router.security.audit.audit import Audit
from cdp_router.security.audit.audit_check import read_lines
from cdp_router.security.gates import ClusterGate, KeyGate
from cdp_router.security.keys.key_file import KeyFile, change_keys
from cdp_router.security.keys.keys import StoredKey, mint
from cdp_router.security.tls.cluster_secrets import call_secret
from tests.router.local_cluster import CLUSTER, NOW_MS, FixedClock
from tests.router.served_cluster import served_cluster


def _keys(path: Path) -> dict[str, str]:
    """A good key, one without the role, and one that was revoked."""
    made = {name: mint(name, [role], NOW_MS) for name, role in (("web", Role.INGEST), ("reader", Role.QUERY))}
    shown, stored = mint("old", [Role.INGEST], NOW_MS)
    fields = {name: getattr(stored, name) for name in stored.__struct_fields__} | {"revoked_ms": NOW_MS}
    made["old"] = shown, StoredKey(**fields)
    change_keys(path, lambda known: (None, {each.id: each for _, each in made.values()}))
    return {name: key for name, (key, _) in made.items()}


def _refused(sources: KeySources, shown: str) -> None:
    with pytest.raises(Problem):
        sources.source_of(shown, "")


def test_each_is_told_with_its_reason(tmp_path: Path) -> None:
    keys, clock = _keys(tmp_path / "keys.json"), FixedClock()
    audit = Audit(tmp_path / "audit", b"chain", b"people", clock)
    gates = KeyGate(KeyFile(tmp_path / "keys.json"), clock), ClusterGate(call_secret(CLUSTER))

    async def run() -> None:
        async with served_cluster(tmp_path, gates=gates, record=audit) as served:
            refusals = Refusals([served.router])
            sources = KeySources(KeyFile(tmp_path / "keys.json"), clock, refusals.note)
            sources.source_of(keys["web"], "")
            for shown in (keys["web"][:-1] + "~", keys["reader"], keys["old"], "two words", ""):
                await asyncio.to_thread(_refused, sources, shown)
                await refusals.settle()
            for _ in range(200):
                _refused(sources, "cdp_nobody_x")
            await refusals.settle()

    asyncio.run(run())
    audit.close()
    kept = [line.entry for _, _, line in read_lines(tmp_path / "audit" / "router") if line is not None]
    assert {each.method for each in kept} == {"IngestService/Ingest"}
    told = [each.outcome for each in kept]
    expected = ["KEY_UNKNOWN", "ROLE_MISSING", "KEY_REVOKED", "KEY_MALFORMED", "KEY_MISSING"]
    assert told[:5] == expected
    assert 0 < len(told[5:]) <= 16, "strangers must not fill the disk"
