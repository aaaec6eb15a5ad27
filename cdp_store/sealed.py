"""Small files with a checksum and a mark of their owner, so that damaged and swapped ones are refused.

JSON files keep their form, with `format`, `owner` and `checksum` among their fields; other files get a header. A file
of the first format has none of these: it is read, and sealed when it is written next.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import google_crc32c
import msgspec

from cdp_store.errors import DirectoryDamaged, FileUnsupported

if TYPE_CHECKING:
    from cdp_store.arena import HashKey  # what else is there loads the compiler

Value = TypeVar("Value")
SEALED: Final = 2
"""The format of a sealed JSON file; 1 is the one without a checksum."""
_FIRST: Final = 1
_MARK_BYTES: Final = 8
_FINGERPRINT_BYTES: Final = 16
_MAGIC: Final = b"CDPFILE\n"
_HEADER: Final = struct.Struct("<8sI8sI")
_VERSION: Final = 1
_NOT_ITS_OWN: Final = (
    "it belongs to another cluster, another shard, or another name; files were swapped, or copied from elsewhere"
)
_NO_FIT: Final = "it does not fit its checksum"


class _Formatted(msgspec.Struct, frozen=True):
    format: int


@dataclass(frozen=True, slots=True)
class Unsealed(Generic[Value]):
    """The content of a file, and whether it was sealed."""

    value: Value
    is_sealed: bool


def key_fingerprint(key: HashKey, cluster: str) -> str:
    """A keyed hash that tells one key of a cluster from another, and nothing about either."""
    secret = b"".join(half.to_bytes(8, "little") for half in key)
    text = f"fingerprint of the key of {cluster}".encode()
    return hashlib.blake2b(text, digest_size=_FINGERPRINT_BYTES, key=secret).hexdigest()


def owner_mark(cluster: str, fingerprint: str, place: str) -> str:
    """What a file says of its owner: 64 bits, hexadecimal; `place` is its path below the data directory."""
    text = "\0".join((cluster, fingerprint, place)).encode()
    return hashlib.blake2b(text, digest_size=_MARK_BYTES).hexdigest()


def seal_json(value: object, owner: str = "", *, indent: int = -1) -> bytes:
    """A struct or mapping as a JSON object with its format, owner and checksum, and an end of line."""
    fields: dict[str, Any] = {"format": SEALED, **msgspec.to_builtins(value, str_keys=True)}
    if owner:
        fields["owner"] = owner
    fields["checksum"] = _checksum(fields)
    return msgspec.json.format(msgspec.json.encode(fields), indent=indent) + b"\n"


def unseal_json(path: Path, data: bytes, kind: type[Value], owner: str = "") -> Unsealed[Value]:
    """The value behind a file's bytes; DirectoryDamaged where they are not what was written for this owner."""
    fields = decode_object(path, data)
    checksum, number = fields.pop("checksum", None), fields.get("format", _FIRST)
    if checksum is None and number != _FIRST:
        raise DirectoryDamaged(path, "it has no checksum") if number == SEALED else _unknown(path, number, SEALED)
    if checksum is not None and checksum != _checksum(fields):
        raise DirectoryDamaged(path, _NO_FIT)
    if checksum is not None and number != SEALED:
        raise _unknown(path, number, SEALED)
    fields.pop("format", None)
    if checksum is not None:
        check_owner(path, fields.pop("owner", ""), owner)
    try:
        return Unsealed(msgspec.convert(fields, kind, str_keys=True), checksum is not None)
    except msgspec.ValidationError as error:
        raise DirectoryDamaged(path, str(error)) from error


def decode_object(path: Path, data: bytes) -> dict[str, Any]:
    """The fields of a JSON object; DirectoryDamaged where the bytes are none."""
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DirectoryDamaged(path, str(error)) from error


def check_format(
    path: Path, content: bytes, supported: int, decode: Callable[..., _Formatted] = msgspec.json.decode
) -> None:
    """Raise FileUnsupported for a document that says it is of a newer format, whatever else stands in it."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        number = decode(content, type=_Formatted).format
        if number > supported:
            raise FileUnsupported(path, number, supported)


def check_owner(path: Path, found: object, wanted: str) -> None:
    """Raise DirectoryDamaged where a file says that it belongs to somebody else."""
    if found and wanted and found != wanted:
        raise DirectoryDamaged(path, _NOT_ITS_OWN)


def seal_bytes(content: bytes, owner: str) -> bytes:
    """Content behind a header with a checksum and the mark of its owner."""
    mark = bytes.fromhex(owner)
    return _HEADER.pack(_MAGIC, _VERSION, mark, _crc(_VERSION, mark, content)) + content


def unseal_bytes(path: Path, data: bytes, owner: str) -> Unsealed[bytes]:
    """The content of a file, all of it where there is no header; DirectoryDamaged where it is not what was written."""
    if not data.startswith(_MAGIC):
        return Unsealed(data, False)
    if len(data) < _HEADER.size:
        raise DirectoryDamaged(path, "it is cut short")
    _, version, mark, crc = _HEADER.unpack_from(data)
    content = data[_HEADER.size :]
    if crc != _crc(version, mark, content):
        raise DirectoryDamaged(path, _NO_FIT)
    if version != _VERSION:
        raise _unknown(path, version, _VERSION)
    check_owner(path, mark.hex(), owner)
    return Unsealed(content, True)


def read_whole(path: Path) -> bytes:
    """The bytes of a file; DirectoryDamaged where it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DirectoryDamaged(path, error.strerror or str(error)) from error


def _checksum(fields: dict[str, Any]) -> str:
    """CRC32C of the fields in the order of their names, without spaces: how they are laid out does not matter."""
    return f"{google_crc32c.value(msgspec.json.encode(fields, order='sorted')):08x}"


def _crc(version: int, mark: bytes, content: bytes) -> int:
    return int(google_crc32c.extend(google_crc32c.value(struct.pack("<I", version) + mark), content))


def _unknown(path: Path, number: object, supported: int) -> DirectoryDamaged:
    if isinstance(number, int) and number > supported:
        return FileUnsupported(path, number, supported)
    return DirectoryDamaged(path, f"there is no format {number}")
