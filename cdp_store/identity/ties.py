"""The order of records of one instant that came in under several identifiers of a person.

Those of the lower rank count first, so the value under the identifier of the highest rank holds. Of equal rank the
greater identifier's count first, because of two claims of one time the lesser identifier wins. Those of one identifier
count in order of arrival. So neither the order of identifiers and records nor that of the moves makes a difference.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cdp_store.arrays import I64, U64
from cdp_store.ids import decode_identifier, rank_of_kind
from cdp_store.memory.contents import events_of, rows_at, versions_of
from cdp_store.memory.digest import combine
from cdp_store.memory.view import PartitionView
from cdp_store.records.records import RecordBatch


def places(identifiers: list[bytes]) -> I64:
    """The place of each encoded identifier in the order in which their records count: i64[n]."""
    weakest_first = sorted(range(len(identifiers)), key=lambda at: _weight(identifiers[at]), reverse=True)
    found: I64 = np.empty(len(identifiers), np.int64)
    found[weakest_first] = np.arange(len(identifiers))
    return found


def in_order(batch: RecordBatch) -> RecordBatch:
    """The records in the order in which those of one instant count; those of one identifier keep their order."""
    given = places([batch.identities[number] for number in range(len(batch.identities))])
    order = np.argsort(given[batch.record_identities], kind="stable")
    return batch if np.all(order[1:] > order[:-1]) else batch.take(order)


def tied_rows(view: PartitionView, batch: RecordBatch, rows: I64) -> set[int]:
    """The rows with an event of the same name, or a value of the same attribute, at the time of one of a batch's
    records that will join it; `rows` are those of its identities, -1 for none. Rarely also another row."""
    own = rows[batch.record_identities]
    wanted = np.unique(own[own >= 0])
    tied = set[int]()
    if wanted.size:
        arriving = _instants(own, batch.record_times)
        for held in (*_events(view, batch, wanted, arriving), *_values(view, batch, wanted, arriving)):
            tied.update(held.tolist())
    return tied


def _weight(identifier: bytes) -> tuple[tuple[int, str], bytes]:
    return rank_of_kind(decode_identifier(identifier)[0]), identifier


def _instants(rows: I64, times: I64) -> U64:
    return combine(rows.astype(np.uint64), times.astype(np.int64).view(np.uint64))


def _events(view: PartitionView, batch: RecordBatch, rows: I64, arriving: U64) -> Iterator[I64]:
    is_event = ~batch.is_attributes()
    for place in np.unique(batch.record_names[is_event]).tolist():
        number = view.schema.events.get(batch.names[place])
        wanted = arriving[batch.record_names == place]
        for chunk in () if number is None else view.event_chunks(number):
            where = events_of(chunk, rows, view.row_count)
            own, times = rows_at(chunk, where).astype(np.int64), chunk.times[where].astype(np.int64) + chunk.base_ms
            yield own[np.isin(_instants(own, times), wanted)]


def _values(view: PartitionView, batch: RecordBatch, rows: I64, arriving: U64) -> Iterator[I64]:
    owners = np.repeat(np.arange(len(batch)), batch.property_counts())
    changes = batch.is_attributes()[owners]
    for key in np.unique(batch.triple_keys[changes]).tolist():
        number = view.schema.attributes.get(batch.keys[key])
        if number is not None and number in view.attributes:
            held = versions_of(view, number, rows)
            own = held.rows.astype(np.int64)
            yield own[np.isin(_instants(own, held.times), arriving[owners[changes & (batch.triple_keys == key)]])]
