"""Objects as attributes: a new value of one unsets the parts that it does not give itself.

The parts of `a` are the attributes `a.b`, `a.b.c` and so on. A record that gives `a` (null, a value, a list or an
object, which is logged as `a` unset together with its parts) unsets, at its time, those parts that have a value then.
What is kept follows one rule, so that no order of arrival makes a difference: between a value of a part and the first
later change of the whole that does not give the part, or at that change, the part has another version.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from cdp_store.arrays import I64, U16, U32, Bools
from cdp_store.memory.schema import NameTable
from cdp_store.profiles.attributes import NEVER, Versions
from cdp_store.records.records import RecordBatch
from cdp_store.values import Kind

Positions = npt.NDArray[np.intp]
_STORED: Final = -1  # the group of what is in memory already: it arrived before all of a batch


class Given(enum.Enum):
    """Rule for which values of a batch are given together, so that a whole unsets none of them."""

    BY_RECORD = enum.auto()
    BY_INSTANT = enum.auto()  # all of a person at one time: the records are single versions of another memory
    COMPLETE = enum.auto()  # all there is, removals of parts included


class Stored(Protocol):
    """The versions of attributes in memory; attributes by number."""

    def latest_ms(self, attribute: int) -> int:
        """Time of the newest change of any row."""

    def current_versions(self, attribute: int, rows: U32) -> Versions:
        """The newest version of each row, its time NEVER if there is none."""

    def past_versions(self, attribute: int, rows: U32) -> Versions:
        """All older versions of rows."""


class NestedNames:
    """Attributes that are parts of others, by number."""

    def __init__(self) -> None:
        self._numbers = dict[str, int]()
        self._parts = dict[str, list[int]]()
        self._names = list[str]()

    def learn(self, table: NameTable) -> bool:
        """Adds the names that came since the last call; True if there are parts at all."""
        for name in islice(table, len(self._names), None) if len(table) > len(self._names) else ():
            self._numbers[name] = len(self._names)
            for whole in wholes_of(name):
                self._parts.setdefault(whole, []).append(len(self._names))
            self._names.append(name)
        return bool(self._parts)

    def pairs_of(self, attributes: list[int]) -> list[tuple[int, int]]:
        """(whole, part) of all pairs that any of the attributes is in, ascending."""
        pairs = set[tuple[int, int]]()
        for number in attributes:
            name = self._names[number]
            pairs.update((number, part) for part in self._parts.get(name, ()))
            pairs.update((self._numbers[whole], number) for whole in wholes_of(name) if whole in self._numbers)
        return sorted(pairs)


@dataclass(frozen=True, slots=True)
class Arriving:
    """Versions in order of arrival: the attribute of each u16[n], and its group i64[n], whose versions are given
    together; `groups` is more than the last."""

    attributes: U16
    versions: Versions
    group: I64
    groups: int

    def __len__(self) -> int:
        return len(self.versions)


def wholes_of(name: str) -> list[str]:
    """The names that a dotted name is a part of, the longest last."""
    return [name[:at] for at, letter in enumerate(name) if letter == "."]


def of_one_instant(rows: U32, times: I64) -> I64:
    """Groups for versions that are not grouped by record: those of one row and time are given together; i64[n]."""
    order = np.lexsort((times, rows))
    starts = np.append(False, (rows[order][1:] != rows[order][:-1]) | (times[order][1:] != times[order][:-1]))
    group: I64 = np.empty(rows.shape[0], np.int64)
    group[order] = np.cumsum(starts[: rows.shape[0]])
    return group


def with_unset_parts(arriving: Arriving, names: NestedNames, stored: Stored) -> Arriving:
    """The same, with those parts unset that lose their values to an arriving or stored change of their whole."""
    present = np.flatnonzero(np.bincount(arriving.attributes)).tolist()
    found, attributes = list[tuple[Versions, I64]](), list[U16]()
    pairs = names.pairs_of(present)
    places = {number: np.flatnonzero(arriving.attributes == number) for number in {*chain.from_iterable(pairs)}}
    for whole, part in pairs:
        if _is_settled(arriving, places[whole], places[part], stored.latest_ms(whole)):
            continue
        versions, after = _Pair(arriving, whole, part, places, stored).unset()
        if len(versions):
            found.append((versions, after))
            attributes.append(np.full(len(versions), part, np.uint16))
    if not found:
        return arriving
    # Removals due to a stored change go before all that arrives, the others next to the change they are due to.
    order = np.argsort(np.concatenate([*(after for _, after in found), arriving.group]), kind="stable")
    versions = Versions.join([*(versions for versions, _ in found), arriving.versions])
    return Arriving(
        np.concatenate([*attributes, arriving.attributes])[order],
        versions.take(order),
        np.concatenate([*(after for _, after in found), arriving.group])[order],
        arriving.groups,
    )


def _gives(arriving: Arriving, wholes: Positions, parts: Positions) -> Bools:
    """Mask of the changes of the whole that come with the part: bool[wholes]."""
    gives_part: Bools = np.zeros(arriving.groups, np.bool_)
    gives_part[arriving.group[parts]] = True
    return gives_part[arriving.group[wholes]]


def _is_settled(arriving: Arriving, wholes: Positions, parts: Positions, latest_ms: int) -> bool:
    """True if nothing can be due, the usual case: each whole gives the part, and no stored change of it is later."""
    if parts.shape[0] and int(arriving.versions.times[parts].min()) < latest_ms:
        return False
    return bool(_gives(arriving, wholes, parts).all()) if wholes.shape[0] else True


class _Pair:
    """A whole and one of its parts, in what arrives and in memory."""

    def __init__(
        self, arriving: Arriving, whole: int, part: int, places: Mapping[int, Positions], stored: Stored
    ) -> None:
        self._whole, self._part, self._stored = whole, part, stored
        of_whole, of_part = places[whole], places[part]
        self._wholes, self._whole_groups = arriving.versions.take(of_whole), arriving.group[of_whole]
        self._parts, self._part_groups = arriving.versions.take(of_part), arriving.group[of_part]
        self._gives = _gives(arriving, of_whole, of_part)

    def unset(self) -> tuple[Versions, I64]:
        """Removals of the part that are due, and the group of the change each is due to."""
        rows = np.union1d(self._losing(), self._late()).astype(np.uint32)
        nothing: I64 = np.zeros(0, np.int64)
        return self._followed(rows) if rows.shape[0] else (Versions.join([]), nothing)

    def _losing(self) -> U32:
        """Rows that get a whole without the part, and have had the part or get it as well."""
        rows: U32 = np.unique(self._wholes.rows[~self._gives])
        if not rows.shape[0]:
            return rows
        had = self._stored.current_versions(self._part, rows).times != NEVER
        losing: U32 = rows[had | np.isin(rows, self._parts.rows)]
        return losing

    def _late(self) -> U32:
        """Rows that get the part with a time before a stored change of the whole."""
        if not len(self._parts) or self._stored.latest_ms(self._whole) <= int(self._parts.times.min()):
            return np.zeros(0, np.uint32)
        later = self._stored.current_versions(self._whole, self._parts.rows).times > self._parts.times
        rows: U32 = np.unique(self._parts.rows[later])
        return rows

    def _followed(self, rows: U32) -> tuple[Versions, I64]:
        """Follows the versions of rows, both attributes together: a value of the part, then a change of the whole."""
        replacing, given = np.isin(self._wholes.rows, rows) & ~self._gives, np.isin(self._parts.rows, rows)
        wholes, parts = self._wholes.take(replacing), self._parts.take(given)
        stored = self._known(rows, Versions.join([wholes, parts]))
        sources = [*stored, wholes, parts]
        every, type_of = Versions.join(sources), np.repeat(np.arange(4), [len(each) for each in sources])
        of_stored = np.full(len(stored[0]) + len(stored[1]), _STORED)
        group = np.concatenate([of_stored, self._whole_groups[replacing], self._part_groups[given]])
        order = np.lexsort((type_of, group, every.times, every.rows))
        every, group, type_of = every.take(order), group[order], type_of[order]
        is_part = (type_of == _PART) | (type_of == _PART_STORED)
        due: Bools = np.zeros(len(every), np.bool_)
        due[1:] = is_part[:-1] & (every.kinds[:-1] != Kind.UNSET) & ~is_part[1:] & (every.rows[1:] == every.rows[:-1])
        due[1:] &= (type_of[1:] == _WHOLE) | (type_of[:-1] == _PART)
        taken = every.take(due)
        return replace(taken, kinds=np.zeros_like(taken.kinds), raws=np.zeros_like(taken.raws)), group[due]

    def _known(self, rows: U32, arriving: Versions) -> tuple[Versions, Versions]:
        """The stored versions of the part and of the whole, as far back as those that arrive need."""
        since: I64 = np.full(rows.shape[0], np.iinfo(np.int64).max, np.int64)
        np.minimum.at(since, np.searchsorted(rows, arriving.rows), arriving.times)
        current = [self._stored.current_versions(each, rows) for each in (self._part, self._whole)]
        late = rows[(current[0].times > since) | (current[1].times > since)]
        held = [each.take(each.times != NEVER) for each in current]
        if late.shape[0]:
            past = (self._stored.past_versions(each, late) for each in (self._part, self._whole))
            held = [Versions.join([older, newest]) for older, newest in zip(past, held, strict=True)]
        # A change that gives the part itself unsets nothing.
        both = Versions.join(held)
        instants = of_one_instant(both.rows, both.times)
        gives = np.isin(instants[len(held[0]) :], instants[: len(held[0])])
        return held[0], held[1].take(~gives)


# The source of a version, in the order in which `_followed` joins them.
_PART_STORED, _WHOLE_STORED, _WHOLE, _PART = range(4)


def without_unset_parts(batch: RecordBatch) -> RecordBatch:
    """Versions of attributes, a record each, without removals of parts that changes of their wholes imply."""
    changes = batch.is_attributes() & (batch.property_counts() == 1)
    first = np.minimum(batch.property_offsets[:-1], max(batch.triple_keys.shape[0] - 1, 0))
    if not changes.any():
        return batch
    keys, kinds = batch.triple_keys[first], batch.triple_kinds[first]
    numbers = {name: number for number, name in enumerate(batch.keys)}
    instants = of_one_instant(batch.record_identities, batch.record_times)
    gone: Bools = np.zeros(len(batch), np.bool_)
    for part, name in enumerate(batch.keys):
        wholes = [numbers[whole] for whole in wholes_of(name) if whole in numbers]
        removals = changes & (keys == part) & (kinds == Kind.UNSET) if wholes else gone[:0]
        if removals.any():
            changed = instants[changes & np.isin(keys, wholes)]
            given = instants[changes & (keys == part) & (kinds != Kind.UNSET)]
            gone |= removals & np.isin(instants, changed) & ~np.isin(instants, given)
    return batch.take(np.flatnonzero(~gone)) if gone.any() else batch
