"""A defect at any line of what is done with a log record: the store stops, and a start has it once or not at all."""

from __future__ import annotations

import ast
import random
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

import cdp_store
from cdp_store.directory.documents import Document
from cdp_store.directory.holdings import Holding, HoldingState
from cdp_store.directory.shard_directory import ShardIdentity
from cdp_store.errors import StoreError, StoreFailed
from cdp_store.identity.identity_changes import Arrival, Farewell
from cdp_store.ids import PartitionId, SequenceNumber, encode_identifier
from cdp_store.log.format import LogRecord, RecordKind
from cdp_store.outside.seams import OsFiles
from cdp_store.partition.quarantine import Released
from cdp_store.records.records import encode_batch
from cdp_store.shard.admission import Delivery
from cdp_store.shard.handover import Taking
from cdp_store.shard.retaining import Retaining
from cdp_store.shard.store import Store
from tests.raw_records import Event
from tests.shards import KEY, batch_of
from tests.store.linked_pair import (
    DAY,
    DEPARTURE,
    DEVICE,
    GIVER,
    LINK,
    LINKS,
    QUARANTINED,
    RECALL,
    RECORDS,
    SEATING,
    STAYING,
    SUPPRESSION,
    TAKEN,
    TAKER,
    first_records,
)
from tests.store.partition_state import state_of

IDENTITY = ShardIdentity("failing", 0, (0, 1))
HERE, THERE = PartitionId(GIVER), PartitionId(TAKER)
_PACKAGE: Final = str(Path(cdp_store.__file__).parent)
_LINES_OF_A_USUAL_RUN: Final = 4  # of each step, drawn anew each time
_LINES_OF_A_LONG_RUN: Final = 200


class Broken(MemoryError):
    """What is raised; any other error would do as well."""


@dataclass(frozen=True)
class Step:
    """Something that is logged, after some steps before it."""

    name: str
    work: Callable[[Store], object]
    before: tuple[Callable[[Store], object], ...] = ()


def _first(store: Store) -> None:
    store.commit([Delivery(PartitionId(home), batch_of(first_records(home))) for home in (0, 1)])
    store.change_identity(HERE, LINK)


def _arrive(store: Store) -> None:
    opened = store.partitions[HERE].identity.transfers.open[THERE]
    assert store.change_identity(THERE, Arrival(HERE, opened.number, opened.parcel))


def _leave(store: Store) -> None:
    store.change_identity(HERE, Farewell(THERE, store.partitions[HERE].identity.transfers.open[THERE].number))


def _depart(store: Store) -> None:
    assert store.change_identity(HERE, DEPARTURE)


def _keep_apart(store: Store) -> None:
    assert store.quarantine(HERE, QUARANTINED)


def _release(store: Store) -> None:
    [at] = store.partitions[HERE].quarantine.entries
    assert store.quarantine(HERE, Released({at: (0,)}))


def _set_rule(store: Store) -> None:
    Retaining(store).set_retention({"View": 30}, 0)


def _receive(store: Store) -> None:
    """Tail of a partition from another shard; here it is one that is held already."""
    partition = store.partitions[HERE]
    numbers = range(partition.sequence + 1, partition.sequence + 3)
    batches = [batch_of([Event(STAYING[0], "Tail", number)]) for number in numbers]
    Taking(store, OsFiles()).receive(
        partition,
        [
            LogRecord(HERE, SequenceNumber(number), RecordKind.BATCH, encode_batch(batch), 0, 0)
            for number, batch in zip(numbers, batches, strict=True)
        ],
    )


STEPS = [
    Step("batches", lambda store: store.commit([Delivery(HERE, RECORDS), Delivery(THERE, RECORDS, links=LINKS)])),
    Step("links", lambda store: store.change_identity(HERE, LINKS)),
    Step("departure", _depart),
    Step("arrival", _arrive, (_depart,)),
    Step("farewell", _leave, (_depart, _arrive)),
    Step("recall", lambda store: store.change_identity(THERE, RECALL), (_depart, _arrive, _leave)),
    Step("seating", lambda store: store.change_identity(HERE, SEATING)),
    Step("messages taken elsewhere", lambda store: store.change_identity(HERE, TAKEN)),
    Step("erasure", lambda store: store.erase(HERE, [encode_identifier(*DEVICE)])),
    Step("suppression", lambda store: store.suppress(SUPPRESSION, [HERE, THERE])),
    Step("quarantine", _keep_apart),
    Step("release", _release, (_keep_apart,)),
    Step("rule of retention", _set_rule),
    Step("overdue events", lambda store: Retaining(store).retain(60 * DAY), (_set_rule,)),
    Step("tail", _receive),
    Step("document", lambda store: store.documents.put(HERE, "name", 0, b"content")),
    Step("holding", lambda store: store.holdings.change(THERE, Holding(HoldingState.RELEASED, 2, 1))),
]


