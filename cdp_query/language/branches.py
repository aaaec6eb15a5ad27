"""Parts of lark's tree, with places in the text: their content, the conditions among them, and mistakes at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NoReturn

from lark import Token, Tree

from cdp_query import tree
from cdp_query.errors import QuerySyntaxError


class Branch(Tree[Any]):
    """Match of a rule of the grammar; None stands for an optional part that is missing."""

    children: list[Any]
    meta: Any


Part = Branch | Token
Behind = tree.Infix | Branch | None  # the part after a subject, as `condition` returns it

_TRUTHS: Final = frozenset(("any_of", "all_of", "not_of", "predicate"))
_TESTS: Final = _TRUTHS | {"sum", "product", "call", "NAME"}
_WORKED_OUT: Final = ("NAME", "DURATION")


def fail(at: Part, problem: str, hint: str = "") -> NoReturn:
    """Refuses the text because of a part; `parse` adds the text to the error."""
    line, column = _place(at)
    raise QuerySyntaxError("", line, column, problem, hint)


def kind(part: Part) -> str:
    """Name of the rule or of the terminal."""
    return part.data if isinstance(part, Branch) else part.type


def is_truth(part: Part) -> bool:
    """True if a part is true or false by its shape."""
    return kind(part) in _TRUTHS


def is_test(part: Part) -> bool:
    """True if a part may be a filter or a segment: neither a single value, nor a part that only arguments can have."""
    return kind(part) in _TESTS


def apart(arguments: Sequence[Part]) -> tuple[list[Part], list[Branch]]:
    """Arguments other than options, and the options."""
    options = [item for item in arguments if isinstance(item, Branch) and item.data == "option"]
    return [item for item in arguments if kind(item) != "option"], options


def values(part: Part) -> tuple[Any, ...]:
    """Value of a token, or the values of a list of them."""
    return tuple(token.value for token in part.children) if isinstance(part, Branch) else (part.value,)


def texts(part: Part) -> tuple[str, ...]:
    """A text in quotes or a list of them; empty if it contains any other value."""
    items = part.children if isinstance(part, Branch) and part.data == "list" else [part]
    return values(part) if all(kind(item) == "STRING" for item in items) else ()


def halves(calculation: Branch) -> tuple[Part, Token, Part]:
    """Left side, sign and right side of the calculation that is done last."""
    *before, sign, right = calculation.children
    return before[0] if len(before) == 1 else Branch(calculation.data, before), sign, right


def condition(part: Branch) -> tree.Infix | Branch:
    """The condition of the tree; ranges and comparisons of calculated values stay unchanged."""
    match part:
        case Branch("compare", [Token(value=op), Token(right, value), ci]) if right not in _WORKED_OUT:
            return tree.Compare(op, value, ci is not None)
        case Branch("one_of", [negated, listed, ci]):
            return tree.OneOf(values(listed), negated is not None, ci is not None)
        case Branch("between", [Token(value=low), Token(value=high)]):
            return tree.Between(low, high)
        case Branch("text_test", [negated, Token(value=op), Token(value=pattern), ci]):
            return tree.TextTest(op, pattern, negated is not None, ci is not None)
        case Branch("list_test", [Token(value=op), listed]):
            return tree.ListTest(op, values(listed))
        case Branch("within" | "older", [*side, Token(value=span)]):
            return tree.TimeTest(tree.Side(f"within {side[0]}") if side else tree.Side.OLDER, span)
    return part


def _place(part: Part) -> tuple[int, int]:
    """Line and column of the token that stands for a part: usually its first one."""
    if isinstance(part, Token):
        return part.line or 1, part.column or 1
    if is_truth(part):
        # It is in parentheses, and lark notes the place of the first one in its container.
        return part.meta.container_line, part.meta.container_column
    return _place(part.children[{"sum": -2, "product": -2, "span": 1}.get(part.data, 0)])
