"""The bytes of reports: what shards send to the router, and what the router answers, never change."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from cdp_query import tree
from cdp_query.pipeline import prepare
from cdp_query.reports.registry import finish_report
from cdp_router.contract.report_codec import answer_fields, to_part
from tests.case_files import Case, cases
from tests.raw_records import Change, Event, Record, user
from tests.shards import Shards

_DAY = 86_400_000
_CONTEXT = tree.Context(40 * _DAY + 5, "Europe/Berlin")
_PLANS = ("gold", 7, True, ["a"], 0.5)


def _records() -> list[Record]:
    """Thirty users who view and buy, in a pattern without meaning, with values of every kind."""
    found: list[Record] = [Event(user("big"), "Buy", 3 * _DAY, {"amount": (1 << 63) - 1})] * 3
    for number in range(30):
        who = user(f"u{number}")
        if number % 4:
            found.append(Change(who, number, {"plan": _PLANS[number % 5], "age": number * 7 % 40}))
        for step in range(1 + number % 5):
            at = (number * 3 + step * step * 2) % 40 * _DAY + number * 1_000
            found.append(Event(who, "View", at, {"way": ("mail", "web", 3)[(number + step) % 3]}))
            if (number + step) % 2:
                amount = number if number % 3 else number / 8
                found.append(Event(who, "Buy", at + step * 3_600_000, {"amount": amount, "ok": step > 1}))
    return found


@pytest.fixture(scope="module")
def shards() -> Shards:
    made = Shards()
    made.apply(_records())
    return made


def _hex(message: Message) -> str:
    return message.SerializeToString(deterministic=True).hex()


def bytes_of(text: str, shards: Shards) -> list[str]:
    """The part and the answer of a report in hexadecimal."""
    question = prepare(text, None, _CONTEXT)
    part = shards.ask(question, _CONTEXT).report
    message = to_part(part)
    assert message is not None
    finished = finish_report(question, part, _CONTEXT)
    fields = {} if finished is None else answer_fields(finished.answer)
    answers = [f"{name} {_hex(answer)}".rstrip() for name, answer in fields.items()]
    return [_hex(message), *answers]


@pytest.mark.parametrize("case", cases("report_wire.txt"))
def test_the_bytes_of_a_report_never_change(case: Case, shards: Shards) -> None:
    assert bytes_of(case.text, shards) == list(case.expected)
