"""Import of files into a cluster: pieces of them as batches, and the outcome of each record."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from cdp.v1 import ingest_pb2
from rich.progress import Progress, TaskID

from cdp_router.cli.data.column_mapping import columns_mappable, content_rules, map_columns
from cdp_router.cli.data.outgoing_rows import BATCH_BYTES, EncodedRow, EncodedRows, Waiting, encode_row
from cdp_router.cli.data.row_mapping import EXPORTED, ColumnMapping, RowRejected, WireRow, problem_in, to_row
from cdp_router.cli.data.sources import Columns, CsvTable, Found, Source, fault_found, found_rows
from cdp_router.cli.data.text_rows import TextRows, text_rows
from cdp_router.client import Client
from cdp_router.importing.arrow_hashes import row_hashes
from cdp_router.importing.content_ids import ContentIds, id_column
from cdp_router.importing.read_options import Reading
from cdp_router.limits import COLUMNS_BYTES_MAX, COLUMNS_VALUES
from cdp_router.printable import count_of
from cdp_store.arrays import U8, U64

_ROWS_PER_BATCH: Final = 4000
_COLUMN_BYTES: Final = COLUMNS_BYTES_MAX // 2
_COLUMN_ROWS: Final = 50_000
_ROWS_OF_COLUMNS: Final = 16_384  # of a file that is read by rows
BATCHES_IN_FLIGHT: Final = 4  # of columns
# Of rows: a larger batch would be divided (`flights`), and so lose the id that identifies it as a whole.
_SMALL_BATCHES_IN_FLIGHT: Final = 2
_EXAMPLES: Final = 3
_Chunk = tuple[EncodedRows, int]  # and how far they reach into the file
_USUAL: Final = Reading()
_HINTS: Final = {"INTEGER_OUT_OF_RANGE": "; --as-text takes such a column as text"}


@dataclass(slots=True)
class Rejections:
    """Rejections of records: counts per reason with the first few places."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def count(self, code: str, number: int) -> None:
        """Counts records whose place is unknown."""
        if number:
            self.counts[code] = self.counts.get(code, 0) + number
            self.examples.setdefault(code, [])

    def add(self, code: str, place: str, message: str) -> None:
        self.counts[code] = self.counts.get(code, 0) + 1
        examples = self.examples.setdefault(code, [])
        if len(examples) < _EXAMPLES:
            examples.append(f"{place}: {message}")


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a file as a batch: its encoding, the line or row of each record, its end in the file, and the source of
    its id.
    """

    encoding: str
    content: bytes
    lines: Sequence[int] | npt.NDArray[np.int64]
    done: int
    told: bytes


@dataclass(slots=True)
class _Sent:
    """A batch in flight: the places of its records in the file."""

    source: Source
    piece: _Piece
    result: Future[ingest_pb2.BatchResult]


@dataclass(frozen=True, slots=True)
class _Identified:
    """A batch of columns, the number of rows before it, and for each row the hash of its content and its id."""

    batch: pa.RecordBatch
    before: int
    hashes: U64
    ids: U8


@dataclass(slots=True)
class _Loading:
    """One run of `cdp import` over its files."""

    client: Client
    mapping: ColumnMapping
    threads: ThreadPoolExecutor
    progress: Progress
    reading: Reading = _USUAL
    label: str = ""  # label of files whose records are new, even if equal ones exist
    rejections: Rejections = field(default_factory=Rejections)
    warnings: Rejections = field(default_factory=Rejections)
    quarantined: int = 0
    in_flight: deque[_Sent] = field(default_factory=deque)
    in_order: bool = False  # one batch after the other, in the order of the export
    accepted: int = 0
    duplicates: int = 0
    acknowledged: str = "no record is acknowledged"  # how far, in words

    def load(self, source: Source, task: TaskID) -> None:
        """Sends a file; returns when all of it is acknowledged."""
        self.in_order = False
        ids, before = ContentIds(self.label), self.accepted + self.duplicates
        for piece in self._pieces(source, ids):
            self._send(source, piece)
            self.progress.update(task, completed=piece.done, rows=self.accepted + self.duplicates - before)
            while len(self.in_flight) >= self._in_flight_max(piece):
                self._settle()
        while self.in_flight:
            self._settle()
        self.progress.update(task, completed=source.size, rows=self.accepted + self.duplicates - before)

    def interrupt(self) -> None:
        """Gives up the batches in flight, which the cluster may accept all the same."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.client.close()

    def _in_flight_max(self, piece: _Piece) -> int:
        if self.in_order:
            return 1
        return BATCHES_IN_FLIGHT if piece.encoding == "arrow_columns" else _SMALL_BATCHES_IN_FLIGHT

    def _pieces(self, source: Source, ids: ContentIds) -> Iterator[_Piece]:
        if source.columns is not None:
            return self._pieces_of_columns(source, source.columns, ids)
        plan = None if source.table is None else text_rows(source.table.columns, self.mapping)
        if source.table is None or plan is None:
            return self._pieces_of_rows(source, self._rows(source, source.read()), ids)
        return self._pieces_of_rows(source, self._rows_of_texts(source, source.table, plan), ids)

    def _pieces_of_columns(self, source: Source, columns: Columns, ids: ContentIds) -> Iterator[_Piece]:
        before, self.in_order = 0, EXPORTED in columns.schema.names
        mappable = not self.reading.as_text and columns_mappable(columns.schema, self.mapping)
        rules = content_rules(columns.schema, self.mapping, self.reading)
        for batch in columns.table.batches(_COLUMN_ROWS if mappable else _ROWS_OF_COLUMNS):
            hashes = row_hashes(batch, lambda name: rules.paths.get(name, name)) + rules.lanes
            whole = _Identified(batch, before, hashes, ids.ids_of(hashes))
            for part in _within_limit(whole) if mappable else [whole]:
                mapped = map_columns(part.batch, self.mapping) if mappable else None
                if mapped is None or part.batch.nbytes > _COLUMN_BYTES:
                    records = found_rows(columns.table, part.batch, part.before)
                    yield from self._pieces_of_rows(source, self._rows(source, records, part), ids)
                    continue
                for row, reason in mapped.rejected:
                    self.rejections.add("RECORD_MALFORMED", _place(source, part.before + row + 1), reason)
                if mapped.rows.size:
                    lines = mapped.rows + part.before + 1
                    stream = _arrow_stream(mapped.with_ids(id_column(part.ids[mapped.rows])))
                    done = part.before + len(part.batch)
                    yield _Piece("arrow_columns", stream, lines, done, part.hashes.tobytes() + lines.tobytes())
            before += len(batch)

    def _pieces_of_rows(self, source: Source, chunks: Iterator[_Chunk], ids: ContentIds) -> Iterator[_Piece]:
        waiting, done = Waiting(), 0
        for rows, done in chunks:
            waiting.rows += rows.whole(ids)
            waiting.lines += rows.lines
            while (count := waiting.first(_ROWS_PER_BATCH)) < len(waiting.rows):
                yield _row_piece(waiting, count, done)
        if waiting.rows:
            yield _row_piece(waiting, len(waiting.rows), done)

    def _rows(self, source: Source, records: Iterator[Found], part: _Identified | None = None) -> Iterator[_Chunk]:
        """Records one by one as rows, a few at a time."""
        rows, size, done = list[EncodedRow](), 0, 0
        for found in records:
            done = found.done
            made = None if part is None else part.ids[found.line - part.before - 1].tobytes()
            row = self._encoded(source, found, made)
            if row is None:
                continue
            rows.append(row)
            size += row.size
            if len(rows) == _ROWS_PER_BATCH or size > BATCH_BYTES:
                yield EncodedRows.of(rows), done
                rows, size = [], 0
        if rows:
            yield EncodedRows.of(rows), done

    def _rows_of_texts(self, source: Source, table: CsvTable, plan: TextRows) -> Iterator[_Chunk]:
        """Columns of texts as rows; possibly invalid ones are converted one by one, in order with the faults."""
        for block in table.read():
            rows, odd = plan.encoded(block)
            faults, keep = deque(block.faults), ~odd
            for at in np.flatnonzero(odd).tolist():
                line = int(block.lines[at])
                while faults and faults[0].line < line:
                    self._encoded(source, fault_found(faults.popleft(), block.done))
                fields = [column[at].as_py() for column in block.columns]
                row = self._encoded(source, table.columns.row(line, fields, block.done))
                if row is not None:
                    rows.put(at, row)
                    keep[at] = True
            for fault in faults:
                self._encoded(source, fault_found(fault, block.done))
            yield rows.kept(keep), block.done

    def _encoded(self, source: Source, found: Found, made: bytes | None = None) -> EncodedRow | None:
        """The row of a record as msgpack; invalid records are noted as rejected."""
        place = _place(source, found.line)
        if found.record is None:
            self.rejections.add(found.code, place, found.problem)
            return None
        self.in_order = self.in_order or EXPORTED in found.record
        try:
            row = to_row(found.record, self.mapping)
            encoded = _encodable(row, found.line, made)
        except RowRejected as error:
            self.rejections.add(error.code, place, error.reason)
            return None
        if encoded.size > BATCH_BYTES:
            self.rejections.add("RECORD_TOO_LARGE", place, count_of(encoded.size, "byte"))
            return None
        return encoded

    def _send(self, source: Source, piece: _Piece) -> None:
        digest = hashlib.blake2b(piece.told, digest_size=16, key=self.label.encode()[:64])
        batch = ingest_pb2.Batch(batch_id=digest.digest())
        setattr(batch, piece.encoding, piece.content)
        self.in_flight.append(_Sent(source, piece, self.threads.submit(self.client.ingest, batch)))

    def _settle(self) -> None:
        sent = self.in_flight.popleft()
        result = sent.result.result()
        last = int(sent.piece.lines[-1])
        self.acknowledged = f"{sent.source.path.name} is acknowledged up to {sent.source.unit} {last:,}"
        self.accepted += result.accepted
        self.duplicates += result.duplicates
        self.quarantined += result.quarantined
        self.rejections.count("MORE", result.errors_omitted)
        self.warnings.count("MORE", result.warnings_omitted)
        for told, records in ((self.rejections, result.errors), (self.warnings, result.warnings)):
            for each in records:
                message = each.message + _HINTS.get(each.code, "")
                told.add(each.code, _place(sent.source, int(sent.piece.lines[each.index])), message)


def _place(source: Source, line: int) -> str:
    return f"{source.path.name} {source.unit} {line}"


def _encodable(row: WireRow, line: int, made: bytes | None) -> EncodedRow:
    """The row as msgpack; RowRejected names a value that has no such form."""
    try:
        encoded = encode_row(row, line, made)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise problem_in(row) or RowRejected(str(error), "VALUE_UNUSABLE") from error
    return encoded


def _row_piece(waiting: Waiting, count: int, done: int) -> _Piece:
    content, lines = waiting.packed(count)
    return _Piece("msgpack_rows", content, lines, done, content)


def _within_limit(whole: _Identified) -> Iterator[_Identified]:
    """The batch in parts that fit a message each, as far as rows can be divided."""
    count = len(whole.batch)
    fits = whole.batch.nbytes <= _COLUMN_BYTES and count * (whole.batch.num_columns + 1) <= COLUMNS_VALUES
    if fits or count == 1:
        yield whole
        return
    half = count // 2
    for start, length in ((0, half), (half, count - half)):
        stop = start + length
        yield from _within_limit(
            _Identified(
                whole.batch.slice(start, length),
                whole.before + start,
                whole.hashes[start:stop],
                whole.ids[start:stop],
            )
        )


def _arrow_stream(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream
