"""The bound form of sequences and funnels whose attempts follow more rules than an order and a limit."""

from __future__ import annotations

from dataclasses import dataclass

from cdp_query.bind.bound_events import BoundEvents, FilterUserWindow
from cdp_query.calendar.windows import Interval
from cdp_query.errors import QueryInvalid
from cdp_query.tree import AttemptRules, StepOrder


@dataclass(frozen=True, slots=True)
class BoundAttempts:
    """Steps under all rules; limits < 0 are none.

    `window` is that of each user if entries must lie in one of their own; the interval is then everything up to T.
    `hold` is the property whose value must be the same at all steps where `holds`; None is one never seen. `without`
    are (gap, events that end attempts in it).
    """

    id: int
    steps: tuple[BoundEvents, ...]
    interval: Interval
    until_ms: int
    within_ms: int
    within_each_ms: int
    strict_ties: bool
    order: StepOrder
    holds: bool
    hold: int | None
    without: tuple[tuple[int, BoundEvents], ...]
    window: FilterUserWindow | None = None

    def longest_ms(self) -> int:
        """Longest time that both limits allow from the first step to the last, in milliseconds; < 0 is no limit."""
        if self.within_each_ms < 0:
            return self.within_ms
        gaps_ms = self.within_each_ms * (len(self.steps) - 1)
        return gaps_ms if self.within_ms < 0 else min(self.within_ms, gaps_ms)


def check_rules(rules: AttemptRules, length: int, *, strict_ties: bool) -> None:
    """Raises QueryInvalid if rules contradict each other."""
    for excluded in rules.without:
        if not 0 <= excluded.gap < length - 1:
            raise QueryInvalid(f"there is no gap {excluded.gap} in a sequence of {length} steps to exclude events from")
    if rules.order is StepOrder.ANY and (rules.within_each is not None or rules.without or strict_ties):
        raise QueryInvalid("steps in any order have no gaps: leave out within_each, without and tie, or the order")
