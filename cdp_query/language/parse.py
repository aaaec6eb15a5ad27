"""Text to tree."""

from __future__ import annotations

import json
import math
import re
from functools import cache
from importlib import resources
from typing import Any as Anything
from typing import Final

import lark

from cdp_query import tree
from cdp_query.errors import QuerySyntaxError
from cdp_query.language import syntax
from cdp_query.language.advice import advice, advice_at_end
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
        parsed = _parser().parse(text)
    except lark.exceptions.UnexpectedInput as error:
        raise _explain(text, error) from None
    try:
        return QuestionBuilder(text).question(_Shapes().transform(parsed))
    except lark.exceptions.VisitError as error:
        if isinstance(error.orig_exc, _TokenUnusable):
            raise error.orig_exc.explain(text) from None
        raise


@cache
def _parser() -> lark.Lark:
    grammar = resources.files(__package__).joinpath("grammar.lark").read_text()
    return lark.Lark(grammar, parser="lalr", propagate_positions=True, maybe_placeholders=True)


def _check_nesting(text: str) -> None:
    """Refuse what would exhaust the stack: deep parentheses and long runs of `not`."""
    depth = run = 0
    for token in _NESTING_TOKENS.finditer(text):
        if token.group().startswith(('"', "--")):
            continue
        depth += (token.group() == "(") - (token.group() == ")")
        run = run + 1 if token.group() == "not" else 0 if token.group() != "(" else run
        if max(depth, run) > QUERY_NESTING_MAX:
            line = text.count("\n", 0, token.start()) + 1
            column = token.start() - (text.rfind("\n", 0, token.start()) + 1) + 1
            what = "parentheses inside each other" if depth > QUERY_NESTING_MAX else "`not` in a row"
            raise QuerySyntaxError(text, line, column, f"more than {QUERY_NESTING_MAX} {what}")


def _explain(text: str, error: lark.exceptions.UnexpectedInput) -> QuerySyntaxError:
    if isinstance(error, lark.exceptions.UnexpectedCharacters):
        problem = f"unexpected {text[error.pos_in_stream]!r}" if error.pos_in_stream is not None else "unexpected text"
        if text[error.pos_in_stream or 0] == '"':
            problem = "this string has no closing quote on its line"
        elif text[error.pos_in_stream or 0] == "'":
            problem = "strings stand in double quotes"
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


class _TokenUnusable(Exception):
    """A token follows the grammar, but what it stands for cannot be used."""

    def __init__(self, token: lark.Token, problem: str) -> None:
        super().__init__(problem)
        self._token, self._problem = token, problem

    def explain(self, text: str) -> QuerySyntaxError:
        """The syntax error at the token's place."""
        return QuerySyntaxError(text, self._token.line or 1, self._token.column or 1, self._problem)


def _expected(terminals: set[str]) -> str:
    names = sorted({_TERMINALS.get(terminal, terminal.lower()) for terminal in terminals})
    return f"expected {', '.join(names)}" if names else ""


def _unquote(token: lark.Token) -> str:
    try:
        text: str = json.loads(token, strict=False)
        text.encode()
    except (json.JSONDecodeError, UnicodeEncodeError) as error:
        raise _TokenUnusable(token, f"this string cannot be used: {error}; write a backslash as \\\\") from None
    return text


def _duration(token: lark.Token) -> tree.Duration:
    digits = "".join(character for character in token if character.isdigit())
    unit = token[len(digits) :]
    if len(digits) > _DURATION_DIGITS_MAX:
        raise _TokenUnusable(token, "this duration is longer than the calendar")
    return tree.Duration(int(digits), "m" if unit == "min" else unit)


def _integer(token: lark.Token) -> int:
    if len(token) > _INTEGER_CHARACTERS_MAX or not INT_MIN <= int(token) <= INT_MAX:
        raise _TokenUnusable(token, "this number does not fit 64 bits")
    return int(token)


def _float(token: lark.Token) -> float:
    number = float(token)
    if not math.isfinite(number):
        raise _TokenUnusable(token, f"{token} is larger than any number that can be stored")
    return number


def _place(token: lark.Token) -> syntax.Place:
    return syntax.Place(token.line or 1, token.column or 1)


def _value(token: lark.Token) -> Anything:
    match token.type:
        case "STRING":
            return _unquote(token)
        case "DURATION":
            return _duration(token)
        case "MOMENT":
            return tree.Moment(str(token))
        case "INTEGER":
            return _integer(token)
        case "FLOAT":
            return _float(token)
        case "NAME":
            return syntax.NameSyntax(str(token), _place(token))
    return token.type == "TRUE"


def _argument(argument: Anything) -> Anything:
    """An argument, where a number that nothing is compared with is a plain value."""
    match argument:
        case syntax.PredicateSyntax(syntax.NumberSyntax(value, place), None):
            return syntax.ScalarSyntax((value,), place)
    return argument


