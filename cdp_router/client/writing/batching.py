"""Records waiting to be sent: encoded at once, bounded by bytes, taken as batches that may be sent again unchanged."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from cdp.v1 import ingest_pb2

from cdp_router.contract.python_values import plain_values
from cdp_router.limits import ERRORS_TOLD_MAX, ROWS_BYTES_MAX
from cdp_store.ids import EMAIL
from cdp_store.values import to_ms

_ARRAY_HEAD: Final = b"\xdd"  # of a msgpack array with a length of 32 bits
QUEUE_BYTES_DEFAULT: Final = 16 * 1024 * 1024
BATCH_RECORDS_DEFAULT: Final = 5000
BATCH_BYTES_MAX: Final = ROWS_BYTES_MAX // 2  # a batch is small compared with a router's limits, and retried as a whole
LINGER_SECONDS_DEFAULT: Final = 0.2
GIVE_UP_SECONDS_DEFAULT: Final = 300.0


class QueueFull(Exception):
    """The queue had no room for a record within the time limit; the record was not accepted."""


class WriterClosed(Exception):
    """The writer was closed before this record."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One encoded record."""

    message_id: str
    packed: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that the cluster rejected for good: `code` is stable, `message` says what is wrong."""

    message_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Lost:
    """Records given up after retries: whether they were accepted is unknown. `error` says what went wrong."""

    message_ids: Sequence[str]
    error: Exception


@dataclass(frozen=True, slots=True)
class Warned:
    """A record that breaks a rule of the schema.

    It was accepted all the same, or put into quarantine (the code SCHEMA_QUARANTINED).
    """

    message_id: str
    code: str
    message: str


Problem = Rejected | Lost | Warned


@dataclass(frozen=True, slots=True)
class Sending:
    """A batch in flight."""

    batch: ingest_pb2.Batch
    message_ids: Sequence[str]
    size: int

    def problems(self, result: ingest_pb2.BatchResult) -> list[Problem]:
        """The rejected records, and those that break a rule, by their message ids."""
        ids = self.message_ids
        rejected = [Rejected(ids[each.index], each.code, each.message) for each in result.errors]
        return [*rejected, *(Warned(ids[each.index], each.code, each.message) for each in result.warnings)]


def encode(
    name: str | None,
    values: Mapping[str, Any] | None,
    user_id: str,
    anonymous_id: str,
    time: datetime | None,
    message_id: str | None,
    email: str = "",
    identifiers: Mapping[str, str] | None = None,
) -> Outgoing:
    """A record as the contract's msgpack row, with the current time and a new id where none is given.

    Raises ValueError for a time without zone, TypeError for an identifier that is not text, and the errors of
    `plain_values`.
    """
    time_ms = to_ms(datetime.now(UTC) if time is None else time)
    if not isinstance(time_ms, int):
        raise ValueError("the time of a record is NaT, which is no time")
    known_as = message_id or uuid.uuid4().hex
    row = (name, user_id, anonymous_id, time_ms, known_as, plain_values(values or {}))
    others = _identifiers(email, identifiers)
    return Outgoing(known_as, msgspec.msgpack.encode((*row, others) if others else row))


def _identifiers(email: str, others: Mapping[str, str] | None) -> dict[str, str]:
    """Identifiers other than user id and anonymous id, by kind; TypeError where one is not text."""
    found = {EMAIL: email} if email else {}
    for kind, value in {**found, **(others or {})}.items():
        if not isinstance(kind, str) or not isinstance(value, str):
            raise TypeError(f"an identifier is text: {kind!r} is {value!r}")
        found[kind] = value
    return found


class Waiting:
    """A queue of records without locks or threads of its own."""

    def __init__(self, queue_bytes: int, batch_records: int) -> None:
        # With more records in one batch, not every refused one would be reported.
        self._queue_bytes, self._batch_records = queue_bytes, min(batch_records, ERRORS_TOLD_MAX)
        self._records = deque[Outgoing]()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    def has_room(self, record: Outgoing) -> bool:
        """True if a record fits; one that is larger than the whole queue fits into an empty one."""
        return not self._records or self._bytes + len(record.packed) <= self._queue_bytes

    def put(self, record: Outgoing) -> None:
        """Adds a record."""
        self._records.append(record)
        self._bytes += len(record.packed)

    def is_batch(self) -> bool:
        """True if enough records or bytes wait to send a batch at once."""
        return len(self._records) >= self._batch_records or self._bytes >= min(BATCH_BYTES_MAX, self._queue_bytes // 2)

    def drain(self) -> Sending:
        """Removes a batch from the queue, which must not be empty."""
        taken, size = list[Outgoing](), 0
        while self._records and len(taken) < self._batch_records:
            if taken and size + len(self._records[0].packed) > BATCH_BYTES_MAX:
                break
            record = self._records.popleft()
            taken.append(record)
            size += len(record.packed)
        self._bytes -= size
        rows = b"".join((_ARRAY_HEAD, len(taken).to_bytes(4, "big"), *(record.packed for record in taken)))
        batch = ingest_pb2.Batch(batch_id=uuid.uuid4().bytes, msgpack_rows=rows)
        return Sending(batch, [record.message_id for record in taken], size)
