"""The `name: value` options of a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NoReturn

from cdp_query import tree
from cdp_query.errors import QuerySyntaxError
from cdp_query.language.suggest import nearest_hint
from cdp_query.language.syntax import CallSyntax, EventOptionSyntax, EventSyntax, NameSyntax, OptionSyntax, Place

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
_MOMENT: Final = "a date such as 2026-01-31"
_DURATION: Final = "a duration such as 30d"


class Options:
    """Takes options out one by one; `finish` complains about what is left."""

    def __init__(self, text: str, call: CallSyntax, options: Sequence[OptionSyntax]) -> None:
        self._text, self._call = text, call
        self._given = dict[str, OptionSyntax]()
        self._allowed = list[str]()
        for option in options:
            if option.name in self._given:
                self._fail(option.place, f"{option.name!r} is given twice")
            self._given[option.name] = option

    def window(self, *, during: bool = False, length: str = "within") -> tree.Window:
        """The window option, or Always; where from and to mean something else, dates are given as `during: a..b`.

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
        first = self._given[names[0]]
        if names == ["of_first"]:
            return self._within_first(first, length)
        if sorted(names) == ["from", "to"]:
            return tree.FromTo(self._moment("from"), self._moment("to"))
        if len(names) > 1:
            self._fail(self._given[names[1]].place, f"{names[0]!r} and {names[1]!r} are both windows", "give one")
        match names[0]:
            case "from" | "to":
                missing = "to" if names[0] == "from" else "from"
                self._fail(
                    first.place,
                    f"{names[0]!r} needs {missing!r} as well",
                    "or use after: or before:, which leave that day out",
                )
            case "before":
                return tree.Before(self._moment("before"))
            case "after":
                return tree.After(self._moment("after"))
            case "last":
                return tree.Last(self._required_duration("last"))
            case "last_calendar":
                return tree.LastCalendar(self._required_duration("last_calendar"))
            case "since":
                return self._since(self._given.pop("since"))
            case "more_than_ago":
                return tree.MoreThanAgo(self._required_duration("more_than_ago"))
        return self._other_window(first)

    def side(self, name: str) -> tree.ChangeSide | None:
        """A value, a list of values, `set` or `unset`; None when it is not given."""
        self._allowed.append(name)
        option = self._given.pop(name, None)
        if option is None:
            return None
        match option.values:
            case (NameSyntax(name="set"),):
                return tree.ChangeSide()
            case (NameSyntax(name="unset"),):
                return tree.ChangeSide(unset=True)
            case (tuple() as values,):
                return tree.ChangeSide(values)
            case ((bool() | int() | float() | str() | tree.Moment()) as value,):
                return tree.ChangeSide((value,))
        self._fail(option.place, f"{name!r} takes a value, a list of values, set or unset")

    def whole_number(self, name: str) -> int | None:
        """A whole number from 1, or None when it is not given."""
        self._allowed.append(name)
        option = self._given.pop(name, None)
        if option is None:
            return None
        match option.values:
            case (int() as number,) if not isinstance(number, bool) and number >= 1:
                return number
        self._fail(option.place, f"{name!r} takes a whole number from 1")

    def duration(self, name: str) -> tree.Duration | None:
        """A duration option, or None when it is not given."""
        self._allowed.append(name)
        return self._required_duration(name) if name in self._given else None

    def word(self, name: str, known: Sequence[str]) -> str | None:
        """An option that is one of `known`, or None when it is not given."""
        self._allowed.append(name)
        option = self._given.pop(name, None)
        if option is None:
            return None
        match option.values:
            case (NameSyntax(name=word),) if word in known:
                return word
            case (NameSyntax(name=word, place=place),):
                hint = nearest_hint(word, known) or f"one of: {', '.join(known)}"
                if word == "unordered" and "any" in known:
                    hint = "did you mean 'any'?"
                self._fail(place, f"{word!r} is no value of {name!r}", hint)
        self._fail(option.place, f"{name!r} takes one of: {', '.join(known)}")

    def plain_name(self, name: str) -> str | None:
        """An option that is a name, in quotes where it is no plain word, or None when it is not given."""
        self._allowed.append(name)
        option = self._given.pop(name, None)
        if option is None:
            return None
        match option.values:
            case (NameSyntax(name=word),):
                return word
            case (str() as word,):
                return word
        self._fail(option.place, f"{name!r} takes a name, in double quotes where it is no plain word")

    def event(self, name: str) -> EventSyntax | None:
        """An option that is an event, or None when it is not given."""
        self._allowed.append(name)
        option = self._given.pop(name, None)
        if option is None:
            return None
        match option.values:
            case (EventOptionSyntax(property=None) as named,):
                pass
            case (str() as plain,):
                named = EventOptionSyntax((plain,), None, ())
            case (tuple() as several,):
                named = EventOptionSyntax(several, None, ())
            case _:
                named = EventOptionSyntax((), None, ())
        names = tuple(event for event in named.names if isinstance(event, str))
        if names and len(names) == len(named.names):
            return EventSyntax(names, None, named.where, option.place)
        self._fail(option.place, f'{name!r} takes an event, as in {name}: "Charged"(amount > 10)')

    def names(self, name: str) -> tuple[str, ...]:
        """An option that is a name or a list of names in quotes; nothing when it is not given."""
        self._allowed.append(name)
        option = self._given.pop(name, None)
        if option is None:
            return ()
        match option.values:
            case (str() as one,):
                return (one,)
            case (tuple() as several,) if all(isinstance(item, str) for item in several):
                return tuple(map(str, several))
        self._fail(option.place, f"{name!r} takes names in quotes", f'as in {name}: ["View", "Buy"]')

    def finish(self) -> None:
        """Complain about options nobody asked for."""
        # What is unknown first: an option of two parts is left over where its other part is mistyped.
        for option in sorted(self._given.values(), key=lambda option: option.name in self._allowed):
            if option.name in self._allowed:
                self._fail(
                    option.place,
                    f"{option.name!r} needs 'of_first' as well",
                    f'as in {option.name}: 7d, of_first: "Signup"',
                )
            takes = f"it takes: {', '.join(self._allowed)}" if self._allowed else "it takes no options"
            of_first = (
                "did you mean 'of_first'?" if option.name.startswith("of_") and "of_first" in self._allowed else ""
            )
            hint = of_first or nearest_hint(option.name, self._allowed) or takes
            self._fail(option.place, f"{self._call.name}(...) has no option {option.name!r}", hint)

    def _other_window(self, option: OptionSyntax) -> tree.Window:
        if option.name in ("this", "previous"):
            unit = self.word(option.name, tree.CALENDAR_UNITS)
            assert unit is not None
            return tree.This(unit) if option.name == "this" else tree.Previous(unit)
        del self._given[option.name]
        match option.name, option.values:
            case "days_ago", (int() as days,) if days >= 0:
                return tree.DaysAgo(days)
            case "ago", (tree.Duration() as near, tree.Duration() as far):
                return tree.Ago(near, far)
        wanted = "a number of days, as in days_ago: 3" if option.name == "days_ago" else "a range, as in ago: 30d..60d"
        self._fail(option.place, f"{option.name!r} takes {wanted}")

    def _during(self) -> tree.Window:
        option = self._given.pop("during")
        match option.values:
            case (tree.Moment() as start, tree.Moment() as end):
                return tree.FromTo(start, end)
        self._fail(option.place, "'during' takes two dates, as in during: 2026-01-01..2026-01-31")

    def _within_first(self, option: OptionSyntax, length: str) -> tree.Window:
        del self._given["of_first"]
        if length not in self._given:
            self._fail(option.place, f"'of_first' needs {length!r} as well", f'as in {length}: 7d, of_first: "Signup"')
        match option.values:
            case (str() as name,):
                names: tuple[tree.Literal, ...] = (name,)
            case (tuple() as names,) if all(isinstance(name, str) for name in names):
                pass
            case _:
                self._fail(option.place, "'of_first' takes event names in quotes", 'as in of_first: "Signup"')
        return tree.WithinFirst(self._required_duration(length), tuple(map(str, names)))

    def _since(self, option: OptionSyntax) -> tree.Window:
        match option.values:
            case (NameSyntax(name=name),) | (str() as name,):
                return tree.Since(name)
        self._fail(option.place, "'since' takes the name of an attribute", "for a date write after: or from:")

    def _moment(self, name: str) -> tree.Moment:
        option = self._given.pop(name)
        match option.values:
            case (tree.Moment() as moment,):
                return moment
        self._fail(option.place, f"{name!r} takes {_MOMENT}")

    def _required_duration(self, name: str) -> tree.Duration:
        option = self._given.pop(name)
        match option.values:
            case (tree.Duration() as duration,):
                return duration
        self._fail(option.place, f"{name!r} takes {_DURATION}")

    def _fail(self, place: Place, problem: str, hint: str = "") -> NoReturn:
        raise QuerySyntaxError(self._text, place.line, place.column, problem, hint)
