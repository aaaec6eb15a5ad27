"""Dead letters sent once more, after the cause was removed."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

import msgspec
from cdp.v1 import ingest_pb2

from cdp_router.errors import RecordInvalid
from cdp_router.gateway.dialects.dialects import DIALECTS
from cdp_router.gateway.dialects.mapping import Envelope, encode_row
from cdp_router.gateway.http_limits import BATCH_BYTES_MAX, ROWS_ALONE_MAX
from cdp_router.gateway.intake import map_item
from cdp_router.gateway.letters.dead_letters import DeadLetter
from cdp_router.gateway.rows import Rows, batch_of

NO_PATTERNS: Final[Mapping[str, str]] = MappingProxyType({})


class Ingesting(Protocol):
    """Receiver of batches, such as a Client."""

    def ingest(self, batch: ingest_pb2.Batch) -> ingest_pb2.BatchResult:
        """Makes a batch durable."""


def redrive(
    letters: Sequence[DeadLetter], client: Ingesting, code: str | None, anonymous_ids: Mapping[str, str] = NO_PATTERNS
) -> list[DeadLetter]:
    """Sends letters, of one code if it is given; returns those that are left, each with its new reason.

    `anonymous_ids` are patterns by source, that of sources without one of their own under "". A file's letters stay in
    it until all have been sent: a message id keeps each from being accepted twice.
    """
    left, parts, owners, size = dict[int, DeadLetter](), list[Rows](), list[int](), 0
    for index, letter in enumerate(letters):
        if code not in (None, letter.code):
            left[index] = letter
            continue
        try:
            rows = _rows(letter, anonymous_ids.get(letter.source, anonymous_ids.get("", "")))
        except RecordInvalid as error:
            left[index] = msgspec.structs.replace(letter, code=error.code, message=error.message)
            continue
        if parts and (len(owners) + rows.count > ROWS_ALONE_MAX or size + len(rows.packed) > BATCH_BYTES_MAX):
            _send(parts, owners, client, letters, left)
            parts, owners, size = [], [], 0
        parts.append(rows)
        owners += [index] * rows.count
        size += len(rows.packed)
    if parts:
        _send(parts, owners, client, letters, left)
    return [left[index] for index in sorted(left)]


def _rows(letter: DeadLetter, anonymous_ids: str) -> Rows:
    dialect = DIALECTS.get(letter.dialect)
    if dialect is None:
        raise RecordInvalid("DIALECT_UNKNOWN", f"there is no dialect called {letter.dialect!r}")
    envelope = Envelope(letter.source, letter.received_ms, letter.sent_ms, anonymous_ids=anonymous_ids)
    packed = [encode_row(row) for row in map_item(dialect, letter.record, envelope)]
    if dialect.doubt is not None and (doubt := dialect.doubt(letter.record, envelope)) is not None:
        raise doubt  # its rows were accepted at first
    return Rows.of(packed, (dialect.wrap(letter.record, envelope),), [1] * len(packed))


def _send(
    parts: Sequence[Rows],
    owners: Sequence[int],
    client: Ingesting,
    letters: Sequence[DeadLetter],
    left: dict[int, DeadLetter],
) -> None:
    result = client.ingest(batch_of(uuid.uuid4().bytes, parts))
    for error in result.errors:
        owner = owners[error.index]
        left[owner] = msgspec.structs.replace(letters[owner], code=error.code, message=error.message)
