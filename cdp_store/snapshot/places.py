"""Places for the files of snapshots: a seam in front of a local directory and any pyarrow file system."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.fs

from cdp_store.errors import PlaceUnusable, SnapshotDamaged, SnapshotFailed
from cdp_store.outside.seams import Files, OsFiles
from cdp_store.outside.whole_files import write_durably
from cdp_store.snapshot.s3 import SCHEME, explain, open_s3


class SnapshotPlace(Protocol):
    """A flat folder of immutable files; a missing file is SnapshotDamaged.

    Other failures are SnapshotFailed in the directory of a shard, PlaceUnusable elsewhere.
    """

    def write(self, name: str, data: pa.Buffer) -> None:
        """Writes a new file; durable after `settle`."""

    def settle(self) -> None:
        """Makes everything written so far durable under its name."""

    def publish(self, name: str, data: bytes) -> None:
        """Writes a file durably, entirely or not at all."""

    def read(self, name: str) -> pa.Buffer:
        """The bytes of a file."""

    def names(self) -> list[str]:
        """Names of all files."""

    def remove(self, name: str) -> None:
        """Removes a file if it is there."""


class LocalPlace:
    """A directory of this machine, written through the Files seam."""

    def __init__(self, directory: Path, files: Files) -> None:
        self.directory, self._files = directory, files

    def write(self, name: str, data: pa.Buffer) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            file = self._files.open_append(self.directory / name)
            try:
                file.truncate(0)
                file.write(data)
                file.sync()
            finally:
                file.close()
        except OSError as error:
            raise SnapshotFailed(str(self.directory / name), str(error)) from error

    def settle(self) -> None:
        try:
            self._files.sync_directory(self.directory)
        except OSError as error:
            raise SnapshotFailed(str(self.directory), str(error)) from error

    def publish(self, name: str, data: bytes) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            write_durably(self.directory / name, data, self._files)
        except OSError as error:
            raise SnapshotFailed(str(self.directory / name), str(error)) from error

    def read(self, name: str) -> pa.Buffer:
        try:
            with pa.memory_map(str(self.directory / name)) as file:
                return file.read_buffer()
        except FileNotFoundError as error:
            raise SnapshotDamaged(str(self.directory / name), "it is missing") from error
        except OSError as error:
            raise SnapshotDamaged(str(self.directory / name), str(error)) from error

    def names(self) -> list[str]:
        try:
            return sorted(path.name for path in self.directory.iterdir()) if self.directory.exists() else []
        except OSError as error:
            raise SnapshotFailed(str(self.directory), str(error)) from error

    def remove(self, name: str) -> None:
        try:
            self._files.remove(self.directory / name)
        except OSError as error:
            raise SnapshotFailed(str(self.directory / name), str(error)) from error


def place_at(where: str, folder: str = "") -> SnapshotPlace:
    """The place named by a path or URI, or a folder below it."""
    if "://" not in where:
        try:
            directory = Path(where).expanduser() / folder
        except RuntimeError as error:  # there is no home of that user
            raise SnapshotFailed(where, str(error)) from error
        return LocalPlace(directory, OsFiles())
    try:
        if where.startswith(f"{SCHEME}://"):
            filesystem, path = open_s3(where)
        else:
            filesystem, path = pyarrow.fs.FileSystem.from_uri(where)
    except (OSError, ValueError, pa.ArrowInvalid) as error:
        raise PlaceUnusable(where, str(error)) from error
    return ArrowPlace(filesystem, f"{path.rstrip('/')}/{folder}")


class ArrowPlace:
    """A folder of a pyarrow file system, such as S3; there a written file is whole and durable at once."""

    def __init__(self, filesystem: pyarrow.fs.FileSystem, folder: str) -> None:
        self._filesystem, self._folder = filesystem, folder.rstrip("/")

    def write(self, name: str, data: pa.Buffer) -> None:
        try:
            if isinstance(self._filesystem, pyarrow.fs.LocalFileSystem):
                self._filesystem.create_dir(self._folder, recursive=True)
            with self._filesystem.open_output_stream(self._path(name)) as stream:
                stream.write(data)
        except OSError as error:
            raise PlaceUnusable(self._path(name), explain(error)) from error

    def settle(self) -> None:
        """Does nothing: written files are durable already."""

    def publish(self, name: str, data: bytes) -> None:
        self.write(name, pa.py_buffer(data))

    def read(self, name: str) -> pa.Buffer:
        try:
            with self._filesystem.open_input_file(self._path(name)) as file:
                return file.read_buffer()
        except FileNotFoundError as error:
            raise SnapshotDamaged(self._path(name), "it is missing") from error
        except OSError as error:
            raise PlaceUnusable(self._path(name), explain(error)) from error

    def names(self) -> list[str]:
        selector = pyarrow.fs.FileSelector(self._folder, allow_not_found=True)
        try:
            return sorted(info.base_name for info in self._filesystem.get_file_info(selector) if info.is_file)
        except OSError as error:
            raise PlaceUnusable(self._folder, explain(error)) from error

    def remove(self, name: str) -> None:
        try:
            self._filesystem.delete_file(self._path(name))
        except FileNotFoundError:
            return
        except OSError as error:
            raise PlaceUnusable(self._path(name), explain(error)) from error

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"
