"""The audit: what is kept of calls, and that no line of it can be changed, removed or moved unnoticed."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cdp.v1 import admin_pb2, query_pb2
from google.protobuf.message import Message

from cdp_router.errors import AuditFailed
from cdp_router.rpc.call import Call
from cdp_router.rpc.principal import Principal, Role
from cdp_router.security.access import NEEDED
from cdp_router.security.audit.audit import Audit, changes_something, identifier_hash
from cdp_router.security.audit.audit_check import check, read_lines
from cdp_router.security.audit.audit_files import AuditFiles, anchor_path, claim_folder
from cdp_router.security.audit.audit_lines import Entry
from cdp_router.security.gates import ClusterGate, KeyGate
from cdp_router.security.keys.key_file import KeyFile, change_keys
from cdp_router.security.keys.keys import mint
from cdp_router.security.tls.cluster_secrets import call_secret
from cdp_store.outside.faulty_files import Fault, FaultyFiles
from cdp_store.outside.seams import OsFiles
from tests.router.calls import Ending, call
from tests.router.contract_rpcs import methods
from tests.router.encodings import Sent, protobuf_batch
from tests.router.local_cluster import CLUSTER, NOW_MS, FixedClock
from tests.router.served_cluster import served_cluster

SECRET, PEOPLE = b"s" * 32, b"p" * 32
METHODS = {method.full_name.removeprefix("cdp.v1."): method for method in methods()}


def _entry(method: str = "QueryService/Query", **fields: Any) -> Entry:
    return Entry(0, "2026-01-01T00:00:00.000+00:00", method, "OK", **fields)


def _written(folder: Path, count: int, file_bytes_max: int = 1 << 20) -> list[Path]:
    folder.mkdir(exist_ok=True)
    files = AuditFiles(folder, SECRET, OsFiles(), file_bytes_max)
    for number in range(count):
        files.append(_entry(facts={"count": number}))
    files.close()
    return sorted(folder.glob("*.jsonl"))


def _problems(folder: Path) -> tuple[str, ...]:
    return check(folder, SECRET).problems


# ------------------------------------------------------------------------------------------------------- tampering

Lines = list[bytes]


def _changed(lines: Lines) -> Lines:
    return [*lines[:2], lines[2].replace(b'"count":2', b'"count":9'), *lines[3:]]


TAMPERED: dict[str, tuple[Callable[[Lines], Lines], list[str]]] = {
    "nothing": (lambda lines: lines, []),
    "changed": (_changed, ["000001.jsonl:3 (entry 3) was changed"]),
    "its hash changed": (
        lambda lines: [*lines[:2], lines[2][:-4] + b'x"}\n', *lines[3:]],
        [":3 (entry 3) was changed"],
    ),
    "no JSON": (
        lambda lines: [*lines[:2], b"{}\n", *lines[3:]],
        [
            ":3 is no entry",
            "entry 3 is missing before",
        ],
    ),
    "removed": (lambda lines: [*lines[:2], *lines[3:]], ["entry 3 is missing before"]),
    "several removed": (lambda lines: [lines[0], *lines[4:]], ["entries 2 to 4 are missing before"]),
    "the first removed": (lambda lines: lines[1:], ["entry 1 is missing before"]),
    "the last removed": (lambda lines: lines[:-1], ["entry 6 is missing before the end"]),
    "all removed": (lambda lines: [], ["entries 1 to 6 are missing before the end"]),
    "two changed places": (
        lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]],
        ["(entry 3) comes after entry 4"],
    ),
    "one twice": (lambda lines: [*lines[:3], lines[2], *lines[3:]], ["(entry 3) comes after entry 3"]),
}


@pytest.mark.parametrize(("tamper", "found"), TAMPERED.values(), ids=TAMPERED.keys())
def test_what_was_tampered_with_is_named(tmp_path: Path, tamper: Callable[[Lines], Lines], found: list[str]) -> None:
    [path] = _written(tmp_path / "router", 6)
    path.write_bytes(b"".join(tamper(path.read_bytes().splitlines(keepends=True))))
    problems = _problems(tmp_path / "router")
    assert len(problems) == len(found)
    for problem, part in zip(problems, found, strict=True):
        assert part in problem


def test_a_chain_made_without_the_secret_does_not_hold(tmp_path: Path) -> None:
    (tmp_path / "router").mkdir()
    files = AuditFiles(tmp_path / "router", b"guessed" * 4, OsFiles())
    files.append(_entry())
    files.close()
    assert _problems(tmp_path / "router") == (f"{tmp_path}/router/000001.jsonl:1 (entry 1) was changed",)


def test_lines_of_another_chain_do_not_fit(tmp_path: Path) -> None:
    [one] = _written(tmp_path / "one", 3)
    (tmp_path / "other").mkdir()
    _append(tmp_path / "other", _entry("QueryService/Members"), _entry(facts={"count": 1}))
    lines, others = (path.read_bytes().splitlines(keepends=True) for path in (one, tmp_path / "other/000001.jsonl"))
    one.write_bytes(b"".join([lines[0], others[1], lines[2]]))
    assert all("was written after another entry" in problem for problem in _problems(tmp_path / "one"))
    assert len(_problems(tmp_path / "one")) == 2


def _append(folder: Path, *entries: Entry) -> None:
    files = AuditFiles(folder, SECRET, OsFiles())
    for entry in entries:
        files.append(entry)
    files.close()


def test_what_is_missing_stays_missed_after_the_next_start(tmp_path: Path) -> None:
    [path] = _written(tmp_path / "router", 4)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    _append(tmp_path / "router", _entry())
    [problem] = _problems(tmp_path / "router")
    assert "entries 3 to 4 are missing before" in problem


def _cut(folder: Path, lines: int) -> None:
    """Remove so many lines at the end."""
    path = sorted(folder.glob("*.jsonl"))[-1]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-lines]))


def test_lines_removed_together_with_the_head_are_missed_also_after_the_next_start(tmp_path: Path) -> None:
    _written(tmp_path / "router", 9)
    _cut(tmp_path / "router", 5)
    (tmp_path / "router" / "head").unlink()
    assert any("entries 5 to 9 are missing" in problem for problem in _problems(tmp_path / "router"))
    _append(tmp_path / "router", _entry())
    assert any("entries 5 to 9 are missing" in problem for problem in _problems(tmp_path / "router"))


def test_a_head_put_back_to_an_earlier_line_does_not_hide_those_behind_it(tmp_path: Path) -> None:
    _written(tmp_path / "router", 4)
    head = (tmp_path / "router" / "head").read_bytes()
    _append(tmp_path / "router", _entry(), _entry())
    _cut(tmp_path / "router", 2)
    (tmp_path / "router" / "head").write_bytes(head)
    [problem] = _problems(tmp_path / "router")
    assert "entries 5 to 6 are missing" in problem


@pytest.mark.parametrize("content", [b"", b"x" * 118, b"00000000000000000002 " + b"0" * 64 + b" " + b"0" * 32 + b"\n"])
def test_without_head_or_with_a_changed_anchor_an_audit_does_not_hold(tmp_path: Path, content: bytes) -> None:
    _written(tmp_path / "router", 3)
    anchor = anchor_path(tmp_path / "router")
    whole = anchor.read_bytes()
    if content:
        anchor.write_bytes(content)
        [problem] = _problems(tmp_path / "router")
        assert str(anchor) in problem
    anchor.write_bytes(whole)
    (tmp_path / "router" / "head").unlink()
    [problem] = _problems(tmp_path / "router")
    assert "head was removed" in problem


def test_all_files_put_back_together_are_found_by_what_an_earlier_check_printed(tmp_path: Path) -> None:
    _written(tmp_path / "router", 3)
    anchor = anchor_path(tmp_path / "router")
    before = {path: path.read_bytes() for path in (*(tmp_path / "router").iterdir(), anchor)}
    _append(tmp_path / "router", _entry(), _entry())
    later = check(tmp_path / "router", SECRET)
    assert not check(tmp_path / "router", SECRET, {later.last: later.last_hash}).problems
    for path, content in before.items():
        path.write_bytes(content)
    assert not _problems(tmp_path / "router"), "all that is here fits together"
    [problem] = check(tmp_path / "router", SECRET, {later.last: later.last_hash}).problems
    assert "entry 5 of router is not the expected one" in problem


# ---------------------------------------------------------------------------------------------- files and their ends


def test_files_follow_each_other_and_the_oldest_may_be_removed(tmp_path: Path) -> None:
    paths = _written(tmp_path / "router", 20, file_bytes_max=1500)
    assert len(paths) > 3
    found = check(tmp_path / "router", SECRET)
    assert (found.entries, found.first, found.last, found.problems) == (20, 1, 20, ())
    paths[0].unlink()
    found = check(tmp_path / "router", SECRET)
    assert found.first > 1 and not found.problems
    paths[2].unlink()
    [problem] = _problems(tmp_path / "router")
    assert "missing before" in problem
    _append(tmp_path / "router", _entry())
    assert check(tmp_path / "router", SECRET).last == 21


def test_a_line_that_a_crash_cut_off_is_no_tampering(tmp_path: Path) -> None:
    [path] = _written(tmp_path / "router", 3)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"number":4,"at":"20')
    _append(tmp_path / "router", _entry())
    assert path.read_bytes().startswith(whole)
    found = check(tmp_path / "router", SECRET)
    assert (found.last, found.problems) == (4, ())


@pytest.mark.parametrize("written", [0, 10])
def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, written: int) -> None:
    (tmp_path / "router").mkdir()
    faulty = FaultyFiles()
    files = AuditFiles(tmp_path / "router", SECRET, faulty)
    files.append(_entry())
    faulty.plan(Fault("write", 1, errno.ENOSPC, written))
    with pytest.raises(AuditFailed, match="cannot be written"):
        files.append(_entry())
    files.append(_entry())
    faulty.plan(Fault("sync", 1, errno.EIO))
    with pytest.raises(AuditFailed):
        files.sync()
    files.close()
    found = check(tmp_path / "router", SECRET)
    assert (found.entries, found.problems) == (2, ())


def test_every_router_has_a_folder_of_its_own(tmp_path: Path) -> None:
    first, second = claim_folder(tmp_path), claim_folder(tmp_path)
    assert [first.folder.name, second.folder.name] == ["router", "router-1"]
    first.release()
    third = claim_folder(tmp_path)
    assert third.folder == first.folder
    second.release()
    third.release()


# --------------------------------------------------------------------------------------------- what is kept of calls


def _kept(root: Path) -> list[Entry]:
    return [line.entry for _, _, line in read_lines(root / "router") if line is not None]


def test_calls_are_kept_with_key_plan_count_and_hashed_people(tmp_path: Path) -> None:
    shown, stored = mint("ops", list(Role), NOW_MS)
    keys = tmp_path / "keys.json"
    change_keys(keys, lambda known: (None, {stored.id: stored}))
    audit = Audit(tmp_path / "audit", SECRET, PEOPLE, FixedClock())
    gates = KeyGate(KeyFile(keys), FixedClock()), ClusterGate(call_secret(CLUSTER))

    async def run() -> None:
        async with served_cluster(tmp_path, gates=gates, record=audit) as served:
            await served.ingest(protobuf_batch([Sent("View", f"u{n}", NOW_MS, {}) for n in range(5)]))

            async def do(method: str, request: Message, *keys: str) -> Ending:
                metadata = [("authorization", f"Bearer {key}") for key in keys]
                return await call(served.router, METHODS[method], request.SerializeToString(), metadata)

            assert not (await do("QueryService.Query", query_pb2.QueryRequest(text='did("View")'), shown)).reason
            assert not (await do("QueryService.Members", query_pb2.MembersRequest(text="everyone"), shown)).reason
            assert not (await do("QueryService.GetProfile", query_pb2.GetProfileRequest(user_id="u1"), shown)).reason
            await do("QueryService.Query", query_pb2.QueryRequest(text="what?"), shown)
            await do("QueryService.Query", query_pb2.QueryRequest(text="everyone"))
            await do("AdminService.EraseProfile", admin_pb2.EraseProfileRequest(user_id="u1"), shown)

    asyncio.run(run())
    audit.close()
    kept = _kept(tmp_path / "audit")
    assert [(entry.method.partition("/")[2], entry.outcome) for entry in kept] == [
        ("Query", "OK"),
        ("Members", "OK"),
        ("GetProfile", "OK"),
        ("Query", "QUERY_SYNTAX"),
        ("Query", "KEY_MISSING"),
        ("EraseProfile", "BEGUN"),
        ("EraseProfile", "OK"),
    ]
    assert [entry.facts.get("count") for entry in kept[:3]] == [5, 5, None]
    assert all(len(str(entry.facts["plan_hash"])) == 16 for entry in kept[:2])
    person = identifier_hash(PEOPLE, "user_id", "u1")
    assert [entry.facts.get("people") == person for entry in kept] == [False, False, True, False, False, True, True]
    assert {(entry.key, entry.name) for entry in kept} == {(stored.id, "ops"), ("", "")}
    text = (tmp_path / "audit" / "router" / "000001.jsonl").read_text()
    assert "u1" not in text and shown not in text
    assert not _problems(tmp_path / "audit" / "router")


def _call(method: str, reason: str = "OK", key: str = "k") -> Call:
    service, _, name = method.partition("/")
    made = Call(f"cdp.v1.{service}", name, "r", 0.0, principal=Principal(key, "n", frozenset()))
    made.reason = reason
    return made


def test_a_change_that_cannot_be_kept_is_not_made(tmp_path: Path) -> None:
    faulty = FaultyFiles()
    audit = Audit(tmp_path, SECRET, PEOPLE, FixedClock(), faulty)

    async def run() -> None:
        await audit.begun(_call("AdminService/EraseProfile"))
        for fault in (Fault("write", 1, errno.ENOSPC), Fault("sync", 1, errno.EIO)):
            faulty.plan(fault)
            with pytest.raises(AuditFailed):
                await audit.begun(_call("AdminService/EraseProfile"))
        faulty.plan()
        await audit.begun(_call("AdminService/GetStatus"))
        await audit.begun(_call("QueryService/Query"))
        assert faulty.counts["sync"] == 0

    asyncio.run(run())
    audit.close()
    assert {entry.method for entry in _kept(tmp_path)} == {"AdminService/EraseProfile"}


def test_refusals_are_counted_where_they_are_too_many_to_list(tmp_path: Path) -> None:
    audit = Audit(tmp_path, SECRET, PEOPLE, FixedClock())

    async def run() -> None:
        for _ in range(1500):
            await audit.ended(_call("QueryService/Query", "KEY_MISSING", key=""))

    asyncio.run(run())
    audit.close()
    assert 1000 <= len(_kept(tmp_path)) < 1500


def test_batches_and_calls_without_keys_are_not_kept(tmp_path: Path) -> None:
    audit = Audit(tmp_path, SECRET, PEOPLE, FixedClock())
    asyncio.run(audit.ended(_call("IngestService/Ingest")))
    asyncio.run(audit.ended(_call("QueryService/Query", key="")))
    audit.close()
    assert not (tmp_path / "router").exists()


def test_what_changes_something_is_what_the_contract_says() -> None:
    erasing = {path for path, role in NEEDED.items() if role is Role.ERASE and changes_something(path)}
    assert {"/cdp.v1.AdminService/EraseProfile", "/cdp.v1.AdminService/PurgeErased"} <= erasing
    assert not changes_something("/cdp.v1.AdminService/GetStatus")
    assert all(not changes_something(path) for path, role in NEEDED.items() if role is Role.QUERY)
