"""The numbers of users of one answer while some of them are withheld."""

from __future__ import annotations

_SMALLEST_THAT_HIDES = 3  # a number below 2 that is not 0 is known, so 2 would hide nothing


class Cells:
    """The smallest number of users that is reported, and whether any was withheld."""

    def __init__(self, smallest: int) -> None:
        self.smallest = max(smallest, 1) if smallest < 2 else max(smallest, _SMALLEST_THAT_HIDES)
        self.is_any_hidden = False

    @property
    def is_hiding(self) -> bool:
        """True if anything is withheld at all."""
        return self.smallest > 1

    def shown(self, count: int) -> int:
        """The number, or 0 if it is withheld; 0 is a small number like any other, unless everything is reported."""
        return count if count >= self.smallest or not self.is_hiding else self.hidden()

    def shown_if(self, is_told: bool, count: int) -> int:
        """The number if it is reported."""
        return self.shown(count) if is_told else self.hidden()

    def hidden(self) -> int:
        """Placeholder for a withheld number."""
        self.is_any_hidden = True
        return 0
