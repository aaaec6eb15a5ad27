"""Event names to remove entirely, with property names that no event has any more and unused attribute names."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cdp_store.ids import PartitionId
from cdp_store.log.controls import ALL_EVENTS, FORGOTTEN_MS, Retention
from cdp_store.memory.view import PartitionView
from cdp_store.partition.purging import used_properties


def forgetting(
    views: Mapping[PartitionId, PartitionView], names: Collection[str], *, unused: bool
) -> dict[PartitionId, Retention]:
    """Changes to log for each partition that knows any of the names.

    With `unused`, names without events are included, and names of properties or attributes that nothing has. If a
    partition has only such unused names, ALL_EVENTS takes the place of an event name.
    """
    found = {number: _known(view, names, unused=unused) for number, view in views.items()}
    return {number: Retention({}, dict.fromkeys(own, FORGOTTEN_MS)) for number, own in found.items() if own}


def _known(view: PartitionView, names: Collection[str], *, unused: bool) -> list[str]:
    used = {*view.events.names(), *view.summaries}
    known = view.schema.events.items()
    found = [name for name, number in known if name in names or (unused and number not in used)]
    # Property names are freed with any event that is forgotten; without one, ALL_EVENTS requests it.
    return [*found, ALL_EVENTS] if unused and not found and _has_unused(view) else found


def _has_unused(view: PartitionView) -> bool:
    chunks = (chunk for name in view.events.names() for chunk in view.events.chunks(name))
    used = {key for chunk in chunks for key in used_properties(chunk)}
    if len(used) < len(view.schema.properties):
        return True
    staying = ~view.erased()
    return not all(view.any_has_attribute(staying, attribute) for attribute in view.schema.attributes.values())
