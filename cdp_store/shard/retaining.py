"""Retention of a store: its rules, the events they drop, and names that are forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cdp_store.ids import PartitionId, SequenceNumber
from cdp_store.log.controls import ALL_EVENTS, Retention, encode_retention
from cdp_store.log.format import LogEntry, RecordKind
from cdp_store.partition.forgetting import forgetting
from cdp_store.shard.store import Store


class Retaining:
    """Drops events of a store; its methods run like `Store.commit`, never alongside it, and raise its errors."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def set_retention(
        self, days: Mapping[str, int], now_ms: int, partitions: Iterable[PartitionId] | None = None
    ) -> None:
        """Logs rules of retention (days by event name, "" for all others, 0 = for ever) and drops events by them.

        For all partitions that the shard owns, unless some are named.
        """
        numbers = self._store.holdings.owned() if partitions is None else partitions
        self._log_and_do({number: Retention(days, {}) for number in numbers})
        self.retain(now_ms)

    def forget_events(self, names: Iterable[str], partitions: Iterable[PartitionId], *, unused: bool) -> list[str]:
        """Drops all events of some names and returns those that existed; with `unused` also names without events.

        A purge frees these names, and property names that no event has any more.
        """
        views = {each: self._store.partitions[each].capture() for each in partitions}
        changes = forgetting(views, set(names), unused=unused)
        self._log_and_do(changes)
        return sorted({name for change in changes.values() for name in change.cutoffs if name != ALL_EVENTS})

    def retain(self, now_ms: int) -> bool:
        """Drops events that are older than their rule allows; True if there were any."""
        overdue = {number: self._store.partitions[number].overdue(now_ms) for number in self._store.holdings.owned()}
        # Instants are logged, not the clock behind them: a replay drops the same events.
        wanted = {number: Retention({}, cutoffs) for number, cutoffs in overdue.items() if cutoffs}
        self._log_and_do(wanted)
        return bool(wanted)

    def _log_and_do(self, wanted: Mapping[PartitionId, Retention]) -> None:
        sequences = {number: SequenceNumber(self._store.partitions[number].sequence + 1) for number in wanted}
        entries = [
            LogEntry(number, sequences[number], encode_retention(retention), RecordKind.RETENTION)
            for number, retention in wanted.items()
        ]
        if entries:
            with self._store.logged(entries, essential=True):
                for number, retention in wanted.items():
                    self._store.partitions[number].retain(retention, sequences[number])
