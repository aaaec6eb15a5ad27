"""Funnels and flows as keys without profile-read see them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from cdp.v1 import query_pb2, report_pb2

from cdp_query import tree
from cdp_router.security.privacy.blocks import chain, is_apart, merged
from cdp_router.security.privacy.cells import Cells

_SHARES: Final = {"p10": 0.1, "p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95}
_ALIKE_MAX: Final = (
    4  # of the six quantiles; beyond, conversions have one of two times, and the mean reveals how many have which
)


def hide_funnel(response: query_pb2.QueryResponse, question: tree.Question, cells: Cells) -> None:
    """Withholds numbers of a funnel: users of a step reached those before, so two steps give their difference too."""
    report, smallest = response.funnel_report, cells.smallest
    steps = [step.count for step in response.funnel]
    counts_users = isinstance(question, tree.Funnel) and question.mode is not tree.AttemptMode.TOTALS
    told = chain((response.population, *steps), smallest)[1:] if counts_users else chain(steps, smallest)
    wholes = (steps[0], steps[0] - steps[-1])
    is_told = told[0] and all(is_apart(whole, report.incomplete, smallest) for whole in wholes)
    report.incomplete = cells.shown_if(is_told, report.incomplete)
    _hide_groups(report, steps, told, cells)
    for step, is_step_told in zip(response.funnel, told, strict=True):
        step.count = cells.shown_if(is_step_told, step.count)
    response.count = response.funnel[-1].count if response.funnel else 0
    if report.HasField("times"):
        _hide_times(report.times, told[-1], cells)


def _hide_groups(report: report_pb2.FunnelReport, steps: Sequence[int], told: Sequence[bool], cells: Cells) -> None:
    groups = [*report.groups, *([report.rest] if report.HasField("rest") else [])]
    if not groups:
        return
    table = [list(group.steps) for group in groups]
    places = [place for place, is_told in enumerate(told) if is_told]
    is_flat = all(sum(column) == total for column, total in zip(zip(*table, strict=True), steps, strict=True))
    if is_flat:
        shown = _flat_groups(table, places, cells.smallest)
    else:
        shown = _overlapping_groups(table, steps, places, cells.smallest)
    for group, own in zip(groups, shown, strict=True):
        group.steps[:] = [cells.shown_if(place in own, count) for place, count in enumerate(group.steps)]
        if group.HasField("times"):
            _hide_times(group.times, len(group.steps) - 1 in own, cells)
    kept = [group for group, own in zip(report.groups, shown, strict=False) if own]
    if report.HasField("rest") and not shown[-1]:
        report.ClearField("rest")
    del report.groups[:]
    report.groups.extend(kept)


def _flat_groups(table: Sequence[Sequence[int]], places: Sequence[int], smallest: int) -> list[set[int]]:
    """Places of the steps that may be reported for each group. The cells are those of a group between two reported
    steps; they are merged across groups."""
    shown, own_before = [set(places) for _ in table], [set[int]() for _ in table]
    for place, following in pairwise((*places, None)):
        assert place is not None
        between = [row[place] - (0 if following is None else row[following]) for row in table]
        for number in merged(between, smallest):
            own_before[number].add(place)
    for own, parted in zip(shown, own_before, strict=True):
        # A step counts all users who came so far or further: a split cell after it makes it withheld.
        own -= {place for place in own if any(place <= other for other in parted)}
    return [own if places and places[0] in own else set() for own in shown]


def _overlapping_groups(
    table: Sequence[Sequence[int]], steps: Sequence[int], places: Sequence[int], smallest: int
) -> list[set[int]]:
    """The same for users with several values, who are in several groups."""
    shown = list[set[int]]()
    for row in table:
        told = chain([row[place] for place in places], smallest)
        own = {place for place, is_told in zip(places, told, strict=True) if is_told}
        shown.append({place for place in own if is_apart(steps[place], row[place], smallest)})
    for place in places:
        more_than_once = sum(row[place] for row in table) - steps[place]
        telling = [number for number, own in enumerate(shown) if place in own]
        if telling and 0 < more_than_once < smallest:
            shown[min(telling, key=lambda number: table[number][place])].discard(place)
    return [own if places and places[0] in own else set() for own in shown]


def _hide_times(times: report_pb2.ConversionTimes, is_told: bool, cells: Cells) -> None:
    """Withholds times: the least and the most are those of one user, and quantiles may have few users beyond them; the
    mean, times the number of conversions, is a total."""
    converted = times.converted
    times.converted = cells.shown_if(is_told, converted)
    for name, share in _SHARES.items():
        if not times.converted or int(min(share, 1 - share) * converted + 1e-9) < cells.smallest:
            setattr(times, name, 0.0)
    times.shortest = times.longest = times.mean = 0.0


def hide_flow(response: query_pb2.QueryResponse, question: tree.Question, cells: Cells) -> None:
    """Withholds nodes of a flow: anchors of a node end there, continue to a shown node, or to one that is not shown."""
    report, smallest = response.flow, cells.smallest
    nodes = {tuple(node.path): node for node in report.nodes}
    root = nodes.get(())
    anchors = root.count if root is not None else 0
    counts_users = isinstance(question, tree.Flow) and question.anchor is not tree.FlowAnchor.EACH
    is_told = chain((response.population, response.count), smallest)[1]
    ended = sum(node.ended for node in report.nodes)
    is_incomplete_told = is_apart(ended, report.incomplete, smallest) and is_apart(anchors, report.incomplete, smallest)
    report.incomplete = cells.shown_if(is_incomplete_told, report.incomplete)
    kept = list[report_pb2.FlowNode]()
    if root is not None and anchors >= smallest and (is_told or not counts_users):
        kept = _kept_nodes(report.nodes, cells)
    del report.nodes[:]
    report.nodes.extend(kept)
    report.node_count = len(kept)
    response.count = cells.shown_if(is_told and is_apart(anchors, response.count, smallest), response.count)


def _kept_nodes(nodes: Sequence[report_pb2.FlowNode], cells: Cells) -> list[report_pb2.FlowNode]:
    """The nodes that are kept; each comes after its predecessor."""
    following: dict[tuple[str, ...], list[report_pb2.FlowNode]] = {}
    for node in nodes:
        if node.path:
            following.setdefault(tuple(node.path[:-1]), []).append(node)
    kept, shown = list[report_pb2.FlowNode](), set[tuple[str, ...]]([()])
    for node in nodes:
        if (path := tuple(node.path)) in shown:
            children = following.get(path, [])
            block = merged([*(child.count for child in children), node.ended, node.other], cells.smallest)
            hidden = {place for place in block if place < len(children)}
            shown |= {tuple(child.path) for place, child in enumerate(children) if place not in hidden}
            if children or node.ended or node.other:
                node.ended = cells.shown_if(len(children) not in block, node.ended)
                # Anchors that continue to nodes not shown: those of withheld nodes would add to them.
                node.other = cells.shown_if(not hidden and len(children) + 1 not in block, node.other)
            kept.append(node)
    return kept
