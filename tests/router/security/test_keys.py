"""API keys: made, kept, checked, replaced, revoked, and read again when their file changes."""

from __future__ import annotations

import hmac
import threading
from pathlib import Path

import pytest

from cdp_router.errors import Unauthenticated
from cdp_router.rpc.principal import Role
from cdp_router.security.keys import key_file
from cdp_router.security.keys import keys as keys_module
from cdp_router.security.keys.key_file import KeyFile, change_keys, read_keys
from cdp_router.security.keys.key_list import KeyList, KeyRefused, listed
from cdp_router.security.keys.keys import KEY_CHARS_MAX, StoredKey, authenticate, mint
from cdp_store.errors import DirectoryDamaged

NOW = 1_000_000


def _reason(keys: dict[str, StoredKey], shown: str, now_ms: int = NOW) -> str:
    with pytest.raises(Unauthenticated) as caught:
        authenticate(keys, shown, now_ms)
    assert shown not in str(caught.value) or not shown
    return caught.value.reason


def test_a_key_opens_until_it_expires_or_is_revoked() -> None:
    shown, stored = mint("web", [Role.QUERY, Role.INGEST], NOW, expires_ms=NOW + 10)
    assert stored.roles == (Role.INGEST, Role.QUERY)
    assert len(shown) < KEY_CHARS_MAX
    assert authenticate({stored.id: stored}, shown, NOW + 9) is stored
    assert _reason({stored.id: stored}, shown, NOW + 10) == "KEY_EXPIRED"
    known = KeyList({stored.id: stored})
    revoked, after = known.after(lambda keys: keys.revoke(stored.id, NOW + 1))
    assert _reason(dict(after), shown) == "KEY_REVOKED"
    assert revoked.revoked_ms == NOW + 1


def test_nothing_of_the_secret_is_kept() -> None:
    shown, stored = mint("web", [Role.QUERY], NOW)
    secret = shown.partition(stored.id + "_")[2]
    assert len(secret) >= 43
    assert secret not in str(stored)
    assert stored.hash not in listed({stored.id: stored}, NOW)


@pytest.mark.parametrize("change", [lambda key: key[:-1], lambda key: key + "x", lambda key: key.swapcase()])
def test_another_secret_is_not_known(change: object) -> None:
    shown, stored = mint("web", [Role.QUERY], NOW)
    wrong = "cdp_" + change(shown)[4:]  # type: ignore[operator]
    assert _reason({stored.id: stored}, wrong) == "KEY_UNKNOWN"


def test_a_key_of_somebody_else_is_not_known_under_this_id() -> None:
    (_, one), (other_shown, other) = mint("one", [Role.QUERY], NOW), mint("other", [Role.QUERY], NOW)
    moved = other_shown.replace(other.id, one.id)
    assert _reason({one.id: one, other.id: other}, moved) == "KEY_UNKNOWN"
    assert _reason({one.id: one}, other_shown) == "KEY_UNKNOWN"


@pytest.mark.parametrize("shown", ["", "secret", "cdp_" + "x" * KEY_CHARS_MAX, "cdp_ü_x"])
def test_what_is_no_key_is_refused_before_anything_is_hashed(shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "_hash", lambda key, key_id: pytest.fail("hashed"))
    assert _reason({}, shown) == "KEY_MALFORMED"


def test_every_comparison_is_timing_safe_also_for_ids_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = list[tuple[str, str]]()

    def compare(given: str, expected: str) -> bool:
        compared.append((given, expected))
        return hmac_compare(given, expected)

    hmac_compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    shown, stored = mint("web", [Role.QUERY], NOW)
    authenticate({stored.id: stored}, shown, NOW)
    assert _reason({}, shown) == "KEY_UNKNOWN"
    assert [len(given) == len(expected) == 64 for given, expected in compared] == [True, True]


def test_two_keys_of_one_name_open_while_users_change_over() -> None:
    known = KeyList({})
    first, _ = known.after(lambda keys: keys.create("web", [Role.INGEST], NOW, None, 5.0, None))
    (second, old), after = known.after(lambda keys: keys.rotate("web", NOW + 1, None, NOW + 100))
    for shown in (first, second):
        assert authenticate(after, shown, NOW + 99).calls_per_second == 5.0
    assert _reason(dict(after), first, NOW + 100) == "KEY_EXPIRED"
    with pytest.raises(KeyRefused, match="both in use"):
        known.rotate("web", NOW + 2, None, None)
    with pytest.raises(KeyRefused, match="give the id"):
        known.revoke("web", NOW + 2)
    known.revoke(old.id, NOW + 2)
    assert authenticate(known.after(lambda keys: None)[1], second, NOW + 3)
    assert known.revoke("web", NOW + 3).id != old.id
    with pytest.raises(KeyRefused, match="revoked before"):
        known.revoke(old.id, NOW + 4)


def test_names_in_use_are_not_given_twice() -> None:
    known = KeyList({})
    known.create("web", [Role.INGEST], NOW, NOW + 1, None, None)
    with pytest.raises(KeyRefused, match="in use"):
        known.create("web", [Role.INGEST], NOW, None, None, None)
    assert known.create("web", [Role.INGEST], NOW + 1, None, None, None), "the first has expired"
    for name in ("", "x\ny", "x" * 500):
        with pytest.raises(KeyRefused, match="printable"):
            known.create(name, [Role.INGEST], NOW, None, None, None)


def _add(path: Path, name: str) -> str:
    return change_keys(
        path, lambda known: KeyList(known).after(lambda keys: keys.create(name, [Role.QUERY], NOW, None, None, None))
    )


def test_the_file_is_read_again_when_it_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys.json"
    file = KeyFile(path)
    assert file.keys() is None, "no keys are asked for before there is a file"
    first = _add(path, "one")
    keys = file.keys()
    assert keys is not None and authenticate(keys, first, NOW).name == "one"
    assert path.stat().st_mode & 0o077 == 0, "others may not read it"
    _add(path, "two")
    assert {key.name for key in (file.keys() or {}).values()} == {"one", "two"}
    path.write_text("{")
    assert {key.name for key in (file.keys() or {}).values()} == {"one", "two"}
    assert "stay unchanged" in caplog.text
    path.unlink()
    assert file.keys() == {}, "without its file nobody is let in, rather than everybody"


def test_a_file_that_could_not_be_read_is_read_again_although_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, now = tmp_path / "keys.json", [0.0]
    _add(path, "one")
    file = KeyFile(path, clock=lambda: now[0])
    _add(path, "two")
    with monkeypatch.context() as without_descriptors:

        def fail(path: Path) -> bytes:
            raise DirectoryDamaged(path, "Too many open files")

        without_descriptors.setattr(key_file, "read_whole", fail)
        assert {key.name for key in (file.keys() or {}).values()} == {"one"}
    assert len(file.keys() or {}) == 1, "not at each call"
    now[0] = 1.0
    assert {key.name for key in (file.keys() or {}).values()} == {"one", "two"}


@pytest.mark.parametrize(
    "content", ["", "[]", '{"format":2,"keys":[]}', '{"format":1,"keys":[{"id":"x","name":"n","roles":["king"]}]}']
)
def test_a_damaged_file_says_so(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(DirectoryDamaged, match=r"keys\.json"):
        read_keys(path)
    with pytest.raises(DirectoryDamaged):
        KeyFile(path)


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(DirectoryDamaged, match="No such file"):
        KeyFile(tmp_path / "keys.json", must_exist=True)


def test_changes_at_the_same_time_lose_none(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    threads = [threading.Thread(target=_add, args=(path, f"key {number}")) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_keys(path)) == 8
