"""Small files with a checksum and a mark of their owner, so that damaged and swapped ones are refused.

JSON files keep their form, with `format`, `owner` and `checksum` among their fields; other files get a header. A file
of the first format has none of these: it is read, and sealed at its next write. A file that changes over time also has
a generation number, which the list of its directory keeps (`inventory`).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import google_crc32c
import msgspec

from cdp_store.errors import DirectoryDamaged, FileUnsupported

if TYPE_CHECKING:
    from cdp_store.columns.arena import HashKey  # the rest of that module loads the compiler

Value = TypeVar("Value")
_FIRST: Final = 1  # JSON without a checksum
_SEALED: Final = 2
_NUMBERED: Final = 3  # sealed, with a generation
_CHECKED: Final = (_SEALED, _NUMBERED)
_MARK_BYTES: Final = 8
_FINGERPRINT_BYTES: Final = 16
_MAGIC: Final = b"CDPFILE\n"
_HEADER: Final = struct.Struct("<8sI8s")
_NUMBERED_HEADER: Final = struct.Struct("<8sI8sQ")
_CRC: Final = struct.Struct("<I")
_VERSION: Final = 1
_NUMBERED_VERSION: Final = 2
_NOT_ITS_OWN: Final = (
    "it belongs to another cluster, another shard, or another name; files were swapped, or copied from elsewhere"
)
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NO_FIT: Final = "it does not fit its checksum"


class _Formatted(msgspec.Struct, frozen=True):
    format: int


class _SaysFormat(Protocol):
    @property
    def format(self) -> int: ...


Document = TypeVar("Document", bound=_SaysFormat)


@dataclass(frozen=True, slots=True)
class Unsealed(Generic[Value]):
    """The content of a file, whether it was sealed, and its generation: 0 for a file without one."""

    value: Value
    is_sealed: bool
    generation: int = 0


def key_fingerprint(key: HashKey, cluster: str) -> str:
    """A keyed hash that distinguishes the keys of a cluster, and reveals nothing about them."""
    secret = b"".join(half.to_bytes(8, "little") for half in key)
    text = f"fingerprint of the key of {cluster}".encode()
    return hashlib.blake2b(text, digest_size=_FINGERPRINT_BYTES, key=secret).hexdigest()


def owner_mark(cluster: str, fingerprint: str, place: str) -> str:
    """Mark of a file's owner: 64 bits, hexadecimal; `place` is its path below the data directory."""
    text = "\0".join((cluster, fingerprint, place)).encode()
    return hashlib.blake2b(text, digest_size=_MARK_BYTES).hexdigest()


def seal_json(value: object, owner: str = "", generation: int = 0, *, indent: int = -1) -> bytes:
    """A struct or mapping as a JSON object with its format, generation, owner and checksum, and an end of line."""
    head = {"format": _NUMBERED, "generation": generation} if generation else {"format": _SEALED}
    fields: dict[str, Any] = {**head, **msgspec.to_builtins(value, str_keys=True)}
    if owner:
        fields["owner"] = owner
    fields["checksum"] = _checksum(fields)
    return msgspec.json.format(msgspec.json.encode(fields), indent=indent) + b"\n"


def unseal_json(path: Path, data: bytes, kind: type[Value], owner: str = "") -> Unsealed[Value]:
    """The value in a file's bytes; DirectoryDamaged unless they were written for this owner."""
    fields = decode_object(path, data)
    checksum, number = fields.pop("checksum", None), fields.get("format", _FIRST)
    if checksum is None and number != _FIRST:
        raise DirectoryDamaged(path, "it has no checksum") if number in _CHECKED else _unknown(path, number, _NUMBERED)
    if checksum is not None and checksum != _checksum(fields):
        raise DirectoryDamaged(path, _NO_FIT)
    if checksum is not None and number not in _CHECKED:
        raise _unknown(path, number, _NUMBERED)
    fields.pop("format", None)
    generation = fields.pop("generation", 0) if number == _NUMBERED else 0
    if checksum is not None:
        check_owner(path, fields.pop("owner", ""), owner)
    try:
        value = msgspec.convert(fields, kind, str_keys=True)
        return Unsealed(value, checksum is not None, msgspec.convert(generation, int))
    except msgspec.ValidationError as error:
        raise DirectoryDamaged(path, str(error)) from error


