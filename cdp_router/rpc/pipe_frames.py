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


def from_frame(arrived: bytearray, payload_bytes_max: int = PAYLOAD_BYTES_MAX) -> tuple[int, int, bytes] | None:
    """Kind, number and payload of the first frame, which is taken away; None while it is not whole."""
    if len(arrived) < _HEAD.size:
        return None
    length, kind, number = _HEAD.unpack_from(arrived)
    if length > payload_bytes_max:
        raise FrameInvalid(f"{length} bytes")
    end = _HEAD.size + length
    if len(arrived) < end:
        return None
    with memoryview(arrived) as view:
        payload = bytes(view[_HEAD.size : end])
    del arrived[:end]
    return kind, number, payload


def only_frame(arrived: bytes, payload_bytes_max: int) -> tuple[int, int, bytes] | None:
    """The one frame that has arrived as a whole, as nearly always; None for anything else, which `from_frame` cuts."""
    if not _HEAD.size <= len(arrived) <= _HEAD.size + payload_bytes_max:
        return None
    length, kind, number = _HEAD.unpack_from(arrived)
    return (kind, number, arrived[_HEAD.size :]) if len(arrived) == _HEAD.size + length else None


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


class Framing(asyncio.Protocol):
    """One end of a pipe: cuts what arrives into frames."""

    payload_bytes_max = PAYLOAD_BYTES_MAX

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.is_proven, self.is_paused = False, False
        self._arrived = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        arrived = self._arrived
        try:
            largest = self.payload_bytes_max if self.is_proven else PROOF_BYTES_MAX
            if not arrived and (frame := only_frame(data, largest)) is not None:
                self.received(*frame)
                return
            arrived += data
            while frame := from_frame(arrived, self.payload_bytes_max if self.is_proven else PROOF_BYTES_MAX):
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

    def send(self, kind: Kind, number: int, payload: bytes = b"") -> None:
        """Sends a frame, if the connection still stands."""
        if self.transport is not None:
            self.transport.write(to_frame(kind, number, payload))

    def end(self) -> None:
        """Ends the connection at once."""
        if self.transport is not None:
            self.transport.abort()

    def received(self, kind: int, number: int, payload: bytes) -> None:
        """Receives one frame; FrameInvalid, or what decoding raises, ends the connection."""
        raise NotImplementedError