@cache
def _with_lines(path: str) -> frozenset[int]:
    """The lines of `with` statements. A trace sees them again at the end of a block, before what they hold is let go:
    raised there, an error leaves a lock taken for ever, which none of the program's own can."""
    nodes = ast.walk(ast.parse(Path(path).read_text()))
    return frozenset(node.lineno for node in nodes if isinstance(node, ast.With))


class RaisesAtLine:
    """Lines of the store that are run: counts them, and raises at one."""

    def __init__(self, number: int = -1) -> None:
        self._number, self.lines, self.where = number, 0, ""

    def run(self, work: Callable[[], object]) -> None:
        """Run work under it."""
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            work()
        finally:
            sys.settrace(before)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        if event == "line" and frame.f_lineno not in _with_lines(frame.f_code.co_filename):
            self.lines += 1
            if self.lines == self._number:
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                raise Broken(self.where)
        return self._trace


def _opened(directory: Path) -> Store:
    store = Store(directory, IDENTITY, KEY, OsFiles())
    store.recover(lambda *_: None)
    return store


def _held(store: Store) -> object:
    documents: dict[str, Document] = {**store.documents.of(HERE)}
    return (
        [state_of(each, with_names=False) for each in store.partitions.values()],
        documents,
        dict(store.holdings.all()),
    )


def _goes_on(store: Store, number: int) -> None:
    """Take a batch, which is there after a start."""
    [outcome] = store.commit([Delivery(HERE, batch_of([Event(STAYING[0], f"After {number}", 1)]))])
    assert outcome.accepted == 1


class Life:
    """A directory just before a step, and how it looks before and after."""

    def __init__(self, root: Path, step: Step) -> None:
        self._root, self._step = root, step
        store = _opened(root / "start")
        for work in (_first, *step.before):
            work(store)
        self._before = _held(store)
        store.close()
        store, counted = self._copy(), RaisesAtLine()
        counted.run(lambda: step.work(store))
        self._after, self.lines = _held(store), counted.lines
        store.close()

    def fail_at(self, line: int) -> None:
        """The step raises at a line: what was logged shows or the store has stopped, and a start takes the log."""
        store, raising = self._copy(), RaisesAtLine(line)
        try:
            raising.run(lambda: self._step.work(store))
        except StoreFailed:
            self._check_stopped(store)
        except Broken:
            self._check_undecided(store)
        store.close()
        store = _opened(store.directory)
        held = {name for each in store.partitions.values() for name in each.capture().schema.events}
        if "After 0" not in held:
            assert _held(store) in (self._before, self._after), "it is there once or not at all"
        _goes_on(store, 1)
        store.close()
        store = _opened(store.directory)
        store.close()

    def _check_undecided(self, store: Store) -> None:
        """What was logged shows, or nothing was logged; or the store has stopped, and takes nothing more."""
        with suppress(StoreFailed):
            assert _held(store) in (self._before, self._after)
            _goes_on(store, 0)

    def _check_stopped(self, store: Store) -> None:
        with pytest.raises(StoreFailed):
            _goes_on(store, 0)
        with suppress(StoreError):
            store.snapshot(0)  # nothing that was done in part goes into files

    def _copy(self) -> Store:
        directory = self._root / "life"
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(self._root / "start", directory)
        return _opened(directory)


def _failing(life: Life, count: int) -> None:
    for line in random.SystemRandom().sample(range(1, life.lines + 1), min(life.lines, count)):
        try:
            life.fail_at(line)
        except BaseException as error:
            error.add_note(f"raised at line {line} of {life.lines}")
            raise


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_defect_while_something_is_logged_and_done_stops_the_store(tmp_path: Path, step: Step) -> None:
    _failing(Life(tmp_path, step), _LINES_OF_A_USUAL_RUN)


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_defect_at_many_lines_stops_the_store(tmp_path: Path, step: Step) -> None:
    _failing(Life(tmp_path, step), _LINES_OF_A_LONG_RUN)
