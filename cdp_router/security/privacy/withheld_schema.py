"""Discovery as keys without profile-read see it: names, but no small numbers, and no instants."""

from __future__ import annotations

from typing import Final

from cdp.v1 import schema_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from cdp_router.security.privacy.blocks import merged
from cdp_router.security.privacy.cells import Cells
from cdp_router.security.privacy.privacy import Privacy

_DAY_SECONDS: Final = 86_400


def withhold_seen(seen: schema_pb2.DiscoverSchemaResponse, privacy: Privacy) -> None:
    """Removes from a schema names with few events or changes, types and numbers of marked values, and instants, which
    are cut to the day: the first and the last are those of one user."""
    cells = Cells(privacy.smallest_count)
    seen.withheld_below = cells.smallest if cells.is_hiding else 0
    for event in seen.events:
        for each in event.properties:
            _hide_property(each, event.count, privacy, cells)
        event.count = cells.shown(event.count)
        _hide_instants(event, event.count > 0, cells)
    for each in seen.attributes:
        changes = sum(type_.count for type_ in each.types)
        _hide_property(each, changes, privacy, cells)
        _hide_instants(each, cells.shown(changes) > 0, cells)


def _hide_property(seen: schema_pb2.SeenProperty, whole: int, privacy: Privacy, cells: Cells) -> None:
    """Withholds numbers of a property: its types divide the values, and the rest of the whole has none."""
    counts = [each.count for each in seen.types]
    counts.append(whole - sum(counts))
    if privacy.holds_personal(seen.name):
        del seen.types[:]
    elif cells.is_hiding and (whole < cells.smallest or merged(counts, cells.smallest)):
        block = merged(counts, cells.smallest)
        kept = [each for place, each in enumerate(seen.types) if whole >= cells.smallest and place not in block]
        del seen.types[:]
        seen.types.extend(kept)
    if len(seen.types) < len(counts) - 1:
        cells.hidden()
        seen.distinct_at_least = seen.distinct_at_most = 0


def _hide_instants(seen: schema_pb2.SeenEvents | schema_pb2.SeenProperty, is_told: bool, cells: Cells) -> None:
    if not cells.is_hiding:
        return
    if not is_told:
        seen.ClearField("first")
        seen.ClearField("last")
        return
    for instant in (seen.first, seen.last):
        _cut_to_day(instant)


def _cut_to_day(instant: Timestamp) -> None:
    instant.seconds -= instant.seconds % _DAY_SECONDS
    instant.nanos = 0
