"""Great-circle distances over columns of latitudes and longitudes."""

from __future__ import annotations

from typing import Final

import numpy as np

from cdp_query.bind.bound_profiles import BoundDistance, Circle, FilterDistance
from cdp_query.matching.masks import range_mask
from cdp_query.scan.attribute_scan import spans
from cdp_query.stats import NodeStats
from cdp_store.arrays import F64, Bools
from cdp_store.events.chunk import EventChunk
from cdp_store.memory.view import PartitionView
from cdp_store.values import Kind

EARTH_RADIUS_METRES: Final = 6_371_008.8  # mean radius of the IUGG
_NUMERIC: Final = (Kind.INT, Kind.FLOAT)


def distance_mask(view: PartitionView, node: BoundDistance, instant_ms: int, stats: NodeStats) -> Bools:
    """Mask of the rows with a place at a wanted distance: bool[row_count]."""
    latitudes = _attribute_numbers(view, node.latitude, instant_ms, stats)
    longitudes = _attribute_numbers(view, node.longitude, instant_ms, stats)
    return _within(latitudes, longitudes, node.circle)


def event_distance_mask(chunk: EventChunk, test: FilterDistance, stats: NodeStats) -> Bools:
    """Mask of the events of a chunk with a place at a wanted distance: bool[n]."""
    latitudes = _property_numbers(chunk, test.latitude, stats)
    longitudes = _property_numbers(chunk, test.longitude, stats)
    return _within(latitudes, longitudes, test.circle)


def _within(latitudes: F64, longitudes: F64, circle: Circle) -> Bools:
    """Mask of the places inside the circle's range; NaN gives False, and so do degrees of no place."""
    held: Bools = (np.abs(latitudes) <= 90) & (np.abs(longitudes) <= 180)
    placed = np.flatnonzero(held)
    held[placed] = range_mask(_metres(latitudes[placed], longitudes[placed], circle), circle.wanted)
    return held


def _metres(latitudes: F64, longitudes: F64, circle: Circle) -> F64:
    """Haversine formula on a sphere: f64[n]."""
    phi, other_phi = np.radians(latitudes), np.radians(circle.latitude)
    half_phi = (phi - other_phi) / 2
    half_lambda = np.radians(longitudes - circle.longitude) / 2
    chord = np.sin(half_phi) ** 2 + np.cos(phi) * np.cos(other_phi) * np.sin(half_lambda) ** 2
    metres: F64 = 2 * EARTH_RADIUS_METRES * np.arcsin(np.sqrt(np.minimum(chord, 1.0)))
    return metres


def _attribute_numbers(view: PartitionView, attribute: int | None, instant_ms: int, stats: NodeStats) -> F64:
    numbers: F64 = np.full(view.row_count, np.nan)
    for span in spans(view, attribute, instant_ms):
        stats.chunks += 1
        stats.rows += span.kinds.shape[0]
        part = numbers[span.first_row : span.first_row + span.kinds.shape[0]]
        for kind, values in span.values.items():
            held = np.flatnonzero(span.kinds[: values.shape[0]] == kind)
            if kind not in _NUMERIC:
                stats.type_mismatch += held.size
                continue
            stats.bytes += held.size * values.itemsize + span.kinds.nbytes
            part[held] = values[held]
    return numbers


def _property_numbers(chunk: EventChunk, key: int | None, stats: NodeStats) -> F64:
    numbers: F64 = np.full(len(chunk), np.nan)
    for kind, column in chunk.variants(key):
        presence = column.presence()
        if kind not in _NUMERIC:
            stats.type_mismatch += len(chunk) if presence is None else int(presence.sum())
            continue
        stats.bytes += column.nbytes
        values = column.floats() if kind is Kind.FLOAT else column.integers()
        given = slice(None) if presence is None else presence
        numbers[given] = values[given]
    return numbers
