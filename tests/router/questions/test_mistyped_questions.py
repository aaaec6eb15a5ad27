"""Comparisons that can never hold: told in words, refused with `strict`, and an exit code of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from cdp.v1 import query_pb2
from typer.testing import CliRunner

from cdp_query import tree
from cdp_query.bind.names import names_of
from cdp_query.language import parse
from cdp_query.language.mistyped import kinds_held, never_matching
from cdp_router.cli.app import app
from cdp_router.cli.ask import query_command as command
from cdp_router.client import Members
from cdp_router.errors import RequestInvalid
from cdp_router.questions.member_stream import MemberStream
from cdp_router.shard.member_pages import FoundMembers, Page
from cdp_store.ids import encode_identifier
from tests.raw_records import Change, Event, Record, Value, user
from tests.router.encodings import Sent, protobuf_batch
from tests.router.local_cluster import NOW_MS, local_cluster
from tests.shards import Shards

RECORDS: list[Record] = [
    Change(user("a"), 1, {"Income": "5", "age": 30, "vip": True, "born": datetime(1990, 1, 1, tzinfo=UTC), "mixed": 1}),
    Change(user("b"), 1, {"signup": "2026-01-01", "tags": ["x"], "us": "12/31/2025", "mixed": "1", "moved": 3}),
    Change(user("b"), 2, {"moved": None}),
    Event(user("a"), "Buy", 3, {"amount": "12", "n": 3, "both": 1}),
    Event(user("a"), "View", 3, {"amount": 12, "both": "x"}),
]


def _told(text: str) -> list[str]:
    shards, question = Shards(), parse(text)
    shards.apply(RECORDS)
    return never_matching(question, kinds_held(shards.capture()[0], names_of(question)), tree.Context(10))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Income = 5", 'Income holds texts; compared with a number it never matches. Did you mean Income = "5"?'),
        ("Income != 5", 'Income holds texts; compared with a number it always differs. Did you mean Income != "5"?'),
        ("Income > 3", "Income holds texts; compared with a number it never matches"),
        (
            "Income in [5, 6]",
            'Income holds texts; compared with a number it never matches. Did you mean Income in ["5", "6"]?',
        ),
        ('age = "30"', "age holds numbers; compared with a text it never matches. Did you mean age = 30?"),
        ('age contains "3"', "age holds numbers; compared with a text it never matches"),
        ('vip = "true"', "vip holds true and false; compared with a text it never matches. Did you mean vip = true?"),
        ("age > 2026-01-01", "age holds numbers; compared with a time it never matches"),
        ("age within last 7d", "age holds numbers; compared with a time it never matches"),
        (
            'born = "1990-01-01"',
            "born holds times; compared with a text it never matches. Did you mean born = 1990-01-01?",
        ),
        (
            "us within last 7d",
            "us holds texts; compared with a time it never matches: none is an ISO date or time such as 2026-01-31 or"
            " 2026-01-31T09:30:00Z",
        ),
        (
            'us < 2026-01-01 or us = "12/31/2025"',
            "us holds texts; compared with a time it never matches: none is an ISO"
            " date or time such as 2026-01-31 or 2026-01-31T09:30:00Z",
        ),
        ('Income has "5"', "Income holds texts; compared with a list it never matches"),
        ('did("Buy", amount > 3)', "amount holds texts; compared with a number it never matches"),
        ('sum("Buy".amount) > 3', "amount holds texts, and only numbers can be calculated with"),
        ("was(Income = 5)", 'Income holds texts; compared with a number it never matches. Did you mean Income = "5"?'),
        (
            'last("Buy".amount) = 12',
            'amount holds texts; compared with a number it never matches. Did you mean amount = "12"?',
        ),
        ('trend("Buy", unit: day) ', None),
    ],
)
def test_a_comparison_that_never_holds_is_told_with_what_was_meant(text: str, expected: str | None) -> None:
    assert _told(text.strip()) == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    "text",
    [
        'Income = "5"', "age = 30.0", "signup > 2026-01-01", "signup within last 7d", 'tags = "x"', "mixed = 1",
        'mixed = "1"', "exists(Income)", "missing(Income)", "unknown = 5", 'did("View", amount > 3)',
        'did(["Buy", "View"], both = 1)', 'distinct("Buy".amount) > 0', "born older than 1y", "moved = 3",
        'sum("Buy".n) > 3', 'any(tags, x = 1)', "Income = 5 or Income = \"5\"",
    ],
)  # fmt: skip
def test_what_may_hold_is_not_told(text: str) -> None:
    told = _told(text)
    assert told == [] or ("or" in text and len(told) == 1 and "Income" in told[0])


_VALUES: list[Value] = [5, 2.5, "5", "x", "2026-01-01", True, datetime(2026, 1, 1, tzinfo=UTC), ["x"], [{"sku": 1}]]
_CONDITIONS = [
    "v = 5", "v != 5", "v > 3", "v in [5, true]", "v not in [5, 6]", "v between 1 and 9", 'v = "x"', 'v != "x" ci',
    'v contains "x"', 'v not contains "x"', 'v not matches "x"', "v = true", "v != false", "v >= 2026-01-01",
    "v != 2026-01-01", "v within last 7d", "v older than 1y", "anniversary(v, 0d..7d)", 'version(v) = "5"',
    'version(v) != "5"', 'v has "x"', 'v has_any ["x", 5]', 'v has_all ["x"]', 'v has_none ["x"]', "size(v) = 1",
    "size(v) != 1", "any(v, sku = 1)", "all(v, sku = 1)", "none(v, sku = 1)",
]  # fmt: skip


@pytest.mark.parametrize("form", ["{}", "was({})", "value_at({}, 1970-01-02)", 'did("Buy", {})', 'nth("Buy", 1, {})'])
@pytest.mark.parametrize("value", _VALUES, ids=repr)
def test_what_a_warning_says_is_what_holds(form: str, value: Value) -> None:
    shards = Shards()
    shards.apply([Change(user("a"), 1, {"v": value}), Event(user("a"), "Buy", 2, {"v": value})])
    for condition in _CONDITIONS:
        question, context = parse(form.format(condition)), tree.Context(10**11)
        assert not isinstance(question, tree.Funnel | tree.Breakdown | tree.Report)
        told = never_matching(question, kinds_held(shards.capture()[0], names_of(question)), context)
        holds = bool(shards.members(question, context))
        assert not told or holds == ("always differs" in told[0]), (condition, told)


def test_warnings_travel_with_the_answer_and_strict_makes_them_errors(tmp_path: Path) -> None:
    sent = [Sent(None, f"u{n}", NOW_MS - 1000, {"Income": "5", "mixed": n if n % 2 else "1"}) for n in range(40)]
    with local_cluster(tmp_path) as cluster:
        cluster.ingest(protobuf_batch(sent))
        found = cluster.query("Income = 5")
        assert (found.count, list(found.flags)) == (0, ["TYPE_MISMATCH"])
        assert list(found.warnings) == [
            'Income holds texts; compared with a number it never matches. Did you mean Income = "5"?'
        ]
        with pytest.raises(RequestInvalid, match="Income holds texts"):
            cluster.query("Income = 5", strict=True)
        assert "none is an ISO date" in cluster.query("Income within last 7d").warnings[0]
        assert "none is an ISO date" in cluster.query('did("X", since: Income) or Income < 2026-01-01').warnings[-1]
        assert not cluster.query("mixed = 1").warnings  # some partition holds a number
        assert not cluster.query('Income = "5"').warnings


@pytest.mark.parametrize(
    "text",
    [
        "Income = 5", "Income within last 7d", "Incom = 5", 'did("Buy")', "mixed = 1", 'Income = "5"', "not everyone",
        'Income = 5 or did("Buy", amount > 1) or Income = "5"',
    ],
)  # fmt: skip
def test_a_list_of_members_comes_with_the_warnings_of_its_question(text: str, tmp_path: Path) -> None:
    sent = [Sent(None, f"u{n}", NOW_MS - 1000, {"Income": "5", "mixed": n if n % 2 else "1"}) for n in range(40)]
    with local_cluster(tmp_path) as cluster:
        cluster.ingest(protobuf_batch(sent))
        asked = cluster.query(text)
        listed = Members.from_responses(cluster.member_responses(text))
        assert (list(listed.warnings), len(listed.ids())) == (list(asked.warnings), asked.count)
        if asked.warnings:
            with pytest.raises(RequestInvalid):
                cluster.query(text, strict=True)
            with pytest.raises(RequestInvalid):
                cluster.member_responses(text, strict=True)


def test_no_name_counts_as_unknown_where_a_shard_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of an earlier version list members without the names that they know."""
    told = FoundMembers.messages

    def untold(found: FoundMembers) -> Iterator[Page]:
        for message, arrow in told(found):
            message.ClearField("known")
            yield message, arrow

    with local_cluster(tmp_path) as cluster:
        cluster.ingest(protobuf_batch([Sent(None, "u1", NOW_MS - 1000, {"Income": "5"})]))
        assert Members.from_responses(cluster.member_responses("missing(Incom)")).warnings
        monkeypatch.setattr(FoundMembers, "messages", untold)
        assert not Members.from_responses(cluster.member_responses("missing(Incom)")).warnings


