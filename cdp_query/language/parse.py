"""Text to tree."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any as Anything
from typing import Final

import lark

from cdp_query import tree
from cdp_query.errors import QuerySyntaxError
from cdp_query.language.advice import advice, advice_at_end
from cdp_query.language.branches import Branch, fail
from cdp_query.language.build_reports import QuestionBuilder
from cdp_query.language.suggest import nearest_hint
from cdp_query.limits import QUERY_NESTING_MAX, QUERY_TEXT_CHARACTERS_MAX
from cdp_query.matching.ranges import INT_MAX, INT_MIN

_TERMINALS: Final = {
    "NAME": "a name",
    "STRING": "a string in double quotes",
    "INTEGER": "a number",
    "FLOAT": "a number",
    "DURATION": "a duration such as 30d",
    "MOMENT": "a date such as 2026-01-31",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": ",",
    "COLON": ":",
    "LSQB": "[",
    "RSQB": "]",
    "DOT": ".",
    "__ANON_0": "->",
    "__ANON_1": "..",
    "SIGN": "+ or -",
    "FACTOR": "* or /",
    "OPERATOR": "a comparison (= != < <= > >=)",
    "TEXT_OPERATOR": "contains, starts_with, ends_with or matches",
    "LIST_OPERATOR": "has, has_any, has_all or has_none",
    "TRUE": "true",
    "FALSE": "false",
    "SIDE": "last or next",
    "CI": "ci",
    "AND": "and",
    "OR": "or",
    "NOT": "not",
    "WITHOUT": "without",
    "IN": "in",
    "BETWEEN": "between",
    "$END": "the end",
}
_NESTING_TOKENS: Final = re.compile(r'"(?:\\.|[^"\\\n])*"|--[^\n]*|\w+|[()]')
_DURATION_DIGITS_MAX: Final = 15
_INTEGER_CHARACTERS_MAX: Final = 20
_KEYWORDS: Final = ("and", "or", "not", "in", "between", "contains", "starts_with", "ends_with", "matches", "has")


def parse(text: str) -> tree.Question:
    """The tree of a question in text form; QuerySyntaxError points at the place of a mistake."""
    if len(text) > QUERY_TEXT_CHARACTERS_MAX:
        raise QuerySyntaxError("", 1, 1, f"the question is longer than {QUERY_TEXT_CHARACTERS_MAX} characters")
    _check_nesting(text)
    try:
        parsed: Anything = _parser().parse(text)
    except lark.exceptions.UnexpectedInput as error:
        raise _explain(text, error) from None
    try:
        _read_values(parsed)
        return QuestionBuilder().question(parsed.children[0])
    except QuerySyntaxError as error:  # the place is known there, the text here
        raise QuerySyntaxError(text, error.line, error.column, error.problem, error.hint) from None


@cache
def _parser() -> lark.Lark:
    grammar = resources.files(__package__).joinpath("grammar.lark").read_text()
    return lark.Lark(grammar, parser="lalr", propagate_positions=True, maybe_placeholders=True, tree_class=Branch)


def _check_nesting(text: str) -> None:
    """Refuses what would exhaust the stack: deep parentheses and long runs of `not`."""
    depth = run = 0
    for token in _NESTING_TOKENS.finditer(text):
        if token.group().startswith(('"', "--")):
            continue
        depth += (token.group() == "(") - (token.group() == ")")
        run = run + 1 if token.group() == "not" else 0 if token.group() != "(" else run
        if max(depth, run) > QUERY_NESTING_MAX:
            line = text.count("\n", 0, token.start()) + 1
            column = token.start() - (text.rfind("\n", 0, token.start()) + 1) + 1
            what = "nested parentheses" if depth > QUERY_NESTING_MAX else "`not` in a row"
            raise QuerySyntaxError(text, line, column, f"more than {QUERY_NESTING_MAX} {what}")


def _explain(text: str, error: lark.exceptions.UnexpectedInput) -> QuerySyntaxError:
    if isinstance(error, lark.exceptions.UnexpectedCharacters):
        problem = f"unexpected {text[error.pos_in_stream]!r}" if error.pos_in_stream is not None else "unexpected text"
        if text[error.pos_in_stream or 0] == '"':
            problem = "this string has no closing quote on its line"
        elif text[error.pos_in_stream or 0] == "'":
            problem = "strings are written in double quotes"
        position = error.pos_in_stream or 0
        hint = advice(text, position, text[position : position + 1]) or _expected(error.allowed or set())
        return QuerySyntaxError(text, error.line, error.column, problem, hint)
    if isinstance(error, lark.exceptions.UnexpectedToken):
        expected = set(error.accepts or error.expected)
        if error.token.type == "$END":
            lines = text.splitlines() or [""]
            hint = advice_at_end(text) or _expected(expected)
            return QuerySyntaxError(text, len(lines), len(lines[-1]) + 1, "the question ends too early", hint)
        hint = nearest_hint(str(error.token), _KEYWORDS) if error.token.type == "NAME" else ""
        known = advice(text, error.token.start_pos or 0, str(error.token))
        parts = [known] if known else [part for part in (_expected(expected), hint) if part]
        return QuerySyntaxError(text, error.line, error.column, f"unexpected {str(error.token)!r}", "\n".join(parts))
    return QuerySyntaxError(text, 1, 1, str(error))


def _expected(terminals: set[str]) -> str:
    names = sorted({_TERMINALS.get(terminal, terminal.lower()) for terminal in terminals})
    return f"expected {', '.join(names)}" if names else ""


def _unquote(token: lark.Token) -> str:
    try:
        text: str = json.loads(token, strict=False)
        text.encode()
    except (json.JSONDecodeError, UnicodeEncodeError) as error:
        fail(token, f"this string cannot be used: {error}; write a backslash as \\\\")
    return text


def _duration(token: lark.Token) -> tree.Duration:
    digits = "".join(character for character in token if character.isdigit())
    unit = token[len(digits) :]
    if len(digits) > _DURATION_DIGITS_MAX:
        fail(token, "this duration is longer than the calendar")
    return tree.Duration(int(digits), "m" if unit == "min" else unit)


def _integer(token: lark.Token) -> int:
    if len(token) > _INTEGER_CHARACTERS_MAX or not INT_MIN <= int(token) <= INT_MAX:
        fail(token, "this number does not fit 64 bits")
    return int(token)


def _float(token: lark.Token) -> float:
    number = float(token)
    if not math.isfinite(number):
        fail(token, f"{token} is larger than any number that can be stored")
    return number


_VALUES: Final[dict[str, Callable[[lark.Token], Anything]]] = {
    "STRING": _unquote,
    "DURATION": _duration,
    "MOMENT": lambda token: tree.Moment(str(token)),
    "INTEGER": _integer,
    "FLOAT": _float,
    "TRUE": lambda _: True,
    "FALSE": lambda _: False,
    "OPERATOR": tree.Op,
    "SIGN": tree.ArithmeticOp,
    "FACTOR": tree.ArithmeticOp,
    "TEXT_OPERATOR": tree.TextOp,
    "LIST_OPERATOR": tree.ListOp,
}


def _read_values(part: Branch) -> None:
    """Gives tokens their values; refuses text that is grammatical, but invalid."""
    for child in part.children:
        if isinstance(child, Branch):
            _read_values(child)
        elif child is not None and child.type in _VALUES:
            child.value = _VALUES[child.type](child)
    match part:
        case Branch("list_test", [operator, Branch()]) if operator.value is tree.ListOp.HAS:
            fail(operator, "has takes one value; use has_any, has_all or has_none for several")
        case Branch("chain", [*_, Branch("excluded") as last]):
            fail(last, "without(...) stands between two steps, and here none follows")
