"""Items of a request as rows: the item of each row, and the items without acceptable rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cdp_router.errors import RecordInvalid
from cdp_router.gateway.dialects.mapping import UsualRow, WireRow, encode_row, encode_rows
from cdp_router.gateway.http_limits import BATCH_BYTES_MAX
from cdp_router.gateway.rows import Rows
from cdp_store.records import rules

Item = TypeVar("Item")
MappedRow = WireRow | UsualRow


@dataclass(frozen=True, slots=True)
class Rejected:
    """An item that was rejected, by its place in the request."""

    index: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Warned:
    """An item that was accepted with a warning of the cluster, by its place in the request."""

    index: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Mapped:
    """The rows of a request's items; owners[i] is the item of row i."""

    rows: Rows
    owners: Sequence[int]
    rejected: Sequence[Rejected]
    doubted: Sequence[Rejected] = ()  # items whose rows are accepted, but do not do all that was requested


def _unwrapped(item: object) -> str:
    return ""


def mapped(
    items: Iterable[Item], rows_of: Callable[[Item], Sequence[MappedRow]], wrap: Callable[[Item], str] = _unwrapped
) -> Mapped:
    """The rows of all items, packed; an item is rejected as soon as one of its rows cannot be made."""
    rows, owners, rejected, wrapped = list[MappedRow](), list[int](), list[Rejected](), list[int]()
    envelopes = dict[str, int]()
    for index, item in enumerate(items):
        try:
            made = rows_of(item)
        except RecordInvalid as error:
            rejected.append(Rejected(index, error.code, error.message))
            continue
        number = envelopes.setdefault(wrap(item), len(envelopes) + 1)
        rows += made
        owners += [index] * len(made)
        wrapped += [number] * len(made)
    packed, texts = encode_rows(rows), tuple(envelopes)
    if packed is None or len(packed) > BATCH_BYTES_MAX:
        return _one_by_one(rows, owners, rejected, texts, wrapped)
    return Mapped(Rows(packed, len(rows), texts, wrapped), owners, rejected)


def _small_enough(packed: bytes) -> bytes:
    """A row that fits a batch; a larger one is far beyond the limit of the cluster."""
    if len(packed) > BATCH_BYTES_MAX:
        raise RecordInvalid.of(rules.RECORD_SIZE, size=len(packed))
    return packed


def _one_by_one(
    rows: Sequence[MappedRow],
    owners: Sequence[int],
    rejected: Sequence[Rejected],
    texts: tuple[str, ...],
    wrapped: Sequence[int],
) -> Mapped:
    """The same if a row has no form on the wire, or is too large: none of its item's rows is accepted."""
    packed, wrong = list[bytes](), dict[int, Rejected]()
    for row, owner in zip(rows, owners, strict=True):
        try:
            packed.append(_small_enough(encode_row(row)))
        except RecordInvalid as error:
            packed.append(b"")
            wrong.setdefault(owner, Rejected(owner, error.code, error.message))
    kept = [place for place, owner in enumerate(owners) if owner not in wrong]
    all_rejected = sorted([*rejected, *wrong.values()], key=lambda each: each.index)
    return Mapped(
        Rows(envelopes=texts, wrapped=wrapped).some(packed, kept), [owners[place] for place in kept], all_rejected
    )
