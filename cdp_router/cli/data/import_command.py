"""`cdp import`: loads files into a cluster."""

from __future__ import annotations

import dataclasses
import difflib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from cdp_router.cli.console import DEFAULT_ADDRESS, ERR, OUT, Address, connected, fail, parse_instant
from cdp_router.cli.data.import_notes import notes
from cdp_router.cli.data.importing import BATCHES_IN_FLIGHT, Rejections, _Loading
from cdp_router.cli.data.row_mapping import AUTO, ColumnMapping, is_time
from cdp_router.cli.data.sources import Source, SourceInvalid, open_source
from cdp_router.cli.interrupts import INTERRUPTED
from cdp_router.cli.terminal_tables import Table
from cdp_router.client import Client
from cdp_router.importing.read_options import BINARIES, NULLS, Reading
from cdp_router.importing.texts import known_encoding
from cdp_router.printable import count_of, visible
from cdp_router.records.instants import PER_SECOND
from cdp_store.values import to_ms

_FORMATS: Final = ("ndjson", "csv", "parquet")
_MAPPED: Final = ("user_id", "anonymous_id", "event", "time", "message_id", "properties", "attributes")
_Text = str | None
_REPEAT: Final = "Run the same command again: records taken before are known, and are not taken twice"


_Files = Annotated[list[Path], typer.Argument(help="NDJSON, CSV or Parquet files.", show_default=False)]
_FileFormat = Annotated[_Text, typer.Option("--format", help="ndjson, csv or parquet. [default: by the file's name]")]
_UserId = Annotated[_Text, typer.Option(help="Column of the user id. [default: user_id]")]
_AnonymousId = Annotated[_Text, typer.Option(help="Column of the anonymous id. [default: anonymous_id]")]
_Event = Annotated[_Text, typer.Option(help="Column of the event name. [default: event or event_name]")]
_EventName = Annotated[_Text, typer.Option(help="Name of the event where no column holds it.")]
_Time = Annotated[_Text, typer.Option(help="Column of the time. [default: time, ts or timestamp]")]
_TimeUnit = Annotated[
    str,
    typer.Option(
        help="Unit of times given as numbers: s, ms, us or ns; auto: by their size, in the years 1990 to 2099."
    ),
]
_DefaultTime = Annotated[_Text, typer.Option(help="Time of records that have none.")]
_MessageId = Annotated[_Text, typer.Option(help="Column of the message id. [default: message_id]")]
_Properties = Annotated[_Text, typer.Option(help="Column of properties as a map or JSON. [default: properties]")]
_Attributes = Annotated[
    _Text,
    typer.Option(
        help="Column of attributes as a map or JSON; rows without event change attributes. [default: attributes]"
    ),
]
_Profiles = Annotated[
    bool, typer.Option("--profiles", help="Rows without event change attributes: unmapped columns are those.")
]
_Times = Annotated[_Text, typer.Option(help="Properties and attributes that are times: NAME,NAME.")]
_AsText = Annotated[_Text, typer.Option(help="Columns whose values are kept as text: NAME,NAME.")]
_Skip = Annotated[_Text, typer.Option(help="Columns to leave out: NAME,NAME.")]
_Binary = Annotated[_Text, typer.Option(help="Form of bytes in Parquet: text, hex or base64.")]
_Nulls = Annotated[
    _Text,
    typer.Option(
        help="Meaning of null in a map of attributes: absent (no change) or unset. [default: unset in JSON and maps;"
        " absent in structs of Parquet, which have every field in every row]"
    ),
]
_Missing = Annotated[
    _Text, typer.Option(help="Texts of CSV that mean no value, such as NULL: TEXT,TEXT. [default: the empty text]")
]
_Encoding = Annotated[
    _Text, typer.Option(help="Encoding of NDJSON and CSV, such as windows-1252 or utf-16. [default: utf-8]")
]
_Delimiter = Annotated[_Text, typer.Option(help="Separator of CSV columns. [default: by the header]")]
_AsNew = Annotated[
    _Text,
    typer.Option(
        help="Label of files whose records are new, even if equal ones were taken from other files.", metavar="LABEL"
    ),
]


def import_files(
    files: _Files,
    address: Address = DEFAULT_ADDRESS,
    file_format: _FileFormat = None,
    user_id: _UserId = None,
    anonymous_id: _AnonymousId = None,
    event: _Event = None,
    event_name: _EventName = None,
    time: _Time = None,
    time_unit: _TimeUnit = AUTO,
    default_time: _DefaultTime = None,
    message_id: _MessageId = None,
    properties: _Properties = None,
    attributes: _Attributes = None,
    profiles: _Profiles = False,
    times: _Times = None,
    as_text: _AsText = None,
    skip: _Skip = None,
    binary: _Binary = None,
    nulls: _Nulls = None,
    missing: _Missing = None,
    encoding: _Encoding = None,
    delimiter: _Delimiter = None,
    as_new: _AsNew = None,
) -> None:
    """Load files of events or attributes. Columns that are not mapped become properties.

    Running it again is safe: records are known by their message id, or by their content.
    """
    _check("--format", file_format, _FORMATS)
    _check("--time-unit", time_unit, (AUTO, *PER_SECOND))
    _check("--binary", binary, BINARIES)
    _check("--nulls", nulls, NULLS)
    default_time_ms = None if default_time is None else to_ms(parse_instant(default_time, "--default-time"))
    mapping = ColumnMapping(
        user_id, anonymous_id, event, time, message_id, properties, attributes, event_name, default_time_ms, time_unit,
        times=_names(times), as_text=frozenset(_names(as_text)), profiles=profiles, nulls=nulls,
    )  # fmt: skip
    reading = Reading(
        _known_encoding(encoding), _checked_delimiter(delimiter), frozenset(_names(as_text)), frozenset(_names(skip)),
        binary, nulls, frozenset(_names(missing)), lambda text: is_time(text, mapping),
        frozenset((properties or "properties", attributes or "attributes", "traits")),
    )  # fmt: skip
    try:
        sources = [open_source(path, file_format, reading, mapping) for path in files]
        _check_columns(sources, mapping)
        _check_paths(sources, {"--skip": skip, "--times": times, "--as-text": as_text})
        with connected(address) as client:
            client.check()
            _load_all(client, mapping, reading, sources, as_new or "")
    except SourceInvalid as error:
        fail(str(error))


