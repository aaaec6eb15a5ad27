"""Result of converting a request to columns: a batch, and the errors of the records that are not in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from cdp.v1 import ingest_pb2

from cdp_router.errors import RecordInvalid
from cdp_router.identity.batch_links import NO_LINKS
from cdp_router.limits import ERRORS_TOLD_MAX
from cdp_router.records.blocklist import Blocked
from cdp_router.records.validation import Row, check_row
from cdp_store.identity.identity_changes import Links
from cdp_store.ids import encode_identifier, rank_of_kind
from cdp_store.records import rules
from cdp_store.records.builder import BatchBuilder
from cdp_store.records.records import RecordBatch


@dataclass(frozen=True, slots=True)
class Columnarised:
    """A batch, the records left out of it, and the identifiers that its records give together.

    positions[i] is the place of record i in the request. `errors_omitted` is the number of left-out records without an
    error here.
    """

    batch: RecordBatch
    positions: np.ndarray[tuple[int], np.dtype[np.intp]]
    errors: list[ingest_pb2.RecordError]
    links: Links = NO_LINKS
    errors_omitted: int = 0


@dataclass(slots=True)
class RecordErrors:
    """The first errors of records, in order, and the number of further ones."""

    told: list[ingest_pb2.RecordError] = field(default_factory=list)
    omitted: int = 0

    def add(self, index: int, error: RecordInvalid) -> None:
        """Notes why the record at a position is rejected."""
        if len(self.told) < ERRORS_TOLD_MAX:
            self.told.append(ingest_pb2.RecordError(index=index, code=error.code, message=error.message))
        else:
            self.omitted += 1


class RowColumns:
    """Columns of rows that are Python objects, added one after the other, in order."""

    def __init__(self, now_ms: int, blocked: Blocked) -> None:
        self._now_ms, self._blocked = now_ms, blocked
        self._builder, self._positions = BatchBuilder(), list[int]()
        self._links = list[tuple[bytes, bytes, int, bytes]]()
        self.errors = RecordErrors()

    def take_all(self, rows: Iterable[tuple[int, Row | RecordInvalid]]) -> None:
        """Adds rows with their positions."""
        for index, row in rows:
            try:
                self._take(index, row)
            except RecordInvalid as error:
                self.errors.add(index, error)

    def finish(self, batch_id: bytes) -> Columnarised:
        """The columns of all added rows."""
        batch = self._builder.finish(batch_id, self._now_ms)
        links = Links.of(self._links)
        return Columnarised(batch, np.array(self._positions, np.intp), self.errors.told, links, self.errors.omitted)

    def _take(self, index: int, row: Row | RecordInvalid) -> None:
        if isinstance(row, RecordInvalid):
            raise row
        checked = check_row(row, self._now_ms, self._blocked)
        if not self._builder.has_room(checked.name, checked.values):
            raise RecordInvalid.of(rules.BATCH_NAMES)
        self._builder.add(
            checked.kind,
            checked.identifier,
            checked.name,
            checked.time_ms,
            checked.values,
            checked.message_id,
            checked.operations,
        )
        self._positions.append(index)
        upper = encode_identifier(checked.kind, checked.identifier)
        for kind, value in checked.others:
            if rank_of_kind(kind) > rank_of_kind(checked.kind):
                said = checked.time_ms, checked.message_id.encode()
                self._links.append((encode_identifier(kind, value), upper, *said))
