"""Recency, frequency and money of the users with the event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from cdp_query import tree
from cdp_query.bind.bind import NO_SCHEMA
from cdp_query.evaluate.needs import check_report_needs
from cdp_query.kernels.exact_sum import exact_sums
from cdp_query.kernels.recency import last_times
from cdp_query.kernels.trend import sum_integers_by_period
from cdp_query.reports.report_kind import Finished, ReportKind, Run, in_each
from cdp_query.scan.scan import Scanned, scan
from cdp_query.scan.user_windows import anchored
from cdp_query.stats import NodeStats
from cdp_store.arrays import F64, I32, I64, U32, AnyArray, Bools
from cdp_store.limits import TIME_MIN_MS
from cdp_store.values import Kind

_NEVER: Final = TIME_MIN_MS - 1
_TWO_32: Final = 2.0**32
_SCORES: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class RfmPart:
    """One entry per member, sorted: time of the last event and number of events i64[n], money f64[n] in two parts.

    All members are sent, 32 bytes each, because a score needs all others and the grid needs the scores together. So one
    pass over one view of each partition is enough.
    """

    last_ms: I64
    events: I64
    money: F64
    money_low: F64

    @staticmethod
    def of(last_ms: I64, events: I64, money: F64, money_low: F64) -> RfmPart:
        """The part of members in any order."""
        order = np.lexsort((money_low, money, events, last_ms))
        return RfmPart(last_ms[order], events[order], money[order], money_low[order])

    def merge(self, other: RfmPart) -> RfmPart:
        """The members of both."""
        return RfmPart.of(*(np.concatenate(pair) for pair in zip(self.arrays(), other.arrays(), strict=True)))

    def arrays(self) -> tuple[I64, I64, F64, F64]:
        """The four arrays."""
        return self.last_ms, self.events, self.money, self.money_low

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RfmPart) and all(map(np.array_equal, self.arrays(), other.arrays()))

    def __hash__(self) -> int:
        return hash(tuple(array.tobytes() for array in self.arrays()))


def _evaluate(report: tree.Rfm, run: Run) -> tuple[int, RfmPart]:
    """(members, their last times, numbers of events and sums)."""
    view, stats, prop = run.view, run.stats, run.view.schema.properties.get(report.money)
    events, interval = run.binder.windowed(report.events, report.window, view.schema)
    check_report_needs([events], view)
    last: I64 = np.full(view.row_count, _NEVER, np.int64)
    counts: I64 = np.zeros(view.row_count, np.int64)
    money = _Money(view.row_count)
    for scanned in scan(view, anchored(events, view, stats), interval, stats):
        chunk, mask = scanned.chunk, scanned.kernel_mask()
        last_times(chunk.run_rows, chunk.run_starts, chunk.run_offsets, chunk.times, chunk.base_ms, mask, last)
        rows = scanned.rows()
        counts += np.bincount(rows, minlength=view.row_count)
        money.add(scanned, rows, prop, stats)
    members = np.flatnonzero((last != _NEVER) & run.population)
    high, low = money.sums()
    return members.shape[0], RfmPart.of(last[members], counts[members], high[members], low[members])


class _Money:
    """Exact sums by row."""

    def __init__(self, row_count: int) -> None:
        self._counts: I64 = np.zeros(row_count, np.int64)
        self._low: I64 = np.zeros(row_count, np.int64)
        self._high: I64 = np.zeros(row_count, np.int64)
        self._float_rows = list[U32]()
        self._floats = list[F64]()

    def add(self, scanned: Scanned, rows: U32, prop: int | None, stats: NodeStats) -> None:
        """Adds the numbers of a property; rows are those of the scanned events."""
        for kind, column in scanned.chunk.variants(prop):
            events, presence = scanned.events(), column.presence()
            held: Bools = np.ones(rows.shape[0], np.bool_)
            if presence is not None:
                held = presence if events is None else presence[events]
            stats.bytes += column.nbytes
            places = slice(None) if events is None else events
            if kind is Kind.INT:
                keys: I32 = np.where(held, rows.astype(np.int32), np.int32(-1))
                sum_integers_by_period(keys, column.integers()[places], self._counts, self._low, self._high)
            elif kind is Kind.FLOAT:
                self._float_rows.append(rows[held])
                self._floats.append(column.floats()[places][held])
            else:
                stats.type_mismatch += int(np.count_nonzero(held))

    def sums(self) -> tuple[F64, F64]:
        """(the sum rounded, its remainder) of each row: exact for integers, rounded once with floats."""
        # Two whole numbers, each exact as a float64; their sum and its error are exact too (Knuth's TwoSum).
        lower = (self._low & 0xFFFFFFFF).astype(np.float64)
        upper = (self._high + (self._low >> 32)).astype(np.float64) * _TWO_32
        high = upper + lower
        shifted = high - upper
        low = (upper - (high - shifted)) + (lower - shifted)
        if self._floats:
            self._add_floats(high, low)
        return high, low

    def _add_floats(self, high: F64, low: F64) -> None:
        """Adds the rounded sum of floats and integers to the rows that have any float."""
        rows = np.concatenate(self._float_rows)
        mixed = np.unique(rows)
        terms = np.concatenate([*self._floats, high[mixed], low[mixed]])
        order = np.argsort(np.concatenate([rows, mixed, mixed]), kind="stable")
        owners = np.concatenate([rows, mixed, mixed])[order]
        starts = np.append(np.searchsorted(owners, mixed), owners.shape[0]).astype(np.int64)
        out: F64 = np.empty(mixed.shape[0], np.float64)
        exact_sums(starts, terms[order].view(np.int64), out)
        high[mixed], low[mixed] = out, 0.0


@dataclass(frozen=True, slots=True)
class RfmCell:
    """Members with one score of each kind, 1 to 5."""

    recency: int
    frequency: int
    money: int
    count: int


@dataclass(frozen=True, slots=True)
class RfmName:
    """Members of the cells that share a name."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class RfmReport:
    """The answer of an rfm: the cells with any member, and the groups of cells by recency and frequency."""

    cells: tuple[RfmCell, ...]
    names: tuple[RfmName, ...]


