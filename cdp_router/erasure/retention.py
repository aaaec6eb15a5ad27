"""Retention of events: rules on their way through router and shard."""

from __future__ import annotations

from collections.abc import Sequence

from cdp.v1 import admin_pb2, schema_pb2, shard_pb2

from cdp_router.cluster.routing import Routing
from cdp_router.cluster.shard_methods import CHANGE_RETENTION
from cdp_router.contract.retention_rules import latest, listed
from cdp_router.deadline import Deadline
from cdp_router.errors import RequestInvalid
from cdp_store.limits import NAME_BYTES_MAX, RETENTION_DAYS_MAX


async def set_retention(
    rule: admin_pb2.RetentionRule, routing: Routing, deadline: Deadline
) -> admin_pb2.SetRetentionResponse:
    """Sets a rule in all partitions; ShardUnavailable if one could not apply it, and then it may be set again."""
    if len(rule.event.encode()) > NAME_BYTES_MAX:
        raise RequestInvalid("rule.event", f"longer than {NAME_BYTES_MAX} bytes")
    if rule.days > RETENTION_DAYS_MAX:
        raise RequestInvalid("rule.days", f"at most {RETENTION_DAYS_MAX}, and 0 for ever")
    known = await _changed([rule], routing, deadline)
    return admin_pb2.SetRetentionResponse(rules=known.rules, retained=known.retained)


async def get_retention(routing: Routing, deadline: Deadline) -> admin_pb2.GetRetentionResponse:
    """The rules, and since when events are complete, as all partitions report them."""
    known = await _changed([], routing, deadline)
    return admin_pb2.GetRetentionResponse(rules=known.rules, retained=known.retained)


async def forget_events(
    events: Sequence[str], routing: Routing, deadline: Deadline, *, unused: bool
) -> schema_pb2.ForgetEventsResponse:
    """Drops all events of some names and frees the names; ShardUnavailable if a partition could not: ask again then."""
    if not events and not unused:
        raise RequestInvalid("events", "none is named; name some, or ask for all names without events")
    if any(not event or len(event.encode()) > NAME_BYTES_MAX for event in events):
        raise RequestInvalid("events", f"a name has 1 to {NAME_BYTES_MAX} bytes")

    request = shard_pb2.ChangeRetentionRequest(forgotten=events, forget_unused=unused)
    answers = await routing.complete(CHANGE_RETENTION, request, deadline)
    return schema_pb2.ForgetEventsResponse(events=sorted({event for answer in answers for event in answer.forgotten}))


async def _changed(
    rules: Sequence[admin_pb2.RetentionRule], routing: Routing, deadline: Deadline
) -> shard_pb2.ChangeRetentionResponse:
    request = shard_pb2.ChangeRetentionRequest(rules=rules)
    answers = await routing.complete(CHANGE_RETENTION, request, deadline)
    return listed(
        {rule.event: rule.days for answer in answers for rule in answer.rules},
        latest((item.event, item.since.ToMilliseconds()) for answer in answers for item in answer.retained),
    )