class _Answering:
    """A client of which both forms of a question have the same answer."""

    def __init__(self, count: int, warnings: list[str], flags: list[str]) -> None:
        self._count, self._warnings, self._flags = count, warnings, flags

    def query(self, request: query_pb2.QueryRequest) -> query_pb2.QueryResponse:
        return query_pb2.QueryResponse(
            population=9, count=self._count, warnings=self._warnings, flags=self._flags, withheld_below=10
        )

    def members(self, request: query_pb2.MembersRequest) -> Iterator[query_pb2.MembersResponse]:
        sink, ids = MemberStream(), [encode_identifier("user_id", f"u{number}") for number in range(self._count)]
        yield query_pb2.MembersResponse(arrow=b"".join(sink.drain()))
        if ids:
            batch = pa.record_batch([pa.array(ids, pa.large_binary())], names=["identifier"])
            parts = pa.BufferOutputStream()
            with pa.ipc.new_stream(parts, batch.schema) as writer:
                writer.write_batch(batch)
            sink.write(parts.getvalue().to_pybytes())
        yield query_pb2.MembersResponse(arrow=sink.finish())
        yield query_pb2.MembersResponse(coverage=query_pb2.Coverage(), warnings=self._warnings)


@pytest.mark.parametrize(
    ("count", "warnings", "flags", "code"),
    [
        (0, ["Income holds texts"], [], 3),
        (0, [], [], 0),
        (4, ["no event named 'x' has been seen"], [], 0),
        (0, ["w"], ["WITHHELD"], 0),
    ],
)
@pytest.mark.parametrize("options", [[], ["--json"], ["--ids"], ["--ids", "--json"]])
def test_the_command_ends_with_3_where_nobody_was_found_and_a_warning_says_why(
    count: int, warnings: list[str], flags: list[str], code: int, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if flags and "--ids" in options:
        return  # nothing is withheld from who may list users

    @contextmanager
    def connected(address: str) -> Iterator[_Answering]:
        yield _Answering(count, warnings, flags)

    monkeypatch.setattr(command, "connected", connected)
    done = CliRunner().invoke(app, ["query", "Income = 5", *options])
    assert done.exit_code == code, done.output
    if options != ["--json"]:  # where warnings are in the answer
        assert done.stderr.splitlines() == [f"warning: {each}" for each in warnings]
    if "--ids" in options:
        assert len(done.stdout.splitlines()) == count