def rfm_cells(part: RfmPart) -> Mapping[tuple[int, int, int], int]:
    """Members by their scores of recency, frequency and money, each 1 to 5."""
    if not part.last_ms.size:
        return {}
    # Money in two parts is compared like one number: by the rounded part, then by the rest.
    _, money = np.unique(np.stack([part.money, part.money_low]), axis=1, return_inverse=True)
    scores = [_scores(values) for values in (part.last_ms, part.events, money.reshape(-1))]
    return Counter(zip(*(score.tolist() for score in scores), strict=True))


def _scores(values: AnyArray) -> I64:
    """1 + floor(5 x members strictly below / members): equal values share a score."""
    below = np.searchsorted(np.sort(values), values, "left").astype(np.int64)
    scores: I64 = 1 + _SCORES * below // values.shape[0]
    return scores


def rfm_name(recency: int, frequency: int) -> str:
    """The name of a cell of the recency by frequency grid."""
    if recency >= 4:
        return "champions" if frequency >= 4 else "promising" if frequency >= 2 else "new"
    if recency == 3:
        return "loyal" if frequency >= 4 else "needing attention" if frequency >= 2 else "about to sleep"
    return "not to lose" if frequency >= 4 else "at risk" if frequency >= 2 else "lost"


def _finish(_: tree.Rfm, part: RfmPart, __: tree.Context) -> Finished:
    cells, names = rfm_cells(part), Counter[str]()
    for (recency, frequency, _money), count in cells.items():
        names[rfm_name(recency, frequency)] += count
    return Finished(
        RfmReport(
            tuple(RfmCell(*scores, count) for scores, count in sorted(cells.items())),
            tuple(RfmName(name, count) for name, count in names.most_common()),
        )
    )


RFM: Final = ReportKind(
    RfmPart,
    RfmReport,
    lambda report, binder: binder.windowed(report.events, report.window, NO_SCHEMA),
    in_each(_evaluate),
    _finish,
    warm_up=('rfm("A".small)', 'rfm("A".price, small > 3, last: 30d)'),
)
