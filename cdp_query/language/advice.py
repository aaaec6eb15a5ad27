"""One sentence of advice for mistakes that users of other languages make."""

from __future__ import annotations

import re
from typing import Final

from cdp_query.tree import Measured

_UNITS: Final = {"day": "d", "week": "w", "month": "mo", "year": "y", "hour": "h", "minute": "min", "second": "s"}
_WORDS: Final = ("AND", "OR", "NOT", "IN", "BETWEEN", "CONTAINS", "STARTS_WITH", "ENDS_WITH", "MATCHES", "HAS", "CI")
_CALLED: Final = (
    *("did", "first_time", "last_time", "recency", "inactive", "sequence", "funnel", "in_segment"),
    *("exists", "missing", "size", "version", *(measured.value for measured in Measured)),
)
_TEXT_WORDS: Final = ("contains", "starts_with", "ends_with", "matches", "has", "has_any", "has_all", "has_none")
_SIGNS: Final = {
    "&": "write and",
    "|": "write or",
    "!": "write not before what must not hold, or != between two values",
    "'": 'write "..." instead',
    "%": "there is no remainder; the parts of the population are in bucket between 0 and 99",
    ";": "a question ends without a sign",
    "→": 'steps are joined by ->, as in "View" -> "Buy"',
    "{": "a list is written in brackets, [...]; the JSON form of a question is asked with --tree",
    **dict.fromkeys("“”„‟«»‘’`", 'write straight double quotes, "..."'),
}
_QUOTED_OR_COMMENT: Final = re.compile(r'"(?:\\.|[^"\\\n])*"|--[^\n]*')

_OPTION_WITHOUT_COLON: Final = re.compile(r"[(,]\s*(last|within|before|after|from|to|ago|days_ago)\s*$")
_OTHER_DATE: Final = re.compile(r"[/.-]\d{1,2}[/.-]\d{1,4}\b")
_COMPARED_WITH_NOTHING: Final = re.compile(r"(!=|<=|>=|=|<|>)\s*$")


def advice(text: str, position: int, token: str) -> str:
    """Advice on an unexpected token at a position of the text; empty for an unknown mistake."""
    before, behind, last = text[:position], text[position:], _last_word(text[:position])
    return (
        _about_operators(before, token, last)
        or _about_numbers(before, behind, token, last)
        or _about_words(before, behind, token, last)
        or _SIGNS.get(token[:1], "")
    )


def advice_at_end(text: str) -> str:
    """Advice on a question that ends too early, naming the missing part; empty if that is unknown."""
    bare = _QUOTED_OR_COMMENT.sub(" ", text)
    if not bare.strip() and '"' not in text:
        return 'write a condition, such as plan = "gold" or did("Charged", last: 30d)'
    missing = _value_missing(text)
    if missing:
        return missing
    if bare.count("(") > bare.count(")") and re.search(r'[\w")\]]\s*$', text):
        return "a closing ) is missing"
    return ""


def advice_on_call(name: str) -> str:
    """Advice on a call of an unknown function, with the form to write instead; empty if none is known."""
    word = name.rpartition(".")[2].casefold()
    operator = {"startswith": "starts_with", "endswith": "ends_with"}.get(word, word)
    if operator in (*_TEXT_WORDS, "within", "older", "between"):
        spans = {"within": "within last 7d", "older": "older than 1y", "between": "between 1 and 5"}
        example = spans.get(operator, f'{operator} "gold"')
        return f"it goes after the name, as in plan {example}"
    if name in _WORDS:
        return f"write {word} in small letters"
    if word in ("lower", "upper", "lcase", "ucase"):
        return 'write ci for any case, as in plan = "gold" ci'
    return ""


