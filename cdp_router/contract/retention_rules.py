"""Rules of retention and the events they dropped, as messages."""

from __future__ import annotations

from collections.abc import Iterable

from cdp.v1 import admin_pb2, shard_pb2

from cdp_router.contract.values import to_timestamp


def latest(cutoffs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The latest instant given for each event name."""
    found = dict[str, int]()
    for name, cutoff_ms in cutoffs:
        found[name] = max(cutoff_ms, found.get(name, cutoff_ms))
    return found


def listed(days: dict[str, int], cutoffs: dict[str, int]) -> shard_pb2.ChangeRetentionResponse:
    """The message of rules and cutoffs, by name."""
    return shard_pb2.ChangeRetentionResponse(
        rules=[admin_pb2.RetentionRule(event=event, days=days[event]) for event in sorted(days)],
        retained=[admin_pb2.RetainedSince(event=name, since=to_timestamp(cutoffs[name])) for name in sorted(cutoffs)],
    )
