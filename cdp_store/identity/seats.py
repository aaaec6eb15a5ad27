"""Limit of identifiers of a kind per owner: a seat for each pair, kept in the owner's partition.

Only keyed hashes of a seat are kept. A pair with a seat keeps it, whatever comes later, until the two are unlinked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from cdp_store.arrays import I64, U8, U16, U32, U64, AnyArray, Bools
from cdp_store.columns.arena import HashKey, StringArena, hash_strings
from cdp_store.columns.growable import Growable
from cdp_store.identity.identity_changes import Links, Seating
from cdp_store.ids import CUSTOM_TAG, KIND_END, decode_identifier
from cdp_store.memory.digest import combine
from cdp_store.memory.validate_chunk import require
from cdp_store.records.records import Strings

OTHERS: Final = ""  # in a mapping of limits: all kinds without a limit of their own


@dataclass(frozen=True, slots=True)
class Wanted:
    """Links that need seats, and the limit of each kind; OTHERS must be among the kinds.

    `leaves_out`: records between the first and the last that say a pair are not among them. `is_again`: the seats were
    given a moment ago; a pair without one has gone since. `asked_at`: for each link the position of the partition when
    it looked at its record first, i64[n]; 0 where it did not yet.
    """

    links: Links
    limits: Mapping[str, int]
    leaves_out: bool = False
    is_again: bool = False
    asked_at: I64 | None = None


class Seats:
    """The seats given.

    An entry per pair: hashes of the upper and of the lower identifier, the lower one's kind, and whether the two were
    unlinked, which needs no seat. A tally per upper identifier and kind.
    """

    def __init__(self, key: HashKey) -> None:
        self._key = key
        self._pairs, self._groups = StringArena(key), StringArena(key)
        self._kinds, self._apart = Growable(np.uint16), Growable(np.bool_)
        self._tallies = Growable(np.uint32)
        self._names = dict[str, int]()

    def __len__(self) -> int:
        return len(self._pairs)

    def seating_of(self, links: Links) -> Seating:
        """The seats that some links need."""
        return seating_of(links, self._key)

    def hold(self, seating: Seating, before: Sequence[Seating]) -> Bools:
        """Mask of pairs that have a seat, are about to take one with those `before`, or were unlinked: bool[n]."""
        held: Bools = self._find(seating) >= 0
        pairs = combine(seating.uppers, seating.lowers)
        for each in before:
            held |= np.isin(pairs, combine(each.uppers, each.lowers))
        return held

    def granted(self, wanted: Seating, limits: Mapping[str, int], before: Sequence[Seating] = ()) -> Bools:
        """Mask of requested seats that fit the limits, counting taken ones and pending ones (`before`): bool[n]."""
        whole = joined([*before, wanted])
        pairs = combine(whole.uppers, whole.lowers)
        fresh = self._find(whole) < 0
        fresh &= _is_first(pairs)
        groups = combine(whole.uppers, self._kind_hashes(whole.kind_names)[whole.kinds])
        tallies = self._tallies_of(groups)
        most: I64 = np.array([limits.get(name, limits[OTHERS]) for name in whole.kind_names], np.int64)
        at = np.flatnonzero(fresh)
        sits: Bools = np.ones(len(whole), np.bool_)
        sits[at] = tallies[at] + _places(groups[at]) < most[whole.kinds[at]]
        own = len(whole) - len(wanted)
        refused = np.isin(pairs[own:], pairs[own:][~sits[own:]])
        return ~refused

    def news(self, seating: Seating) -> Seating:
        """The part of a change that is new."""
        entries = self._find(seating)
        if not seating.apart:
            return seating.take(np.flatnonzero((entries < 0) & _is_first(combine(seating.uppers, seating.lowers))))
        known = entries >= 0
        news: Bools = ~known
        news[known] = ~self._apart.filled()[entries[known]]
        return seating.take(np.flatnonzero(news & _is_first(combine(seating.uppers, seating.lowers))))

    def apply(self, seating: Seating) -> None:
        """Adds seats, or removes them if the seating marks its pairs as unlinked."""
        before = self._find(seating)
        was_seated: Bools = before >= 0
        was_seated[was_seated] = ~self._apart.filled()[before[was_seated]]
        codes: U16 = np.array([self._code(name) for name in seating.kind_names], np.uint16)
        entries = self._pairs.insert(*_texts(self._key, np.stack((seating.uppers, seating.lowers), axis=1)))
        new = len(self._pairs) - self._kinds.count
        self._kinds.extend(np.zeros(new, np.uint16))
        self._apart.extend(np.zeros(new, np.bool_))
        fresh = (before < 0) & _is_first(combine(seating.uppers, seating.lowers))
        self._kinds.filled()[entries[fresh]] = codes[seating.kinds[fresh]]
        if seating.apart:
            self._apart.filled()[entries] = True
            self._tally(seating, was_seated & _is_first(combine(seating.uppers, seating.lowers)), -1)
        else:
            self._tally(seating, fresh, 1)

    def names(self, identifier: bytes) -> bool:
        """True if an encoded identifier is in any pair."""
        return self.names_any([identifier])

    def names_any(self, identifiers: Iterable[bytes]) -> bool:
        """True if one of some encoded identifiers is in any pair."""
        if not len(self):
            return False
        uppers, lowers = self._hashes()
        own = hash_strings(self._key, Strings.of(identifiers))
        return bool(np.isin(uppers, own).any() or np.isin(lowers, own).any())

    def lowers_under(self, identifiers: Iterable[bytes]) -> U64:
        """Hashes of the identifiers that have a seat under one of some encoded identifiers and are none of these."""
        uppers, lowers = self._hashes()
        own = hash_strings(self._key, Strings.of(identifiers))
        found: U64 = np.unique(lowers[np.isin(uppers, own) & ~np.isin(lowers, own) & ~self._apart.filled()])
        return found

    def without(self, identifiers: Iterable[bytes]) -> Seats:
        """The seats without pairs of some encoded identifiers; the object itself if there are none."""
        if not len(self):
            return self
        doomed = hash_strings(self._key, Strings.of(identifiers))
        uppers, lowers = self._hashes()
        keep: Bools = ~(np.isin(uppers, doomed) | np.isin(lowers, doomed))
        return self if keep.all() else Seats.from_table(self._key, self.to_table().filter(pa.array(keep)))

    def to_table(self) -> pa.Table:
        """Tables of the seats for a snapshot."""
        uppers, lowers = self._hashes()
        names = pa.array(list(self._names), pa.string())
        kinds = pa.DictionaryArray.from_arrays(pa.array(self._kinds.filled().astype(np.int32)), names)
        columns = {"upper": uppers.copy(), "lower": lowers.copy(), "kind": kinds, "apart": self._apart.filled().copy()}
        return pa.table({name: pa.array(column) for name, column in columns.items()})

    @staticmethod
    def from_table(key: HashKey, table: pa.Table) -> Seats:
        """Seats from the output of `to_table`."""
        seats, kinds = Seats(key), table.column("kind").combine_chunks().dictionary_encode()
        kinds = kinds.chunk(0) if isinstance(kinds, pa.ChunkedArray) and kinds.num_chunks else kinds
        names = tuple(kinds.dictionary.to_pylist()) if len(table) else ()
        uppers, lowers = (table.column(name).to_numpy() for name in ("upper", "lower"))
        codes = kinds.indices.to_numpy(zero_copy_only=False).astype(np.uint16) if names else np.zeros(0, np.uint16)
        apart = table.column("apart").to_numpy(zero_copy_only=False).astype(np.bool_)
        whole = Seating(uppers, lowers, codes, names)
        seats.apply(whole)
        seats.apply(Seating(uppers[apart], lowers[apart], codes[apart], names, apart=True))
        return seats

    def validate(self) -> None:
        """Raises StructureBroken unless the tallies match the pairs."""
        uppers, _ = self._hashes()
        kinds = self._kind_hashes(tuple(self._names))[self._kinds.filled()] if len(self) else np.zeros(0, np.uint64)
        groups, counts = np.unique(combine(uppers, kinds)[~self._apart.filled()], return_counts=True)
        require(bool(np.all(self._tallies_of(groups) == counts)), "seats", "a tally is not the number of its pairs")
        require(int(self._tallies.filled().sum()) == int(counts.sum()), "seats", "a tally counts a pair without a seat")

    @property
    def nbytes(self) -> int:
        """Memory occupied."""
        columns = (self._kinds, self._apart, self._tallies)
        return self._pairs.nbytes + self._groups.nbytes + sum(column.nbytes for column in columns)

    def _tally(self, seating: Seating, chosen: Bools, step: int) -> None:
        hashes = self._kind_hashes(seating.kind_names)[seating.kinds[chosen]] if len(seating.kind_names) else _NOTHING
        groups = combine(seating.uppers[chosen], hashes)
        entries = self._groups.insert(*_texts(self._key, groups.reshape(-1, 1)))
        self._tallies.extend(np.zeros(len(self._groups) - self._tallies.count, np.uint32))
        np.add.at(self._tallies.filled(), entries, np.uint32(step & 0xFFFFFFFF))

    def _tallies_of(self, groups: U64) -> I64:
        entries = self._groups.find(*_texts(self._key, groups.reshape(-1, 1)))
        tallies: I64 = np.zeros(groups.shape[0], np.int64)
        tallies[entries >= 0] = self._tallies.filled()[entries[entries >= 0]]
        return tallies

    def _find(self, seating: Seating) -> I64:
        return self._pairs.find(*_texts(self._key, np.stack((seating.uppers, seating.lowers), axis=1)))

    def _hashes(self) -> tuple[U64, U64]:
        _, data = self._pairs.filled()
        both = data[: 16 * len(self._pairs)].view(np.uint64).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def _kind_hashes(self, names: tuple[str, ...]) -> U64:
        return hash_strings(self._key, Strings.of([name.encode() for name in names]))

    def _code(self, name: str) -> int:
        return self._names.setdefault(name, len(self._names))


_NOTHING: Final[U64] = np.zeros(0, np.uint64)


def seating_of(links: Links, key: HashKey) -> Seating:
    """The seats that links take, or, for unlinked pairs, leave."""
    kinds, names = _kinds_of(links.lower)
    return Seating(hash_strings(key, links.upper), hash_strings(key, links.lower), kinds, names, links.apart)


def joined(parts: Sequence[Seating]) -> Seating:
    """Several seatings as one."""
    if len(parts) == 1:
        return parts[0]
    codes = dict[str, int]()
    for part in parts:
        for name in part.kind_names:
            codes.setdefault(name, len(codes))
    recoded = [np.array([codes[name] for name in part.kind_names], np.uint16)[part.kinds] for part in parts]
    uppers, lowers = (np.concatenate([getattr(part, side) for part in parts]) for side in ("uppers", "lowers"))
    return Seating(uppers, lowers, np.concatenate(recoded), tuple(codes))


def _kinds_of(identifiers: Strings) -> tuple[U16, tuple[str, ...]]:
    """The kind of each encoded identifier: a number u16[n], and the names of the numbers."""
    starts, ends = identifiers.offsets[:-1].astype(np.int64), identifiers.offsets[1:].astype(np.int64)
    data = identifiers.data
    stops: I64 = starts + 1
    custom = np.flatnonzero(data[starts] == CUSTOM_TAG[0]) if len(identifiers) else starts
    marks = np.flatnonzero(data == ord(KIND_END))
    if custom.size:
        stops[custom] = marks[np.minimum(np.searchsorted(marks, starts[custom]), marks.shape[0] - 1)]
    sizes = np.minimum(stops, ends) - starts
    offsets: U32 = np.zeros(sizes.shape[0] + 1, np.uint32)
    np.cumsum(sizes, out=offsets[1:])
    at = np.repeat(starts - offsets[:-1], sizes) + np.arange(int(offsets[-1]))
    tags = hash_strings((0, 0), Strings(offsets, data[at]))
    _, first, kinds = np.unique(tags, return_index=True, return_inverse=True)
    return kinds.astype(np.uint16), tuple(decode_identifier(identifiers[int(one)])[0] for one in first)


def _is_first(hashes: U64) -> Bools:
    """Mask of the hashes that do not occur earlier in the array: bool[n]."""
    first: Bools = np.zeros(hashes.shape[0], np.bool_)
    first[np.unique(hashes, return_index=True)[1]] = True
    return first


def _places(groups: U64) -> I64:
    """Number of members of its group before each: i64[n]."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.append(True, ordered[1:] != ordered[:-1])[: ordered.shape[0]]
    places: I64 = np.empty(groups.shape[0], np.int64)
    places[order] = np.arange(ordered.shape[0]) - np.flatnonzero(starts)[np.cumsum(starts) - 1]
    return places


def _texts(key: HashKey, rows: AnyArray) -> tuple[U32, Strings, U64]:
    """Rows of hashes as strings of as many bytes, with the numbers and hashes that an arena needs."""
    count, size = rows.shape[0], 8 * rows.shape[1]
    data: U8 = np.ascontiguousarray(rows, np.uint64).reshape(-1).view(np.uint8)
    table = Strings(np.arange(0, size * count + 1, size, dtype=np.uint32), data)
    return np.arange(count, dtype=np.uint32), table, hash_strings(key, table)
