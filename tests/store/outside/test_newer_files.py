"""Files and documents that a newer version wrote: refused as such, never called damaged, never set aside."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cdp_router.cluster.topology import ClusterDirectory
from cdp_router.erasure.begun_erasures import _read as read_erasures
from cdp_router.questions.named_segments import _read as read_segments
from cdp_router.restore.salvaging import salvaged
from cdp_router.security.privacy.privacy import _read as read_privacy
from cdp_store.errors import DirectoryDamaged, FileUnsupported
from cdp_store.outside.sealed import _checksum, seal_bytes, seal_json, unseal_json
from cdp_store.outside.seams import OsFiles
from cdp_store.shard.store import Store

NEWER = {"format": 9, "new": [1]}


def newer_json(path: Path) -> None:
    """The file as a version might write it that knows of more."""
    fields = {**msgspec.json.decode(path.read_bytes()), **NEWER}
    fields.pop("checksum")
    path.write_bytes(msgspec.json.encode({**fields, "checksum": _checksum(fields)}))


@pytest.mark.parametrize("name", ["holdings.json", "identity.json", "inventory.json", "documents/p0000"])
def test_a_newer_file_of_a_shard_is_told_from_a_damaged_one_and_salvage_leaves_it(tmp_path: Path, name: str) -> None:
    directory = ClusterDirectory(tmp_path)
    cluster = directory.load_or_create(1, 1)
    identity = cluster.shard_identity(0)
    shard = directory.shard_path(0)
    store = Store(shard, identity, cluster.hash_key, OsFiles())
    store.recover(lambda *_: None)
    store.documents.put(0, "segments", 0, b"{}")  # type: ignore[arg-type]
    store.close()
    if name.endswith(".json"):
        newer_json(shard / name)
    else:
        content = msgspec.msgpack.encode({"format": 9, "documents": [], "more": 1})
        (shard / name).write_bytes(seal_bytes(content, identity.mark(name)))
    before = (shard / name).read_bytes()
    with pytest.raises(FileUnsupported, match=r"format 9, which a newer version .* newer version") as caught:
        Store(shard, identity, cluster.hash_key, OsFiles())
    assert "backup" not in str(caught.value) and str(shard / name) in str(caught.value)
    with pytest.raises(FileUnsupported):
        list(salvaged(directory))
    assert (shard / name).read_bytes() == before


@pytest.mark.parametrize("name", ["cluster.json", "inventory.json"])
def test_a_newer_file_of_a_cluster_is_told_from_a_damaged_one(tmp_path: Path, name: str) -> None:
    directory = ClusterDirectory(tmp_path)
    directory.load_or_create(1, 1)
    newer_json(tmp_path / name)
    with pytest.raises(FileUnsupported, match="newer version"):
        list(salvaged(directory))


def test_a_newer_document_of_the_cluster_is_told_from_a_damaged_one() -> None:
    for content in (b'{"format": 2, "segments": 7}', b'{"format": 2, "erasures": 7, "segments": {}}'):
        with pytest.raises(FileUnsupported, match="format 2"):
            read_segments(content, Path("segments"))
        with pytest.raises(FileUnsupported, match="format 2"):
            read_erasures(content)
        with pytest.raises(FileUnsupported, match="format 2"):
            read_privacy(content)


def test_a_format_that_never_was_is_damage() -> None:
    for number in (0, -1):
        with pytest.raises(DirectoryDamaged, match="documents/p0000") as caught:
            read_segments(b'{"format": %d, "segments": {}}' % number, Path("segments"))
        assert not isinstance(caught.value, FileUnsupported)
    flipped = seal_json({"a": 1}).replace(b'"format":2', b'"format":3')
    with pytest.raises(DirectoryDamaged, match="checksum"):
        unseal_json(Path("file"), flipped, dict)
