"""Properties of one kind of report on the path of a question: each report declares them at the end of its file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Generic, TypeVar

from cdp_query import tree
from cdp_query.bind.bind import Binder
from cdp_query.compiled.report_run import ReportRun
from cdp_query.evaluate.execute import Checkpoint
from cdp_query.reports.parts import ReportPart
from cdp_query.stats import REPORT, NodeStats
from cdp_store.arrays import Bools
from cdp_store.memory.view import PartitionView

Asked = TypeVar("Asked")
Part = TypeVar("Part", bound=ReportPart)


@dataclass(frozen=True, slots=True)
class Run:
    """One partition on which a report is evaluated; `number` is its place among those of the shard."""

    number: int
    view: PartitionView
    binder: Binder
    population: Bools
    stats: NodeStats
    checkpoint: Checkpoint


def in_each(evaluate: Callable[[Asked, Run], tuple[int, Part]]) -> Callable[[Asked, ReportRun], tuple[int, Part]]:
    """The evaluation of all partitions, one after the other, by that of one."""

    def of_all(asked: Asked, run: ReportRun) -> tuple[int, Part]:
        counts, parts = list[int](), list[Part]()
        for number, (view, population) in enumerate(run.partitions()):
            run.checkpoint()
            with run.meter.timed(REPORT) as stats:
                count, part = evaluate(asked, Run(number, view, run.binder, population, stats, run.checkpoint))
                stats.rows_true += count
            counts.append(count)
            parts.append(part)
        return sum(counts), reduce(lambda first, second: first.merge(second), parts)

    return of_all


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer of a report, a dataclass with the fields of its message, and whether any of it is open at T."""

    answer: object
    is_incomplete: bool = False


@dataclass(frozen=True, slots=True)
class People:
    """Fields of an answer, or of each of its `rows`, that count users: disjoint groups of all users.

    `counted` are those that the count includes. A router withholds small numbers by these, so that none follows from
    the others. `by_row` returns for each of (rows, population) numbers of further groups that follow from the rows up
    to it. `by_count` returns those that follow from (rows, count) together.
    """

    cells: tuple[str, ...]
    counted: tuple[str, ...] = ()
    rows: str = ""
    by_row: Callable[[Sequence[Any], int], Iterable[tuple[int, ...]]] = lambda rows, _: [()] * len(rows)
    by_count: Callable[[Sequence[Any], int], Iterable[int]] = lambda _rows, _count: ()


@dataclass(frozen=True, slots=True)
class ReportKind(Generic[Asked, Part]):
    """A kind of report.

    check: raises QueryInvalid if it is meaningless for any schema.

    evaluate: (users that the report is about, its part) of all partitions of a shard.

    finish: the answer of the merged part.

    answer: its type.

    nothing: the part if no partition has one, None if there is no answer then.

    warm_up: questions about the artificial events A and B that reach all its kernels.

    people: the fields that count users, if they need no further rule.
    """

    part: type[Part]
    answer: type
    check: Callable[[Asked, Binder], object]
    evaluate: Callable[[Asked, ReportRun], tuple[int, Part]]
    finish: Callable[[Asked, Part, tree.Context], Finished]
    nothing: Part | None = None
    warm_up: tuple[str, ...] = ()
    people: People | None = None
