"""Members as one Arrow IPC stream with the columns kind and id, written piece by piece."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from cdp_store.ids import ANONYMOUS_ID, USER_ID, encode_identifier

SCHEMA: Final = pa.schema([("kind", pa.large_string()), ("id", pa.large_string())])


class MemberStream:
    """Turns the shards' encoded identifiers into the stream clients read, without a Python object per member."""

    def __init__(self) -> None:
        self._parts, self.count = _Parts(), 0
        self._writer = pa.ipc.new_stream(pa.PythonFile(self._parts, "w"), SCHEMA)

    def write(self, identifiers: bytes) -> None:
        """Add a shard's Arrow stream of encoded identifiers."""
        with pa.ipc.open_stream(identifiers) as reader:
            for encoded in reader.read_all().column("identifier").chunks:
                self.count += len(encoded)
                texts = encoded.view(pa.large_string())
                is_user = pc.starts_with(texts, encode_identifier(USER_ID, "").decode())
                kinds = pc.if_else(is_user, pa.scalar(USER_ID, pa.large_string()), ANONYMOUS_ID)
                ids = pc.utf8_slice_codeunits(texts, 1)
                self._writer.write_batch(pa.record_batch([kinds, ids], schema=SCHEMA))

    def drain(self) -> bytes:
        """What was written since the last call."""
        return self._parts.take()

    def finish(self) -> bytes:
        """The end of the stream."""
        self._writer.close()
        return self.drain()


class _Parts:
    """A file object that keeps what is written until it is taken."""

    closed = False

    def __init__(self) -> None:
        self._parts = list[bytes]()

    def write(self, data: bytes) -> int:
        """Keep `data`."""
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing to release."""

    def take(self) -> bytes:
        """All that was kept."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data
