"""Every rule of a record, broken on every path on which that can be: one code and one text, whatever the path."""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path as FilePath
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from cdp.v1 import ingest_pb2

import cdp_router
from cdp_router.contract.arrow_streams import VALUE
from cdp_router.contract.values import to_timestamp, to_values
from cdp_router.errors import RecordInvalid
from cdp_router.gateway.bodies import read_json
from cdp_router.gateway.dialects.dialects import SEGMENT
from cdp_router.gateway.dialects.mapping import Envelope, encode_row
from cdp_router.gateway.intake import map_item
from cdp_router.records.columnarise import columnarise
from cdp_store.errors import BatchMalformed
from cdp_store.limits import NAMES_PER_BATCH_MAX, TIME_MAX_MS
from cdp_store.records.builder import BatchBuilder
from cdp_store.records.records import Strings, decode_batch, encode_batch
from cdp_store.records.rules import RULES, Path, Rule
from cdp_store.values import Kind, Operation, to_datetime
from tests.router.encodings import DAY_MS, arrow_batch
from tests.router.local_cluster import NOW_MS

BAD_TEXT = "no utf-8!"  # its last byte becomes one that no text holds, once it is encoded
Told = tuple[str, str]


@dataclass(frozen=True)
class Record:
    """A record as its sender writes it; nothing has checked it."""

    name: Any = "View"
    user_id: Any = "ann"
    time_ms: Any = NOW_MS
    message_id: Any = None
    values: Any = field(default_factory=dict)
    identifiers: Any = field(default_factory=dict)
    operations: Any = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A record that breaks a rule, after `before`; what the text says of it; and the paths that write it otherwise."""

    rule: str
    record: Record = field(default_factory=Record)
    said: dict[str, Any] = field(default_factory=dict)
    before: Sequence[Record] = (Record(),)
    only: Path | None = None  # another case has the other paths
    other: dict[Path, Callable[[], Told]] = field(default_factory=dict)

    @property
    def paths(self) -> Path:
        """The paths by which this record is sent."""
        return RULES[self.rule].paths if self.only is None else self.only


def _spoilt(encoded: bytes) -> bytes:
    return encoded.replace(BAD_TEXT.encode(), BAD_TEXT[:-1].encode() + b"\xff")


def _error(batch: ingest_pb2.Batch, last: int) -> Told:
    """Code and text of the last record; those before it are taken."""
    found = columnarise(batch, NOW_MS)
    assert [each.index for each in found.errors] == [last] and len(found.positions) == last
    return found.errors[0].code, found.errors[0].message


def _row(record: Record) -> list[Any]:
    row = [record.name, record.user_id, None, record.time_ms, record.message_id, record.values, record.identifiers]
    return [*row, record.operations] if record.operations else row if record.identifiers else row[:6]


def _packed(rows: Sequence[bytes]) -> ingest_pb2.Batch:
    return ingest_pb2.Batch(batch_id=b"b", msgpack_rows=b"\xdd" + len(rows).to_bytes(4, "big") + b"".join(rows))


def _by_msgpack(records: Sequence[Record]) -> Told:
    return _by_bytes(_spoilt(msgspec.msgpack.encode(_row(records[-1]))), records[:-1])


def _by_bytes(row: bytes, before: Sequence[Record] = (Record(),)) -> Told:
    return _error(_packed([*(msgspec.msgpack.encode(_row(each)) for each in before), row]), len(before))


def _by_json(records: Sequence[Record]) -> Told:
    """Values of a JSON body in rows, as the gateway sends them on."""
    packed = list[bytes]()
    for each in records:
        row = read_json(_spoilt(json.dumps(_row(each)).encode()))
        try:
            packed.append(encode_row((*row, {}, {})[:8] if len(row) == 6 else (*row, {})[:8]))
        except RecordInvalid as error:
            return error.code, error.message
    return _error(_packed(packed), len(records) - 1)


def _message(record: Record) -> ingest_pb2.Record:
    message = ingest_pb2.Record(user_id=record.user_id, message_id=record.message_id, identifiers=record.identifiers)
    if record.time_ms is not None:
        message.time.CopyFrom(to_timestamp(record.time_ms))
    if record.name is None:
        changed = {name: to_values(values) for name, values in record.operations.items()}
        message.attributes.CopyFrom(ingest_pb2.AttributesRecord(attributes=to_values(record.values), **changed))
    else:
        message.event.CopyFrom(ingest_pb2.EventRecord(name=record.name, properties=to_values(record.values)))
    return message


def _by_protobuf(records: Sequence[Record]) -> Told:
    return _by_messages([_message(each) for each in records])


def _by_messages(messages: Sequence[ingest_pb2.Record]) -> Told:
    rows = ingest_pb2.RecordRows(records=messages)
    return _error(ingest_pb2.Batch(batch_id=b"b", rows=rows), len(messages) - 1)


def _by_columns(records: Sequence[Record]) -> Told:
    names = list(dict.fromkeys(name for each in records for name in each.values))
    return _by_table(records, {name: pa.array([each.values.get(name) for each in records]) for name in names})


def _by_table(records: Sequence[Record], columns: dict[str, pa.Array]) -> Told:
    own = {
        "event": pa.array([each.name for each in records], pa.string()),
        "user_id": pa.array([each.user_id for each in records], pa.string()),
        "time": pa.array([each.time_ms for each in records], pa.timestamp("ms", "UTC")),
        "message_id": pa.array([each.message_id for each in records], pa.string()),
    }
    batch = arrow_batch(pa.table(own | columns))
    batch.arrow_columns = _spoilt(batch.arrow_columns)
    return _error(batch, len(records) - 1)


def _column(value: Any, kind: pa.DataType) -> Callable[[], Told]:
    """The property p of a column, null in the record before."""
    return lambda: _by_table([Record(), Record()], {"p": pa.array([None, value], kind)})


def _named(*values: dict[str, Any]) -> Callable[[], Told]:
    """A column of named values."""
    return lambda: _by_table([Record(), Record()], {"values": pa.array([None, [*values]], pa.list_(VALUE))})


def _by_shard(records: Sequence[Record], **changed: Any) -> Told:
    builder = BatchBuilder()
    for each in records:
        values = dict(each.values)
        operations = {name: Operation[kind.upper()] for kind, of in each.operations.items() for name in of}
        for of in each.operations.values():
            values |= of
        builder.add("user_id", each.user_id, each.name, each.time_ms, values, each.message_id or "", operations)
    with pytest.raises(BatchMalformed) as caught:
        decode_batch(_spoilt(encode_batch(replace(builder.finish(b"b", NOW_MS), **changed))))
    return caught.value.code, caught.value.reason


def _identities(encoded: bytes) -> dict[Path, Callable[[], Told]]:
    return {Path.SHARD: lambda: _by_shard([Record()], identities=Strings.of([encoded]))}


def _value_of_shard(kind: Kind, raw: int) -> dict[Path, Callable[[], Told]]:
    kinds, raws = np.array([kind], np.uint8), np.array([raw], np.int64)
    return {Path.SHARD: lambda: _by_shard([Record(values={"p": 1})], triple_kinds=kinds, triple_raws=raws)}


def _protobuf_time(seconds: int = 0, nanos: int = 0, *, is_value: bool = False) -> dict[Path, Callable[[], Told]]:
    def told() -> Told:
        message = _message(Record(values={"p": datetime(2026, 1, 1, tzinfo=UTC)}))
        stamp = message.event.properties["p"].time if is_value else message.time
        stamp.seconds, stamp.nanos = seconds, nanos
        return _by_messages([_message(Record()), message])

    return {Path.PROTOBUF: told}


def _mapped(item: Any) -> Told:
    with pytest.raises(RecordInvalid) as caught:
        map_item(SEGMENT, item, Envelope("web", NOW_MS))
    return caught.value.code, caught.value.message


def _problem(packed: bytes) -> str:
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.msgpack.decode(packed)
    return str(caught.value)


def _values(value: Any) -> Record:
    return Record(values={"p": value})


def _changes(values: dict[str, Any] | None = None, **operations: Any) -> Record:
    return Record(name=None, values=values or {}, operations=operations)


_MANY = 250_000
_BIG = {name: "x" * _MANY for name in "abcde"}
_LONG_NAMES = [{f"{number}_{at}": 1 for at in range(255)} for number in range(NAMES_PER_BATCH_MAX // 255)]
_NO_TIMESTAMP = b"\xd7\xff" + b"\xff" * 8
_UNHASHABLE = b"\x96\xa1\xff" + msgspec.msgpack.encode("ann") + b"\xc0\x00\xc0\x81\x90\x01"
CASES = [
    Case("EVENT_NAME.length", Record("n" * 121), {"what": "event name", "start": "n" * 40}),
    Case("EVENT_NAME.kind", Record(5), {"what": "event name", "type": "int"}),
    Case("EVENT_NAME.unicode", Record(BAD_TEXT), {"what": "event name"}),
    Case("EVENT_NAME.given", Record(""), {"what": "event name"}),
    Case("MESSAGE_ID.length", Record(message_id="m" * 129), {"what": "message_id", "start": "m" * 40}),
    Case("MESSAGE_ID.kind", Record(message_id=5), {"what": "message_id", "type": "int"}),
    Case("MESSAGE_ID.unicode", Record(message_id=BAD_TEXT), {"what": "message_id"}),
    Case(
        "PROPERTY_NAME.length", Record(values={"p" * 121: 1}), {"what": "property name", "start": "p" * 40},
        other={Path.COLUMNS: _named({"name": "p" * 121, "integer": 1})},
    ),
    Case("PROPERTY_NAME.kind", Record(values={1: 1}), {"what": "property name", "type": "int"}),
    Case("PROPERTY_NAME.unicode", Record(values={BAD_TEXT: 1}), {"what": "property name"}),
    Case(
        "PROPERTY_NAME.given", Record(values={"": 1}), {"what": "property name"},
        other={Path.COLUMNS: _named({"name": "", "integer": 1})},
    ),
    Case("IDENTIFIER.length", Record(user_id="u" * 513), {"what": "user_id", "start": "u" * 40}),
    Case("IDENTIFIER.kind", Record(user_id=7), {"what": "user_id", "type": "int"}),
    Case("IDENTIFIER.unicode", Record(user_id=BAD_TEXT), {"what": "user_id"}),
    Case("IDENTIFIER.given", said={"what": "identifier"}, other=_identities(b"")),
    Case("IDENTIFIER_MAP", Record(identifiers=5)),
    Case("IDENTIFIER_KIND", Record(identifiers={"Z": "1"}), {"kind": "Z"}, other=_identities(b"Zann")),
    Case("IDENTIFIER_BLOCKED", Record(user_id="null")),
    Case("IDENTIFIER_MISSING", Record(user_id=None)),
    Case("TIME_GIVEN", Record(time_ms=None)),
    Case("TIME_YEARS", Record(time_ms=TIME_MAX_MS + 1), {"what": "time"}),
    Case(
        "TIME_YEARS", said={"what": "'p'"}, only=Path.PROTOBUF | Path.COLUMNS | Path.SHARD,
        other=_protobuf_time(1 << 40, is_value=True) | _value_of_shard(Kind.TIME, TIME_MAX_MS + 1)
        | {Path.COLUMNS: _column(TIME_MAX_MS + 1, pa.timestamp("ms"))},
    ),
    Case("TIME_NANOSECONDS", said={"what": "time", "nanos": -1}, other=_protobuf_time(nanos=-1)),
    Case("TIME_NANOSECONDS", said={"what": "'p'", "nanos": -1}, other=_protobuf_time(nanos=-1, is_value=True)),
    Case(
        "TIME_AHEAD", Record(time_ms=NOW_MS + DAY_MS + 1),
        {"when": to_datetime(NOW_MS + DAY_MS + 1).isoformat()},
    ),
    Case("PROPERTY_MAP", Record(values=[]), {"what": "properties"}),
    Case(
        "PROPERTY_TWICE", Record(values={"a.b": 1, "a": {"b": 2}}), {"name": "a.b"},
        other={Path.COLUMNS: _named({"name": "a.b", "integer": 1}, {"name": "a.b", "text": "2"})},
    ),
    Case("PROPERTY_COUNT", Record(values={f"p{number}": 1 for number in range(257)}), {"count": 257}),
    Case("RECORD_SIZE", Record(values=_BIG), {"size": len(_BIG) * (_MANY + 1)}),
    Case(
        "NESTING", _values([[[[1]]]]), {"name": "p"}, other={Path.COLUMNS: _named({"name": "p", "list": "[[[[1]]]]"})}
    ),
    Case("NESTING", _values({"a": {"b": {"c": 1}}}), {"name": "p.a.b"}, only=Path.MSGPACK | Path.PROTOBUF),
    Case("LIST_LENGTH", _values([1] * 101), {"name": "p", "count": 101}),
    Case("STRING_LENGTH", _values("s" * RULES["STRING_LENGTH"].limit + "s"), {"name": "p"}),
    Case("STRING_UNICODE", _values(BAD_TEXT), {"name": "p"}),
    Case(
        "INTEGER_BITS", _values(1 << 63), {"name": "p", "value": 1 << 63},
        other={Path.COLUMNS: _column(Decimal(1 << 63), pa.decimal128(38, 0))},
    ),
    Case("INTEGER_BITS", _values(1 << 70), {"name": "p", "value": 1 << 70}, only=Path.JSON),
    Case(
        "NUMBER_EXACT", said={"name": "p"},
        other={Path.COLUMNS: _column(Decimal("0.123456789012345678"), pa.decimal128(38, 18))},
    ),
    Case("NUMBER_FINITE", _values(float("-inf")), {"name": "p", "value": "-inf"}),
    Case("LIST_JSON", said={"name": "p"}, other={Path.COLUMNS: _named({"name": "p", "list": "{}"})}),
    Case("VALUE_TYPE", _values(b"b"), {"name": "p", "type": "bytes"}),
    Case("VALUE_BOOLEAN", said={"name": "p"}, other=_value_of_shard(Kind.BOOL, 2)),
    Case("VALUE_UNSET", said={"name": "p"}, other=_value_of_shard(Kind.UNSET, 0)),
    Case("OPERATION_MAP", Record(operations=[1]), only=Path.MSGPACK),
    Case("OPERATION_MAP", Record(operations={"increment": {"n": 1}}), only=Path.MSGPACK | Path.SHARD),
    Case(
        "OPERATION_NAME", _changes(double={}), {"name": "double", "known": "set_once, increment, append, remove"}
    ),
    Case("OPERATION_TWICE", _changes(increment={"n": 1}, append={"n": [1]}), {"name": "n"}),
    Case("OPERATION_AND_SET", _changes({"n": 1}, increment={"n": 1}), {"name": "n"}),
    Case("OPERATION_NUMBER", _changes(increment={"n": "1"}), {"name": "n"}),
    Case("OPERATION_LIST", _changes(append={"n": 1}), {"name": "n", "operation": "append"}),
    Case("OPERATION_LIST", _changes(remove={"n": 1}), {"name": "n", "operation": "remove"}),
    Case("OPERATION_VALUE", _changes(set_once={"n": None}), {"name": "n"}),
    Case("BATCH_NAMES", _values(1), before=[Record(values=values) for values in _LONG_NAMES]),
    Case("BODY", other={Path.PROTOBUF: lambda: _by_messages([_message(Record()), ingest_pb2.Record(user_id="a")])}),
    Case("ROW_OBJECT", said={"type": "int"}, other={Path.JSON: lambda: _mapped(5)}),
    Case("ROW_FIELDS", other={Path.MSGPACK: lambda: _by_bytes(b"\x91\x01")}),
    Case("ROW_DEPTH", other={Path.MSGPACK: lambda: _by_bytes(b"\x91" * 100_000 + b"\x90")}),
    Case(
        "ROW_DECODED", said={"problem": _problem(_NO_TIMESTAMP)},
        other={Path.MSGPACK: lambda: _by_bytes(_NO_TIMESTAMP)},
    ),
    Case("ROW_UNICODE", other={Path.MSGPACK: lambda: _by_bytes(_UNHASHABLE)}),
    Case(
        "ROW_BYTES", said={"at": 5 + len(msgspec.msgpack.encode(_row(Record())))},
        other={Path.MSGPACK: lambda: _by_bytes(b"\xc1")},
    ),
]  # fmt: skip
_SENDERS: dict[Path, Callable[[Sequence[Record]], Told]] = {
    Path.JSON: _by_json,
    Path.MSGPACK: _by_msgpack,
    Path.PROTOBUF: _by_protobuf,
    Path.COLUMNS: _by_columns,
    Path.SHARD: _by_shard,
}
_EACH = [(case, path) for case in CASES for path in case.paths]


@pytest.mark.parametrize(("case", "path"), _EACH, ids=[f"{case.rule}-{path.name}" for case, path in _EACH])
def test_a_rule_has_one_code_and_one_text_on_every_path(case: Case, path: Path) -> None:
    rule = RULES[case.rule]
    told = case.other[path]() if path in case.other else _SENDERS[path]([*case.before, case.record])
    assert told == (rule.code, rule.said(**case.said))


def test_every_rule_is_broken_on_every_path_of_it() -> None:
    broken = defaultdict[str, Path](lambda: Path(0))
    for case in CASES:
        broken[case.rule] |= case.paths
    assert broken == {name: rule.paths for name, rule in RULES.items()}
    assert all(rule.paths for rule in RULES.values())


def test_no_text_of_a_rule_stands_anywhere_else() -> None:
    """Errors of records are made of rules; the texts of two rules of one code differ."""
    texts = [(rule.code, rule.text, rule.limit) for rule in RULES.values()]
    assert len(set(texts)) == len(texts)
    for path in (FilePath(cdp_router.__file__).parent / "records").glob("*.py"):
        calls = [each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.Call)]
        assert not [
            each.lineno for each in calls if isinstance(each.func, ast.Name) and each.func.id == "RecordInvalid"
        ]


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.limit])
def test_a_text_names_the_limit(name: str) -> None:
    rule: Rule = RULES[name]
    assert "{limit}" in rule.text
