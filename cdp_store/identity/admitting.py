"""The decision which changes of identifiers are logged, and in which form: made once, before logging."""

from __future__ import annotations

from dataclasses import replace

from cdp_store.identity.identity_changes import Arrival, IdentityChange, Parcel
from cdp_store.identity.state import IdentityState
from cdp_store.ids import PartitionId


def to_log(identity: IdentityState, change: IdentityChange, here: PartitionId) -> IdentityChange | None:
    """The change as it is logged in the partition `here`; None if nothing is left to do, or it must wait."""
    if not identity.means_something(change):
        return None
    if not isinstance(change, Arrival):
        return change
    if change.source != here and _leave_for_here(identity, change.parcel, here):
        return None
    return replace(change, parcel=_beside_guests(identity, change.parcel))


def _leave_for_here(identity: IdentityState, parcel: Parcel, here: PartitionId) -> bool:
    """True if a parcel has records for profiles that leave for another profile of this partition.

    Accepted now, they would be in a row that is neither the profile's nor its person's, without anything to distinguish
    them. So they come after the profile.
    """
    own = identity.transfers.open.get(here)
    joined = {parent for child, parent in parcel.parents if child != parent}
    return own is not None and not joined.isdisjoint(own.leaving)


def _beside_guests(identity: IdentityState, parcel: Parcel) -> Parcel:
    """The parcel with a guest's records assigned to the guest's own row, so that they go home with it."""
    guests = {identity.names.get(entry) for entry in identity.guests}
    parents = tuple(pair for pair in parcel.parents if pair[0] == pair[1] or pair[0] not in guests)
    return replace(parcel, parents=parents)
