"""Checks of a record batch from the wire or the log, before anything of it is taken.

Applying a batch cannot fail half-way, and no question may stumble over what it left: so everything that a column could
not hold, or a reader not decode, is refused here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgpack
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cdp_store.arrays import U32, Bools
from cdp_store.errors import BatchMalformed
from cdp_store.ids import IDENTIFIER_TAGS
from cdp_store.kernels import batch_checks as kernels
from cdp_store.limits import TIME_MAX_MS, TIME_MIN_MS
from cdp_store.values import KIND_MASK, OPERATION_SHIFT, Kind, Operation, float_bits, is_text, unpack_list

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
        _check_text(what, texts, None)


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
    _check_below("triple_kinds", batch.triple_kinds & np.uint8(KIND_MASK), len(Kind))
    _check_operations(batch)
    textual = batch.triple_raws[is_text(batch.triple_kinds)]
    _require(not textual.size or int(textual.min()) >= 0, "triple_raws holds a negative string number")
    _check_below("triple_raws", textual, len(batch.strings))


def _check_operations(batch: RecordBatch) -> None:
    operations, kinds = batch.triple_kinds >> OPERATION_SHIFT, batch.triple_kinds & np.uint8(KIND_MASK)
    _check_below("the operations of triple_kinds", operations, len(Operation))
    of_events = np.repeat(~batch.is_attributes(), batch.property_counts())
    _require(not np.any(of_events & (operations != Operation.SET)), "an event has an operation")
    wrong = (operations == Operation.INCREMENT) & (kinds != Kind.INT) & (kinds != Kind.FLOAT)
    wrong |= (operations > Operation.INCREMENT) & (kinds != Kind.LIST)
    _require(not np.any(wrong), "an operation has a value of another kind than it takes")


def _check_values(batch: RecordBatch) -> None:
    kinds, raws = batch.triple_kinds & np.uint8(KIND_MASK), batch.triple_raws
    _check_times("record_times", batch.record_times)
    _check_times("a time value", raws[kinds == Kind.TIME])
    flags = raws[kinds == Kind.BOOL]
    _require(not np.any((flags != 0) & (flags != 1)), "a boolean is neither 0 nor 1")
    floats = float_bits(np.ascontiguousarray(raws[kinds == Kind.FLOAT]))
    _require(bool(np.isfinite(floats).all()), "a number is not finite")
    of_events = np.repeat(~batch.is_attributes(), batch.property_counts())
    _require(not np.any(of_events & (kinds == Kind.UNSET)), "an event property is unset")
    _check_identities(batch.identities)
    _check_text("identities", batch.identities, None)
    lists = np.zeros(len(batch.strings), np.bool_)
    lists[raws[kinds == Kind.LIST]] = True
    texts = np.zeros(len(batch.strings), np.bool_)
    texts[raws[kinds == Kind.STRING]] = True
    _check_text("strings", batch.strings, texts)
    for number in np.flatnonzero(lists):
        _check_list(batch.strings[int(number)])


def _check_identities(identities: Strings) -> None:
    _require(bool(np.all(identities.offsets[1:] > identities.offsets[:-1])), "an identifier is empty")
    tags = identities.data[identities.offsets[:-1]] if len(identities) else _TAGS
    _require(bool(np.isin(tags, _TAGS).all()), "an identifier is of an unknown kind")


def _check_text(what: str, table: Strings, chosen: Bools | None) -> None:
    """Each chosen string (None = all) must be UTF-8."""
    if chosen is not None and not chosen.all():
        table = table.take(np.flatnonzero(chosen).astype(np.uint32))
    buffers = [None, pa.py_buffer(table.offsets.astype(np.int64)), pa.py_buffer(table.data)]
    try:
        pa.Array.from_buffers(pa.large_string(), len(table), buffers).validate(full=True)
    except pa.ArrowInvalid as error:
        raise BatchMalformed(f"{what} is no UTF-8: {error}") from error


def _check_list(packed: bytes) -> None:
    try:
        items = unpack_list(packed)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise BatchMalformed(f"a list is no msgpack: {error}") from error
    _require(isinstance(items, list), "a list is no msgpack array")


def _check_times(what: str, times: npt.NDArray[np.int64]) -> None:
    inside = not times.size or (int(times.min()) >= TIME_MIN_MS and int(times.max()) <= TIME_MAX_MS)
    _require(inside, f"{what} lies outside of the years 1 to 9999")


def _check_offsets(what: str, offsets: U32, size: int) -> None:
    fits = offsets.shape[0] >= 1 and offsets[0] == 0 and offsets[-1] == size
    _require(bool(fits) and not np.any(offsets[1:] < offsets[:-1]), f"{what} does not partition its {size} elements")


def _check_below(what: str, index: npt.NDArray[Any], bound: int) -> None:
    _require(not index.size or int(index.max()) < bound, f"{what} points beyond its table of {bound}")


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise BatchMalformed(problem)
