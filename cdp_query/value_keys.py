"""Values as keys of groups in an answer."""

from __future__ import annotations

from typing import Final

# A value with its kind, so that 1, 1.0 and true stay apart; (0, None) is "(none)".
ValueKey = tuple[int, bool | int | float | str | None]
NONE_KEY: Final[ValueKey] = (0, None)
