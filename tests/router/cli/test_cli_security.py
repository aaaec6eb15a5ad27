"""`cdp keys` and `cdp audit` as a person meets them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cdp_router.cli.app import app
from cdp_router.cluster.topology import ClusterDirectory
from cdp_router.errors import RequestInvalid
from cdp_router.gateway.seen_sources import HOUR_MS, NAME, SeenSources, seen_lately
from cdp_router.gateway.write_keys import AnySource, KeySources, Source
from cdp_router.security.audit.audit_files import AuditFiles, anchor_path
from cdp_router.security.audit.audit_lines import Entry
from cdp_router.security.keys.key_file import KeyFile, read_keys
from cdp_router.security.keys.keys import authenticate
from cdp_router.security.tls.cluster_secrets import AUDIT_CHAIN, derived
from cdp_router.security.tls.listening import check_listening
from cdp_store.outside.seams import OsFiles, SystemClock
from tests.router.local_cluster import FixedClock


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    ClusterDirectory(tmp_path).load_or_create(1, 2)
    before = dict(os.environ)
    yield tmp_path
    os.environ.clear()
    os.environ.update(before)


def _cdp(*words: object, code: int = 0) -> Result:
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == code, done.output
    return done


def test_a_key_is_made_listed_replaced_and_revoked(data: Path) -> None:
    where = ("--data", data)
    first = _cdp("keys", "create", "shop", "--role", "ingest", "--role", "query", "--expires", "90d", "--first", *where)
    shown = first.stdout.split()[0]
    stored = authenticate(read_keys(data / "keys.json"), shown, SystemClock().now_ms())
    assert (stored.name, [*stored.roles]) == ("shop", ["ingest", "query"])
    assert "in use" in _cdp("keys", "create", "shop", "--role", "query", *where, code=1).stderr
    rotated = _cdp("keys", "rotate", "shop", "--old-expires", "7d", *where)
    assert rotated.stdout.split()[0] != shown and stored.id in rotated.stderr
    listed = json.loads(_cdp("keys", "list", "--json", *where).stdout)
    assert [each["state"] for each in listed] == ["active", "active"]
    assert "hash" not in listed[0]
    assert "5 records/s" in _cdp("keys", "limit", stored.id, "--events-per-second", 5, *where).stdout
    assert read_keys(data / "keys.json")[stored.id].events_per_second == 5
    assert "any number" in _cdp("keys", "limit", stored.id, *where).stdout
    assert stored.id in _cdp("keys", "revoke", stored.id, *where).stdout
    assert "revoked" in _cdp("keys", "list", *where).stdout


def test_a_key_may_say_which_ids_of_its_source_are_visitors(data: Path) -> None:
    where = ("--data", data)
    _cdp("keys", "create", "web", "--role", "ingest", "--anonymous-ids", "^shopper-", "--first", *where)
    _cdp("keys", "rotate", "web", *where)
    assert [key.anonymous_ids for key in read_keys(data / "keys.json").values()] == ["^shopper-"] * 2
    _cdp("keys", "revoke", next(iter(read_keys(data / "keys.json"))), *where)
    _cdp("keys", "rotate", "web", "--anonymous-ids", "^buyer-", *where)
    assert [key.anonymous_ids for key in read_keys(data / "keys.json").values()][-1] == "^buyer-"
    file = KeyFile(data / "keys.json")
    shown = _cdp("keys", "create", "app", "--role", "ingest", *where).stdout.split()[0]
    assert KeySources(file, SystemClock(), anonymous_ids="^x").source_of(shown, "").anonymous_ids == "^x"
    done = CliRunner().invoke(
        app, ["keys", "create", "bad", "--role", "ingest", "--anonymous-ids", "(", "--data", str(data)]
    )
    assert done.exit_code == 2 and "regular expression" in done.stderr


def test_a_key_expires_at_the_very_millisecond_that_was_given(data: Path) -> None:
    _cdp("keys", "create", "shop", "--role", "admin", "--expires", "2107-02-22T06:33:57.004Z", "--data", data)
    [stored] = read_keys(data / "keys.json").values()
    assert stored.expires_ms == 4_327_799_637_004


def _spoken(result: Result) -> str:
    return " ".join(result.stderr.split())


def test_the_first_key_is_an_admins_and_says_whom_it_turns_away(data: Path) -> None:
    clock = FixedClock(SystemClock().now_ms() - 3 * 60_000)
    keyless = SeenSources(AnySource(), data, clock, is_open=lambda: True)
    for name in ("web", "my app"):
        assert keyless.source_of(name, "") == Source(name)
    old = SeenSources(AnySource(), data, FixedClock(clock.now - 2 * HOUR_MS), is_open=lambda: True)
    old.source_of("long gone", "")
    keyless.source_of("late", "")
    where = ("--data", data)
    refused = _spoken(_cdp("keys", "create", "colleague", "--role", "query", *where, code=1))
    assert "first key" in refused and "--role admin" in refused and "--first" in refused
    assert "late, my app, web" in refused and not (data / "keys.json").exists()
    said = _spoken(_cdp("keys", "create", "boss", "--role", "admin", *where))
    assert "every call without a key is refused" in said and "long gone" not in said
    for source in ("web --role ingest", "'my app' --role ingest"):
        assert f"`cdp keys create {source}`" in said
    assert "3 min ago" in said
    second = _spoken(_cdp("keys", "create", "colleague", "--role", "query", *where))
    assert "refused" not in second and len(read_keys(data / "keys.json")) == 2


def test_a_first_key_without_the_role_admin_may_be_asked_for(data: Path) -> None:
    said = _spoken(_cdp("keys", "create", "web", "--role", "ingest", "--first", "--data", data))
    assert "no source sent records" in said
    assert len(read_keys(data / "keys.json")) == 1


def test_sources_are_noted_only_while_there_are_no_keys_and_a_bad_file_is_no_obstacle(data: Path) -> None:
    clock = FixedClock(SystemClock().now_ms())
    SeenSources(AnySource(), data, clock, is_open=lambda: False).source_of("web", "")
    assert not (data / NAME).exists()
    for content in (b"", b"\xff", b'{"format": 9, "seen_ms": {"a": 1}}', b'{"seen_ms": {"a": "x"}}'):
        (data / NAME).write_bytes(content)
        assert seen_lately(data, clock.now) == {}
        SeenSources(AnySource(), data, clock, is_open=lambda: True).source_of("web", "")
        assert seen_lately(data, clock.now) == {"web": clock.now}
    many = SeenSources(AnySource(), data, clock, is_open=lambda: True)
    for number in range(1500):
        many.source_of(f"s{number}", "")
    assert len(seen_lately(data, clock.now)) == 1000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["create", "x", "--role", "king"], "king"),
        (["create", "x"], "--role"),
        (["create", "x", "--role", "query", "--expires", "2020-01-01"], "is in the past"),
        (["create", "x", "--role", "query", "--expires", "soon"], "not a date"),
        (["revoke", "nobody"], "no key in use"),
        (["rotate", "nobody"], "no key in use"),
    ],
)
def test_what_cannot_be_done_with_keys_is_said(data: Path, words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["keys", *words, "--data", str(data)])
    assert done.exit_code in (1, 2)
    assert said in done.stderr
    assert not (data / "keys.json").exists() or not read_keys(data / "keys.json")


def test_a_directory_without_a_cluster_gets_no_keys(tmp_path: Path) -> None:
    assert "holds no cluster" in _cdp("keys", "create", "x", "--role", "query", "--data", tmp_path, code=2).stderr
    file = tmp_path / "keys of a router"
    _cdp("keys", "create", "x", "--role", "admin", "--keys", file)
    assert len(read_keys(file)) == 1


def test_the_audit_is_shown_and_checked(data: Path) -> None:
    where = ("--data", data)
    assert "begins with the first call" in _cdp("audit", "verify", *where, code=1).stderr
    folder = data / "audit" / "router"
    folder.mkdir(parents=True)
    files = AuditFiles(folder, derived(ClusterDirectory(data).load(), AUDIT_CHAIN), OsFiles())
    for key in ("aa", "bb", "aa"):
        files.append(Entry(0, "2026-01-01", "QueryService/Query", "OK", key, f"key {key}", facts={"count": 7}))
    files.close()
    assert "router: 3 entries, up to 3" in _cdp("audit", "verify", *where).stdout
    said = _cdp("audit", "show", "--key", "key aa", *where).stdout.splitlines()
    assert [line.split()[0] for line in said] == ["1", "3"]
    assert "count=7" in said[0]
    assert json.loads(_cdp("audit", "show", "--last", 1, "--json", *where).stdout)["number"] == 3
    assert _cdp("audit", "show", "--method", "Erase", *where).stdout == ""
    assert _cdp("audit", "show", "--about", "u1", *where).stdout == ""
    path = folder / "000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b"bb", b"aa"))
    found = _cdp("audit", "verify", *where, code=1).stderr
    assert "000001.jsonl:2 (entry 2) was changed" in found


def test_an_audit_that_was_shortened_or_removed_is_found_by_the_command(data: Path) -> None:
    where, folder, directory = ("--data", data), data / "audit" / "router", ClusterDirectory(data)
    folder.mkdir(parents=True)
    files = AuditFiles(folder, derived(directory.load(), AUDIT_CHAIN), OsFiles())
    for _ in range(9):
        files.append(Entry(0, "2026-01-01", "QueryService/Query", "OK", "aa", "key"))
    files.close()
    directory.remember_paths([folder, anchor_path(folder)])
    kept = _cdp("audit", "verify", *where).stdout.splitlines()[-1].split()
    assert "up to 9" in _cdp("audit", "verify", *kept, *where).stdout
    assert "not in the form" in _cdp("audit", "verify", "--expect", "nine", *where, code=2).stderr
    lines = (folder / "000001.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "000001.jsonl").write_bytes(b"".join(lines[:4]))
    (folder / "head").unlink()
    assert "entries 5 to 9 are missing" in _cdp("audit", "verify", *where, code=1).stderr
    anchor_path(folder).unlink()
    found = _cdp("audit", "verify", *kept, *where, code=1).stderr.replace("\n", " ")
    assert "head was removed" in found and "anchors/router was removed" in found and "entry 9 of router" in found
    shutil.rmtree(data / "audit")
    assert "audit/router was removed" in _cdp("audit", "verify", *where, code=1).stderr.replace("\n", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "192.0.2.1"], "nothing is encrypted"),
        (["--host", "192.0.2.1", "--insecure"], "without keys only loopback"),
        (["--keys", "none.json"], "does not exist"),
        (["--tls-cert", "c.pem"], "go together"),
        (["--tls-ca", "ca.pem"], "give --tls-cert and --tls-key of this process as well"),
    ],
)
def test_a_cluster_that_others_could_misuse_is_not_started(data: Path, options: list[str], said: str) -> None:
    assert said in _cdp("up", "--data", data, *options, code=2).stderr.replace("\n", " ")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "localhost:1"])
def test_loopback_needs_no_keys(address: str) -> None:
    check_listening(address, has_keys=False)


@pytest.mark.parametrize("address", ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "db.internal:1", ":1"])
def test_what_others_reach_is_not_served_without_keys(address: str) -> None:
    with pytest.raises(RequestInvalid, match="without keys only loopback"):
        check_listening(address, has_keys=False)
    check_listening(address, has_keys=True)


def test_a_key_that_is_none_is_not_sent(data: Path) -> None:
    assert "not an API key" in _cdp("--api-key", "two words", "status", code=2).stderr
