"""Records of a batch that break a rule, with reasons: checked column by column, at any number of records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np

from cdp_router.ingest.schema_rules import Allowed, PropertyCheck, RecordCheck, Rules
from cdp_router.ingest.violation_counts import ANY_NAME, Counts, Mode, Rule
from cdp_store.arrays import I64, U8, Bools
from cdp_store.memory.nested import wholes_of
from cdp_store.records.records import ATTRIBUTES, RecordBatch
from cdp_store.values import Kind, float_bits

_REASONS_TOLD_MAX: Final = 16


class Violations:
    """Rules that each record of a batch breaks, with the mode of the rule; a count for each rule.

    Records that break the same rules share one text, which is built on demand: a batch of some kilobytes may break
    hundreds of rules in thousands of ways.
    """

    def __init__(self, count: int) -> None:
        self.counts: Counts = Counter()
        self._modes: U8 = np.zeros(count, np.uint8)
        # A text is an earlier text plus a reason; number 0 is the empty one. Each reason has texts of its own.
        self._reasons, self._before = [""], [np.zeros(1, np.int64)]
        self._texts, self._said = 1, np.zeros(count, np.int64)

    def of_mode(self, mode: Mode) -> I64:
        """Records that break a rule of a mode, ascending."""
        return np.flatnonzero(self._modes == mode)

    def told(self, records: I64) -> list[str]:
        """Texts for some records: the first reasons, and the number of others."""
        said, before = self._said[records], np.concatenate(self._before).tolist()
        reasons = np.repeat(np.arange(len(self._reasons)), [len(own) for own in self._before]).tolist()
        texts = dict[int, str]()
        for number in np.unique(said).tolist():
            behind, at = list[str](), number
            while at:
                behind.append(self._reasons[reasons[at]])
                at = before[at]
            first = behind[: -_REASONS_TOLD_MAX - 1 : -1]
            more = [f"and {len(behind) - len(first)} more"] if len(behind) > len(first) else []
            texts[number] = "; ".join([*first, *more])
        return [texts[number] for number in said.tolist()]

    def note(self, rule: Rule, mode: Mode, records: I64, reason: str) -> None:
        """Adds distinct records that break a rule; those of mode ALLOW are only counted."""
        if not records.size:
            return
        self.counts[rule, mode] += int(records.size)
        if mode is Mode.ALLOW:
            return
        self._modes[records] = mode
        before, places = np.unique(self._said[records], return_inverse=True)
        self._said[records] = self._texts + places
        self._texts += len(before)
        self._before.append(before)
        self._reasons.append(reason)


def check(batch: RecordBatch, rules: Rules) -> Violations:
    """Violations of the rules in a batch."""
    found = Violations(len(batch))
    if rules.is_empty or not len(batch):
        return found
    columns = _Columns(batch)
    by_name = np.argsort(batch.record_names, kind="stable")
    present, starts = np.unique(batch.record_names[by_name], return_index=True)
    for number, own in zip(present.tolist(), np.split(by_name, starts[1:]), strict=True):
        name = "" if number == ATTRIBUTES else batch.names[number]
        if name in rules.checks:
            records: Bools = np.zeros(len(batch), np.bool_)
            records[own] = True
            _check_records(columns, name, records, rules.checks[name], found)
        elif number != ATTRIBUTES:
            reason = f"events named {name!r} are in no rule"
            found.note((ANY_NAME, "", "unlisted"), rules.unlisted, own, reason)
    return found


class _Columns:
    """A batch with the owner of each value."""

    def __init__(self, batch: RecordBatch) -> None:
        self.batch = batch
        self.owners: I64 = np.repeat(np.arange(len(batch)), batch.property_counts())
        self.number = {key: number for number, key in enumerate(batch.keys)}
        self._kinds = batch.plain_kinds()
        # Triples by key, of each in their order: a pass over all for each of thousands of keys would take seconds.
        self._by_key = np.argsort(batch.triple_keys, kind="stable")
        self._ends = np.searchsorted(batch.triple_keys[self._by_key], np.arange(len(batch.keys) + 1))

    def values_of(self, key: str, records: Bools) -> I64:
        """Places of the values of a property in some records; removals are left out."""
        at = self.triples_of(key, records)
        given: I64 = at[self._kinds[at] != Kind.UNSET]
        return given

    def triples_of(self, key: str, records: Bools) -> I64:
        """Places of the values and removals of a property in some records."""
        number = self.number.get(key)
        if number is None:
            return np.zeros(0, np.int64)
        at = self._by_key[self._ends[number] : self._ends[number + 1]]
        own: I64 = at[records[self.owners[at]]]
        return own


def _check_records(columns: _Columns, name: str, records: Bools, check: RecordCheck, found: Violations) -> None:
    for each in check.properties:
        at = columns.values_of(each.name, records)
        for what, broken, reason in _broken(columns, each, at, records):
            found.note((name, each.name, what), check.mode, np.unique(broken), reason)
    if check.only_these is None:
        return
    wholes = {whole for name in check.only_these for whole in wholes_of(name)}
    for key in columns.number:
        if key not in check.only_these:
            # An object has an unset value of its own in addition to its parts.
            at = columns.values_of(key, records) if key in wholes else columns.triples_of(key, records)
            broken = columns.owners[at]
            found.note((name, ANY_NAME, "unlisted"), check.mode, np.unique(broken), f"{key!r} is in no rule")


def _broken(columns: _Columns, check: PropertyCheck, at: I64, records: Bools) -> Iterator[tuple[str, I64, str]]:
    """(kind of violation, records, reason) of one property, from the places of its values."""
    kinds = columns.batch.plain_kinds()[at]
    if check.required:
        missing = records.copy()
        missing[columns.owners[at]] = False
        yield "required", np.flatnonzero(missing), f"{check.name!r} is required"
    fits: Bools = np.ones(at.shape[0], np.bool_) if check.kinds is None else np.isin(kinds, check.kinds)
    yield "type", columns.owners[at[~fits]], f"{check.name!r} must be of type {check.type_name}"
    if check.allowed is not None:
        others = at[fits & ~_is_allowed(columns.batch, at, check.allowed)]
        yield "allowed", columns.owners[others], f"{check.name!r} must be one of {check.allowed.shown}"


def _is_allowed(batch: RecordBatch, at: I64, allowed: Allowed) -> Bools:
    kinds, raws = batch.plain_kinds()[at], batch.triple_raws[at]
    good: Bools = np.zeros(at.shape[0], np.bool_)
    good |= (kinds == Kind.BOOL) & np.isin(raws, allowed.booleans)
    good |= (kinds == Kind.INT) & np.isin(raws, allowed.integers)
    good |= (kinds == Kind.FLOAT) & np.isin(float_bits(raws), allowed.floats)
    is_text = kinds == Kind.STRING
    distinct = np.unique(raws[is_text])
    listed = [int(number) for number in distinct if batch.strings[int(number)] in allowed.texts]
    good |= is_text & np.isin(raws, np.array(listed, np.int64))
    return good
