"""Rules of the schema: what breaks them, what becomes of it, and that all routers know the same."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from cdp.v1 import ingest_pb2, query_pb2, schema_pb2
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_router.errors import RequestInvalid
from cdp_router.ingest.ingest import Ingest
from cdp_router.ingest.schema_checking import check
from cdp_router.ingest.schema_gate import SchemaGate
from cdp_router.ingest.schema_rules import Rules
from cdp_router.ingest.violation_counts import Counts, Mode
from cdp_store.limits import MIB
from tests.raw_records import Change, Event, Record, user
from tests.router.identity.test_moving import rows
from tests.router.local_cluster import NOW_MS, LocalCluster, Wrap, far_deadline, local_cluster, plain
from tests.shards import batch_of


def rules_of(*rules: dict[str, Any], unlisted: str = "") -> schema_pb2.SchemaRules:
    """Rules as JSON has them."""
    document: dict[str, Any] = {"rules": list(rules)}
    if unlisted:
        document["unlisted"] = f"VIOLATION_MODE_{unlisted}"
    for rule in rules:
        rule["mode"] = f"VIOLATION_MODE_{rule['mode']}"
        for each in rule.get("properties", ()):
            if "type" in each:
                each["type"] = f"VALUE_TYPE_{each['type']}"
    return json_format.ParseDict(document, schema_pb2.SchemaRules())


def charged(mode: str) -> dict[str, Any]:
    """A rule for a purchase."""
    amount = {"name": "amount", "type": "NUMBER", "required": True}
    currency = {"name": "currency", "type": "TEXT", "allowed": [{"text": "EUR"}, {"text": "INR"}]}
    return {"event": "Charged", "mode": mode, "properties": [amount, currency]}


class Schema:
    """A cluster whose batches are checked."""

    def __init__(self, cluster: LocalCluster, threads: ThreadPoolExecutor) -> None:
        self.cluster, self.counts = cluster, Counter[Any]()
        self.gate = SchemaGate(cluster.routing, self._count)
        self.taking = Ingest(cluster.routing, cluster.clock, threads, schema=self.gate)

    def _count(self, counts: Counts) -> None:
        self.counts.update(counts)

    def set(self, *rules: dict[str, Any], unlisted: str = "") -> None:
        """Replace the rules."""
        self.cluster.run(self.gate.set(rules_of(*rules, unlisted=unlisted), far_deadline()))

    def take(self, *packed: list[Any], batch_id: bytes = b"b") -> ingest_pb2.BatchResult:
        """Take records."""
        return self.cluster.run(self.taking.ingest(rows(*packed, batch_id=batch_id), far_deadline()))


@contextmanager
def checked_cluster(folder: Path, wrap: Wrap = plain) -> Iterator[Schema]:
    """A cluster with rules."""
    with local_cluster(folder, wrap) as cluster, ThreadPoolExecutor(1) as threads:
        yield Schema(cluster, threads)


def test_refused_records_are_left_out_with_their_links_and_the_others_are_taken(tmp_path: Path) -> None:
    with checked_cluster(tmp_path) as schema:
        schema.set(charged("REJECT"))
        result = schema.take(
            ["Charged", "ann", "d1", NOW_MS, "m1", {"amount": "12", "currency": "EUR"}],
            ["Charged", "ann", "d2", NOW_MS, "m2", {"amount": 12, "currency": "EUR"}],
            ["Charged", "bob", None, NOW_MS, "m3", {"currency": "USD"}],
            ["Other", "bob", None, NOW_MS, "m4", {"amount": "any"}],
        )
        assert result.accepted == 2
        assert [(error.index, error.code, error.message) for error in result.errors] == [
            (0, "SCHEMA_VIOLATION", "'amount' must be of type number"),
            (2, "SCHEMA_VIOLATION", "'amount' is required; 'currency' must be one of 'EUR', 'INR'"),
        ]
        explained = schema.cluster.run(schema.cluster.asking.people.identifiers_of(_named("ann"), far_deadline()))
        assert {each.value for each in explained} == {"ann", "d2"}, "a refused record links nobody"
        assert schema.counts[("Charged", "amount", "type"), Mode.REJECT] == 1
        assert schema.counts[("Charged", "amount", "required"), Mode.REJECT] == 1
        assert schema.counts[("Charged", "currency", "allowed"), Mode.REJECT] == 1


def _named(value: str) -> Any:
    return query_pb2.Identifier(kind="user_id", value=value)


@pytest.mark.parametrize(("mode", "warned"), [("ALLOW", []), ("WARN", [0])])
def test_what_is_allowed_is_only_counted_and_what_is_warned_of_is_taken(
    tmp_path: Path, mode: str, warned: list[int]
) -> None:
    with checked_cluster(tmp_path) as schema:
        schema.set(charged(mode))
        result = schema.take(
            ["Charged", "ann", None, NOW_MS, "m1", {}], ["Charged", "b", None, NOW_MS, "m2", {"amount": 1}]
        )
        assert (result.accepted, list(result.errors)) == (2, [])
        assert [warning.index for warning in result.warnings] == warned
        assert sum(schema.counts.values()) == 1


def test_rules_are_kept_and_another_router_follows_them(tmp_path: Path) -> None:
    with checked_cluster(tmp_path) as schema:
        schema.set(charged("REJECT"), unlisted="REJECT")
    with checked_cluster(tmp_path) as schema, ThreadPoolExecutor(1) as threads:
        other = Schema(schema.cluster, threads)
        for each in (schema, other):
            assert [error.message for error in each.take(["X", "a", None, NOW_MS, None, {}]).errors] == [
                "events named 'X' are in no rule"
            ]
        schema.set()
        assert len(other.take(["X", "a", None, NOW_MS, None, {}]).errors) == 1, "it has not looked yet"
        other.cluster.run(other.gate.newest(far_deadline()))
        assert not other.take(["X", "a", None, NOW_MS, None, {}]).errors


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ([{"event": "A", "mode": "WARN"}, {"event": "A", "mode": "WARN"}], "another rule for 'A'"),
        ([{"mode": "WARN", "properties": [{"name": "p", "required": True}]}], "none can be required"),
        ([{"event": "A", "mode": "WARN", "properties": [{"name": "p"}, {"name": "p"}]}], "twice"),
        ([{"event": "A", "mode": "WARN", "properties": [{"name": ""}]}], "1 to 120 bytes"),
        ([{"event": "A", "mode": "WARN", "properties": [{"name": "p", "allowed": [{"list": {}}]}]}], "can be listed"),
        ([{"event": "A", "mode": "WARN", "properties": [{"name": "p", "allowed": [{"number": "NaN"}]}]}], "finite"),
        (
            [
                {
                    "event": "A",
                    "mode": "WARN",
                    "properties": [{"name": "p", "allowed": [{"time": "0001-01-01T00:00:00Z"}]}],
                }
            ],
            "can be listed",
        ),
    ],
)
def test_rules_that_make_no_sense_are_refused(rules: list[dict[str, Any]], problem: str) -> None:
    with pytest.raises(RequestInvalid, match=problem):
        Rules.from_message(rules_of(*rules))


def test_numbers_beyond_64_bits_can_be_listed() -> None:
    listed = [{"number": 1e300}, {"number": float(1 << 63)}, {"integer": str((1 << 63) - 1)}]
    rule = {"event": "A", "mode": "WARN", "properties": [{"name": "p", "allowed": listed}]}
    [check] = Rules.from_message(rules_of(rule)).checks.values()
    allowed = check.properties[0].allowed
    assert allowed is not None and allowed.integers.tolist() == [(1 << 63) - 1]
    assert allowed.floats.tolist() == [1e300, float(1 << 63)]


VALUES = st.sampled_from([True, 1, 2, 1.0, 2.5, "a", "b", ["a"], None])
TYPES = {
    "BOOLEAN": lambda value: isinstance(value, bool),
    "INTEGER": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "NUMBER": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "TEXT": lambda value: isinstance(value, str),
    "LIST": lambda value: isinstance(value, list),
}
LISTED: list[dict[str, Any]] = [{"integer": 1}, {"number": 2.5}, {"text": "a"}, {"boolean": True}]


@given(
    st.lists(st.tuples(st.sampled_from(["A", "B", None]), st.dictionaries(st.sampled_from("pqr"), VALUES)), max_size=8),
    st.sampled_from([None, *TYPES]), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_columns_are_checked_as_single_records_would_be(
    said: list[tuple[str | None, dict[str, Any]]], type_name: str | None, required: bool, listed: bool, only_these: bool
) -> None:
    rule: dict[str, Any] = {"name": "p", "required": required}
    if type_name:
        rule["type"] = type_name
    if listed:
        rule["allowed"] = LISTED
    message = rules_of({"event": "A", "mode": "REJECT", "properties": [rule], "only_these": only_these})
    records: list[Record] = [
        Change(user("u"), NOW_MS, values) if name is None else Event(user("u"), name, NOW_MS, values)
        for name, values in said
    ]
    wanted = [
        n for n, (name, values) in enumerate(said) if name == "A" and _breaks(values, rule, type_name, only_these)
    ]
    assert check(batch_of(records), Rules.from_message(message)).of_mode(Mode.REJECT).tolist() == wanted


def _breaks(values: dict[str, Any], rule: dict[str, Any], type_name: str | None, only_these: bool) -> bool:
    given = {key: value for key, value in values.items() if value is not None}
    if only_these and set(given) - {"p"}:
        return True
    if "p" not in given:
        return bool(rule["required"])
    value = given["p"]
    if type_name and not TYPES[type_name](value):
        return True
    if "allowed" not in rule:
        return False
    if isinstance(value, bool):
        return value is not True
    return isinstance(value, list) or value not in (1, 2.5, "a")


GOOD = ["Charged", "ann", None, NOW_MS, "m1", {"amount": 12, "currency": "EUR"}]
BAD = ["Charged", "ann", None, NOW_MS + 1, "m2", {"amount": "12", "currency": "EUR"}]


def test_what_rules_refused_is_taken_when_the_same_batch_comes_again_under_other_rules(tmp_path: Path) -> None:
    with checked_cluster(tmp_path) as schema:
        schema.set(charged("REJECT"))
        first = schema.take(GOOD, BAD)
        assert (first.accepted, first.duplicates, len(first.errors)) == (1, 0, 1)
        again = schema.take(GOOD, BAD)
        assert (again.accepted, again.duplicates, [each.code for each in again.errors]) == (0, 1, ["SCHEMA_VIOLATION"])
        schema.set()
        after = schema.take(GOOD, BAD)
        assert (after.accepted, after.duplicates, len(after.errors)) == (1, 1, 0)
        last = schema.take(GOOD, BAD)
        assert (last.accepted, last.duplicates, len(last.errors)) == (0, 2, 0)


def test_records_without_message_ids_are_not_taken_twice_when_others_of_their_batch_were_refused(
    tmp_path: Path,
) -> None:
    with checked_cluster(tmp_path) as schema:
        schema.set(charged("REJECT"))
        nameless = ["Other", "ann", None, NOW_MS, None, {}]
        assert schema.take(nameless, BAD).accepted == 1
        schema.set()
        assert schema.take(nameless, BAD).accepted == 0


def test_an_object_among_attributes_is_listed_by_its_parts(tmp_path: Path) -> None:
    with checked_cluster(tmp_path) as schema:
        schema.set({"event": "", "mode": "REJECT", "properties": [{"name": "address.city"}], "only_these": True})
        result = schema.take(
            [None, "ann", None, NOW_MS, "m1", {"address": {"city": "X"}}],
            [None, "ann", None, NOW_MS, "m2", {"address": None}],
            [None, "ann", None, NOW_MS, "m3", {"address": {"zip": "1"}}],
            [None, "ann", None, NOW_MS, "m4", {"address": "X"}],
        )
        assert [(error.index, error.message) for error in result.errors] == [
            (2, "'address.zip' is in no rule"),
            (3, "'address' is in no rule"),
        ]


def _stranger(number: int, keys: Iterable[int]) -> Event:
    return Event(user("ann"), "Charged", NOW_MS, properties={f"k{key}": number for key in keys})


def test_records_that_break_very_many_rules_in_very_many_ways_take_little_memory() -> None:
    random, keys, count = Random(1), 80, 3000
    batch = batch_of([_stranger(n, [key for key in range(keys) if random.random() < 0.5]) for n in range(count)])
    rules = Rules.from_message(
        rules_of({"event": "Charged", "mode": "WARN", "properties": [{"name": "a"}], "only_these": True})
    )
    tracemalloc.start()
    try:
        found = check(batch, rules)
        told = found.told(np.arange(count))
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB, "a text for each step of each record took 140 MB"
    finally:
        tracemalloc.stop()
    assert all(each.startswith("'k") and each.endswith(" more") and each.count("; ") == 16 for each in told)
    assert found.counts == {(("Charged", "*", "unlisted"), Mode.WARN): batch.triple_keys.shape[0]}


def test_names_that_stand_in_no_rule_are_counted_as_one() -> None:
    """Senders choose them: metrics by name would grow as long as anybody sends new ones, and may tell of people."""
    events = [Event(user("ann"), f"event {number}", NOW_MS) for number in range(50)]
    found = check(batch_of(events), Rules.from_message(rules_of(unlisted="WARN")))
    assert found.counts == {(("*", "", "unlisted"), Mode.WARN): 50}


def test_each_key_of_a_batch_is_looked_at_where_it_stands() -> None:
    rules = Rules.from_message(
        rules_of({"event": "Charged", "mode": "WARN", "properties": [{"name": "k1"}], "only_these": True})
    )
    batch = batch_of([_stranger(0, [1, 2]), Event(user("ann"), "Other", NOW_MS, properties={"k2": 1}),
                      _stranger(1, [3]), _stranger(2, [1]), _stranger(3, [3, 2])])  # fmt: skip
    found = check(batch, rules)
    assert found.told(found.of_mode(Mode.WARN)) == ["'k2' is in no rule", "'k3' is in no rule",
                                                    "'k2' is in no rule; 'k3' is in no rule"]  # fmt: skip
    assert found.of_mode(Mode.WARN).tolist() == [0, 2, 4]
