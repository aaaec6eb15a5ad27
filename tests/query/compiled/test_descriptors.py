"""Tables of addresses: one of each kind for a view, however many questions make it at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

import pytest

from cdp_query import pipeline, tree
from cdp_query.bind.bind import Binder
from cdp_query.compiled import descriptors
from cdp_query.compiled.bound_program import Names, bind_program
from cdp_query.compiled.descriptors import ChunkTable, ColumnTable
from cdp_query.compiled.program_parts import Program
from cdp_query.compiled.shape import numbered, write
from cdp_store.columns.column import EventColumn
from cdp_store.events.chunk import EventChunk
from cdp_store.memory.view import PartitionView
from tests.raw_records import Change, Event, user
from tests.shards import Shards

_SUM = 'sum("A".x, y > 0) > 0 and n > 3'


def view_of_events() -> PartitionView:
    """A view with sealed events of two names, each with two properties, and an attribute."""
    shards = Shards()
    shards.apply([Event(user(f"u{number}"), "AB"[number % 2], number, {"x": number, "y": 1}) for number in range(20)])
    shards.apply([Change(user(f"u{number}"), 1, {"n": number}) for number in range(20)])
    shards.seal()
    [view] = shards.capture()
    return view


def test_two_questions_that_make_a_table_at_once_use_one(monkeypatch: pytest.MonkeyPatch) -> None:
    view, others = view_of_events(), list[object]()
    name, prop, attribute = view.schema.events["A"], view.schema.properties["x"], view.schema.attributes["n"]
    chunk_row, column_row = descriptors._chunk_row, descriptors.column_row

    def make(kind: str) -> object:
        match kind:
            case "chunks":
                return descriptors.chunk_table(view, (name,))
            case "property":
                return descriptors.property_table(view, descriptors.chunk_table(view, (name,)), prop)
        return descriptors.attribute_table(view, attribute)

    def overtaken_chunk(chunk: EventChunk) -> tuple[int, ...]:
        monkeypatch.setattr(descriptors, "_chunk_row", chunk_row)
        others.append(make("chunks"))  # another thread, between the look and the making
        return chunk_row(chunk)

    def overtaken_column(column: EventColumn) -> tuple[int, ...]:
        monkeypatch.setattr(descriptors, "column_row", column_row)
        others.append(make(kind))
        return column_row(column)

    monkeypatch.setattr(descriptors, "_chunk_row", overtaken_chunk)
    assert make("chunks") is others.pop()
    for kind in ("property", "attribute"):
        monkeypatch.setattr(descriptors, "column_row", overtaken_column)
        assert make(kind) is others.pop()


def test_a_name_that_a_partition_does_not_know_leaves_nothing_with_its_view() -> None:
    view, context = view_of_events(), tree.Context(10**9)
    pipeline.evaluate_all(pipeline.read(_SUM, None), [view], Binder(context))
    known = set(view.tables)
    for text in (
        'sum("A".unseen, y > 0) > 0 and unseen > 3',
        'sum("A".x, unseen > 0) > 0',
        'count("Unseen", z = 1) > 0',
    ):
        pipeline.evaluate_all(pipeline.read(text, None), [view], Binder(context))
    assert not [key for key in set(view.tables) - known if "unseen" in repr(key).lower()]


def test_what_a_program_names_outlives_the_tables_of_its_view() -> None:
    view, context = view_of_events(), tree.Context(10**9)
    binder, segment = Binder(context), pipeline.segment_of(pipeline.read(_SUM, None))
    numbers = numbered(segment, binder, [view])
    program = Program(lambda _: 0.0)
    write(program, binder.bind(segment, numbers), frozenset())
    bound = bind_program(program, Names.of(numbers), [view], [None], context.as_of_ms)
    tables = [table for table in view.tables.values() if isinstance(table, ChunkTable | ColumnTable)]
    assert len(tables) == 4
    held = {id(part) for part in _parts_of([part for part in bound.kept if part is not view])}
    assert all(id(table) in held for table in tables)


def _parts_of(whole: object) -> Iterator[object]:
    """A kept object, and what its items or fields hold."""
    yield whole
    inside = [getattr(whole, field.name) for field in fields(whole)] if is_dataclass(whole) else whole
    for part in inside if isinstance(inside, list | tuple) else ():
        yield from _parts_of(part)
