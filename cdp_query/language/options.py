"""The `name: value` options of a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

from lark import Token

from cdp_query import tree
from cdp_query.language.branches import Branch, Part, fail, texts, values
from cdp_query.language.suggest import nearest_hint

_WINDOWS: Final = (
    "from",
    "to",
    "before",
    "after",
    "last",
    "last_calendar",
    "days_ago",
    "ago",
    "more_than_ago",
    "this",
    "previous",
    "of_first",
    "since",
)
_OF_MOMENT: Final[dict[str, Callable[[tree.Moment], tree.Window]]] = {"before": tree.Before, "after": tree.After}
_OF_DURATION: Final[dict[str, Callable[[tree.Duration], tree.Window]]] = {
    "last": tree.Last,
    "last_calendar": tree.LastCalendar,
    "more_than_ago": tree.MoreThanAgo,
}
_OF_UNIT: Final[dict[str, Callable[[str], tree.Window]]] = {"this": tree.This, "previous": tree.Previous}


class Options:
    """Removes options one by one; `finish` reports those that are left."""

    def __init__(self, call: str, options: Sequence[Branch]) -> None:
        self._call = call
        self._places = dict[str, Token]()
        self._given = dict[str, list[Any]]()  # the values of those that are left
        self._allowed = list[str]()
        for option in options:
            name, *given = option.children
            if name in self._given:
                fail(name, f"{name.value!r} is given twice")
            self._places[name.value], self._given[name.value] = name, given

    def window(self, *, during: bool = False, length: str = "within") -> tree.Window:
        """The window option, or Always; if from and to have another meaning, dates are given as `during: a..b`.

        `length` is the option for how long after the `of_first` a window reaches.
        """
        self._allowed.extend((*_WINDOWS, length))
        if during:
            self._allowed.append("during")
            if "during" in self._given:
                return self._during()
        names = [name for name in self._given if name in _WINDOWS]
        if not names:
            return tree.Always()
        name = names[0]
        if sorted(names) == ["from", "to"]:
            return tree.FromTo(self._moment("from"), self._moment("to"))
        if len(names) > 1:
            fail(self._places[names[1]], f"{name!r} and {names[1]!r} are both windows", "give one")
        if name in _OF_MOMENT:
            return _OF_MOMENT[name](self._moment(name))
        if name in _OF_DURATION:
            return _OF_DURATION[name](self._duration(name))
        if name in _OF_UNIT:
            unit = self.word(name, tree.CALENDAR_UNITS)
            assert unit is not None
            return _OF_UNIT[name](unit)
        return self._within_first(length) if name == "of_first" else self._other_window(name)

    def window_alone(self) -> tree.Window:
        """The window of a call that takes no other option."""
        window = self.window()
        self.finish()
        return window

    def side(self, name: str) -> tree.ChangeSide | None:
        """A value, a list of values, `set` or `unset`; None when it is not given."""
        match self._asked(name):
            case []:
                return None
            case [Token("NAME", "set")]:
                return tree.ChangeSide()
            case [Token("NAME", "unset")]:
                return tree.ChangeSide(unset=True)
            case [Branch("list") | Token("STRING" | "INTEGER" | "FLOAT" | "MOMENT" | "TRUE" | "FALSE") as given]:
                return tree.ChangeSide(values(given))
        self._wrong(name, "a value, a list of values, set or unset")

    def whole_number(self, name: str) -> int | None:
        """A whole number from 1, or None when it is not given."""
        match self._asked(name):
            case []:
                return None
            case [Token("INTEGER", number)] if number >= 1:
                return int(number)
        self._wrong(name, "a whole number from 1")

    def duration(self, name: str) -> tree.Duration | None:
        """A duration option, or None when it is not given."""
        self._allowed.append(name)
        return self._duration(name) if name in self._given else None

    def word(self, name: str, known: Sequence[str]) -> str | None:
        """An option that is one of `known`, or None when it is not given."""
        match self._asked(name):
            case []:
                return None
            case [Token("NAME", word)] if word in known:
                return str(word)
            case [Token("NAME", word) as token]:
                hint = nearest_hint(word, known) or f"one of: {', '.join(known)}"
                if word == "unordered" and "any" in known:
                    hint = "did you mean 'any'?"
                fail(token, f"{word!r} is not a value of {name!r}", hint)
        self._wrong(name, f"one of: {', '.join(known)}")

    def plain_name(self, name: str) -> str | None:
        """An option that is a name, in quotes unless it is a plain word, or None when it is not given."""
        match self._asked(name):
            case []:
                return None
            case [Token("NAME" | "STRING", word)]:
                return str(word)
        self._wrong(name, "a name, in double quotes where it is no plain word")

    def event(self, name: str) -> Branch | None:
        """An option that is an event, or None when it is not given."""
        where: Part | None = None
        match self._asked(name):
            case []:
                return None
            case [Branch("text_or_event", [named, Branch("where") as where])]:
                pass
            case [named, *_]:
                pass
        if texts(named):
            return Branch("event", [named, None, where])
        self._wrong(name, f'an event, as in {name}: "Charged"(amount > 10)')

    def names(self, name: str) -> tuple[str, ...]:
        """An option that is a name or a list of names in quotes; empty when it is not given."""
        match self._asked(name):
            case []:
                return ()
            case [named] if names := texts(named):
                return names
        self._wrong(name, "names in quotes", f'as in {name}: ["View", "Buy"]')

    def finish(self) -> None:
        """Refuses options that the call does not take."""
        # Unknown ones first: an option of two parts is left over if its other part is mistyped.
        for name in sorted(self._given, key=lambda name: name in self._allowed):
            if name in self._allowed:
                self._without_other(name, "of_first", name)
            takes = f"it takes: {', '.join(self._allowed)}" if self._allowed else "it takes no options"
            of_first = "did you mean 'of_first'?" if name.startswith("of_") and "of_first" in self._allowed else ""
            hint = of_first or nearest_hint(name, self._allowed) or takes
            fail(self._places[name], f"{self._call}(...) has no option {name!r}", hint)

    def _other_window(self, name: str) -> tree.Window:
        match name, self._taken(name):
            case "from" | "to", _:
                missing = "to" if name == "from" else "from"
                fail(
                    self._places[name],
                    f"{name!r} needs {missing!r} as well",
                    "or use after: or before:, which leave that day out",
                )
            case "days_ago", [Token("INTEGER", days)] if days >= 0:
                return tree.DaysAgo(days)
            case "ago", [Token("DURATION", near), Token("DURATION", far)]:
                return tree.Ago(near, far)
            case "since", [Token("NAME" | "STRING", attribute)]:
                return tree.Since(attribute)
            case "since", _:
                self._wrong(name, "the name of an attribute", "for a date write after: or from:")
        self._wrong(
            name, "a number of days, as in days_ago: 3" if name == "days_ago" else "a range, as in ago: 30d..60d"
        )

    def _within_first(self, length: str) -> tree.Window:
        given = self._taken("of_first")
        if length not in self._given:
            self._without_other("of_first", length, length)
        match given:
            case [named] if names := texts(named):
                return tree.WithinFirst(self._duration(length), names)
        self._wrong("of_first", "event names in quotes", 'as in of_first: "Signup"')

    def _during(self) -> tree.Window:
        match self._taken("during"):
            case [Token("MOMENT", start), Token("MOMENT", end)]:
                return tree.FromTo(start, end)
        self._wrong("during", "two dates, as in during: 2026-01-01..2026-01-31")

    def _moment(self, name: str) -> tree.Moment:
        match self._taken(name):
            case [Token(value=tree.Moment() as moment)]:
                return moment
        self._wrong(name, "a date such as 2026-01-31")

    def _duration(self, name: str) -> tree.Duration:
        match self._taken(name):
            case [Token(value=tree.Duration() as duration)]:
                return duration
        self._wrong(name, "a duration such as 30d")

    def _asked(self, name: str) -> list[Any]:
        """Values of an option that the call takes; empty if it is not given."""
        self._allowed.append(name)
        return self._taken(name)

    def _taken(self, name: str) -> list[Any]:
        return self._given.pop(name, [])

    def _without_other(self, name: str, other: str, length: str) -> NoReturn:
        fail(self._places[name], f"{name!r} needs {other!r} as well", f'as in {length}: 7d, of_first: "Signup"')

    def _wrong(self, name: str, wanted: str, hint: str = "") -> NoReturn:
        fail(self._places[name], f"{name!r} takes {wanted}", hint)
