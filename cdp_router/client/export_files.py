"""Everything that a cluster holds as a folder of files, one per kind of record; `cdp import` reads them back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
from cdp.v1 import export_pb2

from cdp_router.client.table_files import JSON, FileFormat, TableFile, whole_folder
from cdp_router.contract.arrow_streams import INSTANT, VALUE, VALUES, from_stream

_OWNER: Final = [("profile_kind", pa.large_string()), ("profile_id", pa.large_string())]
_TIME: Final = ("time", INSTANT)
_VALUES: Final = (VALUES, pa.list_(VALUE))
_LINKED: Final = [("linked_kind", pa.large_string()), ("linked_id", pa.large_string())]
_TIMES: Final = "time_properties"
_EVENT: Final = ("event", pa.string())


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of record: the name of its file, its columns, and the name of its values in CSV and NDJSON."""

    name: str
    schema: pa.Schema
    values: str = ""

    def text_schema(self) -> pa.Schema:
        """The columns of CSV, where values are JSON."""
        if not self.values:
            return self.schema
        rest = [each for each in self.schema if each.name != VALUES]
        return pa.schema([*rest, *(pa.field(name, pa.string(), metadata=JSON) for name in (self.values, _TIMES))])


_KINDS: Final[Mapping[int, _Kind]] = {
    export_pb2.RECORD_KIND_LINK: _Kind("links", pa.schema([*_OWNER, *_LINKED, _TIME])),
    export_pb2.RECORD_KIND_PROFILE: _Kind("profiles", pa.schema([*_OWNER, _TIME])),
    export_pb2.RECORD_KIND_ATTRIBUTE: _Kind("attributes", pa.schema([*_OWNER, _TIME, _VALUES]), "attributes"),
    export_pb2.RECORD_KIND_EVENT: _Kind("events", pa.schema([*_OWNER, _TIME, _EVENT, _VALUES]), "properties"),
}


class RecordsIncomplete(Exception):
    """The stream of an export ended before its end."""

    def __init__(self) -> None:
        super().__init__("the export broke off and is incomplete; export again")


@dataclass(slots=True)
class Exported:
    """Results of an export: records written by kind, and events left out because retention kept only their counts."""

    records: dict[str, int] = field(default_factory=dict)
    dropped_events: int = 0


def write_records(
    responses: Iterable[export_pb2.ExportRecordsResponse],
    folder: Path,
    file_format: FileFormat,
    progress: Callable[[int], None],
) -> Exported:
    """Writes the files links, profiles, attributes and events; the folder gets its name when all are complete.

    `progress` receives the number of records written. RecordsIncomplete where the stream broke off.
    """
    end: export_pb2.ExportRecordsEnd | None = None
    with whole_folder(folder) as part:
        with ExitStack() as stack:
            files = {kind: stack.enter_context(_opened(part, each, file_format)) for kind, each in _KINDS.items()}
            for response in responses:
                if response.HasField("end"):
                    end = response.end
                    continue
                kind = response.table.kind
                for batch in _batches(_KINDS[kind], from_stream(response.table.arrow), file_format):
                    files[kind].write(batch)
                progress(response.table.rows)
        if end is None:
            raise RecordsIncomplete
    return Exported({_KINDS[kind].name: file.rows for kind, file in files.items()}, end.dropped_events)


def _opened(folder: Path, kind: _Kind, file_format: FileFormat) -> TableFile:
    path = folder / f"{kind.name}.{file_format}"
    schema = kind.schema if file_format is FileFormat.PARQUET else kind.text_schema()
    return TableFile(path, file_format, schema)


def _batches(kind: _Kind, table: pa.Table, file_format: FileFormat) -> Iterator[pa.RecordBatch]:
    table = table.select(kind.schema.names).cast(kind.schema)
    if file_format is not FileFormat.PARQUET and kind.values:
        table = _in_json(kind, table)
    yield from table.to_batches()


def _in_json(kind: _Kind, table: pa.Table) -> pa.Table:
    """The values of each record as one JSON object, alongside a list of those that are times."""
    encode = msgspec.json.Encoder().encode
    objects, times = list[bytes](), list[bytes | None]()
    for values in table.column(VALUES).to_pylist():
        plain = {value["name"]: _plain(value) for value in values}
        own = [value["name"] for value in values if value["time"] is not None]
        objects.append(encode(plain))
        times.append(encode(own) if own else None)
    rest = table.drop_columns([VALUES])
    columns = [*rest.columns, pa.array(objects, pa.string()), pa.array(times, pa.string())]
    return pa.table(columns, schema=kind.text_schema())


def _plain(value: Mapping[str, Any]) -> Any:
    """A value in JSON; null for an attribute that was removed."""
    for name, found in value.items():
        if name != "name" and found is not None:
            return msgspec.Raw(found.encode()) if name == "list" else found
    return None
