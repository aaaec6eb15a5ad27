"""Links and origins of all partitions, divided among another number of partitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from cdp_store.columns.arena import HashKey
from cdp_store.errors import ProfilesUnderway
from cdp_store.identity.identity_changes import Links
from cdp_store.identity.identity_tables import IdentityTables, from_tables, to_tables
from cdp_store.identity.linked_identifiers import NOBODY
from cdp_store.identity.state import IdentityState

Home = Callable[[bytes], int]  # the new partition of an encoded identifier


def rerouted(found: Iterable[IdentityTables], key: HashKey, home: Home) -> dict[int, IdentityTables]:
    """The same links and origins by new partition; ProfilesUnderway if a profile is between two partitions."""
    made = dict[int, IdentityState]()

    def state_of(identifier: bytes) -> IdentityState:
        return made.setdefault(home(identifier), IdentityState(key))

    for tables in found:
        old = from_tables(tables, key)
        if old.transfers.open or old.transfers.arriving or old.guests:
            raise ProfilesUnderway
        _links(old, state_of)
        _places(old, state_of)
        _origins(old, state_of)
    return {number: to_tables(state) for number, state in made.items()}


def _links(old: IdentityState, state_of: Callable[[bytes], IdentityState]) -> None:
    """Adds each pair in the partition of its lower identifier, with a seat in that of the upper one.

    Choosing among the pairs again gives the same targets.
    """
    lower, upper, times, ids, apart = old.claims.all()
    offsets, data = ids
    for at in range(len(old.claims)):
        message_id = data[offsets[at] : offsets[at + 1]].tobytes()
        pair = old.names.get(int(lower[at])), old.names.get(int(upper[at])), int(times[at]), message_id
        for links in (Links.of([pair]), Links.of([pair], apart=True))[: 1 + int(apart[at])]:
            state_of(pair[0]).claims.add(links)
            seats = state_of(pair[1]).seats
            seats.apply(seats.seating_of(links))


def _places(old: IdentityState, state_of: Callable[[bytes], IdentityState]) -> None:
    place = old.names.place.filled()
    for entry in np.flatnonzero(place != NOBODY).tolist():
        names = state_of(old.names.get(entry)).names
        own, other = names.add(old.names.get(entry)), names.add(old.names.get(int(place[entry])))
        names.place.filled()[own] = other


def _origins(old: IdentityState, state_of: Callable[[bytes], IdentityState]) -> None:
    """Adds origins of records, with the profile they are in."""
    parent, created = old.names.parent.filled(), old.names.own_created.filled()
    for entry in np.flatnonzero(old.names.is_tracked.filled()).tolist():
        names = state_of(old.names.get(old.names.root(entry))).names
        own = names.add(old.names.get(entry))
        names.track(own, int(created[entry]))
        if parent[entry] != NOBODY:
            names.adopt(own, names.add(old.names.get(int(parent[entry]))))
    hashes, sources = old.origins.hashes.filled(), old.origins.sources.filled()
    for entry in np.unique(sources).tolist():
        state = state_of(old.names.get(old.names.root(entry)))
        own_hashes = hashes[sources == entry]
        own = state.names.add(old.names.get(entry))
        state.origins.add(own_hashes, np.full(own_hashes.shape[0], own, np.uint32))
