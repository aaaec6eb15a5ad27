"""A person's export as files: one JSON document, or a folder of Parquet tables; written in pieces."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from io import TextIOBase
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from cdp.v1 import profile_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

EVENTS_FILE: Final = "events.parquet"
CHANGES_FILE: Final = "attributes.parquet"
PERSON_FILE: Final = "person.json"
_PART: Final = ".part"  # suffix of an incomplete file
_VALUE_KINDS: Final = ("boolean", "integer", "number", "text", "time", "list")
_CAME_IN: Final = ("source_kind", "source_id", "message_id", "received", "partition", "sequence", "envelope")


class ExportIncomplete(Exception):
    """The stream of an export ended before its end."""

    def __init__(self) -> None:
        super().__init__("the export broke off and is incomplete; export again")


def write_json(
    responses: Iterable[profile_pb2.ExportProfileResponse], out: IO[str] | TextIOBase
) -> profile_pb2.ExportEnd:
    """Writes one document: the person, records in order of time, their profiles, and the number of records."""
    profiles, end, separator = list[Any](), None, "\n"
    for response in responses:
        match response.WhichOneof("part"):
            case "person":
                out.write(f'{{"person": {json.dumps(_plain(response.person), ensure_ascii=False)},\n"records": [')
            case "profile":
                profiles.append(_plain(response.profile))
            case "records":
                for record in _records(response.records):
                    out.write(separator + json.dumps(record, ensure_ascii=False))
                    separator = ",\n"
            case "end":
                end = response.end
    if end is None:
        raise ExportIncomplete
    totals = {"events": end.events, "changes": end.changes}
    out.write(f'\n],\n"profiles": {json.dumps(profiles, ensure_ascii=False)},\n"totals": {json.dumps(totals)}}}\n')
    return end


def write_json_file(responses: Iterable[profile_pb2.ExportProfileResponse], path: Path) -> profile_pb2.ExportEnd:
    """Writes that document to a file, which gets its name when it is complete."""
    part = path.with_name(f"{path.name}{_PART}")
    with part.open("w", encoding="utf-8") as out:
        end = write_json(responses, out)
    part.rename(path)
    return end


def write_parquet(responses: Iterable[profile_pb2.ExportProfileResponse], folder: Path) -> profile_pb2.ExportEnd:
    """Writes events and values of attributes as two Parquet files, the rest as JSON.

    They are in a folder that gets its name when it is complete.
    """
    part = folder.with_name(f"{folder.name}{_PART}")
    part.mkdir(parents=True, exist_ok=True)
    person, end = dict[str, Any](), None
    with ExitStack() as stack:
        tables = _Tables(part, stack)
        for response in responses:
            match response.WhichOneof("part"):
                case "person":
                    person["person"] = _plain(response.person)
                case "profile":
                    person.setdefault("profiles", []).append(_plain(response.profile))
                case "records":
                    tables.write(response.records)
                case "end":
                    end = response.end
        tables.finish()
    if end is None:
        raise ExportIncomplete
    person["totals"] = {"events": end.events, "changes": end.changes}
    (part / PERSON_FILE).write_text(json.dumps(person, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    part.rename(folder)
    return end


class _Tables:
    """The two Parquet files, opened once their columns are known."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._writers = dict[str, Any]()

    def write(self, stream: bytes) -> None:
        """Adds records."""
        with pa.ipc.open_stream(stream) as reader:
            self._split(reader.read_all())

    def finish(self) -> None:
        """Writes a file without rows for each table that got no records."""
        for name in (EVENTS_FILE, CHANGES_FILE):
            if name not in self._writers:
                self._write(name, _no_records())

    def _split(self, records: pa.Table) -> None:
        is_change = pc.is_null(records.column("event"))
        events = records.filter(pc.invert(is_change))
        self._write(EVENTS_FILE, events.rename_columns({"values": "properties"}))
        changes = records.filter(is_change).drop_columns(["event"])
        # A change concerns one attribute, so its only value has columns of its own.
        values = changes.column("values").combine_chunks().flatten()
        at = changes.schema.get_field_index("values")
        changes = changes.remove_column(at)
        for name in reversed(("attribute", *_VALUE_KINDS)):
            is_name = name == "attribute"
            column = pc.struct_field(values, "name" if is_name else name)
            changes = changes.add_column(at, name if is_name else f"value_{name}", column)
        self._write(CHANGES_FILE, changes)

    def _write(self, name: str, table: pa.Table) -> None:
        writer = self._writers.get(name)
        if writer is None:
            path = self._folder / name
            writer = self._writers[name] = self._stack.enter_context(pq.ParquetWriter(path, table.schema))
        if table.num_rows:
            writer.write_table(table)


def _no_records() -> pa.Table:
    return pa.table({"time": pa.array([], pa.timestamp("ms", tz="UTC"))})


def _records(stream: bytes) -> Iterator[dict[str, Any]]:
    """Records similar to those of ingested files: an event with properties, or attributes, with the time."""
    with pa.ipc.open_stream(stream) as reader:
        for row in reader.read_all().to_pylist():
            record: dict[str, Any] = {} if row["event"] is None else {"event": row["event"]}
            record["time"] = row["time"].isoformat()
            what = "attributes" if row["event"] is None else "properties"
            record[what] = {value["name"]: _value(value) for value in row["values"]}
            for name in _CAME_IN:
                if row[name] is not None:
                    record[name] = row[name].isoformat() if name == "received" else row[name]
            yield record


def _value(value: Mapping[str, Any]) -> Any:
    """A value in JSON; null for an attribute that was removed."""
    for kind in _VALUE_KINDS:
        found = value[kind]
        if found is not None:
            return json.loads(found) if kind == "list" else found.isoformat() if kind == "time" else found
    return None


def _plain(message: Message) -> Any:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)
