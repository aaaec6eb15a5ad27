"""Log records about identifiers: links, and the steps of a profile's transfer (log/FORMAT.md has their bytes)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from cdp_store.arrays import I64, U16, U64
from cdp_store.identity.dropped import Dropped, decode_dropped, encode_dropped
from cdp_store.ids import IDENTIFIER_TAGS, PartitionId, SequenceNumber, is_identifier_kind
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.records.records import RecordBatch, Strings, decode_batch, encode_batch
from cdp_store.values import decoding, pack, unpack

_IS_TAG: Final = np.isin(np.arange(256), np.frombuffer(b"".join(IDENTIFIER_TAGS), np.uint8))


@dataclass(frozen=True, slots=True)
class Links:
    """Claims that identifiers belong to one person: lower[i] to upper[i], since times[i], from the message ids[i].

    `apart`: the two never belong together.
    """

    lower: Strings
    upper: Strings
    times: I64
    message_ids: Strings
    apart: bool = False

    def __len__(self) -> int:
        return int(self.times.shape[0])

    def take(self, chosen: np.ndarray[Any, Any]) -> Links:
        """The chosen claims."""
        kept = np.arange(len(self))[chosen].astype(np.uint32)
        tables = (self.lower.take(kept), self.upper.take(kept), self.times[kept], self.message_ids.take(kept))
        return Links(*tables, self.apart)

    @staticmethod
    def of(claims: list[tuple[bytes, bytes, int, bytes]], *, apart: bool = False) -> Links:
        """Claims as (lower, upper, time, message id)."""
        lower, upper, times, ids = zip(*claims, strict=True) if claims else ((), (), (), ())
        return Links(Strings.of(lower), Strings.of(upper), np.array(times, np.int64), Strings.of(ids), apart)


@dataclass(frozen=True, slots=True)
class Departure:
    """Profiles begin to move to a partition, each under its identifier there; the record's position is the number of
    the transfer."""

    to: PartitionId
    moves: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Parcel:
    """Content of a transfer: records under their original identifiers; by identifier, the one its records are under
    on arrival (itself: a profile of its own); and the remaining summaries of dropped events."""

    records: RecordBatch
    parents: tuple[tuple[bytes, bytes], ...]
    dropped: tuple[Dropped, ...] = ()


@dataclass(frozen=True, slots=True)
class Arrival:
    """A transfer arrives: its number at its source partition, and the parcel; or one of `pieces` pieces, with the
    checksum of all records."""

    source: PartitionId
    transfer: SequenceNumber
    parcel: Parcel
    piece: int = 0
    pieces: int = 1
    checksum: int = 0


@dataclass(frozen=True, slots=True)
class Farewell:
    """The profiles that left with a transfer are removed here, after its arrival."""

    to: PartitionId
    transfer: SequenceNumber


@dataclass(frozen=True, slots=True)
class Recall:
    """The records under `identifier` leave the profile of `parent` and are a profile of their own again."""

    identifier: bytes
    parent: bytes


@dataclass(frozen=True, slots=True)
class AllHome:
    """No record that came in under `identifier` is under `parent` any more, or on its way: all are home."""

    identifier: bytes
    parent: bytes


@dataclass(frozen=True, slots=True)
class Seating:
    """Pairs of identifiers each take a seat, known by keyed hashes: lowers[i] of kind kind_names[kinds[i]] with
    uppers[i]; or, `apart`, leave it for good."""

    uppers: U64
    lowers: U64
    kinds: U16
    kind_names: tuple[str, ...]
    apart: bool = False

    def __len__(self) -> int:
        return int(self.uppers.shape[0])

    def take(self, chosen: np.ndarray[Any, Any]) -> Seating:
        """The chosen pairs."""
        return replace(self, uppers=self.uppers[chosen], lowers=self.lowers[chosen], kinds=self.kinds[chosen])


@dataclass(frozen=True, slots=True)
class TakenElsewhere:
    """Message ids of operations under identifiers living here that other partitions applied, received at
    `received_ms`: keyed hashes of each id with its identifier, u64[n] each (`dedupe.py`)."""

    high: U64
    low: U64
    received_ms: int

    def __len__(self) -> int:
        return int(self.high.shape[0])

    def take(self, chosen: np.ndarray[Any, Any]) -> TakenElsewhere:
        """The chosen ids."""
        return replace(self, high=self.high[chosen], low=self.low[chosen])


IdentityChange = Links | Departure | Arrival | Farewell | Recall | AllHome | Seating | TakenElsewhere


def encode_identity_change(change: IdentityChange) -> bytes:
    """Payload of a log record of kind IDENTITY."""
    return pack(_fields(change))


def decode_identity_change(payload: bytes) -> IdentityChange:
    """The change that a payload encodes; BatchMalformed names the fault."""
    with decoding("a change of identifiers"):
        return _change(unpack(payload))


def encode_parcel(parcel: Parcel) -> dict[str, Any]:
    """The parcel as a msgpack map."""
    packed = {"records": encode_batch(parcel.records), "parents": parcel.parents}
    return {**packed, "dropped": encode_dropped(parcel.dropped)} if parcel.dropped else packed


def decode_parcel(packed: dict[str, Any]) -> Parcel:
    """The parcel that a packed form encodes; BatchMalformed names the fault."""
    return Parcel(decode_batch(packed["records"]), _pairs(packed["parents"]), decode_dropped(packed.get("dropped", [])))


def _fields(change: IdentityChange) -> dict[str, Any]:
    match change:
        case Links():
            tables = (change.lower, change.upper, change.message_ids)
            packed = [(table.offsets.tobytes(), table.data.tobytes()) for table in tables]
            return {"what": "links", "tables": packed, "times": change.times.tobytes(), "apart": change.apart}
        case Departure():
            return {"what": "departure", "to": change.to, "moves": change.moves}
        case Arrival():
            parcel = encode_parcel(change.parcel)
            if change.pieces > 1:
                parcel |= {"piece": change.piece, "pieces": change.pieces, "checksum": change.checksum}
            return {"what": "arrival", "source": change.source, "transfer": change.transfer, **parcel}
        case Farewell():
            return {"what": "farewell", "to": change.to, "transfer": change.transfer}
        case Seating():
            columns = [column.tobytes() for column in (change.uppers, change.lowers, change.kinds)]
            return {"what": "seating", "columns": columns, "kinds": change.kind_names, "apart": change.apart}
        case TakenElsewhere():
            ids = [change.high.tobytes(), change.low.tobytes()]
            return {"what": "taken", "ids": ids, "received": change.received_ms}
        case AllHome():
            return {"what": "all home", "identifier": change.identifier, "parent": change.parent}
    return {"what": "recall", "identifier": change.identifier, "parent": change.parent}


def _change(packed: dict[str, Any]) -> IdentityChange:
    match packed["what"]:
        case "links":
            return _links(packed)
        case "departure":
            return Departure(_partition(packed["to"]), _pairs(packed["moves"]))
        case "arrival":
            return Arrival(
                _partition(packed["source"]), _number(packed["transfer"]), decode_parcel(packed), *_piece(packed)
            )
        case "farewell":
            return Farewell(_partition(packed["to"]), _number(packed["transfer"]))
        case "recall":
            return Recall(_identifier(packed["identifier"]), _identifier(packed["parent"]))
        case "all home":
            return AllHome(_identifier(packed["identifier"]), _identifier(packed["parent"]))
        case "seating":
            return _seating(packed)
        case "taken":
            return _taken(packed)
    raise ValueError(f"{packed['what']!r} is no change of identifiers")


def _links(packed: dict[str, Any]) -> Links:
    lower, upper, message_ids = (
        Strings(np.frombuffer(offsets, np.uint32), np.frombuffer(data, np.uint8)) for offsets, data in packed["tables"]
    )
    links = Links(lower, upper, np.frombuffer(packed["times"], np.int64), message_ids, packed["apart"] is True)
    for table in (lower, upper, message_ids):
        ends = table.offsets
        _require(len(table) == len(links) and ends[0] == 0 and ends[-1] == table.data.shape[0], "its tables differ")
        _require(bool(np.all(ends[1:] >= ends[:-1])), "a table of it is out of order")
    for table in (lower, upper):
        _require(_are_identifiers(table), "it names no identifier")
    inside = not len(links) or TIME_MIN_MS <= int(links.times.min()) <= int(links.times.max()) <= TIME_MAX_MS
    _require(inside, "a time of it lies outside of the years 1 to 9999")
    return links


def _seating(packed: dict[str, Any]) -> Seating:
    columns, names = packed["columns"], tuple(packed["kinds"])
    _require(all(isinstance(name, str) and is_identifier_kind(name) for name in names), "it names no kind")
    uppers, lowers = (np.frombuffer(column, np.uint64) for column in columns[:2])
    seating = Seating(uppers, lowers, np.frombuffer(columns[2], np.uint16), names, packed["apart"] is True)
    same = seating.uppers.shape == seating.lowers.shape == seating.kinds.shape
    _require(same and (not len(seating) or int(seating.kinds.max()) < len(names)), "its columns differ")
    return seating


def _taken(packed: dict[str, Any]) -> TakenElsewhere:
    high, low = (np.frombuffer(column, np.uint64) for column in packed["ids"])
    _require(high.shape == low.shape, "its columns differ")
    _require(type(packed["received"]) is int, "it has no time of receipt")
    return TakenElsewhere(high, low, packed["received"])


def _partition(number: Any) -> PartitionId:
    _require(type(number) is int and number >= 0, "it names no partition")
    return PartitionId(number)


def _piece(packed: dict[str, Any]) -> tuple[int, int, int]:
    piece, pieces, checksum = packed.get("piece", 0), packed.get("pieces", 1), packed.get("checksum", 0)
    _require(type(piece) is type(pieces) is type(checksum) is int, "it is no piece of a transfer")
    _require(0 <= piece < pieces, "it is no piece of a transfer")
    return piece, pieces, checksum


def _number(number: Any) -> SequenceNumber:
    _require(type(number) is int and number > 0, "it names no transfer")
    return SequenceNumber(number)


def _pairs(packed: Any) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((_identifier(first), _identifier(second)) for first, second in packed)


def _identifier(item: Any) -> bytes:
    _require(_is_identifier(item), "it names no identifier")
    assert isinstance(item, bytes)
    return item


def _is_identifier(item: object) -> bool:
    return type(item) is bytes and item[:1] in IDENTIFIER_TAGS


def _are_identifiers(table: Strings) -> bool:
    starts = table.offsets[:-1]
    return bool(np.all(table.offsets[1:] > starts) and _IS_TAG[table.data[starts]].all())


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise ValueError(problem)
