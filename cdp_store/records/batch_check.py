"""Checks of a record batch from the wire or the log, before anything of it is taken.

Applying a batch cannot fail half-way, and no question may stumble over what it left: so everything that a column could
not hold, or a reader not decode, is refused here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from cdp_store.arrays import I64, U32, Bools
from cdp_store.errors import BatchMalformed
from cdp_store.ids import IDENTIFIER_TAGS, decode_identifier
from cdp_store.kernels import batch_checks as kernels
from cdp_store.kernels.utf8 import which_not_utf8
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.records import rules
from cdp_store.records.rules import Rule
from cdp_store.values import OPERATION_SHIFT, Kind, Operation, decoding, float_bits, is_text, unpack

if TYPE_CHECKING:
    from cdp_store.records.records import RecordBatch, Strings

_TAGS: Final = np.frombuffer(b"".join(IDENTIFIER_TAGS), np.uint8)


def check_batch(batch: RecordBatch) -> None:
    """Raise BatchMalformed unless all parts of the batch fit together and every value can be held."""
    _check_scalars(batch)
    _check_optional(batch, "envelopes")
    _check_optional(batch, "givers")
    lists = lists_of_fitting(batch)
    if lists is None:
        say_what_does_not_fit(batch)
        raise BatchMalformed("its arrays do not fit together")
    for number in np.flatnonzero(lists).tolist():
        _check_list(batch.strings[number])


def lists_of_fitting(batch: RecordBatch) -> Bools | None:
    """None when something does not fit; else which strings are lists that are left to be decoded to tell."""
    texts, names, keys = batch.strings, len(batch.names), len(batch.keys)
    tables = (batch.identities, batch.message_ids, texts)
    if not all(kernels.offsets_fit(table.offsets, table.data.shape[0]) for table in tables):
        return None
    is_string: Bools = np.zeros(len(texts), np.bool_)
    is_list: Bools = np.zeros(len(texts), np.bool_)
    ends, triples = batch.property_offsets, (batch.triple_keys, batch.triple_kinds, batch.triple_raws)
    records = (batch.record_identities, batch.record_names, batch.record_times)
    fits = (
        len(batch.message_ids) == len(batch)
        and kernels.records_fit(*records, ends, triples[0].shape[0], len(batch.identities), names)
        and kernels.triples_fit(batch.record_names, ends, *triples, keys, is_string, is_list)
        and kernels.identities_fit(batch.identities.offsets, batch.identities.data, _TAGS)
        and kernels.strings_fit(texts.offsets, texts.data, is_string, is_list)
    )
    return is_list if fits else None


def say_what_does_not_fit(batch: RecordBatch) -> None:
    """Raise BatchMalformed with the reason why a batch was found not to fit."""
    _check_lengths(batch)
    _check_indexes(batch)
    _check_values(batch)


def _check_scalars(batch: RecordBatch) -> None:
    _require(type(batch.batch_id) is bytes, "batch_id is no bytes")
    _require(type(batch.received_ms) is int, "received_ms is no integer")
    for what, names in (("names", batch.names), ("keys", batch.keys)):
        _require(all(type(name) is str for name in names), f"{what} are no strings")
        _require(len(set(names)) == len(names), f"{what} holds a name twice")


def _check_optional(batch: RecordBatch, what: str) -> None:
    numbers, texts = getattr(batch, f"record_{what}"), getattr(batch, what)
    if numbers.shape[0] or len(texts):
        _require(numbers.shape[0] == len(batch), f"record_{what} does not cover the records")
        _check_offsets(what, texts.offsets, texts.data.shape[0])
        _check_below(f"record_{what}", numbers, len(texts))
        _require(not _not_utf8(texts).any(), f"{what} is no UTF-8")


def _check_lengths(batch: RecordBatch) -> None:
    count, triples = len(batch), batch.triple_keys.shape[0]
    for what in ("identities", "message_ids", "strings"):
        table: Strings = getattr(batch, what)
        _check_offsets(what, table.offsets, table.data.shape[0])
    _check_offsets("property_offsets", batch.property_offsets, triples)
    records = (batch.record_identities.shape[0], batch.record_names.shape[0], len(batch.message_ids))
    _require(records == (count,) * 3, "record columns differ in length")
    _require(batch.property_offsets.shape[0] == count + 1, "property_offsets does not cover the records")
    properties = (batch.triple_kinds.shape[0], batch.triple_raws.shape[0])
    _require(properties == (triples,) * 2, "property columns differ in length")


def _check_indexes(batch: RecordBatch) -> None:
    _check_below("record_identities", batch.record_identities, len(batch.identities))
    _check_below("record_names", batch.record_names[~batch.is_attributes()], len(batch.names))
    _check_below("triple_keys", batch.triple_keys, len(batch.keys))
    _check_below("triple_kinds", batch.plain_kinds(), len(Kind))
    _check_operations(batch)
    textual = batch.triple_raws[is_text(batch.triple_kinds)]
    _require(not textual.size or int(textual.min()) >= 0, "triple_raws holds a negative string number")
    _check_below("triple_raws", textual, len(batch.strings))


def _check_operations(batch: RecordBatch) -> None:
    operations, kinds, of_events = batch.triple_kinds >> OPERATION_SHIFT, batch.plain_kinds(), _of_events(batch)
    _check_below("the operations of triple_kinds", operations, len(Operation))
    _check_kept(batch, of_events & (operations != Operation.SET), rules.OPERATION_MAP)
    no_number = (operations == Operation.INCREMENT) & (kinds != Kind.INT) & (kinds != Kind.FLOAT)
    _check_kept(batch, no_number, rules.OPERATION_NUMBER)
    for operation in (Operation.APPEND, Operation.REMOVE):
        no_list = (operations == operation) & (kinds != Kind.LIST)
        _check_kept(batch, no_list, rules.OPERATION_LIST, operation=operation.name.lower())


def _check_values(batch: RecordBatch) -> None:
    kinds, raws = batch.plain_kinds(), batch.triple_raws
    if np.any(_beyond(batch.record_times)):
        raise _broken(rules.TIME_YEARS, what="time")
    _check_kept(batch, (kinds == Kind.TIME) & _beyond(raws), rules.TIME_YEARS)
    _check_kept(batch, (kinds == Kind.BOOL) & (raws & ~np.int64(1) != 0), rules.VALUE_BOOLEAN)
    _check_kept(batch, (kinds == Kind.FLOAT) & ~np.isfinite(float_bits(raws)), rules.NUMBER_FINITE)
    _check_kept(batch, _of_events(batch) & (kinds == Kind.UNSET), rules.VALUE_UNSET)
    _check_identities(batch.identities)
    texts = np.flatnonzero(kinds == Kind.STRING)
    unreadable: Bools = np.zeros(kinds.shape[0], np.bool_)
    unreadable[texts] = _not_utf8(batch.strings)[raws[texts]]
    _check_kept(batch, unreadable, rules.STRING_UNICODE)
    for number in np.unique(raws[kinds == Kind.LIST]):
        _check_list(batch.strings[int(number)])


def _check_identities(identities: Strings) -> None:
    unreadable = _not_utf8(identities)
    for number in range(len(identities)):
        tag = identities[number][:1]
        if not tag:
            raise _broken(rules.IDENTIFIER.given, what="identifier")
        if tag not in IDENTIFIER_TAGS:
            raise _broken(rules.IDENTIFIER_KIND, kind=tag.decode(errors="replace"))
        if unreadable[number]:
            raise _broken(rules.IDENTIFIER.unicode, what=decode_identifier(tag)[0] or "identifier")


def _of_events(batch: RecordBatch) -> Bools:
    """Mask of the values that are of events: bool[triples]."""
    return np.repeat(~batch.is_attributes(), batch.property_counts())


def _check_kept(batch: RecordBatch, wrong: Bools, rule: Rule, **found: object) -> None:
    """Raise BatchMalformed for the first value that breaks a rule."""
    for at in np.flatnonzero(wrong)[:1]:
        name, value = batch.keys[int(batch.triple_keys[at])], float(float_bits(batch.triple_raws)[at])
        raise _broken(rule, name=name, what=repr(name), value=value, **found)


def _broken(rule: Rule | None, **found: object) -> BatchMalformed:
    assert rule is not None
    return BatchMalformed(rule.said(**found), rule.code)


def _not_utf8(table: Strings) -> Bools:
    """Mask of the strings that are not UTF-8: bool[n]."""
    # Kernels are compiled for writable arrays, and a batch's are not.
    return which_not_utf8(table.offsets.astype(np.int64), table.data.copy())


def _beyond(times: I64) -> Bools:
    """Mask of the times outside of the years that are kept: bool[n]."""
    return (times < TIME_MIN_MS) | (times > TIME_MAX_MS)


def _check_list(packed: bytes) -> None:
    with decoding("a list is no msgpack"):
        _require(isinstance(unpack(packed), list), "a list is no msgpack array")


def _check_offsets(what: str, offsets: U32, size: int) -> None:
    fits = offsets.shape[0] >= 1 and offsets[0] == 0 and offsets[-1] == size
    _require(bool(fits) and not np.any(offsets[1:] < offsets[:-1]), f"{what} does not partition its {size} elements")


def _check_below(what: str, index: npt.NDArray[Any], bound: int) -> None:
    _require(not index.size or int(index.max()) < bound, f"{what} points beyond its table of {bound}")


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise BatchMalformed(problem)
