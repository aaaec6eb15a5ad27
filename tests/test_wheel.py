"""The trial of the wheel (`make check-wheel`) reads README.md, and finds what does not belong in a wheel."""

from __future__ import annotations

import json
from pathlib import Path

from tests.wheel import first_steps, missing_words, wrong_names

_README = Path(__file__).parents[1] / "README.md"


def test_the_first_steps_of_the_readme_are_read() -> None:
    records, steps = first_steps(_README.read_text())
    assert {json.loads(record)["user_id"] for record in records} == {"u-42", "u-43"}
    assert [step.words[0] for step in steps] == ["import", "query", "query", "query", "query", "profile"]
    assert [step.answer for step in steps if step.words[0] == "query"] == [
        "1 of 2 users (50.00%)",
        "IN 1, (none) 1",
        "Viewed 2, Charged 1: 50.0%",
        "u-43",
    ]


def test_an_answer_that_was_not_printed_is_found() -> None:
    assert missing_words("Viewed 2, Charged 1: 50.0%", "Viewed   2\nCharged  1  50.0%") == set()
    assert missing_words("1 of 2 users", "2 of 2 users\n") == {"1"}


def test_a_file_that_does_not_belong_in_a_wheel_is_found_and_one_that_is_missing() -> None:
    empty = wrong_names([], "1.0")
    assert {"cdp_query/language/grammar.lark", "cdp/v1/service_config.json", "cdp/py.typed"} <= set(empty["missing"])
    assert "cdp-1.0.dist-info/licenses/LICENSE" in empty["missing"]
    assert not [name for name in empty["missing"] if "__pycache__" in name]
    whole = [*empty["missing"], "cdp-1.0.dist-info/METADATA"]
    assert wrong_names(whole, "1.0") == {"missing": [], "not wanted": []}
    assert wrong_names([*whole, "tests/states.py"], "1.0") == {"missing": [], "not wanted": ["tests/states.py"]}
