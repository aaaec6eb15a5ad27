"""Sealing and compaction of event tables alongside reads and writes: only looks and swaps take the owner's lock.

Between a look and its swap the tables may change. A swap therefore replaces exactly what was captured, keeps later
appends, and does nothing if the captured part is gone (see `install_seal` and `install_compaction`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from cdp_store.events.event_tables import EventTables, prepare_compactions, prepare_seal
from cdp_store.limits import CHUNK_GROWTH, READ_DELTA_EVENTS_MAX

Locked = Callable[[], AbstractContextManager[None]]


def is_due(tables: EventTables, delta_max: int, chunks_max: int) -> bool:
    """True if `maintain` would find anything to do; the caller holds the lock of the tables."""
    return tables.delta_count > _most_unsealed(tables, delta_max) or not tables.nothing_due(chunks_max)


def maintain(tables: EventTables, locked: Locked, delta_max: int, chunks_max: int) -> bool:
    """Seals a delta of more than `delta_max` events, then merges chunks until nothing is due; True if it did anything.

    While questions read the tables, smaller deltas are sealed, and newer chunks merged before there are `chunks_max`.
    `locked` holds the lock of the tables, for a swap that happens entirely or not at all.
    """
    worked = _seal(tables, locked, delta_max)
    while _compact(tables, locked, chunks_max):
        worked = True  # a merged chunk may be due to join its neighbours
    return worked


def _most_unsealed(tables: EventTables, delta_max: int) -> int:
    """Number of events that may stay unsealed: fewer while questions read them, which bulk loads need not pay for."""
    return min(delta_max, READ_DELTA_EVENTS_MAX) if tables.is_read else delta_max


def _seal(tables: EventTables, locked: Locked, delta_max: int) -> bool:
    with locked():
        if tables.delta_count <= _most_unsealed(tables, delta_max):
            return False
        reading = tables.capture()
    sealed = prepare_seal(reading)
    with locked():
        tables.install_seal(sealed)
    return True


def _compact(tables: EventTables, locked: Locked, chunks_max: int) -> bool:
    with locked():
        if tables.nothing_due(chunks_max):
            return False
        reading, growth = tables.capture(), CHUNK_GROWTH if tables.is_read else 0
    worked = False
    for done in prepare_compactions(reading, chunks_max, growth):
        with locked():
            tables.install_compaction(done)
        worked = True
    if not worked:
        with locked():
            tables.note_nothing_due(reading, chunks_max)
    return worked