def read_sealed(path: Path, kind: type[Value], owner: str = "") -> Unsealed[Value]:
    """The value in a file; DirectoryDamaged if it is missing, or was not written for this owner."""
    return unseal_json(path, read_whole(path), kind, owner)


def decode_object(path: Path, data: bytes) -> dict[str, Any]:
    """The fields of a JSON object; DirectoryDamaged for any other bytes."""
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except _UNREADABLE as error:
        raise DirectoryDamaged(path, str(error)) from error


def decode_document(
    path: Path, content: bytes, kind: type[Document], supported: int, decode: Callable[..., Any] = msgspec.json.decode
) -> Document:
    """The document in some bytes, with its format; DirectoryDamaged if there is none.

    Raises FileUnsupported for a newer format, whatever else the bytes hold.
    """
    with suppress(*_UNREADABLE):
        number = decode(content, type=_Formatted).format
        if number > supported:
            raise FileUnsupported(path, number, supported)
    try:
        found: Document = decode(content, type=kind)
    except _UNREADABLE as error:
        raise DirectoryDamaged(path, str(error)) from error
    if found.format != supported:
        raise DirectoryDamaged(path, f"there is no format {found.format}")
    return found


def check_owner(path: Path, found: object, wanted: str) -> None:
    """Raises DirectoryDamaged if a file is marked with another owner."""
    if found and wanted and found != wanted:
        raise DirectoryDamaged(path, _NOT_ITS_OWN)


def seal_bytes(content: bytes, owner: str, generation: int = 0) -> bytes:
    """Content after a header with a checksum, the mark of its owner, and its generation."""
    mark = bytes.fromhex(owner)
    if generation:
        head = _NUMBERED_HEADER.pack(_MAGIC, _NUMBERED_VERSION, mark, generation)
    else:
        head = _HEADER.pack(_MAGIC, _VERSION, mark)
    return head + _CRC.pack(_crc(head, content)) + content


def unseal_bytes(path: Path, data: bytes, owner: str) -> Unsealed[bytes]:
    """The content of a file, all of it without a header; DirectoryDamaged if it differs from what was written."""
    if not data.startswith(_MAGIC):
        return Unsealed(data, False)
    version = int.from_bytes(data[len(_MAGIC) :][:4], "little")
    header = _NUMBERED_HEADER if version == _NUMBERED_VERSION else _HEADER
    begin = header.size + _CRC.size
    if len(data) < begin:
        raise DirectoryDamaged(path, "it is cut short")
    head, content = data[: header.size], data[begin:]
    if _CRC.unpack_from(data, header.size) != (_crc(head, content),):
        raise DirectoryDamaged(path, _NO_FIT)
    if version not in (_VERSION, _NUMBERED_VERSION):
        raise _unknown(path, version, _NUMBERED_VERSION)
    _, _, mark, *generation = header.unpack(head)
    check_owner(path, mark.hex(), owner)
    return Unsealed(content, True, *generation)


def generation_in(path: Path) -> int:
    """The generation written in a file; 0 if it has none, or the file cannot be read."""
    try:
        data = path.read_bytes()
        if data.startswith(_MAGIC):
            return unseal_bytes(path, data, "").generation
        return unseal_json(path, data, dict[str, Any]).generation
    except (OSError, DirectoryDamaged):
        return 0


def read_whole(path: Path) -> bytes:
    """The bytes of a file; DirectoryDamaged if it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DirectoryDamaged(path, error.strerror or str(error)) from error


def _checksum(fields: dict[str, Any]) -> str:
    """CRC32C of the fields in the order of their names, without spaces: their layout does not matter."""
    return f"{google_crc32c.value(msgspec.json.encode(fields, order='sorted')):08x}"


def _crc(head: bytes, content: bytes) -> int:
    return int(google_crc32c.extend(google_crc32c.value(head[len(_MAGIC) :]), content))


def _unknown(path: Path, number: object, supported: int) -> DirectoryDamaged:
    if isinstance(number, int) and number > supported:
        return FileUnsupported(path, number, supported)
    return DirectoryDamaged(path, f"there is no format {number}")
