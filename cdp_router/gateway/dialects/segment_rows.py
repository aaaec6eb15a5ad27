"""The rows of Segment's usual calls: events, nearly all of the traffic, on a short path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from cdp_router.gateway.dialects.mapped import MappedRow
from cdp_router.gateway.dialects.mapping import Envelope
from cdp_router.gateway.dialects.segment import call_time_ms, map_call
from cdp_router.gateway.dialects.segment_calls import UsualCall

_NOTHING: Final[dict[str, Any]] = {}


def usual_rows(envelope: Envelope) -> Callable[[UsualCall], Sequence[MappedRow]]:
    """Function that returns the rows of a call with this envelope."""
    prefix, room = envelope.message_id_prefix()

    def rows_of(call: UsualCall) -> Sequence[MappedRow]:
        known = call.message_id
        if call.type != "track" or not call.event or len(known) > room or not known.isascii():
            return map_call(call, envelope)
        time_ms = call_time_ms(call, envelope)
        user, anonymous = call.user_id or None, call.anonymous_id or None
        return ((call.event, user, anonymous, time_ms, prefix + known, call.properties or _NOTHING),)

    return rows_of
