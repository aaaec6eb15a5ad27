"""Secrets shared by all processes of a cluster, derived from the one in cluster.json, each for one purpose."""

from __future__ import annotations

import hashlib
from typing import Final

from cdp_router.cluster.topology import ClusterFile

SECRET_HEADER: Final = "x-cdp-cluster-secret"
_BYTES: Final = 32
AUDIT_CHAIN: Final = "chain of the audit"
AUDITED_PEOPLE: Final = "people in the audit"


def derived(cluster: ClusterFile, purpose: str) -> bytes:
    """A secret for one purpose, which reveals nothing about the others or about its source."""
    return hashlib.blake2b(purpose.encode(), digest_size=_BYTES, key=bytes.fromhex(cluster.key)).digest()


def call_secret(cluster: ClusterFile) -> str:
    """Metadata that calls to shards carry."""
    return derived(cluster, "calls to shards").hex()
