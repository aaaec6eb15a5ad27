"""Frames of a pipe: what router and shard of one machine send each other over a Unix socket instead of gRPC.

A frame is the length of its payload (u32), its kind (u8), the number of its call (u32), and the payload. Both ends
first prove that they have the cluster's secret, without sending it: each answers a number that the other has drawn.
Clients of a router use the same frames; they have no secret, and are admitted call by call, by their keys.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, cast

import grpc
import msgspec

from cdp_router.limits import SHARD_MESSAGE_BYTES_MAX

NONCE_BYTES: Final = 32
PROOF_SECONDS: Final = 1.0  # for both proofs; what takes longer is no pipe
PAYLOAD_BYTES_MAX: Final = SHARD_MESSAGE_BYTES_MAX + (1 << 16)
HEAD_BYTES_MAX: Final = (1 << 16) - 1
PROOF_BYTES_MAX: Final = 256
_HEAD: Final = struct.Struct("<IBI")
_CALL: Final = struct.Struct("<H")
_SHORT_BYTES: Final = 1 << 14  # of a frame for which no memory of its own is needed

Metadata = tuple[tuple[str, str | bytes], ...]


class Kind(IntEnum):
    """Kinds of frames."""

    PROOF = 0
    CALL = 1
    CANCEL = 2
    ANSWER = 3
    FAILURE = 4
    MESSAGE = 5  # one of a stream
    END = 6  # of a stream that is whole


class CallHead(msgspec.Struct, frozen=True, array_like=True):
    """Everything about a call but its message; no seconds where the caller waits for ever."""

    path: str
    seconds: float | None
    metadata: tuple[tuple[str, str], ...]


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """The end of a call that has no answer: number of the gRPC code, message, trailing metadata."""

    code: int
    details: str
    metadata: tuple[tuple[str, bytes], ...]


_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_HEADS: Final = msgspec.msgpack.Decoder(CallHead)
_FAILURES: Final = msgspec.msgpack.Decoder(Failure)


class FrameInvalid(Exception):
    """The other end sent what is no frame; its connection ends."""


class NotServed(Exception):
    """There is no pipe for a call, or its other end does not serve it now: it has to go over gRPC."""


def to_call(head: CallHead, message: bytes) -> bytes:
    """Payload of a call; FrameInvalid if its head is too long."""
    encoded = msgspec.msgpack.encode(head)
    if len(encoded) > HEAD_BYTES_MAX:
        raise FrameInvalid(f"the head of a call has {len(encoded):,} bytes, and at most {HEAD_BYTES_MAX:,} fit")
    return _CALL.pack(len(encoded)) + encoded + message


def from_call(payload: bytes) -> tuple[CallHead, bytes]:
    """Head and message of a call."""
    start = _CALL.size + _CALL.unpack_from(payload)[0]
    return _HEADS.decode(payload[_CALL.size : start]), payload[start:]


def to_frame(kind: int, number: int, payload: bytes) -> bytes:
    """A frame."""
    return _HEAD.pack(len(payload), kind, number) + payload


class Arriving:
    """Cuts what arrives over one connection into frames. A large payload is received where it stays."""

    __slots__ = ("_filled", "_head", "_large", "_short", "payload_bytes_max")

    def __init__(self, payload_bytes_max: int) -> None:
        self.payload_bytes_max = payload_bytes_max
        self._short, self._filled = memoryview(bytearray(_SHORT_BYTES)), 0
        self._large: bytearray | None = None
        self._head = (0, 0)  # kind and number of the large one

    def room(self) -> memoryview:
        """The place for the bytes that come next; never empty."""
        return (self._short if self._large is None else memoryview(self._large))[self._filled :]

    def frames(self, count: int) -> Iterator[tuple[int, int, bytes]]:
        """Kind, number and payload of each frame that is whole with the next `count` bytes; FrameInvalid."""
        self._filled += count
        if (large := self._large) is not None:
            if self._filled == len(large):
                self._large, self._filled = None, 0
                yield *self._head, cast("bytes", large)
            return
        short, start, end = self._short, 0, self._filled
        while end - start >= _HEAD.size:
            length, kind, number = _HEAD.unpack_from(short, start)
            if length > self.payload_bytes_max:
                raise FrameInvalid(f"{length} bytes")
            body = start + _HEAD.size
            if body + length > end:
                if _HEAD.size + length > _SHORT_BYTES:
                    self._large, self._head, start = bytearray(length), (kind, number), body
                break
            yield kind, number, bytes(short[body : body + length])
            start = body + length
        self._filled = end - start
        (short if self._large is None else self._large)[: self._filled] = short[start:end]


def to_failure(code: grpc.StatusCode, details: str, metadata: Metadata = ()) -> bytes:
    """Payload of a failure."""
    encoded = tuple((key, value.encode() if isinstance(value, str) else value) for key, value in metadata)
    return msgspec.msgpack.encode(Failure(code.value[0], details, encoded))


def from_failure(payload: bytes) -> grpc.aio.AioRpcError:
    """The same error that a call over gRPC raises; FrameInvalid if it cannot be read."""
    try:
        failure = _FAILURES.decode(payload)
        texts = [(key, value if key.endswith("-bin") else value.decode()) for key, value in failure.metadata]
        code = _CODES[failure.code]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError) as error:
        raise FrameInvalid(f"a failure that cannot be read: {error}") from error
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*texts), failure.details)


@dataclass(frozen=True, slots=True)
class Meeting:
    """Place where the pipes of the shard at a port begin, and the proof that both ends belong to its cluster."""

    name: str
    key: bytes

    @staticmethod
    def at(secret: str, port: int, host: str = "") -> Meeting:
        """The name is an abstract one of Linux: no file stands for it, and it is gone with the process.

        A router's place has its host and no secret: its clients show keys instead.
        """
        key = hmac.digest(secret.encode(), f"pipe {host}{port}".encode(), "sha256")
        return Meeting("\0cdp-pipe-" + hashlib.sha256(key).hexdigest()[:32], key)

    def proof(self, own: bytes, theirs: bytes, side: bytes) -> bytes:
        """Answers the number that the other end has drawn, for one side."""
        return hmac.digest(self.key, side + own + theirs, "sha256")

    def answer_proof(self, nonce: bytes, kind: int, payload: bytes) -> bytes:
        """The proof of the server that drew `nonce`, for the router that sent its own; FrameInvalid if that is none."""
        theirs, shown = payload[:NONCE_BYTES], payload[NONCE_BYTES:]
        if kind != Kind.PROOF or not hmac.compare_digest(shown, self.proof(theirs, nonce, b"router")):
            raise FrameInvalid("no proof")
        return self.proof(nonce, theirs, b"shard")


class Framing(asyncio.BufferedProtocol):
    """One end of a pipe: cuts what arrives into frames."""

    def __init__(self, payload_bytes_max: int = PAYLOAD_BYTES_MAX) -> None:
        """`payload_bytes_max` holds once the other end is proven."""
        self.transport: asyncio.Transport | None = None
        self.is_proven, self.is_paused = False, False
        self._arrived, self._payload_bytes_max = Arriving(PROOF_BYTES_MAX), payload_bytes_max

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def prove(self) -> None:
        """Notes that the other end has proved itself."""
        self.is_proven, self._arrived.payload_bytes_max = True, self._payload_bytes_max

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._arrived.room()

    def buffer_updated(self, nbytes: int) -> None:
        try:
            for frame in self._arrived.frames(nbytes):
                self.received(*frame)
        except (FrameInvalid, msgspec.MsgspecError, struct.error):
            self.end()

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False

    def read_on(self, *, goes_on: bool) -> None:
        """Lets the other end send more, or lets it wait."""
        if self.transport is not None and not self.transport.is_closing():
            (self.transport.resume_reading if goes_on else self.transport.pause_reading)()

    def send(self, kind: Kind, number: int, *payload: bytes | memoryview) -> None:
        """Sends a frame with a payload in pieces, if the connection still stands."""
        if self.transport is not None:
            length = sum(map(len, payload))
            pieces = (_HEAD.pack(length, kind, number), *payload)
            if length <= _SHORT_BYTES:
                self.transport.write(b"".join(pieces))
            else:
                self.transport.writelines(pieces)

    def end(self) -> None:
        """Ends the connection at once."""
        if self.transport is not None:
            self.transport.abort()

    def received(self, kind: int, number: int, payload: bytes) -> None:
        """Receives one frame; FrameInvalid, or what decoding raises, ends the connection."""
        raise NotImplementedError