def _check(option: str, given: str | None, known: Sequence[str]) -> None:
    if given is not None and given not in known:
        fail(f"{option} {given!r} is unknown; use {', '.join(known[:-1])} or {known[-1]}", 2)


def _names(given: str | None) -> tuple[str, ...]:
    return tuple(name for name in (given or "").split(",") if name)


def _known_encoding(given: str | None) -> str | None:
    try:
        return None if given is None else known_encoding(given)
    except LookupError:
        fail(
            f"--encoding {given!r} is unknown; use utf-8, utf-16, windows-1252, latin-1 or another name of Python's", 2
        )


def _checked_delimiter(given: str | None) -> str | None:
    found = "\t" if given == "\\t" else given
    if found is not None and (len(found) != 1 or found in '"\r\n'):
        fail(f"--delimiter {given!r} must be one character, such as ';' or '\\t'", 2)
    return found


def _check_columns(sources: Sequence[Source], mapping: ColumnMapping) -> None:
    """Ends the command where a column that an option names is in no file."""
    there = list(dict.fromkeys(name for source in sources for name in source.names))
    for role in _MAPPED:
        given = getattr(mapping, role)
        if given is None or given in there or not there:
            continue
        _fail_column(f"--{role.replace('_', '-')}", given, there, there)


def _check_paths(sources: Sequence[Source], options: Mapping[str, str | None]) -> None:
    """Ends the command where a column or path that an option lists is in no file."""
    there = list(dict.fromkeys(name for source in sources for name in source.paths.names))
    known = [*there, *sorted({path for source in sources for path in source.paths.inner})]
    for option, given in ((option, given) for option, text in options.items() for given in _names(text)):
        paths = [source.paths for source in sources]
        if any(each.has(given) if option == "--skip" else each.may_hold(given) for each in paths):
            continue
        sampled = [source for source in sources if source.paths.sampled]
        if there and not sampled:
            _fail_column(option, given, there, known)
        for source in sampled:
            count = f"{source.paths.sampled:,} records of {source.path.name}"
            ERR.print(f"note: {option} {given!r}: there is no such column in the first {count}", soft_wrap=True)


def _fail_column(option: str, given: str, there: Sequence[str], known: Sequence[str]) -> NoReturn:
    near = difflib.get_close_matches(given, known, 1)
    suggestion = f"; did you mean {near[0]!r}?" if near else "."
    fail(f"{option} {given!r}: there is no such column{suggestion} The columns are {', '.join(map(repr, there))}", 2)


def _load_all(client: Client, mapping: ColumnMapping, reading: Reading, sources: Sequence[Source], label: str) -> None:
    for source in sources:
        for note in notes(source, mapping):
            ERR.print(f"note: {source.path.name}: {note}", soft_wrap=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} records"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=OUT) as progress, ThreadPoolExecutor(BATCHES_IN_FLIGHT) as threads:
        started = time.monotonic()
        loading, broken, is_interrupted = _Loading(client, mapping, threads, progress, reading, label), "", False
        try:
            for source in sources:
                loading.load(source, progress.add_task(source.path.name, total=source.size, rows=0))
        except SourceInvalid as error:
            broken = str(error)
        except KeyboardInterrupt:
            is_interrupted = True
            loading.interrupt()
        seconds = time.monotonic() - started
    _summarise(loading, seconds)
    if is_interrupted:
        ERR.print(f"interrupted: {loading.acknowledged}. {_REPEAT}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED)
    if broken:
        fail(broken)
    rejected = sum(loading.rejections.counts.values())
    if rejected:
        raise typer.Exit(1)
    if not loading.accepted + loading.duplicates + loading.quarantined:
        fail(f"nothing was read: there are no records in {', '.join(source.path.name for source in sources)}")


def _summarise(loading: _Loading, seconds: float) -> None:
    rejected = sum(loading.rejections.counts.values())
    rate = (loading.accepted + loading.duplicates) / seconds if seconds else 0.0
    OUT.print(
        f"{count_of(loading.accepted, 'record')} taken, {loading.duplicates:,} known already, {rejected:,} rejected"
        f" in {seconds:.1f} s ({rate:,.0f} records/s, durable)"
    )
    if loading.quarantined:
        OUT.print(f"{count_of(loading.quarantined, 'record is', 'records are')} in quarantine (`cdp quarantine list`)")
    for told in (loading.warnings, loading.rejections):
        if told.counts:
            OUT.print(_told(told))


def _told(told: Rejections) -> Table:
    table = Table("reason", "records", "for example", box=None, pad_edge=False)
    for code, count in sorted(told.counts.items(), key=lambda entry: -entry[1]):
        table.add_row(code, f"{count:,}", Text("\n".join(map(visible, told.examples[code]))))
    return table


assert {field.name for field in dataclasses.fields(ColumnMapping)} >= set(_MAPPED), "every option is a column's role"