@lark.v_args(inline=True)
class _Shapes(lark.Transformer[Anything, Anything]):
    """Parse tree to syntax objects, bottom up."""

    def start(self, expression: Anything) -> Anything:
        return expression

    def any_of(self, *items: Anything) -> Anything:
        return items[0] if len(items) == 1 else syntax.AnySyntax(items)

    def all_of(self, *items: Anything) -> Anything:
        return items[0] if len(items) == 1 else syntax.AllSyntax(items)

    def negation(self, item: Anything) -> Anything:
        return syntax.NotSyntax(item)

    def predicate(self, operand: Anything, condition: Anything) -> Anything:
        if condition is None and isinstance(operand, syntax.GroupSyntax):
            return operand.item
        return syntax.PredicateSyntax(operand, condition)

    @lark.v_args(inline=True, meta=True)
    def group(self, meta: lark.tree.Meta, expression: Anything) -> Anything:
        if isinstance(expression, syntax.PredicateSyntax) and expression.condition is None:
            return expression.operand
        return syntax.GroupSyntax(expression, syntax.Place(meta.line, meta.column))

    def calculation(self, first: Anything, *rest: Anything) -> Anything:
        left = first
        for sign, right in zip(rest[::2], rest[1::2], strict=True):
            left = syntax.CalculationSyntax(tree.ArithmeticOp(str(sign)), left, right, _place(sign))
        return left

    def number(self, token: lark.Token) -> Anything:
        return syntax.NumberSyntax(_value(token), _place(token))

    def word(self, token: lark.Token) -> Anything:
        value = _value(token)
        return syntax.DurationSyntax(value, _place(token)) if isinstance(value, tree.Duration) else value

    def span(self, negated: Anything, first: lark.Token, last: lark.Token) -> Anything:
        return syntax.SpanSyntax(_integer(first), _integer(last), negated is not None, _place(first))

    def name(self, token: lark.Token) -> Anything:
        return _value(token)

    def call(self, name: lark.Token, *arguments: Anything) -> Anything:
        given = tuple(_argument(argument) for argument in arguments if argument is not None)
        return syntax.CallSyntax(str(name), given, _place(name))

    def option(self, name: lark.Token, values: Anything) -> Anything:
        return syntax.OptionSyntax(str(name), values, _place(name))

    def option_value(self, *tokens: Anything) -> Anything:
        given = (token for token in tokens if token is not None)
        return tuple(_value(token) if isinstance(token, lark.Token) else token for token in given)

    def text_or_event(self, named: Anything, prop: Anything, where: Anything) -> Anything:
        """A text or list as such, unless a property or a filter says that it names events."""
        value = _value(named) if isinstance(named, lark.Token) else named
        if prop is None and where is None:
            return value
        return syntax.EventOptionSyntax(value if isinstance(value, tuple) else (value,), prop, where or ())

    def scalar(self, *tokens: Anything) -> Anything:
        given = [token for token in tokens if token is not None]
        return syntax.ScalarSyntax(tuple(map(_value, given)), _place(given[0]))

    def tested(self, event: Anything, condition: Anything) -> Anything:
        return syntax.TestedSyntax(event, condition, event.place)

    def rate(self, times: lark.Token, unit: lark.Token) -> Anything:
        return syntax.RateSyntax(_integer(times), str(unit), _place(times))

    def quota(self, count: lark.Token, total: lark.Token) -> Anything:
        return syntax.QuotaSyntax(_integer(count), _integer(total), _place(count))

    def chain(self, first: Anything, *links: Anything) -> Anything:
        """Steps, and what stands between them behind `without`."""
        events, without = [first], list[tuple[int, syntax.EventSyntax]]()
        for excluded, event in links:
            if excluded is None:
                events.append(event)
            else:
                without.append((len(events) - 1, event))
        if links and links[-1][0] is not None:
            raise _TokenUnusable(links[-1][0], "without(...) stands between two steps, and here none follows")
        return syntax.ChainSyntax(tuple(events), first.place, tuple(without))

    def link(self, excluded: Anything, event: Anything) -> Anything:
        return excluded, event

    def event(self, names: Anything, prop: Anything, where: Anything) -> Anything:
        return syntax.EventSyntax(tuple(map(_unquote, names)), prop, where or (), _place(names[0]))

    def where(self, *filters: Anything) -> Anything:
        return filters

    def event_names(self, *tokens: Anything) -> Anything:
        return tokens

    def property(self, token: lark.Token) -> Anything:
        return _unquote(token) if token.type == "STRING" else str(token)

    def compare(self, operator: lark.Token, value: Anything, ci: Anything) -> Anything:
        op = tree.Op(str(operator))
        if isinstance(value, syntax.NumberSyntax):
            return tree.Compare(op, value.value, ci is not None)
        if isinstance(value, bool | str | tree.Moment):
            return tree.Compare(op, value, ci is not None)
        return syntax.CompareSyntax(op, value, ci is not None)

    def one_of(self, negated: Anything, values: Anything, ci: Anything) -> Anything:
        return tree.OneOf(values, negated is not None, ci is not None)

    def between(self, low: Anything, high: Anything) -> Anything:
        return tree.Between(low, high)

    def text_test(self, negated: Anything, operator: lark.Token, pattern: lark.Token, ci: Anything) -> Anything:
        return tree.TextTest(tree.TextOp(str(operator)), _unquote(pattern), negated is not None, ci is not None)

    def within(self, side: lark.Token, span: lark.Token) -> Anything:
        return tree.TimeTest(tree.Side(f"within {side}"), _duration(span))

    def older(self, span: lark.Token) -> Anything:
        return tree.TimeTest(tree.Side.OLDER, _duration(span))

    def list_test(self, operator: lark.Token, values: Anything) -> Anything:
        if operator == "has" and isinstance(values, tuple):
            raise _TokenUnusable(operator, "has takes one value; use has_any, has_all or has_none for several")
        return tree.ListTest(tree.ListOp(str(operator)), values if isinstance(values, tuple) else (values,))

    def list(self, *values: Anything) -> Anything:
        return values

    def literal(self, token: lark.Token) -> Anything:
        return _value(token)
