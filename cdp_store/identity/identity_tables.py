"""Identifiers of a partition as Arrow tables for a snapshot, and back (columns: snapshot/FORMAT.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from cdp_store.arrays import U32, AnyArray, Bools
from cdp_store.columns.arena import HashKey
from cdp_store.identity.identity_changes import Links, decode_parcel, encode_parcel
from cdp_store.identity.linked_identifiers import NOBODY
from cdp_store.identity.seats import Seats
from cdp_store.identity.state import IdentityState
from cdp_store.identity.transfers import Arriving, OpenTransfer
from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.records.records import Strings, decode_batch, encode_batch
from cdp_store.values import decoding, pack, unpack

_TRACKED: Final = 1
_PARENT: Final = 2
_GUEST: Final = 4
_ENDS: Final = ("released", "received")
_ARRIVING: Final = "arriving"
IdentityTables = Mapping[str, pa.Table]


def to_tables(state: IdentityState) -> dict[str, pa.Table]:
    """A copy of everything, by name of the table; empty for a partition without links."""
    if state.is_empty:
        return {}
    return {
        "names": _names(state),
        "claims": _claims(state),
        "origins": pa.table(
            {
                "hash": pa.array(state.origins.hashes.filled().copy()),
                "source": pa.array(state.origins.sources.filled().copy()),
            }
        ),
        "transfers": _transfers(state),
        "seats": state.seats.to_table(),
    }


def from_tables(found: IdentityTables, key: HashKey) -> IdentityState:
    """State from the output of `to_tables`; BatchMalformed if an open transfer cannot be read."""
    state = IdentityState(key)
    if "names" not in found:
        return state
    names = found["names"]
    state.names.insert(_strings(names, "identifier"))
    columns = state.names
    for name in ("target", "place", "parent", "own_created"):
        getattr(columns, name).filled()[:] = names.column(name).to_numpy()
    flags = names.column("flags").to_numpy()
    columns.is_tracked.filled()[:] = flags & _TRACKED != 0
    columns.has_children.filled()[:] = flags & _PARENT != 0
    state.guests |= {*np.flatnonzero(flags & _GUEST).tolist()}
    _load_claims(state, found["claims"])
    origins = found["origins"]
    state.origins.add(origins.column("hash").to_numpy(), origins.column("source").to_numpy())
    _load_transfers(state, found["transfers"])
    if "seats" in found:
        state.seats = Seats.from_table(key, found["seats"])
    return state


def without(state: IdentityState, identifiers: Sequence[bytes], key: HashKey) -> IdentityState:
    """The state without some identifiers and their links: nothing of either stays."""
    doomed = {entry for each in identifiers if (entry := state.names.entry(each)) is not None}
    seats = state.seats.without(identifiers)
    if not doomed and seats is state.seats:
        return state
    keep: Bools = np.ones(len(state.names), np.bool_)
    keep[sorted(doomed)] = False
    ranks = np.append(np.cumsum(keep, dtype=np.uint32) - np.uint32(1), np.uint32(NOBODY))

    def renumbered(column: pa.ChunkedArray) -> pa.Array:
        entries = column.to_numpy().astype(np.int64)
        at = np.where(entries == NOBODY, len(keep), entries)
        return pa.array(np.where(np.append(keep, False)[at], ranks[at], np.uint32(NOBODY)).astype(np.uint32))

    found = to_tables(state)
    names = found["names"].filter(pa.array(keep))
    for name in ("target", "place", "parent"):
        names = names.set_column(names.schema.get_field_index(name), name, renumbered(names.column(name)))
    claims, origins = found["claims"], found["origins"]
    known = keep[claims.column("lower").to_numpy()] & keep[claims.column("upper").to_numpy()]
    claims = claims.filter(pa.array(known))
    for name in ("lower", "upper"):
        claims = claims.set_column(claims.schema.get_field_index(name), name, renumbered(claims.column(name)))
    origins = origins.filter(pa.array(keep[origins.column("source").to_numpy()]))
    origins = origins.set_column(1, "source", renumbered(origins.column("source")))
    left = {"names": names, "claims": claims, "origins": origins, "transfers": found["transfers"]}
    return from_tables({**left, "seats": seats.to_table()}, key)


def _names(state: IdentityState) -> pa.Table:
    names = state.names
    flags = names.is_tracked.filled() * _TRACKED + names.has_children.filled() * _PARENT
    flags = flags.astype(np.uint8)
    flags[list(state.guests)] |= _GUEST
    return pa.table(
        {
            "identifier": _texts(*names.arena.filled()),
            "target": pa.array(names.target.filled().copy()),
            "place": pa.array(names.place.filled().copy()),
            "parent": pa.array(names.parent.filled().copy()),
            "own_created": pa.array(names.own_created.filled().copy()),
            "flags": pa.array(flags),
        }
    )


def _claims(state: IdentityState) -> pa.Table:
    lower, upper, times, messages, apart = state.claims.all()
    return pa.table(
        {
            "lower": pa.array(lower.copy()),
            "upper": pa.array(upper.copy()),
            "time": pa.array(times.copy()),
            "message_id": _texts(*messages),
            "apart": pa.array(apart.copy()),
        }
    )


def _load_claims(state: IdentityState, table: pa.Table) -> None:
    names, target = state.names, state.names.target.filled().copy()
    lower, upper = (_gathered(names.arena.filled(), table.column(side).to_numpy()) for side in ("lower", "upper"))
    links = Links(lower, upper, table.column("time").to_numpy(), _strings(table, "message_id"))
    state.claims.load(links, table.column("apart").to_numpy())
    names.target.filled()[:] = target


def _transfers(state: IdentityState) -> pa.Table:
    rows = list[tuple[str, int, int, bytes]]()
    for end in _ENDS:
        numbers: dict[PartitionId, SequenceNumber] = getattr(state.transfers, end)
        rows += [(end, partition, number, b"") for partition, number in numbers.items()]
    for partition, opened in state.transfers.open.items():
        packed = pack({**encode_parcel(opened.parcel), "leaving": opened.leaving})
        rows.append(("open", partition, opened.number, packed))
    for partition, arriving in state.transfers.arriving.items():
        fields = {"checksum": arriving.checksum, "pieces": [encode_batch(piece) for piece in arriving.pieces]}
        rows.append((_ARRIVING, partition, arriving.transfer, pack(fields)))
    ends, partitions, numbers_, parcels = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pa.table(
        {
            "end": pa.array(ends, pa.large_string()),
            "partition": pa.array(partitions, pa.int64()),
            "number": pa.array(numbers_, pa.int64()),
            "parcel": pa.array(parcels, pa.large_binary()),
        }
    )


def _load_transfers(state: IdentityState, table: pa.Table) -> None:
    for row in table.to_pylist():
        partition, number = PartitionId(row["partition"]), SequenceNumber(row["number"])
        if row["end"] in _ENDS:
            getattr(state.transfers, row["end"])[partition] = number
        elif row["end"] == _ARRIVING:
            state.transfers.arriving[partition] = _arriving(number, row["parcel"])
        else:
            state.transfers.open[partition] = _opened(number, row["parcel"])


def _opened(number: SequenceNumber, packed: bytes) -> OpenTransfer:
    with decoding("an open transfer"):
        fields = unpack(packed)
        return OpenTransfer(number, decode_parcel(fields), tuple(fields["leaving"]))


def _arriving(number: SequenceNumber, packed: bytes) -> Arriving:
    with decoding("a transfer that arrives"):
        fields = unpack(packed)
        return Arriving(number, int(fields["checksum"]), tuple(map(decode_batch, fields["pieces"])))


def _texts(offsets: AnyArray, data: AnyArray) -> pa.Array:
    count = offsets.shape[0] - 1
    buffers = [None, pa.py_buffer(offsets.astype(np.int64)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), count, buffers)


def _strings(table: pa.Table, name: str) -> Strings:
    column = table.column(name).combine_chunks()
    texts = column.chunk(0) if isinstance(column, pa.ChunkedArray) and column.num_chunks else column
    if len(texts) == 0:
        return Strings.of(())
    _, offsets_buffer, data_buffer = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = np.zeros(0, np.uint8) if data_buffer is None else np.frombuffer(data_buffer, np.uint8)
    return Strings((offsets - offsets[0]).astype(np.uint32), data[offsets[0] : offsets[-1]].copy())


def _gathered(arena: tuple[AnyArray, AnyArray], entries: U32) -> Strings:
    offsets, data = arena
    return Strings(offsets.astype(np.uint32), data.copy()).take(entries.astype(np.uint32))
