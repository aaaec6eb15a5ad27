"""Record batches from Python values, one record at a time: for tests, tools and small senders.

The router's own road from rows to columns is the same class; bulk columns take another (cdp_router.records.columns).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from types import MappingProxyType

import numpy as np

from cdp_store.ids import encode_identifier
from cdp_store.limits import NAMES_PER_BATCH_MAX
from cdp_store.records.records import ATTRIBUTES, RecordBatch, Strings
from cdp_store.values import KIND_MASK, OPERATION_SHIFT, Kind, Operation, Value, pack_list, to_ms


class BatchBuilder:
    """Collects records and gives them as one RecordBatch."""

    def __init__(self) -> None:
        self._identities = dict[bytes, int]()
        self._names = dict[str, int]()
        self._keys = dict[str, int]()
        self._strings = dict[bytes, int]()
        self._record_identities = list[int]()
        self._record_names = list[int]()
        self._record_times = list[int]()
        self._property_ends = [0]
        self._message_ids = list[bytes]()
        self._triple_keys = list[int]()
        self._triple_kinds = list[int]()
        self._triple_raws = list[int | float]()

    def __len__(self) -> int:
        return len(self._record_times)

    def has_room(self, name: str | None, keys: Collection[str]) -> bool:
        """True if the names of a record can still be numbered."""
        if len(self._names) < NAMES_PER_BATCH_MAX and len(self._keys) + len(keys) <= NAMES_PER_BATCH_MAX:
            return True
        names = len(self._names.keys() | ({name} - {None}))
        return names <= NAMES_PER_BATCH_MAX and len(self._keys.keys() | set(keys)) <= NAMES_PER_BATCH_MAX

    def add(
        self,
        kind: str,
        identifier: str,
        name: str | None,
        time_ms: int,
        values: Mapping[str, Value | None],
        message_id: str = "",
        operations: Mapping[str, Operation] = MappingProxyType({}),
    ) -> None:
        """Add an event, or with name None an attribute change; None as a value unsets an attribute;
        with an operation on it, the value is what that is done with.

        The values have passed validation: scalars, times or lists of scalars, integers of 64 bits.
        """
        identity = encode_identifier(kind, identifier)
        self._record_identities.append(self._identities.setdefault(identity, len(self._identities)))
        is_event = name is not None
        number = self._names.setdefault(name, len(self._names)) if name is not None else ATTRIBUTES
        self._record_names.append(number)
        self._record_times.append(time_ms)
        self._message_ids.append(message_id.encode())
        for key, value in values.items():
            if value is not None or not is_event:
                self._add_value(key, value, operations.get(key, Operation.SET))
        self._property_ends.append(len(self._triple_keys))

    def finish(self, batch_id: bytes = b"", received_ms: int = 0) -> RecordBatch:
        """The batch of everything added."""
        kinds = np.array(self._triple_kinds, np.uint8)
        return RecordBatch(
            batch_id,
            received_ms,
            Strings.of(self._identities),
            np.array(self._record_identities, np.uint32),
            np.array(self._record_names, np.uint16),
            np.array(self._record_times, np.int64),
            np.array(self._property_ends, np.uint32),
            Strings.of(self._message_ids),
            np.array(self._triple_keys, np.uint16),
            kinds,
            _raws(kinds, self._triple_raws),
            Strings.of(self._strings),
            tuple(self._names),
            tuple(self._keys),
        )

    def _add_value(self, key: str, value: Value | None, operation: Operation) -> None:
        kind, raw = self._raw(value)
        self._triple_keys.append(self._keys.setdefault(key, len(self._keys)))
        self._triple_kinds.append(operation << OPERATION_SHIFT | kind)
        self._triple_raws.append(raw)

    def _raw(self, value: Value | None) -> tuple[Kind, int | float]:
        match value:
            case str():
                return Kind.STRING, self._string(value.encode())
            case bool():
                return Kind.BOOL, int(value)
            case int():
                return Kind.INT, value
            case float():
                return Kind.FLOAT, value
            case datetime():
                return Kind.TIME, to_ms(value)
            case list():
                return Kind.LIST, self._string(pack_list(value))
        return Kind.UNSET, 0

    def _string(self, text: bytes) -> int:
        return self._strings.setdefault(text, len(self._strings))


def _raws(
    kinds: np.ndarray[tuple[int], np.dtype[np.uint8]], values: list[int | float]
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    raws = np.zeros(len(values), np.int64)
    is_float = kinds & np.uint8(KIND_MASK) == Kind.FLOAT
    floats, others = np.flatnonzero(is_float), np.flatnonzero(~is_float)
    raws[others] = np.array([values[i] for i in others], np.int64)
    raws[floats] = np.array([values[i] for i in floats], np.float64).view(np.int64)
    return raws
