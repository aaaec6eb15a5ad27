"""Members of a segment in all partitions of a shard: kernels for what they can evaluate, Python for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from cdp_query import tree
from cdp_query.bind import bound
from cdp_query.bind.bind import Binder
from cdp_query.bind.twins import repeated
from cdp_query.compiled.bound_program import Names
from cdp_query.compiled.populations import populations_of
from cdp_query.compiled.program_parts import Program
from cdp_query.compiled.run import Checkpoint, run
from cdp_query.compiled.shape import can_run, dropped_events, numbered, write
from cdp_query.compiled.weights import Weights
from cdp_query.evaluate.execute import Execution
from cdp_query.evaluate.needs import check_needs
from cdp_query.evaluate.plan import plan
from cdp_query.stats import Meter, NodeStats
from cdp_store.arrays import Bools
from cdp_store.memory.schema import SchemaReading
from cdp_store.memory.view import PartitionView

_GROUP = -1  # the id of parts that are evaluated together; those that are given count down from here


@dataclass(frozen=True, slots=True)
class Members:
    """Of each partition: members bool[row_count], those inside the population only, and (population, members).

    `stats` are the counters of all partitions by node.
    """

    masks: Sequence[Bools]
    counts: Sequence[tuple[int, int]]
    stats: Mapping[int, NodeStats]


def find_members(
    segment: tree.Node, views: Sequence[PartitionView], binder: Binder, checkpoint: Checkpoint, first: int = 0
) -> Members:
    """Members of a segment, whose parts are numbered from `first`."""
    populations = populations_of(views, binder.context)
    return _found(segment, views, populations, binder, checkpoint, first)


def find_rows(segment: tree.Node, view: PartitionView, binder: Binder, checkpoint: Checkpoint) -> Bools:
    """Rows of one partition that satisfy a segment: bool[row_count], rows outside of the population included."""
    return _found(segment, [view], [None], binder, checkpoint, 0).masks[0]


def _found(
    segment: tree.Node,
    views: Sequence[PartitionView],
    populations: Sequence[Bools | None],
    binder: Binder,
    checkpoint: Checkpoint,
    first: int,
) -> Members:
    names = numbered(segment, binder, views)
    shape = binder.bind(segment, names, first)
    again = repeated(shape) if binder.facts(segment).twins else frozenset[int]()
    work = _Segment(segment, views, populations, binder, checkpoint, first, names, again)
    if can_run(shape, work.dropped()):
        return work.run_whole(shape)
    return work.run_mixed(shape)


@dataclass(frozen=True, slots=True)
class _Segment:
    segment: tree.Node
    views: Sequence[PartitionView]
    populations: Sequence[Bools | None]
    binder: Binder
    checkpoint: Checkpoint
    first: int
    names: SchemaReading
    repeated: frozenset[int]

    def dropped(self) -> frozenset[int]:
        """Numbers of the events of which retention has dropped some, in any partition."""
        return dropped_events(self.names, self.views)

    def run_whole(self, shape: bound.BoundNode) -> Members:
        """All of it by kernels."""
        names = Names.of(self.names)
        program = Program(Weights.of(self.views, names).weigh)
        write(program, shape, self.repeated)
        found = [
            run(
                program,
                names,
                self.views[portion],
                self.populations[portion],
                self.binder.context,
                self.checkpoint,
                partial(self._mask_of, portion.start),
            )
            for portion in program.portions(len(self.views))
        ]
        masks = [mask for each in found for mask in each.members]
        counts = [sizes for each in found for sizes in each.counts]
        return Members(masks, counts, _added(each.stats for each in found))

    def run_mixed(self, shape: bound.BoundNode) -> Members:
        """Members by kernels where they can evaluate a part, then by Python for the rows that this leaves open."""
        dropped = self.dropped()
        roots = list[bound.BoundNode]()
        mixed = _split(shape, dropped, roots)
        run = frozenset(
            number for number, part in enumerate(bound.parts_of(shape), self.first) if can_run(part, dropped)
        )
        found = [self.run_whole(root) for root in roots]
        masks, counts, stats = list[Bools](), list[tuple[int, int]](), [each.stats for each in found]
        for number, view in enumerate(self.views):
            execution = Execution(view, self.binder.context, Meter(), self.checkpoint)
            population = self.populations[number]
            planned = plan(_joined(mixed, self._bound(view, run), [each.masks[number] for each in found]), view)
            check_needs(planned, view)
            mask = execution.members(planned)
            masks.append(mask if population is None else mask & population)
            size = view.row_count if population is None else int(np.count_nonzero(population))
            counts.append((size, int(np.count_nonzero(masks[-1]))))
            stats.append(execution.meter.nodes())
        return Members(masks, counts, {node: own for node, own in _added(stats).items() if node > _GROUP})

    def _bound(self, view: PartitionView, skipped: frozenset[int] = frozenset()) -> bound.BoundNode:
        return self.binder.bind(self.segment, view.schema, self.first, skipped)

    def _mask_of(self, start: int, number: int, node: int, meter: Meter) -> Bools:
        view = self.views[start + number]
        execution = Execution(view, self.binder.context, meter, self.checkpoint)
        part = next(part for part in bound.parts_of(self._bound(view)) if part.id == node)
        check_needs(part, view)
        return execution.mask(part)


def _added(stats: Iterable[Mapping[int, NodeStats]]) -> Mapping[int, NodeStats]:
    whole = Meter()
    for each in stats:
        whole.add(each)
    return whole.nodes()


@dataclass(frozen=True, slots=True)
class _Run:
    """A part that is a root of its own, by its number among them."""

    root: int


@dataclass(frozen=True, slots=True)
class _Mixed:
    """A group or negation of which only some is run: what becomes of each item, and the root of those run together."""

    items: tuple[_Shape, ...]
    root: int | None


_Shape = _Run | _Mixed | None  # None: as it is


def _split(node: bound.BoundNode, dropped: frozenset[int], roots: list[bound.BoundNode]) -> _Shape:
    """Form of a part for `_joined`; appends the parts for kernels to `roots`, those of one group as one."""
    if can_run(node, dropped):
        roots.append(node)
        return _Run(len(roots) - 1)
    match node:
        case bound.BoundAll(items=items) | bound.BoundAny(items=items):
            together = tuple(item for item in items if can_run(item, dropped))
            root = None
            if together:
                roots.append(together[0] if len(together) == 1 else replace(node, id=_GROUP, items=together))
                root = len(roots) - 1
            rest = tuple(_Run(-1) if can_run(item, dropped) else _split(item, dropped, roots) for item in items)
            return _Mixed(rest, root)
        case bound.BoundNot(item=item):
            return _Mixed((_split(item, dropped, roots),), None)
    return None


def _joined(shape: _Shape, node: bound.BoundNode, given: Sequence[Bools]) -> bound.BoundNode:
    """A segment bound for one partition, with the masks of what was run in their places."""
    match shape:
        case None:
            return node
        case _Run(root):
            return bound.BoundGiven(_GROUP - root, given[root])
        case _Mixed(items, root):
            match node:
                case bound.BoundAll(items=parts) | bound.BoundAny(items=parts):
                    rest = [
                        _joined(item, part, given) for item, part in zip(items, parts, strict=True) if item != _Run(-1)
                    ]
                    first = [] if root is None else [bound.BoundGiven(_GROUP - root, given[root])]
                    return replace(node, items=(*first, *rest))
                case bound.BoundNot(item=part):
                    return replace(node, item=_joined(items[0], part, given))
    raise AssertionError("a segment has the same form in every partition")
