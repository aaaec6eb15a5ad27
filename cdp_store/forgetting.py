"""Event names of which nothing is to be left."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cdp_store.controls import FORGOTTEN_MS, Retention
from cdp_store.ids import PartitionId
from cdp_store.view import PartitionView


def forgetting(
    views: Mapping[PartitionId, PartitionView], names: Collection[str], *, unused: bool
) -> dict[PartitionId, Retention]:
    """What partitions that know any of the names are to log, with `unused` also for names without events."""
    found = {number: _known(view, names, unused=unused) for number, view in views.items()}
    return {number: Retention({}, dict.fromkeys(own, FORGOTTEN_MS)) for number, own in found.items() if own}


def _known(view: PartitionView, names: Collection[str], *, unused: bool) -> list[str]:
    used = {*view.events.names(), *view.summaries}
    known = view.schema.events.items()
    return [name for name, number in known if name in names or (unused and number not in used)]
