"""Records as they arrive at a partition: columns, never row objects.

A batch holds events and attribute changes in long form, so that its number of arrays does not depend on how
many names and properties it mentions:

    records   identity u32 (into identities), name u16 (into names, or ATTRIBUTES), time_ms i64,
              property_offsets u32[n + 1], message ids as strings ("" = none); where any record came in an envelope,
              the number of each one's among the envelopes, u32; where any was sent on from another identifier, the
              number of each one's among these givers, u32: its message id counts for that identifier
    triples   key u16 (into keys), kind u8 (values.Kind), raw i64 (values.py; strings: into strings)

Encoded form: a msgpack map of the field names to little-endian array bytes; see log/FORMAT.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cdp_store.arrays import I64, U8, U16, U32, Bools
from cdp_store.kernels import strings as string_kernels
from cdp_store.limits import NAMES_PER_BATCH_MAX
from cdp_store.records.batch_check import check_batch
from cdp_store.values import KIND_MASK, decoding, is_text, pack, unpack

ATTRIBUTES: Final = 0xFFFF  # the record_names entry of a record that changes attributes

assert ATTRIBUTES == NAMES_PER_BATCH_MAX, "name numbers of events must stay below the mark of attribute records"


@dataclass(frozen=True, slots=True)
class Strings:
    """Byte strings back to back: string i is data[offsets[i]:offsets[i + 1]]. The arrays become read-only."""

    offsets: U32
    data: U8

    def __post_init__(self) -> None:
        # Kernels are compiled for read-only or for writable arrays: one state, one compilation.
        self.offsets.flags.writeable = False
        self.data.flags.writeable = False

    def __len__(self) -> int:
        return int(self.offsets.shape[0]) - 1

    def __getitem__(self, index: int) -> bytes:
        return self.data[self.offsets[index] : self.offsets[index + 1]].tobytes()

    def take(self, kept: U32) -> Strings:
        """The strings `kept`, in that order."""
        sizes = self.offsets[kept + 1].astype(np.int64) - self.offsets[kept]
        offsets: U32 = np.empty(kept.shape[0] + 1, np.uint32)
        data: U8 = np.empty(int(sizes.sum()), np.uint8)
        string_kernels.take_strings(self.offsets, self.data, kept, offsets, data)
        return Strings(offsets, data)

    def join(self, other: Strings) -> Strings:
        """These strings, then the others."""
        return Strings.joined((self, other))

    @staticmethod
    def joined(tables: Sequence[Strings]) -> Strings:
        """The strings of one or more tables, in that order."""
        starts = _starts(int(table.offsets[-1]) for table in tables)
        ends = [table.offsets[1:] + np.uint32(at) for table, at in zip(tables, starts, strict=False)]
        offsets: U32 = np.concatenate([np.zeros(1, np.uint32), *ends])
        return Strings(offsets, np.concatenate([table.data for table in tables]))

    @staticmethod
    def of(items: Iterable[bytes]) -> Strings:
        """Strings from Python bytes."""
        parts = list(items)
        offsets: U32 = np.zeros(len(parts) + 1, np.uint32)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        return Strings(offsets, np.frombuffer(b"".join(parts), np.uint8))


_NO_STRINGS: Final = Strings(np.zeros(1, np.uint32), np.zeros(0, np.uint8))
_NO_NUMBERS: Final[U32] = np.zeros(0, np.uint32)


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """A batch for one partition (or, before splitting, for several). The arrays become read-only."""

    batch_id: bytes
    received_ms: int
    identities: Strings
    record_identities: U32
    record_names: U16
    record_times: I64
    property_offsets: U32
    message_ids: Strings
    triple_keys: U16
    triple_kinds: U8
    triple_raws: I64
    strings: Strings
    names: tuple[str, ...]
    keys: tuple[str, ...]
    envelopes: Strings = field(
        default_factory=lambda: _NO_STRINGS
    )  # what records came wrapped in; an empty one is none
    record_envelopes: U32 = field(default_factory=lambda: _NO_NUMBERS)  # of each record, or of no record at all
    givers: Strings = field(default_factory=lambda: _NO_STRINGS)  # identifiers, encoded; an empty one is none
    record_givers: U32 = field(default_factory=lambda: _NO_NUMBERS)  # of each record, or of no record at all

    def __post_init__(self) -> None:
        # As for Strings: kernels meet one state of the arrays.
        for name in (*_ARRAYS, *_OPTIONAL):
            getattr(self, name).flags.writeable = False

    def __len__(self) -> int:
        return int(self.record_times.shape[0])

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        tables = (self.identities, self.message_ids, self.strings, self.envelopes, self.givers)
        own: int = sum(getattr(self, name).nbytes for name in _ARRAYS)
        return own + sum(table.offsets.nbytes + table.data.nbytes for table in tables)

    def property_counts(self) -> I64:
        """Number of triples of each record."""
        offsets = self.property_offsets.astype(np.int64)
        return offsets[1:] - offsets[:-1]

    def plain_kinds(self) -> U8:
        """Kind of each value, without the operation that may be on it: u8[triples]."""
        return self.triple_kinds & np.uint8(KIND_MASK)

    def is_attributes(self) -> Bools:
        """True for each record that changes attributes instead of adding an event."""
        mask: Bools = self.record_names == ATTRIBUTES
        return mask

    def take(self, records: npt.NDArray[np.intp]) -> RecordBatch:
        """The batch of the given records, in that order, with only the identities and strings they use."""
        starts = self.property_offsets[records].astype(np.int64)
        counts = self.property_offsets[records + 1].astype(np.int64) - starts
        offsets: U32 = np.zeros(records.shape[0] + 1, np.uint32)
        np.cumsum(counts, out=offsets[1:])
        triples = np.repeat(starts - offsets[:-1], counts) + np.arange(int(offsets[-1]))
        kinds, raws = self.triple_kinds[triples], self.triple_raws[triples]
        identity_index, identities = subset(self.record_identities[records], self.identities)
        textual = is_text(kinds)
        string_index, kept_strings = subset(raws[textual].astype(np.uint32), self.strings)
        raws[textual] = string_index
        return RecordBatch(
            self.batch_id,
            self.received_ms,
            identities,
            identity_index,
            self.record_names[records],
            self.record_times[records],
            offsets,
            self.message_ids.take(records.astype(np.uint32)),
            self.triple_keys[triples],
            kinds,
            raws,
            kept_strings,
            self.names,
            self.keys,
            *self.optional_of(records),
        )

    def optional_of(self, records: npt.NDArray[np.intp]) -> tuple[Strings, U32, Strings, U32]:
        """Of the given records, in that order: the last four columns, which not every batch has."""
        return *_subset_of_all(self.envelopes, self.record_envelopes, records), *_subset_of_all(
            self.givers, self.record_givers, records
        )


def join_batches(batches: Sequence[RecordBatch]) -> RecordBatch:
    """The records of one or more batches, in that order, under the first one's batch id, received when the last one
    was; strings and identities may come twice. ValueError for more names than a batch can number."""
    names, name_numbers = _joined_names([batch.names for batch in batches])
    keys, key_numbers = _joined_names([batch.keys for batch in batches])
    if max(len(names), len(keys)) > NAMES_PER_BATCH_MAX:
        raise ValueError(f"{len(names)} event names and {len(keys)} keys are more than one batch can number")
    identity_starts = _starts(len(batch.identities) for batch in batches)
    string_starts = _starts(len(batch.strings) for batch in batches)
    triple_starts = _starts(int(batch.property_offsets[-1]) for batch in batches)
    record_names, raws = list[U16](), list[I64]()
    for batch, numbers, first in zip(batches, name_numbers, string_starts, strict=False):
        events = ~batch.is_attributes()
        record_names.append(batch.record_names.copy())
        record_names[-1][events] = numbers[batch.record_names[events]]
        raws.append(batch.triple_raws.copy())
        raws[-1][is_text(batch.triple_kinds)] += first
    owners = [batch.record_identities + np.uint32(at) for batch, at in zip(batches, identity_starts, strict=False)]
    ends = [batch.property_offsets[1:] + np.uint32(at) for batch, at in zip(batches, triple_starts, strict=False)]
    return RecordBatch(
        batches[0].batch_id,
        max(batch.received_ms for batch in batches),
        Strings.joined([batch.identities for batch in batches]),
        np.concatenate(owners),
        np.concatenate(record_names),
        np.concatenate([batch.record_times for batch in batches]),
        np.concatenate([np.zeros(1, np.uint32), *ends]),
        Strings.joined([batch.message_ids for batch in batches]),
        np.concatenate([numbers[batch.triple_keys] for batch, numbers in zip(batches, key_numbers, strict=True)]),
        np.concatenate([batch.triple_kinds for batch in batches]),
        np.concatenate(raws),
        Strings.joined([batch.strings for batch in batches]),
        names,
        keys,
        *_joined_optional([(batch.envelopes, batch.record_envelopes, len(batch)) for batch in batches]),
        *_joined_optional([(batch.givers, batch.record_givers, len(batch)) for batch in batches]),
    )


def _joined_names(tables: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], list[U16]]:
    """(names of all, by table the number in them of each of its own)."""
    number = {name: index for index, name in enumerate(dict.fromkeys(chain.from_iterable(tables)))}
    # A number beyond u16 is refused before it is used.
    return tuple(number), [np.array([number[name] & 0xFFFF for name in table], np.uint16) for table in tables]


def _joined_optional(tables: Sequence[tuple[Strings, U32, int]]) -> tuple[Strings, U32]:
    """(texts, numbers) of batches, each with its number of records; one without has the empty text for all."""
    if not any(numbers.shape[0] for _, numbers, _ in tables):
        return tables[0][:2]
    whole = [
        (texts, numbers) if numbers.shape[0] else (Strings.of([b""]), np.zeros(count, np.uint32))
        for texts, numbers, count in tables
    ]
    starts = _starts(len(texts) for texts, _ in whole)
    numbers = [own + np.uint32(at) for (_, own), at in zip(whole, starts, strict=False)]
    return Strings.joined([texts for texts, _ in whole]), np.concatenate(numbers)


def _subset_of_all(texts: Strings, numbers: U32, records: npt.NDArray[np.intp]) -> tuple[Strings, U32]:
    if not numbers.shape[0]:
        return texts, numbers
    own, used = subset(numbers[records], texts)
    return used, own


def _starts(sizes: Iterable[int]) -> list[int]:
    return list(accumulate(sizes, initial=0))


def subset(index: U32, table: Strings) -> tuple[U32, Strings]:
    """(index into the second, the strings of `table` that are used), numbered in order of first use."""
    renumbered = index.copy()
    kept: U32 = np.empty(min(index.shape[0], len(table)), np.uint32)
    scratch: U32 = np.zeros(2 * len(table), np.uint32)
    count = string_kernels.renumber(renumbered, scratch, 1, kept)
    return renumbered, table.take(kept[:count])


_ARRAYS: Final[dict[str, type[np.generic]]] = {
    "record_identities": np.uint32,
    "record_names": np.uint16,
    "record_times": np.int64,
    "property_offsets": np.uint32,
    "triple_keys": np.uint16,
    "triple_kinds": np.uint8,
    "triple_raws": np.int64,
}
_OPTIONAL: Final = {"record_envelopes": "envelopes", "record_givers": "givers"}
_STRINGS: Final = ("identities", "message_ids", "strings")


def encode_batch(batch: RecordBatch) -> bytes:
    """The batch as one msgpack map; `decode_batch` gives it back."""
    packed: dict[str, Any] = {
        "batch_id": batch.batch_id,
        "received_ms": batch.received_ms,
        "names": batch.names,
        "keys": batch.keys,
    }
    given = (pair for pair in _OPTIONAL.items() if getattr(batch, pair[0]).shape[0])
    for name in (*_ARRAYS, *_STRINGS, *chain.from_iterable(given)):
        column = getattr(batch, name)
        is_table = isinstance(column, Strings)
        packed[name] = (column.offsets.tobytes(), column.data.tobytes()) if is_table else column.tobytes()
    return pack(packed)


def decode_batch(encoded: bytes) -> RecordBatch:
    """The batch behind `encode_batch`'s bytes; BatchMalformed names what does not fit."""
    with decoding("its bytes"):
        packed = unpack(encoded)
        parts: dict[str, Any] = {"batch_id": packed["batch_id"], "received_ms": packed["received_ms"]}
        for name in ("names", "keys"):
            if not isinstance(packed[name], list):
                raise TypeError(f"{name} is no array")
            parts[name] = tuple(packed[name])
        for name, dtype in _ARRAYS.items():
            parts[name] = np.frombuffer(packed[name], dtype)
        given = {numbers: texts for numbers, texts in _OPTIONAL.items() if numbers in packed or texts in packed}
        for name in given:
            parts[name] = np.frombuffer(packed[name], np.uint32)
        for name in (*_STRINGS, *given.values()):
            offsets, data = packed[name]
            parts[name] = Strings(np.frombuffer(offsets, np.uint32), np.frombuffer(data, np.uint8))
        batch = RecordBatch(**parts)
    check_batch(batch)
    return batch
