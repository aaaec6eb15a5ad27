"""Dead letters sent once more, after what was wrong has been put right."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
from cdp.v1 import ingest_pb2

from cdp_router.gateway.dead_letters import DeadLetter
from cdp_router.gateway.dialects import DIALECTS
from cdp_router.gateway.intake import map_item
from cdp_router.gateway.limits import BATCH_BYTES_MAX, ROWS_ALONE_MAX
from cdp_router.gateway.mapping import Envelope, encode_row
from cdp_router.validation import RecordInvalid

_ARRAY_HEAD: Final = b"\xdd"


class Ingesting(Protocol):
    """What takes batches, such as a Client."""

    def ingest(self, batch: ingest_pb2.Batch) -> ingest_pb2.BatchResult:
        """Make a batch durable."""


def redrive(letters: Sequence[DeadLetter], client: Ingesting, code: str | None) -> list[DeadLetter]:
    """Send letters, of one code if it is given; those that are left, each with why it was not taken this time.

    A file's letters stay where they are until all have been sent: a message id keeps each from being taken twice.
    """
    left, rows, owners, size = dict[int, DeadLetter](), list[bytes](), list[int](), 0
    for index, letter in enumerate(letters):
        if code not in (None, letter.code):
            left[index] = letter
            continue
        try:
            packed = _rows(letter)
        except RecordInvalid as error:
            left[index] = msgspec.structs.replace(letter, code=error.code, message=error.message)
            continue
        if rows and (len(rows) + len(packed) > ROWS_ALONE_MAX or size + sum(map(len, packed)) > BATCH_BYTES_MAX):
            _send(rows, owners, client, letters, left)
            rows, owners, size = [], [], 0
        rows += packed
        owners += [index] * len(packed)
        size += sum(map(len, packed))
    if rows:
        _send(rows, owners, client, letters, left)
    return [left[index] for index in sorted(left)]


def _rows(letter: DeadLetter) -> list[bytes]:
    dialect = DIALECTS.get(letter.dialect)
    if dialect is None:
        raise RecordInvalid("DIALECT_UNKNOWN", f"no dialect is called {letter.dialect!r}")
    envelope = Envelope(letter.source, letter.received_ms, letter.sent_ms)
    return [encode_row(row) for row in map_item(dialect, letter.record, envelope)]


def _send(
    rows: Sequence[bytes],
    owners: Sequence[int],
    client: Ingesting,
    letters: Sequence[DeadLetter],
    left: dict[int, DeadLetter],
) -> None:
    packed = b"".join((_ARRAY_HEAD, len(rows).to_bytes(4, "big"), *rows))
    result = client.ingest(ingest_pb2.Batch(batch_id=uuid.uuid4().bytes, msgpack_rows=packed))
    for error in result.errors:
        owner = owners[error.index]
        left[owner] = msgspec.structs.replace(letters[owner], code=error.code, message=error.message)