def _about_operators(before: str, token: str, last: str) -> str:
    if token == "=" and before.endswith("="):
        return "use one = to compare"
    if before.endswith("<") and token == ">":
        return "write != for not equal"
    if before.endswith("-") and token == ">":
        return 'the names of events are written in double quotes, as in "View" -> "Buy"'
    if before.endswith("=") and token in ("<", ">"):
        return f"write {token}= to compare" + (", and -> between steps" if token == ">" else "")
    if token in (")", ",", "]", "and", "or") and (missing := _value_missing(before)):
        return missing
    if token == ")" and before.count("(") <= before.count(")"):
        return "there is no ( that this ) would close"
    if token == "(" and last.casefold() == "in":
        return 'a list is written in brackets, as in plan in ["gold", "free"]'
    return ""


def _about_numbers(before: str, behind: str, token: str, last: str) -> str:
    unit = _UNITS.get(token.casefold().removesuffix("s"))
    if unit is not None and last.isdigit():
        return f"write {last}{unit} for {last} {token}"
    if token[:1].isdigit() and _OPTION_WITHOUT_COLON.search(before):
        return f"a colon goes after {last}, as in {last}: {token}"
    if last.isdigit() and before.endswith(last):
        if _OTHER_DATE.match(behind):
            return "write a date as 2026-01-31"
        if re.match(r"%\s*($|[),]|and\b|or\b)", behind):
            return "write a share as a number: 0.4 for 40 %"
        if re.match(r"[,_]\d{3}\b", behind):
            return "write a number without separators, as in 1000"
        if re.match(r"[a-zA-Z]", token):
            ahead = before.removesuffix(last)
            if re.search(r"\w-$", ahead):
                return 'a text is written in double quotes, as in "50-74K"'
            return (
                f"a duration has no sign: write {last}{token}"
                if ahead.endswith("-")
                else "a number is written without a unit" + _between_lengths(ahead)
            )
    end = re.match(r"-(\d+[a-z]+)\b", behind)
    if end and re.fullmatch(r"\d+[a-z]+", last):
        return f"write a range with two dots: {last}..{end.group(1)}"
    return ""


def _about_words(before: str, behind: str, token: str, last: str) -> str:
    word = token.casefold()
    if word == "is":
        return f"use missing({last}) or exists({last})" if last else "use missing(name) or exists(name)"
    if word in ("like", "ilike", "rlike", "regexp"):
        return "use contains, starts_with, ends_with, or matches with a regular expression"
    if word in ("starts", "ends", "startswith", "endswith"):
        return f"write {word.removesuffix('with')}_with"
    if token in _WORDS or last in _WORDS:
        return f"write {(token if token in _WORDS else last).lower()} in small letters"
    if before.lstrip().casefold().startswith("select "):
        return 'a question is a condition, not SQL, such as plan = "gold" and did("Charged", last: 30d)'
    if last in _CALLED and re.match(r'[\w"]', token):
        return f"{last} takes parentheses, as in {last}(...)"
    if token == ":" or re.match(r"\w+\s*:", behind):
        option = last if token == ":" else token
        return f'{option}: goes inside the parentheses, after a comma, as in did("Charged", last: 30d)'
    if word == "then":
        return _SIGNS["→"]
    if last in _TEXT_WORDS and re.match(r"[^\W\d]", token):
        return f'a text is written in double quotes, as in "{token}"'
    if token[:1] == '"' and re.search(r"(^|\(|\b(?:and|or|not))\s*$", before) and not re.search(r"\w\($", before):
        return 'a condition begins with a name, as in plan = "gold" or did("Charged")'
    if before.endswith('"') and token[:1].isalpha() and behind.split("\n", maxsplit=1)[0].count('"') % 2:
        return r"write \" for a quote inside a text"
    return ""


def _between_lengths(before: str) -> str:
    is_between = re.search(r"\bbetween\s+$", before)
    return '; compare lengths of time twice, as in recency("Buy") >= 1d and recency("Buy") <= 7d' if is_between else ""


def _value_missing(before: str) -> str:
    found = _COMPARED_WITH_NOTHING.search(_QUOTED_OR_COMMENT.sub('""', before))
    return f"a value is missing after {found.group(1)}" if found else ""


def _last_word(before: str) -> str:
    found = re.search(r"(\w+)\s*$", before)
    return found.group(1) if found else ""
